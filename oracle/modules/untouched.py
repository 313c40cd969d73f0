"""Restores a model after a check, whatever was done to it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager

import numpy as np
import torch

from oracle.case.arrays import are_equal
from oracle.programs.torch_calls import SPARSE, numbers_of
from oracle.subjects.torch import array

WITHOUT_GENERATORS = ("cpu", "meta", "mps")


@contextmanager
def untouched(
    module: torch.nn.Module, optimizer: torch.optim.Optimizer | None, inputs: Iterable[torch.Tensor]
) -> Iterator[dict[int, torch.Tensor]]:
    """Restores mode, parameters, buffers, gradients, the optimizer's state and all random generators afterwards.

    Inside, parameters start without gradients. Yields the copies from which their values are restored, by the tensor's id.
    """
    tensors = {id(tensor): tensor for tensor in [*module.parameters(), *module.buffers()]}
    if optimizer is not None:
        tensors |= {id(own): own for group in optimizer.param_groups for own in group["params"]}
    with ExitStack() as after:
        after.enter_context(_generators([*tensors.values(), *inputs]))
        for own in module.modules():
            after.callback(_registers(own))
        copies = {key: tensor.detach().clone() for key, tensor in tensors.items()}
        for key, tensor in tensors.items():
            after.callback(_values(tensor, copies[key]))
        if optimizer is not None:
            after.callback(_state(optimizer))
        for tensor in tensors.values():
            if tensor.is_leaf:
                tensor.grad = None
        yield copies


def buffers_that_changed(module: torch.nn.Module, kept: Mapping[int, torch.Tensor]) -> list[str]:
    """The names of buffers that no longer hold what was kept of them, or that took the place of others."""

    def is_kept(own: torch.Tensor) -> bool:
        before = kept.get(id(own))
        return before is not None and (own.layout in SPARSE or are_equal(array(own), array(before)))

    return [name for name, own in module.named_buffers() if not is_kept(own)]


@contextmanager
def _generators(tensors: Iterable[torch.Tensor]) -> Iterator[None]:
    """The random generators: torch's on the CPU and on every device in use, and NumPy's and Python's global ones."""
    devices: dict[str, set[int]] = {}
    for tensor in tensors:
        if tensor.device.type not in WITHOUT_GENERATORS:
            devices.setdefault(tensor.device.type, set()).add(tensor.device.index or 0)
    numpy_state, python_state = np.random.get_state(), random.getstate()
    with ExitStack() as forks:
        forks.enter_context(torch.random.fork_rng(devices=[]))
        for kind, numbers in devices.items():
            forks.enter_context(torch.random.fork_rng(devices=sorted(numbers), device_type=kind))
        try:
            yield
        finally:
            np.random.set_state(numpy_state)
            random.setstate(python_state)


def _registers(module: torch.nn.Module) -> Callable[[], None]:
    """The tensors that a module holds, and its mode."""
    parameters, buffers, training = dict(module._parameters), dict(module._buffers), module.training

    def back() -> None:
        module._parameters.clear()
        module._parameters.update(parameters)
        module._buffers.clear()
        module._buffers.update(buffers)
        module.training = training

    return back


def _values(tensor: torch.Tensor, copy: torch.Tensor) -> Callable[[], None]:
    """A tensor's storage, a copy of its values, and its gradient."""
    storage = tensor.data
    gradient = tensor.grad if tensor.is_leaf else None

    def back() -> None:
        numbers_of(storage).copy_(numbers_of(copy))
        is_other = tensor.shape != storage.shape or tensor.layout in SPARSE  # it was resized, or cannot be compared
        if is_other or tensor.data_ptr() != storage.data_ptr():
            tensor.data = storage
        if tensor.is_leaf:
            tensor.grad = gradient

    return back


def _state(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    found = {parameter: dict(own) for parameter, own in optimizer.state.items()}
    tensors = [value for own in found.values() for value in own.values() if isinstance(value, torch.Tensor)]
    values = [_values(tensor, tensor.detach().clone()) for tensor in tensors]
    groups = [dict(group) for group in optimizer.param_groups]

    def back() -> None:
        for restore in values:
            restore()
        optimizer.state.clear()
        optimizer.state.update(found)
        for group, own in zip(optimizer.param_groups, groups, strict=True):
            group.clear()
            group.update(own)

    return back
