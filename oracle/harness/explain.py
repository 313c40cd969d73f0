"""`oracle.explain`: the numbers of a training step, the subject's beside the reference's."""

from __future__ import annotations

from typing import Any

from oracle import subjects, suite
from oracle.case.case import Case
from oracle.execution.walk import MOST_NUMBERS, walk
from oracle.harness import called
from oracle.harness.run import check_names
from oracle.report.walk import Walk


def explain(
    case: str | Case,
    subject: str | Any = "refbp",
    reference: str = "torch",
    dtype: str = "float64",
    step: int = 0,
    *,
    every: bool = False,
) -> Walk:
    """The numbers of a training step, in the order in which backpropagation computes them, the given numbers first.

    Args:
        case: the name of a case of the suite, or a case of your own.
        subject, reference: as in `oracle.run`.
        dtype: the dtype in which the subject computes; the reference computes in float64.
        step: the training step, from 0.
        every: show every number; by default only the first ones of each quantity are shown.
    Returns: a `Walk`, with to_json, to_html and to_svg; str() and a notebook show it.
    Raises: ValueError for an unknown case or subject, a step that the case does not have, or a subject that cannot run it.

    >>> walk = oracle.explain("worked-example/plain")
    >>> [section.stage for section in walk.sections][:2], walk.sections[0].shape
    (['given', 'given'], (1, 2))
    """
    check_names(reference, (dtype,))
    chosen = suite.named(case) if isinstance(case, str) else case
    if not isinstance(chosen, Case):
        raise ValueError(f"explain expects the name of a case or an oracle.Case, got {type(chosen).__name__}")
    if not 0 <= step < chosen.steps:
        raise ValueError(f"case {chosen.name} has steps 0 to {chosen.steps - 1}, got step {step}")
    ours = called.load(subject)
    adds_up_in = ours.profile.accumulates_in(dtype)
    most = None if every else MOST_NUMBERS
    sections = walk(chosen.astype(dtype), ours, subjects.load(reference), step, most, adds_up_in)
    return Walk(chosen.name, chosen.why, ours.name, dtype, reference, step, tuple(sections))
