"""Every optimizer follows torch.optim step by step, state included, for every combination of its options.

Muon, whose steps are as accurate as bfloat16, is in test_muon.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch

import refbp
from refbp import Linear, Optimizer, ReLU, Sequential
from refbp.adagrad_rules import rmsprop
from refbp.adam_rules import adam, radam
from refbp.layer import Layer, Parameter
from refbp.muon import Muon
from refbp.update_rules import SGD, asgd, sgd

STEPS = 7  # of RAdam the sixth is the first that divides by the root
ALL = [
    own for own in vars(refbp).values() if isinstance(own, type) and issubclass(own, Optimizer) and own is not Optimizer
]
OPTIMIZERS = {own.__name__: own for own in ALL if hasattr(torch.optim, own.__name__) and own is not Muon}
LEVELS: dict[str, dict[str, list[Any]]] = {
    "SGD": {
        "momentum": [0, 0.9],
        "dampening": [0, 0.3],
        "weight_decay": [0, 0.1],
        "nesterov": [False, True],
        "maximize": [False, True],
    },
    "Adam": {
        "betas": [(0.9, 0.999), (0.2, 0.4), (0.0, 0.0)],
        "weight_decay": [0, 0.1],
        "amsgrad": [False, True],
        "maximize": [False, True],
        "decoupled_weight_decay": [False, True],
    },
    "AdamW": {
        "eps": [1e-8, 0.1],
        "weight_decay": [0, 0.01, 0.1],
        "amsgrad": [False, True],
        "maximize": [False, True],
    },
    "RMSprop": {
        "alpha": [0.99, 0.5],
        "weight_decay": [0, 0.1],
        "momentum": [0, 0.9],
        "centered": [False, True],
        "maximize": [False, True],
    },
    "Adagrad": {
        "lr_decay": [0, 0.1],
        "weight_decay": [0, 0.1],
        "initial_accumulator_value": [0, 0.5],
        "eps": [1e-10, 0.1],
        "maximize": [False, True],
    },
    "Adadelta": {
        "rho": [0.9, 0.3],
        "eps": [1e-6, 0.1],
        "weight_decay": [0, 0.1],
        "maximize": [False, True],
    },
    "Adamax": {
        "betas": [(0.9, 0.999), (0.2, 0.4)],
        "eps": [1e-8, 0.1],
        "weight_decay": [0, 0.1],
        "maximize": [False, True],
    },
    "NAdam": {
        "betas": [(0.9, 0.999), (0.2, 0.4)],
        "momentum_decay": [4e-3, 0.5],
        "weight_decay": [0, 0.1],
        "decoupled_weight_decay": [False, True],
        "maximize": [False, True],
    },
    "RAdam": {  # betas after which v can be relied on never, from the third step, and from the first
        "betas": [(0.9, 0.7), (0.9, 0.999), (0.2, 0.9)],
        "eps": [1e-8, 0.1],
        "weight_decay": [0, 0.1],
        "decoupled_weight_decay": [False, True],
        "maximize": [False, True],
    },
    "ASGD": {
        "lambd": [1e-4, 0.5],
        "alpha": [0.75, 0.3],
        "t0": [1e6, 1],
        "weight_decay": [0, 0.1],
        "maximize": [False, True],
    },
    "Rprop": {
        "etas": [(0.5, 1.2), (0.3, 2.5)],
        "step_sizes": [(1e-6, 50), (0.04, 0.07)],
        "maximize": [False, True],
    },
    "Adafactor": {
        "beta2_decay": [-0.8, -0.3],
        "eps": [(None, 1e-3), (0.1, 2.0)],
        "d": [1.0, 1.5],
        "weight_decay": [0, 0.1],
        "maximize": [False, True],
    },
}


@pytest.fixture(autouse=True)
def numbers_in_float64() -> Iterator[None]:
    """torch keeps the numbers of NAdam's and ASGD's state in its default dtype, not in that of the parameters."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def combinations() -> list[Any]:
    cases = []
    for name, levels in LEVELS.items():
        for values in product(*levels.values()):
            options = dict(zip(levels, values, strict=True))
            if options.get("nesterov") and (not options["momentum"] or options["dampening"]):
                continue
            cases.append(pytest.param(name, options, id=name + "".join(f",{k}={v}" for k, v in options.items())))
    return cases


def layer_with_twin(dtype: str = "float64") -> tuple[Layer, dict[str, torch.nn.Parameter]]:
    rng = np.random.default_rng(7)
    layer = Linear(3, 4, dtype=dtype, rng=rng)
    return layer, {name: torch.nn.Parameter(torch.tensor(array)) for name, array in layer.params.items()}


