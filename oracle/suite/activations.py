"""Activations: every class with its arguments, on ordinary, large, small and non-finite values, and at its kinks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.case.case import Case, Spec
from oracle.suite.build import apart, generator, label, layer, network_case, pairs

WHY = "the derivative is taken at this input, times the upstream gradient"
# Each elementwise class with the levels of its options and its kinks for the first level of each.
ELEMENTWISE: dict[str, tuple[dict[str, list[Any]], tuple[float, ...]]] = {
    "CELU": ({"alpha": [1.0, 0.5]}, (0.0,)),
    "ELU": ({"alpha": [1.0, 0.5]}, (0.0,)),
    "GELU": ({"approximate": ["none", "tanh"]}, ()),
    "Hardshrink": ({"lambd": [0.5, 0.1]}, (-0.5, 0.5)),
    "Hardsigmoid": ({}, (-3.0, 3.0)),
    "Hardswish": ({}, (-3.0, 3.0)),
    "Hardtanh": ({"min_val": [-1.0, -0.25], "max_val": [1.0, 0.75]}, (-1.0, 1.0)),
    "LeakyReLU": ({"negative_slope": [0.01, 0.0, 0.3, 1.5, -0.3]}, (0.0,)),
    "LogSigmoid": ({}, ()),
    "Mish": ({}, ()),
    "PReLU": ({"init": [0.25, 0.0, -0.7]}, (0.0,)),
    "ReLU": ({}, (0.0,)),
    "ReLU6": ({}, (0.0, 6.0)),
    "SELU": ({}, (0.0,)),
    "SiLU": ({}, ()),
    "Sigmoid": ({}, ()),
    "Softplus": ({"beta": [1.0, 2.0], "threshold": [20.0, 0.5]}, (20.0,)),
    "Softshrink": ({"lambd": [0.5, 0.1]}, (-0.5, 0.5)),
    "Softsign": ({}, (0.0,)),
    "Tanh": ({}, ()),
    "Tanhshrink": ({}, ()),
    "Threshold": ({"threshold": [0.125, -0.5], "value": [20.0, 0.0]}, (0.125,)),
}
COUPLED = ("Softmax", "Softmin", "LogSoftmax")


def cases() -> Iterator[Case]:
    for type, (levels, kinks) in ELEMENTWISE.items():
        for options in (
            [*pairs(levels), *(apart(levels) if len(levels) > 1 and type != "Threshold" else [])] if levels else [{}]
        ):
            yield network_case(f"activation/{type}{label(options)}", WHY, [layer(type, **options)], (4, 3, 5))
        first = {name: values[0] for name, values in levels.items()}
        yield from values_on_purpose(type, first, kinks)
    for channels in (1, 3):
        yield network_case(
            f"activation/PReLU,num_parameters={channels}",
            "the slope's gradient sums over all elements that share it",
            [layer("PReLU", num_parameters=channels)],
            (4, 3, 5),
        )
    for dim in (-1, 0, 1):
        yield network_case(
            f"activation/GLU,dim={dim}", "one half of the input gates the other half", [layer("GLU", dim)], (4, 6, 2)
        )
    yield from coupled()


def values_on_purpose(type: str, options: dict[str, Any], kinks: tuple[float, ...]) -> Iterator[Case]:
    spec = layer(type, **options)
    name = f"activation/{type},large"
    yield network_case(
        name,
        "large arguments saturate; nothing overflows",
        [spec],
        inputs=(generator(name).standard_normal((6, 7)) * 30,),
        tags=("extreme",),
    )
    name = f"activation/{type},tiny"
    yield network_case(
        name,
        "near zero no digits are lost to avoidable cancellation",
        [spec],
        inputs=(generator(name).standard_normal((6, 7)) * 1e-6,),
        tags=("extreme",),
    )
    yield network_case(
        f"nonfinite/{type}",
        "NaN and infinities give torch's outputs and gradients",
        [spec],
        # 64 elements: kernels treat the last few that do not fill a vector register on their own, and NaN differently there.
        inputs=(np.tile(np.array([np.nan, np.inf, -np.inf, 1.0, 0.5, -0.5, 2.0, np.nan]), (8, 1)),),
        tags=("non-finite",),
    )
    if kinks:
        around = sorted({value for kink in kinks for value in (kink - 0.25, kink, kink + 0.25, -kink)})
        yield network_case(
            f"kink/{type}",
            "the derivative at exactly the kink is the one that torch takes",
            [spec],
            inputs=(np.tile(np.array(around), (3, 1)),),
            tags=("kink",),
        )


def coupled() -> Iterator[Case]:
    why = "the sum over the dimension couples all of its elements"
    for type in COUPLED:
        for dim in (None, 0, 1, -1):
            yield network_case(f"activation/{type},dim={dim}", why, [layer(type, dim)], (4, 3, 5))
        name = f"activation/{type},large"
        large = generator(name).standard_normal((6, 7)) * 30
        yield network_case(name, "nothing overflows", [layer(type, -1)], inputs=(large,), tags=("extreme",))
        infinite = np.array([[0.0, -np.inf, 1.0], [np.nan, 0.0, 1.0], [-np.inf, -np.inf, 2.0]])
        yield network_case(
            f"nonfinite/{type}",
            "a logit of minus infinity has probability zero",
            [Spec(type, {"dim": -1})],
            inputs=(infinite,),
            tags=("non-finite",),
        )
    for shape in ((2, 3, 4, 5), (3, 4, 5)):
        size = "x".join(map(str, shape))
        yield network_case(f"activation/Softmax2d,shape={size}", why, [layer("Softmax2d")], shape)
