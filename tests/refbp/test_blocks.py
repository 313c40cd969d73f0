"""Element-wise ops that take an array block by block against the same ops on the whole array."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from refbp import blocks, functional
from refbp.blocks import BLOCK, in_blocks

OPS = [
    "sigmoid",
    "logsigmoid",
    "silu",
    "mish",
    "gelu",
    "softplus",
    "softsign",
    "elu",
    "selu",
    "leaky_relu",
    "hardswish",
]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", OPS)
def test_blocks_change_no_bit(name: str, dtype: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """For every order in memory of input and upstream gradient, with infinities and NaN; the last block is shorter."""
    rng = np.random.default_rng(0)
    x, g = (rng.standard_normal((5, 4, 7)).astype(dtype) for _ in range(2))
    x[0, 0, :3] = np.inf, -np.inf, np.nan
    moved, strided = np.moveaxis(x.transpose(1, 2, 0).copy(), -1, 0), x.repeat(2, axis=1)[:, ::2]
    op: Any = getattr(functional, name)
    whole, backward = op(x)
    whole_grad = backward(g)
    monkeypatch.setattr(blocks, "BLOCK", 6)
    for input in (x, moved, strided, moved[:, :, ::-1][:, :, ::-1]):
        for grad_output in (g, g.transpose(2, 1, 0).copy().transpose(2, 1, 0)):
            output, backward = op(input)
            np.testing.assert_array_equal(bits(output), bits(whole))
            np.testing.assert_array_equal(bits(backward(grad_output)), bits(whole_grad))


def bits(x: Any) -> Any:
    return np.ascontiguousarray(x).view(np.dtype(f"i{x.dtype.itemsize}"))


def test_a_small_array_is_one_block() -> None:
    """The op sees a block at most; an array of a block's size it sees as it is."""
    seen = []

    def op(input: Any) -> Any:
        seen.append(input.shape)
        return input * 2.0, lambda grad_output: grad_output * 2.0

    in_blocks(op)(np.ones((2, BLOCK // 2)))
    in_blocks(op)(np.ones((3, BLOCK // 2)))
    assert seen == [(2, BLOCK // 2), (BLOCK,), (BLOCK // 2,)]
