"""Trace + reference -> rows: every quantity judged locally, on the implementation's own inputs, and end to end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np
from scipy.stats import binomtest

from oracle.arrays import Array
from oracle.case import CONTAINERS, Case, CaseError, Spec, named_layers
from oracle.conventions import CONVENTIONS
from oracle.decompose import Part, local_parts, step_part
from oracle.network import Results, layer_types
from oracle.prediction import predict
from oracle.profile import Profile
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.model import BranchLog, limits
from oracle.trace import Key, Subject, Trace
from oracle.verdict import (
    CONVENTION,
    CRASHED,
    DISCREPANCIES,
    LOOSE,
    MISSING,
    PASS,
    UNDECIDED,
    UNSUPPORTED,
    WRONG,
    Expected,
    Row,
    compare,
)
from oracle.wiring import Computed, completed, connections

LOCAL, END_TO_END = "local", "end to end"
ROUNDOFF_OF_REFERENCE = UNIT_ROUNDOFF["float64"]
BRANCHES = ("input", "mask")
CHANNEL_DROPOUTS = {"Dropout1d": 1, "Dropout2d": 2, "Dropout3d": 3}
# A mask that chance makes as unlikely as this is taken for a wrong rate: once in a million honest ones.
LEAST_LIKELY = 1e-6


class ReferenceFailed(Exception):
    """The reference could not run a case or a part of it."""


@dataclass(frozen=True)
class Bench:
    """What judging one step of a case needs: who is judged, against whom, and the row that all others are made from."""

    trace: Trace
    reference: Subject
    profile: Profile
    types: Mapping[str, str]
    blank: Row

    @property
    def end_to_end(self) -> bool:
        return self.blank.mode == END_TO_END

    def row(self, layer: str, quantity: str) -> Row:
        return replace(self.blank, layer=layer, layer_type=self.types.get(layer, "parameter"), quantity=quantity)


def judge(case: Case, trace: Trace, reference: Subject, profile: Profile | None = None) -> list[Row]:
    """Rows for every quantity of every step, in the order in which backpropagation computes them.

    Args:
        case: as it was given to the implementation, in its dtype.
        reference: gives the expected values, in float64.
        profile: what the implementation declares about itself.
    Raises: ReferenceFailed.
    """
    profile = profile or Profile()
    types = layer_types(case)
    trace = completed(case, trace)
    rows: list[Row] = []
    for step in range(case.steps):
        bench = Bench(trace, reference, profile, types, Row(case.name, case.dtype, step, "", "", "", LOCAL, PASS))
        local = [row for part in local_parts(case, trace, step) for row in _judge_part(part, bench)]
        local += _judge_wiring(case, bench)
        local += _judge_masks(case, bench)
        part = step_part(case, trace, step)
        whole: list[Row] = []
        order: Iterable[Key] = (key for key in trace if key.step == step)
        if part is not None:
            try:
                compared = Comparison(part, replace(bench, blank=replace(bench.blank, mode=END_TO_END)))
            except CaseError:  # what does not fit together is the layers' fault, and judged there
                pass
            else:
                whole, order = compared.rows(), compared.predicted
                _excuse(whole, local)
        place = {(key.layer, key.quantity): index for index, key in enumerate(order)}
        rows += sorted(local + whole, key=lambda row: place.get((row.layer, row.quantity), len(place)))
    return rows


def _excuse(whole: Iterable[Row], local: Iterable[Row]) -> None:
    """Where every layer was judged and is right on its own inputs, and these are what its neighbours handed over to the bit,
    an excess end to end is rounding that the statistical model takes for independent: `loose`."""
    judged = {(row.layer, row.quantity): is_right(row) for row in local}
    shown = [row for row in whole if row.quantity not in (*BRANCHES, "branches")]
    if all(judged.get((row.layer, row.quantity), False) for row in shown):
        for row in shown:
            if row.verdict in DISCREPANCIES and row.n_outside and np.isfinite(row.max_abs):
                row.verdict = LOOSE
                row.diagnosis = "right in every layer on its own: errors of one cause add up on the way"


def is_right(row: Row) -> bool:
    return row.verdict in (PASS, CONVENTION, LOOSE) or (row.verdict == UNDECIDED and row.decided == 1)


def unjudged(case: Case, verdict: str, reason: str) -> list[Row]:
    """The single row of a case that gave no trace."""
    return [Row(case.name, case.dtype, 0, "", "", "", LOCAL, verdict, reason)]


def crashed(case: Case, error: BaseException, reference: Subject | None = None) -> list[Row]:
    """The row of what was raised; with its layer and what was being computed, where the error knows its `place`.

    Before it come the rows of what had been computed, where the error has the `trace` so far and there is a reference.
    """
    rows = unjudged(case, CRASHED, f"{type(error).__name__}: {error}".strip(": "))
    if "read-only" in str(error):
        rows[0].cause_name, rows[0].cause = "in place", "it writes into the array that it was given"
    place = getattr(error, "place", None) or getattr(error.__cause__, "place", None)
    if place is not None:
        rows[0].layer, rows[0].quantity = place
        rows[0].layer_type = layer_types(case).get(rows[0].layer, "")
    trace = getattr(error, "trace", None)
    if isinstance(trace, Trace) and reference is not None:
        so_far = [row for row in judge(case, trace, reference) if row.verdict != MISSING]
        return [row for row in so_far if row.quantity != "branches"] + rows
    return rows


def unsupported(case: Case, error: BaseException) -> list[Row]:
    return unjudged(case, UNSUPPORTED, str(error))


def _judge_part(part: Part, bench: Bench) -> list[Row]:
    try:
        return Comparison(part, bench).rows()
    except CaseError as error:
        # Gradients that do not fit their parameters are the layers' fault, and judged there.
        return [] if part.case.grads else [_misfit(part, bench, error)]


def _judge_branches(branches: BranchLog, bench: Bench) -> Iterator[Row]:
    """A row per layer that compares: how many branches rounding can flip, and whether each that was adopted could be."""
    for layer, seen in branches.by_place.items():
        if layer not in bench.types or not seen.compared:
            continue
        row = replace(bench.row(layer, "branches"), n=seen.compared, n_outside=seen.inadmissible)
        row.decided, row.n_ambiguous, row.n_adopted = 1 - seen.widened / seen.compared, seen.ambiguous, seen.adopted
        if seen.inadmissible:
            row.verdict = WRONG
            row.diagnosis = f"{seen.inadmissible} of {seen.compared:,} branches differ by more than rounding explains"
        elif seen.adopted:
            row.diagnosis = f"{seen.adopted} of {seen.compared:,} branches were decided by rounding, and adopted"
        yield row


def spelled_out(spec: Spec, dtype: str) -> Spec:
    """A layer with what depends on the implementation's own dtype as a number: RMSNorm's default eps."""
    if spec.type == "RMSNorm" and spec.options.get("eps") is None:
        return replace(spec, options={**spec.options, "eps": float(limits(np.dtype(dtype)).eps)})
    return replace(spec, layers=tuple(spelled_out(child, dtype) for child in spec.layers)) if spec.layers else spec


def _guides(bench: Bench) -> dict[Key, Array]:
    """What went into each layer of the implementation in this step."""
    step = bench.blank.step
    return {
        key._replace(step=0): bench.trace.arrays[key]
        for key in bench.trace
        if key.step == step and key.quantity == "input"
    }


def _misfit(part: Part, bench: Bench, error: CaseError) -> Row:
    """The row of a layer whose own input, parameters and upstream gradient do not fit together."""
    layer = next(iter(part.names.values()))
    row = bench.row(layer, "grad_output" if "grad_output" in str(error) else "input")
    row.verdict, row.diagnosis = WRONG, f"what the trace shows cannot be: {error}"
    return row


def _is_judged(key: Key, part: Part, bench: Bench, layer: str) -> bool:
    if key.quantity in BRANCHES or key.layer not in part.names:
        return False
    if bench.trace.get(bench.blank.step, layer, key.quantity) is None and (
        bench.types.get(layer) in CONTAINERS or not bench.profile.shows(key.quantity)
    ):
        return False
    # Locally the upstream gradient is given.
    return bench.end_to_end or not (key.quantity == "grad_output" or (part.shared and key.quantity.startswith("grad.")))


class Comparison:
    """The predictions for one part, held against the trace.

    Raises: CaseError where the part's shapes do not fit together; ReferenceFailed.
    """

    def __init__(self, part: Part, bench: Bench) -> None:
        self.part, self.step = part, part.case.steps - 1
        case, guides = part.case, _guides(bench) if bench.end_to_end else None
        case = replace(case, layers=tuple(spelled_out(spec, case.dtype) for spec in case.layers))
        self.case, self.bench, self.guides = case, bench, guides
        dtype = np.dtype(case.dtype)
        self.model = ErrorModel(dtype, 2, bench.profile.accumulates_in(case.dtype))
        self.predicted = predict(case, self.model, guides)
        self.branches = self.model.branches
        # Through a whole network a worst-case bound grows beyond use: it serves one part at a time.
        self.bounds = None if bench.end_to_end else predict(case, replace(self.model, power=1, branches=BranchLog()))
        # The reference rounds too: in float64, against a float64 implementation, as much as that one.
        ratio = ROUNDOFF_OF_REFERENCE / UNIT_ROUNDOFF[case.dtype]
        self.sigma_factor, self.bound_factor = np.sqrt(1 + ratio * ratio), 1 + ratio
        self.by_convention: dict[str, Results] = {}
        self.empty = bool(case.inputs) and case.inputs[0].size == 0
        self.normwise = any(spec.type in bench.profile.normwise for _, spec in named_layers(case.layers))
        try:
            self.values = bench.reference.run(case.astype("float64"))
        except Exception as error:  # whatever the reference raises, it is the reference that cannot
            raise ReferenceFailed(
                f"the reference {bench.reference.name} cannot run it: {type(error).__name__}: {error}"
            ) from error
        if any(seen.adopted for seen in self.branches.by_place.values()):
            self.values = Trace()  # the reference took other branches: its values are of another function

    def rows(self) -> list[Row]:
        """A row for each quantity that is judged here, and end to end one for the branches of each layer."""
        rows = [
            self.row(key, self.part.names[key.layer])
            for key in self.predicted
            if key.step == self.step and _is_judged(key, self.part, self.bench, self.part.names.get(key.layer, ""))
        ]
        return rows + list(_judge_branches(self.branches, self.bench)) if self.bench.end_to_end else rows

    def row(self, key: Key, layer: str) -> Row:
        row = self.bench.row(layer, key.quantity)
        got = self.bench.trace.get(row.step, layer, key.quantity)
        if got is None:
            row.verdict, row.diagnosis = MISSING, "the trace does not show it"
            return row
        prediction = self.predicted[key]
        if not isinstance(prediction, ErrorArray):  # a count or an index: exact
            same = np.array_equal(got, prediction)
            row.verdict, row.diagnosis = (PASS, "") if same else (WRONG, f"{got}, expected {prediction}")
            return row
        expected = self.expected(key)
        compare(row, got, expected, structured=self.case.structured, no_terms=self.empty)
        if row.verdict in DISCREPANCIES and row.n_outside:
            known = self._convention(row, key, got)
            if known is not None:
                row.verdict, row.diagnosis = CONVENTION, known
        return row

    def expected(self, key: Key) -> Expected:
        """What a quantity of the part should be, of those that are numbers with an error."""
        return self._expected(key, self.predicted[key], None if self.bounds is None else self.bounds[key])

    def _expected(self, key: Key, prediction: ErrorArray, bound: ErrorArray | None = None) -> Expected:
        """The reference's value, moved by what a convention changes in refbp's, with the errors of the prediction."""
        value, reference = prediction.value, self.values.get(self.step, key.layer, key.quantity)
        if reference is not None:
            plain = self.predicted[key]
            with np.errstate(invalid="ignore"):
                value = reference if prediction is plain else reference + (value - plain.value)
        expected = Expected(
            value,
            prediction.model.width(prediction.error_or_zero) * self.sigma_factor,
            None if bound is None else bound.error_or_zero * self.bound_factor,
            np.sqrt(np.broadcast_to(prediction.scale_or_own, prediction.shape)),
        )
        return by_norm(expected) if self.normwise else expected

    def _convention(self, row: Row, key: Key, got: Array) -> str | None:
        """The name of the convention under which the difference vanishes."""
        for name in self.bench.profile.conventions:
            convention = CONVENTIONS[name]
            if any(fnmatchcase(key.quantity, pattern) for pattern in convention.quantities):
                other = self._under(name)[key]
                if not self._differs(row, got, self._expected(key, other)):
                    return f"{name}: {convention.what}"
        expected = self._expected(key, self.with_open_ties[key])
        if self._differs(row, got, expected) or not self._is_shared_out(
            row, got, self._expected(key, self.predicted[key])
        ):
            return None
        return "another one-sided derivative at a kink or tie"

    def _is_shared_out(self, row: Row, got: Array, expected: Expected) -> bool:
        """Whether the winners of a tie get no more and no less than the gradient that there is."""
        if self.bench.end_to_end or "MaxPool" not in row.layer_type:
            return True
        excess = abs(float(np.sum(got.astype(np.float64) - expected.value)))
        size = float(np.sum(np.abs(expected.value)))
        return excess <= LAMBDA * (float(np.sqrt(np.sum(np.square(expected.sigma)))) + UNIT_ROUNDOFF[row.dtype] * size)

    def _under(self, name: str) -> Results:
        """What a declared convention makes of the part, computed once for all of its quantities."""
        if name not in self.by_convention:
            self.by_convention[name] = CONVENTIONS[name].expected(self.case, self.model, self.guides)
        return self.by_convention[name]

    @cached_property
    def with_open_ties(self) -> Results:
        return predict(self.case, replace(self.model, open_ties=True, branches=BranchLog()), self.guides)

    @staticmethod
    def _differs(row: Row, got: Array, expected: Expected) -> bool:
        return compare(replace(row), got, expected, structured=False, no_terms=True).n_outside > 0


def by_norm(expected: Expected) -> Expected:
    """The same error in norm, spread evenly over all elements."""

    def even(size: Array) -> Array:
        return np.full(size.shape, np.sqrt(np.mean(np.square(size)))) if size.size else size

    return replace(expected, sigma=even(expected.sigma), bound=None, scale=even(expected.scale))


def _judge_wiring(case: Case, bench: Bench) -> Iterator[Row]:
    """What containers computed and what layers handed to each other; of a layer's input only where it is not that."""
    for layer, quantity, computed, _ in connections(case, bench.trace, bench.blank.step):
        got = bench.trace.get(bench.blank.step, layer, quantity)
        if got is None:
            continue
        row = bench.row(layer, quantity)
        compare(row, got, expected_connection(computed, case.dtype), structured=case.structured, no_terms=True)
        if quantity != "input" or row.verdict != PASS:
            yield row


