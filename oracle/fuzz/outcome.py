"""The settings of a campaign, its jobs, and their outcomes."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from oracle.fuzz import draw

# The verdict where one side raises an error and another gives numbers, or where all raise one.
REFUSED = "refused"
MOST_CHARACTERS = 300


class Settings(NamedTuple):
    """The settings that all cases of a campaign share."""

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
    """Inside, no warning is shown: extreme numbers and empty arrays are drawn on purpose."""
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def short(text: str) -> str:
    """The text as one line of the table, cut off where it is long."""
    line = re.sub(r"\s+", " ", text)
    return line if len(line) <= MOST_CHARACTERS else f"{line[: MOST_CHARACTERS - 1]}…"


def without_numbers(text: str) -> str:
    """The text with "#" in the place of each number, so that texts that differ by numbers alone are equal."""
    return re.sub(r"\d[\d.e+-]*", "#", text)
