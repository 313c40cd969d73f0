"""Records the operations between and inside a module's leaves: every node of its autograd graph, with its ATen calls.

The calls of a node run before the next node is created, so the number of nodes at the time of a call shows to which node it
belongs, also inside a custom autograd.Function. The inputs and results of a node are the tensors at its edges, which are known
from the calls that read them. Nothing is inserted into the network; gradients are read where autograd passes them on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import get_ident
from typing import Any

import torch
from torch.autograd import Function
from torch.nn.modules import module as hooks
from torch.utils.checkpoint import CheckpointFunction

from oracle.case.arrays import Array
from oracle.modules.aliases import hand_on, held_at
from oracle.modules.calls import Node, copy_of, taken, with_share
from oracle.modules.cuts import Cuts
from oracle.modules.graph import Edge, age_of, calls_of, is_compiled, is_ours, is_scripted, nodes_behind
from oracle.modules.inner_passes import InnerPasses
from oracle.modules.operations import Called, Operation, computes, differentiate, main_call, maker_of, plain_name
from oracle.modules.passes import Passes
from oracle.modules.referenced import Referenced
from oracle.modules.sampled.draws import Draw
from oracle.modules.sampled.operations import parts_of
from oracle.modules.sampled.sampler import Sampler
from oracle.modules.tensor_hooks import TensorHooks
from oracle.modules.unnoticed import Unnoticed
from oracle.modules.used_references import COMPILED, REENTRANT, References
from oracle.modules.workers import on_one_thread
from oracle.programs.program import CallSite, Event, Snapshot, all_in
from oracle.programs.torch_calls import Recording, as_written, frame_of_user, has_place, memory_of, op_name


class Watch(Recording):  # type: ignore[no-untyped-call]
    """Records the forward pass of a module, and then follows its backward pass node by node.

    Args:
        module: the module, whose submodules name the places.
        names: the names of parameters.
        references: the user's references, by custom autograd.Function, operation of torch.library, module or hook.
        sampler: draws elements of large operations; None if all of them are recorded.
        passes: the backward passes that run.
    """

    def __init__(
        self,
        module: torch.nn.Module,
        names: Mapping[torch.Tensor, str],
        references: References,
        sampler: Sampler | None,
        passes: Passes,
    ) -> None:
        super().__init__(self._here)
        self.sampler, self.passes, self.references = sampler, passes, references
        self.of_ops = {name: kind for kind in references if (name := op_name(kind)) is not None}
        self.referenced = Referenced(module, references, names, self.held, self._found)
        self.tensor_hooks = TensorHooks(references, names, passes)
        self.inner = InnerPasses()
        self.called: dict[int, Called] = {}
        self.paths = {id(own): name for name, own in module.named_modules()}
        self.parameters = dict(names)
        self.stack: list[str] = []
        self.edges: dict[Edge, tuple[Snapshot, int]] = {}
        self.leaves: dict[int, Snapshot] = {}
        self.compiled = is_compiled(module)
        self.spoilt, self.ignored = dict[str, CallSite](), dict[str, None]()
        self.at = ""
        self.cuts = Cuts(self.parameters, self._here)
        self.learnt: list[dict[str, Array]] = []
        self._hooks: list[Any] = []
        self._is_in_checkpoint = False
        self._thread, self._elsewhere = get_ident(), dict[int, tuple[int, int]]()
        self._only_seen: set[Edge] = set()
        self.not_held, self.not_compiled = dict[str, None](), dict[CallSite, None]()
        self._unnoticed = Unnoticed()

    @contextmanager
    def forward(self, place: str = "") -> Iterator[None]:
        """A context that records calls, each with the module that makes it, or with this place outside of any module."""
        self.stack = [place]
        if self.compiled:  # with hooks and modes the compiler would not compile it
            for key in self.references:
                self.references.refuse(key, COMPILED)
            yield
            return
        entering = hooks.register_module_forward_pre_hook(lambda own, _: self.stack.append(self._path(own)))
        leaving = hooks.register_module_forward_hook(lambda *_: self._left(), always_call=True)
        try:
            met = as_written(lambda: self.not_compiled.update({self._here(): None}))
            with met, self, self._calls_shown(), self.referenced.watched(), self.inner.watched():
                yield
        finally:
            entering.remove()
            leaving.remove()
            self.stack.clear()

    @contextmanager
    def _calls_shown(self) -> Iterator[None]:
        """Inside, the arguments of functions with a reference are recorded, also for callers that bound their `apply` before."""
        functions = [kind for kind in self.references if isinstance(kind, type) and issubclass(kind, Function)]
        shown = {kind: self._showing(kind, kind.forward) for kind in functions}
        shown.setdefault(CheckpointFunction, self._losing(CheckpointFunction.forward))
        before = {kind: kind.__dict__.get("forward") for kind in shown}
        for kind, forward in shown.items():
            setattr(kind, "forward", staticmethod(forward))  # noqa: B010
        try:
            yield
        finally:
            for kind, own in before.items():
                if own is None:
                    delattr(kind, "forward")
                else:
                    setattr(kind, "forward", own)  # noqa: B010

    def _found(self, key: Any) -> None:
        """Records a call that has a reference."""
        if self._is_in_checkpoint:
            self.references.refuse(key, REENTRANT)
        else:
            self.references.use(key)

    def _showing(self, kind: Any, forward: Callable[..., Any]) -> Callable[..., Any]:
        has_context = kind.setup_context is Function.setup_context  # otherwise forward gets no ctx

        def shown(*args: Any) -> Any:
            self._found(kind)
            number, given = torch.autograd._get_sequence_nr(), args[1:] if has_context else args  # type: ignore[attr-defined]
            self.called[number - 1] = Called(self.references[kind], tuple(self.held(given)))
            return forward(*args)

        return shown

    def _losing(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        """Records a reentrant checkpoint none of whose inputs requires a gradient; its parameters then get no gradient."""

        def shown(ctx: Any, run_function: Any, preserve: Any, *args: Any) -> Any:
            place, first, is_inside = self._here(), len(self.events), self._is_in_checkpoint
            self._is_in_checkpoint = True
            try:
                output = forward(ctx, run_function, preserve, *args)
            finally:
                self._is_in_checkpoint = is_inside
            if not any(torch.is_tensor(own) and own.requires_grad for own in args):
                self.cuts.lose(list(self._read_by(self.events[first:])), place)
            return output

        return shown

    def _read_by(self, events: Sequence[Event]) -> Iterator[torch.Tensor]:
        """The parameters that the calls read."""
        read = {(own.storage, own.geometry) for event in events for own in all_in((event.args, event.kwargs), Snapshot)}
        for own in self.parameters:
            held = self.held(own)
            if (held.storage, held.geometry) in read:
                yield own

    def _path(self, module: torch.nn.Module) -> str:
        path: str | None = self.paths.get(id(module))
        return path if path is not None else self.stack[-1] or type(module).__name__

    def _left(self) -> None:
        if len(self.stack) > 1:
            self.stack.pop()

    def _here(self) -> CallSite:
        frame = frame_of_user()
        path = self.stack[-1] if self.stack else ""
        return CallSite(path, Path(frame.f_code.co_filename).name, frame.f_lineno) if frame else CallSite(path)

    def seen(self, name: str, tensors: list[torch.Tensor], writes: bool = False) -> None:
        """Records the place in the graph of a tensor that is about to be read, or was returned."""
        self._unnoticed.begin()
        for tensor in tensors:
            self._note(tensor, only_seen=name == "detach")
        self.cuts.see(name, tensors, writes)

    def take(self, event: Event) -> None:
        """Records a call. Calls in torch.jit.fork run on other threads, each of which counts its own nodes."""
        thread = get_ident()
        if thread == self._thread:
            super().take(event)
        else:
            least, most = self._elsewhere.get(thread, (event.number, event.number))
            self._elsewhere[thread] = min(least, event.number), max(most, event.number)

    def keep(self, tensor: torch.Tensor) -> None:
        """Copies the recorded values in a tensor's memory before it is overwritten; of a large array, what is drawn of it."""
        if self.sampler is None:
            super().keep(tensor)
            return
        storage = memory_of(tensor)
        maker = maker_of(self.events, storage)
        copies: dict[Any, list[tuple[Draw, Array]]] = {}
        with torch.utils._python_dispatch._disable_current_modes():
            for held in self._held.pop(storage, ()):
                draws = self.sampler.before(maker, held.shape) if held.source is not None else ()
                if not draws:
                    _ = held.numbers  # copies them
                    continue
                elements = held.place
                if elements not in copies:
                    copies[elements] = [(drawn, taken(drawn, held.source)) for drawn in draws]
                held.keep(copies[elements])

    def wrote(self, tensors: list[torch.Tensor]) -> None:
        """Records tensors that a call changed unnoticed by autograd, although others may read them."""
        if torch._C._functorch.peek_interpreter_stack() is not None:  # its tensors have versions of their own
            return
        for tensor in tensors:
            held = self.held(tensor)
            self._unnoticed.change(held, self._here)
            if not tensor.requires_grad:  # otherwise it is part of the graph, like the chunks of torch.unsafe_chunk
                self._unnoticed.write(held, self._here)

    def _note(self, tensor: torch.Tensor, only_seen: bool = False) -> None:
        """Records a tensor's place in the graph, and that its numbers are read, unless it is only seen."""
        if not torch.is_tensor(tensor) or not has_place(tensor):
            return
        node = tensor.grad_fn
        if node is None:
            if id(tensor) not in self.leaves:
                self.leaves[id(tensor)] = self.held(tensor)
                if isinstance(tensor, torch.nn.Parameter) and tensor not in self.parameters:
                    self.not_held[self._here().where] = None
            return
        edge = (node, tensor.output_nr)
        self._unnoticed.know(edge, tensor, self.held, self._here)
        if not only_seen:
            self._unnoticed.meet(edge)
            self._unnoticed.meet_changed(edge, tensor, self.held, self.sampler is None)
            if tensor._is_view() and tensor._base is not None:
                self._note(tensor._base)
        if edge in self.edges and (only_seen or edge not in self._only_seen):
            return
        held = self.held(tensor)
        self.edges.setdefault(edge, (held, len(self.events)))
        if only_seen:  # such as y.data, whose numbers nobody has used before they are overwritten
            self._only_seen.add(edge)
            return
        self._only_seen.discard(edge)
        self._unnoticed.read(tensor, held)

    def watch(self, outputs: Iterable[torch.Tensor], owned: set[Node], done: Callable[[Operation], None]) -> None:
        """Follows the operations that lead to these outputs, without nodes of others; `done` gets each with its gradients."""
        outputs = list(outputs)
        self.seen("", outputs)
        owned = owned | self.referenced.owned()
        nodes = nodes_behind([*(own.grad_fn for own in outputs if own.grad_fn is not None), *self.inner.passes])
        hand_on(nodes, self.edges, self.leaves)
        elsewhere = {age for least, most in self._elsewhere.values() for age in range(least - 1, most)}
        hides_parameters, counts = False, dict[str, int]()
        for node, first, last in calls_of(nodes, [event.number for event in self.events], elsewhere):
            if node in owned or is_ours(node):
                continue
            operation = self._operation(node, first, last, counts)
            self.inner.add(node, operation, self.sampler)
            if age_of(node) in elsewhere:
                operation.reason = "another thread ran calls here, and which belong to this operation is not known"
            if self.sampler is not None:
                operation.parts = parts_of(operation, self.sampler)
            hides_parameters |= bool(operation.hidden)
            self._follow(node, operation, done)
        self.spoilt = self._unnoticed.harmful({age_of(node) for node in nodes})
        self.ignored = self._unnoticed.ignored(nodes, [(own.grad_fn, own.output_nr) for own in outputs])
        self.tensor_hooks.watch([*self.read(), *self.parameters], self.held, done)
        self.events, self.edges, self.leaves = [], {}, {}
        self._unnoticed.release()
        self.cuts.forget()
        self._only_seen.clear()
        if hides_parameters:
            self._hooks += [
                own.register_hook(self._learning(name))  # type: ignore[no-untyped-call]
                for own, name in self.parameters.items()
                if own.requires_grad
            ]

    def read(self) -> Iterator[torch.Tensor]:
        """The results of the graph whose numbers were read; available until `watch`."""
        return self._unnoticed.tensors()

    def _learning(self, name: str) -> Callable[[torch.Tensor], None]:
        def hook(gradient: torch.Tensor) -> None:
            for learnt in self.learnt[-1:]:
                learnt[name] = with_share(learnt.get(name), copy_of(gradient))

        return hook

    def _operation(self, node: Node, first: int, last: int, counts: dict[str, int]) -> Operation:
        made = {number: self.edges[node, number] for number in range(64) if (node, number) in self.edges}
        last = min([last, *(until for _, until in made.values())])
        events, cls = self.events[first:last], getattr(node, "_forward_cls", None)
        # What ran without gradients before a call is not part of it. A custom function's forward runs without them.
        if cls is None:
            events = [own for own in events if own.enabled] or events
        main = main_call(events, [held for held, _ in made.values()])
        if cls is not None or is_scripted(node):  # autograd saw none of its calls
            differentiate(events)
        if is_scripted(node):
            function, kind = "scripted", "a graph of torch.jit.script"
        elif cls is not None:
            is_compilers = cls.__module__.startswith("torch._functorch._aot_autograd.")
            kind = "compiled by torch.compile" if is_compilers else f"{cls.__module__}.{cls.__qualname__}"
            function = cls.__name__
        else:
            function = plain_name(main.name if main else node.name().rstrip("0123456789").removesuffix("Backward"))
            kind = f"aten.{function}"
        at = main or (events[0] if events else None)
        path = at.place.module if at else ""
        layer = f"{path}.{function}" if path else function
        counts[layer] = counts.get(layer, 0) + 1
        if counts[layer] > 1:
            layer = f"{layer}#{counts[layer]}"
        where = at.place.where if at else ""
        operation = Operation(layer, kind, where, events, outputs={number: held for number, (held, _) in made.items()})
        if self.compiled:
            operation.reason = "it was compiled, which shows no ATen calls: check the module as it was written, too"
        if is_scripted(node) and not events:
            operation.reason = "torch.jit.script shows no ATen calls of it"
        operation.computes = cls is not None or is_scripted(node) or (main is not None and computes(main))
        operation.called = self.called.get(node._sequence_nr()) if cls is not None else None
        if main is not None and main.name.partition(".")[0] in self.of_ops:
            key = self.of_ops[main.name.partition(".")[0]]
            operation.called = Called(self.references[key], main.args, main.kwargs)
            self.references.use(key)
        operation.age, operation.device = node._sequence_nr(), at.device if at else "cpu"
        self._enter(node, operation)
        if cls is not None and operation.called is None:
            known = set(operation.names.values())
            read = {self.parameters[own]: self.held(own) for own in self._read_by(events) if own.requires_grad}
            operation.hidden = {name: held for name, held in read.items() if name not in known}
            if any(maker_of(self.events[:first], own) for own in operation.only_viewed()):
                said = "it returns an array that an earlier call computed, and no gradient of it"
                operation.reason = operation.reason or f"{said}: give its function as references={{{function}: ...}}"
        return operation

    def _enter(self, node: Node, operation: Operation) -> None:
        """Records the inputs of a node, edge by edge, the same tensor once."""
        places: dict[Edge, int] = {}
        read: dict[Any, Snapshot] = {}
        for used in all_in([(event.args, event.kwargs) for event in operation.events], Snapshot):
            read.setdefault(used.edge, used)
        for position, (behind, number) in enumerate(node.next_functions):
            if behind is None:
                continue
            first = places.setdefault((behind, number), position)
            if first != position:
                continue
            variable = getattr(behind, "variable", None)
            held = held_at((behind, number), self.edges, self.leaves)
            own = read.get((id(variable), -1) if variable is not None else (behind._sequence_nr(), number))
            # The array was overwritten after it was first read.
            if own is not None and (held is None or not own.is_of(held)):
                held = own
            operation.names[position] = self.parameters.get(variable, "") if variable is not None else ""
            if held is None:
                operation.reason = operation.reason or "no ATen call reads its input"
            else:
                operation.inputs[position] = held
                operation.sizes[position], operation.dtypes[position] = held.geometry.size, held.dtype

    def _follow(self, node: Node, operation: Operation, done: Callable[[Operation], None]) -> None:
        edges, given = list(node.next_functions), dict[int, torch.Tensor]()

        def arriving(gradients: tuple[torch.Tensor | None, ...]) -> None:
            self.at = operation.layer
            if operation.hidden:
                self.learnt.append({})
            given.update({i: own for i, own in enumerate(gradients) if own is not None})
            operation.arrive(given)

        def leaving(gradients: tuple[torch.Tensor | None, ...], _: Any) -> None:
            operation.spoils = not operation.holds(given)
            given.clear()
            for position, gradient in enumerate(gradients):
                if gradient is not None and position < len(edges) and edges[position][0] is not None:
                    operation.add(edges.index(edges[position]), gradient)
            if operation.hidden:
                operation.add_hidden(self.learnt.pop())
            done(operation)

        before, after = (on_one_thread(self.passes.without_asked(own)) for own in (arriving, leaving))
        self._hooks += [node.register_prehook(before), node.register_hook(after)]

    def release(self) -> None:
        """Releases autograd's graph, whose nodes hold these hooks, a cycle that Python's collector cannot see."""
        for hook in self._hooks:
            hook.remove()
        self._hooks.clear()
        self.cuts.release()
        self.referenced.release()
        self.inner.release()
        self.tensor_hooks.release()
