"""A subject's profile: the properties by which it is judged. They are declared, never guessed."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from oracle.case.case import LOSS_ARGUMENTS
from oracle.case.names import BUFFERS, quantity_of
from oracle.execution.network import LAYERS, OPTIMIZERS
from oracle.judging.conventions import CONVENTIONS
from oracle.running_error import UNIT_ROUNDOFF

# The quantities that do not belong to a parameter or buffer.
PLAIN = ("output", "grad_output", "grad_input", "input", "mask")
STATES = {quantity_of(name) for made in OPTIMIZERS.values() for name in made.state_names}  # type: ignore[attr-defined]
# The quantities of a parameter or buffer, as in "grad.weight", and the usual names of these. An update alone may use other names.
KINDS = ("grad", "param", "buffer", *sorted(STATES))
USUAL = ("weight", "bias", "target", *BUFFERS, *(name for names in LOSS_ARGUMENTS.values() for name in names))

# The layers that are sums of products. In others an algorithm does not spread errors over the whole array.
ADDS_UP = tuple(name for name in LAYERS if name.startswith(("Linear", "Conv")))


@dataclass(frozen=True)
class Profile:
    """The optional attribute `profile` of a subject: how it differs from torch on purpose, and what it can show.

    Args:
        accumulate: the dtype in which it adds up sums, if that is wider than the data's; None for the data's own dtype.
        normwise: the layer types (linear layers, convolutions) whose error is bounded by the norm of the whole array instead of
            element by element, as with FFT, Winograd's algorithm or one level of Strassen's; each further level errs more. Beside
            a program any of them stands for the whole of it.
        conventions: the conventions that it follows instead of torch's rules; `oracle list conventions` shows them.
        quantities: patterns of the quantities that it can show, such as ("grad.*", "param.*"), at least one. A quantity that fits
            none may be absent.
    Raises: ValueError for an unknown dtype, layer type or convention, a pattern that fits no quantity, or a string in place of a
        tuple.

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
        if self.accumulate not in (None, *UNIT_ROUNDOFF):
            raise ValueError(f"a profile's accumulate is one of {', '.join(UNIT_ROUNDOFF)}, got {self.accumulate!r}")
        for field in ("normwise", "conventions", "quantities"):
            names = getattr(self, field)
            if not isinstance(names, (tuple, list)) or not all(isinstance(name, str) for name in names):
                raise ValueError(f"a profile's {field} are a tuple of texts, got {names!r}")
            object.__setattr__(self, field, tuple(names))
        for name in self.normwise:
            if name not in ADDS_UP:
                raise ValueError(f"a profile's normwise are layers that add up, {', '.join(ADDS_UP)}, got {name!r}")
        for name in self.conventions:
            if name not in CONVENTIONS:
                raise ValueError(f"a profile's conventions are among {', '.join(CONVENTIONS)}, got {name!r}")
        strange = next((pattern for pattern in self.quantities if not _fits_any(pattern)), None)
        if strange is not None or not self.quantities:
            raise ValueError(
                f"a profile's quantities are patterns of {', '.join(PLAIN)}, and {', '.join(f'{kind}.*' for kind in KINDS)}; "
                f"got {'none' if strange is None else repr(strange)}"
            )

    def accumulates_in(self, dtype: str) -> str | None:
        """The dtype in which sums of this dtype are added up, if it is wider; else None."""
        wider = self.accumulate is not None and UNIT_ROUNDOFF[self.accumulate] < UNIT_ROUNDOFF[dtype]
        return self.accumulate if wider else None

    def in_words(self) -> list[str]:
        """A sentence for each way in which it changes the judgement."""
        said = {
            "shows only": () if self.quantities == ("*",) else self.quantities,
            "adds up in": () if self.accumulate is None else (self.accumulate,),
            "errs by the norm in": self.normwise,
            "follows": self.conventions,
        }
        return [f"its profile declares that it {what} {', '.join(names)}" for what, names in said.items() if names]

    def shows(self, quantity: str) -> bool:
        """Whether it declares this quantity, so that its absence is a discrepancy."""
        return any(fnmatchcase(quantity, pattern) for pattern in self.quantities)


@cache
def _fits_any(pattern: str) -> bool:
    """Whether a pattern can fit any quantity."""
    kind, dot, _ = pattern.partition(".")
    known = KINDS if dot else (*PLAIN, *(f"{own}.{name}" for own in KINDS for name in USUAL))
    return any(fnmatchcase(name, kind) for name in known)


def profile_of(subject: Any) -> Profile:
    """The subject's profile, or one that declares nothing. Raises: ValueError for a `profile` of another type."""
    declared = getattr(subject, "profile", None)
    if declared is None:
        return Profile()
    if not isinstance(declared, Profile):
        raise ValueError(f"subject {subject.name}: profile is an oracle.Profile, got {type(declared).__name__}")
    return declared
