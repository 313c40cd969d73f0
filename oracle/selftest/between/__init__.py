"""Bugs in operations between layers: a program handles the layers' results wrongly, which no layer's test sees."""
