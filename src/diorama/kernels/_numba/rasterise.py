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
    """Render rows [first, end): fragments of every layer first, then each row front to back."""
    width = alpha.shape[1]
    num_layers = layer_starts.shape[0] - 1
    w = np.empty((num_layers, CHUNK_ROWS, width), np.float32)
    s = np.empty((num_layers, CHUNK_ROWS, width), np.float32)
    t = np.empty((num_layers, CHUNK_ROWS, width), np.float32)
    spans = np.empty((num_layers, CHUNK_ROWS, 2), np.int64)
    near = _overlapping(first, end, corners, triangles)
    for top in range(first, end, CHUNK_ROWS):
        bottom = min(top + CHUNK_ROWS, end)
        w[:] = ZERO
        spans[:, :, 0] = width
        spans[:, :, 1] = 0
        layer = 0
        for item in range(near.shape[0]):
            index, start, stop = near[item, 0], near[item, 1], near[item, 2]
            if start >= bottom or stop <= top:
                continue
            while index >= layer_starts[layer + 1]:
                layer += 1
            _fragments(
                corners,
                triangles[index],
                max(start, top),
                min(stop, bottom),
                top,
                w[layer],
                s[layer],
                t[layer],
                spans[layer],
            )
        for row in range(top, bottom):
            _shade(
                w[:, row - top],
                s[:, row - top],
                t[:, row - top],
                spans[:, row - top],
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
    """The triangles that may cover a pixel centre in these rows: index, first and end row."""
    near = np.empty((triangles.shape[0], 3), np.int64)
    count = 0
    for index in range(triangles.shape[0]):
        a = corners[triangles[index, 0], 1]
        b = corners[triangles[index, 1], 1]
        c = corners[triangles[index, 2], 1]
        low, high = min(a, b, c), max(a, b, c)
        if low < end and high > first and _ahead(corners, triangles[index]):
            near[count, 0] = index
            near[count, 1] = max(first, math.ceil(low - 0.5))
            near[count, 2] = min(end, math.ceil(high - 0.5))
            count += 1
    return near[:count]


@njit(nogil=True, cache=True)
def _ahead(corners, triangle):
    """Whether all corners lie before the camera."""
    return (
        corners[triangle[0], 2] > 0 and corners[triangle[1], 2] > 0 and corners[triangle[2], 2] > 0
    )


@njit(nogil=True, cache=True)
def _fragments(corners, triangle, start, stop, top, w, s, t, spans):
    """Write a triangle's w, s and t where it is the nearest of its layer, and widen its spans."""
    a, b, c = triangle[0], triangle[1], triangle[2]
    ax, ay = corners[a, 0], corners[a, 1]
    bx, by = corners[b, 0], corners[b, 1]
    cx, cy = corners[c, 0], corners[c, 1]
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    if abs(area) < 1e-12:
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
        if left < right:
            spans[line, 0] = min(spans[line, 0], left)
            spans[line, 1] = max(spans[line, 1], right)
        for column in range(left, right):
            nearness = np.float32(w_row + column * w_x)
            if nearness > w[line, column]:
                per_q = 1.0 / (q_row + column * q_x)
                w[line, column] = nearness
                s[line, column] = (s_row + column * s_x) * per_q
                t[line, column] = (t_row + column * t_x) * per_q


@njit(nogil=True, cache=True)
def _shade(w, s, t, spans, texels, texel_starts, texture_sizes, tolerance, rgb, light, disparity):
    """Composite the fragments of one row front to back, layer by layer.

    `light` is what still shines through while the layers are gone through, and alpha after.
    """
    num_layers, width = w.shape
    light[:] = ONE
    nearest = np.zeros(width, np.float32)  # of all layers
    for layer in range(num_layers):
        for column in range(spans[layer, 0], spans[layer, 1]):
            nearest[column] = max(nearest[column], w[layer, column])
    for layer in range(num_layers - 1, -1, -1):
        start = texel_starts[layer]
        rows, columns = texture_sizes[layer, 0], texture_sizes[layer, 1]
        for column in range(spans[layer, 0], spans[layer, 1]):
            nearness = w[layer, column]
            left = light[column]
            if nearness <= ZERO or left == ZERO:
                continue
            # Layers are ordered, yet slanted ones may pass through each other.
            share = left
            if nearest[column] > nearness + tolerance:
                share *= _visible(
                    w[:layer, column],
                    s[:layer, column],
                    t[:layer, column],
                    texels,
                    texel_starts,
                    texture_sizes,
                    nearness + tolerance,
                    HALF * tolerance,
                )
                if share == ZERO:
                    continue
            r, g, b, a = _sample(texels, start, rows, columns, s[layer, column], t[layer, column])
            rgb[column, 0] += share * r
            rgb[column, 1] += share * g
            rgb[column, 2] += share * b
            a *= share / left
            left *= ONE - a
            if a > HALF and disparity[column] == ZERO:
                disparity[column] = nearness
            light[column] = left if left >= CLEAR else ZERO
    for column in range(width):
        light[column] = ONE - light[column]


@njit(nogil=True, cache=True)
def _visible(w, s, t, texels, texel_starts, texture_sizes, limit, ramp):
    """What opaque fragments of these layers, nearer than `limit`, leave of one: all to nothing."""
    visible = ONE
    for layer in range(w.shape[0]):
        beyond = w[layer] - limit
        if beyond > ZERO:
            height, width = texture_sizes[layer, 0], texture_sizes[layer, 1]
            _, _, _, a = _sample(texels, texel_starts[layer], height, width, s[layer], t[layer])
            if a >= OPAQUE:
                if beyond >= ramp:
                    return ZERO
                visible = min(visible, ONE - beyond / ramp)
    return visible


@njit(nogil=True, cache=True)
def _sample(texels, start, height, width, s, t):
    """Bilinear, premultiplied; beyond the texture its edge goes on."""
    s = s if s > ZERO else ZERO
    t = t if t > ZERO else ZERO
    column, row = int(s), int(t)
    fs, ft = s - np.float32(column), t - np.float32(row)
    if column >= width - 1:
        column, fs = width - 1, ZERO
    if row >= height - 1:
        row, ft = height - 1, ZERO
    right = 1 if fs > ZERO else 0
    below = width if ft > ZERO else 0
    i = start + row * width + column
    j, k = i + right, i + below
    a, b, c, d = texels[i], texels[j], texels[k], texels[k + right]
    p, q = (ONE - fs) * (ONE - ft), fs * (ONE - ft)
    u, v = (ONE - fs) * ft, fs * ft
    return (
        p * a[0] + q * b[0] + u * c[0] + v * d[0],
        p * a[1] + q * b[1] + u * c[1] + v * d[1],
        p * a[2] + q * b[2] + u * c[2] + v * d[2],
        p * a[3] + q * b[3] + u * c[3] + v * d[3],
    )
