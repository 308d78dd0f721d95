"""Twin of `diorama.kernels.matting` for NumPy arrays."""

import math

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def mix_alpha(
    begin,
    end,
    rgb,
    certain,
    rows,
    columns,
    signed,
    reach,
    stride,
    falloff,
    noise,
    alpha,
    trust,
    color,
):
    """Solve pixels [begin, end) of the list."""
    height, width = certain.shape
    weight = np.empty((reach + 1, reach + 1), np.float32)
    for v in range(reach + 1):
        for u in range(reach + 1):
            distance = np.float32(v * v + u * u)
            weight[v, u] = np.float32(math.exp(-distance * falloff)) + np.float32(1e-6)
    for k in range(begin, end):
        y, x = rows[k], columns[k]
        fr = fg = fb = fw = fs = np.float32(0)
        br = bg = bb = bw = bs = np.float32(0)
        for v in range(max(0, y - reach), min(height, y + reach + 1), stride):
            for u in range(max(0, x - reach), min(width, x + reach + 1), stride):
                side = certain[v, u]
                if side == 0:
                    continue
                w = weight[abs(v - y), abs(u - x)]
                r, g, b = rgb[v, u, 0], rgb[v, u, 1], rgb[v, u, 2]
                if side == 1:
                    fr += w * r
                    fg += w * g
                    fb += w * b
                    fs += w * (r * r + g * g + b * b)
                    fw += w
                else:
                    br += w * r
                    bg += w * g
                    bb += w * b
                    bs += w * (r * r + g * g + b * b)
                    bw += w
        prior = min(
            max(np.float32(0.5) + np.float32(0.5) * signed[k], np.float32(0)), np.float32(1)
        )
        if fw == 0 or bw == 0:
            alpha[k] = prior
            trust[k] = 0
            for c in range(3):
                color[k, c] = rgb[y, x, c]
            if fw > 0:
                color[k, 0], color[k, 1], color[k, 2] = fr / fw, fg / fw, fb / fw
            continue
        fr, fg, fb = fr / fw, fg / fw, fb / fw
        br, bg, bb = br / bw, bg / bw, bb / bw
        scatter = fs / fw - (fr * fr + fg * fg + fb * fb) + bs / bw - (br * br + bg * bg + bb * bb)
        dr, dg, db = fr - br, fg - bg, fb - bb
        square = dr * dr + dg * dg + db * db
        along = (rgb[y, x, 0] - br) * dr + (rgb[y, x, 1] - bg) * dg + (rgb[y, x, 2] - bb) * db
        mixed = min(max(along / (square + np.float32(1e-8)), np.float32(0)), np.float32(1))
        c = square / (square + noise * noise + max(scatter, np.float32(0)))
        alpha[k] = c * mixed + (1 - c) * prior
        trust[k] = c
        color[k, 0], color[k, 1], color[k, 2] = fr, fg, fb


@njit(nogil=True, cache=True)
def smooth_alpha(begin, end, rgb, order, certain, rows, columns, alpha, trust, out):
    """Smooth pixels [begin, end) of the list."""
    height, width = order.shape
    for k in range(begin, end):
        y, x = rows[k], columns[k]
        total = np.float32(0)
        weight = np.float32(0)
        for v in range(max(0, y - 2), min(height, y + 3)):
            for u in range(max(0, x - 2), min(width, x + 3)):
                other = order[v, u] - 1
                if other >= 0:
                    value = alpha[other]
                    w = trust[other] + np.float32(0.05)
                elif certain[v, u] > 0:
                    value = np.float32(1) if certain[v, u] == 1 else np.float32(0)
                    w = np.float32(1)
                else:
                    continue
                dr = rgb[v, u, 0] - rgb[y, x, 0]
                dg = rgb[v, u, 1] - rgb[y, x, 1]
                db = rgb[v, u, 2] - rgb[y, x, 2]
                # Standard deviations: 0.08 of colour, 1 px of distance.
                near = np.float32((v - y) * (v - y) + (u - x) * (u - x))
                like = (dr * dr + dg * dg + db * db) * np.float32(78.0)
                w *= np.float32(math.exp(-like - near * np.float32(0.5)))
                total += w * value
                weight += w
        out[k] = total / weight if weight > 0 else alpha[k]