def train_both(ours: Any, theirs: Any, layer: Layer, twin: dict[str, torch.nn.Parameter], rtol: float = 1e-12) -> None:
    """STEPS steps on the same random gradients; parameters and state are compared after each."""
    rng = np.random.default_rng(11)
    for _ in range(STEPS):
        for name, parameter in twin.items():
            # Magnitudes that differ by orders: amsgrad's maximum is then not always the last one.
            grad = rng.standard_normal(layer.params[name].shape) * 10.0 ** rng.integers(-2, 2)
            layer.grads[name] = grad.astype(layer.dtype)
            parameter.grad = torch.tensor(layer.grads[name])
        ours.step()
        theirs.step()
        for name, parameter in twin.items():
            np.testing.assert_allclose(layer.params[name], parameter.detach().numpy(), rtol=rtol, atol=rtol)
            state, expected = ours.state[Parameter(layer, name)], theirs.state[parameter]
            assert state.keys() == {key for key, value in expected.items() if value is not None}
            for key, value in state.items():
                np.testing.assert_allclose(value, expected[key].numpy(), rtol=rtol, atol=rtol, err_msg=key)


@pytest.mark.parametrize(("name", "options"), combinations())
def test_follows_torch(name: str, options: dict[str, Any]) -> None:
    """Parameters and every state array after each step: order of decay, momentum, dampening, bias correction."""
    layer, twin = layer_with_twin()
    ours = OPTIMIZERS[name](layer, lr=0.05, **options)
    theirs = getattr(torch.optim, name)(twin.values(), lr=0.05, foreach=False, **options)
    train_both(ours, theirs, layer, twin)


def test_every_optimizer_is_tried() -> None:
    """A new one has to name the levels of its options."""
    assert OPTIMIZERS.keys() == LEVELS.keys() == GROUPS.keys()


GROUPS = {
    "SGD": {"lr": 0.01, "momentum": 0.5, "nesterov": True, "weight_decay": 1.0, "maximize": True},
    "Adam": {"betas": (0.5, 0.6), "eps": 0.1, "amsgrad": True, "decoupled_weight_decay": True, "weight_decay": 1.0},
    "AdamW": {"lr": 0.01, "weight_decay": 1.0, "decoupled_weight_decay": False, "maximize": True},
    "RMSprop": {"alpha": 0.5, "momentum": 0.5, "centered": True, "eps": 0.1, "weight_decay": 1.0},
    "Adagrad": {"lr_decay": 0.5, "eps": 0.1, "initial_accumulator_value": 3.0, "maximize": True},
    "Adadelta": {"lr": 0.1, "rho": 0.5, "eps": 0.1, "weight_decay": 1.0, "maximize": True},
    "Adamax": {"lr": 0.1, "betas": (0.5, 0.6), "eps": 0.1, "weight_decay": 1.0, "maximize": True},
    "NAdam": {"betas": (0.5, 0.6), "momentum_decay": 0.5, "weight_decay": 1.0, "decoupled_weight_decay": True},
    "RAdam": {"betas": (0.5, 0.9), "eps": 0.1, "weight_decay": 1.0, "decoupled_weight_decay": True},
    "ASGD": {"lambd": 0.5, "alpha": 0.3, "t0": 1, "weight_decay": 1.0, "maximize": True},
    "Rprop": {"lr": 0.1, "etas": (0.3, 2.5), "step_sizes": (0.04, 0.07), "maximize": True},
    "Adafactor": {"beta2_decay": -0.3, "eps": (0.1, 2.0), "d": 1.5, "weight_decay": 1.0, "maximize": True},
}


@pytest.mark.parametrize("first", ["weight", "bias"])
@pytest.mark.parametrize("name", GROUPS)
def test_groups_override_every_option(name: str, first: str) -> None:
    """A group's own options hold for it alone, the constructor's for the others; also what torch ignores in a group."""
    layer, twin = layer_with_twin()
    options = {"weight": GROUPS[name], "bias": {}}
    order = sorted(options, key=lambda parameter: parameter != first)
    ours = OPTIMIZERS[name]([{"params": [Parameter(layer, p)], **options[p]} for p in order])
    theirs = getattr(torch.optim, name)([{"params": [twin[p]], **options[p]} for p in order])
    assert ours.param_groups[0]["params"] == [Parameter(layer, first)]
    train_both(ours, theirs, layer, twin)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_defaults_are_torchs(name: str) -> None:
    """Without options, the same defaults (AdamW decays, Adam does not)."""
    layer, twin = layer_with_twin()
    ours, theirs = OPTIMIZERS[name](layer), getattr(torch.optim, name)(twin.values())
    for option, value in ours.defaults.items():
        assert theirs.defaults[option] == value
    train_both(ours, theirs, layer, twin)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_float32_stays_float32(name: str) -> None:
    """Computed in the parameter's precision, even when the rate is one of NumPy's own float64."""
    layer, twin = layer_with_twin("float32")
    decay = {} if name == "Rprop" else {"weight_decay": 0.1}
    ours = OPTIMIZERS[name](layer, lr=np.float64(0.05), **decay)
    theirs = getattr(torch.optim, name)(twin.values(), lr=0.05, **decay)
    train_both(ours, theirs, layer, twin, rtol=1e-5)
    arrays = [*layer.params.values(), *(v for state in ours.state.values() for k, v in state.items() if k != "step")]
    assert {array.dtype for array in arrays} == {np.dtype("float32")}


