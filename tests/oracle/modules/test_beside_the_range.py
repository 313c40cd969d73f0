"""Operations of torch whose numbers leave the range, or divide by zero: none is accused of what its kernel makes of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import oracle

INF = float("inf")


class Scaled(nn.Module):
    """A function or layer, and a loss scale behind it."""

    def __init__(self, fn: Callable[..., Any], scale: float) -> None:
        super().__init__()
        self.fn, self.scale = fn, scale

    def forward(self, *given: Tensor) -> Any:
        made = self.fn(*given)
        return tuple(own * self.scale for own in made) if isinstance(made, tuple) else made * self.scale


def numbers(*shape: int, dtype: torch.dtype = torch.float32, size: float = 1.0) -> Tensor:
    return (torch.randn(shape) * size).to(dtype).requires_grad_()


HALF = torch.float16
# A function, its arguments, and a loss scale, which float16 cannot hold.
CASES: dict[str, tuple[Callable[..., Any], Callable[[], tuple[Tensor, ...]], float]] = {
    "the zeros beside a diagonal": (torch.trace, lambda: (numbers(3, 4, dtype=HALF),), 1e30),
    "an element that is written over": (
        lambda x, y: x.put(torch.tensor(0), y),
        lambda: (numbers(3, dtype=HALF), numbers(dtype=HALF)),
        1e30,
    ),
    "a power of zero": (
        torch.pow,
        lambda: (numbers(5, dtype=HALF), torch.zeros(5, dtype=HALF, requires_grad=True)),
        1e30,
    ),
    "the square of a divisor": (torch.addcdiv, lambda: tuple(numbers(5, size=1e30) for _ in range(3)), 1e20),
    "a mean of infinities": (
        lambda x: torch.var_mean(x, 1),
        lambda: (torch.tensor([[1.0, INF, 2.0], [2.0, 3.0, 4.0]], requires_grad=True),),
        1.0,
    ),
    "a mean beside a deviation": (
        lambda x: torch.std_mean(x, 1),
        lambda: (torch.tensor([[1.0, INF, 2.0], [2.0, 3.0, 4.0]], requires_grad=True),),
        1.0,
    ),
    "Softsign of infinite gradients": (nn.Softsign(), lambda: (numbers(6, dtype=HALF),), 1e30),
    "a deviation that is stored": (
        nn.BatchNorm1d(4, eps=1e-12).to(HALF),
        lambda: (torch.zeros(5, 4, dtype=HALF, requires_grad=True),),
        1.0,
    ),
    "the gradient of a norm's weight": (
        nn.InstanceNorm1d(4, eps=0.0, affine=True),
        lambda: (numbers(5, 4, 4, size=1e10),),
        1e30,
    ),
    "the gradient of a group norm's weight": (nn.GroupNorm(2, 4), lambda: (numbers(5, 4, 4, size=1e10),), 1e30),
}


@pytest.mark.parametrize("name", CASES)
def test_torch_is_not_accused(name: str) -> None:
    torch.manual_seed(0)
    fn, given, scale = CASES[name]
    report = oracle.check_module(Scaled(fn, scale), given())
    assert not report.blame, report.blame


@pytest.mark.parametrize(
    "fn", [lambda a: torch.linalg.inv_ex(a)[0], lambda a: torch.linalg.solve_ex(a, a[:, :, :1])[0]]
)
def test_a_singular_matrix_leaves_those_beside_it_judged(fn: Callable[[Tensor], Tensor]) -> None:
    """It has no inverse, or a large one by rounding; the others have theirs."""
    torch.manual_seed(0)
    matrices = torch.randn(4, 3, 3)
    matrices[1, 2] = matrices[1, 0] * 2
    matrices[1] = matrices[1].round()
    matrices[1, 1] = matrices[1, 0]
    report = oracle.check_module(Scaled(fn, 1.0), matrices.requires_grad_())
    assert report.passed and {"pass"} <= set(report.table["verdict"]), report.table
