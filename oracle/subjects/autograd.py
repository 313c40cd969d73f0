"""HIPS autograd as a subject: autograd.numpy and autograd.scipy, differentiated by make_vjp; its sgd and adam."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import autograd
import autograd.numpy as anp
import numpy as np
from autograd.misc import optimizers
from autograd.scipy import signal, special
from autograd.tracer import getval

from oracle.case.case import Case
from oracle.judging.profile import Profile
from oracle.subjects import composed
from oracle.subjects.shapes import batched, channelwise, conv_sides, reduced, softmax_dim
from oracle.subjects.walk import Framework, Layer, Op, Options, Tensor
from oracle.trace import Trace, Unsupported

name = "autograd"
accumulates = True
# Its optimizers keep their state to themselves.
profile = Profile(quantities=("output", "grad*", "param.*"), conventions=("dampened_first_step", "anything_at_nan"))


def conv(layer: Layer, x: Tensor) -> Tensor:
    """autograd's convolution turns the kernel by 180°, and has stride 1 only."""
    layer.options.refuse("autograd.scipy.signal.convolve", groups=1, padding_mode="zeros")
    ones = (1,) * layer.rank
    if layer.each("stride") != ones or layer.each("dilation") != ones:
        raise Unsupported("autograd.scipy.signal.convolve has no stride and no dilation")
    space = list(range(2, 2 + layer.rank))

    def op(x: Tensor) -> Tensor:
        x = anp.pad(x, [(0, 0), (0, 0), *conv_sides(layer)], "constant")
        turned = layer.weight[(slice(None), slice(None), *(slice(None, None, -1),) * layer.rank)]
        z = signal.convolve(x, turned, axes=(space, space), dot_axes=([1], [1]), mode="valid")
        return z if layer.bias is None else z + channelwise(layer.bias, z)

    return batched(layer, x, op)


def gelu(layer: Layer, x: Tensor) -> Tensor:
    layer.options.refuse("a GELU by autograd.scipy.special.erf", approximate="none")
    return 0.5 * x * (1 + special.erf(x * np.sqrt(0.5).astype(x.dtype)))


def log_softmax(layer: Layer, x: Tensor) -> Tensor:
    return x - special.logsumexp(x, axis=softmax_dim(layer, x), keepdims=True)


LAYERS: dict[str, Op] = {
    **composed.layers(anp, getval),
    **{f"Conv{rank}d": conv for rank in (1, 2, 3)},
    "GELU": gelu,
    "LogSoftmax": log_softmax,
    "Sigmoid": lambda layer, x: special.expit(x),
}


def cross_entropy(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    layer.options.refuse("a cross entropy by autograd.scipy.special.logsumexp", weight=None, label_smoothing=0.0)
    if x.ndim != 2 or target.ndim != 1 or (target == layer.options["ignore_index"]).any():
        raise Unsupported("a cross entropy by autograd.scipy.special.logsumexp takes scores (N, C) and N classes")
    return reduced(layer, special.logsumexp(x, axis=1) - x[np.arange(len(target)), target])


def nll(layer: Layer, x: Tensor, target: Tensor) -> Tensor:
    layer.options.refuse("a negative log likelihood by an index", weight=None)
    if x.ndim != 2 or target.ndim != 1 or (target == layer.options["ignore_index"]).any():
        raise Unsupported("a negative log likelihood by an index takes scores (N, C) and N classes")
    return reduced(layer, -x[np.arange(len(target)), target])


LOSSES: dict[str, Op] = {**composed.losses(anp), "CrossEntropyLoss": cross_entropy, "NLLLoss": nll}


class Optimizer:
    """autograd's optimizers run a whole training at once, so each step repeats all earlier steps with stored gradients.

    They always compute in float64; the result is rounded, as a user has to do. Their momentum weights the new gradient by
    1 - mass, for which the learning rate compensates.
    """

    def __init__(self, type: str, options: Options, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        if type not in ("SGD", "Adam") or state:
            raise Unsupported("autograd has sgd and adam, and these cannot be resumed")
        options.refuse(f"autograd's {type.lower()}", weight_decay=0, maximize=False, nesterov=False, amsgrad=False)
        self.type, self.options = type, options
        self.start: dict[str, Tensor] = {}
        self.grads: list[dict[str, Tensor]] = []

    def step(self, params: dict[str, Tensor], grads: dict[str, Tensor]) -> dict[str, Tensor]:
        self.start = self.start or dict(params)
        self.grads.append(grads)
        return {name: self._moved(name) for name in params}

    def _moved(self, name: str) -> Tensor:
        steps, start = len(self.grads), self.start[name].copy()

        def gradient(x: Tensor, step: int) -> Tensor:
            return self.grads[step][name]

        if self.type == "SGD":
            mass = self.options["momentum"]
            dampening = self.options["dampening"] if mass else 0  # which torch ignores without momentum
            rate = self.options["lr"] * (1 - dampening) / (1 - mass)
            made = optimizers.sgd(gradient, start, num_iters=steps, step_size=rate, mass=mass)
        else:
            b1, b2 = self.options["betas"]
            lr, eps = self.options["lr"], self.options["eps"]
            made = optimizers.adam(gradient, start, num_iters=steps, step_size=lr, b1=b1, b2=b2, eps=eps)
        return made.astype(start.dtype)

    def state(self) -> dict[str, dict[str, Tensor]]:
        return {}


def gradient(
    function: Callable[[dict[str, Tensor]], Tensor], leaves: dict[str, Tensor]
) -> Callable[[Tensor | None], dict[str, Tensor]]:
    backward, value = autograd.make_vjp(function)(leaves)

    def of(upstream: Tensor | None) -> dict[str, Tensor]:
        grads: dict[str, Tensor] = backward(np.ones_like(value) if upstream is None else upstream)
        return grads

    return of


FRAMEWORK = Framework(
    name,
    array=lambda array: array,
    numpy=np.asarray,
    gradient=gradient,
    concatenate=lambda parts, dim: anp.concatenate(parts, axis=dim),
    layers=LAYERS,
    losses=LOSSES,
    optimizer=Optimizer,
)


def run(case: Case) -> Trace:
    """The trace of a case. NumPy's warnings are suppressed, since the results of overflows are judged."""
    with np.errstate(all="ignore"):
        return FRAMEWORK.run(case)
