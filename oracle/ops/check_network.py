"""check_network: your own layers, objects with forward and backward; each backward is checked against its own forward pass."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from oracle.blame.search import Evidenced, evidence_of_numbers
from oracle.case.arrays import Array
from oracle.case.case import Spec
from oracle.harness.judge import CaseStep, Judgement, judge_step
from oracle.judging.derived import expected_of
from oracle.judging.figures import Expected
from oracle.judging.profile import Profile
from oracle.judging.rows import (
    AT_KINK,
    CONVENTION,
    DISCREPANCIES,
    LOCAL,
    MISSING,
    PASS,
    UNJUDGED,
    WRONG,
    Row,
)
from oracle.judging.verdict import compare
from oracle.ops.differences import by_differences, chosen_elements, lies_between_the_sides
from oracle.ops.exchanged import with_exchanged
from oracle.ops.held_arrays import at, likely_gradient, read_by
from oracle.ops.network_training import CASE, LayerPass, NetworkPass, reset_gradients
from oracle.ops.ties import Ties
from oracle.ops.typed import specs_of, typed_case
from oracle.programs import numpy_calls
from oracle.programs.execution import FLOATS, Run, WithErrors
from oracle.report.about import About
from oracle.report.report import Report
from oracle.running_error import ErrorModel
from oracle.subjects import refbp as refbp_subject
from oracle.wording.errors import in_a_line
from oracle.wording.figures import counted

# What a layer of one's own shows of a class of refbp.
SHOWN = Profile(quantities=("output", "grad_output", "grad_input", "grad.*"))


class NetworkError(ValueError):
    """Layers that cannot be checked. The message is one sentence."""


def check_network(
    layers: Sequence[Any] | Mapping[str, Any],
    x: Array,
    target: Any = None,
    loss: Any = None,
    params: Mapping[str, str] | None = None,
    types: Sequence[str | Spec | None] | None = None,
) -> Report:
    """Compare the backward pass of your own layers with the derivative of their forward pass, layer by layer.

    Each layer is judged on the arrays that it really received: its output, and the gradients of its input and parameters. The
    expected gradient comes from the layer's own forward pass: by recording its NumPy calls, or, where they cannot be recorded,
    by finite differences in float64. `report.environment["reference"]` says which. Layers are copied; yours do not change.
    If all results are right, the copies are called again, with the rows of the input in reverse order. A layer may add to its
    earlier gradients.

    Args:
        layers: objects with `forward(x)` and `backward(grad_output)`, which returns the gradient of the input; a mapping gives
            them names. Parameters are in a dict `params`, their gradients in a dict `grads` with the same keys.
        x: the input, a floating-point array.
        target: the second argument of the loss.
        loss: an object with `forward(y, target)` and `backward()`, which returns the gradient of y. Without a loss the upstream
            gradient is random, the same in every call.
        params: for layers that hold parameters elsewhere: the places of parameter and gradient, such as {"W": "dW"} for
            attributes, {"parameters.W": "gradients.W"} for dicts and {"W.data": "W.grad"} for objects. Without it, arrays that
            the forward pass of a layer without `params` reads are `unjudged`; {} says that they are constants.
        types: for each layer None, or the refbp class with which to compare it too: a name, or a `Spec` with options.
    Returns: a report, with the case "network", and "network/NAME" for each layer that has a type.
    Raises: NetworkError for layers that cannot be checked.

    >>> class Twice:
    ...     def forward(self, x):
    ...         return 2 * x
    ...
    ...     def backward(self, grad):
    ...         return 3 * grad
    >>> report = oracle.check_network([Twice()], np.array([[1.0, 2.0]]))
    >>> report.blame[0].quantity, report.passed
    ('grad_input', False)
    """
    if not isinstance(layers, (Mapping, Sequence)):
        raise NetworkError(f"check_network expects a list or a mapping of layers, got {type(layers).__name__}")
    named = dict(layers) if isinstance(layers, Mapping) else {str(place): own for place, own in enumerate(layers)}
    array = _checked(named, x, loss, types)
    if loss is None and target is not None:
        raise NetworkError("check_network expects a loss with a target, got none")
    if params is not None and not isinstance(params, Mapping):
        raise NetworkError(f'params expects a mapping such as {{"W": "dW"}}, got {type(params).__name__}')
    specs = specs_of(types, list(named)) if types is not None else {}
    start = time.perf_counter()
    training = NetworkPass(named, array, target, loss, params)
    if training.crash is None and (unknown := [name for name in training.names if not training.has(name)]):
        raise NetworkError(f"params names {unknown[0]!r}, and no layer has such an attribute")
    step = NetworkStep(training)
    judgement = judge_step(step, Profile(), ())
    rows, details = list(judgement.rows), list(judgement.details)
    for part in step.training.parts:
        if part.name in specs and part.output is not None and part.upstream is not None:
            case, trace = typed_case(f"{CASE}/{part.name}", part.name, specs[part.name], part)
            typed = judge_step(CaseStep(case, trace, refbp_subject), SHOWN, ())
            rows += [row for row in typed.rows if row.mode == LOCAL]
            details += typed.details
    if not any(row.verdict in DISCREPANCIES for row in rows):
        later = _judged_again(named, training, array, target, loss)
        rows, details = (list(later.rows), list(later.details)) if later is not None else (rows, details)
    seconds = time.perf_counter() - start
    cases = list(dict.fromkeys(row.case for row in rows))
    about = About.here(
        subject="layers of your own", reference=step.references(), dtypes=(array.dtype.name,), cases=len(cases)
    )
    timed = {(case, array.dtype.name): seconds if case == CASE else 0.0 for case in cases}
    more = {"target": target, "loss": loss, "params": params, "types": types}
    call = (
        f"oracle.check_network(layers, x{''.join(f', {name}={name}' for name, own in more.items() if own is not None)})"
    )
    return Report.of(rows, about, timed, (), details).reproduced_by(call)


def _judged_again(layers: Mapping[str, Any], first: NetworkPass, x: Array, target: Any, loss: Any) -> Judgement | None:
    """The judgement of a second pass of the same objects, with the input's rows in reverse order, if it shows a discrepancy."""
    try:
        used = copy.deepcopy(first.layers)
        own_loss = used.pop("loss", None) if loss is not None else None
        for name, own in used.items():
            reset_gradients(own, layers[name], first.names)
        again = NetworkPass(used, np.flip(x, 0 if len(x) > 1 else None).copy(), target, own_loss, first.names)
    except Exception:  # objects that cannot be copied once they were called
        return None
    if again.crash is not None:
        return None
    added = {part.name: part.made for part in first.parts}
    judgement = judge_step(NetworkStep(again, added), Profile(), ())
    if not any(row.verdict in DISCREPANCIES for row in judgement.rows):
        return None
    why = "only in a call after the first: it keeps something of an earlier one"
    rows = tuple(
        replace(row, diagnosis=f"{row.diagnosis}; {why}" if row.diagnosis else why)
        if row.verdict in DISCREPANCIES
        else row
        for row in judgement.rows
    )
    return replace(judgement, rows=rows)


