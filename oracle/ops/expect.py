"""expect and assert_close: expected outputs and gradients of any forward program, with derived tolerances, for your own tests."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

import refbp
from oracle.blame.causes.find import causes_of
from oracle.blame.search import evidence_of_numbers
from oracle.case.arrays import Array, cast, in_parts, of_parts
from oracle.case.foreign import numpy_of
from oracle.case.nested import arrays_in, mapped
from oracle.judging.derived import expected_of
from oracle.judging.figures import Expected
from oracle.judging.patterns import MANY
from oracle.judging.rows import DISCREPANCIES, LOCAL, PASS, UNDECIDED, Row
from oracle.judging.verdict import compare
from oracle.ops.inputs import arrays_among, is_array
from oracle.ops.ties import Ties
from oracle.programs import numpy_calls
from oracle.programs.common_errors import WithCommonErrors
from oracle.programs.execution import FLOATS, Run, WithErrors
from oracle.programs.program import Program
from oracle.programs.table import NoRule
from oracle.report.report import Discrepancy
from oracle.running_error import LAMBDA, ErrorArray, ErrorModel
from oracle.running_error.model import OF_8_BITS, Floats, limits
from oracle.wording.figures import exact_share

# A variance is a sum. Rounding may make it smaller than one of its terms by this share.
ROUGHLY = 1e-9


@dataclass(frozen=True, eq=False)
class Quantity:
    """One expected array.

    Attributes:
        value: the expected values, in float64.
        sigma: the standard deviation of a correct implementation's error, per element.
        tolerance: the largest error allowed, per element.
        dtype: the dtype in which an implementation returns it.
        name: "output", or "grads[0]".
        together: whether the errors of its elements are independent. Those that all come from a few rounded numbers are not.
        at_ties: the row of an array that may be the gradient with other choices at kinks and ties; None for an output.
    """

    value: Floats
    sigma: Floats
    dtype: str
    name: str
    scale: Floats
    given: tuple[Array | None, Array | None] = (None, None)
    hidden: Array | None = None
    together: bool = True
    at_ties: Callable[[Row, Array], Row] | None = None

    def compared(self, row: Row, got: Array, expected: Expected) -> Row:
        """The row with the verdict on an array. Another one-sided derivative at a kink or tie is a convention."""
        given = [own for own in self.given if own is not None]
        row = compare(
            row, got, expected, structured=False, no_terms=not self.value.size, given=given, together=self.together
        )
        if row.verdict in DISCREPANCIES and row.n_outside and self.at_ties is not None:
            return self.at_ties(row, got)
        return row

    @property
    def expected(self) -> Expected:
        return Expected(self.value, self.sigma, None, self.scale, self.hidden)

    @property
    def tolerance(self) -> Floats:
        """λσ. A result in 8 bits has λσ of the number before it is stored, and in addition the largest error of storing it."""
        if self.dtype not in OF_8_BITS:
            return LAMBDA * self.sigma
        stored = ErrorModel(np.dtype(self.dtype)).rounding(self.value).statistical
        rounds = np.square(self.sigma) >= stored * (
            1 - ROUGHLY
        )  # False for a copy of numbers of 8 bits, which rounds nothing
        before = np.sqrt(np.maximum(np.square(self.sigma) - stored, 0.0))
        return np.where(rounds, LAMBDA * before + np.sqrt(stored), LAMBDA * self.sigma)

    @property
    def shape(self) -> tuple[int, ...]:
        return self.value.shape


class Gradients(Sequence[Quantity]):
    """The gradients: by position for the floating-point inputs, by name for a module's parameters."""

    def __init__(self, of_inputs: Sequence[Quantity], of_parameters: Mapping[str, Quantity]) -> None:
        self._of_inputs, self._of_parameters = tuple(of_inputs), dict(of_parameters)

    def __getitem__(self, place: Any) -> Any:
        if isinstance(place, str):
            if place not in self._of_parameters:
                known = ", ".join(self._of_parameters) or "none: those of inputs have numbers, from grads[0] on"
                raise KeyError(f"there is no gradient of a parameter {place!r}; there are {known}")
            return self._of_parameters[place]
        if isinstance(place, int) and not -len(self) <= place < len(self):
            raise IndexError(f"there is no grads[{place}]: the program has {len(self)} floating-point inputs")
        return self._of_inputs[place]

    def __len__(self) -> int:
        return len(self._of_inputs)

    def keys(self) -> Iterator[str]:
        return iter(self._of_parameters)


