"""The introduction of a subject that is not a Python object: its name, what it supports, and its deliberate differences."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oracle.case.case import Case, named_layers
from oracle.exchange.numbers import shown
from oracle.execution.network import LAYERS, LOSSES, OPTIMIZERS
from oracle.judging.profile import Profile
from oracle.running_error import UNIT_ROUNDOFF
from oracle.trace import NO_ACCUMULATION

PROTOCOL = 1
JSON, SAFETENSORS = "json", "safetensors"
FIELDS = ("protocol", "name", "supports", "dtypes", "arrays", "accumulates", "profile")


@dataclass(frozen=True)
class Introduction:
    """A subject's introduction.

    Attributes:
        name: its name in the report.
        supports: the classes of layers, losses and optimizers that it has; None if it is sent every case and refuses some.
        dtypes: the dtypes in which it computes.
        arrays: the form in which it wants arrays, "json" or "safetensors".
        accumulates: whether it can add up the gradients of several steps before an update, as some cases require.
        profile: its profile.
    """

    name: str
    supports: tuple[str, ...] | None = None
    dtypes: tuple[str, ...] = tuple(UNIT_ROUNDOFF)
    arrays: str = JSON
    accumulates: bool = False
    profile: Profile = field(default_factory=Profile)

    def lacks(self, case: Case) -> str:
        """A sentence for a dtype or class that the case needs and the subject does not list; "" if there is none."""
        if case.dtype not in self.dtypes:
            return f"{self.name} has no {case.dtype}"
        if case.update_every > 1 and not self.accumulates:
            return f"{self.name} {NO_ACCUMULATION}"
        used = [spec.type for _, spec in named_layers(case.layers)]
        used += [spec.type for spec in (case.loss, case.optimizer) if spec is not None]
        absent = [] if self.supports is None else [name for name in used if name and name not in self.supports]
        return f"{self.name} has no {absent[0]}" if absent else ""


def introduction(value: Any) -> Introduction:
    """The introduction in a JSON value. Raises: ValueError, in one sentence, for any other value or protocol version."""
    if not isinstance(value, dict):
        raise ValueError(f"an introduction is an object, got {shown(value)}")
    if value.get("protocol") != PROTOCOL:
        raise ValueError(f"it speaks protocol {shown(value.get('protocol'))}, this version speaks {PROTOCOL}")
    unknown = sorted(value.keys() - set(FIELDS))
    if unknown:
        raise ValueError(f"an introduction has no field {shown(unknown[0])}; known are {', '.join(FIELDS)}")
    name, arrays = value.get("name"), value.get("arrays", JSON)
    if not isinstance(name, str) or not name.isprintable() or not 0 < len(name) <= 100:
        raise ValueError(f"an introduction's name is a short line of text, got {shown(name)}")
    if arrays not in (JSON, SAFETENSORS):
        raise ValueError(f"an introduction's arrays is {JSON!r} or {SAFETENSORS!r}, got {shown(arrays)}")
    supports = None if value.get("supports") is None else _names(value, "supports")
    if supports is not None and not any(name in known for known in (LAYERS, LOSSES, OPTIMIZERS) for name in supports):
        raise ValueError(
            f"an introduction's supports are classes of torch's, such as Linear, got {shown(value['supports'])}"
        )
    for own in supports or ():
        if meant := misspelled(own):
            raise ValueError(f"an introduction's supports are classes of torch's: {own!r} is not one, {meant!r} is")
    dtypes = _names(value, "dtypes") if "dtypes" in value else tuple(UNIT_ROUNDOFF)
    if not any(name in UNIT_ROUNDOFF for name in dtypes):
        raise ValueError(f"an introduction's dtypes are among {', '.join(UNIT_ROUNDOFF)}, got {shown(value['dtypes'])}")
    accumulates = value.get("accumulates", False)
    if not isinstance(accumulates, bool):
        raise ValueError(f"an introduction's accumulates is true or false, got {shown(accumulates)}")
    return Introduction(name, supports, dtypes, arrays, accumulates, _profile(value.get("profile", {})))


def misspelled(name: str) -> str:
    """The class of torch's that a name spells otherwise, such as Relu or CrossEntropy; "" for a class, or for anything else.

    Cases with this class would not be sent, without a word.
    """
    known = (*LAYERS, *LOSSES, *OPTIMIZERS)
    plain = {own.lower().removesuffix("loss"): own for own in known}
    return "" if name in known else plain.get(name.replace("_", "").lower().removesuffix("loss"), "")


def _names(value: dict[str, Any], field: str) -> tuple[str, ...]:
    names = value[field]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"an introduction's {field} is a list of names, got {shown(names)}")
    return tuple(names)


def _profile(value: Any) -> Profile:
    known = tuple(Profile.__dataclass_fields__)
    if not isinstance(value, dict) or not value.keys() <= set(known):
        raise ValueError(f"a profile is an object with some of {', '.join(known)}, got {shown(value)}")
    fields: dict[str, Any] = {name: _names(value, name) for name in value if name != "accumulate"}
    if value.get("accumulate") is not None:
        if not isinstance(value["accumulate"], str):
            raise ValueError(f"a profile's accumulate is the name of a dtype, got {shown(value['accumulate'])}")
        fields["accumulate"] = value["accumulate"]
    return Profile(**fields)
