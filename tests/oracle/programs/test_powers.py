"""Powers of negative numbers and of zero, and exponents that are arrays: the values, the gradients and the errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.model import Twofold
from oracle.subjects.torch_functions import from_torch

BASES = torch.tensor([-1.5, 0.0, -2.0, 1.7, 0.0, -0.0, -0.0, 3.0, torch.inf, -1.5, 0.0])
EXPONENTS = torch.tensor([2.0, 3.0, 0.5, 2.5, 0.0, 3.0, -1.0, 4.0, -2.0, -3.0, -2.0])
WHOLE = torch.tensor([2, 3, 0, 1, 0, 3, -1, 2, -3, 5, 1])
POWERS: dict[str, tuple[Callable[..., torch.Tensor], tuple[torch.Tensor, ...]]] = {
    "both are arrays": (torch.pow, (BASES, EXPONENTS)),
    "whole exponents": (lambda x: x**WHOLE, (BASES,)),
    "in double precision": (lambda x: torch.float_power(x, WHOLE), (BASES,)),
    "of whole numbers": (lambda n: torch.pow(WHOLE, n), (EXPONENTS,)),
    **{f"of {base}": (lambda n, base=base: base**n, (EXPONENTS,)) for base in (0.0, -2.0, 0.3)},
    **{f"to {c}": (lambda x, c=c: x**c, (BASES,)) for c in (-2, -1, -0.5, 0, 0.5, 1.5, 3)},
}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("name", POWERS)
def test_torch_is_not_accused(name: str, dtype: torch.dtype) -> None:
    """The square of -1.5 is a number, and 0 to the power 0 is 1; torch has a root of -0 where others have IEEE's power."""
    function, numbers = POWERS[name]
    given = [own.to(dtype).requires_grad_() for own in numbers]
    expected, made = oracle.expect(function, *given), function(*given)
    oracle.assert_close(made.detach(), expected.output)
    upstream = torch.as_tensor(expected.grad_output).to(made.dtype)
    for got, due in zip(torch.autograd.grad(made, given, upstream), expected.grads, strict=True):
        oracle.assert_close(got, due)


def test_a_negative_base_is_judged() -> None:
    """The gradient of (-1.5)² is -3, and neither 3 nor NaN."""
    expected = oracle.expect(torch.pow, BASES[:2], WHOLE[:2], grad_output=np.ones(2, np.float32))
    assert expected.output.value.tolist() == [2.25, 0.0] and expected.grads[0].value.tolist() == [-3.0, 0.0]
    for wrong in (3.0, np.nan):
        with pytest.raises(oracle.Discrepancy):
            oracle.assert_close(np.array([wrong, 0.0], np.float32), expected.grads[0])


def test_powers_of_computed_numbers() -> None:
    """Errors of both operands go on; e^(n ln x) is as right as torch's, and an exponent that is off by 10^-4 is not."""

    def meant(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        return (x * n).abs() ** (x + n)

    def by_logarithm(x: torch.Tensor, n: torch.Tensor) -> torch.Tensor:
        return ((x + n) * (x * n).abs().log()).exp()

    given: dict[str, Any] = {"x": (50, 8), "n": (50, 8)}
    for honest in (meant, by_logarithm):
        oracle.check_op(meant, from_torch(honest), **given).raise_for_discrepancy()
    off = oracle.check_op(meant, from_torch(lambda x, n: (x * n).abs() ** ((x + n) * 1.0001)), **given)
    assert set(off.table["verdict"]) == {"wrong"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_gradient_in_16_bits_is_made_step_by_step(dtype: torch.dtype) -> None:
    """torch rounds the exponent less one, the power and the product, each of which may overflow in float16."""

    class Power(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.n = torch.nn.Parameter(torch.randn(40, 8, dtype=dtype))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x**self.n

    torch.manual_seed(0)
    for _ in range(3):
        report = oracle.check_module(Power(), torch.randn(40, 8, dtype=dtype).abs().requires_grad_())
        assert not report.blame, report


@pytest.mark.parametrize(
    ("base", "exponent"),
    [
        ((-2.0, 0.0), (3.0, 1e-6)),  # NaN, unless the exponent is whole
        ((-1e-9, 1e-6), (0.5, 0.0)),  # NaN, or a root
        ((0.0, 0.0), (1e-9, 1e-6)),  # infinite, 1 or 0
        ((-0.0, 0.0), (-1.0, 1e-6)),  # one infinity or the other
    ],
)
def test_a_power_that_rounding_decides_is_open(base: tuple[float, float], exponent: tuple[float, float]) -> None:
    """Its error is infinite, whichever it is of the exact numbers."""
    model = ErrorModel(np.dtype("float32"))
    x, n = (ErrorArray(np.array([value]), model, Twofold(np.array([error**2]))) for value, error in (base, exponent))
    assert np.power(x, n).sigma.tolist() == [np.inf]  # type: ignore[call-overload]


def test_a_plain_mask_may_come_first() -> None:
    """It is then NumPy that calls the rule of masks that carry errors."""
    mask, plain = ErrorArray.exact(np.arange(3.0), ErrorModel(np.dtype("float32"))) > 1, np.array([True, False, True])
    assert (plain & mask).value.tolist() == [False, False, True]
    assert (plain | mask).value.tolist() == [True, False, True]
