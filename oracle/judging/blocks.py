"""Judges a large layer in blocks of samples, features or channels, so that the memory for it does not grow with the layer.

Each block is a smaller layer of the same class with the same numbers, so its errors are the same too. Only its figures are kept.
If an element is outside its tolerance, the layer is judged once more as a whole, to say what is wrong.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from oracle.case.case import Case, Spec
from oracle.execution.network import LAYERS
from oracle.judging.comparison import Bench, Comparison, is_judged
from oracle.judging.figures import Figures, gather
from oracle.judging.parts import Part
from oracle.judging.rows import Row
from oracle.judging.verdict import within
from oracle.running_error import ErrorArray
from oracle.running_error.orders import parts_of
from oracle.trace import Key
from refbp.activations import Activation

# The elements of a block of an input, and the size from which an input is judged in blocks. The same for a weight: its blocks are
# larger, since each costs more.
BLOCK, LARGE = 2**17, 2**19
WEIGHT_BLOCK, LARGE_WEIGHT = 2**19, 2**22
POOLS = ("MaxPool", "AvgPool", "LPPool")
NORMS = ("BatchNorm", "InstanceNorm")  # of each channel by itself

Index = tuple[slice, ...]
ALL = slice(None)


@dataclass(frozen=True)
class Block:
    """A part of a layer, as a smaller layer.

    Attributes:
        case: the case of the smaller layer.
        index: the quantities that it shares with the whole layer, and where they stand in the whole.
    """

    case: Case
    index: Mapping[str, Index]


def rows_in_blocks(part: Part, bench: Bench) -> list[Row] | None:
    """The rows of a large layer whose elements are all within their tolerance; None for any other part."""
    if bench.end_to_end or bench.reference is not None:
        return None
    found: dict[Key, Figures | None] = {}
    for block in blocks_of(part.case):
        compared = Comparison(replace(part, case=block.case), bench)
        if compared.normwise or not _added(found, compared, block):
            return None
    made = [_row(key, own, part, bench) for key, own in found.items()]
    rows = [row for row in made if row is not None]
    return rows if len(rows) == len(made) > 0 else None


def _added(found: dict[Key, Figures | None], compared: Comparison, block: Block) -> bool:
    """Adds the figures of a block; a count that is compared exactly has none. False if only the whole layer can be judged."""
    for key, prediction in compared.predicted.items():
        index = block.index.get(key.quantity)
        if index is None or not is_judged(key, compared.part, compared.bench):
            continue
        whole = compared.bench.trace.get(compared.bench.blank.step, compared.part.names[key.layer], key.quantity)
        if whole is None or whole.ndim < len(index):
            return False
        got = whole[index]
        if not isinstance(prediction, ErrorArray):
            if not np.array_equal(got, prediction):
                return False
            found[key] = None
            continue
        figures = found.setdefault(key, Figures())
        if figures is None or got.shape != prediction.shape:
            return False
        if not np.isfinite(prediction.error_or_zero.statistical).all():
            return False
        first = [0] * got.ndim
        first[: len(index)] = [along.start or 0 for along in index]
        with np.errstate(all="ignore"):
            gather(figures, got, compared.expected(key), tuple(first))
        if figures.n_outside:
            return False
    return True


def _row(key: Key, figures: Figures | None, part: Part, bench: Bench) -> Row | None:
    row = bench.row(part.names[key.layer], key.quantity)
    if figures is None:
        return row
    got = bench.trace.get(row.step, row.layer, key.quantity)
    assert got is not None
    with np.errstate(all="ignore"):
        return within(row, got, figures)


def blocks_of(case: Case) -> Iterator[Block]:
    """The blocks of a large layer; none for a case of any other kind."""
    if len(case.layers) != 1 or case.steps != 1 or case.masks or len(case.inputs) != 1 or len(case.grad_outputs) > 1:
        return
    (spec,), (x,) = case.layers, case.inputs
    rank = int(spec.type[-2]) if spec.type[-1:] == "d" and spec.type[-2:-1].isdigit() else 0
    if (issubclass(LAYERS[spec.type], Activation) and not case.params) or (
        spec.type.startswith(POOLS) and x.ndim == rank + 2
    ):
        yield from _by_sample(case)
    elif spec.type.startswith(NORMS) and x.ndim in (rank + 2, 2 if spec.type == "BatchNorm1d" else 0):
        yield from _by_channel(case, spec)
    elif (spec.type == "Linear" and x.ndim >= 2) or (spec.type.startswith("Conv") and _is_linear(case, spec, rank)):
        yield from _by_feature(case, spec)


def cut(size: int, each: int, most: int) -> list[slice]:
    """Blocks of range(size). Each position stands for `each` elements, and a block has at most `most` elements."""
    step = max(1, most // max(1, each))
    return [slice(first, min(first + step, size)) for first in range(0, size, step)]


def _by_sample(case: Case) -> Iterator[Block]:
    (x,) = case.inputs
    if x.size < LARGE or x.ndim < 2 or any(len(grad) != len(x) for grad in case.grad_outputs):
        return
    for own in cut(len(x), x.size // len(x), BLOCK):
        grads = tuple(grad[own] for grad in case.grad_outputs)
        yield Block(replace(case, inputs=(x[own],), grad_outputs=grads), {"output": (own,), "grad_input": (own,)})


def _by_channel(case: Case, spec: Spec) -> Iterator[Block]:
    (x,), size = case.inputs, case.inputs[0].shape[1]
    if x.size < LARGE or np.dtype(case.dtype).itemsize < 4:
        return
    for own in cut(size, x.size // size, BLOCK):
        of_channels = {name: value[own] if value.ndim else value for name, value in case.params.items()}
        options = {**spec.options, "num_features": own.stop - own.start}
        quantities = (f"{kind}.{name.rpartition('.')[2]}" for name in of_channels for kind in ("grad", "buffer"))
        index: dict[str, Index] = dict.fromkeys(quantities, (own,))
        index |= {"output": (ALL, own), "grad_input": (ALL, own), "buffer.num_batches_tracked": ()}
        yield Block(
            replace(
                case,
                layers=(replace(spec, options=options),),
                params=of_channels,
                inputs=(x[:, own],),
                grad_outputs=tuple(grad[:, own] for grad in case.grad_outputs),
            ),
            index,
        )


def _is_linear(case: Case, spec: Spec, rank: int) -> bool:
    """Whether a convolution has a single window, which is the whole input."""
    (x,), weight, options = case.inputs, case.params["layer.weight"], spec.options
    whole = x.ndim == rank + 2 and weight.ndim == x.ndim and x.shape[1:] == weight.shape[1:]
    return whole and options.get("padding", 0) in (0, (0,) * rank) and not spec.type.startswith("ConvTranspose")


def _by_feature(case: Case, spec: Spec) -> Iterator[Block]:
    """Blocks of output features for the output, and of input features for the gradients: each number is a sum over the other
    kind."""
    (x,), weight = case.inputs, case.params["layer.weight"]
    if weight.size < LARGE_WEIGHT or np.dtype(case.dtype).itemsize < 4:
        return
    is_conv = spec.type != "Linear"
    channels, samples = x.ndim - 1 if not is_conv else 1, x.size // max(1, math.prod(weight.shape[1:]))
    n_in, n_out = weight.shape[1], weight.shape[0]
    taps = weight[0].size // n_in
    names = ("in_channels", "out_channels") if is_conv else ("in_features", "out_features")
    outs, ins = cut(n_out, n_in * taps, WEIGHT_BLOCK), cut(n_in, n_out * taps, WEIGHT_BLOCK)
    if not _are_alike(n_out, n_in * taps, samples, outs, [slice(own.start * taps, own.stop * taps) for own in ins]):
        return
    for own in outs:
        options = {**spec.options, names[1]: own.stop - own.start}
        params = {name: value[own] for name, value in case.params.items()}
        of_output: Index = (*(ALL,) * channels, own)
        yield Block(
            replace(case, layers=(replace(spec, options=options),), params=params, grad_outputs=()),
            {"output": of_output},
        )
    for own in ins if case.grad_outputs else ():
        of_input: Index = (*(ALL,) * channels, own)
        options = {**spec.options, names[0]: own.stop - own.start}
        params = {**case.params, "layer.weight": weight[:, own]}
        index: dict[str, Index] = {"grad.weight": (ALL, own), "grad_input": of_input}
        if not own.start:
            index["grad.bias"] = ()
        yield Block(
            replace(case, layers=(replace(spec, options=options),), params=params, inputs=(x[of_input],)), index
        )


def _are_alike(n_out: int, n_in: int, samples: int, outs: list[slice], ins: list[slice]) -> bool:
    """Whether a block's sums are split into as many partial sums as those of the whole layer, so that the errors are the same."""

    def alike(terms: int, fixed: int, whole: int, blocks: list[slice]) -> bool:
        sizes = (whole, *(own.stop - own.start for own in blocks))
        return len({parts_of(terms * (fixed + own), fixed * own, terms) for own in sizes}) == 1

    return alike(n_in, samples, n_out, outs) and alike(n_out, samples, n_in, ins) and alike(samples, n_out, n_in, ins)
