"""Tensors that are no strided arrays of numbers: constant sparse ones are judged with their zeros, others are unjudged."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

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


def weighted_edges(x: Tensor, layer: nn.Module) -> Tensor:
    """A graph's adjacency, whose stored elements are computed."""
    edges = torch.tensor([[0, 1, 2], [1, 2, 3]])
    return layer(torch.sparse.mm(torch.sparse_coo_tensor(edges, x[:3, 0], (5, 5)), x))  # type: ignore[no-any-return]


def sparse_softmax(x: Tensor, layer: nn.Module) -> Tensor:
    return layer(torch.sparse.softmax(x.to_sparse(), 1).to_dense())  # type: ignore[no-any-return]


class Module(nn.Module):
    def __init__(self, function: Callable[[Tensor, nn.Module], Tensor]) -> None:
        super().__init__()
        self.first, self.layer, self.function = nn.Linear(8, 8), nn.Linear(8, 4), function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self.first(x), self.layer)


class Given(nn.Module):
    """A product with a sparse matrix, which is an argument, a buffer or a parameter."""

    def __init__(self, matrix: Tensor | None) -> None:
        super().__init__()
        self.layer = nn.Linear(5, 5)
        if isinstance(matrix, nn.Parameter):
            self.matrix = matrix
        else:
            self.register_buffer("matrix", matrix)

    def forward(self, x: Tensor, *matrices: Tensor) -> Tensor:
        return torch.sparse.mm(*matrices or (self.matrix,), self.layer(x)).tanh()


class Rescaled(Given):
    """The same, whose buffer changes in every call."""

    def forward(self, x: Tensor, *matrices: Tensor) -> Tensor:
        with torch.no_grad():
            self.matrix.mul_(2)
        return super().forward(x, self.matrix.clone())


FUNCTIONS = (jagged, jagged_between_operations, padded, sparse, weighted_edges, sparse_softmax)
QUIET = ("ignore:Sparse CSR tensor support", "ignore:Sparse invariant checks")
LAYOUTS = (Tensor.to_sparse, Tensor.to_sparse_csr)


@pytest.mark.filterwarnings("ignore:.*nested tensors is in prototype", *QUIET)
@pytest.mark.parametrize("function", FUNCTIONS)
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


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("sparse", LAYOUTS, ids=lambda own: own.__name__)
@pytest.mark.parametrize("kind", ["argument", "buffer", "parameter"])
def test_a_sparse_matrix_is_given(kind: str, sparse: Callable[[Tensor], Tensor]) -> None:
    """A constant one has its zeros. A parameter's product is unjudged and says why. The matrix is afterwards what it was."""
    torch.manual_seed(0)
    x, matrix = torch.randn(5, 5, requires_grad=True), sparse(torch.eye(5))
    held = {"argument": None, "buffer": matrix, "parameter": nn.Parameter(matrix)}[kind]
    module = Given(held)
    report = oracle.check_module(module, (x, matrix) if kind == "argument" else x, steps=2)
    assert not report.blame, report
    reasons = {own.reason.partition(" (")[0] for own in report.coverage.unjudged}
    layout = str(matrix.layout).removeprefix("torch.")
    said = f"sparse tensors are not judged, got {layout}: to_dense() makes one that is"
    assert reasons == ({said} if kind == "parameter" else set())
    assert {"layer", "tanh"} <= set(report.table[report.table["verdict"] == "pass"]["layer"])
    assert module.matrix is held and torch.equal(matrix.to_dense(), torch.eye(5))


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("sparse", LAYOUTS, ids=lambda own: own.__name__)
def test_a_sparse_buffer_is_restored(sparse: Callable[[Tensor], Tensor]) -> None:
    """Its numbers were multiplied in place."""
    module = Rescaled(sparse(torch.eye(5)))
    assert not oracle.check_module(module, torch.randn(5, 5)).blame
    assert torch.equal(module.matrix.to_dense(), torch.eye(5))


