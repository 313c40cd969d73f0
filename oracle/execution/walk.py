"""The numbers of a training step of a case, in the order in which backpropagation computes them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import CONTAINERS, Case, at_step, named_layers
from oracle.execution.options import update_options, with_group
from oracle.execution.predict import predict
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.conditioning import digits_left, relative_error
from oracle.trace import Key, Subject, Trace, Unsupported, traced
from oracle.wording.errors import in_a_line

GIVEN, FORWARD, LOSS, BACKWARD, UPDATE = "given", "forward", "loss", "backward", "update"
MOST_NUMBERS = 12  # of a quantity, unless all are asked for


@dataclass(frozen=True)
class Line:
    """One number: its index, the subject's value and the reference's; a given number has a single value."""

    index: tuple[int, ...]
    value: float
    reference: float | None = None


@dataclass(frozen=True)
class Section:
    """A quantity of the step.

    Attributes:
        stage: GIVEN, FORWARD, LOSS, BACKWARD or UPDATE.
        place: the layer, parameter or loss to which it belongs, with its class.
        what: the equation that gives its numbers.
        symbol: the symbol of a number.
        shape: the shape of the whole quantity.
        lines: its numbers, in row-major order.
        left_out: the number of further numbers that are not shown.
        digits: the number of decimal digits that the rounding of all operations before leaves; None for given numbers, and where
            everything is exact.
    """

    stage: str
    place: str
    what: str
    symbol: str
    shape: tuple[int, ...]
    lines: tuple[Line, ...]
    left_out: int = 0
    digits: float | None = None


@dataclass(frozen=True)
class Equations:
    """The equations of a kind of layer, with their numbers in the derivation if they have one."""

    output: str
    grad_input: str
    grad_weight: str = "∂L/∂W = δ nᵀ, eq. (5)"
    grad_bias: str = "∂L/∂b = δ, eq. (5)"


# The equations by the beginning of a class's name; the first that fits counts.
EQUATIONS: dict[str, Equations] = {
    "Linear": Equations("z = W n + b", "Wᵀ δ, the bracket of eq. (4)"),
    "ConvTranspose": Equations(
        "z: each n times W, added up in the output, eq. (9) as a forward pass",
        "δ cross-correlated with W, eq. (7)",
        "δ cross-correlated with n, eq. (8) with n and δ exchanged",
        "δ summed over samples and positions",
    ),
    "Conv": Equations(
        "z: n cross-correlated with W, eq. (7)",
        "full convolution of δ with W turned by 180°, eq. (9)",
        "n cross-correlated with δ, eq. (8)",
        "δ summed over samples and positions",
    ),
    "AvgPool": Equations("n: the mean of each window", "each window spreads its gradient evenly"),
    "AdaptiveAvgPool": Equations("n: the mean of each window", "each window spreads its gradient evenly"),
    "MaxPool": Equations("n: the maximum of each window", "each window's gradient goes to its maximum"),
    "AdaptiveMaxPool": Equations("n: the maximum of each window", "each window's gradient goes to its maximum"),
    "LPPool": Equations("n: the p-norm of each window", "each window's gradient times the derivative of the norm"),
    "BatchNorm": Equations(
        "z = γ (n - mean) / √(var + ε) + β per channel",
        "δ through γ, and through the batch's mean and variance",
        "∂L/∂γ: δ ⊙ the normalised n, summed over samples and positions",
        "∂L/∂β: δ summed over samples and positions",
    ),
    "LayerNorm": Equations(
        "z = γ (n - mean) / √(var + ε) + β per sample",
        "δ through γ, and through the sample's mean and variance",
        "∂L/∂γ: δ ⊙ the normalised n, summed over samples",
        "∂L/∂β: δ summed over samples",
    ),
    "Dropout": Equations("n = z ⊙ mask / (1 - p)", "the gradient through the same mask and scale"),
    "Flatten": Equations("the same numbers in another shape", "the same numbers in the input's shape"),
}
ELEMENTWISE = Equations("n = f(z)", "f'(z) ⊙ ∂L/∂n, eq. (4)")
OTHER = Equations("z: its forward equation", "∂L/∂n from δ", "∂L/∂weight from δ", "∂L/∂bias from δ")


def equations_of(type: str, weighted: bool) -> Equations:
    fitting = (own for start, own in EQUATIONS.items() if type.startswith(start))
    return next(fitting, OTHER if weighted else ELEMENTWISE)


def walk(
    case: Case,
    subject: Subject,
    reference: Subject,
    step: int = 0,
    most: int | None = MOST_NUMBERS,
    adds_up_in: str | None = None,
) -> list[Section]:
    """The sections of a step: given numbers, forward (z, n), loss, backward (δ, then the gradients, layer by layer), update.

    Args:
        case: in the dtype in which the subject computes; the reference computes in float64.
        most: the largest number of numbers per quantity; None for all.
        adds_up_in: the dtype in which the subject adds up, if it is wider than its own.
    Raises: ValueError for a subject or reference that cannot run the case.
    """
    ours, theirs = trace_of(case, subject), trace_of(case.astype("float64"), reference)
    found, left = [*given(case, ours, step, most)], _digits(case, adds_up_in)

    def section(stage: str, place: str, what: str, layer: str, quantity: str, symbol: str) -> None:
        mine, other = ours.get(step, layer, quantity), theirs.get(step, layer, quantity)
        if other is None:
            return
        if mine is None:
            found.append(Section(stage, place, f"{what}: {subject.name} does not show it", symbol, other.shape, ()))
        elif mine.shape != other.shape:
            said = f"{what}: {subject.name} has shape {mine.shape}, expected {other.shape}"
            found.append(Section(stage, place, said, symbol, other.shape, ()))
        else:
            own = numbers(stage, place, what, symbol, mine, other, most)
            found.append(replace(own, digits=left.get(Key(step, layer, quantity))))

    specs = [(name, spec.type) for name, spec in named_layers(case.layers) if spec.type not in CONTAINERS]
    params = {name: [key for key in case.params if key.rpartition(".")[0] == name] for name, _ in specs}
    for name, type in specs:
        what = equations_of(type, bool(params[name])).output
        section(FORWARD, f"{name} ({type})", what, name, "output", "z" if params[name] else "n")
    if case.loss is not None:
        section(LOSS, f"loss ({case.loss.type})", "L", "loss", "output", "L")
        section(BACKWARD, f"loss ({case.loss.type})", "∂L/∂(its input)", "loss", "grad_input", "∂L/∂n")
    for name, type in reversed(specs):
        equations, place = equations_of(type, bool(params[name])), f"{name} ({type})"
        if params[name]:
            section(BACKWARD, place, "δ = ∂L/∂z, from the layer after it", name, "grad_output", "δ")
        for short in (key.rpartition(".")[2] for key in params[name]):
            known = {"weight": equations.grad_weight, "bias": equations.grad_bias}
            section(BACKWARD, place, known.get(short, f"∂L/∂{short} from δ"), name, f"grad.{short}", f"∂{short}")
        symbol = "∂L/∂n" if params[name] else "∂L/∂z"
        section(BACKWARD, place, equations.grad_input, name, "grad_input", symbol)
    for name in case.params:
        layer, _, short = name.rpartition(".")
        decay = "with its weight decay" if update_options(case, name).get("weight_decay") else "without decay"
        section(UPDATE, name, f"the new value, eq. (6) {decay}", layer, f"param.{short}", short)
    return found


def _digits(case: Case, adds_up_in: str | None) -> dict[Key, float]:
    """The digits that are left of each quantity; none where refbp cannot run the case."""
    try:
        found = predict(case, ErrorModel(np.dtype(case.dtype), accumulate=adds_up_in))
    except ValueError:
        return {}
    errors = {key: relative_error(own.value, own.sigma) for key, own in found.items() if isinstance(own, ErrorArray)}
    return {key: digits_left(own) for key, own in errors.items() if own is not None}


def given(case: Case, trace: Trace, step: int, most: int | None) -> Iterator[Section]:
    """Everything from which the step starts, so that each later line can be checked by hand.

    In a later step the parameters are the subject's after the step before, if it shows them.
    """
    if case.inputs:
        yield numbers(GIVEN, "input", "x", "x", at_step(case.inputs, step), None, most)
    for name, value in case.params.items():
        layer, _, short = name.rpartition(".")
        before = trace.get(step - 1, layer, f"param.{short}") if step else value
        if before is not None:
            yield numbers(GIVEN, name, "before the step", short, before, None, most)
    for place, target in enumerate(at_step(case.targets, step) if case.targets else ()):
        yield numbers(GIVEN, "target" if not place else f"target {place + 1}", "t", "t", target, None, most)
    if case.grad_outputs:
        yield numbers(
            GIVEN, "upstream gradient", "∂L/∂n of the last layer", "∂L/∂n", at_step(case.grad_outputs, step), None, most
        )
    if case.optimizer is not None:
        groups = case.optimizer.groups or ({},)
        for group in groups:
            options = with_group(case.optimizer, group)
            of = f" of {', '.join(group['params'])}" if "params" in group else ""
            said = ", ".join(f"{key} = {value}" for key, value in options.items())
            yield Section(GIVEN, f"update ({case.optimizer.type})", f"{said}{of}", "", (), ())


def trace_of(case: Case, subject: Subject) -> Trace:
    """The subject's trace. Raises: ValueError, in one sentence, if there is none."""
    try:
        trace = traced(subject, case)
    except Exception as error:  # a subject may raise anything
        why = str(error) if isinstance(error, Unsupported) else in_a_line(error)
        raise ValueError(f"{subject.name} cannot run {case.name}: {' '.join(why.split())}") from error
    if not isinstance(trace, Trace):
        raise ValueError(f"{subject.name} returned {type(trace).__name__} for {case.name}, expected an oracle.Trace")
    return trace


def numbers(
    stage: str, place: str, what: str, symbol: str, mine: Array, other: Array | None, most: int | None
) -> Section:
    shown = list(np.ndindex(mine.shape))[:most]
    lines = tuple(Line(index, float(mine[index]), None if other is None else float(other[index])) for index in shown)
    return Section(stage, place, what, symbol, mine.shape, lines, mine.size - len(lines))
