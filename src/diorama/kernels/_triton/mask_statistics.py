"""Triton twin of `diorama.layers.mask_statistics`: a program a mask.

Medians are found by bisection over the bits of the values, which order non-negative floats: of
numbers in registers that takes 31 sums, and no sorting.
"""

import torch
import triton
import triton.language as tl

from diorama.kernels._triton import launching_on

ROUNDS = tl.constexpr(5)
MAD_TO_SIGMA = tl.constexpr(1.4826)
INFINITY = tl.constexpr(0x7F800000)


def mask_statistics(
    disparity: torch.Tensor,
    rows: torch.Tensor,
    num_masks: int,
    *,
    confidence: torch.Tensor | None = None,
    samples: int,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `diorama.kernels.mask_statistics.mask_statistics`."""
    device = disparity.device
    # Sorting 16-bit keys takes half the passes over memory.
    keys, order = torch.sort(
        rows.ravel().to(torch.int16 if num_masks < 32768 else torch.int32), stable=True
    )
    starts = torch.searchsorted(keys, torch.arange(num_masks + 1, device=device, dtype=keys.dtype))
    median, mad = (torch.zeros(num_masks, dtype=torch.float64, device=device) for _ in range(2))
    plane = torch.zeros((num_masks, 3), dtype=torch.float64, device=device)
    center = torch.zeros((num_masks, 2), dtype=torch.float64, device=device)
    with launching_on(disparity):
        _summarise[(num_masks,)](
            disparity.contiguous(),
            disparity if confidence is None else confidence.contiguous(),
            order,
            starts,
            median,
            mad,
            plane,
            center,
            disparity.shape[1],
            samples,
            confidence is not None,
            triton.next_power_of_2(2 * samples),
            num_warps=16,
        )
    return starts.diff(), median, mad, plane, center


@triton.jit
def _weighted_median(values, weights):
    """The smallest value that with those below it has half the weight. Values >= 0, float32."""
    bits = values.to(tl.int32, bitcast=True)
    half = tl.sum(weights, 0) * 0.5
    low, high = 0, INFINITY
    for _ in range(31):
        middle = low + (high - low) // 2
        enough = tl.sum(tl.where(bits <= middle, weights, 0.0), 0) >= half
        high = tl.where(enough, middle, high)
        low = tl.where(enough, low, middle + 1)
    return tl.max(tl.where(bits <= low, values, 0.0), 0)


@triton.jit
def _median(values, mine, num):
    """The middle one, or the mean of both. Values >= 0, float32."""
    lower = _weighted_median(values, mine.to(tl.float64))
    up_to = tl.sum((mine & (values <= lower)).to(tl.int32), 0)
    upper = tl.min(tl.where(mine & (values > lower), values, float("inf")), 0)
    return tl.where(2 * up_to == num, 0.5 * (lower.to(tl.float64) + upper), lower.to(tl.float64))


@triton.jit
def _summarise(
    disparity,  # (H, W) float32
    confidence,  # (H, W) float32
    order,  # (H * W,) int64: pixels, mask after mask
    starts,  # (n + 1,) int64 into order
    median,  # out: (n,) float64
    mad,  # out: (n,) float64
    plane,  # out: (n, 3) float64
    center,  # out: (n, 2) float64
    width,
    samples,
    WEIGHTED: tl.constexpr,
    BLOCK: tl.constexpr,
):
    mask = tl.program_id(0)
    start = tl.load(starts + mask)
    area = tl.load(starts + mask + 1) - start
    step = tl.maximum(area // samples, 1)
    num = (area + step - 1) // step
    k = tl.arange(0, BLOCK)
    mine = k < num
    pixel = tl.load(order + start + k * step, mask=mine, other=0)
    single = tl.load(disparity + pixel, mask=mine, other=0.0)
    values = single.to(tl.float64)
    weights = tl.where(mine, 1.0, 0.0).to(tl.float64)
    if WEIGHTED:
        found = tl.load(confidence + pixel, mask=mine, other=0.0).to(tl.float64)
        weights = tl.where(mine, found + 1e-6, 0.0)
    middle = _weighted_median(single, weights).to(tl.float64)
    x, y = (pixel % width + 0.5).to(tl.float64), (pixel // width + 0.5).to(tl.float64)
    per = 1.0 / tl.maximum(num, 1).to(tl.float64)
    cx = tl.sum(tl.where(mine, x, 0.0), 0) * per
    cy = tl.sum(tl.where(mine, y, 0.0), 0) * per
    # Centred and scaled coordinates keep the 3x3 system well conditioned.
    wide = tl.max(tl.where(mine, x, 0.0), 0) - tl.min(tl.where(mine, x, 1e9), 0)
    high = tl.max(tl.where(mine, y, 0.0), 0) - tl.min(tl.where(mine, y, 1e9), 0)
    size = tl.maximum(tl.maximum(wide, high), 1.0)
    u, v = tl.where(mine, (x - cx) / size, 0.0), tl.where(mine, (y - cy) / size, 0.0)
    robust = weights
    a, b, c = middle * 0, middle * 0, middle
    spread = middle * 0
    for _ in range(ROUNDS):
        m00 = tl.sum(robust * u * u, 0) + 1e-9
        m01 = tl.sum(robust * u * v, 0)
        m02 = tl.sum(robust * u, 0)
        m11 = tl.sum(robust * v * v, 0) + 1e-9
        m12 = tl.sum(robust * v, 0)
        m22 = tl.sum(robust, 0) + 1e-9
        r0, r1 = tl.sum(robust * u * values, 0), tl.sum(robust * v * values, 0)
        r2 = tl.sum(robust * values, 0)
        # Elimination from the constant on: its pivot is never small.
        f0, f1 = m02 / m22, m12 / m22
        m00 -= f0 * m02
        m01 -= f0 * m12
        m11 -= f1 * m12
        r0 -= f0 * r2
        r1 -= f1 * r2
        swap = m11 < m00  # the larger pivot first
        big, small = tl.where(swap, m00, m11), tl.where(swap, m11, m00)
        r_big, r_small = tl.where(swap, r0, r1), tl.where(swap, r1, r0)
        factor = m01 / big
        s_small = (r_small - factor * r_big) / (small - factor * m01)
        s_big = (r_big - m01 * s_small) / big
        a, b = tl.where(swap, s_big, s_small), tl.where(swap, s_small, s_big)
        c = (r2 - m02 * a - m12 * b) / m22
        residual = tl.abs(values - (a * u + b * v + c))
        spread = _median(residual.to(tl.float32), mine, num)
        relative = residual / (2.0 * (MAD_TO_SIGMA * spread + 1e-7))
        robust = 1.0 + relative * relative
        robust = weights / (robust * robust)
    off = tl.abs(values - middle)
    flat = (num < 12) | (spread >= _median(off.to(tl.float32), mine, num))
    residual = tl.where(flat, off, tl.abs(values - (a * u + b * v + c)))
    a, b = tl.where(flat, 0.0, a / size), tl.where(flat, 0.0, b / size)
    tl.store(median + mask, middle)
    tl.store(mad + mask, _weighted_median(residual.to(tl.float32), weights).to(tl.float64))
    tl.store(plane + 3 * mask, a)
    tl.store(plane + 3 * mask + 1, b)
    tl.store(plane + 3 * mask + 2, tl.where(flat, middle, c - a * cx - b * cy))
    tl.store(center + 2 * mask, cx)
    tl.store(center + 2 * mask + 1, cy)