@dataclass(frozen=True, eq=False)
class Expectation:
    """The expected results of a program.

    Attributes:
        output: a `Quantity`, or a tuple of them if the program returns several arrays.
        grad_output: the upstream gradient, in float64; a tuple if output is one. It is complex if the output is.
        grads: a `Quantity` for each floating-point input, and for each of a module's parameters by name.
        ties: tells of gradients whether they are right with other choices at kinks and ties; None for a layer of refbp.
    """

    output: Any
    grad_output: Any
    grads: Gradients
    ties: Ties | None = None

    @property
    def outputs(self) -> tuple[Quantity, ...]:
        """All outputs, also if there is one."""
        return self.output if isinstance(self.output, tuple) else (self.output,)


def expect(fn: Callable[..., Any], *inputs: Any, grad_output: Any = None, dtype: Any = None) -> Expectation:
    """The expected output and gradients of a forward program, with tolerances derived from its own rounding errors.

    expected = oracle.expect(lambda x, w: torch.nn.functional.gelu(x @ w), x, w)
    oracle.assert_close(my_fused_kernel(x, w), expected.output)

    Args:
        fn: a function or module of torch, for tensors; or a function in NumPy, for arrays.
        inputs: tensors or arrays, also in nested tuples, lists and dicts; numbers, texts and None are given to fn as they are.
            Arrays count as exact, after conversion to `dtype` if it is given. Products take those of 8 bits, float8_e4m3fn and
            float8_e5m2, with scales: torch._scaled_mm, or their product in float32 that is stored once.
            The expected values of a complex tensor have one more dimension, the last: the real and the imaginary part.
        grad_output: the gradient of the output, or a tuple for several outputs. By default it is random, the same in every call.
        dtype: the dtype in which the implementation computes, as a name ("bfloat16") or as torch's or NumPy's; by default the
            inputs' own.
    Raises: NoRule, which names an operation that has no rule; `oracle list ops` shows those that have one. TypeError or
        ValueError for what cannot be recorded at all.
    """
    if not callable(fn):
        raise TypeError(f"expect takes a function or a module, got {type(fn).__name__}")
    name, arrays = _name(dtype), arrays_among(inputs)
    if isinstance(fn, refbp.Layer | refbp.Loss):
        raise TypeError(f"expect takes a function, or a module of torch; check_op takes refbp's {type(fn).__name__}")
    if all(isinstance(own, np.ndarray) for own in arrays) and arrays:
        given = inputs if name is None else mapped(inputs, lambda own: cast(own, name) if is_array(own) else own)
        program, _ = numpy_calls.record(fn, *given)
        return expectation(program, (), grad_output)
    from oracle.ops.torch_programs import recorded

    program, parameters = recorded(fn, inputs, name)
    return expectation(program, parameters, grad_output)


def _name(dtype: Any) -> str | None:
    """The name of a dtype, which may be given as torch's, as NumPy's or as its name. Raises: ValueError."""
    if dtype is None:
        return None
    try:
        name = str(dtype).removeprefix("torch.") if "torch." in str(dtype) else str(np.dtype(dtype).name)
    except TypeError:
        name = ""
    if name not in FLOATS:
        raise ValueError(f"expect computes in one of {', '.join(FLOATS)}, got dtype={dtype!r}")
    return name


