"""Writes figures for people: short, and never as 0 if they are not zero."""

from __future__ import annotations

import math


def figure(value: float) -> str:
    """Three significant digits; an empty string for a missing figure."""
    if math.isnan(value):
        return ""
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    if 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}"
    return f"{value:.1e}"


def counted(number: int, noun: str) -> str:
    """A number with its noun, such as "1 row" or "2,000 rows"."""
    several = f"{noun.removesuffix('y')}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {noun if number == 1 else several}"


def exact_share(value: float) -> str:
    """A percentage that reads 0 or 100 only if it is exactly that; an empty string for a missing share."""
    if math.isnan(value):
        return ""
    percent = 100 * value
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.3g} %"


def measured(value: float, uncertainty: float) -> float:
    """The value rounded to the first two digits that its uncertainty makes meaningless."""
    if not (math.isfinite(value) and math.isfinite(uncertainty)) or value == 0 or uncertainty <= 0:
        return value
    digits = math.floor(math.log10(abs(value))) - math.floor(math.log10(uncertainty)) + 2
    return float(f"{value:.{min(max(digits, 3), 17)}g}")


def rounded(value: float, digits: int = 4) -> float:
    """The value to this number of significant digits; it never becomes 0 unless it is zero."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else value
