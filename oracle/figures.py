"""How figures are written for people: short, and never a 0 for something that is not."""

from __future__ import annotations

import math


def figure(value: float) -> str:
    """Three significant digits; an empty string where there is no figure."""
    if math.isnan(value):
        return ""
    if value == 0 or math.isinf(value):
        return f"{value:g}"
    if 1e-2 <= abs(value) < 1e4:
        return f"{value:.3g}"
    return f"{value:.1e}"


def exact_share(value: float) -> str:
    """A percentage that reads 0 or 100 only when it is exactly that."""
    percent = 100 * value
    if 0 < percent < 0.1:
        return "<0.1 %"
    if 99.9 < percent < 100:
        return ">99.9 %"
    return f"{percent:.3g} %"
