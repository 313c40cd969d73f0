"""torch.nn, torch.autograd and torch.optim as a subject."""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from oracle.case.arrays import Array, buffer_of, element_strides
from oracle.case.case import CONSTANT_TARGETS, Case, Spec, at_step, loss_arguments
from oracle.case.foreign import FOREIGN, numpy_of
from oracle.case.names import TRANSPOSE, kept_as, quantity_of
from oracle.trace import Trace, Unsupported

name = "torch"
accumulates = True


def run(case: Case) -> Trace:
    with clean(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice about arguments that a case has on purpose
        torch.default_generator.manual_seed(0)
        try:
            return TorchRun(case).trace
        except NotImplementedError as error:
            raise Unsupported(f"torch has no such kernel: {error}") from error


@contextmanager
def clean() -> Iterator[None]:
    """Inside, torch's global settings have their initial values: gradients on, no modes or hooks, float32 and CPU as defaults."""
    dicts = [own for name, own in vars(torch.nn.modules.module).items() if name.startswith("_global_")]
    hooks = [own for own in dicts if isinstance(own, dict)]
    held = [dict(own) for own in hooks]
    for own in hooks:
        own.clear()
    try:
        with (
            torch._C.DisableTorchFunction(),
            torch._C._DisableTorchDispatch(),
            torch.inference_mode(False),
            torch.enable_grad(),
            torch.autocast("cpu", enabled=False),
            default_dtype(torch.float32),
        ):
            yield
    finally:
        for own, before in zip(hooks, held, strict=True):
            own.update(before)


def class_names() -> list[str]:
    """Every layer and loss of torch.nn, sorted, without containers and lazy variants."""
    containers = ("torch.nn.modules.container", "torch.nn.modules.module")
    return sorted(
        name
        for name, value in vars(torch.nn).items()
        if isinstance(value, type)
        and issubclass(value, torch.nn.Module)
        and value.__module__.startswith("torch.nn.modules.")
        and value.__module__ not in containers
        and not issubclass(value, torch.nn.modules.lazy.LazyModuleMixin)
    )


def tensor(array: Array) -> torch.Tensor:
    """A tensor of the array's values in its memory layout; negative strides, which torch lacks, become contiguous."""
    if array.dtype.name in FOREIGN:
        return tensor(array.view(f"int{8 * array.itemsize}")).view(getattr(torch, array.dtype.name))
    strides = element_strides(array)
    if array.flags.c_contiguous or any(stride < 0 for stride in strides):
        return torch.from_numpy(np.array(array, order="C"))
    buffer, offset = buffer_of(array, strides)
    return torch.from_numpy(buffer).as_strided(array.shape, strides, offset)


def shared(array: Array) -> torch.Tensor:
    """A tensor that shares the array's memory, so that a write to one changes the other; a copy where torch cannot share it."""
    if not array.flags.writeable or any(stride < 0 for stride in array.strides):
        return tensor(array)
    if array.dtype.name in FOREIGN:
        return torch.from_numpy(array.view(f"int{8 * array.itemsize}")).view(getattr(torch, array.dtype.name))
    return torch.from_numpy(array)


def array(value: torch.Tensor) -> Array:
    """The tensor's values on the CPU, as an array of the same dtype."""
    return numpy_of(value)


def copied(value: torch.Tensor) -> Array:
    """A copy of the tensor's values. torch can never resize memory again that NumPy has seen, so torch makes the copy, unless
    autograd forbids to resize the tensor anyway."""
    if value.requires_grad or value.device.type != "cpu":
        return np.array(array(value))
    return array(value.clone())


def as_real(value: torch.Tensor) -> torch.Tensor:
    """A complex tensor as a real one, with real and imaginary parts in a last dimension; any other as it is."""
    return torch.view_as_real(value.resolve_conj()) if value.is_complex() else value


def can_learn(value: torch.Tensor) -> bool:
    """Whether a tensor can have a gradient: one of floating-point or of complex numbers."""
    return value.is_floating_point() or value.is_complex()


@contextmanager
def default_dtype(dtype: torch.dtype) -> Iterator[None]:
    """Inside, this is torch's default dtype. torch.optim keeps scalar state, such as NAdam's mu_product, in it, whatever the
    dtype of the parameters: with another default float64 would lose half of its digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def has(kind: str) -> bool:
    """Whether torch has a layer or loss of this name."""
    return hasattr(torch.nn, kind)


def build(namespace: Any, spec: Spec, dtype: torch.dtype) -> Any:
    made = getattr(namespace, spec.type, None)
    if made is None:
        raise Unsupported(f"{namespace.__name__} has no {spec.type}")
    options = {
        key: torch.tensor(value, dtype=dtype) if key in ("weight", "pos_weight") and value is not None else value
        for key, value in spec.options.items()
    }
    return made(**options)


class TorchRun:
    """A run of a case, step by step. A view taps every layer's input and output, and autograd keeps its gradient."""

    def __init__(self, case: Case) -> None:
        self.case, self.trace, self.step = case, Trace(), 0
        self.dtype: torch.dtype = getattr(torch, case.dtype)
        self.modules: dict[str, Any] = {}
        self.taps: list[tuple[str, torch.Tensor, torch.Tensor]] = []
        for name, spec in self._leaves(case.layers, ""):
            self.modules[name] = self._module(name, spec)
        self.parameters = {
            f"{name}.{short}": parameter
            for name, module in self.modules.items()
            for short, parameter in module.named_parameters()
        }
        if case.grads:
            self.parameters = {name: torch.nn.Parameter(tensor(value)) for name, value in case.params.items()}
        self.optimizer = self._optimizer() if case.optimizer else None
        for self.step in range(case.steps):
            self._step()

    def _leaves(self, layers: tuple[Spec, ...], prefix: str) -> Iterator[tuple[str, Spec]]:
        for index, spec in enumerate(layers):
            name = f"{prefix}{spec.name or index}"
            if spec.layers:
                yield from self._leaves(spec.layers, f"{name}.")
            elif not spec.same_as:
                yield name, spec

    def _module(self, name: str, spec: Spec) -> Any:
        module = build(torch.nn, spec, self.dtype).to(self.dtype)
        prefix = f"{name}."
        module.load_state_dict(
            {
                key.removeprefix(prefix): tensor(value)
                for key, value in self.case.params.items()
                if key.startswith(prefix)
            }
        )
        return module.train(self.case.training)

    def _optimizer(self) -> Any:
        spec = self.case.optimizer
        assert spec is not None
        made = getattr(torch.optim, spec.type, None)
        if made is None:
            raise Unsupported(f"torch.optim has no {spec.type}")
        groups = [{**group, "params": [self.parameters[name] for name in group["params"]]} for group in spec.groups]
        optimizer = made(groups or list(self.parameters.values()), **spec.options)
        for quantity, values in self.case.optimizer_state.items():
            for name, value in values.items():
                optimizer.state[self.parameters[name]][kept_as(quantity)] = tensor(value).clone()
        return optimizer

    def _record(self, layer: str, quantity: str, value: torch.Tensor) -> None:
        self.trace.record(self.step, layer, quantity, array(value))

    def _step(self) -> None:
        if self.case.since_update(self.step) == self.step:
            for parameter in self.parameters.values():
                parameter.grad = None
        if self.case.grads:
            for name, value in at_step(self.case.grads, self.step).items():
                self.parameters[name].grad = tensor(value)
        else:
            self._forward_backward()
        for name, module in self.modules.items():
            for short, buffer in module.named_buffers():
                self._record(name, f"buffer.{short}", buffer)
        if self.optimizer is not None and self.case.since_update(self.step + 1) == self.step + 1:
            with default_dtype(torch.float64 if self.dtype == torch.float64 else torch.float32):
                self.optimizer.step()
            self._record_update(self.optimizer)

    def _forward_backward(self) -> None:
        self.taps = []
        x = tensor(at_step(self.case.inputs, self.step)).requires_grad_()
        output = self._sequence(self.case.layers, "", x)
        upstream = tensor(at_step(self.case.grad_outputs, self.step)) if self.case.grad_outputs else None
        if self.case.loss is None and upstream is None:
            return
        if self.case.loss is None:
            torch.autograd.backward(output, upstream)
        else:
            targets = [tensor(target) for target in at_step(self.case.targets, self.step)]
            learnt = [] if self.case.loss.type in CONSTANT_TARGETS else [t for t in targets if t.is_floating_point()]
            for target in learnt:
                target.requires_grad_()
            given = self._tap("loss", output)
            value = build(torch.nn, self.case.loss, self.dtype)(given, *targets)
            self._record("loss", "output", value)
            torch.autograd.backward(value, upstream)
            self._record("loss", "grad_input", _grad_of(given))
            for name, target in zip(loss_arguments(self.case.loss.type), targets, strict=False):
                if target.grad is not None:
                    self._record("loss", f"grad.{name}", target.grad)
        for name, given, made in reversed(self.taps):
            self._record(name, "grad_output", _grad_of(made))
            self._record(name, "grad_input", _grad_of(given))
            for short, parameter in self.modules[name].named_parameters() if name in self.modules else ():
                self._record(name, f"grad.{short}", _grad_of(parameter))

    def _sequence(self, layers: tuple[Spec, ...], prefix: str, x: torch.Tensor) -> torch.Tensor:
        for index, spec in enumerate(layers):
            x = self._layer(f"{prefix}{spec.name or index}", spec, x)
        return x

    def _tap(self, name: str, x: torch.Tensor) -> torch.Tensor:
        self._record(name, "input", x)
        given = x.view_as(x)
        given.retain_grad()
        return given

    def _layer(self, name: str, spec: Spec, x: torch.Tensor) -> torch.Tensor:
        given = self._tap(name, x)
        if spec.type == "Sequential":
            made = self._sequence(spec.layers, f"{name}.", given)
        elif spec.type == "Residual":
            parts = [self._sequence((child,), f"{name}.", given) for child in spec.layers]
            made = parts[0] + (parts[1] if len(parts) > 1 else given)
        elif spec.type == "Concat":
            parts = [self._layer(f"{name}.{child.name or i}", child, given) for i, child in enumerate(spec.layers)]
            made = torch.cat(parts, dim=int(spec.options.get("dim", 1)))
        else:
            owner = self.modules[spec.same_as or name]
            made = _transposed(owner, given) if spec.type == TRANSPOSE else self._leaf(name, owner, given)
        # A layer may return its input itself. The view gives its output a gradient of its own.
        made = made.view_as(made)
        made.retain_grad()
        self._record(name, "output", made)
        self.taps.append((name, given, made))
        return made

    def called(self, module: Any, given: torch.Tensor) -> torch.Tensor:
        """The module's output. Another way of calling it is another subject."""
        return module(given)  # type: ignore[no-any-return]

    def _leaf(self, name: str, module: Any, given: torch.Tensor) -> torch.Tensor:
        if not (self.case.training and "Dropout" in type(module).__name__):
            return self.called(module, given)
        if name in self.case.masks:
            mask = tensor(self.case.masks[name])
            self._record(name, "mask", mask)
            return _dropped(module, given, mask)
        state = torch.get_rng_state()
        mask = _kept(module, torch.ones_like(given))
        torch.set_rng_state(state)
        self._record(name, "mask", mask)
        return module(given)  # type: ignore[no-any-return]

    def _record_update(self, optimizer: Any) -> None:
        for full, parameter in self.parameters.items():
            layer, _, short = full.rpartition(".")
            for kept, value in optimizer.state.get(parameter, {}).items():
                if value is not None:
                    self._record(layer, f"{quantity_of(kept)}.{short}", torch.as_tensor(value))
            self._record(layer, f"param.{short}", parameter)


def _transposed(module: torch.nn.Module, given: torch.Tensor) -> torch.Tensor:
    weight: torch.Tensor = module.get_parameter("weight")
    return torch.nn.functional.linear(given, weight.t())


# The number that AlphaDropout puts in the place of an element: -scale * alpha of SELU.
ALPHA = -1.7580993408473766


def _kept(module: Any, ones: torch.Tensor) -> torch.Tensor:
    """The mask that the module will draw next, found by applying it to ones: True where an element is kept."""
    shown: torch.Tensor = module(ones)
    if isinstance(module, torch.nn.AlphaDropout):
        gain, shift = _alpha_gain(module.p)
        return shown > gain * (1 + ALPHA) / 2 + shift  # halfway between what is kept and what is dropped
    return shown != 0


def _alpha_gain(p: float) -> tuple[float, float]:
    """The gain of y = gain x + shift that keeps mean 0 and variance 1 when a share p of x is replaced by ALPHA."""
    gain = ((1 - p) * (1 + p * ALPHA**2)) ** -0.5 if p < 1 else 0.0
    return gain, -gain * ALPHA * p


def _dropped(module: Any, given: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """A dropout module's output by its definition, with a given mask."""
    if isinstance(module, torch.nn.AlphaDropout):
        gain, shift = _alpha_gain(module.p)
        return torch.where(mask, given, given * 0.0 + ALPHA) * gain + shift
    return given * mask / (1 - module.p) if module.p < 1 else given * 0.0


def _grad_of(value: torch.Tensor) -> torch.Tensor:
    """A tensor's gradient; zero in place of None, which autograd leaves where no gradient arrived."""
    return torch.zeros_like(value) if value.grad is None else value.grad


class _Residual(torch.nn.Module):
    def __init__(self, body: torch.nn.Module, shortcut: torch.nn.Module | None = None) -> None:
        super().__init__()
        self.body, self.shortcut = body, torch.nn.Identity() if shortcut is None else shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x) + self.shortcut(x)  # type: ignore[no-any-return]


def module_of(layers: tuple[Spec, ...], dtype: torch.dtype) -> torch.nn.Sequential:
    """A case's layers as an ordinary torch module; of the containers it knows Sequential and Residual."""
    made = OrderedDict()
    for index, spec in enumerate(layers):
        if spec.type == "Sequential":
            module: Any = module_of(spec.layers, dtype)
        elif spec.type == "Residual":
            module = _Residual(*(module_of((child,), dtype)[0] for child in spec.layers))
        else:
            module = build(torch.nn, spec, dtype).to(dtype)
        made[spec.name or str(index)] = module
    return torch.nn.Sequential(made)


def training_step(
    case: Case, input_gradient: bool = False
) -> tuple[Callable[[], None], Callable[[], dict[str, Array]]]:
    """A function that makes an eager training step (zero_grad, forward, loss, backward, update), starting from the case's
    parameters, and one that returns the parameters.

    input_gradient: whether to compute the gradient of the input too, which a training step does not need.
    """
    dtype = getattr(torch, case.dtype)
    module = module_of(case.layers, dtype)
    module.load_state_dict({name: tensor(value) for name, value in case.params.items()})
    assert case.loss is not None and case.optimizer is not None
    loss = build(torch.nn, case.loss, dtype)
    optimizer = getattr(torch.optim, case.optimizer.type)(module.parameters(), **case.optimizer.options)
    x, target = tensor(case.inputs[0]).requires_grad_(input_gradient), tensor(case.targets[0][0])

    def step() -> None:
        optimizer.zero_grad()
        loss(module(x), target).backward()
        optimizer.step()

    return step, lambda: {name: array(parameter) for name, parameter in module.named_parameters()}
