"""MLX as a subject: mlx.nn and mlx.core on the CPU, differentiated by mlx.core.vjp; its losses and optimizers.

MLX's layout has the channels last: each op moves them there and back.
"""

from __future__ import annotations

from collections.abc import Callable

import ml_dtypes
import mlx.core as mx
import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.judging.profile import Profile
from oracle.subjects.mlx.layers import LAYERS
from oracle.subjects.mlx.losses import LOSSES
from oracle.subjects.mlx.optimizers import Optimizer
from oracle.subjects.walk import Framework, Tensor
from oracle.trace import Trace, Unsupported

name = "mlx"
accumulates = True
# Its BatchNorm counts no batches.
SHOWN = ("output", "grad*", "param.*", "buffer.running_*", "momentum.*", "exp_avg*", "square_avg.*", "sum.*", "step.*")
profile = Profile(
    quantities=SHOWN,
    conventions=(
        "dampened_first_step",
        "anything_at_nan",
        "selu_in_six_digits",
        "softplus_uncut",
        "hardswish_as_product",
        "clamped_variance",
        "probabilities_on_the_simplex",
    ),
)


def gradient(
    function: Callable[[dict[str, Tensor]], Tensor], leaves: dict[str, Tensor]
) -> Callable[[Tensor | None], dict[str, Tensor]]:
    names = list(leaves)

    def of(upstream: Tensor | None) -> dict[str, Tensor]:
        one = mx.ones((), leaves["input"].dtype) if upstream is None else upstream
        _, grads = mx.vjp(lambda *values: function(dict(zip(names, values, strict=True))), list(leaves.values()), [one])
        return dict(zip(names, grads, strict=True))

    return of


def tensor(array: Array) -> Tensor:
    if array.dtype == ml_dtypes.bfloat16:  # MLX and NumPy cannot exchange it
        return mx.array(array.astype(np.float32)).astype(mx.bfloat16)
    if any(stride < 0 for stride in array.strides):  # which MLX does not take
        array = array.copy()
    return mx.array(array, getattr(mx, "bool_" if array.dtype == bool else array.dtype.name))


def numpy(value: Tensor) -> Array:
    if value.dtype == mx.bfloat16:
        return np.asarray(np.array(value.astype(mx.float32)).astype(ml_dtypes.bfloat16))
    return np.array(value)


FRAMEWORK = Framework(
    name,
    array=tensor,
    numpy=numpy,
    gradient=gradient,
    concatenate=lambda parts, dim: mx.concatenate(list(parts), dim),
    layers=LAYERS,
    losses=LOSSES,
    optimizer=Optimizer,
    buffers=("running_mean", "running_var"),
    dtypes=("float64", "float32", "float16", "bfloat16"),
    seed=lambda: mx.random.seed(0),
    evaluate=mx.eval,
)


# Messages of the ValueErrors that MLX raises for an operation that it lacks in a dtype or a rank.
LACKING = ("unsupported data type", "Can only handle groups")


def run(case: Case) -> Trace:
    if any(not given.size for given in case.inputs):
        raise Unsupported("MLX has no gradients of empty batches: some of them end the process")
    with mx.stream(mx.cpu):
        try:
            return FRAMEWORK.run(case)
        except ValueError as error:
            if any(words in str(error) for words in LACKING):
                raise Unsupported(f"MLX: {error}") from error
            raise
