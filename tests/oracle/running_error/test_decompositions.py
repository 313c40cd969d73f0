"""Matrix decompositions: torch's errors lie within the derived tolerance, which is not much wider than these."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import oracle
from oracle.judging.derived import expected_of
from oracle.programs.execution import Run, WithErrors
from oracle.programs.torch_calls import record
from oracle.running_error import ErrorModel

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Any]] = {
    "inv": lambda a, b: torch.linalg.inv(a),
    "solve": torch.linalg.solve,
    "slogdet": lambda a, b: torch.linalg.slogdet(a)[1],
    "det": lambda a, b: torch.linalg.det(3 * a),
    "cholesky": lambda a, b: torch.linalg.cholesky(a @ a.mT + torch.eye(len(a), dtype=a.dtype)),
    "cholesky_solve": lambda a, b: torch.cholesky_solve(b, a.tril() + torch.eye(len(a), dtype=a.dtype)),
    "triangular": lambda a, b: torch.linalg.solve_triangular(
        a.triu() + torch.eye(len(a), dtype=a.dtype), b, upper=True
    ),
    "eigh": lambda a, b: torch.linalg.eigh(a @ a.mT),
    "eigh of the upper triangle": lambda a, b: torch.linalg.eigh(a, "U"),
    "eigvalsh": lambda a, b: torch.linalg.eigvalsh(a + a.mT),
    "svd": lambda a, b: torch.linalg.svd(a),
    "svd of more rows": lambda a, b: torch.linalg.svd(a[:, :2], full_matrices=False),
    "svd of more columns": lambda a, b: torch.linalg.svd(a[:2], full_matrices=False),
    "svd completed": lambda a, b: torch.linalg.svd(a[:, :2])[1],
    "largest singular value": lambda a, b: torch.linalg.matrix_norm(a, 2),
    "qr": lambda a, b: torch.linalg.qr(a),
    "qr of more rows": lambda a, b: torch.linalg.qr(a[:, :2]),
    "qr of more columns": lambda a, b: torch.linalg.qr(a[:2]),
    "lu": lambda a, b: torch.linalg.lu(a)[1:],
    "lu_factor": lambda a, b: torch.linalg.lu_factor(a)[0],
    "lu_solve": lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b),
    "lu_solve transposed": lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b, adjoint=True),
    "lu_solve from the right": lambda a, b: torch.linalg.lu_solve(*torch.linalg.lu_factor(a), b.mT, left=False),
    "pinv": lambda a, b: torch.linalg.pinv(a),
    "pinv of more rows": lambda a, b: torch.linalg.pinv(a[:, :2]),
    "pinv of more columns": lambda a, b: torch.linalg.pinv(a[:2], rtol=1e-5),
    "pinv of low rank": lambda a, b: torch.linalg.pinv(a[:, :2] @ a[:2], atol=1e-3),
    "lstsq": lambda a, b: torch.linalg.lstsq(a[:, :2], b).solution,
    "lstsq of a square matrix": lambda a, b: torch.linalg.lstsq(a, b).solution,
    "reflections": lambda a, b: _reflections(a[:, :2]),
}


def _reflections(a: Tensor) -> Tensor:
    """As torch's orthogonal parametrization makes them."""
    vectors = a.tril(-1)
    return torch.linalg.householder_product(vectors, 2.0 / (1.0 + vectors.square().sum(0)))


def conditioned(n: int, digits: float, dtype: torch.dtype) -> Tensor:
    """A random matrix whose singular values fall by this many digits."""
    q, p = (torch.linalg.qr(torch.randn(n, n, dtype=torch.float64))[0] for _ in range(2))
    return (q @ torch.diag(torch.logspace(0, -digits, n, dtype=torch.float64)) @ p).to(dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("n", "digits"), [(3, 0.5), (30, 0.5), (30, 3.0), (100, 0.5)])
@pytest.mark.parametrize("name", OPERATIONS)
def test_errors(name: str, n: int, digits: float, dtype: str) -> None:
    fn, kind, z = OPERATIONS[name], getattr(torch, dtype), []
    for seed in range(4):
        torch.manual_seed(seed)
        given = [conditioned(n, digits, kind).requires_grad_(), torch.randn(n, 3, dtype=kind, requires_grad=True)]
        made_by_torch = fn(*given)
        outputs = [made_by_torch] if isinstance(made_by_torch, Tensor) else [*made_by_torch]
        upstream = [torch.randn_like(own) for own in outputs]
        due = torch.autograd.grad(outputs, given, upstream, allow_unused=True)
        run = Run(record(fn, *given)[0], WithErrors(ErrorModel(np.dtype(dtype))))
        made = [*run.outputs, *run.gradients([run.arithmetic.lifted(own.numpy()) for own in upstream])]
        for expected, got in zip(made, [*outputs, *due], strict=True):
            if expected is not None and got is not None:
                own = expected_of(expected)
                assert np.isfinite(own.sigma).all() or name == "pinv of low rank"
                rounds = (own.sigma > 0) & np.isfinite(own.sigma)
                z.append(np.abs(got.detach().numpy() - own.value)[rounds] / own.sigma[rounds])
    every = np.concatenate([own.ravel() for own in z])
    assert every.max() < oracle.running_error.LAMBDA
    # In float64 torch and the reference run the same code. A solution with L and U does not know that their errors are shared.
    assert every.max() > 0.05 or dtype == "float64" or name.startswith("lu_solve")


