"""The memory that a check takes, as a multiple of what the training step itself takes beyond its model."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")

# A large image layer in front, a large weight behind: each alone would take a dozen arrays of its size in float64.
SCRIPT = """
import resource, sys, torch, oracle
from torch import nn

torch.set_num_threads(1)
oracle.check_module(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()), torch.randn(2, 3, 5, 5))
net = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(16, 16, 3, padding=1),
    nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16 * 16 * 16, 4096), nn.ReLU(), nn.Linear(4096, 10),
)
x, target, loss = torch.randn(8, 3, 64, 64), torch.arange(8), nn.CrossEntropyLoss()
with open("/proc/self/statm") as file:
    before = int(file.read().split()[1]) * resource.getpagesize()
if sys.argv[1] == "step":
    loss(net(x), target).backward()
else:
    assert oracle.check_module(net, x, loss, target).passed
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before)
"""


def taken(what: str) -> int:
    return int(subprocess.run([sys.executable, "-c", SCRIPT, what], capture_output=True, text=True, check=True).stdout)


@pytest.mark.slow
def test_a_check_takes_at_most_three_times_the_memory_of_the_step() -> None:
    step, check = taken("step"), taken("check")
    assert step > 80e6 and check < 3 * step
