"""Bugs in 16-bit kernels: sums that are added up in 16 bits where float32 is due, and formulas that are wrong by 2 %."""
