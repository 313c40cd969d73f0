"""Compares an operation with the derivative of its own forward program, on its recorded inputs and upstream gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.conventions import AT_NAN, CONVENTIONS, DIFFER_AT_NAN
from oracle.judging.derived import expected_of
from oracle.judging.figures import Expected, differs, differs_where, measured
from oracle.judging.rows import CONVENTION, DISCREPANCIES, IMPRECISE, LOCAL, PASS, UNDECIDED, WRONG, Row
from oracle.judging.verdict import (
    adds_up_in_16_bits,
    beside_a_factor,
    compare,
    in_16_bits,
    is_off_by_a_factor,
    unless_undefined,
    with_nothing_known,
)
from oracle.modules.chosen_results import follows_differences, is_compared
from oracle.modules.operations import Operation
from oracle.modules.references import by_reference
from oracle.modules.sampled.draws import Draw, Shape, sampled_of
from oracle.programs.common_errors import Derived, WithCommonErrors
from oracle.programs.execution import FLOATS, Run, WithErrors
from oracle.programs.program import Snapshot
from oracle.programs.storages import program_of
from oracle.programs.table import NoRule
from oracle.report.coverage import Sampled
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.running_error.model import ROUNDOFF
from oracle.wording.errors import in_a_line

# The node to which a module's full backward hooks belong.
HOOKS = "torch.nn.modules._functions.BackwardHookFunction"
# The operations of the activations in DIFFER_AT_NAN: ReLU6 is computed by hardtanh, SELU by elu.
OPS_THAT_DIFFER_AT_NAN = tuple(f"aten.{own.lower()}" for own in DIFFER_AT_NAN)
HOOKED = "a backward hook of a module changes the gradient here, which has no reference"
GIVE = "give the intended function as references={...: ...}"


@dataclass(frozen=True)
class Judged:
    """An operation's rows, or the reason why there are none.

    Attributes:
        wrong: the rows with a discrepancy, with the received and the expected array.
        given: the first input and the first upstream gradient, if there are any.
        sampled: the arrays of which elements were drawn; `drawn_gradients`, those of the gradients by edge.
    """

    forward: list[Row]
    backward: list[Row]
    reason: str = ""
    wrong: tuple[tuple[Row, Array, Expected], ...] = ()
    given: tuple[Array | None, Array | None] = (None, None)
    sampled: tuple[Sampled, ...] = ()
    drawn_gradients: Mapping[int, Sampled] = field(default_factory=dict)


def judged(operation: Operation, case: str, step: int, accumulate: str | None) -> Judged:
    """The rows for an operation's output and the gradients of its inputs.

    accumulate: the dtype in which all kernels add up 16-bit numbers, if the user declares one; else None.
    """
    if operation.reason:
        return Judged([], [], operation.reason)
    if operation.parts:
        parts = [own.operation for own in operation.parts]
        return _joined(operation, parts, [judged(own, case, step, accumulate) for own in parts])
    try:
        with np.errstate(all="ignore"):
            found = _judged(operation, case, step, accumulate)
            # A second look, with worst-case bounds, every order of summation and errors with a common cause.
            return _judged(operation, case, step, accumulate, bounds=True) if found.wrong else found
    except NoRule as lacking:
        return Judged([], [], str(lacking))
    except Exception as error:  # a rule that fails is a gap in the reference, and not a finding about the module
        return Judged([], [], f"the reference cannot run it: {in_a_line(error)}")


def _joined(operation: Operation, parts: Sequence[Operation], found: Sequence[Judged]) -> Judged:
    """The rows of all parts of an operation, or the reason why one was not judged."""
    reason = next((own.reason for own in found if own.reason), "")
    outputs, gradients = dict[str, Sampled](), dict[int, Sampled]()
    for part in parts:
        for number, (shape, drawn) in part.drawn_outputs.items():
            quantity = f"output#{number}" if len(part.outputs) > 1 else "output"
            outputs[quantity] = sampled_of(operation.layer, quantity, shape, drawn)
        for edge, (shape, drawn) in part.drawn_gradients.items():
            gradients[edge] = sampled_of(operation.layer, _quantity(operation, edge), shape, drawn)
    told = [*outputs.values(), *gradients.values()]
    return Judged(
        [] if reason else [row for own in found for row in own.forward],
        [] if reason else [row for own in found for row in own.backward],
        reason,
        tuple(wrong for own in found for wrong in own.wrong),
        found[0].given,
        tuple(own for own in told if own.drawn < own.elements),
        gradients,
    )


def _judged(operation: Operation, case: str, step: int, accumulate: str | None, bounds: bool = False) -> Judged:
    if any(number not in operation.outputs for number in operation.upstream):
        raise NoRule("a gradient arrives at an output that no ATen call reads")
    held = list(operation.inputs.values())
    model = ErrorModel(np.dtype("float32"), bounds, every_order=bounds)
    leading = held[0].shape if held else ()
    model.branches.samples = leading[0] if len(leading) > 1 else 0
    blank = Row(case, "", step, operation.layer, operation.kind, "", LOCAL, PASS)
    rows = _Rows(operation, _runs(operation, held), WithErrors(model, accumulate, operation.device), blank)
    run = WithCommonErrors(rows.run, rows.arithmetic) if bounds else rows.run(rows.arithmetic)
    if len(run.outputs) != len(operation.outputs):
        raise NoRule(f"its reference gives {len(run.outputs)} results, and the call {len(operation.outputs)}")
    _check_filled(run, operation)
    forward, backward = rows.forward(run), rows.backward(run)
    forward, backward = (_with_narrow_stores(own, run) for own in (forward, backward))
    shown = {row.quantity for row in (*forward, *backward) if row.verdict in DISCREPANCIES}
    bad = tuple(own for own in rows.wrong if own[0].quantity in shown)
    given = held[0].numbers if bad and held else None, next(iter(operation.upstream.values()), None) if bad else None
    return Judged(forward, backward, wrong=bad, given=given)


def _runs(operation: Operation, held: list[Snapshot]) -> Callable[[WithErrors], Derived]:
    """Functions that run the operation, as it was recorded or as the user's reference says. Raises: NoRule."""
    called = operation.called
    if called is not None:
        return lambda arithmetic: by_reference(called, held, arithmetic)
    program = operation.program or program_of(operation.events, held, list(operation.outputs.values()))
    if any(value in program.constants for value in program.outputs):
        raise NoRule("no ATen call makes its output: it is opaque")
    return lambda arithmetic: Run(program, arithmetic)


