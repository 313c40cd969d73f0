"""A Case: everything that an implementation needs to run a training step, and nothing random.

It depends on no framework. Layers, loss and optimizer are specs with torch's class and argument names. Every number is in the
case itself, so that two implementations start from the same bits.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from oracle.case.arrays import Array, array_from_json, array_to_json, cast, own_copy, read_only
from oracle.case.files import parsed, read
from oracle.wording.errors import Sentence

FORMAT = 1
CONTAINERS = ("Sequential", "Residual", "Concat")


class CaseError(Sentence):
    """A case that cannot be used. The message is one sentence, which names the case and the field."""


@dataclass(frozen=True)
class Spec:
    """A layer, loss or optimizer: torch's class name, its arguments, and for a container its children.

    Args:
        type: class name, such as "Conv2d".
        options: constructor arguments by name.
        name: its part of the dotted layer name; by default its index in the container.
        layers: the children of a Sequential, Residual ("body", then optionally "shortcut") or Concat.
        same_as: the full name of an earlier layer whose parameters this layer shares. A Linear may be shared as a
            "LinearTranspose" too, y = x W.
        groups: an optimizer's parameter groups, each with options and "params", a list of parameter names.

    >>> oracle.Spec("Conv2d", {"in_channels": 3, "out_channels": 8, "kernel_size": 3}, name="conv1").type
    'Conv2d'
    """

    type: str
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    layers: tuple[Spec, ...] = ()
    same_as: str = ""
    groups: tuple[Mapping[str, Any], ...] = ()


Arrays = tuple[Array, ...]


@dataclass(frozen=True)
class Case:
    """A network with its data: layers, then a loss or an upstream gradient, then an optimizer, for one or more steps.

    A per-step field is a tuple with an entry per step. A shorter tuple repeats, so that one entry serves all steps.

    Args:
        name: family/what, unique in the suite.
        why: one sentence that says what the case tests.
        layers: the network, a sequence of specs; empty to test a loss or an optimizer alone.
        params: parameters and buffers under torch's state_dict names ("0.weight").
        inputs: the network's input, per step.
        loss: the loss, or None.
        targets: the arguments of the loss after its first, per step; usually the target alone.
        grad_outputs: the upstream gradient, per step, if there is no loss. With neither there is a forward pass only.
        grads: the gradients, per step and parameter name, to test an optimizer alone.
        optimizer: the optimizer, or None if nothing is updated.
        update_every: the number of steps that add up their gradients before the optimizer updates once. A case with more than one
            is run only on subjects that declare `accumulates = True`.
        optimizer_state: a state to resume from, such as {"momentum": {"0.weight": array}}; "step" for optimizers that count.
        masks: the masks of dropout layers, by layer name; a layer without one draws its own.
        training: whether the layers are in training mode.
        tags: kinds of data in the case, such as "kink", "tie", "non-finite".
        dtype: the dtype of all floating-point arrays; `astype` converts the case.
        structured: whether the data is constant, sorted or otherwise not random, so that rounding errors may be correlated.
    Shape: as the layers expect it. Arrays are made read-only and keep their memory layout.
    Raises: CaseError for fields of a wrong type. `from_json`, `load` and `oracle.run` also raise it for specs and arrays of
        which no network can be built.

    >>> case = oracle.Case(
    ...     "mine/step",
    ...     layers=(oracle.Spec("Linear", {"in_features": 2, "out_features": 1}),),
    ...     params={"0.weight": np.array([[2.0, 3.0]]), "0.bias": np.array([1.0])},
    ...     inputs=(np.array([[1.0, 1.0]]),),
    ...     loss=oracle.Spec("MSELoss"),
    ...     targets=((np.array([[5.0]]),),),
    ...     optimizer=oracle.Spec("SGD", {"lr": 0.1}),
    ... )
    >>> oracle.run("refbp", cases=[case]).passed
    True
    >>> oracle.Case.from_json(case.to_json()).astype("float32").inputs
    (array([[1., 1.]], dtype=float32),)
    """

    name: str
    why: str = ""
    tags: tuple[str, ...] = ()
    dtype: str = "float64"
    layers: tuple[Spec, ...] = ()
    params: Mapping[str, Array] = field(default_factory=dict)
    inputs: Arrays = ()
    loss: Spec | None = None
    targets: tuple[Arrays, ...] = ()
    grad_outputs: Arrays = ()
    grads: tuple[Mapping[str, Array], ...] = ()
    optimizer: Spec | None = None
    optimizer_state: Mapping[str, Mapping[str, Array]] = field(default_factory=dict)
    masks: Mapping[str, Array] = field(default_factory=dict)
    steps: int = 1
    update_every: int = 1
    training: bool = True
    structured: bool = False

    def __post_init__(self) -> None:
        for name, depth in ARRAY_FIELDS.items():
            object.__setattr__(self, name, _held(getattr(self, name), depth, f"case {self.name}: {name}"))

    def _with_arrays(self, change: Callable[[Array], Array]) -> dict[str, Any]:
        return {name: _mapped(getattr(self, name), change) for name in ARRAY_FIELDS}

    def astype(self, dtype: str) -> Case:
        """The same case rounded to another precision, with the same layouts. Raises: CaseError for an unknown dtype."""
        try:
            np.dtype(dtype)
        except TypeError as error:
            raise CaseError(f"case {self.name} cannot be converted to the unknown dtype {dtype!r}") from error
        return replace(self, dtype=dtype, **self._with_arrays(lambda array: cast(array, dtype)))

    def handed_out(self) -> Case:
        """A copy for a subject, with its own specs, mappings and arrays, so that changes to them stay with the subject.

        Parameters and optimizer state are writable, for training in place; writing to any other array raises an error.
        """
        specs = {name: deepcopy(getattr(self, name)) for name in ("layers", "loss", "optimizer")}
        arrays = self._with_arrays(own_copy)
        copy = replace(self, **specs, **arrays)
        for name in ("params", "optimizer_state"):
            object.__setattr__(copy, name, arrays[name])
        return copy

    def mapped(self, change: Callable[[Array], Array]) -> Case:
        """The same case with a function applied to every array."""
        return replace(self, **self._with_arrays(change))

    def since_update(self, step: int) -> int:
        """The first of the steps whose gradients are added up with those of this step."""
        return step - step % self.update_every

    def with_upstream(self, grad_output: Array) -> Case:
        """The same case with another upstream gradient."""
        return replace(self, grad_outputs=(grad_output,))

    def to_json(self) -> dict[str, Any]:
        """Plain JSON values; fields at their default are left out."""
        result: dict[str, Any] = {"format": FORMAT, "name": self.name}
        for name in ("why", "dtype", "steps", "update_every", "training", "structured"):
            if getattr(self, name) != Case.__dataclass_fields__[name].default or name == "dtype":
                result[name] = getattr(self, name)
        result["tags"] = list(self.tags)
        result["layers"] = [_spec_to_json(spec) for spec in self.layers]
        for name in ("loss", "optimizer"):
            if (spec := getattr(self, name)) is not None:
                result[name] = _spec_to_json(spec)
        result |= {name: value for name, value in self._json_arrays().items() if value}
        return result

    def _json_arrays(self) -> dict[str, Any]:
        return {name: _mapped(getattr(self, name), array_to_json, list) for name in ARRAY_FIELDS}

    @classmethod
    def from_json(cls, value: Any) -> Case:
        """A case from what `to_json` gave. Raises: CaseError for anything that is not a case of this format."""
        if not isinstance(value, dict):
            raise CaseError(f"a case is a JSON object, got {type(value).__name__}")
        name = value.get("name")
        if not isinstance(name, str) or not name:
            raise CaseError("a case needs the field 'name', a non-empty string")
        unknown = sorted(value.keys() - cls.__dataclass_fields__.keys() - {"format"})
        if unknown:
            raise CaseError(f"case {name} has unknown fields {unknown}; known are {sorted(cls.__dataclass_fields__)}")
        if value.get("format", FORMAT) != FORMAT:
            raise CaseError(f"case {name} has format {value['format']!r}, this version reads format {FORMAT}")
        require_present(name, value, backward=True)
        fields: dict[str, Any] = {"name": name, **_scalars(value, name)}
        fields["tags"] = tuple(_list(value, "tags", str, f"case {name}"))
        fields["layers"] = tuple(
            _spec_from_json(spec, name, "layers") for spec in _list(value, "layers", dict, f"case {name}")
        )
        for key in ("loss", "optimizer"):
            if value.get(key) is not None:
                fields[key] = _spec_from_json(value[key], name, key)
        for key, depth in ARRAY_FIELDS.items():
            if key in value:
                fields[key] = _arrays_from_json(value[key], depth, f"case {name}: {key}")
        return cls(**fields)

    def save(self, path: Path | str) -> None:
        """Write the case as JSON, for `load` or `oracle run --case-file`. Raises: CaseError if the file cannot be written."""
        try:
            Path(path).write_text(json.dumps(self.to_json(), indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise CaseError(f"case file {path} cannot be written: {error.strerror}") from error

    @classmethod
    def load(cls, path: Path | str) -> Case:
        """A case that `save` wrote. Raises: CaseError if the file cannot be read, or does not hold a case as JSON."""
        try:
            value = parsed(read(path))
        except OSError as error:
            raise CaseError(f"case file {path} cannot be read: {error.strerror}") from error
        except ValueError as error:  # also for an impossible path
            raise CaseError(f"case file {path} is not JSON: {error}") from error
        try:
            return cls.from_json(value)
        except CaseError as error:
            raise CaseError(f"case file {path}: {error}") from error


MOST_STEPS = 1_000_000
SCALAR_FIELDS = {"why": str, "dtype": str, "steps": int, "update_every": int, "training": bool, "structured": bool}
# How deep the arrays of a field lie: "t" a tuple, "m" a mapping.
ARRAY_FIELDS = {
    "params": "m",
    "inputs": "t",
    "targets": "tt",
    "grad_outputs": "t",
    "grads": "tm",
    "optimizer_state": "mm",
    "masks": "m",
}
PER_STEP = tuple(name for name, depth in ARRAY_FIELDS.items() if depth.startswith("t"))


def _held(value: Any, depth: str, where: str) -> Any:
    """A field with its arrays made read-only, in tuples and mappings nested as `depth` says. Raises: CaseError."""
    if not depth:
        if not hasattr(value, "flags"):
            raise CaseError(f"{where} expects a NumPy array, got {type(value).__name__}")
        return read_only(value)
    if depth[0] == "m":
        if not isinstance(value, Mapping):
            raise CaseError(f"{where} expects a mapping of arrays by name, got {type(value).__name__}")
        return {key: _held(item, depth[1:], f"{where}[{key!r}]") for key, item in value.items()}
    if not isinstance(value, (tuple, list)):
        raise CaseError(f"{where} expects a tuple, got {type(value).__name__}")
    return tuple(_held(item, depth[1:], f"{where}[{index}]") for index, item in enumerate(value))


def _mapped(value: Any, change: Callable[[Array], Any], sequence: type = tuple) -> Any:
    if isinstance(value, Mapping):
        return {key: _mapped(item, change, sequence) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return sequence(_mapped(item, change, sequence) for item in value)
    return change(value)


def require_present(name: str, value: Mapping[str, Any], *, backward: bool) -> None:
    """Raises: CaseError if a case lacks a field that a forward pass, or with `backward` a backward pass, needs."""
    if not value.get("layers") and not value.get("loss") and not value.get("grads"):
        raise CaseError(f"case {name} lacks the field 'layers' (or 'loss', or 'grads' for an optimizer alone)")
    if value.get("grads"):
        if not value.get("optimizer"):
            raise CaseError(f"case {name} lacks the field 'optimizer', to which its 'grads' are given")
    elif not value.get("inputs"):
        raise CaseError(f"case {name} lacks the field 'inputs'")
    elif value.get("loss") and not value.get("targets"):
        raise CaseError(f"case {name} lacks the field 'targets', which its loss needs")
    elif backward and not value.get("loss") and not value.get("grad_outputs"):
        raise CaseError(f"case {name} lacks the field 'loss' (with 'targets') or 'grad_outputs'")


def _scalars(value: Mapping[str, Any], name: str) -> dict[str, Any]:
    fields: dict[str, Any] = {key: value[key] for key in SCALAR_FIELDS if key in value}
    for key, own in fields.items():
        kind = SCALAR_FIELDS[key]
        if not isinstance(own, kind) or (kind is int and isinstance(own, bool)):
            raise CaseError(f"case {name}: {key} expects {kind.__name__}, got {own!r}")
    for key in ("steps", "update_every"):
        if not 1 <= fields.get(key, 1) <= MOST_STEPS:
            raise CaseError(f"case {name}: {key} expects 1 to {MOST_STEPS:,}, got {_short(fields[key])}")
    return fields


def _spec_to_json(spec: Spec) -> dict[str, Any]:
    result: dict[str, Any] = {"type": spec.type}
    if spec.name:
        result["name"] = spec.name
    if spec.options:
        result["options"] = {
            key: value.tolist() if hasattr(value, "tolist") else value for key, value in spec.options.items()
        }
    if spec.layers:
        result["layers"] = [_spec_to_json(child) for child in spec.layers]
    if spec.same_as:
        result["same_as"] = spec.same_as
    if spec.groups:
        result["groups"] = [dict(group) for group in spec.groups]
    return result


def _spec_from_json(value: Any, case: str, where: str) -> Spec:
    if not isinstance(value, dict) or not isinstance(value.get("type"), str):
        raise CaseError(f"case {case}: an entry of {where} needs the field 'type', a class name, got {_short(value)}")
    here = f"case {case}: {_short(value['type'])} in {where}"
    unknown = sorted(value.keys() - Spec.__dataclass_fields__.keys())
    if unknown:
        raise CaseError(f"{here} has unknown fields {_short(unknown)}; arguments go under 'options'")
    for key in ("name", "same_as"):
        if not isinstance(value.get(key, ""), str):
            raise CaseError(f"{here}: {key} expects a string, got {_short(value[key])}")
    if not isinstance(value.get("options", {}), dict):
        raise CaseError(
            f"case {case}: options of {_short(value['type'])} in {where} expects an object, got {_short(value['options'])}"
        )
    groups = _list(value, "groups", dict, here)
    for group in groups:
        names = group.get("params")
        if not isinstance(names, (list, tuple)) or not all(isinstance(name, str) for name in names):
            raise CaseError(f"{here}: a group's params are a list of names, got {_short(names)}")
    return Spec(
        type=value["type"],
        options=_with_tuples(value.get("options", {})),
        name=value.get("name", ""),
        layers=tuple(_spec_from_json(child, case, where) for child in _list(value, "layers", dict, here)),
        same_as=value.get("same_as", ""),
        groups=tuple({**_with_tuples(group), "params": group["params"]} for group in groups),
    )


def _with_tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(item) if isinstance(item, list) else item for key, item in options.items()}


def _list(value: Mapping[str, Any], name: str, kind: type, where: str) -> list[Any]:
    """The elements of a field that holds a list, if it is present. Raises: CaseError."""
    held = value.get(name, [])
    if not isinstance(held, list) or not all(isinstance(item, kind) for item in held):
        what = "strings" if kind is str else "objects"
        raise CaseError(f"{where}: {name} expects a list of {what}, got {_short(held)}")
    return held


def _short(value: Any) -> str:
    """The beginning of a value's text, for a message."""
    text = (
        repr(value) if not isinstance(value, int) or abs(value) < 10**40 else f"a number of {value.bit_length()} bits"
    )
    return text if len(text) <= 60 else f"{text[:57]}…"


