"""The fully connected layer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from oracle.case.case import Case
from oracle.suite.build import label, layer, network_case


def cases() -> Iterator[Case]:
    for features in ((1, 1), (3, 4), (64, 10), (300, 5)):
        for bias in (True, False):
            options: dict[str, Any] = {"in_features": features[0], "out_features": features[1], "bias": bias}
            for batch in ((), (1,), (5,), (2, 3)):
                size = "x".join(map(str, batch)) or "none"
                yield network_case(
                    f"linear/Linear{label(options)},batch={size}",
                    "weight and bias gradients sum over all leading dimensions, in the weight's layout",
                    [layer("Linear", **options)],
                    (*batch, features[0]),
                )
