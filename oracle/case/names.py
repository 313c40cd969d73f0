"""Names in a case: "0.weight" is the parameter "weight" of the layer "0"; which are buffers, and what optimizers keep."""

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
    """Whether "0.running_mean", or "running_mean" alone, is a buffer and no parameter."""
    return name.rpartition(".")[2] in BUFFERS


def quantity_of(kept: str) -> str:
    """The quantity that shows what an optimizer of torch or refbp keeps under this name."""
    return QUANTITIES.get(kept, kept)


def kept_as(quantity: str) -> str:
    """The inverse of `quantity_of`."""
    return KEPT.get(quantity, quantity)
