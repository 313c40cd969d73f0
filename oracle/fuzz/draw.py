"""A random case, from its seed and number alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.case.names import is_buffer
from oracle.execution.network import LOSSES, OPTIMIZERS, Network, upstream_shape
from oracle.fuzz import data, layers, losses, networks, optimizers
from oracle.fuzz.plan import Choice
from oracle.fuzz.plan import number as number_between
from oracle.fuzz.walk import Levels, at, generator
from oracle.wording.errors import in_a_line

# Kinds of cases, in turn. Single layers come most often: they have the most classes. A network takes as long as ten of them, and
# is one case in twenty.
_LAYERS = ("layers", "losses", "layers", "optimizers", "layers", "layers", "losses", "layers", "layers")
KINDS = (*_LAYERS, "networks", *_LAYERS, "layers")
# Programs of torch, which have no class and no layers: see `programs`. They are drawn only when asked for, so that the numbers of
# all other cases stay.
PROGRAMS = "programs"
KNOWN = (*dict.fromkeys(KINDS), PROGRAMS)
WHY = "a combination that nobody chose"
COMMON: Levels = {
    "dtype": data.DTYPES,
    "data": data.KINDS,
    "magnitude": data.SIZES,
    "params": ("usual", "usual", "integers", "zeros", "large"),
    "upstream": data.KINDS,
    "upstream_size": (1.0, 1.0, 1.0, 1.0, 1.0, 1e-4, 1e3, "subnormal", "root"),
    "layout": data.LAYOUT_NAMES,
    "upstream_layout": data.LAYOUT_NAMES,
    "steps": (1, 1, 1, 2),
}


class Drawn(NamedTuple):
    """A drawn case.

    Attributes:
        refusal: the reason why refbp does not run it, or "". The case then has no upstream gradient.
    """

    case: Case
    refusal: str = ""


def named(seed: int, number: int, kinds: Iterable[str] = KINDS) -> str:
    """The name of a case. It holds all that its numbers depend on."""
    return f"fuzz/{seed}-{number}" if tuple(kinds) == KINDS else f"fuzz/{'+'.join(kinds)}-{seed}-{number}"


def turn_of(number: int, kinds: tuple[str, ...]) -> tuple[str, int]:
    """The kind of a number's case, and how many of this kind come before it."""
    lap, turn = divmod(number, len(kinds))
    kind = kinds[turn]
    return kind, lap * kinds.count(kind) + kinds[:turn].count(kind)


def drawn(seed: int, number: int, kinds: tuple[str, ...] = KINDS) -> Drawn:
    """The case of a number.

    The kind of case and the class come in turn, and the class's choices are the next point of its walk.
    """
    kind, point = turn_of(number, kinds)
    classes = CLASSES[kind]
    lap, turn = divmod(point, len(classes))
    order = generator(seed, kind, "order", lap).permutation(len(classes)).tolist()
    type, often = classes[order[turn]], classes.count(classes[order[turn]])
    before = sum(classes[own] == type for own in order[:turn])
    rng = generator(seed, number, kind)
    case, choice = MAKERS[kind](type, named(seed, number, kinds), seed, lap * often + before, rng)
    return _with_upstream(replace(case, why=WHY), choice, rng)


def _layer(type: str, name: str, seed: int, point: int, rng: np.random.Generator) -> tuple[Case, Choice]:
    plan = layers.PLANS[type]
    choice = at({**plan.levels, **COMMON, "training": plan.modes}, seed, type, point)
    options, shape = plan.make(rng, choice)
    given = data.values(rng, shape, choice["data"], choice["magnitude"], choice["dtype"])
    case = Case(
        name,
        dtype=choice["dtype"],
        layers=(Spec(type, options),),
        inputs=(data.laid_out(given, choice["layout"]),),
        training=choice["training"],
        steps=choice["steps"],
        structured=bool({choice["data"], choice["upstream"]} & data.STRUCTURED),
    )
    return case, choice


