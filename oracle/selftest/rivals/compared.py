"""A subject's results on a case next to torch's, as the rules take them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from oracle import subjects
from oracle.case.case import Case
from oracle.selftest.plant import Implementation
from oracle.selftest.rivals.rules import GRADIENT, OUTPUT, UPDATE, ThreeArrays
from oracle.trace import Subject, Trace

WIRING = ("input", "grad_output", "mask")


class Incomparable(Exception):
    """torch itself does not run the case in this dtype."""


@cache
def _torch() -> Subject:
    return subjects.load("torch")


def kind_of(quantity: str) -> str:
    if quantity == "output":
        return OUTPUT
    return GRADIENT if quantity.startswith("grad") else UPDATE


def everything(quantity: str) -> bool:
    return True


def comparisons(run: Implementation, case: Case, shows: Callable[[str], bool] = everything) -> list[ThreeArrays]:
    """Pairs the floating-point arrays that torch computes for a case with the subject's.

    Inputs, masks and upstream gradients are left out, and so are quantities that `shows` excludes, and an optimizer's count of
    steps, which some keep as an integer. If the subject raises an exception, the arrays that its trace lacks are missing.

    Raises: Incomparable.
    """
    try:
        eager, exact = _torch().run(case), _torch().run(case.astype("float64"))
    except Exception as error:
        raise Incomparable(case.name) from error
    try:
        got = run(case)
    except Exception as error:
        got = getattr(error, "trace", Trace())
    found = []
    for key, reference in eager.arrays.items():
        if (
            key.quantity in WIRING
            or key.quantity.startswith("step.")
            or not _is_floating(reference.dtype.name)
            or key not in exact.arrays
            or not shows(key.quantity)
        ):
            continue
        found.append(ThreeArrays(kind_of(key.quantity), key.step, got.arrays.get(key), reference, exact.arrays[key]))
    return found


def _is_floating(dtype: str) -> bool:
    return "float" in dtype
