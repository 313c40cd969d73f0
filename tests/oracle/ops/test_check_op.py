"""check_op: a function of the user's own with its backward, in whatever library, held against an op."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import oracle
import refbp
from oracle.case.foreign import numpy_of
from oracle.harness import judge
from oracle.ops.suite_cases import WITHOUT, Op

Backward = Callable[[Any], Any]


def strided(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
    return refbp.functional.conv2d(x, weight, bias, stride=2)


def test_a_right_function_passes_on_the_suite_s_inputs() -> None:
    """With the options that were asked for, in several shapes, without a batch dimension among them, in both dtypes."""
    report = oracle.check_op("conv2d", strided, stride=2)
    assert report.passed, report.blame
    shapes = set(report.table[report.table["quantity"] == "output"]["shape"])
    assert len(shapes) > 4 and {len(shape.split()) for shape in shapes} == {3, 4}
    assert set(report.cases["dtype"]) == {"float64", "float32"}
    assert set(oracle.check_op("relu", refbp.functional.relu, dtypes=["float32"]).cases["dtype"]) == {"float32"}


def test_a_planted_bug_is_named_with_quantity_cause_and_call() -> None:
    def unsummed(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        y, backward = strided(x, weight, bias)
        return y, lambda dy: (*backward(dy)[:2], backward(dy)[2] / 2)

    report = oracle.check_op("conv2d", unsummed, stride=2, dtypes=("float64",))
    assert {(blame.layer_type, blame.quantity) for blame in report.blame} == {("Conv2d", "grad.bias")}
    assert "2" in report.blame[0].cause
    assert (
        report.blame[0].reproduce
        == f"oracle.check_op('conv2d', unsummed, stride=2, dtypes=('{report.blame[0].dtype}',))"
    )


def test_options_are_what_the_function_does_not_what_it_is_told() -> None:
    """A function that ignores its stride has outputs of another shape, and that is said, not a traceback."""
    report = oracle.check_op("conv2d", refbp.functional.conv2d, stride=2, dtypes=("float64",))
    assert report.blame[0].quantity == "output" and report.blame[0].diagnosis.startswith("shape")


def test_torch_functions_are_differentiated_by_autograd() -> None:
    """A forward function, and the apply of an autograd.Function with a mistake."""

    class Sigmoid(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            y = torch.sigmoid(x)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            (y,) = ctx.saved_tensors
            return grad * y

    assert oracle.check_op("linear", oracle.from_torch(F.linear)).passed
    assert oracle.check_op("cross_entropy", oracle.from_torch(F.cross_entropy)).passed
    report = oracle.check_op("sigmoid", oracle.from_torch(Sigmoid.apply), dtypes=("float32",))
    assert {blame.quantity for blame in report.blame} == {"grad_input"}


def test_running_statistics_are_constants() -> None:
    """torch refuses to differentiate with respect to them."""

    def batch_norm(x: torch.Tensor, mean: torch.Tensor, var: torch.Tensor, *affine: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, mean, var, *affine, training=True)

    double = ("float64",)
    assert oracle.check_op("batch_norm", oracle.from_torch(batch_norm), training=True, dtypes=double).passed
    assert oracle.check_op("instance_norm", oracle.from_torch(F.instance_norm), dtypes=double).passed
    x = np.random.default_rng(0).standard_normal((4, 3, 5))
    report = oracle.check_op("batch_norm", oracle.from_torch(batch_norm), training=False, dtypes=("float32",), x=x)
    assert "output" in {blame.quantity for blame in report.blame}


def test_jax_functions_are_differentiated_by_jax() -> None:
    """In float64 too, and with a custom_vjp that is wrong."""
    jax = pytest.importorskip("jax")

    @jax.custom_vjp
    def softsign(x: Any) -> Any:
        return x / (1 + abs(x))

    softsign.defvjp(lambda x: (softsign(x), x), lambda x, g: (g / (1 + abs(x)),))
    rng = np.random.default_rng(0)  # arrays of a single shape, since JAX compiles each operation for each shape
    x, weight, bias = rng.standard_normal((5, 3)), rng.standard_normal((4, 3)), rng.standard_normal(4)
    linear = oracle.from_jax(lambda x, w, b: x @ w.T + b)
    assert oracle.check_op("linear", linear, x=x, weight=weight, bias=bias, dtypes=("float64",)).passed
    report = oracle.check_op("softsign", oracle.from_jax(softsign), x=x, dtypes=("float64",))
    assert {blame.quantity for blame in report.blame} == {"grad_input"}


def test_arrays_of_one_s_own() -> None:
    """Given ones are used as they are, in any library's arrays; the upstream gradient too."""
    rng = np.random.default_rng(0)
    seen: list[Any] = []

    def recorded(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        y, backward = strided(x, weight, bias)
        seen.append(x)
        return y, lambda dy: seen.append(dy) or backward(dy)

    x, weight = rng.standard_normal((2, 4, 9, 7)), torch.randn(6, 2, 3, 3, dtype=torch.float64)
    grouped = oracle.check_op(
        "conv2d", lambda x, w, b: refbp.functional.conv2d(x, w, b, groups=2), groups=2, x=x, weight=weight
    )
    assert grouped.passed and list(grouped.cases["case"].unique()) == ["conv2d/given", "conv2d/given,again"]
    upstream = np.full((2, 6, 4, 3), 2.0)
    wide = torch.randn(6, 4, 3, 3, dtype=torch.float64)
    report = oracle.check_op(
        "conv2d", recorded, stride=2, x=x, weight=wide, bias=np.ones(6), grad_output=upstream, dtypes=("float64",)
    )
    assert report.passed
    assert np.array_equal(seen[0], x) and np.array_equal(seen[1], upstream)
    assert oracle.check_op("mse_loss", refbp.functional.mse_loss, x=np.ones(3) / 3, target=np.zeros(3)).passed
    norm = oracle.check_op(
        "layer_norm", lambda x, w, b: refbp.functional.layer_norm(x, (7,), w, b), normalized_shape=7, x=x
    )
    assert norm.passed


def test_the_sizes_of_a_class_are_those_of_the_arrays() -> None:
    """The weight of a transposed convolution holds a group's output channels, and that of PReLU a slope for each channel."""
    rng = np.random.default_rng(0)
    x, weight, bias, slopes = (rng.standard_normal(shape) for shape in ((2, 4, 5, 6), (4, 3, 3, 2), 6, 4))
    transposed = oracle.from_torch(lambda x, w, b: F.conv_transpose2d(x, w, b, stride=2, groups=2))
    report = oracle.check_op("conv_transpose2d", transposed, stride=2, groups=2, x=x, weight=weight, bias=bias)
    assert report.passed, report
    assert oracle.check_op("prelu", oracle.from_torch(F.prelu), x=x, weight=slopes).passed


def test_a_norm_without_a_weight() -> None:
    """The suite's inputs of the class without parameters."""

    def plain(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        assert weight is None and bias is None
        return refbp.functional.layer_norm(x, (5,))

    report = oracle.check_op("layer_norm", plain, normalized_shape=(5,), weight=None, bias=None, dtypes=("float64",))
    assert report.passed and not report.table["quantity"].str.startswith("grad.").any(), report


def test_no_bias_is_none_and_its_gradient_is_not_missed() -> None:
    seen: list[Any] = []

    def plain(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        seen.append(bias)
        return refbp.functional.linear(x, weight, bias)

    assert oracle.check_op("linear", plain, bias=None).passed
    assert set(seen) == {None}


def test_a_gradient_that_is_not_returned_is_missing() -> None:
    def forgetful(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        y, backward = refbp.functional.linear(x, weight, bias)
        return y, lambda dy: backward(dy)[:2]

    report = oracle.check_op("linear", forgetful, dtypes=("float64",))
    assert {(blame.quantity, blame.verdict) for blame in report.blame} == {("grad.bias", "missing")}


def test_a_function_that_writes_into_its_arguments_is_found_out() -> None:
    def careless(x: Any) -> tuple[Any, Backward]:
        y, backward = refbp.functional.relu(x.copy())
        x[...] = y
        return y, backward

    report = oracle.check_op("relu", careless, dtypes=("float64",))
    assert "careless writes into its argument input" in report.blame[0].diagnosis


def test_a_backward_that_writes_into_its_gradient_is_found_out() -> None:
    """Its own result is right; the gradient belongs to others too. In torch as well, whose tensors share the memory."""

    def careless(x: Any) -> tuple[Any, Backward]:
        def backward(dy: Any) -> Any:
            dy *= x > 0
            return dy

        return np.maximum(x, 0), backward

    class InPlace(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            return grad.mul_(x > 0)

    own = {"x": np.array([[1.0, -1.0, 2.0]])}
    for fn, name in ((careless, "careless"), (oracle.from_torch(InPlace.apply), "apply")):
        report = oracle.check_op("relu", fn, dtypes=("float32", "bfloat16"), **own)
        said = {blame.diagnosis for blame in report.blame}
        assert said == {f"ValueError: the backward of {name} writes into the gradient it is given, which is read-only"}


def test_what_it_does_otherwise_on_purpose_is_declared() -> None:
    """A convention excuses what it names and nothing else; quantities can be narrowed."""

    def masked(x: Any) -> tuple[Any, Backward]:
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    def too_far(x: Any) -> tuple[Any, Backward]:
        return np.maximum(x, 0), lambda dy: dy * (x > 0.1)

    declared = oracle.Profile(conventions=("anything_at_nan",))
    plain = oracle.check_op("relu", masked, dtypes=("float32",))
    assert {blame.case for blame in plain.blame} == {"nonfinite/ReLU"}
    assert oracle.check_op("relu", masked, profile=declared).passed
    wrong = oracle.check_op("relu", too_far, dtypes=("float32",), profile=declared)
    assert "activation/ReLU" in {blame.case for blame in wrong.blame}
    assert (
        wrong.blame[0].reproduce
        == f"oracle.check_op('relu', too_far, profile=profile, dtypes=('{wrong.blame[0].dtype}',))"
    )
    forward = oracle.Profile(quantities=("output",))
    shown = oracle.check_op("relu", lambda x: (np.maximum(x, 0), lambda dy: None), profile=forward)
    assert not shown.blame and shown.outcome == "no gradient was decided"


def test_an_option_that_holds_numbers_is_given_as_any_array() -> None:
    """The weights of classes, as a tuple, an array or a tensor."""
    weight = (1.0, 2.0, 0.5, 3.0)

    def weighted(x: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(x, target, torch.tensor(weight, dtype=x.dtype))

    for given in (weight, np.array(weight), torch.tensor(weight)):
        report = oracle.check_op("cross_entropy", oracle.from_torch(weighted), dtypes=("float64",), weight=given)
        assert report.passed and report.table["case"].str.contains("weight").all()
    assert not oracle.check_op(
        "cross_entropy", oracle.from_torch(F.cross_entropy), dtypes=("float64",), weight=weight
    ).passed


@pytest.mark.parametrize(
    ("fn", "message"),
    [
        (lambda x: x, "returned ndarray, expected a pair: the output, and a function"),
        (lambda x: (x, x), "returned tuple of ndarray, ndarray, expected a pair"),
        (lambda x: ("y", lambda dy: dy), "output of <lambda>: got str"),
        (lambda x: (x, lambda dy: (dy, dy)), "backward returns 2 gradients, for 1 argument: input"),
    ],
)
def test_a_function_of_another_form_is_told_what_is_expected(fn: Any, message: str) -> None:
    report = oracle.check_op("tanh", fn, dtypes=("float64",))
    assert any(message in blame.diagnosis for blame in report.blame)


@pytest.mark.parametrize(
    ("op", "options", "message"),
    [
        ("conv2", {}, "unknown op 'conv2'"),
        ("sgd", {}, "sgd cannot be checked by itself, since it is an update"),
        ("radam", {}, "radam cannot be checked by itself, since it is an update"),
        ("conv2d", {"strides": 2}, "conv2d has no 'strides'"),
        ("max_pool2d", {}, "max_pool2d needs kernel_size"),
        ("conv2d", {"weight": np.ones((1, 1, 1, 1))}, "weight is given without x"),
        ("conv2d", {"x": np.ones((1, 1, 3, 3))}, "conv2d needs weight=… beside x"),
        ("mse_loss", {"x": np.ones(3)}, "mse_loss needs target=… beside x"),
        (
            "linear",
            {"x": np.ones((2, 3)), "weight": np.ones((4, 5)), "bias": np.ones(4)},
            "linear expects input (*, 5)",
        ),
        ("relu", {"x": "x"}, "x: got str"),
        (
            "unflatten",
            {"dim": 1, "unflattened_size": (97, 89)},
            "fits unflatten with dim=1, unflattened_size=(97, 89), since unflatten expects sizes that make up 6",
        ),
        (
            "conv2d",
            {"stride": 0},
            "fits conv2d with stride=0, since stride of Conv2d expects an int of at least 1, or 2 of them, got 0",
        ),
        ("mse_loss", {"reduction": "avg"}, "reduction='avg', since a loss expects reduction 'none', 'mean' or 'sum'"),
        ("softmax", {"dim": 9}, "fits softmax with dim=9, since softmax expects dim within the 2 dimensions"),
        ("elu", {"alpha": None}, "fits elu with alpha=None, since it raises TypeError"),
        (
            "layer_norm",
            {"normalized_shape": 2.5},
            "fits layer_norm with normalized_shape=2.5, since normalized_shape of LayerNorm expects an int of at least 0",
        ),
        ("cross_entropy", {"weight": np.ones(9)}, "since cross_entropy expects weight (4,), one per class, got (9,)"),
        (
            "conv2d",
            {"x": np.ones((1, 2, 5, 5)), "weight": np.ones(2)},
            "conv2d expects a weight of 4 dimensions, got shape",
        ),
        ("elu", {"x": np.ones(3), "alpha": "a"}, "elu: arrays and options do not fit together: it raises TypeError"),
        (
            "upsample",
            {"x": np.ones((1, 1, 2)), "scale_factor": 0},
            "do not fit together: upsample expects one scale_factor above 0",
        ),
        (
            "conv2d",
            {"x": np.ones((1, 1, 3, 3)), "weight": np.ones((1, 1, 1, 1)), "groups": "a"},
            "conv2d: arrays and options do not fit together",
        ),
        ("tanh", {"x": np.ones(2, complex)}, "x holds complex128, expected real numbers"),
        ("tanh", {"x": np.array(["a"])}, "x holds <U1, expected real numbers"),
        ("prelu", {"weight": None}, "prelu: weight is an array, got None"),
        ("relu", {"x": None}, "relu: x is an array, got None"),
        ("relu", {"profile": "anything_at_nan"}, "check_op expects an oracle.Profile as profile, got str"),
    ],
)
def test_what_a_user_gets_wrong_is_said_in_one_sentence(op: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as raised:
        oracle.check_op(op, lambda *x: x, **options)
    assert "\n" not in str(raised.value)


def test_what_is_not_a_function_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^check_op expects a function fn\(x, …\) -> \(y, backward\), got ndarray$"):
        oracle.check_op("relu", np.ones(3))  # type: ignore[arg-type]


@pytest.mark.parametrize("op, options", [("leaky_relu", {"negative_slope": 0.3}), ("softmax", {"dim": 1})])
def test_what_is_kept_from_an_earlier_call_is_found_out(op: str, options: dict[str, Any]) -> None:
    """Also with options that the suite lacks: one of the shapes comes twice, with other numbers."""
    kept: dict[Any, Any] = {}

    def stale(x: Any) -> tuple[Any, Backward]:
        y, backward = getattr(refbp.functional, op)(x, **options)
        return y, kept.setdefault((y.shape, y.dtype), backward)

    report = oracle.check_op(op, stale, dtypes=("float64",), **options)
    assert {blame.quantity for blame in report.blame} == {"grad_input"}


@pytest.mark.parametrize("kept", ["x", "weight", "gradient"])
def test_what_is_kept_from_an_earlier_call_is_found_out_on_given_arrays(kept: str) -> None:
    """Given arrays were used in a single call, in which a cache is filled, and a buffer that adds up is still zero."""
    memory: dict[Any, Any] = {}

    def linear(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        y, backward = refbp.functional.linear(x, weight, bias)
        key = x.dtype
        if kept == "x":
            _, backward = refbp.functional.linear(memory.setdefault(key, x.copy()), weight, bias)
        if kept == "weight":
            _, backward = refbp.functional.linear(x, memory.setdefault(key, weight.copy()), bias)

        def adding(dy: Any) -> Any:
            dx, dw, db = backward(dy)
            if kept == "gradient":
                dw = memory[key] = memory.get(key, 0) + dw
            return dx, dw, db

        return y, adding

    x, weight, bias = np.arange(6.0).reshape(2, 3) - 2, np.arange(3.0).reshape(1, 3), np.ones(1)
    report = oracle.check_op("linear", linear, x=x, weight=weight, bias=bias)
    wrong = {"x": "grad.weight", "weight": "grad_input", "gradient": "grad.weight"}[kept]
    assert {blame.quantity for blame in report.blame} == {wrong}


class UnlessFrozen(torch.autograd.Function):
    """A linear layer whose weight's gradient is wrong where the input needs none."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return x @ weight.T + bias

    @staticmethod
    def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        rows = dy.reshape(-1, dy.shape[-1])
        dw = (1 if needs_x else 2) * rows.T @ x.reshape(-1, x.shape[-1]) if needs_weight else None
        return dy @ weight if needs_x else None, dw, rows.sum(0) if needs_bias else None


def test_a_gradient_that_is_wrong_beside_frozen_arrays() -> None:
    """Functions skip what `ctx.needs_input_grad` says is not needed; all arrays required a gradient, so this was never tried."""
    fn, shapes = oracle.from_torch(UnlessFrozen.apply), {"x": (5, 3), "weight": (2, 3), "bias": (2,)}
    report = oracle.check_op(F.linear, fn, dtypes=("float64",), **shapes)
    assert [(own.quantity, own.cause_name) for own in report.blame] == [("grad.weight", "factor")]
    assert report.blame[0].diagnosis.endswith("only where no other array requires a gradient")
    given = {name: np.random.default_rng(0).standard_normal(shape) for name, shape in shapes.items()}
    for arrays in ({}, given):
        report = oracle.check_op("linear", fn, dtypes=("float64",), **arrays)
        assert [(own.quantity, own.case.endswith(",alone")) for own in report.blame] == [("grad.weight", True)]


def test_a_function_that_needs_all_gradients_together() -> None:
    """It is differentiated together alone, and not blamed for the rest."""

    class Together(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(x, y)
            return x * y

        @staticmethod
        def backward(ctx: Any, dy: torch.Tensor) -> tuple[torch.Tensor, ...]:
            assert all(ctx.needs_input_grad)
            x, y = ctx.saved_tensors
            return dy * y, dy * x

    assert oracle.check_op(torch.mul, oracle.from_torch(Together.apply), x=(3, 4), y=(3, 4)).passed


def test_every_option_meets_other_memory_layouts_and_gradients() -> None:
    """Options that the suite has in dense memory alone, and a loss whose upstream gradient is 1 in the suite."""

    def dense(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        y, backward = refbp.functional.conv2d(x, weight, bias, dilation=3)
        return (y if weight.flags.c_contiguous else 2 * y), backward

    def dense_back(x: Any, weight: Any, bias: Any) -> tuple[Any, Backward]:
        y, backward = strided(x, weight, bias)
        return y, lambda dy: backward(dy.ravel(order="K").reshape(dy.shape) * (1 if dy.flags.c_contiguous else 2))

    def deaf(x: Any, target: Any) -> tuple[Any, Backward]:
        return ((x - target) ** 2).mean(), lambda dy: (2 * (x - target) / x.size,)

    for op, fn, options, quantities in (
        ("conv2d", dense, {"dilation": 3}, {"output"}),
        ("conv2d", dense_back, {"stride": 2}, {"grad_input", "grad.weight", "grad.bias"}),
        ("mse_loss", deaf, {}, {"grad_input"}),
    ):
        report = oracle.check_op(op, fn, dtypes=("float64",), **options)
        assert {blame.quantity for blame in report.blame} == quantities
        assert all(blame.case.endswith(",turned") for blame in report.blame)
    assert "the upstream gradient is ignored" in report.blame[0].cause


def test_targets_that_torch_does_not_differentiate_are_constants() -> None:
    assert oracle.check_op("soft_margin_loss", oracle.from_torch(F.soft_margin_loss), dtypes=("float64",)).passed


NEEDED: dict[str, dict[str, Any]] = {
    **{f"avg_pool{rank}d": {"kernel_size": 2} for rank in (1, 2, 3)},
    **{f"max_pool{rank}d": {"kernel_size": 2} for rank in (1, 2, 3)},
    **{f"lp_pool{rank}d": {"kernel_size": 2, "norm_type": 2.0} for rank in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{rank}d": {"output_size": 3} for rank in (1, 2, 3) for kind in ("avg", "max")},
    "batch_norm": {"training": True},
    "group_norm": {"num_groups": 2},
    "layer_norm": {"normalized_shape": (3, 5)},
    "rms_norm": {"normalized_shape": (5,)},
    "local_response_norm": {"size": 3},
    "pixel_shuffle": {"upscale_factor": 2},
    "pixel_unshuffle": {"downscale_factor": 2},
    "threshold": {"threshold": 0.1, "value": 2.0},
    "unflatten": {"dim": 1, "unflattened_size": (2, 3)},
    "upsample": {"scale_factor": 2.0},
    "softmax": {"dim": -1},
    "softmin": {"dim": -1},
    "log_softmax": {"dim": -1},
}


@pytest.mark.parametrize(
    "op",
    [
        name
        for name in refbp.functional.__all__
        if name not in WITHOUT and Op.named(name).arrays == ("input",) and name not in NEEDED
    ],
)
def test_every_activation_takes_an_array_of_one_s_own(op: str) -> None:
    """None of them has options that only its class knows."""
    report = oracle.check_op(
        op, getattr(refbp.functional, op), x=np.array([[0.5, -1.5, 2.5, -0.25]]), dtypes=("float64",)
    )
    assert report.passed, report.blame[:1]


FEW = 3


@pytest.mark.slow
@pytest.mark.parametrize("op", [name for name in refbp.functional.__all__ if name not in WITHOUT])
def test_every_op_of_the_reference_passes_against_itself(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each has a class, inputs and an order of arguments. With a gradient that is half as large each fails in one of a few cases.

    The cause is not searched for.
    """
    monkeypatch.setattr(judge, "explained", lambda rows, evidence_of: (list(rows), []))
    options = NEEDED.get(op, {})
    right: Any = getattr(refbp.functional, op)

    def own(*arrays: Any) -> tuple[Any, Backward]:
        return right(*arrays, **options)

    halves: list[Any] = []

    def halved(*arrays: Any) -> tuple[Any, Backward]:
        y, backward = right(*arrays, **options)
        if len(halves) == FEW:
            raise oracle.Unsupported(f"{FEW} cases are enough")

        def half(dy: Any) -> Any:
            grads = backward(dy)
            first, *rest = grads if isinstance(grads, tuple) else (grads,)
            halves.append(first / 2)
            return (halves[-1], *rest)

        return y, half

    between = {"normalized_shape", "num_groups"} & options.keys()
    if between:  # stands between the arrays
        (name,) = between

        def right(x: Any, *rest: Any, **given: Any) -> Any:
            return getattr(refbp.functional, op)(x, given[name], *rest)

    report = oracle.check_op(op, own, dtypes=("float64",), **options)
    assert report.passed, report.blame[:2]
    assert oracle.check_op(op, halved, dtypes=("float64",), **options).blame


def test_an_op_that_torch_lacks_is_held_against_refbp(monkeypatch: pytest.MonkeyPatch) -> None:
    """An op that is added before torch has it can be checked all the same, and fails when it is wrong."""
    monkeypatch.delattr(torch.nn, "Mish")
    right: Any = refbp.functional.mish
    assert oracle.check_op("mish", right, dtypes=("float64",)).passed
    assert not oracle.check_op("mish", lambda x: (right(x)[0], lambda dy: dy), dtypes=("float64",)).passed


class OnDevice:
    """As CuPy's arrays behave: no silent copy, but get()."""

    def __init__(self, values: Any) -> None:
        self.values, self.__cuda_array_interface__ = values, values.__array_interface__

    def __array__(self, *arguments: Any, **options: Any) -> Any:
        raise TypeError("Implicit conversion to a NumPy array is not allowed")

    def get(self) -> Any:
        return self.values


class Exchanged:
    """An array that speaks DLPack and nothing else."""

    def __init__(self, values: Any) -> None:
        self.values = values

    def __dlpack__(self, **options: Any) -> Any:
        return self.values.__dlpack__(**options)

    def __dlpack_device__(self) -> Any:
        return self.values.__dlpack_device__()


def in_jax(values: Any) -> Any:
    return pytest.importorskip("jax").numpy.asarray(values)


@pytest.mark.parametrize(
    "made",
    [
        lambda values: values,
        lambda values: torch.tensor(values, requires_grad=True),
        lambda values: torch.tensor(values).T.contiguous().T,
        OnDevice,
        Exchanged,
        in_jax,
    ],
    ids=["numpy", "torch with a graph", "torch strided", "cupy", "dlpack", "jax"],
)
def test_arrays_of_any_library(made: Callable[[Any], Any]) -> None:
    values = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(numpy_of(made(values)), values) and numpy_of(made(values)).dtype == np.float32


def test_sixteen_bits_and_numbers() -> None:
    assert numpy_of(torch.ones(2, dtype=torch.bfloat16)).dtype.name == "bfloat16"
    assert numpy_of(1.5) == 1.5
    with pytest.raises(TypeError, match="got list"):
        numpy_of([1.0])


def test_results_of_other_libraries_are_taken() -> None:
    """The forward in torch, a gradient in an array that speaks DLPack only."""

    def mixed(x: Any) -> tuple[Any, Backward]:
        y, backward = refbp.functional.tanh(x)
        return torch.tensor(y), lambda dy: (Exchanged(backward(dy)),)

    assert oracle.check_op("tanh", mixed).passed


def test_what_a_function_does_not_take_is_unsupported() -> None:
    """Against an op and against a program alike; what it does take is judged."""

    def batched(x: Any) -> tuple[Any, Callable[[Any], Any]]:
        if np.isnan(x).any() or x.ndim == 1:
            raise oracle.Unsupported("no NaN and no single row here")
        return np.maximum(x, 0), lambda dy: dy * (x > 0)

    report = oracle.check_op("relu", batched, dtypes=("float32",))
    assert report.passed and {"unsupported", "pass"} <= set(report.cases["verdict"])
    alone = oracle.check_op(lambda x: np.maximum(x, 0), batched, x=np.ones(3), dtypes=("float32",))
    assert set(alone.table["verdict"]) == {"unsupported"} and not alone.passed
    assert alone.table["diagnosis"].tolist() == ["no NaN and no single row here"]
