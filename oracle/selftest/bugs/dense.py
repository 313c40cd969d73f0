"""Bugs in fully connected layers: transposes, reductions over the batch, precision, and state that is not cleared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from oracle.case.arrays import Array, laid_out
from oracle.selftest.bugs.bug import Bug, in_layer, with_layer
from oracle.selftest.changes import (
    accumulated,
    batch_reversed,
    factor,
    in_bits,
    last_lost,
    last_sample_lost,
    negated,
    one_element_off,
    read_as_contiguous,
    rows,
    slightly_scaled,
    stale,
    through_half,
    through_single,
    transposed,
    upstream_ignored,
    zero,
)
from oracle.selftest.plant import Call, changed
from oracle.suite.build import layer

SQUARE, OBLONG = layer("Linear", 6, 6), layer("Linear", 6, 5)
WIDE = layer("Linear", 64, 6)
BATCH, ROWS = (7, 6), (3, 4, 6)


def bugs() -> Iterator[Bug]:
    yield from in_gradients()
    yield from in_output()
    yield from in_precision()
    yield from in_memory()


def in_gradients() -> Iterator[Bug]:
    yield in_layer("linear: weight gradient transposed", SQUARE, BATCH, weight=transposed)
    yield in_layer("linear: weight gradient averaged over the batch", OBLONG, BATCH, weight=factor(1 / 7))
    yield in_layer(
        "linear: weight gradient of the first sample only",
        OBLONG,
        BATCH,
        weight=lambda g, c: np.outer(c.grad_output[0], c.input[0]),
    )
    yield in_layer(
        "linear: weight gradient from the output", SQUARE, BATCH, weight=lambda g, c: c.grad_output.T @ c.output
    )
    yield in_layer("linear: weight gradient lacks its last column", OBLONG, BATCH, weight=last_lost(1))
    yield in_layer("linear: weight gradient, one element off", OBLONG, BATCH, weight=one_element_off)
    yield in_layer("linear: weight gradient slightly scaled", OBLONG, BATCH, weight=slightly_scaled)
    yield in_layer(
        "linear: weight gradient of 3-d input sees the last position only",
        OBLONG,
        ROWS,
        when=lambda c: c.input.ndim == 3,
        weight=lambda g, c: c.grad_output[:, -1].T @ c.input[:, -1],
    )
    yield in_layer("linear: bias gradient averaged over the batch", OBLONG, BATCH, bias=factor(1 / 7))
    yield in_layer("linear: bias gradient of the first sample only", OBLONG, BATCH, bias=lambda g, c: c.grad_output[0])
    yield in_layer("linear: bias gradient zero", OBLONG, BATCH, bias=zero)
    yield in_layer(
        "linear: bias gradient summed over one dimension of 3-d input",
        OBLONG,
        ROWS,
        bias=lambda g, c: c.grad_output[0].sum(0),
    )
    yield in_layer(
        "linear: input gradient with the weight not transposed",
        SQUARE,
        BATCH,
        grad_input=lambda g, c: c.grad_output @ c.weight.T,
    )
    yield in_layer("linear: input gradient negated", OBLONG, BATCH, grad_input=negated)
    yield in_layer("linear: input gradient ignores upstream", OBLONG, BATCH, grad_input=upstream_ignored)
    yield in_layer("linear: input gradient of the last sample lost", OBLONG, BATCH, grad_input=last_sample_lost)
    yield in_layer("linear: input gradient reversed along the batch", OBLONG, BATCH, grad_input=batch_reversed)
    yield in_layer("linear: input gradient, one element off", OBLONG, BATCH, grad_input=one_element_off)


def in_output() -> Iterator[Bug]:
    yield in_layer("linear: bias left out", OBLONG, BATCH, output=lambda y, c: y - c.layer.params["bias"])
    yield in_layer("linear: bias added twice", OBLONG, BATCH, output=lambda y, c: y + c.layer.params["bias"])
    yield in_layer(
        "linear: bias added to the first sample only",
        OBLONG,
        BATCH,
        output=lambda y, c: np.concatenate([y[:1], y[1:] - c.layer.params["bias"]]),
    )
    yield in_layer("linear: output, one element off", OBLONG, BATCH, output=one_element_off)
    yield in_layer("linear: output lacks its last unit", OBLONG, BATCH, output=last_lost(-1))


def in_precision() -> Iterator[Bug]:
    def forward(x: Array, w: Array, call: Call) -> Array:
        return np.asarray(x @ w.T + call.layer.params["bias"])

    for name, bits in (("TF32", 11), ("bfloat16", 8)):
        yield in_layer(
            f"linear: forward multiplies in {name}",
            WIDE,
            (7, 64),
            output=in_bits(bits, forward, lambda c: (c.input, c.weight)),
        )
        yield in_layer(
            f"linear: weight gradient multiplies in {name}",
            OBLONG,
            (64, 6),
            weight=in_bits(bits, lambda d, x, c: d.T @ x, lambda c: (rows(c.grad_output), rows(c.input))),
        )
        yield in_layer(
            f"linear: input gradient multiplies in {name}",
            OBLONG,
            BATCH,
            grad_input=in_bits(bits, lambda d, w, c: d @ w, lambda c: (c.grad_output, c.weight)),
        )
    yield in_layer("linear: weight gradient through float16", OBLONG, BATCH, weight=through_half)
    wide = in_layer(
        "linear: float32 inside float64",
        WIDE,
        (7, 64),
        when=lambda c: c.input.dtype == np.float64,
        output=lambda y, c: c.input.astype(np.float32) @ c.weight.T.astype(np.float32) + c.layer.params["bias"],
    )
    yield replace(wide, dtypes=("float64",))
    stored = in_layer("linear: input gradient stored in float32", OBLONG, BATCH, grad_input=through_single)
    yield replace(stored, dtypes=("float64",))


def in_memory() -> Iterator[Bug]:
    name = "linear: upstream gradient read as contiguous"
    upstream = laid_out(np.random.default_rng(3).standard_normal((7, 5)), (1, 7))
    case = with_layer(f"selftest/{name}", OBLONG, BATCH, steps=1)
    case = replace(case, layers=case.layers[:2], grad_outputs=(upstream,))
    yield Bug(name, case, changed("Linear", grad_input=read_as_contiguous))
    yield in_layer("linear: input gradient is stale on the second call", OBLONG, BATCH, grad_input=stale)
    yield in_layer("linear: output is stale on the second call", OBLONG, BATCH, output=stale)
    yield in_layer("linear: weight gradient still holds the last step's", OBLONG, BATCH, weight=accumulated)
    yield in_layer("linear: bias gradient still holds the last step's", OBLONG, BATCH, bias=accumulated)
    yield in_layer("linear: input overwritten in place", OBLONG, BATCH, output=overwrite_input)


def overwrite_input(right: Array, call: Call) -> Array:
    """The layer uses its input's memory as scratch space."""
    call.input *= 0.5
    return right
