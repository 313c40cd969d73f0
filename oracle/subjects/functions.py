"""Adapts functions of frameworks that may not be installed for `oracle.check_op`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oracle.subjects.libraries import how_to_install


def from_jax(fn: Callable[..., Any]) -> Callable[..., tuple[Any, Callable[[Any], tuple[Any, ...]]]]:
    """Turns a function of JAX arrays, with or without a custom_vjp, into fn(x, …) -> (y, backward), with jax.vjp as its backward.

    Raises: ImportError if JAX is not installed.
    """
    try:
        from oracle.subjects import jax
    except ModuleNotFoundError as error:
        raise ImportError(f"oracle.from_jax needs {error.name}: {how_to_install('jax')}", name=error.name) from None
    return jax.differentiable(fn)
