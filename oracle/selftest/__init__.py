"""Measures how good the checker is: it must catch planted bugs, and must not accuse correct implementations."""
