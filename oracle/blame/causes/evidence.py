"""The evidence about a wrong quantity, and whether a hypothesis about it fits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, CaseError, Spec
from oracle.execution.network import Results
from oracle.execution.predict import predict
from oracle.judging.figures import Expected
from oracle.judging.parts import update_of
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.branches import BranchLog
from oracle.running_error.model import Floats
from oracle.trace import Key


class Hypothesis(NamedTuple):
    """A cause by name and in words, with the numbers that it would give and their error."""

    cause: str
    words: str
    value: Floats
    sigma: Floats | float


@dataclass(frozen=True)
class Evidence:
    """A wrong quantity.

    Attributes:
        case: its part, a step of one layer, loss or update with the subject's own inputs; the last of several steps if earlier
            ones add to its gradients.
        key: its key in the part.
        got: the subject's value, in float64.
        expected: the expected value.
        model: the error model of the prediction.
        previous: the subject's value one step before; None in the first step.
        siblings: the expected values of the part's other quantities.
        updated: for a layer, the subject's parameters after the step, by their names in the part.
        sources: for a result of a container, the arrays from which it is computed.
    """

    case: Case
    key: Key
    got: Floats
    expected: Expected
    model: ErrorModel
    previous: Array | None = None
    siblings: Mapping[str, Floats] = field(default_factory=dict)
    sources: tuple[Array, ...] = ()
    updated: Mapping[str, Array] = field(default_factory=dict)

    @property
    def quantity(self) -> str:
        return self.key.quantity

    @property
    def param(self) -> str:
        """The short name of the parameter to which the quantity belongs."""
        return self.quantity.partition(".")[2]

    @property
    def parameter(self) -> str:
        """The name of this parameter in the part."""
        return f"{self.key.layer}.{self.param}" if self.key.layer else self.param

    @property
    def spec(self) -> Spec | None:
        """The layer or loss; None for an update."""
        return self.case.layers[0] if self.case.layers else self.case.loss

    @property
    def input(self) -> Array:
        return self.case.inputs[-1]

    @property
    def upstream(self) -> Array | None:
        return self.case.grad_outputs[-1] if self.case.grad_outputs else None

    @property
    def upstream_or_one(self) -> Any:
        """The upstream gradient in float64; 1 for a loss that was given none."""
        return 1.0 if self.upstream is None else self.upstream.astype(np.float64)

    @property
    def of_parameter(self) -> Evidence:
        """The evidence of an update reduced to this parameter, so that reruns are cheap."""
        if self.case.optimizer is None or len(self.case.params) < 2 or self.parameter not in self.case.params:
            return self
        return replace(self, case=update_of(self.case, (self.parameter,)))

    def outside(self) -> Any:
        with np.errstate(invalid="ignore"):
            near = np.abs(self.got - self.expected.value) <= LAMBDA * self.expected.sigma
        return ~(near | (np.isnan(self.got) & np.isnan(self.expected.value)))

    def fits(self, value: Floats, sigma: Floats | float) -> bool:
        """Whether the subject's value agrees with these numbers within rounding, and they differ from the expected ones."""
        if value.shape != self.got.shape:
            return False
        with np.errstate(all="ignore"):
            same = (self.got == value) | (np.isnan(self.got) & np.isnan(value))
            return bool(np.all(same | (np.abs(self.got - value) <= LAMBDA * sigma)))

    def is_refbps_own(self) -> bool:
        """Whether refbp computes the subject's value, and not the expected one."""
        found = self.after()
        return found is not None and self.fits(found.value, found.sigma)

    def after(self, case: Case | None = None, **fields: Any) -> ErrorArray | None:
        """The quantity as a changed part gives it; None if the part cannot run, or does not have the quantity."""
        try:
            other = replace(self.case if case is None else case, **fields)
            results: Results = predict(other, replace(self.model, branches=BranchLog()))
        except (CaseError, ValueError, TypeError, IndexError, KeyError, ZeroDivisionError):
            return None
        found = results.get(self.key)
        return found if isinstance(found, ErrorArray) else None

    def after_output(self) -> Floats | None:
        """The part's own output."""
        forward = replace(self, key=self.key._replace(quantity="output"), case=replace(self.case, grad_outputs=()))
        found = forward.after()
        return None if found is None else found.value

    def rerun(self, cause: str, words: str, case: Case | None = None, **fields: Any) -> list[Hypothesis]:
        found = self.after(case, **fields)
        if found is None:
            return []
        return [Hypothesis(cause, words, found.value, found.sigma)]
