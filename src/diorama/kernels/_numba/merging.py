"""Region merging on the CPU; see `diorama.kernels.merging`."""

import numpy as np
from numba import njit

BINS = 33
BIN_LEVELS = 8.0


@njit(nogil=True, cache=True)
def merge_regions(
    cumulated,  # in and out: (n, C * 33) float64, cumulated histograms in eighths of a pixel
    areas,  # in and out: (n,) float64
    pairs,  # in and out: (m, 2) int64
    borders,  # in and out: (m, 2 + K) float64
    weights,  # (C + K,) float64
    difference,
    most,
    fewest,
    speck,
    parents,  # in and out: (n,) int32, each its own; out: the region it ended in
):
    num_regions, num_borders = len(areas), len(pairs)
    size = areas.sum()
    outlines = np.zeros(num_regions)
    for e in range(num_borders):
        for s in range(2):
            outlines[pairs[e, s]] += borders[e, 0]
    # Node 2 e + s of the linked lists says that border e is one of region pairs[e, s]'s.
    head = np.full(num_regions, -1, np.int64)
    following = np.full(2 * num_borders, -1, np.int64)
    for e in range(num_borders):
        for s in range(2):
            following[2 * e + s] = head[pairs[e, s]]
            head[pairs[e, s]] = 2 * e + s
    # A tournament: the winner of 2 i and 2 i + 1 stands at i, so the least cost stands at 1.
    leaves = 1
    while leaves < num_borders:
        leaves *= 2
    cost = np.full(leaves, np.inf)
    tree = np.empty(2 * leaves, np.int64)
    for e in range(leaves):
        tree[leaves + e] = e
    seen = np.full(num_regions, -1, np.int64)
    count = num_regions
    stale = True
    while True:
        if stale:
            for e in range(num_borders):
                if pairs[e, 0] >= 0:
                    cost[e] = _difference(
                        cumulated, areas, outlines, pairs, borders, weights, size, speck, e
                    )
            for i in range(leaves - 1, 0, -1):
                left, right = tree[2 * i], tree[2 * i + 1]
                tree[i] = left if cost[left] <= cost[right] else right
            stale = False
        best = tree[1]
        if cost[best] == np.inf and count > 3 * most and speck < size:
            speck += speck // 2
            stale = True
            continue
        limit = np.inf if count > most else difference
        if count <= fewest:
            limit = difference / 2
        if not cost[best] < limit:
            break
        keep, gone = pairs[best, 0], pairs[best, 1]
        parents[gone] = keep
        count -= 1
        areas[keep] += areas[gone]
        outlines[keep] += outlines[gone] - 2.0 * borders[best, 0]
        for i in range(cumulated.shape[1]):
            cumulated[keep, i] += cumulated[gone, i]
        _change(tree, cost, leaves, best, np.inf)
        node = head[keep]
        head[keep] = -1
        while node >= 0:
            after = following[node]
            e = node >> 1
            if pairs[e, 0] >= 0 and e != best:
                seen[pairs[e, 1 - (node & 1)]] = e
                following[node] = head[keep]
                head[keep] = node
            node = after
        node = head[gone]
        while node >= 0:
            after = following[node]
            e, s = node >> 1, node & 1
            if pairs[e, 0] >= 0 and e != best:
                other = pairs[e, 1 - s]
                if seen[other] >= 0:
                    for i in range(borders.shape[1]):
                        borders[seen[other], i] += borders[e, i]
                    pairs[e, 0] = -1
                    _change(tree, cost, leaves, e, np.inf)
                else:
                    pairs[e, s] = keep
                    following[node] = head[keep]
                    head[keep] = node
            node = after
        pairs[best, 0] = -1
        node = head[keep]
        while node >= 0:
            e = node >> 1
            seen[pairs[e, 1 - (node & 1)]] = -1
            new = _difference(cumulated, areas, outlines, pairs, borders, weights, size, speck, e)
            _change(tree, cost, leaves, e, new)
            node = following[node]
    for region in range(num_regions):
        root = region
        while parents[root] != root:
            root = parents[root]
        while parents[region] != root:
            parents[region], region = root, parents[region]


@njit(nogil=True, cache=True)
def _difference(cumulated, areas, outlines, pairs, borders, weights, size, speck, e):
    """How different the regions of border e are."""
    a, b = pairs[e, 0], pairs[e, 1]
    smaller = min(areas[a], areas[b])
    if smaller < speck:
        return 1e-6 * (borders[e, 2] / borders[e, 0])
    if borders[e, 1] > 0:
        return np.inf
    part_a, part_b = 1.0 / (8.0 * areas[a]), 1.0 / (8.0 * areas[b])
    num_channels = cumulated.shape[1] // BINS
    total = 0.0
    for c in range(num_channels):
        apart = 0.0
        for i in range(c * BINS, c * BINS + BINS):
            apart += abs(cumulated[a, i] * part_a - cumulated[b, i] * part_b)
        total += (weights[c] * BIN_LEVELS * apart) ** 2
    for k in range(3, borders.shape[1]):
        total += (weights[num_channels + k - 3] * borders[e, k] / borders[e, 0]) ** 2
    rough_a, rough_b = 0.0, 0.0
    for i in range((num_channels - 1) * BINS, num_channels * BINS):
        rough_a += 1.0 - cumulated[a, i] * part_a
        rough_b += 1.0 - cumulated[b, i] * part_b
    thin = min(areas[a] / outlines[a], areas[b] / outlines[b])
    share = 100.0 * smaller / size
    ease = share**0.086 * min(1.0, share) ** 0.187 * min(1.0, thin**4)
    ease /= 1.0 + 0.063 * min(rough_a, rough_b)
    return np.sqrt(total) * ease


@njit(nogil=True, cache=True)
def _change(tree, cost, leaves, e, value):
    """Change the cost of border e and replay its matches."""
    cost[e] = value
    i = (leaves + e) >> 1
    while i >= 1:
        left, right = tree[2 * i], tree[2 * i + 1]
        tree[i] = left if cost[left] <= cost[right] else right
        i >>= 1
