"""The API reference of both packages as HTML: python .ci/reference.py FOLDER. A warning ends it."""

from __future__ import annotations

import contextlib
import re
import sys
import warnings
from pathlib import Path
from typing import get_type_hints

import pdoc
from pdoc.docstrings import google

import oracle
import refbp

SECTION = re.compile(r"^(Args|Shape|Gradients|Raises|Conventions|Source)\b(?!:$)")


def markdown(docstring: str) -> str:
    """Each section of a docstring a paragraph of its own, the lines of an indented block points of a list."""
    lines, indented = [], False
    for line in docstring.splitlines():
        if SECTION.match(line):
            lines += (
                ["", SECTION.sub(r"**\1**", line), ""] if line.endswith(":") else ["", SECTION.sub(r"**\1**", line)]
            )
            indented = line.endswith(":")
        elif indented and line.startswith("    "):
            lines.append(f"- {line.strip()}" if line[4] != " " else line)
        else:
            lines.append(line)
            indented = indented and not line.strip()
    return google("\n".join(lines))


def main(folder: Path) -> None:
    warnings.simplefilter("error")
    # pdoc looks at what a module holds already, and oracle imports its public names when they are first asked for.
    vars(oracle).update({name: getattr(oracle, name) for name in oracle.__all__})
    # Nor does it know where to look up the names in the types of a NamedTuple, or of a dataclass that derives from another's.
    refbp.Parameter.__new__.__annotations__.update(get_type_hints(refbp.Parameter))
    oracle.Report.__init__.__annotations__.update(get_type_hints(oracle.Report))
    pdoc.docstrings.google = markdown
    pdoc.render.configure(docformat="google", footer_text=f"refbp {refbp.__version__}")
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.chdir(folder):  # a folder of a package's name in the current one makes pdoc ask which is meant
        pdoc.pdoc("refbp", "oracle", output_directory=folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
