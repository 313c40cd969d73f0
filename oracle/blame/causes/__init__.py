"""Likely causes: effects of common bugs, compared with the subject's own numbers within the derived tolerances."""

from oracle.blame.causes.evidence import Evidence as Evidence
from oracle.blame.causes.find import Cause as Cause
from oracle.blame.causes.find import causes_of as causes_of
from oracle.blame.causes.find import in_words as in_words
