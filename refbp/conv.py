"""Convolution (cross-correlation, as in torch) of any rank."""

from __future__ import annotations

import math
from typing import Unpack

import numpy as np

from refbp.arrays import Array, Backward
from refbp.checks import require_counts
from refbp.columns import Columns, Geometry
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.ranks import OfRank
from refbp.windows import (
    PADDING_SOURCES,
    Ints,
    Sides,
    Sizes,
    added_back,
    batch_last,
    inside,
    padded,
    padding_sources,
    sizes,
    taken,
    window_counts,
)


def per_group(weight: Array, groups: int) -> Array:
    """(F, C/G, *kernel) -> (G, F/G, C/G*K)."""
    return weight.reshape((groups, weight.shape[0] // groups, math.prod(weight.shape[1:])))


def correlate(x: Array, weight: Array, bias: Array | None, g: Geometry) -> Array:
    """Eq. (7): Z = W X + b, the windows of x times the kernel."""
    W, columns = per_group(weight, g.groups), Columns(len(x), window_counts(x.shape[2:], *g[:3]), weight, g)
    view = columns.view(x)

    def product(part: slice) -> Array:
        Z = W @ columns.of(view, part)  # (G, F/G, C/G*K) @ (G, C/G*K, P*N) -> (G, F/G, P*N)
        if bias is not None:
            Z += bias.reshape((*W.shape[:2], 1))
        return Z

    return columns.from_rows(x, len(weight), product)


def weight_gradient(x: Array, delta: Array, weight: Array, g: Geometry) -> Array:
    """Eq. (8): ∂L/∂W = Δ Xᵀ, the elements that each tap reads times delta, summed over batch and positions."""
    columns = Columns(len(delta), delta.shape[2:], weight, g)
    view = columns.view(x)
    total = np.zeros_like(delta, shape=per_group(weight, g.groups).shape)
    for part in columns.parts:  # (G, F/G, P*N) @ (G, P*N, C/G*K) -> (G, F/G, C/G*K)
        total += times_transposed(columns.rows(delta, part), columns.of(view, part))
    return total.reshape(weight.shape)


def times_transposed(Z: Array, X: Array) -> Array:
    """Z Xᵀ. In single precision OpenBLAS computes X Zᵀ up to 40 % faster if X has more rows, with the same numbers."""
    if type(Z) is np.ndarray and Z.dtype == np.float32 and X.shape[1] > Z.shape[1]:
        return np.swapaxes(X @ np.swapaxes(Z, 1, 2), 1, 2)
    return Z @ np.swapaxes(X, 1, 2)


def spread(delta: Array, weight: Array, size: Sizes, g: Geometry) -> Array:
    """Eq. (9): ∂L/∂X = Wᵀ Δ; each number of it is added to the element of x that its window read.

    Element i receives delta_o W_t from every window o and tap t with o * stride + t * dilation = i. For a fixed i this sum over
    t is the full convolution of delta with the kernel turned by 180 degrees.
    """
    W, columns = per_group(weight, g.groups), Columns(len(delta), delta.shape[2:], weight, g)

    def product(part: slice) -> Array:
        Wt, Z = np.swapaxes(W, 1, 2), columns.rows(delta, part)  # (G, C/G*K, F/G), (G, F/G, P*N)
        return Wt * Z if W.shape[1] == 1 else Wt @ Z  # NumPy's @ is slow at outer products

    return columns.added_up(delta, g.groups * weight.shape[1], size, product)


def bias_gradient(delta: Array) -> Array:
    """∂L/∂b = Σ δ over batch and positions."""
    total: Array = np.sum(delta, axis=(0, *range(2, delta.ndim)))
    return total


def batched(input: Array, rank: int, channels: int, name: str) -> Array:
    """The input with a batch dimension, added where it has none. Raises: ValueError for another shape."""
    if input.ndim not in (rank + 1, rank + 2) or input.shape[-rank - 1] != channels:
        sides = ", ".join("DHW"[-rank:] if rank > 1 else "L")
        raise ValueError(
            f"{name} expects input (N, {channels}, {sides}) or ({channels}, {sides}), got shape {input.shape}"
        )
    return input if input.ndim == rank + 2 else np.expand_dims(input, 0)


def padding_sides(padding: str | Ints, g: Geometry, name: str) -> Sides:
    """(before, after) per dimension; "same" puts an odd element after, as torch does."""
    if padding == "valid":
        padding = 0
    if padding != "same":
        if isinstance(padding, str):
            raise ValueError(f"{name} expects padding as ints, 'same' or 'valid', got {padding!r}")
        return [(p, p) for p in sizes(padding, len(g.kernel), f"padding of {name}")]
    if any(s != 1 for s in g.stride):
        raise ValueError(f"{name} expects stride 1 with padding='same', got stride {g.stride}")
    needed = [d * (k - 1) for d, k in zip(g.dilation, g.kernel, strict=True)]
    return [(total // 2, total - total // 2) for total in needed]


def _check_padding_mode(padding_mode: str, name: str) -> None:
    if padding_mode != "zeros" and padding_mode not in PADDING_SOURCES:
        raise ValueError(f"{name} expects padding_mode zeros, {', '.join(PADDING_SOURCES)}, got {padding_mode!r}")


def geometry_of(weight: Array, stride: Ints, dilation: Ints, groups: int, name: str) -> Geometry:
    rank = weight.ndim - 2
    if weight.shape[0] < 1:
        raise ValueError(f"{name} expects a weight of at least one channel, got shape {weight.shape}")
    if groups < 1 or weight.shape[0] % groups:
        raise ValueError(
            f"{name} expects groups to divide the weight's first dimension {weight.shape[0]}, got {groups}"
        )
    return Geometry(
        weight.shape[2:],
        sizes(stride, rank, f"stride of {name}", 1),
        sizes(dilation, rank, f"dilation of {name}", 1),
        groups,
    )


def conv(
    rank: int,
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: str | Ints = 0,
    dilation: Ints = 1,
    groups: int = 1,
    padding_mode: str = "zeros",
) -> tuple[Array, Backward]:
    """z[n, f, o] = b[f] + Σ_{c, t} x[n, c, o * stride + t * dilation - padding] W[f, c, t], with c over f's group.

    It is a cross-correlation, as in torch; o and t count positions and taps in each of one, two or three dimensions.

    Args: stride, padding and dilation are an int, or one per dimension. padding is a number of elements per side, "same" (for
        stride 1; an odd element goes after) or "valid" (none); padding_mode says what fills it: "zeros", "reflect",
        "replicate" or "circular". groups splits channels and features into that many independent convolutions.
    Shape: input (N, C, *sides) or (C, *sides), weight (F, C/groups, *kernel), bias (F), output (N, F, *sides') or (F, *sides'),
        H' = ⌊(H + padding - dilation (kH - 1) - 1) / stride⌋ + 1, padding counted on both sides.
    Gradients, with delta = grad_output:
        grad_input  = the full convolution of delta with the kernel turned by 180°, eq. (9) of refbp/DERIVATION.md
        grad_weight = the cross-correlation of the padded input with delta, eq. (8)
        grad_bias   = delta summed over batch and positions
    Raises: ValueError for shapes that do not fit, groups that do not divide the channels, a kernel larger than the padded
        input, a padding that the input cannot fill, "same" with a stride.

    >>> x, weight = np.arange(9.0).reshape(1, 3, 3), np.array([[[[1.0, 2.0], [0.0, 0.0]]]])
    >>> y, backward = refbp.functional.conv2d(x, weight)
    >>> y
    array([[[ 2.,  5.],
            [11., 14.]]])
    >>> grad_input, grad_weight, grad_bias = backward(np.array([[[1.0, 0.0], [0.0, 0.0]]]))
    >>> grad_input
    array([[[1., 2., 0.],
            [0., 0., 0.],
            [0., 0., 0.]]])
    >>> grad_weight, grad_bias
    (array([[[[0., 1.],
             [3., 4.]]]]), None)
    """
    name = f"conv{rank}d"
    check_rank(rank, weight, name)
    g = geometry_of(weight, stride, dilation, groups, name)
    x = batch_last(batched(input, rank, weight.shape[1] * groups, name))
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(f"{name} expects bias ({weight.shape[0]},) for weight {weight.shape}, got {bias.shape}")
    sides = padding_sides(padding, g, name)
    _check_padding_mode(padding_mode, name)
    inner = x.shape[2:]
    zeros = padding_mode == "zeros"
    sources = [] if zeros else padding_sources(inner, sides, padding_mode)
    full = padded(x, sides) if zeros else taken(x, sources)
    counts = window_counts(full.shape[2:], *g[:3])
    if min(counts) < 1:
        raise ValueError(
            f"{name} expects an input that holds its kernel: kernel {g.kernel} with dilation {g.dilation}, "
            f"padded input {full.shape[2:]}"
        )
    z = correlate(full, weight, bias, g)

    def backward(grad_output: Array) -> tuple[Array, Array, Array | None]:
        delta = batch_last(grad_output.reshape(z.shape))
        grads = spread(delta, weight, full.shape[2:], g)
        grad_input = grads[inside(inner, sides)] if zeros else added_back(grads, inner, sources)
        grad_weight = weight_gradient(full, delta, weight, g)
        return grad_input.reshape(input.shape), grad_weight, None if bias is None else bias_gradient(delta)

    return z.reshape((*input.shape[: -rank - 1], *z.shape[1:])), backward


def check_rank(rank: int, weight: Array, name: str) -> None:
    if weight.ndim != rank + 2:
        raise ValueError(f"{name} expects a weight of {rank + 2} dimensions, got shape {weight.shape}")


class ConvNd(OfRank):
    """The base of all convolution layers: their weight, their bias, and torch's initial values, uniform in ±1/√fan_in."""

    def __init__(self, channels: Sizes, weight_shape: Sizes, groups: int, bias: bool, options: LayerOptions) -> None:
        super().__init__(**options)
        name = type(self).__name__
        in_channels, out_channels = channels
        if groups < 1 or in_channels % groups or out_channels % groups:
            raise ValueError(f"{name} expects groups to divide {in_channels} and {out_channels} channels, got {groups}")
        fan_in = math.prod(weight_shape[1:])
        bound = 1 / math.sqrt(fan_in) if fan_in else 0.0
        self.add_param("weight", self.rng.uniform(-bound, bound, weight_shape))
        if bias:
            self.add_param("bias", self.rng.uniform(-bound, bound, out_channels))


@documented_by(conv)
class _Convolution(ConvNd):
    """torch.nn.{name}: `refbp.functional.conv{rank}d` of (N, C, *sides) or (C, *sides), with a weight and a bias.

    Parameters: weight (out_channels, in_channels/groups, *kernel_size) and, unless bias=False, bias (out_channels); initial
        values are uniform in ±1/√fan_in, with fan_in = in_channels/groups times the kernel's size.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: str | Ints = 0,
        dilation: Ints = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        **options: Unpack[LayerOptions],
    ) -> None:
        name = type(self).__name__
        require_counts(name, in_channels=in_channels)
        require_counts(name, 1, out_channels=out_channels)
        kernel = sizes(kernel_size, self.rank, f"kernel_size of {name}", 1)
        super().__init__(
            (in_channels, out_channels), (out_channels, in_channels // max(groups, 1), *kernel), groups, bias, options
        )
        _check_padding_mode(padding_mode, name)
        padding_sides(padding, geometry_of(self.params["weight"], stride, dilation, groups, name), name)
        self.arguments = (stride, padding, dilation, groups, padding_mode)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        weight, bias = (*params, None)[:2]
        assert weight is not None
        return conv(self.rank, input, weight, bias, *self.arguments)


class Conv1d(_Convolution, rank=1):
    """The kernel is of kernel_size elements."""


class Conv2d(_Convolution, rank=2):
    """The kernel is kH by kW.

    >>> layer = refbp.Conv2d(3, 8, kernel_size=3, stride=2, padding=1)
    >>> y = layer(np.ones((5, 3, 16, 16)))
    >>> y.shape
    (5, 8, 8, 8)
    >>> layer.backward(np.ones_like(y)).shape
    (5, 3, 16, 16)
    >>> {name: grad.shape for name, grad in layer.grads.items()}
    {'weight': (8, 3, 3, 3), 'bias': (8,)}
    """


class Conv3d(_Convolution, rank=3):
    """The kernel is kD by kH by kW."""
