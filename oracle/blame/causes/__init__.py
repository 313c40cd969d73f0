"""Likely causes: each computes what a common bug would give, and compares it with the subject's numbers within the tolerances."""

from oracle.blame.causes.evidence import Evidence as Evidence
from oracle.blame.causes.find import Cause as Cause
from oracle.blame.causes.find import causes_of as causes_of
from oracle.blame.causes.find import in_words as in_words
