"""Rules of recurrent layers as torch runs them on a CPU: all steps of an LSTM layer in one call, or a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from oracle.programs.adjoint import matrix_t, summed_to
from oracle.programs.geometry import mapped
from oracle.programs.table import NoRule, rule
from refbp import functional

LSTM = 2  # mkldnn's number for it


def cell(gates: Any, c: Any) -> tuple[Any, Any, Callable[[Any, Any], tuple[Any, Any]]]:
    """h and c of the next step from the sums of the four gates (i, f, g, o), with their backward.

    c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c'). Source: Hochreiter and Schmidhuber, "Long short-term memory" (1997), with
    the forget gate of Gers et al. (2000).
    """
    size = gates.shape[-1] // 4
    parts = [gates[..., place * size : (place + 1) * size] for place in range(4)]
    (i, back_i), (f, back_f) = functional.sigmoid(parts[0]), functional.sigmoid(parts[1])
    (g, back_g), (o, back_o) = functional.tanh(parts[2]), functional.sigmoid(parts[3])
    after = f * c + i * g
    bent, back_bent = functional.tanh(after)

    def backward(grad_h: Any, grad_c: Any) -> tuple[Any, Any]:
        delta = grad_c + back_bent(grad_h * o)
        gradients = (back_i(delta * g), back_f(delta * c), back_g(delta * i), back_o(grad_h * bent))
        return np.concatenate(gradients, axis=-1), delta * f

    return o * bent, after, backward


@rule("_thnn_fused_lstm_cell")
def lstm_cell(input_gates: Any, hidden_gates: Any, cx: Any, input_bias: Any = None, hidden_bias: Any = None) -> Any:
    """One step of an LSTM from its gates: c' = σ(f) c + σ(i) tanh(g), h' = σ(o) tanh(c')."""
    gates = input_gates + hidden_gates
    for bias in (input_bias, hidden_bias):
        gates = gates if bias is None else gates + bias
    h, c, back = cell(gates, cx)

    def backward(grad_h: Any, grad_c: Any, _: Any = None) -> Any:
        none = np.zeros_like(h)
        delta, grad_cx = back(none if grad_h is None else grad_h, none if grad_c is None else grad_c)
        biases = [None if own is None else summed_to(delta, own) for own in (input_bias, hidden_bias)]
        return delta, delta, grad_cx, *biases

    return (h, c, None), backward


@rule("mkldnn_rnn_layer")
def lstm_layer(
    input: Any, weight0: Any, weight1: Any, weight2: Any, weight3: Any, hx: Any, cx: Any, reverse: bool, batch_sizes: Any,
    mode: int, hidden_size: int, num_layers: int, has_biases: bool, bidirectional: bool, batch_first: bool, train: bool,
) -> Any:  # fmt: skip
    """All steps of an LSTM's layer, in one direction: z = W x + b + U h + c, then the cell; back through the steps."""
    if mode != LSTM or batch_sizes:
        raise NoRule("there is a rule for mkldnn_rnn_layer of an LSTM without packed sequences only")
    x = input  # (T, N, I), whatever batch_first says of the layer, as bidirectional and num_layers do
    steps = list(range(x.shape[0]))[:: -1 if reverse else 1]
    h, c = hx.reshape(x.shape[1], hidden_size), cx.reshape(x.shape[1], hidden_size)
    given, backs, outputs = {}, {}, {}
    for t in steps:
        given[t] = h
        gates = x[t] @ matrix_t(weight0) + h @ matrix_t(weight1)
        if has_biases:
            gates = gates + weight2 + weight3
        h, c, backs[t] = cell(gates, c)
        outputs[t] = h
    y = np.stack([outputs[t] for t in range(len(steps))])

    def backward(grad_y: Any, grad_hy: Any, grad_cy: Any, _: Any = None) -> Any:
        none = np.zeros_like(h)
        grad_h = none if grad_hy is None else grad_hy.reshape(h.shape)
        grad_c = none if grad_cy is None else grad_cy.reshape(h.shape)
        deltas = {}
        for t in reversed(steps):
            arriving = grad_h if grad_y is None else grad_h + grad_y[t]
            deltas[t], grad_c = backs[t](arriving, grad_c)
            grad_h = deltas[t] @ weight1
        places = range(len(steps))
        all_deltas = np.concatenate([deltas[t] for t in places])  # (T N, 4 H): one sum over all steps
        rows, before = np.concatenate([x[t] for t in places]), np.concatenate([given[t] for t in places])
        bias = np.sum(all_deltas, axis=0) if has_biases else None
        return (
            np.stack([deltas[t] @ weight0 for t in places]),
            matrix_t(all_deltas) @ rows,
            matrix_t(all_deltas) @ before,
            bias,
            bias,
            grad_h.reshape(hx.shape),
            grad_c.reshape(cx.shape),
        )

    return (y, h.reshape(hx.shape), c.reshape(cx.shape), None), backward


@rule("_pack_padded_sequence", moves=True)
def pack_padded_sequence(input: Any, lengths: Any, batch_first: bool) -> Any:
    """The elements of sequences up to their lengths, step by step; g to where each was, 0 beyond."""
    steps = np.arange(int(np.max(lengths, initial=0)))
    sizes = np.count_nonzero(np.asarray(lengths)[None, :] > steps[:, None], axis=1)
    times, samples = np.repeat(steps, sizes), np.concatenate([np.arange(size) for size in sizes])
    places = (samples, times) if batch_first else (times, samples)

    def backward(g: Any, _: Any = None) -> Any:
        def spread_out(component: Any) -> Any:
            result = np.zeros(input.shape, component.dtype)
            result[places] = component
            return result

        return (mapped(g, spread_out),)

    return (mapped(input, lambda own: own[places]), sizes), backward
