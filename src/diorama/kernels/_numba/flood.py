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
    step = np.array([1, width, -1, -width])  # right, down, left, up
    links = np.empty((size, 4), np.uint8)  # weight in each direction, WALL out of the strip
    # A link of at least this weight comes too late to a pixel: a lighter one waits, or, at 0, the
    # pixel has its region. Beside a wall one that waits may yet be barred: there all may wait.
    bound = np.empty(size, np.uint8)
    for p in range(size):
        label[p] = -1
        bound[p] = WALL
        links[p, 0] = right[p]
        links[p, 1] = down[p] if p + width < size else WALL
        links[p, 2] = right[p - 1] if p > 0 else WALL
        links[p, 3] = down[p - width] if p >= width else WALL
    # One first-in-first-out queue a weight, so that plateaus are shared evenly between seeds.
    head = np.empty(WALL, np.int64)
    tail = np.empty(WALL, np.int64)
    for level in range(WALL):
        head[level] = -1
    item = np.empty((4 * size, 2), np.int32)  # target * 4 + direction it was reached in; the next
    used = 0
    stack = np.empty(size, np.int32)
    count = 0
    # 0: from the seeds up to the barrier; 1: what they left; 2: everything; 3: what is walled in.
    for phase in range(4):
        for start in range(size):
            if phase == 2:
                if label[start] == -2:
                    label[start] = -1
                continue
            if (seeds[start] == 0) if phase == 0 else (label[start] != -1):
                continue
            label[start] = count
            stack[0] = start
            grown = 1
            if phase > 0:
                limit = barrier if phase == 1 else WALL - 1
                done = 0
                while done < grown:
                    p = np.int64(stack[done])
                    done += 1
                    for k in range(4):
                        q = p + step[k]
                        if (
                            links[p, k] <= limit
                            and label[q] == -1
                            and not _walled(links, label, width, q, count)
                        ):
                            label[q] = count
                            stack[grown] = q
                            grown += 1
            if phase == 1 and grown < min_area:
                for i in range(grown):
                    label[stack[i]] = -2
                continue
            count += 1
            if phase < 2:
                for i in range(grown):
                    used, _ = _push(
                        head, tail, item, used, links, bound, step, np.int64(stack[i]), 0
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
            q, k = np.int64(item[entry, 0]) >> 2, item[entry, 0] & 3
            head[level] = item[entry, 1]
            if label[q] >= 0:
                continue
            region = np.int64(label[q - step[k]])
            if _walled(links, label, width, q, region):
                continue
            label[q] = region
            used, level = _push(head, tail, item, used, links, bound, step, q, level)
    return count


@njit(nogil=True, cache=True)
def _walled(links, label, width, q, region):
    """Whether pixel q looks across a wall at this region; at a row's end it looks at nothing."""
    return (
        (links[q, 0] == WALL and (q + 1) % width > 0 and label[q + 1] == region)
        or (links[q, 1] == WALL and q + width < len(label) and label[q + width] == region)
        or (links[q, 2] == WALL and q % width > 0 and label[q - 1] == region)
        or (links[q, 3] == WALL and q >= width and label[q - width] == region)
    )


@njit(nogil=True, cache=True)
def _push(head, tail, item, used, links, bound, step, p, level):
    """Let the links of pixel p, which has its region now, wait each in the queue of its weight.

    Returns how many places are used, and the lightest weight if that is less than `level`.
    """
    bound[p] = 0
    for k in range(4):
        weight = links[p, k]
        q = p + step[k]
        if weight == WALL or weight >= bound[q]:
            continue
        beside = links[q, 0] | links[q, 1] | links[q, 2] | links[q, 3]  # has all bits of a WALL
        if beside != WALL:
            bound[q] = weight
        item[used, 0] = q * 4 + k
        item[used, 1] = -1
        if head[weight] < 0:
            head[weight] = used
        else:
            item[tail[weight], 1] = used
        tail[weight] = used
        used += 1
        level = min(level, np.int64(weight))
    return used, level


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
