"""Changes that were tried to make refbp and the judge faster and were dropped, each with its figure."""

from __future__ import annotations

# The idea, what it gained, and why it was dropped.
DROPPED = (
    (
        "Compiled loops (numba) for the comparison and for closing sums",
        "by the profile at most 10 % and 7 % of a judgement; not built",
        "64 MB of LLVM to install, and a second path with the same numbers to keep",
    ),
    ("numexpr, or torch's eager operations, in place of NumPy's in the rules", "nothing", "no gain"),
    (
        "A convolution's input gradient as one product in place of one addition for each place of its window",
        "4 to 7 % of VGG, 1 to 4 % of ResNet-18",
        "other standard deviations than those of torch's own order",
    ),
    (
        "Blocks of other sizes: 2^12 to 2^17 elements in comparison, closing and orders",
        "up to 40 % of the comparison alone, nothing of a whole judgement",
        "no gain",
    ),
    (
        "Rounding errors from squares, and products and sums in memory that is free",
        "GELU's rule 189 to 185 ns an element, SiLU's 83 to 83",
        "no gain",
    ),
    (
        "malloc's thresholds, so that large arrays are not mapped anew",
        "2.9 to 2.6 s, and 8.3 to 8.1 s",
        "a library cannot set them",
    ),
    ("A getter that skips sums that are closed", "2 %", "too little"),
    (
        "Several threads with a BLAS of several threads each",
        "VGG 42 to 54 times its own step, in place of 41 with a BLAS of one thread",
        "idle threads of the BLAS wait actively; the judge limits it to one thread",
    ),
    (
        "Threads for layers and operations of 2^15 to 2^17 elements",
        "LeNet-5 of 4 images 58 to 51 ms without them, the blocks of a GPT 1.9 s with and without",
        "threads wait for each other and for Python's lock",
    ),
    (
        "Sigma and scale taken from their squares a block at a time",
        "memory of VGG-11 / its step 7.0 to 6.0",
        "too little for its code",
    ),
    (
        "refbp: threads for element-wise passes",
        "1.3 to 1.75 times as fast alone, 0.82 to 0.99 behind a matrix product",
        "OpenBLAS's idle thread spins on the second core",
    ),
    ("refbp: parts of a convolution in threads", "20 to 80 ms in place of 17 to 25", "slower, for the same reason"),
    ("refbp: GroupNorm written in place", "5 to 25 %", "19 passes remain, and the code is harder to read"),
)
