"""`oracle init`: writes a subject to start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

import typer

from oracle.cli.app import app

SKELETON = Path(__file__).parents[1] / "subjects" / "skeleton.py"


@app.command()
def init(file: Annotated[Path, typer.Argument(help="The file to write, such as my_subject.py.")]) -> None:
    """Write a small, commented subject that runs, as a frame for your own code."""
    if file.suffix != ".py" or not file.stem.isidentifier():
        raise ValueError(f"{file} cannot be imported: a name such as my_subject.py is expected")
    try:
        with file.open("x", encoding="utf-8") as made:
            made.write(SKELETON.read_text(encoding="utf-8").replace("mine", file.stem))
    except OSError as error:
        raise ValueError(f"{file} cannot be written: {error.strerror}") from error
    go = "" if file.parent == Path() else f"cd {shlex.quote(str(file.parent))} && "
    typer.echo(f"{file} is written. Run it: {go}oracle run --subject {file.stem}:subject --cases mlp")
