"""Patterns of errors that rounding errors do not have."""

from __future__ import annotations

import math
from collections.abc import Iterable

import ml_dtypes
import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import Errors
from oracle.running_error.model import Floats

# An array is judged as a whole if it has at least this many elements; a direction is not chance if it rests on this many.
MANY, FEWEST = 16, 8
# The cosine from which on an error counts as proportional to something.
ALONG = 0.99
# Repetitions are looked for in a sample of errors. These are the size of the sample, the relative distance below which two errors
# count as the same, and the share of repetitions that shows a pattern. Of rounding errors at most a seventh repeat each other.
SAMPLE, SAME, REPEATED = 64, 0.01, 0.75
# An error that follows a number is alike at neighbouring numbers. FEW and SEVERAL bound the number of values of each sign that
# are compared. SMOOTH is the largest mean squared difference between the ranks of neighbours, relative to that between any two;
# rounding errors have 1 ± 0.2.
FEW, SEVERAL, SMOOTH = 24, 256, 0.3
# Errors count as the same from this correlation on; for rounding errors of other numbers it is near 0.
SAME_ERRORS = 0.8


def patterned(errors: Errors, step: Floats | None = None, given: Iterable[Array] = ()) -> bool:
    """Whether errors have a pattern. Rounding errors have none."""
    given = tuple(given)
    along = is_proportional(errors.size, errors.value) or _follows(errors, step)
    along = along or _by_channel(errors) or _by_row(errors, given) or _repeats(errors)
    return along or _is_smooth(errors) or any(_is_smooth_along(errors, own) for own in given)


def is_proportional(error: Floats, value: Floats) -> bool:
    """Whether the error is proportional to the value. Rounding errors are not, so a factor is wrong."""
    if error.size < 4:
        return False
    sizes = np.abs(value)
    norms = math.sqrt(float(np.sum(error * error)) * float(np.sum(sizes * sizes)))
    return norms > 0 and float(np.sum(error * sizes)) / norms > ALONG


def _follows(errors: Errors, step: Floats | None) -> bool:
    """Whether errors correlate with the step of an update. Rounding errors do not."""
    if step is None:
        return False
    leaning = np.sign(errors.actual - errors.value) * np.sign(step)
    counted = leaning[leaning != 0]
    return counted.size >= FEWEST and abs(float(np.mean(counted))) > 0.9


def _by_channel(errors: Errors) -> bool:
    """Whether errors are proportional to the value, up to an offset of each channel, as when a norm scales wrongly."""
    error, value = errors.actual - errors.value, errors.value
    for axis in {1, value.ndim - 1} if value.ndim > 1 and errors.regular is None else ():
        channels = value.shape[axis]
        if value.size - 2 * channels >= MANY and value.size > channels:
            e, v = (np.moveaxis(own, axis, 0).reshape(channels, -1) for own in (error, value))
            e, v = e - e.mean(1, keepdims=True), v - v.mean(1, keepdims=True)
            norms = math.sqrt(float(np.sum(e * e)) * float(np.sum(v * v)))
            if norms > 0 and abs(float(np.sum(e * v))) / norms > ALONG:
                return True
    return False


def _by_row(errors: Errors, given: Iterable[Array]) -> bool:
    """Whether errors in each row are proportional to a given array, up to an offset, as when a norm's projection is wrong."""
    error = errors.actual - errors.value
    if error.ndim < 2 or error.shape[-1] < FEWEST or errors.regular is not None:
        return False
    e = error - error.mean(-1, keepdims=True)
    for own in given:
        if own.shape == error.shape and own.dtype.kind not in "biu":
            g = own.astype(np.float64)
            g = g - g.mean(-1, keepdims=True)
            norms = np.sqrt(np.sum(e * e, -1) * np.sum(g * g, -1))
            if np.mean(np.abs(np.sum(e * g, -1)) > ALONG * norms) > REPEATED and norms.any():
                return True
    return False


def _repeats(errors: Errors) -> bool:
    """Whether the same few errors occur again and again although the values differ. Rounding errors do not repeat."""
    actual, value = errors.regular_pair()
    _, places = np.unique(value, return_index=True)
    own = (actual - value)[np.sort(places)]
    own = np.sort(own[own != 0][:SAMPLE])
    if own.size < MANY:
        return False
    near = np.diff(own) <= SAME * np.abs(own[1:])
    return float(np.mean(near)) > REPEATED


def _is_smooth(errors: Errors) -> bool:
    """Whether nearby values have similar relative errors, as with an approximation.

    Numbers that a lower precision rounded to a few, whose errors may be alike as well, are left out.
    """
    actual, value = errors.regular_pair()
    for sign in (1, -1):
        own = np.flatnonzero(np.sign(value) == sign)[:SEVERAL]
        value_of, places = np.unique(value[own], return_index=True)
        if _is_course(actual[own[places]], value_of):
            return True
    return False


def _is_smooth_along(errors: Errors, given: Array) -> bool:
    """Whether nearby numbers of a given array have similar relative errors, as where a derivative is a wrong function of it.

    Only numbers that bfloat16 tells apart are compared: the errors of rounding to it are alike at others.
    """
    if given.shape != errors.value.shape or given.dtype.kind in "biu":
        return False
    regular = errors.value != 0 if errors.regular is None else errors.regular & (errors.value != 0)
    own = np.flatnonzero(regular)[:SEVERAL]
    _, places = np.unique(given.reshape(-1)[own].astype(ml_dtypes.bfloat16).astype(np.float64), return_index=True)
    own = own[places]
    return _is_course(errors.actual.reshape(-1)[own], errors.value.reshape(-1)[own])


def _is_course(actual: Floats, value: Floats) -> bool:
    """Whether relative errors in this order change little from one to the next."""
    relative = (actual - value) / value
    if value.size < FEW or np.unique(actual).size < 0.9 * value.size:
        return False
    ranks = np.argsort(np.argsort(relative, kind="stable"), kind="stable").astype(np.float64)
    return float(np.mean(np.square(np.diff(ranks)))) < SMOOTH * 2 * float(np.var(ranks))


def stays(errors: Floats, others: Floats) -> bool:
    """Whether numbers that differ by several units of a precision have the same errors. Its rounding errors would differ."""
    norms = math.sqrt(float(np.sum(errors * errors)) * float(np.sum(others * others)))
    return errors.size >= FEWEST and norms > 0 and float(np.sum(errors * others)) / norms > SAME_ERRORS
