"""Rules of operations of which torch has no samples: their values and gradients are torch's, in float64 and float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F

import oracle
from oracle.programs.table import NoRule

aten = torch.ops.aten
SINGLE = ("float32",)
# An operation, and the shapes of its arrays.
OPERATIONS: dict[str, tuple[Callable[..., Any], dict[str, tuple[int, ...]]]] = {
    "weight norm by rows": (lambda v, g: torch._weight_norm(v, g, 0), {"v": (4, 3), "g": (4, 1)}),
    "weight norm by columns": (lambda v, g: torch._weight_norm(v, g, 1), {"v": (4, 3), "g": (1, 3)}),
    "channel_shuffle": (lambda x: F.channel_shuffle(x, 2), {"x": (2, 6, 3)}),
    "slice_copy": (lambda x: torch.slice_copy(x, 1, 1, 5, 2), {"x": (3, 6)}),
    "select_copy": (lambda x: torch.select_copy(x, 1, 2), {"x": (3, 6)}),
    "split_copy": (lambda x: torch.split_copy(x, 4, 1), {"x": (3, 6)}),
    "lanczos": (lambda x: F.interpolate(x, (5, 4), mode="lanczos", antialias=True), {"x": (1, 2, 7, 9)}),
    "bicubic": (lambda x: F.interpolate(x, (5, 4), mode="bicubic", antialias=True), {"x": (1, 2, 7, 9)}),
    "batch norm without statistics": (
        lambda x: aten._native_batch_norm_legit.no_stats(x, None, None, True, 0.1, 1e-5)[0],
        {"x": (5, 3)},
    ),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients_are_torch_s(name: str) -> None:
    """The reference is the recorded operation, differentiated by its rule; torch differentiates what it is held against."""
    function, shapes = OPERATIONS[name]
    report = oracle.check_op(function, oracle.from_torch(function), **shapes)
    assert report.passed, report


@pytest.mark.parametrize(("on", "inside"), [(1, 20), (0, 20)])
def test_a_fake_quantization_with_a_switch(on: int, inside: int) -> None:
    """With scale, zero point and switch in tensors, as torch.ao makes it; torch computes it in float32."""
    scale, zero = torch.tensor([0.1]), torch.tensor([3], dtype=torch.int32)

    def quantized(x: torch.Tensor) -> Any:
        switch = torch.tensor([on])
        return aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams(x, scale, zero, switch, 0, inside)[0]

    assert oracle.check_op(quantized, oracle.from_torch(quantized), dtypes=SINGLE, x=(4, 5)).passed


def test_a_zero_point_that_is_not_an_integer_has_no_rule() -> None:
    """torch rounds it in a way of its own."""

    def quantized(x: torch.Tensor) -> torch.Tensor:
        return torch.fake_quantize_per_channel_affine(x, torch.full((4,), 0.1), torch.zeros(4), 0, 0, 20)

    with pytest.raises(NoRule, match="a zero point that is not an integer"):
        oracle.check_op(quantized, oracle.from_torch(quantized), dtypes=SINGLE, x=(4, 5))


def test_the_median_of_nothing_is_nan() -> None:
    report = oracle.check_op(torch.median, oracle.from_torch(torch.median), dtypes=SINGLE, x=(0,))
    assert not report.blame and report.outcome == "no gradient was decided"
