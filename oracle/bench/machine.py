"""Where a measurement took place: processor, and the thread pools of the libraries that this process has loaded."""

from __future__ import annotations

import os
from typing import Any

from oracle.environment import environment


def machine() -> dict[str, Any]:
    """Plain values; `load` is the number of threads that wanted a core of late, this process's own among them.

    Raises: ImportError, in a sentence, without threadpoolctl.
    """
    try:
        from threadpoolctl import threadpool_info
    except ImportError as error:
        raise ImportError("benchmarks need threadpoolctl: pip install 'refbp[bench]'") from error
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
        "cores": about["threads"],
        "load": round(os.getloadavg()[0], 1),
        "platform": about["platform"],
        "pools": sorted(pools),
        "processor": about["processor"],
        "python": about["python"],
        "versions": about["versions"],
    }
