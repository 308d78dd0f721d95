"""Parting masks on the CPU; see `diorama.kernels.mutex_watershed`."""

import numpy as np
from numba import njit

CELL = 4
NONE = -1
LEVELS = 4096
WINDOW = 6


@njit(nogil=True, cache=True)
def find_steps(
    y0,
    y1,
    disparity,  # (H, W) float32
    rows,  # (H, W) int32
    least,
    share,
    steps,  # out: (H, W) uint8
):
    height, width = rows.shape
    for y in range(y0, y1):
        # At the photo's edge the window moves inwards: over fewer pixels a slope would be a step.
        top = max(min(y - 2, height - WINDOW), 0)
        for x in range(width):
            found = 0
            here, mask = disparity[y, x], rows[y, x]
            if x + 1 < width and rows[y, x + 1] == mask:
                climb = abs(disparity[y, x + 1] - here)
                if climb > share * least:
                    left = max(min(x - 2, width - WINDOW), 0)
                    low = high = here
                    for u in range(left, min(left + WINDOW, width)):
                        low, high = min(low, disparity[y, u]), max(high, disparity[y, u])
                    if high - low > least and climb > share * (high - low):
                        found += 1
            if y + 1 < height and rows[y + 1, x] == mask:
                climb = abs(disparity[y + 1, x] - here)
                if climb > share * least:
                    low = high = here
                    for v in range(top, min(top + WINDOW, height)):
                        low, high = min(low, disparity[v, x]), max(high, disparity[v, x])
                    if high - low > least and climb > share * (high - low):
                        found += 2
            steps[y, x] = found


