"""Smaller programs, whose results are some elements of a program's exactly."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import torch

from oracle.modules.sampled.draws import Cells, Draw, Shape, Take
from oracle.modules.sampled.plans import DRAWN, READ, WORK
from oracle.modules.sampled.sampler import BY_CHANNELS, Sampler, is_alone
from oracle.programs.program import Call, Program, Ref, refs

# Rules that treat each sample and channel alone, rules that work along one axis, and sums.
BY_PLANES = (
    *("max_pool2d_with_indices", "avg_pool2d", "_adaptive_avg_pool2d", "upsample_nearest2d", "upsample_bilinear2d"),
    *("upsample_bicubic2d", "reflection_pad2d", "replication_pad2d", "_upsample_nearest_exact2d"),
)
ALONG = ("_softmax", "_log_softmax", "_safe_softmax", "softmax", "log_softmax", "cat", "concat", "cumsum")
REDUCED = ("sum", "mean")


@dataclass(frozen=True)
class Smaller:
    """A smaller program.

    Attributes:
        calls: its calls; None if they are those of the program.
        takes: for each value that the program reads, the part that it is.
        outputs: for each output the elements that the smaller program's are.
        gradients: the same of each input's gradient.
        recorded: the part of recorded results, which rules of random numbers read; None if there are none.
        only: the values that are judged with it: outputs, and inputs for their gradients; None for all.
    """

    takes: Mapping[int, Take]
    outputs: Mapping[int, Draw]
    gradients: Mapping[int, Draw]
    calls: tuple[Call, ...] | None = None
    recorded: Take | None = None
    only: frozenset[int] | None = None


@dataclass(frozen=True)
class Expanded:
    """Elements of a tensor that is broadcast."""

    drawn: Draw
    shape: Shape

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        return self.drawn.of(tensor.expand(self.shape))

    def shape_of(self, shape: Shape) -> Shape:
        return self.drawn.shape_of(self.shape)


@dataclass(frozen=True)
class Shaped:
    """A program with the shapes of its values, as far as they are recorded, and the generator of its place."""

    program: Program
    shapes: Mapping[int, Shape]
    sampler: Sampler
    rng: np.random.Generator = field(repr=False)

    @classmethod
    def of(cls, program: Program, outputs: Sequence[Shape], sampler: Sampler, place: str) -> Shaped:
        shapes = {value: held.shape for value, held in [*program.inputs, *program.constants.items()]}
        shapes |= dict(zip(program.outputs, outputs, strict=True))
        return cls(program, shapes, sampler, sampler.generator(place))

    @property
    def inputs(self) -> list[int]:
        return [value for value, _ in self.program.inputs]

    @property
    def read(self) -> list[int]:
        """The inputs and constants that a call reads."""
        used = {ref.value for call in self.program.calls for ref in refs((call.args, call.kwargs))}
        return [own for own in [*self.inputs, *self.program.constants] if own in used or own in self.inputs]

    def all_by(self, drawn: Draw, calls: tuple[Call, ...] | None = None, out: Draw | None = None) -> Smaller:
        """The program with the same elements of each value; of the outputs those of `out`, if they differ."""
        return Smaller(
            dict.fromkeys(self.read, drawn),
            dict.fromkeys(self.program.outputs, drawn if out is None else out),
            dict.fromkeys(self.inputs, drawn),
            calls,
        )


Cutter: TypeAlias = Callable[[Shaped], "list[Smaller] | None"]


def smaller(shaped: Shaped) -> list[Smaller] | None:
    """The smaller programs of a program; None if it has none."""
    calls = shaped.program.calls
    names = {call.name.partition(".")[0] for call in calls}
    if all(map(is_alone, names)):
        return _element_by_element(shaped)
    if len(calls) != 1:
        return None
    (name,) = names
    cutter = CUTTERS.get(name)
    return None if cutter is None else cutter(shaped)


def _element_by_element(shaped: Shaped) -> list[Smaller] | None:
    outputs = {shaped.shapes[own] for own in shaped.program.outputs}
    if len(outputs) != 1:
        return None
    (shape,) = outputs
    given = {value: (1,) * (len(shape) - len(own)) + own for value, own in shaped.shapes.items()}
    if any(len(own) > len(shape) or not _broadcasts(own, shape) for own in given.values()):
        return None
    inputs = shaped.inputs
    summed = [axis for axis, size in enumerate(shape) if any(given[own][axis] != size for own in inputs)]
    if not summed:
        drawn = shaped.sampler.points(shape)
        takes: dict[int, Take] = {
            own: drawn if shaped.shapes[own] == shape else Expanded(drawn, shape) for own in shaped.read
        }
        outputs_of = dict.fromkeys(shaped.program.outputs, drawn)
        return [Smaller(takes, outputs_of, dict.fromkeys(inputs, drawn), recorded=Expanded(drawn, shape))]
    lacking = max(len(shape) - len(shaped.shapes[own]) for own in inputs)
    kept = [axis for axis in range(lacking, len(shape)) if axis not in summed]
    if not kept:
        return None
    count = max(1, DRAWN // math.prod(size for axis, size in enumerate(shape) if axis not in kept))
    cells = Cells.drawn(shaped.rng, kept, shape, count)
    whole = Draw((cells,))
    parts = {own: _without(cells, len(shape) - len(shaped.shapes[own])) for own in inputs}
    takes = {own: parts[own] if own in parts else Expanded(whole, shape) for own in shaped.read}
    return [Smaller(takes, dict.fromkeys(shaped.program.outputs, whole), parts, recorded=Expanded(whole, shape))]


def _without(cells: Cells, missing: int) -> Draw:
    """The same cells of a tensor that lacks the first axes."""
    return Draw((replace(cells, axes=tuple(axis - missing for axis in cells.axes)),))


def _broadcasts(own: Shape, shape: Shape) -> bool:
    return all(size in (1, whole) for size, whole in zip(own, shape, strict=True))


def _by_planes(shaped: Shaped) -> list[Smaller] | None:
    """Channels of samples."""
    (value,), (out,) = shaped.inputs, set(shaped.program.outputs[:1])
    shape = shaped.shapes[value]
    if len(shape) != 4 or len(shaped.shapes[out]) != 4:
        return None
    count = max(1, DRAWN // math.prod(shape[2:]))
    return [shaped.all_by(Draw((Cells.drawn(shaped.rng, (0, 1), shape, count),), (1,)))]


def _along_an_axis(shaped: Shaped) -> list[Smaller] | None:
    """Rows along the axis of a softmax, or of what is joined."""
    (call,) = shaped.program.calls
    dim = call.args[1] if len(call.args) > 1 else call.kwargs.get("dim", 0)
    shapes = [shaped.shapes[own] for own in shaped.read]
    if not isinstance(dim, int) or len({len(own) for own in shapes}) != 1 or len(shapes[0]) < 2:
        return None
    dims = len(shapes[0])
    axis = dim % dims
    others = [own for own in range(dims) if own != axis]
    longest = shaped.shapes[shaped.program.outputs[0]]
    cells = Cells.drawn(shaped.rng, others, longest, max(1, DRAWN // max(1, longest[axis])))
    args = (call.args[0], min(axis, 1), *call.args[2:])
    kwargs = {name: own for name, own in call.kwargs.items() if name != "dim"}
    return [shaped.all_by(Draw((cells,)), (replace(call, args=args, kwargs=kwargs),))]


def _reduced(shaped: Shaped) -> list[Smaller] | None:
    """Some elements of a sum, with all of their terms."""
    (call,) = shaped.program.calls
    (value,) = shaped.inputs
    shape = shaped.shapes[value]
    dims = call.args[1] if len(call.args) > 1 else None
    keeps = bool(call.args[2] if len(call.args) > 2 else call.kwargs.get("keepdim", False))
    if not isinstance(dims, (list, tuple)) or not dims or len(dims) == len(shape):
        return None
    axes = sorted(dim % len(shape) for dim in dims)
    others = [own for own in range(len(shape)) if own not in axes]
    count = max(1, DRAWN // math.prod(shape[axis] for axis in axes))
    cells = Cells.drawn(shaped.rng, others, shape, count)
    order = sorted([others[0], *axes])  # the axes of the part, in their order
    args = (call.args[0], [order.index(axis) for axis in axes], *call.args[2:])
    left = cells if keeps else replace(cells, axes=tuple(range(len(others))))
    return [shaped.all_by(Draw((cells,)), (replace(call, args=args),), Draw((left,)))]


def _channels(shaped: Shaped) -> list[Smaller] | None:
    """Channels of a batch norm, with the elements of its parameters and statistics."""
    (call,) = shaped.program.calls
    (out, *others), given = shaped.program.outputs, call.args[0]
    shape = shaped.shapes.get(given.value, ()) if isinstance(given, Ref) else ()
    if others or len(shape) < 2 or shaped.shapes[out] != shape:
        return None
    drawn = shaped.sampler.channels(shape)
    of_each = Draw(tuple(replace(own, axes=(0,)) for own in drawn.cells))
    parts = {own: drawn if own == given.value else of_each for own in shaped.read}
    if any(shaped.shapes[own] != shape[1:2] for own, part in parts.items() if part is of_each):
        return None
    return [Smaller(dict(parts), {out: drawn}, {own: parts[own] for own in shaped.inputs})]


def _attention(shaped: Shaped) -> list[Smaller] | None:
    """Heads of samples."""
    (call,) = shaped.program.calls
    values = [own.value for own in call.args[:3] if isinstance(own, Ref)]
    shapes = [shaped.shapes[own] for own in values if own in shaped.shapes]
    mask = call.kwargs.get("attn_mask")
    if len(shapes) != 3 or len({own[:2] for own in shapes}) != 1 or len(shapes[0]) != 4:
        return None
    first = shapes[0]
    count = max(1, DRAWN // math.prod(first[2:]))
    drawn = Draw((Cells.drawn(shaped.rng, (0, 1), first, count),), (1,))
    found = shaped.all_by(drawn)
    if mask is None:
        return [found]
    if mask.value in shaped.inputs:
        return None
    whole = (*first[:2], first[2], shapes[1][2])
    return [replace(found, takes={**found.takes, mask.value: Expanded(drawn, whole)})]


def _product(shaped: Shaped) -> list[Smaller] | None:
    """Elements of a product of two matrices and of its gradients, by rows and columns, as those of a linear layer."""
    (call,) = shaped.program.calls
    (out,), found = shaped.program.outputs, [own.value for own in call.args if isinstance(own, Ref)]
    if not 2 <= len(found) <= 3 or found[-2] == found[-1] or any(own not in shaped.shapes for own in found):
        return None
    *first, left, right = found
    (rows, inner), (_, columns) = shaped.shapes[left], shaped.shapes[right]
    if any(shaped.shapes[own] != (columns,) for own in first):
        return None

    def chosen(size: int, count: int) -> Cells:
        return Cells.drawn(shaped.rng, (0,), (size,), max(1, count))

    def part(by: tuple[Cells | None, Cells | None, Cells | None], only: set[int]) -> Smaller:
        """The product with some of its rows, inner indices and columns."""
        of = {left: _drawn(by[0], by[1]), right: _drawn(by[1], by[2]), **{own: _drawn(by[2]) for own in first}}
        inputs = {own: of[own] for own in shaped.inputs}
        return Smaller(dict(of), {out: _drawn(by[0], by[2])}, inputs, only=frozenset(only))

    across = chosen(columns, READ // inner)
    along = chosen(rows, min(DRAWN // len(across.chosen), WORK // (len(across.chosen) * inner)))
    parts = [part((along, None, across), {out})]
    if left in shaped.inputs:
        across = chosen(inner, READ // columns)
        along = chosen(rows, min(DRAWN // len(across.chosen), WORK // (3 * len(across.chosen) * columns)))
        parts.append(part((along, across, None), {left}))
    if right in shaped.inputs or any(own in shaped.inputs for own in first):
        side = math.isqrt(min(DRAWN, WORK // (3 * rows)))
        parts.append(part((None, chosen(inner, side), chosen(columns, side)), {right, *first}))
    return parts


def _drawn(*by: Cells | None) -> Draw:
    """The indices drawn on each axis; None for all of them."""
    return Draw(tuple(replace(own, axes=(axis,)) for axis, own in enumerate(by) if own is not None))


def _batches(shaped: Shaped) -> list[Smaller] | None:
    """Some of the products of a batch."""
    shapes = (
        {shaped.shapes[own][:1] for own in shaped.read}
        if all(len(shaped.shapes[own]) == 3 for own in shaped.read)
        else set()
    )
    if len(shapes) != 1:
        return None
    whole = shaped.shapes[shaped.program.outputs[0]]
    cells = Cells.drawn(shaped.rng, (0,), whole, max(1, DRAWN // math.prod(whole[1:])))
    return [shaped.all_by(Draw((cells,)))]


CUTTERS: dict[str, Cutter] = {
    **dict.fromkeys(BY_PLANES, _by_planes),
    **dict.fromkeys(ALONG, _along_an_axis),
    **dict.fromkeys(REDUCED, _reduced),
    **dict.fromkeys(("mm", "addmm"), _product),
    **dict.fromkeys(("bmm", "baddbmm"), _batches),
    **dict.fromkeys(BY_CHANNELS, _channels),
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
}
