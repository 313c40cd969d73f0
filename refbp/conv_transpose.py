"""Transposed convolution: forward is a convolution's input gradient, and the other way round."""

from __future__ import annotations

from typing import Unpack

from refbp.arrays import Array, Backward
from refbp.checks import require_counts
from refbp.conv import (
    ConvNd,
    batched,
    bias_gradient,
    check_rank,
    correlate,
    geometry_of,
    spread,
    weight_gradient,
)
from refbp.docstring import documented_by
from refbp.layer import LayerOptions
from refbp.windows import Ints, batch_last, inside, padded, sizes


def conv_transpose(
    rank: int,
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> tuple[Array, Backward]:
    """z[n, f, o * stride + t * dilation - padding] += x[n, c, o] W[c, f, t], and z is b[f] before these sums.

    It adds where a convolution reads: its forward pass is a convolution's input gradient, eq. (9) of refbp/DERIVATION.md, and its
    backward pass a convolution.

    Args: stride, padding, output_padding and dilation are an int, or one per dimension. padding removes that many elements from
        both ends of the output. output_padding adds elements at its end, which hold the bias alone unless a window reaches them.
    Shape: input (N, C, *sides) or (C, *sides), weight (C, F/groups, *kernel), bias (F), output (N, F, *sides') or (F, *sides'),
        H' = (H - 1) stride - 2 padding + dilation (kH - 1) + output_padding + 1.
    Gradients, with delta = grad_output:
        grad_input  = the cross-correlation of delta with the kernel, eq. (7) without its bias
        grad_weight = the cross-correlation of delta with the input, eq. (8) with the two exchanged
        grad_bias   = delta summed over batch and positions
    Raises: ValueError for shapes that do not fit, groups that do not divide the channels, an output_padding that is neither
        below the stride nor below the dilation, an output without elements.
    """
    name = f"conv_transpose{rank}d"
    check_rank(rank, weight, name)
    g = geometry_of(weight, stride, dilation, groups, name)
    if weight.shape[1] < 1:
        raise ValueError(f"{name} expects a weight of at least one channel, got shape {weight.shape}")
    x = batch_last(batched(input, rank, weight.shape[0], name))
    if bias is not None and bias.shape != (weight.shape[1] * groups,):
        raise ValueError(
            f"{name} expects bias ({weight.shape[1] * groups},) for weight {weight.shape}, got {bias.shape}"
        )
    pads = sizes(padding, rank, f"padding of {name}")
    extra = sizes(output_padding, rank, f"output_padding of {name}")
    for more, s, d in zip(extra, g.stride, g.dilation, strict=True):
        if more >= max(s, d):
            raise ValueError(f"{name} expects output_padding below stride or dilation, got {more} for {s} and {d}")
    counts = x.shape[2:]
    reached = tuple((n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(counts, *g[:3], strict=True))
    inner = tuple(size - 2 * p + more for size, p, more in zip(reached, pads, extra, strict=True))
    if min(inner) < 1:
        raise ValueError(f"{name} expects an output of at least one element, got sides {inner} with padding {pads}")
    sides = [(p, p) for p in pads]
    full = tuple(size + more for size, more in zip(reached, extra, strict=True))
    z = spread(x, weight, full, g)[inside(inner, sides)]
    if bias is not None:
        z += bias.reshape((bias.shape[0], *(1,) * rank))

    def backward(grad_output: Array) -> tuple[Array, Array, Array | None]:
        delta = batch_last(grad_output.reshape(z.shape))
        # Elements that output_padding adds beyond the last window reach no input.
        read = padded(delta, sides)[inside(reached, [(0, 0)] * rank)]
        grad_input = correlate(read, weight, None, g)
        grad_weight = weight_gradient(read, x, weight, g)
        return grad_input.reshape(input.shape), grad_weight, None if bias is None else bias_gradient(delta)

    return z.reshape((*input.shape[: -rank - 1], *z.shape[1:])), backward


@documented_by(conv_transpose)
class _ConvTranspose(ConvNd):
    """torch.nn.{name}: `refbp.functional.conv_transpose{rank}d` of (N, C, *sides) or (C, *sides).

    Parameters: weight (in_channels, out_channels/groups, *kernel_size) and, unless bias=False, bias (out_channels); initial
        values are uniform in ±1/√fan_in, with fan_in = out_channels/groups times the kernel's size.
    Raises: ValueError also for a padding_mode other than "zeros".
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Ints,
        stride: Ints = 1,
        padding: Ints = 0,
        output_padding: Ints = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Ints = 1,
        padding_mode: str = "zeros",
        **options: Unpack[LayerOptions],
    ) -> None:
        name = type(self).__name__
        if padding_mode != "zeros":
            raise ValueError(f"{name} expects padding_mode zeros, got {padding_mode!r}")
        require_counts(name, 1, in_channels=in_channels, out_channels=out_channels)
        kernel = sizes(kernel_size, self.rank, f"kernel_size of {name}", 1)
        shape = (in_channels, out_channels // max(groups, 1), *kernel)
        super().__init__((in_channels, out_channels), shape, groups, bias, options)
        self.arguments = (stride, padding, output_padding, groups, dilation)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        weight, bias = (*params, None)[:2]
        assert weight is not None
        return conv_transpose(self.rank, input, weight, bias, *self.arguments)


class ConvTranspose1d(_ConvTranspose, rank=1):
    """The kernel is of kernel_size elements."""


class ConvTranspose2d(_ConvTranspose, rank=2):
    """The kernel is kH by kW."""


class ConvTranspose3d(_ConvTranspose, rank=3):
    """The kernel is kD by kH by kW."""
