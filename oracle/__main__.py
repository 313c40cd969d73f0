"""The command `oracle`, also `python -m oracle`."""

from __future__ import annotations

import sys

from oracle.wording import extra


def entry_point() -> None:
    try:
        extra.require("oracle")
    except extra.MissingExtra as error:
        sys.stderr.write(f"oracle: {error}\n")
        sys.exit(2)
    from oracle import cli

    cli.entry_point()


if __name__ == "__main__":
    entry_point()
