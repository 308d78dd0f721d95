"""Triton twin of `diorama.kernels.planes`."""

import torch
import triton
import triton.language as tl

from diorama.arrays import Array
from diorama.kernels._triton import launching_on, upload

ROWS, COLUMNS = 8, 32  # output pixels of a program: it stops when nothing shines through them

TILE = tl.constexpr(32)
SIDE = tl.constexpr(33)


def composite(
    tiles: torch.Tensor,
    tile_index: torch.Tensor,
    size: tuple[int, int],
    homographies: Array | torch.Tensor,
    depths: Array | torch.Tensor,
    out_size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `diorama.kernels.planes.composite`."""
    height, width = out_size
    device = tiles.device
    rgb = torch.empty((height, width, 3), device=device)
    alpha = torch.empty((height, width), device=device)
    disparity = torch.empty((height, width), device=device)
    with launching_on(tiles):
        _composite[(triton.cdiv(width, COLUMNS), triton.cdiv(height, ROWS))](
            tiles.reshape(-1).view(torch.int32),
            tile_index,
            upload(homographies, tiles, torch.float32),
            upload(depths, tiles, torch.float32),
            rgb,
            alpha,
            disparity,
            *tile_index.shape,
            *size,
            height,
            width,
            ROWS,
            COLUMNS,
        )
    return rgb, alpha, disparity


@triton.jit(do_not_specialize=["num_planes"])
def _composite(
    texels,  # (n * SIDE * SIDE,) int32: the tiles' pixels, red in the lowest byte
    tile_index,  # (p, rows, columns) int32
    homographies,  # (p, 3, 3) float32
    depths,  # (p, 3) float32
    rgb,  # out: (H, W, 3) float32
    alpha,  # out: (H, W) float32
    disparity,  # out: (H, W) float32
    num_planes,
    tile_rows,
    tile_columns,
    plane_height,
    plane_width,
    height,
    width,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)[None, :]
    mine = (row < height) & (column < width)
    y, x = row + 0.5, column + 0.5
    left = tl.where(mine, 1.0, 0.0)  # what still shines through
    red = tl.zeros((ROWS, COLUMNS), tl.float32)
    green = tl.zeros((ROWS, COLUMNS), tl.float32)
    blue = tl.zeros((ROWS, COLUMNS), tl.float32)
    depth = tl.zeros((ROWS, COLUMNS), tl.float32)
    plane = num_planes - 1
    while plane >= 0:
        at = homographies + 9 * plane
        w = tl.load(at + 6) * x + tl.load(at + 7) * y + tl.load(at + 8)
        per_w = 1.0 / tl.where(w > 0, w, 1.0)
        u = (tl.load(at) * x + tl.load(at + 1) * y + tl.load(at + 2)) * per_w
        v = (tl.load(at + 3) * x + tl.load(at + 4) * y + tl.load(at + 5)) * per_w
        within = (u >= 0) & (u <= plane_width) & (v >= 0) & (v <= plane_height)
        within = within & (w > 0) & (left > 0)
        # In 1/256 pixel, as the numba twin has it.
        u = tl.minimum(tl.maximum(u - 0.5, 0.0), plane_width - 1.0) * 256.0 + 0.5
        v = tl.minimum(tl.maximum(v - 0.5, 0.0), plane_height - 1.0) * 256.0 + 0.5
        fixed_u = tl.where(within, u, 0.0).to(tl.int32)
        fixed_v = tl.where(within, v, 0.0).to(tl.int32)
        i, j = fixed_u >> 8, fixed_v >> 8
        place = (plane * tile_rows + j // TILE) * tile_columns + i // TILE
        tile = tl.load(tile_index + place, mask=within, other=-1)
        hit = tile >= 0
        if tl.max(tl.max(hit.to(tl.int32), 1), 0) > 0:
            at_a = texels + (tile.to(tl.int64) * SIDE + j % TILE) * SIDE + i % TILE
            a = tl.load(at_a, mask=hit, other=0)
            b = tl.load(at_a + 1, mask=hit, other=0)
            c = tl.load(at_a + SIDE, mask=hit, other=0)
            d = tl.load(at_a + SIDE + 1, mask=hit, other=0)
            fu, fv = fixed_u & 255, fixed_v & 255
            wd = fu * fv
            wc = (fv << 8) - wd
            wb = (fu << 8) - wd
            wa = 65536 - wb - wc - wd
            weight = left * (1.0 / (255.0 * 65536.0))
            red += weight * _mixed(a, b, c, d, wa, wb, wc, wd, 0)
            green += weight * _mixed(a, b, c, d, wa, wb, wc, wd, 8)
            blue += weight * _mixed(a, b, c, d, wa, wb, wc, wd, 16)
            covered = weight * _mixed(a, b, c, d, wa, wb, wc, wd, 24)
            of = depths + 3 * plane
            depth += covered * (tl.load(of) * x + tl.load(of + 1) * y + tl.load(of + 2))
            left -= covered
            left = tl.where(left < 0.25 / 255.0, 0.0, left)
            if tl.max(tl.max(left, 1), 0) <= 0:
                plane = 0
        plane -= 1
    seen = 1.0 - left
    pixel = row * width + column
    tl.store(rgb + 3 * pixel, red, mask=mine)
    tl.store(rgb + 3 * pixel + 1, green, mask=mine)
    tl.store(rgb + 3 * pixel + 2, blue, mask=mine)
    tl.store(alpha + pixel, seen, mask=mine)
    tl.store(disparity + pixel, depth / tl.where(seen > 0, seen, 1.0), mask=mine)


@triton.jit
def _mixed(a, b, c, d, wa, wb, wc, wd, SHIFT: tl.constexpr):
    """One channel of four texels, weighted: at most 255 * 65536, which float32 holds exactly."""
    a, b = (a >> SHIFT) & 255, (b >> SHIFT) & 255
    c, d = (c >> SHIFT) & 255, (d >> SHIFT) & 255
    return (wa * a + wb * b + wc * c + wd * d).to(tl.float32)
