"""Runs a program on error arrays or on plain float64 arrays, and differentiates it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from oracle.case.arrays import Array
from oracle.programs import rules as _rules  # fills the table
from oracle.programs.program import Call, Program, Ref, Snapshot, refs, replaced
from oracle.programs.table import COMPLEX, RULES, NoRule, Rule, is_unfilled, rule_of
from oracle.programs.taken_back import Arrived, Exponentials, moved_back, with_exponent_taken_back
from oracle.running_error import ErrorArray, ErrorMask, ErrorModel
from oracle.running_error.array import converted
from oracle.running_error.kernels import FAMILIES_BY_CALLS, Operations, operations_on
from oracle.running_error.model import ROUNDOFF, UNIT_ROUNDOFF
from oracle.running_error.selection import where
from oracle.running_error.stores import added_in_slices, known_where_finite, where_it_rounds, with_more

assert _rules
FLOATS = tuple(ROUNDOFF)
# The largest relative difference by which rounding alone can set two results in double precision apart.
SAME = 1e-9
NARROW = tuple(name for name, roundoff in ROUNDOFF.items() if roundoff > UNIT_ROUNDOFF["float32"])
# Rules that take masks of which rounding can change some elements; others get the recorded outcome.
OF_MASKS = ("where", "masked_fill", "mul", "_to_copy", "view", "write", "clone")
# Operations with an argument dtype, which convert their input to it before they compute.
CONVERTS_FIRST = ("sum", "nansum", "mean", "prod", "cumsum", "cumprod", "linalg_vector_norm", "norm")
KNOWN = (*FLOATS, "bool", "int64", "int32", "int16", "int8", "uint8")


class Arithmetic(Protocol):
    """The kind of arrays on which a program runs.

    Attributes:
        opens: whether comparisons that rounding can change are left open, because another implementation is compared. Comparisons
            of exact numbers are then computed again.
    """

    @property
    def opens(self) -> bool: ...

    def lifted(self, numbers: Array) -> Any:
        """A recorded array, which is exact by definition."""

    def widened(self, x: Any, rule: Rule, gradients: bool) -> Any:
        """An array in the dtype in which the operation's kernel computes, or the one that computes its gradients."""

    def differentiates_otherwise(self, rule: Rule) -> bool:
        """Whether the kernel of the operation's gradients computes in another dtype than the kernel of its results."""

    def sliced(self, x: Any, dtype: str, rule: Rule, argument: int | None) -> Any:
        """A result that its kernel may have added up in slices; `argument` is that of which it is the gradient, if it is one."""

    def stored(self, x: Any, dtype: str) -> Any:
        """A result stored in this dtype."""


@dataclass(frozen=True)
class Plain:
    """Computes in float64 throughout, without errors."""

    opens = False

    def lifted(self, numbers: Array) -> Any:
        return numbers if numbers.dtype.kind in "biu" else numbers.astype(np.float64)

    def widened(self, x: Any, rule: Rule, gradients: bool) -> Any:
        return x

    def differentiates_otherwise(self, rule: Rule) -> bool:
        return False

    def sliced(self, x: Any, dtype: str, rule: Rule, argument: int | None) -> Any:
        return x

    def stored(self, x: Any, dtype: str) -> Any:
        return np.asarray(x) if dtype in FLOATS else np.asarray(x).astype(dtype)


