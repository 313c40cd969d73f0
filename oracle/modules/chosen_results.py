"""Finds programs whose result depends on an input through comparisons, such as a search for a root by bisection."""

from __future__ import annotations

from oracle.programs.program import Program, refs
from oracle.programs.table import RULES


def is_compared(program: Program, value: int) -> bool:
    """Whether an input, or something computed from it, is compared with other numbers."""
    reached = {value}
    for call in program.calls:
        if any(ref.value in reached for ref in refs((call.args, dict(call.kwargs)))):
            rule = RULES.get(call.name.partition(".")[0])
            if rule is not None and rule.compares:
                return True
            reached.update(own for own in call.results if own is not None)
    return False
