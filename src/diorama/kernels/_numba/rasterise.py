"""Numba twin of `diorama.kernels.rasterise`."""

import math

import numpy as np
from numba import njit

from diorama.kernels._numba.scanline import edges_by_row, row_span

CHUNK_ROWS = 16  # rows whose fragments, 12 bytes a pixel and layer, stay in the second-level cache
OPAQUE = np.float32(0.95)  # from here on a fragment hides what is behind it
CLEAR = np.float32(1.0 / 4096)  # light left below which nothing behind can change a 16-bit channel
ZERO = np.float32(0.0)
HALF = np.float32(0.5)
ONE = np.float32(1.0)


@njit(nogil=True, cache=True)
def rasterise(
    first,
    end,
    corners,  # (n, 6) float64: x, y, w, q, s q, t q
    triangles,  # (m, 3) int32
    layer_starts,  # (layers + 1,) int64 into triangles
    texels,  # (k, 4) float32, premultiplied
    texel_starts,  # (layers,) int64 into texels
    texture_sizes,  # (layers, 2) int64
    tolerance,  # float32
    rgb,  # (H, W, 3) float32, written
    alpha,  # (H, W) float32, written
    disparity,  # (H, W) float32, written
):
    """Render rows [first, end): fragments of every layer first, then each pixel front to back."""
    width = alpha.shape[1]
    num_layers = layer_starts.shape[0] - 1
    w = np.empty((num_layers, CHUNK_ROWS, width), np.float32)
    s = np.empty((num_layers, CHUNK_ROWS, width), np.float32)
    t = np.empty((num_layers, CHUNK_ROWS, width), np.float32)
    near = _overlapping(first, end, corners, triangles)
    for top in range(first, end, CHUNK_ROWS):
        bottom = min(top + CHUNK_ROWS, end)
        w[:] = ZERO
        layer = 0
        for index in near:
            while index >= layer_starts[layer + 1]:
                layer += 1
            _fragments(corners, triangles[index], top, bottom, w[layer], s[layer], t[layer])
        for row in range(top, bottom):
            _shade(
                w[:, row - top],
                s[:, row - top],
                t[:, row - top],
                texels,
                texel_starts,
                texture_sizes,
                tolerance,
                rgb[row],
                alpha[row],
                disparity[row],
            )


@njit(nogil=True, cache=True)
def _overlapping(first, end, corners, triangles):
    """Indices of the triangles that may cover a pixel centre in these rows."""
    near = np.empty(triangles.shape[0], np.int64)
    count = 0
    for index in range(triangles.shape[0]):
        a = corners[triangles[index, 0], 1]
        b = corners[triangles[index, 1], 1]
        c = corners[triangles[index, 2], 1]
        if min(a, b, c) < end and max(a, b, c) > first:
            near[count] = index
            count += 1
    return near[:count]


