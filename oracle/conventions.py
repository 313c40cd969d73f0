"""Rules of other libraries that differ from torch's and are no errors: an implementation that declares one is judged by it.

Another one-sided derivative at a kink or tie needs no declaration: it is a derivative too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from oracle.arrays import Array
from oracle.case import Case, named_layers
from oracle.network import Results
from oracle.prediction import predict
from oracle.running_error import ErrorModel
from oracle.trace import Key

Guides = Mapping[Key, Array] | None


@dataclass(frozen=True)
class Convention:
    """What it does instead of torch's rule, the quantities that it changes, and what is expected under it."""

    what: str
    quantities: tuple[str, ...]
    expected: Callable[[Case, ErrorModel, Guides], Results]


def _biased_running_variance(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """running_var moves towards the batch's Σ(x - μ)² / n, where torch takes n - 1."""
    results = predict(case, model, guides)
    for name, spec in named_layers(case.layers):
        key = Key(0, name, "buffer.running_var")
        if not spec.type.startswith("BatchNorm") or key not in results:
            continue
        momentum = spec.options.get("momentum", 0.1)
        if momentum is None:
            momentum = 1 / float(results[key._replace(quantity="buffer.num_batches_tracked")])
        given = results[key._replace(quantity="input")]
        count = given.size // given.shape[1]
        kept = (1 - momentum) * case.params[f"{name}.running_var"].astype(np.float64)
        results[key] = kept + (results[key] - kept) * ((count - 1) / count)
    return results


def _dampened_first_step(case: Case, model: ErrorModel, guides: Guides) -> Results:
    """The momentum starts as a buffer of zeros, so that the first gradient is dampened too."""
    started = case.optimizer_state.get("momentum", {})
    zeros = {name: np.zeros_like(value) for name, value in case.params.items() if name not in started}
    state = {**case.optimizer_state, "momentum": {**zeros, **started}}
    return predict(replace(case, optimizer_state=state), model, guides)


CONVENTIONS = {
    "biased_running_variance": Convention(
        "the running variance is taken over n elements, not n - 1",
        ("buffer.running_var",),
        _biased_running_variance,
    ),
    "dampened_first_step": Convention(
        "dampening counts from the first step on",
        ("momentum.*", "param.*"),
        _dampened_first_step,
    ),
}
