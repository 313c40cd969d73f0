"""Likely causes: transformations that real bugs make, held against the subject's own numbers with the derived tolerances."""

from oracle.causes.catalogue import Cause as Cause
from oracle.causes.catalogue import causes_of as causes_of
from oracle.causes.catalogue import in_words as in_words
from oracle.causes.evidence import Evidence as Evidence
