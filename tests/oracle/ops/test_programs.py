"""check_op against a forward program: fused kernels in three lines, layers and losses of refbp."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle
import refbp

ALWAYS = "only in a call after the first: it keeps something of an earlier one"
PERHAPS = "not in the first call, which had other numbers: it keeps something of that call, or errs at some numbers"


def residual_rms(x: Any, r: Any, w: Any) -> Any:
    """The forward alone: its derivative is nobody's business but the reference's."""
    h = x + r
    return h / np.sqrt(np.mean(h * h, axis=-1, keepdims=True) + 1e-6) * w


def fused_rms(factor: float) -> Callable[..., Any]:
    def kernel(x: Any, r: Any, w: Any) -> Any:
        h = x + r
        s = 1 / np.sqrt(np.mean(h * h, -1, keepdims=True) + x.dtype.type(1e-6))

        def backward(g: Any) -> Any:
            gw = g * w
            d = s * (gw - h * s * np.mean(gw * h * s, -1, keepdims=True))
            return d, d, np.sum(g * h * s, axis=0) * x.dtype.type(factor)

        return h * s * w, backward

    return kernel


def test_a_fused_kernel_against_its_forward_in_numpy() -> None:
    """Right in both dtypes; a wrong gradient is placed at its array, with its factor."""
    shapes: dict[str, Any] = {"x": (6, 8), "r": (6, 8), "w": (8,)}
    assert oracle.check_op(residual_rms, fused_rms(1), **shapes).passed
    report = oracle.check_op(residual_rms, fused_rms(1.01), **shapes)
    assert [(blame.dtype, blame.quantity) for blame in report.blame] == [("float64", "grad.w"), ("float32", "grad.w")]
    assert report.blame[0].cause == "a constant factor of 1.01"
    assert (
        report.blame[0].reproduce
        == f"oracle.check_op(residual_rms, kernel, x=x, r=r, w=w, dtypes=('{report.blame[0].dtype}',))"
    )


def test_a_kernel_of_torch_against_its_forward_in_torch() -> None:
    """The arrays may be given; where they have no gradient, none is asked for."""
    kernel = oracle.from_torch(lambda x, w, b: F.gelu(torch.addmm(b, x, w)))
    arrays = {name: np.random.default_rng(0).standard_normal(shape) for name, shape in (("w", (6, 3)), ("b", (3,)))}
    report = oracle.check_op(lambda x, w, b: F.gelu(x @ w + b), kernel, x=(4, 6), **arrays)
    assert report.passed and len(report.table) == 8
    rows = oracle.check_op(
        lambda x, i: x[i], lambda x, i: (x[i], lambda g: gathered(g, i, x)), x=(5, 2), i=np.array([0, 3, 3])
    )
    assert rows.passed


def gathered(g: Any, i: Any, x: Any) -> Any:
    total = np.zeros_like(x)
    np.add.at(total, i, g)
    return total


def test_layers_and_losses_of_refbp() -> None:
    """A composition with its own parameters, and a loss of two arrays."""
    block = refbp.Sequential(refbp.Linear(4, 3), refbp.ReLU())
    weight, bias = block.state_dict().values()

    def net(slope: float) -> Callable[..., Any]:
        def forward(x: Any) -> Any:
            z = x @ weight.T.astype(x.dtype) + bias.astype(x.dtype)
            return np.maximum(z, 0), lambda g: (g * np.where(z > 0, 1, slope).astype(x.dtype)) @ weight.astype(x.dtype)

        return forward

    assert oracle.check_op(block, net(0), x=(5, 4)).passed
    assert not oracle.check_op(block, net(0.1), x=(5, 4)).passed

    def mse(x: Any, t: Any) -> Any:
        return np.mean((x - t) ** 2), lambda g: (g * 2 * (x - t) / x.size, -g * 2 * (x - t) / x.size)

    assert oracle.check_op(refbp.MSELoss(), mse, x=(5, 4), target=(5, 4)).passed


@pytest.mark.parametrize(
    ("reference", "arrays", "said"),
    [
        (residual_rms, {}, "check_op needs arrays for a reference that is a program"),
        (residual_rms, {"x": (2, 3)}, "the reference cannot run on these arrays"),
        (refbp.Linear, {"x": (2, 3)}, r"check_op expects as reference .*, got a class: Linear\(…\) makes one"),
        (3, {"x": (2, 3)}, "check_op expects as reference a name, a function or an object, got int"),
    ],
)
def test_what_a_user_gets_wrong_is_said(reference: Any, arrays: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said) as raised:
        oracle.check_op(reference, fused_rms(1), **arrays)
    assert "\n" not in str(raised.value)


def test_what_a_program_in_numpy_lacks_is_said_beside_a_function_of_torch() -> None:
    """The function does not make it a program of torch; the refusal of NumPy's arrays by torch would say nothing."""

    def inverted(x: Any) -> Any:
        return np.linalg.eigvals(x)

    with pytest.raises(ValueError, match=r"there is no rule for np\.linalg\.eigvals") as raised:
        oracle.check_op(inverted, oracle.from_torch(lambda x: x), x=np.eye(3))
    assert "requires grad" not in str(raised.value)


