"""expect and assert_close for products of 8-bit numbers with scales, which are added up in float32 and stored once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import torch

import oracle
from oracle.programs.table import NoRule

KINDS = [torch.float8_e4m3fn, torch.float8_e5m2]
K = 512


def arrays(kind: torch.dtype, rows: bool = False, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Numbers that were scaled to the range of 8 bits, and the scales that bring them back."""
    torch.manual_seed(seed)
    made = torch.randn(24, K), torch.randn(40, K)
    largest = torch.finfo(kind).max / 8
    scales = [own.abs().amax(1 if rows else (0, 1), keepdim=True) / largest for own in made]
    x, w = ((own / scale).to(kind) for own, scale in zip(made, scales, strict=True))
    s, t = scales if rows else [own.reshape(()) for own in scales]
    return x, w, s, t.T if rows else t


def scaled(out: torch.dtype) -> Callable[..., torch.Tensor]:
    """As it is written down: the product in float32, scaled, and stored once."""
    return lambda x, w, s, t: ((x.float() @ w.float().T) * (s * t)).to(out)


@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16, torch.float16, "own"], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_torchs_own_kernel_is_close(kind: torch.dtype, out: Any) -> None:
    """torch._scaled_mm, as a program of its own and against the product in float32; and a kernel that adds up in blocks."""
    out = kind if out == "own" else out
    x, w, s, t = arrays(kind)

    def by_torch(x: torch.Tensor, w: torch.Tensor, s: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        return torch._scaled_mm(x, w.T, s, t, out_dtype=out)

    blocks = sum(a.float() @ b.float().T for a, b in zip(x.split(64, 1), w.split(64, 1), strict=True))
    for program in (scaled(out), by_torch):
        expected = oracle.expect(program, x, w, s, t)
        assert expected.output.dtype == str(out).removeprefix("torch.")
        oracle.assert_close(by_torch(x, w, s, t), expected.output)
        oracle.assert_close((blocks * s * t).to(out), expected.output)  # each scale by itself


@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16, "own"], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_scales_of_rows(kind: torch.dtype, out: Any) -> None:
    """One for each row of both."""
    out = kind if out == "own" else out
    x, w, s, t = arrays(kind, rows=True)
    expected = oracle.expect(scaled(out), x, w, s, t)
    oracle.assert_close(((x.double() @ w.double().T) * s * t).to(out), expected.output)
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(((x.double() @ w.double().T) * s.mean() * t).to(out), expected.output)


def low(x: torch.Tensor, w: torch.Tensor, kind: torch.dtype) -> torch.Tensor:
    """A loop that adds up in `kind`."""
    total = torch.zeros(len(x), len(w), dtype=kind)
    for place in range(x.shape[1]):
        total = total + (x[:, place, None].float() * w[:, place].float()).to(kind)
    return total.float()


@pytest.mark.parametrize(
    ("sums", "out"),
    [(torch.bfloat16, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.float16, torch.float32)],
    ids=str,
)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_sums_in_a_lower_precision_are_seen(kind: torch.dtype, sums: torch.dtype, out: torch.dtype) -> None:
    """Wherever they change more than storing the result does: a sum in bfloat16 of 512 terms errs by a part in a hundred."""
    x, w, s, t = arrays(kind)
    x, w = (own.float().mul(1 / 64).to(kind) for own in (x, w)) if sums == torch.float16 else (x, w)
    wrong = (low(x, w, sums) * (s * t)).to(out)
    expected = oracle.expect(scaled(out), x, w, s, t)
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(wrong, expected.output)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("a lost scale", lambda x, w, s, t: (x.double() @ w.double().T) * s),
        ("a scale of another tensor", lambda x, w, s, t: (x.double() @ w.double().T) * s * s),
        ("a scale that is 1.25 times too large", lambda x, w, s, t: (x.double() @ w.double().T) * s * t * 1.25),
        ("the last terms", lambda x, w, s, t: (x[:, :-64].double() @ w[:, :-64].double().T) * s * t),
    ],
)
@pytest.mark.parametrize("out", [torch.float32, torch.bfloat16, "own"], ids=str)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_wrong_products_are_seen(kind: torch.dtype, out: Any, name: str, wrong: Callable[..., torch.Tensor]) -> None:
    """In whatever the result is stored, down to the two bits of e5m2."""
    out = kind if out == "own" else out
    given = arrays(kind)
    expected = oracle.expect(scaled(out), *given)
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(wrong(*given).to(out), expected.output)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_result_of_8_bits_errs_by_half_a_unit_at_most(kind: torch.dtype) -> None:
    """And not by the standard deviations of a random error: a neighbour of the right number is wrong."""
    given = arrays(kind)
    expected = oracle.expect(scaled(kind), *given).output
    u = torch.finfo(kind).eps / 2
    tolerance = expected.tolerance / np.abs(expected.value)
    assert np.median(tolerance) < 1.01 * u
    right = torch.tensor(expected.value).to(kind)
    oracle.assert_close(right, expected)
    place = int(np.argmax(np.abs(expected.value)))
    changed = right.view(torch.int8).flatten().clone()
    changed[place] += 2
    with pytest.raises(oracle.Discrepancy, match=r"worst at"):
        oracle.assert_close(changed.view(kind).reshape(right.shape), expected)


