"""Other ways to the same layer: formulas, statistics, layouts, what is fused and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from scipy.special import erfc

from oracle.arrays import Array
from oracle.profile import Profile
from oracle.selftest.changes import of_channels
from oracle.selftest.variants.variant import Op, Variant, of_layer
from oracle.suite.build import layer

PLANE = (512, 640)


def variants() -> Iterator[Variant]:
    yield from of_convolution()
    yield from of_normalization()
    yield from of_activations()
    yield from of_softmax()
    yield from of_pooling()
    yield from of_structure()


# Convolution


def of_convolution() -> Iterator[Variant]:
    spec, shape = layer("Conv2d", 4, 32, 3, padding=1), (6, 4, 40, 40)
    yield of_layer("conv: tap by tap", spec, shape, tap_by_tap)
    yield of_layer("conv: position by position", layer("Conv2d", 4, 96, 3, padding=1), (24, 4, 12, 12), by_position)
    yield of_layer("conv: input gradient as a convolution with the turned kernel", spec, shape, turned_kernel)
    yield of_layer("conv: channels last", spec, shape, channels_last)
    yield of_layer("conv: sample by sample", spec, shape, by_sample)
    declared = Profile(normwise=("Conv2d",))
    yield of_layer("conv: by Fourier transform, declared normwise", spec, shape, by_fourier, declared)
    yield of_layer("conv: by Winograd's algorithm, declared normwise", spec, shape, by_winograd, declared)


def taps(x: Array, kernel: int = 3) -> Iterator[tuple[int, int, Array]]:
    """(i, j, the padded input as tap (i, j) sees it)."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    height, width = x.shape[2:]
    for i in range(kernel):
        for j in range(kernel):
            yield i, j, padded[:, :, i : i + height, j : j + width]


