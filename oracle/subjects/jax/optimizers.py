"""Optimizers as optax has them, and the names in their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import optax
from jax import numpy as jnp

from oracle.subjects.walk import Options, Tensor
from oracle.trace import Unsupported

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
        """RMSprop's momentum accumulates updates that are already multiplied by the learning rate."""
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
