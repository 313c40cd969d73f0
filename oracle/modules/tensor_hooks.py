"""Hooks that the network registered on its tensors, which may change a gradient. Those of one tensor count as one operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oracle.modules.calls import copy_of
from oracle.modules.operations import Called, Operation
from oracle.programs.program import Held


class TensorHooks:
    """Records the gradient before and after a tensor's hooks.

    Args:
        references: for each hook the intended function, as for a custom autograd.Function.
        names: the names of parameters.
    """

    def __init__(self, references: Mapping[Any, Callable[..., Any]], names: Mapping[torch.Tensor, str]) -> None:
        self.references, self.names = references, names
        self._handles: list[Any] = []
        self._count = 0

    def watch(
        self,
        tensors: Iterable[torch.Tensor],
        held: Callable[[torch.Tensor], Held],
        done: Callable[[Operation], None],
    ) -> None:
        """Records those of the tensors that have hooks; calls `done` for hooks that change the gradient or have a reference."""
        seen: set[int] = set()
        for tensor in tensors:
            hooks = tensor._backward_hooks
            if hooks and id(hooks) not in seen:
                seen.add(id(hooks))
                self._follow(tensor, self._operation(tensor, list(hooks.values()), held(tensor)), done)
            afterwards = tensor._post_accumulate_grad_hooks
            if afterwards and id(afterwards) not in seen:
                seen.add(id(afterwards))
                self._follow_accumulation(
                    tensor, self._operation(tensor, list(afterwards.values()), held(tensor)), done
                )

    def _operation(self, tensor: torch.Tensor, hooks: list[Any], held: Held) -> Operation:
        self._count += 1
        code = getattr(hooks[0], "__code__", None)
        where = f"{Path(code.co_filename).name}:{code.co_firstlineno}" if code is not None else ""
        name = self.names.get(tensor, "")
        layer = f"{name}.hook" if name else "hook"
        kind = getattr(hooks[0], "__qualname__", type(hooks[0]).__qualname__)
        operation = Operation(layer if name or self._count == 1 else f"{layer}#{self._count}", kind, where)
        operation.inputs[0] = operation.outputs[0] = held
        operation.device = tensor.device.type
        operation.names[0], operation.sizes[0], operation.dtypes[0] = "", held.geometry.size, held.dtype
        reference = next((self.references[own] for own in hooks if own in self.references), None)
        if reference is not None and len(hooks) == 1:
            operation.called = Called(reference, (held,))
        return operation

    def _follow(self, tensor: torch.Tensor, operation: Operation, done: Callable[[Operation], None]) -> None:
        def before(gradient: torch.Tensor) -> None:
            operation.upstream[0] = copy_of(gradient)

        def after(gradient: torch.Tensor) -> None:
            operation.gradients[0] = copy_of(gradient)
            changed = not np.array_equal(operation.gradients[0], operation.upstream[0], equal_nan=True)
            if changed and operation.called is None:
                operation.reason = (
                    "a hook changes the gradient here: give its intended function as references={hook: ...}"
                )
            if changed or operation.called is not None:
                done(operation)

        hooks = tensor._backward_hooks
        assert hooks is not None
        theirs = list(hooks.items())
        self._handles.append(tensor.register_hook(before))  # type: ignore[no-untyped-call]
        for key, own in theirs:  # hooks are called in the order of the dict, so these come after `before`
            del hooks[key]
            hooks[key] = own
        self._handles.append(tensor.register_hook(after))  # type: ignore[no-untyped-call]

    def _follow_accumulation(
        self, tensor: torch.Tensor, operation: Operation, done: Callable[[Operation], None]
    ) -> None:
        """Records the gradient that a parameter gets, and what is left in `grad` after the hooks that then run."""
        before: list[torch.Tensor] = []

        def arriving(gradient: torch.Tensor) -> None:
            before[:] = [gradient.detach().clone() if tensor.grad is None else tensor.grad + gradient.detach()]

        def after(parameter: torch.Tensor) -> None:
            operation.upstream[0] = copy_of(before.pop())
            left = parameter.grad
            if left is None or not np.array_equal(copy_of(left), operation.upstream[0], equal_nan=True):
                operation.reason = "a hook changes the gradient after it was added up, which has no reference"
                done(operation)

        self._handles.append(tensor.register_hook(arriving))  # type: ignore[no-untyped-call]
        self._handles.append(tensor.register_post_accumulate_grad_hook(after))  # type: ignore[no-untyped-call]

    def release(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles.clear()
