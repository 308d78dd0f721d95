"""Compiled twins for NumPy arrays."""
