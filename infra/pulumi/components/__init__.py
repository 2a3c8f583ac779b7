"""Typed parts of a stack: keyword arguments in, children parented, outputs registered."""
