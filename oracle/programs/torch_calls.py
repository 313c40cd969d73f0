"""Records a torch program: the ATen calls that it makes, each once, as it runs."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from types import FrameType
from typing import Any
from weakref import WeakSet

import numpy as np
import torch
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from oracle.case.arrays import Array
from oracle.programs.geometry import Geometry
from oracle.programs.program import CallSite, Event, Program, Snapshot, name_of_call
from oracle.programs.storages import program_of
from oracle.programs.table import is_unfilled
from oracle.subjects.torch import array, as_real, copied

# Code of torch and of this package, whose lines a user does not look for.
OWN = (str(Path(torch.__file__).parent), str(Path(__file__).parents[1]))
SPARSE = (torch.sparse_coo, torch.sparse_csr, torch.sparse_csc, torch.sparse_bsr, torch.sparse_bsc)
# Sparse matrices of at most so many elements are judged, with their zeros.
MOST_WITH_ZEROS = 2**24
# Arguments that say where and how a result is held, which the result itself shows.
LEFT_OUT = frozenset({"dtype", "layout", "device", "pin_memory", "memory_format", "non_blocking", "out", "generator"})


@cache
def described(function: Any) -> tuple[str, tuple[tuple[int | str, int | None], ...]]:
    """The name of an ATen call without the mark of an in-place call, and the arguments to which it writes.

    These are pairs (argument, result): the argument's position or name, and the position of the result that is it, or None.
    """
    namespace, _, name = function.name().partition("::")
    schema = function._schema
    base, dot, overload = name.partition(".")
    if base.endswith("_") and not base.endswith("__"):
        base = base[:-1]
    results: dict[str, int] = {}
    if torch.Tag.inplace_view in function.tags:  # it changes the form of a tensor, and none of its numbers
        return f"{base}{dot}{overload}", ()
    for place, own in enumerate(schema.returns):
        if own.alias_info is not None and own.alias_info.is_write:
            results.update(dict.fromkeys(own.alias_info.before_set, place))
    written: list[tuple[int | str, int | None]] = []
    for place, own in enumerate(schema.arguments):
        if own.alias_info is not None and own.alias_info.is_write:
            marks = own.alias_info.before_set
            found = next((results[mark] for mark in marks if mark in results), None)
            written.append((own.name if own.kwarg_only else place, found))
    full = f"{base}{dot}{overload}"
    return full if namespace == "aten" else f"{namespace}::{full}", tuple(written)


def op_name(kind: Any) -> str | None:
    """The name of an operation of torch.library as calls of it are recorded; None for anything else."""
    kind = getattr(kind, "_opoverload", kind)  # of torch.library.custom_op
    if isinstance(kind, torch._ops.OpOverloadPacket):
        return kind._qualified_op_name.removeprefix("aten::")
    return described(kind)[0].partition(".")[0] if isinstance(kind, torch._ops.OpOverload) else None


class Recording(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A context that records every ATen call.

    Attributes:
        events: the calls so far.
        place: a function that returns the current place in the program.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # loading the compiler takes seconds

    def __init__(self, place: Callable[[], CallSite] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.events: list[Event] = []
        self.place = place or _place
        self._held: dict[int, WeakSet[Snapshot]] = {}
        # Sparse matrices with what stands for their memory, and those that a custom function made. They are kept, so that no
        # other tensor gets their identity.
        self._sparse: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._unmarked: dict[int, torch.Tensor] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._efficientzerotensor.default:  # which other calls would bypass, unseen by autograd
            func = torch.ops.aten.zeros.default
        name, written = described(func)
        enabled, number = torch.is_grad_enabled(), torch.autograd._get_sequence_nr()  # type: ignore[attr-defined]
        shown = [own for own in _pytree.tree_leaves((args, kwargs)) if isinstance(own, torch.Tensor)]
        self.seen(name, shown, writes=bool(written))
        given = self.held(args, enabled), self.held({k: v for k, v in kwargs.items() if k not in LEFT_OUT}, enabled)
        into = []
        for argument, result in written:
            tensor = args[argument] if isinstance(argument, int) and argument < len(args) else kwargs.get(argument)
            if isinstance(tensor, torch.Tensor):
                self.keep(tensor)
                into.append((tensor, result))
        output = func(*args, **kwargs)
        if is_unfilled(name) and output.layout is torch.strided:  # code that is not recorded may write to it
            output.fill_(math.nan if output.is_floating_point() or output.is_complex() else 0)
        single = not isinstance(output, (tuple, list))
        results = tuple(self._made(own, enabled) for own in ((output,) if single else output))
        self.wrote([tensor for tensor, _ in into])
        writes = tuple((self.held(tensor, enabled), result) for tensor, result in into)
        unrepeated = () if into else _unrepeated(func, args, kwargs)
        device = _device_of(output, args)
        self.take(
            Event(
                name_of_call(name, given, results),
                tuple(given[0]),
                given[1],
                results,
                single,
                writes,
                self.place(),
                number,
                enabled,
                unrepeated,
                device,
            )
        )
        return output

    def take(self, event: Event) -> None:
        """Called with each call that was made."""
        self.events.append(event)

    def seen(self, name: str, tensors: list[torch.Tensor], writes: bool = False) -> None:
        """Called with the tensors that a call is about to read, and whether it then writes to the first of them."""

    def wrote(self, tensors: list[torch.Tensor]) -> None:
        """Called with the tensors to which a call has written."""

    def keep(self, tensor: torch.Tensor) -> None:
        """Copies the recorded values in a tensor's memory before it is overwritten, those of the same elements once."""
        copies: dict[Any, Array] = {}
        for held in sorted(self._held.pop(memory_of(tensor), ()), key=lambda own: not own.is_copied):
            elements = held.place
            if elements in copies:
                held.take(copies[elements])
            copies[elements] = held.numbers

    def copied(self, tensor: torch.Tensor, copy: Array) -> None:
        """Shares a copy of a tensor's current values with what is recorded of it."""
        geometry = geometry_of(tensor)
        for held in list(self._held.get(memory_of(tensor), ())):
            if held.geometry == geometry and held.dtype == copy.dtype.name:
                held.take(copy)

    def held(self, value: Any, enabled: bool = False) -> Any:
        """Nested arguments with their tensors recorded as `Snapshot`. Those that require a gradient are differentiable; inside a
        custom function's forward all are."""
        if isinstance(value, torch.Tensor):
            if is_constant_matrix(value) and id(value) not in self._unmarked:
                return self._dense(value)
            return self._of(value, value.requires_grad or not enabled)
        if isinstance(value, (list, tuple)):
            return [self.held(own, enabled) for own in value]
        if isinstance(value, dict):
            return {name: self.held(own, enabled) for name, own in value.items()}
        return value

    def _made(self, value: Any, enabled: bool) -> Any:
        """A result of a call. A sparse one may have a gradient: autograd marks it later, inside a custom function not at all."""
        if isinstance(value, torch.Tensor) and value.layout in SPARSE:
            if not enabled:
                self._unmarked[id(value)] = value
            return _without_place(value, str(no_array(value)), True)
        return self.held(value, enabled)

    def _of(self, tensor: torch.Tensor, differentiable: bool) -> Snapshot:
        if (kind := no_array(tensor)) is not None:
            return _without_place(tensor, kind, differentiable)
        own, learns = tensor.detach(), tensor.requires_grad
        turned = "conj" if own.is_conj() else "neg" if own.is_neg() else ""
        shown = as_real(_in_memory(own))
        key = shown.untyped_storage()._cdata
        held = Snapshot(
            key,
            geometry_of(shown),
            str(shown.dtype).removeprefix("torch."),
            lambda: _numbers(own, learns),
            differentiable,
            None if turned else shown,
            edge_of(tensor),
            own.is_complex(),
            turned,
            self._of(_in_memory(own), differentiable) if turned else None,
        )
        self._held.setdefault(key, WeakSet()).add(held)
        return held

    def _dense(self, tensor: torch.Tensor) -> Snapshot:
        """A sparse tensor with its zeros, as a place of its own in memory."""
        _, own = self._sparse.setdefault(id(tensor), (tensor, tensor.detach()))
        shape = tuple(tensor.shape)
        strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
        dtype = str(tensor.dtype).removeprefix("torch.")
        held = Snapshot(id(own), Geometry(shape, strides), dtype, lambda: _with_zeros(own), False)
        self._held.setdefault(memory_of(tensor), WeakSet()).add(held)
        return held


