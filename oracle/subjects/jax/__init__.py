"""JAX as a subject: jax.numpy, jax.nn and jax.lax, differentiated by jax.vjp; losses and optimizers of optax."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax import numpy as jnp

from oracle.case import nested
from oracle.case.arrays import Array, Constant
from oracle.case.case import Case
from oracle.judging.profile import Profile
from oracle.subjects.jax.layers import LAYERS
from oracle.subjects.jax.losses import LOSSES
from oracle.subjects.jax.optimizers import Optimizer
from oracle.subjects.walk import Framework, Tensor
from oracle.trace import Trace, Unsupported

name = "jax"
accumulates = True
# optax counts no steps where its rule needs none.
SHOWN = ("output", "grad*", "param.*", "buffer.*", "momentum.*", "exp_avg*", "square_avg.*")
# JAX flushes subnormal numbers to zero, as its documentation of sharp bits says (jax-ml/jax#26668).
profile = Profile(quantities=SHOWN, conventions=("anything_at_nan", "softplus_uncut", "subnormals_as_zero"))


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
        finally:
            # What is compiled for a case takes about 20 MB, and other cases have other shapes.
            jax.clear_caches()  # type: ignore[no-untyped-call]


def differentiable(fn: Callable[..., Any]) -> Callable[..., tuple[Any, Callable[[Any], tuple[Any, ...]]]]:
    """Implements `oracle.from_jax`."""

    def differentiated(*arrays: Array | None) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
        learnt = [
            place
            for place, own in enumerate(arrays)
            if own is not None and own.dtype.kind not in "biu" and not isinstance(own, Constant)
        ]

        with jax.enable_x64(True):
            given = [None if own is None else jnp.asarray(own) for own in arrays]

            def of_learnt(*values: Any) -> tuple[list[Any], list[Any]]:
                """The outputs that have a gradient, and all outputs."""
                own = dict(zip(learnt, values, strict=True))
                output = fn(*(own.get(place, value) for place, value in enumerate(given)))
                made = [jnp.asarray(each) for each in nested.leaves(output)]
                return [each for each in made if jnp.issubdtype(each.dtype, jnp.inexact)], made

            _, vjp, output = jax.vjp(of_learnt, *(given[place] for place in learnt), has_aux=True)

        def backward(*grad_outputs: Array) -> tuple[Any, ...]:
            with jax.enable_x64(True):
                grads = dict(zip(learnt, vjp([jnp.asarray(own) for own in grad_outputs]), strict=True))
            return tuple(grads.get(place) for place in range(len(arrays)))

        return output[0] if len(output) == 1 else tuple(output), backward

    differentiated.__name__ = getattr(fn, "__name__", type(fn).__name__)
    return differentiated
