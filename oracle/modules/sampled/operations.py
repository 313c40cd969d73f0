"""Cuts an operation to smaller ones, which hold some elements of its arrays."""

from __future__ import annotations

from dataclasses import replace
from itertools import count

from oracle.case.arrays import Array
from oracle.modules.calls import taken
from oracle.modules.operations import Operation, OperationPart
from oracle.modules.sampled.draws import Take
from oracle.modules.sampled.plans import DRAWN, WHOLE
from oracle.modules.sampled.programs import Shaped, Smaller, smaller
from oracle.modules.sampled.sampler import MOST, Sampler
from oracle.modules.sampled.views import offsets, shown_by
from oracle.programs.geometry import Geometry
from oracle.programs.program import Program, Snapshot
from oracle.programs.storages import program_of
from oracle.programs.table import RULES, NoRule
from oracle.subjects.torch import tensor as tensor_of

_numbers = count(-1, -1)


def parts_of(operation: Operation, sampler: Sampler) -> list[OperationPart]:
    """The smaller operations of one that is large; none if it is judged whole, or has a reason why it cannot be."""
    held = [*operation.inputs.values(), *operation.outputs.values()]
    largest = max((own.geometry.size for own in held), default=0)
    if operation.reason or operation.called is not None or operation.hidden or largest <= DRAWN:
        return []
    if not operation.computes:
        found = _view(operation, sampler)
        if found is not None:
            return [found]
    try:
        program = program_of(operation.events, list(operation.inputs.values()), list(operation.outputs.values()))
    except NoRule:
        return []  # the reason is reported where the operation is judged
    shaped = Shaped.of(program, [own.shape for own in operation.outputs.values()], sampler, operation.layer)
    parts = smaller(shaped)
    if parts is None:
        moves = all((rule := RULES.get(call.name.partition(".")[0])) and rule.moves for call in program.calls)
        if largest > (WHOLE if moves else MOST):
            operation.reason = "it is too large to be judged whole, and no part of it is drawn"
        return []
    return [_operation_part(operation, program, own) for own in parts]


def _operation_part(operation: Operation, program: Program, part: Smaller) -> OperationPart:
    values = {value: held_part(held, part.takes[value]) for value, held in program.inputs}
    constants = {
        value: held_part(held, part.takes[value]) for value, held in program.constants.items() if value in part.takes
    }
    calls = program.calls if part.calls is None else part.calls
    if part.recorded is not None:
        take = part.recorded
        calls = tuple(
            replace(call, recorded=tuple(None if own is None else held_part(own, take) for own in call.recorded))
            for call in calls
        )
    small = replace(
        operation,
        events=[],
        program=Program(tuple(values.items()), constants, calls, program.outputs),
        inputs=dict(zip(operation.inputs, values.values(), strict=True)),
        outputs={
            number: held_part(held, part.outputs[value])
            for (number, held), value in zip(operation.outputs.items(), program.outputs, strict=True)
        },
        upstream={},
        gradients={},
        parts=[],
    )
    upstream = dict(zip(operation.outputs, (part.outputs[own] for own in program.outputs), strict=True))
    gradients = dict(zip(operation.inputs, (part.gradients[own] for own in values), strict=True))
    small.drawn_outputs = {number: (operation.outputs[number].shape, own) for number, own in upstream.items()}
    small.drawn_gradients = {edge: (operation.inputs[edge].shape, own) for edge, own in gradients.items()}
    if part.only is not None:
        small.drawn_outputs = {} if not part.only & set(program.outputs) else small.drawn_outputs
        judged = {edge for edge, value in zip(operation.inputs, values, strict=True) if value in part.only}
        small.drawn_gradients = {edge: own for edge, own in small.drawn_gradients.items() if edge in judged}
        small.judges_outputs, small.judged_edges = bool(small.drawn_outputs), frozenset(judged)
        gradients = {edge: own for edge, own in gradients.items() if edge in judged}
        upstream = upstream if judged else {}
    return OperationPart(small, upstream, gradients)


def _view(operation: Operation, sampler: Sampler) -> OperationPart | None:
    """Elements of what is viewed, whose gradients are those of the elements of the views that show them."""
    if len(operation.inputs) != 1:
        return None
    ((edge, given),) = operation.inputs.items()
    if any(own.storage != given.storage or own.dtype != given.dtype for own in operation.outputs.values()):
        return None
    drawn = sampler.points(given.shape)
    memory = offsets(drawn, given.geometry)
    if shown_by(given.geometry, memory) is None:
        return None
    upstream: dict[int, Take] = {}
    for number, own in operation.outputs.items():
        shown = shown_by(own.geometry, memory)
        if shown is None:
            return None
        upstream[number] = shown
    part = held_part(given, drawn)
    program = Program(((0, part),), {}, (), (0,) * len(upstream))
    outputs = dict.fromkeys(operation.outputs, part)
    small = replace(operation, events=[], program=program, inputs={edge: part}, outputs=outputs, parts=[])
    small.upstream, small.gradients = {}, {}
    small.drawn_gradients = {edge: (given.shape, drawn)}
    return OperationPart(small, upstream, {edge: drawn})


def held_part(held: Snapshot, take: Take) -> Snapshot:
    """A part of a recorded array, read when it is needed."""
    part = Geometry.row_of(take.shape_of(held.shape))
    return Snapshot(next(_numbers), part, held.dtype, lambda: _part(held, take), held.differentiable)


def _part(held: Snapshot, take: Take) -> Array:
    """The values of a part. Raises: NoRule if they were overwritten."""
    if held.kept:
        for kept, values in held.kept:
            if kept is take:
                return values
        raise NoRule("it was overwritten, and only other elements of it were copied before")
    return taken(take, held.source if held.source is not None else tensor_of(held.numbers))
