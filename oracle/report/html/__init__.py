"""A report as one HTML file. This package only renders; every figure comes from the report."""

from oracle.report.html.excerpt import excerpt as excerpt
from oracle.report.html.page import render as render