@njit(nogil=True, cache=True)
def nodes(
    rows,  # (h, w) int32, the mask's box
    mask,
    steps,  # (h, w) uint8
):
    """Number the cells of the mask that no step touches, and the single pixels of all others.

    Returns the node of each pixel, -1 outside the mask; which cells are whole; and how many.
    """
    height, width = rows.shape
    node = np.full((height, width), NONE, np.int32)
    whole = np.zeros((-(-height // CELL), -(-width // CELL)), np.bool_)
    num = 0
    for top in range(0, height, CELL):
        bottom = min(top + CELL, height)
        for left in range(0, width, CELL):
            right = min(left + CELL, width)
            plain = True
            for y in range(top, bottom):
                for x in range(left, right):
                    plain &= rows[y, x] == mask and steps[y, x] == 0
                plain &= left == 0 or steps[y, left - 1] & 1 == 0
            for x in range(left, right):
                plain &= top == 0 or steps[top - 1, x] & 2 == 0
            whole[top // CELL, left // CELL] = plain
            for y in range(top, bottom):
                for x in range(left, right):
                    if rows[y, x] == mask:
                        node[y, x] = num
                        num += not plain
            num += plain
    return node, whole, num


@njit(nogil=True, cache=True)
def links(
    node,  # (h, w) int32
    whole,  # (h / 4, w / 4) bool
    steps,  # (h, w) uint8
    disparity,  # (h, w) float32
    smooth,  # (h, w) float32
    least,
):
    """Pairs of nodes that a step keeps apart, and those that touch, in order of the climb."""
    height, width = node.shape
    start = np.zeros(LEVELS + 1, np.int64)
    num_apart = 0
    apart = link = np.empty((0, 2), np.int32)
    for fill in range(2):
        for y in range(height):
            for x in range(width):
                a = node[y, x]
                if a < 0:
                    continue
                for axis in range(2):
                    v, u = y + axis, x + 1 - axis
                    if v >= height or u >= width:
                        continue
                    b = node[v, u]
                    if b < 0 or b == a:
                        continue
                    if steps[y, x] >> axis & 1:
                        if fill:
                            apart[num_apart, 0], apart[num_apart, 1] = a, b
                        num_apart += 1
                        continue
                    # Between two whole cells one link is enough.
                    if (x if axis else y) % CELL != CELL // 2 and (
                        whole[y // CELL, x // CELL] and whole[v // CELL, u // CELL]
                    ):
                        continue
                    climb = abs(smooth[y, x] - smooth[v, u])
                    climb = min(climb, abs(disparity[y, x] - disparity[v, u])) / least
                    level = min(int(np.sqrt(climb) * (LEVELS // 4)), LEVELS - 1)
                    if fill:
                        link[start[level], 0], link[start[level], 1] = a, b
                        start[level] += 1
                    else:
                        start[level + 1] += 1
        if not fill:
            start = np.cumsum(start)
            link = np.empty((start[LEVELS], 2), np.int32)
            apart = np.empty((num_apart, 2), np.int32)
            num_apart = 0
    return apart, link


@njit(nogil=True, cache=True)
def join(
    num,
    apart,  # (m, 2) int32
    link,  # (n, 2) int32
):
    """Join what is linked, in order, unless a step keeps it apart; return each node's piece."""
    parent = np.arange(num).astype(np.int32)
    # Foes of each root, as a linked list: nodes it must never be joined with.
    first = np.full(num, NONE, np.int32)
    last = np.full(num, NONE, np.int32)
    size = np.zeros(num, np.int32)
    foe = np.empty(2 * len(apart), np.int32)
    following = np.full(2 * len(apart), NONE, np.int32)
    for k in range(len(apart)):
        for side in range(2):
            own, entry = apart[k, side], 2 * k + side
            foe[entry] = apart[k, 1 - side]
            if last[own] < 0:
                first[own] = entry
            else:
                following[last[own]] = entry
            last[own] = entry
            size[own] += 1
    barred = np.full(num, NONE, np.int32)  # the root this one was last found to be a foe of
    for k in range(len(link)):
        a, b = _root(parent, link[k, 0]), _root(parent, link[k, 1])
        if size[a] > size[b]:
            a, b = b, a
        if a == b or barred[a] == b:
            continue
        entry, before = first[a], NONE
        while entry >= 0:
            other = _root(parent, foe[entry])
            if other == b:
                break
            # Along a step one faces the same foe again and again: once is enough.
            if before >= 0 and foe[before] == other:
                following[before] = following[entry]
                size[a] -= 1
            else:
                foe[entry] = other
                before = entry
            if following[entry] < 0:
                last[a] = before
            entry = following[entry]
        if entry >= 0:
            barred[a] = b
            continue
        parent[a] = b
        if first[a] >= 0:
            if first[b] < 0:
                first[b] = first[a]
            else:
                following[last[b]] = first[a]
            last[b] = last[a]
            size[b] += size[a]
    name = np.full(num, NONE, np.int32)
    piece = np.empty(num, np.int32)
    count = 0
    for k in range(num):
        root = _root(parent, k)
        if name[root] < 0:
            name[root] = count
            count += 1
        piece[k] = name[root]
    return piece, count


@njit(nogil=True, cache=True)
def count_pixels(
    node,  # (h, w) int32
    piece,  # (num,) int32, of each node
    area,  # out: (count,) int64
):
    for y in range(node.shape[0]):
        for x in range(node.shape[1]):
            if node[y, x] >= 0:
                area[piece[node[y, x]]] += 1


@njit(nogil=True, cache=True)
def write_pieces(
    node,  # (h, w) int32
    piece,  # (num,) int32, of each node
    pieces,  # out: (h, w) int32; only pixels with a node are written
):
    for y in range(node.shape[0]):
        for x in range(node.shape[1]):
            if node[y, x] >= 0:
                pieces[y, x] = piece[node[y, x]]


@njit(nogil=True, cache=True)
def borders_of_small(
    pieces,  # (H, W) int32
    small,  # (num,) bool
    disparity,  # (H, W) float32
):
    """Both pieces (n, 2) and the step (n,) of each link between two of which one is small."""
    height, width = pieces.shape
    pair = np.empty((0, 2), np.int32)
    step = np.empty(0, np.float32)
    count = 0
    for fill in range(2):
        if fill:
            pair, step = np.empty((count, 2), np.int32), np.empty(count, np.float32)
            count = 0
        for y in range(height):
            for x in range(width):
                a = pieces[y, x]
                for axis in range(2):
                    v, u = y + axis, x + 1 - axis
                    if v >= height or u >= width:
                        continue
                    b = pieces[v, u]
                    if a == b or not (small[a] or small[b]):
                        continue
                    if fill:
                        pair[count, 0], pair[count, 1] = min(a, b), max(a, b)
                        step[count] = abs(disparity[y, x] - disparity[v, u])
                    count += 1
    return pair, step


@njit(nogil=True, cache=True)
def settle(
    pair,  # (n, 2) int32, in the order they are joined
    area,  # (num,) int64; changed
    small,  # (num,) bool; changed
    smallest,
    parent,  # out: (num,) int32, each its own to begin with
):
    for k in range(len(pair)):
        a, b = _root(parent, pair[k, 0]), _root(parent, pair[k, 1])
        if a == b or not (small[a] or small[b]):
            continue
        if small[b]:
            a, b = b, a
        parent[a] = b
        area[b] += area[a]
        small[b] &= area[b] < smallest
    for piece in range(len(parent)):
        parent[piece] = _root(parent, piece)


@njit(nogil=True, cache=True)
def _root(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node
