"""numba back end of `diorama.kernels.watershed`."""

import math

import numpy as np
from numba import njit

NEVER = -2147483648


@njit(nogil=True, cache=True)
def _relief(rgb, labels, y, x, wall, floor):
    """How much of an edge the photo and the masks have at a pixel."""
    height, width = labels.shape
    up, below = max(y - 1, 0), min(y + 1, height - 1)
    left, right = max(x - 1, 0), min(x + 1, width - 1)
    steepest = 0.0
    for c in range(3):
        a, b, d = rgb[up, left, c], rgb[up, x, c], rgb[up, right, c]
        e, f = rgb[y, left, c], rgb[y, right, c]
        g, h, k = rgb[below, left, c], rgb[below, x, c], rgb[below, right, c]
        across = (d + 2 * f + k) - (a + 2 * e + g)
        along = (g + 2 * h + k) - (a + 2 * b + d)
        steepest = max(steepest, across * across + along * along)
    relief = floor + math.sqrt(steepest) * (255.0 / 8.0)
    label = labels[y, x]
    if (
        labels[y, left] != label
        or labels[y, right] != label
        or labels[up, x] != label
        or labels[below, x] != label
    ):
        relief += wall
    return relief


@njit(nogil=True, cache=True)
def flood_sides(
    first,
    end,
    labels,  # (H, W) int32
    disparity,  # (H, W) float32
    rgb,  # (H, W, 3) float32
    zone,  # (h, w) uint8
    low,  # (h, w) float32
    high,  # (h, w) float32
    core,
    sharpness,
    wall,
    floor,
    out,  # (H, W) int32
):
    height, width = labels.shape
    rows, columns = zone.shape
    scale_y, scale_x = rows / height, columns / width
    level = np.zeros((end - first, width), np.uint8)
    num_open = 0
    for y in range(first, end):
        v = (y + 0.5) * scale_y
        nearest_j = min(int(v), rows - 1)
        v = min(max(v - 0.5, 0.0), rows - 1.0)
        j = int(v)
        j_next = min(j + 1, rows - 1)
        fv = v - j
        for x in range(width):
            out[y, x] = 3 * labels[y, x]
            u = (x + 0.5) * scale_x
            if zone[nearest_j, min(int(u), columns - 1)] == 0:
                continue
            u = min(max(u - 0.5, 0.0), columns - 1.0)
            i = int(u)
            i_next = min(i + 1, columns - 1)
            fu = u - i
            w00, w01 = (1 - fv) * (1 - fu), (1 - fv) * fu
            w10, w11 = fv * (1 - fu), fv * fu
            bottom = w00 * low[j, i] + w01 * low[j, i_next]
            bottom += w10 * low[j_next, i] + w11 * low[j_next, i_next]
            top = w00 * high[j, i] + w01 * high[j, i_next]
            top += w10 * high[j_next, i] + w11 * high[j_next, i_next]
            t = (disparity[y, x] - bottom) / max(top - bottom, 1e-20)
            if t > 1 - core:
                out[y, x] += 2
            elif t < core:
                out[y, x] += 1
            else:
                relief = _relief(rgb, labels, y, x, wall, floor) * (4 * t * (1 - t)) ** sharpness
                level[y - first, x] = min(1 + int(14 * math.sqrt(relief)), 255)
                num_open += 1
    if num_open == 0:
        return
    # A queue for each level: linked lists through the pixels, oldest first.
    following = np.empty(level.size, np.int32)
    head = np.full(256, -1, np.int32)
    tail = np.full(256, -1, np.int32)
    flat = out[first:end].reshape(-1)
    heights = level.reshape(-1)
    # 0: settled or outside; a pixel that waits keeps its level and holds its label as -1 - label.
    for pixel in range(heights.size):
        if heights[pixel] > 0:
            flat[pixel] = NEVER
    current = 255
    for pixel in range(heights.size):
        if flat[pixel] < 0 or flat[pixel] % 3 == 0:
            continue
        x = pixel % width
        for side in range(4):
            other = _neighbour(pixel, x, side, width, heights.size)
            if other >= 0 and flat[other] == NEVER:
                flat[other] = -1 - flat[pixel]
                _push(head, tail, following, heights[other], other)
                current = min(current, heights[other])
    while current < 256:
        pixel = head[current]
        if pixel < 0:
            current += 1
            continue
        head[current] = following[pixel]
        flat[pixel] = -1 - flat[pixel]
        x = pixel % width
        for side in range(4):
            other = _neighbour(pixel, x, side, width, heights.size)
            if other >= 0 and flat[other] == NEVER:
                flat[other] = -1 - flat[pixel]
                _push(head, tail, following, max(heights[other], current), other)
    for pixel in range(heights.size):
        if flat[pixel] == NEVER:
            y, x = first + pixel // width, pixel % width
            flat[pixel] = 3 * labels[y, x]


@njit(nogil=True, cache=True)
def _neighbour(pixel, x, side, width, size):
    """The pixel to the left, right, above or below, or -1."""
    if side == 0:
        return pixel - 1 if x > 0 else -1
    if side == 1:
        return pixel + 1 if x + 1 < width else -1
    if side == 2:
        return pixel - width
    return pixel + width if pixel + width < size else -1


@njit(nogil=True, cache=True)
def _push(head, tail, following, level, pixel):
    following[pixel] = -1
    if head[level] < 0:
        head[level] = pixel
    else:
        following[tail[level]] = pixel
    tail[level] = pixel
