"""Triton twin of `diorama.kernels.matting.matte_band`.

The numba kernels take a list of the band's pixels; here programs whose tile holds none of the band
write what is certain, or nothing.
"""

import torch
import triton
import triton.language as tl

from diorama.kernels._triton import launching_on

ROWS, COLUMNS = 8, 32
"""A tile: small, as the band is thin."""


def matte_band(
    rgb: torch.Tensor,
    certain: torch.Tensor,
    band: torch.Tensor,
    signed_distance: torch.Tensor,
    *,
    reach: int,
    sigma: float,
    color_noise: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """See `diorama.kernels.matting.matte_band`."""
    height, width = certain.shape
    rgb, certain, band = rgb.contiguous(), certain.contiguous(), band.contiguous()
    mixed, alpha, trust = (torch.empty_like(signed_distance) for _ in range(3))
    color = torch.empty_like(rgb)
    grid = triton.cdiv(width, COLUMNS), triton.cdiv(height, ROWS)
    with launching_on(rgb):
        _mix[grid](
            rgb,
            certain,
            band,
            signed_distance.contiguous(),
            mixed,
            trust,
            color,
            height,
            width,
            reach,
            1 / (2 * sigma * sigma),
            color_noise * color_noise,
            ROWS,
            COLUMNS,
        )
        _smooth[grid](rgb, certain, band, mixed, trust, alpha, height, width, ROWS, COLUMNS)
    return alpha, color


@triton.jit
def _mix(
    rgb,  # (H, W, 3) float32
    certain,  # (H, W) uint8: 1 foreground, 2 background
    band,  # (H, W) bool
    signed_distance,  # (H, W) float32
    alpha,  # out: (H, W) float32, in the band
    trust,  # out: (H, W) float32, in the band
    color,  # out: (H, W, 3) float32, in the band
    height,
    width,
    reach,
    falloff,
    noise,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    within = (y < height) & (x < width)
    at = y * width + x
    mine = within & (tl.load(band + at, mask=within, other=0) != 0)
    if tl.max(tl.max(mine.to(tl.int32), 1), 0) > 0:
        own_r = tl.load(rgb + 3 * at, mask=mine, other=0.0)
        own_g = tl.load(rgb + 3 * at + 1, mask=mine, other=0.0)
        own_b = tl.load(rgb + 3 * at + 2, mask=mine, other=0.0)
        fr, fg, fb = own_r * 0, own_r * 0, own_r * 0
        br, bg, bb = own_r * 0, own_r * 0, own_r * 0
        fw, fs, bw, bs = own_r * 0, own_r * 0, own_r * 0, own_r * 0
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                has = mine & (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
                there = at + dy * width + dx
                side = tl.load(certain + there, mask=has, other=0)
                has = has & (side != 0)
                w = tl.exp(-(dy * dy + dx * dx) * falloff) + 1e-6
                r = tl.load(rgb + 3 * there, mask=has, other=0.0)
                g = tl.load(rgb + 3 * there + 1, mask=has, other=0.0)
                b = tl.load(rgb + 3 * there + 2, mask=has, other=0.0)
                w_f, w_b = tl.where(side == 1, w, 0.0), tl.where(side == 2, w, 0.0)
                square = r * r + g * g + b * b
                fr += w_f * r
                fg += w_f * g
                fb += w_f * b
                fs += w_f * square
                fw += w_f
                br += w_b * r
                bg += w_b * g
                bb += w_b * b
                bs += w_b * square
                bw += w_b
        per_f, per_b = 1.0 / tl.where(fw > 0, fw, 1.0), 1.0 / tl.where(bw > 0, bw, 1.0)
        fr = tl.where(fw > 0, fr * per_f, own_r)
        fg = tl.where(fw > 0, fg * per_f, own_g)
        fb = tl.where(fw > 0, fb * per_f, own_b)
        br, bg, bb = br * per_b, bg * per_b, bb * per_b
        scatter = fs * per_f - (fr * fr + fg * fg + fb * fb)
        scatter += bs * per_b - (br * br + bg * bg + bb * bb)
        dr, dg, db = fr - br, fg - bg, fb - bb
        square = dr * dr + dg * dg + db * db
        along = (own_r - br) * dr + (own_g - bg) * dg + (own_b - bb) * db
        share = tl.minimum(tl.maximum(along / (square + 1e-8), 0.0), 1.0)
        prior = 0.5 + 0.5 * tl.load(signed_distance + at, mask=mine, other=0.0)
        prior = tl.minimum(tl.maximum(prior, 0.0), 1.0)
        c = tl.where((fw > 0) & (bw > 0), square / (square + noise + tl.maximum(scatter, 0.0)), 0.0)
        tl.store(alpha + at, c * share + (1 - c) * prior, mask=mine)
        tl.store(trust + at, c, mask=mine)
        tl.store(color + 3 * at, fr, mask=mine)
        tl.store(color + 3 * at + 1, fg, mask=mine)
        tl.store(color + 3 * at + 2, fb, mask=mine)


@triton.jit
def _smooth(
    rgb,  # (H, W, 3) float32
    certain,  # (H, W) uint8
    band,  # (H, W) bool
    mixed,  # (H, W) float32, in the band
    trust,  # (H, W) float32, in the band
    alpha,  # out: (H, W) float32
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    y = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    x = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    within = (y < height) & (x < width)
    at = y * width + x
    mine = within & (tl.load(band + at, mask=within, other=0) != 0)
    found = tl.where(tl.load(certain + at, mask=within, other=0) == 1, 1.0, 0.0)
    if tl.max(tl.max(mine.to(tl.int32), 1), 0) > 0:
        own_r = tl.load(rgb + 3 * at, mask=mine, other=0.0)
        own_g = tl.load(rgb + 3 * at + 1, mask=mine, other=0.0)
        own_b = tl.load(rgb + 3 * at + 2, mask=mine, other=0.0)
        total, weight = own_r * 0, own_r * 0
        for dy in range(-2, 3):
            for dx in range(-2, 3):
                has = mine & (y + dy >= 0) & (y + dy < height) & (x + dx >= 0) & (x + dx < width)
                there = at + dy * width + dx
                soft = has & (tl.load(band + there, mask=has, other=0) != 0)
                side = tl.load(certain + there, mask=has, other=0)
                value = tl.load(mixed + there, mask=soft, other=0.0)
                value = tl.where(soft, value, tl.where(side == 1, 1.0, 0.0))
                w = tl.load(trust + there, mask=soft, other=0.0) + 0.05
                w = tl.where(soft, w, tl.where(side > 0, 1.0, 0.0))
                dr = tl.load(rgb + 3 * there, mask=has, other=0.0) - own_r
                dg = tl.load(rgb + 3 * there + 1, mask=has, other=0.0) - own_g
                db = tl.load(rgb + 3 * there + 2, mask=has, other=0.0) - own_b
                # Standard deviations: 0.08 of colour, 1 px of distance.
                like = (dr * dr + dg * dg + db * db) * 78.0
                w *= tl.exp(-like - (dy * dy + dx * dx) * 0.5)
                total += w * value
                weight += w
        own = tl.load(mixed + at, mask=mine, other=0.0)
        found = tl.where(
            mine, tl.where(weight > 0, total / tl.where(weight > 0, weight, 1.0), own), found
        )
    tl.store(alpha + at, found, mask=within)
