"""The ops with which a function can be compared, and the cases of the suite on which that is done."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import numpy as np

import refbp
from oracle import suite
from oracle.case.arrays import Array, is_numeric
from oracle.case.case import Case, Spec
from oracle.case.foreign import numpy_of
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS, check
from oracle.execution.options import defaults, filled_options
from oracle.suite.build import generator, label, network_case
from oracle.suite.special import every_second

MADE: dict[str, type] = {**LAYERS, **LOSSES}
# Ops whose class has another name, or several: one for each number of dimensions, or kind.
CLASSES = {
    "batch_norm": ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"),
    "instance_norm": ("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"),
    "binary_cross_entropy": ("BCELoss",),
    "binary_cross_entropy_with_logits": ("BCEWithLogitsLoss",),
}
# Ops with which no function can be compared by itself, and why.
WITHOUT = {
    **dict.fromkeys(("dropout", "alpha_dropout"), "its mask is random"),
    **dict.fromkeys((own.rule.__name__ for own in OPTIMIZERS.values()), "it is an update, not differentiable"),  # type: ignore[attr-defined]
    "pad": "each of its modes is a layer of its own",
}
GRADIENT = "grad_output"
# Arguments of a class that say how large its arrays are, or which it has. They stay as in the suite's case.
OF_ARRAYS = frozenset(
    {
        "in_channels",
        "out_channels",
        "in_features",
        "out_features",
        "num_features",
        "num_channels",
        "num_parameters",
        "init",
    }
)
# The exceptions of layers and losses for options that they cannot have, or whose type they do not check.
REFUSALS = (ValueError, TypeError, IndexError, ZeroDivisionError)
# Options that give a class all of its arrays.
PRESENT = {"affine": True, "elementwise_affine": True, "track_running_stats": True}


class OpError(ValueError):
    """An op, option or array that `check_op` cannot use. The message is one sentence."""


@dataclass(frozen=True)
class Given:
    """The user's arguments other than the function: options of the op, arrays by name, and the arrays that are to be None."""

    options: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)
    absent: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Op:
    """An op of `refbp.functional`: its classes, its arrays in order, those that may be None, and its options' defaults."""

    name: str
    classes: tuple[str, ...]
    arrays: tuple[str, ...]
    optional: frozenset[str]
    options: Mapping[str, Any]

    @property
    def is_loss(self) -> bool:
        return self.classes[0] in LOSSES

    @classmethod
    def named(cls, name: str) -> Op:
        """The op of this name. Raises: OpError."""
        if name in WITHOUT:
            raise OpError(
                f"{name} cannot be checked by itself, since {WITHOUT[name]}: try it in a subject of oracle.run"
            )
        known = [own for own in refbp.functional.__all__ if own not in WITHOUT]
        if name not in known:
            near = ", ".join(get_close_matches(str(name), known)) or "relu, linear, conv2d"
            raise OpError(
                f"unknown op {name!r}: known are those of refbp.functional that give a backward, such as {near}"
            )
        plain = name.replace("_", "")
        classes = CLASSES.get(name) or tuple(
            own for own in (*LAYERS, *LOSSES) if own.lower() in (plain, f"{plain}loss")
        )
        parameters = inspect.signature(getattr(refbp.functional, name)).parameters.values()
        is_loss = classes[0] in LOSSES
        arrays = tuple(
            p.name for p in parameters if "Array" in str(p.annotation) and not (is_loss and "weight" in p.name)
        )
        optional = frozenset(p.name for p in parameters if p.name in arrays and p.default is None)
        options = {p.name: p.default for p in parameters if p.name not in arrays and p.name != "return_indices"}
        return cls(name, classes, arrays, optional, options)

    def sorted_out(self, given: Mapping[str, Any]) -> Given:
        """The arguments divided into options and arrays. Raises: OpError for an unknown or a missing one."""
        options: dict[str, Any] = {}
        arrays: dict[str, Array] = {}
        absent = set()
        for own, value in given.items():
            name = self.arrays[0] if own in ("x", "input") else own
            if name in self.options:
                options[name] = _plain(value)
            elif name not in (*self.arrays, GRADIENT):
                known = ["x", *self.arrays[1:], GRADIENT, *self.options]
                raise OpError(f"{self.name} has no {own!r}: known are {', '.join(known)}")
            elif value is None and name not in (*self.optional, GRADIENT):
                raise OpError(f"{self.name}: {own} is an array, got None")
            elif value is None:
                absent.add(name)
            else:
                arrays["input" if name == self.arrays[0] else name] = _array(own, value)
        lacking = [n for n, d in self.options.items() if d is inspect.Parameter.empty and n not in options]
        if lacking:
            raise OpError(f"{self.name} needs {', '.join(lacking)}: give what the function does, as {lacking[0]}=…")
        if arrays and "input" not in arrays:
            raise OpError(f"{self.name}: {next(iter(arrays))} is given without x")
        return Given(options, arrays, frozenset(absent))


