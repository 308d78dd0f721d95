"""Planes on the CPU; see `diorama.kernels.planes`."""

import numpy as np
from numba import njit

TILE = 32
SHIFT = 5
MASK = TILE - 1
SIDE = TILE + 1
LOW = 0xFFFFFFFF
NOWHERE = 255
OUTSIDE = -1

CLEAR = np.float32(1 / 512)
"""Opacity below which nothing is stored: it would round to 0 of 255."""

OPAQUE = np.float32(1 - 1 / 512)
"""Opacity above which a pixel hides what is behind it: it rounds to 255 of 255."""


@njit(nogil=True, cache=True)
def locate(
    y0,
    y1,
    rgba,  # (H, W, 4) float32
    disparity,  # (H, W) float32
    far,
    per_step,
    ceiling,  # in, out: (H, W) uint8
    rear,  # out: (H, W) uint8
    share,  # out: (H, W) uint8
):
    for y in range(y0, y1):
        for x in range(disparity.shape[1]):
            if rgba[y, x, 3] < CLEAR:
                rear[y, x] = NOWHERE
                share[y, x] = 0
                continue
            t = (disparity[y, x] - far) * per_step
            t = min(max(t, np.float32(0)), np.float32(ceiling[y, x]))
            k = int(t)
            w = int((t - np.float32(k)) * np.float32(255) + np.float32(0.5))
            if w == 255:
                k += 1
                w = 0
            rear[y, x] = k
            share[y, x] = w
            ceiling[y, x] = k


@njit(nogil=True, cache=True)
def occupy(
    row0,  # tile rows
    row1,
    rear,  # (H, W) uint8
    share,  # (H, W) uint8
    lowest,  # (H, W) uint8
    occupied,  # out: (p, rows, columns) bool
):
    height, width = rear.shape
    for row in range(row0, row1):
        for y in range(row * TILE, min(row * TILE + TILE + 1, height)):
            for x in range(width):
                if rear[y, x] == NOWHERE:
                    continue
                column = x // TILE
                seam = column > 0 and x == column * TILE
                for k in range(lowest[y, x], rear[y, x] + 2):
                    if k <= rear[y, x] or share[y, x] > 0:
                        occupied[k, row, column] = True
                        if seam:
                            occupied[k, row, column - 1] = True


@njit(nogil=True, cache=True)
def _beneath(pixel, r, g, b, a):
    """Add (r, g, b), straight in 0..255, with opacity `a` beneath a stored pixel."""
    left = 1.0 - pixel[3] / 255.0
    # The opacity is rounded first and weighs the colour, so that both round alike.
    opacity = int(pixel[3] + left * a * 255.0 + 0.5)
    weight = (opacity - pixel[3]) / 255.0
    pixel[0] = int(min(pixel[0] + weight * r + 0.5, opacity))
    pixel[1] = int(min(pixel[1] + weight * g + 0.5, opacity))
    pixel[2] = int(min(pixel[2] + weight * b + 0.5, opacity))
    pixel[3] = opacity


@njit(nogil=True, cache=True)
def deposit(
    row0,  # tile rows
    row1,
    rgba,  # (H, W, 4) float32
    rear,  # (H, W) uint8
    share,  # (H, W) uint8
    lowest,  # (H, W) uint8
    tile_index,  # (p, rows, columns) int32
    tiles,  # in, out: (n, TILE + 1, TILE + 1, 4) uint8
):
    height, width = rear.shape
    for row in range(row0, row1):
        for y in range(row * TILE, min(row * TILE + TILE + 1, height)):
            for x in range(width):
                k = int(rear[y, x])
                if k == NOWHERE:
                    continue
                a = float(rgba[y, x, 3])
                opaque = a > OPAQUE
                front = int(share[y, x] * a + 0.5) / 255.0
                back = 1.0 if opaque or front >= 1.0 else max(0.0, 1.0 - (1.0 - a) / (1.0 - front))
                # Repeated on farther planes only where opaque: there it is hidden from the front.
                first = int(lowest[y, x]) if opaque else k
                red, green, blue = rgba[y, x, 0], rgba[y, x, 1], rgba[y, x, 2]
                column = x // TILE
                for i in range(2 if column > 0 and x == column * TILE else 1):
                    for plane in range(first, k + 2):
                        amount = front if plane == k + 1 else back
                        if amount > 0:
                            tile = tile_index[plane, row, column - i]
                            pixel = tiles[tile, y - row * TILE, x - (column - i) * TILE]
                            _beneath(pixel, red * 255.0, green * 255.0, blue * 255.0, amount)


@njit(nogil=True, cache=True, error_model="numpy")
def _reach(at, x0, y0, x1, y1, width, height):
    """First and end tile column and row of the source that a rectangle of the output may read."""
    low_x, low_y, high_x, high_y = 1e9, 1e9, -1e9, -1e9
    for i in range(4):
        x = float(x0 if i & 1 else x1)
        y = float(y0 if i & 2 else y1)
        scale = 1.0 / (at[2, 0] * x + at[2, 1] * y + at[2, 2])
        if scale <= 0:  # past the plane's horizon: anything may be near it
            return 0, 0, (width - 1) // TILE + 1, (height - 1) // TILE + 1
        u = (at[0, 0] * x + at[0, 1] * y + at[0, 2]) * scale
        v = (at[1, 0] * x + at[1, 1] * y + at[1, 2]) * scale
        low_x, high_x = min(low_x, u), max(high_x, u)
        low_y, high_y = min(low_y, v), max(high_y, v)
    column0 = int(max(low_x - 1.0, 0.0)) // TILE
    row0 = int(max(low_y - 1.0, 0.0)) // TILE
    column1 = int(min(max(high_x, -1.0), width - 1.0) + TILE) // TILE
    row1 = int(min(max(high_y, -1.0), height - 1.0) + TILE) // TILE
    return column0, row0, column1, row1


