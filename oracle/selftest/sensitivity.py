"""Measures the smallest error that is caught in each class and quantity: in a uniform factor, and in one element."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

import numpy as np
import pandas as pd

from oracle import suite
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.harness.alone import Alone, quantities
from oracle.harness.jobs import Progress, in_turn
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES
from oracle.report.markdown import table
from oracle.running_error import UNIT_ROUNDOFF
from oracle.subjects import refbp as honest

DTYPES = ("float32", "float64")
# Errors start at one unit roundoff u and double. These are the exponents of the largest one, which is 100 %.
MOST = {"float32": 24, "float64": 53}


@dataclass(frozen=True)
class Sensitivity:
    """The smallest errors that are caught, in units of roundoff. They are infinite if even an error of 100 % is missed.

    Attributes:
        factor: distance of a uniform factor from 1.
        element: error of one element, relative to the array's root mean square.
    """

    type: str
    quantity: str
    dtype: str
    factor: float
    element: float


def representatives() -> dict[str, Case]:
    """The first case of the suite that runs each class by itself."""
    found: dict[str, Case] = {}
    for case in suite.all_cases().values():
        if case.structured or case.dtype != "float64":
            continue
        types = [spec.type for spec in case.layers if not spec.layers]
        own = types if len(case.layers) == 1 and case.loss is None else []
        own += [case.loss.type] if case.loss is not None and not case.layers else []
        own += [case.optimizer.type] if case.optimizer is not None and case.grads else []
        for type in own:
            found.setdefault(type, case)
    known = (*LAYERS, *LOSSES, *OPTIMIZERS)
    return {type: found[type] for type in sorted(found, key=known.index)}


def measure(type: str, case: Case, dtype: str) -> Iterator[Sensitivity]:
    """Measures each computed quantity of a class in the last step, if it is floating-point, finite and not all zero."""
    case = case.astype(dtype)
    with np.errstate(all="ignore"):
        trace = honest.run(case)
    for own in quantities(case, trace, None, Profile()):
        yield Sensitivity(type, own.quantity, dtype, *_smallest_errors(own))


def _smallest_errors(own: Alone) -> tuple[float, float]:
    """The smallest error of a uniform factor, and that of one element."""
    wide, dtype = own.got.astype(np.float64), own.got.dtype.name
    size, middle = math.sqrt(float(np.mean(np.square(wide)))), wide.size // 2

    def is_caught(changed: Array) -> bool:
        return own.row(changed.astype(dtype)).verdict in DISCREPANCIES

    def moved(error: float) -> Array:
        flat = wide.reshape(-1).copy()
        flat[middle] += error * size
        return flat.reshape(wide.shape)

    u, most = UNIT_ROUNDOFF[dtype], MOST[dtype]
    return (
        smallest(lambda error: is_caught(wide * (1 + error)), u, most),
        smallest(lambda error: is_caught(moved(error)), u, most),
    )


def smallest(is_caught: Callable[[float], bool], u: float, most: int) -> float:
    """The smallest error that is caught, in units of u, among the powers of two from 1 on."""
    return next((2.0**k for k in range(most + 1) if is_caught(2.0**k * u)), math.inf)


def run(progress: Progress | None = None, executor: Executor | None = None) -> list[Sensitivity]:
    """Measures every class and quantity in both precisions."""
    jobs = [(type, case, dtype) for type, case in representatives().items() for dtype in DTYPES]
    return [one for _, found in in_turn(_measured, jobs, lambda job: job[0], progress, executor) for one in found]


def _measured(job: tuple[str, Case, str]) -> list[Sensitivity]:
    return list(measure(*job))


def frame(found: list[Sensitivity]) -> pd.DataFrame:
    """One row per class and quantity, with both errors in both precisions."""
    plain = pd.DataFrame([vars(one) for one in found])
    wide = plain.pivot_table(index=["type", "quantity"], columns="dtype", values=["factor", "element"], sort=False)
    wide.columns = [", ".join(names) for names in wide.columns]
    return wide[[f"{what}, {dtype}" for what in ("factor", "element") for dtype in DTYPES]].reset_index()


def summary(found: list[Sensitivity]) -> pd.DataFrame:
    """Median, largest finite value and number of misses of each error, over all classes and quantities."""
    errors = frame(found)
    columns = list(errors.columns[2:])
    return pd.DataFrame(
        {
            "error": columns,
            "median": [errors[name].median() for name in columns],
            "largest": [errors[name].replace(math.inf, np.nan).max() for name in columns],
            "never caught": [int(np.isinf(errors[name]).sum()) for name in columns],
        }
    )


def markdown(found: list[Sensitivity], about: str) -> str:
    """The whole report as Markdown."""
    parts = [
        "# How small an error is caught",
        about,
        "Correct results of refbp, each made wrong by itself and judged by itself: the smallest uniform factor that is caught, "
        "as its distance from 1, and the smallest error of one element, in the middle of the array, as a share of the array's "
        "root mean square. Both are in units of roundoff (2⁻²⁴ and 2⁻⁵³), tried from 1 on, each twice the one before.",
        table(summary(found)),
        table(frame(found)),
    ]
    return "\n\n".join(parts) + "\n"
