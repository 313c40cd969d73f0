"""The extra `refbp[oracle]`: whether all that it brings is there.

`import oracle` works without it, since the pytest plugin imports it in every run of anybody's tests. The first use says what to
install.
"""

from __future__ import annotations

from importlib.util import find_spec

MODULES = (
    "allpairspy",
    "hypothesis",
    "jinja2",
    "ml_dtypes",
    "pandas",
    "pyarrow",
    "rich",
    "safetensors",
    "torch",
    "typer",
)


class MissingExtra(ImportError):
    """Something of the extra is not installed, in one sentence."""


def missing() -> list[str]:
    return [name for name in MODULES if find_spec(name) is None]


def require(user: str) -> None:
    """Before `user` is used. Raises: MissingExtra."""
    if lacking := missing():
        are = "is" if len(lacking) == 1 else "are"
        raise MissingExtra(
            f"{user} needs {', '.join(lacking)}, which {are} not installed: pip install 'refbp[oracle]'",
            name=lacking[0],
        )
