"""JAX as a subject: jax.numpy, jax.nn and jax.lax, differentiated by jax.vjp; losses and optimizers of optax."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from jax import lax
from jax import numpy as jnp

from oracle.case.arrays import Array, Constant
from oracle.case.case import Case
from oracle.judging.profile import Profile
from oracle.subjects import composed
from oracle.subjects.shapes import (
    batched,
    channelwise,
    conv_sides,
    pad_sides,
    pool_sides,
    reduced,
    softmax_dim,
    strides,
    times_weight,
    trailing,
)
from oracle.subjects.walk import Framework, Layer, Op, Options, Tensor
from oracle.trace import Trace, Unsupported

name = "jax"
# optax counts no steps where its rule needs none.
SHOWN = ("output", "grad*", "param.*", "buffer.*", "momentum.*", "exp_avg*", "square_avg.*")
profile = Profile(quantities=SHOWN, conventions=("anything_at_nan", "softplus_uncut"))


def conv(layer: Layer, x: Tensor) -> Tensor:
    def op(x: Tensor) -> Tensor:
        sides, mode = conv_sides(layer), layer.options["padding_mode"]
        if mode != "zeros":
            x = jnp.pad(x, [(0, 0), (0, 0), *sides], mode=PAD_MODES[mode])
            sides = [(0, 0)] * layer.rank
        z = lax.conv_general_dilated(
            x,
            layer.weight,
            layer.each("stride"),
            sides,
            rhs_dilation=layer.each("dilation"),
            feature_group_count=layer.options["groups"],
        )
        return z if layer.bias is None else z + channelwise(layer.bias, z)

    return batched(layer, x, op)


def conv_transpose(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("jax.lax.conv_transpose", groups=1, padding_mode="zeros")
    each = (layer.each(option) for option in ("kernel_size", "dilation", "padding", "output_padding"))
    sides = [(d * (k - 1) - p, d * (k - 1) - p + o) for k, d, p, o in zip(*each, strict=True)]
    letters = "DHW"[-layer.rank :]

    def op(x: Tensor) -> Tensor:
        z = lax.conv_transpose(
            x,
            layer.weight,
            layer.each("stride"),
            sides,
            rhs_dilation=layer.each("dilation"),
            dimension_numbers=(f"NC{letters}", f"OI{letters}", f"NC{letters}"),
            transpose_kernel=True,
        )
        return z if layer.bias is None else z + channelwise(layer.bias, z)

    return batched(layer, x, op)


def max_pool(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("JAX's max pooling", return_indices=False)
    return batched(layer, x, lambda x: windows(layer, x, -jnp.inf, lax.max, pool_sides(layer, x)))


def avg_pool(layer: Layer, x: Tensor) -> Tensor:
    def op(x: Tensor) -> Tensor:
        sides = pool_sides(layer, x)
        total = windows(layer, x, 0.0, lax.add, sides)
        if layer.options.get("divisor_override") is not None:
            return total / layer.options["divisor_override"]
        padding = layer.each("padding") if layer.options["count_include_pad"] else (0,) * layer.rank
        counted = jnp.ones([n + 2 * p for n, p in zip(x.shape[2:], padding, strict=True)], x.dtype)[None, None]
        left = [(low - p, high - p) for (low, high), p in zip(sides, padding, strict=True)]
        return total / windows(layer, counted, 0.0, lax.add, left)

    return batched(layer, x, op)


def windows(layer: Layer, x: Tensor, start: float, combine: Op, sides: list[tuple[int, int]]) -> Tensor:
    dilation = layer.each("dilation") if "dilation" in layer.options else (1,) * layer.rank
    return lax.reduce_window(
        x,
        np.array(start, x.dtype),
        combine,
        (1, 1, *layer.each("kernel_size")),
        (1, 1, *strides(layer)),
        [(0, 0), (0, 0), *sides],
        window_dilation=(1, 1, *dilation),
    )


def batch_norm(layer: Layer, x: Tensor) -> Tensor:
    axes = (0, *range(2, x.ndim))
    mean, var = layer.buffers.get("running_mean"), layer.buffers.get("running_var")
    if layer.training and mean is not None:
        count = layer.buffers["num_batches_tracked"] + 1
        momentum = 1 / count if layer.options["momentum"] is None else layer.options["momentum"]
        layer.buffers |= {
            "num_batches_tracked": count,
            "running_mean": ((1 - momentum) * mean + momentum * jnp.mean(x, axes)).astype(x.dtype),
            "running_var": ((1 - momentum) * var + momentum * jnp.var(x, axes, ddof=1)).astype(x.dtype),
        }
    if layer.training or mean is None:
        mean = var = None
    return scaled(layer, standardized(layer, x, axes, channelwise(mean, x), channelwise(var, x)), x)


def instance_norm(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("a composition of jax.nn.standardize", track_running_stats=False)
    return scaled(layer, standardized(layer, x, tuple(range(-layer.rank, 0))), x, x.ndim - layer.rank - 1)


def group_norm(layer: Layer, x: Tensor) -> Tensor:
    groups = x.reshape(x.shape[0], layer.options["num_groups"], math.prod(x.shape[1:]) // layer.options["num_groups"])
    return scaled(layer, standardized(layer, groups, -1).reshape(x.shape), x)


def layer_norm(layer: Layer, x: Tensor) -> Tensor:
    y = standardized(layer, x, trailing(layer, x))
    y = y if layer.weight is None else y * layer.weight
    return y if layer.bias is None else y + layer.bias


def standardized(
    layer: Layer, x: Tensor, axes: int | tuple[int, ...], mean: Tensor | None = None, var: Tensor | None = None
) -> Tensor:
    return jax.nn.standardize(x, axes, mean, var, layer.options["eps"], algorithm="stable")  # type: ignore[call-arg]  # missing in its stub


def scaled(layer: Layer, y: Tensor, x: Tensor, dim: int = 1) -> Tensor:
    y = y if layer.weight is None else y * channelwise(layer.weight, x, dim)
    return y if layer.bias is None else y + channelwise(layer.bias, x, dim)


def pad(mode: str) -> Op:
    def op(layer: Layer, x: Tensor) -> Tensor:
        sides = pad_sides(layer, x)
        if mode == "constant":
            return lax.pad(x, np.array(layer.options.get("value", 0.0), x.dtype), [(*side, 0) for side in sides])
        return jnp.pad(x, sides, mode=mode)

    return op


PAD_MODES = {"reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def upsample(layer: Layer, x: Tensor) -> Tensor:
    """scale_and_translate samples at (i + 0.5) / scale - 0.5, as torch does unless corners are aligned."""
    layer.options.refuse("jax.image.scale_and_translate", align_corners=layer.options["mode"] == "nearest" or False)
    spatial = x.shape[2:]
    factors, size = layer.options["scale_factor"], layer.options["size"]
    if size is None:
        factors = (factors,) * len(spatial) if isinstance(factors, float) else tuple(factors)
        size = [int(n * f) for n, f in zip(spatial, factors, strict=True)]
    else:
        size = (size,) * len(spatial) if isinstance(size, int) else size
        factors = [m / n for n, m in zip(spatial, size, strict=True)]
    shape = (*x.shape[:2], *size)
    if layer.options["mode"] == "nearest":
        if any(m % n for n, m in zip(spatial, size, strict=True)):
            raise Unsupported(
                "jax.image.resize takes the pixel nearest to the centre, torch's nearest the one before it"
            )
        return jax.image.resize(x, shape, "nearest")
    if layer.options["mode"] == "bicubic":
        raise Unsupported("jax.image has cubic interpolation with another coefficient than torch")
    scale = jnp.array(factors, x.dtype)
    dims = tuple(range(2, x.ndim))
    return jax.image.scale_and_translate(x, shape, dims, scale, jnp.zeros_like(scale), "linear", antialias=False)


def softplus(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("jax.nn.softplus, which is nowhere cut off,", threshold=20.0)
    return jax.nn.softplus(layer.options["beta"] * x) / layer.options["beta"]


def plain(function: Callable[[Tensor], Tensor], **accepted: Any) -> Op:
    def op(layer: Layer, x: Tensor) -> Tensor:
        layer.options.refuse(f"jax.nn's {layer.type}", **accepted)
        return function(x)

    return op


LAYERS: dict[str, Op] = {
    **composed.layers(jnp),
    **{f"Conv{rank}d": conv for rank in (1, 2, 3)},
    **{f"ConvTranspose{rank}d": conv_transpose for rank in (1, 2, 3)},
    **{f"MaxPool{rank}d": max_pool for rank in (1, 2, 3)},
    **{f"AvgPool{rank}d": avg_pool for rank in (1, 2, 3)},
    **{f"BatchNorm{rank}d": batch_norm for rank in (1, 2, 3)},
    **{f"InstanceNorm{rank}d": instance_norm for rank in (1, 2, 3)},
    "GroupNorm": group_norm,
    "LayerNorm": layer_norm,
    **{f"{kind}Pad{rank}d": pad("constant") for kind in ("Zero", "Constant") for rank in (1, 2, 3)},
    **{f"ReflectionPad{rank}d": pad("reflect") for rank in (1, 2, 3)},
    **{f"ReplicationPad{rank}d": pad("edge") for rank in (1, 2, 3)},
    **{f"CircularPad{rank}d": pad("wrap") for rank in (1, 2, 3)},
    "Upsample": upsample,
    "CELU": lambda layer, x: jax.nn.celu(x, layer.options["alpha"]),
    "ELU": lambda layer, x: jax.nn.elu(x, layer.options["alpha"]),
    "GELU": lambda layer, x: jax.nn.gelu(x, approximate=layer.options["approximate"] == "tanh"),
    "GLU": lambda layer, x: jax.nn.glu(x, layer.options["dim"]),
    "Hardsigmoid": plain(jax.nn.hard_sigmoid),
    "Hardswish": plain(jax.nn.hard_silu),
    "Hardtanh": plain(jax.nn.hard_tanh, min_val=-1.0, max_val=1.0),
    "LeakyReLU": lambda layer, x: jax.nn.leaky_relu(x, layer.options["negative_slope"]),
    "LogSigmoid": plain(jax.nn.log_sigmoid),
    "LogSoftmax": lambda layer, x: jax.nn.log_softmax(x, softmax_dim(layer, x)),
    "Mish": plain(jax.nn.mish),
    "PReLU": lambda layer, x: jax.nn.leaky_relu(x, channelwise(layer.weight, x, min(x.ndim - 1, 1))),
    "ReLU": plain(jax.nn.relu),
    "ReLU6": plain(jax.nn.relu6),
    "SELU": plain(jax.nn.selu),
    "SiLU": plain(jax.nn.silu),
    "Sigmoid": plain(jax.nn.sigmoid),
    "Softmax": lambda layer, x: jax.nn.softmax(x, softmax_dim(layer, x)),
    "Softmax2d": lambda layer, x: jax.nn.softmax(x, -3),
    "Softmin": lambda layer, x: jax.nn.softmax(-x, softmax_dim(layer, x)),
    "Softplus": softplus,
    "Softsign": plain(jax.nn.soft_sign),
    "Tanh": plain(jnp.tanh),
}


def cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    options, dim, smoothing = layer.options, 0 if x.ndim == 1 else 1, layer.options["label_smoothing"]
    if jnp.issubdtype(target.dtype, jnp.floating):
        if options["weight"] is not None:
            raise Unsupported("optax.softmax_cross_entropy has no weights of classes")
        smooth = target if not smoothing else target * (1 - smoothing) + smoothing / x.shape[dim]
        terms = optax.softmax_cross_entropy(x, smooth, axis=dim)
        return reduced(layer, terms, max(terms.size, 1) if x.size else None)
    if smoothing:
        if options["weight"] is not None or options["ignore_index"] >= 0:
            raise Unsupported("optax.smooth_labels has neither weights of classes nor an ignored one")
        scores = jnp.moveaxis(x, dim, -1)  # where smooth_labels looks for the classes
        smooth = optax.smooth_labels(jax.nn.one_hot(target, x.shape[dim], dtype=x.dtype), smoothing)
        return reduced(layer, optax.softmax_cross_entropy(scores, smooth))
    return weighted(
        layer, lambda classes: optax.softmax_cross_entropy_with_integer_labels(x, classes, axis=dim), x, target
    )


def nll(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    dim = 0 if x.ndim == 1 else 1

    def terms(classes: Tensor) -> Tensor:
        return -jnp.squeeze(jnp.take_along_axis(x, jnp.expand_dims(classes, dim), dim), dim)

    return weighted(layer, terms, x, target)


def weighted(layer: Layer, terms: Callable[[Tensor], Tensor], x: Tensor, target: Tensor) -> Tensor:
    """Per-class weights and the ignored class, by which optax's users multiply its terms."""
    counted = target != layer.options["ignore_index"]
    classes = jnp.where(counted, target, 0)
    if target.size and not counted.any():
        raise Unsupported("a mean over terms of which all are ignored is not defined in optax")
    if layer.options["weight"] is None:
        weight = counted.astype(x.dtype)
    else:
        weight = jnp.where(counted, layer.tensor("weight")[classes], 0)
    return reduced(layer, weight * terms(classes), weight.sum())


