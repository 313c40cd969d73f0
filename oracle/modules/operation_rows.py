"""An operation held against the derivative of its own forward program, on what it was given and got back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from oracle.case.arrays import Array
from oracle.errors import in_a_line
from oracle.judging.derived import expected_of
from oracle.judging.figures import Expected, measured
from oracle.judging.rows import CONVENTION, DISCREPANCIES, LOCAL, PASS, Row
from oracle.judging.verdict import compare
from oracle.modules.operations import Operation
from oracle.modules.references import Derived, by_reference
from oracle.programs.execution import FLOATS, Run, WithErrors
from oracle.programs.storages import program_of
from oracle.programs.table import NoRule
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.model import BranchLog


@dataclass(frozen=True)
class Judged:
    """An operation's rows, or why there are none.

    Attributes:
        wrong: the rows with a discrepancy, what came and what was expected.
        given: where there is one, the first input and the first upstream gradient.
    """

    forward: list[Row]
    backward: list[Row]
    reason: str = ""
    wrong: tuple[tuple[Row, Array, Expected], ...] = ()
    given: tuple[Array | None, Array | None] = (None, None)


def judged(operation: Operation, case: str, step: int) -> Judged:
    """Its output and the gradients of its inputs."""
    if operation.reason:
        return Judged([], [], operation.reason)
    try:
        with np.errstate(all="ignore"):
            return _judged(operation, case, step)
    except NoRule as lacking:
        return Judged([], [], str(lacking))
    except Exception as error:  # a rule that cannot is a gap in the reference, and no finding about the module
        return Judged([], [], f"the reference cannot run it: {in_a_line(error)}")


def _judged(operation: Operation, case: str, step: int) -> Judged:
    positions, numbers = list(operation.inputs), list(operation.outputs)
    unknown = [number for number in operation.upstream if number not in operation.outputs]
    if unknown:
        raise NoRule("a gradient arrives at an output that no ATen call reads")
    outputs = [operation.outputs[number] for number in numbers]
    inputs = [operation.inputs[position] for position in positions]
    model = ErrorModel(np.dtype("float32"), bounds=True)
    leading = inputs[0].shape if inputs else ()
    model.branches.samples = leading[0] if len(leading) > 1 else 0
    arithmetic = WithErrors(model)

    def ran(arithmetic: WithErrors) -> Derived:
        if operation.called is not None:
            return by_reference(operation.called, inputs, arithmetic)
        return Run(program, arithmetic)

    program = program_of([] if operation.called else operation.events, inputs, [] if operation.called else outputs)
    if any(value in program.constants for value in program.outputs):
        raise NoRule("no ATen call makes its output: it is opaque")
    run = ran(arithmetic)
    _check_filled(run, operation)
    blank = Row(case, "", step, operation.layer, operation.kind, "", LOCAL, PASS)
    forward, several = [], len(numbers) > 1
    wrong: list[tuple[Row, Array, Expected]] = []

    def row_of(dtype: str, quantity: str, got: Array, made: ErrorArray) -> Row:
        row, expected = replace(blank, dtype=dtype, quantity=quantity), expected_of(made)
        row = compare(row, got, expected, structured=True, no_terms=False)
        if row.verdict in DISCREPANCIES and got.shape == expected.value.shape:
            wrong.append((row, got, expected))
        return row

    for number, held, made in zip(numbers, outputs, run.outputs, strict=True):
        if isinstance(made, ErrorArray) and held.dtype in FLOATS:
            forward.append(row_of(held.dtype, f"output#{number}" if several else "output", held.numbers, made))
    grads = _grads(run, arithmetic, operation, numbers)
    open_run = None
    backward = []
    for position, grad in zip(positions, grads, strict=True):
        held = operation.inputs[position]
        if held.dtype not in FLOATS:
            continue
        got = operation.gradients.get(position, np.zeros(held.shape, np.dtype(held.dtype)))
        due = grad if grad is not None else ErrorArray.exact(np.zeros(held.shape), model.of(held.dtype))
        quantity = _quantity(operation, position)
        row = row_of(held.dtype, quantity, got, due)
        if row.verdict in DISCREPANCIES and row.n_outside:
            if open_run is None:
                free = WithErrors(replace(model, bounds=False, open_ties=True, branches=BranchLog()))
                open_run = _grads(ran(free), free, operation, numbers)
            other = open_run[positions.index(position)]
            if other is not None and not measured(got, expected_of(other)).n_outside:
                row = row.found(CONVENTION, "another one-sided derivative at a kink or tie")
        if row.verdict in DISCREPANCIES and operation.called is None and not operation.kind.startswith("aten."):
            said = "its backward is not the derivative of its forward"
            row = replace(row, diagnosis=f"{row.diagnosis}; {said}" if row.diagnosis else said)
        backward.append(row)
    shown = {row.quantity for row in (*forward, *backward) if row.verdict in DISCREPANCIES}
    bad = tuple(own for own in wrong if own[0].quantity in shown)
    first = operation.inputs[positions[0]].numbers if bad and positions else None
    return Judged(
        forward, backward, wrong=bad, given=(first, next(iter(operation.upstream.values()), None) if bad else None)
    )


def _check_filled(run: Derived, operation: Operation) -> None:
    """Raises: NoRule where an output is memory that no call has filled."""
    for held, made in zip(operation.outputs.values(), run.outputs, strict=True):
        if isinstance(made, ErrorArray) and np.isnan(made.value).any() and not np.isnan(held.numbers).any():
            raise NoRule("no ATen call fills its output: it is opaque")


def _grads(
    run: Derived, arithmetic: WithErrors, operation: Operation, numbers: list[int]
) -> Sequence[ErrorArray | None]:
    upstream = [
        arithmetic.lifted(operation.upstream[number]) if number in operation.upstream else None for number in numbers
    ]
    return run.gradients(upstream)


def _quantity(operation: Operation, position: int) -> str:
    name = operation.names.get(position, "")
    if name:
        return f"grad.{name.rpartition('.')[2]}"
    order = list(operation.inputs)
    return "grad_input" if len(order) == 1 else f"grad_input#{order.index(position)}"
