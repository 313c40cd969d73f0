"""Finds the hypotheses that explain a wrong quantity, or, if none does, describes the pattern of the error."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from oracle.blame.causes import arrays, formulas, losses, mistakes, operations, reruns, statistics, updates, upstreams
from oracle.blame.causes.evidence import Evidence, Hypothesis
from oracle.case.arrays import Array
from oracle.judging.conventions import CONVENTIONS
from oracle.running_error import LAMBDA
from oracle.running_error.model import Floats
from oracle.wording.figures import exact_share


class Cause(NamedTuple):
    """A hypothesis that fits: its name, which all of its kind share, and a text for people."""

    name: str
    words: str


def causes_of(evidence: Evidence) -> list[Cause]:
    """Every cause that explains the subject's value, most specific first; empty if there is none."""
    if evidence.got.shape != evidence.expected.value.shape or not evidence.got.size:
        return []
    found: dict[str, Cause] = {}
    with np.errstate(all="ignore"):
        outside = evidence.outside()
        for hypothesis in _all(evidence):
            fits = evidence.fits(hypothesis.value, hypothesis.sigma)
            if fits and _tells_apart(hypothesis, evidence.expected.value, outside):
                found.setdefault(hypothesis.words, Cause(hypothesis.cause, hypothesis.words))
        wrong = evidence.got[outside & np.isfinite(evidence.expected.value)]
        if not found and wrong.size and np.isfinite(wrong).all():
            found = {cause.words: cause for cause in _confined(evidence)}
    ignored = any(cause.name == "option" and "is ignored" in cause.words for cause in found.values())

    def rank(cause: Cause) -> float:
        """The order of causes: an ignored option is more specific than a convention with the same effect."""
        return VAGUE.get(cause.name, 0) + (0.5 if ignored and cause.name in CONVENTIONS else 0)

    return sorted(found.values(), key=rank)


# The order of causes: a larger number comes later, and 0 is the usual place.
VAGUE = {
    "derivative at the output": -1,  # a negative slope that is left out gives the same, and is the rarer mistake
    "zero": 1,
    "state lost": 1,
    "sign": 1,
    "coupling": 1,
    "derivative omitted": 1,
    "permuted": 1,
    "shifted": 1,
    "transposed": 1,
    "turned": 1,
    "another quantity": 2,
    "digits": 2,
    "factor": 3,
    "rate": 3,
    "order": 4,
}


def _tells_apart(hypothesis: Hypothesis, expected: Floats, outside: Array) -> bool:
    """Whether the hypothesis differs from the right value at an element that is wrong.

    If both values are within its tolerance, as at a kink, it explains nothing. A hypothesis about rounding alone has the right
    values with a larger error.
    """
    near = np.abs(hypothesis.value - expected) <= LAMBDA * hypothesis.sigma
    return hypothesis.value is expected or not bool(np.all(near[outside]))


def _all(evidence: Evidence) -> Iterator[Hypothesis]:
    yield from arrays.hypotheses(evidence)
    if evidence.is_refbps_own():  # then another run of refbp shows nothing
        return
    yield from mistakes.hypotheses(evidence)
    yield from updates.hypotheses(evidence)
    yield from upstreams.hypotheses(evidence)
    yield from losses.hypotheses(evidence)
    yield from statistics.hypotheses(evidence)
    yield from reruns.hypotheses(evidence)
    yield from operations.hypotheses(evidence)
    yield from formulas.hypotheses(evidence)


def _confined(evidence: Evidence) -> Iterator[Cause]:
    """The position of the error in words, if only one element or one slice is wrong."""
    outside = evidence.outside()
    places = np.argwhere(outside)
    if outside.size < 2 or not len(places):
        return
    if len(places) == 1:
        yield Cause("single element", f"a single element, at {tuple(places[0].tolist())}")
        return
    for axis in range(outside.ndim):
        indices = set(places[:, axis].tolist())
        if len(indices) == 1 and outside.shape[axis] > 1:
            (index,) = indices
            last = " (the last)" if index == outside.shape[axis] - 1 else ""
            yield Cause("one slice", f"only index {index}{last} of dimension {axis}")


@np.errstate(all="ignore")
def in_words(evidence: Evidence) -> str:
    """A description of the pattern of an error that no hypothesis explains."""
    outside = evidence.outside()
    got, expected = evidence.got, evidence.expected.value
    said = []
    if not outside.all():
        said.append(f"{exact_share(float(outside.mean()))} of the elements are wrong")
        if outside.ndim >= 2 and min(outside.shape[-2:]) > 2:
            inner = outside[..., 1:-1, 1:-1] if outside.ndim > 2 else outside[1:-1, 1:-1]
            if not inner.any():
                said.append("all of them at the border")
    finite = np.isfinite(got) & np.isfinite(expected)
    known = np.isfinite(got) & ~np.isfinite(expected)
    if known.any():
        said.append(f"{exact_share(float(known.mean()))} are finite where the right values are not")
    elif not finite.all():
        said.append(f"{exact_share(float(1 - finite.mean()))} are not finite")
    usable = finite & (expected != 0) & (outside | ~outside.any())
    ratio = got[usable] / expected[usable]
    if ratio.size == 1:
        said.append(f"{as_factor(float(ratio[0]))} times the right value")
    elif ratio.size:
        least, most = as_factor(float(ratio.min())), as_factor(float(ratio.max()))
        said.append(f"{least if least == most else f'between {least} and {most}'} times the right values")
    for name, other in (("the right values", expected), ("the upstream gradient", evidence.upstream)):
        if other is not None and other.shape == got.shape and finite.sum() > 3:
            a, b = got[finite], np.asarray(other, np.float64)[finite]
            if a.std() > 0 and b.std() > 0:
                said.append(f"correlation with {name} {float(np.corrcoef(a, b)[0, 1]):.2f}")
    if not said or (not ratio.size and (finite & outside).any()):
        largest = float(np.max(np.abs(got), initial=0.0, where=finite & outside))
        said.append(f"up to {largest:.3g} where nothing should be")
    return "; ".join(said)


def as_factor(ratio: float) -> str:
    """A ratio with enough digits that it reads as 1 only if it is 1."""
    if abs(ratio) in (0, 1):  # and no -0
        return f"{ratio + 0:.0f}"
    return (
        f"{ratio:.3g}"
        if not 0.995 < abs(ratio) < 1.005
        else f"{np.sign(ratio):.0f} {np.sign(ratio) * (abs(ratio) - 1):+.3g}"
    )