def test_a_wrong_gradient_is_found() -> None:
    """A determinant's logarithm whose gradient is not transposed, as a custom function has it."""

    class LogDet(torch.autograd.Function):
        @staticmethod
        def forward(ctx: torch.autograd.function.FunctionCtx, a: Tensor) -> Tensor:
            ctx.save_for_backward(a)
            return torch.linalg.slogdet(a)[1]

        @staticmethod
        def backward(ctx: torch.autograd.function.FunctionCtx, g: Tensor) -> Tensor:  # type: ignore[override]
            (a,) = ctx.saved_tensors  # type: ignore[attr-defined]
            result: Tensor = g * torch.linalg.inv(a)
            return result

    class Flow(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.eye(4) + 0.3 * torch.randn(4, 4))

        def forward(self, x: Tensor) -> Tensor:
            made: Tensor = x @ self.weight + LogDet.apply(self.weight)  # type: ignore[no-untyped-call]
            return made

    torch.manual_seed(0)
    report = oracle.check_module(Flow(), torch.randn(5, 4))
    assert [own.layer.rpartition(".")[2] for own in report.blame] == ["LogDet"], report
    assert report.blame[0].cause_name == "transposed"


@pytest.mark.parametrize("fn", [torch.linalg.inv_ex, lambda a: torch.linalg.solve_ex(a, torch.eye(2))])
def test_of_a_matrix_without_an_inverse_nothing_is_known(fn: Callable[[Tensor], tuple[Tensor, Tensor]]) -> None:
    """Rounding may make a large number, an infinity or NaN of it: neither a failure of the reference nor a number to be met."""
    found = oracle.expect(lambda a: fn(a)[0], torch.tensor([[1.0, 2.0], [2.0, 4.0]])).output
    assert np.isinf(found.sigma).all()


class Eigenvectors(torch.autograd.Function):
    """Of a symmetric matrix, with a gradient that users write: F_ij with the wrong sign is the mistake."""

    sign = 1.0

    @classmethod
    def forward(cls, ctx: Any, a: Tensor) -> tuple[Tensor, Tensor]:
        values, vectors = torch.linalg.eigh(a)
        ctx.save_for_backward(values, vectors)
        return values, vectors

    @classmethod
    def backward(cls, ctx: Any, g_values: Tensor, g_vectors: Tensor) -> Tensor:  # type: ignore[override]
        values, vectors = ctx.saved_tensors
        gaps = cls.sign * (values[None] - values[:, None])
        turn = vectors.T @ g_vectors / gaps.fill_diagonal_(torch.inf)
        inner = vectors @ (turn + torch.diag(g_values)) @ vectors.T
        return (inner + inner.T) / 2


class WrongSign(Eigenvectors):
    sign = -1.0


@pytest.mark.parametrize("function", [Eigenvectors, WrongSign])
def test_a_gradient_of_eigenvectors(function: Any) -> None:
    """A user's own is right or wrong, whatever the signs of the vectors."""

    class Whitened(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(5, 5)

        def forward(self, x: Tensor) -> Tensor:
            y = self.linear(x)
            values, vectors = function.apply(y.T @ y / len(y))
            made: Tensor = y @ vectors / values.sqrt()
            return made

    torch.manual_seed(0)
    report = oracle.check_module(Whitened(), torch.randn(40, 5))
    assert [own.layer.rpartition(".")[2] for own in report.blame] == ["WrongSign"] * (function is WrongSign), report
    assert report.passed == (function is Eigenvectors)


def test_vectors_of_equal_eigenvalues_are_open() -> None:
    """Any basis of their plane is right; the third vector is decided."""
    torch.manual_seed(0)
    q = torch.linalg.qr(torch.randn(3, 3, dtype=torch.float64))[0]
    a = (q * torch.tensor([1.0, 1.0, 3.0])) @ q.T
    sigma = oracle.expect(lambda own: torch.linalg.eigh(own)[1], (a + a.T) / 2).output.sigma
    assert (sigma[:, :2].max(0) > 0.1).all() and (sigma[:, 2] < 1e-14).all()


def test_the_rank_is_open_where_rounding_decides_it() -> None:
    a = torch.diag(torch.tensor([1.0, 3e-7]))
    assert np.isinf(oracle.expect(torch.linalg.pinv, a).output.sigma).all()
    assert np.isfinite(oracle.expect(torch.linalg.pinv, torch.diag(torch.tensor([1.0, 0.5]))).output.sigma).all()


def test_columns_that_complete_a_basis_are_open() -> None:
    torch.manual_seed(0)
    found = oracle.expect(lambda own: torch.linalg.svd(own)[0], torch.randn(5, 2)).output.sigma
    assert np.isinf(found[:, 2:]).all() and np.isfinite(found[:, :2]).all()


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (lambda a: torch.linalg.pinv(a @ a.mT, hermitian=True), "pinv of symmetric matrices alone"),
        (lambda a: torch.linalg.lu(a[:2])[2], "LU factors of matrices that are not square"),
        (lambda a: torch.linalg.householder_product(a, a[:, 0]), "a product of others than reflections"),
    ],
)
def test_what_has_no_rule_is_said(fn: Any, said: str) -> None:
    class Own(torch.nn.Module):
        def forward(self, a: Tensor) -> Tensor:
            made: Tensor = fn(a)
            return made

    report = oracle.check_module(Own(), torch.randn(3, 3, requires_grad=True))
    assert not report.passed and said in str(report), report
