"""check_op against a forward program: a function in torch or NumPy, or a layer or loss of refbp."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

import refbp
from oracle.blame.details import Detail
from oracle.blame.search import Evidenced, evidence_of_numbers
from oracle.case.arrays import Array, are_equal, cast, in_parts
from oracle.case.case import Case
from oracle.case.foreign import numpy_of
from oracle.case.nested import arrays_in
from oracle.harness.judge import judge_step
from oracle.judging.case_rows import crashed, unjudged
from oracle.judging.figures import Expected, by_norm
from oracle.judging.profile import Profile
from oracle.judging.rows import AT_KINK, DISCREPANCIES, LOCAL, MISSING, PASS, UNSUPPORTED, WRONG, Row
from oracle.judging.verdict import by_company, resembled, unless_undefined
from oracle.ops.exchanged import with_exchanged
from oracle.ops.expect import Expectation, Quantity, expectation, of_pair
from oracle.ops.given import called
from oracle.ops.lent import LentCopies
from oracle.ops.program_reference import lifted_layer, program_of
from oracle.ops.returned import called_with, gradients_by_name, pair_of
from oracle.ops.rounding import held_against_others, told_from_rounding
from oracle.ops.suite_cases import GRADIENT
from oracle.programs.execution import FLOATS, WithErrors
from oracle.report.about import About
from oracle.report.report import Report
from oracle.running_error import ErrorModel
from oracle.suite.build import generator
from oracle.suite.special import every_second
from oracle.trace import Unsupported

NO_GRADIENT = "backward returns too few gradients, or None there; a profile's quantities may leave out an array of data"


def check_program(reference: Any, fn: Any, dtypes: Sequence[str], profile: Profile, given: Mapping[str, Any]) -> Report:
    """`check_op` against a program. Raises: ValueError if arrays are missing, or do not fit."""
    if isinstance(reference, type):
        raise ValueError(
            f"check_op expects as reference a name, a function or an object, got a class: {reference.__name__}(…) makes one"
        )
    if not callable(reference):
        raise ValueError(
            f"check_op expects as reference a name, a function or an object, got {type(reference).__name__}"
        )
    arrays, library = {name: _array(value, name) for name, value in given.items()}, _library(fn, given.values())
    upstream = arrays.pop(GRADIENT, None)
    if not arrays:
        raise ValueError(
            "check_op needs arrays for a reference that is a program: x=…, and the others by name; or shapes"
        )
    drawn = {own for own in (*arrays, GRADIENT) if isinstance(given.get(own, ()), tuple)}
    name = getattr(fn, "__name__", type(fn).__name__)
    start = time.perf_counter()
    rows: list[Row] = []
    details: list[Detail] = []
    widens = False
    for dtype in dtypes:
        values = {own: cast(value, dtype) for own, value in arrays.items()}
        step = ProgramStep(name, reference, fn, values, upstream, dtype, frozenset(drawn), library, profile)
        judgement = judge_step(step, profile, {name})
        rows += judgement.rows
        widens |= any(row.dtype != dtype for row in judgement.rows)
        details += judgement.details
    seconds = (time.perf_counter() - start) / len(dtypes)
    said = getattr(reference, "__name__", type(reference).__name__)
    about = About.here(subject=name, reference=said, dtypes=tuple(dtypes), cases=1)
    told = dict.fromkeys([*dtypes, *(row.dtype for row in rows)])
    report = Report.of(rows, about, {(name, dtype): seconds for dtype in told}, (), details)
    report = report.declaring(profile.in_words())
    call = (
        f"oracle.check_op({called(reference, 'reference')}, {called(fn)}, {', '.join(f'{own}={own}' for own in given)}"
    )
    whole = f"{call}, dtypes={tuple(dtypes)!r})"
    # A row has the dtype that the reference gives, which need not be that of the arrays.
    return report.reproduced_by(whole, whole if widens else f"{call}, dtypes=({{dtype}},))")


def _array(value: Any, name: str) -> Array:
    """The given array, or a random array of the given shape, the same in every call."""
    if isinstance(value, tuple) and all(isinstance(own, int) for own in value):
        if any(own < 0 for own in value):
            raise ValueError(f"check_op expects an array or a shape as {name}, got {value}")
        return generator(f"program/{name}").standard_normal(value)
    try:
        return numpy_of(value)
    except TypeError as error:
        raise TypeError(f"check_op expects an array or a shape, a tuple, as {name}: {error}") from None


def _library(fn: Any, given: Iterable[Any]) -> str | None:
    """The library in which the reference is written, as the function and the arrays given with it suggest.

    That is torch with tensors, or with a function made by `from_torch`, and NumPy with arrays. None if only shapes are given.
    """
    kinds = [type(value) for value in given if not isinstance(value, tuple)]
    if getattr(fn, "library", None) == "torch" or any(kind.__module__.partition(".")[0] == "torch" for kind in kinds):
        return "torch"
    return "NumPy" if kinds else None


@dataclass
class ProgramStep:
    """Calls of a function and its backward in one dtype, and the results of the program for the same arrays.

    The function is called with the arrays as they are. If its results are right, it is called once more: those arrays that were
    drawn have other numbers then, and are not contiguous in memory. A function of torch is also differentiated by each array
    alone, while the others require no gradient.

    drawn: the names of arrays that the user has not given; `grad_output` is the upstream gradient.
    library: the one in which the reference is written, if that is known.
    upstream: the gradient of the output, a tuple of them for several outputs, or None for a random one.
    profile: its `normwise`, if there are any, says that errors are bounded by the norm of each array, as of a convolution by
        Fourier transform, and its `quantities` which gradients the function gives.
    narrow: whether numbers in the reference, such as np.sqrt(8), do not widen the arrays.
    """

    name: str
    reference: Any
    fn: Any
    arrays: Mapping[str, Array]
    upstream: Any
    dtype: str
    drawn: frozenset[str] = frozenset()
    library: str | None = None
    profile: Profile = field(default_factory=Profile)
    narrow: bool = False
    shown: dict[str, tuple[Array, Quantity]] = field(default_factory=dict)

    def judged(self, profile: Profile) -> list[Row]:
        expected = self._expected()
        rows = self._rows(expected, frozenset())
        if any(row.quantity.startswith("output") and row.verdict in DISCREPANCIES for row in rows):
            rows = self._with_chance(expected, rows)
        if any(map(self._is_widened, rows)):
            expected, rows = self._without_widening(expected, rows)
        if any(map(resembled, rows)):
            rows = held_against_others(self, rows, expected.grad_output)
        if any(row.verdict in DISCREPANCIES or row.verdict == UNSUPPORTED for row in rows):
            return told_from_rounding(self, by_company(rows))
        return self._in_later_calls(expected) or self._one_by_one(expected) or rows

    def _with_chance(self, expected: Expectation, rows: list[Row]) -> list[Row]:
        """The rows, with chance as their cause if the reference or the function gives another output in each call."""
        shown = [got for quantity, (got, _) in self.shown.items() if quantity.startswith("output")]
        try:
            again, _ = self._made(expected, frozenset())
            due = self._expected()
        except Exception:  # a crash in a later call says less than the first one's rows
            return rows
        for who, one, other in (
            ("the function", shown, again),
            ("the reference", [own.value for own in expected.outputs], [own.value for own in due.outputs]),
        ):
            if not all(map(are_equal, one, other)):
                cause = f"{who} gives something else in each call: let it draw random numbers from a generator with a fixed seed"
                return [row.having(cause_name="chance", cause=cause) if row.verdict == WRONG else row for row in rows]
        return rows

    def _in_later_calls(self, expected: Expectation) -> list[Row]:
        """The rows of a second call, if they show a discrepancy that the first did not."""
        other, due = self._with_other_numbers(expected)
        again = other._rows(due, self.drawn)
        if not any(row.verdict in DISCREPANCIES for row in again):
            return []
        self.shown, again = dict(other.shown), told_from_rounding(other, by_company(again))
        why = f"only where not contiguous in memory: {', '.join(own for own in (*self.arrays, GRADIENT) if own in self.drawn)}"
        if any(row.verdict in DISCREPANCIES for row in other._rows(due, frozenset())):
            why = "not in the first call, which had other numbers: it keeps something of that call, or errs at some numbers"
            if any(row.verdict in DISCREPANCIES for row in replace(self, shown={})._rows(expected, frozenset())):
                why = "only in a call after the first: it keeps something of an earlier one"
        return [_with_more(row, "" if row.cause else why) if row.verdict in DISCREPANCIES else row for row in again]

    def _with_other_numbers(self, expected: Expectation) -> tuple[ProgramStep, Expectation]:
        """The step with other numbers in place of those that were drawn, and what is expected of it."""

        def other(own: Any) -> Any:
            return None if own is None else -np.flip(own)

        upstream: Any = expected.grad_output
        if GRADIENT in self.drawn:
            upstream = tuple(map(other, upstream)) if isinstance(upstream, tuple) else other(upstream)
        arrays = {name: other(own) if name in self.drawn else own for name, own in self.arrays.items()}
        step = replace(self, arrays=arrays, upstream=upstream, shown={})
        try:
            return step, step._expected()
        except Exception:  # the reference does not run on other numbers
            return self, expected

    def _one_by_one(self, expected: Expectation) -> list[Row]:
        """The rows of the gradients by each array alone, if they show a discrepancy."""
        fn = getattr(self.fn, "one_by_one", None)
        if fn is None or sum(own.dtype.kind not in "biu" for own in self.arrays.values()) < 2:
            return []
        step = replace(self, fn=fn, shown={})
        alone = step._rows(expected, frozenset())
        if not any(row.verdict in DISCREPANCIES for row in alone):
            return []
        self.shown = step.shown
        why = "only where no other array requires a gradient"
        return [_with_more(row, why) if row.verdict in DISCREPANCIES else row for row in alone]

    def _is_widened(self, row: Row) -> bool:
        """Whether the reference gives a wider dtype than the arrays have, and the function does not."""
        return row.dtype != self.dtype and row.diagnosis.startswith("dtype ")

    def _without_widening(self, expected: Expectation, rows: list[Row]) -> tuple[Expectation, list[Row]]:
        """The expectation and the rows of a reference in NumPy whose numbers, such as np.sqrt(8), do not widen the arrays."""
        try:
            narrow = replace(self, narrow=True)._expected()
        except Exception:  # a reference in torch, which does not widen them, may not run in NumPy
            return expected, rows
        found = self._rows(narrow, frozenset())
        if any(map(self._is_widened, found)):
            why = f"the reference gives another dtype than that of its arrays, {self.dtype}"
            return expected, [_with_more(row, why) if self._is_widened(row) else row for row in rows]
        self.narrow = True
        return narrow, found

    def _rows(self, expected: Expectation, scattered: frozenset[str]) -> list[Row]:
        case = Case(self.name, dtype=self.dtype)
        try:
            output, grads = self._made(expected, scattered)
        except Unsupported as error:
            return [unjudged(case, UNSUPPORTED, str(error))]
        except Exception as error:  # a finding about the function
            return [crashed(case, error)]
        due = expected.outputs
        rows = [
            self._row(f"output#{place}" if len(due) > 1 else "output", in_parts(own), quantity)
            for place, (own, quantity) in enumerate(zip(output, due, strict=True))
        ]
        floating = [name for name, array in self.arrays.items() if array.dtype.kind not in "biu"]
        numbers = [*self._numbers(expected), *(own.value for own in due)]
        for name, grad, quantity in zip(floating, grads, expected.grads, strict=False):
            place = "grad_input" if name == next(iter(self.arrays)) else f"grad.{name}"
            if grad is None and not self.profile.shows(place):
                continue
            row = self._row(place, grad, quantity)
            if row.verdict in DISCREPANCIES and grad is not None:
                row = unless_undefined(row, grad, quantity.expected, numbers)
            rows.append(row)
        shown = {quantity: (got, own.expected) for quantity, (got, own) in self.shown.items()}
        return self._shared_out(with_exchanged(rows, shown), dict(zip(floating, grads, strict=False)), expected)

    def _numbers(self, expected: Expectation) -> Iterator[Array]:
        """All floating-point numbers from which the gradients are computed."""
        yield from (own for own in self.arrays.values() if own.dtype.kind not in "biu")
        upstream = expected.grad_output if isinstance(expected.grad_output, (tuple, list)) else [expected.grad_output]
        yield from (own for own in upstream if own is not None)

    def _shared_out(self, rows: list[Row], grads: Mapping[str, Array | None], expected: Expectation) -> list[Row]:
        """The rows. At a tie between elements of several arrays, their gradients have to share the upstream gradient; others are
        `wrong`."""
        if expected.ties is None or all(row.diagnosis != AT_KINK for row in rows):
            return rows
        if expected.ties.are_shared_out([grads.get(name) for name in self.arrays]):
            return rows
        said = "at a tie between elements of several arrays their gradients do not add up to the one that arrives"
        return [row.found(WRONG, said) if row.diagnosis == AT_KINK else row for row in rows]

    def after(self, **changes: Any) -> tuple[ProgramStep, list[Row]] | None:
        """The step with other arrays, or in another dtype, and its rows; None if it does not run there."""
        other = replace(self, shown={}, **changes)
        try:
            return other, other._rows(other._expected(), frozenset())
        except Exception:
            return None

    def _expected(self) -> Expectation:
        values = list(self.arrays.values())
        if isinstance(self.reference, (refbp.Layer, refbp.Loss)):
            return of_pair(
                lifted_layer(self.reference, WithErrors(ErrorModel(np.dtype(self.dtype)))), values, self.upstream
            )
        program = program_of(self.reference, values, self.library, self.narrow)
        return expectation(program, (), self.upstream)

    def _made(self, expected: Expectation, scattered: frozenset[str]) -> tuple[list[Array], list[Array | None]]:
        def placed(name: str, array: Array) -> Array:
            return every_second(array) if name in scattered else array

        lent = LentCopies(self.name)
        arguments = {name: lent.argument(name, placed(name, array)) for name, array in self.arrays.items()}
        made, backward = pair_of(called_with(self.fn, self.name, arguments), self.name)
        output, due = arrays_in(made) or [made], expected.outputs
        if len(output) != len(due):
            raise TypeError(f"{self.name} returns {len(output)} arrays, and the reference {len(due)}")
        upstream = expected.grad_output if len(due) > 1 else (expected.grad_output,)
        arriving = [lent.upstream(placed(GRADIENT, own)) for own in upstream if own is not None]
        named = {f"the gradient of output {place}": own for place, own in enumerate(arriving)}
        found = called_with(backward, "backward", named)
        lent.check()
        grads = gradients_by_name(found, self.arrays).values()
        return [numpy_of(own) for own in output], [None if own is None else in_parts(own) for own in grads]

    def _row(self, quantity: str, got: Array | None, due: Quantity) -> Row:
        dtype = due.dtype if due.dtype in FLOATS else self.dtype
        row = Row(self.name, dtype, 0, self.name, "", quantity, LOCAL, PASS)
        if got is None:
            return row.found(MISSING, "it gives no gradient there", cause_name="missing", cause=NO_GRADIENT)
        if due.dtype not in FLOATS:
            is_same = np.array_equal(got, due.value)
            return (
                row if is_same else row.found(WRONG, f"not the {due.dtype} values that are expected, which are exact")
            )
        self.shown[quantity] = got, due
        return due.compared(row, got, self._bounded(due.expected))

    def _bounded(self, expected: Expected) -> Expected:
        return by_norm(expected) if self.profile.normwise else expected

    def behind(self, rows: Sequence[Row], profile: Profile) -> Iterator[Evidenced]:
        due_of = {quantity: due.value for quantity, (_, due) in self.shown.items()}
        for row in rows:
            if row.quantity in self.shown:
                got, due = self.shown[row.quantity]
                if got.shape == due.shape:
                    others = {name: value for name, value in due_of.items() if name != row.quantity}
                    evidence = evidence_of_numbers(self.name, row, got, self._bounded(due.expected), *due.given)
                    yield row, replace(evidence, siblings=others), got


def _with_more(row: Row, why: str) -> Row:
    """The row with more in its diagnosis."""
    return row.having(diagnosis="; ".join(own for own in (row.diagnosis, why) if own))
