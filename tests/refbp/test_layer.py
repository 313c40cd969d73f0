"""Every layer beside its mathematics: gradients that add up, calls kept apart, dtypes, mode, state, errors."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import numpy as np
import pytest
import torch

import refbp
from refbp import BatchNorm1d, Concat, Linear, ReLU, Residual, Sequential
from refbp.layer import Layer, Parameter


def random(*shape: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).standard_normal(shape)


def test_gradients_add_up_until_zeroed() -> None:
    """Two backwards give the sum; zero_grad gives zeros of the parameters' shapes."""
    layer = Linear(3, 2)
    assert all((grad == 0).all() for grad in layer.grads.values())
    x, upstream = random(4, 3), random(4, 2, seed=1)
    layer(x)
    layer.backward(upstream)
    once = {name: grad.copy() for name, grad in layer.grads.items()}
    layer(x)
    layer.backward(upstream)
    for name, grad in layer.grads.items():
        np.testing.assert_array_equal(grad, 2 * once[name])
    layer.zero_grad()
    assert {name: grad.shape for name, grad in layer.grads.items()} == {"weight": (2, 3), "bias": (2,)}
    assert not any(grad.any() for grad in layer.grads.values())


def test_backward_belongs_to_the_last_forward() -> None:
    """And may be repeated: it adds again."""
    layer = Linear(3, 2)
    first, second, upstream = random(4, 3), random(4, 3, seed=1), random(4, 2, seed=2)
    layer(first)
    layer(second)
    layer.backward(upstream)
    np.testing.assert_allclose(layer.grads["weight"], upstream.T @ second, rtol=1e-12)
    layer.backward(upstream)
    np.testing.assert_allclose(layer.grads["weight"], 2 * (upstream.T @ second), rtol=1e-12)


def test_apply_keeps_calls_apart() -> None:
    """Each call's backward uses that call's input and that call's parameters, in any order."""
    layer = Linear(3, 2)
    first, second, upstream = random(4, 3), random(5, 3, seed=1), random(5, 2, seed=2)
    _, backward_first = layer.apply(first)
    old = layer.params["weight"]
    Parameter(layer, "weight").update(np.zeros((2, 3)))
    _, backward_second = layer.apply(second)
    np.testing.assert_allclose(backward_first(upstream[:4]), upstream[:4] @ old, rtol=1e-12)
    np.testing.assert_array_equal(backward_second(upstream), np.zeros((5, 3)))
    expected = upstream[:4].T @ first + upstream.T @ second
    np.testing.assert_allclose(layer.grads["weight"], expected, rtol=1e-12)


def test_grads_are_rebound_not_written_into() -> None:
    """An array taken from grads keeps its values when more gradients arrive."""
    layer = Linear(3, 2)
    layer(random(4, 3))
    layer.backward(random(4, 2))
    held = layer.grads["weight"]
    copy = held.copy()
    layer.backward(random(4, 2))
    layer.zero_grad()
    np.testing.assert_array_equal(held, copy)


@pytest.mark.parametrize("stored", ["float32", "float64"])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_the_output_keeps_the_inputs_dtype(stored: str, dtype: str) -> None:
    """And so does grad_input; the parameters and their gradients keep theirs."""
    layer = Sequential(Linear(3, 3, dtype=stored), BatchNorm1d(3, dtype=stored), ReLU())
    x = random(4, 3).astype(dtype)
    assert layer(x).dtype == x.dtype
    assert layer.backward(x).dtype == x.dtype
    for kind in (layer.params, layer.grads):
        assert {array.dtype for array in kind.values()} == {np.dtype(stored)}
    kept = {name: str(array.dtype) for name, array in layer.buffers.items()}
    assert kept == {"1.running_mean": stored, "1.running_var": stored, "1.num_batches_tracked": "int64"}


def test_backward_needs_a_forward() -> None:
    """In one sentence, with the layer's name."""
    with pytest.raises(RuntimeError, match=r"^Linear\.backward needs a forward before it$"):
        Linear(1, 1).backward(np.ones((1, 1)))


@pytest.mark.parametrize(
    "grad_output",
    [np.ones((2, 3)), np.ones(2), np.ones(()), np.ones((1, 2)), 1.0, [[1.0, 1.0]] * 4, torch.ones(4, 2)],
)
def test_grad_output_of_another_shape(grad_output: Any) -> None:
    """Without the check it would broadcast somewhere, or fail deep inside."""
    layer = Linear(3, 2)
    layer(random(4, 3))
    with pytest.raises(ValueError, match=r"^Linear\.backward expects grad_output of the output's shape \(4, 2\), got "):
        layer.backward(grad_output)


@pytest.mark.parametrize(
    ("input", "received"),
    [
        ([[1.0, 2.0, 3.0]], "list"),
        (1.0, "float"),
        (None, "NoneType"),
        (np.ones((2, 3), dtype=np.int64), "an array of int64"),
        (np.ones((2, 3), dtype=bool), "an array of bool"),
        (np.ones((2, 3), dtype=complex), "an array of complex128"),
        (np.ones((2, 3), dtype=object), "an array of object"),
        (torch.ones(2, 3), "Tensor"),
    ],
)
def test_an_input_that_is_not_a_floating_point_array(input: Any, received: str) -> None:
    """An int array would silently truncate, a list has no dtype to keep."""
    with pytest.raises(ValueError, match=f"^ReLU expects a floating-point array, got {received}$"):
        ReLU()(input)


LAYERS = [
    getattr(refbp, name)
    for name in refbp.__all__
    if inspect.isclass(getattr(refbp, name)) and issubclass(getattr(refbp, name), Layer)
]
CONTAINERS = (Sequential, Residual, Concat)