@dataclass(frozen=True)
class WithErrors:
    """Computes with error arrays, each in the precision in which the program held it.

    accumulate: the dtype in which all kernels add up 16-bit numbers; None for what is known of each.
    device: the kind of device whose kernels these are.
    opens: see `Arithmetic`.
    """

    model: ErrorModel
    accumulate: str | None = None
    device: str = "cpu"
    opens: bool = False

    @cached_property
    def kernels(self) -> Operations:
        return operations_on(self.device)

    def lifted(self, numbers: Array) -> Any:
        if numbers.dtype.kind in "biu":
            return numbers
        return ErrorArray.exact(numbers, self.model.of(numbers.dtype.name))

    def widened(self, x: Any, rule: Rule, gradients: bool) -> Any:
        """Numbers of 16 and 8 bits in float32. Kernels that add up in 16 bits, and operations made of several calls, keep their
        dtype."""
        if not isinstance(x, ErrorArray) or x.dtype.itemsize > 2:
            return x
        model, kernels = self.model.of(x.dtype.name), self.kernels
        adds_up_in_16_bits = rule.name in kernels.in_16_bits or (
            gradients and rule.name in kernels.gradients_in_16_bits
        )
        if self.accumulate is not None:
            adds_up_in_16_bits = self.accumulate == x.dtype.name
        if adds_up_in_16_bits:
            return converted(x, replace(model, accumulate=None))
        by_steps = rule.moves or rule.family in FAMILIES_BY_CALLS or rule.name in kernels.step_by_step
        by_steps = by_steps or (not gradients and rule.name in kernels.outputs_step_by_step)
        return x if by_steps else converted(x, model.inside_kernels)

    def differentiates_otherwise(self, rule: Rule) -> bool:
        return rule.name in self.kernels.gradients_in_16_bits or rule.name in self.kernels.outputs_step_by_step

    def sliced(self, x: Any, dtype: str, rule: Rule, argument: int | None) -> Any:
        own = self.kernels.by_slices.get(rule.name)
        if own is None or self.accumulate is not None or dtype not in NARROW or not isinstance(x, ErrorArray):
            return x
        is_sum = own.output if argument is None else argument >= own.first
        return with_more(x, added_in_slices(x, self.model.of(dtype))) if is_sum else x

    def stored(self, x: Any, dtype: str) -> Any:
        if dtype not in FLOATS:
            return x.value.astype(dtype) if isinstance(x, ErrorArray) else x
        if isinstance(x, ErrorMask):
            one, zero = (ErrorArray.exact(own, self.model.of(dtype)) for own in (1.0, 0.0))
            return where(x, one, zero)
        if not isinstance(x, ErrorArray):
            return ErrorArray.exact(np.asarray(x), self.model.of(dtype))
        return x if x.dtype.name == dtype else converted(x, self.model.of(dtype))


@dataclass(frozen=True)
class _Step:
    call: Call
    rule: Rule
    backward: Callable[..., Any]