def _loss(type: str, name: str, seed: int, point: int, rng: np.random.Generator) -> tuple[Case, Choice]:
    choice = at(
        {**losses.PLANS[type].levels, **COMMON, "steps": (1,), "rescaled": (1.0, 1.0, 30.0, 1e-4)}, seed, type, point
    )
    loss = losses.made(type, rng, choice)
    bounded = type in ("BCELoss", "NLLLoss", "KLDivLoss") or (
        type == "PoissonNLLLoss" and not loss.options["log_input"]
    )
    given = loss.given if bounded else loss.given * choice["rescaled"]
    case = Case(
        name,
        dtype=choice["dtype"],
        loss=Spec(type, loss.options),
        inputs=(data.laid_out(given, choice["layout"]),),
        targets=(tuple(data.laid_out(own, choice["upstream_layout"]) for own in loss.rest),),
        structured=choice["upstream"] in data.STRUCTURED,
    )
    return case, choice


def _optimizer(type: str, name: str, seed: int, point: int, rng: np.random.Generator) -> tuple[Case, Choice]:
    choice = at({**optimizers.levels(type), "dtype": data.DTYPES, "magnitude": data.SIZES}, seed, type, point)
    shapes = optimizers.shapes(type)[choice["shape"]]
    options = optimizers.options(type, rng, choice)
    groups: tuple[dict[str, Any], ...] = ()
    if choice["grouped"]:
        groups = tuple({"params": [own], "lr": number_between(rng, 1e-3, 0.5)} for own in shapes)
    case = Case(
        name,
        dtype=choice["dtype"],
        params={own: np.asarray(rng.standard_normal(shape)) for own, shape in shapes.items()},
        grads=tuple(
            {
                own: data.values(rng, shape, choice["grads"], choice["magnitude"], choice["dtype"])
                for own, shape in shapes.items()
            }
            for _ in range(choice["steps"])
        ),
        optimizer=Spec(type, options, groups=groups),
        steps=choice["steps"],
        structured=choice["grads"] in data.STRUCTURED,
    )
    return case, choice


def _network(type: str, name: str, seed: int, point: int, rng: np.random.Generator) -> tuple[Case, Choice]:
    choice = at({**COMMON, **networks.LEVELS, "training": (True, True, False)}, seed, type, point)
    return networks.made(type, name, choice, rng), choice


def _weight(levels: Levels) -> int:
    """How often a class comes in a round: the fourth root of the number of its combinations, 27 for Conv2d and 3 for ReLU."""
    return round(math.sqrt(math.sqrt(math.prod(len(own) for own in levels.values()))))


CLASSES: dict[str, list[str]] = {
    "layers": [name for name, plan in sorted(layers.PLANS.items()) for _ in range(_weight(plan.levels))],
    "losses": sorted(LOSSES),
    "optimizers": sorted(OPTIMIZERS),
    "networks": list(networks.KINDS),
}
MAKERS: dict[str, Callable[[str, str, int, int, np.random.Generator], tuple[Case, Choice]]] = {
    "layers": _layer,
    "losses": _loss,
    "optimizers": _optimizer,
    "networks": _network,
}


def _with_upstream(case: Case, choice: Choice, rng: np.random.Generator) -> Drawn:
    """The case with parameters and an upstream gradient, in its dtype."""
    try:
        if not case.grads:
            case = replace(case, params=_params(case, choice, rng))
            shape = upstream_shape(case)
            if case.loss is None or shape:
                upstream = data.values(rng, shape, choice["upstream"], choice["upstream_size"], case.dtype)
                case = case.with_upstream(data.laid_out(upstream, choice["upstream_layout"]))
    except (ValueError, IndexError, ZeroDivisionError) as error:
        return Drawn(case.astype(case.dtype), in_a_line(error))
    return Drawn(case.astype(case.dtype))


def _params(case: Case, choice: Choice, rng: np.random.Generator) -> dict[str, Array]:
    """Parameters of a network, by kind: torch's own distribution of either sign, integers, zeros, or large numbers."""
    found: dict[str, Array] = {}
    for _, own, short, full in Network(case).state():
        value = np.asarray(own[short], np.float64) if own[short].dtype.kind == "f" else own[short]
        if value.dtype.kind in "biu":
            found[full] = value
        elif is_buffer(full):
            found[full] = rng.uniform(0.5, 2, value.shape) if "var" in short else rng.standard_normal(value.shape)
        elif choice["params"] == "usual":
            spread = max(float(np.std(value)) if value.size else 0.0, 0.1)
            found[full] = value + spread * rng.standard_normal(value.shape)
        else:
            kind, factor = {"integers": ("integers", 1.0), "zeros": ("zeros", 1.0), "large": ("normal", 30.0)}[
                choice["params"]
            ]
            found[full] = data.values(rng, value.shape, kind, factor, case.dtype)
    return found
