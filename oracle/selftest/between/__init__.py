"""Bugs in operations between layers: in what a program does with the layers' results, which no layer's test would see."""
