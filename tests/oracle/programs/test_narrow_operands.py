"""Operations in 16 bits beside wider numbers, near zero, and at repeated places: torch's kernels are not accused."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import oracle
from oracle.programs.execution import Run, WithErrors
from oracle.programs.torch_calls import record
from oracle.running_error import ErrorModel

DTYPES = [torch.bfloat16, torch.float16]
PLACES = torch.tensor([4, 0, 4, 1, 4, 4])
OPERATIONS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "x + s": lambda x, s: x + s,
    "s - x": lambda x, s: s - x,
    "x * s": lambda x, s: x * s,
    "s * x": lambda x, s: s * x,
    "x / s": lambda x, s: x / s,
    "where": lambda x, s: torch.where(x > 0, x, s),
    "index_add": lambda x, s: x.index_add(0, PLACES, x[:6] * 1.7),
    "index_put": lambda x, s: x.index_put((PLACES,), x[:6] * 1.7, accumulate=True),
    "scatter_add": lambda x, s: x.scatter_add(0, PLACES[:, None].expand(6, 8), x[:6] * 1.7),
    "erf near zero": lambda x, s: torch.erf(x * 1e-6),
    "addcmul": lambda x, s: torch.addcmul(x.float(), x, x.float(), value=0.3),
    "addcmul, sides exchanged": lambda x, s: torch.addcmul(x.float(), x.float(), x, value=0.3),
}


class Operation(nn.Module):
    def __init__(self, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.number = function, nn.Parameter(torch.tensor(25.3712))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x * 9.0, self.number)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_torch_is_not_accused(name: str, dtype: torch.dtype) -> None:
    """A float32 number without dimensions is rounded to the 16 bits beside it in some kernels and not in others."""
    for seed in range(3):
        torch.manual_seed(seed)
        x = torch.randn(12, 8).to(dtype).requires_grad_()
        report = oracle.check_module(Operation(OPERATIONS[name]), x)
        assert not report.blame, report.blame


def test_a_wrong_number_beside_16_bits_is_found() -> None:
    """A tenth of it is more than its rounding."""

    class Wrong(torch.autograd.Function):
        @staticmethod
        def forward(ctx: object, x: Tensor, s: Tensor) -> Tensor:
            return x + s

        @staticmethod
        def backward(ctx: object, grad: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
            return grad, 0.9 * grad.sum().float()

    torch.manual_seed(0)
    x = torch.randn(12, 8).bfloat16().requires_grad_()
    report = oracle.check_module(Operation(Wrong.apply), x)
    assert [row.quantity for row in report.blame] == ["grad.number"]


def test_what_moves_numbers_rounds_nothing() -> None:
    """A result in 16 bits that is copied, turned and joined has the tolerance that it had."""
    torch.manual_seed(0)
    a, b = torch.randn(4, 8).bfloat16(), torch.randn(8, 3).bfloat16()
    product = oracle.expect(torch.matmul, a, b).output
    moved = oracle.expect(
        lambda a, b: torch.cat([(a @ b).mT.contiguous().flip(0)[:2], (a @ b).mT.roll(1, 0)]), a, b
    ).output
    due = np.concatenate([product.tolerance.T[::-1][:2], np.roll(product.tolerance.T, 1, 0)])
    np.testing.assert_array_equal(moved.tolerance, due)


def test_a_declared_precision_of_sums_overrides_the_slices_of_cublas() -> None:
    """Who declares float32 is held to it: the tolerance leaves no room for partial sums that are stored in 16 bits."""
    torch.manual_seed(0)
    program, _ = record(torch.mm, torch.randn(4, 64).bfloat16(), torch.randn(64, 3).bfloat16())
    model = ErrorModel(np.dtype("float32"))
    known, on_cpu, on_cuda = (
        Run(program, WithErrors(model, accumulate, device)).outputs[0].sigma
        for accumulate, device in ((None, "cuda"), ("float32", "cpu"), ("float32", "cuda"))
    )
    np.testing.assert_array_equal(on_cuda, on_cpu)
    assert (known > on_cuda).all()
