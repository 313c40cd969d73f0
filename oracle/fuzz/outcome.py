"""What a campaign's cases have in common, one of its cases, and the row of one."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from oracle.fuzz import draw

# One side raises an error where another gives numbers, or all do.
REFUSED = "refused"
MOST_WORDS = 300


class Settings(NamedTuple):
    """What a campaign's cases have in common."""

    subject: str | Any
    reference: str
    seed: int
    kinds: tuple[str, ...] = draw.KINDS


class Job(NamedTuple):
    """One case of a campaign."""

    settings: Settings
    number: int

    @property
    def is_program(self) -> bool:
        return draw.turn_of(self.number, self.settings.kinds)[0] == draw.PROGRAMS

    def __str__(self) -> str:
        return draw.named(self.settings.seed, self.number, self.settings.kinds)


class Outcome(NamedTuple):
    """The row of a case.

    Attributes:
        operation: the classes in the case; of a discrepancy the class of the layer, loss or optimizer that shows it.
        verdict: the gravest of its quantities, or "refused".
        owner: who errs; "" if nobody does, or it is a choice.
        cause: the name of the likely cause.
        words: the diagnosis, and the reason for the owner.
    """

    number: int
    dtype: str
    operation: str
    verdict: str
    owner: str = ""
    quantity: str = ""
    cause: str = ""
    words: str = ""


@contextmanager
def quiet() -> Iterator[None]:
    """Inside, no warning is shown: numbers at the ends of the range, and no numbers at all, are drawn on purpose."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def short(text: str) -> str:
    """The text in one line of the table."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= MOST_WORDS else f"{line[: MOST_WORDS - 1]}…"