def test_what_raises_is_crashed() -> None:
    def broken(x: Any) -> Any:
        raise RuntimeError("no such kernel")

    report = oracle.check_op(np.tanh, broken, x=(2, 2))
    assert set(report.table["verdict"]) == {"crashed"} and "no such kernel" in report.blame[0].diagnosis


def test_a_function_of_another_form_is_crashed() -> None:
    """It gives the output alone, as a forward does: said with what is expected."""
    report = oracle.check_op(np.tanh, lambda x: np.tanh(x), x=(2, 2))  # noqa: PLW0108
    assert {blame.verdict for blame in report.blame} == {"crashed"}
    assert "returned ndarray, expected a pair: the output, and a function" in report.blame[0].diagnosis


def test_a_gradient_that_is_not_given_is_missing() -> None:
    """Of the second array alone, which a backward for one argument does not know. Integers in a result have none."""

    def first_alone(x: Any, w: Any) -> Any:
        return x * w, lambda g: g * w

    report = oracle.check_op(lambda x, w: x * w, first_alone, x=(2, 3), w=(2, 3), dtypes=("float64",))
    assert [(own.quantity, own.verdict, own.diagnosis) for own in report.blame] == [
        ("grad.w", "missing", "it gives no gradient there")
    ]

    def with_places(x: Any) -> Any:
        return (np.max(x, 1), np.argmax(x, 1)), lambda g: g[:, None] * (np.arange(3) == np.argmax(x, 1)[:, None])

    assert oracle.check_op(lambda x: (np.max(x, 1), np.argmax(x, 1)), with_places, x=(4, 3)).passed


def test_a_gradient_of_another_shape_is_wrong_and_said_to_be_of_it() -> None:
    report = oracle.check_op(np.tanh, lambda x: (np.tanh(x), lambda g: (g * (1 - np.tanh(x) ** 2))[:1]), x=(3, 2))
    found = {(own.quantity, own.verdict, own.cause) for own in report.blame}
    assert found == {("grad_input", "wrong", "2 too few along dimension 0")}


def test_an_array_without_elements_shows_nothing() -> None:
    """It is taken, and nothing passes with it."""
    report = oracle.check_op(torch.sin, oracle.from_torch(torch.sin), x=(0, 3))
    assert not report.passed and not report.blame
    assert "no gradient was decided" in str(report)


