"""A layer that is not called as its class is called, or is not what its class says, is judged by its operations all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import oracle


class Model(nn.Module):
    """One layer, and what is done with it."""

    def __init__(self, layer: nn.Module, body: Callable[[Any, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.layer, self.body = layer, body

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(self.layer, x)


class Bare(nn.Linear):
    """A linear layer without what the constructor of its class sets."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight, self.bias = nn.Parameter(torch.randn(3, 4)), None  # type: ignore[assignment]


class BareNorm(nn.BatchNorm1d):
    """Statistics, and a forward pass that does not use them."""

    def __init__(self) -> None:
        nn.Module.__init__(self)
        self.weight = nn.Parameter(torch.ones(4))
        self.register_buffer("running_mean", torch.zeros(4))
        self.register_buffer("running_var", torch.ones(4))

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return input * self.weight


def after_an_error(layer: nn.Module, x: torch.Tensor) -> torch.Tensor:
    try:
        layer(x[:, :2])
    except RuntimeError:
        return layer(x)  # type: ignore[no-any-return]
    raise AssertionError


PLAIN, IMAGES = (5, 4), (2, 2, 4, 4)
CALLS: dict[str, tuple[nn.Module, Callable[[Any, torch.Tensor], torch.Tensor], tuple[int, ...]]] = {
    "with an argument more": (nn.ConvTranspose2d(2, 3, 3, 2), lambda up, x: up(x, output_size=(10, 10)), IMAGES),
    "with two results": (nn.MaxPool2d(2, return_indices=True), lambda pool, x: pool(x)[0], IMAGES),
    "after a call that failed": (nn.Linear(4, 3), after_an_error, PLAIN),
    "without its options": (Bare(), lambda layer, x: layer(x), PLAIN),
    "with statistics alone": (BareNorm(), lambda layer, x: layer(x), PLAIN),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_is_called_in_another_way_is_judged(name: str) -> None:
    """torch is not accused, every operation and parameter is judged, and a result that is a hundredth too large is found."""
    layer, body, shape = CALLS[name]
    torch.manual_seed(0)
    x = torch.randn(shape, requires_grad=True)
    report = oracle.check_module(Model(layer, body), x)
    assert report.passed and report.coverage.operations == report.coverage.parameters == 1, report

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            return x * 1.0

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> Any:
            return grad * 1.01

    report = oracle.check_module(Model(layer, lambda own, x: body(own, Wrong.apply(x))), x)
    assert [own.quantity for own in report.blame] == ["grad_input"], report


@pytest.mark.parametrize("layer", [nn.Identity(), nn.Dropout(0.3)], ids=str)
def test_a_parameter_that_a_layer_hands_through_is_not_cut_off(layer: nn.Module) -> None:
    """In evaluation a dropout gives the very tensor that it is given, as DeBERTa does with its positions: a leaf of the graph."""

    class Positions(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight, self.layer, self.head = nn.Parameter(torch.randn(4, 8)), layer, nn.Linear(8, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.head(x + self.layer(self.weight))  # type: ignore[no-any-return]

    torch.manual_seed(0)
    report = oracle.check_module(Positions().eval(), torch.randn(5, 4, 8))
    report.raise_for_discrepancy()
    assert report.coverage.parameters == 1


@pytest.mark.parametrize("mode", ["bicubic", "nearest-exact", "area"])
def test_a_layer_whose_option_the_reference_lacks_is_judged_by_its_operations(mode: str) -> None:
    """The reference has no such mode, so the layer was said to contradict its own input."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Upsample(scale_factor=2, mode=mode))
    report = oracle.check_module(net, torch.randn(2, 3, 6, 7))
    assert report.passed and report.coverage is not None and report.coverage.operations == 1, str(report)


@pytest.mark.filterwarnings("ignore:dropout2d")
def test_an_input_that_the_reference_does_not_take_is_unjudged() -> None:
    """Torch takes two dimensions where the reference does not: that is no fault of the module."""
    report = oracle.check_module(nn.Sequential(nn.Linear(3, 3), nn.Dropout2d(0.4)), torch.randn(5, 3))
    (row,) = (row for _, row in report.table.iterrows() if row["verdict"] != "pass")
    assert (row["layer"], row["verdict"]) == ("1", "unjudged"), str(report)
    assert row["diagnosis"].startswith("the reference does not take it: ")
    assert not report.passed and not report.blame
    assert report.coverage is not None and [own.place for own in report.coverage.unjudged] == ["1"]
