"""Rules of complex numbers and of Fourier transforms, held against torch on its own samples and on hard numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

import oracle
from oracle.programs.execution import Arithmetic, Plain, Run, WithErrors
from oracle.programs.table import NoRule
from oracle.programs.torch_calls import record
from oracle.running_error import LAMBDA, ErrorModel
from oracle.running_error.fourier import factors, over_stages
from oracle.subjects.torch import array, as_real, can_learn
from tests.oracle.programs.test_rules import INFOS, samples, torch_gradients

pytestmark = pytest.mark.filterwarnings("ignore:A window was not provided")
# OpInfo's names of operations that take or give complex numbers.
OPS = {
    "elements": (
        "add sub rsub mul div neg square reciprocal abs angle sgn exp log sqrt sin cos sinh cosh tanh sigmoid complex polar conj "
        "conj_physical real imag view_as_real view_as_complex resolve_conj where masked_fill"
    ),
    "sums": "mm bmm addmm baddbmm matmul dot vdot mv einsum nn.functional.linear sum mean cumsum trace linalg.vector_norm norm",
    "positions": (
        "index_select gather scatter scatter_add index_add index_put masked_select cat stack split roll flip tril triu repeat "
        "expand diagonal unfold clone fill permute select narrow diag_embed rot90 nn.functional.pad __getitem__"
    ),
    "transforms": (
        "stft istft fft.fft fft.ifft fft.rfft fft.irfft fft.hfft fft.ihfft fft.fft2 fft.ifft2 fft.rfft2 fft.irfft2 fft.fftn "
        "fft.ifftn fft.rfftn fft.irfftn fft.hfft2 fft.ihfftn fft.fftshift fft.ifftshift"
    ),
}
OF_REAL = (
    "complex",
    "polar",
    "view_as_complex",
    "fft.rfft",
    "fft.ihfft",
    "fft.rfft2",
    "fft.rfftn",
    "fft.ihfftn",
    "stft",
)
# A norm of singular values, one with ties, and divisions that round, which complex numbers do not have.
LEFT_OUT = {("norm", "nuc"), ("norm", "inf"), ("div", "trunc_rounding"), ("div", "floor_rounding")}


def cases() -> list[tuple[str, str, bool]]:
    named = {name for names in OPS.values() for name in names.split()}
    found = [own for own in INFOS if own[0] in named and own not in LEFT_OUT]
    return [(*own, is_real) for own in found for is_real in (False, True) if is_real == (own[0] in OF_REAL)]


def compared(
    fn: Callable[..., Any], given: list[torch.Tensor], arithmetic: Arithmetic
) -> list[tuple[Any, torch.Tensor]]:
    """What the rules make of a function, and what torch makes: outputs and gradients, complex ones in parts."""
    inputs, upstream, due = torch_gradients(fn, given)
    program, _ = record(fn, *inputs)
    run = Run(program, arithmetic)
    grads = run.gradients([None if own is None else arithmetic.lifted(array(as_real(own))) for own in upstream])
    pairs = zip([*run.outputs, *grads], [*fn(*inputs), *due], strict=True)
    return [(got, as_real(own.detach())) for got, own in pairs if own is not None and can_learn(own)]


@pytest.mark.parametrize(("name", "variant", "is_real"), cases())
def test_values_and_gradients_are_torch_s(name: str, variant: str, is_real: bool) -> None:
    """In float64 the two differ by rounding alone, in the direction of each gradient too."""
    for fn, given in samples(name, variant, torch.float64 if is_real else torch.complex128):
        for got, due in compared(fn, given, Plain()):
            shown = np.zeros(due.shape) if got is None else got
            np.testing.assert_allclose(shown, array(due), rtol=1e-8, atol=1e-9, equal_nan=True)


@pytest.mark.parametrize(("name", "variant", "is_real"), cases())
def test_torch_is_within_the_derived_tolerance(name: str, variant: str, is_real: bool) -> None:
    for fn, given in samples(name, variant, torch.float32 if is_real else torch.complex64):
        for got, due in compared(fn, given, WithErrors(ErrorModel(np.dtype("float32")))):
            if got is not None:
                finite = np.isfinite(got.value)
                error = np.abs(array(due).astype(np.float64)[finite] - got.value[finite])
                assert (error <= LAMBDA * got.sigma[finite]).all()


SIGNALS: dict[str, Callable[[int], torch.Tensor]] = {
    "random": lambda n: torch.randn(3, n),
    "constant": lambda n: torch.full((3, n), 0.1),
    "beside a mean": lambda n: torch.randn(3, n) * 0.01 + 100.1,
    "one tone": lambda n: torch.sin(torch.arange(3 * n).reshape(3, n) * (2 * torch.pi * 3 / n)),
    "one number": lambda n: torch.nn.functional.one_hot(torch.tensor([1 % n, 0, n - 1]), n) * 0.3,
    "many sizes": lambda n: torch.randn(3, n) * 10.0 ** torch.linspace(-6, 6, n),
}
TRANSFORMS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "fft": lambda x: torch.fft.fft(torch.complex(x, x.flip(-1))),
    "ifft": lambda x: torch.fft.ifft(torch.complex(x, -x)),
    "rfft": torch.fft.rfft,
    "irfft": lambda x: torch.fft.irfft(torch.complex(x, x), n=2 * x.shape[-1] - 1),
    "fft2": lambda x: torch.fft.fft2(x, norm="ortho"),
}


@pytest.mark.parametrize("n", [1, 2, 8, 30, 64, 97, 360, 1000, 1001, 1024])
@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("name", TRANSFORMS)
def test_a_transform_of_hard_numbers_is_within_the_derived_tolerance(name: str, signal: str, n: int) -> None:
    """A result of zero beside large ones has their error. The tolerance is narrow all the same."""
    torch.manual_seed(0)
    x = SIGNALS[signal](n).float()
    for got, due in compared(lambda own: [TRANSFORMS[name](own)], [x], WithErrors(ErrorModel(np.dtype("float32")))):
        error = np.abs(array(due).astype(np.float64) - got.value)
        assert (error <= LAMBDA * got.sigma).all()
        assert got.sigma.max() <= 2e-6 * np.abs(got.value).max()


def test_a_wrong_result_of_a_transform_is_seen() -> None:
    """An error of a millionth of the largest result is outside, at every element."""
    torch.manual_seed(0)
    x = torch.randn(4, 64)
    expected = oracle.expect(torch.fft.fft, x).output
    right = as_real(torch.fft.fft(x)).numpy()
    for place in range(0, 64, 7):
        wrong = right.copy()
        wrong[0, place, 0] += 3e-6 * np.abs(right).max()
        with pytest.raises(oracle.Discrepancy):
            oracle.assert_close(wrong, expected)


def test_a_length_has_prime_factors() -> None:
    assert factors(360) == [2, 2, 2, 3, 3, 5]
    assert factors(1) == [1]


def test_the_errors_of_all_stages_add_up_to_those_of_parseval() -> None:
    """Their mean over the results is u² (1 + log₂ n) times the mean of |X|²."""
    power = np.random.default_rng(0).random((2, 64))
    np.testing.assert_allclose(over_stages(power, 1).mean(1), 7 * power.mean(1))


def program_of(fn: Callable[..., torch.Tensor], *given: torch.Tensor) -> None:
    for got, due in compared(lambda *own: [fn(*own)], list(given), Plain()):
        np.testing.assert_allclose(np.zeros(due.shape) if got is None else got, array(due), rtol=1e-10, atol=1e-12)


def in_place(z: torch.Tensor) -> torch.Tensor:
    z = z * 2
    z.real.mul_(3.0)
    z[..., 0].conj_physical_()
    z += 1
    return z * z.conj()


def parts_written(z: torch.Tensor) -> torch.Tensor:
    out = torch.zeros(3, 4, dtype=torch.complex128)
    out[:, 1:3] = z[:, :2] * (1 + 2j)
    torch.view_as_real(out)[..., 1].add_(z.real)
    return out


FUNCTIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "conjugates of views": lambda z: z.conj()[1:].T.conj() * z.mH[..., 1:],
    "negatives of views": lambda z: z.conj().imag * z.real,
    "a conjugate in place": lambda z: (z * 1).conj().mul_(2j).sum(0),
    "in place": in_place,
    "parts written": parts_written,
    "conjugate products": lambda z: (z @ z.mH).abs() + torch.einsum("ij,kj->ik", z, z.conj()).imag,
    "real beside complex": lambda z: z.abs() * z + z.real / (z + 3) - 2.0 * z + (1 - 1j),
    "whole numbers": lambda z: torch.arange(4) * z * torch.arange(4) / torch.tensor(3) + torch.arange(4),
    "numbers": lambda z: torch.rsub(z, 2.0) + torch.nn.functional.pad(z * 1.0, (1, 1), value=0.5)[:, 1:-1].sub(3.0),
    "real numbers taken": lambda z: torch.zeros(3, 4, dtype=torch.float64).copy_(z.imag) + z.real.to(torch.float64),
    "powers": lambda z: z**2 + z**3 - 1 / (z + 4),
    "repeated": lambda z: z[:1].expand(3, 4) * z.sum(1, keepdim=True),
    "functions": lambda z: torch.log(torch.exp(z).sqrt() + 5).tanh(),
    "where": lambda z: torch.where(z.real > 0, z, z.conj()).masked_fill(z.imag > 1, 2.5),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_program_of_complex_numbers_is_differentiated_like_torch(name: str) -> None:
    """Views that conjugate or negate share memory with what they show, and are read and written as such."""
    torch.manual_seed(0)
    program_of(FUNCTIONS[name], torch.randn(3, 4, dtype=torch.complex128))


def test_a_detached_conjugate_has_no_gradient() -> None:
    torch.manual_seed(0)
    program_of(lambda z: z * z.detach().conj().clone(), torch.randn(3, dtype=torch.complex128))


def test_zeros_have_torch_s_gradients() -> None:
    zeros = torch.tensor([0, 1j, -1.0, 0], dtype=torch.complex128)
    for fn in (torch.abs, torch.sgn, torch.angle, torch.sqrt):
        for got, due in compared(lambda z, fn=fn: [fn(z)], [zeros[:3]], Plain()):
            finite = np.isfinite(array(due))
            np.testing.assert_allclose(got[finite], array(due)[finite], atol=1e-12)


@pytest.mark.parametrize(
    ("fn", "said"),
    [
        (torch.linalg.inv, "linalg_inv_ex of complex numbers"),
        (lambda z: torch.add(z, z, alpha=2j), "add with a complex factor"),
        (lambda z: z**0.5j, "power of 0.5j"),
    ],
)
def test_what_has_no_rule_is_named(fn: Any, said: str) -> None:
    program, _ = record(fn, torch.eye(2, dtype=torch.complex64).requires_grad_())
    with pytest.raises(NoRule, match=said):
        Run(program, Plain())


def test_expect_shows_parts_and_takes_complex_arrays() -> None:
    torch.manual_seed(0)
    z = torch.randn(3, 5, dtype=torch.cfloat)
    expected = oracle.expect(torch.fft.fft, z)
    learning = z.clone().requires_grad_()
    made = torch.fft.fft(learning)
    made.backward(torch.from_numpy(expected.grad_output))
    oracle.assert_close(made, expected)
    oracle.assert_close(learning.grad, expected.grads[0])
    assert expected.output.shape == (3, 5, 2)
    assert learning.grad is not None
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(learning.grad.conj(), expected.grads[0])
    other = oracle.expect(torch.fft.fft, z, grad_output=expected.grad_output)
    np.testing.assert_array_equal(other.grads[0].value, expected.grads[0].value)


def test_check_op_takes_complex_arrays() -> None:
    def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x * y

    def without_conjugate(x: Any, y: Any) -> Any:
        return x * y, lambda g: (g * y, g * np.conj(x))

    torch.manual_seed(0)
    x, y = (torch.randn(4, dtype=torch.cdouble) for _ in range(2))
    right = oracle.check_op(product, oracle.from_torch(product), x=x, y=y)
    assert right.passed
    wrong = oracle.check_op(product, without_conjugate, dtypes=("float64",), x=x, y=y).table
    assert list(wrong.quantity[wrong.verdict == "wrong"]) == ["grad_input"]
    with pytest.raises(ValueError, match="complex numbers are judged in float32 and float64, got bfloat16"):
        oracle.check_op(product, oracle.from_torch(product), dtypes=("bfloat16",), x=x, y=y)


def test_what_overflows_in_one_part_is_unknown_in_both() -> None:
    """A kernel for complex matrices may compute both parts from shared products."""
    a = torch.tensor([[1e30 + 1j, 1.0]], dtype=torch.complex64)
    b = torch.tensor([[1e30], [2.0]], dtype=torch.complex64)
    ((product, _), *_) = compared(lambda x, y: [x @ y], [a, b], WithErrors(ErrorModel(np.dtype("float32"))))
    assert np.isinf(product.sigma).all()
    (quotient, _), *_ = compared(lambda x: [1 / (x * 0.0)], [b], WithErrors(ErrorModel(np.dtype("float32"))))
    assert np.isinf(quotient.sigma).all()


@pytest.mark.parametrize("n", [1, 8, 97, 360])
def test_the_worst_case_bound_of_a_transform_holds_and_is_no_wonder(n: int) -> None:
    """Errors that have arrived count with the sum of their bounds."""
    torch.manual_seed(0)
    x = torch.randn(3, n)
    model = WithErrors(ErrorModel(np.dtype("float32"), bounds=True))
    for fn in (torch.fft.fft, lambda own: torch.fft.ifft(torch.fft.fft(own * 3.3))):
        for got, due in compared(lambda own, fn=fn: [fn(own)], [x], model):
            error = np.abs(array(due).astype(np.float64) - got.value)
            assert (error <= got.bound).all()
            assert (got.sigma <= got.bound).all()
            assert (got.bound <= 3e-5 * np.abs(x.numpy()).sum() * (1 + np.abs(got.value).max())).all()


def test_the_bound_grows_with_the_stages() -> None:
    bounds = {}
    for n in (64, 97, 4096):
        program, _ = record(torch.fft.fft, torch.ones(n) / n)
        bounds[n] = (
            Run(program, WithErrors(ErrorModel(np.dtype("float32"), bounds=True))).outputs[0].bound.max() * 2**24
        )
    assert bounds == pytest.approx({64: 4 * 7, 97: 4 * (1 + 3 * np.log2(4 * 97)), 4096: 4 * 13})


SIGNED = torch.cartesian_prod(torch.tensor([0.0, -0.0, 1.0, -1.0]), torch.tensor([0.0, -0.0, 1.0, -1.0]))
BRANCHES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "atan2": lambda x: torch.atan2(x[:, 0], x[:, 1]),
    "angle": lambda x: torch.view_as_complex(x).angle(),
    "log": lambda x: torch.view_as_complex(x).log(),
    "sqrt": lambda x: torch.view_as_complex(x[12:]).sqrt(),
}


@pytest.mark.parametrize("name", BRANCHES)
def test_a_zero_has_a_sign(name: str) -> None:
    """The angle of -1 - 0i is -π and that of -0 + 0i is π; at the origin it has no gradient."""
    x = SIGNED.clone().requires_grad_()
    expected, made = oracle.expect(BRANCHES[name], x), BRANCHES[name](x)
    oracle.assert_close(array(as_real(made).detach()), expected.output)
    if name in ("atan2", "angle"):
        (grad,) = torch.autograd.grad(made, x, torch.as_tensor(expected.grad_output))
        oracle.assert_close(grad, expected.grads[0])
        with pytest.raises(oracle.Discrepancy):
            oracle.assert_close(-made.detach(), expected.output)


@pytest.mark.parametrize("function", [torch.angle, torch.log, torch.sqrt])
def test_a_branch_that_rounding_decides_is_open(function: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """The imaginary part of a negative number is zero or nearly so: the branches on either side of it are both right."""

    def beside_the_axis(imaginary: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(function(torch.complex(-torch.ones_like(imaginary), imaginary)) + 0j)

    x = torch.linspace(0.1, 0.9, 9)
    expected = oracle.expect(lambda x, y: beside_the_axis(torch.exp(x) - y), x, torch.exp(x)).output
    for imaginary in (1e-9, -1e-9):
        apart = np.abs(beside_the_axis(torch.full((9,), imaginary)).numpy() - expected.value)
        assert (apart <= expected.tolerance).all()
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(beside_the_axis(torch.full((9,), 1e-9)) * 5, expected)


def test_a_transform_along_another_axis_has_the_same_errors() -> None:
    """Also of numbers that have errors already, real and imaginary parts different ones."""

    def given(x: torch.Tensor) -> torch.Tensor:
        return torch.complex(x * 3, torch.exp(x))

    torch.manual_seed(0)
    x = torch.randn(3, 8)
    last = oracle.expect(lambda x: torch.view_as_real(torch.fft.fft(given(x))), x).output
    first = oracle.expect(lambda x: torch.view_as_real(torch.fft.fft(given(x).mT, dim=0).mT), x).output
    np.testing.assert_allclose(first.tolerance, last.tolerance, rtol=1e-9)


@pytest.mark.parametrize("product", [lambda z, m: m * z, lambda z, m: z * m], ids=["first", "second"])
def test_a_mask_beside_complex_numbers_passes_their_gradient(product: Callable[..., torch.Tensor]) -> None:
    """Whichever of the two comes first."""
    mask, x = torch.tensor([True, False, True]), torch.tensor([0.5, -1.0, 2.0])
    due = oracle.expect(lambda x: product(torch.complex(x, 2 * x), mask), x)
    along = (due.grad_output.real + 2 * due.grad_output.imag) * [1, 0, 1]
    np.testing.assert_allclose(due.grads[0].value, along, rtol=1e-6)


def test_the_upstream_gradient_is_complex_where_the_output_is() -> None:
    """Also if a view only shows the same numbers in another form: it can be handed to the output's own backward."""
    x = torch.randn(3, 2, requires_grad=True)
    for fn in (torch.view_as_complex, lambda x: torch.view_as_real(torch.view_as_complex(x) * 2)):
        due = oracle.expect(fn, x.detach())
        made = fn(x)
        (grad,) = torch.autograd.grad(made, x, torch.as_tensor(due.grad_output, dtype=made.dtype))
        oracle.assert_close(grad, due.grads[0])
        assert np.iscomplexobj(due.grad_output) == made.is_complex()


def test_the_spectrum_of_real_numbers_has_zeros_with_signs() -> None:
    """The first and the last number of a one-sided transform are real, and conjugating them makes -0 of 0."""

    def angles(x: torch.Tensor) -> torch.Tensor:
        return torch.fft.rfft(x).conj().angle()

    torch.manual_seed(0)
    x = torch.randn(20, 8)
    oracle.assert_close(angles(x), oracle.expect(angles, x).output)
    with pytest.raises(oracle.Discrepancy):
        oracle.assert_close(torch.fft.rfft(x).angle(), oracle.expect(angles, x).output)


def test_a_radius_that_is_not_positive_has_its_gradient() -> None:
    """cos θ for a gradient of the real part, where torch has 0 and -cos θ: reports/findings/torch-polar-not-positive.md."""
    radius, angle = torch.tensor([1.0, 0.0, -1.0]), torch.full((3,), 0.5)
    real = np.array([[1.0, 0.0]] * 3, np.float32)
    expected = oracle.expect(
        lambda radius: torch.view_as_real(torch.polar(radius, angle)), radius, grad_output=real
    ).grads[0]
    np.testing.assert_allclose(expected.value, np.cos(0.5), rtol=1e-12)
