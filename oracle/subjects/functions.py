"""Functions of frameworks that may not be installed, made ready for `oracle.check_op`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from oracle.subjects.libraries import how_to_install


def from_jax(fn: Callable[..., Any]) -> Callable[..., tuple[Any, Callable[[Any], tuple[Any, ...]]]]:
    """A function of JAX arrays, with a custom_vjp or without, as fn(x, …) -> (y, backward): jax.vjp gives its backward.

    Raises: ImportError without JAX.
    """
    try:
        from oracle.subjects import jax
    except ModuleNotFoundError as error:
        raise ImportError(f"oracle.from_jax needs {error.name}: {how_to_install('jax')}", name=error.name) from None
    return jax.differentiable(fn)
