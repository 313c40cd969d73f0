"""Windows as the columns of a matrix: a convolution is a linear layer on them, one for each group of channels.

Columns are made for a few rows of windows at a time, so that they stay in the processor's cache. The batch is the innermost
dimension in memory, so that a row of a matrix is one long contiguous run even for small images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from refbp.arrays import Array
from refbp.windows import Sizes, add_windows, empty_batch_last, windows

# Elements of the columns that are made at a time, unless a row of windows or the weight has more.
BLOCK = 2**19


class Geometry(NamedTuple):
    """Kernel size, stride and dilation per dimension, and the number of groups."""

    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    groups: int


class Columns:
    """The windows of arrays (N, C, *size), `counts` per dimension, split into parts along the first of these dimensions.

    With G groups, K taps and P windows of all N samples in a part:
        x ↔ X: (N, C, *size) ↔ (G, C/G*K, P*N)
        z ↔ Z: (N, F, *counts) ↔ (G, F/G, P*N)
    """

    def __init__(self, samples: int, counts: Sizes, weight: Array, g: Geometry) -> None:
        self.samples, self.counts, self.g = samples, counts, g
        # Numbers in the columns of one row of windows: as many per window as all groups read.
        row = weight.size // weight.shape[0] * g.groups * math.prod(counts[1:]) * samples
        rows = max(1, max(BLOCK, weight.size) // max(row, 1))
        self.parts = [slice(first, min(first + rows, counts[0])) for first in range(0, counts[0], rows)]

    def view(self, x: Array) -> Array:
        """The windows of x, (C, *kernel, *counts, N), as a view."""
        rank = len(self.g.kernel)
        view = np.moveaxis(windows(x, *self.g[:3]), 0, -1)  # (C, *counts, *kernel, N)
        return np.transpose(view, (0, *range(1 + rank, 1 + 2 * rank), *range(1, 1 + rank), 1 + 2 * rank))

    def of(self, view: Array, part: slice) -> Array:
        """X: a part of the windows as columns."""
        rank, groups = len(self.g.kernel), self.g.groups
        piece = view[(slice(None),) * (1 + rank) + (part,)]  # (C, *kernel, *counts, N)
        rows, count = len(piece) // groups * math.prod(self.g.kernel), math.prod(piece.shape[1 + rank :])
        return piece.reshape((groups, rows, count))

    def rows(self, z: Array, part: slice) -> Array:
        """Z: the features of z as rows."""
        moved = np.moveaxis(z[:, :, part], 0, -1)  # (F, *counts, N)
        return moved.reshape((self.g.groups, moved.shape[0] // self.g.groups, math.prod(moved.shape[1:])))

    def from_rows(self, like: Array, features: int, made: Callable[[slice], Array]) -> Array:
        """The inverse of `rows`: z from the Z that is made of each part."""
        z = empty_batch_last(like, (self.samples, features, *self.counts))
        for part in self.parts:
            shape = (features, part.stop - part.start, *self.counts[1:], self.samples)
            z[:, :, part] = np.moveaxis(made(part).reshape(shape), -1, 0)
        return z

    def added_up(self, like: Array, channels: int, size: Sizes, made: Callable[[slice], Array]) -> Array:
        """The adjoint of `of`: each number of the X that is made of each part is added to where it was read in x."""
        rank = len(self.g.kernel)
        x = empty_batch_last(like, (self.samples, channels, *size))
        x[...] = 0.0
        axes = (1 + 2 * rank, 0, *range(1 + rank, 1 + 2 * rank), *range(1, 1 + rank))  # (N, C, *counts, *kernel)
        for part in self.parts:
            shape = (channels, *self.g.kernel, part.stop - part.start, *self.counts[1:], self.samples)
            add_windows(x, np.transpose(made(part).reshape(shape), axes), *self.g[:3], part.start)
        return x
