"""How much of a backward pass was judged."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from oracle.wording.figures import counted, exact_share


class Unjudged(NamedTuple):
    """What was not judged: where it stands, what it is, and why."""

    place: str
    kind: str
    reason: str


@dataclass(frozen=True)
class Coverage:
    """Shares of what was met, from 0 to 1; 1 where nothing was.

    Attributes:
        parameters: of the parameters that were given a gradient, those for which all of it was judged.
        gradients: of the gradient's elements that flowed, those that were judged.
        operations: of the layers and the operations between and inside them.
        elements, met: how many elements of gradients, and how many operations, there were.
        unjudged: a list of what was not judged.
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
        """Empty where nothing was counted, as in a run over cases, of which all is judged."""
        if not self.met:
            return ""
        judged = self.met - round(self.met * (1 - self.operations))
        return (
            f"judged {exact_share(self.gradients)} of {counted(self.elements, 'gradient element')}, "
            f"{judged:,} of {counted(self.met, 'operation')}"
        )
