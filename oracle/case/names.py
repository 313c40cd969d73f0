"""Names in a case, of parameters ("0.weight" is "weight" of the layer "0"), buffers and optimizer state."""

from __future__ import annotations

import inspect

import refbp

# The arrays that layers keep in addition to their parameters, as refbp's classes name them.
BUFFERS = tuple(
    dict.fromkeys(
        name
        for made in vars(refbp).values()
        if inspect.isclass(made) and issubclass(made, refbp.Layer)
        for name in made.buffer_names
    )
)
# A second use of a Linear, with its weight transposed. torch has no such class, so only a subject that knows it runs it.
TRANSPOSE = "LinearTranspose"
# A state of an optimizer has the same name as its quantity, except for this one.
QUANTITIES = {"momentum_buffer": "momentum"}
KEPT = {quantity: kept for kept, quantity in QUANTITIES.items()}


def is_buffer(name: str) -> bool:
    """Whether a name such as "0.running_mean" or "running_mean" is that of a buffer rather than a parameter."""
    return name.rpartition(".")[2] in BUFFERS


def quantity_of(kept: str) -> str:
    """The quantity for the state that an optimizer of torch or refbp keeps under this name."""
    return QUANTITIES.get(kept, kept)


def kept_as(quantity: str) -> str:
    """The inverse of `quantity_of`."""
    return KEPT.get(quantity, quantity)
