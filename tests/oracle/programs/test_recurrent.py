"""Recurrent layers as torch runs them in float32, held against torch's own in float64, and windows folded back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from oracle.programs.execution import Plain, Run, WithErrors
from oracle.programs.program import Program
from oracle.programs.torch_calls import record
from oracle.running_error import LAMBDA, ErrorModel


class Packed(torch.nn.Module):
    """A GRU on sequences of different lengths, which are packed and padded again."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.first, self.gru = batch_first, torch.nn.GRU(3, 4, batch_first=batch_first)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lengths = torch.tensor([2, 1, 1, 1, 1] if self.first else [5, 3])
        packed = pack_padded_sequence(x, lengths, self.first)
        made: torch.Tensor = pad_packed_sequence(self.gru(packed)[0], self.first, total_length=5)[0]
        return made


LAYERS: dict[str, Callable[[], torch.nn.Module]] = {
    "LSTM": lambda: torch.nn.LSTM(3, 4, 2, bidirectional=True),
    "LSTM, batch first, without biases": lambda: torch.nn.LSTM(3, 4, batch_first=True, bias=False),
    "GRU": lambda: torch.nn.GRU(3, 4, 2),
    "GRU, packed": lambda: Packed(False),
    "GRU, packed, batch first": lambda: Packed(True),
    "RNN": lambda: torch.nn.RNN(3, 4, nonlinearity="relu"),
    "Fold": lambda: torch.nn.Sequential(
        torch.nn.Unfold((2, 3), (1, 2), (1, 0), (2, 1)), torch.nn.Fold((3, 4), (2, 3), 1, 1)
    ),
}
SHAPES = {"Fold": (2, 3, 6, 8)}


def recorded(layer: torch.nn.Module, x: torch.Tensor) -> tuple[Program, Callable[..., Any], list[torch.Tensor]]:
    """The layer as a function of its input and parameters, as it ran."""
    names, values = [*dict(layer.named_parameters())], [*layer.parameters()]

    def fn(x: torch.Tensor, *params: torch.Tensor) -> Any:
        made = torch.func.functional_call(layer, dict(zip(names, params, strict=True)), (x,))
        return made[0] if isinstance(made, tuple) else made

    inputs = [own.detach().requires_grad_() for own in (x, *values)]
    return record(fn, *inputs)[0], fn, inputs


@pytest.mark.parametrize("name", LAYERS)
def test_values_gradients_and_errors(name: str) -> None:
    """Rules for calls that do much at once, such as all steps of an LSTM: their values are torch's, and so are their errors."""
    torch.manual_seed(0)
    layer = LAYERS[name]()
    x = torch.randn(SHAPES.get(name, (5, 2, 3)))
    program, fn, inputs = recorded(layer, x)
    if name.startswith("LSTM"):
        assert (
            any(call.name == "mkldnn_rnn_layer" for call in program.calls) or not torch.backends.mkldnn.is_available()
        )
    output = fn(*inputs)
    upstream = torch.randn_like(output)
    due = torch.autograd.grad(output, inputs, upstream)
    wide = [own.detach().double().requires_grad_() for own in inputs]
    wide_output = fn(*wide)
    exact = torch.autograd.grad(wide_output, wide, upstream.double())

    plain = Run(program, Plain())
    grads = plain.gradients([upstream.double().numpy()])
    for got, expected in zip([plain.outputs[0], *grads], [wide_output, *exact], strict=True):
        np.testing.assert_allclose(got, expected.detach().numpy(), rtol=1e-10, atol=1e-11)

    arithmetic = WithErrors(ErrorModel(np.dtype("float32")))
    run = Run(program, arithmetic)
    for judged, came in zip(
        [run.outputs[0], *run.gradients([arithmetic.lifted(upstream.numpy())])], [output, *due], strict=True
    ):
        error = np.abs(came.detach().double().numpy() - judged.value)
        assert (error <= LAMBDA * judged.sigma).all()
        assert (judged.sigma <= 1e-4 * np.abs(judged.value).max()).all()  # and not by being wide
