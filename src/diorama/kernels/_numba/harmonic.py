"""Preconditioned conjugate gradients on the pixels of a hole; see `kernels.harmonic`."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def untouched(neighbours, fixed):
    """(n,) bool: the pixels from which no path in the hole leads to one that is held."""
    n = fixed.size
    lost = np.ones(n, np.bool_)
    stack = np.empty(n, np.int32)
    top = 0
    for i in range(n):
        if fixed[i] > 0:
            lost[i] = False
            stack[top] = i
            top += 1
    while top > 0:
        top -= 1
        i = stack[top]
        for e in range(4):
            j = neighbours[i, e]
            if j < n and lost[j]:
                lost[j] = False
                stack[top] = j
                top += 1
    return lost


@njit(nogil=True, cache=True)
def coarsen(neighbours, weights, fixed, parents, cells):
    """Sums over each of `cells` aggregates: links (cells, 4) that leave it, and what holds it.

    Piecewise constant interpolation makes the coarse level twice too stiff in 2D: links are halved.
    """
    coarse = np.zeros((cells, 4), np.float32)
    held = np.zeros(cells, np.float32)
    for i in range(parents.size):
        cell = parents[i]
        held[cell] += fixed[i]
        for e in range(4):
            if weights[i, e] > 0 and parents[neighbours[i, e]] != cell:
                coarse[cell, e] += np.float32(0.5) * weights[i, e]
    return coarse, held


@njit(nogil=True, cache=True, fastmath=True)
def _sweep(first, size, step, neighbours, weights, inverses, rhs, x):
    """One Gauss-Seidel sweep over a coarse level, forwards (step 1) or backwards (step -1)."""
    begin = 0 if step > 0 else size - 1
    for k in range(size):
        i = first + begin + step * k
        total = rhs[i]
        for e in range(4):
            total += weights[i, e] * x[neighbours[i, e]]
        x[i] = total * inverses[i]


@njit(nogil=True, cache=True, fastmath=True)
def _coarse_cycle(offsets, neighbours, weights, inverses, parents, rhs, x):
    """From the second level down and up again: x[offsets[1]:] from zero, for rhs there.

    Neighbours 0 and 2 come before a pixel, 1 and 3 after it: a forward sweep from zero sees the
    former only, and the residual it leaves is what the latter then weigh.
    """
    levels = offsets.size - 1
    for level in range(1, levels):
        first, end = offsets[level], offsets[level + 1]
        for i in range(first, end):
            before = weights[i, 0] * x[neighbours[i, 0]] + weights[i, 2] * x[neighbours[i, 2]]
            x[i] = (rhs[i] + before) * inverses[i]
        if level < levels - 1:
            for i in range(end, offsets[level + 2]):
                rhs[i] = 0
            for i in range(first, end):
                after = weights[i, 1] * x[neighbours[i, 1]] + weights[i, 3] * x[neighbours[i, 3]]
                rhs[parents[i]] += after
    for level in range(levels - 1, 0, -1):
        first, size = offsets[level], offsets[level + 1] - offsets[level]
        if level < levels - 1:
            for i in range(first, first + size):
                x[i] += x[parents[i]]
        else:
            for _ in range(8):
                _sweep(first, size, -1, neighbours, weights, inverses, rhs, x)
                _sweep(first, size, 1, neighbours, weights, inverses, rhs, x)
        _sweep(first, size, -1, neighbours, weights, inverses, rhs, x)


@njit(nogil=True, cache=True, fastmath=True)
def _cycle(n, offsets, neighbours, weights, inverses, parents, r, rhs, x):
    """One symmetric V-cycle from zero: x[:n] approximates the solution for r; returns r . x.

    All links of the finest level weigh 1, and what is absent there has the address of a 0.
    """
    for i in range(n):
        x[i] = (r[i] + x[neighbours[i, 0]] + x[neighbours[i, 2]]) * inverses[i]
    if offsets.size > 2:
        for i in range(n, offsets[2]):
            rhs[i] = 0
        for i in range(n):
            rhs[parents[i]] += x[neighbours[i, 1]] + x[neighbours[i, 3]]
        _coarse_cycle(offsets, neighbours, weights, inverses, parents, rhs, x)
        for i in range(n):
            x[i] += x[parents[i]]
    dot = 0.0
    for k in range(n):
        i = n - 1 - k
        near = x[neighbours[i, 0]] + x[neighbours[i, 1]] + x[neighbours[i, 2]] + x[neighbours[i, 3]]
        x[i] = (r[i] + near) * inverses[i]
        dot += r[i] * x[i]
    return dot


@njit(nogil=True, cache=True, fastmath=True)
def solve(offsets, neighbours, weights, diagonals, parents, pull, tolerance, max_iterations):
    """Conjugate gradients from zero; returns (n,) float32. Sums run in one fixed order."""
    n = pull.size
    total = offsets[-1] + 1  # an absent neighbour has an address, too: the last
    x = np.zeros(n, np.float32)
    r = pull.copy()
    z = np.zeros(total, np.float32)
    drop = np.empty(n, np.float32)
    rhs = np.empty(total, np.float32)
    p = np.zeros(total, np.float32)
    inverses = np.float32(1) / diagonals
    norm = 0.0
    for i in range(n):
        norm += r[i] * r[i]
    limit = norm * tolerance * tolerance
    rho_old = 1.0
    for iteration in range(max_iterations):
        if norm <= limit:
            break
        rho = _cycle(n, offsets, neighbours, weights, inverses, parents, r, rhs, z)
        beta = np.float32(rho / rho_old) if iteration > 0 else np.float32(0)
        for i in range(n):
            p[i] = z[i] + beta * p[i]
        curvature = 0.0
        for i in range(n):
            near = p[neighbours[i, 0]] + p[neighbours[i, 1]]
            near += p[neighbours[i, 2]] + p[neighbours[i, 3]]
            drop[i] = diagonals[i] * p[i] - near
            curvature += p[i] * drop[i]
        if curvature <= 0.0:
            break
        step = np.float32(rho / curvature)
        norm = 0.0
        for i in range(n):
            x[i] += step * p[i]
            r[i] -= step * drop[i]
            norm += r[i] * r[i]
        rho_old = rho
    return x
