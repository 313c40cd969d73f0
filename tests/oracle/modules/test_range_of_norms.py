"""Norms of large and small numbers: torch's kernels leave the range on the way to a gradient that float32 holds."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import oracle

NORMS: dict[str, Callable[[], nn.Module]] = {
    "LayerNorm": lambda: nn.LayerNorm(6),
    "GroupNorm": lambda: nn.GroupNorm(2, 6),
    "RMSNorm": lambda: nn.RMSNorm(6),
    "BatchNorm1d": lambda: nn.BatchNorm1d(6),
    "InstanceNorm1d": lambda: nn.InstanceNorm1d(6, affine=True),
}
FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "layer_norm": lambda x: F.layer_norm(x, (6,)),
    "group_norm": lambda x: F.group_norm(x, 2),
    "rms_norm": lambda x: F.rms_norm(x, (6,)),
    "batch_norm": lambda x: F.batch_norm(x, None, None, training=True),
    "instance_norm": F.instance_norm,
}
BESIDE_THE_RANGE = [(1.0, 1e38), (1e-3, 1e36), (1e15, 1e20), (1e18, 1e-20), (1e10, 1e-30), (1e19, 1.0), (1e-15, 1e-22)]


class Scaled(nn.Module):
    """A norm, and a loss scale behind it."""

    def __init__(self, norm: Callable[[Tensor], Tensor], scale: float) -> None:
        super().__init__()
        self.norm, self.scale = norm, scale

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x) * self.scale


def checked(name: str, size: float, scale: float) -> oracle.Report:
    torch.manual_seed(0)
    shape = (4, 6, 3) if name.lower().startswith("instance") else (4, 6)
    x = (torch.randn(shape) * size).requires_grad_()
    return oracle.check_module(Scaled(NORMS[name]() if name in NORMS else FUNCTIONS[name], scale), x)


@pytest.mark.parametrize(("size", "scale"), BESIDE_THE_RANGE)
@pytest.mark.parametrize("name", [*NORMS, *FUNCTIONS])
def test_torch_is_not_accused_beside_the_range(name: str, size: float, scale: float) -> None:
    """They multiply sums of the upstream gradient by 1/σ three times, or by 1/σ³."""
    assert not checked(name, size, scale).blame


@pytest.mark.parametrize(("size", "scale"), [(1e6, 1e6), (1e-2, 1e-6), (1e4, 1e-10)])
@pytest.mark.parametrize("name", [*NORMS, *FUNCTIONS])
def test_inside_the_range_all_is_decided(name: str, size: float, scale: float) -> None:
    report = checked(name, size, scale)
    assert report.passed and set(report.table["verdict"]) == {"pass"}, report.table
