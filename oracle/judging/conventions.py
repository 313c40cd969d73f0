"""Rules of other libraries that differ from torch's but are not errors. A subject that declares such a rule is judged by it.

Another one-sided derivative at a kink or tie is also right, and needs no declaration.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, named_layers
from oracle.case.names import is_buffer
from oracle.execution.network import Results
from oracle.execution.predict import predict
from oracle.execution.rules import epsilon_inside_root, epsilon_uncorrected, rule_replaced, velocity_with_rate
from oracle.judging.plainer_formulas import clipped_probability, one_pass_variance, unshifted_log_softmax
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.running_error.infinities import left_open
from oracle.running_error.model import Floats, limits
from oracle.trace import Key

Guides = Mapping[Key, Array] | None


@dataclass(frozen=True)
class Convention:
    """A rule that differs from torch's.

    Attributes:
        what: the rule in words.
        quantities: patterns of the quantities that it changes.
        expected: computes the values that are expected under it.
    """

    what: str
    quantities: tuple[str, ...]
    expected: Callable[[Case, ErrorModel, Guides], Results]


def revalued(plain: ErrorArray, value: Floats) -> ErrorArray:
    """The array with another value and the same error. A value shifted by a difference keeps the reference's rounding."""
    return ErrorArray(value, plain.model, plain.error_or_zero, scale=plain.scale_or_own)