@dataclass
class _Rows:
    """Makes the rows of an operation from a run of it."""

    operation: Operation
    run: Callable[[WithErrors], Derived]
    arithmetic: WithErrors
    blank: Row
    wrong: list[tuple[Row, Array, Expected]] = field(default_factory=list)

    def row(
        self,
        dtype: str,
        quantity: str,
        got: Array,
        made: ErrorArray,
        low: Callable[[str], Any],
        drawn: tuple[Shape, Draw] | None = None,
        adds_up: bool = True,
    ) -> Row:
        """The row of a quantity; `low` gives the same quantity where all sums are added up in this dtype."""
        expected, given = expected_of(made), self._given
        row = replace(self.blank, dtype=dtype, quantity=quantity)
        row = with_nothing_known(compare(row, got, expected, structured=True, no_terms=not adds_up, given=given), got)
        is_narrow = np.dtype(dtype).itemsize == 2 and got.dtype == np.dtype(dtype)
        if row.verdict in (WRONG, IMPRECISE) and is_narrow and dtype != self.arithmetic.accumulate:
            other = low(dtype)
            if isinstance(other, ErrorArray) and adds_up_in_16_bits(row, got, expected_of(other), given):
                row = in_16_bits(row)
        if row.verdict in DISCREPANCIES and row.n_outside and self._has_left_range(expected, got):
            row = row.found(UNDECIDED, f"out of range: {dtype} cannot hold what is computed on the way")
        if drawn is not None and len(row.worst_index) == got.ndim:
            row = row.having(shape=drawn[0], worst_index=drawn[1].place(drawn[0], row.worst_index))
        if row.verdict in DISCREPANCIES and got.shape == expected.value.shape:
            self.wrong.append((row, got, expected))
        return row

    @cached_property
    def _given(self) -> tuple[Array, ...]:
        """The arrays of floating-point numbers from which everything is computed."""
        held = (own.numbers for own in self.operation.inputs.values() if own.dtype in FLOATS and not own.is_complex)
        return (*held, *self.operation.upstream.values())

    def _numbers(self, run: Derived) -> Iterator[Array]:
        """All floating-point numbers from which the gradients are computed, and the results."""
        yield from self._given
        yield from (own.value for own in run.outputs if isinstance(own, ErrorArray))

    def _has_left_range(self, expected: Expected, got: Array) -> bool:
        """Whether the only differences are NaN where an infinity is due, after a product of infinity and a number that may
        underflow to 0."""
        if not self.arithmetic.model.branches.left_range or got.shape != expected.value.shape:
            return False
        known = ~(np.isinf(expected.value) & np.isnan(got) & ~np.isfinite(expected.sigma))
        return not known.all() and not differs_where(known, got, expected)

    def forward(self, run: Derived) -> list[Row]:
        if not self.operation.judges_outputs:
            return []
        several, drawn = len(self.operation.outputs) > 1, self.operation.drawn_outputs
        return [
            self.row(
                held.dtype,
                f"output#{number}" if several else "output",
                held.numbers,
                made,
                lambda dtype, place=place: self._low(dtype)[0].outputs[place],  # type: ignore[misc]
                drawn.get(number),
                adds_up=self.operation.computes,
            )
            for place, ((number, held), made) in enumerate(
                zip(self.operation.outputs.items(), run.outputs, strict=True)
            )
            if isinstance(made, ErrorArray) and held.dtype in FLOATS
        ]

    def backward(self, run: Derived) -> list[Row]:
        operation, model, found = self.operation, self.arithmetic.model, []
        grads, order = self._grads(run, self.arithmetic), list(operation.inputs)
        for position, held in operation.inputs.items():
            edges, place = operation.judged_edges, order.index(self._alike(position, grads)[0])
            grad = grads[place]
            if held.dtype not in FLOATS or (edges is not None and position not in edges):
                continue
            got = self._arrived(position, grads)
            due = grad if grad is not None else ErrorArray.exact(np.zeros(held.shape), model.of(held.dtype))
            row = self.row(
                held.dtype,
                _quantity(operation, position),
                got,
                due,
                lambda dtype, place=place: self._grads(*self._low(dtype))[place],  # type: ignore[misc]
                operation.drawn_gradients.get(position),
            )
            if row.verdict in DISCREPANCIES and row.n_outside and self._is_at_kink(place, got):
                row = row.found(CONVENTION, "another one-sided derivative at a kink or tie")
            if row.verdict in DISCREPANCIES and row.n_outside and self._is_at_nan(held, got, due):
                row = row.found(CONVENTION, f"{AT_NAN}: {CONVENTIONS[AT_NAN].what}")
            if row.verdict in DISCREPANCIES and not operation.kind.startswith("aten."):
                row = unless_undefined(row, got, expected_of(due), self._numbers(run))
            if row.verdict in DISCREPANCIES and operation.kind == HOOKS:
                raise NoRule(HOOKED)
            if row.verdict in DISCREPANCIES and self._is_chosen(run, place):
                if grad is None:
                    raise NoRule(
                        f"its result depends on an input through comparisons alone, whose derivative is 0: {GIVE}"
                    )
                if self._follows_differences(run, place, got, grad):
                    raise NoRule(
                        f"it chooses by comparisons, and its gradient agrees with differences of its result: {GIVE}"
                    )
            found.append(row)
        factors = [row for row, got, due in self.wrong if row in found and is_off_by_a_factor(row, got, due)]
        return [self._told(self._named(row)) for row in beside_a_factor(found, factors)]

    def _named(self, row: Row) -> Row:
        """The row of a gradient. If it is wrong, but right for another input, the row says so."""
        got = next((got for own, got, _ in self.wrong if own.quantity == row.quantity), None)
        if got is None or not got.any() or row.verdict != WRONG:
            return row
        for other, _, due in self.wrong:
            is_gradient = other.quantity.startswith("grad") and other.quantity != row.quantity
            if is_gradient and other.decided > 0.5 and got.shape == due.value.shape and not differs(got, due):
                return replace(row, cause_name="another quantity", cause=f"it holds the right {other.quantity}")
        return row

    def _is_chosen(self, run: Derived, place: int) -> bool:
        """Whether the forward program of a custom function compares an input, as a search for a root does."""
        if self.operation.called is not None or self.operation.kind.startswith("aten.") or not isinstance(run, Run):
            return False
        return is_compared(run.program, run.program.inputs[place][0])

    def _follows_differences(self, run: Derived, place: int, got: Array, due: ErrorArray) -> bool:
        """Whether a gradient is right for the value that the comparisons lead to, such as the root that a search finds."""
        operation = self.operation
        assert isinstance(run, Run)
        if got.shape != due.shape or any(held.is_complex for held in operation.inputs.values()):
            return False
        upstream = [operation.upstream.get(own) for own in operation.outputs]
        try:
            return follows_differences(run.program, upstream, place, got, due.value)
        except Exception:  # a part of the program that only a recorded result can stand for
            return False

    def _told(self, row: Row) -> Row:
        """The row of a gradient. If that of a custom function is wrong, the row says what it should be."""
        operation = self.operation
        if row.verdict not in DISCREPANCIES or operation.called is not None or operation.kind.startswith("aten."):
            return row
        said = "its backward is not the derivative of its forward"
        return replace(row, diagnosis=f"{row.diagnosis}; {said}" if row.diagnosis else said)

    def _low(self, dtype: str) -> tuple[Derived, WithErrors]:
        """The run in which every sum is added up in this dtype."""
        other = replace(self.arithmetic, model=replace(self.arithmetic.model, branches=BranchLog()), accumulate=dtype)
        return self.run(other), other

    def _arrived(self, position: int, grads: Sequence[ErrorArray | None]) -> Array:
        """The gradient of an input. Where several inputs are the same view of the same memory, as of x[None] three times, the
        recorded program has one value for them, and its gradient is that of all."""
        own = self.operation.inputs[position]
        gradients = self.operation.gradients
        found = [gradients[other] for other in self._alike(position, grads) if other in gradients]
        if not found:
            return np.zeros(own.shape, np.dtype(own.dtype))
        if len(found) == 1:
            return found[0]
        total = np.sum([grad.astype(np.float64) for grad in found], axis=0)
        return np.asarray(total).astype(found[0].dtype)

    def _alike(self, position: int, grads: Sequence[ErrorArray | None]) -> list[int]:
        """This input, and all others that are the same value in the recorded program."""
        inputs, one = self.operation.inputs, self.operation.inputs[position]
        if self.operation.called is not None or self.operation.drawn_gradients:
            return [position]
        same = [other for other, held in inputs.items() if held.place == one.place]
        order = list(inputs)
        # If all are one value, the first has its whole gradient and the others none. Memory that was written to has several.
        return same if all(grads[order.index(other)] is None for other in same[1:]) else [position]

    def _is_at_nan(self, held: Snapshot, got: Array, due: ErrorArray) -> bool:
        """Whether an activation's gradient is wrong at NaN alone, where torch's own kernels differ."""
        if self.operation.kind not in OPS_THAT_DIFFER_AT_NAN or got.shape != due.shape:
            return False
        return not differs_where(~np.isnan(held.numbers), got, expected_of(due))

    def _is_at_kink(self, place: int, got: Array) -> bool:
        other = self._with_open_ties[place]
        return other is not None and not measured(got, expected_of(other)).n_outside

    @cached_property
    def _with_open_ties(self) -> Sequence[ErrorArray | None]:
        model = replace(self.arithmetic.model, bounds=False, open_ties=True, branches=BranchLog())
        other = replace(self.arithmetic, model=model)
        return self._grads(self.run(other), other)

    def _grads(self, run: Derived, arithmetic: WithErrors) -> Sequence[ErrorArray | None]:
        lifted, arrived = arithmetic.lifted, self.operation.upstream
        return run.gradients([lifted(arrived[own]) if own in arrived else None for own in self.operation.outputs])


