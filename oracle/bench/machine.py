"""The machine of a measurement: its processor, and the thread pools of the libraries in this process."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_info

from oracle.report.environment import environment


class Others:
    """The number of cores that other processes kept busy since this object was made. Busy ones make a measurement worthless."""

    def __init__(self) -> None:
        self.start = self._now()

    def cores(self) -> float | None:
        """The number of busy cores; None if the system does not report it."""
        if self.start is None or (now := self._now()) is None:
            return None
        seconds, busy, own = (after - before for after, before in zip(now, self.start, strict=True))
        return max(0.0, round((busy - own) / max(seconds, 1e-3), 2))

    @staticmethod
    def _now() -> tuple[float, float, float] | None:
        """Seconds of wall time, of all cores, and of this process and the child processes that have ended."""
        try:
            ticks = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:9]
        except OSError:
            return None
        user, nice, system, _, _, interrupts, soft, stolen = (int(count) / os.sysconf("SC_CLK_TCK") for count in ticks)
        return time.perf_counter(), user + nice + system + interrupts + soft + stolen, sum(os.times()[:4])


def machine() -> dict[str, Any]:
    """The machine as plain values."""
    about = environment()
    pools = [
        " ".join(
            str(pool[key])
            for key in ("internal_api", "version", "architecture", "threading_layer")
            if pool.get(key) is not None
        )
        + f", {pool['num_threads']} threads"
        for pool in threadpool_info()
    ]
    return {
        "cores": about.processors,
        "platform": about.platform,
        "pools": sorted(pools),
        "processor": about.processor,
        "python": about.python,
        "versions": dict(about.versions),
    }