def test_a_reference_that_means_something_else_in_numpy() -> None:
    """Torch's `w.transpose(0, 1)` exchanges two dimensions; NumPy's names the order of all, and here leaves them as they are."""

    def meant(x: Any, w: Any) -> Any:
        return x @ w.transpose(0, 1)

    def by_hand(x: Any, w: Any) -> Any:  # as torch means it
        return x @ w.T, lambda g: (g @ w, g.T @ x)

    def in_numpy(x: Any, w: Any) -> Any:
        return x @ w, lambda g: (g @ w.T, x.T @ g)

    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((3, 4)), rng.standard_normal((4, 4))
    assert oracle.check_op(meant, oracle.from_torch(lambda x, w: x @ w.T), x=(3, 4), w=(4, 4)).passed
    assert oracle.check_op(meant, by_hand, x=torch.tensor(x), w=(4, 4)).passed
    assert oracle.check_op(meant, in_numpy, x=x, w=w).passed
    with pytest.raises(ValueError, match="one result on NumPy's arrays and another on torch's tensors"):
        oracle.check_op(meant, by_hand, x=(3, 4), w=(4, 4))
    assert oracle.check_op(lambda x, w: x @ w.T, by_hand, x=(3, 4), w=(4, 4)).passed  # the same in both


class ByStrides(torch.autograd.Function):
    """Reads its upstream gradient as if it were contiguous, as a kernel does that gets a pointer alone."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        return 2 * x * dy.as_strided(dy.shape, torch.empty(dy.shape).stride())


def test_a_backward_that_expects_a_contiguous_gradient() -> None:
    """Whether the input was drawn or given; an upstream gradient that the user gives keeps its layout."""
    fn, x = oracle.from_torch(ByStrides.apply), np.arange(24.0).reshape(6, 4)
    for given, named in (((6, 4), "x, grad_output"), (x, "grad_output")):
        report = oracle.check_op(torch.square, fn, x=given)
        assert [(blame.quantity, blame.verdict) for blame in report.blame] == [("grad_input", "wrong")] * 2
        assert report.blame[0].diagnosis.endswith(f"only where not contiguous in memory: {named}")
    assert oracle.check_op(torch.square, fn, x=x, grad_output=x + 1).passed


def test_memory_layouts_of_a_program_s_arrays() -> None:
    """A right function is called twice. One that refuses the second layout is not blamed.

    A wrong one is called again too: to see whether its output is the same, and how large its errors are in another dtype.
    """
    layouts: list[bool] = []

    def square(x: Any) -> Any:
        layouts.append(x.flags.c_contiguous)
        return x * x, lambda dy: 2 * x * dy

    def refusing(x: Any) -> Any:
        if not x.flags.c_contiguous:
            raise oracle.Unsupported("contiguous arrays only")
        return square(x)

    assert oracle.check_op(lambda x: x * x, square, x=(3, 4), dtypes=("float64",)).passed
    assert oracle.check_op(lambda x: x * x, refusing, x=(3, 4), dtypes=("float64",)).passed
    assert not oracle.check_op(lambda x: 2 * x, square, x=(3, 4), dtypes=("float64",)).passed
    assert layouts == [True, False, True, True, True, True]


@pytest.mark.parametrize("drawn", [True, False])
def test_what_is_kept_from_an_earlier_call_is_found_out(drawn: bool) -> None:
    """A cache by shape, filled in the first call, and a gradient that is added to that of the first call."""
    memory: dict[Any, Any] = {}

    def stale(x: Any, y: Any) -> Any:
        kept = memory.setdefault(x.dtype, x.copy())
        return x * y, lambda dy: (dy * y, dy * kept)

    def adding(x: Any, y: Any) -> Any:
        def backward(dy: Any) -> Any:
            memory[y.dtype, "sum"] = memory.get((y.dtype, "sum"), 0) + dy * y
            return memory[y.dtype, "sum"], dy * x

        return x * y, backward

    x = (3, 4) if drawn else np.arange(12.0).reshape(3, 4)
    for fn, quantity, said in [(adding, "grad_input", ALWAYS)] + [(stale, "grad.y", PERHAPS)] * drawn:
        report = oracle.check_op(lambda x, y: x * y, fn, x=x, y=x)
        assert {blame.quantity for blame in report.blame} == {quantity}
        assert report.blame[0].diagnosis.endswith(said)


def test_a_function_that_errs_at_some_numbers_is_not_said_to_keep_any() -> None:
    """The second call has another upstream gradient. A formula that errs for this one only was said to keep something. Of a small
    array whose error resembles a lower precision's, nothing was said of the call."""
    x, found = np.arange(4.0), []
    for sign in (1, -1):  # the sum of the gradient has the other sign in the second call
        fn = lambda x, sign=sign: (3 * x, lambda g: 3 * g + x.dtype.type(1e-3) * (sign * g.sum() > 0))  # noqa: E731
        report = oracle.check_op(lambda x: 3 * x, fn, x=x, dtypes=("float64",))
        (blame,) = report.blame
        assert ALWAYS not in blame.diagnosis
        found.append(blame.diagnosis.endswith(PERHAPS))
    assert sorted(found) == [False, True]


