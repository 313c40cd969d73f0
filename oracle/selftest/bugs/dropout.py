"""Bugs in dropout: its mask, its scale, and when it drops."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from oracle.selftest.bugs.bug import Bug, in_layer, with_layer
from oracle.selftest.changes import factor, passed_through, slightly_scaled
from oracle.selftest.plant import patched
from oracle.suite.build import layer


def bugs() -> Iterator[Bug]:
    drop = layer("Dropout", 0.3)
    mask = np.random.default_rng(17).random((5, 8)) > 0.3
    masked = {"masks": {"target": mask}}
    yield in_layer("Dropout: scale lost backward", drop, (5, 8), fields=masked, grad_input=factor(0.7))
    yield in_layer("Dropout: mask lost backward", drop, (5, 8), fields=masked, grad_input=passed_through)
    yield in_layer(
        "Dropout: another mask backward",
        drop,
        (5, 8),
        fields=masked,
        grad_input=lambda g, c: np.where(mask[::-1], c.grad_output / 0.7, 0),
    )
    yield in_layer("Dropout: scaled by p", drop, (5, 8), fields=masked, output=lambda y, c: y * 0.7 / 0.3)
    yield in_layer("Dropout: not scaled", drop, (5, 8), fields=masked, output=factor(0.7))
    yield in_layer(
        "Dropout: still drops in evaluation",
        drop,
        (5, 8),
        fields={"training": False},
        output=lambda y, c: np.where(mask, y, 0),
    )
    yield in_layer(
        "Dropout: slightly wrong in evaluation only",
        drop,
        (5, 8),
        when=lambda c: not c.layer.training,
        fields={"training": False},
        grad_input=slightly_scaled,
    )
    alpha = layer("AlphaDropout", 0.3)
    yield in_layer(
        "AlphaDropout: gain lost backward",
        alpha,
        (5, 8),
        fields=masked,
        grad_input=lambda g, c: np.where(mask, c.grad_output, 0),
    )
    yield in_layer("AlphaDropout: shift lost", alpha, (5, 8), fields=masked, output=lambda y, c: np.where(mask, y, 0))
    for name, wrong in (
        ("keeps a share p", lambda op: lambda shape, p, rng: op(shape, 1 - p, rng)),
        ("drops nothing", lambda op: lambda shape, p, rng: op(shape, 0.0, rng)),
    ):
        full = f"Dropout: {name}"
        case = with_layer(f"selftest/{full}", drop, (40, 50))
        yield Bug(full, case, patched("refbp.dropout:kept", wrong), quantity="mask")
    name = "Dropout2d: drops positions instead of channels"
    case = with_layer(f"selftest/{name}", layer("Dropout2d", 0.5), (4, 5, 6, 6))
    yield Bug(
        name,
        case,
        patched("refbp.dropout:_by_channel", lambda op: lambda input, rank, name: input.shape),
        quantity="mask",
    )
