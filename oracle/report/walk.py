"""The numbers of a training step in order, shown as text, Markdown, JSON, an HTML page, and in a notebook."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from oracle.case.arrays import SPECIAL
from oracle.exchange.numbers import spelled
from oracle.execution.walk import GIVEN, Section
from oracle.report.html.templates import environment
from oracle.report.network_drawing import drawing

STAGE_WIDTH, NAME_WIDTH, VALUE_WIDTH = 10, 12, 24


@dataclass(frozen=True)
class Walk:
    """The numbers of one training step, the subject's beside the reference's.

    Attributes:
        case, why: the case's name, and what it tests.
        subject, dtype: the subject's name, and the dtype in which it computes.
        reference: the reference's name; it computes in float64.
        step: the step of the case, from 0.
        sections: the given numbers, forward pass, loss, backward pass and update, in this order.
    """

    case: str
    why: str
    subject: str
    dtype: str
    reference: str
    step: int
    sections: tuple[Section, ...]

    def __str__(self) -> str:
        heads = (f"{self.subject}, {self.dtype}", f"{self.reference}, float64")
        lines = [f"{self.case}: {self.why}", f"  {'':<{NAME_WIDTH}}{heads[0]:>{VALUE_WIDTH}}{heads[1]:>{VALUE_WIDTH}}"]
        for section in self.sections:
            lines += ["", f"{section.stage:<{STAGE_WIDTH}}{title(section)}"]
            lines += [
                f"  {name:<{NAME_WIDTH}}" + "".join(f"{v:>{VALUE_WIDTH}}" for v in values)
                for name, values in rows(section)
            ]
            if section.left_out:
                lines.append(f"  … and {section.left_out:,} more (--all shows them)")
        return "\n".join(lines)

    def to_markdown(self) -> str:
        parts = [f"# {self.case}", self.why, f"{self.subject} in {self.dtype}, beside {self.reference} in float64."]
        stage = ""
        for section in self.sections:
            if section.stage != stage:
                stage = section.stage
                parts.append(f"## {stage.capitalize()}")
            parts.append(f"**{title(section)}**")
            if section.lines:
                head = ["", "given"] if section.stage == GIVEN else ["", self.subject, self.reference]
                table = [
                    head,
                    ["---", *["---:"] * (len(head) - 1)],
                    *([f"`{name}`", *values] for name, values in rows(section)),
                ]
                parts.append("\n".join(f"| {' | '.join(cells)} |" for cells in table))
            if section.left_out:
                parts.append(f"… and {section.left_out:,} more.")
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """Everything as JSON; a number that is not finite is the word nan, inf or -inf."""
        return json.dumps(spelled(asdict(self), SPECIAL), ensure_ascii=False, indent=1)

    def to_html(self) -> str:
        """A complete HTML page: the network with its numbers, then every section."""
        return self._rendered("walk_page.html.j2", styles=["body { margin: 16px; }"])

    def to_svg(self) -> str:
        """The network with its numbers as an SVG file; empty if there is nothing to draw."""
        return str(drawing(self.sections, own_style=True))

    def _repr_html_(self) -> str:
        return self._rendered("walk.html.j2")

    def _rendered(self, template: str, **more: Any) -> str:
        sections = [(section, title(section), rows(section)) for section in self.sections]
        return (
            environment()
            .get_template(template)
            .render(walk=self, drawing=drawing(self.sections), sections=sections, **more)
        )


def title(section: Section) -> str:
    named = f"{section.place}: {section.what}" if section.what else section.place
    return named if section.digits is None else f"{named} ({section.digits:.1f} digits left)"


def rows(section: Section) -> list[tuple[str, list[str]]]:
    """The lines as texts: the name of each number, and its values with all their digits."""
    found = []
    for line in section.lines:
        place = f"[{', '.join(map(str, line.index))}]" if line.index else ""
        values = [line.value] if line.reference is None else [line.value, line.reference]
        found.append((section.symbol + place, [f"{value:.16g}" for value in values]))
    return found