def test_numbers_of_numpy_do_not_widen_the_reference() -> None:
    """x / np.sqrt(8) is float64 for an x of float32. A kernel in float32 is right, and so is one that NumPy widens too."""

    def scaled(x: Any) -> Any:
        return x / np.sqrt(8)

    narrow = lambda x: ((x / x.dtype.type(8**0.5)), lambda dy: dy / x.dtype.type(8**0.5))  # noqa: E731
    for fn in (narrow, lambda x: (scaled(x), scaled)):
        assert oracle.check_op(scaled, fn, x=(4, 3)).passed
    report = oracle.check_op(scaled, lambda x: (narrow(x)[0] * x.dtype.type(1.001), narrow(x)[1]), x=(4, 3))
    assert {(blame.quantity, blame.dtype) for blame in report.blame} == {("output", "float64"), ("output", "float32")}


def test_products_of_numpy_do_not_widen_the_reference() -> None:
    """NumPy's product of bfloat16 matrices is float32. Every right function in bfloat16 was wrong beside it."""

    def meant(x: Any, w: Any) -> Any:
        return np.tanh(x @ w)

    arrays, dtypes = {"x": (5, 9), "w": (9, 4)}, ("bfloat16", "float16")
    right = oracle.from_torch(lambda x, w: torch.tanh(x @ w))
    assert oracle.check_op(meant, right, **arrays, dtypes=dtypes).passed
    wrong = oracle.from_torch(lambda x, w: torch.tanh(x @ w * 1.1))
    report = oracle.check_op(meant, wrong, **arrays, dtypes=dtypes)
    assert {(own.dtype, own.verdict) for own in report.blame} == {("bfloat16", "wrong"), ("float16", "wrong")}, report


def test_a_reference_that_gives_another_dtype_is_said() -> None:
    """The call that shows it again has the dtypes of the arrays, and not the one that was due."""
    fn = lambda x: ((x * np.arange(3.0)).astype(x.dtype), lambda dy: (dy * np.arange(3.0)).astype(x.dtype))  # noqa: E731
    report = oracle.check_op(lambda x: x * np.arange(3.0), fn, x=(4, 3), dtypes=("float32",))
    assert "dtype float32, expected float64; the reference gives another dtype than that of its arrays, float32" in str(
        report
    )
    assert "dtypes=('float32',))" in str(report)


def test_the_reason_of_the_library_that_is_meant_is_given() -> None:
    """A reference in NumPy without a rule is not refused with an error of torch."""
    fn = lambda x: (np.linalg.eigvals(x), lambda dy: dy.T)  # noqa: E731
    for x in (np.ones((3, 3)), (3, 3)):
        with pytest.raises(ValueError, match=r"NoRule: there is no rule for np\.linalg\.eigvals"):
            oracle.check_op(np.linalg.eigvals, fn, x=x)
    with pytest.raises(ValueError, match="invalid data type for einsum"):
        oracle.check_op(
            lambda x: np.einsum("ij->i", x), oracle.from_torch(lambda x: x.sum(1)), x=(2, 3), dtypes=("bfloat16",)
        )