def expectation(program: Program, parameters: Sequence[str], grad_output: Any) -> Expectation:
    """The expectation of a recorded program whose last inputs are these parameters."""
    held = [own for _, own in program.inputs]
    first = next((own.dtype for own in held if own.dtype in FLOATS), "float32")
    model = ErrorModel(np.dtype(first), every_order=True)
    leading = next((own.shape for own in held if own.dtype in FLOATS and len(own.shape) > 1), (0,))
    model.branches.samples = leading[0]
    arithmetic = WithErrors(model, opens=True)
    run = WithCommonErrors(lambda own: Run(program, own), arithmetic)
    if any(own is None for own in run.outputs):
        raise NoRule("there is no rule for one of the program's results, such as the statistics that a norm returns")
    upstream = _upstream(run.outputs, grad_output)
    arriving = [None if place in program.detached else own for place, own in enumerate(upstream)]
    grads = run.gradients([None if own is None else arithmetic.lifted(own) for own in arriving])
    given = held[0].numbers if held else None, next((own for own in upstream if own is not None), None)
    together = run.plain.narrowest >= MANY
    ties = Ties(program, arithmetic, arriving, grads)
    found: list[tuple[int, Quantity]] = []
    for place, (own, grad) in enumerate(zip(held, grads, strict=True)):
        if own.dtype in FLOATS:
            due = grad if grad is not None else ErrorArray.exact(np.zeros(own.shape), model.of(own.dtype))
            number = place - len(held) + len(parameters)  # the position among the parameters; negative for an input
            name = f"grads[{parameters[number]!r}]" if number >= 0 else f"grads[{len(found)}]"
            quantity = _quantity(due, name, given, together)
            found.append((number, replace(quantity, at_ties=partial(ties.verdict, place))))
    by_name = {parameters[by]: own for by, own in found if by >= 0}
    shown = [
        of_parts(own) if own is not None and place in program.of_complex else own for place, own in enumerate(upstream)
    ]
    made = _of(run.outputs, shown, given, Gradients([own for by, own in found if by < 0], by_name), together)
    return replace(made, ties=ties)


def of_pair(fn: Callable[..., Any], arrays: Sequence[Array], grad_output: Any) -> Expectation:
    """The expectation of a function that returns its output and its backward, such as those of refbp.functional."""
    first = next(own.dtype.name for own in arrays if own.dtype.kind not in "biu")
    arithmetic = WithErrors(ErrorModel(np.dtype(first)))
    made, backward = fn(*(arithmetic.lifted(own) for own in arrays))
    outputs = list(made) if isinstance(made, tuple) else [made]
    upstream = _upstream(outputs, grad_output)
    found = backward(*(arithmetic.lifted(own) for own in upstream if own is not None))
    grads = [*found] if isinstance(found, tuple) else [found]
    given = arrays[0], next((own for own in upstream if own is not None), None)
    quantities = [_quantity(own, f"grads[{i}]", given) for i, own in enumerate(grads) if own is not None]
    return _of(outputs, upstream, given, Gradients(quantities, {}))


def _of(
    outputs: Sequence[Any],
    upstream: Sequence[Array | None],
    given: tuple[Array | None, Array | None],
    grads: Gradients,
    together: bool = True,
) -> Expectation:
    """The expectation of one output, or of several, with these gradients."""
    if len(outputs) > 1:
        quantities = tuple(_quantity(made, f"output[{place}]", given, together) for place, made in enumerate(outputs))
        return Expectation(quantities, tuple(upstream), grads)
    return Expectation(_quantity(outputs[0], "output", given, together), upstream[0], grads)


def _upstream(outputs: Sequence[Any], grad_output: Any) -> list[Array | None]:
    """The upstream gradients, each in the dtype of its output."""
    random = np.random.default_rng(zlib.crc32(b"upstream"))
    given = grad_output if isinstance(grad_output, (tuple, list)) else [grad_output] * len(outputs)
    if len(given) != len(outputs):
        raise ValueError(f"grad_output has {len(given)} arrays, for {len(outputs)} outputs")
    found: list[Array | None] = []
    for own, made in zip(given, outputs, strict=True):
        if not isinstance(made, ErrorArray):
            found.append(None)
            continue
        values = random.standard_normal(made.shape) if own is None else in_parts(numpy_of(own))
        if values.shape != made.shape:
            raise ValueError(f"grad_output has the output's shape {made.shape}, got {values.shape}")
        found.append(values.astype(made.dtype))
    return found


def _quantity(made: Any, name: str, given: tuple[Array | None, Array | None], together: bool = True) -> Quantity:
    if isinstance(made, ErrorArray):
        own = expected_of(made)
        return Quantity(own.value, own.sigma, made.dtype.name, name, own.scale, given, own.hidden, together)
    exact = np.asarray(made)
    zero = np.zeros(exact.shape)
    return Quantity(exact.astype(np.float64), zero, exact.dtype.name, name, zero, given)


