"""Gradients from a forward pass by finite differences, for code that cannot be recorded."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from oracle.case.arrays import Array
from oracle.judging.figures import Expected
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF

STEP = 1e-4  # relative to an element's size, at least 1: what is left, estimated by h², is then below 1e-9
MOST_ELEMENTS = 256
# The relative difference between the derivatives of both sides from which on there is a kink. Beside one they differ by h².
KINK = 1e-6
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


def lies_between_the_sides(
    forward: Callable[[], Array], array: Array, upstream: Array, due: Expected, got: Array
) -> bool:
    """Whether, at a kink or tie, the gradient of the chosen elements lies between the derivatives of both sides.

    The elements of a tie share the gradient: together they have the derivative along a shift of all of the array, unless there
    is a kink along it.
    """
    g, flat = upstream.astype(np.float64), array.reshape(-1)
    before, center, chosen = flat.copy(), np.array(forward(), np.float64), chosen_elements(array.size)

    def sides(places: Array, h: float) -> tuple[Array, Array]:
        """For each output, the derivatives below and above, where elements at these places move together."""

        def quotient(step: float) -> Array:
            flat[places] = before[places] + step
            moved = np.array(forward(), np.float64)
            flat[places] = before[places]
            return np.asarray(g * (moved - center) / step)

        return 2 * quotient(-h / 2) - quotient(-h), 2 * quotient(h / 2) - quotient(h)

    allowed = LAMBDA * due.sigma
    for at, place in enumerate(chosen):
        below, above = sides(np.array([place]), STEP * max(1.0, abs(float(before[place]))))
        is_kink = np.abs(above - below) > KINK * np.maximum(np.abs(above), np.abs(below))
        middle, half = np.sum((above + below) / 2), np.sum(np.abs(above - below) / 2, where=is_kink)
        slack = KINK * float(np.sum(np.abs(above) + np.abs(below)))
        if half and not abs(float(got[at]) - middle) <= half + allowed[at] + slack:
            return False
        if not half and not abs(float(got[at]) - due.value[at]) <= allowed[at]:
            return False
    if chosen.size < array.size:
        return True
    step = STEP * max(1.0, float(np.max(np.abs(before), initial=0.0)))
    low, high = (float(np.sum(own)) for own in sides(chosen, step))
    size = float(np.sum(np.abs(due.value)))
    if not abs(high - low) <= KINK * size:
        return True
    return abs(float(np.sum(got, dtype=np.float64)) - (low + high) / 2) <= float(np.sum(allowed)) + 2 * KINK * size
