"""Who errs where a random case shows a discrepancy: the subject, torch, refbp, or the judge.

The subject's own part of the case is run again on torch and on refbp, which share no code, in plain memory and in the case's
precision. If the judge calls both of them wrong too, it accuses correct implementations: the judge errs. If it does not, the
subject errs. If torch and refbp differ in double precision, the third witness decides between the two.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from oracle import subjects
from oracle.blame.blame import Blame
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.predict import predict
from oracle.harness.judge import tried
from oracle.judging.figures import Expected, differs
from oracle.judging.parts import local_parts
from oracle.judging.rows import DISCREPANCIES, LOCAL, PASS, WRONG, Row
from oracle.judging.wiring import completed
from oracle.judging.witness import along_directions
from oracle.running_error import ErrorModel
from oracle.trace import Key, Subject, Trace

JUDGE, UNSETTLED = "judge", "unsettled"
WITNESSES = ("torch", "refbp")


class Owner(NamedTuple):
    """Who errs, and why."""

    name: str
    why: str


def owner(case: Case, trace: Trace, culprit: Blame, subject: Subject, reference: Subject) -> Owner:
    """The owner of a discrepancy.

    trace: the subject's trace, from which the part of the case is made; empty for a discrepancy that is seen end to end only.
    """
    part = _plain(_part(case, trace, culprit))
    honest = {name: subjects.load(name) for name in WITNESSES}
    wrong = [name for name in WITNESSES if _is_called_wrong(part, honest[name], reference, culprit.quantity)]
    others = [name for name in WITNESSES if name != subject.name]
    quantity = _quantity(part, culprit)
    told = None if quantity is None else _between(part, quantity, honest)
    if told is not None and (told.name == subject.name or not _errs_too(part, quantity, trace, culprit, told, honest)):
        return told
    if wrong and all(name in wrong for name in others):
        return Owner(JUDGE, f"{' and '.join(wrong)} are called wrong here too, and share no code")
    return Owner(subject.name, f"{' and '.join(others)} pass here in the same precision")


def _part(case: Case, trace: Trace, culprit: Blame) -> Case:
    """The culprit's own part of the case with the subject's numbers; the whole case if the trace does not show it."""
    whole = completed(case, trace) if len(trace) else trace
    parts = local_parts(case, whole, culprit.step) if len(whole) else iter(())
    # A parameter and its optimizer's state are named after their layer, and made by the update.
    is_updated = "." in culprit.quantity and not culprit.quantity.startswith(("grad.", "buffer."))
    return next(
        (own.case for own in parts if culprit.layer in own.names.values() and bool(own.case.grads) == is_updated), case
    )


def _plain(case: Case) -> Case:
    return case.mapped(lambda array: np.array(array, order="C"))


def _is_called_wrong(part: Case, honest: Subject, reference: Subject, quantity: str) -> bool:
    rows = tried(part, honest, reference, causes=False).judgement.rows
    return any(row.quantity == quantity and row.verdict in DISCREPANCIES for row in rows)


def _errs_too(
    part: Case, key: Key | None, trace: Trace, culprit: Blame, told: Owner, honest: dict[str, Subject]
) -> bool:
    """Whether the subject also differs from the one of torch and refbp that does not err."""
    right = {"torch": "refbp", "refbp": "torch"}.get(told.name)
    got = trace.get(culprit.step, culprit.layer, culprit.quantity)
    if right is None or key is None or got is None:
        return False
    due = honest[right].run(part.astype("float64")).get(*key)
    sigma = predict(part, ErrorModel(np.dtype(part.dtype)))[key].sigma
    return due is None or due.shape != got.shape or differs(got, Expected(due, sigma, None, np.abs(due)))


def _quantity(part: Case, culprit: Blame) -> Key | None:
    """The place of the quantity in the part, of which the last step is judged."""
    layer = culprit.layer if part.name == culprit.case else part.layers[0].name if part.layers else "loss"
    layer = culprit.layer if part.grads else layer
    return Key(part.steps - 1, layer, culprit.quantity) if culprit.quantity else None


def _between(part: Case, key: Key, honest: dict[str, Subject]) -> Owner | None:
    """Who of torch and refbp errs, if they differ in double precision; None if they agree."""
    double = part.astype("float64")
    try:
        said = {name: honest[name].run(double).get(*key) for name in WITNESSES}
        sigma = predict(double, ErrorModel(np.dtype("float64")))[key].sigma
    except Exception as error:  # then there is no value to compare
        return Owner(UNSETTLED, f"torch or refbp has no value: {error}")
    theirs, ours = said["torch"], said["refbp"]
    if theirs is None or ours is None or theirs.shape != ours.shape:
        return Owner(UNSETTLED, "torch or refbp shows no value, or one of another shape")
    if not differs(theirs, Expected(ours, sigma, None, np.abs(ours))):
        return None
    argument = _argument(part, key)
    if argument is not None:
        row = Row(part.name, "float64", 0, key.layer, "", key.quantity, LOCAL, PASS)
        found = [along_directions(double, argument, value, sigma, row).verdict for value in (theirs, ours)]
        if found == [WRONG, PASS]:
            return Owner("torch", "finite differences agree with refbp")
        if found == [PASS, WRONG]:
            return Owner("refbp", "finite differences agree with torch")
    return _by_precision(part, key, theirs, ours)


def _argument(part: Case, key: Key) -> str | None:
    """The argument whose gradient the quantity is, for a single layer or loss: "" for the input, None for other quantities."""
    if part.steps > 1 or part.grads or len(part.layers) > 1 or any(spec.layers for spec in part.layers):
        return None
    if key.quantity == "grad_input":
        return ""
    kind, _, short = key.quantity.partition(".")
    return f"{key.layer}.{short}" if kind == "grad" and key.layer != "loss" else None


def _by_precision(part: Case, key: Key, theirs: Array, ours: Array) -> Owner:
    """Who of the two is farther from refbp's formula in extended precision.

    The formula is refbp's own, so it shows only who rounds badly. If the difference is so large that another formula may be the
    cause, the question stays unsettled.
    """
    try:
        exact = subjects.load("refbp").run(part.astype("longdouble")).get(*key)
    except Exception as error:  # then there is no third value
        return Owner(UNSETTLED, f"torch and refbp differ, and extended precision has no value: {error}")
    if exact is None:
        return Owner(UNSETTLED, "torch and refbp differ, and extended precision shows no value")
    for name, value, other in (("torch", theirs, ours), ("refbp", ours, theirs)):
        lost = ~np.isfinite(value) & np.isfinite(exact.astype(np.float64))
        if lost.any() and np.isfinite(other[lost]).all():
            return Owner(name, "it is infinite or NaN where the formula is not")
    with np.errstate(all="ignore"):
        far = [float(np.max(np.abs(value - exact), initial=0.0)) for value in (theirs, ours)]
        size = float(np.max(np.abs(exact), initial=0.0))
    if far[1] > 16 * far[0]:
        return Owner("refbp", "torch is nearer to refbp's own formula in extended precision")
    if far[0] > 16 * far[1] and far[0] < 1e-4 * size:
        return Owner("torch", "refbp is nearer to extended precision")
    return Owner(UNSETTLED, "torch and refbp differ in double precision, and the third witness does not decide")
