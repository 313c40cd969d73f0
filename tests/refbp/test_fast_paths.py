"""Every fast path against the plain one: the same numbers, to the bit or within what rounding may do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import oracle
import refbp
from oracle import suite
from refbp import batch_norm, columns
from refbp.special import masked

KINDS = {
    "conv": ("columns", ("conv/Conv2d*", "conv/ConvTranspose2d*", "layout/Conv*", "exact/Conv*", "batch/Conv*")),
    "batch norm": ("batch_norm", ("norm/BatchNorm*", "layout/BatchNorm*")),
}


@pytest.mark.parametrize("block", [1, 2**12])
@pytest.mark.parametrize("layer", ["Conv2d", "ConvTranspose2d"])
@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1, "groups": 2}, {"dilation": 2}])
def test_convolution_in_parts(block: int, layer: str, options: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small integers, which no order of summation rounds: however many rows of windows a part has, the bits are the same."""
    rng = np.random.default_rng(0)

    def results() -> list[Any]:
        net = getattr(refbp, layer)(4, 6, 3, **options)
        for name, own in net.params.items():
            net.params[name] = np.random.default_rng(1).integers(-4, 5, own.shape).astype(float)
        y = net(x)
        return [y, net.backward(np.random.default_rng(2).integers(-4, 5, y.shape).astype(float)), *net.grads.values()]

    x = rng.integers(-4, 5, (3, 4, 11, 9)).astype(float)
    monkeypatch.setattr(columns, "BLOCK", 2**40)
    whole = results()
    monkeypatch.setattr(columns, "BLOCK", block)
    if block == 1:
        monkeypatch.setattr(columns.Columns, "__init__", row_by_row(columns.Columns.__init__))
    for one, other in zip(whole, results(), strict=True):
        np.testing.assert_array_equal(one, other)


def row_by_row(init: Any) -> Any:
    """Parts of a single row, also where the weight has more numbers."""

    def made(self: Any, *arguments: Any) -> None:
        init(self, *arguments)
        self.parts = [slice(row, row + 1) for row in range(self.counts[0])]

    return made


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_batch_norm_in_parts(dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Channels are independent: one at a time gives the results of all at once, except for the order of the sums."""
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((4, 7, 3, 5)).astype(dtype) for _ in range(2))

    def results() -> list[Any]:
        layer = refbp.BatchNorm2d(7, dtype=dtype)
        return [layer(x), layer.backward(g), *layer.grads.values(), *layer.buffers.values(), layer.eval()(x)]

    whole = results()
    monkeypatch.setattr(batch_norm, "BLOCK", 1)
    rounding = 16 * float(np.finfo(dtype).eps)
    for one, other in zip(whole, results(), strict=True):
        np.testing.assert_allclose(one, other, rtol=rounding, atol=rounding * np.max(np.abs(one)))


@pytest.mark.parametrize("kind", KINDS)
def test_parts_are_judged_like_the_whole(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With parts as small as they get, on both sides of the judgement, the suite's own cases still conform to torch."""
    module, patterns = KINDS[kind]
    monkeypatch.setattr(getattr(refbp, module), "BLOCK", 1)
    if module == "columns":
        monkeypatch.setattr(columns.Columns, "__init__", row_by_row(columns.Columns.__init__))
    cases = [case for pattern in patterns for case in suite.matching(pattern)][::5]
    assert len(cases) > 10
    report = oracle.run(cases=cases)
    assert report.passed, report.blame


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("special", [0.0, -0.0, np.inf, -np.inf, np.nan])
def test_a_masked_array_is_the_choice(dtype: str, special: float) -> None:
    """The product with a mask is where(mask, x, 0) for every number, and for infinity and NaN as well."""
    x = np.random.default_rng(0).standard_normal(50).astype(dtype)
    x[::5] = special
    mask = np.random.default_rng(1).random(50) > 0.5
    got = masked(x, mask)
    assert got.dtype == x.dtype
    np.testing.assert_array_equal(got, np.where(mask, x, np.zeros((), dtype)))


def test_a_zero_gradient_takes_no_memory_until_it_is_read() -> None:
    """The first backward's gradient replaces it. It is added to a gradient that the user wrote or put there."""
    layer = refbp.Linear(3, 2, bias=False)
    x, g, four = np.ones((4, 3)), np.ones((4, 2)), np.full((2, 3), 4.0)
    layer.zero_grad()
    assert layer._grads["weight"].strides == (0, 0)
    layer(x)
    layer.backward(g)
    np.testing.assert_array_equal(layer.grads["weight"], four)
    layer.backward(g)
    np.testing.assert_array_equal(layer.grads["weight"], 2 * four)
    layer.zero_grad()
    np.testing.assert_array_equal(layer.grads["weight"], np.zeros((2, 3)))
    layer.grads["weight"][...] = 1.0
    layer.backward(g)
    np.testing.assert_array_equal(layer.grads["weight"], 1.0 + four)
    layer.zero_grad()
    layer.grads["weight"] = np.ones((2, 3))
    layer.backward(g)
    np.testing.assert_array_equal(layer.grads["weight"], 1.0 + four)
