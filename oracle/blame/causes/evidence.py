"""What is known about a wrong quantity, and when a hypothesis about it fits."""

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
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.model import BranchLog, Floats
from oracle.trace import Key


class Hypothesis(NamedTuple):
    """A cause by its name and in words, and the numbers that it would lead to with their error."""

    cause: str
    words: str
    value: Floats
    sigma: Floats | float


@dataclass(frozen=True)
class Evidence:
    """A wrong quantity.

    Attributes:
        case: the part that it belongs to, a step of one layer, loss or update, with the subject's own inputs; the last of several
            where earlier ones add to its gradients.
        key: its place there.
        got: what the subject has, float64.
        expected: what it should have.
        model: with which it was predicted.
        previous: what the subject had there one step before; None in the first step.
        siblings: what the part's other quantities should be.
        updated: of a layer, the parameters with which the subject ended the step, by their names in the part.
        sources: of what a container computes, what it is computed from.
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
        """Of a parameter's quantity, the parameter's short name."""
        return self.quantity.partition(".")[2]

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
    def of_parameter(self) -> Evidence:
        """Of an update, this parameter's alone: what is run again is then no more than that."""
        name = f"{self.key.layer}.{self.param}" if self.key.layer else self.param
        optimizer = self.case.optimizer
        if optimizer is None or len(self.case.params) < 2 or name not in self.case.params:
            return self
        groups = tuple(
            {**group, "params": [own for own in group["params"] if own == name]} for group in optimizer.groups
        )
        case = replace(
            self.case,
            params={name: self.case.params[name]},
            grads=tuple({own: grads[own] for own in grads if own == name} for grads in self.case.grads),
            optimizer=replace(optimizer, groups=groups),
            optimizer_state={
                kind: {own: value for own, value in values.items() if own == name}
                for kind, values in self.case.optimizer_state.items()
            },
        )
        return replace(self, case=case)

    def outside(self) -> Any:
        with np.errstate(invalid="ignore"):
            near = np.abs(self.got - self.expected.value) <= LAMBDA * self.expected.sigma
        return ~(near | (np.isnan(self.got) & np.isnan(self.expected.value)))

    def fits(self, value: Floats, sigma: Floats | float) -> bool:
        """Whether what the subject has agrees with these numbers within rounding, and they are not what was expected."""
        if value.shape != self.got.shape:
            return False
        with np.errstate(all="ignore"):
            same = (self.got == value) | (np.isnan(self.got) & np.isnan(value))
            return bool(np.all(same | (np.abs(self.got - value) <= LAMBDA * sigma)))

    def is_refbps_own(self) -> bool:
        """Whether refbp itself comes to what the subject has, and not to what is expected."""
        found = self.after()
        return found is not None and self.fits(found.value, found.sigma)

    def after(self, case: Case | None = None, **fields: Any) -> ErrorArray | None:
        """The quantity if the part had been another one; None where that cannot be, or has no such quantity."""
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
