"""The work on one random case into which faults are planted, in this process or in a worker."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from oracle import subjects
from oracle.case.arrays import Array
from oracle.fuzz import draw
from oracle.fuzz.faults import KINDS, planted
from oracle.fuzz.outcome import Job, quiet
from oracle.fuzz.walk import generator
from oracle.harness import called
from oracle.harness.alone import Alone, quantities
from oracle.judging.figures import DECIDABLE, Expected
from oracle.judging.profile import profile_of
from oracle.judging.rows import DISCREPANCIES, PASS, Row
from oracle.judging.wiring import completed
from oracle.running_error import LAMBDA, UNIT_ROUNDOFF
from oracle.trace import Trace, Unsupported
from oracle.wording.errors import failure

# So many quantities of a case are tried, chosen at random, since a network has dozens.
MOST_QUANTITIES = 4
# If so many of the largest are missed, smaller ones are not tried.
MISSES = 3


class Found(NamedTuple):
    """The result of a kind of fault in one quantity.

    Attributes:
        caught: the smallest size that is caught; None if none is.
        hidden: the largest size that is missed although the report calls every element decided, and an error of this size
            shows in every decided element; None if there is none.
        words: the verdict and the diagnosis with which that one was missed.
    """

    operation: str
    quantity: str
    fault: str
    caught: float | None
    hidden: float | None = None
    words: str = ""


class Mutated(NamedTuple):
    """The row of a case.

    Attributes:
        words: why nothing was planted, or "".
    """

    number: int
    dtype: str
    found: tuple[Found, ...] = ()
    words: str = ""

    def row(self) -> dict[str, Any]:
        return {**self._asdict(), "found": json.dumps(self.found)}

    @classmethod
    def of_row(cls, row: dict[str, Any]) -> Mutated:
        found = tuple(Found(*own) for own in json.loads(str(row["found"])))
        return cls(int(row["number"]), str(row["dtype"]), found, str(row["words"]))


def mutated(job: Job) -> Mutated:
    """The faults in a case's quantities that pass. A case that is not run has none, and the reason."""
    settings = job.settings
    with quiet():
        case, refusal = draw.drawn(settings.seed, job.number, settings.kinds)
        blank = Mutated(job.number, case.dtype)
        if refusal:
            return blank._replace(words=refusal)
        try:
            subject, reference = called.load(settings.subject), subjects.load(settings.reference)
            shown = subject.run(case)
            whole, known_as = completed(case, shown), {subject.name, reference.name}
            own = [
                quantity
                for quantity in quantities(case, whole, reference, profile_of(subject), known_as)
                if _is_shown(shown, quantity)
            ]
            rng = generator(settings.seed, job.number, "faults")
            chosen = sorted(rng.permutation(len(own))[:MOST_QUANTITIES].tolist())
            return blank._replace(found=tuple(one for place in chosen for one in _of_quantity(own[place], rng)))
        except Unsupported as error:
            return blank._replace(words=f"not supported: {error}")
        except Exception as error:  # no matter whose: it costs this case only
            return blank._replace(words=failure(error))


def lost(job: Job, error: BrokenExecutor) -> Mutated:
    """The row of a case whose process ended."""
    with quiet():
        dtype = draw.drawn(job.settings.seed, job.number, job.settings.kinds).case.dtype
    return Mutated(job.number, dtype, words=f"the process that it ran in {error}")


def _is_shown(shown: Trace, own: Alone) -> bool:
    return shown.get(own.compared.bench.blank.step, own.layer, own.quantity) is not None


def _of_quantity(own: Alone, rng: np.random.Generator) -> Iterator[Found]:
    right = own.row(own.got)
    if right.verdict != PASS:
        return
    # Errors above these show in a row whose elements are all decided.
    promised = _promised(own.expected, right.dtype) if right.decided == 1 else None
    for kind in KINDS:
        tries = _Tries(own, planted(own, kind, rng))
        if not tries.faults:
            continue
        caught, hidden = tries.smallest(), None if promised is None else tries.hidden(promised)
        one = Found(_operation(own), own.quantity, kind, caught)
        if hidden is not None:
            one = one._replace(hidden=hidden[0], words=f"{hidden[1].verdict}: {hidden[1].diagnosis}".removesuffix(": "))
        yield one


@dataclass
class _Tries:
    """The faults of a kind in a quantity, by falling size, and the rows of those that were judged."""

    own: Alone
    faults: list[tuple[float, Array]]
    rows: dict[int, Row] = field(default_factory=dict)

    def is_caught(self, place: int) -> bool:
        if place not in self.rows:
            self.rows[place] = self.own.row(self.faults[place][1])
        return self.rows[place].verdict in DISCREPANCIES

    def smallest(self) -> float | None:
        """The smallest size that is caught, by bisection between one that is caught and the end."""
        caught = next((place for place in range(len(self.faults))[:MISSES] if self.is_caught(place)), None)
        if caught is None:
            return None
        missed = len(self.faults)
        while missed - caught > 1:
            middle = (caught + missed) // 2
            if self.is_caught(middle):
                caught = middle
            else:
                missed = middle
        return self.faults[caught][0]

    def hidden(self, promised: Array) -> tuple[float, Row] | None:
        """The largest fault that was missed although its error is larger than TOLERANCES.md promises to show."""
        for place in sorted(self.rows):
            size, wrong = self.faults[place]
            if not self.is_caught(place) and _exceeds(wrong, self.own.expected, promised):
                return size, self.rows[place]
        return None


def _operation(own: Alone) -> str:
    """The class of the layer or loss, or of the optimizer whose update it is."""
    case = own.compared.case
    return case.optimizer.type if case.optimizer is not None and case.grads else own.layer_type


def _promised(expected: Expected, dtype: str) -> Array:
    """The least error that every decided element shows, as TOLERANCES.md promises: a tenth of the size of its terms, plus the
    rounding of a result that is stored in 16 bits. Where nothing rounds, every error shows."""
    stored = LAMBDA * UNIT_ROUNDOFF[dtype] * np.abs(expected.value) if np.dtype(dtype).itemsize == 2 else 0.0
    return np.where(expected.sigma == 0, 0.0, DECIDABLE * expected.scale + stored)


def _exceeds(wrong: Array, expected: Expected, promised: Array) -> bool:
    """Whether an element is farther off than is promised to show."""
    with np.errstate(all="ignore"):
        return bool((np.abs(wrong.astype(np.float64) - expected.value) > promised).any())
