"""Composition: torch's values and names, shared layers whose gradients add up, and errors that name the container."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import numpy as np
import pytest
import torch

from refbp import Concat, Conv2d, Flatten, Identity, Linear, MaxPool2d, ReLU, Residual, Sequential, Sigmoid, Tanh
from refbp.layer import Layer


class TorchResidual(torch.nn.Module):
    def __init__(self, body: torch.nn.Module, shortcut: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + (x if self.shortcut is None else self.shortcut(x))


class TorchConcat(torch.nn.Sequential):
    def __init__(self, *branches: Any, dim: int = 1) -> None:
        super().__init__(*branches)
        self.dim = dim

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([branch(x) for branch in self], dim=self.dim)


def twin(layer: Layer) -> torch.nn.Module:
    """The same network in torch, without its parameters."""
    children = {name: twin(child) for name, child in layer.children.items()}
    if isinstance(layer, Residual):
        return TorchResidual(**children)
    if isinstance(layer, Concat):
        return TorchConcat(OrderedDict(children), dim=layer.dim)
    if isinstance(layer, Sequential):
        return torch.nn.Sequential(OrderedDict(children))
    if isinstance(layer, Linear):
        return torch.nn.Linear(layer.in_features, layer.out_features)
    if isinstance(layer, Conv2d):
        F, C, *kernel = layer.params["weight"].shape
        return torch.nn.Conv2d(C, F, tuple(kernel), padding="same")
    return {
        ReLU: torch.nn.ReLU(),
        Flatten: torch.nn.Flatten(),
        Tanh: torch.nn.Tanh(),
        MaxPool2d: torch.nn.MaxPool2d(2),
    }[type(layer)]


def conv(channels: int, features: int, kernel: int = 3) -> Conv2d:
    return Conv2d(channels, features, kernel, padding="same")


NETWORKS = {
    "sequential": (lambda: Sequential(Linear(3, 5), Tanh(), Linear(5, 2)), (4, 3)),
    "named": (lambda: Sequential(OrderedDict(hidden=Linear(3, 5), act=ReLU(), head=Linear(5, 2))), (4, 3)),
    "mapping": (lambda: Sequential({"a": Linear(3, 3), "b": Sequential(Linear(3, 3), Sequential(Tanh()))}), (4, 3)),
    "residual": (lambda: Residual(Sequential(Linear(3, 5), Tanh(), Linear(5, 3))), (4, 3)),
    "residual-shortcut": (lambda: Residual(Sequential(conv(2, 4), ReLU(), conv(4, 3)), conv(2, 3, 1)), (2, 2, 5, 4)),
    "residual-of-residual": (lambda: Residual(Residual(Linear(3, 3)), Residual(Tanh(), Linear(3, 3))), (4, 3)),
    "concat": (lambda: Concat(conv(2, 3, 1), Sequential(conv(2, 4), ReLU()), conv(2, 1, 5)), (2, 2, 5, 4)),
    "concat-named": (lambda: Concat({"one": Linear(3, 2), "two": Linear(3, 4)}, dim=-1), (4, 3)),
    "concat-batch": (lambda: Concat(Linear(3, 2), Linear(3, 2), dim=0), (4, 3)),
    "concat-single": (lambda: Concat(Linear(3, 2)), (4, 3)),
    "inception-resnet": (
        lambda: Sequential(
            conv(1, 4),
            Residual(Sequential(Concat(conv(4, 2, 1), Residual(conv(4, 4)), ReLU()), conv(10, 4, 1))),
            Residual(Sequential(conv(4, 6), Tanh()), conv(4, 6, 1)),
            MaxPool2d(2),
            Flatten(),
            Concat(Linear(24, 2), Sequential(Linear(24, 3), Tanh())),
            Linear(5, 2),
        ),
        (3, 1, 4, 5),
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_follows_torch(name: str) -> None:
    """Output, input gradient and all parameter gradients, under torch's names, in training for two rounds that add up."""
    make, shape = NETWORKS[name]
    rng = np.random.default_rng(5)
    ours = make()
    theirs = twin(ours).double()
    assert list(ours.params) == [key for key, _ in theirs.named_parameters()]
    theirs.load_state_dict({key: torch.tensor(value) for key, value in ours.state_dict().items()})
    for _ in range(2):
        x = rng.standard_normal(shape)
        given = torch.tensor(x, requires_grad=True)
        expected = theirs(given)
        upstream = rng.standard_normal(tuple(expected.shape))
        expected.backward(torch.tensor(upstream))
        np.testing.assert_allclose(ours(x), expected.detach(), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(ours.backward(upstream), given.grad, rtol=1e-12, atol=1e-13)
        for key, parameter in theirs.named_parameters():
            np.testing.assert_allclose(ours.grads[key], parameter.grad, rtol=1e-12, atol=1e-12)


def test_state_dict_round_trip() -> None:
    """Another network of the same form takes it over and computes the same; the copy is a copy."""
    make, shape = NETWORKS["inception-resnet"]
    first, second = make(), make()
    x = np.random.default_rng(0).standard_normal(shape)
    state = first.state_dict()
    second.load_state_dict(state)
    np.testing.assert_array_equal(first(x), second(x))
    state["0.weight"][...] = 0.0
    assert second.params["0.weight"].any()
    assert "1.body.0.1.body.weight" in state


@pytest.mark.parametrize(
    "wire",
    [
        lambda layer: Sequential(layer, Tanh(), layer),
        lambda layer: Residual(layer, layer),
        lambda layer: Concat(layer, Sequential(Tanh(), layer)),
        lambda layer: Sequential(Residual(Sequential(layer, layer)), Concat(layer, layer, dim=0)),
    ],
    ids=["sequential", "residual", "concat", "nested"],
)
def test_a_layer_that_stands_twice(wire: Any) -> None:
    """Each call keeps its own input, and the gradients of all calls add up, once."""
    rng = np.random.default_rng(2)
    shared = Linear(3, 3)
    ours = wire(shared)
    theirs = torch.nn.Linear(3, 3).double()
    theirs.load_state_dict({key: torch.tensor(value) for key, value in shared.params.items()})

    def torch_wire(layer: Layer) -> Any:
        if layer is shared:
            return theirs
        children = {name: torch_wire(child) for name, child in layer.children.items()}
        if isinstance(layer, Residual):
            return TorchResidual(**children)
        if isinstance(layer, Concat):
            return TorchConcat(OrderedDict(children), dim=layer.dim)
        return torch.nn.Sequential(OrderedDict(children)) if children else torch.nn.Tanh()

    x = rng.standard_normal((4, 3))
    given = torch.tensor(x, requires_grad=True)
    expected = torch_wire(ours)(given)
    upstream = rng.standard_normal(tuple(expected.shape))
    expected.backward(torch.tensor(upstream))
    np.testing.assert_allclose(ours(x), expected.detach(), rtol=1e-12)
    np.testing.assert_allclose(ours.backward(upstream), given.grad, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(shared.grads["weight"], theirs.weight.grad, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(shared.grads["bias"], theirs.bias.grad, rtol=1e-12, atol=1e-14)
    assert len(ours.parameters()) == 2


def test_sequential_is_a_sequence() -> None:
    """Length, order, index from either end, and slices that hold the same layers under their names."""
    layers = [Linear(1, 2), ReLU(), Linear(2, 3)]
    network = Sequential(*layers)
    assert len(network) == 3
    assert list(network) == layers
    assert network[0] is layers[0] and network[-1] is layers[2]
    part = network[1:]
    assert list(part) == layers[1:]
    assert list(part.params) == ["2.weight", "2.bias"]
    assert part.parameters()[0].layer is layers[2]
    with pytest.raises(IndexError):
        network[3]


def test_an_empty_sequential_is_the_identity() -> None:
    """As in torch; it can serve as a shortcut."""
    x = np.ones((2, 3))
    network = Residual(Sequential(), Sequential())
    np.testing.assert_array_equal(network(x), 2 * x)
    np.testing.assert_array_equal(network.backward(x), 2 * x)


def test_mode_and_zero_grad_reach_every_layer() -> None:
    """Through every kind of container."""
    network = Sequential(Residual(Concat(Linear(2, 1), Linear(2, 1)), Linear(2, 2)))
    leaves = [leaf for _, leaf in network.layers()]
    network.eval()
    assert not any(leaf.training for leaf in leaves)
    network.train()
    assert all(leaf.training for leaf in leaves)
    network(np.ones((1, 2)))
    network.backward(np.ones((1, 2)))
    assert any(grad.any() for grad in network.grads.values())
    network.zero_grad()
    assert not any(grad.any() for grad in network.grads.values())


@pytest.mark.parametrize("name", NETWORKS)
def test_layouts_empty_batches_and_read_only_arrays(name: str) -> None:
    """Reversed and broadcast memory give the values of plain memory, no rows no gradient, and nothing is written into."""
    make, shape = NETWORKS[name]
    network = make()
    rng = np.random.default_rng(1)
    x = rng.standard_normal(shape)
    upstream = rng.standard_normal(network(x).shape)
    for change in (lambda a: a[::-1], lambda a: np.broadcast_to(a[:1], a.shape), np.asfortranarray):
        plain = [np.ascontiguousarray(change(array)) for array in (x, upstream)]
        odd = [change(array) for array in (x.copy(), upstream.copy())]
        for array in odd:
            array.flags.writeable = False
        results = []
        for given, back in (plain, odd):
            network.zero_grad()
            results.append([network(given), network.backward(back), *network.grads.values()])
        for expected, got in zip(*results, strict=True):
            np.testing.assert_allclose(got, expected, rtol=1e-12, atol=1e-12)
    network.zero_grad()
    empty = network(x[:0])
    assert network.backward(empty).shape == x[:0].shape
    assert not any(grad.any() for grad in network.grads.values())


def test_float32_stays_float32() -> None:
    """Also where branches come together."""
    network = Residual(Concat(Linear(4, 2), Linear(4, 2)), Sigmoid())
    x = np.ones((2, 4), dtype=np.float32)
    assert network(x).dtype == np.float32
    assert network.backward(x).dtype == np.float32


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sequential(Linear(1, 1), "ReLU"), "Sequential expects layers, got str as '1'"),
        (lambda: Sequential(ReLU), "Sequential expects layers, got type as '0'"),
        (lambda: Sequential({"a": None}), "Sequential expects layers, got NoneType as 'a'"),
        (lambda: Sequential([ReLU()]), "Sequential expects layers, got list as '0'"),
        (lambda: Sequential({"a.b": ReLU()}), "Sequential expects names without a dot, got 'a.b'"),
        (lambda: Sequential({"": ReLU()}), "Sequential expects names without a dot, got ''"),
        (lambda: Residual(None), "Residual expects layers, got NoneType as 'body'"),
        (lambda: Residual(ReLU(), 1), "Residual expects layers, got int as 'shortcut'"),
        (Concat, "Concat expects at least one branch, got none"),
        (lambda: Concat({}), "Concat expects at least one branch, got none"),
        (lambda: Concat(ReLU(), 1), "Concat expects layers, got int as '1'"),
        (lambda: Residual(Linear(3, 2))(np.ones((4, 3))), r"body and shortcut of one shape, got \(4, 2\) and \(4, 3\)"),
        (lambda: Residual(Linear(3, 1))(np.ones((4, 3))), r"body and shortcut of one shape, got \(4, 1\) and \(4, 3\)"),
        (
            lambda: Concat(Linear(3, 2), Linear(3, 4), dim=0)(np.ones((4, 3))),
            r"Concat expects outputs that differ in dimension 0 only, got \(4, 2\), \(4, 4\)",
        ),
        (lambda: Concat(Flatten(), Identity())(np.ones((1, 2, 3))), r"dimension 1 only, got \(1, 6\), \(1, 2, 3\)"),
        (lambda: Concat(ReLU(), dim=2)(np.ones((4, 3))), r"dimension 2 only, got \(4, 3\)"),
    ],
)
def test_errors_name_the_container(make: Any, message: str) -> None:
    """One sentence: expected and received."""
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "network", [Concat(ReLU(), ReLU()), Residual(Sequential()), Sequential(Concat(ReLU(), ReLU())), Sequential()]
)
def test_a_grad_output_of_another_shape(network: Layer) -> None:
    """It is refused, not cut to the branches' size or broadcast."""
    output = network(np.ones((2, 3)))
    with pytest.raises(ValueError, match="grad_output of the output's shape"):
        network.backward(np.ones((2, output.shape[1] + 1)))
    with pytest.raises(ValueError, match="grad_output of the output's shape"):
        network.backward(np.ones((1, output.shape[1])))
