"""Guesses from two shapes why an array has the wrong one."""

from __future__ import annotations

import math
from itertools import combinations

Shape = tuple[int, ...]


def looks_like(got: Shape, due: Shape) -> str:
    """The likely reason why an array has the shape `got` instead of `due`."""
    if [size for size in got if size != 1] == [size for size in due if size != 1]:
        return (
            f"dimensions of size 1 are {'kept' if len(got) > len(due) else 'lost' if len(got) < len(due) else 'moved'}"
        )
    if len(due) == 2 and 1 in due and got == (max(due),) * 2:
        return f"{due} and {(max(due),)} are broadcast to {got}, as a column minus a row"
    if sorted(got) == sorted(due):
        return "its dimensions are in another order"
    if unsummed := beyond(got, due) or _broadcast(got, due):
        return f"not summed over {_listed(unsummed)}"
    if beyond(due, got):
        return f"it lacks {_listed(beyond(due, got))} of the expected shape, or is summed over it"
    return "the same number of elements in another shape" if math.prod(got) == math.prod(due) else _sizes(got, due)


def _sizes(got: Shape, due: Shape) -> str:
    if len(got) != len(due):
        return f"{len(got)} dimensions instead of {len(due)}"
    apart = [(axis, own - other) for axis, (own, other) in enumerate(zip(got, due, strict=True)) if own != other]
    return " and ".join(f"{abs(by)} too {'many' if by > 0 else 'few'} along dimension {axis}" for axis, by in apart)


def _broadcast(wide: Shape, narrow: Shape) -> Shape:
    """The dimensions along which one shape is broadcast to the other; empty if it cannot be."""
    if len(wide) != len(narrow) or any(own not in (1, other) for own, other in zip(narrow, wide, strict=True)):
        return ()
    return tuple(axis for axis, own in enumerate(wide) if own != narrow[axis])


def beyond(longer: Shape, shorter: Shape) -> Shape:
    """The dimensions whose removal turns one shape into the other; empty if there are none."""
    for axes in combinations(range(len(longer)), max(0, len(longer) - len(shorter))):
        if tuple(size for axis, size in enumerate(longer) if axis not in axes) == shorter:
            return axes
    return ()


def _listed(axes: Shape) -> str:
    return f"dimension{'s' if len(axes) > 1 else ''} {', '.join(map(str, axes))}"
