"""Families of ops and layers in one, two and three dimensions: each is written once, for any number of dimensions."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from inspect import cleandoc, getdoc, signature
from typing import Any, Concatenate, ParamSpec, TypeVar

from refbp.docstring import EXAMPLE
from refbp.layer import Layer

P = ParamSpec("P")
Made = TypeVar("Made")


def of_rank(op: Callable[Concatenate[int, P], Made], rank: int) -> Callable[P, Made]:
    """The op for `rank` dimensions, from one whose first argument is the rank: `max_pool` becomes `max_pool2d`."""

    @wraps(op)
    def ranked(*args: P.args, **kwargs: P.kwargs) -> Made:
        return op(rank, *args, **kwargs)

    whole = signature(op)
    ranked.__name__ = ranked.__qualname__ = f"{op.__name__}{rank}d"
    ranked.__signature__ = whole.replace(parameters=[*whole.parameters.values()][1:])  # type: ignore[attr-defined]
    text, mark, examples = (getdoc(op) or "").partition(EXAMPLE)
    ranked.__doc__ = _spelled_out(text, rank) + (mark + examples if ranked.__name__ in examples else "")
    return ranked


class OfRank(Layer):
    """The base of a family of layers in one, two and three dimensions: `class MaxPool2d(_MaxPool, rank=2)`.

    Each layer gets the family's docstring, with its name in place of {name} and its rank in place of {rank}. The docstring of
    the layer itself is inserted after the first paragraph.
    """

    rank: int

    def __init_subclass__(cls, rank: int | None = None, **options: Any) -> None:
        super().__init_subclass__(**options)
        if rank is None:
            return
        cls.rank = rank
        inserted, *examples = cleandoc(cls.__doc__ or "").partition(EXAMPLE)
        first, _, rest = cleandoc(cls.__mro__[1].__doc__ or "").partition("\n\n")
        text = "\n\n".join((first, inserted, rest)).replace("{name}", cls.__name__).replace("{rank}", str(rank))
        cls.__doc__ = _spelled_out(text, rank) + "".join(examples)


def _spelled_out(text: str, rank: int) -> str:
    """The text with the sides of this rank: (N, C, *sides) becomes (N, C, H, W)."""
    sides = ["L"] if rank == 1 else list("DHW"[-rank:])
    return text.replace("*sides'", ", ".join(f"{side}'" for side in sides)).replace("*sides", ", ".join(sides))
