"""check_op: compares a user's function, forward and backward, with the op of a given name.

The function becomes a subject that has one layer or one loss, and runs the suite's cases of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np

from oracle.case.arrays import Array, Constant
from oracle.case.case import CONSTANT_TARGETS, Case, at_step, loss_arguments
from oracle.case.foreign import numpy_of
from oracle.harness.run import DTYPES, run
from oracle.judging.profile import Profile
from oracle.ops.given import called, own_case
from oracle.ops.lent import LentCopies, is_statistic
from oracle.ops.programs import check_program
from oracle.ops.returned import called_with, gradients_in, pair_of, too_many
from oracle.ops.suite_cases import Op, again, cases_of
from oracle.report.report import Report
from oracle.trace import Trace

# The end of the name of a case in which each array's gradient is computed while the others require none.
ALONE = ",alone"

Differentiable: TypeAlias = Callable[..., tuple[Any, Callable[[Any], Any]]]


def check_op(
    reference: Any,
    fn: Differentiable,
    *,
    dtypes: Sequence[str] = DTYPES,
    profile: Profile | None = None,
    **options: Any,
) -> Report:
    """Compare a function and its backward with an op as torch computes it (refbp, where torch lacks it), or with a program.

    report = oracle.check_op("conv2d", fn, stride=2)
    report = oracle.check_op("conv2d", oracle.from_torch(my_function), stride=2, x=x, weight=w, bias=b)
    report = oracle.check_op(lambda x, w, b: F.gelu(x @ w + b), my_fused_kernel, x=(32, 64), w=(64, 16), b=(16,))

    Args:
        reference: the name of an op of `refbp.functional`; or a program: a forward function in torch or NumPy, or a layer or
            loss of refbp. For a program all arrays are given by name, in the order of its arguments, x first; a tuple of
            whole numbers stands for a random array of that shape. A function that runs in both libraries is taken for one
            of torch if fn is made by `from_torch` or an array is a tensor, for one of NumPy if an array is NumPy's.
        fn: called with the op's arrays only, in the op's order, as copies in NumPy: fn(x, weight, bias) for a convolution,
            fn(x) for an activation, fn(x, target) for a loss. It returns (y, backward); backward(dy) returns the gradients of
            the arrays as a tuple, in the same order. Neither may write to its arguments, except running statistics. Results
            may be arrays of any library. Some of the arrays that fn and backward receive are not contiguous in memory. If a
            program returns several arrays, so does fn, and backward(dy0, dy1, …) receives a gradient for each
            floating-point one. Gradients of integers may be None or left out.
            `oracle.from_torch` and `oracle.from_jax` make such a function from a forward function alone.
            fn raises oracle.Unsupported, with a reason, for arrays or options that it does not take. The case is then
            `unsupported`, which is not a discrepancy. A report in which everything is unsupported has not passed.
        dtypes: the dtypes to try.
        profile: deliberate differences, as a subject declares them. Example: oracle.Profile(conventions=("anything_at_nan",))
            for a ReLU with the gradient dy * (x > 0), which is 0 at NaN where torch's is dy. If the profile leaves `quantities`
            at its default, they are those of the op. Beside a program its `normwise` and `quantities` count: without the pattern
            of a gradient, as in quantities=("output", "grad.*"), it may be None.
        options: the options of the op that the function implements; others have their defaults. They are not passed to `fn`.
            bias=None or weight=None stands for a function that is called with None there.
            Your own arrays are given as x, weight, bias, target and grad_output, which is random by default. If the results are
            right, the function is called again, with the elements in reverse order. Without x the
            function runs on the suite's cases with these options, and, with these options, on the inputs of the suite's
            other cases of the same layer (odd sizes, no batch dimension and so on) wherever they fit.
    Returns: a report.
    Raises: ValueError (OpError) for an unknown op or option, or if no input of the suite fits. A function that raises an
        exception, or writes to its arguments, gets the verdict `crashed`.
    """
    if not callable(fn):
        raise ValueError(f"check_op expects a function fn(x, …) -> (y, backward), got {type(fn).__name__}")
    if profile is not None and not isinstance(profile, Profile):
        raise ValueError(f"check_op expects an oracle.Profile as profile, got {type(profile).__name__}")
    declared = profile or Profile()
    if not isinstance(reference, str):
        return check_program(reference, fn, dtypes, declared, options)
    known = Op.named(reference)
    given = known.sorted_out(options)
    chosen = (
        [own_case(known, given)] if "input" in given.arrays else [*(own := cases_of(known, given)), *_alone(fn, own)]
    )
    subject = OpSubject(known, fn, declared)
    shown = "".join(f", {name}={value!r}" for name, value in given.options.items())
    shown += "".join(f", {name}={name}" for name in ("x" if own == "input" else own for own in given.arrays))
    shown += "" if profile is None else ", profile=profile"
    report = run(subject, cases=chosen, dtypes=dtypes, reference=_reference(known))
    if "input" in given.arrays and report.passed:
        later = [*chosen, again(chosen[0]), *_alone(fn, chosen)]
        report = run(subject, cases=later, dtypes=dtypes, reference=_reference(known))
    report = report.declaring(declared.in_words())
    call = f"oracle.check_op({reference!r}, {called(fn)}{shown}"
    return report.reproduced_by(f"{call}, dtypes={tuple(dtypes)!r})", f"{call}, dtypes=({{dtype}},))")


def _alone(fn: Differentiable, cases: Sequence[Case]) -> list[Case]:
    """A case in which each array's gradient is computed alone, for a function that can do so."""
    usable = [case for case in cases if case.inputs[0].size > 1] if hasattr(fn, "one_by_one") else []
    why = "an array's gradient is the same where no other array requires one"
    return [replace(case, name=f"{case.name}{ALONE}", why=why) for case in usable[:1]]