def _without_place(tensor: torch.Tensor, kind: str, differentiable: bool) -> Snapshot:
    """A tensor that shows no array of numbers in memory."""
    shape = (tensor.numel(),) if tensor.is_nested else tuple(tensor.shape)
    return Snapshot(id(tensor), Geometry(shape, (0,) * len(shape)), kind, lambda: _numbers(tensor), differentiable)


def is_constant_matrix(tensor: torch.Tensor) -> bool:
    """Whether a tensor is a sparse matrix without a gradient, such as a graph's neighbours, and small enough to hold zeros."""
    is_small = tensor.numel() <= MOST_WITH_ZEROS if not tensor.is_nested else False
    return is_small and tensor.layout in SPARSE and not tensor.requires_grad and not tensor.is_complex()


def _with_zeros(tensor: torch.Tensor) -> Array:
    with torch.utils._python_dispatch._disable_current_modes():
        return array(tensor.to_dense())


def _in_memory(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor as it lies in memory, without what a view does when it is read: to conjugate, or to negate."""
    if tensor.is_conj():
        return tensor.conj()
    return torch._neg_view(tensor) if tensor.is_neg() else tensor


def no_array(tensor: torch.Tensor) -> str | None:
    """The kind of a tensor that is not a strided array of numbers; None for one that is."""
    if tensor.is_nested:
        return "nested tensors"
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):
        return "tensors inside of a transform"
    return None if tensor.layout == torch.strided else str(tensor.layout).removeprefix("torch.")


def numbers_of(tensor: torch.Tensor) -> torch.Tensor:
    """The tensor that holds a tensor's numbers: that of the stored elements for a sparse one, and any other itself."""
    if tensor.layout not in SPARSE:
        return tensor
    with torch.utils._python_dispatch._disable_current_modes():
        own = tensor.detach()
        return own._values() if own.layout == torch.sparse_coo else own.values()


def memory_of(tensor: torch.Tensor) -> int:
    """Identifies the memory that holds a tensor's numbers; 0 if torch shows none."""
    own = numbers_of(tensor)
    return own.untyped_storage()._cdata if torch._C._has_storage(own) else 0


def has_place(tensor: torch.Tensor) -> bool:
    """Whether a tensor has a place in autograd's graph.

    A view that was made without gradients loses it when its base changes: autograd then raises an error if it is asked for the
    view's node.
    """
    if not tensor.requires_grad:
        return False
    try:
        _ = tensor.grad_fn
    except RuntimeError:
        return False
    return True


def edge_of(tensor: torch.Tensor) -> tuple[int, int] | None:
    """A leaf by its identity, or a result by the number of its node and of the node's output; None without a gradient."""
    if not has_place(tensor):
        return None
    node = tensor.grad_fn
    return (id(tensor), -1) if node is None else (node._sequence_nr(), tensor.output_nr)


def _device_of(*values: Any) -> str:
    """The kind of device of the first tensor."""
    return next((own.device.type for own in _pytree.tree_leaves(values) if isinstance(own, torch.Tensor)), "cpu")


def geometry_of(tensor: torch.Tensor) -> Geometry:
    return Geometry(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))


