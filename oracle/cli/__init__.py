"""The command line. Exit status: 0 conforms, 1 discrepancies, 2 unusable arguments or input, or nothing that could be judged, 3
the harness itself failed.

Results go to standard output, progress and notes to standard error.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import typer

# Each registers its commands; in the order in which the help shows them.
from oracle.cli import run as run  # isort: skip
from oracle.cli import look as look  # isort: skip
from oracle.cli import report as report  # isort: skip
from oracle.cli import selftest as selftest  # isort: skip
from oracle.cli import scoreboard as scoreboard  # isort: skip
from oracle.cli import vectors as vectors  # isort: skip
from oracle.cli import bench as bench  # isort: skip
from oracle.cli.app import app

# What typer makes of Ctrl-C: 128 and the signal's number, as shells have it.
INTERRUPTED = 130


def main(arguments: list[str] | None = None) -> int:
    """Run a command; every error ends in one sentence on standard error and an exit status."""
    command: Callable[..., Any] = typer.main.get_command(app)
    try:
        command(args=arguments, prog_name="oracle", obj=sys.argv[1:] if arguments is None else arguments)
    except SystemExit as end:
        if end.code == INTERRUPTED:
            sys.stderr.write("oracle: interrupted\n")
        return int(end.code or 0) if not isinstance(end.code, str) else 2
    except (ValueError, ImportError) as error:
        sys.stderr.write(f"oracle: {error}\n")
        return 2
    except Exception as error:
        sys.stderr.write(f"oracle: the harness itself failed, please report this: {type(error).__name__}: {error}\n")
        return 3
    return 0


def entry_point() -> None:
    sys.path.insert(0, str(Path.cwd()))  # where a subject of one's own may lie
    sys.exit(main())