def test_a_loss_that_ignores_what_arrives() -> None:
    """As a fused loss does whose gradient is computed in its forward pass."""

    def fused(x: Any) -> Any:
        grad = 2 * x / x.dtype.type(x.size)
        return np.asarray(np.mean(x * x)), lambda dy: grad

    report = oracle.check_op(lambda x: np.mean(x * x), fused, x=(4, 3))
    assert {blame.cause_name for blame in report.blame} == {"upstream ignored"}


def test_zeros_are_no_sum_that_happens_to_be_zero() -> None:
    """The gradient of a softmax adds up to zero in each row."""
    meant = lambda x, w: torch.softmax(x @ w, -1)  # noqa: E731
    detached = oracle.from_torch(lambda x, w: torch.softmax(x @ w.detach(), -1) + 0 * w.sum())
    report = oracle.check_op(meant, detached, x=(4, 3), w=(3, 5))
    assert {blame.cause for blame in report.blame} == {"nothing arrives: zeros"}


def test_finite_numbers_where_the_reference_has_none() -> None:
    """A softmax that gives zeros for a row of which all is masked has not left out that row."""
    x = np.array([[1.0, 2.0, 3.0], [-np.inf, -np.inf, -np.inf]])

    def guarded(x: Any) -> Any:
        e = np.exp(x - np.where(np.isinf(x), 0, x).max(-1, keepdims=True))
        y = (e / np.maximum(e.sum(-1, keepdims=True), 1e-30)).astype(x.dtype)
        return y, lambda dy: y * (dy - (dy * y).sum(-1, keepdims=True))

    output = oracle.check_op(lambda x: torch.softmax(x, -1), guarded, x=x).blame[0]
    assert output.quantity == "output" and "50 % are finite where the right values are not" in output.cause


def test_a_convolution_by_fourier_transform() -> None:
    """Its small results have errors of the size of the large ones. A profile says so, also if the reference is a program."""

    def by_fourier(x: Any, w: Any) -> Any:
        sizes = x.shape[-2:]
        made = torch.einsum("nchw,ochw->nohw", torch.fft.rfft2(x, sizes), torch.fft.rfft2(w, sizes).conj())
        return torch.fft.irfft2(made, sizes)[..., : sizes[0] - 2, : sizes[1] - 2]

    profile = oracle.Profile(normwise=("Conv2d",))
    for wrong in (False, True):
        fn = oracle.from_torch(lambda x, w, off=wrong: by_fourier(x, w) * (1 + 1e-4 * off))  # type: ignore[misc]
        report = oracle.check_op(F.conv2d, fn, profile=profile, x=(2, 3, 16, 16), w=(4, 3, 3, 3))
        assert report.passed is not wrong, report
    assert not oracle.check_op(F.conv2d, oracle.from_torch(by_fourier), x=(2, 3, 16, 16), w=(4, 3, 3, 3)).passed


def test_gradients_in_another_order() -> None:
    """Each holds the other's, which their shapes do not tell."""
    swapped = lambda a, b: (a @ b, lambda g: (a.T @ g, g @ b.T))  # noqa: E731
    report = oracle.check_op(np.matmul, swapped, a=(3, 3), b=(3, 3))
    causes = {blame.quantity: blame.cause for blame in report.blame}
    assert causes == {"grad_input": "it holds the grad.b", "grad.b": "it holds the grad_input"}


def test_what_a_function_returns_is_described() -> None:
    twice = lambda x: 2 * x  # noqa: E731
    for fn, said in (
        (lambda x: (2 * x, None), "returned tuple of ndarray, NoneType, expected a pair"),
        (lambda x: (2 * x, lambda g: (2 * g, g)), "backward returns 2 gradients, for 1 argument: x"),
        (
            oracle.from_torch(lambda x: 2 * x.detach().numpy()),
            "a function of tensors returns a tensor, or several; got ndarray",
        ),
    ):
        (blame,) = oracle.check_op(twice, fn, x=(3,), dtypes=("float64",)).blame
        assert blame.verdict == "crashed" and said in blame.diagnosis
    assert oracle.check_op(twice, lambda x: (2 * x, lambda g: (2 * g, None)), x=(3,)).passed
