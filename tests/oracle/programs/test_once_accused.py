"""Honest programs of torch that were once accused, each for a kind of error, and a mistake of the same size beside each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.report.report import Report
from oracle.subjects.torch_functions import from_torch

RANDOM = np.random.default_rng(7)


def judged(function: Callable[..., Any], dtype: str, factor: float = 1.0, **arrays: Any) -> Report:
    """Torch's own run of a function, its gradients times a factor."""
    honest = from_torch(function)

    def run(*given: Any) -> Any:
        output, backward = honest(*given)
        return output, lambda g: tuple(None if own is None else own * factor for own in backward(g))

    run.library = "torch"  # type: ignore[attr-defined]
    return oracle.check_op(function, run, dtypes=(dtype,), **arrays)


def verdicts(report: Report) -> dict[str, str]:
    return dict(zip(report.table["quantity"], report.table["verdict"], strict=True))


def repeated_maximum(x: torch.Tensor) -> torch.Tensor:
    return torch.cos(x.expand(3)).amax(0, keepdim=True)


def test_equal_maxima_share_one_gradient() -> None:
    """Rounding could set copies of a number apart, but together they still receive the gradient once."""
    x = np.array([0.7])
    assert verdicts(judged(repeated_maximum, "float32", x=x))["grad_input"] == "undecided"
    assert verdicts(judged(repeated_maximum, "float32", 3.0, x=x))["grad_input"] == "wrong"


def deviation_of_noise(x: torch.Tensor) -> torch.Tensor:
    """Of zeros, in place of which float16 has about 1e-6: a quotient by their deviation overflows."""
    return torch.nn.functional.layer_norm(x, (1,)).std(0)


def test_a_deviation_that_may_be_zero_has_any_gradient() -> None:
    """It is 0 where the deviation is 0, and infinite or NaN just beside it."""
    x = np.array([[0.3374], [-0.2048], [-0.3052], [-0.6333], [0.0253]])
    assert verdicts(judged(deviation_of_noise, "float16", x=x))["grad_input"] == "undecided"


def test_a_deviation_that_is_zero_has_none() -> None:
    """In every implementation, so that nothing is allowed there."""
    x = np.full((4, 2), 0.5)
    found = judged(lambda x: x.std(0), "float32", np.nan, x=x)
    assert verdicts(found)["grad_input"] == "wrong"


