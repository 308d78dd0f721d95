"""Twin of `diorama.kernels.mask_statistics` for NumPy arrays."""

import numpy as np
from numba import njit

ROUNDS = 5
MAD_TO_SIGMA = 1.4826


@njit(nogil=True, cache=True)
def summarise(
    begin,
    end,
    disparity,
    confidence,
    run_start,
    run_length,
    first_run,
    area,
    width,
    samples,
    median,
    mad,
    plane,
    center,
):
    """Summarise masks [begin, end), each given by its runs of pixels in reading order."""
    weighted = len(confidence) > 0
    for mask in range(begin, end):
        step = max(1, area[mask] // samples)
        num = (area[mask] + step - 1) // step
        if num == 0:
            continue
        x, y = np.empty(num), np.empty(num)
        values, weights = np.empty(num), np.ones(num)
        k = ahead = 0
        for run in range(first_run[mask], first_run[mask + 1]):
            while ahead < run_length[run]:
                pixel = run_start[run] + ahead
                x[k], y[k] = pixel % width + 0.5, pixel // width + 0.5
                values[k] = disparity[pixel]
                if weighted:
                    weights[k] = confidence[pixel] + np.float32(1e-6)
                k += 1
                ahead += step
            ahead -= run_length[run]
        middle = _weighted_median(values.copy(), weights, weighted)
        median[mask] = middle
        cx, cy = x.mean(), y.mean()
        center[mask, 0], center[mask, 1] = cx, cy
        residual = np.abs(values - middle)
        plane[mask, 2] = middle
        if num >= 12:
            # Centred and scaled coordinates keep the 3x3 system well conditioned.
            size = max(np.ptp(x), np.ptp(y), 1.0)
            x, y = (x - cx) / size, (y - cy) / size
            a, b, c = _robust_plane(x, y, values, weights)
            off = np.abs(values - (a * x + b * y + c))
            if _median(off.copy()) < _median(residual.copy()):
                a, b, residual = a / size, b / size, off
                plane[mask, 0], plane[mask, 1], plane[mask, 2] = a, b, c - a * cx - b * cy
        mad[mask] = _weighted_median(residual, weights, weighted)


@njit(nogil=True, cache=True, fastmath=True)
def _robust_plane(x, y, values, weights):
    """Fit a x + b y + c by iteratively re-weighted least squares (Geman-McClure weights)."""
    a = b = c = 0.0
    off = np.empty(len(x))
    falloff = 0.0
    for _ in range(ROUNDS):
        xx = xy = yy = xs = ys = ww = xv = yv = wv = 0.0
        for k in range(len(x)):
            w = weights[k]
            if falloff > 0:
                away = values[k] - (a * x[k] + b * y[k] + c)
                w /= (1 + falloff * away * away) ** 2
            wx, wy = w * x[k], w * y[k]
            xx += wx * x[k]
            xy += wx * y[k]
            yy += wy * y[k]
            xs += wx
            ys += wy
            ww += w
            xv += wx * values[k]
            yv += wy * values[k]
            wv += w * values[k]
        xx, yy, ww = xx + 1e-9, yy + 1e-9, ww + 1e-9
        # Cramer's rule.
        p, q, r = yy * ww - ys * ys, xy * ww - ys * xs, xy * ys - yy * xs
        scale = 1 / (xx * p - xy * q + xs * r)
        a = (xv * p - xy * (yv * ww - ys * wv) + xs * (yv * ys - yy * wv)) * scale
        b = (xx * (yv * ww - ys * wv) - xv * q + xs * (xy * wv - yv * xs)) * scale
        c = (xx * (yy * wv - yv * ys) - xy * (xy * wv - yv * xs) + xv * r) * scale
        for k in range(len(x)):
            off[k] = abs(values[k] - (a * x[k] + b * y[k] + c))
        falloff = 1 / (2 * (MAD_TO_SIGMA * _median(off) + 1e-7)) ** 2
    return a, b, c


@njit(nogil=True, cache=True)
def _weighted_median(values, weights, weighted):
    """The smallest value that with those below it has half the weight; reorders `values`."""
    if not weighted:
        return _select(values, (len(values) - 1) // 2)
    order = np.argsort(values, kind="mergesort")
    share = np.cumsum(weights[order])
    return values[order[np.searchsorted(share, share[-1] / 2)]]


@njit(nogil=True, cache=True)
def _median(values):
    """The middle one, or the mean of both; reorders `values`."""
    half = len(values) // 2
    upper = _select(values, half)
    if len(values) % 2:
        return upper
    return 0.5 * (values[:half].max() + upper)


@njit(nogil=True, cache=True)
def _select(values, k):
    """Move the k-th smallest value to place k, what is not larger before it (Hoare, 1961)."""
    low, high = 0, len(values) - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += 1
            while values[j] > pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if k <= j:
            high = j
        elif k >= i:
            low = i
        else:
            break
    return values[k]
