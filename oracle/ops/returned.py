"""What a user's function and its backward return: a pair, and a gradient for each array."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from oracle.case.arrays import Array
from oracle.case.foreign import numpy_of
from oracle.ops.given import described
from oracle.wording.figures import counted


def called_with(function: Callable[..., Any], name: str, arguments: Mapping[str, Any]) -> Any:
    """What a function of this name returns for these arguments. Raises: TypeError that names them if it takes others."""
    try:
        inspect.signature(function).bind(*arguments.values())
    except TypeError as error:
        raise TypeError(f"{name} is called with {', '.join(arguments)}: {error}") from None
    except ValueError:  # a function in C may have no signature
        pass
    return function(*arguments.values())


def pair_of(made: Any, name: str) -> tuple[Any, Callable[..., Any]]:
    """The output and the backward that a function of this name returned. Raises: TypeError."""
    if not isinstance(made, tuple) or len(made) != 2 or not callable(made[1]):
        raise TypeError(
            f"{name} returned {described(made)}, expected a pair: the output, and a function from its gradient to those of "
            "the arrays"
        )
    return made


def gradients_in(found: Any, names: Sequence[str]) -> list[Any]:
    """The gradients that a backward returned, alone or in a tuple. Raises: TypeError for a dict."""
    if isinstance(found, Mapping):
        raise TypeError(f"backward returned a dict, expected a tuple of gradients in this order: {', '.join(names)}")
    return list(found) if isinstance(found, (tuple, list)) else [found]


def gradients_by_name(found: Any, arrays: Mapping[str, Array]) -> dict[str, Array | None]:
    """The gradient of each floating-point array, None for one that was not given.

    Arrays of integers have no gradient. A backward may give None for them, or leave them out. Raises: TypeError.
    """
    grads, names = gradients_in(found, list(arrays)), list(arrays)
    learning = [name for name in names if arrays[name].dtype.kind not in "biu"]
    if any(own is not None for own in grads[len(names) :]):
        raise TypeError(too_many(grads, names))
    has_none_for_all = len(grads) == len(learning) and all(
        name in learning or own is not None for name, own in zip(names, grads, strict=False)
    )
    by_name = dict(zip(learning if has_none_for_all else names, grads, strict=False))
    return {name: None if by_name.get(name) is None else _array(by_name[name], name) for name in learning}


def too_many(grads: Sequence[Any], names: Sequence[str]) -> str:
    return f"backward returns {len(grads)} gradients, for {counted(len(names), 'argument')}: {', '.join(names)}"


def _array(grad: Any, name: str) -> Array:
    try:
        return numpy_of(grad)
    except TypeError as error:
        raise TypeError(f"the gradient of {name}: {error}") from None
