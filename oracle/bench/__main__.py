"""Measures one section in this process, and prints its result as JSON on standard output."""

from __future__ import annotations

import json
import sys

from oracle.bench import load


def main(name: str, quick: bool) -> int:
    try:
        from oracle.bench.machine import Others, machine

        section = load(name)
    except ImportError as error:
        print(json.dumps(f"needs a library: {error}"))
        return 2
    others = Others()
    result = section.measure(quick, lambda line: print(f"  {line}", file=sys.stderr, flush=True))
    print(json.dumps({"machine": machine() | {"others": others.cores()}, "result": result.to_json()}))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], "--quick" in sys.argv))
