"""What a subject declares about itself, so that it is judged as what it is: declared, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from oracle.conventions import CONVENTIONS
from oracle.running_error import UNIT_ROUNDOFF


@dataclass(frozen=True)
class Profile:
    """A subject's optional attribute `profile`.

    Args:
        accumulate: the dtype in which sums are added up, where it is wider than the data's; None: the data's own.
        normwise: layer types whose sums err by the norm of the whole array rather than element by element, as convolutions
            by FFT or Winograd's algorithm do.
        conventions: names of `oracle.conventions.CONVENTIONS` that it follows instead of torch's rule.
        quantities: patterns of the quantities that it can show, such as ("grad.*", "param.*"); others are not missed.
    Raises: ValueError for a dtype or convention that there is not.

    >>> profile = oracle.Profile(accumulate="float32", quantities=("output", "grad.*"))
    >>> profile.shows("grad.weight"), profile.shows("momentum.weight")
    (True, False)
    >>> profile.accumulates_in("float16"), profile.accumulates_in("float64")
    ('float32', None)
    """

    accumulate: str | None = None
    normwise: tuple[str, ...] = ()
    conventions: tuple[str, ...] = ()
    quantities: tuple[str, ...] = ("*",)

    def __post_init__(self) -> None:
        if self.accumulate is not None and self.accumulate not in UNIT_ROUNDOFF:
            raise ValueError(f"a profile's accumulate is one of {', '.join(UNIT_ROUNDOFF)}, got {self.accumulate!r}")
        for name in self.conventions:
            if name not in CONVENTIONS:
                raise ValueError(f"a profile's conventions are among {', '.join(CONVENTIONS)}, got {name!r}")

    def accumulates_in(self, dtype: str) -> str | None:
        """Where sums of this dtype are added up, if that is wider."""
        wider = self.accumulate is not None and UNIT_ROUNDOFF[self.accumulate] < UNIT_ROUNDOFF[dtype]
        return self.accumulate if wider else None

    def shows(self, quantity: str) -> bool:
        """Whether a quantity is one of those that it declares, so that its absence is a discrepancy."""
        return any(fnmatchcase(quantity, pattern) for pattern in self.quantities)


def profile_of(subject: Any) -> Profile:
    """The subject's own, or one that declares nothing. Raises: ValueError for a `profile` that is none."""
    declared = getattr(subject, "profile", None)
    if declared is None:
        return Profile()
    if not isinstance(declared, Profile):
        raise ValueError(f"subject {subject.name}: profile is an oracle.Profile, got {type(declared).__name__}")
    return declared
