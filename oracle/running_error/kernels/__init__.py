"""How torch's kernels compute 16-bit numbers, on the CPU and with CUDA: tables by device, for layers and for operations.

Usually a kernel adds up in float32 and rounds its result once; the tables hold the exceptions, each with its source. Where a
source leaves something open, such as the number of slices in which cuBLAS adds up a product, the wider error counts.

The CPU's entries were measured: tests/oracle/modules/test_kernels.py and tests/oracle/programs/test_rules.py compare them with
torch. CUDA's were read from torch's sources, and nobody has measured them yet: tests/gpu/judge.py does.
"""

from oracle.running_error.kernels.layers import BY_CLASS as BY_CLASS
from oracle.running_error.kernels.layers import kernels_of as kernels_of
from oracle.running_error.kernels.operations import BY_DEVICE as BY_DEVICE
from oracle.running_error.kernels.operations import FAMILIES_BY_CALLS as FAMILIES_BY_CALLS
from oracle.running_error.kernels.operations import operations_on as operations_on
from oracle.running_error.kernels.table import Kernels as Kernels
from oracle.running_error.kernels.table import Operations as Operations
from oracle.running_error.kernels.table import Sliced as Sliced
