"""Hooks that the network registered on its tensors, which may change a gradient. Those of one tensor count as one operation."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from oracle.modules.calls import copy_of
from oracle.modules.operations import Called, Operation
from oracle.modules.passes import Passes
from oracle.modules.used_references import References
from oracle.programs.program import Snapshot

TOGETHER = "a tensor has several hooks, and only their joint effect is seen: its reference was not used"
AFTERWARDS = "it changes a gradient after this was added up, where a reference cannot be used"


class TensorHooks:
    """Records the gradient before and after a tensor's hooks.

    Args:
        references: for each hook the intended function, as for a custom autograd.Function.
        names: the names of parameters.
    """

    def __init__(self, references: References, names: Mapping[torch.Tensor, str], passes: Passes) -> None:
        self.references, self.names, self.passes = references, names, passes
        self._handles: list[Any] = []
        self._count = 0

    def watch(
        self,
        tensors: Iterable[torch.Tensor],
        held: Callable[[torch.Tensor], Snapshot],
        done: Callable[[Operation], None],
    ) -> None:
        """Records the hooks of these tensors. Calls `done` for hooks that change the gradient or have a reference."""
        seen: set[int] = set()
        for tensor in tensors:
            hooks = tensor._backward_hooks
            if hooks and id(hooks) not in seen:
                seen.add(id(hooks))
                own = list(hooks.values())
                for hook in own:
                    self._find(hook, TOGETHER if len(own) > 1 else "")
                self._follow(tensor, self._operation(tensor, own, held(tensor)), done)
            afterwards = tensor._post_accumulate_grad_hooks
            if afterwards and id(afterwards) not in seen:
                seen.add(id(afterwards))
                own = list(afterwards.values())
                for hook in own:
                    self._find(hook, AFTERWARDS)
                self._follow_accumulation(tensor, self._operation(tensor, own, held(tensor)), done)

    def _find(self, hook: Any, reason: str) -> None:
        """Takes note of a hook; `reason` says why a reference of it cannot be used."""
        if hook not in self.references:
            return
        if reason:
            self.references.refuse(hook, reason)
        else:
            self.references.use(hook)

    def _operation(self, tensor: torch.Tensor, hooks: list[Any], held: Snapshot) -> Operation:
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
        if len(hooks) == 1 and hooks[0] in self.references:
            operation.called = Called(self.references[hooks[0]], (held,))
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
        self._handles.append(tensor.register_hook(self.passes.without_asked(before)))  # type: ignore[no-untyped-call]
        for key, own in theirs:  # hooks are called in the order of the dict, so these come after `before`
            del hooks[key]
            hooks[key] = own
        self._handles.append(tensor.register_hook(self.passes.without_asked(after)))  # type: ignore[no-untyped-call]

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
