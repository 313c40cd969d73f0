"""How the suite's cases get their numbers: drawn from a generator seeded by the case's name, at build time."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from allpairspy import AllPairs

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.execution.network import LAYERS, Network, upstream_shape

Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]


def generator(name: str) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(name.encode()))


def normal(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Small integers: sums and products of them are exact in every precision."""
    return rng.integers(-4, 5, shape).astype(np.float64)


def probabilities(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.uniform(0.05, 0.95, shape)


def layer(type: str, *args: Any, name: str = "", layers: Sequence[Spec] = (), **options: Any) -> Spec:
    """A layer's spec; positional arguments are named as in refbp's constructor."""
    return Spec(type, {**_named(type, args), **options}, name, tuple(layers))


def _named(type: str, args: tuple[Any, ...]) -> dict[str, Any]:
    if not args:
        return {}
    return dict(inspect.signature(LAYERS[type]).bind_partial(*args).arguments)


def network_case(
    name: str,
    why: str,
    layers: Sequence[Spec],
    shape: tuple[int, ...] | None = None,
    *,
    inputs: tuple[Array, ...] = (),
    loss: Spec | None = None,
    targets: tuple[tuple[Array, ...], ...] = (),
    optimizer: Spec | None = None,
    draw: Draw = normal,
    draw_params: Draw | None = None,
    **fields: Any,
) -> Case:
    """A case with random inputs, parameters and upstream gradient, except for those that are given.

    Args:
        shape: the shape of the input, which `draw` draws unless `inputs` are given.
        targets: the targets of the loss.
        draw_params: draws all parameters; None for torch's initial distribution, perturbed so that no weight is one and no bias
            zero.
    """
    rng = generator(name)
    if not inputs:
        assert shape is not None
        inputs = (draw(rng, shape),)
    case = Case(
        name, why, layers=tuple(layers), inputs=inputs, loss=loss, targets=targets, optimizer=optimizer, **fields
    )
    params: dict[str, Array] = {}
    for _, own, short, full in Network(case).state():
        value = own[short]
        if value.dtype.kind in "biu":
            params[full] = value
        elif draw_params is not None:
            params[full] = draw_params(rng, value.shape)
        elif short.startswith("running_var"):
            params[full] = rng.uniform(0.5, 2, value.shape)
        else:
            spread = max(float(np.std(value)), 0.1)
            params[full] = value + spread * rng.standard_normal(value.shape)
    case = replace(case, params=params)
    if loss is None or loss.options.get("reduction") == "none":
        case = replace(case, grad_outputs=(draw(rng, upstream_shape(case)),))
    return case


def pairs(
    levels: Mapping[str, Sequence[Any]], valid: Callable[[dict[str, Any]], bool] = lambda _: True
) -> Iterator[dict[str, Any]]:
    """Combinations of options in which every pair of values of two options occurs at least once.

    `valid` says which (partial) combinations can be built; the first value of each option is its default.
    """
    names = list(levels)
    if len(names) == 1:
        yield from ({names[0]: level} for level in levels[names[0]])
        return

    def accepted(row: list[Any]) -> bool:
        return valid(dict(zip(names, row, strict=False)))

    for row in AllPairs([list(levels[name]) for name in names], filter_func=accepted):
        yield dict(zip(names, row, strict=True))


def apart(
    levels: Mapping[str, Sequence[Any]], valid: Callable[[dict[str, Any]], bool] = lambda _: True
) -> Iterator[dict[str, Any]]:
    """Combinations with a single option that is not at its default: every value of every option, as far as it can be built."""
    for name, (_, *others) in levels.items():
        yield from ({name: level} for level in others if valid({name: level}))


def label(options: Mapping[str, Any]) -> str:
    """Options as part of a case's name."""

    def text(value: Any) -> str:
        return "x".join(map(text, value)) if isinstance(value, (tuple, list)) else str(value)

    return "".join(f",{key}={text(value)}" for key, value in options.items())
