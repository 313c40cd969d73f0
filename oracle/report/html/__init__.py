"""A report as one HTML file: rendering only, every figure comes from the report."""

from oracle.report.html.excerpt import excerpt as excerpt
from oracle.report.html.page import render as render
