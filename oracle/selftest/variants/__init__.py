"""The library of legal variants: other orders of summation, formulas and layouts, none of which may be accused."""

from __future__ import annotations

from functools import cache

from oracle.selftest.variants import layers, sums, training
from oracle.selftest.variants.variant import Variant


@cache
def all_variants() -> dict[str, Variant]:
    """Every variant by name."""
    found: dict[str, Variant] = {}
    for family in (sums, layers, training):
        for variant in family.variants():
            assert variant.name not in found, variant.name
            found[variant.name] = variant
    return found