def tap_by_tap(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    y = np.zeros((len(input), len(weight), *input.shape[2:]), input.dtype)
    for i, j, seen in taps(input):
        y += np.einsum("nchw,fc->nfhw", seen, weight[:, :, i, j])
    y += of_channels(bias, y)
    return y, lambda g: (
        sum(np.einsum("nfhw,fc->nchw", seen, weight[:, :, 2 - i, 2 - j]) for i, j, seen in taps(g)),
        {
            "weight": np.stack([np.einsum("nchw,nfhw->fc", seen, g) for _, _, seen in taps(input)], -1).reshape(
                weight.shape
            ),
            "bias": g.sum((0, 2, 3)),
        },
    )


def gradients_by_tap(self: Any, input: Array, g: Array) -> dict[str, Array]:
    weight = self.params["weight"]
    columns = np.stack([seen for _, _, seen in taps(input)], 2)  # (N, C, 9, H, W)
    return {
        "weight": np.tensordot(g, columns, ((0, 2, 3), (0, 3, 4))).reshape(weight.shape),
        "bias": g.sum((0, 2)).sum(-1),
    }


def by_position(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    padded = np.pad(input, ((0, 0), (0, 0), (1, 1), (1, 1)))
    y = np.empty((len(input), len(weight), *input.shape[2:]), input.dtype)
    for i, j in np.ndindex(*input.shape[2:]):
        y[:, :, i, j] = np.tensordot(padded[:, :, i : i + 3, j : j + 3], weight, ((1, 2, 3), (1, 2, 3))) + bias

    def backward(g: Array) -> Any:
        spread = np.zeros_like(padded)
        for i, j in np.ndindex(*input.shape[2:]):
            spread[:, :, i : i + 3, j : j + 3] += np.tensordot(g[:, :, i, j], weight, (1, 0))
        return spread[:, :, 1:-1, 1:-1], gradients_by_tap(self, input, g)

    return y, backward


def correlated(x: Array, weight: Array) -> Array:
    columns = np.stack([seen for _, _, seen in taps(x)], 2)
    kernel = weight.reshape(*weight.shape[:2], 9)
    return np.moveaxis(np.tensordot(columns, kernel, ((1, 2), (1, 2))), -1, 1)


def turned_kernel(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    y = correlated(input, weight)
    back = np.swapaxes(np.flip(weight, (2, 3)), 0, 1)
    return y + of_channels(bias, y), lambda g: (correlated(g, back), gradients_by_tap(self, input, g))


def channels_last(self: Any, input: Array) -> Any:
    def last(x: Array) -> Array:
        return np.ascontiguousarray(np.moveaxis(x, 1, -1))

    weight, bias = self.params["weight"], self.params["bias"]
    x = last(input)
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    height, width = input.shape[2:]
    y = np.zeros((*x.shape[:3], len(weight)), x.dtype) + bias
    for i, j in np.ndindex(3, 3):
        y += padded[:, i : i + height, j : j + width] @ weight[:, :, i, j].T

    def backward(g: Array) -> Any:
        delta = last(g)
        spread = np.zeros_like(padded)
        for i, j in np.ndindex(3, 3):
            spread[:, i : i + height, j : j + width] += delta @ weight[:, :, i, j]
        return np.moveaxis(spread[:, 1:-1, 1:-1], -1, 1), gradients_by_tap(self, input, g)

    return np.moveaxis(y, -1, 1), backward


def by_sample(self: Any, input: Array) -> Any:
    """Gradients are accumulated over micro-batches of one."""
    parts = [turned_kernel(self, input[n : n + 1]) for n in range(len(input))]

    def backward(g: Array) -> Any:
        results = [back(g[n : n + 1]) for n, (_, back) in enumerate(parts)]
        grads = {name: sum(own[name] for _, own in results[1:]) + results[0][1][name] for name in ("weight", "bias")}
        return np.concatenate([first for first, _ in results]), grads

    return np.concatenate([y for y, _ in parts]), backward


def by_fourier(self: Any, input: Array) -> Any:
    """A product of spectra, in the data's own precision (NumPy's transforms keep single precision)."""
    weight, bias = self.params["weight"], self.params["bias"]
    height, width = input.shape[2:]
    size = (height + 2, width + 2)
    padded = np.pad(input, ((0, 0), (0, 0), (1, 1), (1, 1)))
    spectrum, kernel = np.fft.rfft2(padded), np.fft.rfft2(weight, size)
    y = np.fft.irfft2(np.einsum("nchw,fchw->nfhw", spectrum, kernel.conj()), size)[:, :, :height, :width]

    def backward(g: Array) -> Any:
        upstream = np.fft.rfft2(g, size)
        full = np.fft.irfft2(np.einsum("nfhw,fchw->nchw", upstream, kernel), size)
        moved = np.fft.irfft2(np.einsum("nchw,nfhw->fchw", spectrum, upstream.conj()), size)
        return full[:, :, 1:-1, 1:-1], {"weight": moved[:, :, :3, :3], "bias": g.sum((0, 2, 3))}

    return y.astype(input.dtype) + of_channels(bias, y), backward


# Winograd's F(2x2, 3x3): four outputs from a tile of 4x4 with sixteen products instead of 36. Lavin and Gray (2015).
TILE = np.array([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
KERNEL = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
OUTPUT = np.array([[1, 1, 1, 0], [0, 1, -1, -1]])


def winograd(x: Array, weight: Array) -> Array:
    tile, kernel, output = (matrix.astype(x.dtype) for matrix in (TILE, KERNEL, OUTPUT))
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    view = np.lib.stride_tricks.sliding_window_view(padded, (4, 4), (2, 3))[:, :, ::2, ::2]
    data = np.einsum("ai,nchwij,bj->nchwab", tile, view, tile, optimize=True)
    filters = np.einsum("ai,fcij,bj->fcab", kernel, weight, kernel, optimize=True)
    product = np.einsum("nchwab,fcab->nfhwab", data, filters)
    y = np.einsum("ia,nfhwab,jb->nfhiwj", output, product, output, optimize=True)
    return np.asarray(y.reshape(len(x), len(weight), *x.shape[2:]))


def by_winograd(self: Any, input: Array) -> Any:
    weight, bias = self.params["weight"], self.params["bias"]
    y = winograd(input, weight)
    back = np.swapaxes(np.flip(weight, (2, 3)), 0, 1)
    return y + of_channels(bias, y), lambda g: (winograd(g, back), gradients_by_tap(self, input, g))


# Normalisation


def of_normalization() -> Iterator[Variant]:
    image, spec = (8, 16, 48, 48), layer("BatchNorm2d", 16)
    for name, moments in (("one pass", one_pass), ("Welford", welford), ("wider statistics", wide_moments)):
        yield of_layer(f"batch norm: {name}", spec, image, normalised(moments, (0, 2, 3)))
    yield of_layer("batch norm: scale and shift folded", spec, image, normalised(two_pass, (0, 2, 3), folded=True))
    yield of_layer(
        "batch norm: gradient times N, divided at the end", spec, image, normalised(two_pass, (0, 2, 3), late=True)
    )
    for name, moments in (("one pass", one_pass), ("Welford", welford), ("wider statistics", wide_moments)):
        yield of_layer(f"layer norm: {name}", layer("LayerNorm", 640), PLANE, normalised(moments, (1,)))
    yield of_layer(
        "layer norm: gradient times N, divided at the end",
        layer("LayerNorm", 640),
        PLANE,
        normalised(two_pass, (1,), late=True),
    )
    yield of_layer(
        "layer norm: scale and shift folded", layer("LayerNorm", 640), PLANE, normalised(two_pass, (1,), folded=True)
    )


def two_pass(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    mean = x.mean(axes, keepdims=True)
    return mean, np.square(x - mean).mean(axes, keepdims=True)


def one_pass(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    mean = x.mean(axes, keepdims=True)
    return mean, np.square(x).mean(axes, keepdims=True) - np.square(mean)


def wide_moments(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    wide = np.longdouble if x.dtype == np.float64 else np.float64
    mean, variance = two_pass(x.astype(wide), axes)
    return mean.astype(x.dtype), variance.astype(x.dtype)


def welford(x: Array, axes: tuple[int, ...]) -> tuple[Array, Array]:
    """Running mean and sum of squares, an element of the first of `axes` at a time, then merged over the others."""
    slices = np.moveaxis(x, axes[0], 0)
    mean, square, count = np.zeros_like(slices[0]), np.zeros_like(slices[0]), 0
    for own in slices:
        count += 1
        delta = own - mean
        mean = mean + delta / count
        square = square + delta * (own - mean)
    mean, square = np.expand_dims(mean, axes[0]), np.expand_dims(square, axes[0])
    total = mean.mean(axes, keepdims=True)
    variance = (square / count + np.square(mean - total)).mean(axes, keepdims=True)
    return total, variance


def normalised(moments: Any, axes: tuple[int, ...], folded: bool = False, late: bool = False) -> Op:
    """Batch or layer normalisation from these moments; weight and bias folded into one scale and shift, or the division by
    N left to the end of the gradient."""

    def op(self: Any, input: Array) -> Any:
        over_batch = axes[0] == 0
        shape = (1, -1, *(1,) * (input.ndim - 2)) if over_batch else (1, -1)
        others = axes if over_batch else tuple(range(input.ndim - 1))
        weight, bias = self.params["weight"].reshape(shape), self.params["bias"].reshape(shape)
        mean, variance = moments(input, axes)
        s = 1 / np.sqrt(variance + input.dtype.type(self.eps))
        x_hat = (input - mean) * s
        y = input * (weight * s) + (bias - mean * weight * s) if folded else weight * x_hat + bias
        count = input.size // mean.size
        if over_batch and self.training and self.track_running_stats:
            own = self.buffers
            for name, new in (("running_mean", mean), ("running_var", variance * (count / (count - 1)))):
                own[name] = (1 - self.momentum) * own[name] + self.momentum * new.reshape(-1).astype(input.dtype)
            own["num_batches_tracked"] = own["num_batches_tracked"] + 1

        def backward(g: Array) -> Any:
            grads = {"weight": (g * x_hat).sum(others), "bias": g.sum(others)}
            h = g * weight
            if late:
                first = (
                    (count * h - h.sum(axes, keepdims=True) - x_hat * (h * x_hat).sum(axes, keepdims=True)) * s / count
                )
            else:
                first = s * (h - h.mean(axes, keepdims=True) - x_hat * (h * x_hat).mean(axes, keepdims=True))
            return first, grads

        return y, backward

    return op


# Activations


def elementwise(f: Any, derivative: Any) -> Op:
    def op(self: Any, input: Array) -> Any:
        y = f(input)
        return y, lambda g: g * derivative(input, y)

    return op


def sigma(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


def of_activations() -> Iterator[Variant]:
    def activation(name: str, type: str, f: Any, derivative: Any, **options: Any) -> Variant:
        return of_layer(f"{type}: {name}", layer(type, **options), PLANE, elementwise(f, derivative))

    yield activation("one formula for both signs", "Sigmoid", sigma, lambda x, y: y - y * y)
    yield activation(
        "by the hyperbolic tangent", "Sigmoid", lambda x: 0.5 * (1 + np.tanh(x / 2)), lambda x, y: y * (1 - y)
    )
    yield activation(
        "derivative from exponentials", "Sigmoid", sigma, lambda x, y: np.exp(-x) / np.square(1 + np.exp(-x))
    )
    yield activation("derivative (1 - y)(1 + y)", "Tanh", np.tanh, lambda x, y: (1 - y) * (1 + y))
    yield activation("a quotient", "SiLU", lambda x: x / (1 + np.exp(-x)), lambda x, y: sigma(x) + y * (1 - sigma(x)))
    yield activation(
        "by the complementary error function",
        "GELU",
        lambda x: 0.5 * x * erfc(-x * np.sqrt(0.5).astype(x.dtype)),
        gelu_slope,
    )
    yield activation("by the sigmoid", "GELU", gelu_tanh, gelu_tanh_slope, approximate="tanh")
    yield activation("by logaddexp", "Softplus", lambda x: np.logaddexp(x, x.dtype.type(0)), lambda x, y: sigma(x))
    yield activation("rational", "Mish", lambda x: x * ratio(x), mish_slope)
    yield activation("a product with a mask", "ReLU", lambda x: x * (x > 0), lambda x, y: (x > 0).astype(x.dtype))
    yield activation("half of x + |x|", "ReLU", lambda x: (x + np.abs(x)) / 2, lambda x, y: (y > 0).astype(x.dtype))
    yield activation(
        "a maximum",
        "LeakyReLU",
        lambda x: np.maximum(x, x * 0.01),
        lambda x, y: np.where(x > 0, x.dtype.type(1), x.dtype.type(0.01)),
    )
    yield activation("clipped", "Hardtanh", lambda x: np.clip(x, -1, 1), lambda x, y: (np.abs(x) < 1).astype(x.dtype))
    yield activation(
        "by the sign", "Softsign", lambda x: x / (1 + np.abs(x)), lambda x, y: 1 / np.square(1 + np.abs(x))
    )
    yield activation(
        "through softplus", "LogSigmoid", lambda x: -np.logaddexp(x.dtype.type(0), -x), lambda x, y: sigma(-x)
    )
    yield activation(
        "two minimums", "Hardswish", lambda x: x * np.minimum(np.maximum(x + 3, 0), 6) / 6, hardswish_slope
    )


def gelu_slope(x: Array, y: Array) -> Array:
    half = np.sqrt(0.5).astype(x.dtype)
    return np.asarray(0.5 * erfc(-x * half) + x * np.exp(-0.5 * x * x) * (half / np.sqrt(np.pi).astype(x.dtype)))


def gelu_argument(x: Array) -> Array:
    return np.asarray(np.sqrt(2 / np.pi).astype(x.dtype) * x * (1 + 0.044715 * x * x))


def gelu_tanh(x: Array) -> Array:
    return np.asarray(x * sigma(2 * gelu_argument(x)))


def gelu_tanh_slope(x: Array, y: Array) -> Array:
    s = sigma(2 * gelu_argument(x))
    inner = np.sqrt(2 / np.pi).astype(x.dtype) * (1 + 3 * 0.044715 * x * x)
    return np.asarray(s + 2 * x * s * (1 - s) * inner)


def ratio(x: Array) -> Array:
    n = np.exp(x)
    return np.asarray((n * n + 2 * n) / (n * n + 2 * n + 2))


def mish_slope(x: Array, y: Array) -> Array:
    t = ratio(x)
    return np.asarray(t + x * (1 - t) * (1 + t) * sigma(x))


def hardswish_slope(x: Array, y: Array) -> Array:
    return np.where(x <= -3, 0, np.where(x >= 3, 1, (2 * x + 3) / 6)).astype(x.dtype)


def of_softmax() -> Iterator[Variant]:
    def unshifted(self: Any, input: Array) -> Any:
        e = np.exp(input)
        y = e / e.sum(1, keepdims=True)
        return y, lambda g: y * (g - (g * y).sum(1, keepdims=True))

    def unfused(self: Any, input: Array) -> Any:
        y, _ = unshifted(self, input)
        return y, lambda g: y * g - y * (y * g).sum(1, keepdims=True)

    def log_unshifted(self: Any, input: Array) -> Any:
        y = input - np.log(np.exp(input).sum(1, keepdims=True))
        return y, lambda g: g - np.exp(y) * g.sum(1, keepdims=True)

    def log_of_softmax(self: Any, input: Array) -> Any:
        p, _ = unshifted(self, input)
        return np.log(p), lambda g: g - p * g.sum(1, keepdims=True)

    yield of_layer("Softmax: not shifted", layer("Softmax", 1), PLANE, unshifted)
    yield of_layer("Softmax: gradient not fused", layer("Softmax", 1), PLANE, unfused)
    yield of_layer("LogSoftmax: not shifted", layer("LogSoftmax", 1), PLANE, log_unshifted)
    yield of_layer("LogSoftmax: logarithm of the softmax", layer("LogSoftmax", 1), PLANE, log_of_softmax)


def of_pooling() -> Iterator[Variant]:
    shape = (8, 12, 64, 64)

    def blocks(x: Array) -> Array:
        n, c, h, w = x.shape
        return np.moveaxis(x.reshape(n, c, h // 2, 2, w // 2, 2), 3, 4).reshape(n, c, h // 2, w // 2, 4)

    def joined(x: Array) -> Array:
        n, c, h, w, _ = x.shape
        return np.moveaxis(x.reshape(n, c, h, w, 2, 2), 4, 3).reshape(n, c, 2 * h, 2 * w)

    def by_index(self: Any, input: Array) -> Any:
        view = blocks(input)
        winner = view.argmax(-1)[..., None]

        def backward(g: Array) -> Array:
            result = np.zeros_like(view)
            np.put_along_axis(result, winner, g[..., None], -1)
            return joined(result)

        return np.take_along_axis(view, winner, -1)[..., 0], backward

    def by_comparison(self: Any, input: Array) -> Any:
        view = blocks(input)
        y = view.max(-1)
        return y, lambda g: joined(np.where(view == y[..., None], g[..., None], 0))

    def reciprocal(self: Any, input: Array) -> Any:
        third = input.dtype.type(1 / 9)
        n, c, h, w = input.shape
        view = input.reshape(n, c, h // 3, 3, w // 3, 3)
        return view.sum((3, 5)) * third, lambda g: np.repeat(np.repeat(g * third, 3, 2), 3, 3)

    def running(self: Any, input: Array) -> Any:
        n, c, h, w = input.shape
        view = input.reshape(n, c, h // 3, 3, w // 3, 3) / input.dtype.type(9)
        total = np.zeros_like(view[:, :, :, 0, :, 0])
        for i, j in np.ndindex(3, 3):
            total = total + view[:, :, :, i, :, j]
        return total, lambda g: np.repeat(np.repeat(g / 9, 3, 2), 3, 3)

    yield of_layer("max pool: winners by index", layer("MaxPool2d", 2), shape, by_index)
    yield of_layer("max pool: winners by comparison", layer("MaxPool2d", 2), shape, by_comparison)
    yield of_layer("avg pool: a product with the reciprocal", layer("AvgPool2d", 3), (8, 12, 63, 63), reciprocal)
    yield of_layer("avg pool: divided before adding", layer("AvgPool2d", 3), (8, 12, 63, 63), running)


def of_structure() -> Iterator[Variant]:
    def as_product(self: Any, input: Array) -> Any:
        """Bilinear interpolation as two matrix products."""
        n = input.shape[-1]
        matrix = np.zeros((2 * n, n), input.dtype)
        for i in range(2 * n):
            position = max((i + 0.5) / 2 - 0.5, 0.0)
            low = int(position)
            matrix[i, low] += 1 - (position - low)
            matrix[i, min(low + 1, n - 1)] += position - low
        return matrix @ input @ matrix.T, lambda g: matrix.T @ g @ matrix

    yield of_layer(
        "Upsample: two matrix products",
        layer("Upsample", scale_factor=2.0, mode="bilinear"),
        (8, 8, 40, 40),
        as_product,
    )

    def split(self: Any, input: Array) -> Any:
        weight, bias = self.params["weight"], self.params["bias"]
        half = len(input) // 2

        def backward(g: Array) -> Any:
            first, second = g[:half].T @ input[:half], g[half:].T @ input[half:]
            return g @ weight, {"weight": first + second, "bias": g[:half].sum(0) + g[half:].sum(0)}

        return np.concatenate([input[:half] @ weight.T, input[half:] @ weight.T]) + bias, backward

    yield of_layer("linear: batch in two halves", layer("Linear", 96, 640), (512, 96), split)

    def bias_first(self: Any, input: Array) -> Any:
        """The bias as one more input of constant one."""
        weight = np.concatenate([self.params["weight"], self.params["bias"][:, None]], 1)
        x = np.concatenate([input, np.ones((len(input), 1), input.dtype)], 1)

        def backward(g: Array) -> Any:
            grads = g.T @ x
            return (g @ weight)[:, :-1], {"weight": grads[:, :-1], "bias": grads[:, -1]}

        return x @ weight.T, backward

    yield of_layer("linear: bias as one more input", layer("Linear", 96, 640), (512, 96), bias_first)
