"""check_module: runs a module for some steps, records its leaves, and judges each on its own inputs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from operator import itemgetter
from typing import Any

import torch

from oracle.case.case import Case, CaseError
from oracle.execution.network import check
from oracle.harness.judge import judge_step
from oracle.harness.surroundings import Surroundings
from oracle.judging.profile import Profile
from oracle.judging.rows import CRASHED, LOCAL, MISSING, PASS, UNDECIDED, UNJUDGED, WRONG, Row
from oracle.modules import nested
from oracle.modules.arguments import ModuleError, check_references, check_words, checked, checked_profile
from oracle.modules.as_parts import Observed, mixed, of_calls, of_loss, of_statistics, of_update
from oracle.modules.calls import Call
from oracle.modules.capture import leaves
from oracle.modules.covered import Covered
from oracle.modules.module_step import ModuleStep, RecordedStep, judged_part
from oracle.modules.operation_rows import Judged
from oracle.modules.operations import Operation
from oracle.modules.specs import class_name, layer_type, optimizer_type
from oracle.modules.step import Loss, Step, Training
from oracle.modules.untouched import buffers_that_changed, untouched
from oracle.modules.used_references import References
from oracle.report.about import About
from oracle.report.coverage import Unjudged
from oracle.report.report import Report
from oracle.running_error import UNIT_ROUNDOFF
from oracle.subjects.torch import as_real, can_learn, copied
from oracle.wording.errors import in_a_line

# How to declare that updates are not to be judged.
LEAVE_OUT = 'profile=oracle.Profile(quantities=("output", "grad*", "buffer*"))'


def check_module(
    torch_module: torch.nn.Module,
    x: Any,
    loss: Loss | None = None,
    target: Any = None,
    optimizer: torch.optim.Optimizer | None = None,
    steps: int = 1,
    *,
    profile: Profile | None = None,
    references: Mapping[Any, Callable[..., Any]] | None = None,
    unjudged: str = "fail",
    effort: str = "full",
    seed: int = 0,
) -> Report:
    """Compare every layer of a torch module, and every operation between and inside layers, with the reference, on the arrays
    that it really receives in a training step of the module.

    Layers of torch.nn that the reference has are judged as layers: the output, the gradients of the input and of each parameter
    that is not frozen, the buffers and the dropout mask. Everything else (your own layers, functions, operations between layers)
    is judged operation by operation, by the ATen calls that it makes. A custom autograd.Function is compared with the derivative
    of its own forward. An operation without a rule is `unjudged`; `report.coverage` says how much that is. A layer that writes to
    its input unnoticed by autograd, or to its upstream gradient, is `wrong`, because other code may read these. In code that
    torch.compile has compiled, layers of torch.nn are judged, and operations between them are unjudged. The module is restored.
    Large layers and operations are judged beside each other, in as many threads as torch uses.

    Args:
        torch_module: on any device, of any floating-point dtype, in training or evaluation mode. Layers in 16 bits are judged by
            how torch's kernels compute them. On the CPU and with CUDA most kernels add up in float32. A few add up in 16 bits,
            such as LayerNorm's gradients of parameters on the CPU; for many samples these are undecided. On other devices
            every layer may add up in 16 bits.
        x: the input, or a tuple of several arguments. Each may be a nested tuple, list, dict or dataclass of tensors, and so may
            the module's output. A module of your own may take no tensor; give () if it takes nothing. Gradients of inputs are
            computed for tensors that require them; the report names the layers whose input does not.
        loss: called as loss(output, target), or as loss(output) if there is no target. A loss of torch.nn is judged like a layer,
            if it gets numbers of one dtype and broadcasts none. Without a loss the upstream gradient is random, the same in
            every call.
        target: the loss's arguments after the output: one, or a tuple of several, each nested like x. That of a function may be
            a plain number.
        optimizer: an optimizer of parameters of the module; each step then ends with an update. It is judged if it is one of
            torch.optim's that refbp has, or derives from one; else it is unjudged, unless the profile leaves `param.*` out. A
            derived class may change gradients before it calls the step of torch's class, as clipping does.
        steps: the number of steps; all use the same data.
        profile: deliberate differences of the module's layers from torch, as a subject declares them. `accumulate` is the dtype
            in which layers and operations add up, in place of what is known of torch's kernels. For a module in 16 bits,
            `oracle.Profile(accumulate="float32")` requires float32; with "bfloat16" all sums may be added up in bfloat16.
        references: functions with which to compare a call instead of its own forward, {MyFused: reference}. A key is a custom
            autograd.Function, an operation of torch.library, a module class, a module's name, or a tensor's hook. A reference is
            called with the arguments of the call; that of a module also gets by keyword those of the module's parameters that it
            takes. A function in torch is the forward program of a call that cannot be recorded. A function in NumPy or torch that
            returns (output, backward) gives the intended gradient where it is not the derivative of the forward, such as a
            straight-through estimator's: lambda x: (np.rint(x), lambda g: g). A hook that changes the gradient is unjudged
            without a reference. A hook that changes a parameter's gradient after it was added up is always unjudged. So is a
            reference that was not used, because no call of its key was seen, or one was inside a reentrant checkpoint.
        unjudged: with "fail", the default, a report in which something is unjudged has not passed; "allow" permits it.
        effort: "full" judges every element. "sample" is for networks that are too large for that: it judges some elements of each
            large tensor and all of every small one, by the same rules, and copies only what these need. The report says how many
            elements that is, and the chances to miss a fault of one element, row or channel (`report.coverage.sample`).
        seed: that of the elements that are drawn; each step draws others.
    Returns: a report with one case, named after the module's class. If the module raises an exception, the verdict is `crashed`,
        after the rows of everything computed before it.
    Raises: ModuleError, a ValueError, for arguments that cannot be used.
    """
    targets = checked(torch_module, x, loss, target, optimizer, steps)
    check_words(unjudged, effort, seed)
    inputs = x if isinstance(x, tuple) else (x,)
    used = check_references(torch_module, {} if references is None else references)
    declared = checked_profile(profile)
    drawn = seed if effort == "sample" else None
    run = _Run(torch_module, inputs, loss, targets, optimizer, used, declared, drawn)
    start, around = time.perf_counter(), Surroundings()
    with untouched(torch_module, optimizer, list(nested.tensors_in(inputs))) as kept:
        run.training = replace(run.training, kept=kept)
        recorded = tuple(run.steps(steps))
        changed = buffers_that_changed(torch_module, kept)
    left = around.put_back()
    known_as = {"torch", *([f"torch.optim.{optimizer_type(optimizer)}"] if optimizer else [])}
    judgement = judge_step(ModuleStep(run.case, recorded), run.training.profile, known_as)
    seconds = time.perf_counter() - start
    given = {"loss, target": loss, "optimizer": optimizer, "profile=profile": profile}
    arguments = ["module, x", *(name for name, own in given.items() if own is not None)]
    arguments += [f'effort="sample", seed={seed}'] if drawn is not None else []
    call = f"oracle.check_module({', '.join(arguments)})"
    dtypes = list(dict.fromkeys(row.dtype for row in judgement.rows))
    about = About.here(
        subject=run.case,
        reference="refbp",
        dtypes=tuple(dtypes),
        cases=1,
        unjudged=unjudged,
        not_asked_for=tuple(run.not_asked_for),
        not_reached=run.not_reached(recorded),
        not_updated=run.not_updated(),
        not_held=tuple(run.not_held),
        ignored=tuple(run.ignored),
        changed_gradients=tuple(run.changed_gradients),
        unjudged_buffers=run.unjudged_of(changed, judgement.rows),
        not_finite=run.not_finite,
        left_changed=left,
    )
    rows = sorted(judgement.rows, key=lambda row: dtypes.index(row.dtype))
    report = Report.of(rows, about, {(run.case, dtype): seconds for dtype in dtypes}, (), judgement.details)
    return (
        replace(report, coverage=run.covered.coverage(judgement.rows))
        .reproduced_by(call)
        .declaring(declared.in_words())
    )


def takes_numbers(call: Call) -> bool:
    """Whether the module's input can have a gradient."""
    return call.input is not None and call.input.dtype.name in UNIT_ROUNDOFF


