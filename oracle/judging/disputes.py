"""Settles disagreements of the reference and refbp before a subject is blamed: the reference is run again in another memory
layout, and if that does not help the third witness decides."""

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
from oracle.running_error import LAMBDA
from oracle.trace import Key, Subject

# The relative error that the reference may make in a mean of equal numbers.
FEW_ULPS = 4 * float(np.finfo(np.float64).eps)


class Settled(NamedTuple):
    """The value that replaces the reference's, and the reason."""

    value: Array
    why: str


def settled(case: Case, key: Key, row: Row, reference: Subject, said: Array, own: Expected) -> Settled | None:
    """The value that replaces the reference's for a quantity of a part; None unless the reference is known to be wrong about it.

    Args:
        case: the part, with the subject's own inputs.
        row: the quantity's row, for a subject that differs from the reference.
        said: the reference's value.
        own: refbp's value, with the error of the subject's precision.
    """
    if any(finding.implementation == reference.name and explains(finding, row) for finding in FINDINGS):
        return None  # the report shows it as what it is
    if said.shape != own.value.shape or not differs(said, own):
        return None
    again: Array | None = own.value
    if _rounds_alone(said, own):
        why = "rounds here, where nothing needs to be rounded"
    elif not all(array.size for array in case.inputs) and np.isnan(said).all() and np.isfinite(own.value).all():
        why = "errs here: it gives NaN for an empty input"
    else:
        again = _asked_again(case, key, reference)
        why = "errs here: in another memory layout it agrees with the subject"
    if again is not None and again.shape == said.shape and not differs(again, own):
        return Settled(again, f"{reference.name} {why}")
    argument = _argument(key)
    if argument is None or case.steps > 1 or len(case.layers) > 1 or any(spec.layers for spec in case.layers):
        return None
    blank = row.found(PASS, n_outside=0, z_max=math.nan)
    theirs, ours = (along_directions(case, argument, value, own.sigma, blank) for value in (said, own.value))
    if theirs.verdict == WRONG and ours.verdict == PASS:
        return Settled(own.value, f"{reference.name} errs here: finite differences agree with the subject")
    return None


def _rounds_alone(said: Array, own: Expected) -> bool:
    """Whether the reference merely rounds values that refbp's formula gives exactly, such as a copy.

    Values that refbp's formula rounds as well have to agree within their tolerance.
    """
    exact = (own.sigma == 0) & np.isfinite(own.value)
    reach = np.where(exact, FEW_ULPS * np.abs(own.value), LAMBDA * own.sigma)
    return bool(np.all((said == own.value) | (np.abs(said - own.value) <= reach)))


def _argument(key: Key) -> str | None:
    """The argument of which a quantity is the gradient: a parameter's name, or "" for the input; None if it is not a gradient."""
    if key.quantity == "grad_input":
        return ""
    kind, _, short = key.quantity.partition(".")
    return f"{key.layer}.{short}" if kind == "grad" and key.layer != "loss" else None


def _asked_again(case: Case, key: Key, reference: Subject) -> Array | None:
    """The reference's value for the same numbers in contiguous arrays; None if they were contiguous already."""
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
    except Exception:  # a reference that fails says nothing
        return None


def _plain(array: Array) -> Array:
    return np.array(array, order="C")
