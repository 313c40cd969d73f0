"""Loads the pages' templates, with the functions that each of them can use."""

from __future__ import annotations

from importlib import resources
from typing import Any

import jinja2
import pandas as pd

from oracle.wording.figures import counted, exact_share, figure


def environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.FunctionLoader(text),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {"figure": figure, "share": exact_share, "count": lambda value: f"{value:,}", "counted": counted}
    return made


def text(name: str) -> str:
    return resources.files("oracle.report.html").joinpath(name).read_text(encoding="utf-8")


def records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): value for key, value in record.items()} for record in frame.to_dict(orient="records")]
