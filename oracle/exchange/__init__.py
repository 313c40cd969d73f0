"""The data that is exchanged with programs and files of any language: cases, arrays, answers and introductions.

PROTOCOL.md describes it.
"""
