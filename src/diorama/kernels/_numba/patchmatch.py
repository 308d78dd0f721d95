"""Nearest patches and their vote; see `kernels.patchmatch`. Flat indices, row stride `width`."""

import numpy as np
from numba import njit

from diorama.kernels.patchmatch import RADIUS

SIDE = 2 * RADIUS + 1
RUN = 3 * SIDE + 3  # a patch row and a pixel of padding: 24 floats fill whole vector registers


@njit(nogil=True, cache=True)
def _next(state):
    """The next state of a 32-bit xorshift (Marsaglia, 2003)."""
    state ^= (state << 13) & 0xFFFFFFFF
    state ^= state >> 17
    state ^= (state << 5) & 0xFFFFFFFF
    return state


# The sums may be reassociated into vectors: their order is then the compiler's, but always the
# same. Rows are summed inside columns, so that there is one horizontal sum and not one a row.
@njit(nogil=True, cache=True, fastmath={"reassoc", "contract", "nsz"})
def _distance(rgb, width, patch, weights, center, bound):
    """Weighted sum of squared differences to the patch around `center`; gives up above `bound`."""
    corner = 3 * (center - RADIUS)
    stride = 3 * width
    total = np.float32(0)
    for k in range(RUN):
        part = np.float32(0)
        for row in range(RADIUS - 1, RADIUS + 2):
            difference = patch[row * RUN + k] - rgb[corner + (row - RADIUS) * stride + k]
            part += weights[row * RUN + k] * difference * difference
        total += part
    if total > bound:
        return total
    for k in range(RUN):
        part = np.float32(0)
        for n in range(SIDE - 3):
            row = n if n < RADIUS - 1 else n + 3
            difference = patch[row * RUN + k] - rgb[corner + (row - RADIUS) * stride + k]
            part += weights[row * RUN + k] * difference * difference
        total += part
    return total


@njit(nogil=True, cache=True)
def match(
    targets,  # (n,) int32
    forward,
    width,
    rgb,  # (h * w * 3,) float32
    confidence,  # (h * w,) float32
    usable,  # (h * w,) uint8
    before,  # (h * w,) int32: the sources when the sweep began; not `sources` itself
    sources,  # (h * w,) int32, in and out
    costs,  # (h * w,) float32, out
    search_px,
    penalty,
    seed,
):
    patch = np.zeros(SIDE * RUN, np.float32)
    weights = np.zeros(SIDE * RUN, np.float32)
    height = usable.size // width
    step = 1 if forward else -1
    first, last = targets[0], targets[-1]
    for n in range(targets.size):
        t = np.int64(targets[n] if forward else targets[targets.size - 1 - n])
        ty, tx = t // width, t % width
        mass = np.float32(1e-6)
        for row in range(SIDE):
            for column in range(SIDE):
                at = t + (row - RADIUS) * width + column - RADIUS
                k = row * RUN + 3 * column
                weight = confidence[at]
                mass += weight
                for c in range(3):
                    patch[k + c] = rgb[3 * at + c]
                    weights[k + c] = weight
        best = np.int64(-1)
        bound = np.float32(np.inf)
        state = np.int64((seed ^ (t * 2654435761)) & 0xFFFFFFFF) | 1
        reach = search_px
        # Candidate 0 is what the target has, 1 to 4 its neighbours' offsets, the rest is chance.
        candidate = 0
        while candidate < 5 or (reach >= 1 and best >= 0):
            source = np.int64(-1)
            if candidate == 0:
                source = np.int64(sources[t])
            elif candidate < 5:
                offset = step if candidate % 2 == 1 else step * width
                if candidate > 2:
                    offset = -offset
                beside = t - offset
                own = first <= beside <= last
                source = np.int64(sources[beside] if own else before[beside])
                if source >= 0:
                    source += offset
            else:
                state = _next(state)
                y = best // width + state % (2 * reach + 1) - reach
                state = _next(state)
                x = best % width + state % (2 * reach + 1) - reach
                reach //= 2
                if 0 <= y < height and 0 <= x < width:
                    source = y * width + x
            candidate += 1
            if source < 0 or source >= usable.size or source == best or usable[source] == 0:
                continue
            dy, dx = source // width - ty, source % width - tx
            extra = penalty * mass * np.float32(dy * dy + dx * dx)
            if extra < bound:
                found = extra + _distance(rgb, width, patch, weights, source, bound - extra)
                if found < bound:
                    best, bound = source, found
        sources[t] = best
        costs[t] = bound / mass


@njit(nogil=True, cache=True)
def vote(pixels, width, rgb, sources, weights, window, out):
    for n in range(pixels.size):
        p = np.int64(pixels[n])
        total = red = green = blue = np.float32(0)
        for row in range(SIDE):
            for column in range(SIDE):
                offset = (row - RADIUS) * width + column - RADIUS
                source = sources[p - offset]
                if source < 0:
                    continue
                weight = weights[p - offset] * window[row * SIDE + column]
                at = 3 * (source + offset)
                total += weight
                red += weight * rgb[at]
                green += weight * rgb[at + 1]
                blue += weight * rgb[at + 2]
        if total > 0:
            out[n, 0] = red / total
            out[n, 1] = green / total
            out[n, 2] = blue / total
        else:
            for c in range(3):
                out[n, c] = rgb[3 * p + c]
