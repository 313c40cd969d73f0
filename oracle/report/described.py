"""A description of a case from its specs, which a report keeps because a user's own case is not stored anywhere else."""

from __future__ import annotations

from dataclasses import dataclass

from oracle.case.case import Case, Spec, named_layers
from oracle.wording.errors import visible

# A list of numbers among the options may be long.
LONGEST_OPTION = 60


@dataclass(frozen=True)
class Described:
    """A case without its arrays.

    Attributes:
        why: what the case tests.
        layers: the name of each layer, and its options.
        loss, optimizer: class and options; empty if there is none.
    """

    why: str
    layers: tuple[tuple[str, str], ...]
    loss: str
    optimizer: str


def described(case: Case) -> Described:
    layers = tuple((visible(name), _options(spec)) for name, spec in named_layers(case.layers))
    return Described(visible(case.why), layers, _whole(case.loss), _whole(case.optimizer))


def _whole(spec: Spec | None) -> str:
    return "" if spec is None else f"{visible(spec.type)}({_options(spec)})"


def _options(spec: Spec) -> str:
    said = [f"the layer {spec.same_as} again"] if spec.same_as else []
    said += [f"{name}={_short(value)}" for name, value in spec.options.items()]
    said += [f"group {number}: {_short(dict(group))}" for number, group in enumerate(spec.groups)]
    return visible(", ".join(said))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_OPTION else f"{text[: LONGEST_OPTION - 1]}…"
