"""Compares any torch.nn.Module with the reference, leaf by leaf, on the arrays that its layers really received."""

from oracle.modules.arguments import ModuleError
from oracle.modules.check import check_module

__all__ = ["ModuleError", "check_module"]
