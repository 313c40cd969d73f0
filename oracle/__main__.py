"""python -m oracle"""

from oracle.cli import entry_point

entry_point()
