"""The rules by which other tools tell right from wrong, on the same bugs and the same legal implementations."""
