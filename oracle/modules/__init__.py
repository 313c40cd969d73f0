"""Any torch.nn.Module held against the reference, leaf by leaf: what its layers were really given and what they made of it."""

from oracle.modules.arguments import ModuleError
from oracle.modules.check import check_module

__all__ = ["ModuleError", "check_module"]
