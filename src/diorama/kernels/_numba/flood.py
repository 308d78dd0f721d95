"""Flooding on the CPU; see `diorama.kernels.flood`."""

import numpy as np
from numba import njit

WALL = 255


@njit(nogil=True, cache=True)
def _is_step(disparity, y, x, dy, dx, depth_step):
    """Whether the link from (y, x) along (dy, dx) is a sharp step."""
    height, width = disparity.shape
    step = abs(disparity[y + dy, x + dx] - disparity[y, x])
    if step <= depth_step:
        return False
    low = high = disparity[y, x]
    for k in range(-2, 4):
        yy = min(max(y + k * dy, 0), height - 1)
        xx = min(max(x + k * dx, 0), width - 1)
        low = min(low, disparity[yy, xx])
        high = max(high, disparity[yy, xx])
    return step > np.float32(0.35) * (high - low)


@njit(nogil=True, cache=True)
def link_weights(
    y0,
    y1,
    lab,  # (H, W, 3) uint16
    disparity,  # (H, W) float32
    depth_step,
    right,  # out: (H, W) uint8
    down,  # out: (H, W) uint8
):
    height, width = disparity.shape
    for y in range(y0, y1):
        for x in range(width):
            for axis in range(2):
                dy, dx = axis, 1 - axis
                weight = WALL
                if (
                    y + dy < height
                    and x + dx < width
                    and not _is_step(disparity, y, x, dy, dx, depth_step)
                ):
                    total = np.float32(0)
                    for c in range(3):
                        delta = np.float32(lab[y + dy, x + dx, c]) - np.float32(lab[y, x, c])
                        total += delta * delta
                    weight = min(int(np.sqrt(total) * np.float32(0.125)), WALL - 1)
                if axis == 0:
                    right[y, x] = weight
                else:
                    down[y, x] = weight


@njit(nogil=True, cache=True)
def flood(
    right,  # (size,) uint8, a strip of rows; WALL in the last column
    down,  # (size,) uint8
    seeds,  # (size,) uint8
    width,
    barrier,
    min_area,
    label,  # out: (size,) int32, the strip's regions from 0
):
    size = len(right)
    label[:] = -1
    # One first-in-first-out queue a weight, so that plateaus are shared evenly between seeds.
    head = np.full(WALL, -1, np.int32)
    tail = np.full(WALL, -1, np.int32)
    item = np.empty(2 * size, np.int32)  # target pixel * 4 + direction it was reached in
    following = np.empty(2 * size, np.int32)
    stack = np.empty(size, np.int32)
    step = np.array([1, width, -1, -width], np.int32)  # right, down, left, up
    used = 0
    count = 0
    # 0: from the seeds up to the barrier; 1: what they left; 2: everything; 3: what is walled in.
    for phase in range(4):
        grown = 0
        for start in range(size):
            if phase == 0:
                if seeds[start] == 0:
                    continue
                label[start] = count
                count += 1
                stack[0] = start
                grown = 1
            elif phase == 1 or phase == 3:
                if label[start] != -1:
                    continue
                limit = barrier if phase == 1 else WALL - 1
                label[start] = count
                stack[0] = start
                grown = 1
                done = 0
                while done < grown:
                    p = stack[done]
                    done += 1
                    for k in range(4):
                        q = p + step[k]
                        if (
                            _link(right, down, width, p, k) <= limit
                            and label[q] == -1
                            and not _walled(right, down, label, width, q, count)
                        ):
                            label[q] = count
                            stack[grown] = q
                            grown += 1
                if phase == 1 and grown < min_area:
                    for i in range(grown):
                        label[stack[i]] = -2
                    continue
                count += 1
            else:
                if label[start] == -2:
                    label[start] = -1
                continue
            if phase < 2:
                for i in range(grown):
                    p = stack[i]
                    for k in range(4):
                        weight = _link(right, down, width, p, k)
                        if weight < WALL and label[p + step[k]] < 0:
                            used = _push(
                                head, tail, item, following, used, weight, (p + step[k]) * 4 + k
                            )
        if phase == 0:
            highest = barrier
        elif phase == 2:
            highest = WALL - 1
        else:
            continue
        level = 0
        while level <= highest:
            entry = head[level]
            if entry < 0:
                level += 1
                continue
            head[level] = following[entry]
            q, k = item[entry] >> 2, item[entry] & 3
            if label[q] >= 0:
                continue
            region = label[q - step[k]]
            if _walled(right, down, label, width, q, region):
                continue
            label[q] = region
            for k in range(4):
                weight = _link(right, down, width, q, k)
                if weight < WALL and label[q + step[k]] < 0:
                    used = _push(head, tail, item, following, used, weight, (q + step[k]) * 4 + k)
                    level = min(level, weight)
    return count


@njit(nogil=True, cache=True)
def _link(right, down, width, p, k):
    """Weight of the link from pixel p in direction k; WALL out of the strip."""
    if k == 0:
        return np.int32(right[p])
    if k == 1:
        return np.int32(down[p]) if p + width < len(down) else np.int32(WALL)
    if k == 2:
        return np.int32(right[p - 1]) if p > 0 else np.int32(WALL)
    return np.int32(down[p - width]) if p >= width else np.int32(WALL)


@njit(nogil=True, cache=True)
def _walled(right, down, label, width, q, region):
    """Whether pixel q looks across a wall at this region; at a row's end it looks at nothing."""
    size = len(right)
    return (
        (right[q] == WALL and q + 1 < size and label[q + 1] == region and (q + 1) % width > 0)
        or (down[q] == WALL and q + width < size and label[q + width] == region)
        or (q > 0 and right[q - 1] == WALL and label[q - 1] == region and q % width > 0)
        or (q >= width and down[q - width] == WALL and label[q - width] == region)
    )


@njit(nogil=True, cache=True)
def _push(head, tail, item, following, used, weight, value):
    """Append to the queue of this weight; returns the number of entries used."""
    item[used] = value
    following[used] = -1
    if head[weight] < 0:
        head[weight] = used
    else:
        following[tail[weight]] = used
    tail[weight] = used
    return used + 1


@njit(nogil=True, cache=True)
def region_histograms(
    labels,  # (H, W) int32
    channels,  # (H, W, C) uint8
    histograms,  # in and out: (n, C, 33) int32
):
    height, width, num_channels = channels.shape
    for y in range(height):
        for x in range(width):
            for c in range(num_channels):
                bin_, part = channels[y, x, c] >> 3, channels[y, x, c] & 7
                histograms[labels[y, x], c, bin_] += 8 - part
                histograms[labels[y, x], c, bin_ + 1] += part
