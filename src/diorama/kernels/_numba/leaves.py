"""Leaves on the CPU; see `diorama.kernels.leaves`."""

import math

import numpy as np
from numba import njit

CLEAR = np.float32(1 / 512)

Z_MAX = 1000.0

STEEPEST = 0.5
"""Most that disparity may change over one sigma, as a share of itself: beyond, the tangent disc
would reach through the camera."""


@njit(nogil=True, cache=True)
def pool(
    row0,
    row1,
    rgba,  # (H, W, 4) float32
    low,  # out: (rows, columns, 4) float32
    high,  # out: (rows, columns, 4) float32
):
    height, width = rgba.shape[:2]
    for row in range(row0, row1):
        top, bottom = rgba[2 * row], rgba[min(2 * row + 1, height - 1)]
        for column in range(-(-width // 2)):
            left, right = 2 * column, min(2 * column + 1, width - 1)
            for channel in range(4):
                a, b = top[left, channel], top[right, channel]
                c, d = bottom[left, channel], bottom[right, channel]
                low[row, column, channel] = min(min(a, b), min(c, d))
                high[row, column, channel] = max(max(a, b), max(c, d))


@njit(nogil=True, cache=True)
def bend(
    row0,
    row1,
    size,
    disparity,  # (H, W) float32
    per_depth,
    errors,  # in, out: (rows, columns) float32
):
    # A square of two pixels has no residual of its own: half a square around tells.
    margin = size // 2
    side = size + 2 * margin
    half = np.float32(0.5 * (side - 1))
    # Sum of squared distances to the middle of `side` numbers in a row, for each of `side` rows.
    spread = np.float32(side * side * (side * side - 1.0) / 12.0)
    for row in range(row0, row1):
        for column in range(errors.shape[1]):
            if errors[row, column] == np.inf:
                continue
            top, left = row * size - margin, column * size - margin
            # Relative to one pixel, so that float32 sums lose nothing on distant flat ground.
            base = disparity[top, left]
            mean = slope_x = slope_y = np.float32(0)
            for y in range(side):
                for x in range(side):
                    d = disparity[top + y, left + x] - base
                    mean += d
                    slope_x += d * (np.float32(x) - half)
                    slope_y += d * (np.float32(y) - half)
            mean /= np.float32(side * side)
            slope_x /= spread
            slope_y /= spread
            worst = np.float32(0)
            for y in range(side):
                for x in range(side):
                    fit = mean + slope_x * (np.float32(x) - half) + slope_y * (np.float32(y) - half)
                    worst = max(worst, abs(disparity[top + y, left + x] - base - fit))
            errors[row, column] = max(errors[row, column], worst * per_depth)


@njit(nogil=True, cache=True)
def _slope(rgba, disparity, y, x, dy, dx):
    """Change of disparity per pixel along (dy, dx), from neighbours that belong to the layer."""
    height, width = disparity.shape
    total = 0.0
    count = 0
    for sign in (-1, 1):
        yy, xx = y + sign * dy, x + sign * dx
        if 0 <= yy < height and 0 <= xx < width and rgba[yy, xx, 3] >= CLEAR:
            total += sign * (float(disparity[yy, xx]) - float(disparity[y, x]))
            count += 1
    return total / max(count, 1)


@njit(nogil=True, cache=True)
def leaf_splats(
    first,
    end,
    rgba,  # (H, W, 4) float32
    disparity,  # (H, W) float32
    leaves,  # (n, 3) int32: top, left, size
    K,  # (3, 3) float64
    pixel_sigma,
    sigma,
    thin,
    out,  # (n, 14) float32
):
    for index in range(first, end):
        top, left, size = leaves[index, 0], leaves[index, 1], leaves[index, 2]
        red = green = blue = mean = slope_x = slope_y = 0.0
        half = 0.5 * (size - 1)
        for y in range(top, top + size):
            for x in range(left, left + size):
                red += rgba[y, x, 0]
                green += rgba[y, x, 1]
                blue += rgba[y, x, 2]
                mean += disparity[y, x]
                slope_x += disparity[y, x] * (x - left - half)
                slope_y += disparity[y, x] * (y - top - half)
        area = float(size * size)
        reach = sigma * size
        if size > 1:
            spread = area * (area - 1.0) / 12.0
            slope_x /= spread
            slope_y /= spread
        else:
            reach = pixel_sigma
            slope_x = _slope(rgba, disparity, top, left, 0, 1)
            slope_y = _slope(rgba, disparity, top, left, 1, 0)
        out[index, 10] = rgba[top, left, 3]
        out[index, 11] = red / area
        out[index, 12] = green / area
        out[index, 13] = blue / area

        d = max(mean / area, 1.0 / Z_MAX)
        steep = math.hypot(slope_x, slope_y) * reach / d
        if steep > STEEPEST:
            slope_x *= STEEPEST / steep
            slope_y *= STEEPEST / steep
        u = (left + half + 0.5 - K[0, 2]) / K[0, 0]
        v = (top + half + 0.5 - K[1, 2]) / K[1, 1]
        out[index, 0] = u / d
        out[index, 1] = v / d
        out[index, 2] = 1.0 / d
        # a = sigma dP/dx and b = sigma dP/dy.
        bend_x, bend_y = reach * slope_x / (d * d), reach * slope_y / (d * d)
        ax, ay, az = reach / (K[0, 0] * d) - u * bend_x, -v * bend_x, -bend_x
        bx, by, bz = -u * bend_y, reach / (K[1, 1] * d) - v * bend_y, -bend_y
        # The principal axes of the ellipse that a and b span.
        aa, bb = ax * ax + ay * ay + az * az, bx * bx + by * by + bz * bz
        ab = ax * bx + ay * by + az * bz
        turn = 0.5 * math.atan2(2.0 * ab, aa - bb)
        c, s = math.cos(turn), math.sin(turn)
        px, py, pz = c * ax + s * bx, c * ay + s * by, c * az + s * bz
        qx, qy, qz = c * bx - s * ax, c * by - s * ay, c * bz - s * az
        long = math.sqrt(px * px + py * py + pz * pz)
        short = math.sqrt(qx * qx + qy * qy + qz * qz)
        out[index, 7] = long
        out[index, 8] = short
        out[index, 9] = thin * short
        px, py, pz = px / long, py / long, pz / long
        qx, qy, qz = qx / short, qy / short, qz / short
        nx, ny, nz = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        # The normal points away from the camera, so with p and q right and down the trace of the
        # rotation can only be small where the surface is seen edge-on: take the largest of the
        # four quaternion parts as the divisor.
        ww, xx = 1.0 + px + qy + nz, 1.0 + px - qy - nz
        yy, zz = 1.0 - px + qy - nz, 1.0 - px - qy + nz
        if ww >= xx and ww >= yy and ww >= zz:
            qw, qi, qj, qk = ww, qz - ny, nx - pz, py - qx
        elif xx >= yy and xx >= zz:
            qw, qi, qj, qk = qz - ny, xx, py + qx, nx + pz
        elif yy >= zz:
            qw, qi, qj, qk = nx - pz, py + qx, yy, qz + ny
        else:
            qw, qi, qj, qk = py - qx, nx + pz, qz + ny, zz
        norm = math.sqrt(qw * qw + qi * qi + qj * qj + qk * qk)
        if qw < 0:
            norm = -norm
        out[index, 3] = qw / norm
        out[index, 4] = qi / norm
        out[index, 5] = qj / norm
        out[index, 6] = qk / norm
