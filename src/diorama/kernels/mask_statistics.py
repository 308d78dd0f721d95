"""Robust statistics of every mask's disparity."""

import numpy as np

from diorama.arrays import AnyArray, is_tensor
from diorama.runtime import run_bands

MASKS_PER_TASK = 8


def mask_statistics(
    disparity: AnyArray,
    rows: AnyArray,
    num_masks: int,
    *,
    confidence: AnyArray | None = None,
    samples: int,
) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray, AnyArray]:
    """Median, plane and scatter of each mask's disparity.

    Medians are weighted by confidence; the plane is fitted by iteratively re-weighted least squares
    (Geman-McClure weights), and constant where a slope explains no more; the MAD is of what it
    leaves. Every n-th pixel of a mask is looked at, in reading order.

    Args:
        disparity: (H, W) float32, not negative.
        rows: (H, W) int32: the mask of each pixel, counted from 0.
        num_masks: n.
        confidence: (H, W) float32 weights; all alike if None.
        samples: pixels a mask's statistics are taken from, at least; twice as many at most.

    Returns:
        area (n,) int64; median (n,), MAD (n,), plane (n, 3): a, b, c of a x + b y + c over pixel
        centres, and center (n, 2): mean x, y, all float64. CUDA tensors if the arrays are.
    """
    if is_tensor(disparity):
        from diorama.kernels._triton import mask_statistics as triton_twin

        return triton_twin.mask_statistics(
            disparity, rows, num_masks, confidence=confidence, samples=samples
        )
    from diorama.kernels._numba import mask_statistics as twin

    flat = rows.ravel()
    start = np.concatenate([[0], np.flatnonzero(flat[1:] != flat[:-1]) + 1])
    length = np.diff(start, append=flat.size)
    mask = flat[start]
    # A stable sort of 16-bit keys is a radix sort: linear.
    order = np.argsort(mask.astype(np.uint16) if num_masks < 65536 else mask, kind="stable")
    area = np.bincount(mask, length, num_masks).astype(np.int64)
    first_run = np.concatenate([[0], np.cumsum(np.bincount(mask, minlength=num_masks))])
    median, mad = np.zeros(num_masks), np.zeros(num_masks)
    plane, center = np.zeros((num_masks, 3)), np.zeros((num_masks, 2))
    run_bands(
        twin.summarise,
        num_masks,
        np.ascontiguousarray(disparity).ravel(),
        np.empty(0, np.float32) if confidence is None else confidence.ravel(),
        start[order],
        length[order],
        first_run,
        area,
        rows.shape[1],
        samples,
        median,
        mad,
        plane,
        center,
        band_rows=MASKS_PER_TASK,
    )
    return area, median, mad, plane, center
