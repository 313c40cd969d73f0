"""Tells the backward pass that is followed from those that other code runs inside of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, ParamSpec

import torch

P = ParamSpec("P")


class Passes:
    """The backward passes that run inside of each other at this moment.

    A hook may solve for a gradient, as in deep equilibrium networks: it calls `autograd.grad` again and again, which runs through
    the network's own graph. The gradients of these passes go to the hook, and not to the module.
    """

    def __init__(self) -> None:
        self._adds: list[bool] = []  # of each pass whether it adds to `grad`

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Inside, the first backward pass is the one that is followed."""
        run = torch.autograd._engine_run_backward  # type: ignore[attr-defined]

        @wraps(run)
        def counted(*args: Any, **kwargs: Any) -> Any:
            self._adds.append(kwargs.get("accumulate_grad", True))
            try:
                return run(*args, **kwargs)
            finally:
                self._adds.pop()

        torch.autograd._engine_run_backward = counted  # type: ignore[attr-defined]
        try:
            yield
        finally:
            torch.autograd._engine_run_backward = run  # type: ignore[attr-defined]

    @property
    def is_inside(self) -> bool:
        """Whether a pass runs inside of the one that is followed."""
        return len(self._adds) > 1

    @property
    def asks(self) -> bool:
        """Whether one of these passes is of `autograd.grad`, which hands its gradients to other code."""
        return not all(self._adds)

    def without_asked(self, hook: Callable[P, None]) -> Callable[P, None]:
        """A hook that is not called in passes of `autograd.grad`."""

        @wraps(hook)
        def kept(*args: P.args, **kwargs: P.kwargs) -> None:
            if not self.asks:
                hook(*args, **kwargs)

        return kept
