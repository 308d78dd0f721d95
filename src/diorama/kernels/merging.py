"""Greedy merging of neighbouring regions, the most alike first."""

import numpy as np

from diorama.arrays import Array


def merge_regions(
    histograms: Array,
    pairs: Array,
    borders: Array,
    weights: Array,
    *,
    difference: float,
    most: int,
    fewest: int,
    speck: int,
) -> Array:
    """Merge neighbours until those left differ by more than `difference`.

    The difference of two regions that touch is

        D^2 = sum_c (w_c W1_c)^2 + sum_k (v_k mean_k)^2
        D  := D s^0.086 min(1, s)^0.187 min(1, t / 2 px)^4 / (1 + 0.063 r),    s = 100 a / size

    with W1 the Wasserstein distance of channel c's histograms in levels, mean_k the k-th measure's
    mean along the border, a the smaller region's area, `size` all pixels, t the thickness (two
    areas over the outline) of the thinner region, and r the mean of the last channel, detail, where
    there is less of it, in bins of 8 levels: texture lets go. D is infinite across a wall.
    Specks merge first, walls or not, to where disparity is nearest; where walls alone leave more
    than thrice `most` regions, larger and larger ones count as specks. After a merger only the
    differences of the new region's neighbours are computed anew: the cost is n log n.

    Args:
        histograms: (n, C, 33) int32 from `region_histograms`; not changed.
        pairs: (m, 2) int64, the regions on both sides of each border; no pair twice.
        borders: (m, 3 + K) float64: links, walls among them, sums of the step of disparity and of K
            measures; not changed.
        weights: (C + K,) float64: w, v.
        difference: neighbours that differ by less merge.
        most: above so many regions they merge although they differ by more.
        fewest: at so many or less only what differs by less than half of it merges.
        speck: regions of fewer pixels merge in any case.

    Returns:
        (n,) int32: what each region belongs to, 0.. without gaps in the order of first regions.
    """
    from diorama.kernels._numba import merging as kernels

    areas = histograms[:, 0].sum(1) / 8.0
    cumulated = np.cumsum(histograms.astype(np.float64), 2).reshape(len(histograms), -1)
    parents = np.arange(len(histograms), dtype=np.int32)
    kernels.merge_regions(
        cumulated,
        areas,
        pairs.copy(),
        borders.copy(),
        weights,
        difference,
        most,
        fewest,
        speck,
        parents,
    )
    return np.unique(parents, return_inverse=True)[1].astype(np.int32)
