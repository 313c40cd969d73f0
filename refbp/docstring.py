"""Docstrings that include another one, so that `help` of a class shows the equation of its op."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
EXAMPLE = "\n\n>>> "


def documented_by(op: Callable[..., Any]) -> Callable[[T], T]:
    """A decorator: inserts the docstring of `op`, without its examples, in front of the examples of the decorated docstring."""

    def with_both(documented: T) -> T:
        text, *examples = inspect.cleandoc(documented.__doc__ or "").partition(EXAMPLE)
        shared, _, _ = (inspect.getdoc(op) or "").partition(EXAMPLE)
        documented.__doc__ = f"{text}\n\n{shared}{''.join(examples)}"
        return documented

    return with_both
