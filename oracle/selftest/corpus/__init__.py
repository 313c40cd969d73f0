"""Bugs that real projects published, each rebuilt in a few lines with its repaired twin, a file per family."""
