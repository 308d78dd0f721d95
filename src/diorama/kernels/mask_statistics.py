"""Robust statistics of every mask's disparity, on a GPU.

`diorama.layers.mask_statistics` says what they are, and is what runs on NumPy arrays.
"""

from diorama.arrays import AnyArray


def mask_statistics(
    disparity: AnyArray,
    rows: AnyArray,
    num_masks: int,
    *,
    confidence: AnyArray | None = None,
    samples: int,
) -> tuple[AnyArray, AnyArray, AnyArray, AnyArray, AnyArray]:
    """Median, plane and scatter of each mask's disparity, of CUDA tensors.

    Args:
        disparity: (H, W) float32, not negative.
        rows: (H, W) int32: the mask of each pixel, counted from 0.
        num_masks: n.
        confidence: (H, W) float32 weights; all alike if None.
        samples: pixels a mask's statistics are taken from, at least; twice as many at most.

    Returns:
        area (n,) int64; median (n,), MAD (n,), plane (n, 3) and center (n, 2), float64.
    """
    from diorama.kernels._triton import mask_statistics as twin

    return twin.mask_statistics(disparity, rows, num_masks, confidence=confidence, samples=samples)