def _unrepeated(func: Any, args: Any, kwargs: Any) -> tuple[Geometry, ...]:
    """For a view of a tensor that is expanded or overlaps itself, the positions of its results in a contiguous tensor."""
    first = args[0] if args else None
    by_elements = func.is_view and func is not torch.ops.aten.as_strided.default
    if not (by_elements and isinstance(first, torch.Tensor)) or no_array(first) is not None:
        return ()
    if not torch._debug_has_internal_overlap(first):
        return ()
    with torch.utils._python_dispatch._disable_current_modes():
        made = func(torch.empty(first.shape, dtype=first.dtype, device="meta"), *args[1:], **kwargs)
    made = made if isinstance(made, (tuple, list)) else (made,)
    return tuple(geometry_of(as_real(_in_memory(own))) for own in made)


def _numbers(tensor: torch.Tensor, learns: bool = False) -> Array:
    """A copy of the numbers of a tensor that was detached; `learns` says whether it required a gradient before."""
    with torch.utils._python_dispatch._disable_current_modes():
        shown = as_real(tensor).resolve_neg()
        return np.array(array(shown)) if learns else copied(shown)


def frame_of_user() -> FrameType | None:
    """The frame that called torch, or this recording."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename.startswith(OWN):
        frame = frame.f_back
    return frame


def _place() -> CallSite:
    frame = frame_of_user()
    return CallSite("", Path(frame.f_code.co_filename).name, frame.f_lineno) if frame else CallSite()


@contextmanager
def as_written(called: Callable[[], None]) -> Iterator[None]:
    """A context in which functions of torch.compile run as they were written; `called` is called at each.

    Otherwise the compiler would compile the recording instead of the functions, and would not compile them again later.
    """
    compiler: Any = sys.modules.get("torch._dynamo.eval_frame")
    if compiler is None:
        yield
        return
    before: Callable[[Any], Any] = compiler._callback_from_stance

    def told(callback: Any) -> Any:
        if callback not in (None, False):
            called()
        return before(callback)

    compiler._callback_from_stance = told
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        compiler._callback_from_stance = before


def record(fn: Callable[..., Any], *inputs: torch.Tensor) -> tuple[Program, list[torch.Tensor]]:
    """The recorded program of a torch function on these inputs, and its result; inputs that require a gradient get one."""
    given = [own.detach().requires_grad_(own.requires_grad) for own in inputs]
    with as_written(lambda: None), torch.enable_grad(), Recording() as recording:
        held = [recording.held(own) for own in given]
        output = fn(*given)
        outputs = [output] if isinstance(output, torch.Tensor) else list(output)
        made = [recording.held(own) for own in outputs]
    detached = frozenset(place for place, own in enumerate(outputs) if not own.requires_grad)
    return replace(program_of(recording.events, held, made), detached=detached), outputs
