"""The outcomes of comparisons while errors were computed, each by its place, and other properties of such a run."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Branches:
    """Counts of the comparisons in one place.

    Attributes:
        compared: all comparisons.
        ambiguous: those that rounding can flip.
        widened: ambiguous ones whose outcome in the subject is unknown, which widens later tolerances.
        adopted: those with the subject's outcome instead of the reference's.
        inadmissible: adopted ones that rounding cannot explain.
        out_of_range: values computed from one that the dtype cannot hold.
    """

    compared: int = 0
    ambiguous: int = 0
    widened: int = 0
    adopted: int = 0
    inadmissible: int = 0
    out_of_range: int = 0


@dataclass
class BranchLog:
    """Branches by place.

    Attributes:
        place: the layer that is being computed.
        samples: its number of samples.
        overflown: whether a value has exceeded the range of the dtype.
        has_common_errors: whether numbers were changed by one with an error larger than their own.
    """

    place: str = ""
    samples: int = 0
    overflown: bool = False
    has_common_errors: bool = False
    by_place: dict[str, Branches] = field(default_factory=dict)

    @property
    def left_range(self) -> bool:
        """Whether a value was, or may have been, an infinity or NaN in the dtype: an infinite error may then stand for one."""
        return self.overflown or any(own.out_of_range for own in self.by_place.values())

    def here(self) -> Branches:
        return self.by_place.setdefault(self.place, Branches())