class Run:
    """The run of a program on its recorded inputs.

    Attributes:
        outputs: the results; None for one that the rule does not compute, such as the statistics returned by a norm.
    Raises: NoRule for an operation without a rule.
    """

    def __init__(self, program: Program, arithmetic: Arithmetic) -> None:
        self.program, self.arithmetic = program, arithmetic
        self.values: dict[int, Any] = {}
        self._depends = {value for value, _ in program.inputs}
        self._steps: list[_Step] = []
        self._exponentials = Exponentials()
        for value, held in program.inputs:
            self.values[value] = self._lifted(held)
        self._used = {ref.value for call in program.calls for ref in refs((call.args, call.kwargs))}
        self._without_rule: set[int] = set()
        for value, held in program.constants.items():
            if value in self._used or value in program.outputs:
                self.values[value] = self._lifted(held)
        with np.errstate(all="ignore"):
            for call in program.calls:
                self._make(call)
        self.outputs = [self.values.get(value) for value in program.outputs]

    def _lifted(self, held: Snapshot) -> Any:
        _check_known(held)
        return self.arithmetic.lifted(held.numbers)

    def _make(self, call: Call) -> None:
        args, kwargs = replaced((list(call.args), dict(call.kwargs)), Ref, lambda ref: self.values[ref.value])
        depends = any(ref.value in self._depends for ref in refs((call.args, call.kwargs)))
        for held in call.recorded:
            if held is not None:
                _check_known(held)
        is_unseen = all(held is None for held in call.recorded)  # an array after a part of it was written
        rule = self._rule(call, depends, is_unseen or any(map(_is_floating, _arrays((args, kwargs)))))
        if rule is None or (rule.compares and not self._compare(call, rule, args)):
            self._take(call)
        if rule is None or rule.compares:
            return
        if rule.name not in OF_MASKS:
            args, kwargs = replaced((args, kwargs), ErrorMask, lambda own: own.value)
        shown = {"shown": call.recorded} if rule.shown else {}

        result = next((held.dtype for held in call.recorded[:1] if held is not None and held.dtype in FLOATS), None)
        computes_in_its_dtype = rule.name in CONVERTS_FIRST or any(map(_has_dimensions, _arrays((args, kwargs))))

        def taken(x: ErrorArray, gradients: bool) -> Any:
            if result is not None and computes_in_its_dtype and ROUNDOFF[result] > ROUNDOFF[x.dtype.name]:
                if rule.name in CONVERTS_FIRST:
                    x = converted(x, x.model.of(result))
                elif x.ndim == 0:
                    x = _beside_narrower(x, result)
            return self.arithmetic.widened(x, rule, gradients)

        def made_by(gradients: bool) -> tuple[Any, Callable[..., Any]]:
            own, named = replaced((args, kwargs), ErrorArray, lambda x: taken(x, gradients))
            return rule.function(*own, **named, **shown)

        output, backward = made_by(gradients=False)
        if self.arithmetic.differentiates_otherwise(rule) and any(map(_is_narrow, _arrays((args, kwargs)))):
            _, backward = made_by(gradients=True)
        for value, held, made in zip(call.results, call.recorded, (output,) if call.single else output, strict=False):
            if value is not None and made is not None:
                self.values[value] = made if held is None else self._stored(made, held.dtype, rule)
            elif value is not None and depends:
                self._without_rule.add(value)
                if value in self._used and held is not None:  # such as a norm's statistics, which its backward reads
                    self.values[value] = self._lifted(held)
        self._depends.update(value for value in call.results if value is not None and depends)
        self._exponentials.notice(call, rule)
        self._steps.append(_Step(call, rule, backward))

    def _compare(self, call: Call, rule: Rule, args: Any) -> bool:
        """Compares again, if another implementation may have another outcome. False if the recorded outcome holds for it too."""
        (held,), (value,) = call.recorded, call.results
        if not self.arithmetic.opens or held is None or held.dtype != "bool" or value is None:
            return False
        made = rule.function(*args)[0]
        if isinstance(made, ErrorMask) and not made.is_open:
            return False
        self.values[value] = made
        return True

    def _rule(self, call: Call, depends: bool, is_computed: bool) -> Rule | None:
        """The rule of a call; None if its recorded results are used: for random numbers, for integers only, and for an unknown
        operation that does not depend on an input."""
        if not is_computed or is_unfilled(call.name):
            return None
        try:
            rule = rule_of(call.name)
        except NoRule:
            if depends:
                raise
            return None
        return None if rule.recorded else rule

    def _take(self, call: Call) -> None:
        for value, held in zip(call.results, call.recorded, strict=True):
            if value is not None and held is not None:
                self.values[value] = self._lifted(held)

    @property
    def narrowest(self) -> float:
        """The number of elements of the smallest array that is computed and rounded on the way to the outputs."""
        computed = (value for step in self._steps for value in step.call.results if value not in self.program.outputs)
        made = (self.values.get(value) for value in computed if value is not None)
        rounded = (
            own for own in made if isinstance(own, ErrorArray) and (own.own_error is not None or own.terms is not None)
        )
        return min((own.size for own in rounded), default=math.inf)

    def gradients(self, grad_outputs: Sequence[Any]) -> list[Any]:
        """The gradients of the inputs from those of the outputs; None where no gradient arrives. Raises: NoRule."""
        arrived = Arrived()
        for value, grad in zip(self.program.outputs, grad_outputs, strict=True):
            if grad is None:
                continue
            if value not in self.values or value in self._without_rule:
                raise NoRule("a gradient arrives at a result for which there is no rule")
            arrived.add(value, grad)
        with np.errstate(all="ignore"):
            for step in reversed(self._steps):
                self._back(step, arrived)
        return [arrived.grads.get(value) for value, _ in self.program.inputs]

    def _back(self, step: _Step, arrived: Arrived) -> None:
        popped = [arrived.pop(value) for value in step.call.results]
        grads, rounding = [grad for grad, _ in popped], popped[0][1] if step.call.single else None
        if all(grad is None for grad in grads):
            return
        if not self._without_rule.isdisjoint(
            own for own, g in zip(step.call.results, grads, strict=True) if g is not None
        ):
            raise NoRule("a gradient arrives at a result for which there is no rule")
        result = next((grad.dtype.name for grad in grads if isinstance(grad, ErrorArray)), None)
        grads = [None if grad is None else self.arithmetic.widened(grad, step.rule, gradients=True) for grad in grads]
        found = step.backward(grads[0]) if step.call.single else step.backward(*grads)
        found = found if isinstance(found, (tuple, list)) else (found,)
        made = self.values.get(step.call.results[0]) if step.call.single and step.call.results[0] is not None else None
        found = with_exponent_taken_back(found, step.call, step.rule, made, grads[0], rounding)
        roundings = moved_back(rounding, step.rule, step.backward, made) or [
            self._exponentials.rounding_of_sum(step.call, step.rule, argument, self._depends, made)
            for argument in step.call.args
        ]
        for place, (argument, grad) in enumerate(zip(step.call.args, found, strict=False)):
            rounding = roundings[place] if place < len(roundings) else None
            self._hand_back(argument, grad, arrived, step.rule, place, result, rounding)

    def _hand_back(
        self,
        argument: Any,
        grad: Any,
        arrived: Arrived,
        rule: Rule,
        place: int,
        result: str | None,
        rounding: Any = None,
    ) -> None:
        """Adds the gradient of an argument; `result` is the dtype of the operation's result."""
        if grad is None:
            return
        if isinstance(argument, list):
            for own, part in zip(argument, grad, strict=True):
                self._hand_back(own, part, arrived, rule, place, result)
        elif isinstance(argument, Ref) and argument.differentiable and _is_floating(self.values[argument.value]):
            of = self.values[argument.value]
            assert grad.shape == of.shape, f"{grad.shape} for {of.shape}"
            if result is not None and of.ndim == 0 and ROUNDOFF[result] > ROUNDOFF[of.dtype.name]:
                grad = self._stored(grad, result, rule, place)  # of a number beside a tensor of a narrower dtype
            arrived.add(argument.value, self._stored(grad, of.dtype.name, rule, place), rounding)

    def _stored(self, x: Any, dtype: str, rule: Rule, argument: int | None = None) -> Any:
        if rule.name.startswith(COMPLEX) and not rule.moves and isinstance(x, ErrorArray):
            x = known_where_finite(x)
        return self.arithmetic.stored(self.arithmetic.sliced(x, dtype, rule, argument), dtype)


