"""Places that keep gradients from parameters: a detach whose result is used, and a checkpoint that drops the gradients of its
parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import torch

from oracle.modules.calls import Node
from oracle.modules.graph import nodes_behind
from oracle.programs.program import CallSite
from oracle.programs.torch_calls import has_place, memory_of


class Cut(NamedTuple):
    """A call that keeps gradients from parameters: its place, its kind, file and line."""

    layer: str
    kind: str
    where: str


class Cuts:
    """Records such places in the forward pass. After the backward pass it tells which parameters got no gradient because of them.

    Args:
        parameters: the names of parameters.
        here: tells the current place in the program.
    """

    def __init__(self, parameters: Mapping[torch.Tensor, str], here: Callable[[], CallSite]) -> None:
        self.parameters, self.here = parameters, here
        self._detached: dict[int, tuple[Cut, Node | torch.Tensor]] = {}
        self._used: dict[Node | torch.Tensor, Cut] = {}
        self._lost: list[tuple[Cut, list[torch.Tensor]]] = []

    def see(self, name: str, tensors: list[torch.Tensor], writes: bool) -> None:
        """Takes note of a call that is about to read these tensors. One that then writes to the first of them, as an average of
        parameters is kept up to date, does not use it for anything else."""
        if not torch.is_grad_enabled():
            return
        for tensor in tensors[1 if writes else 0 :] if self._detached else []:
            key = memory_of(tensor)
            if key in self._detached and tensor.grad_fn is None and tensor not in self.parameters:
                cut, source = self._detached.pop(key)
                self._used[source] = cut
        if name == "detach" and has_place(tensors[0]):  # of a result, or of a parameter itself
            source = tensors[0] if tensors[0].grad_fn is None else tensors[0].grad_fn
            self._detached[memory_of(tensors[0])] = self._cut("detach", "aten.detach", self.here()), source

    def lose(self, parameters: list[torch.Tensor], place: CallSite) -> None:
        """Records a checkpoint that reads these parameters without giving them a gradient."""
        self._lost.append((self._cut("checkpoint", "torch.utils.checkpoint", place), parameters))

    def _cut(self, call: str, kind: str, place: CallSite) -> Cut:
        return Cut(f"{place.module}.{call}" if place.module else call, kind, place.where)

    def unlearnt(self) -> Iterator[tuple[Cut, list[str]]]:
        """Each place with the parameters before it that got no gradient by any other way."""
        for source, cut in self._used.items():
            is_leaf = isinstance(source, torch.Tensor)
            nodes = set() if is_leaf else nodes_behind([source], leaves=True)
            behind = [source] if is_leaf else [getattr(own, "variable", None) for own in nodes]
            if names := self._without_gradient([own for own in behind if own is not None and own in self.parameters]):
                yield cut, names
        for cut, parameters in self._lost:
            if names := self._without_gradient([own for own in parameters if own.requires_grad]):
                yield cut, names

    def _without_gradient(self, parameters: list[torch.Tensor]) -> list[str]:
        return sorted(self.parameters[own] for own in parameters if own.grad is None)

    def forget(self) -> None:
        """Forgets the results that were detached, since their memory may be used again."""
        self._detached.clear()

    def release(self) -> None:
        """Releases autograd's graph."""
        self._used.clear()
        self._lost.clear()