def test_equation_6() -> None:
    """W <- W - a (delta n^T + W) and b <- b - a delta: decay 1 on the weights, none on the biases."""
    rng = np.random.default_rng(3)
    layer = Linear(3, 2, rng=rng)
    n, delta, rate = rng.standard_normal((1, 3)), rng.standard_normal((1, 2)), 0.1
    before = layer.state_dict()
    optimizer = SGD(
        [{"params": Parameter(layer, "weight"), "weight_decay": 1.0}, {"params": Parameter(layer, "bias")}], lr=rate
    )
    layer(n)
    layer.backward(delta)
    optimizer.step()
    W, b = before["weight"], before["bias"]
    np.testing.assert_allclose(layer.params["weight"], W - rate * (delta.T @ n + W), rtol=1e-14)
    np.testing.assert_allclose(layer.params["bias"], b - rate * delta[0], rtol=1e-14)


RULES = list(dict.fromkeys(own.rule for own in ALL))


@pytest.mark.parametrize("rule", RULES)
def test_rules_write_into_nothing(rule: Any) -> None:
    """A rule is a function: read-only arguments will do, and what it returns shares no memory with them."""
    options: dict[Any, dict[str, Any]] = {
        sgd: {"momentum": 0.9},
        adam: {"amsgrad": True},
        rmsprop: {"momentum": 0.9, "centered": True},
        radam: {"betas": (0.9, 0.9)},
        asgd: {"t0": 0},
    }
    rng, shape = np.random.default_rng(0), (2, 2) if rule is Muon.rule else (4,)
    arguments = [rng.standard_normal(shape), rng.standard_normal(shape)]
    for _ in range(3):
        for array in arguments:
            if isinstance(array, np.ndarray):
                array.flags.writeable = False
        result = rule(*arguments, lr=0.1, **options.get(rule, {}))
        shared = [np.may_share_memory(new, old) for new in result for old in arguments if isinstance(new, np.ndarray)]
        assert not any(shared)
        arguments = [result[0], rng.standard_normal(shape), *result[1:]]


def test_step_binds_new_arrays() -> None:
    """The backward of an earlier forward, for example, keeps the old array and its values."""
    layer = Linear(2, 2)
    held = layer.params["weight"]
    copy = held.copy()
    layer.grads["weight"] = np.ones((2, 2))
    SGD(layer, lr=1.0).step()
    np.testing.assert_array_equal(held, copy)
    np.testing.assert_array_equal(layer.params["weight"], copy - 1.0)


def test_zero_grad_clears_even_nan() -> None:
    """A gradient that overflowed does not survive as NaN times zero."""
    layer = Sequential(Linear(2, 2), ReLU())
    optimizer = SGD(layer)
    for parameter in layer.parameters():
        parameter.layer.grads[parameter.name] = np.full_like(parameter.data, np.nan)
    optimizer.zero_grad()
    assert all((grad == 0).all() for grad in layer.grads.values())


def test_what_params_may_be() -> None:
    """A layer, a parameter, several of them, or groups of each; a layer that stands twice counts once."""
    first, second = Linear(2, 2), Linear(2, 2)
    everything = [*first.parameters(), *second.parameters()]
    for params in (
        Sequential(first, second, first),
        everything,
        iter(everything),
        [first, *second.parameters()],
        [{"params": first}, {"params": [second]}],
        ({"params": iter(layer.parameters())} for layer in (first, second)),
    ):
        optimizer = SGD(params)
        assert [parameter for group in optimizer.param_groups for parameter in group["params"]] == everything
    alone = SGD(everything[0]).param_groups[0]["params"]
    assert alone == everything[:1]


