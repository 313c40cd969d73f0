"""One quantity of a trace, judged by itself, and again with other numbers: to find how small an error is caught."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace

import numpy as np

from oracle.blame.search import Evidenced
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.execution.network import layer_types
from oracle.harness.judge import judge_step
from oracle.judging.comparison import Bench, Comparison
from oracle.judging.figures import Expected
from oracle.judging.parts import local_parts
from oracle.judging.profile import Profile
from oracle.judging.rows import LOCAL, PASS, Row
from oracle.judging.unusable import GIVEN
from oracle.running_error import ErrorArray
from oracle.trace import Key, Subject, Trace


@dataclass(frozen=True)
class Alone:
    """A quantity of the last step, with the comparison that judges it locally.

    Attributes:
        key: its place in the part of the case that computes it; `layer` is its layer in the whole case.
        got: the subject's numbers.
    """

    compared: Comparison
    key: Key
    layer: str
    got: Array
    profile: Profile
    known_as: frozenset[str]

    @property
    def quantity(self) -> str:
        return self.key.quantity

    @property
    def layer_type(self) -> str:
        return self.compared.bench.types.get(self.layer, "parameter")

    @property
    def expected(self) -> Expected:
        return self.compared.expected(self.key)

    def row(self, shown: Array) -> Row:
        """The row of these numbers in place of the subject's."""
        (row,) = judge_step(_Exchanged(self, shown), self.profile, self.known_as, causes=False).rows
        return row


@dataclass(frozen=True)
class _Exchanged:
    """The quantity with other numbers, as a step of one row."""

    own: Alone
    shown: Array

    def judged(self, profile: Profile) -> list[Row]:
        own = self.own
        for name in ("second_look", "with_open_ties"):
            getattr(own.compared, name)  # computed once, and then by all copies
        compared = copy(own.compared)
        place = own.key._replace(step=compared.bench.blank.step, layer=own.layer)
        compared.bench = replace(compared.bench, trace=Trace({place: self.shown}))
        return [compared.row(own.key, own.layer)]

    def behind(self, rows: Sequence[Row], profile: Profile) -> Iterable[Evidenced]:
        return ()


def quantities(
    case: Case, trace: Trace, reference: Subject | None, profile: Profile, known_as: Collection[str] = ()
) -> Iterator[Alone]:
    """Each computed quantity of the last step that is floating-point, finite and not all zero.

    reference: gives the expected values; without one refbp's predictions are expected. Raises: ReferenceFailed.
    """
    step = case.steps - 1
    blank = Row(case.name, case.dtype, step, "", "", "", LOCAL, PASS)
    bench = Bench(trace, reference, profile, layer_types(case), blank)
    for part in local_parts(case, trace, step):
        compared = Comparison(part, bench)
        for key, prediction in compared.predicted.items():
            layer = part.names.get(key.layer, "")
            got = trace.get(step, layer, key.quantity)
            if (
                key.step != compared.step
                or key.quantity in GIVEN
                or got is None
                or not isinstance(prediction, ErrorArray)
            ):
                continue
            if got.dtype.kind not in "biu" and np.isfinite(got).all() and got.any():
                yield Alone(compared, key, layer, got, profile, frozenset(known_as))
