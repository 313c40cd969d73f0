"""Bugs that real projects published. Each is rebuilt in a few lines, with a repaired twin; a file per family."""
