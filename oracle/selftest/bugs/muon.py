"""Bugs in Muon: ignored options, and steps whose decay, momentum or singular values are others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from oracle.selftest.bugs.bug import Bug
from oracle.selftest.bugs.optimizers import ignored, rule
from refbp.muon import COEFFICIENTS

# The options of the case, the name of the ignored option, the value that is used instead, and the first wrong quantity.
IGNORED: tuple[tuple[dict[str, Any], str, Any, str], ...] = (
    ({"lr": 0.3}, "lr", 1e-3, "param.weight"),
    ({"lr": 0.1, "weight_decay": 0.9}, "weight_decay", 0.1, "param.weight"),
    ({"lr": 0.1, "momentum": 0.5}, "momentum", 0.95, "momentum.weight"),
    ({"lr": 0.1, "nesterov": False}, "nesterov", True, "param.weight"),
    ({"lr": 0.1, "ns_coefficients": (2.0, -1.5, 0.5), "ns_steps": 2}, "ns_coefficients", COEFFICIENTS, "param.weight"),
    ({"lr": 0.1, "ns_steps": 0}, "ns_steps", 5, "param.weight"),
    ({"lr": 0.1, "eps": 5000.0}, "eps", 1e-7, "param.weight"),
    ({"lr": 0.1, "adjust_lr_fn": "match_rms_adamw"}, "adjust_lr_fn", None, "param.weight"),
)


def bugs() -> Iterator[Bug]:
    for options, option, taken, quantity in IGNORED:
        yield ignored(f"Muon: {option} {taken} for {options[option]}", "Muon", options, quantity, **{option: taken})
    lr = {"lr": 0.1}
    yield rule("Muon: along the momentum itself", "Muon", lr, along_the_momentum)
    yield rule("Muon: the momentum as a sum", "Muon", lr, summed, "momentum.weight")
    yield rule("Muon: state begun anew", "Muon", lr, lambda op: lambda p, g, *s, **o: op(p, g, **o), "momentum.weight")
    yield rule(
        "Muon: the parameter for its gradient",
        "Muon",
        lr,
        lambda op: lambda p, g, *s, **o: op(p, p, *s, **o),
        "momentum.weight",
    )
    decay = {"lr": 0.1, "weight_decay": 0.9}
    yield rule(
        "Muon: decay in the gradient",
        "Muon",
        decay,
        lambda op: lambda p, g, *s, weight_decay, **o: op(p, g + weight_decay * p, *s, weight_decay=0.0, **o),
        "momentum.weight",
    )
    yield rule(
        "Muon: decay not scaled by the rate",
        "Muon",
        decay,
        lambda op: lambda p, g, *s, weight_decay, **o: op((1 - weight_decay) * p, g, *s, weight_decay=0.0, **o),
    )


def along_the_momentum(op: Any) -> Any:
    def wrong(p: Any, g: Any, *s: Any, **o: Any) -> Any:
        _, v = op(p, g, *s, **o)
        return (1 - o["lr"] * o["weight_decay"]) * p - o["lr"] * (g + o["momentum"] * (v - g)), v

    return wrong


def summed(op: Any) -> Any:
    def wrong(p: Any, g: Any, v: Any = None, **o: Any) -> Any:
        v = o["momentum"] * (np.zeros_like(p) if v is None else v) + g
        new, _ = op(p, g + o["momentum"] * v, None, **{**o, "momentum": 0.0, "nesterov": False})
        return new, v

    return wrong