def assert_close(actual: Any, expected: Any) -> None:
    """Assert that an array is within the tolerances that `expect` derived.

    Args:
        actual: an array of any library; if several are expected, a tuple or dict of them, nested as the program gives them.
        expected: `expectation.output`, or one of `expectation.grads`; or the whole expectation, which stands for its output.
    Raises: Discrepancy, an AssertionError. Its message names the worst element and, if one is found, the likely cause. It is
        also raised if no element of an array is decided and the tolerances are so wide that zeros would pass as well.
    """
    expected = expected.output if isinstance(expected, Expectation) else expected
    several = list(expected) if isinstance(expected, (tuple, list, Gradients)) else [expected]
    for due in several:
        if not isinstance(due, Quantity):
            raise TypeError(
                "assert_close(actual, expected) expects what oracle.expect gives as its second argument, such as "
                f"expectation.output, got {type(due).__name__}"
            )
    given = arrays_in(actual) or (actual if len(several) != 1 and isinstance(actual, (tuple, list)) else [actual])
    if len(given) != len(several):
        named = several[0].name.partition("[")[0] if several else "expected"
        raise Discrepancy(f"{named}: got {len(given)} arrays, expected {len(several)}")
    for own, due in zip(given, several, strict=True):
        said = _difference(_numbers(own, due), due)
        if said:
            raise Discrepancy(said)


def _numbers(actual: Any, due: Quantity) -> Array:
    """The values; a number of Python, such as `item` gives, in the dtype that is due."""
    try:
        return np.asarray(actual, due.dtype) if type(actual) is float else in_parts(numpy_of(actual))
    except TypeError as error:
        raise TypeError(f"{due.name}: {error}") from None


def _of_8_bits(got: Array, due: Quantity) -> tuple[Array, Expected]:
    """An array of 8 bits and its expected values. If an element is outside its tolerance, its σ is at most tolerance / λ.

    A number out of range may be stored as the largest one, as infinity or as NaN. If it is, the element is not compared.
    """
    expected, tolerance, actual = due.expected, due.tolerance, got.astype(np.float64)
    largest = float(limits(got.dtype).max)
    beyond = np.abs(due.value) + tolerance > largest
    out = beyond & (~np.isfinite(actual) | (actual == np.copysign(largest, due.value)))
    near = np.abs(actual - due.value) <= tolerance
    sigma = np.where(near, expected.sigma, np.minimum(expected.sigma, tolerance / LAMBDA))
    zero = got.dtype.type(0)
    return np.where(out, zero, got), replace(
        expected, value=np.where(out, 0.0, due.value), sigma=np.where(out, 0.0, sigma)
    )


def _difference(got: Array, due: Quantity) -> str:
    """The discrepancy in one sentence; empty if there is none."""
    if due.dtype not in FLOATS:
        if got.shape == due.shape and np.array_equal(got, due.value):
            return ""
        return f"{due.name}: not the {due.dtype} values that are expected, which are exact"
    row = Row("expect", due.dtype, 0, "", "", due.name, LOCAL, PASS)
    expected = due.expected
    if due.dtype in OF_8_BITS and got.dtype.name == due.dtype and got.shape == due.shape:
        got, expected = _of_8_bits(got, due)
    row = due.compared(row, got, expected)
    if row.verdict == UNDECIDED and not row.decided and np.all(np.abs(due.value) <= due.tolerance):
        said = f"expected {row.expected:.9g} ± {row.tolerance:.2g} at {row.worst_index}"
        return f"{due.name}: undecided, since zeros would pass too: {said}; {row.diagnosis}"
    if row.verdict not in DISCREPANCIES:
        return ""
    if not row.n_outside:
        return f"{due.name}: {row.diagnosis}"
    causes = causes_of(evidence_of_numbers("expect", row, got, expected, *due.given))
    likely = f"; likely cause: {causes[0].words}" if causes else f"; {row.diagnosis}" if row.diagnosis else ""
    return (
        f"{due.name}: {exact_share(row.n_outside / row.n)} of {row.n:,} elements are beyond their tolerance; worst at "
        f"{row.worst_index}: got {row.got:.9g}, expected {row.expected:.9g} ± {row.tolerance:.2g} (z = {row.z_max:.3g})"
        f"{likely}"
    )
