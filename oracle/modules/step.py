"""Runs and records one training step of a module: forward, loss, backward, update."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeAlias

import numpy as np
import torch

from oracle.execution.memory import give_back
from oracle.judging.profile import Profile
from oracle.judging.rows import UNJUDGED
from oracle.modules import nested
from oracle.modules.arguments import ModuleError
from oracle.modules.arrivals import OVERWRITTEN, Arrivals, Astray
from oracle.modules.as_parts import Observed, Update, mixed, of_calls
from oracle.modules.calls import Call, Node
from oracle.modules.capture import Capture, is_in_one_graph
from oracle.modules.cuts import Cut
from oracle.modules.graph import age_of
from oracle.modules.module_step import JudgedPart, judged_part
from oracle.modules.operation_rows import Judged, judged
from oracle.modules.operations import Operation
from oracle.modules.passes import Passes
from oracle.modules.sampled.draws import Draw, Shape
from oracle.modules.sampled.plans import DRAWN
from oracle.modules.sampled.sampler import Sampler
from oracle.modules.second_derivatives import compared
from oracle.modules.specs import loss_spec, loss_type, optimizer_type, takes
from oracle.modules.update import followed
from oracle.modules.used_references import References
from oracle.modules.watch import Watch
from oracle.modules.workers import Workers
from oracle.programs.torch_calls import no_array
from oracle.subjects.torch import as_real, can_learn

Loss: TypeAlias = Callable[..., torch.Tensor]
# Optimizers that update each element by others of its parameter as well, so that all of it is judged.
TOGETHER = ("Adafactor", "Muon")
# From so many elements of a layer's array on, freed memory is returned to the system.
LARGE = 2**18


@dataclass(frozen=True)
class Training:
    """A module with everything that its step needs.

    Attributes:
        case: the name of the case, which is that of the module's class.
        names: those of its parameters, each with the name of a layer in front.
        references: by custom autograd.Function, module or hook.
        seed: that of the elements that are drawn; None if all are judged.
        kept: copies of its parameters from before, by the tensor's id.
    """

    case: str
    module: torch.nn.Module
    inputs: tuple[Any, ...]
    loss: Loss | None
    targets: tuple[Any, ...]
    optimizer: torch.optim.Optimizer | None
    names: Mapping[torch.Tensor, str]
    references: References
    profile: Profile
    seed: int | None
    kept: Mapping[int, torch.Tensor] = field(default_factory=dict)


class Step:
    """A step, and its recorded results.

    Attributes:
        capture: the record of its layers.
        parts: the layers whose gradients have arrived, by name, which are judged or being judged.
        operations: those between and inside layers, which are judged or being judged.
        astray: gradients that are not the sum of what was passed on, each with its place and kind.
        not_finite: the place where NaN or an infinity begins in the gradients; "" if there is none.
        learnt: the sizes of the parameters that got a gradient, by name.
        loss_call, updated: the calls of the loss and of the optimizer, if the reference has them.
        at: the stage that was reached.
    """

    def __init__(self, training: Training, number: int) -> None:
        self.training = training
        self.sampler = sampler = None if training.seed is None else Sampler(training.seed, number)
        passes = Passes()
        self.watch = Watch(training.module, training.names, training.references, sampler, passes)
        self.capture = Capture(training.names, self._judge_call, self.watch.copied, sampler, training.kept, passes)
        self.arrivals = Arrivals(training.names, self._judges_inside, passes)
        self.workers = Workers(torch.get_num_threads())
        self.parts: dict[str, list[Future[JudgedPart]]] = {}
        self.operations: list[tuple[Operation, Future[Judged]]] = []
        self.cuts: list[tuple[Cut, list[str]]] = []
        self.astray: list[tuple[str, str, Astray]] = []
        self.not_finite = ""
        self.learnt: dict[str, int] = {}
        self.number = number
        self.outputs: list[torch.Tensor] = []
        self.loss_call: Call | None = None
        self.updated: Update | None = None
        self.at = "forward"

    def make(self) -> None:
        """Makes the step. Raises: ModuleError for a result that cannot be used; any error of module, loss or optimizer."""
        try:
            self._forward()
            self._backward()
            self._update()
        finally:
            self.capture.release()
            self.watch.release()
            self.arrivals.release()
            self.workers.release()

    def _forward(self) -> None:
        run, capture = self.training, self.capture
        with torch.inference_mode(False), torch.enable_grad():
            inputs = nested.mapped(run.inputs, entering)
            try:
                with capture.of(run.module), self.watch.forward(), warnings.catch_warnings():
                    # The compiler reads `grad` of its inputs, which are not leaf tensors, so that torch warns.
                    warnings.filterwarnings("ignore", message="The .grad attribute of a Tensor that is not a leaf")
                    output = run.module(*inputs)
            except Exception as error:
                if is_in_one_graph(error):
                    raise ModuleError(
                        f"{run.case} is compiled with fullgraph=True, which hides its layers: compile it without"
                    ) from error
                raise
            self.outputs = [own for own in nested.tensors_in(output) if can_learn(own)]
            if not self.outputs:
                what = f"a tensor of {output.dtype}" if isinstance(output, torch.Tensor) else type(output).__name__
                raise ModuleError(f"{run.case} gives {what}: its output has to hold a tensor of floating-point numbers")
            if run.loss is None:
                return
            self.at = "loss"
            kind = loss_type(run.loss) if _is_plain(output, run.targets) else None
            spec = None if kind is None else loss_spec(run.loss, kind)  # type: ignore[arg-type]
            spec = spec if spec is None or takes(spec, output, run.targets) else None
            call = Call("loss", kind or type(run.loss).__name__, spec, "" if spec else "the reference has no such loss")
            if spec is not None:
                capture.enter(call, output, {})
            with self.watch.forward("loss"):
                value = run.loss(output, *run.targets)
            if not isinstance(value, torch.Tensor):
                raise ModuleError(f"loss gives {type(value).__name__}: it has to give a tensor")
            self.outputs = [value]
            if spec is not None:
                capture.leave(call, value, {})
            self.loss_call = call

    def _backward(self) -> None:
        self.at = "backward"
        give_back()
        learning = [own for own in self.outputs if own.requires_grad]
        if learning:
            self.capture.leave_to_operations(learning)
            scalar = self.training.loss is not None and learning[0].dim() == 0
            given = [None] if scalar else upstream(learning)
            self.arrivals.watch(learning, given, [*self.watch.read(), *learning, *self.training.names])
            self.watch.watch(learning, set(self.capture.owned), self._done)
            self._judge_inner()
            self.capture.backward(learning, given)
            self.arrivals.close()
            for own in self.watch.referenced.operations():
                self._judge(own)
            self.learnt = {name: own.numel() for own, name in self.training.names.items() if own.grad is not None}
            self.cuts = list(self.watch.cuts.unlearnt())
            if self.arrivals.not_finite is not None:
                layer, kind, where = self._place_of(self.arrivals.not_finite)
                self.not_finite = f"{layer} ({kind}{where and f', {where}'})"
            self.astray += [(*self._place_of(own.place)[:2], own) for own in dict.fromkeys(self.arrivals.astray)]
            if any(own.spoils for own, _ in self.operations) or any(
                "grad_output" in own.spoilt for own in self.capture.calls
            ):
                self.astray = [own for own in self.astray if own[2].reason != OVERWRITTEN]  # it is known who did it

    def _judge_inner(self) -> None:
        """Judges the custom Functions whose backward ran while the module differentiated itself in its forward pass."""
        inner = self.watch.inner
        for operation, is_differentiated, twice in inner.operations:
            found = compared(operation, twice) if is_differentiated else None
            self._judge(operation)
            if found is not None and not self.operations[-1][1].result().wrong:
                self.astray.append((operation.layer, operation.kind, Astray(operation.layer, *found)))
        for kind in dict.fromkeys(node._forward_cls for node in inner.passes):
            astray = Astray(
                kind.__name__,
                UNJUDGED,
                "it is part of a call with a reference, and its gradient was taken in the forward pass",
            )
            self.astray.append((kind.__name__, f"{kind.__module__}.{kind.__qualname__}", astray))

    def _judges_inside(self, name: str) -> bool:
        """Whether the gradient that a parameter gets in a nested backward pass is judged."""
        calls = [own for own in self.capture.calls if own.spec is not None and not own.behind]
        return bool(self.watch.learnt) or any(name in own.learns for own in calls)

    def _place_of(self, node: Node | str) -> tuple[str, str, str]:
        """The place of a node or parameter, its kind, and file and line if they are known."""
        if isinstance(node, str):
            return node, "parameter", ""
        call = self.capture.owned.get(node)
        if call is not None:
            return call.layer, call.kind, ""
        found = [(own.layer, own.kind, own.where) for own, _ in self.operations if own.age == age_of(node)]
        return found[-1] if found else (node.name(), "node", "")

    def _judge_call(self, call: Call) -> None:
        """Called when a layer's gradients have arrived: judges it, and releases its arrays."""
        if call is self.loss_call or call.spec is None:
            return
        if reason := mixed(call):
            call.refuse(reason)
            return
        run = self.training
        try:
            observed = of_calls(call, run.case)
        except Exception:  # the judge failed: it tries again after the step, outside of the module's code
            return
        largest = max(own.size for own in (call.input, *call.state.values()) if own is not None)

        def judge(own: Observed) -> JudgedPart:
            try:
                found = judged_part(own, run.case, self.number, run.profile)
                return found.of_hooked() if call.hooked else found
            finally:
                if largest > LARGE:
                    give_back()

        self.parts[call.layer] = [self.workers.run(partial(judge, own), own.size) for own in observed]
        call.release()

    def _done(self, operation: Operation) -> None:
        """Called when an operation's gradients have arrived: judges it, and releases its arrays."""
        if self.capture.differentiating:
            self._judge(operation)

    def _judge(self, operation: Operation) -> None:
        self.watch.at = ""
        self.capture.order.append(operation.layer)
        run = self.training

        def judge() -> Judged:
            try:
                return judged(operation, run.case, self.number, run.profile.accumulate)
            finally:
                operation.release()

        self.operations.append((operation, self.workers.run(judge, operation.copied())))

    def _update(self) -> None:
        """Makes the optimizer's step, and records it if the reference has that optimizer."""
        run, self.at = self.training, "update"
        optimizer = run.optimizer
        if optimizer is not None:
            kind = optimizer_type(optimizer)
            held = [own for group in optimizer.param_groups for own in group["params"] if own in run.names]
            if kind is None:
                optimizer.step()
                self.updated = None
            else:
                self.updated = followed(optimizer, kind, held, run.names, self._drawn(kind, held))
        for own in run.names:
            own.grad = None

    def _drawn(self, kind: str, held: Sequence[torch.Tensor]) -> dict[str, tuple[Shape, Draw]]:
        """The elements that are drawn of large parameters, of optimizers that update each element alone."""
        if self.sampler is None or kind in TOGETHER:
            return {}
        large = {self.training.names[own]: tuple(own.shape) for own in held if own.numel() > DRAWN}
        return {name: (shape, self.sampler.points(shape)) for name, shape in large.items()}

    def place(self) -> tuple[str, str]:
        """The layer and quantity that were being computed."""
        capture = self.capture
        if self.at == "forward" and capture.open:
            return capture.open[-1].layer, "output"
        if self.at == "backward" and (self.watch.at or capture.reached):
            return self.watch.at or capture.reached[-1].layer, "grad_input"
        return ("loss", "output") if self.at == "loss" else ("optimizer", "param") if self.at == "update" else ("", "")


