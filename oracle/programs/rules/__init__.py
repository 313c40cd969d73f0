"""The rules by family; `oracle.programs` explains how to add one."""

from oracle.programs.rules import activations as activations
from oracle.programs.rules import arithmetic as arithmetic
from oracle.programs.rules import attention as attention
from oracle.programs.rules import comparisons as comparisons
from oracle.programs.rules import complex_functions as complex_functions
from oracle.programs.rules import complex_numbers as complex_numbers
from oracle.programs.rules import complex_products as complex_products
from oracle.programs.rules import contractions as contractions
from oracle.programs.rules import copies as copies
from oracle.programs.rules import ctc as ctc
from oracle.programs.rules import cumulative as cumulative
from oracle.programs.rules import decompositions as decompositions
from oracle.programs.rules import derivatives as derivatives
from oracle.programs.rules import distances as distances
from oracle.programs.rules import fourier as fourier
from oracle.programs.rules import functions as functions
from oracle.programs.rules import images as images
from oracle.programs.rules import indexing as indexing
from oracle.programs.rules import linear_algebra as linear_algebra
from oracle.programs.rules import loss_derivatives as loss_derivatives
from oracle.programs.rules import losses as losses
from oracle.programs.rules import masked as masked
from oracle.programs.rules import normalization as normalization
from oracle.programs.rules import order as order
from oracle.programs.rules import pooling as pooling
from oracle.programs.rules import products as products
from oracle.programs.rules import quantization as quantization
from oracle.programs.rules import recurrent as recurrent
from oracle.programs.rules import reductions as reductions
from oracle.programs.rules import resizing as resizing
from oracle.programs.rules import sampling as sampling
from oracle.programs.rules import scattering as scattering
from oracle.programs.rules import special as special
from oracle.programs.rules import transposes as transposes
from oracle.programs.rules import views as views

complex_numbers.register()
