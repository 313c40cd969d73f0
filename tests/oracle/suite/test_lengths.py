"""The cases beyond a tile show what only larger arrays show."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import oracle
import refbp

Backward = Callable[[Any], Any]
F = refbp.functional


def spoilt(fn: Callable[..., tuple[Any, Backward]], place: int, part: Callable[[Any], Any]) -> Callable[..., Any]:
    """The op with the gradient of this place zero in a part of its elements."""

    def wrong(*arrays: Any) -> tuple[Any, Backward]:
        y, backward = fn(*arrays)

        def spoils(dy: Any) -> tuple[Any, ...]:
            found = backward(dy)
            grads = [
                None if own is None else np.array(own) for own in (found if isinstance(found, tuple) else (found,))
            ]
            part(grads[place])[...] = 0
            return tuple(grads)

        return y, spoils

    return wrong


def of_rows(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
    """A linear layer that adds up the weight's gradient over blocks of 16 rows, and drops the last block if it is not full."""
    y, backward = F.linear(x, weight, bias)

    def blocks(dy: Any) -> tuple[Any, ...]:
        full = len(x) // 16 * 16 if x.ndim == 2 and len(x) > 16 else len(x)
        dx, dw, db = backward(dy)
        return dx, dy[:full].T @ x[:full] if x.ndim == 2 else dw, db

    return y, blocks


def of_rows_of_seven(x: Any, weight: Any, bias: Any) -> Any:
    return F.layer_norm(x, (7,), weight, bias)


def softmax(x: Any) -> Any:
    return F.softmax(x, -1)


def strided(x: Any, weight: Any, bias: Any) -> Any:
    return F.conv2d(x, weight, bias, padding=1)


@pytest.mark.parametrize(
    ("op", "fn", "options"),
    [
        ("relu", spoilt(F.relu, 0, lambda g: g.reshape(-1)[1024:]), {}),
        ("tanh", spoilt(F.tanh, 0, lambda g: g.reshape(-1)[64:][-(g.size % 64) :]), {}),
        ("softmax", spoilt(softmax, 0, lambda g: g[..., 1024:]), {"dim": -1}),
        (
            "layer_norm",
            spoilt(of_rows_of_seven, 0, lambda g: g[128:] if g.ndim == 2 else g[:0]),
            {"normalized_shape": (7,)},
        ),
        ("mse_loss", spoilt(F.mse_loss, 0, lambda g: g.reshape(-1)[512:]), {}),
        ("cross_entropy", spoilt(F.cross_entropy, 0, lambda g: g[..., 256:] if g.ndim == 2 else g[:0]), {}),
        ("conv2d", spoilt(strided, 0, lambda g: g[..., 32:]), {"padding": 1}),
        ("conv2d", spoilt(strided, 0, lambda g: g[16:] if g.ndim == 4 else g[:0]), {"padding": 1}),
        ("linear", of_rows, {}),
    ],
)
def test_a_fault_in_a_last_part_of_a_block_is_found(op: str, fn: Any, options: dict[str, Any]) -> None:
    """Kernels work in blocks of 16 to 1,024 elements. The suite's arrays were smaller, so a second block was never tried."""
    report = oracle.check_op(op, fn, dtypes=["float64"], **options)
    assert not report.passed and report.blame[0].quantity in ("grad_input", "grad.weight")
