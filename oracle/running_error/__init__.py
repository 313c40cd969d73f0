"""Running error analysis as an array type: values that carry the rounding error that a correct implementation may have."""

from oracle.running_error import contractions as contractions
from oracle.running_error import decompositions as decompositions
from oracle.running_error import elementwise as elementwise
from oracle.running_error import orthogonal as orthogonal
from oracle.running_error import powers as powers
from oracle.running_error import selection as selection
from oracle.running_error import shapes as shapes
from oracle.running_error import special as special
from oracle.running_error import sums as sums
from oracle.running_error.array import ErrorArray as ErrorArray
from oracle.running_error.mask import ErrorMask as ErrorMask
from oracle.running_error.model import LAMBDA as LAMBDA
from oracle.running_error.model import UNIT_ROUNDOFF as UNIT_ROUNDOFF
from oracle.running_error.model import ErrorModel as ErrorModel
