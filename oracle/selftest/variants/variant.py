"""Puts another right implementation in the place of one of refbp's layers, losses or update rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from oracle.case.arrays import Array
from oracle.case.case import Case, Spec
from oracle.judging.profile import Profile
from oracle.selftest.plant import Implementation, patched, replaced
from oracle.suite.build import generator, network_case

# Batch size and features, large enough to make the sums long.
PLANE = (512, 640)
DECLARES_NOTHING = Profile()
# (layer, input) -> (output, backward); the backward gives grad_input, or it and the parameters' gradients by name.
Op: TypeAlias = Callable[[Any, Array], tuple[Array, Callable[[Array], Any]]]


@dataclass(frozen=True)
class Variant:
    """A legal implementation, which must not be accused: `run` computes the same as torch in another way.

    `name` starts with its family; `profile` is what the implementation declares.
    """

    name: str
    case: Case
    run: Implementation
    profile: Profile = DECLARES_NOTHING
    dtypes: tuple[str, ...] = ("float64", "float32")

    @property
    def family(self) -> str:
        return self.name.partition(":")[0]


def substituted(type: str, op: Op) -> Implementation:
    """refbp with the computation of a layer type replaced by `op`."""

    def change(apply: Any) -> Any:
        def other(self: Any, input: Array) -> Any:
            output, op_backward = op(self, input)
            output = output.astype(input.dtype, copy=False)

            def backward(grad_output: Array) -> Array:
                result = op_backward(grad_output)
                grad_input, grads = result if isinstance(result, tuple) else (result, {})
                for name, grad in grads.items():
                    self._grads[name] = self._grads[name] + grad.astype(input.dtype, copy=False)
                return np.asarray(grad_input).astype(input.dtype, copy=False)

            return output, backward

        return other

    return replaced(type, change)


def of_layer(
    name: str,
    spec: Spec,
    shape: tuple[int, ...],
    op: Op,
    profile: Profile = DECLARES_NOTHING,
    **fields: Any,
) -> Variant:
    """A variant of a layer, by itself and on a large input."""
    return Variant(name, big(name, spec, shape, **fields), substituted(spec.type, op), profile)


def big(name: str, spec: Spec, shape: tuple[int, ...], **fields: Any) -> Case:
    return network_case(f"selftest/{name}", "a legal variant", [spec], shape, **fields)


def of_loss(name: str, spec: Spec, shape: tuple[int, ...], arguments: Any, op: Callable[..., Any]) -> Variant:
    """A variant of a loss: op(loss, input, *arguments) -> (value, backward(grad_output) -> grad_input)."""
    rng = generator(f"{name}/targets")

    def change(apply: Any) -> Any:
        def other(self: Any, input: Array, *rest: Array) -> Any:
            _, honest_backward = apply(self, input, *rest)
            value, op_backward = op(self, input, *rest)

            def backward(grad_output: Any = 1.0) -> tuple[Any, ...]:
                first = np.asarray(op_backward(grad_output)).astype(input.dtype, copy=False)
                return (first, *honest_backward(grad_output)[1:])

            return np.asarray(value).astype(input.dtype, copy=False), backward

        return other

    case = network_case(f"selftest/{name}", "a legal variant", [], shape, loss=spec, targets=(arguments(rng, shape),))
    return Variant(name, case, replaced(spec.type, change))


def of_rule(name: str, type: str, options: Mapping[str, Any], rule: Callable[..., Any]) -> Variant:
    """A variant of an update rule (param, grad, *state, **options) -> (param, *state), with large parameters."""

    rng = generator(f"{name}/gradients")
    shapes = {"0.weight": (300, 200), "0.bias": (300,)}
    if type == "Muon":  # it updates only matrices
        del shapes["0.bias"]
    case = Case(
        f"selftest/{name}",
        "a legal variant",
        params={key: rng.standard_normal(shape) for key, shape in shapes.items()},
        grads=tuple({key: rng.standard_normal(shape) for key, shape in shapes.items()} for _ in range(4)),
        optimizer=Spec(type, options),
        steps=4,
    )
    return Variant(name, case, patched(f"refbp:{type}.rule", lambda _: rule))
