"""Whether the packages of the extra `refbp[oracle]` are installed.

`import oracle` works without them, since pytest loads oracle's plugin in every test run of the environment. The first use raises
an error that says what to install.
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
    "threadpoolctl",
    "torch",
    "typer",
)


class MissingExtra(ImportError):
    """A package of the extra is not installed. The message is one sentence."""


def missing() -> list[str]:
    return [name for name in MODULES if find_spec(name) is None]


def require(user: str) -> None:
    """Check that everything that `user` needs is installed. Raises: MissingExtra."""
    if lacking := missing():
        are = "is" if len(lacking) == 1 else "are"
        raise MissingExtra(
            f"{user} needs {', '.join(lacking)}, which {are} not installed: pip install 'refbp[oracle]'",
            name=lacking[0],
        )