def cut_off(row: Row) -> Row:
    """The row of a place that keeps gradients from parameters."""
    said = "the graph is cut here; if that is meant, requires_grad_(False) on the parameters before it says so"
    return replace(row, cause_name="missing", cause=said)


class _Run:
    """Makes the training steps of a module, and the rows of each."""

    def __init__(
        self,
        module: torch.nn.Module,
        inputs: tuple[Any, ...],
        loss: Loss | None,
        targets: tuple[Any, ...],
        optimizer: torch.optim.Optimizer | None,
        references: References,
        profile: Profile,
        seed: int | None,
    ) -> None:
        self.case = type(module).__name__
        self.kinds = {
            name or self.case: layer_type(own) or class_name(type(own)) for name, own in module.named_modules()
        }
        names: dict[torch.Tensor, str] = {
            own: name if "." in name else f"{self.case}.{name}" for name, own in module.named_parameters()
        }
        self.training = Training(self.case, module, inputs, loss, targets, optimizer, names, references, profile, seed)
        self.targets = tuple(copied(own) for own in targets if isinstance(own, torch.Tensor))
        learning = [own for own in [*nested.tensors_in(inputs), *names] if can_learn(own)]
        self.dtype = str(as_real(learning[0].detach()).dtype).removeprefix("torch.") if learning else "float32"
        self.covered = Covered(seed)
        self.not_asked_for: dict[str, None] = {}
        self.not_held: dict[str, None] = {}
        self.ignored: dict[str, None] = {}
        self.changed_gradients: dict[str, None] = {}
        self.not_finite = ""

    def steps(self, count: int) -> Iterator[RecordedStep]:
        """Makes the steps, up to one that ends early."""
        for number in range(count):
            step = self.step(number)
            if number == count - 1 and step.crash is None:
                step = replace(step, notes=(*step.notes, *self._unused(number)))
            yield step
            if step.crash is not None:
                return

    def step(self, number: int) -> RecordedStep:
        """Makes one step."""
        step, error = Step(self.training, number), None
        try:
            step.make()
        except (ModuleError, KeyboardInterrupt):
            raise
        except BaseException as raised:  # a finding about the module, even if it would end the process
            error = raised
        calls = step.capture.calls + ([step.loss_call] if step.loss_call is not None else [])
        parts = [part.result() for own in step.parts.values() for part in own]  # or the judge's error
        late = [call for call in calls if call.layer not in step.parts]
        observed = [
            own for call in late if not self._is_refused(call) for own in self._parts(call, call is step.loss_call)
        ]
        observed += [own for own in (of_statistics(call, self.case) for call in late) if own is not None]
        judged = [(own, made.result()) for own, made in step.operations]
        operations = sorted(judged, key=lambda own: own[0].age)
        self._cover(step, calls, operations)
        self.not_finite = self.not_finite or step.not_finite
        self.not_held |= step.watch.not_held
        self.ignored |= step.watch.ignored
        notes = [row for call in calls for row in self._notes(number, call, error)]
        notes += self._cut_off(number, step)
        notes += [row for own in operations for row in self._of_operation(number, *own)]
        notes += [row for call in calls for row in self._spoilt(number, call)]
        notes += list(self._astray(number, step))
        notes += list(self._not_compiled(number, step))
        if error is None:
            notes += self._never_called(number, calls)
            notes += self._unknown_optimizer(number, step)
            if step.updated is not None:
                observed += of_update(step.updated, self.case, self.kinds)
                self.covered.add_update(step.updated)
                self.changed_gradients |= dict.fromkeys(step.updated.changed_gradients)
        found = [judged_part(own, self.case, number, self.training.profile) for own in observed]
        for own, part in zip(observed, found, strict=True):
            if not part.rows and own.part.case.optimizer is not None:
                notes.append(self._refused_update(number, own.part.case))
        parts += found
        for row in (row for part in parts for row in part.rows if row.verdict == UNJUDGED):
            self.covered.leave_open(row.layer, row.layer_type, row.diagnosis)
        # A layer that adds nothing to the graph ran before the operation of the same age.
        ran = [(call.age, call.layer) for call in calls] + [(own.age, own.layer) for own, _ in operations]
        ages = {layer: place for place, (_, layer) in enumerate(sorted(ran, key=itemgetter(0)))}
        arrived = {layer: place for place, layer in enumerate(step.capture.order)}
        crash = None if error is None else self._note(number, *step.place(), CRASHED, in_a_line(error))
        return RecordedStep(
            number, tuple(parts), tuple(own for _, own in operations), tuple(notes), ages, arrived, crash
        )

    def _unused(self, step: int) -> Iterator[Row]:
        """Rows for references that were used in no step."""
        for name, reason in self.training.references.unused():
            self.covered.unjudged[Unjudged(name, "reference", reason)] = None
            yield self._note(step, name, "", UNJUDGED, reason, "reference")

    def not_reached(self, steps: Sequence[RecordedStep]) -> tuple[str, ...]:
        """The parameters that require a gradient and got none in any of these steps, of which none ended early."""
        if any(step.crash is not None for step in steps):
            return ()
        return tuple(
            name for own, name in self.training.names.items() if own.requires_grad and name not in self.covered.learnt
        )

    def unjudged_of(self, buffers: Iterable[str], rows: Iterable[Row]) -> tuple[str, ...]:
        """Those of these buffers that have no row."""
        judged = {(row.layer.partition("#")[0], row.quantity) for row in rows}

        def key(name: str) -> tuple[str, str]:
            layer, _, short = name.rpartition(".")
            return layer or self.case, f"buffer.{short}"

        return tuple(name for name in buffers if key(name) not in judged)

    def not_updated(self) -> tuple[str, ...]:
        """The parameters with a gradient that the optimizer does not hold."""
        if self.training.optimizer is None:
            return ()
        held = {own for group in self.training.optimizer.param_groups for own in group["params"]}
        return tuple(
            name for own, name in self.training.names.items() if name in self.covered.learnt and own not in held
        )

    def _is_refused(self, call: Call) -> bool:
        if call.spec is not None and (reason := mixed(call)):
            call.refuse(reason)
        return call.spec is None

    def _parts(self, call: Call, is_loss: bool) -> list[Observed]:
        return [of_loss(call, self.case, self.targets)] if is_loss else of_calls(call, self.case)

    def _cover(self, step: Step, calls: Sequence[Call], operations: Sequence[tuple[Operation, Judged]]) -> None:
        for call in calls:
            if call.spec is not None and (call.grad_output is not None or call.layer == "loss"):
                self.covered.add_call(call, call.learns)
            if call.joined and call.layer != "loss" and "grad_input" not in call.expected and takes_numbers(call):
                self.not_asked_for[f"{call.layer} ({call.kind})"] = None
        for own in operations:
            self.covered.add_operation(*own)
        self.covered.add_learnt(step.learnt)

    def _of_operation(self, step: int, operation: Operation, judged: Judged) -> Iterator[Row]:
        if judged.reason:
            yield self._note(step, operation.layer, "", UNJUDGED, operation.located(judged.reason), operation.kind)
        if operation.spoils:
            said = "it writes into the gradient that it is given, which other code may read"
            yield self._note(step, operation.layer, "grad_output", WRONG, said, operation.kind)
        rows = [*judged.forward, *judged.backward]
        if operation.computes or any(row.verdict != PASS for row in rows):  # a view has rows only if it is wrong
            yield from rows

    def _note(self, step: int, layer: str, quantity: str, verdict: str, reason: str, kind: str = "") -> Row:
        """A row without figures."""
        kind = kind or self.kinds.get(layer.partition("#")[0], "")
        return Row(self.case, self.dtype, step, layer, kind, quantity, LOCAL, verdict, reason)

    def _notes(self, step: int, call: Call, error: BaseException | None) -> Iterator[Row]:
        """Rows for layers that were not judged completely; once, at the first step."""
        if step or call.spec is None:  # a layer without a spec is judged by its operations
            return
        if call.grad_output is None and error is None and any(own.startswith("grad") for own in call.expected):
            if call.joined:
                said = "no gradient arrived at its output: only its forward pass was judged"
                yield self._note(step, call.layer, "grad_output", UNDECIDED, said)
            else:
                said = "its output is cut off from autograd's graph: nothing before it learns"
                yield cut_off(self._note(step, call.layer, "grad_input", MISSING, said))

    def _spoilt(self, step: int, call: Call) -> Iterator[Row]:
        """Rows for inputs and upstream gradients to which a layer wrote, although other code reads them."""
        for quantity in call.spoilt:
            what = "input" if quantity == "input" else "gradient"
            said = f"it writes into the {what} that it is given, which other code may read"
            yield self._note(step, call.layer, quantity, WRONG, said)

    def _astray(self, number: int, step: Step) -> Iterator[Row]:
        """Rows for gradients that are not the sum of what was passed on."""
        for place, kind, own in step.astray:
            if own.verdict == UNJUDGED:
                self.covered.leave_open(place, kind, own.reason)
                yield self._note(number, place, "", UNJUDGED, own.reason, kind)
            elif kind == "parameter":
                layer, _, short = place.rpartition(".")
                yield self._note(number, layer, f"grad.{short}", WRONG, own.reason)
            else:
                yield self._note(number, place, "grad_input", WRONG, own.reason, kind)

    def _cut_off(self, number: int, step: Step) -> Iterator[Row]:
        """Rows for writes that autograd did not notice, and for places that keep gradients from parameters."""
        for place in step.watch.spoilt.values():
            said = "it writes, unnoticed by autograd, into an array that it is given, which other code may read"
            where = place.where and f" ({place.where})"
            yield self._note(number, place.module or self.case, "input", WRONG, f"{said}{where}")
        for cut, names in step.cuts:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            said = f"nothing before it learns: {names[0]}{more} has no gradient ({cut.where})"
            yield cut_off(self._note(number, cut.layer, "grad_input", MISSING, said, cut.kind))

    def _not_compiled(self, number: int, step: Step) -> Iterator[Row]:
        """Rows for compiled functions, which ran as they were written; once, at the first step."""
        for place in step.watch.not_compiled if not number else ():
            layer, kind = place.module or self.case, "a function of torch.compile"
            said = f"it ran as it was written: judge what the compiler made of it with check_op ({place.where})"
            self.covered.leave_open(layer, kind, said)
            yield self._note(number, layer, "", UNJUDGED, said, kind)

    def _never_called(self, step: int, calls: Sequence[Call]) -> Iterator[Row]:
        called = {call.name for call in calls}
        judged = {name.rpartition(".")[0] for name in self.covered.judged}
        for name, _ in leaves(self.training.module):
            if name not in called and name not in judged and not step:
                said = "it was not called as a module in this step: nothing was tested"
                yield self._note(step, name, "", UNDECIDED, said)

    def _refused_update(self, number: int, case: Case) -> Row:
        """The row of an update that the reference does not make."""
        assert case.optimizer is not None
        try:
            check(case)
            said = "the reference does not make it"
        except CaseError as error:
            said = f"the reference does not make it: {error}"
        self.covered.leave_open("optimizer", case.optimizer.type, said)
        return self._note(number, "optimizer", "", UNJUDGED, said, case.optimizer.type)

    def _unknown_optimizer(self, number: int, step: Step) -> Iterator[Row]:
        """A row for an optimizer that the reference lacks, unless the profile leaves updates out."""
        shown = any(
            self.training.profile.shows(f"param.{name.rpartition('.')[2]}") for name in self.training.names.values()
        )
        if self.training.optimizer is not None and step.updated is None and not number and shown:
            kind = class_name(type(self.training.optimizer))
            said = f"the reference has no {kind}, so its updates are not judged; {LEAVE_OUT} declares that"
            self.covered.leave_open("optimizer", kind, said)
            yield self._note(number, "optimizer", "", UNJUDGED, said, kind)
