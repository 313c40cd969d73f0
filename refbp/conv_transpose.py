"""Transposed convolution: forward is a convolution's input gradient, and the other way round."""

from __future__ import annotations

from typing import Unpack

from refbp.conv import (
    ConvNd,
    Ints,
    batched,
    bias_gradient,
    check_rank,
    correlate,
    geometry_of,
    spread,
    weight_gradient,
)
from refbp.layer import Array, Backward, LayerOptions
from refbp.windows import batch_last, inside, padded, sizes


def _convolve_transposed(
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Ints,
    padding: Ints,
    output_padding: Ints,
    groups: int,
    dilation: Ints,
) -> tuple[Array, Backward]:
    rank = weight.ndim - 2
    name = f"conv_transpose{rank}d"
    g = geometry_of(weight, stride, dilation, groups, name)
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
        # What output_padding adds beyond the last window reaches no input.
        read = padded(delta, sides)[inside(reached, [(0, 0)] * rank)]
        grad_input = correlate(read, weight, None, g)
        grad_weight = weight_gradient(read, x, weight, g)
        return grad_input.reshape(input.shape), grad_weight, None if bias is None else bias_gradient(delta)

    return z.reshape((*input.shape[: -rank - 1], *z.shape[1:])), backward


def conv_transpose1d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> tuple[Array, Backward]:
    """conv_transpose2d along one dimension. Shape: input (N, C, L) or (C, L), weight (C, F/groups, kL)."""
    check_rank(1, weight, "conv_transpose1d")
    return _convolve_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> tuple[Array, Backward]:
    """z[n, f, o * stride + t * dilation - padding] += x[n, c, o] W[c, f, t], plus b[f]: where a convolution reads, this adds.

    Shape: input (N, C, H, W) or (C, H, W), weight (C, F/groups, kH, kW), bias (F), output (N, F, H', W') or (F, H', W'),
        H' = (H - 1) stride - 2 padding + dilation (kH - 1) + output_padding + 1.
    Gradients, with delta = grad_output:
        grad_input  = the cross-correlation of delta with the kernel, without its bias
        grad_weight = the cross-correlation of delta with the input
        grad_bias   = delta summed over batch and positions
    Raises: ValueError for shapes that do not fit, groups that do not divide the channels, or an output_padding that is
        neither below the stride nor below the dilation.
    """
    check_rank(2, weight, "conv_transpose2d")
    return _convolve_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Array,
    weight: Array,
    bias: Array | None = None,
    stride: Ints = 1,
    padding: Ints = 0,
    output_padding: Ints = 0,
    groups: int = 1,
    dilation: Ints = 1,
) -> tuple[Array, Backward]:
    """conv_transpose2d along three dimensions. Shape: input (N, C, D, H, W), weight (C, F/groups, kD, kH, kW)."""
    check_rank(3, weight, "conv_transpose3d")
    return _convolve_transposed(input, weight, bias, stride, padding, output_padding, groups, dilation)


class _ConvTranspose(ConvNd):
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
        kernel = sizes(kernel_size, self.rank, f"kernel_size of {name}", 1)
        shape = (in_channels, out_channels // max(groups, 1), *kernel)
        super().__init__((in_channels, out_channels), shape, groups, bias, options)
        self.arguments = (stride, padding, output_padding, groups, dilation)

    def op(self, input: Array, *params: Array) -> tuple[Array, Backward]:
        weight, bias = (*params, None)[:2]
        assert weight is not None
        return _convolve_transposed(input, weight, bias, *self.arguments)


class ConvTranspose1d(_ConvTranspose):
    """torch.nn.ConvTranspose1d: see `refbp.functional.conv_transpose1d`."""

    rank = 1


class ConvTranspose2d(_ConvTranspose):
    """torch.nn.ConvTranspose2d: see `refbp.functional.conv_transpose2d`."""

    rank = 2


class ConvTranspose3d(_ConvTranspose):
    """torch.nn.ConvTranspose3d: see `refbp.functional.conv_transpose3d`."""

    rank = 3
