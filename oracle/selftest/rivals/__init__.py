"""The rules by which other tools accept or refuse a result, on the same bugs and legal variants."""
