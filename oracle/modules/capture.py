"""Records the inputs and results of a torch module's leaves by hooks, forward and backward.

It inserts nothing into the network. Values are copied when a leaf is called, before anything can overwrite them, and gradients
are read where autograd passes them on. The nodes that a call adds to autograd's graph are those younger than the call. Their
edges to its input or to a parameter carry the call's part of the gradient, also if others use the same tensor. So in-place
layers, shared layers and custom autograd.Functions need no special treatment. Only a view that is changed in place does, because
autograd then differentiates its base tensor.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch

from oracle.case.arrays import Array, are_equal
from oracle.case.case import Spec
from oracle.case.names import is_buffer
from oracle.modules.as_parts import mixed
from oracle.modules.calls import Call, Node, Slice, blank_of
from oracle.modules.graph import age_of, edge_of, nodes_as_young, nodes_behind, unrecorded
from oracle.modules.passes import Passes
from oracle.modules.sampled.plans import SmallerLayer
from oracle.modules.sampled.sampler import Sampler, TooLarge
from oracle.modules.specs import MOVING, class_name, layer_spec, layer_type, own_forward, refusal, state_of
from oracle.modules.workers import on_one_thread
from oracle.programs.torch_calls import has_place, no_array
from oracle.subjects.torch import array, copied

# Integer types by their size in bytes.
BITS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


class Capture:
    """Records every leaf of a module.

    Args:
        names: the names of parameters.
        done: called with each call whose gradients are complete.
        copied: called with each tensor that is copied, and the copy of its values.
        sampler: draws elements of large calls, so that only these are copied; None if all of them are.
        kept: copies of parameters that exist anyway, by the tensor's id; one is used while it has the parameter's values.
        passes: the backward passes that run.
    Attributes:
        calls: the calls, in order.
        reached: the calls whose output received a gradient, in order of arrival.
        order: the names of these, and of operations, in order of arrival.
        owned: the nodes of autograd's graph that are part of a call.
        open: the calls that have not returned.
    """

    def __init__(
        self,
        names: Mapping[torch.Tensor, str],
        done: Callable[[Call], None],
        copied: Callable[[torch.Tensor, Array], None],
        sampler: Sampler | None = None,
        kept: Mapping[int, torch.Tensor] | None = None,
        passes: Passes | None = None,
    ) -> None:
        self.passes = passes or Passes()
        self.names, self.done, self.copied, self.sampler, self.kept = names, done, copied, sampler, kept or {}
        self.calls: list[Call] = []
        self.reached: list[Call] = []
        self.open: list[Call] = []
        self.differentiating = False
        self.order: list[str] = []
        self.owned: dict[Node, Call] = {}
        self._entrances: set[tuple[Node, int]] = set()
        self._counts: dict[str, int] = {}
        self._hooks: list[Any] = []
        self._last: tuple[torch.Tensor, int, Array] | None = None

    @contextmanager
    def of(self, module: torch.nn.Module) -> Iterator[None]:
        """A context that records all calls of the module's leaves. Hooks that are registered already run first."""
        handles = []
        try:
            for name, leaf in leaves(module):
                entering = _uncompiled(unrecorded(self._entering(name)))
                leaving = _uncompiled(unrecorded(self._leaving(name)))
                handles.append(leaf.register_forward_pre_hook(entering, with_kwargs=True))
                handles.append(leaf.register_forward_hook(leaving, prepend=True, with_kwargs=True))
            yield
        finally:
            self._last = None
            for handle in handles:
                handle.remove()

    def _entering(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            self._counts[name] = self._counts.get(name, 0) + 1
            number = self._counts[name]
            call = Call(name if number == 1 else f"{name}#{number}", *identity(module), training=module.training)
            call.hooked = bool(module._backward_hooks)
            self.open.append(call)
            given = [*args, *kwargs.values()]
            if call.spec is None:
                self._entering_with_statistics(call, module, given)
                return
            if len(given) != 1 or not isinstance(given[0], torch.Tensor):
                call.refuse(f"it is called with {len(given)} arguments, and a {call.kind} takes one tensor")
                return
            if (kind := no_array(given[0])) is not None:
                call.refuse(f"numbers of {kind} are not judged")
                return
            state = state_of(module, call.spec)
            if any(own.is_complex() for own in (given[0], *state.values())):
                call.refuse("it computes with complex numbers, whose operations are judged one by one")
                return
            self.enter(call, given[0], state)

        return hook

    def _leaving(self, name: str) -> Callable[..., None]:
        def hook(module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            while self.open[-1].name != name:  # calls that raised, and whose error was caught
                self.open.pop()
            call = self.open[-1]
            if call.spec is not None and not isinstance(output, torch.Tensor):
                call.refuse(f"it gives a {type(output).__name__}, and a {call.kind} gives one tensor")
            if call.spec is not None:
                (given,) = (*args, *kwargs.values())
                if call.version is not None and given._version == call.version and not call.holds("input", given):
                    call.spoilt.append("input")
                state = state_of(module, call.spec)
                self.leave(call, output, {short: value for short, value in state.items() if is_buffer(short)})
            elif call.keeps is not None and isinstance(output, torch.Tensor):
                shown = {f"buffer.{short}": copied(getattr(module, short)) for short in MOVING}
                call.made = {"output": self._copied(output)} | shown
            self.open.pop()
            self.calls.append(call)

        return hook

    def _entering_with_statistics(self, call: Call, module: torch.nn.Module, given: Sequence[Any]) -> None:
        spec = statistics(module)
        if spec is None or len(given) != 1 or not isinstance(given[0], torch.Tensor):
            return
        if no_array(given[0]) is None:
            call.keeps, call.input, call.device = spec, self._copied(given[0]), given[0].device.type
            call.age = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
            call.state = {name: self._copied(value) for name, value in state_of(module, spec).items()}

    def enter(self, call: Call, given: torch.Tensor, state: Mapping[str, torch.Tensor]) -> None:
        """Copies the input of a call, and records its place in autograd's graph."""
        call.version = None if given.is_inference() else given._version
        call.device = given.device.type
        try:
            plans = self._plans(call, given, state)
        except TooLarge as reason:
            call.input = blank_of(given)
            call.refuse(str(reason))
            return
        if plans is None:
            call.input = self._copied(given)
            call.state = {name: self._copied(value) for name, value in state.items()}
        else:
            call.cut(plans, given, state)
        if torch.is_grad_enabled():
            if given.requires_grad:
                call.learns += [self.names[given]] if given in self.names else []  # its input is a parameter itself
                call.edges[edge_of(given)] = ("grad_input", None)
                if given._is_view() and given._base is not None and given._base.requires_grad:
                    call.edges[edge_of(given._base)] = ("grad_input", Slice.of(given))
            for name, value in state.items():
                if value.requires_grad:
                    if value in self.names:
                        call.learns.append(self.names[value])
                    call.edges[edge_of(value)] = (f"grad.{name}", None)
        call.age = torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]

    def _plans(
        self, call: Call, given: torch.Tensor, state: Mapping[str, torch.Tensor]
    ) -> Sequence[SmallerLayer] | None:
        """The parts of a call that are judged; None for all of it. Raises: TooLarge."""
        if self.sampler is None or call.spec is None or not given.is_floating_point():
            return None
        shapes = {name: tuple(value.shape) for name, value in state.items()}
        return self.sampler.plans(call.layer, call.spec, tuple(given.shape), shapes)

    def leave(self, call: Call, output: torch.Tensor, buffers: Mapping[str, torch.Tensor]) -> None:
        """Copies the result of a call, and registers hooks for its gradients."""
        shown = {"output": output, **{f"buffer.{name}": value for name, value in buffers.items()}}
        for quantity, value in shown.items():
            if call.parts:
                call.add(quantity, value)
            else:
                call.made[quantity] = self._copied(value)
        call.expected = list(call.made)
        if reason := mixed(call):
            call.refuse(reason)
        if not call.edges or call.spec is None:
            return
        quantities = list(dict.fromkeys(quantity for quantity, _ in call.edges.values()))
        node, number, part = output.grad_fn, output.output_nr, None
        base = output._base if output._is_view() else None
        if base is not None and base.grad_fn is not None and age_of(base.grad_fn) >= call.age:  # changed in place
            node, number, part = base.grad_fn, base.output_nr, Slice.of(output)
        handed = edge_of(output) if node is None and output.requires_grad else (node, number)
        if handed in call.edges:  # the input itself, which may be a parameter
            return
        call.expected += quantities
        if node is None or age_of(node) < call.age:
            return
        call.joined = True
        arrived: list[torch.Tensor] = []
        self._hooks.append(node.register_prehook(on_one_thread(self._arriving(call, output, number, part, arrived))))
        self._hooks.append(node.register_hook(on_one_thread(self._left(call, part, arrived))))
        self._entrances.add((node, number))
        for own in nodes_as_young(node, call.age):
            self.owned[own] = call
            self._listen(call, own)

    def _arriving(
        self, call: Call, output: torch.Tensor, number: int, part: Slice | None, arrived: list[torch.Tensor]
    ) -> Callable[..., None]:
        shape, dtype = output.shape, output.dtype

        def hook(gradients: tuple[torch.Tensor | None, ...]) -> None:
            if not self._takes(call) or not any(own.startswith("grad") for own in call.expected):
                return  # such as a gradient that the network takes within its forward pass
            if call.grad_output is not None and call.pending > 0 and not call.behind:
                call.forget()  # other code takes some of its gradients several times
                return
            gradient = gradients[number]
            if gradient is not None:
                call.arrive(gradient if part is None else part(gradient))
                arrived.append(gradient)
            else:
                call.arrive(torch.zeros((), dtype=dtype).expand(shape))
            self.reached.append(call)
            self.order.append(call.layer)

        return hook

    def _left(self, call: Call, part: Slice | None, arrived: list[torch.Tensor]) -> Callable[..., None]:
        def hook(*_: Any) -> None:
            for gradient in arrived:
                if not call.holds("grad_output", gradient if part is None else part(gradient)):
                    call.spoilt.append("grad_output")
            arrived.clear()

        return hook

    def _listen(self, call: Call, node: Node) -> None:
        """Adds up the gradients on the edges of a node that lead out of the call."""
        out = [(place, call.edges[edge]) for place, edge in enumerate(node.next_functions) if edge in call.edges]
        if not out:
            return

        def hook(gradients: tuple[torch.Tensor | None, ...], _: Any) -> None:
            for place, (quantity, part) in out:
                gradient = gradients[place]
                if not self._takes(call) or quantity not in call.expected:
                    continue
                if gradient is not None:
                    call.add(quantity, gradient if part is None else part(gradient))
                elif not call.behind:
                    call.forget()
            if self._takes(call):
                call.pending -= 1
                if not call.pending:
                    call.add_zeros()
                    self.done(call)

        call.pending += 1
        self._hooks.append(node.register_hook(on_one_thread(hook)))

    def leave_to_operations(self, outputs: Sequence[torch.Tensor]) -> None:
        """Finds the calls that cannot be judged as layers, because of how the gradients of these outputs reach them.

        Some gradients enter a call beside its output; such a call is judged operation by operation. Others do not reach a call at
        all.

        A gradient can enter beside the output if it was itself differentiated (create_graph): it then reaches what the call saved
        for its backward.
        """
        entered: list[Call] = []
        behind = nodes_behind(own.grad_fn for own in outputs if own.grad_fn is not None)
        for node, owner in self.owned.items():
            owner.behind = node in behind
        for node in behind:
            for edge in node.next_functions:
                call = self.owned.get(edge[0])
                if call is not None and self.owned.get(node) is not call and edge not in self._entrances:
                    entered.append(call)
        for call in entered:
            call.refuse("a gradient of a gradient goes through it")
        self.owned = {node: call for node, call in self.owned.items() if call.spec is not None}

    def release(self) -> None:
        """Releases autograd's graph: a node holds its hooks, which hold the calls, a cycle that Python's collector cannot see."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.owned.clear()
        self._entrances.clear()
        for call in self.calls:
            call.edges.clear()

    def backward(self, outputs: Sequence[torch.Tensor], upstream: Sequence[torch.Tensor | None]) -> None:
        """Runs the backward pass; afterwards every call that received a gradient has all expected quantities."""
        self.differentiating = True
        try:
            with self.passes.followed():
                torch.autograd.backward(outputs, upstream)
        finally:
            self.differentiating = False
        for call in self.reached:
            if call.pending > 0 and not call.behind:  # a pass of other code asked for some of its gradients only
                call.forget()
            call.add_zeros()

    def _takes(self, call: Call) -> bool:
        """Whether the pass that runs hands gradients to the module. A call beside its graph gets them in other passes only."""
        return self.differentiating and not (call.behind and self.passes.asks)

    def _copied(self, tensor: torch.Tensor) -> Array:
        """A copy of a tensor's current values; a layer's output that is the next one's input is copied only once."""
        last = self._last
        # A write to a tensor's `data` keeps its version, so the numbers are compared too.
        if (
            last is not None
            and last[0] is tensor
            and last[1] == tensor._version
            and are_equal(array(tensor.detach()), last[2])
        ):
            return last[2]
        kept = self.kept.get(id(tensor))
        copy = array(kept) if kept is not None and _is_same(tensor, kept) else copied(tensor)
        copy.flags.writeable = False
        self.copied(tensor, copy)
        if has_place(tensor) and tensor.grad_fn is not None:
            self._last = tensor, tensor._version, copy
        return copy


def leaves(module: torch.nn.Module) -> Iterator[tuple[str, torch.nn.Module]]:
    """The modules without children, once each, by dotted name, and layers whose subclass added children; a root by its class."""
    for name, own in module.named_modules():
        if next(own.children(), None) is None or layer_type(own) is not None:
            yield name or type(own).__name__, own


def _uncompiled(hook: Callable[..., None]) -> Callable[..., None]:
    """Keeps torch.compile from compiling a hook. The compiler then compiles the code between hooks, layer by layer."""
    compiler_is_there = "torch._dynamo" in sys.modules  # loading it takes longer than judging most modules
    return torch.compiler.disable(hook) if compiler_is_there else hook  # type: ignore[no-untyped-call]


def is_in_one_graph(error: Exception) -> bool:
    """Whether torch.compile failed because it had to make one graph of the network, and hooks prevented that."""
    compiler = sys.modules.get("torch._dynamo")
    return compiler is not None and isinstance(error, compiler.exc.Unsupported) and "compiler.disable" in str(error)


def identity(module: torch.nn.Module) -> tuple[str, Spec | None, str]:
    """The class and options of a leaf, or the reason why it cannot be judged as a layer."""
    kind, own = layer_type(module), class_name(type(module))
    if kind is None:
        return own, None, f"the reference has no {own}"
    if next(module.children(), None) is not None:
        return own, None, f"it derives from torch.nn.{kind}, but has modules of its own, which are judged by themselves"
    if own_forward(module, kind):
        return own, None, f"it derives from torch.nn.{kind}, but has a forward of its own"
    try:
        spec = layer_spec(module, kind)
        reason = refusal(spec)
        return (own, None, reason) if reason else (kind, spec, "")
    except AttributeError as error:
        return own, None, f"it derives from torch.nn.{kind}, but lacks what that one's constructor sets: {error}"


def statistics(module: torch.nn.Module) -> Spec | None:
    """The norm of torch.nn from which a class with its own forward derives, if that keeps running statistics."""
    kind = layer_type(module)
    if kind is None or not kind.startswith(("BatchNorm", "InstanceNorm")):
        return None
    try:
        kept = all(isinstance(getattr(module, name), torch.Tensor) for name in MOVING)
        return layer_spec(module, kind) if kept and own_forward(module, kind) else None
    except AttributeError:
        return None


def _is_same(tensor: torch.Tensor, copy: torch.Tensor) -> bool:
    """Whether a tensor in the processor's memory is the same to the bit as this copy."""
    if tensor.device.type != "cpu" or tensor.layout != torch.strided or tensor.dtype != copy.dtype:
        return False
    bits = BITS.get(copy.element_size())
    return bits is not None and torch.equal(tensor.detach().view(bits), copy.view(bits))
