"""Cases of single layers, made from a family's table of options."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from oracle.case.case import Case
from oracle.suite.build import Draw, apart, label, layer, network_case, normal, pairs

Options = dict[str, Any]
# Sizes of the last dimensions by rank, all different so that no two dimensions can be mistaken for each other.
SIDES = {1: (11,), 2: (7, 9), 3: (5, 6, 7)}


@dataclass(frozen=True)
class Sweep:
    """A class with the values of its options. Every pair of values of two options occurs in a case, and each value alone.

    Args:
        shape: the shape of the input, or a function of the options that gives it.
        why: what its cases test.
        fixed: arguments that all cases share.
        valid: whether a combination can be built; options that are not in it have their defaults.
        turned: whether every second case has its sides in reverse order, so that height exceeds width as often as not.
        tag: distinguishes the names of cases if a class has two sweeps.
    """

    type: str
    levels: Mapping[str, Sequence[Any]]
    shape: tuple[int, ...] | Callable[[Options], tuple[int, ...]]
    why: str
    fixed: Options = field(default_factory=dict)
    valid: Callable[[Options], bool] = lambda _: True
    draw: Draw = normal
    training: Sequence[bool] = (True,)
    tag: str = ""
    turned: bool = False

    def cases(self, family: str) -> Iterator[Case]:
        swept = list(pairs(self.levels, self.valid)) if self.levels else [{}]
        for number, options in enumerate([*swept, *apart(self.levels, self.valid)]):
            shape = self.shape(options) if callable(self.shape) else self.shape
            if self.turned and number % 2:
                shape = (*shape[:2], *reversed(shape[2:]))
            for training in self.training if number < len(swept) else self.training[:1]:
                name = f"{family}/{self.type}{label(options)}{self.tag}{'' if training else ',eval'}"
                if number >= len(swept) and len(options) == len(self.levels):
                    continue  # with a single option, each of its values has a case already
                spec = layer(self.type, **{**self.fixed, **options})
                yield network_case(name, self.why, [spec], shape, draw=self.draw, training=training)


def ranked(rank: int, lead: tuple[int, ...] = (2, 4)) -> tuple[int, ...]:
    """The input's shape for layers of this rank: batch and channels, then sides."""
    return (*lead, *SIDES[rank])