def _with_narrow_stores(rows: Sequence[Row], run: Derived) -> list[Row]:
    """The rows; those that are undecided say it if the program stores numbers in a narrower dtype on the way."""
    if all(row.verdict != UNDECIDED for row in rows):
        return [*rows]
    plain = getattr(run, "plain", run)
    calls = plain.program.calls if isinstance(plain, Run) else ()
    dtypes = {own.dtype: ROUNDOFF[own.dtype] for call in calls for own in call.recorded if own and own.dtype in FLOATS}
    widest = max(dtypes, key=lambda own: dtypes[own], default="")
    return [
        row.having(diagnosis=f"{row.diagnosis}; it stores numbers in {widest} on the way")
        if row.verdict == UNDECIDED and not row.decided and widest and dtypes[widest] > ROUNDOFF[row.dtype]
        else row
        for row in rows
    ]


def _check_filled(run: Derived, operation: Operation) -> None:
    """Raises: NoRule if an output is memory that no call has filled."""
    for held, made in zip(operation.outputs.values(), run.outputs, strict=True):
        if isinstance(made, ErrorArray) and np.isnan(made.value).any() and not np.isnan(held.numbers).any():
            raise NoRule("no ATen call fills its output: it is opaque")


def _quantity(operation: Operation, position: int) -> str:
    name = operation.names.get(position, "")
    if name:
        short = name.rpartition(".")[2]
        alone = sum(own.rpartition(".")[2] == short for own in operation.names.values()) == 1
        return f"grad.{short if alone else name}"
    order = list(operation.inputs)
    return "grad_input" if len(order) == 1 else f"grad_input#{order.index(position)}"
