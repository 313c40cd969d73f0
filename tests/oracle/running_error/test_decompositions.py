"""Matrix decompositions: torch's errors lie within the derived tolerance, which is not much wider than these."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

import oracle
from oracle.judging.derived import expected_of
from oracle.programs.execution import Run, WithErrors
from oracle.programs.torch_calls import record
from oracle.running_error import ErrorModel

OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "inv": lambda a, b: torch.linalg.inv(a),
    "solve": torch.linalg.solve,
    "slogdet": lambda a, b: torch.linalg.slogdet(a)[1],
    "det": lambda a, b: torch.linalg.det(3 * a),
    "cholesky": lambda a, b: torch.linalg.cholesky(a @ a.mT + torch.eye(len(a), dtype=a.dtype)),
    "cholesky_solve": lambda a, b: torch.cholesky_solve(b, a.tril() + torch.eye(len(a), dtype=a.dtype)),
    "triangular": lambda a, b: torch.linalg.solve_triangular(
        a.triu() + torch.eye(len(a), dtype=a.dtype), b, upper=True
    ),
}


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
        output = fn(*given)
        upstream = torch.randn_like(output)
        due = torch.autograd.grad(output, given, upstream, allow_unused=True)
        run = Run(record(fn, *given)[0], WithErrors(ErrorModel(np.dtype(dtype))))
        made = [*run.outputs, *run.gradients([run.arithmetic.lifted(upstream.numpy())])]
        for expected, got in zip(made, [output, *due], strict=True):
            if expected is not None and got is not None:
                own = expected_of(expected)
                rounds = own.sigma > 0
                z.append(np.abs(got.detach().numpy() - own.value)[rounds] / own.sigma[rounds])
    every = np.concatenate([own.ravel() for own in z])
    assert every.max() < oracle.running_error.LAMBDA
    assert every.max() > 0.05 or dtype == "float64"  # where torch and the reference run the same code


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