def _checked(layers: Mapping[str, Any], x: Any, loss: Any, types: Any) -> Array:
    """The input as an array. Raises: NetworkError."""
    if not layers:
        raise NetworkError("check_network expects at least one layer, got none")
    owners = [(f"layer {name}", own, "backward(grad_output)") for name, own in layers.items()]
    owners += [("the loss", loss, "backward()")] if loss is not None else []
    for name, own, backward in owners:
        if isinstance(own, type):
            raise NetworkError(f"{name} is a class, expected an object: {own.__name__}(…)")
        for method in ("forward", "backward"):
            if not callable(getattr(own, method, None)):
                said = "forward(x)" if method == "forward" else backward
                raise NetworkError(f"{name} (of type {type(own).__name__}) has no method {said}")
    if types is not None and len(types) != len(layers):
        raise NetworkError(f"types has {counted(len(types), 'entry')}, for {counted(len(layers), 'layer')}")
    array = np.asarray(x)
    if array.dtype.name not in FLOATS:
        raise NetworkError(f"x expects floating-point numbers, got {array.dtype}")
    return array


@dataclass(frozen=True)
class _Due:
    """The expected results of a part, by quantity, and how they were obtained.

    Attributes:
        elements: the elements that were tried, by quantity; the others of that quantity have no expected value.
        dtypes: if the forward was recorded, the dtype in which it gives a result, by quantity.
        at_ties: by quantity, a function for the row of a gradient that may be right with other choices at kinks and ties.
    """

    expected: Mapping[str, Expected]
    how: str
    elements: Mapping[str, Array] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    at_ties: Mapping[str, Callable[[Row, Array], Row]] = field(default_factory=dict)


