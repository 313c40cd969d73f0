"""Names in a case, of parameters ("0.weight" is "weight" of the layer "0"), buffers and optimizer state."""

from __future__ import annotations

import inspect

import refbp

# What layers keep beside their parameters, as refbp's classes say.
BUFFERS = tuple(
    dict.fromkeys(
        name
        for made in vars(refbp).values()
        if inspect.isclass(made) and issubclass(made, refbp.Layer)
        for name in made.buffer_names
    )
)
# A Linear once more, with its weight transposed; no class of torch's, so that only those run it who know what it is.
TRANSPOSE = "LinearTranspose"
# What an optimizer keeps goes by its own name, but for this one.
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
