"""Tensors that are no strided arrays of numbers: what is computed with them is unjudged, and the rest is judged."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

import oracle


def jagged(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(torch.nested.as_nested_tensor([x[:2], x[2:]], layout=torch.jagged)).values()  # type: ignore[no-any-return]


def jagged_between_operations(x: Tensor, layer: nn.Module) -> Tensor:
    made = torch.nested.nested_tensor_from_jagged(layer(x), torch.tensor([0, 2, 5]))
    return (made * 2).values()  # type: ignore[no-any-return]


def padded(x: Tensor, layer: nn.Module) -> Tensor:
    made = layer(torch.nested.as_nested_tensor([x[:2], x[2:]]))
    return torch.nested.to_padded_tensor(made, 0.0)


def sparse(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(x.to_sparse_csr())  # type: ignore[no-any-return]


class Module(nn.Module):
    def __init__(self, function: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.first, self.layer, self.function = nn.Linear(8, 8), nn.Linear(8, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.first(x), self.layer)


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype", "ignore:Sparse CSR tensor support")
@pytest.mark.parametrize("function", [jagged, jagged_between_operations, padded, sparse])
@pytest.mark.parametrize("effort", ["full", "sample"])
def test_a_correct_program_is_not_accused(function: Callable[[Tensor, nn.Module], Tensor], effort: str) -> None:
    """The recording asked nested and sparse tensors for numbers that they do not show, and called the program crashed."""
    torch.manual_seed(0)
    module, x = Module(function), torch.randn(5, 8)
    report = oracle.check_module(module, x, lambda output, _: output.square().mean(), torch.zeros(1), effort=effort)
    assert not report.blame
    assert "unjudged" in set(report.table["verdict"])
    first = report.table[report.table["layer"] == "first"]
    assert {"grad.weight", "grad.bias"} <= set(first[first["verdict"] == "pass"]["quantity"])
