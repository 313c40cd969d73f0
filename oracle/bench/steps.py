"""A training step (zero_grad, forward, loss, backward, update) as a function that can be called repeatedly.

Each contender starts from the same case, and continues from the state after its last step.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.case.names import is_buffer
from oracle.execution.network import LAYERS, LOSSES, Network, build_loss, build_optimizer
from oracle.subjects.walk import Framework, Layer, Op, Options, Tensor, short_names


class Contender(NamedTuple):
    """`step` makes a training step; `parameters` returns the parameters after the steps so far, by torch's names."""

    step: Callable[[], None]
    parameters: Callable[[], Mapping[str, Array]]


def refbp(case: Case) -> Contender:
    network = Network(case)
    network.load(np.copy)
    assert case.loss is not None
    net, loss = network.root, build_loss(case, case.loss)
    parameters = network.parameters()
    optimizer = build_optimizer(case, parameters, np.copy)
    x, target = case.inputs[0].copy(), case.targets[0][0].copy()

    def step() -> None:
        optimizer.zero_grad()
        loss(net(x), target)
        net.backward(loss.backward())
        optimizer.step()

    return Contender(step, lambda: {name: parameter.data for name, parameter in parameters.items()})


def peer(framework: Framework, case: Case, ops: Mapping[str, Op]) -> Contender:
    """A training step on an array library with automatic differentiation; `ops` are layers that its adapter lacks. NumPy computes
    the update."""
    assert case.loss is not None and case.optimizer is not None
    spec, lr, momentum = case.loss, case.optimizer.options["lr"], case.optimizer.options["momentum"]
    buffers = set(filter(is_buffer, case.params))
    values = {name: value.copy() for name, value in case.params.items() if name not in buffers}
    velocity = {name: np.zeros_like(value) for name, value in values.items()}
    x, target = framework.array(case.inputs[0].copy()), framework.array(case.targets[0][0].copy())

    def made(kind: Mapping[str, type], spec: Spec, name: str, leaves: Mapping[str, Tensor]) -> Layer:
        params = {short: leaves[f"{name}.{short}"] for short in short_names(name, leaves)}
        return Layer(spec.type, Options.of(kind, spec), params, {}, True, case.dtype, framework.array)

    def value(leaves: Mapping[str, Tensor]) -> Tensor:
        def sequence(layers: tuple[Spec, ...], prefix: str, x: Tensor) -> Tensor:
            for index, spec in enumerate(layers):
                name = f"{prefix}{spec.name or index}"
                op = ops.get(spec.type) or framework.layers[spec.type]
                x = op(made(LAYERS, spec, name, leaves), x)
            return x

        score = sequence(case.layers, "", x)
        return framework.losses[spec.type](made(LOSSES, spec, "loss", leaves), score, target)

    def step() -> None:
        grads = framework.gradient(value, {name: framework.array(v) for name, v in values.items()})(None)
        for name in values:
            velocity[name] = momentum * velocity[name] + framework.numpy(grads[name])
            values[name] -= lr * velocity[name]

    return Contender(step, lambda: values)


def torch(case: Case, input_gradient: bool = False) -> Contender:
    from oracle.subjects.torch import training_step

    return Contender(*training_step(case, input_gradient))
