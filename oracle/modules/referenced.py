"""Calls of modules for which the user gave a reference. Each counts as one operation, whatever it consists of."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.utils import _pytree

from oracle.modules.calls import Node, copy_of
from oracle.modules.graph import edge_of, nodes_as_young, unrecorded
from oracle.modules.operations import Called, Operation
from oracle.modules.used_references import References
from oracle.modules.workers import on_one_thread
from oracle.programs.program import Snapshot
from oracle.programs.torch_calls import has_place


def keys_by_path(module: torch.nn.Module, references: References) -> dict[str, Any]:
    """The keys of a module's parts that have a reference, their names or else their classes; "" is the module itself."""
    found: dict[str, Any] = {}
    for path, own in module.named_modules():
        key = path if path and path in references else type(own)
        if key in references:
            found[path] = key
    return found


def _keywords(reference: Callable[..., Any]) -> Container[str]:
    """The names of a function's arguments; none of a builtin that does not say them."""
    try:
        return inspect.signature(reference).parameters
    except ValueError:
        return ()


@dataclass
class _Call:
    """A call as an operation, with the age of autograd's graph at its start, and the destinations of its gradients."""

    operation: Operation
    age: int
    edges: dict[tuple[Node, int], int] = field(default_factory=dict)
    made: dict[int, tuple[Node, int]] = field(default_factory=dict)


class Referenced:
    """Records the calls of modules for which there is a reference.

    Args:
        module: the whole module.
        references: references by autograd.Function, module class, or module name; those of modules are used.
        names: the names of parameters.
        held: records the values of tensors in nested arguments.
        found: called with the key of each call.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        references: References,
        names: Mapping[torch.Tensor, str],
        held: Callable[[Any], Any],
        found: Callable[[Any], None],
    ) -> None:
        self.module, self.names, self.held, self.found = module, names, held, found
        self.references, self.keys = references, keys_by_path(module, references)
        self.calls: list[_Call] = []
        self._open: list[_Call] = []
        self._hooks: list[Any] = []

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, their calls are recorded."""
        handles: list[Any] = []
        try:
            for path, key in self.keys.items():
                own = self.module.get_submodule(path)
                handles += [
                    own.register_forward_pre_hook(unrecorded(self._entering(path, key)), with_kwargs=True),
                    own.register_forward_hook(unrecorded(self._leaving), with_kwargs=True, prepend=True),
                ]
            yield
        finally:
            for handle in handles:
                handle.remove()

    def _entering(self, path: str, key: Any) -> Callable[..., None]:
        reference = self.references[key]
        taken = _keywords(reference)

        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self.found(key)
            kind, name = f"{type(module).__module__}.{type(module).__qualname__}", path or type(module).__name__
            number = 1 + sum(own.operation.layer.partition("#")[0] == name for own in self.calls)
            operation = Operation(name if number == 1 else f"{name}#{number}", kind, "")
            call = _Call(operation, torch.autograd._get_sequence_nr())  # type: ignore[attr-defined]
            params = {own: value for own, value in module.named_parameters() if own in taken}
            for tensor in [own for own in _pytree.tree_leaves((args, kwargs)) if torch.is_tensor(own)]:
                self._enter(call, tensor, "")
            for value in params.values():
                self._enter(call, value, self.names.get(value, ""))
            operation.called = Called(reference, tuple(self.held(args)), self.held({**kwargs, **params}))
            operation.age = call.age
            self.calls.append(call)
            self._open.append(call)

        return hook

    def _enter(self, call: _Call, tensor: torch.Tensor, name: str) -> None:
        if not has_place(tensor) or edge_of(tensor) in call.edges:
            return
        operation, position = call.operation, len(call.edges)
        operation.device = tensor.device.type
        held: Snapshot = self.held(tensor)
        call.edges[edge_of(tensor)] = position
        operation.inputs[position], operation.names[position] = held, name
        operation.sizes[position], operation.dtypes[position] = held.geometry.size, held.dtype

    def _leaving(self, module: torch.nn.Module, args: Any, kwargs: Any, output: Any) -> None:
        call = self._open.pop()
        tensors = [own for own in _pytree.tree_leaves(output) if torch.is_tensor(own)]
        for number, tensor in enumerate(tensors):
            call.operation.outputs[number] = self.held(tensor)
            if not has_place(tensor) or tensor.grad_fn is None:
                continue
            call.made[number] = edge_of(tensor)
            if call.made[number] in call.edges:
                call.operation.reason = "it hands its input through"

    def owned(self) -> set[Node]:
        """The nodes that are part of these calls; registers hooks for their gradients."""
        owned: set[Node] = set()
        for call in self.calls:
            young = {own for node, _ in call.made.values() for own in nodes_as_young(node, call.age)}
            for node in {node for node, _ in call.made.values()}:
                self._hooks.append(node.register_prehook(on_one_thread(self._arriving(call, node))))
            for node in young:
                self._listen(call, node)
            owned |= young
        return owned

    def _arriving(self, call: _Call, node: Node) -> Callable[..., None]:
        def hook(gradients: tuple[torch.Tensor | None, ...]) -> None:
            for number, (own, place) in call.made.items():
                gradient = gradients[place] if own is node else None
                if gradient is not None:
                    call.operation.upstream[number] = copy_of(gradient)

        return hook

    def _listen(self, call: _Call, node: Node) -> None:
        out = [(place, call.edges[edge]) for place, edge in enumerate(node.next_functions) if edge in call.edges]

        def hook(gradients: tuple[torch.Tensor | None, ...], _: Any) -> None:
            for place, position in out:
                gradient, so_far = gradients[place], call.operation.gradients.get(position)
                if gradient is not None:
                    share = copy_of(gradient)
                    call.operation.gradients[position] = share if so_far is None else so_far + share

        if out:
            self._hooks.append(node.register_hook(on_one_thread(hook)))

    def operations(self) -> Iterator[Operation]:
        """The operations that received a gradient; available after the backward pass."""
        for call in self.calls:
            if call.operation.upstream:
                yield call.operation

    def release(self) -> None:
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.calls.clear()
