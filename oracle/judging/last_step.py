"""Predicts several steps together, to judge the last: what guides the predictions, and the terms of the last step alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.network import Results
from oracle.execution.predict import predict
from oracle.judging.parts import step_part
from oracle.running_error import ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.trace import Key, Trace


def guides_of(trace: Trace, last: int, steps: int) -> dict[Key, Array]:
    """The inputs of each of the subject's layers in the `steps` steps up to the last, which are judged together."""
    first = last - steps + 1
    return {
        key._replace(step=key.step - first): trace.arrays[key]
        for key in trace
        if key.step in range(first, last + 1) and key.quantity == "input"
    }


def traced(results: Results) -> Trace:
    """The values of a prediction."""
    own = {key: result.value if isinstance(result, ErrorArray) else result for key, result in results.items()}
    return Trace(own)


def terms_alone(case: Case, results: Results, model: ErrorModel, guides: Mapping[Key, Array] | None) -> Results:
    """A prediction for the last of several steps alone, from the state that these results show before it.

    It includes the steps that add to the last one's gradients. It gives the sizes of the terms that were added up; propagated
    over many steps, these sizes would grow or shrink until they are useless.
    """
    last = case.steps - 1
    part = step_part(case, traced(results), last)
    assert part is not None
    first = case.steps - part.case.steps
    own = {key._replace(step=key.step - first): array for key, array in (guides or {}).items() if key.step >= first}
    found = predict(part.case, replace(model, branches=BranchLog()), own)
    return {key._replace(step=0): own for key, own in found.items() if key.step == last - first}