def _array(name: str, value: Any) -> Array:
    try:
        array = numpy_of(value)
    except TypeError as error:
        raise OpError(f"{name}: {error}") from error
    if not is_numeric(array.dtype):
        raise OpError(f"{name} holds {array.dtype}, expected real numbers")
    return array


def _plain(value: Any) -> Any:
    """An option in the form that a case holds: numbers, with tuples in place of arrays and lists."""
    if hasattr(value, "shape"):
        value = numpy_of(value).tolist()
    return tuple(value) if isinstance(value, list) else value


def cases_of(op: Op, given: Given) -> list[Case]:
    """The suite's cases with these options, then these options on inputs of its other cases. Raises: OpError if none fits."""
    exact: list[Case] = []
    others: dict[Any, Case] = {}
    for case in suite.all_cases().values():
        own = _single(case, op)
        if own is None:
            continue
        wanted = options_of(op, given, own)
        if wanted == filled_options(MADE, own) and case.training == training_of(op, given, case):
            exact.append(case)
        else:
            others.setdefault(_shapes(case, own), case)
    seen = {_shapes(case, own) for case in exact if (own := _single(case, op))}
    tried = [_with_options(op, given, case) for shapes, case in others.items() if shapes not in seen]
    tried += _of_trailing(op, given)
    several = [case for case in (*tried, *exact) if isinstance(case, Case) and case.inputs[0].size > 1]
    found = {case.name: case for case in (*exact, *tried, *map(_turned, several[:1])) if isinstance(case, Case)}
    if not found:
        options = ", ".join(f"{name}={value!r}" for name, value in given.options.items()) or "its default options"
        reasons = Counter(reason_of(case) for case in tried if not isinstance(case, Case))
        why = "".join(f", since {reason}" for reason, _ in reasons.most_common(1))
        raise OpError(f"no input of the suite fits {op.name} with {options}{why}; arrays of your own are given as x=…")
    return list(found.values())


def _turned(case: Case) -> Case:
    """A variant: the input's elements in reverse order, all arrays non-contiguous, and for a loss a grad_output other than 1.

    With it every option gets tests that the suite makes with default options: for values kept from the call before (the shape is
    the same), for assumptions about memory layout, and for an ignored upstream gradient.
    """
    scale = np.asarray(generator(case.name).standard_normal())
    return replace(
        case,
        name=f"{case.name},turned",
        inputs=(every_second(np.flip(case.inputs[0])), *case.inputs[1:]),
        params={name: every_second(value) for name, value in case.params.items()},
        grad_outputs=tuple(map(every_second, case.grad_outputs or (scale,))),
    )


def again(case: Case) -> Case:
    """The case with other numbers of the same shapes: the elements of the input and of each parameter in reverse order."""

    def other(array: Array) -> Array:
        return np.flip(array).copy()

    return replace(
        case,
        name=f"{case.name},again",
        why="a later call, with other numbers: it keeps nothing of the call before",
        inputs=tuple(map(other, case.inputs)),
        params={name: other(value) for name, value in case.params.items()},
        grad_outputs=tuple(map(other, case.grad_outputs)),
    )


def reason_of(refused: BaseException) -> str:
    """The message of the layer or loss in one line, without the place that a case puts in front of it."""
    while refused.__cause__ is not None:
        refused = refused.__cause__
    said = " ".join(str(refused).split())
    return said if isinstance(refused, ValueError) else f"it raises {type(refused).__name__}: {said}"


