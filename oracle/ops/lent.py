"""Copies of arrays for a user's function, and a check that the function has not written to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from oracle.case.arrays import Array, own_copy


@dataclass
class LentCopies:
    """The copies that one call of a function and its backward has received.

    name: the name of the function.
    """

    name: str
    _held: list[tuple[str, Array, Array]] = field(default_factory=list)

    def argument(self, name: str, array: Array) -> Array:
        """A copy, in the same memory layout, of an argument of this name. Running statistics may be written to."""
        said = f"{self.name} writes into its argument {name}, which is read-only"
        return own_copy(array) if is_statistic(name) else self._copied(said, array)

    def upstream(self, array: Array) -> Array:
        """A copy, in the same memory layout, of a gradient that the backward receives."""
        return self._copied(
            f"the backward of {self.name} writes into the gradient it is given, which is read-only", array
        )

    def _copied(self, said: str, array: Array) -> Array:
        copy = own_copy(array)
        self._held.append((said, copy, array))
        return copy

    def check(self) -> None:
        """Raises: ValueError if a copy has changed."""
        for said, copy, array in self._held:
            if not np.array_equal(copy, array, equal_nan=array.dtype.kind not in "biu"):
                raise ValueError(said)


def is_statistic(name: str) -> bool:
    """Whether an argument is a running statistic, which has no gradient, and to which a function may write."""
    return name.startswith("running")
