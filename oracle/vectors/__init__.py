"""Test vectors for any language: cases as files, expected values with a tolerance for every element, and their judge.

PROTOCOL.md describes the format. Neither reading the files nor judging by them needs torch.
"""

from oracle.vectors.export import export as export
from oracle.vectors.folder import VectorsError as VectorsError
from oracle.vectors.results import judge as judge
