"""A report as one HTML file: rendering only, every figure comes from the report."""

from oracle.html.excerpt import excerpt as excerpt
from oracle.html.page import render as render