@njit(nogil=True, cache=True)
def _rb(texel):
    """Bytes 0 and 2 of a texel, 32 bits apart."""
    return (texel & 0xFF) | ((texel & 0xFF0000) << 16)


@njit(nogil=True, cache=True, error_model="numpy")
def composite(
    y0,
    y1,
    texels,  # (n * SIDE * SIDE,) uint32: the tiles' pixels, red in the lowest byte
    tile_index,  # (p, rows, columns) int32
    height,
    width,
    homographies,  # (p, 3, 3) float64
    depths,  # (p, 3) float64
    rgb,  # out: (H, W, 3) float32
    alpha,  # out: (H, W) float32
    disparity,  # out: (H, W) float32
):
    num_columns = alpha.shape[1]
    right, bottom = width - 1.0, height - 1.0
    to_unit = np.float32(1 / 255)
    to_weight = np.float32(1 / (255 * 65536))
    clear = np.empty((TILE, TILE), np.float32)  # what still shines through
    at_u, at_v = np.empty(TILE, np.int32), np.empty(TILE, np.int32)  # in 1/256 pixel
    for x0 in range(0, num_columns, TILE):
        x1 = min(x0 + TILE, num_columns)
        clear[:] = 1
        unfinished = (y1 - y0) * (x1 - x0)
        for plane in range(tile_index.shape[0] - 1, -1, -1):
            at = homographies[plane]
            column0, row0, column1, row1 = _reach(at, x0, y0, x1, y1, width, height)
            empty = True
            for row in range(row0, row1):
                for column in range(column0, column1):
                    if tile_index[plane, row, column] >= 0:
                        empty = False
            if empty:
                continue
            # Straight ahead the homography is affine: no division for each pixel.
            affine = at[2, 0] == 0 and at[2, 1] == 0
            unit = 1.0 / at[2, 2] if affine else 1.0
            step_u, step_v, step_w = at[0, 0] * unit, at[1, 0] * unit, at[2, 0]
            step_d = depths[plane, 0]
            for y in range(y0, y1):
                line = y + 0.5
                first_u = (at[0, 1] * line + at[0, 2]) * unit
                first_v = (at[1, 1] * line + at[1, 2]) * unit
                first_w = at[2, 1] * line + at[2, 2]
                first_d = depths[plane, 1] * line + depths[plane, 2]
                # Where to sample, apart from sampling: this loop has no branches and is vectorised.
                for x in range(x0, x1):
                    u, v = first_u + step_u * (x + 0.5), first_v + step_v * (x + 0.5)
                    scale = 1.0
                    if not affine:
                        scale = 1.0 / (first_w + step_w * (x + 0.5))
                        u, v = u * scale, v * scale
                    inside = (scale > 0) & (u >= 0) & (u <= width) & (v >= 0) & (v <= height)
                    u = min(max(u - 0.5, 0.0), right) * 256.0 + 0.5
                    v = min(max(v - 0.5, 0.0), bottom) * 256.0 + 0.5
                    at_u[x - x0] = np.int32(u) if inside else OUTSIDE
                    at_v[x - x0] = np.int32(v) if inside else OUTSIDE
                for x in range(x0, x1):
                    left = clear[y - y0, x - x0]
                    u, v = np.int64(at_u[x - x0]), np.int64(at_v[x - x0])
                    if left == 0 or u == OUTSIDE:
                        continue
                    i, j, fu, fv = u >> 8, v >> 8, u & 255, v & 255
                    tile = tile_index[plane, j >> SHIFT, i >> SHIFT]
                    if tile < 0:
                        continue
                    at_a = (tile * SIDE + (j & MASK)) * SIDE + (i & MASK)
                    a, b = np.int64(texels[at_a]), np.int64(texels[at_a + 1])
                    c, d = np.int64(texels[at_a + SIDE]), np.int64(texels[at_a + SIDE + 1])
                    if (a | b | c | d) == 0:
                        continue
                    wd = fu * fv
                    wc = (fv << 8) - wd
                    wb = (fu << 8) - wd
                    wa = 65536 - wb - wc - wd
                    # Two channels at a time, 32 bits each: a weighted sum needs 24.
                    rb = wa * _rb(a) + wb * _rb(b) + wc * _rb(c) + wd * _rb(d)
                    ga = wa * _rb(a >> 8) + wb * _rb(b >> 8) + wc * _rb(c >> 8) + wd * _rb(d >> 8)
                    weight = left * to_weight
                    rgb[y, x, 0] += weight * np.float32(rb & LOW)
                    rgb[y, x, 1] += weight * np.float32(ga & LOW)
                    rgb[y, x, 2] += weight * np.float32(rb >> 32)
                    covered = weight * np.float32(ga >> 32)
                    disparity[y, x] += covered * np.float32(first_d + step_d * (x + 0.5))
                    left -= covered
                    if left < to_unit * np.float32(0.25):
                        left = np.float32(0)
                        unfinished -= 1
                    clear[y - y0, x - x0] = left
            if unfinished == 0:
                break
        for y in range(y0, y1):
            for x in range(x0, x1):
                seen = np.float32(1) - clear[y - y0, x - x0]
                alpha[y, x] = seen
                if seen > 0:
                    disparity[y, x] /= seen