def binary_cross_entropy_with_logits(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    layer.options.refuse("optax.sigmoid_binary_cross_entropy", pos_weight=None)
    return reduced(layer, times_weight(layer, optax.sigmoid_binary_cross_entropy(x, target)))


def kl_div(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    divergence = (
        optax.losses.kl_divergence_with_log_targets if layer.options["log_target"] else optax.losses.kl_divergence
    )
    terms = divergence(x, target, axis=())
    return terms.sum() / x.shape[0] if layer.options["reduction"] == "batchmean" else reduced(layer, terms)


def smooth_l1(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    beta = layer.options["beta"]
    return reduced(layer, optax.huber_loss(x, target, delta=beta) / beta if beta else jnp.abs(x - target))


def cosine_embedding(layer: Layer, x: Tensor, input2: Tensor, target: Tensor) -> Tensor:
    if layer.dtype == "float64":
        raise Unsupported("optax.cosine_similarity does not add torch's 1e-12, which shows in float64")
    cosine = optax.cosine_similarity(x, input2)
    return reduced(layer, jnp.where(target == 1, 1 - cosine, jax.nn.relu(cosine - layer.options["margin"])))


LOSSES: dict[str, Op] = {
    **composed.losses(jnp),
    "MSELoss": lambda layer, x, target: reduced(layer, optax.squared_error(x, target)),
    "SmoothL1Loss": smooth_l1,
    "HuberLoss": lambda layer, x, target: reduced(layer, optax.huber_loss(x, target, delta=layer.options["delta"])),
    "CrossEntropyLoss": cross_entropy,
    "NLLLoss": nll,
    "BCEWithLogitsLoss": binary_cross_entropy_with_logits,
    "KLDivLoss": kl_div,
    "CosineEmbeddingLoss": cosine_embedding,
}

# Fields of optax's states, with the quantities that they are.
STATE = {
    "SGD": {"trace": "momentum"},
    "Adam": {"mu": "exp_avg", "nu": "exp_avg_sq", "count": "step"},
    "AdamW": {"mu": "exp_avg", "nu": "exp_avg_sq", "count": "step"},
    "RMSprop": {"nu": "square_avg", "mu": "grad_avg", "trace": "momentum"},
}


class Optimizer:
    """A gradient transformation of optax, with torch's maximize and coupled weight decay chained before it."""

    def __init__(self, type: str, options: Options, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        if type not in STATE:
            raise Unsupported(f"optax has no {type} by torch's equations")
        self.type, self.options, self.given, self.current = type, options, state, None
        before = [optax.scale(-1.0)] if options["maximize"] else []
        if options["weight_decay"] and type != "AdamW":
            before.append(optax.add_decayed_weights(options["weight_decay"]))
        self.transformation = optax.chain(*before, self._made())

    def _made(self) -> optax.GradientTransformation:
        options, lr = self.options, self.options["lr"]
        momentum = options.get("momentum") or None
        if self.type == "SGD":
            options.refuse("optax.sgd", dampening=0)
            return optax.sgd(lr, momentum, options["nesterov"])
        if self.type == "RMSprop":
            centered = options["centered"]
            return optax.rmsprop(
                lr, options["alpha"], options["eps"], 0.0, eps_in_sqrt=False, centered=centered, momentum=momentum
            )
        options.refuse("optax, whose amsgrad takes the maximum of corrected moments,", amsgrad=False)
        if self.type == "Adam":
            return optax.adam(lr, *options["betas"], options["eps"])
        return optax.adamw(lr, *options["betas"], options["eps"], weight_decay=options["weight_decay"])

    def step(self, params: dict[str, Tensor], grads: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.current is None:
            self.current = self._resumed(self.transformation.init(params), params)
        updates, self.current = self.transformation.update(grads, self.current, params)
        return dict(optax.apply_updates(params, updates))

    def _resumed(self, state: Any, params: dict[str, Tensor]) -> Any:
        for field, quantity in STATE[self.type].items():
            given = self.given.get(quantity, {})
            if not given:
                continue
            if field == "count":
                value: Any = jnp.asarray(next(iter(given.values())), jnp.int32)
            else:
                value = {name: self._sign(field) * given.get(name, jnp.zeros_like(p)) for name, p in params.items()}
            state = optax.tree.set(state, **{field: value})
        return state

    def _sign(self, field: str) -> float:
        """RMSprop's momentum is of what is already multiplied by the learning rate."""
        return -self.options["lr"] if (self.type, field) == ("RMSprop", "trace") else 1.0

    def state(self) -> dict[str, dict[str, Tensor]]:
        shown: dict[str, dict[str, Tensor]] = {}
        for field, quantity in STATE[self.type].items():
            value = optax.tree.get(self.current, field)
            if value is None:
                continue
            names = optax.tree.get(self.current, "nu") if field == "count" else value
            shown[quantity] = {n: value if field == "count" else value[n] / self._sign(field) for n in names}
        return shown


def gradient(
    function: Callable[[dict[str, Tensor]], Tensor], leaves: dict[str, Tensor]
) -> Callable[[Tensor | None], dict[str, Tensor]]:
    value, backward = jax.vjp(function, leaves)
    return lambda upstream: backward(jnp.ones_like(value) if upstream is None else upstream)[0]


def numpy(value: Tensor) -> Array:
    return np.asarray(value)


FRAMEWORK = Framework(
    name,
    array=jnp.asarray,
    numpy=numpy,
    gradient=gradient,
    concatenate=jnp.concatenate,
    layers=LAYERS,
    losses=LOSSES,
    optimizer=Optimizer,
    dtypes=("float64", "float32", "float16", "bfloat16"),
)


def run(case: Case) -> Trace:
    with jax.enable_x64(True):
        try:
            return FRAMEWORK.run(case)
        except NotImplementedError as error:  # such as the gradient of a maximum over dilated windows
            raise Unsupported(f"JAX: {error}") from error


def from_jax(fn: Callable[..., Any]) -> Callable[..., tuple[Any, Callable[[Any], tuple[Any, ...]]]]:
    """A function of JAX arrays, with a custom_vjp or without, as fn(x, …) -> (y, backward) for `oracle.check_op`: jax.vjp
    gives its backward."""

    def differentiable(*arrays: Array | None) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        learnt = [
            place
            for place, own in enumerate(arrays)
            if own is not None and own.dtype.kind not in "biu" and not isinstance(own, Constant)
        ]

        with jax.enable_x64(True):
            given = [None if own is None else jnp.asarray(own) for own in arrays]

            def of_learnt(*values: Any) -> Any:
                own = dict(zip(learnt, values, strict=True))
                return fn(*(own.get(place, value) for place, value in enumerate(given)))

            output, vjp = jax.vjp(of_learnt, *(given[place] for place in learnt))

        def backward(grad_output: Array) -> tuple[Any, ...]:
            with jax.enable_x64(True):
                grads = dict(zip(learnt, vjp(jnp.asarray(grad_output)), strict=True))
            return tuple(grads.get(place) for place in range(len(arrays)))

        return output, backward

    differentiable.__name__ = getattr(fn, "__name__", type(fn).__name__)
    return differentiable
