"""The shape of a head: a relief for any face, from a few proportions.

Lengths are in distances between the pupils (63 mm in adults, Dodgson 2004), places on the face are
(u, v) from the middle between the eyes: u to the picture's right, v from the eyes to the mouth.
Proportions follow adult means (Farkas, "Anthropometry of the Head and Face", 1994): the mouth lies
1.12 below the eyes, the chin 1.8, the hairline 1.1 above; a head is 2.4 wide; the nose stands out
by 0.36, the ears lie 1.5 back. A round base, which falls away to the sides and over the forehead,
carries nose, brows, sockets, cheeks, lips and chin.
"""

import numpy as np

from diorama.arrays import Array

PUPILS_M = 0.063
"""Distance between the pupils, metres."""

NOSE, MOUTH, CHIN = 0.72, 1.12, 1.8
"""v of the nose's tip, of the line between the lips, and of the chin's end."""

WIDTH, BACK = 1.22, 1.5
"""Half of the widest cross-section, and how far back its sides go."""

DEEP = 2.5
"""How far back anything is at most."""

_BUMPS = (
    # u, v, height, extents along u and v; mirrored where u is not 0
    (0.45, -0.30, 0.07, 0.34, 0.13),  # brows
    (0.50, 0.00, -0.13, 0.24, 0.17),  # sockets
    (0.50, 0.02, 0.06, 0.13, 0.10),  # eyes
    (0.60, 0.55, 0.07, 0.28, 0.28),  # cheeks
    (0.20, 0.74, 0.10, 0.09, 0.09),  # nostrils
    (0.00, 0.98, 0.05, 0.22, 0.14),  # above the lips
    (0.00, 1.12, 0.10, 0.30, 0.10),  # lips
    (0.00, 1.60, 0.20, 0.30, 0.22),  # chin
)

_ROUNDS = 12  # of looking for what a turned head shows at a place; it moves by less each time


def head_relief(u: Array, v: Array, yaw: float = 0.0) -> Array:
    """How far a head stands out towards the viewer.

    Args:
        u: to the picture's right, any shape.
        v: downwards along the face, the same shape.
        yaw: to where the head is turned, radians; positive to the picture's right.

    Returns:
        (like u) float32, distances between the pupils; 0 between the eyes of a head that looks at
        the viewer.
    """
    if not yaw:
        return _frontal(u, v).astype(np.float32)
    cosine, sine = np.cos(yaw), np.sin(yaw)
    # A point (x, h) of the head is seen at x cos + h sin, standing out by h cos - x sin.
    x = u / cosine
    for _ in range(_ROUNDS):
        x += 0.5 * ((u - _frontal(x, v) * sine) / cosine - x)
    return (_frontal(x, v) * cosine - x * sine).astype(np.float32)


def _frontal(u: Array, v: Array) -> Array:
    half = WIDTH * np.sqrt(np.maximum(1 - ((v + 0.2) / 2.2) ** 2, 0.1))
    relief = BACK * (_arc(u / half) - 1)
    relief += 1.4 * (_arc(np.minimum(v + 0.3, 0) / 1.6) - 1)
    relief += 0.9 * (_arc(np.maximum(v - 1.0, 0)) - 1)
    down = np.clip(v / NOSE, 0, 1)
    broad = 0.12 + 0.10 * down
    below = np.exp(-((np.maximum(v - NOSE, 0) / 0.14) ** 2))
    relief += 0.36 * down**1.2 * below * np.exp(-((u / broad) ** 2))
    for u0, v0, height, wide, tall in _BUMPS:
        along = height * np.exp(-(((v - v0) / tall) ** 2))
        for side in {u0, -u0}:
            relief += along * np.exp(-(((u - side) / wide) ** 2))
    return np.maximum(relief, -DEEP)


def _arc(t: Array) -> Array:
    """The height of a unit circle, which goes on as a slope before it would fall upright."""
    end = 0.95
    height = np.sqrt(1 - end**2)
    beyond = np.maximum(np.abs(t) - end, 0) * (end / height)
    return np.sqrt(1 - np.minimum(np.abs(t), end) ** 2) - beyond
