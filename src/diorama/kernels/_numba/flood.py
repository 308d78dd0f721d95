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
    y0,
    y1,
    right,  # (H, W) uint8
    down,  # (H, W) uint8
    seeds,  # (H, W) uint8
    barrier,
    min_area,
    labels,  # out: (H, W) int32, this strip's regions from 0
):
    width = right.shape[1]
    size = (y1 - y0) * width
    label = np.full(size, -1, np.int32)
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
                if seeds[y0 + start // width, start % width] == 0:
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
                    y, x = p // width, p % width
                    for k in range(4):
                        q = p + step[k]
                        if (
                            _link(right, down, y0, y1, y, x, k) <= limit
                            and label[q] == -1
                            and not _walled(right, down, label, y0, y1, q, count)
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
                    y, x = p // width, p % width
                    for k in range(4):
                        weight = _link(right, down, y0, y1, y, x, k)
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
            if _walled(right, down, label, y0, y1, q, region):
                continue
            label[q] = region
            y, x = q // width, q % width
            for k in range(4):
                weight = _link(right, down, y0, y1, y, x, k)
                if weight < WALL and label[q + step[k]] < 0:
                    used = _push(head, tail, item, following, used, weight, (q + step[k]) * 4 + k)
                    level = min(level, weight)
    for p in range(size):
        labels[y0 + p // width, p % width] = label[p]
    return count


@njit(nogil=True, cache=True)
def _link(right, down, y0, y1, y, x, k):
    """Weight of the link from the strip's pixel (y, x) in direction k; WALL out of the strip."""
    if k == 0:
        return np.int32(right[y0 + y, x])
    if k == 1:
        return np.int32(down[y0 + y, x]) if y0 + y + 1 < y1 else np.int32(WALL)
    if k == 2:
        return np.int32(right[y0 + y, x - 1]) if x > 0 else np.int32(WALL)
    return np.int32(down[y0 + y - 1, x]) if y > 0 else np.int32(WALL)


@njit(nogil=True, cache=True)
def _walled(right, down, label, y0, y1, q, region):
    """Whether the strip's pixel q looks across a wall at this region."""
    width = right.shape[1]
    y, x = q // width, q % width
    return (
        (x + 1 < width and right[y0 + y, x] == WALL and label[q + 1] == region)
        or (y0 + y + 1 < y1 and down[y0 + y, x] == WALL and label[q + width] == region)
        or (x > 0 and right[y0 + y, x - 1] == WALL and label[q - 1] == region)
        or (y > 0 and down[y0 + y - 1, x] == WALL and label[q - width] == region)
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