class SoftmaxOfEqualNumbers(torch.nn.Module):
    """Each of 17 shares is 1/17, which float16 rounds the same way, so that they do not add up to 1."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - x).softmax(1) * 0.3).sum()


def test_equal_numbers_are_rounded_alike() -> None:
    """The errors of equal terms add up as one error, in a kernel and in the sum of copies of a number."""
    x = torch.randn(2, 17, dtype=torch.float16, generator=torch.Generator().manual_seed(1), requires_grad=True)
    report = oracle.check_module(SoftmaxOfEqualNumbers(), x)
    assert report.passed, str(report)
    softmax = report.table[report.table["layer_type"] == "aten.softmax"].set_index("quantity")
    assert softmax.loc["grad_input", "z_rms"] < 1


def copies(x: torch.Tensor) -> torch.Tensor:
    return torch.cos(x).half().expand(400).float().sum() + torch.zeros(40)


def test_copies_of_a_number_have_one_error() -> None:
    """It is 400 times that of the number, which float16 has rounded."""
    found = judged(copies, "float32", x=np.arccos([0.5 + 0.9 * 2.0**-12]))
    assert verdicts(found)["output"] == "pass" and found.table["z_max"].max() < 1


def shared_error(x: torch.Tensor) -> torch.Tensor:
    return torch.exp(x).sum() + torch.zeros(64, dtype=x.dtype)


def test_elements_that_share_an_error_are_one() -> None:
    """Sixty-four copies of a sum say no more about its rounding than one."""
    honest = oracle.expect(shared_error, torch.full((3,), 0.5)).output
    off = (honest.value + 3 * honest.sigma).astype(np.float32)
    oracle.assert_close(off, honest)
    alone = oracle.expect(torch.exp, torch.linspace(0, 1, 64)).output
    with pytest.raises(oracle.Discrepancy, match="less precise"):
        oracle.assert_close((alone.value + 3 * alone.sigma).astype(np.float32), alone)


def clamped_sine(x: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return torch.sin(x * 0.8 + b).clamp(-0.9, 0.9)


def test_an_open_choice_is_followed_by_rounding() -> None:
    """Rounding 32.55 to bfloat16 decides whether its sine is clamped: the gradient is 0, or a cosine that was rounded too."""
    given = {"x": np.array([-27.125]), "b": np.array([54.25])}
    found = judged(clamped_sine, "bfloat16", **given)
    assert not found.blame and 4 < found.table["z_max"].max() < 5
    assert set(verdicts(judged(clamped_sine, "bfloat16", 2.0, **given)).values()) == {"pass", "wrong"}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_gated_linear_unit_keeps_its_gate_in_16_bits(dtype: torch.dtype) -> None:
    """Its gradient is made from the stored gate, and 1 minus a gate near one has few digits left."""

    class Gated(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.glu(x * 1.0)

    torch.manual_seed(0)
    x = (torch.randn(400, 6) + torch.tensor([0.0, 0, 0, 3, 3, 3])).to(dtype).requires_grad_()
    report = oracle.check_module(Gated(), x)
    assert not report.blame, report


def test_a_running_log_of_sums_starts_with_a_logarithm() -> None:
    """Without a shift the first result is ln e^x, which is not always x; one that is off by 10^-4 is wrong."""

    def by_parts(x: torch.Tensor, factor: float = 1.0) -> torch.Tensor:
        return (x.exp().cumsum(-1) * factor).log()

    def meant(x: torch.Tensor) -> torch.Tensor:
        return torch.logcumsumexp(x, -1)

    for dtype in ("float64", "float32"):
        honest, off = (
            oracle.check_op(meant, from_torch(lambda x, own=own: by_parts(x, own)), dtypes=(dtype,), x=(6, 5))
            for own in (1.0, 1.0001)
        )
        assert set(verdicts(honest).values()) == {"pass"} and verdicts(off)["output"] == "wrong"


@pytest.mark.parametrize("lost", [np.nan, np.inf, -np.inf])
def test_no_softmax_of_a_masked_row_is_zero_times_any_gradient(lost: float) -> None:
    """torch has 0 times NaN there, and a mask has 0; where the gradient is finite, and in other rows, one of them is wrong."""

    def masked(x: torch.Tensor) -> torch.Tensor:
        return torch.ops.aten._safe_softmax(x, -1)  # type: ignore[no-any-return]

    x = torch.tensor([[-np.inf] * 3, [-np.inf] * 3, [1.0, -np.inf, 2.0], [0.5, 1.0, 2.0]], requires_grad=True)
    upstream = torch.tensor([[lost, 1, 2], [1, 2, 3], [1, 2, 3], [lost, 1, 2]])
    (got,) = torch.autograd.grad(masked(x), x, upstream)
    assert got[0].isnan().all()
    expected = oracle.expect(masked, x, grad_output=upstream).grads[0]
    oracle.assert_close(got, expected)
    oracle.assert_close(torch.cat([torch.zeros(1, 3), got[1:]]), expected)
    for row, wrong in ((1, np.nan), (2, np.nan), (3, 0.0)):
        off = got.clone()
        off[row] = wrong
        with pytest.raises(oracle.Discrepancy):
            oracle.assert_close(off, expected)


def test_a_nan_has_a_sign_too() -> None:
    """copysign reads its sign bit, which torch sets where it stores a NaN in bfloat16."""
    sign = torch.tensor([np.nan, -0.0, 2.0]).to(torch.bfloat16)
    x = torch.tensor([1.0, 1.0, -1.0], dtype=torch.bfloat16)
    expected = oracle.expect(torch.copysign, x, sign, grad_output=torch.ones_like(x)).output
    assert expected.value.tolist() == torch.copysign(x, sign).tolist()
