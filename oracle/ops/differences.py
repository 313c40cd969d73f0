"""Gradients from a forward pass by finite differences, for code that cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import Expected
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF

STEP = 1e-4  # relative to an element's size, at least 1: what is left, estimated by h², is then below 1e-9
MOST_ELEMENTS = 256
FUNCTION_ULPS = 4.0  # accuracy of exp, tanh and the like in common libraries


def chosen_elements(size: int) -> Array:
    """The elements to try: all of a small array, a fixed random choice from a larger one."""
    if size <= MOST_ELEMENTS:
        return np.arange(size)
    return np.sort(np.random.default_rng(0).choice(size, MOST_ELEMENTS, replace=False))


def by_differences(forward: Callable[[], Array], array: Array, upstream: Array, dtype: str) -> Expected:
    """The gradient of Σ upstream · output with respect to the chosen elements of an array that `forward` reads.

    It takes central differences with two step sizes and extrapolates (Richardson); the difference of the two bounds the remaining
    error. The tolerance allows an implementation in `dtype` to round each product that it adds up, and their sum.
    """
    g, flat = upstream.astype(np.float64), array.reshape(-1)
    u, eps = UNIT_ROUNDOFF[dtype], UNIT_ROUNDOFF["float64"]
    values, sigmas, scales = [], [], []

    def terms(place: int, h: float) -> tuple[Array, float]:
        """The contribution of each output to the gradient, and the rounding error of their sum."""
        before = flat[place]
        flat[place] = before + h
        above, up = np.array(forward(), np.float64), flat[place]
        flat[place] = before - h
        below, down = np.array(forward(), np.float64), flat[place]
        flat[place] = before
        changed = above != below
        rounding = 2 * eps * float(np.sum(np.abs(g * above), where=changed)) / h
        return np.asarray(g * (above - below) / (up - down)), rounding

    for place in chosen_elements(array.size):
        h = STEP * max(1.0, abs(float(flat[place])))
        (wide, _), (narrow, rounding) = terms(place, h), terms(place, h / 2)
        each = (4 * narrow - wide) / 3
        value, squares, count = float(np.sum(each)), float(np.sum(each * each)), int(np.count_nonzero(each))
        rounded = u * u * (count / 3 * value * value + (1 + count / 6 + FUNCTION_ULPS**2) * squares)
        left = abs(value - float(np.sum(narrow))) + 2 * rounding  # 4/3 narrow - 1/3 wide has at most twice its rounding
        values.append(value)
        sigmas.append(np.sqrt(rounded) + left / LAMBDA)
        scales.append(np.sqrt(squares))
    return Expected(np.array(values), np.array(sigmas), None, np.array(scales))
