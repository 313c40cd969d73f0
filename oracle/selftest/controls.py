"""Controls: a backward pass with another upstream gradient must fail. A case that lets it pass tests nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.harness.judge import CaseStep, judge_step
from oracle.judging.long_runs import stretch
from oracle.judging.profile import Profile
from oracle.judging.rows import CONVENTION, DISCREPANCIES, END_TO_END
from oracle.subjects import refbp as honest

CONTROLS: Mapping[str, Callable[[Array], Array]] = {
    "all zeros": lambda g: g * 0,
    "negated": lambda g: -g,
    "doubled": lambda g: 2 * g,
    "shuffled": lambda g: np.roll(np.ravel(g), 1).reshape(g.shape),
    "transposed": lambda g: np.ascontiguousarray(g.T).reshape(g.shape),
}
FAILS, PASSES = "fails", "passes"
# Quantities that do not follow from the upstream gradient, and the upstream gradient itself.
FORWARD = ("input", "output", "mask", "branches", "grad_output")


def outcome(case: Case, control: str) -> str:
    """`fails`, as it must; `passes`; or the reason why this control says nothing about this case.

    Only the end-to-end gradients of the first step, and the values updated by them, are judged. Locally each layer is
    right for the gradient that it received.
    """
    case = stretch(case, 0, 1)
    altered = _altered(case, CONTROLS[control])
    right, wrong = honest.run(case), honest.run(altered)
    follows = [key for key in right if key.quantity not in FORWARD]
    if all(np.array_equal(right.arrays[key], wrong.arrays[key], equal_nan=True) for key in follows):
        return "the gradients stay as they are: zero, NaN, or without a direction"
    found = judge_step(CaseStep(case, wrong, honest), Profile(), (), causes=False)
    rows = [row for row in found.rows if row.mode == END_TO_END and row.quantity not in FORWARD]
    if any(row.verdict in DISCREPANCIES for row in rows):
        return FAILS
    return "whatever differs is a choice at a tie" if any(row.verdict == CONVENTION for row in rows) else PASSES


def _altered(case: Case, alter: Callable[[Array], Array]) -> Case:
    if case.grads:
        return replace(
            case, grads=tuple({name: np.asarray(alter(g)) for name, g in grads.items()} for grads in case.grads)
        )
    upstream = case.grad_outputs[0] if case.grad_outputs else np.ones((), case.dtype)
    return case.with_upstream(np.asarray(alter(upstream)))