@njit(nogil=True, cache=True)
def _fragments(corners, triangle, top, bottom, w, s, t):
    """Write a triangle's w, s and t where it is the nearest of its layer."""
    a, b, c = triangle[0], triangle[1], triangle[2]
    ax, ay = corners[a, 0], corners[a, 1]
    bx, by = corners[b, 0], corners[b, 1]
    cx, cy = corners[c, 0], corners[c, 1]
    start = max(top, math.ceil(min(ay, by, cy) - 0.5))
    stop = min(bottom, math.ceil(max(ay, by, cy) - 0.5))
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if start >= stop or abs(area) < 1e-12:
        return
    # w, q, s q and t q are affine on screen: value = at_a + (x - ax) slope_x + (y - ay) slope_y
    edges = edges_by_row(ax, ay, bx, by, cx, cy)
    bx, by = (bx - ax) / area, (by - ay) / area
    cx, cy = (cx - ax) / area, (cy - ay) / area
    w_a, q_a, s_a, t_a = corners[a, 2], corners[a, 3], corners[a, 4], corners[a, 5]
    w_b, q_b, s_b, t_b = (
        corners[b, 2] - w_a,
        corners[b, 3] - q_a,
        corners[b, 4] - s_a,
        corners[b, 5] - t_a,
    )
    w_c, q_c, s_c, t_c = (
        corners[c, 2] - w_a,
        corners[c, 3] - q_a,
        corners[c, 4] - s_a,
        corners[c, 5] - t_a,
    )
    w_x, w_y = w_b * cy - w_c * by, w_c * bx - w_b * cx
    q_x, q_y = q_b * cy - q_c * by, q_c * bx - q_b * cx
    s_x, s_y = s_b * cy - s_c * by, s_c * bx - s_b * cx
    t_x, t_y = t_b * cy - t_c * by, t_c * bx - t_b * cx
    for row in range(start, stop):
        left, right = row_span(edges, row)
        left, right = max(left, 0), min(right, w.shape[1])
        y = row + 0.5 - ay
        x = 0.5 - ax
        w_row = w_a + y * w_y + x * w_x
        q_row = q_a + y * q_y + x * q_x
        s_row = s_a + y * s_y + x * s_x
        t_row = t_a + y * t_y + x * t_x
        line = row - top
        for column in range(left, right):
            nearness = np.float32(w_row + column * w_x)
            if nearness > w[line, column]:
                per_q = 1.0 / (q_row + column * q_x)
                w[line, column] = nearness
                s[line, column] = (s_row + column * s_x) * per_q
                t[line, column] = (t_row + column * t_x) * per_q


@njit(nogil=True, cache=True)
def _shade(w, s, t, texels, texel_starts, texture_sizes, tolerance, rgb, alpha, disparity):
    """Composite the fragments of one row's pixels front to back."""
    num_layers, width = w.shape
    for column in range(width):
        red, green, blue, front, light = ZERO, ZERO, ZERO, ZERO, ONE
        for layer in range(num_layers - 1, -1, -1):
            nearness = w[layer, column]
            if nearness <= ZERO:
                continue
            hidden = False
            for rear in range(layer):
                # Layers are ordered, yet slanted ones may pass through each other.
                if w[rear, column] > nearness + tolerance:
                    _, _, _, a = _sample(
                        texels,
                        texel_starts[rear],
                        texture_sizes[rear, 0],
                        texture_sizes[rear, 1],
                        s[rear, column],
                        t[rear, column],
                    )
                    hidden = hidden or a >= OPAQUE
            if hidden:
                continue
            r, g, b, a = _sample(
                texels,
                texel_starts[layer],
                texture_sizes[layer, 0],
                texture_sizes[layer, 1],
                s[layer, column],
                t[layer, column],
            )
            red += light * r
            green += light * g
            blue += light * b
            light *= ONE - a
            if a > HALF and front == ZERO:
                front = nearness
            if light < CLEAR:
                light = ZERO
                break
        rgb[column, 0] = red
        rgb[column, 1] = green
        rgb[column, 2] = blue
        alpha[column] = ONE - light
        disparity[column] = front


@njit(nogil=True, cache=True)
def _sample(texels, start, height, width, s, t):
    """Bilinear, premultiplied; beyond the texture its edge goes on."""
    s = min(max(s, ZERO), np.float32(width - 1))
    t = min(max(t, ZERO), np.float32(height - 1))
    column, row = int(s), int(t)
    fs, ft = s - np.float32(column), t - np.float32(row)
    right = 1 if column + 1 < width else 0
    below = width if row + 1 < height else 0
    i = start + row * width + column
    j, k, l = i + right, i + below, i + below + right  # noqa: E741, the fourth after i, j, k
    p, q = (ONE - fs) * (ONE - ft), fs * (ONE - ft)
    u, v = (ONE - fs) * ft, fs * ft
    return (
        p * texels[i, 0] + q * texels[j, 0] + u * texels[k, 0] + v * texels[l, 0],
        p * texels[i, 1] + q * texels[j, 1] + u * texels[k, 1] + v * texels[l, 1],
        p * texels[i, 2] + q * texels[j, 2] + u * texels[k, 2] + v * texels[l, 2],
        p * texels[i, 3] + q * texels[j, 3] + u * texels[k, 3] + v * texels[l, 3],
    )