class _Entering(torch.autograd.Function):
    """Turns a leaf tensor into a result of the graph, without a copy: it may be changed in place, and still gets a gradient."""

    @staticmethod
    def forward(ctx: Any, anchor: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        ctx.mark_dirty(value)
        return value

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[None, None]:
        return None, None


def entering(given: torch.Tensor) -> torch.Tensor:
    """A copy in the same memory layout, which the module may change; it requires a gradient if the original does."""
    value = given.detach()
    # Torch refuses to change an expanded tensor in place, because several of its elements share memory.
    if no_array(value) is not None or 0 in value.stride():
        copy = value.clone()
    else:
        copy = torch.empty_strided(value.shape, value.stride(), dtype=value.dtype, device=value.device).copy_(value)
    if not given.requires_grad:
        return copy
    made: torch.Tensor = _Entering.apply(torch.zeros((), requires_grad=True), copy)  # type: ignore[no-untyped-call]
    return made


def _is_plain(output: Any, targets: tuple[Any, ...]) -> bool:
    """Whether a loss is called with one tensor as input, and tensors as targets, of numbers that are not complex. Their
    floating-point numbers have one dtype: where they have several, the calls of which torch composes a loss round differently."""
    given = (output, *targets)
    if not all(isinstance(own, torch.Tensor) and not own.is_complex() for own in given):
        return False
    return len({own.dtype for own in given if own.is_floating_point()}) == 1


def upstream(outputs: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """A random gradient for each output, in the output's memory layout. Each output gets another one; each run gets the same
    ones."""
    random, found = np.random.default_rng(zlib.crc32(b"upstream")), []
    for output in outputs:
        made = torch.empty_like(output)
        shown = as_real(made)
        shown.copy_(torch.from_numpy(np.asarray(random.standard_normal(tuple(shown.shape)))))
        found.append(made.detach())
    return found
