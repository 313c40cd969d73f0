"""check_module(effort="sample") on single operations: elements are drawn of one that can be cut; others are judged whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import oracle
from oracle.modules.sampled.plans import DRAWN

IMAGES, ROWS, HEADS, BATCH = (4, 8, 20, 20), (70, 80), (4, 10, 8, 16), (40, 12, 14)
MASK = torch.linspace(-1, 1, 64).reshape(8, 8)


class Doing(nn.Module):
    """An operation on the input and parameters of these shapes."""

    def __init__(self, function: Callable[..., torch.Tensor], shapes: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.function = function
        self.own = nn.ParameterList(nn.Parameter(torch.randn(shape)) for shape in shapes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.function(x, *self.own)


# The operation, the shape of its input, and those of parameters; of the first elements are drawn, the second are judged whole.
Entry = tuple[Callable[..., Any], tuple[int, ...], tuple[tuple[int, ...], ...]]
CUT: dict[str, Entry] = {
    "planes of a maximum": (lambda x: F.max_pool2d(x, 3, 2, 1), IMAGES, ()),
    "planes of a mean": (lambda x: F.avg_pool2d(x, 3, 2, 1), IMAGES, ()),
    "planes of any size": (lambda x: F.adaptive_avg_pool2d(x, 5), IMAGES, ()),
    "planes made larger": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), IMAGES, ()),
    "planes with an edge": (lambda x: F.pad(x, (1, 2, 1, 0), "reflect"), IMAGES, ()),
    "products of a batch": (torch.bmm, BATCH, ((40, 14, 11),)),
    "products added to a batch": (lambda x, y, z: torch.baddbmm(z, x, y), BATCH, ((40, 14, 11), (40, 12, 11))),
    "columns of a softmax": (lambda x: x.softmax(0), ROWS, ()),
    "an inner axis": (lambda x: x.log_softmax(1), (20, 30, 12), ()),
    "a running sum": (lambda x: x.cumsum(-2), (20, 30, 12), ()),
    "what is joined": (lambda x, y: torch.cat([x, y], 2), (20, 30, 12), ((20, 30, 3),)),
    "means of rows": (lambda x: x.mean(1), ROWS, ()),
    "sums that keep their axes": (lambda x: x.sum((0, 2), keepdim=True), (20, 30, 12), ()),
    "a row for all": (torch.add, ROWS, ((80,),)),
    "a choice": (lambda x, y: torch.where(x > 0, x, y), ROWS, ((80,),)),
    "a product": (torch.mm, ROWS, ((80, 60),)),
    "a product and a row": (lambda x, y, z: torch.addmm(z, x, y), ROWS, ((80, 60), (60,))),
    "heads": (lambda x: F.scaled_dot_product_attention(x, x, x), HEADS, ()),
    "heads under a mask": (lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=MASK), HEADS, ()),
    "heads that look elsewhere": (lambda x, k: F.scaled_dot_product_attention(x, k, k), HEADS, ((4, 10, 9, 16),)),
    "a part of a view": (lambda x: x.split(30, 1)[1] * 2, (160, 80), ()),
}
WHOLE: dict[str, Entry] = {
    "planes without a batch": (lambda x: F.pad(x, (1, 2, 1, 0), "reflect"), (32, 20, 20), ()),
    "products added to a row": (lambda x, y, z: torch.baddbmm(z, x, y), BATCH, ((40, 14, 11), (11,))),
    "one softmax": (lambda x: x.softmax(0), (6000,), ()),
    "the sum of all": (torch.sum, ROWS, ()),
    "a number for all": (torch.mul, ROWS, ((1,),)),
    "a column by a row": (torch.mul, (90, 1), ((1, 80),)),
    "a matrix by itself": (lambda x: x @ x, (70, 70), ()),
    "a product and a matrix": (lambda x, y, z: torch.addmm(z, x, y), ROWS, ((80, 60), (70, 60))),
    "an order": (lambda x: x.sort(1)[0], ROWS, ()),
}


@pytest.mark.parametrize("name", [*CUT, *WHOLE])
def test_an_operation_is_judged_by_the_elements_that_are_drawn(name: str) -> None:
    """A smaller operation that held other elements than those drawn would be called wrong."""
    function, shape, parameters = (CUT | WHOLE)[name]
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    report = oracle.check_module(Doing(function, parameters), x, effort="sample")
    assert report.passed and report.coverage.operations == 1, report
    assert (report.coverage.gradients < 1) == (name in CUT)
    largest = report.table.query("quantity.str.startswith('grad')")["n"].max()
    assert name in WHOLE or 0 < largest <= 2 * DRAWN


# A layer and the shape of its input; of the first elements are drawn, the second are judged whole.
LAYERS_CUT: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "rows of a softmax": (nn.Softmax(1), ROWS),
    "columns of a softmax": (nn.LogSoftmax(0), ROWS),
    "planes of a pool": (nn.AvgPool2d(2), IMAGES),
    "groups of channels": (nn.GroupNorm(4, 8), IMAGES),
    "channels of an instance norm": (nn.InstanceNorm2d(8, affine=True), IMAGES),
    "channels of a PReLU": (nn.PReLU(8), IMAGES),
    "rows and features": (nn.Linear(80, 60, bias=False), ROWS),
}
LAYERS_WHOLE: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "a softmax in the middle": (nn.Softmax(1), (20, 30, 12)),
    "one softmax": (nn.Softmax(0), (6000,)),
    "a pool without a batch": (nn.AvgPool2d(2), (32, 20, 20)),
    "one slope": (nn.PReLU(), ROWS),
    "a row": (nn.Linear(5000, 3), (5000,)),
}


@pytest.mark.parametrize("name", [*LAYERS_CUT, *LAYERS_WHOLE])
def test_a_layer_is_judged_by_the_elements_that_are_drawn(name: str) -> None:
    """Where its parts compute alone; what cannot be cut is not left out."""
    layer, shape = (LAYERS_CUT | LAYERS_WHOLE)[name]
    torch.manual_seed(0)
    report = oracle.check_module(nn.Sequential(layer), torch.randn(shape, requires_grad=True), effort="sample")
    assert report.passed and report.coverage.operations == report.coverage.parameters == 1, report
    assert (report.coverage.gradients < 1) == (name in LAYERS_CUT)
