"""Runs a program with errors that many of its numbers share, such as the error of a mean from which they were all computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Generic, Protocol, TypeVar

from oracle.programs.execution import WithErrors
from oracle.running_error import ErrorArray
from oracle.running_error.common_errors import moved, with_changes


class Derived(Protocol):
    """Outputs, and a function from their gradients to those of the inputs."""

    @property
    def outputs(self) -> list[Any]: ...

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]: ...


AnyRun = TypeVar("AnyRun", bound=Derived)


class WithCommonErrors(Generic[AnyRun]):
    """A run in which each result has at least the error that small shifts of the program's sums cause.

    Attributes:
        plain: the same run without these shared errors.
    """

    def __init__(self, run: Callable[[WithErrors], AnyRun], arithmetic: WithErrors) -> None:
        self._run, self._arithmetic = run, arithmetic
        self.plain = run(arithmetic)
        self.outputs = self._covered(self.plain.outputs, lambda run, _: run.outputs)

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]:
        def again(given: ErrorArray, arithmetic: WithErrors) -> ErrorArray:
            return ErrorArray.exact(given.value, arithmetic.model.of(given.dtype.name))

        def of_run(run: AnyRun, arithmetic: WithErrors) -> Sequence[Any]:
            return run.gradients([None if own is None else again(own, arithmetic) for own in grad_outputs])

        return self._covered(self.plain.gradients(grad_outputs), of_run)

    def _covered(self, found: Sequence[Any], of_run: Callable[[AnyRun, WithErrors], Sequence[Any]]) -> list[Any]:
        if not self._arithmetic.model.branches.has_common_errors:
            return list(found)
        others = [of_run(run, arithmetic) for run, arithmetic in self._moved]
        return [with_changes(own, same) for own, *same in zip(found, *others, strict=True)]

    @cached_property
    def _moved(self) -> list[tuple[AnyRun, WithErrors]]:
        found = [replace(self._arithmetic, model=model) for model in moved(self._arithmetic.model)]
        return [(self._run(arithmetic), arithmetic) for arithmetic in found]