@pytest.mark.parametrize("kind", [ml_dtypes.float8_e4m3fn, ml_dtypes.float8_e5m2])
def test_a_numpy_program_takes_8_bits_too(kind: Any) -> None:
    x, w, s, t = (own.to(torch.float32).numpy() for own in arrays(torch.float8_e4m3fn))
    x, w = x.astype(kind), w.astype(kind)

    def program(x: Any, w: Any, s: Any, t: Any) -> Any:
        return ((x.astype(np.float32) @ w.astype(np.float32).T) * (s * t)).astype(ml_dtypes.bfloat16)

    expected = oracle.expect(program, x, w, s, t)
    oracle.assert_close(program(x, w, s, t), expected.output)
    with pytest.raises(oracle.Discrepancy, match="2 times the right value"):
        oracle.assert_close((program(x, w, s, t).astype(np.float32) * 2).astype(ml_dtypes.bfloat16), expected.output)


def test_what_is_out_of_range_may_saturate_or_not() -> None:
    """torch's conversion saturates, NumPy's gives NaN; but the sign of the largest number is not free."""
    x = torch.full((4, 4), 20.0).to(torch.float8_e4m3fn)
    one = torch.ones(())
    expected = oracle.expect(scaled(torch.float8_e4m3fn), x, x, one, one).output  # of 1600
    for value in (448.0, float("nan")):
        oracle.assert_close(torch.full((4, 4), value).to(torch.float8_e4m3fn), expected)
    for value in (-448.0, 416.0, 0.0):
        with pytest.raises(oracle.Discrepancy):
            oracle.assert_close(torch.full((4, 4), value).to(torch.float8_e4m3fn), expected)


def test_the_gradients_of_a_scaled_product() -> None:
    """Those of the scales in float32; those of the 8-bit numbers as stored in 8 bits."""
    x, w, s, t = (own.requires_grad_() for own in arrays(torch.float8_e4m3fn))
    program = scaled(torch.float32)
    expected = oracle.expect(program, x, w, s, t)
    grads = torch.autograd.grad(program(x, w, s, t), (x, w, s, t), torch.tensor(expected.grad_output))
    oracle.assert_close(grads, expected.grads)
    by_torch = oracle.expect(lambda x, w, s, t: torch._scaled_mm(x, w.T, s, t, out_dtype=torch.float32), x, w, s, t)
    np.testing.assert_allclose(by_torch.grads[2].value, expected.grads[2].value, rtol=1e-12)


def test_what_has_no_rule_is_said() -> None:
    x, w, s, t = arrays(torch.float8_e4m3fn)
    one = torch.ones(())
    with pytest.raises(NoRule, match="scale_result"):
        oracle.expect(lambda x, w: torch._scaled_mm(x, w.T, s, t, scale_result=one, out_dtype=torch.float32), x, w)
