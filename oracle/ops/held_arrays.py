"""The arrays that a user's layer holds, in attributes, in dicts and lists, and in objects such as `Parameter(data, grad)`.

A place is a path of names and indices: "W", "gradients.W", "weights.0" or "W.data".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from oracle.case.arrays import Array

# How many steps a path may have: enough for a parameter object in a dict of a layer.
DEEPEST = 3
NOWHERE = object()


def at(owner: Any, path: str) -> Any:
    """What is at this place; NOWHERE if nothing is."""
    for name in path.split("."):
        if isinstance(owner, Mapping):
            owner = owner.get(name, NOWHERE)
        elif isinstance(owner, (list, tuple)):
            owner = owner[int(name)] if name.isdigit() and int(name) < len(owner) else NOWHERE
        else:
            owner = getattr(owner, name, NOWHERE)
    return owner


def put(owner: Any, path: str, value: Any) -> None:
    """Put a value at a place that exists."""
    inside, _, name = path.rpartition(".")
    owner = at(owner, inside) if inside else owner
    if isinstance(owner, dict):
        owner[name] = value
    elif isinstance(owner, list):
        owner[int(name)] = value
    else:
        setattr(owner, name, value)


def remove(owner: Any, path: str) -> None:
    """Remove what is at a place, if it is an attribute or an entry of a dict."""
    inside, _, name = path.rpartition(".")
    owner = at(owner, inside) if inside else owner
    if isinstance(owner, dict):
        owner.pop(name, None)
    elif not isinstance(owner, (list, tuple)) and name in getattr(owner, "__dict__", {}):
        delattr(owner, name)


def arrays_of(owner: Any) -> dict[str, Array]:
    """The arrays of floating-point numbers that a layer holds, by their places; each once."""
    found: dict[str, Array] = {}
    seen: set[int] = set()
    for path, own in _inside(owner, "", DEEPEST):
        if id(own) not in seen and own.dtype.kind == "f" and own.size:
            seen.add(id(own))
            found[path] = own
    return found


def _inside(owner: Any, path: str, steps: int) -> Iterator[tuple[str, Array]]:
    if isinstance(owner, np.ndarray):
        yield path, owner
        return
    if not steps:
        return
    if isinstance(owner, Mapping):
        items = [(name, own) for name, own in owner.items() if isinstance(name, str)]
    elif isinstance(owner, (list, tuple)):
        items = [(str(place), own) for place, own in enumerate(owner)]
    else:
        items = list(getattr(owner, "__dict__", {}).items())
    for name, own in items:
        yield from _inside(own, f"{path}.{name}" if path else name, steps - 1)


def read_by(forward: Callable[[], tuple[Any, Callable[[Any], Any]]], x: Array, output: Array) -> list[str]:
    """The places of the arrays on which the output depends.

    forward: gives a layer as it was before the step, and its forward, as often as it is called.
    """
    layer, _ = forward()
    return [path for path in arrays_of(layer) if _depends(forward, path, x, output)]


def _depends(forward: Callable[[], tuple[Any, Callable[[Any], Any]]], path: str, x: Array, output: Array) -> bool:
    layer, run = forward()
    put(layer, path, at(layer, path) * 1.5 + 1)
    try:
        with np.errstate(all="ignore"):
            return not np.array_equal(run(x.copy()), output, equal_nan=True)
    except Exception:  # it uses the array, in another way than a parameter's
        return False


def likely_gradient(path: str, shape: tuple[int, ...], after: Any) -> str:
    """The place where a layer seems to hold the gradient of the array at another place; "" if there is none."""
    _, _, name = path.rpartition(".")
    usual = {f"d{name}", f"d_{name}", f"grad_{name}", f"{name}_grad", f"grad{name}", f"g{name}", "grad", "g", name}
    others = (own for own, array in arrays_of(after).items() if own != path and array.shape == shape)
    return next((own for own in others if own.rpartition(".")[2] in usual), "")
