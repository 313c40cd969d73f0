"""Runs a Case on refbp: builds its network and runs its steps, on plain arrays or on arrays that dispatch NumPy's calls."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

import refbp
from oracle.case.arrays import Array
from oracle.case.case import CONTAINERS, PER_STEP, Case, CaseError, Spec, at_step, loss_arguments, named_layers
from oracle.case.checks import require_fields
from oracle.case.names import TRANSPOSE, kept_as, quantity_of
from oracle.execution import memory
from oracle.trace import Key
from oracle.wording.errors import in_a_line
from refbp.arrays import Backward
from refbp.layer import Layer, Parameter
from refbp.linear import linear

# An array of the caller's choice: numpy.ndarray, or oracle's ErrorArray.
AnyArray: TypeAlias = Any
Results: TypeAlias = dict[Key, AnyArray]


def _public(base: type) -> dict[str, type]:
    return {
        name: value
        for name, value in vars(refbp).items()
        if inspect.isclass(value) and issubclass(value, base) and value is not base
    }


LAYERS = _public(refbp.Layer)
LOSSES = _public(refbp.Loss)
OPTIMIZERS = _public(refbp.Optimizer)


class Undrawn(np.random.Generator):
    """A generator that draws no initial values: each is zero, and all of them are one number in memory."""

    def __init__(self, dtype: str) -> None:
        super().__init__(np.random.PCG64(0))
        self.zero = np.zeros((), dtype)

    def uniform(self, low: Any = 0.0, high: Any = 1.0, size: Any = None) -> Any:
        return np.broadcast_to(self.zero, size)


class Network:
    """The layers of a case as refbp objects, by name.

    Args:
        tap: called with every layer, its name, and the name of the layer that owns its parameters; what it returns takes the
            layer's place.
        drawn: whether parameters get initial values, which `load` replaces.
    """

    def __init__(
        self, case: Case, tap: Callable[[str, str, Layer], Layer] | None = None, *, drawn: bool = True
    ) -> None:
        self.case, self.drawn = case, drawn
        self.leaves: dict[str, Layer] = {}
        self.tap = tap or (lambda name, owner, layer: layer)
        self.root = refbp.Sequential(
            {spec.name or str(i): self._build(spec, i, "") for i, spec in enumerate(case.layers)}
        )
        if case.grads:  # an optimizer alone: parameters without a network
            self.leaves[""] = Layer(dtype=case.dtype)
            for name, value in case.params.items():
                self.leaves[""].add_param(name, value)

    def _build(self, spec: Spec, index: int, prefix: str) -> Layer:
        name = f"{prefix}{spec.name or index}"
        if spec.same_as:
            if spec.same_as not in self.leaves:
                raise CaseError(
                    f"case {self.case.name}: layer {name} is same_as {spec.same_as!r}, which is not an earlier layer"
                )
            owner = self.leaves[spec.same_as]
            if spec.type == TRANSPOSE:
                if type(owner) is not refbp.Linear:
                    raise CaseError(
                        f"case {self.case.name}: layer {name} is the {TRANSPOSE} of {spec.same_as!r}, which is not a Linear"
                    )
                owner = Transposed(owner)
            return self.tap(name, spec.same_as, owner)
        if spec.type not in LAYERS:
            raise CaseError(
                f"case {self.case.name}: layer {name} has the unknown type {spec.type!r}; known: {', '.join(LAYERS)}"
            )
        children = {child.name or str(i): self._build(child, i, f"{name}.") for i, child in enumerate(spec.layers)}
        try:
            if spec.type == "Residual":
                layer = LAYERS[spec.type](**children)
            elif spec.type in CONTAINERS:
                layer = LAYERS[spec.type](children, **spec.options)
            else:
                named = f"{self.case.name}/{name}".encode(errors="surrogatepass")
                rng, dtype = np.random.default_rng(zlib.crc32(named)), self.case.dtype
                layer = LAYERS[spec.type](**spec.options, dtype=dtype, rng=rng if self.drawn else Undrawn(dtype))
                layer.rng = rng  # which draws the masks of dropout
        except (TypeError, ValueError) as error:
            raise CaseError(f"case {self.case.name}: layer {name} ({spec.type}): {error}") from error
        if not children:
            self.leaves[name] = layer
        return self.tap(name, name, layer)

    def state(self) -> Iterator[tuple[Layer, dict[str, Array], str, str]]:
        """Every parameter and buffer: its layer, the dict that holds it, its key in the dict, its full name."""
        for layer_name, leaf in self.leaves.items():
            prefix = f"{layer_name}." if layer_name else ""
            for own in (leaf.params, leaf.buffers):
                for name in own:
                    yield leaf, own, name, prefix + name

    def load(self, lift: Callable[[Array], AnyArray]) -> None:
        """Set the layers' parameters and buffers to the case's."""
        expected = {full for *_, full in self.state()}
        if expected != self.case.params.keys():
            missing = sorted(expected - self.case.params.keys())
            unknown = sorted(self.case.params.keys() - expected)
            faults = (f"{what} {names}" for what, names in (("lacks", missing), ("has the unknown", unknown)) if names)
            raise CaseError(f"case {self.case.name}: params {' and '.join(faults)}")
        for _, own, name, full in self.state():
            value = self.case.params[full]
            if value.shape != own[name].shape:
                raise CaseError(f"case {self.case.name}: {full} expects shape {own[name].shape}, got {value.shape}")
            if (value.dtype.kind in "biu") != (own[name].dtype.kind in "biu"):
                raise CaseError(f"case {self.case.name}: {full} expects {own[name].dtype} numbers, got {value.dtype}")
            own[name] = lift(value)
        self.zero_grad()

    def prepare(self) -> None:
        """Set the layers' mode and impose the case's dropout masks."""
        for name, leaf in self.leaves.items():
            leaf.train(self.case.training)
            if name in self.case.masks:
                leaf.imposed_mask = self.case.masks[name]  # type: ignore[attr-defined]

    def zero_grad(self) -> None:
        for leaf in self.leaves.values():
            leaf.zero_grad()

    def parameters(self) -> dict[str, Parameter]:
        return {full: Parameter(leaf, name) for leaf, own, name, full in self.state() if own is leaf.params}


def build_loss(case: Case, spec: Spec) -> Any:
    if spec.type not in LOSSES:
        raise CaseError(f"case {case.name} has the unknown loss {spec.type!r}; known: {', '.join(LOSSES)}")
    options = {
        key: np.asarray(value, case.dtype) if isinstance(value, (tuple, list)) else value
        for key, value in spec.options.items()
    }
    try:
        return LOSSES[spec.type](**options)
    except (TypeError, ValueError) as error:
        raise CaseError(f"case {case.name}: loss {spec.type}: {error}") from error


def build_optimizer(case: Case, parameters: dict[str, Parameter], lift: Callable[[Array], AnyArray]) -> Any:
    spec = case.optimizer
    assert spec is not None
    if spec.type not in OPTIMIZERS:
        raise CaseError(f"case {case.name} has the unknown optimizer {spec.type!r}; known: {', '.join(OPTIMIZERS)}")
    try:
        groups: list[Any] = [
            {**group, "params": [parameters[name] for name in group["params"]]} for group in spec.groups
        ]
        optimizer = OPTIMIZERS[spec.type](groups or list(parameters.values()), **spec.options)
    except KeyError as error:
        raise CaseError(f"case {case.name}: a parameter group names {error}, known: {', '.join(parameters)}") from error
    except (TypeError, ValueError) as error:
        raise CaseError(f"case {case.name}: optimizer {spec.type}: {error}") from error
    known = {*map(quantity_of, optimizer.state_names), "step"}
    strange = sorted(case.optimizer_state.keys() - known)
    if strange:
        raise CaseError(
            f"case {case.name}: optimizer_state names {strange[0]!r}, {spec.type} keeps {', '.join(sorted(known))}"
        )
    for quantity, values in case.optimizer_state.items():
        for name, value in values.items():
            if name not in parameters:
                raise CaseError(
                    f"case {case.name}: optimizer_state[{quantity!r}] names {name!r}, known: {', '.join(parameters)}"
                )
            optimizer.state.setdefault(parameters[name], {})[kept_as(quantity)] = (
                int(value) if quantity == "step" else lift(value)
            )
    return optimizer


@contextmanager
def placed(layer: str, quantity: str) -> Iterator[None]:
    """Inside, an exception gets the attribute `place`, unless an inner place has set it already."""
    try:
        yield
    except Exception as error:
        if not hasattr(error, "place"):
            error.place = (layer, quantity)  # type: ignore[attr-defined]
        raise


class Transposed(Layer):
    """y = x W with the weight W of a Linear (which computes y = x Wᵀ), without bias: the decoder of a tied autoencoder.

    Gradients: that of W is added to the Linear's.
    """

    def __init__(self, of: refbp.Linear) -> None:
        super().__init__()
        self.of = of

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        output, op_backward = linear(input, self.of.params["weight"].T)

        def backward(grad_output: Array) -> Array:
            grad_input, grad_weight, _ = op_backward(grad_output)
            self.of.grads["weight"] = self.of.grads["weight"] + grad_weight.T
            result: Array = grad_input
            return result

        return output, backward


class Tap(Layer):
    """Wraps a layer and reports its real inputs and results, forward and backward.

    owner: the layer name of its parameters, which differs from `name` where a shared layer stands a second time.
    """

    def __init__(self, name: str, owner: str, layer: Layer, report: Callable[[str, str, AnyArray], AnyArray]) -> None:
        super().__init__()
        self.name, self.owner, self.layer, self.report = name, owner, layer, report

    def apply(self, input: Array) -> tuple[Array, Callable[[Array], Array]]:
        with placed(self.name, "output"):
            output, inner_backward = self.layer.apply(self.report(self.name, "input", input))
        output = self.report(self.name, "output", output)
        mask = getattr(self.layer, "mask", None)
        if mask is not None:  # of whole channels, one number each
            self.report(self.name, "mask", np.broadcast_to(mask, input.shape))

        backwards = [inner_backward]
        del inner_backward

        def backward(grad_output: Array) -> Array:
            with placed(self.name, "grad_input"):  # once: what it keeps of the forward pass is released
                grad_input = backwards.pop()(self.report(self.name, "grad_output", grad_output))
            if not self.layer.children:
                for short, grad in self.layer.grads.items():
                    self.layer.grads[short] = self.report(self.owner, f"grad.{short}", grad)
            result: Array = self.report(self.name, "grad_input", grad_input)
            return result

        return output, backward


def execute(
    case: Case, lift: Callable[[Array], AnyArray], watch: Callable[[Key, AnyArray], AnyArray] | None = None
) -> Results:
    """Run the case's steps on refbp. Returns every quantity by key, in the order of computation.

    Args:
        lift: converts an array of the case to the kind of array to compute with.
        watch: called with every quantity as it is computed; computation continues with the array that it returns.
    Raises: CaseError if the case's shapes do not fit together.
    """
    results: Results = {}
    step = 0

    def report(layer: str, quantity: str, array: AnyArray) -> AnyArray:
        key = Key(step, layer, quantity)
        if watch is not None:
            array = watch(key, array)
        results[key] = array
        return array

    network = Network(case, lambda name, owner, layer: Tap(name, owner, layer, report), drawn=False)
    network.load(lift)
    network.prepare()
    parameters = network.parameters()
    optimizer = build_optimizer(case, parameters, lift) if case.optimizer else None
    for step in range(case.steps):
        if case.since_update(step) == step:
            network.zero_grad()
        grads = at_step(case.grads, step) if case.grads else {}
        if case.grads:
            for name, value in grads.items():
                parameters[name].layer.grads[name] = lift(value)
        else:
            _forward_backward(case, step, network, lift, report)
        for leaf, own, _, full in network.state():
            if own is leaf.buffers:
                layer, _, short = full.rpartition(".")
                report(layer, f"buffer.{short}", own[short])
        if optimizer is not None and case.since_update(step + 1) == step + 1:
            try:
                _update(optimizer, [own for name, own in parameters.items() if not case.grads or name in grads])
            except ValueError as error:
                raise CaseError(f"case {case.name}: optimizer: {error}") from error
            for name, parameter in parameters.items():
                layer, _, short = name.rpartition(".")
                for kept, value in optimizer.state.get(parameter, {}).items():
                    if value is not None:
                        report(layer, f"{quantity_of(kept)}.{short}", value)
                report(layer, f"param.{short}", parameter.data)
    return results


def _update(optimizer: refbp.Optimizer, given: Collection[Parameter]) -> None:
    """Updates the parameters that have a gradient. As in torch the others get no update, so no weight decay and no new state."""
    held = [group["params"] for group in optimizer.param_groups]
    for group in optimizer.param_groups:
        group["params"] = [own for own in group["params"] if own in given]
    optimizer.step()
    for group, params in zip(optimizer.param_groups, held, strict=True):
        group["params"] = params


def _forward_backward(
    case: Case,
    step: int,
    network: Network,
    lift: Callable[[Array], AnyArray],
    report: Callable[[str, str, AnyArray], AnyArray],
) -> None:
    where = "layers"
    try:
        output, backward = network.root.apply(lift(at_step(case.inputs, step)))
        if case.loss is not None:
            where = f"loss {case.loss.type}"
            targets = [target if target.dtype.kind in "biu" else lift(target) for target in at_step(case.targets, step)]
            loss = build_loss(case, case.loss)
            value, loss_backward = loss.apply(report("loss", "input", output), *targets)
            report("loss", "output", value)
            upstream = 1.0 if not case.grad_outputs else lift(at_step(case.grad_outputs, step))
            grads = loss_backward(upstream)
            grad_output = grads[0]
            grad_output = report("loss", "grad_input", grad_output)
            for name, grad in zip(loss_arguments(case.loss.type), grads[1:], strict=False):
                if grad is not None:
                    report("loss", f"grad.{name}", grad)
        elif not case.grad_outputs:
            return
        else:
            where = "grad_outputs"
            grad_output = lift(at_step(case.grad_outputs, step))
        backward(grad_output)
    except ValueError as error:
        if isinstance(error, CaseError):
            raise
        raise CaseError(f"case {case.name}: {where}: {error}") from error


def upstream_shape(case: Case) -> tuple[int, ...]:
    """The shape of an upstream gradient: that of the loss's value, or of the network's output."""
    network = Network(case)
    network.load(lambda array: array)
    network.prepare()
    output, _ = network.root.apply(case.inputs[0])
    if case.loss is not None:
        output, _ = build_loss(case, case.loss).apply(output, *case.targets[0])
    return output.shape


def check(case: Case) -> None:
    """Raises: CaseError for a case that cannot be built or whose shapes do not fit together, in any of its batches."""
    require_fields(case)
    different = max(len(getattr(case, name)) for name in PER_STEP)
    try:
        with memory.at_most(memory.of_case(case)):
            execute(replace(case, steps=min(case.steps, different)), lambda array: array)
    except CaseError:
        raise
    except MemoryError as error:
        raise CaseError(f"case {case.name} asks for too much memory: {in_a_line(error)}") from error
    except Exception as error:  # refbp may raise anything for a case that does not fit together
        raise CaseError(f"case {case.name} cannot be run: {in_a_line(error)}") from error


def layer_types(case: Case) -> dict[str, str]:
    """Layer name -> class name, including "loss"."""
    types = {name: spec.type for name, spec in named_layers(case.layers)}
    if case.loss is not None:
        types["loss"] = case.loss.type
    return types
