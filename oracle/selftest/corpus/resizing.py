"""Published bugs in resizing: gradients taken in the wrong direction, from the wrong corner, or from too few places."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from oracle.case.arrays import Array
from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.by_torch import differentiated
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.plain import Backward, drawn

BOOK = Book("resizing")


@BOOK.op(
    "upsample",
    "pytorch/pytorch#97135",
    "nearest: the backward pass looks from input to output, where it should look back",
    size=(2, 5),
    mode="nearest",
    x=drawn(1, 3, 2, 4),
)
def nearest_direction(fixed: bool) -> Differentiable:
    def own(x: torch.Tensor, w: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        dx = torch.zeros_like(x)
        for j in range(x.shape[-1]):
            start = int(j * dy.shape[-1] / x.shape[-1])
            stop = int((j + 1) * dy.shape[-1] / x.shape[-1])
            dx[..., j] = dy[..., start:stop].sum(-1)
        return dx

    return _resized(lambda x: F.interpolate(x, size=(2, 5), mode="nearest"), None if fixed else own)


@BOOK.op(
    "upsample",
    "pytorch/pytorch#38985",
    "nearest, to a smaller size: the gradient goes to the last pixel of its block instead of the first",
    causes="shifted",
    size=(2, 2),
    mode="nearest",
    x=drawn(1, 1, 4, 4),
)
def nearest_corner(fixed: bool) -> Differentiable:
    def own(x: torch.Tensor, w: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        dx = torch.zeros_like(x)
        dx[..., 1::2, 1::2] = dy
        return dx

    return _resized(lambda x: F.interpolate(x, size=(2, 2), mode="nearest"), None if fixed else own)


@BOOK.op(
    "upsample",
    "flagos-ai/FlagGems#5218",
    "linear with align_corners: outputs that lie outside a fixed window do not count",
    size=10,
    mode="linear",
    align_corners=True,
    x=drawn(2, 3, 2),
)
def linear_window(fixed: bool) -> Differentiable:
    def own(x: torch.Tensor, w: torch.Tensor, dy: torch.Tensor) -> torch.Tensor:
        n, m = x.shape[-1], dy.shape[-1]
        places = torch.arange(m, dtype=x.dtype) * (n - 1) / (m - 1)
        dx = torch.zeros_like(x)
        for i in range(n):
            share = (1 - (places - i).abs()).clamp(min=0)
            centre = (i + 0.5) * m / n
            near = (torch.arange(m) - centre).abs() < m / n
            dx[..., i] = (dy * share * near).sum(-1)
        return dx

    return _resized(lambda x: F.interpolate(x, size=10, mode="linear", align_corners=True), None if fixed else own)


def _resized(forward: Callable[[torch.Tensor], torch.Tensor], wrong: object) -> Differentiable:
    fn = differentiated(forward, x=None)
    if wrong is None:
        return fn

    def own(x: Array) -> tuple[Array, Backward]:
        y, _ = fn(x)
        given = torch.from_numpy(np.array(x))
        return y, lambda dy: wrong(given, given, torch.from_numpy(np.array(dy))).numpy()  # type: ignore[operator]

    return own
