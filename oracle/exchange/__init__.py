"""What crosses the border to programs and files of any language: cases, arrays, answers and introductions.

PROTOCOL.md is its description.
"""
