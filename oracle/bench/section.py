"""The interface of a section of the benchmarks, and its result: plain values that JSON can hold."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Protocol, Self

import numpy as np


@dataclass(frozen=True)
class Measurement:
    """A figure with its spread, and the limit that it should meet.

    Attributes:
        what: a description, unique in its section.
        value, low, high: the median and the quartiles.
        limit: the limit, or None.
        at_least: whether the limit is a lower one instead of an upper one.
        unit: the unit of the figures; empty for a ratio.
    """

    what: str
    value: float
    low: float
    high: float
    limit: float | None = None
    at_least: bool = False
    unit: str = ""

    @classmethod
    def of(cls, what: str, samples: Any, **goal: Any) -> Self:
        low, value, high = (float(quantile) for quantile in np.quantile(samples, (0.25, 0.5, 0.75)))
        return cls(what, value, low, high, **goal)

    @property
    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.at_least else self.value <= self.limit


@dataclass(frozen=True)
class Chart:
    """A chart of lines over numbers, or of bars over names.

    Attributes:
        series: name -> points (x, y); x is a number, or a string for bars.
        mark: a height at which a line is drawn, such as 1 for equal speed.
    """

    title: str
    x: str
    y: str
    series: Mapping[str, tuple[tuple[float | str, float], ...]]
    logarithmic: bool = False
    mark: float | None = None


@dataclass(frozen=True)
class Result:
    """The result of one run of a section.

    Attributes:
        details: the rows of a table, each from column to cell.
        remarks: sentences below the table.
    """

    measurements: tuple[Measurement, ...]
    details: tuple[Mapping[str, str | float], ...] = ()
    remarks: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> Self:
        return cls(
            tuple(Measurement(**entry) for entry in plain["measurements"]),
            tuple(plain["details"]),
            tuple(plain["remarks"]),
            tuple(Chart(**entry) for entry in plain["charts"]),
        )


class Section(Protocol):
    """A section: one comparison.

    Attributes:
        title: the heading.
        about: what is measured and how, in a few sentences.
    """

    title: str
    about: str

    def measure(self, quick: bool, note: Callable[[str], None]) -> Result:
        """Measure, in a process that does nothing else.

        Args:
            quick: measure a small part with few repetitions, for development.
            note: called with a line of progress.
        """
        ...
