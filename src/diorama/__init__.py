"""One photo in, a 3D scene to look around in out."""

__version__ = "0.1.0"
