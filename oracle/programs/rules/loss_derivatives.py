"""Rules of the backward passes of losses as operations of a program, which differentiates a gradient.

Each is the gradient g that it receives, times the loss's slope f'(x - t) or f'(x, t), times 1/n for a mean over n elements. So it
passes G f' on to g, and G g f'' to x and t.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.programs.rules.losses import REDUCTIONS
from oracle.programs.table import rule
from refbp import functional


def _of_slopes(g: Any, reduction: int, slope: Any, of_input: Any, of_target: Any) -> Any:
    """g f', and its gradients; `of_input` and `of_target` are the derivatives of the slope."""
    scale = 1.0 / slope.size if reduction == 1 else 1.0

    def backward(G: Any) -> Any:
        of_g, through = G * slope * scale, G * g * scale
        shared = of_g if reduction == 0 else np.sum(of_g).reshape(g.shape)
        return shared, through * of_input, through * of_target

    return slope * scale * g, backward


@rule("mse_loss_backward")
def mse_loss_backward(grad_output: Any, input: Any, target: Any, reduction: int) -> Any:
    """f' = 2 (x - t)."""
    return _of_slopes(grad_output, reduction, (input - target) * 2.0, 2.0, -2.0)


@rule("smooth_l1_loss_backward")
def smooth_l1_loss_backward(grad_output: Any, input: Any, target: Any, reduction: int, beta: float) -> Any:
    """f' = (x - t) / β between -β and β, the sign of x - t elsewhere."""
    distance = input - target
    inside = np.abs(distance) < beta
    slope = np.where(inside, distance / (beta or 1.0), np.sign(distance))
    bend = np.where(inside, np.zeros_like(distance) + 1.0 / (beta or 1.0), 0.0)
    return _of_slopes(grad_output, reduction, slope, bend, -bend)


@rule("huber_loss_backward")
def huber_loss_backward(grad_output: Any, input: Any, target: Any, reduction: int, delta: float) -> Any:
    """f' = x - t between -δ and δ, δ times its sign elsewhere."""
    distance = input - target
    inside = np.abs(distance) < delta
    bend = np.where(inside, np.zeros_like(distance) + 1.0, 0.0)
    slope = np.where(inside, distance, np.sign(distance) * delta)
    return _of_slopes(grad_output, reduction, slope, bend, -bend)


@rule("binary_cross_entropy_backward")
def binary_cross_entropy_backward(
    grad_output: Any, input: Any, target: Any, weight: Any = None, reduction: int = 1
) -> Any:
    """f' = w (x - t) / (x (1 - x)); f'' = w (t / x² + (1 - t) / (1 - x)²)."""
    w = 1.0 if weight is None else weight
    product = input * (1.0 - input)
    slope = (input - target) / product * w
    bend = (target / np.square(input) + (1.0 - target) / np.square(1.0 - input)) * w
    return _of_slopes(grad_output, reduction, slope, bend, -1.0 / product * w)


@rule("nll_loss_backward", "nll_loss2d_backward")
def nll_loss_backward(
    grad_output: Any, input: Any, target: Any, weight: Any, reduction: int, ignore_index: int, total_weight: Any
) -> Any:
    """-w g at each target, divided by Σ w for a mean, whatever x is; the loss of G to g."""

    def loss(x: Any) -> Any:
        return functional.nll_loss(x, target, weight, ignore_index=ignore_index, reduction=REDUCTIONS[reduction])

    _, back = loss(input)
    return back(grad_output)[0], lambda G: (loss(G)[0].reshape(grad_output.shape), None)
