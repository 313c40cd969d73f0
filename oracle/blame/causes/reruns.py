"""Hypotheses that the layer was computed with a wrong option, input or mode: refbp runs again with it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from oracle.blame.causes.evidence import Evidence, Hypothesis
from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.case.names import is_buffer
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.execution.options import filled_options
from oracle.judging.conventions import CONVENTIONS
from oracle.running_error.branches import BranchLog

MODES: Mapping[str, tuple[Any, ...]] = {
    "reduction": ("mean", "sum", "batchmean"),
    "padding_mode": ("zeros", "reflect", "replicate", "circular"),
    "mode": ("nearest", "bilinear"),
    "approximate": ("none", "tanh"),
    "align_corners": (True, False),
    "dim": (0, 1, 2, -1),
}
# Usual values of options, which code may assume in place of the given value.
USUAL: Mapping[str, tuple[Any, ...]] = {
    "eps": (0.0, 1e-8, 1e-6, 1e-5),
    "value": (0.0, 1.0),
    "threshold": (0.0,),
    "norm_type": (1.0, 2.0),
    "beta": (1.0,),
    "negative_slope": (0.0,),
}


def hypotheses(e: Evidence) -> Iterator[Hypothesis]:
    yield from of_conventions(e)
    yield from of_upstream(e)
    yield from of_options(e)
    yield from of_parameters(e)
    yield from of_sums(e)
    yield from of_statistics(e)
    yield from of_precision(e)
    yield from of_place(e)


def of_upstream(e: Evidence) -> Iterator[Hypothesis]:
    upstream = e.upstream
    if upstream is not None and not (e.quantity == "output" or e.quantity.startswith("buffer")):
        yield from e.rerun(
            "upstream ignored",
            "the upstream gradient is ignored, as if it were all ones",
            grad_outputs=(np.ones_like(upstream),),
        )
        in_memory = np.ravel(upstream, order="K").reshape(upstream.shape)
        yield from e.rerun(
            "layout", "the upstream gradient's memory is read in order, whatever its strides", grad_outputs=(in_memory,)
        )
    if e.case.inputs:
        given = np.ravel(e.input, order="K").reshape(e.input.shape)
        if not np.array_equal(given, e.input, equal_nan=True):
            yield from e.rerun("layout", "the input's memory is read in order, whatever its strides", inputs=(given,))
        if e.input.ndim > 1:
            yield from e.rerun("layout", f"the input {BY_COLUMNS}", inputs=(by_columns(e.input),))


BY_COLUMNS = "is read column by column, not row by row"


def by_columns(array: Array) -> Array:
    """The array that code with column-major arrays, or with the dimensions in reverse order, makes of its numbers."""
    return np.ascontiguousarray(np.ravel(array).reshape(array.shape, order="F"))


def of_options(e: Evidence) -> Iterator[Hypothesis]:
    """Every option set to its default, switched, or exchanged with another."""
    optimizer = e.case.optimizer
    if optimizer is not None:
        e = e.of_parameter
        optimizer = e.case.optimizer
        assert optimizer is not None
        for options, words in altered(optimizer, OPTIMIZERS[optimizer.type]):
            yield from e.rerun("option", words, optimizer=replace(optimizer, options=options))
        if e.case.dtype != "float64":
            words = f"behaves like options rounded to {e.case.dtype}: they are doubles"
            yield from e.rerun("options rounded", words, optimizer=rounded(optimizer, np.dtype(e.case.dtype)))
    elif e.case.layers:
        spec = e.case.layers[0]
        for options, words in altered(spec, LAYERS[spec.type]):
            yield from e.rerun("option", words, layers=(replace(spec, options=options),))
        yield from e.rerun(
            "mode",
            "computed as in evaluation" if e.case.training else "computed as in training",
            training=not e.case.training,
        )
    elif e.case.loss is not None:
        for options, words in altered(e.case.loss, LOSSES[e.case.loss.type]):
            yield from e.rerun("option", words, loss=replace(e.case.loss, options=options))


def altered(spec: Spec, made: type) -> Iterator[tuple[dict[str, Any], str]]:
    signature = inspect.signature(made).parameters
    options = dict(spec.options)
    for name, parameter in signature.items():
        if name in ("dtype", "rng", "bias", "affine", "inplace"):
            continue
        if parameter.default is inspect.Parameter.empty:
            yield from without_default(options, name)
            continue
        own, default = options.get(name, parameter.default), parameter.default
        if own != default:
            yield {**options, name: default}, f"{name} is ignored: as if it were {default!r}"
        if isinstance(own, tuple) and len(own) > 1 and own != own[::-1] and name != "betas":
            yield {**options, name: own[::-1]}, f"rows and columns of {name} are exchanged"
        if isinstance(own, float) and own < 0:
            yield {**options, name: -own}, f"as if {name} were {-own}: its sign is lost"
        if isinstance(default, bool):
            yield {**options, name: not own}, f"as if {name} were {not own}"
        for other in (*MODES.get(name, ()), *USUAL.get(name, ())):
            if other not in (own, default):
                yield {**options, name: other}, f"as if {name} were {other!r}"
        if name == "betas":
            yield {**options, name: tuple(reversed(own))}, "the two betas are exchanged"
        if name == "momentum" and isinstance(own, float):
            yield (
                {**options, name: 1 - own},
                "momentum counts for the new value instead of the old, or the other way round",
            )
    if "stride" in options and "dilation" in options and options["stride"] != options["dilation"]:
        swapped = {**options, "stride": options["dilation"], "dilation": options["stride"]}
        yield swapped, "stride and dilation are exchanged"


def rounded(spec: Spec, dtype: np.dtype[Any]) -> Spec:
    """An optimizer with its options, given or default, rounded to this dtype, which changes 1 - β."""

    def own(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(own, value))
        return float(np.asarray(value, dtype)) if isinstance(value, float) else value

    every = {name: own(value) for name, value in filled_options(OPTIMIZERS, spec).items()}
    groups = tuple({name: own(value) for name, value in group.items()} for group in spec.groups)
    return replace(spec, options=every, groups=groups)


def without_default(options: dict[str, Any], name: str) -> Iterator[tuple[dict[str, Any], str]]:
    own = options.get(name)
    usual: tuple[Any, ...] = USUAL.get(name, ())
    if name == "num_groups":
        usual = (1, options.get("num_channels"))
    elif name == "size" and isinstance(own, int):
        usual = (own - 1, own + 1)
    for other in usual:
        if other != own:
            yield {**options, name: other}, f"as if {name} were {other!r}"


def of_parameters(e: Evidence) -> Iterator[Hypothesis]:
    """Parameters reversed, transposed, missing or used twice."""
    if not e.case.layers or e.quantity.startswith("grad."):
        return
    for name, value in e.case.params.items():
        if is_buffer(name):
            continue
        short = name.rpartition(".")[2]

        def other(array: Array, name: str = name) -> dict[str, Array]:
            return {**e.case.params, name: np.ascontiguousarray(array)}

        if value.ndim > 2:
            axes = tuple(range(2, value.ndim))
            turned = np.flip(value, axes)
            yield from e.rerun(
                "kernel turned",
                "the kernel is turned by 180° where it should not be, or not where it should",
                params=other(turned),
            )
            if value.shape[-1] == value.shape[-2]:
                yield from e.rerun(
                    "kernel transposed",
                    "the kernel's rows and columns are exchanged",
                    params=other(np.swapaxes(value, -1, -2)),
                )
        elif value.ndim == 2 and value.shape[0] == value.shape[1]:
            yield from e.rerun(
                "weight transposed",
                "the weight is transposed where it should not be, or not where it should",
                params=other(value.T),
            )
        if value.ndim > 1:
            yield from e.rerun("layout", f"the {short} {BY_COLUMNS}", params=other(by_columns(value)))
        yield from e.rerun(
            "parameter lost",
            f"the {short} is left out",
            params=other(np.zeros_like(value) if short == "bias" else np.ones_like(value)),
        )
        if value.ndim == 1 and short == "weight":
            yield from e.rerun("parameter lost", "the weight is taken as zero", params=other(np.zeros_like(value)))
            yield from e.rerun("shifted", "the weights belong to the next channel", params=other(np.roll(value, 1)))
        if short == "bias":
            yield from e.rerun("parameter twice", "the bias is added twice", params=other(2 * value))
            last = value.copy()
            last[-1] = 0
            yield from e.rerun("parameter lost", "the last element of the bias is left out", params=other(last))


def of_sums(e: Evidence) -> Iterator[Hypothesis]:
    """Parameter gradients from a part of the batch or of the positions only."""
    if not e.quantity.startswith("grad.") or e.upstream is None or not e.case.layers or e.input.ndim < 2:
        return
    batch = len(e.input)
    if len(e.upstream) == batch > 1 and "BatchNorm" not in e.case.layers[0].type:
        for kept, words in ((slice(0, 1), "first"), (slice(-1, None), "last"), (slice(0, -1), "all but the last")):
            upstream = np.zeros_like(e.upstream)
            upstream[kept] = e.upstream[kept]
            yield from e.rerun(
                "not summed", f"not summed over the batch: only {words} of its samples", grad_outputs=(upstream,)
            )
    elif len(e.upstream) == batch > 1:
        upstream = np.zeros_like(e.upstream)
        upstream[:1] = e.upstream[:1]
        yield from e.rerun(
            "not summed", "not summed over the batch: only the first of its samples", grad_outputs=(upstream,)
        )
    for axis in range(1 if e.upstream.ndim <= 3 else 2, e.upstream.ndim):
        if e.upstream.shape[axis] < 2:  # no sample would be left
            continue
        for kept, words in (
            (slice(0, 1), "the first position"),
            (slice(-1, None), "the last position"),
            (slice(0, -1), "all but the last position"),
        ):
            upstream = np.zeros_like(e.upstream)
            place: Any = (slice(None),) * axis + (kept,)
            upstream[place] = e.upstream[place]
            yield from e.rerun(
                "not summed", f"not summed over positions: only {words} of dimension {axis}", grad_outputs=(upstream,)
            )
    if e.upstream.ndim > 3:
        upstream = np.zeros_like(e.upstream)
        corner: Any = (slice(None), slice(None), *(0,) * (e.upstream.ndim - 2))
        upstream[corner] = e.upstream[corner]
        yield from e.rerun("not summed", "not summed over positions: only the first", grad_outputs=(upstream,))
        inner = np.zeros_like(e.upstream)
        most: Any = (slice(None), slice(None), *(slice(0, -1),) * (e.upstream.ndim - 2))
        inner[most] = e.upstream[most]
        yield from e.rerun("not summed", "not summed over the last row and column", grad_outputs=(inner,))


AXES = {
    "BatchNorm1d": "batch",
    "BatchNorm2d": "batch",
    "BatchNorm3d": "batch",
    "InstanceNorm1d": "instance",
    "InstanceNorm2d": "instance",
    "InstanceNorm3d": "instance",
    "LayerNorm": "last",
}


def of_conventions(e: Evidence) -> Iterator[Hypothesis]:
    """A convention that the profile does not declare; and running statistics that are not updated."""
    if not (e.case.inputs or e.case.grads):  # an array that one layer passes to another: there is nothing to run
        return
    for name, convention in CONVENTIONS.items():
        if any(fnmatchcase(e.quantity, pattern) for pattern in convention.quantities):
            try:
                found = convention.expected(e.case, replace(e.model, branches=BranchLog()), None)[e.key]
            except (KeyError, ValueError):
                continue
            words = f"{convention.what}: a convention, declared as conventions=({name!r},) in the subject's profile"
            yield Hypothesis(name, words, found.value, found.sigma)
    if e.quantity.startswith("buffer.") and f"layer.{e.param}" in e.case.params:
        yield Hypothesis("not updated", "it is not updated", e.case.params[f"layer.{e.param}"].astype(np.float64), 0.0)


def of_statistics(e: Evidence) -> Iterator[Hypothesis]:
    """Normalisation whose gradient lacks the term through the mean or the variance, or whose output has another 1/σ."""
    kind = AXES.get(e.case.layers[0].type) if e.case.layers else None
    if kind is None or e.quantity not in ("grad_input", "output") or e.input.size == 0:
        return
    x = e.input.astype(np.float64)
    normalized = np.atleast_1d(e.case.layers[0].options.get("normalized_shape", ()))
    last = tuple(range(x.ndim - len(normalized), x.ndim))
    axes = {"batch": (0, *range(2, x.ndim)), "instance": tuple(range(2, x.ndim)), "last": last}[kind]
    shape = (1, -1, *(1,) * (x.ndim - 2)) if kind != "last" else tuple(map(int, normalized))
    params = {name.rpartition(".")[2]: value.astype(np.float64) for name, value in e.case.params.items()}
    weight, bias = params.get("weight", np.ones(1)), params.get("bias", np.zeros(1))
    weight, bias = (a.reshape(shape if a.size > 1 else (1,) * x.ndim) for a in (weight, bias))
    eps = float(e.case.layers[0].options.get("eps", 1e-5))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    count = x.size // mean.size
    runs_on_kept = not e.case.training and f"{e.key.layer}.running_mean" in e.case.params
    sigma = 4 * e.expected.sigma
    if e.quantity == "grad_input" and e.upstream is not None:
        g = e.upstream.astype(np.float64) * weight
        s = 1 / np.sqrt(variance + eps)
        x_hat = (x - mean) * s
        through_mean, through_variance = g.mean(axes, keepdims=True), x_hat * (g * x_hat).mean(axes, keepdims=True)
        yield Hypothesis(
            "statistics",
            "the statistics are taken as constants: the terms through mean and variance are missing",
            s * g,
            sigma,
        )
        yield Hypothesis("statistics", "the term through the mean is missing", s * (g - through_variance), sigma)
        yield Hypothesis("statistics", "the term through the variance is missing", s * (g - through_mean), sigma)
        full = s * (g - through_mean - through_variance)
        yield Hypothesis("statistics", "the term through the mean is taken twice", full - s * through_mean, sigma)
        yield Hypothesis(
            "statistics", "the term through the variance is taken twice", full - s * through_variance, sigma
        )
        if runs_on_kept:
            yield Hypothesis("statistics", "the statistics of this batch, though in evaluation", full, sigma)
        yield Hypothesis("parameter lost", "the weight is left out", full / weight, sigma / np.abs(weight))
    if e.quantity == "output":
        for words, s in (
            ("the variance is unbiased where it normalises", 1 / np.sqrt(variance * count / max(count - 1, 1) + eps)),
            ("eps is outside the root", 1 / (np.sqrt(variance) + eps)),
            ("eps is forgotten", 1 / np.sqrt(variance)),
            *([("the statistics of this batch, though in evaluation", 1 / np.sqrt(variance + eps))] * runs_on_kept),
        ):
            yield Hypothesis("statistics", words, (x - mean) * s * weight + bias, sigma)
        every = (0, *range(2, x.ndim)) if kind == "instance" else tuple(range(2, x.ndim))
        if every and kind != "last":
            s = 1 / np.sqrt(x.var(every, keepdims=True) + eps)
            words = "the statistics of each sample" if kind == "batch" else "the statistics of the whole batch"
            yield Hypothesis("statistics", words, (x - x.mean(every, keepdims=True)) * s * weight + bias, sigma)


def of_precision(e: Evidence) -> Iterator[Hypothesis]:
    """Operands rounded to fewer bits before multiplication."""
    if not e.case.layers or not e.case.params:
        return
    for name, bits in (("float32", 24), ("TF32", 11), ("bfloat16", 8)):
        if bits < -np.log2(e.model.unit_roundoff):
            rounded: dict[str, Any] = {
                "inputs": tuple(kept_bits(a, bits) for a in e.case.inputs),
                "grad_outputs": tuple(kept_bits(a, bits) for a in e.case.grad_outputs),
                "params": {
                    key: value if key.endswith("bias") else kept_bits(value, bits)
                    for key, value in e.case.params.items()
                },
            }
            yield from e.rerun("precision", f"operands are rounded to {name} before they are multiplied", **rounded)


def kept_bits(array: Array, bits: int) -> Array:
    if array.dtype.kind in "biu":
        return array
    mantissa, exponent = np.frexp(array.astype(np.float64))
    return np.asarray(np.ldexp(np.rint(np.ldexp(mantissa, bits)), exponent - bits)).astype(array.dtype)


def of_place(e: Evidence) -> Iterator[Hypothesis]:
    """The derivative is taken at another place than the input."""
    if not e.quantity.startswith("grad") or not e.case.layers or e.upstream is None:
        return
    output = e.after_output()
    half = e.input.shape[-1] // 2 if e.input.ndim else 0
    if e.case.layers[0].type == "GLU":
        yield from e.rerun("halves exchanged", "the two halves are exchanged", inputs=(np.roll(e.input, half, -1),))
    if output is not None and output.shape == e.input.shape:
        yield from e.rerun(
            "derivative at the output",
            "the derivative is taken at the output instead of the input",
            inputs=(output.astype(e.case.dtype),),
        )
    if e.upstream.shape == e.input.shape:
        found = e.rerun(
            "derivative at the upstream",
            "the derivative is taken at the upstream gradient instead of the input",
            inputs=(e.upstream,),
        )
        # If that derivative is one everywhere, it is more likely left out.
        yield from (own for own in found if not np.array_equal(own.value, e.upstream))
