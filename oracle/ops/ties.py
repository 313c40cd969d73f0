"""Other one-sided derivatives at the kinks and ties of a program, which are as right as those of its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.execution.predict import SAME
from oracle.judging.derived import expected_of
from oracle.judging.figures import differs
from oracle.judging.rows import AT_KINK, CONVENTION, WRONG, Row
from oracle.programs.execution import Plain, Run, WithErrors
from oracle.programs.program import Program
from oracle.running_error import LAMBDA, ErrorArray
from oracle.running_error.branches import BranchLog
from oracle.running_error.model import ROUNDOFF, Floats

# The diagnosis where a maximum hands its gradient to all elements that equal it.
TO_EACH = "each of several equal elements gets the whole gradient, which they have to share"
# The share by which a bound may be wider than the choices that it reaches.
MARGIN = 2.0**-19
# An array is shifted by STEP times its largest number. Where there is no kink, the total of its gradient then changes by about
# this step times the curvature: at most by SMOOTH times the sizes of the gradient.
STEP, SMOOTH = 2.0**-30, 2.0**-24


@dataclass(frozen=True, eq=False)
class Ties:
    """Tells whether a gradient is right although the rules of the program give another one.

    Attributes:
        arithmetic, upstream: the arithmetic and the upstream gradients with which the program was run.
        gradients: the gradients that it gave.
    """

    program: Program
    arithmetic: WithErrors
    upstream: Sequence[Array | None]
    gradients: Sequence[ErrorArray | None]
    _found: dict[tuple[int, int, bool], _Beside] = field(default_factory=dict)

    def explain(self, place: int, got: Array) -> bool:
        """Whether another choice at kinks and ties gives this gradient of the input at a position."""
        own = self.gradients[place]
        if own is None or got.shape != own.shape:
            return False
        with np.errstate(all="ignore"):
            return self._is_in_reach(place, got, own) or self._is_on_either_side(place, got, own)

    def verdict(self, place: int, row: Row, got: Array) -> Row:
        """The row of a gradient that is not the expected one: a convention, or what is wrong with it at a tie."""
        if self.explain(place, got):
            return row.found(CONVENTION, AT_KINK)
        with np.errstate(all="ignore"):
            return row.found(WRONG, TO_EACH) if self._gives_all_to_each(place, got) else row

    def _gives_all_to_each(self, place: int, got: Array) -> bool:
        """Whether each element of a tie gets the whole gradient, as where a program marks all that equal the maximum."""
        own, tied = self.gradients[place], self._open[place]
        if own is None or tied is None or tied.bound is None or got.shape != own.shape:
            return False
        due = expected_of(own)
        reached = np.where(tied.bound > SAME * due.scale, tied.bound, 0.0)
        value = np.where(reached > 0, tied.value + np.copysign(reached, tied.value), due.value)
        whole = replace(due, value=value, sigma=due.sigma + MARGIN * reached / LAMBDA)
        return bool(reached.any()) and not differs(got, whole)

    def _is_in_reach(self, place: int, got: Array, own: ErrorArray) -> bool:
        tied = self._open[place]
        if tied is None or tied.bound is None:
            return False
        reached, due = tied.bound * (1 + SAME), expected_of(own)
        if not (reached > SAME * due.scale).any():
            return False
        other = replace(due, value=tied.value, sigma=due.sigma + reached / LAMBDA)
        return not differs(got, other) and self._is_shared_out(place, got, own)

    def _is_on_either_side(self, place: int, got: Array, own: ErrorArray) -> bool:
        """Whether each element lies between the gradients where all of the input is a little smaller, and where it is a little
        larger. That is so at a kink that a program writes as a comparison. At a jump of its outputs no gradient is right.
        """
        below, above = self._beside(place, -1), self._beside(place, 1)
        if any(map(_jumps, below.outputs, above.outputs)):
            return False
        low, high = np.minimum(below.gradient, above.gradient), np.maximum(below.gradient, above.gradient)
        due = expected_of(own)
        is_kink = high - low > SMOOTH * np.maximum(np.abs(low), np.abs(high))
        value, half = np.where(is_kink, (low + high) / 2, due.value), np.where(is_kink, (high - low) / 2, 0.0)
        other = replace(due, value=value, sigma=due.sigma + half * (1 + SAME) / LAMBDA)
        return bool(is_kink.any()) and not differs(got, other)

    def are_shared_out(self, gradients: Sequence[Array | None]) -> bool:
        """Whether the gradients of all inputs share what arrives at a tie between elements of different inputs.

        They add up to the derivative along a shift of all inputs, unless there is a kink along it.
        """
        found = [
            (got, own)
            for got, own in zip(gradients, self.gradients, strict=True)
            if got is not None and own is not None and got.shape == own.shape
        ]
        if len(found) < 2:
            return True
        with np.errstate(all="ignore"):
            below, above = (sum(self._total(place, sign, True) for place in range(len(gradients))) for sign in (-1, 1))
            return self._adds_up(found, below, above)

    @cached_property
    def _open(self) -> Sequence[ErrorArray | None]:
        """The gradients with all choices open and nothing rounded. The bounds reach each choice; several add up."""
        alone = replace(self.arithmetic.model, bounds=True, open_ties=True, rounds=False, branches=BranchLog())
        other = replace(self.arithmetic, model=alone)
        arrived = [None if own is None else other.lifted(own) for own in self.upstream]
        return Run(self.program, other).gradients(arrived)

    def _is_shared_out(self, place: int, got: Array, own: ErrorArray) -> bool:
        """Whether the elements of a tie share the gradient.

        The elements of a gradient add up to the derivative along a shift of all of the input. That of a maximum is the same
        whichever of several equal elements is chosen. Where a kink makes it another one on either side, this says nothing.
        """
        below, above = (self._total(place, sign) for sign in (-1, 1))
        return self._adds_up([(got, own)], below, above)

    def _adds_up(self, found: Sequence[tuple[Array, ErrorArray]], below: float, above: float) -> bool:
        """Whether gradients add up to the total that the program gives a little below and above."""
        size = sum(float(np.sum(np.abs(own.value))) for _, own in found)
        if not abs(above - below) <= SMOOTH * size:
            return True
        allowed = SMOOTH * size
        for _, own in found:
            rounded = float(np.sqrt(np.sum(np.square(own.sigma))))
            allowed += LAMBDA * (rounded + ROUNDOFF[own.dtype.name] * float(np.sum(np.abs(own.value))))
        return abs(sum(float(np.sum(got.astype(np.float64))) for got, _ in found) - (above + below) / 2) <= allowed

    def _total(self, place: int, sign: int, all_inputs: bool = False) -> float:
        """The sum of the gradient of an input, after `_beside` has shifted it."""
        gradient = self._beside(place, sign, all_inputs).gradient
        return 0.0 if gradient is None else float(np.sum(gradient))

    def _beside(self, place: int, sign: int, all_inputs: bool = False) -> _Beside:
        """The results after all elements of one input, or of all inputs, were made a little larger or smaller."""
        if (place, sign, all_inputs) not in self._found:
            shifted = range(len(self.gradients)) if all_inputs else [place]
            inputs = [
                own.numbers
                for at, (_, own) in enumerate(self.program.inputs)
                if at in shifted and self.gradients[at] is not None
            ]
            largest = max(map(_largest, inputs)) or 1.0
            arithmetic = _Shifted(tuple(inputs), sign * STEP * largest)
            run = Run(self.program, arithmetic)
            found = run.gradients([None if own is None else arithmetic.lifted(own) for own in self.upstream])
            for at in range(len(found)) if all_inputs else [place]:
                self._found[at, sign, all_inputs] = _Beside(run.outputs, found[at])
        return self._found[place, sign, all_inputs]


@dataclass(frozen=True)
class _Beside:
    """The outputs of a program with shifted inputs, and the gradient of one input."""

    outputs: Sequence[Any]
    gradient: Any


def _largest(x: Array) -> float:
    size = np.abs(x.astype(np.float64))
    return float(np.max(size, initial=0.0, where=np.isfinite(size)))


def _jumps(below: Any, above: Any) -> bool:
    """Whether an output changes by more than a continuous one would, for so small a shift."""
    size = np.maximum(np.abs(below), np.abs(above)).max(initial=0.0)
    return bool(np.any(np.abs(above - below) > SMOOTH * size))


@dataclass(frozen=True)
class _Shifted(Plain):
    """Computes without errors, with some inputs shifted, and makes every comparison anew."""

    numbers: tuple[Array, ...]
    by: float
    opens = True

    def lifted(self, numbers: Array) -> Any:
        made: Floats = super().lifted(numbers)
        return np.asarray(made + self.by) if any(numbers is own for own in self.numbers) else made
