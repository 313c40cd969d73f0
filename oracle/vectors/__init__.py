"""Test vectors for any language: cases as files, what is expected with the tolerance of every element, and their judge.

PROTOCOL.md describes the format; nothing of torch is needed to read it or to judge by it.
"""

from oracle.vectors.export import export as export
from oracle.vectors.folder import VectorsError as VectorsError
from oracle.vectors.results import judge as judge
