"""Rules of sums of products over labelled dimensions, and of NumPy's general matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.adjoint import is_floating, matrix_t, summed_to
from oracle.programs.table import rule
from oracle.running_error.contractions import labels_of


@rule("matmul")
def matmul(input: Any, other: Any) -> Any:
    """A B, vectors and stacks of matrices included; g Bᵀ, and Aᵀ g."""
    a = input if input.ndim > 1 else input.reshape(1, -1)
    b = other if other.ndim > 1 else other.reshape(-1, 1)
    product = a @ b
    shape = [
        *product.shape[:-2],
        *([product.shape[-2]] if input.ndim > 1 else []),
        *([product.shape[-1]] if other.ndim > 1 else []),
    ]

    def backward(g: Any) -> Any:
        delta = g.reshape(product.shape)
        grad_input, grad_other = delta @ matrix_t(b), matrix_t(a) @ delta
        return (
            summed_to(grad_input, a).reshape(input.shape) if is_floating(input) else None,
            summed_to(grad_other, b).reshape(other.shape) if is_floating(other) else None,
        )

    return product.reshape(tuple(shape)), backward


@rule("einsum")
def einsum(*given: Any) -> Any:
    """Σ of products over the labels that the result lacks; the same of g and the other arrays."""
    *arrays, equation = given
    inputs, result = labels_of(equation, len(arrays))

    def gradient(place: int, g: Any) -> Any:
        own = "".join(dict.fromkeys(inputs[place]))
        others = [array for other, array in enumerate(arrays) if other != place]
        labels = [result, *(labels for other, labels in enumerate(inputs) if other != place)]
        known = "".join(label for label in own if label in "".join(labels))
        made = np.einsum(f"{','.join(labels)}->{known}", g, *others)
        shape = dict(zip(inputs[place], arrays[place].shape, strict=True))
        for axis, label in enumerate(own):  # a label that stood here alone was summed over
            if label not in known:
                made = np.expand_dims(made, axis)
        made = np.broadcast_to(made, tuple(shape[label] for label in own))
        if own == inputs[place]:
            return made
        whole = np.zeros_like(made, shape=arrays[place].shape)
        places = np.einsum(f"{inputs[place]}->{own}", np.arange(arrays[place].size).reshape(arrays[place].shape))
        flat = whole.reshape(-1)
        np.add.at(flat, places.reshape(-1), made.reshape(-1))
        return flat.reshape(arrays[place].shape)

    return np.einsum(f"{','.join(inputs)}->{result}", *arrays), lambda g: tuple(
        gradient(place, g) if is_floating(array) else None for place, array in enumerate(arrays)
    )


@rule("take", moves=True)
def take(input: Any, index: Any) -> Any:
    """The elements at positions of the flattened array; g added to each position that was read."""

    def backward(g: Any) -> Any:
        whole = np.zeros_like(g, shape=(input.size,))
        np.add.at(whole, index.reshape(-1), g.reshape(-1))
        return (whole.reshape(input.shape),)

    return input.reshape(-1)[index], backward


@rule("put", moves=True)
def put(input: Any, index: Any, source: Any, accumulate: bool = False) -> Any:
    """Elements written or added at positions of the flattened array; g where x was kept, and g at the positions."""
    made = (np.zeros_like(source, shape=(input.size,)) + input.reshape(-1)).reshape(-1)
    if accumulate:
        np.add.at(made, index.reshape(-1), source.reshape(-1))
    else:
        made[index.reshape(-1)] = source.reshape(-1)

    def backward(g: Any) -> Any:
        flat = g.reshape(-1)
        kept = flat if accumulate else np.where(np.isin(np.arange(input.size), index), 0.0, flat)
        return kept.reshape(input.shape), None, flat[index.reshape(-1)].reshape(source.shape)

    return made.reshape(input.shape), backward