def _reference(op: Op) -> str:
    """torch, or refbp if torch lacks the op."""
    from oracle.subjects import torch

    return "torch" if all(torch.has(kind) for kind in op.classes) else "refbp"


class OpSubject:
    """A function and its backward as a subject."""

    def __init__(self, op: Op, fn: Differentiable, declared: Profile) -> None:
        self.op, self.fn = op, fn
        self.name = getattr(fn, "__name__", type(fn).__name__)
        own = ("output", "grad_input") if op.is_loss else ("output", "grad_input", "grad.*")
        narrowed = declared.quantities != Profile().quantities
        self.profile = declared if narrowed else replace(declared, quantities=own)

    def run(self, case: Case) -> Trace:
        """The trace of a case. An exception has what was computed before it as its attribute `trace`."""
        trace = Trace()
        try:
            with np.errstate(all="ignore"):  # some cases of the suite hold infinities
                self._run(case, trace, self.fn.one_by_one if case.name.endswith(ALONE) else self.fn)  # type: ignore[attr-defined]
        except Exception as error:
            error.trace = trace  # type: ignore[attr-defined]
            raise
        return trace

    def _run(self, case: Case, trace: Trace, fn: Differentiable) -> None:
        layer = "loss" if case.loss is not None else case.layers[0].name or "0"
        names, originals = self._arguments(case)
        lent = LentCopies(self.name)
        fixed = {name for name in names if is_statistic(name)}
        if case.loss is not None and case.loss.type in CONSTANT_TARGETS:
            fixed |= set(names[1:])
        arguments = [
            array if array is None else lent.argument(name, array).view(Constant if name in fixed else np.ndarray)
            for name, array in zip(names, originals, strict=True)
        ]
        output, backward = pair_of(called_with(fn, self.name, dict(zip(names, arguments, strict=True))), self.name)
        trace.record(0, layer, "input", case.inputs[0])
        trace.record(0, layer, "output", self._converted(output, "output"))
        upstream = at_step(case.grad_outputs, 0) if case.grad_outputs else np.ones((), case.dtype)
        if not self.op.is_loss:
            trace.record(0, layer, "grad_output", upstream)
        for name, grad in self._named(backward(lent.upstream(upstream)), names):
            if grad is not None:
                quantity = "grad_input" if name == names[0] else f"grad.{name}"
                trace.record(0, layer, quantity, self._converted(grad, quantity))
        lent.check()

    def _named(self, grads: Any, names: Sequence[str]) -> Iterator[tuple[str, Any]]:
        """Gradients by the name of their array, for all arrays or all but running statistics, which have no gradient."""
        found = gradients_in(grads, names)
        while len(found) > 1 and found[-1] is None:
            found.pop()
        learnt = [name for name in names if not is_statistic(name)]
        if len(found) > len(names):
            raise TypeError(too_many(found, names))
        return zip(learnt if len(found) <= len(learnt) else names, found, strict=False)

    def _arguments(self, case: Case) -> tuple[list[str], list[Array | None]]:
        if case.loss is not None:
            names = [self.op.arrays[0], *loss_arguments(case.loss.type)]
            return names, [case.inputs[0], *at_step(case.targets, 0)]
        own = {name.rpartition(".")[2]: value for name, value in case.params.items()}
        return list(self.op.arrays), [case.inputs[0], *(own.get(name) for name in self.op.arrays[1:])]

    def _converted(self, value: Any, what: str) -> Array:
        try:
            return numpy_of(value)
        except TypeError as error:
            raise TypeError(f"{what} of {self.name}: {error}") from error
