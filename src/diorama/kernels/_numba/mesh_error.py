"""Numba twin of `diorama.kernels.mesh_error`."""

import math

import numpy as np
from numba import njit

from diorama.kernels._numba.scanline import edges_by_row, row_span


@njit(nogil=True, cache=True)
def mesh_error(points, values, triangles, target, seen, worst, where):
    """Scan each triangle's pixels for the largest |target - plane|."""
    height, width = target.shape
    for index in range(triangles.shape[0]):
        a, b, c = triangles[index, 0], triangles[index, 1], triangles[index, 2]
        ax, ay = points[a, 0], points[a, 1]
        bx, by = points[b, 0], points[b, 1]
        cx, cy = points[c, 0], points[c, 1]
        area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
        if abs(area) < 1e-9:
            worst[index] = 0.0
            where[index] = -1
            continue
        rise_b, rise_c = values[b] - values[a], values[c] - values[a]
        slope_x = (rise_b * (cy - ay) - rise_c * (by - ay)) / area
        slope_y = (rise_c * (bx - ax) - rise_b * (cx - ax)) / area
        step = 1 if abs(area) < 512.0 else (2 if abs(area) < 8192.0 else 4)
        first = max(0, math.ceil(min(ay, by, cy) - 0.5))
        end = min(height, math.ceil(max(ay, by, cy) - 0.5))
        first = (first + step - 1) // step * step
        edges = edges_by_row(ax, ay, bx, by, cx, cy)
        largest = np.float32(0.0)
        pixel = -1
        for row in range(first, end, step):
            left, right = row_span(edges, row)
            left = (max(0, left) + step - 1) // step * step
            start = values[a] + (row + 0.5 - ay) * slope_y + (left + 0.5 - ax) * slope_x
            plane = np.float32(start)
            rise = np.float32(step * slope_x)
            for column in range(left, min(width, right), step):
                error = abs(target[row, column] - plane)
                if error > largest and seen[row, column]:
                    largest = error
                    pixel = row * width + column
                plane += rise
        worst[index] = largest
        where[index] = pixel