def _arrays_from_json(value: Any, depth: str, where: str) -> Any:
    if not depth:
        try:
            return array_from_json(value)
        except ValueError as error:
            raise CaseError(f"{where}: {error}") from error
    if depth[0] == "m":
        if not isinstance(value, dict):
            raise CaseError(f"{where} expects an object of arrays by name, got {type(value).__name__}")
        return {key: _arrays_from_json(item, depth[1:], f"{where}.{key}") for key, item in value.items()}
    if not isinstance(value, list):
        raise CaseError(f"{where} expects a list with one entry per step, got {type(value).__name__}")
    return tuple(_arrays_from_json(item, depth[1:], f"{where}[{index}]") for index, item in enumerate(value))


def named_layers(layers: tuple[Spec, ...], prefix: str = "") -> Iterator[tuple[str, Spec]]:
    """Every spec with its dotted name, containers before their children, in forward order."""
    for index, spec in enumerate(layers):
        name = f"{prefix}{spec.name or index}"
        yield name, spec
        yield from named_layers(spec.layers, f"{name}.")


# The arguments of a loss after its first, for losses that take more than the target.
LOSS_ARGUMENTS = {
    "MarginRankingLoss": ("input2", "target"),
    "CosineEmbeddingLoss": ("input2", "target"),
    "GaussianNLLLoss": ("target", "var"),
}
# Losses whose targets torch, and so the reference, does not differentiate.
CONSTANT_TARGETS = frozenset({"SoftMarginLoss"})
# Arguments of a loss that choose between formulas, though they are floating-point numbers.
CHOOSING = frozenset({("CosineEmbeddingLoss", "target")})


def loss_arguments(type: str) -> tuple[str, ...]:
    """The names of a loss's arguments after the first; their gradients are the quantities grad.<name>."""
    return LOSS_ARGUMENTS.get(type, ("target",))


def at_step(entries: tuple[Any, ...], step: int) -> Any:
    """The entry of a per-step field for this step."""
    return entries[step % len(entries)]