@pytest.mark.parametrize("kind", [kind for kind in LAYERS if kind is not Layer and kind not in CONTAINERS])
def test_every_layer_takes_a_dtype_and_a_generator(kind: Any) -> None:
    """Also where it has nothing to store and nothing to draw."""
    parameters = inspect.signature(kind).parameters.values()
    required = [p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD]
    rng = np.random.default_rng(0)
    layer = kind(*((2,) if name == "unflattened_size" else 2 for name in required), dtype="float32", rng=rng)
    assert layer.dtype == np.float32
    assert layer.rng is rng


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda layer: pickle.loads(pickle.dumps(layer))])
def test_a_copy_has_its_own_gradients_and_no_forward(copied: Any) -> None:
    """The backward of the last forward belongs to the layer that made it: in a copy it would add into that one's gradients."""
    net = Sequential(Linear(3, 2, rng=np.random.default_rng(0)), ReLU(), refbp.MaxPool1d(1))
    net.backward(np.ones_like(net(random(4, 3))))
    other = copied(net)
    with pytest.raises(RuntimeError, match="needs a forward before it"):
        other.backward(random(4, 2))
    before = net.grads["0.weight"].copy()
    other.zero_grad()
    other.backward(np.ones_like(other(random(4, 3))))
    assert np.array_equal(net.grads["0.weight"], before) and np.any(other.grads["0.weight"])
    assert np.array_equal(other.params["0.weight"], net.params["0.weight"])


def test_a_network_shows_its_layers() -> None:
    """One a line, indented by their depth."""
    net = Sequential(Linear(3, 2), Residual(Sequential(ReLU())))
    assert repr(net) == "\n".join(
        [
            "Sequential(",
            "  0: Linear(weight (2, 3), bias (2,))",
            "  1: Residual(",
            "    body: Sequential(",
            "      0: ReLU()",
            "    )",
            "  )",
            ")",
        ]
    )


def test_state_dict_copies() -> None:
    """Neither side of it can be changed through the other, buffers included."""
    layer = BatchNorm1d(3)
    state = layer.state_dict()
    assert list(state) == ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    state["weight"][...] = 7.0
    assert (layer.params["weight"] == 1).all()
    layer.load_state_dict(state)
    state["weight"][...] = 8.0
    assert (layer.params["weight"] == 7).all()
    layer(random(4, 3))
    layer.load_state_dict(state)
    assert layer.buffers["num_batches_tracked"] == 0
    assert layer.buffers["num_batches_tracked"].dtype == np.int64


def test_load_state_dict_casts_to_the_layers_dtype() -> None:
    """The layer decides in which precision it stores; the mapping may hold any array-like."""
    layer = Linear(1, 2, dtype="float32")
    layer.load_state_dict({"weight": np.array([[1.0], [2.0]]), "bias": [3, 4]})
    assert {array.dtype for array in layer.params.values()} == {np.dtype("float32")}
    assert layer.params["bias"].tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("0.bias"), r"missing keys \['0.bias'\], unexpected keys \[\]"),
        (lambda state: state.update(extra=np.ones(1)), r"missing keys \[\], unexpected keys \['extra'\]"),
        (lambda state: state.update({"1.bias": np.ones(3)}), r"1.bias expects shape \(2,\), got \(3,\)"),
    ],
)
def test_load_state_dict_all_or_nothing(change: Any, message: str) -> None:
    """The error names the key that does not fit, and nothing has been loaded."""
    network = Sequential(Linear(2, 2), BatchNorm1d(2))
    before = network.state_dict()
    state = {key: value + 1 for key, value in before.items()}
    change(state)
    with pytest.raises(ValueError, match=message):
        network.load_state_dict(state)
    for key, value in network.state_dict().items():
        np.testing.assert_array_equal(value, before[key])


def test_parameters_are_places() -> None:
    """Once each, in torch's order; update puts an array where the layer will look."""
    shared = Linear(2, 2)
    network = Sequential(shared, Sequential(BatchNorm1d(2), shared), Linear(2, 2, bias=False))
    assert [parameter.name for parameter in network.parameters()] == ["weight", "bias", "weight", "bias", "weight"]
    parameter = network.parameters()[0]
    value = np.eye(2)
    parameter.update(value)
    assert parameter.data is value
    assert network.params["0.weight"] is value
    assert network.params["1.1.weight"] is value
    assert parameter.grad is shared.grads["weight"]


def test_layers_are_leaves_with_names() -> None:
    """In order of definition, and at every place where they stand."""
    shared = Linear(2, 2)
    network = Sequential(shared, Sequential(ReLU(), shared))
    assert [name for name, _ in network.layers()] == ["0", "1.0", "1.1"]
    assert [leaf for name, leaf in network.layers() if name in ("0", "1.1")] == [shared, shared]


def test_mode_is_returned_to_chain() -> None:
    """As in torch, train and eval return the layer."""
    layer = ReLU()
    assert layer.eval() is layer and layer.training is False
    assert layer.train() is layer and layer.training is True


def test_your_own_layer() -> None:
    """It needs op and add_param only; without an op the class says so."""

    class Scale(Layer):
        def __init__(self) -> None:
            super().__init__()
            self.add_param("factor", np.full((), 3.0))

        def op(self, input: Any, *params: Any) -> Any:
            (factor,) = params
            return input * factor, lambda grad: (grad * factor, np.sum(grad * input))

    layer = Sequential(Scale(), Scale())
    np.testing.assert_array_equal(layer(np.ones((2, 2))), np.full((2, 2), 9.0))
    np.testing.assert_array_equal(layer.backward(np.ones((2, 2))), np.full((2, 2), 9.0))
    assert layer.grads == {"0.factor": 12.0, "1.factor": 12.0}
    with pytest.raises(TypeError, match="Layer defines no op"):
        Layer()(np.ones(1))
