"""Which pixel centres of a row lie inside a triangle."""

import math

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def row_span(ax, ay, bx, by, cx, cy, row):
    """First and end column whose centres the triangle covers in this row.

    Half-open in both directions, and every edge is evaluated from its upper end, so two triangles
    that share an edge agree on it to the bit: no pixel is lost between them, none is covered twice.
    """
    y = row + 0.5
    low = np.inf
    high = -np.inf
    for edge in range(3):
        if edge == 0:
            x0, y0, x1, y1 = ax, ay, bx, by
        elif edge == 1:
            x0, y0, x1, y1 = bx, by, cx, cy
        else:
            x0, y0, x1, y1 = cx, cy, ax, ay
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        if y0 <= y < y1:
            x = x0 + (y - y0) * ((x1 - x0) / (y1 - y0))
            low = min(low, x)
            high = max(high, x)
    if low > high:
        return 0, 0
    return math.ceil(max(low, -1e9) - 0.5), math.ceil(min(high, 1e9) - 0.5)
