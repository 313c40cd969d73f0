"""Muon: a step along the momentum whose singular values have been brought close to 1, in bfloat16."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from refbp.arrays import Array, dispatched, in_bfloat16
from refbp.docstring import documented_by
from refbp.layer import Parameter
from refbp.optimizer import Optimizer, Params

# The coefficients of Keller Jordan's post, with which small singular values grow as fast as possible.
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ADJUSTMENTS = (None, "original", "match_rms_adamw")
MOST_STEPS = 99


@dispatched
def newton_schulz(x: Array, coefficients: tuple[float, float, float], steps: int, eps: float) -> Array:
    """The matrix with its singular values brought close to 1, by Newton-Schulz iterations in bfloat16.

        X = x / max(‖x‖, eps)                             (of xᵀ if x has more rows than columns)
        A = X Xᵀ,   B = b A + c A A,   X ← a X + B X      (`steps` times)

    Singular vectors are kept, and each singular value s becomes a s + b s³ + c s⁵ in every iteration. x, its norm and every X, A
    and B are rounded to bfloat16; sums are added up in float32 or wider.

    Shape: (n, m), kept.
    """
    a, b, c = coefficients
    is_tall = x.shape[0] > x.shape[1]
    X = in_bfloat16(x.T if is_tall else x)
    norm = in_bfloat16(np.sqrt(np.sum(np.square(X))))
    X = in_bfloat16(X / np.maximum(norm, in_bfloat16(np.full_like(norm, eps))))
    for _ in range(steps):
        A = in_bfloat16(X @ X.T)
        B = in_bfloat16(b * A + c * (A @ A))
        X = in_bfloat16(a * X + B @ X)
    return (X.T if is_tall else X).astype(x.dtype)


def muon(
    param: Array,
    grad: Array,
    momentum_buffer: Array | None = None,
    *,
    lr: float,
    weight_decay: float = 0.1,
    momentum: float = 0.95,
    nesterov: bool = True,
    ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
    eps: float = 1e-7,
    ns_steps: int = 5,
    adjust_lr_fn: str | None = None,
) -> tuple[Array, Array]:
    """One step of Muon: the new parameter and the new momentum buffer.

        v ← v + (1 - momentum) (grad - v)
        O = newton_schulz(grad + momentum (v - grad)  if nesterov, else v)
        W ← (1 - lr weight_decay) W - lr r O,   r = √max(1, n / m)          (match_rms_adamw: r = 0.2 √max(n, m))

    Source: Jordan et al., Muon: An optimizer for hidden layers in neural networks, kellerjordan.github.io/posts/muon, 2024;
    Liu et al., arXiv:2502.16982 (match_rms_adamw).

    Shape: param, grad and momentum_buffer (n, m); none of them is changed.
    Raises: ValueError for a parameter that is not a matrix.
    Conventions: v = 0 before the first step. The weight decay is decoupled, and r does not scale it. O is computed in bfloat16
        for parameters of every dtype.
    """
    rows, columns = matrix_shape(param.shape, "param")
    v = np.zeros_like(param) if momentum_buffer is None else momentum_buffer
    v = v + (1.0 - momentum) * (grad - v)
    ahead = grad + momentum * (v - grad) if nesterov else v
    r = math.sqrt(max(1.0, rows / columns)) if columns else 1.0
    if adjust_lr_fn == "match_rms_adamw":
        r = 0.2 * math.sqrt(max(rows, columns))
    step = (lr * r) * newton_schulz(ahead, ns_coefficients, ns_steps, eps)
    return (1.0 - lr * weight_decay) * param - step, v


def matrix_shape(shape: tuple[int, ...], name: str) -> tuple[int, int]:
    """The numbers of rows and columns of a matrix. Raises: ValueError for another shape."""
    if len(shape) != 2:
        raise ValueError(f"Muon expects each parameter as a matrix, got {name} of shape {shape}")
    return shape[0], shape[1]


@documented_by(muon)
class Muon(Optimizer):
    """torch.optim.Muon: `refbp.functional.muon` for every parameter.

    Raises: ValueError for an unknown adjust_lr_fn, other than three ns_coefficients, or 100 ns_steps or more.

    >>> net = refbp.Sequential(refbp.Linear(8, 4), refbp.ReLU(), refbp.Linear(4, 2))
    >>> weights = [p for p in net.parameters() if p.data.ndim == 2]
    >>> others = [p for p in net.parameters() if p.data.ndim != 2]
    >>> optimizers = refbp.Muon(weights, lr=0.02), refbp.AdamW(others)
    """

    rule, state_names = staticmethod(muon), ("momentum_buffer",)

    def __init__(
        self,
        params: Params,
        lr: float = 1e-3,
        weight_decay: float = 0.1,
        momentum: float = 0.95,
        nesterov: bool = True,
        ns_coefficients: tuple[float, float, float] = COEFFICIENTS,
        eps: float = 1e-7,
        ns_steps: int = 5,
        adjust_lr_fn: str | None = None,
    ) -> None:
        super().__init__(
            params,
            lr=lr,
            weight_decay=weight_decay,
            momentum=momentum,
            nesterov=nesterov,
            ns_coefficients=ns_coefficients,
            eps=eps,
            ns_steps=ns_steps,
            adjust_lr_fn=adjust_lr_fn,
        )

    def check_options(self, options: Mapping[str, Any]) -> None:
        numbers = {name: value for name, value in options.items() if name not in ("ns_coefficients", "adjust_lr_fn")}
        super().check_options(numbers)
        if options["adjust_lr_fn"] not in ADJUSTMENTS:
            known = ", ".join(map(repr, ADJUSTMENTS))
            raise ValueError(f"Muon expects adjust_lr_fn as one of {known}, got {options['adjust_lr_fn']!r}")
        if len(options["ns_coefficients"]) != 3:
            raise ValueError(f"Muon expects three ns_coefficients, got {options['ns_coefficients']}")
        if options["ns_steps"] > MOST_STEPS:
            raise ValueError(f"Muon expects ns_steps of at most {MOST_STEPS}, got {options['ns_steps']}")

    def check_parameter(self, parameter: Parameter) -> None:
        matrix_shape(parameter.data.shape, parameter.name)
