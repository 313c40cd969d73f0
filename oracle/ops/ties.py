"""Other one-sided derivatives at the kinks and ties of a program, which are as right as those of its rules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from oracle.case.arrays import Array
from oracle.execution.predict import SAME
from oracle.judging.derived import expected_of
from oracle.judging.figures import differs
from oracle.programs.execution import Plain, Run, WithErrors
from oracle.programs.program import Program
from oracle.running_error import LAMBDA, ErrorArray
from oracle.running_error.branches import BranchLog
from oracle.running_error.model import ROUNDOFF, Floats

# By which share of its largest number an array is shifted, and the share of the sizes of its gradient by which the total may then
# change where no kink is: it changes by about this step, times the curvature.
STEP, SMOOTH = 2.0**-30, 2.0**-24


@dataclass(frozen=True, eq=False)
class Ties:
    """Tells whether gradients are right that a program does not give.

    Attributes:
        arithmetic, upstream, gradients: those with which the program was run, and what it gave.
    """

    program: Program
    arithmetic: WithErrors
    upstream: Sequence[Array | None]
    gradients: Sequence[ErrorArray | None]

    def explain(self, place: int, got: Array) -> bool:
        """Whether another choice at kinks and ties gives this gradient of the input at a position."""
        own, tied = self.gradients[place], self._open[place]
        if own is None or tied is None or tied.bound is None or got.shape != own.shape:
            return False
        reached, due = tied.bound * (1 + SAME), expected_of(own)
        if not (reached > SAME * due.scale).any():
            return False
        other = replace(due, value=tied.value, sigma=due.sigma + reached / LAMBDA)
        return not differs(got, other) and self._is_shared_out(place, got, own)

    @cached_property
    def _open(self) -> Sequence[ErrorArray | None]:
        """The gradients whose bounds reach each choice, and are free of rounding. The effects of several choices add up."""
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
        size = float(np.sum(np.abs(own.value)))
        if not abs(above - below) <= SMOOTH * size:
            return True
        u = ROUNDOFF[own.dtype.name]
        allowed = LAMBDA * (float(np.sqrt(np.sum(np.square(own.sigma)))) + u * size) + SMOOTH * size
        return abs(float(np.sum(got.astype(np.float64))) - (above + below) / 2) <= allowed

    def _total(self, place: int, sign: int) -> float:
        """The sum of the gradient of an input, where all of it is a little larger or smaller."""
        numbers = self.program.inputs[place][1].numbers
        largest = float(np.max(np.abs(numbers.astype(np.float64)), initial=0.0)) or 1.0
        arithmetic = _Shifted(numbers, sign * STEP * largest)
        found = Run(self.program, arithmetic).gradients(
            [None if own is None else arithmetic.lifted(own) for own in self.upstream]
        )
        return float(np.sum(found[place]))


@dataclass(frozen=True)
class _Shifted(Plain):
    """Computes without errors, with one input shifted, and makes every comparison anew."""

    numbers: Array
    by: float
    opens = True

    def lifted(self, numbers: Array) -> Any:
        made: Floats = super().lifted(numbers)
        return made + self.by if numbers is self.numbers else made
