"""Which pixel centres of a row lie inside a triangle."""

import math

from numba import njit


@njit(nogil=True, cache=True)
def edges_by_row(ax, ay, bx, by, cx, cy):
    """A triangle's corners from top to bottom, and by how much x grows per row on its edges.

    Returns:
        x and y of the top, the middle and the bottom corner; slopes top to bottom, top to middle,
        middle to bottom (0 where an edge is level and no row needs it).
    """
    if ay > by:
        ax, ay, bx, by = bx, by, ax, ay
    if by > cy:
        bx, by, cx, cy = cx, cy, bx, by
    if ay > by:
        ax, ay, bx, by = bx, by, ax, ay
    long = (cx - ax) / (cy - ay) if cy > ay else 0.0
    upper = (bx - ax) / (by - ay) if by > ay else 0.0
    lower = (cx - bx) / (cy - by) if cy > by else 0.0
    return ax, ay, bx, by, cx, cy, long, upper, lower


@njit(nogil=True, cache=True)
def row_span(edges, row):
    """First and end column whose centres the triangle covers in a row between its top and bottom.

    Half-open in both directions, and every edge is evaluated from its upper end, so two triangles
    that share an edge agree on it to the bit: no pixel is lost between them, none is covered twice.
    """
    ax, ay, bx, by, _, _, long, upper, lower = edges
    y = row + 0.5
    left = ax + (y - ay) * long
    right = ax + (y - ay) * upper if y < by else bx + (y - by) * lower
    if left > right:
        left, right = right, left
    return math.ceil(max(left, -1e9) - 0.5), math.ceil(min(right, 1e9) - 0.5)
