"""A case for readers without Python or torch: every layer with its full name, every option with its value, and the arrays by
name in a separate mapping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from oracle.case.arrays import Array, element_strides, is_plain
from oracle.case.case import ARRAY_FIELDS, Case, CaseError, Spec, named_layers
from oracle.case.names import TRANSPOSE
from oracle.exchange.numbers import spelled, unspelled
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.execution.options import filled_options

FORMAT = 1


def description(case: Case) -> dict[str, Any]:
    """The case without its arrays, in plain JSON values."""
    owners = dict(named_layers(case.layers))
    layouts = {name: list(element_strides(array)) for name, array in named_arrays(case).items() if not is_plain(array)}
    return {
        "format": FORMAT,
        "name": case.name,
        "why": case.why,
        "tags": list(case.tags),
        "dtype": case.dtype,
        "steps": case.steps,
        "update_every": case.update_every,
        "training": case.training,
        "structured": case.structured,
        "layers": _layers(case.layers, "", owners),
        "loss": _spec(LOSSES, case.loss),
        "optimizer": _spec(OPTIMIZERS, case.optimizer),
        "strides": layouts,
    }


def _layers(specs: tuple[Spec, ...], prefix: str, owners: Mapping[str, Spec]) -> list[dict[str, Any]]:
    found = []
    for index, spec in enumerate(specs):
        name = f"{prefix}{spec.name or index}"
        own = owners[spec.same_as] if spec.same_as and spec.type != TRANSPOSE else spec
        entry: dict[str, Any] = {"name": name, "type": own.type, "options": options(LAYERS, own)}
        if spec.same_as:
            entry["same_as"] = spec.same_as
        if spec.layers:
            entry["layers"] = _layers(spec.layers, f"{name}.", owners)
        found.append(entry)
    return found


def _spec(kinds: Mapping[str, type], spec: Spec | None) -> dict[str, Any] | None:
    if spec is None:
        return None
    entry: dict[str, Any] = {"type": spec.type, "options": options(kinds, spec)}
    if spec.groups:
        entry["groups"] = [spelled({**group, "params": list(group["params"])}) for group in spec.groups]
    return entry


def options(kinds: Mapping[str, type], spec: Spec) -> dict[str, Any]:
    """All arguments of the class by name as JSON values, with the defaults of those that the case leaves out."""
    whole = filled_options(kinds, spec)
    return dict(spelled({key: value.tolist() if hasattr(value, "tolist") else value for key, value in whole.items()}))


def named_arrays(case: Case) -> dict[str, Array]:
    """Every array of the case by field and position: "params/0.weight", "inputs/0", "optimizer_state/momentum/0.weight"."""
    return {name: array for field in ARRAY_FIELDS for name, array in _flat(field, getattr(case, field))}


def _flat(name: str, value: Any) -> Iterator[tuple[str, Array]]:
    if isinstance(value, (Mapping, tuple)):
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _flat(f"{name}/{key}", item)
    else:
        yield name, value


def case_of(value: Any, arrays: Mapping[str, Array]) -> Case:
    """The case of a description and its arrays, without memory layouts. Raises: CaseError for another format."""
    if not isinstance(value, dict) or value.get("format") != FORMAT:
        got = value.get("format") if isinstance(value, dict) else type(value).__name__
        raise CaseError(f"a case's description is an object of format {FORMAT}, got {got!r}")
    try:
        fields = {name: value[name] for name in ("name", "why", "dtype", "steps", "training", "structured")}
        fields |= {name: _nested(name, arrays, depth) for name, depth in ARRAY_FIELDS.items()}
        fields["update_every"] = value.get("update_every", 1)
        fields["tags"] = tuple(value["tags"])
        fields["layers"] = tuple(_layer_of(entry, "") for entry in value["layers"])
        for name in ("loss", "optimizer"):
            fields[name] = None if value[name] is None else _spec_of(value[name])
        return Case(**fields)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise CaseError(f"the description of case {value.get('name')!r} is incomplete: {error!r}") from error


def _layer_of(entry: dict[str, Any], prefix: str) -> Spec:
    name = entry["name"]
    children = tuple(_layer_of(child, f"{name}.") for child in entry.get("layers", ()))
    return Spec(
        entry["type"], unspelled(entry["options"]), name.removeprefix(prefix), children, entry.get("same_as", "")
    )


def _spec_of(entry: dict[str, Any]) -> Spec:
    groups = tuple({**unspelled(group), "params": list(group["params"])} for group in entry.get("groups", ()))
    return Spec(entry["type"], unspelled(entry["options"]), groups=groups)


def _nested(prefix: str, arrays: Mapping[str, Array], depth: str) -> Any:
    """The arrays whose names begin with a prefix, nested in mappings ("m") and tuples ("t")."""
    if not depth:
        return arrays[prefix]
    inside = [name.removeprefix(f"{prefix}/").partition("/")[0] for name in arrays if name.startswith(f"{prefix}/")]
    if depth[0] == "m":
        return {key: _nested(f"{prefix}/{key}", arrays, depth[1:]) for key in dict.fromkeys(inside)}
    return tuple(_nested(f"{prefix}/{index}", arrays, depth[1:]) for index in range(len(set(inside))))
