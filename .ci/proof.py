"""python .ci/proof.py: README's short table of rivals, corpus and models, from what is published under reports/."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- proof -->\n", "<!-- end of proof -->"
# The rows of each report's first table that README quotes, by a part of their words.
QUOTED = {
    "rivals": ("float64:", "float32:", "bfloat16:"),
    "corpus": ("published bugs", "right layer and quantity", "right cause", "repaired twins", "caught by the best"),
    "models": ("by torch: accused", "false alarms", "run, of all that are listed"),
}


def rows(name: str) -> list[str]:
    """The rows of reports/NAME.md that are quoted; none where it is not published."""
    path = ROOT / "reports" / f"{name}.md"
    lines = path.read_text().splitlines() if path.exists() else ["|---|---|", ""]
    table = lines[lines.index("|---|---|") + 1 :]
    table = table[: next(number for number, line in enumerate(table) if not line.startswith("|"))]
    return [line for line in table if any(words in line for words in QUOTED[name])]


def main() -> None:
    readme = ROOT / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    quoted = [row for name in QUOTED for row in rows(name)]
    links = ", ".join(f"[{name}](reports/{name}.md)" for name in QUOTED if rows(name))
    table = "\n".join([f"| {links} | result |", "|---|---|", *quoted, ""])
    readme.write_text(f"{before}{BEGIN}{table}{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
