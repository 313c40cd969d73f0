"""A badge: the outcome of a run as a small picture for a README."""

from __future__ import annotations

from oracle.wording.figures import counted

NAME = "backpropagation"
# DejaVu Sans of 11 pixels, about.
A_CHARACTER, EDGE, HEIGHT = 6.8, 8, 20


def badge(outcome: str, passed: bool, kinds: int) -> str:
    """SVG with the outcome, or the number of kinds of discrepancies. A sign distinguishes it as well as the colour."""
    ended = f"{counted(kinds, 'kind')} of discrepancies" if kinds else outcome
    said = f"{'✓' if passed else '✗'} {ended}"
    left, right = (round(len(text) * A_CHARACTER + 2 * EDGE) for text in (NAME, said))
    colour = "#2767a5" if passed else "#b23a0a"
    whole = left + right
    return f"""<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{HEIGHT}" role="img" aria-label="{NAME}: {said}">
<title>{NAME}: {said}</title>
<rect width="{whole}" height="{HEIGHT}" rx="4" fill="#3b424c"/>
<path d="M{left} 0h{right - 4}a4 4 0 0 1 4 4v{HEIGHT - 8}a4 4 0 0 1 -4 4h-{right - 4}z" fill="{colour}"/>
<g fill="#fff" font-family="DejaVu Sans, Verdana, sans-serif" font-size="11" text-anchor="middle">
<text x="{left / 2}" y="14">{NAME}</text>
<text x="{left + right / 2}" y="14">{said}</text>
</g>
</svg>
"""
