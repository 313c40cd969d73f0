"""Compares one part of a step with the reference: predictions, the reference's values, and a row for each quantity."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import CONTAINERS, Case, named_layers
from oracle.execution.network import Results
from oracle.execution.predict import predict, with_open_ties
from oracle.judging.conventions import CONVENTIONS
from oracle.judging.derived import reference_factors
from oracle.judging.disputes import settled
from oracle.judging.figures import Expected, by_norm, differs
from oracle.judging.given import all_given, given, overflown, same
from oracle.judging.in_numbers import with_numbers
from oracle.judging.kernels import predicted
from oracle.judging.last_step import guides_of, terms_alone, traced
from oracle.judging.outcomes import counts_as_equal, of_each
from oracle.judging.parts import Part
from oracle.judging.profile import Profile
from oracle.judging.rows import (
    AT_KINK,
    CONVENTION,
    DISCREPANCIES,
    END_TO_END,
    IMPRECISE,
    MISSING,
    PASS,
    UNDECIDED,
    WRONG,
    Row,
)
from oracle.judging.verdict import adds_up_in_16_bits, compare, in_16_bits
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.running_error.common_errors import moved, with_changes
from oracle.running_error.kernels import Kernels
from oracle.running_error.model import EQUAL, EXACT
from oracle.trace import Key, Subject, Trace

BRANCHES = ("input", "mask")


class ReferenceFailed(Exception):
    """The reference could not run a case, or a part of it."""


@dataclass(frozen=True)
class Bench:
    """The context for judging one step of a case.

    Attributes:
        reference: gives the expected values; if it is None, refbp's predictions are expected.
        types: the class name of each layer.
        blank: the row from which others are made.
        kernels: how the subject computes each 16-bit quantity; if it is None, all are computed as the profile says.
    """

    trace: Trace
    reference: Subject | None
    profile: Profile
    types: Mapping[str, str]
    blank: Row
    kernels: Kernels | None = None

    @property
    def end_to_end(self) -> bool:
        return self.blank.mode == END_TO_END

    def row(self, layer: str, quantity: str) -> Row:
        own = self.blank
        kind = self.types.get(layer, "parameter")
        return Row(own.case, own.dtype, own.step, layer, kind, quantity, own.mode, own.verdict)


def is_judged(key: Key, part: Part, bench: Bench) -> bool:
    if key.quantity in BRANCHES or key.layer not in part.names:
        return False
    layer = part.names[key.layer]
    if bench.trace.get(bench.blank.step, layer, key.quantity) is None and (
        bench.types.get(layer) in CONTAINERS or not bench.profile.shows(key.quantity)
    ):
        return False
    # Locally the upstream gradient is given, so it is not judged. Nor are gradients and buffers of a shared layer, to which its
    # other places add.
    added_to = part.shared and key.quantity.startswith(("grad.", "buffer."))
    return bench.end_to_end or not (key.quantity == "grad_output" or added_to)


class Comparison:
    """The comparison of one part's trace with its predictions.

    Raises: CaseError if the part's shapes do not fit together; ReferenceFailed.
    """

    def __init__(self, part: Part, bench: Bench) -> None:
        self.part, self.step = part, part.case.steps - 1
        case = with_numbers(part.case)
        guides = guides_of(bench.trace, bench.blank.step, part.case.steps) if bench.end_to_end else None
        self.case, self.bench, self.guides = case, bench, guides
        dtype = np.dtype(case.dtype)
        self.kernels = bench.kernels if dtype.itemsize == 2 else None
        adds_up_in = bench.profile.accumulates_in(case.dtype) if self.kernels is None else "float32"
        self.model = ErrorModel(dtype, False, adds_up_in)
        self.predicted = self._by_kernel(lambda model: predict(case, model, guides))
        self.branches = self.model.branches
        several = part.case.steps > part.case.update_every and bool(case.inputs)
        self.alone = terms_alone(case, self.predicted, self.model, guides) if several else None
        self.sigma_factor, self.bound_factor = reference_factors(case.dtype)
        self.by_convention: dict[str, Results] = {}
        dropped = bool(case.masks) and len(case.masks) == len(case.layers) and not any(map(np.any, case.masks.values()))
        self.empty = dropped or (bool(case.inputs) and case.inputs[0].size == 0)
        self.normwise = any(spec.type in bench.profile.normwise for _, spec in named_layers(case.layers))
        self.values = Trace()
        # If the reference took other branches, its values are those of another function.
        if bench.reference is not None and not any(seen.adopted for seen in self.branches.by_place.values()):
            try:
                self.values = bench.reference.run(case.astype("float64"))
            except Exception as error:  # any exception here is the reference's
                raise ReferenceFailed(
                    f"the reference {bench.reference.name} cannot run it: {type(error).__name__}: {error}"
                ) from error

    def _by_kernel(self, predicting: Callable[[ErrorModel], Results], **changes: Any) -> Results:
        """Predictions, each under the model of the kernels that compute the quantity."""
        model = replace(self.model, **changes) if changes else self.model
        return predicting(model) if self.kernels is None else predicted(self.kernels, self.case, model, predicting)

    def is_all_of(self, case: Case) -> bool:
        """Whether a case consists of just this layer, loss or update, on the same data."""
        own = self.case
        alike = (
            [spec.type for spec in case.layers] == [spec.type for spec in own.layers]
            and not any(spec.layers for spec in case.layers)
            and case.loss is own.loss
            and (case.optimizer is None) == (own.optimizer is None)
            and own.steps == 1
            and bool(case.masks) == bool(own.masks)
            and len(case.params) == len(own.params)
        )
        whole, mine = list(given(case)), list(given(own))
        return alike and len(whole) == len(mine) and all(map(same, whole, mine))

    def as_whole(self, part: Part, bench: Bench) -> Comparison:
        """This layer's comparison as an end-to-end one; its predictions are reused."""
        names, whole = self.part.names, copy(self)

        def renamed(results: Mapping[Key, Any]) -> dict[Key, Any]:
            return {key._replace(layer=names.get(key.layer, key.layer)): own for key, own in results.items()}

        for cached in ("with_open_ties", "second_look", "outcomes"):
            whole.__dict__.pop(cached, None)
        whole.by_convention = {}
        whole.part, whole.case, whole.bench = part, part.case, bench  # its inputs are exact and need no guides
        whole.predicted, whole.values = renamed(self.predicted), Trace(renamed(self.values.arrays))
        seen = self.branches.by_place
        whole.branches = BranchLog(by_place={names.get(place, place): own for place, own in seen.items()})
        return whole

    def rows(self) -> list[Row]:
        """A row for each quantity that is judged here."""
        return [
            self.row(key, self.part.names[key.layer])
            for key in self.predicted
            if key.step == self.step and is_judged(key, self.part, self.bench)
        ]

    def row(self, key: Key, layer: str) -> Row:
        row = self.bench.row(layer, key.quantity)
        got = self.bench.trace.get(row.step, layer, key.quantity)
        if got is None:
            return row.found(MISSING, "the trace does not show it")
        prediction = self.predicted[key]
        if not isinstance(prediction, ErrorArray):  # a count or an index: exact
            return row if np.array_equal(got, prediction) else row.found(WRONG, f"{got}, expected {prediction}")
        row = self._compared(row, key, got)
        if row.verdict != PASS and (chosen := self._by_outcome(key, got)) is not None:
            row = self._held_against(chosen, self.bench.row(layer, key.quantity), key, got)
        if row.verdict in DISCREPANCIES and self.bench.reference is not None:
            blank = self.bench.row(layer, key.quantity)
            errs = self._reference_errs(key, row)
            if errs and (again := self._compared(blank, key, got)).verdict in (PASS, UNDECIDED):
                return again.found(CONVENTION, errs)
            row = self._compared(blank, key, got) if errs else row
        if row.verdict in DISCREPANCIES and row.n_outside:
            return self._explained(row, key, got)
        unknown = np.isfinite(prediction.value) & ~np.isfinite(prediction.error_or_zero.statistical)
        return self._out_of_range(row) if row.verdict in (PASS, UNDECIDED) and unknown.any() else row

    def _compared(self, row: Row, key: Key, got: Array) -> Row:
        expected = self.expected(key)
        found = self._held_against(expected, row, key, got)
        if not found.n_outside and found.verdict not in DISCREPANCIES:
            return found
        return self._held_against(self.expected_of_accused(key), row, key, got)

    def _held_against(self, expected: Expected, row: Row, key: Key, got: Array) -> Row:
        return compare(
            row,
            got,
            expected,
            structured=self.case.structured,
            no_terms=self.empty,
            given=() if self.bench.end_to_end else all_given(self.case),
            before=self._before(key),
        )

    def _reference_errs(self, key: Key, row: Row) -> str:
        """The reason why the reference is wrong about a quantity, "" if it is right. A wrong reference changes the expected
        value."""
        said, own = self.values.get(self.step, key.layer, key.quantity), self.predicted[key]
        if said is None or self.bench.reference is None:
            return ""
        sigma = own.sigma * self.sigma_factor
        with np.errstate(all="ignore"):
            found = settled(
                self.case,
                key,
                row,
                self.bench.reference,
                said,
                Expected(own.value, sigma, None, np.sqrt(own.scale_or_own)),
            )
        if found is None:
            return ""
        self.values = Trace({**self.values.arrays, key._replace(step=self.step): found.value})
        return found.why

    def _before(self, key: Key) -> Array | None:
        """The value before the update of a parameter that is updated once."""
        kind, _, short = key.quantity.partition(".")
        if kind != "param" or self.case.steps > 1:
            return None
        return self.case.params.get(f"{key.layer}.{short}".removeprefix("."))

    def _explained(self, row: Row, key: Key, got: Array) -> Row:
        """The row of elements outside their tolerance, which an overflow or a convention may explain."""
        if self._has_overflown(key, got):
            return row.found(UNDECIDED, f"out of range: {row.dtype} cannot hold what is computed on the way")
        known = self._convention(row, key, got)
        if known is not None:
            return row.found(CONVENTION, known)
        if row.verdict in (WRONG, IMPRECISE) and self._adds_up_in_16_bits(row, key, got):
            return in_16_bits(row)
        return row

    def _adds_up_in_16_bits(self, row: Row, key: Key, got: Array) -> bool:
        if self.kernels is None:
            return False
        found = self._in_16_bits[key]
        expected = self._expected(key, found) if isinstance(found, ErrorArray) else self.expected(key)
        return adds_up_in_16_bits(row, got, expected)

    @cached_property
    def _in_16_bits(self) -> Results:
        """The predictions for kernels that add up in 16 bits."""
        return predict(self.case, replace(self.model, accumulate=None, branches=BranchLog()), self.guides)

    def _has_overflown(self, key: Key, got: Array) -> bool:
        """Whether the only differences are infinities and NaN that arise because something computed from the given numbers
        overflows."""
        own = self.predicted[key]
        if got.shape != own.shape:
            return False
        due = self.expected(key)
        through = traced(self.predicted) if self.bench.end_to_end else None
        left_range = any(seen.out_of_range for seen in self.branches.by_place.values())
        known = ~overflown(self.case, key.quantity, through, due.value, own.value, own.sigma, got, left_range)
        left = Expected(due.value[known], due.sigma[known], None, due.scale[known])
        return not known.all() and not differs(got[known], left)

    def _out_of_range(self, row: Row) -> Row:
        """The row of a quantity with an infinite error: the dtype cannot hold an intermediate number, or a divisor may be 0."""
        names = self.part.names
        places = [names.get(place, place) for place, seen in self.branches.by_place.items() if seen.out_of_range]
        if not places:
            return row
        where = ", ".join(place or "the update" for place in places)
        said = f"{row.dtype} cannot hold what is computed on the way, or it may divide by zero, in {where}"
        return row.found(UNDECIDED, f"out of range: {said}")

    def expected(self, key: Key) -> Expected:
        """The expected value of a quantity of the part, if it is an array of floating-point numbers."""
        return self._expected(key, self.predicted[key])

    def expected_of_accused(self, key: Key) -> Expected:
        """The expected value at the second look, for quantities with elements outside their tolerance."""
        expected = self._expected(key, self.second_look[key])
        # Through a network a worst-case bound grows beyond use.
        return expected if self.bench.end_to_end else replace(expected, bound=self.bound(key))

    def _expected(self, key: Key, prediction: ErrorArray) -> Expected:
        """The reference's value, shifted by the change that a convention makes to refbp's, with the errors of the prediction."""
        value, reference = prediction.value, self.values.get(self.step, key.layer, key.quantity)
        if reference is not None and prediction is not self.predicted[key] and reference.shape == value.shape:
            plain = self.predicted[key].value
            with np.errstate(invalid="ignore"):
                moved = np.where(np.isfinite(plain), reference + (value - plain), value)
            # The difference of two infinities would be NaN, and any NaN of the subject would then agree with it.
            value = np.where((value == plain) | np.isnan(plain), reference, moved)
        elif reference is not None:
            value = reference
        sigma = prediction.sigma
        terms = prediction if self.alone is None else self.alone.get(key._replace(step=0), prediction)
        expected = Expected(
            value,
            sigma if self.sigma_factor == 1 else sigma * self.sigma_factor,
            None,
            prediction.broadcast(np.sqrt(terms.scale_or_own)),
            None if terms.hidden is None else np.broadcast_to(terms.hidden, prediction.shape),
        )
        return by_norm(expected) if self.normwise else expected

    def _convention(self, row: Row, key: Key, got: Array) -> str | None:
        """The name of the convention that explains the difference."""
        for name in self.bench.profile.conventions:
            convention = CONVENTIONS[name]
            if any(fnmatchcase(key.quantity, pattern) for pattern in convention.quantities):
                other = self._under(name)[key]
                if not differs(got, self._expected(key, other)):
                    return f"{name}: {convention.what}"
        if self.case.grads:  # an update has no derivative: what it does at a zero gradient is its rule
            return None
        expected = self._expected(key, self.with_open_ties[key])
        if differs(got, expected) or not self._is_shared_out(row, got, self.expected(key)):
            return None
        return AT_KINK

    def _is_shared_out(self, row: Row, got: Array, expected: Expected) -> bool:
        """Whether the maxima of a tie share exactly the gradient of their window."""
        if self.bench.end_to_end or "MaxPool" not in row.layer_type:
            return True
        excess = abs(float(np.sum(got.astype(np.float64) - expected.value)))
        size = float(np.sum(np.abs(expected.value)))
        return excess <= LAMBDA * (float(np.sqrt(np.sum(np.square(expected.sigma)))) + UNIT_ROUNDOFF[row.dtype] * size)

    def _under(self, name: str) -> Results:
        """The predictions for the part under a declared convention, computed once for all quantities."""
        if name not in self.by_convention:
            convention = CONVENTIONS[name]
            self.by_convention[name] = self._by_kernel(lambda model: convention.expected(self.case, model, self.guides))
        return self.by_convention[name]

    def _by_outcome(self, key: Key, got: Array) -> Expected | None:
        """The expected value of an update that compares numbers, where rounding can change the outcome.

        Each element is expected by the outcome that the subject had. None if the subject is outside the tolerance even so.
        """
        compares = any(seen.widened for seen in self.branches.by_place.values())
        if not (self.case.grads and compares) or got.shape != self.predicted[key].shape:
            return None
        (exact, equal), shown = self.outcomes, self.bench.trace.of_step(self.bench.blank.step)
        arrays = {own: shown.get((self.part.names.get(own.layer, ""), own.quantity)) for own in exact}
        other = replace(self._expected(key, equal[key]), value=equal[key].value)  # the reference has the exact outcome
        mask = counts_as_equal(key, arrays, exact, equal) & (equal[key].value != exact[key].value)
        chosen = of_each(mask, self._expected(key, exact[key]), other)
        return None if differs(got, chosen) else chosen

    def bound(self, key: Key) -> Array | None:
        """The worst-case bound of a quantity; None for an error in norm, which has no bound."""
        made = self.second_look[key]
        if self.normwise or not isinstance(made, ErrorArray) or made.bound is None:
            return None
        return made.bound * self.bound_factor

    @cached_property
    def second_look(self) -> Results:
        """The second predictions: with worst-case bounds, for every order of summation, and with the errors that many numbers
        share.

        They are needed only where an element is outside its tolerance.
        """
        changes: list[dict[str, Any]] = [
            {"bounds": True, "every_order": True, "branches": BranchLog()},
            *({"moves": own.moves, "branches": own.branches} for own in moved(self.model)),
        ]
        found, *others = [
            self._by_kernel(lambda model: predict(self.case, model, self.guides), **own) for own in changes
        ]
        return {key: with_changes(own, [other[key] for other in others]) for key, own in found.items()}

    @cached_property
    def outcomes(self) -> list[Results]:
        """Two predictions where rounding can change a comparison: by the exact numbers, and as if the two were equal."""
        alone = [{"outcome": own, "branches": BranchLog()} for own in (EXACT, EQUAL)]
        return [self._by_kernel(lambda model: predict(self.case, model, self.guides), **own) for own in alone]

    @cached_property
    def with_open_ties(self) -> Results:
        return with_open_ties(self.case, self.model, self.guides, self.predicted)