class RunAnew(Run):
    """A run in float64 that makes all comparisons again, and computes again what depends on their outcomes."""

    def __init__(self, program: Program) -> None:
        super().__init__(program, _Choosing())

    def _rule(self, call: Call, depends: bool, is_computed: bool) -> Rule | None:
        return super()._rule(call, depends, is_computed or call.name.partition(".")[0] in RULES)


class _Choosing(Plain):
    opens = True


def _check_known(held: Snapshot) -> None:
    """Raises NoRule for numbers of a dtype that error arrays do not have."""
    if held.dtype.startswith("sparse"):
        raise NoRule(f"sparse tensors are not judged, got {held.dtype}: to_dense() makes one that is")
    if held.dtype not in KNOWN:
        raise NoRule(f"numbers of {held.dtype} are not judged")


def _arrays(arguments: Any) -> list[Any]:
    if isinstance(arguments, (tuple, list)):
        return [array for own in arguments for array in _arrays(own)]
    if isinstance(arguments, dict):
        return _arrays(list(arguments.values()))
    return [arguments] if isinstance(arguments, (np.ndarray, ErrorArray, ErrorMask)) else []


def _has_dimensions(x: Any) -> bool:
    return isinstance(x, ErrorArray) and x.ndim > 0


def _beside_narrower(x: ErrorArray, dtype: str) -> ErrorArray:
    """A number without dimensions beside a tensor of a narrower dtype, in which each call then stores its result. Some kernels
    round the number to that dtype, others do not."""
    rounded = with_more(x, where_it_rounds(x.value, x.model.of(dtype)))
    return ErrorArray(x.value, x.model.of(dtype), rounded.error, scale=rounded.scale, hidden=rounded.own_hidden)


def _is_narrow(x: Any) -> bool:
    return isinstance(x, ErrorArray) and x.dtype.itemsize == 2


def _is_floating(x: Any) -> bool:
    return isinstance(x, (ErrorArray, ErrorMask)) or x.dtype.kind == "f"
