"""How much of a backward pass was judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from oracle.wording.figures import counted, exact_share


class Unjudged(NamedTuple):
    """Something that was not judged: its place, its kind, and the reason."""

    place: str
    kind: str
    reason: str


class Sampled(NamedTuple):
    """A tensor of which elements were drawn, and the chance to miss a fault, by the part of the tensor that is wrong.

    Attributes:
        place, quantity: which tensor it is.
        drawn, elements: the number of judged elements, and of all elements.
        element: the chance if a single element is wrong.
        row: the chance if one row along the last axis is wrong.
        channel: the chance if all elements with one index of an axis are wrong, for the axis with the largest chance.
    """

    place: str
    quantity: str
    drawn: int
    elements: int
    element: float
    row: float
    channel: float


class Chance(NamedTuple):
    """The mean over tensors of the chance to miss a fault, and the largest."""

    mean: float
    most: float

    @classmethod
    def of(cls, chances: Sequence[float]) -> Chance:
        return cls(sum(chances) / len(chances), max(chances)) if chances else cls(0.0, 0.0)


@dataclass(frozen=True)
class Sample:
    """The elements that were drawn in a step; of a second step other ones are drawn.

    Attributes:
        seed: that of the drawings.
        drawn, elements: the number of elements of all judged tensors that were judged, and of all; small tensors count too.
        tensors: those of which elements were drawn.
    """

    seed: int
    drawn: int = 0
    elements: int = 0
    tensors: tuple[Sampled, ...] = ()

    @property
    def element(self) -> Chance:
        return Chance.of([own.element for own in self.tensors])

    @property
    def row(self) -> Chance:
        return Chance.of([own.row for own in self.tensors])

    @property
    def channel(self) -> Chance:
        return Chance.of([own.channel for own in self.tensors])

    @classmethod
    def of_json(cls, kept: dict[str, Any]) -> Sample:
        return cls(**{**kept, "tensors": tuple(Sampled(*own) for own in kept["tensors"])})

    def __str__(self) -> str:
        if not self.tensors:
            return f"no tensor was large enough to draw elements of it (seed {self.seed})"
        kinds = (("one element", self.element), ("one row", self.row), ("one channel", self.channel))
        chances = ", ".join(f"{what} {exact_share(own.mean)} (at most {exact_share(own.most)})" for what, own in kinds)
        return (
            f"{self.drawn:,} of {counted(self.elements, 'element')} were judged, drawn by seed {self.seed} in "
            f"{counted(len(self.tensors), 'large tensor')}: the mean chance over these to miss a fault of {chances}"
        )


@dataclass(frozen=True)
class Coverage:
    """The shares that were judged, from 0 to 1; 1 if there was nothing to judge.

    Attributes:
        parameters: the share of parameters with a gradient for which all of the gradient was judged.
        gradients: the share of all elements of gradients that was judged.
        operations: the share of layers and of operations between and inside them that was judged.
        elements: the number of elements of gradients.
        met: the number of layers and operations.
        unjudged: a list of everything that was not judged.
        sample: the elements that were drawn, with effort="sample", where a gradient counts as judged if a part of it was; else
            None.
    """

    parameters: float = 1.0
    gradients: float = 1.0
    operations: float = 1.0
    elements: int = 0
    met: int = 0
    unjudged: tuple[Unjudged, ...] = ()
    sample: Sample | None = None

    @classmethod
    def of_json(cls, kept: dict[str, Any]) -> Coverage:
        sample = None if kept.get("sample") is None else Sample.of_json(kept["sample"])
        return cls(**{**kept, "unjudged": tuple(Unjudged(*own) for own in kept["unjudged"]), "sample": sample})

    def to_json(self) -> dict[str, Any]:
        sample = (
            None if self.sample is None else {**asdict(self.sample), "tensors": list(map(list, self.sample.tensors))}
        )
        return {**asdict(self), "unjudged": [list(own) for own in self.unjudged], "sample": sample}

    def __str__(self) -> str:
        """The shares in words; empty if nothing was counted, as in a run over cases, in which everything is judged."""
        if not self.met:
            return ""
        judged = self.met - round(self.met * (1 - self.operations))
        return (
            f"judged {exact_share(self.gradients)} of {counted(self.elements, 'gradient element')}, "
            f"{judged:,} of {counted(self.met, 'operation')}{'' if self.sample is None else f'; {self.sample}'}"
        )
