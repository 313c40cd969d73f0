"""Bugs between layers: sums, gates, reductions, rearrangements, softmax, masks, indices, detach, overwritten data."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from oracle.selftest.between.planted import SAMPLES, Between, Book

N, T, C = SAMPLES, 4, 6
PLACES, SQUARE = (N, T, C), (N, T, T)
SIXTH = 1 / math.sqrt(C)
PAST = torch.ones(T, T, dtype=torch.bool).tril()
AT = torch.tensor([1, 0, 1, 3])


def all_bugs() -> dict[str, Between]:
    book = Book()
    for family in (sums, gates, reductions, rearrangements, attention, indices, forwards, programs):
        family(book)
    found = {bug.name: bug for bug in book}
    assert len(found) == len(book.bugs), "two bugs of one name"
    return found


def sums(book: Book) -> None:
    def add(x: Tensor, h: Tensor) -> Tensor:
        return x + h

    book.backward(
        "Residual", "drops its branch", "grad_input#1", add, lambda g, x, h: (g, torch.zeros_like(g)), *[PLACES] * 2
    )
    book.backward(
        "Residual", "its shortcut learns nothing", "grad_input#0", add, lambda g, x, h: (None, g), *[PLACES] * 2
    )
    book.backward("Residual", "its branch counts twice", "grad_input#1", add, lambda g, x, h: (g, 2 * g), *[PLACES] * 2)
    book.backward(
        "ScaledResidual", "the scale is lost", "grad_input#1",
        lambda x, h: x + 0.5 * h, lambda g, x, h: (g, g), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "SumOfThree", "the third gets nothing", "grad_input#2",
        lambda x, y, z: x + y + z, lambda g, x, y, z: (g, g, None), PLACES, PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "Difference", "the sign is lost", "grad_input#1", lambda x, y: x - y, lambda g, x, y: (g, g), PLACES, PLACES
    )
    book.backward(
        "MovingAverage", "the shares are exchanged", "grad_input#0",
        lambda x, y: 0.9 * x + 0.1 * y, lambda g, x, y: (0.1 * g, 0.9 * g), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "AddedPlaces", "a mean over the samples for their sum", "grad_input#1",
        add, lambda g, x, p: (g, g.mean(0)), PLACES, (T, C),
    )  # fmt: skip
    book.backward(
        "AddedPlaces", "of the first sample alone", "grad_input#1", add, lambda g, x, p: (g, g[0]), PLACES, (T, C)
    )


def gates(book: Book) -> None:
    def gate(a: Tensor, b: Tensor) -> Tensor:
        return torch.sigmoid(a) * b

    def slope(a: Tensor) -> Tensor:
        return torch.sigmoid(a) * (1 - torch.sigmoid(a))

    book.backward(
        "Gate", "without the sigmoid's slope", "grad_input#0",
        gate, lambda g, a, b: (g * b, g * torch.sigmoid(a)), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "Gate", "the value's gradient is not gated", "grad_input#1",
        gate, lambda g, a, b: (g * b * slope(a), g), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "GateOfPlaces", "a mean over the channels for their sum", "grad_input#0",
        gate, lambda g, a, b: ((g * b).mean(-1, keepdim=True) * slope(a), g * torch.sigmoid(a)), (N, T, 1), PLACES,
    )  # fmt: skip
    book.backward(
        "GatedHalves", "the halves are exchanged", "grad_input",
        lambda x: F.glu(x, -1),
        lambda g, x: torch.cat([g * x[..., :3] * slope(x[..., 3:]), g * torch.sigmoid(x[..., 3:])], -1), PLACES,
    )  # fmt: skip
    book.backward(
        "SwiGlu", "the slope of SiLU is the sigmoid", "grad_input#0",
        lambda a, b: F.silu(a) * b, lambda g, a, b: (g * b * torch.sigmoid(a), g * F.silu(a)), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "Quotient", "the denominator's sign is lost", "grad_input#1",
        lambda a, b: a / (b * b + 1),
        lambda g, a, b: (g / (b * b + 1), g * a * 2 * b / (b * b + 1) ** 2), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "LayerScale", "its gradient lacks the input", "grad_input#1",
        lambda x, s: x * s, lambda g, x, s: (g * s, g.sum((0, 1))), PLACES, (C,),
    )  # fmt: skip


def reductions(book: Book) -> None:
    def spread(g: Tensor) -> Tensor:
        return g[:, None].expand(PLACES)

    def centred(x: Tensor) -> Tensor:
        return x - x.mean(-1, keepdim=True)

    def of(operation: str, what: str, forward: Any, wrong: Any) -> None:
        book.backward(operation, what, "grad_input", forward, wrong, PLACES)

    of("MeanOfPlaces", "not divided", lambda x: x.mean(1), lambda g, x: spread(g))
    of("MeanOfPlaces", "divided by samples too", lambda x: x.mean(1), lambda g, x: spread(g) / (N * T))
    of("MaximumOfPlaces", "every place gets it", lambda x: x.amax(1), lambda g, x: spread(g))
    of("Centring", "the mean is taken for a constant", centred, lambda g, x: g)
    of("Variance", "the mean is not subtracted", lambda x: x.var(-1), lambda g, x: g[..., None] * 2 * x / (C - 1))
    of(
        "UnitLength", "the projection is lost",
        lambda x: x / x.norm(dim=-1, keepdim=True), lambda g, x: g / x.norm(dim=-1, keepdim=True),
    )  # fmt: skip
    of("LogSumExp", "every term gets it", lambda x: x.logsumexp(-1), lambda g, x: g[..., None].expand(PLACES))
    book.backward(
        "SumOfRows", "spread over the columns", "grad_input",
        lambda x: x.sum(1), lambda g, x: g[..., None].expand(SQUARE), SQUARE,
    )  # fmt: skip


def rearrangements(book: Book) -> None:
    def joined(a: Tensor, b: Tensor) -> Tensor:
        return torch.cat([a, b], -1)

    def of(operation: str, what: str, forward: Any, wrong: Any, shape: tuple[int, ...] = PLACES) -> None:
        book.backward(operation, what, "grad_input", forward, wrong, shape)

    def heads(x: Tensor) -> Tensor:
        return x.view(N, T, 2, 3).transpose(1, 2).reshape(N, 2 * T, 3)

    book.backward(
        "Joined",
        "the parts are exchanged",
        "grad_input#0",
        joined,
        lambda g, a, b: (g[..., C:], g[..., :C]),
        PLACES,
        PLACES,
    )
    book.backward(
        "Joined",
        "the second part gets nothing",
        "grad_input#1",
        joined,
        lambda g, a, b: (g[..., :C], None),
        PLACES,
        PLACES,
    )
    book.backward(
        "Stacked", "in reversed order", "grad_input#0",
        lambda a, b: torch.stack([a, b], 1), lambda g, a, b: (g[:, 1], g[:, 0]), PLACES, PLACES,
    )  # fmt: skip
    of("Flipped", "not flipped back", lambda x: x.flip(1), lambda g, x: g)
    of("Rolled", "rolled on instead of back", lambda x: x.roll(1, 1), lambda g, x: g.roll(1, 1))
    of(
        "Transposed",
        "viewed instead of transposed",
        lambda x: x.transpose(1, 2).contiguous(),
        lambda g, x: g.reshape(x.shape),
    )
    of("Heads", "put together in their own order", heads, lambda g, x: g.reshape(x.shape))
    of("Halves", "the chunks come back exchanged", lambda x: torch.cat(x.chunk(2, -1)[::-1], -1), lambda g, x: g)
    of("Padded", "cut at the wrong end", lambda x: F.pad(x, (0, 0, 2, 0)), lambda g, x: g[:, :T])
    of("Doubled", "one of each two for their sum", lambda x: x.repeat_interleave(2, 1), lambda g, x: g[:, ::2])


def attention(book: Book) -> None:
    def softmax_of(g: Tensor, y: Tensor) -> Tensor:
        return y * (g - (g * y).sum(-1, keepdim=True))

    def scores(q: Tensor, k: Tensor) -> Tensor:
        return q @ k.transpose(1, 2) * SIXTH

    def masked(x: Tensor) -> Tensor:
        return x.masked_fill(~PAST, -10.0)

    def of(operation: str, what: str, forward: Any, wrong: Any) -> None:
        book.backward(operation, what, "grad_input", forward, wrong, SQUARE)

    of("Softmax", "without its sum", lambda x: x.softmax(-1), lambda g, x: g * x.softmax(-1))
    of(
        "Softmax", "its sum over the rows",
        lambda x: x.softmax(-1), lambda g, x: x.softmax(-1) * (g - (g * x.softmax(-1)).sum(1, keepdim=True)),
    )  # fmt: skip
    of("LogSoftmax", "the upstream's sum is taken for 1", lambda x: x.log_softmax(-1), lambda g, x: g - x.softmax(-1))
    of("Masked", "the mask is lost", masked, lambda g, x: g)
    of("Masked", "the mask is turned over", masked, lambda g, x: g.masked_fill(PAST, 0.0))
    of(
        "Temperature", "it is lost on the way back",
        lambda x: (x / 2).softmax(-1), lambda g, x: softmax_of(g, (x / 2).softmax(-1)),
    )  # fmt: skip
    book.backward(
        "Scores", "the scale is lost", "grad_input#0",
        scores, lambda g, q, k: (g @ k, g.transpose(1, 2) @ q * SIXTH), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "Scores", "not transposed for the keys", "grad_input#1",
        scores, lambda g, q, k: (g @ k * SIXTH, g @ q * SIXTH), PLACES, PLACES,
    )  # fmt: skip
    book.backward(
        "Mixed", "the weights are not transposed", "grad_input#1",
        lambda w, v: w @ v, lambda g, w, v: (g @ v.transpose(1, 2), w @ g), SQUARE, PLACES,
    )  # fmt: skip


def indices(book: Book) -> None:
    def overwritten(g: Tensor, x: Tensor) -> Tensor:
        grad = torch.zeros_like(x)
        grad[:, AT] = g
        return grad

    def of(operation: str, what: str, forward: Any, wrong: Any) -> None:
        book.backward(operation, what, "grad_input", forward, wrong, PLACES)

    of("Gathered", "what was read twice gets it once", lambda x: x[:, AT], overwritten)
    of("Cumulated", "summed from the front again", lambda x: x.cumsum(1), lambda g, x: g.cumsum(1))
    of("Sorted", "not put back", lambda x: x.sort(1).values, lambda g, x: g)
    of("Clamped", "passed on outside too", lambda x: x.clamp(-0.3, 0.3), lambda g, x: g)
    of("Kept", "the scale of what was dropped is lost", lambda x: x * PAST[:, :1] / 0.7, lambda g, x: g * PAST[:, :1])
    book.backward(
        "Chosen", "the branches are exchanged", "grad_input#0",
        lambda a, b: torch.where(a > 0, a, b),
        lambda g, a, b: (g.masked_fill(a > 0, 0.0), g.masked_fill(a <= 0, 0.0)), PLACES, PLACES,
    )  # fmt: skip


def forwards(book: Book) -> None:
    def attended(x: Tensor) -> Tensor:
        return x.masked_fill(~PAST, -torch.inf).softmax(-1)

    book.forward("CausalSoftmax", "the mask is forgotten", attended, lambda x: x.softmax(-1), SQUARE)
    book.forward("OwnSoftmax", "not divided by its sum", lambda x: x.softmax(-1), lambda x: x.exp(), SQUARE)
    book.forward(
        "Pooled", "a mean over the samples", lambda x: x - x.mean(1, True), lambda x: x - x.mean(0, True), PLACES
    )
    book.forward(
        "Merged",
        "the parts are exchanged",
        lambda a, b: torch.cat([a, b], 1),
        lambda a, b: torch.cat([b, a], 1),
        PLACES,
        PLACES,
    )
    book.forward(
        "Scored", "the scale is forgotten", lambda q, k: q @ k.mT * SIXTH, lambda q, k: q @ k.mT, PLACES, PLACES
    )


def programs(book: Book) -> None:
    def doubled(x: Tensor, spoils: bool) -> Tensor:
        y = x.exp()
        z = 2 * y
        if spoils:
            y.data.mul_(0.5)
        return z

    def squared(x: Tensor, spoils: bool) -> Tensor:
        y = x * 1.0
        z = y * y
        if spoils:
            y.data.zero_()
        return z

    book.program(
        "detach", "a branch is cut off", "grad_input", lambda x, h: x + h, lambda x, h: x + h.detach(), PLACES, PLACES
    )
    book.program(
        "exp", "its result is overwritten after use", "grad_input",
        lambda x: doubled(x, False), lambda x: doubled(x, True), PLACES,
    )  # fmt: skip
    book.program(
        "mul", "what it was given is overwritten after use", "grad_input",
        lambda x: squared(x, False), lambda x: squared(x, True), PLACES,
    )  # fmt: skip
