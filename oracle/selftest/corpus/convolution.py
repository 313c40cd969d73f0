"""Published bugs in convolutions: gradients of the wrong size, place, order or scale, and ignored options."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch.nn import functional as F

from oracle.ops.check_op import Differentiable
from oracle.selftest.corpus.by_torch import Gradient, T, differentiated, weight_gradient
from oracle.selftest.corpus.entry import Book
from oracle.selftest.corpus.plain import drawn

BOOK = Book("convolution")


def _conv2d(stride: int = 1, padding: int = 0, dilation: int = 1, groups: int = 1) -> Callable[..., T]:
    return lambda x, w, b=None: F.conv2d(x, w, b, stride, padding, dilation, groups)


def _batched(gradient: Gradient) -> Gradient:
    """Applies a gradient for batches to an input without a batch dimension too, because the suite has such inputs."""

    def own(x: T, w: T, dy: T) -> T:
        if x.ndim == w.ndim:
            return gradient(x, w, dy)
        result = gradient(x[None], w, dy[None])
        return result[0] if result.ndim == w.ndim and result.shape[1:] != w.shape[1:] else result

    return own


@BOOK.op(
    "conv2d",
    "pytorch/pytorch#51430",
    "nn.grad puts a grouped convolution's weight gradient together in the wrong order",
    "grad.weight",
    "permuted, shape",
    groups=2,
)
def nn_grad_groups(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        n, cin, cout = x.shape[0], x.shape[1], dy.shape[1]
        tiled = dy.contiguous().repeat(1, cin // 2, 1, 1).reshape(n * cout * cin // 2, 1, *dy.shape[2:])
        grad = F.conv2d(x.reshape(1, n * cin, *x.shape[2:]), tiled, groups=cin * n)
        grad = grad.reshape(n, grad.shape[1] // n, *grad.shape[2:]).sum(0)
        return grad.reshape(cin // 2, cout, *grad.shape[1:]).transpose(0, 1)

    return differentiated(_conv2d(groups=2), weight=None if fixed else _batched(weight))


@BOOK.op(
    "conv2d",
    "pytorch/pytorch#50042",
    "a vectorised kernel takes the last row and column of 24 depthwise windows to be in the padding",
    "grad.weight",
    stride=2,
    padding=1,
    groups=24,
    x=drawn(1, 24, 6, 6),
    weight=drawn(24, 1, 3, 3, seed=1),
    bias=None,
)
def mkldnn_depthwise(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        dw = weight_gradient(x, w, dy, 2, 1, 1, 24)
        for axis in (2, 3):
            cut = dy.clone()
            cut.select(axis, -1).zero_()
            wrong = weight_gradient(x, w, cut, 2, 1, 1, 24)
            dw.select(axis, -1).copy_(wrong.select(axis, -1))
        return dw

    return differentiated(_conv2d(2, 1, 1, 24), weight=None if fixed else weight)


def _uncropped(x: T, w: T, dy: T, stride: int, padding: int, groups: int = 1) -> T:
    """The weight gradient as a dilated convolution. It is larger than the kernel if the stride leaves a remainder."""
    n, cin = x.shape[:2]
    tiled = dy.repeat_interleave(cin // groups, 1) if groups == cin else dy.repeat(1, cin, 1, 1)
    if groups == cin:
        grad = F.conv2d(
            x.reshape(1, -1, *x.shape[2:]), tiled.reshape(-1, 1, *dy.shape[2:]), None, 1, padding, stride, n * cin
        )
        return grad.reshape(n, cin, 1, *grad.shape[2:]).sum(0)
    grad = F.conv2d(x.transpose(0, 1), dy.transpose(0, 1), None, 1, padding, stride)
    return grad.transpose(0, 1)


@BOOK.op(
    "conv2d",
    "tracel-ai/burn#1891",
    "a depthwise weight gradient is longer than the kernel where the stride leaves a remainder",
    "grad.weight",
    "shape",
    stride=2,
    padding=1,
    groups=4,
    x=drawn(1, 4, 4, 4),
    weight=drawn(4, 1, 3, 3, seed=1),
    bias=drawn(4, seed=2),
)
def burn_depthwise(fixed: bool) -> Differentiable:
    return differentiated(_conv2d(2, 1, 1, 4), weight=None if fixed else lambda x, w, dy: _uncropped(x, w, dy, 2, 1, 4))


@BOOK.op(
    "conv2d",
    "ml-explore/mlx#2187",
    "the weight's gradient is not cropped to the kernel",
    "grad.weight",
    "shape",
    stride=2,
)
def mlx_weight(fixed: bool) -> Differentiable:
    return differentiated(_conv2d(2), weight=None if fixed else _batched(lambda x, w, dy: _uncropped(x, w, dy, 2, 0)))


def _short(stride: int, padding: int, place: str = "nowhere") -> Gradient:
    """The input gradient as a transposed convolution without output_padding, padded in front or left too small."""

    def own(x: T, w: T, dy: T) -> T:
        dx = F.conv_transpose2d(dy, w, None, stride, padding)
        lacking = [own - got for own, got in zip(x.shape[-2:], dx.shape[-2:], strict=True)]
        if place == "front":
            return F.pad(dx, (lacking[1], 0, lacking[0], 0))
        return dx

    return _batched(own)


@BOOK.op(
    "conv2d",
    "flagos-ai/FlagGems#1576",
    "the dilated upstream gradient lacks output_padding, so that all indices are shifted",
    causes="shifted",
    stride=2,
    padding=1,
)
def flaggems_output_padding(fixed: bool) -> Differentiable:
    return differentiated(_conv2d(2, 1), x=None if fixed else _short(2, 1, "front"))


@BOOK.op(
    "conv2d",
    "torch/DEPRECEATED-torch7-distro#20",
    "the input's gradient is 31 x 31 for an image of 32 x 32",
    causes="shape",
    stride=2,
    x=drawn(1, 2, 32, 32),
    weight=drawn(3, 2, 5, 5, seed=1),
    bias=None,
)
def torch7_size(fixed: bool) -> Differentiable:
    return differentiated(_conv2d(2), x=None if fixed else _short(2, 0))


@BOOK.op(
    "conv2d",
    "PKUFlyingPig/CMU10-714#6",
    "the input's gradient is too small where the stride leaves a remainder",
    causes="shape",
    stride=3,
    padding=2,
    x=drawn(1, 1, 16, 16),
    weight=drawn(1, 1, 7, 7, seed=1),
    bias=None,
)
def needle_size(fixed: bool) -> Differentiable:
    return differentiated(_conv2d(3, 2), x=None if fixed else _short(3, 2))


@BOOK.op(
    "conv2d",
    "f-dangel/backpack#30",
    "the input's gradient is too small where the stride leaves a remainder",
    causes="shape",
    stride=2,
)
def backpack_size(fixed: bool) -> Differentiable:
    return differentiated(_conv2d(2), x=None if fixed else _short(2, 0))


@BOOK.op(
    "conv2d",
    "mlpack/mlpack#2986",
    "the backward pass adds a 5 x 5 to a 6 x 6 matrix",
    "",
    "shape",
    stride=2,
    x=drawn(1, 1, 6, 6),
    weight=drawn(1, 1, 3, 3, seed=1),
    bias=None,
)
def mlpack_size(fixed: bool) -> Differentiable:
    def own(x: T, w: T, dy: T) -> T:
        return torch.zeros_like(x) + F.conv_transpose2d(dy, w, None, 2)

    return differentiated(_conv2d(2), x=None if fixed else own)


@BOOK.op(
    "conv2d",
    "hpc-ulisboa/posit-neuralnet#2",
    "with stride 2 the last columns of an image that the windows do not reach count",
    "grad.weight",
    stride=2,
    padding=1,
)
def posit_stride(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        k = w.shape[-1]
        padded = F.pad(x, (1, 1, 1, 1))
        height, width = ((n - 1) * 2 + k for n in dy.shape[-2:])
        return weight_gradient(padded[..., -height:, -width:], w, dy, 2)

    return differentiated(_conv2d(2, 1), weight=None if fixed else _batched(weight))


@BOOK.op(
    "conv2d", "sebgao/cTensor#3", "the weight's gradient is divided by batch and positions", "grad.weight", "factor"
)
def ctensor_mean(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        return weight_gradient(x, w, dy) / (dy.numel() // dy.shape[1])

    return differentiated(_conv2d(), weight=None if fixed else _batched(weight))


@BOOK.op(
    "conv2d",
    "nntrainer/nntrainer#705",
    "each kernel of the weight's gradient is transposed",
    "grad.weight",
    "transposed, permuted",
)
def nntrainer_transposed(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        dw = weight_gradient(x, w, dy)
        return dw.transpose(2, 3).reshape(w.shape)

    return differentiated(_conv2d(), weight=None if fixed else _batched(weight))


@BOOK.op(
    "conv2d",
    "tf-encrypted/tf-encrypted#150",
    "the weight's gradient has the right numbers in another order",
    "grad.weight",
    "order, permuted",
)
def tf_encrypted_order(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        dw = weight_gradient(x, w, dy)
        return dw.permute(2, 3, 1, 0).reshape(w.shape)

    return differentiated(_conv2d(), weight=None if fixed else _batched(weight))


@BOOK.op(
    "conv3d", "NervanaSystems/neon#111", "what goes to depth d of the input is written to the output's depth", causes=""
)
def neon_depth(fixed: bool) -> Differentiable:
    def own(x: T, w: T, dy: T) -> T:
        dx = torch.zeros_like(x)
        for depth in range(w.shape[2]):
            part = F.conv_transpose2d(dy.transpose(1, 2).flatten(0, 1), w[:, :, depth])
            dx[:, :, : dy.shape[2]] += part.reshape(dy.shape[0], dy.shape[2], *part.shape[1:]).transpose(1, 2)
        return dx

    return differentiated(lambda x, w, b=None: F.conv3d(x, w, b), x=None if fixed else _batched(own))


@BOOK.op(
    "conv2d",
    "tiny-dnn/tiny-dnn#415",
    "with padding='same' nothing is handed back to the layer before",
    causes="zero",
    padding="same",
)
def tiny_dnn_same(fixed: bool) -> Differentiable:
    def forward(x: T, w: T, b: T | None = None) -> T:
        return F.conv2d(x, w, b, padding="same")

    return differentiated(forward, x=None if fixed else lambda x, w, dy: torch.zeros_like(x))


@BOOK.op(
    "conv_transpose2d",
    "pytorch/pytorch#63314",
    "with a kernel of 1 the upstream gradient is read without its stride",
    stride=2,
    x=drawn(1, 2, 3, 4),
    weight=drawn(2, 2, 1, 1, seed=1),
    bias=None,
)
def slow_transposed(fixed: bool) -> Differentiable:
    def own(x: T, w: T, dy: T) -> T:
        return F.conv2d(dy[..., : x.shape[-2], : x.shape[-1]], w)

    return differentiated(lambda x, w, b=None: F.conv_transpose2d(x, w, b, 2), x=None if fixed else own)


@BOOK.op(
    "conv_transpose2d",
    "huggingface/candle#2337",
    "stride and dilation are exchanged for the weight's gradient",
    "grad.weight",
    "shape, option",
    stride=2,
)
def candle_exchanged(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        return F.conv2d(dy.transpose(0, 1), x.transpose(0, 1), None, 2, 0, 1).transpose(0, 1)

    return differentiated(
        lambda x, w, b=None: F.conv_transpose2d(x, w, b, 2), weight=None if fixed else _batched(weight)
    )


@BOOK.op(
    "conv_transpose1d",
    "tracel-ai/burn#4916",
    "the inverse convolution runs over the cells of output_padding too",
    causes="shape",
    output_padding=1,
    dilation=2,
)
def burn_output_padding(fixed: bool) -> Differentiable:
    def own(x: T, w: T, dy: T) -> T:
        return F.conv1d(dy, w, None, 1, 0, 2)

    return differentiated(lambda x, w, b=None: F.conv_transpose1d(x, w, b, 1, 0, 1, 1, 2), x=None if fixed else own)


@BOOK.op(
    "conv_transpose2d",
    "mila-iqia/myia#338",
    "rows and columns of output_padding are filled with zeros",
    "output",
    "slice lost",
    stride=2,
    output_padding=1,
)
def myia_output_padding(fixed: bool) -> Differentiable:
    def forward(x: T, w: T, b: T | None = None) -> T:
        if fixed:
            return F.conv_transpose2d(x, w, b, 2, 0, 1)
        return F.pad(F.conv_transpose2d(x, w, b, 2), (0, 1, 0, 1))

    return differentiated(forward)


@BOOK.op(
    "conv2d",
    "FluxML/NNlib.jl#763",
    "an empty batch raises: its columns are shared out among threads by a division",
    "",
    "empty batch",
    padding=1,
    x=np.zeros((0, 2, 5, 5)),
    weight=drawn(3, 2, 3, 3, seed=1),
    bias=None,
)
def nnlib_empty(fixed: bool) -> Differentiable:
    def weight(x: T, w: T, dy: T) -> T:
        return torch.stack([weight_gradient(own[None], w, up[None], 1, 1) for own, up in zip(x, dy, strict=True)]).sum(
            0
        )

    return differentiated(_conv2d(1, 1), weight=None if fixed else weight)
