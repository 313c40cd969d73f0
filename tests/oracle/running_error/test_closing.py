"""A large sum is closed, and its orders are settled, a few rows at a time, with the numbers of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from oracle.running_error import ErrorModel, closing
from oracle.running_error.model import Twofold
from oracle.running_error.orders import Orders


@pytest.mark.parametrize("bounds", [False, True])
@pytest.mark.parametrize("count", ["one", "each"])
def test_parts_give_the_numbers_of_the_whole(bounds: bool, count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a term hides, a partial sum overflows, and a component stands for all rows."""
    rng = np.random.default_rng(0)
    value = rng.standard_normal((50, 3, 7)) * 10.0 ** np.linspace(-46, 38, 50)[:, None, None]
    squares = np.square(value) * rng.uniform(0.1, 2, value.shape)
    terms = Twofold(squares, np.sqrt(squares) * 5 if bounds else None)
    before = Twofold(np.full((1, 3, 1), 1e-99), np.full((1, 3, 1), 1e-4) if bounds else None)
    counts = 3 * 10**6 if count == "one" else rng.integers(1, 10**7, value.shape).astype(float)
    with np.errstate(all="ignore"):
        _, whole, hides = closing.closed(
            ErrorModel(np.dtype("float32"), bounds), value, before, terms, counts, 2.0**-24
        )
        monkeypatch.setattr(closing, "PART", 100)
        _, parts, also = closing.closed(ErrorModel(np.dtype("float32"), bounds), value, before, terms, counts, 2.0**-24)
    assert np.isinf(whole.statistical).any() and hides is not None and 0 < hides.mean() < 1
    assert np.array_equal(whole.statistical, parts.statistical) and np.array_equal(hides, also)
    assert (whole.worst is None) == (not bounds)
    if whole.worst is not None and parts.worst is not None:
        assert np.array_equal(whole.worst, parts.worst)


@pytest.mark.parametrize("shape", [(50, 21), (1, 50, 3, 7)])
def test_orders_are_settled_in_parts(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a part has nothing beyond a random order, and where no part has."""
    rng = np.random.default_rng(0)
    model = ErrorModel(np.dtype("float32"))
    groups = tuple(rng.standard_normal(shape) for _ in range(4))
    value, in_memory = sum(groups, np.zeros(shape)), 1e3 * rng.uniform(0, 1, shape)
    in_memory.reshape(50, 21)[:30] = 0.0
    terms = Twofold(np.square(value) + 1)
    for orders in (Orders(in_memory, (groups,)), Orders(in_memory), Orders(np.zeros(shape))):
        monkeypatch.setattr(closing, "PART", 2**17)
        whole = closing.settled(orders, value, terms, 64, model)
        monkeypatch.setattr(closing, "PART", 100)
        parts = closing.settled(orders, value, terms, 64, model)
        assert len(closing.rows_of(shape)) > 5 and (whole is None) == (parts is None)
        if whole is not None and parts is not None:
            assert np.array_equal(whole.statistical, parts.statistical)
    assert whole is None
