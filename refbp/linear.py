"""The fully connected layer: eq. (1)-(5) of refbp/DERIVATION.md in matrix form, for a batch."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.checks import require_counts
from refbp.docstring import documented_by
from refbp.layer import Layer, LayerOptions


def linear(input: Array, weight: Array, bias: Array | None = None) -> tuple[Array, Backward]:
    """z = n Wᵀ + b, for a batch whose samples are the rows of n.

    Shape: input (*, in_features), weight (out_features, in_features), bias (out_features), output (*, out_features).
    Gradients, with delta = grad_output:
        grad_input  = delta W       eq. (4) without f', which belongs to the activation's own layer
        grad_weight = deltaᵀ n      eq. (5), summed over the batch
        grad_bias   = Σ delta       eq. (5) with ∂z/∂b = I, eq. (3)
    Raises: ValueError when the last dimension is not in_features, or weight and bias are not of these shapes.
    """
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        raise ValueError(
            f"linear expects weight (out_features, in_features) and bias (out_features), got {weight.shape} and "
            f"{None if bias is None else bias.shape}"
        )
    if input.ndim == 0 or input.shape[-1] != weight.shape[1]:
        raise ValueError(f"linear expects input (*, {weight.shape[1]}) for weight {weight.shape}, got {input.shape}")
    rows = input.reshape(math.prod(input.shape[:-1]), weight.shape[1])  # (*, in) -> (N, in)
    z = rows @ weight.T
    if bias is not None:
        z += bias

    def backward(grad_output: Array) -> tuple[Array, Array, Array | None]:
        delta = grad_output.reshape(z.shape)
        grad_input = delta @ weight
        grad_weight = delta.T @ rows
        grad_bias = None if bias is None else np.sum(delta, axis=0)
        return grad_input.reshape(input.shape), grad_weight, grad_bias

    return z.reshape((*input.shape[:-1], weight.shape[0])), backward


@documented_by(linear)
class Linear(Layer):
    """torch.nn.Linear: `refbp.functional.linear` with a weight and a bias as parameters.

    Parameters: weight (out_features, in_features) and, unless bias=False, bias (out_features); initial values are uniform in
        ±1/√in_features.

    >>> layer = refbp.Linear(2, 1)
    >>> layer.load_state_dict({"weight": [[2.0, 3.0]], "bias": [1.0]})
    >>> layer(np.array([[1.0, 1.0], [0.0, 2.0]]))
    array([[6.],
           [7.]])
    >>> layer.backward(np.array([[1.0], [10.0]]))
    array([[ 2.,  3.],
           [20., 30.]])
    >>> layer.grads["weight"], layer.grads["bias"]
    (array([[ 1., 21.]]), array([11.]))
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, **options: Unpack[LayerOptions]) -> None:
        super().__init__(**options)
        require_counts("Linear", in_features=in_features, out_features=out_features)
        self.in_features, self.out_features = in_features, out_features
        bound = 1 / math.sqrt(in_features) if in_features > 0 else 0.0
        self.add_param("weight", self.rng.uniform(-bound, bound, (out_features, in_features)))
        if bias:
            self.add_param("bias", self.rng.uniform(-bound, bound, out_features))

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        return linear(input, *params)
