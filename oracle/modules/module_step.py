"""A module's recorded training steps, in the form that `judge_step` takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from oracle.blame.details import place_of
from oracle.blame.search import Evidenced, evidence_of_numbers, of_part
from oracle.case.arrays import read_only
from oracle.judging.case_rows import CONTRADICTS, judge_part
from oracle.judging.comparison import Bench
from oracle.judging.conventions import AT_NAN, DIFFER_AT_NAN
from oracle.judging.masks import mask_row
from oracle.judging.profile import Profile
from oracle.judging.rows import DISCREPANCIES, LOCAL, MISSING, PASS, UNJUDGED, WRONG, Row
from oracle.judging.verdict import with_nothing_known
from oracle.modules.as_parts import Observed
from oracle.modules.operation_rows import HOOKED, Judged
from oracle.running_error.kernels import kernels_of
from oracle.running_error.kernels.layers import OF_IMAGES
from oracle.trace import Key, Trace

# `input` is given, so it is never missing: a part that expects it alone need not show anything.
NOTHING = ("input",)


@dataclass(frozen=True)
class JudgedPart:
    """The rows of a layer, loss or update. The part with its arrays is kept only if a row needs an explanation."""

    rows: tuple[Row, ...]
    wrong: Observed | None

    def of_hooked(self) -> JudgedPart:
        """The rows of a layer with backward hooks, which can change the gradient of its input."""
        rows = [
            row.found(UNJUDGED, HOOKED) if row.quantity == "grad_input" and row.verdict in DISCREPANCIES else row
            for row in self.rows
        ]
        return JudgedPart(tuple(rows), self.wrong if any(row.verdict in DISCREPANCIES for row in rows) else None)


def judged_part(observed: Observed, case: str, number: int, profile: Profile) -> JudgedPart:
    if any(spec.type in DIFFER_AT_NAN for spec in observed.part.case.layers):
        profile = replace(profile, conventions=(*profile.conventions, AT_NAN))
    bench = bench_of(observed, case, number, profile)
    rows = judge_part(observed.part, bench)
    if observed.if_output:
        is_right = all(row.verdict == PASS for row in rows if row.quantity == "output")
        rows = [row for row in rows if is_right and row.quantity != "output"]
    if observed.mask is not None and observed.mask.kept.size:
        (layer,) = observed.part.names.values()
        (spec,) = observed.part.case.layers
        rows = [mask_row(bench.row(layer, "mask"), spec, observed.mask.kept, observed.mask.known), *rows]
    rows = [_refused(row) for row in rows]
    made = observed.made
    rows = [with_nothing_known(row, made.get((row.layer, row.quantity), np.empty(0))) for row in rows]
    rows = [_in_whole(row, observed) for row in rows]
    return JudgedPart(tuple(rows), observed if any(row.verdict in DISCREPANCIES for row in rows) else None)


def _refused(row: Row) -> Row:
    """The row of a layer whose input the reference does not take. Torch took it, so it says nothing about the module."""
    if row.quantity != "input" or row.verdict != WRONG:
        return row
    return row.found(UNJUDGED, f"the reference does not take it: {row.diagnosis.removeprefix(f'{CONTRADICTS}: ')}")


def _in_whole(row: Row, observed: Observed) -> Row:
    """The row of a sample, given the shape of the whole tensor, and the worst element's place in the whole."""
    shape, drawn = observed.sampled.get((row.layer, row.quantity), ((), None))
    if drawn is None or not row.shape:
        return row
    at = drawn.place(shape, row.worst_index) if len(row.worst_index) == len(row.shape) else row.worst_index
    return row.having(shape=shape, worst_index=at)


def bench_of(observed: Observed, case: str, number: int, profile: Profile) -> Bench:
    trace = Trace()
    trace.arrays.update({Key(number, *place): read_only(value) for place, value in observed.made.items()})  # no copies
    blank = Row(case, observed.part.case.dtype, number, "", "", "", LOCAL, PASS)
    shown = tuple(own for own in observed.expected if profile.shows(own)) or NOTHING
    shown = profile.quantities if "*" in observed.expected else shown
    of = observed.part.case
    own = [spec.type for spec in of.layers] + ([of.loss.type] if of.loss is not None else [])
    kind = OF_IMAGES.format(own[0]) if of.loss is not None and of.inputs[0].ndim > 2 else "".join(own[:1])
    kernels = kernels_of(kind, observed.device) if own and profile.accumulate is None else None
    return Bench(trace, None, replace(profile, quantities=shown), observed.kinds, blank, kernels)


@dataclass(frozen=True)
class RecordedStep:
    """One recorded training step.

    Attributes:
        parts: layers, loss and update; layers are judged as soon as their gradients have arrived.
        operations: the operations between and inside layers, which are judged in the same way.
        notes: the rows of the operations, and rows for what is not judged.
        ages: the age of each place in the forward pass.
        arrived: the places in the order in which gradients arrived.
        crash: the row of an exception, if there was one; nothing counts as missing in such a step.
    """

    number: int
    parts: tuple[JudgedPart, ...]
    operations: tuple[Judged, ...]
    notes: tuple[Row, ...]
    ages: Mapping[str, int]
    arrived: Mapping[str, int]
    crash: Row | None = None

    def order(self, row: Row) -> tuple[int, int]:
        """The order of rows: forward by age, backward by arrival of gradients, then those about the whole step."""
        if row.quantity.startswith("grad"):
            return 1, self.arrived.get(row.layer, len(self.arrived))
        return (0, self.ages[row.layer]) if row.layer in self.ages else (2, 0)


@dataclass(frozen=True)
class ModuleStep:
    """The training steps of a module."""

    case: str
    steps: tuple[RecordedStep, ...]

    def judged(self, profile: Profile) -> Iterator[Row]:
        for step in self.steps:
            rows = [row for part in step.parts for row in part.rows if step.crash is None or row.verdict != MISSING]
            yield from sorted([*step.notes, *rows], key=step.order)
            if step.crash is not None:
                yield step.crash

    def behind(self, rows: Sequence[Row], profile: Profile) -> Iterator[Evidenced]:
        for step in self.steps:
            for observed in (part.wrong for part in step.parts if part.wrong is not None):
                own = [row for row in rows if row.step == step.number and row.layer in observed.part.names.values()]
                if own:
                    yield from of_part(observed.part, bench_of(observed, self.case, step.number, profile), own)
            places = {place_of(row): row for row in rows}
            for judged in step.operations:
                for wrong, got, expected in judged.wrong:
                    if place_of(wrong) in places:
                        row = places[place_of(wrong)]
                        yield row, evidence_of_numbers(self.case, row, got, expected, *judged.given), got