def test_a_group_may_join_later() -> None:
    """add_param_group takes the constructor's options where the group names none."""
    first, second = Linear(2, 2), Linear(2, 2)
    optimizer = SGD(first, lr=0.5, momentum=0.9)
    optimizer.add_param_group({"params": second, "lr": 0.1})
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]
    assert [group["momentum"] for group in optimizer.param_groups] == [0.9, 0.9]
    with pytest.raises(ValueError, match="weight in two places"):
        optimizer.add_param_group({"params": first})


def test_options_are_read_at_each_step() -> None:
    """A schedule sets param_groups[i]["lr"] between steps."""
    layer = Linear(1, 1, bias=False)
    layer.params["weight"] = np.zeros((1, 1))
    optimizer = SGD(layer, lr=1.0)
    layer.grads["weight"] = np.ones((1, 1))
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert layer.params["weight"] == -1.25


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("SGD", {"lr": -0.1}),
        ("SGD", {"momentum": -0.1}),
        ("SGD", {"weight_decay": -0.1}),
        ("SGD", {"nesterov": True}),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}),
        ("Adam", {"lr": -0.1}),
        ("Adam", {"eps": -0.1}),
        ("Adam", {"weight_decay": -0.1}),
        ("Adam", {"betas": (1.0, 0.9)}),
        ("Adam", {"betas": (0.9, -0.1)}),
        ("AdamW", {"betas": (0.9, 1.0)}),
        ("AdamW", {"weight_decay": -0.1}),
        ("RMSprop", {"alpha": -0.1}),
        ("RMSprop", {"momentum": -0.1}),
        ("RMSprop", {"eps": -0.1}),
        ("Adagrad", {"lr_decay": -0.1}),
        ("Adagrad", {"initial_accumulator_value": -0.1}),
        ("Adagrad", {"eps": -0.1}),
        ("Adagrad", {"lr": float("nan")}),
        ("Adadelta", {"rho": 1.1}),
        ("Adadelta", {"eps": -0.1}),
        ("Adamax", {"betas": (1.0, 0.9)}),
        ("NAdam", {"momentum_decay": -0.1}),
        ("RAdam", {"eps": -0.1}),
        ("ASGD", {"weight_decay": -0.1}),
        ("Rprop", {"etas": (0.5, 0.9)}),
        ("Rprop", {"etas": (0.0, 1.2)}),
        ("Adafactor", {"beta2_decay": 0.1}),
        ("Adafactor", {"eps": (-0.1, 1e-3)}),
        ("Adafactor", {"eps": (None, -1e-3)}),
        ("Adafactor", {"d": 0.5}),
    ],
)
def test_rejects_what_torch_rejects(name: str, options: dict[str, Any]) -> None:
    """One sentence that names optimizer and option; also in a group, where torch looks away."""
    layer, twin = layer_with_twin()
    with pytest.raises(ValueError):
        getattr(torch.optim, name)(twin.values(), **options)
    for params, own in ((layer, options), ([{"params": layer, **options}], {})):
        with pytest.raises(ValueError, match=rf"^{name} expects .*{next(iter(options))}"):
            OPTIMIZERS[name](params, **own)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_constructors_options_are_checked_also_where_no_group_uses_them(name: str) -> None:
    """As torch does: a group that joins later would."""
    layer, twin = layer_with_twin()
    with pytest.raises(ValueError):
        getattr(torch.optim, name)([{"params": [*twin.values()], "lr": 0.1}], lr=-1.0)
    with pytest.raises(ValueError, match=f"^{name} expects .*lr"):
        OPTIMIZERS[name]([{"params": layer, "lr": 0.1}], lr=-1.0)


def test_a_negative_dampening_is_allowed() -> None:
    """torch checks the other numbers only."""
    layer, twin = layer_with_twin()
    options = {"lr": 0.1, "momentum": 0.5, "dampening": -1.0}
    train_both(SGD(layer, **options), torch.optim.SGD(twin.values(), **options), layer, twin)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ([], "at least one parameter, got none"),
        (ReLU(), "at least one parameter, got none"),
        ([{"params": []}], "at least one parameter, got none"),
        ([1.0], "Layers or Parameters, got float"),
        ([{"lr": 0.1}], "mapping with 'params'"),
        ([{"params": Linear(1, 1)}, Linear(1, 1)], "mapping with 'params'"),
        ([{"params": Linear(1, 1), "learning_rate": 0.1}], "got learning_rate"),
    ],
)
def test_argument_errors(params: Any, message: str) -> None:
    """Each names what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        SGD(params, lr=0.1)


def test_a_parameter_in_two_groups() -> None:
    """It would be updated twice."""
    layer = Linear(2, 2)
    with pytest.raises(ValueError, match="bias in two places"):
        SGD([{"params": layer}, {"params": [Parameter(layer, "bias")]}])
