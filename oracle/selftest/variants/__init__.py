"""The library of legal variants: other orders of summation, other formulas, other layouts. None may be accused."""

from __future__ import annotations

from functools import cache

from oracle.selftest.variants import (
    activations,
    convolution,
    losses,
    normalization,
    pooling,
    products,
    sums,
    training,
    updates,
)
from oracle.selftest.variants.variant import Variant

# In the order of the report.
FAMILIES = (sums, convolution, normalization, activations, pooling, products, training, losses, updates)


@cache
def all_variants() -> dict[str, Variant]:
    """Every variant by name."""
    found: dict[str, Variant] = {}
    for family in FAMILIES:
        for variant in family.variants():
            assert variant.name not in found, variant.name
            found[variant.name] = variant
    return found