def expected_connection(computed: Computed, dtype: str) -> Expected:
    """What a connection between layers should carry."""
    statistical, worst = computed(ErrorModel(np.dtype(dtype), 2)), computed(ErrorModel(np.dtype(dtype), 1))
    return Expected(
        statistical.value,
        np.sqrt(statistical.error_or_zero),
        worst.error_or_zero,
        np.sqrt(np.broadcast_to(statistical.scale_or_own, statistical.shape)),
    )


def _judge_masks(case: Case, bench: Bench) -> Iterator[Row]:
    """Whether dropout masks that a layer drew itself keep the share of elements that they should: a binomial test."""
    for name, spec in named_layers(case.layers):
        mask = bench.trace.get(bench.blank.step, name, "mask")
        if mask is None or name in case.masks or not mask.size:
            continue
        row = replace(bench.row(name, "mask"), shape=mask.shape, n=mask.size)
        if spec.type in CHANNEL_DROPOUTS:  # its draws are whole channels
            positions = tuple(range(mask.ndim - CHANNEL_DROPOUTS[spec.type], mask.ndim))
            if not np.array_equal(mask.all(positions), mask.any(positions)):
                row.verdict, row.diagnosis = WRONG, "drops some positions of a channel and keeps others"
            mask = np.asarray(mask.all(positions))
        kept, p = int(np.count_nonzero(mask)), 1 - float(spec.options.get("p", 0.5))
        row.got, row.expected = kept / mask.size, p
        if row.verdict == PASS and float(binomtest(kept, mask.size, p).pvalue) < LEAST_LIKELY:
            row.verdict = WRONG
            row.diagnosis = f"keeps {kept} of {mask.size} draws: hardly by chance with a probability of {p:g}"
        yield row
