"""How much of a backward pass was judged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from oracle.wording.figures import counted, exact_share


class Unjudged(NamedTuple):
    """Something that was not judged: its place, its kind, and the reason."""

    place: str
    kind: str
    reason: str


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
    """

    parameters: float = 1.0
    gradients: float = 1.0
    operations: float = 1.0
    elements: int = 0
    met: int = 0
    unjudged: tuple[Unjudged, ...] = ()

    @classmethod
    def of_json(cls, kept: dict[str, Any]) -> Coverage:
        return cls(**{**kept, "unjudged": tuple(Unjudged(*own) for own in kept["unjudged"])})

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "unjudged": [list(own) for own in self.unjudged]}

    def __str__(self) -> str:
        """The shares in words; empty if nothing was counted, as in a run over cases, in which everything is judged."""
        if not self.met:
            return ""
        judged = self.met - round(self.met * (1 - self.operations))
        return (
            f"judged {exact_share(self.gradients)} of {counted(self.elements, 'gradient element')}, "
            f"{judged:,} of {counted(self.met, 'operation')}"
        )
