"""The table of rules as a reader sees it."""

from __future__ import annotations

from oracle.cli.lists import entries


def test_the_list_of_ops_says_what_each_computes() -> None:
    """Every rule has its formula in a line, and there are enough for what people's models are made of."""
    table = {entry["op"]: entry for entry in entries("ops")}
    assert table["mul"] == {"op": "mul", "family": "arithmetic", "rule": "x y; g y, and g x"}
    assert table["bernoulli"]["rule"] == "taken as it was"
    computed = [entry for entry in table.values() if entry["rule"] != "taken as it was"]
    assert len(computed) >= 90 and all(entry["rule"] for entry in computed)
