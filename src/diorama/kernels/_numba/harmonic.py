"""Preconditioned conjugate gradients on the pixels of a hole; see `kernels.harmonic`."""

import numpy as np
from numba import njit


@njit(nogil=True, cache=True)
def _sweep(first, size, step, neighbours, weights, inverses, rhs, x):
    """One Gauss-Seidel sweep over a level, forwards (step 1) or backwards (step -1)."""
    begin = 0 if step > 0 else size - 1
    for k in range(size):
        i = first + begin + step * k
        total = rhs[i]
        for e in range(4):
            total += weights[i, e] * x[first + neighbours[i, e]]
        x[i] = total * inverses[i]


@njit(nogil=True, cache=True)
def _residual(first, size, neighbours, weights, diagonals, rhs, x, out):
    """Out = rhs - A x on one level."""
    for i in range(first, first + size):
        total = rhs[i] - diagonals[i] * x[i]
        for e in range(4):
            total += weights[i, e] * x[first + neighbours[i, e]]
        out[i] = total


@njit(nogil=True, cache=True)
def _cycle(offsets, neighbours, weights, inverses, parents, rhs, x):
    """One symmetric V-cycle from zero: x[:n] approximates the solution for rhs[:n].

    Neighbours 0 and 2 come before a pixel, 1 and 3 after it: a forward sweep from zero sees the
    former only, and the residual it leaves is what the latter then weigh.
    """
    levels = offsets.size - 1
    for level in range(levels):
        first, end = offsets[level], offsets[level + 1]
        for i in range(first, end):
            before = weights[i, 0] * x[first + neighbours[i, 0]]
            before += weights[i, 2] * x[first + neighbours[i, 2]]
            x[i] = (rhs[i] + before) * inverses[i]
        if level < levels - 1:
            for i in range(end, offsets[level + 2]):
                rhs[i] = 0
            for i in range(first, end):
                after = weights[i, 1] * x[first + neighbours[i, 1]]
                after += weights[i, 3] * x[first + neighbours[i, 3]]
                rhs[end + parents[i]] += after
    for level in range(levels - 1, -1, -1):
        first, size = offsets[level], offsets[level + 1] - offsets[level]
        if level < levels - 1:
            coarse = offsets[level + 1]
            for i in range(first, first + size):
                x[i] += x[coarse + parents[i]]
        else:
            for _ in range(8):
                _sweep(first, size, -1, neighbours, weights, inverses, rhs, x)
                _sweep(first, size, 1, neighbours, weights, inverses, rhs, x)
        _sweep(first, size, -1, neighbours, weights, inverses, rhs, x)


@njit(nogil=True, cache=True)
def solve(offsets, neighbours, weights, diagonals, parents, pull, tolerance, max_iterations):
    """Conjugate gradients from zero; returns (n,) float32. Sums run in index order."""
    n = pull.size
    total = offsets[-1] + 1  # an absent neighbour has weight 0 and an address, too
    x = np.zeros(n, np.float32)
    r = np.zeros(total, np.float32)
    z = np.zeros(total, np.float32)
    drop = np.zeros(n, np.float32)
    rhs = np.zeros(total, np.float32)
    p = np.zeros(n + 1, np.float32)
    inverses = np.float32(1) / diagonals
    zero = np.zeros(n, np.float32)
    norm = 0.0
    for i in range(n):
        r[i] = pull[i]
        norm += pull[i] * pull[i]
    limit = norm * tolerance * tolerance
    rho_old = 1.0
    for iteration in range(max_iterations):
        if norm <= limit:
            break
        for i in range(n):
            rhs[i] = r[i]
        _cycle(offsets, neighbours, weights, inverses, parents, rhs, z)
        rho = 0.0
        for i in range(n):
            rho += r[i] * z[i]
        beta = rho / rho_old if iteration > 0 else 0.0
        for i in range(n):
            p[i] = z[i] + np.float32(beta) * p[i]
        _residual(0, n, neighbours, weights, diagonals, zero, p, drop)  # -A p
        curvature = 0.0
        for i in range(n):
            curvature -= p[i] * drop[i]
        if curvature <= 0.0:
            break
        step = np.float32(rho / curvature)
        norm = 0.0
        for i in range(n):
            x[i] += step * p[i]
            r[i] += step * drop[i]
            norm += r[i] * r[i]
        rho_old = rho
    return x
