"""Finds programs whose result depends on an input through comparisons, such as a search for a root by bisection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from oracle.case.arrays import Array
from oracle.programs.execution import RunAnew
from oracle.programs.program import Program, Snapshot, refs
from oracle.programs.table import RULES

# The size of a step to each side, of the input's root mean square: far more than the last step of a search, and few kinks.
STEP = 1e-4
# The share of the terms by which a gradient may differ from differences.
SHARE = 0.05
WAYS = 3


def is_compared(program: Program, value: int) -> bool:
    """Whether an input, or something computed from it, is compared with other numbers."""
    reached = {value}
    for call in program.calls:
        if any(ref.value in reached for ref in refs((call.args, dict(call.kwargs)))):
            rule = RULES.get(call.name.partition(".")[0])
            if rule is not None and rule.compares:
                return True
            reached.update(own for own in call.results if own is not None)
    return False


def follows_differences(program: Program, upstream: Sequence[Array | None], place: int, got: Array, due: Array) -> bool:
    """Whether differences of the results along random ways agree with the gradient of an input that was received, and not with
    the derivative of the recorded choices."""
    draw, (value, held) = np.random.default_rng(0), program.inputs[place]
    size = STEP * float(np.sqrt(np.square(held.numbers.astype(np.float64)).mean())) or STEP
    agrees, differs = [], []
    for _ in range(WAYS):
        way = size * draw.standard_normal(held.shape)
        ends = []
        for side in (1, -1):
            inputs = list(program.inputs)
            inputs[place] = value, shifted(held, side * way)
            made = RunAnew(replace(program, inputs=tuple(inputs))).outputs
            ends.append(sum(float((own * up).sum()) for own, up in zip(made, upstream, strict=True) if up is not None))
        rise = (ends[0] - ends[1]) / 2
        allowed = SHARE * float(np.sqrt(np.square(got * way).sum()))
        agrees.append(abs(rise - float((got * way).sum())) <= allowed)
        differs.append(abs(rise - float((due * way).sum())) > allowed)
    return all(agrees) and any(differs)


def shifted(held: Snapshot, shift: Array) -> Snapshot:
    """A recorded array with other numbers."""
    numbers = held.numbers.astype(np.float64) + shift
    return Snapshot(held.storage, held.geometry, held.dtype, lambda: numbers, held.differentiable)