def _single(case: Case, op: Op) -> Spec | None:
    """The only layer or loss of a case, if it is one of the op's classes."""
    specs = [*case.layers, *([case.loss] if case.loss is not None else [])]
    alone = len(specs) == 1 and specs[0].type in op.classes and case.optimizer is None and case.steps == 1
    if not alone or (case.loss is None and not case.grad_outputs):
        return None
    if op.name == "instance_norm" and case.inputs[0].ndim != int(specs[0].type[-2]) + 2:
        return None  # without a batch dimension: only the class, by its name, can tell
    return specs[0]


def options_of(op: Op, given: Given, own: Spec) -> dict[str, Any]:
    """The constructor options for which a class is the op with the given options; sizes of arrays are those of the case."""
    known = inspect.signature(MADE[own.type]).parameters
    wanted = filled_options(MADE, own)
    wanted |= {name: value for name, value in PRESENT.items() if name in known}
    if "bias" in known:
        wanted["bias"] = "bias" not in given.absent
    if "weight" in given.absent and not op.is_loss:
        wanted |= {name: False for name in ("affine", "elementwise_affine") if name in known}
    wanted |= {
        name: value for name, value in op.options.items() if name in known and value is not inspect.Parameter.empty
    }
    wanted |= {name: value for name, value in given.options.items() if name in known}
    if "groups" in given.options and given.options["groups"] != own.options.get("groups", 1):
        wanted |= {"in_channels": 2 * given.options["groups"], "out_channels": 3 * given.options["groups"]}
    return wanted


def training_of(op: Op, given: Given, case: Case) -> bool:
    if "training" in op.options:
        return bool(given.options.get("training", op.options["training"]))
    return bool(given.options.get("use_input_stats", True)) if "use_input_stats" in op.options else case.training


def _shapes(case: Case, own: Spec) -> Any:
    arrays = (*case.inputs, *(target for entry in case.targets for target in entry))
    sizes = {name: value for name, value in own.options.items() if name in OF_ARRAYS or name == "kernel_size"}
    return tuple((array.shape, array.dtype.kind) for array in arrays), str(sorted(sizes.items(), key=str))


def _with_options(op: Op, given: Given, case: Case) -> Case | Exception:
    """A case of the suite with other options; the error message, if they do not fit its arrays."""
    own = _single(case, op)
    assert own is not None
    wanted = options_of(op, given, own)
    usual = defaults(MADE[own.type])
    spec = Spec(own.type, {name: value for name, value in wanted.items() if value != usual.get(name, own)})
    shape = case.inputs[0].shape
    if "in_channels" in wanted:
        rank = int(own.type[-2])
        shape = (*shape[: -rank - 1], wanted["in_channels"], *shape[-rank:])
    inputs = case.inputs if shape == case.inputs[0].shape else ()
    sizes = {name: value for name, value in spec.options.items() if name in OF_ARRAYS or name == "kernel_size"}
    options = label({**sizes, **given.options, **dict.fromkeys(sorted(given.absent))})
    name = f"{op.name}/{'x'.join(map(str, shape))}{options}"
    return _built(op, given, name, spec, shape, inputs, case.targets)


def _built(
    op: Op,
    given: Given,
    name: str,
    spec: Spec,
    shape: tuple[int, ...],
    inputs: tuple[Array, ...] = (),
    targets: tuple[tuple[Array, ...], ...] = (),
) -> Case | Exception:
    why = f"{op.name} as it was asked for"
    try:
        if op.is_loss:
            case = network_case(name, why, [], inputs=inputs, loss=spec, targets=targets)
        else:
            probe = Case(name, training=True)
            case = network_case(name, why, [spec], shape, inputs=inputs, training=training_of(op, given, probe))
        check(case)
    except REFUSALS as error:
        return error
    return case


def _of_trailing(op: Op, given: Given) -> Iterator[Case | Exception]:
    """Inputs for an op with an option that gives the last dimensions."""
    trailing = given.options.get("normalized_shape")
    if trailing is None:
        return
    trailing = trailing if isinstance(trailing, tuple) else (trailing,)
    for lead in ((4,), (2, 3), (131,), ()):  # 131 rows are more than a kernel's block holds
        shape = (*lead, *trailing)
        spec = Spec(op.classes[0])
        spec = replace(spec, options={name: v for name, v in options_of(op, given, spec).items() if v is not None})
        yield _built(op, given, f"{op.name}/{'x'.join(map(str, shape))}{label(given.options)}", spec, shape)
