"""What every form of a report says in the same words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from oracle.report.table import CONFORMS, NOT_ALL_JUDGED, outcome


def ended(about: Mapping[str, Any], table: pd.DataFrame) -> str:
    """How a run ended, in a word or two: something that was left unjudged without the user's word is no success."""
    found = outcome(table)
    return NOT_ALL_JUDGED if found == CONFORMS and about.get("open") else found


def declared(about: Mapping[str, Any]) -> str:
    """What the subject's profile changes about the judgement; "" where it has none."""
    return "; ".join(about.get("profile", ()))


def never_tried(about: Mapping[str, Any], most: int) -> str:
    """Options that a subject of few was never tried with, of at most so many classes, and in how many usual settings it was;
    "" where it was tried with all."""
    classes, usual = about.get("never tried", []), about.get("usual settings", "")
    more = f"and options of {len(classes) - most} more classes" if len(classes) > most else ""
    return "; ".join(text for text in (*classes[:most], more, usual) if text)