def _biased_running_variance(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """running_var is updated with Σ(x - μ)² / n, where torch divides by n - 1."""
    results = predict(case, model, guides)
    for name, spec in named_layers(case.layers):
        key = Key(0, name, "buffer.running_var")
        if not spec.type.startswith("BatchNorm") or key not in results or not case.training:
            continue
        momentum = spec.options.get("momentum", 0.1)
        if momentum is None:
            batches = float(results[key._replace(quantity="buffer.num_batches_tracked")])
            if batches < 1:  # a subject that counted them wrong before
                continue
            momentum = 1 / batches
        given = results[key._replace(quantity="input")]
        count = given.size // given.shape[1]
        kept = (1 - momentum) * case.params[f"{name}.running_var"].astype(np.float64)
        results[key] = kept + (results[key] - kept) * ((count - 1) / count)
    return results


def _dampened_first_step(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """The momentum buffer starts at zero, so that the first gradient is dampened too."""
    if case.optimizer is None or case.optimizer.type != "SGD":  # no other optimizer is dampened
        return predict(case, model, guides)
    started = case.optimizer_state.get("momentum", {})
    learnt = {name: value for name, value in case.params.items() if not is_buffer(name)}
    zeros = {name: np.zeros_like(value) for name, value in learnt.items() if name not in started}
    state = {**case.optimizer_state, "momentum": {**zeros, **started}}
    return predict(replace(case, optimizer_state=state), model, guides)


def _selu_in_six_digits(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """SELU with λ = 1.0507 and α = 1.67326."""
    alike = tuple(
        replace(spec, type="ELU", options={"alpha": 1.67326}) if spec.type == "SELU" else spec for spec in case.layers
    )
    if len(alike) != 1 or alike == case.layers:  # in a network the difference of the layer goes on
        return predict(case, model, guides)
    plain = predict(replace(case, layers=alike), model, guides)
    return {key: plain[key] * 1.0507 if key.quantity in ("output", "grad_input") else plain[key] for key in plain}


def _adam_epsilon_uncorrected(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """Adam's and AdamW's short form: ε is added to √v before bias correction."""
    if case.optimizer is None or case.optimizer.type not in ("Adam", "AdamW"):
        return predict(case, model, guides)
    with rule_replaced(case.optimizer.type, epsilon_uncorrected):
        return predict(case, model, guides)


def _epsilon_inside_root(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """RMSprop, Adagrad, Adam and AdamW divide by √(s + ε)."""
    if case.optimizer is None or case.optimizer.type not in ("RMSprop", "Adagrad", "Adam", "AdamW"):
        return predict(case, model, guides)
    with rule_replaced(case.optimizer.type, epsilon_inside_root(case.optimizer.type)):
        return predict(case, model, guides)


def _velocity_holds_rate(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """SGD's momentum includes the learning rate."""
    if case.optimizer is None or case.optimizer.type != "SGD":
        return predict(case, model, guides)
    with rule_replaced("SGD", velocity_with_rate):
        return predict(case, model, guides)


def _nothing_at_equality(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """LeakyReLU as max(x, 0) + slope min(x, 0). At 0 both terms have the derivative 0."""
    results = predict(case, model, guides)
    for name, spec in named_layers(case.layers):
        key = Key(0, name, "grad_input")
        if spec.type == "LeakyReLU" and key in results:
            given = results[key._replace(quantity="input")]
            results[key] = revalued(results[key], np.where(given.value == 0, 0.0, results[key].value))
    return results


# Activations whose kernels in torch give one gradient at NaN in full vector registers, and another to the last few elements:
# reports/findings/torch-nan-gradients.md.
DIFFER_AT_NAN = ("ReLU6", "Hardtanh", "Hardshrink", "Softshrink", "Hardswish", "ELU", "CELU", "SELU")
AT_NAN = "anything_at_nan"


def at_kinks(case: Case, model: ErrorModel) -> ErrorModel:
    """Any one-sided derivative is accepted, with or without a convention; the maxima of a pooling share the window's gradient."""
    pools = any("MaxPool" in spec.type for _, spec in named_layers(case.layers))
    return model if pools else replace(model, bounds=False, open_ties=True, branches=BranchLog())


def _anything_at_nan(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """Any gradient is accepted where the layer's input is NaN."""
    results = predict(case, at_kinks(case, model), guides)
    for name, _ in named_layers(case.layers):
        key = Key(0, name, "grad_input")
        given, plain = results.get(key._replace(quantity="input")), results.get(key)
        if plain is not None and given is not None and given.shape == plain.shape:
            results[key] = left_open(plain, np.isnan(given.value))
    return results


def _softplus_uncut(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """log(1 + exp(βx)) / β everywhere; torch returns x where βx is above the threshold."""
    layers = tuple(
        replace(spec, options={**spec.options, "threshold": np.inf}) if spec.type == "Softplus" else spec
        for spec in case.layers
    )
    return predict(replace(case, layers=layers), model, guides)


def _hardswish_as_product(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """x · min(max(x + 3, 0), 6) / 6 everywhere, which rounds where torch returns x or the upstream gradient unchanged."""
    results = predict(case, at_kinks(case, model), guides)
    for name, spec in named_layers(case.layers):
        for quantity in ("output", "grad_input"):
            key = Key(0, name, quantity)
            if spec.type == "Hardswish" and key in results:
                results[key] = results[key] / 6.0 * 6.0
    return results


def _clamped_variance(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """The clamp of the variance is differentiated: the gradient is 0 where the variance is below eps; torch ignores the clamp."""
    results, key = predict(case, model, guides), Key(0, "loss", "grad.var")
    if case.loss is not None and case.loss.type == "GaussianNLLLoss" and key in results:
        kept = case.targets[0][1] > case.loss.options.get("eps", 1e-6)
        results[key] = revalued(results[key], np.where(kept, results[key].value, 0.0))
    return results


def _probabilities_on_the_simplex(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """Σ_c t_c log Σ exp x is simplified to log Σ exp x. That is right if t sums to 1, but its derivative with respect to t
    differs.

    The derivative differs by a constant per sample; it becomes 0 for the largest score.
    """
    results, key = predict(case, model, guides), Key(0, "loss", "grad.target")
    if case.loss is not None and case.loss.type == "CrossEntropyLoss" and key in results:
        grad = results[key].value
        dim = 0 if grad.ndim == 1 else 1
        largest = np.expand_dims(np.argmax(case.inputs[0], axis=dim), dim)
        results[key] = revalued(results[key], grad - np.take_along_axis(grad, largest, dim))
    return results


def _subnormals_as_zero(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """Each operation treats a subnormal number as zero. Subnormal numbers of float16 and of 8 bits are normal in the precision
    that computes."""
    if model.is_short:
        return predict(case, model, guides)
    least = float(limits(model.dtype).tiny)

    def flushed(array: Array) -> Array:
        return array if array.dtype.kind in "biu" else np.where(np.abs(array) < least, np.zeros_like(array), array)

    return predict(
        case.mapped(flushed), model, None if guides is None else {key: flushed(guides[key]) for key in guides}
    )


CONVENTIONS = {
    "biased_running_variance": Convention(
        "the running variance divides by n, not n - 1",
        ("buffer.running_var",),
        _biased_running_variance,
    ),
    "dampened_first_step": Convention(
        "dampening counts from the first step on",
        ("momentum.*", "param.*"),
        _dampened_first_step,
    ),
    "adam_epsilon_uncorrected": Convention(
        "Adam adds ε before it corrects the second moment",
        ("param.*",),
        _adam_epsilon_uncorrected,
    ),
    "epsilon_inside_root": Convention(
        "ε is inside the root of the second moment",
        ("momentum.*", "param.*"),
        _epsilon_inside_root,
    ),
    "velocity_holds_rate": Convention(
        "the momentum buffer includes the learning rate",
        ("momentum.*", "param.*"),
        _velocity_holds_rate,
    ),
    "one_pass_variance": Convention(
        "the variance is E[x²] - E[x]²",
        ("output", "grad_input", "grad.weight", "buffer.running_var"),
        one_pass_variance,
    ),
    "unshifted_log_softmax": Convention(
        "the logarithm of a softmax is x - log Σ exp x as written",
        ("output", "grad_input"),
        unshifted_log_softmax,
    ),
    "clipped_probability": Convention(
        "a probability is clipped to 1e-7 before its logarithm",
        ("output", "grad_input", "grad.target"),
        clipped_probability,
    ),
    AT_NAN: Convention(
        "the gradient at a NaN may be anything",
        ("grad_input",),
        _anything_at_nan,
    ),
    "softplus_uncut": Convention(
        "Softplus has no threshold",
        ("output", "grad_input"),
        _softplus_uncut,
    ),
    "hardswish_as_product": Convention(
        "Hardswish is computed as a product divided by 6",
        ("output", "grad_input"),
        _hardswish_as_product,
    ),
    "clamped_variance": Convention(
        "the clamp of the variance is differentiated too",
        ("grad.var",),
        _clamped_variance,
    ),
    "probabilities_on_the_simplex": Convention(
        "the cross entropy assumes that the probabilities sum to 1",
        ("grad.target",),
        _probabilities_on_the_simplex,
    ),
    "nothing_at_equality": Convention(
        "maximum and minimum have the gradient 0 where both arguments are equal",
        ("grad_input",),
        _nothing_at_equality,
    ),
    "selu_in_six_digits": Convention(
        "SELU with λ = 1.0507 and α = 1.67326",
        ("output", "grad_input"),
        _selu_in_six_digits,
    ),
    "subnormals_as_zero": Convention(
        "subnormal numbers count as zero",
        ("*",),
        _subnormals_as_zero,
    ),
}
