"""Where the reference and refbp disagree about what is due, before a subject is accused: the reference is asked again, in another
memory layout, and else a third witness decides."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.judging.figures import Expected, differs
from oracle.judging.known import FINDINGS, explains
from oracle.judging.rows import PASS, WRONG, Row
from oracle.judging.witness import along_directions
from oracle.trace import Key, Subject


class Settled(NamedTuple):
    """What is due instead of what the reference said, and why."""

    value: Array
    why: str


def settled(case: Case, key: Key, row: Row, reference: Subject, said: Array, own: Expected) -> Settled | None:
    """Who errs about a quantity of a part; None where it is not the reference, or nobody knows.

    Args:
        case: the part, with what the subject was given there.
        row: the quantity's, of a subject that differs from the reference.
        said: the reference's value.
        own: refbp's, with the error of the subject's precision.
    """
    if any(finding.implementation == reference.name and explains(finding, row) for finding in FINDINGS):
        return None  # it is shown as what it is
    if said.shape != own.value.shape or not differs(said, own):
        return None
    again = _asked_again(case, key, reference)
    if again is not None and again.shape == said.shape and not differs(again, own):
        return Settled(again, f"{reference.name} errs here: in another memory layout it says what the subject does")
    argument = _argument(key)
    if argument is None or case.steps > 1 or len(case.layers) > 1 or any(spec.layers for spec in case.layers):
        return None
    blank = row.found(PASS, n_outside=0, z_max=math.nan)
    theirs, ours = (along_directions(case, argument, value, own.sigma, blank) for value in (said, own.value))
    if theirs.verdict == WRONG and ours.verdict == PASS:
        return Settled(own.value, f"{reference.name} errs here: the third witness sides with the subject")
    return None


def _argument(key: Key) -> str | None:
    """Of what a gradient is one: a parameter's name in the part, "" for its input; None for all that is no gradient."""
    if key.quantity == "grad_input":
        return ""
    kind, _, short = key.quantity.partition(".")
    return f"{key.layer}.{short}" if kind == "grad" and key.layer != "loss" else None


def _asked_again(case: Case, key: Key, reference: Subject) -> Array | None:
    """What the reference says of the same numbers where each array lies plainly in memory; None where they did already."""
    arrays = [*case.inputs, *case.grad_outputs, *case.params.values()]
    if all(array.flags.c_contiguous for array in arrays):
        return None
    plain = replace(
        case,
        inputs=tuple(map(_plain, case.inputs)),
        grad_outputs=tuple(map(_plain, case.grad_outputs)),
        params={name: _plain(array) for name, array in case.params.items()},
    )
    try:
        return reference.run(plain.astype("float64")).get(*key)
    except Exception:  # whatever it raises, it says nothing
        return None


def _plain(array: Array) -> Array:
    return np.array(array, order="C")
