"""Compares the derivative of a Function's backward, which a gradient of a gradient needs, with differences of right gradients.

The gradients of its forward program are computed in float64, at its inputs and beside them. If its backward uses a tensor
that is cut off from autograd's graph, its derivative lacks a term, although each gradient is right.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.rows import UNJUDGED, WRONG
from oracle.modules.chosen_results import shifted
from oracle.modules.inner_passes import Twice
from oracle.modules.operations import Operation
from oracle.modules.references import program_by_reference
from oracle.programs.execution import NARROW, Plain, Run
from oracle.programs.storages import program_of
from oracle.programs.table import NoRule
from oracle.wording.errors import in_a_line

# The relative size of a step to each side. In float64, rounding then changes a difference by about 1e-9 of its terms.
STEP = 1e-7
# The derivative and the differences may differ by this share of the terms, which is less than a missing term and more than
# rounding in float32.
SHARE = 0.05
# Differences are noise below this share of the gradients.
NOISE = 1e-6
LACKING = "the derivative of its backward is not the second derivative of its forward: it may use a detached tensor"
OPEN = "it is differentiated twice, and the derivative of its backward was not compared"


class Found(NamedTuple):
    verdict: str
    reason: str


def compared(operation: Operation, twice: Twice | None) -> Found | None:
    """The fault in the second derivative of a Function that received these gradients; None if it is right."""
    try:
        with np.errstate(all="ignore"):
            return _compared(operation, twice)
    except NoRule as lacking:
        return Found(UNJUDGED, f"{OPEN}: {lacking}")
    except Exception as error:  # a rule that fails is a gap in the reference, and not a finding about the module
        return Found(UNJUDGED, f"{OPEN}: the reference cannot run it: {in_a_line(error)}")


def _compared(operation: Operation, twice: Twice | None) -> Found | None:
    if twice is None:
        raise NoRule("autograd does not give it alone")
    held = operation.inputs
    if operation.reason or operation.parts or any(own.is_complex or own.dtype in NARROW for own in held.values()):
        raise NoRule("only those of whole arrays in float32 or float64 are")
    draw = np.random.default_rng(0)
    ways = {place: draw.uniform(-1, 1, own.shape) * own.numbers.astype(np.float64) for place, own in held.items()}
    right = _gradients(operation, twice.along)
    at, above, below = (right({place: side * own for place, own in ways.items()}) for side in (0, STEP, -STEP))
    terms = [way * twice.found[place] for place, way in ways.items() if place in twice.found]
    rises = [float((one - other).sum() / STEP) for one, other in ((above, at), (at, below))]
    size = float(np.sqrt(sum(np.square(own).sum() for own in terms)))
    noise = NOISE * float(np.abs(at).sum())
    if not np.isfinite([*rises, size]).all():
        raise NoRule("it is not finite")
    allowed = SHARE * max(size, *map(abs, rises)) + noise
    if abs(rises[0] - rises[1]) > allowed:
        raise NoRule("a kink is too near")
    apart = abs(sum(rises) / 2 - float(sum(own.sum() for own in terms)))
    return Found(WRONG, LACKING) if apart > allowed else None


def _gradients(operation: Operation, along: Mapping[int, Array]) -> Callable[[Mapping[int, Array]], Array]:
    """A function from shifts of the inputs to the right gradients there, multiplied by `along`. Raises: NoRule."""
    held = list(operation.inputs.values())
    if operation.called is not None:
        program, learning = program_by_reference(operation.called, held)
    else:
        program = program_of(operation.events, held, list(operation.outputs.values()))
        learning = list(range(len(held)))
    upstream = [operation.upstream.get(number) for number in operation.outputs]
    given = [None if own is None else own.astype(np.float64) for own in upstream]

    def gradients(shifts: Mapping[int, Array]) -> Array:
        inputs = list(program.inputs)
        for place, shift in zip(learning, shifts.values(), strict=True):
            value, own = inputs[place]
            inputs[place] = value, shifted(own, shift)
        found = Run(replace(program, inputs=tuple(inputs)), Plain()).gradients(given)
        made = dict(zip(operation.inputs, (found[place] for place in learning), strict=True))
        parts = [np.ravel(made[place] * own) for place, own in along.items() if made.get(place) is not None]
        return np.concatenate(parts) if parts else np.zeros(1)

    return gradients
