"""Modules whose graph is cut between a parameter and the output, so that the parameter does not learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import oracle

Cutting = Callable[[nn.Module, Tensor], Tensor]


class Cut(nn.Module):
    def __init__(self, cut: Cutting) -> None:
        super().__init__()
        self.a, self.c, self.cut = nn.Linear(4, 8), nn.Linear(8, 3), cut

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.cut(self.a, x))  # type: ignore[no-any-return]


def without(a: nn.Module, x: Tensor) -> Tensor:
    with torch.no_grad():
        return a(x).tanh()  # type: ignore[no-any-return]


def chosen(a: nn.Module, x: Tensor) -> Tensor:
    """The largest is found without gradients: an index can have none."""
    with torch.no_grad():
        found = a(x).argmax(-1)
    return torch.eye(8)[found] * x.sum()


def both(a: nn.Module, x: Tensor) -> Tensor:
    return without(a, x) + a(x)  # type: ignore[no-any-return]


def measured(a: nn.Module, x: Tensor) -> Tensor:
    """What is read of a parameter beside its use is no cut."""
    return a(x) / (1 + a.weight.detach().norm())  # type: ignore[no-any-return, operator]


CUTS: dict[str, tuple[Cutting, str]] = {
    "detach": (lambda a, x: a(x).detach(), "detach"),
    "a leaf": (lambda a, x: a(x).detach().requires_grad_(), "detach"),
    "a parameter": (lambda a, x: nn.functional.linear(x, a.weight.detach()), "detach"),
    "data of a parameter": (lambda a, x: nn.functional.linear(x, a.weight.data), "detach"),
}


@pytest.mark.parametrize("name", CUTS)
def test_a_cut_is_named(name: str) -> None:
    cut, place = CUTS[name]
    ((layer, verdict, said),) = [
        (own.layer, own.verdict, own.diagnosis) for own in oracle.check_module(Cut(cut), torch.randn(5, 4)).blame
    ]
    assert (layer, verdict) == (place, "missing") and "nothing before it learns: a." in said
    frozen = Cut(cut)
    frozen.a.requires_grad_(False)
    oracle.check_module(frozen, torch.randn(5, 4)).raise_for_discrepancy()


@pytest.mark.parametrize("cut", [without, chosen, both, measured])
def test_a_use_without_gradients_that_is_no_cut_is_not_accused(cut: Cutting) -> None:
    oracle.check_module(Cut(cut), torch.randn(5, 4)).raise_for_discrepancy()