def _beside_kinks(is_between: Callable[[Array], bool], row: Row, got: Array) -> Row:
    return row.found(CONVENTION, AT_KINK) if is_between(got) else row


class NetworkStep:
    """A training step of a network, in the form that `judge_step` takes."""

    def __init__(self, training: NetworkPass, added: Mapping[str, Mapping[str, Any]] | None = None) -> None:
        """`added`: by layer, the gradients of an earlier step, to which a layer may have added those of this one."""
        self.training, self.added = training, added or {}
        self._how: dict[str, str] = {}
        self._compared: list[tuple[Row, Array, Expected, LayerPass]] = []

    def references(self) -> str:
        """How the expected gradients were obtained, in words."""
        kinds: dict[str, list[str]] = {}
        for name, how in self._how.items():
            kinds.setdefault(how, []).append(name)
        said = "; ".join(f"{how} ({', '.join(names)})" for how, names in kinds.items())
        whole = "the derivative of each layer's own forward"
        return f"{whole}: {said}" if said else whole

    def judged(self, profile: Profile) -> Iterator[Row]:
        for part in self.training.parts:
            if part.upstream is None:
                continue
            blank = Row(CASE, self.training.dtype, 0, part.name, type(part.layer).__name__, "", LOCAL, PASS)
            try:
                due = self._due(part)
            except Exception as error:
                said = f"its forward pass can neither be recorded nor run again: {in_a_line(error)}"
                yield replace(blank, quantity="grad_input", verdict=UNJUDGED, diagnosis=said)
                continue
            self._how[part.name] = due.how
            shown: dict[str, tuple[Array, Expected]] = {}
            yield from with_exchanged(list(self._rows(part, due, blank, shown)), shown)
            yield from self._of_unnamed(part, blank)
        if self.training.crash is not None:
            yield self.training.crash

    def _rows(self, part: LayerPass, due: _Due, blank: Row, shown: dict[str, tuple[Array, Expected]]) -> Iterator[Row]:
        """The rows of a part. `shown` receives what was compared."""
        read = [
            part.input,
            *self.training.parameters(part.before).values(),
            *(own for own in (part.output,) if own is not None),
        ]
        for quantity, expected in due.expected.items():
            row = replace(blank, quantity=quantity, dtype=due.dtypes.get(quantity, blank.dtype))
            came = part.output if quantity == "output" else part.made.get(quantity)
            if came is None and self.training.crash is not None and self.training.crash.layer == part.name:
                continue  # the exception has its own row
            if came is None:
                why = "backward returns nothing" if quantity == "grad_input" else "backward puts nothing there"
                said = f"{quantity} is missing after the backward pass"
                yield row.found(MISSING, said, cause_name="missing", cause=why)
                continue
            got = np.asarray(came)
            if quantity in due.elements:
                shape = part.input.shape if quantity == "grad_input" else self._shape(part, quantity)
                if got.shape != shape:
                    yield row.found(WRONG, f"shape {got.shape}, expected {shape}", shape=got.shape)
                    continue
                got = got.reshape(-1)[due.elements[quantity]]
            shown[quantity] = got, expected
            row = compare(row, got, expected, structured=True, no_terms=False, given=read)
            if row.verdict in DISCREPANCIES and self._is_added(part.name, quantity, got, expected):
                continue
            if row.verdict in DISCREPANCIES and row.n_outside and quantity in due.at_ties:
                row = due.at_ties[quantity](row, got)
            if got.shape == expected.value.shape:
                self._compared.append((row, got, expected, part))
            yield row

    def _of_unnamed(self, part: LayerPass, blank: Row) -> Iterator[Row]:
        """A row for each array that the forward pass of a layer without known parameters reads."""
        if not self.training.asks or part.name == "loss" or self.training.parameters(part.before):
            return
        for path in read_by(lambda: self._forward(part), part.input, np.asarray(part.output)):
            held = likely_gradient(path, at(part.before, path).shape, part.layer)
            named = f'params={{"{path}": "{held or "…"}"}}'
            said = f"forward reads {path}, and no gradient of it is known: {named} says where it is, params={{}} that it has none"
            yield replace(blank, quantity=f"grad.{path}", verdict=UNJUDGED, diagnosis=said)

    def _is_added(self, layer: str, quantity: str, got: Array, expected: Expected) -> bool:
        """Whether a parameter's gradient is that of this step and of the one before, for a layer that adds up."""
        before = self.added.get(layer, {}).get(quantity) if quantity.startswith("grad.") else None
        if before is None or np.shape(before) != got.shape:
            return False
        near = np.finfo(got.dtype).eps * 100 * (np.abs(before) + np.sqrt(expected.scale))
        return bool((np.abs(got - before - expected.value) <= near).all())

    def _shape(self, part: LayerPass, quantity: str) -> tuple[int, ...]:
        return self.training.parameters(part.before)[quantity.partition(".")[2]].shape

    def behind(self, rows: Sequence[Row], profile: Profile) -> Iterable[Evidenced]:
        wanted = {(row.layer, row.quantity): row for row in rows}
        due_of = {(row.layer, row.quantity): expected.value for row, _, expected, _ in self._compared}
        for row, got, expected, part in self._compared:
            if (row.layer, row.quantity) in wanted:
                own = wanted[row.layer, row.quantity]
                others = {
                    name: due for (layer, name), due in due_of.items() if layer == row.layer and name != row.quantity
                }
                evidence = evidence_of_numbers(CASE, own, got, expected, part.input, part.upstream)
                yield own, replace(evidence, siblings=others), got

    def _due(self, part: LayerPass) -> _Due:
        try:
            return self._recorded(part)
        except Exception as reason:
            return self._by_differences(part, reason)

    def _forward(self, part: LayerPass) -> tuple[Any, Callable[[Any], Any]]:
        """A copy of the layer from before the step, and its forward; random generators start as they did then."""
        own = copy.deepcopy(part.before)
        np.random.set_state(self.training.random)
        if part.name == "loss":
            return own, lambda x: own.forward(x, part.target)
        return own, own.forward

    def _recorded(self, part: LayerPass) -> _Due:
        own, forward = self._forward(part)
        params = self.training.parameters(own)

        def fn(x: Any, *values: Any) -> Any:
            for name, value in zip(params, values, strict=True):
                self.training.put(own, name, value)
            return forward(x)

        program, (again,) = numpy_calls.record(fn, part.input, *params.values())
        if part.output is None or not np.array_equal(again, part.output, equal_nan=True):
            raise NetworkError("its forward pass gives something else when it is run again")
        model = ErrorModel(np.dtype(self.training.dtype), bounds=True)
        arithmetic = WithErrors(model)
        run = Run(program, arithmetic)
        assert part.upstream is not None
        grads = run.gradients([arithmetic.lifted(part.upstream)])
        ties = Ties(program, arithmetic, [part.upstream], grads)
        names = ["grad_input", *(f"grad.{name}" for name in params)]
        zeros = [np.zeros(own.shape) for own in (part.input, *params.values())]
        made = [
            arithmetic.lifted(zero.astype(self.training.dtype)) if grad is None else grad
            for grad, zero in zip(grads, zeros, strict=True)
        ]
        due = {"output": run.outputs[0], **dict(zip(names, made, strict=True))}
        return _Due(
            {quantity: expected_of(own) for quantity, own in due.items()},
            "by recorded calls",
            dtypes={quantity: own.dtype.name for quantity, own in due.items()},
            at_ties={name: partial(ties.verdict, place) for place, name in enumerate(names)},
        )

    def _by_differences(self, part: LayerPass, reason: Exception) -> _Due:
        own, forward = self._forward(part)
        x = part.input.astype(np.float64)
        params = {name: value.astype(np.float64) for name, value in self.training.parameters(own).items()}
        for name, value in params.items():
            self.training.put(own, name, value)

        def again() -> Array:
            np.random.set_state(self.training.random)
            return np.asarray(forward(x))

        if not np.array_equal(again(), again(), equal_nan=True):
            raise NetworkError("it gives something else each time")  # so differences say nothing about its input
        assert part.upstream is not None
        arrays = {"grad_input": x, **{f"grad.{name}": value for name, value in params.items()}}
        expected = {
            quantity: by_differences(again, array, part.upstream, self.training.dtype)
            for quantity, array in arrays.items()
        }
        elements = {quantity: chosen_elements(array.size) for quantity, array in arrays.items()}
        at_ties = {
            quantity: partial(
                _beside_kinks, partial(lies_between_the_sides, again, array, part.upstream, expected[quantity])
            )
            for quantity, array in arrays.items()
        }
        said = f"by differences, since {str(reason) or type(reason).__name__}"
        return _Due(expected, said, elements, at_ties=at_ties)