@pytest.mark.filterwarnings(*QUIET)
def test_numbers_that_a_sparse_matrix_shares_are_copied_before_it_is_overwritten() -> None:
    """The memory of its stored elements is that of the tensor from which it was made."""

    class Shared(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            numbers = x[:3, 0] * 1.5
            matrix = torch.sparse_coo_tensor(torch.tensor([[0, 1, 2], [1, 2, 3]]), numbers, (4, 4))
            made = numbers.tanh()
            matrix.detach().mul_(2)
            return made

    report = oracle.check_module(Shared(), torch.randn(4, 4, requires_grad=True))
    assert report.passed and report.coverage.operations == 1, report


class Product(torch.autograd.Function):
    """A product with a graph's neighbours, whose gradient forgets to transpose if `forgets`."""

    forgets = False

    @classmethod
    def forward(cls, ctx: Any, rows: Tensor, matrix: Tensor) -> Tensor:
        ctx.matrix = matrix
        made: Tensor = matrix @ rows
        return made

    @classmethod
    def backward(cls, ctx: Any, g: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return (ctx.matrix if cls.forgets else ctx.matrix.mT) @ g, None


class Untransposed(Product):
    forgets = True


class Graph(nn.Module):
    """A graph convolution; `product` is how neighbours are added up."""

    def __init__(self, product: Callable[[Tensor, Tensor], Tensor], nodes: int = 60) -> None:
        super().__init__()
        self.layer, self.product = nn.Linear(8, 8), product
        edges = torch.randint(0, nodes, (2, 4 * nodes))
        self.register_buffer("matrix", torch.sparse_coo_tensor(edges, torch.rand(4 * nodes), (nodes, nodes)).coalesce())

    def forward(self, x: Tensor) -> Tensor:
        return self.product(self.matrix, self.layer(x)).relu()


PRODUCTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "matmul": torch.matmul,
    "spmm": torch.spmm,
    "sparse.mm": torch.sparse.mm,
    "sparse.addmm": lambda matrix, rows: torch.sparse.addmm(rows, matrix, rows, alpha=0.5),
    "compressed rows": lambda matrix, rows: matrix.to_sparse_csr() @ rows,
    "softmax": lambda matrix, rows: torch.sparse.mm(torch.sparse.softmax(matrix, 1), rows),
    "normalized": lambda matrix, rows: (
        (matrix * 0.5) @ rows / torch.sparse.sum(matrix, 1).to_dense()[:, None].clamp(min=1)
    ),
}


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_with_neighbours_is_judged(name: str) -> None:
    """All of it. Zeros add no rounding errors, so the tolerance is that of a few terms and not of all nodes."""
    torch.manual_seed(0)
    report = oracle.check_module(Graph(PRODUCTS[name]), torch.randn(60, 8, requires_grad=True))
    assert report.passed and not report.coverage.unjudged, report
    product = report.table[report.table["layer"].str.contains("mm")]
    assert len(product) and product["z_rms"].min() > 0.15, product


@pytest.mark.filterwarnings(*QUIET)
@pytest.mark.parametrize("function", [Product, Untransposed])
@pytest.mark.parametrize("is_meant", [False, True])
def test_a_gradient_of_a_product_with_neighbours(function: Any, is_meant: bool) -> None:
    """A custom function's is right or wrong, by its own forward and by a reference."""
    torch.manual_seed(0)
    module = Graph(lambda matrix, rows: function.apply(rows, matrix))
    references: Any = {function: lambda rows, matrix: matrix @ rows} if is_meant else {}
    report = oracle.check_module(module, torch.randn(60, 8, requires_grad=True), references=references)
    assert [own.layer.rpartition(".")[2] for own in report.blame] == ["Untransposed"] * function.forgets, report
    assert not report.coverage.unjudged


@pytest.mark.filterwarnings(*QUIET)
def test_a_function_that_makes_its_sparse_matrix_is_not_accused() -> None:
    """Inside it autograd marks nothing, so the matrix may have a gradient."""

    class Weighted(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, edges: Tensor, numbers: Tensor, rows: Tensor) -> Tensor:
            ctx.save_for_backward(edges, numbers, rows)
            made: Tensor = torch.sparse_coo_tensor(edges, numbers, (len(rows), len(rows))) @ rows
            return made

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> tuple[None, Tensor, Tensor]:  # type: ignore[override]
            edges, numbers, rows = ctx.saved_tensors
            matrix = torch.sparse_coo_tensor(edges, numbers, (len(rows), len(rows)))
            return None, (g[edges[0]] * rows[edges[1]]).sum(1), matrix.T @ g

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.numbers = nn.Parameter(torch.rand(12))
            self.register_buffer("edges", torch.randint(0, 6, (2, 12)))

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = Weighted.apply(self.edges, self.numbers, x)  # type: ignore[no-untyped-call]
            return made

    report = oracle.check_module(Own(), torch.randn(6, 3, requires_grad=True))
    assert not report.blame and report.coverage.unjudged, report
