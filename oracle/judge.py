"""Trace + reference -> rows: every quantity judged locally, on the implementation's own inputs, and end to end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from scipy.stats import binomtest

from oracle.arrays import Array
from oracle.case import Case, CaseError, Spec, named_layers
from oracle.decompose import Part, local_parts, step_part
from oracle.network import Results, execute, layer_types
from oracle.running_error import UNIT_ROUNDOFF, ErrorArray, ErrorModel
from oracle.running_error.model import limits
from oracle.trace import Key, Subject, Trace
from oracle.verdict import CONVENTION, CRASHED, MISSING, PASS, UNSUPPORTED, WRONG, Expected, Row, compare
from oracle.wiring import connections

LOCAL, END_TO_END = "local", "end to end"
ROUNDOFF_OF_REFERENCE = UNIT_ROUNDOFF["float64"]
BRANCHES = ("input", "mask")
CHANNEL_DROPOUTS = {"Dropout1d": 1, "Dropout2d": 2, "Dropout3d": 3}
# A mask that chance makes as unlikely as this is taken for a wrong rate: once in a million honest ones.
LEAST_LIKELY = 1e-6


class ReferenceFailed(Exception):
    """The reference could not run a case or a part of it."""


def judge(case: Case, trace: Trace, reference: Subject) -> list[Row]:
    """Rows for every quantity of every step, in the order in which backpropagation computes them.

    Args:
        case: as it was given to the implementation, in its dtype.
        reference: gives the expected values, in float64.
    Raises: ReferenceFailed.
    """
    types = layer_types(case)
    rows: list[Row] = []
    for step in range(case.steps):
        blank = Row(case.name, case.dtype, step, "", "", "", LOCAL, PASS)
        local = [
            row for part in local_parts(case, trace, step) for row in _judge_part(part, trace, reference, blank, types)
        ]
        local += _judge_wiring(case, trace, blank, types)
        local += _judge_masks(case, trace, blank)
        part = step_part(case, trace, step)
        whole = [] if part is None else _judge_part(part, trace, reference, replace(blank, mode=END_TO_END), types)
        rows += _in_order_of_computation(local + whole, trace, step)
    return rows


def unjudged(case: Case, verdict: str, reason: str) -> list[Row]:
    """The single row of a case that gave no trace."""
    return [Row(case.name, case.dtype, 0, "", "", "", LOCAL, verdict, reason)]


def crashed(case: Case, error: BaseException) -> list[Row]:
    return unjudged(case, CRASHED, f"{type(error).__name__}: {error}".strip(": "))


def unsupported(case: Case, error: BaseException) -> list[Row]:
    return unjudged(case, UNSUPPORTED, str(error))


def predict(case: Case, model: ErrorModel, guides: Mapping[Key, Array] | None = None) -> Results:
    """refbp on error arrays: the value of every quantity and the error an implementation in `model.dtype` may have.

    guides: what went into each layer of the implementation; its branches are adopted.
    """

    def lift(array: Array) -> Any:
        return array if array.dtype.kind in "biu" else ErrorArray.exact(array, model)

    def guide(key: Key, array: Any) -> Any:
        own = (guides or {}).get(key)
        if own is None or own.shape != array.shape:
            return array
        guided = array.mapped(lambda component: component)
        guided.guide = own.astype(np.float64)
        return guided

    return execute(case, lift, guide)


def _judge_part(part: Part, trace: Trace, reference: Subject, blank: Row, types: Mapping[str, str]) -> list[Row]:
    case, end_to_end = part.case, blank.mode == END_TO_END
    dtype = np.dtype(case.dtype)
    guides = None
    if end_to_end:
        guides = {
            key._replace(step=0): trace.arrays[key]
            for key in trace
            if key.step == blank.step and key.quantity == "input"
        }
    statistical = ErrorModel(dtype, 2)
    try:
        predicted = predict(case, statistical, guides)
        # Through a whole network a worst-case bound grows beyond use: it serves one part at a time.
        bounds = None if end_to_end else predict(case, ErrorModel(dtype, 1))
    except CaseError as error:
        # Gradients that do not fit their parameters are the layers' fault, and judged there.
        return [] if end_to_end or case.grads else [_misfit(part, blank, types, error)]
    try:
        values = reference.run(_for_reference(case))
    except Exception as error:  # whatever the reference raises, it is the reference that cannot
        raise ReferenceFailed(
            f"the reference {reference.name} cannot run it: {type(error).__name__}: {error}"
        ) from error
    if statistical.branches.adopted:  # the reference took other branches: its values are of another function
        values = Trace()
    judged = _Comparison(case, trace, blank, predicted, bounds, values)
    return [judged.row(key, part.names[key.layer], types) for key in predicted if _is_judged(key, part, end_to_end)]


def _for_reference(case: Case) -> Case:
    """The case in float64, with what depends on the implementation's own dtype spelled out: RMSNorm's default eps."""

    def explicit(spec: Spec) -> Spec:
        if spec.type == "RMSNorm" and spec.options.get("eps") is None:
            return replace(spec, options={**spec.options, "eps": float(limits(np.dtype(case.dtype)).eps)})
        return replace(spec, layers=tuple(explicit(child) for child in spec.layers))

    return replace(case.astype("float64"), layers=tuple(explicit(spec) for spec in case.layers))


def _misfit(part: Part, blank: Row, types: Mapping[str, str], error: CaseError) -> Row:
    """The row of a layer whose own input, parameters and upstream gradient do not fit together."""
    layer = next(iter(part.names.values()))
    quantity = "grad_output" if "grad_output" in str(error) else "input"
    row = replace(blank, layer=layer, layer_type=types.get(layer, "parameter"), quantity=quantity)
    row.verdict, row.diagnosis = WRONG, f"what the trace shows cannot be: {error}"
    return row


def _is_judged(key: Key, part: Part, end_to_end: bool) -> bool:
    if key.quantity in BRANCHES or key.layer not in part.names:
        return False
    # Locally the upstream gradient is given.
    return end_to_end or not (key.quantity == "grad_output" or (part.shared and key.quantity.startswith("grad.")))


class _Comparison:
    """The predictions of one part, held against the trace."""

    def __init__(
        self, case: Case, trace: Trace, blank: Row, predicted: Results, bounds: Results | None, values: Trace
    ) -> None:
        self.case, self.trace, self.blank = case, trace, blank
        self.predicted, self.bounds, self.values = predicted, bounds, values
        # The reference rounds too: in float64, against a float64 implementation, as much as that one.
        ratio = ROUNDOFF_OF_REFERENCE / UNIT_ROUNDOFF[case.dtype]
        self.sigma_factor, self.bound_factor = np.sqrt(1 + ratio * ratio), 1 + ratio
        self.empty = bool(case.inputs) and case.inputs[0].size == 0

    def row(self, key: Key, layer: str, types: Mapping[str, str]) -> Row:
        row = replace(self.blank, layer=layer, layer_type=types.get(layer, "parameter"), quantity=key.quantity)
        got = self.trace.get(row.step, layer, key.quantity)
        if got is None:
            row.verdict, row.diagnosis = MISSING, "the trace does not show it"
            return row
        prediction = self.predicted[key]
        if not isinstance(prediction, ErrorArray):  # a count or an index: exact
            same = np.array_equal(got, prediction)
            row.verdict, row.diagnosis = (PASS, "") if same else (WRONG, f"{got}, expected {prediction}")
            return row
        value = self.values.get(0, key.layer, key.quantity)
        expected = Expected(
            prediction.value if value is None else value,
            prediction.model.width(prediction.error_or_zero) * self.sigma_factor,
            None if self.bounds is None else self.bounds[key].error_or_zero * self.bound_factor,
            np.sqrt(np.broadcast_to(prediction.scale_or_own, prediction.shape)),
        )
        compare(row, got, expected, structured=self.case.structured, no_terms=self.empty)
        if row.verdict == WRONG and self._is_a_convention(row, key, got, expected):
            row.verdict = CONVENTION
            row.diagnosis = "another one-sided derivative at a kink or tie"
        return row

    def _is_a_convention(self, row: Row, key: Key, got: Array, expected: Expected) -> bool:
        """Whether every choice at exact ties and kinks being allowed makes the difference vanish."""
        if row.mode == END_TO_END or not row.n_outside:
            return False
        tied = predict(self.case, ErrorModel(np.dtype(row.dtype), 2, open_ties=True))[key]
        widened = replace(expected, sigma=tied.model.width(tied.error_or_zero) * self.sigma_factor)
        return compare(replace(row), got, widened, structured=False, no_terms=True).n_outside == 0


def _judge_wiring(case: Case, trace: Trace, blank: Row, types: Mapping[str, str]) -> Iterator[Row]:
    """What containers computed and what layers handed to each other; of a layer's input only where it is not that."""
    dtype = np.dtype(case.dtype)
    for layer, quantity, computed in connections(case, trace, blank.step):
        got = trace.get(blank.step, layer, quantity)
        if got is None:
            continue
        statistical, worst = computed(ErrorModel(dtype, 2)), computed(ErrorModel(dtype, 1))
        expected = Expected(
            statistical.value,
            np.sqrt(statistical.error_or_zero),
            worst.error_or_zero,
            np.sqrt(np.broadcast_to(statistical.scale_or_own, statistical.shape)),
        )
        row = replace(blank, layer=layer, layer_type=types[layer], quantity=quantity)
        compare(row, got, expected, structured=case.structured, no_terms=True)
        if quantity != "input" or row.verdict != PASS:
            yield row


def _judge_masks(case: Case, trace: Trace, blank: Row) -> Iterator[Row]:
    """Whether dropout masks that a layer drew itself keep the share of elements that they should: a binomial test."""
    for name, spec in named_layers(case.layers):
        mask = trace.get(blank.step, name, "mask")
        if mask is None or name in case.masks or not mask.size:
            continue
        row = replace(blank, layer=name, layer_type=spec.type, quantity="mask", shape=mask.shape, n=mask.size)
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


def _in_order_of_computation(rows: list[Row], trace: Trace, step: int) -> list[Row]:
    place = {(key.layer, key.quantity): index for index, key in enumerate(trace) if key.step == step}
    return sorted(rows, key=lambda row: place.get((row.layer, row.quantity), len(place)))
