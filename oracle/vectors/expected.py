"""The expected value of every quantity of a case, computed from the case's input through all steps, with tolerances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.exchange.received import entry_name
from oracle.execution.network import Results, layer_types
from oracle.execution.predict import predict, with_open_ties
from oracle.judging.comparison import BRANCHES, ReferenceFailed
from oracle.judging.derived import reference_factors
from oracle.judging.figures import Expected
from oracle.judging.in_numbers import with_numbers
from oracle.judging.known import with_known
from oracle.judging.parts import step_part
from oracle.judging.rows import CONVENTION, DISCREPANCIES, PASS, Row
from oracle.judging.verdict import compare
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.running_error.model import Floats, limits
from oracle.trace import Key, Subject, Trace

STORED = "stored"
# Differences of the three predictions below this share are their own rounding.
SAME = 1e-9


@dataclass(frozen=True)
class ExpectedValue:
    """The expected value of a quantity and its tolerances, arrays of its shape.

    Attributes:
        expected: the value in float64; an integer for a count.
        tolerance: the largest rounding error allowed, with the branches that the reference took.
        scale: the root of the sum of squares of the terms that were added up. A tolerance above a tenth of it decides nothing.
            It is 0 where a typical term fits into the tolerance of a long sum.
        flipped: the tolerance if every branch that rounding can flip is flipped; None if there is no such branch.
        low, high: the range of other one-sided derivatives at exact kinks and ties; None if there are none.
    """

    expected: Array
    tolerance: Floats
    scale: Floats
    flipped: Floats | None = None
    low: Floats | None = None
    high: Floats | None = None

    def as_expected(self) -> Expected:
        """The form in which the judge compares it."""
        return Expected(self.expected, self.tolerance / LAMBDA, None, self.scale)

    def arrays(self, key: Key) -> dict[str, Array]:
        """The arrays by name, without those that are None."""
        held = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {f"{entry_name(key)}/{name}": np.asarray(array) for name, array in held if array is not None}


def from_arrays(arrays: Mapping[str, Array]) -> dict[Key, ExpectedValue]:
    """The inverse of `ExpectedValue.arrays`, of many. Raises: ValueError, TypeError for names that do not fit."""
    parts: dict[Key, dict[str, Array]] = {}
    for name, array in arrays.items():
        place, _, part = name.rpartition("/")
        step, layer, quantity = place.split("/", 2)
        parts.setdefault(Key(int(step), layer, quantity), {})[part] = array
    return {key: ExpectedValue(**held) for key, held in parts.items()}


def expectations(case: Case, reference: Subject) -> dict[Key, ExpectedValue]:
    """The expectations of every quantity, in the order of computation.

    Where the reference has a known error, refbp's value takes its place.

    Raises: ReferenceFailed if the reference cannot run the case, or disagrees with refbp.
    """
    case = with_numbers(case)
    try:
        values = reference.run(case.astype("float64"))
    except Exception as error:  # any exception here is the reference's
        raise ReferenceFailed(f"{reference.name} cannot run it: {type(error).__name__}: {error}") from error
    model = ErrorModel(np.dtype(case.dtype))
    guides = {key: array for key, array in values.arrays.items() if key.quantity == "input"}
    predictor = Predictor(case, model, values, reference.name)
    alike = predict(case, model, guides)
    flipped = predict(case, replace(model, branches=BranchLog()))
    open_ties = with_open_ties(case, model, None, flipped)
    scales = scales_by_step(case, values, model, alike)
    return {
        key: predictor.expectation(key, prediction, flipped[key], open_ties[key], scales.get(key))
        for key, prediction in alike.items()
        if key.quantity not in BRANCHES
    }


def scales_by_step(case: Case, values: Trace, model: ErrorModel, alike: Results) -> dict[Key, Floats]:
    """The size of the terms that were added up for each quantity in its own step; over many steps it would become useless."""
    found = {}
    for step in range(case.steps):
        part = step_part(case, values, step) if step else None
        results = alike
        if part is not None:
            guides = {
                k._replace(step=0): a for k, a in values.arrays.items() if k.step == step and k.quantity == "input"
            }
            results = predict(part.case, replace(model, branches=BranchLog()), guides)
        for key, prediction in results.items():
            if isinstance(prediction, ErrorArray) and (part is not None or key.step == step):
                scale = np.sqrt(np.broadcast_to(prediction.scale_or_own, prediction.shape))
                if prediction.hidden is not None:
                    scale = np.where(prediction.hidden, 0.0, scale)
                found[key._replace(step=step)] = scale
    return found


class Predictor:
    """The reference's values joined with the predicted errors."""

    def __init__(self, case: Case, model: ErrorModel, values: Trace, reference: str) -> None:
        self.case, self.model, self.values, self.reference = case, model, values, reference
        self.types = layer_types(case)
        self.factor, _ = reference_factors(case.dtype)

    def expectation(
        self,
        key: Key,
        alike: ErrorArray | Array,
        flipped: ErrorArray,
        open_ties: ErrorArray,
        scale: Floats | None,
    ) -> ExpectedValue:
        if not isinstance(alike, ErrorArray) or scale is None:
            count = np.asarray(alike)
            nothing = np.zeros(count.shape)
            return ExpectedValue(count.astype(np.int64), nothing, nothing)
        tolerance, wide = self._tolerance(alike), self._tolerance(flipped)
        value = self._value(key, alike, tolerance, scale)
        low, high = self._reach(value, alike, open_ties)
        widest = np.maximum(wide, tolerance)
        with np.errstate(invalid="ignore"):
            reaches_beyond = _exceeds(np.maximum(value - low, high - value), widest)
        return ExpectedValue(
            value,
            tolerance,
            scale,
            widest if _exceeds(widest, tolerance) else None,
            *((low, high) if reaches_beyond else ()),
        )

    def _tolerance(self, prediction: ErrorArray) -> Floats:
        sigma = prediction.sigma * self.factor
        return np.asarray(LAMBDA * np.where(np.isnan(sigma), np.inf, sigma))

    def _reach(self, value: Floats, alike: ErrorArray, open_ties: ErrorArray) -> tuple[Floats, Floats]:
        tolerance = self._tolerance(open_ties)
        with np.errstate(invalid="ignore"):
            middle = np.where(np.isfinite(value), value + (open_ties.value - alike.value), value)
            return middle - tolerance, middle + tolerance

    def _value(self, key: Key, alike: ErrorArray, tolerance: Floats, scale: Floats) -> Floats:
        own, theirs = alike.value, self.values.get(*key)
        value = own if theirs is None or self._is_disputed(key, theirs, own, tolerance, scale) else theirs
        largest = float(limits(np.dtype(self.case.dtype)).max)
        overflown = np.abs(value) > largest * (1 + UNIT_ROUNDOFF[self.case.dtype])
        # A value that the dtype cannot hold becomes an infinity.
        return np.where(overflown, np.copysign(np.inf, value), value)

    def _is_disputed(self, key: Key, theirs: Array, own: Floats, tolerance: Floats, scale: Floats) -> bool:
        """Whether the reference disagrees with refbp. Raises: ReferenceFailed unless that is a known error."""
        row = Row(self.case.name, self.case.dtype, *key[:2], self.types.get(key.layer, ""), key.quantity, STORED, PASS)
        with np.errstate(over="ignore"):
            got = theirs.astype(self.case.dtype)
        expected = Expected(own, tolerance / LAMBDA, None, scale)
        row = compare(row, got, expected, structured=True, no_terms=True)
        if row.verdict not in DISCREPANCIES:
            return False
        (row,) = with_known([row], {self.reference})
        if row.verdict != CONVENTION:
            raise ReferenceFailed(f"{self.reference} and refbp disagree about {entry_name(key)}: {row.max_abs:.3g}")
        return True


def _exceeds(wide: Floats, narrow: Floats) -> bool:
    return bool(np.any(wide > narrow * (1 + SAME)))
