"""Quotients and numbers that are rounded to whole numbers, also to such as float32 does not hold; a step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import oracle
from oracle.programs.execution import Plain, Run, WithErrors
from oracle.programs.torch_calls import record
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.model import Twofold
from tests.oracle.programs.test_rules import UNUSUAL

NUMBERS = torch.tensor([2e9, 1.0, -2e9, 7.0, 123456789.0, 6.0])
DIVISORS = torch.tensor([3.0, 3.0, 7.0, 3.0, 0.1, 3.0])
WHOLE: dict[str, Callable[[Tensor], Tensor]] = {
    "floor": lambda x: torch.div(x, DIVISORS, rounding_mode="floor"),
    "trunc": lambda x: torch.div(x, DIVISORS, rounding_mode="trunc"),
    "floor_divide": lambda x: torch.floor_divide(x.detach(), DIVISORS),
    "remainder": lambda x: torch.remainder(DIVISORS, x),
    "fmod": lambda x: torch.fmod(DIVISORS * 1e9, x),
    "floor of a product": lambda x: torch.floor(x * 1.1),
    "round of a product": lambda x: torch.round(x * 1.1),
}


class Beside(nn.Module):
    """A whole number and the number that it is made of."""

    def __init__(self, whole: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.whole = whole

    def forward(self, x: Tensor) -> Tensor:
        return self.whole(x) + x


@pytest.mark.parametrize("name", WHOLE)
def test_torch_is_not_accused(name: str) -> None:
    """A whole number above 2^24 is rounded to float32 like any other."""
    x = NUMBERS.clone().requires_grad_()
    report = oracle.check_module(Beside(WHOLE[name]), x)
    assert not report.blame, report
    expected = oracle.expect(WHOLE[name], x).output
    oracle.assert_close(WHOLE[name](x).detach(), expected)
    off = expected.value + np.sign(expected.value) + expected.tolerance * 1.1
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(off.astype(np.float32), expected)


def test_a_quotient_without_a_rest_is_certain() -> None:
    """6 / 3 is 2 in every implementation, where 7 / 3.5 in computed numbers may be a little less."""
    for mode in ("floor", "trunc"):
        expected = oracle.expect(lambda x, y, mode=mode: torch.div(x, y, rounding_mode=mode), NUMBERS[5:], DIVISORS[5:])
        assert expected.output.value.tolist() == [2.0] and expected.output.sigma.tolist() == [0.0]
    gradient = oracle.expect(torch.remainder, NUMBERS[5:], DIVISORS[5:], grad_output=np.ones(1, np.float32)).grads[1]
    assert gradient.value.tolist() == [-2.0] and gradient.sigma[0] < 1e-6


@pytest.mark.parametrize("function", [np.floor, np.ceil, np.trunc, np.rint])
def test_an_error_of_many_jumps_goes_on(function: Callable[[ErrorArray], ErrorArray]) -> None:
    """Beside one jump the result is off by one, over many by as much as the number, and nowhere near one not at all."""
    given = ErrorArray(
        np.array([2.0, 2e9 + 0.5, 2.25]), ErrorModel(np.dtype("float32")), Twofold(np.array([1e-6, 40.0, 1e-6]) ** 2)
    )
    jumps = np.array([function is not np.rint, True, False])
    np.testing.assert_allclose(function(given).sigma, np.where(jumps, np.hypot([1e-6, 40, 1e-6], 1), 0))


@pytest.mark.parametrize(
    "fn",
    [
        torch.heaviside,
        torch.floor_divide,
        *(lambda x, y, mode=mode: torch.div(x, y, rounding_mode=mode) for mode in ("floor", "trunc")),
    ],
)
def test_unusual_numbers_without_a_gradient_are_torch_s(fn: Any) -> None:
    """torch does not differentiate all of these."""
    given = torch.meshgrid(UNUSUAL, UNUSUAL, indexing="ij")
    program, _ = record(fn, *given)
    (got,) = Run(program, Plain()).outputs
    np.testing.assert_allclose(got, fn(*given), rtol=1e-12, equal_nan=True)
    (exact,) = Run(program, WithErrors(ErrorModel(np.dtype("float32")))).outputs
    np.testing.assert_allclose(exact.value, got, rtol=1e-12, equal_nan=True)
