"""MyGrad as a subject: mygrad.nnet and its tensors, differentiated by backward(). It has no optimizers and no buffers."""

from __future__ import annotations

from collections.abc import Callable

import mygrad
import numpy as np
from mygrad import nnet
from mygrad.nnet import losses as nnet_losses

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.judging.profile import Profile
from oracle.subjects import composed
from oracle.subjects.shapes import batched, channelwise, conv_sides, softmax_dim, strides
from oracle.subjects.walk import Framework, Layer, Op, Tensor
from oracle.trace import Trace, Unsupported

name = "mygrad"
accumulates = True
profile = Profile(quantities=("output", "grad*"), conventions=("anything_at_nan", "nothing_at_equality"))


def fits(layer: Layer, x: Tensor, padding: tuple[int, ...], step: tuple[int, ...]) -> None:
    dilation = layer.each("dilation") if "dilation" in layer.options else (1,) * layer.rank
    sizes = zip(x.shape[-layer.rank :], layer.each("kernel_size"), padding, step, dilation, strict=True)
    if any((n + 2 * p - d * (k - 1) - 1) % s for n, k, p, s, d in sizes):
        raise Unsupported("MyGrad permits only windows that come out even with the input")


def conv(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("mygrad.nnet.conv_nd", groups=1, padding_mode="zeros")
    sides = conv_sides(layer)
    if any(low != high for low, high in sides):
        raise Unsupported("mygrad.nnet.conv_nd pads both sides alike")
    padding = tuple(low for low, _ in sides)
    fits(layer, x, padding, layer.each("stride"))

    def op(x: Tensor) -> Tensor:
        step, dilation = layer.each("stride"), layer.each("dilation")
        z = nnet.conv_nd(x, layer.weight, stride=step, padding=padding, dilation=dilation)
        return z if layer.bias is None else z + channelwise(layer.bias, z)

    return batched(layer, x, op)


def max_pool(layer: Layer, x: Tensor) -> Tensor:
    accepted = {"padding": (0,) * layer.rank, "dilation": (1,) * layer.rank}
    if any(layer.each(option) != value for option, value in accepted.items()):
        raise Unsupported("mygrad.nnet.max_pool has no padding and no dilation")
    if not x.size:
        raise Unsupported("mygrad.nnet.max_pool takes no empty batch")
    fits(layer, x, (0,) * layer.rank, strides(layer))
    return nnet.max_pool(x, layer.each("kernel_size"), strides(layer))


def batch_norm(layer: Layer, x: Tensor) -> Tensor:
    if not layer.training and layer.buffers:
        raise Unsupported("mygrad.nnet.batchnorm has no running statistics")
    return nnet.batchnorm(x, gamma=layer.weight, beta=layer.bias, eps=layer.options["eps"])


def softmax(fn: Callable[[Tensor, int], Tensor]) -> Op:
    def op(layer: Layer, x: Tensor) -> Tensor:
        dim = -3 if layer.type == "Softmax2d" else softmax_dim(layer, x)
        if not x.shape[dim]:
            raise Unsupported("MyGrad's softmax takes the maximum of at least one number")
        return fn(x, dim)

    return op


LAYERS: dict[str, Op] = {
    **composed.layers(mygrad, lambda tensor: tensor.data),
    **{f"Conv{rank}d": conv for rank in (1, 2, 3)},
    **{f"MaxPool{rank}d": max_pool for rank in (1, 2, 3)},
    **{f"BatchNorm{rank}d": batch_norm for rank in (1, 2, 3)},
    "ELU": lambda layer, x: nnet.elu(x, layer.options["alpha"]),
    "GLU": lambda layer, x: nnet.glu(x, layer.options["dim"]),
    "Hardtanh": lambda layer, x: nnet.hard_tanh(
        x, lower_bound=layer.options["min_val"], upper_bound=layer.options["max_val"]
    ),
    "LeakyReLU": lambda layer, x: nnet.leaky_relu(x, layer.options["negative_slope"]),
    "LogSoftmax": softmax(nnet.logsoftmax),
    "ReLU": lambda layer, x: nnet.relu(x),
    "SELU": lambda layer, x: nnet.selu(x),
    "SiLU": lambda layer, x: x * nnet.sigmoid(x),
    "Sigmoid": lambda layer, x: nnet.sigmoid(x),
    "Softmax": softmax(nnet.softmax),
    "Softmax2d": softmax(nnet.softmax),
    "Softmin": softmax(lambda x, dim: nnet.softmax(-x, dim)),
    "Softsign": lambda layer, x: nnet.soft_sign(x),
}


def classes(layer: Layer, x: Tensor, target: Tensor) -> None:
    layer.options.refuse("a classification loss of MyGrad, which takes the mean,", reduction="mean", weight=None)
    layer.options.refuse("a classification loss of MyGrad", label_smoothing=0.0)
    if x.ndim != 2 or target.ndim != 1:
        raise Unsupported("a classification loss of MyGrad takes scores (N, C) and N classes")
    if (np.asarray(target) == layer.options.get("ignore_index", -1)).any():
        raise Unsupported("a classification loss of MyGrad ignores no class")


def cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    classes(layer, x, target)
    return nnet_losses.softmax_crossentropy(x, target)


def nll(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    classes(layer, x, target)
    return nnet_losses.negative_log_likelihood(x, target)


def multi_margin(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    """MyGrad sums over the classes, where torch takes the mean."""
    layer.options.refuse("mygrad.nnet.multiclass_hinge", p=1)
    classes(layer, x, target)
    return nnet_losses.multiclass_hinge(x, target, layer.options["margin"]) / x.shape[1]


# mygrad.nnet.margin_ranking_loss takes its labels for constants; composed, they have a gradient.
LOSSES: dict[str, Op] = {
    **composed.losses(mygrad),
    "CrossEntropyLoss": cross_entropy,
    "NLLLoss": nll,
    "MultiMarginLoss": multi_margin,
}


def gradient(
    function: Callable[[dict[str, Tensor]], Tensor], leaves: dict[str, Tensor]
) -> Callable[[Tensor | None], dict[str, Tensor]]:
    fresh = {name: mygrad.tensor(leaf.data, copy=False, constant=False) for name, leaf in leaves.items()}
    value = function(fresh)

    def backward(upstream: Tensor | None) -> dict[str, Tensor]:
        value.backward(None if upstream is None else upstream.data)
        return {name: np.zeros_like(leaf.data) if leaf.grad is None else leaf.grad for name, leaf in fresh.items()}

    return backward


def tensor(array: Array) -> Tensor:
    """A tensor in the array's memory layout; MyGrad cannot use memory that is not owned by an array."""
    root = array
    while isinstance(root.base, np.ndarray):
        root = root.base
    return mygrad.tensor(array if root.base is None else array.copy("K"), copy=False)


FRAMEWORK = Framework(
    "MyGrad",
    array=tensor,
    numpy=np.asarray,
    gradient=gradient,
    concatenate=mygrad.concatenate,
    layers=LAYERS,
    losses=LOSSES,
    buffers=(),
)


def run(case: Case) -> Trace:
    """The trace of a case. NumPy's warnings are suppressed, since the results of overflows are judged."""
    with np.errstate(all="ignore"):
        return FRAMEWORK.run(case)
