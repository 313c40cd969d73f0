"""Optimizers as mlx.optimizers has them, and the names in their states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import mlx.core as mx
from mlx import optimizers

from oracle.subjects.walk import Options, Tensor
from oracle.trace import Unsupported

# Names in the optimizers' states, with the quantities that they are.
STATE = {
    "SGD": {"v": "momentum"},
    "Adam": {"m": "exp_avg", "v": "exp_avg_sq"},
    "AdamW": {"m": "exp_avg", "v": "exp_avg_sq"},
    "RMSprop": {"v": "square_avg"},
    "Adagrad": {"v": "sum"},
}


class Optimizer:
    """An optimizer of MLX; further options of torch's are unsupported."""

    def __init__(self, type: str, options: Options, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        if type not in STATE:
            raise Unsupported(f"mlx.optimizers has no {type} by torch's equations")
        self.counts = type != "SGD"  # as torch does
        self.given = {key: values for key, values in state.items() if key != "step"}
        steps = [value.item() for value in state.get("step", {}).values()]
        self.names = {
            kept: quantity for kept, quantity in STATE[type].items() if quantity != "momentum" or options["momentum"]
        }
        options.refuse(f"mlx.optimizers.{type}", maximize=False)
        lr = options["lr"]
        if type == "SGD":
            given = (options[key] for key in ("momentum", "weight_decay", "dampening", "nesterov"))
            self.optimizer: Any = optimizers.SGD(lr, *given)
        elif type in ("Adam", "AdamW"):
            options.refuse(f"mlx.optimizers.{type}", amsgrad=False)
            betas, eps = list(options["betas"]), options["eps"]
            if type == "AdamW":
                self.optimizer = optimizers.AdamW(lr, betas, eps, options["weight_decay"], bias_correction=True)
            else:
                options.refuse("mlx.optimizers.Adam", weight_decay=0)
                self.optimizer = optimizers.Adam(lr, betas, eps, bias_correction=True)
        elif type == "RMSprop":
            options.refuse("mlx.optimizers.RMSprop", momentum=0, centered=False, weight_decay=0)
            self.optimizer = optimizers.RMSprop(lr, options["alpha"], options["eps"])
        else:
            options.refuse("mlx.optimizers.Adagrad", lr_decay=0, initial_accumulator_value=0, weight_decay=0)
            self.optimizer = optimizers.Adagrad(lr, options["eps"])
        if steps:
            self.optimizer.state["step"] = mx.array(int(steps[0]), mx.uint64)

    def step(self, params: dict[str, Tensor], grads: dict[str, Tensor]) -> dict[str, Tensor]:
        state = self.optimizer.state
        if not any(name in state for name in params):
            self.optimizer.init(params)
            for kept, quantity in self.names.items():
                for name, value in self.given.get(quantity, {}).items():
                    state[name][kept] = value
        return dict(self.optimizer.apply_gradients(grads, params))

    def state(self) -> dict[str, dict[str, Tensor]]:
        own = {name: kept for name, kept in self.optimizer.state.items() if isinstance(kept, dict)}
        shown = {quantity: {n: own[n][kept] for n in own} for kept, quantity in self.names.items()}
        return shown | ({"step": dict.fromkeys(own, self.optimizer.step.astype(mx.int64))} if self.counts else {})
