"""Random networks: nested containers, branches, layers that stand twice, a loss, and an optimizer over some steps."""

from __future__ import annotations

from typing import Any

import numpy as np

from oracle.case.case import Case, Spec
from oracle.fuzz import data, optimizers
from oracle.fuzz.plan import Choice, number
from oracle.fuzz.walk import Levels
from oracle.suite.build import layer
from oracle.suite.optimizers import LEVELS as USUAL

KINDS = ("rows", "images")
LEVELS: Levels = {
    "depth": (2, 3, 5),
    "loss": ("none", "MSELoss", "CrossEntropyLoss", "SmoothL1Loss"),
    "reduction": ("mean", "sum"),
    "optimizer": ("none", "SGD", "Adam", "AdamW", "RMSprop"),
    "network_steps": (1, 1, 2),
    "batch_size": (1, 2, 5),
    "data": ("normal", "sparse", "constant", "integers", "sorted", "near ties"),
    "magnitude": (1.0, 1.0, 1e-3, 30.0),
    "upstream_size": (1.0, 1e-3),
    "params": ("usual", "usual", "usual", "integers"),
    "dtype": ("float32", "float64"),
}
ACTIVATIONS = ("ReLU", "GELU", "Tanh", "SiLU", "LeakyReLU", "Softplus", "ELU", "Hardswish", "Sigmoid", "Mish")


def made(kind: str, name: str, choice: Choice, rng: np.random.Generator) -> Case:
    """A network of the kind, on a batch of its own."""
    width = int(rng.integers(2, 6))
    rest = (width,) if kind == "rows" else (width, *(int(own) for own in rng.integers(4, 9, 2)))
    body = _body(kind, width, choice["depth"], rng)
    if choice["depth"] > 2 and rng.random() < 0.4:  # one of the parameterised layers stands again at the end
        owners = [
            own
            for own in body
            if own.type in ("Linear", "Conv2d", "LayerNorm", "BatchNorm2d", "PReLU") and "_down" not in own.name
        ]
        body += [Spec(own.type, own.options, f"{own.name}_again", same_as=own.name) for own in owners[:1]]
    classes = int(rng.integers(2, 5))
    if kind == "images":
        body += [layer("AdaptiveAvgPool2d", 1, name="pool"), layer("Flatten", name="flatten")]
    body.append(layer("Linear", width, classes, name="head"))
    steps = choice["network_steps"]
    given = [
        data.values(rng, (choice["batch_size"], *rest), choice["data"], choice["magnitude"], choice["dtype"])
        for _ in range(steps)
    ]
    loss, optimizer = choice["loss"], choice["optimizer"]
    targets: tuple[tuple[Any, ...], ...] = ()
    if loss == "CrossEntropyLoss":
        targets = ((rng.integers(0, classes, choice["batch_size"]),),)
    elif loss != "none":
        targets = ((rng.standard_normal((choice["batch_size"], classes)),),)
    made_by = None
    if optimizer != "none":
        own = {name: str(rng.choice(["usual", "other", "drawn"])) for name in USUAL[optimizer]}
        made_by = Spec(optimizer, optimizers.options(optimizer, rng, own))
    return Case(
        name,
        dtype=choice["dtype"],
        layers=tuple(body),
        inputs=tuple(data.laid_out(array, choice["layout"]) for array in given),
        loss=None if loss == "none" else Spec(loss, {"reduction": choice["reduction"]}),
        targets=targets,
        optimizer=made_by,
        training=choice["training"],
        steps=steps,
        structured=choice["data"] in data.STRUCTURED,
    )


def _body(kind: str, width: int, depth: int, rng: np.random.Generator, prefix: str = "layer") -> list[Spec]:
    """Layers that keep the width, and of images the sides."""
    found: list[Spec] = []
    while len(found) < depth:
        name = f"{prefix}{len(found)}"
        draw = rng.random()
        if draw < 0.35:
            found.append(_weighted(kind, width, name, rng))
        elif draw < 0.6:
            found.append(layer(str(rng.choice(ACTIVATIONS)), name=name))
        elif draw < 0.75:
            found.append(_norm(kind, width, name, rng))
        elif draw < 0.8 and depth > 1:
            found.append(layer("Dropout", number(rng, 0.1, 0.6), name=name))
        elif depth > 1:
            inner = Spec("Sequential", {}, "body", tuple(_body(kind, width, depth // 2, rng, "inner")))
            if rng.random() < 0.6:
                found.append(Spec("Residual", {}, name, (inner,)))
            else:  # two branches side by side, and back to the width
                other = _weighted(kind, width, "other", rng)
                found.append(Spec("Concat", {"dim": 1}, name, (inner, other)))
                found.append(_projected(kind, width, f"{name}_down"))
    return found


def _projected(kind: str, width: int, name: str) -> Spec:
    if kind == "rows":
        return layer("Linear", 2 * width, width, name=name)
    return layer("Conv2d", 2 * width, width, 1, name=name)


def _weighted(kind: str, width: int, name: str, rng: np.random.Generator) -> Spec:
    bias = bool(rng.random() < 0.7)
    if kind == "rows":
        return layer("Linear", width, width, bias=bias, name=name)
    groups = width if rng.random() < 0.3 else 1
    return layer("Conv2d", width, width, 3, padding=1, groups=groups, bias=bias, name=name)


def _norm(kind: str, width: int, name: str, rng: np.random.Generator) -> Spec:
    if kind == "rows":
        return layer("LayerNorm", (width,), name=name) if rng.random() < 0.5 else layer("BatchNorm1d", width, name=name)
    return layer("BatchNorm2d", width, name=name) if rng.random() < 0.6 else layer("GroupNorm", 1, width, name=name)
