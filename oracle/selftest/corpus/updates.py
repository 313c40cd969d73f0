"""A subject for a single update rule, and the decorator that adds such a rule to the corpus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import oracle
from oracle.case.arrays import Array
from oracle.case.case import Case
from oracle.selftest.corpus.entry import Book
from oracle.trace import Trace

Options = dict[str, Any]
State = dict[str, Any]
# An optimizer's rule for one parameter: (parameter, gradient, state, options) -> new parameter.
Update: TypeAlias = Callable[[Array, Array, State, Options], Any]
LACKS = {
    "SGD": ("maximize",),
    "Adam": ("amsgrad", "maximize"),
    "AdamW": ("amsgrad", "maximize"),
    "RMSprop": ("maximize", "centered", "momentum"),
    "Adagrad": ("maximize", "lr_decay"),
    "NAdam": ("maximize", "decoupled_weight_decay"),
}


class Updates:
    """A subject for one update rule, without parameter groups and without a state to resume from."""

    def __init__(self, name: str, type: str, rule: Update, lacks: tuple[str, ...]) -> None:
        self.name, self.type, self.rule, self.lacks = name, type, rule, lacks
        self.profile = oracle.Profile(quantities=("param.*",))

    def run(self, case: Case) -> Trace:
        spec = case.optimizer
        if case.layers or case.loss or spec is None or spec.type != self.type or spec.groups or case.optimizer_state:
            raise oracle.Unsupported(f"anything but {self.type} by itself")
        options = dict(spec.options)
        if lacking := [name for name in self.lacks if options.get(name)]:
            raise oracle.Unsupported(", ".join(lacking))
        params: dict[str, Array] = {name: value.copy() for name, value in case.params.items()}
        states: dict[str, dict[str, Any]] = {name: {} for name in params}
        shared: dict[str, Any] = {}
        trace = Trace()
        for step in range(case.steps):
            grads = case.grads[step % len(case.grads)]
            for name, param in params.items():
                states[name]["shared"] = shared
                params[name] = self.rule(param, grads[name], states[name], options).astype(case.dtype)
                layer, _, own = name.rpartition(".")
                trace.record(step, layer, f"param.{own}", params[name])
        return trace


class Rules(Book):
    """Entries for update rules."""

    def published(
        self, type: str, source: str, what: str, causes: str = "", lacks: tuple[str, ...] = ()
    ) -> Callable[[Callable[[bool], Update]], None]:
        """Decorates a function fixed -> rule, which runs on the suite's cases of this optimizer.

        lacks: further options that the rule does not support.
        """

        def add(make: Callable[[bool], Update]) -> None:
            def subject(fixed: bool) -> Updates:
                return Updates(source, type, make(fixed), (*LACKS[type], *lacks))

            self.run("parameter", source, what, "param.weight, param.bias", causes, f"/{type},")(subject)

        return add


def decayed(p: Array, g: Array, options: Options) -> Array:
    result: Array = g + options.get("weight_decay", 0) * p
    return result
