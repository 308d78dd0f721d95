"""Triton twin of `diorama.kernels.rasterise`.

One launch finds what is seen of every layer: a program a piece of a triangle writes its pixels'
(w, triangle) as one 64-bit key, of which an atomic maximum keeps the nearest. Another composites
the layers at every pixel. Sizes are never read back.
"""

import torch
import triton
import triton.language as tl

from diorama.arrays import Array
from diorama.kernels._triton import launching_on, upload

PROGRAMS = 1 << 16
"""Programs wanted: a triangle is cut into strips until there are so many, so that a few large
triangles keep the device as busy as many small ones."""

MAX_STRIPS = 64

ROWS, COLUMNS = 16, 32
"""Pixels of a triangle that a program writes at once."""

BLOCK = 256
"""Pixels composited by a program, in a row."""

CORNER_BLOCK = 256

PLANE = tl.constexpr(12)
OPAQUE = tl.constexpr(0.95)
CLEAR = tl.constexpr(1.0 / 4096)
LAST = tl.constexpr(0x7FFFFFFF)


def project(
    vertices: torch.Tensor,
    pixels: torch.Tensor,
    layers: torch.Tensor,
    *,
    scales: torch.Tensor,
    shifts: torch.Tensor,
    world_to_camera: Array | torch.Tensor,
    K: Array | torch.Tensor,
    near: float,
) -> torch.Tensor:
    """See `diorama.kernels.rasterise.project`."""
    num = len(vertices)
    corners = torch.empty((num, 6), dtype=torch.float64, device=vertices.device)
    if num:
        with launching_on(vertices):
            _project[(triton.cdiv(num, CORNER_BLOCK),)](
                vertices,
                pixels,
                layers,
                scales,
                shifts,
                upload(world_to_camera, vertices, torch.float64),
                upload(K, vertices, torch.float64),
                corners,
                num,
                near,
                CORNER_BLOCK,
            )
    return corners


def rasterise(
    corners: torch.Tensor,
    triangles: torch.Tensor,
    layer_starts: torch.Tensor,
    *,
    texels: torch.Tensor,
    texel_starts: torch.Tensor,
    texture_sizes: torch.Tensor,
    tolerance: float,
    size: tuple[int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """See `diorama.kernels.rasterise.rasterise`."""
    height, width = size
    device = corners.device
    num_layers, num_triangles = len(layer_starts) - 1, len(triangles)
    rgb = torch.empty((height, width, 3), device=device)
    alpha = torch.empty((height, width), device=device)
    disparity = torch.empty((height, width), device=device)
    keys = torch.zeros((num_layers, height, width), dtype=torch.int64, device=device)
    planes = torch.empty((num_triangles, PLANE.value), device=device)
    with launching_on(corners):
        if num_triangles:
            strips = min(MAX_STRIPS, triton.next_power_of_2(triton.cdiv(PROGRAMS, num_triangles)))
            _find[(num_triangles, strips)](
                corners,
                triangles,
                layer_starts,
                keys,
                planes,
                num_layers,
                height,
                width,
                strips,
                triton.next_power_of_2(num_layers),
                ROWS,
                COLUMNS,
            )
        _shade[(triton.cdiv(width, BLOCK), height)](
            keys,
            planes,
            texels,
            texel_starts,
            texture_sizes,
            tolerance,
            rgb,
            alpha,
            disparity,
            num_layers,
            height,
            width,
            BLOCK,
        )
    return rgb, alpha, disparity


@triton.jit
def _project(
    vertices,  # (n, 3) float64
    pixels,  # (n, 2) float64
    layers,  # (n,) int64
    scales,  # (layers, 2) float64
    shifts,  # (layers, 2) float64
    world_to_camera,  # (4, 4) float64
    K,  # (3, 3) float64
    corners,  # out: (n, 6) float64
    num,
    near,
    BLOCK: tl.constexpr,
):
    n = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mine = n < num
    x = tl.load(vertices + 3 * n, mask=mine, other=0.0)
    y = tl.load(vertices + 3 * n + 1, mask=mine, other=0.0)
    z = tl.load(vertices + 3 * n + 2, mask=mine, other=0.0)
    at = world_to_camera
    seen_x = tl.load(at) * x + tl.load(at + 1) * y + tl.load(at + 2) * z + tl.load(at + 3)
    seen_y = tl.load(at + 4) * x + tl.load(at + 5) * y + tl.load(at + 6) * z + tl.load(at + 7)
    seen_z = tl.load(at + 8) * x + tl.load(at + 9) * y + tl.load(at + 10) * z + tl.load(at + 11)
    drawn = seen_z > near
    w = 1.0 / tl.where(drawn, seen_z, 1.0)
    q = w * z
    layer = tl.load(layers + n, mask=mine, other=0)
    s = tl.load(pixels + 2 * n, mask=mine, other=0.0)
    t = tl.load(pixels + 2 * n + 1, mask=mine, other=0.0)
    s = s * tl.load(scales + 2 * layer, mask=mine, other=0.0)
    t = t * tl.load(scales + 2 * layer + 1, mask=mine, other=0.0)
    s += tl.load(shifts + 2 * layer, mask=mine, other=0.0)
    t += tl.load(shifts + 2 * layer + 1, mask=mine, other=0.0)
    tl.store(corners + 6 * n, seen_x * w * tl.load(K) + tl.load(K + 2), mask=mine)
    tl.store(corners + 6 * n + 1, seen_y * w * tl.load(K + 4) + tl.load(K + 5), mask=mine)
    tl.store(corners + 6 * n + 2, tl.where(drawn, w, 0.0), mask=mine)
    tl.store(corners + 6 * n + 3, q, mask=mine)
    tl.store(corners + 6 * n + 4, s * q, mask=mine)
    tl.store(corners + 6 * n + 5, t * q, mask=mine)


@triton.jit
def _first_centre(edge):
    """The first pixel whose centre is not before this edge."""
    return tl.ceil(tl.minimum(tl.maximum(edge, -1e9), 1e9) - 0.5).to(tl.int32)


@triton.jit
def _find(
    corners,  # (n, 6) float64: x, y, w, q, s q, t q
    triangles,  # (m, 3) int32
    layer_starts,  # (layers + 1,) int64 into triangles
    keys,  # in, out: (layers, H, W) int64: w above, the triangle counted from the end below
    planes,  # out: (m, PLANE) float32: a pixel, and there and per pixel: q, s q, t q
    num_layers,
    height,
    width,
    STRIPS: tl.constexpr,
    LAYERS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    index = tl.program_id(0)
    strip = tl.program_id(1)
    corner_a = corners + 6 * tl.load(triangles + 3 * index)
    corner_b = corners + 6 * tl.load(triangles + 3 * index + 1)
    corner_c = corners + 6 * tl.load(triangles + 3 * index + 2)
    ax, ay, w_a = tl.load(corner_a), tl.load(corner_a + 1), tl.load(corner_a + 2)
    bx, by, w_b = tl.load(corner_b), tl.load(corner_b + 1), tl.load(corner_b + 2)
    cx, cy, w_c = tl.load(corner_c), tl.load(corner_c + 1), tl.load(corner_c + 2)
    top = tl.maximum(_first_centre(tl.minimum(ay, tl.minimum(by, cy))), 0)
    bottom = tl.minimum(_first_centre(tl.maximum(ay, tl.maximum(by, cy))), height)
    area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay)
    in_front = (w_a > 0) & (w_b > 0) & (w_c > 0)
    if in_front & (tl.abs(area) >= 1e-12) & (top + strip * ROWS < bottom):
        # A value is affine on screen: value_a + (x - ax) slope_x + (y - ay) slope_y.
        x_b, y_b = (bx - ax) / area, (by - ay) / area
        x_c, y_c = (cx - ax) / area, (cy - ay) / area
        w_b -= w_a
        w_c -= w_a
        w_x, w_y = w_b * y_c - w_c * y_b, w_c * x_b - w_b * x_c
        if strip == 0:
            # Anchored at a pixel of the picture, so that float32 suffices there.
            x0 = tl.maximum(_first_centre(tl.minimum(ax, tl.minimum(bx, cx))), 0)
            x0 = tl.minimum(x0, width)
            plane = planes + index.to(tl.int64) * PLANE
            tl.store(plane, x0.to(tl.float32))
            tl.store(plane + 1, top.to(tl.float32))
            dx, dy = x0 + 0.5 - ax, top + 0.5 - ay
            for k in tl.static_range(3):
                v_a = tl.load(corner_a + 3 + k)
                v_b = tl.load(corner_b + 3 + k) - v_a
                v_c = tl.load(corner_c + 3 + k) - v_a
                v_x, v_y = v_b * y_c - v_c * y_b, v_c * x_b - v_b * x_c
                tl.store(plane + 2 + 3 * k, (v_a + dx * v_x + dy * v_y).to(tl.float32))
                tl.store(plane + 3 + 3 * k, v_x.to(tl.float32))
                tl.store(plane + 4 + 3 * k, v_y.to(tl.float32))

        # Corners from top to bottom; an edge is evaluated from its upper end, so that two triangles
        # that share it agree to the bit (`_numba/scanline.py`).
        x0, y0, x1, y1, x2, y2 = ax, ay, bx, by, cx, cy
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        if y1 > y2:
            x1, y1, x2, y2 = x2, y2, x1, y1
        if y0 > y1:
            x0, y0, x1, y1 = x1, y1, x0, y0
        long = (x2 - x0) / tl.where(y2 > y0, y2 - y0, 1.0)
        upper = (x1 - x0) / tl.where(y1 > y0, y1 - y0, 1.0)
        lower = (x2 - x1) / tl.where(y2 > y1, y2 - y1, 1.0)

        starts = tl.arange(0, LAYERS)
        ends = tl.load(layer_starts + 1 + starts, mask=starts < num_layers, other=1 << 40)
        layer = tl.sum((ends <= index).to(tl.int64), 0)
        keys += layer * height * width
        below = (-1 - index).to(tl.int64) & LAST
        for first_row in range(top + strip * ROWS, bottom, STRIPS * ROWS):
            row = first_row + tl.arange(0, ROWS)[:, None]
            y = row + 0.5
            left = x0 + (y.to(tl.float64) - y0) * long
            right = tl.where(
                y.to(tl.float64) < y1,
                x0 + (y.to(tl.float64) - y0) * upper,
                x1 + (y.to(tl.float64) - y1) * lower,
            )
            begin = tl.maximum(_first_centre(tl.minimum(left, right)), 0)
            end = tl.minimum(_first_centre(tl.maximum(left, right)), width)
            end = tl.where(row < bottom, end, 0)
            lowest = tl.min(tl.min(tl.where(begin < end, begin, width), 1), 0)
            highest = tl.max(tl.max(end, 1), 0)
            w_row = w_a + (y.to(tl.float64) - ay) * w_y
            for first_column in range(lowest, highest, COLUMNS):
                step = tl.arange(0, COLUMNS)[None, :]
                column = first_column + step
                w = (w_row + (first_column + 0.5 - ax) * w_x).to(tl.float32)
                w = w + step * w_x.to(tl.float32)
                covered = (column >= begin) & (column < end) & (w > 0)
                key = (w.to(tl.int32, bitcast=True).to(tl.int64) << 32) | below
                tl.atomic_max(keys + row * width + column, key, mask=covered, sem="relaxed")


@triton.jit
def _texture_place(key, planes, column, row, height, width):
    """Where a fragment reads its texture: s and t, kept within it."""
    plane = planes + (~key & LAST) * PLANE
    seen = key > 0
    dx = column - tl.load(plane, mask=seen, other=0.0)
    dy = row - tl.load(plane + 1, mask=seen, other=0.0)
    q = tl.load(plane + 2, mask=seen, other=1.0)
    q += dx * tl.load(plane + 3, mask=seen, other=0.0)
    q += dy * tl.load(plane + 4, mask=seen, other=0.0)
    s = tl.load(plane + 5, mask=seen, other=0.0)
    s += dx * tl.load(plane + 6, mask=seen, other=0.0)
    s += dy * tl.load(plane + 7, mask=seen, other=0.0)
    t = tl.load(plane + 8, mask=seen, other=0.0)
    t += dx * tl.load(plane + 9, mask=seen, other=0.0)
    t += dy * tl.load(plane + 10, mask=seen, other=0.0)
    s = tl.minimum(tl.maximum(s / q, 0.0), (width - 1).to(tl.float32))
    t = tl.minimum(tl.maximum(t / q, 0.0), (height - 1).to(tl.float32))
    return s, t


@triton.jit
def _sample(texels, start, height, width, s, t, mask):
    """Bilinear, premultiplied; beyond the texture its edge goes on. (BLOCK, 4)."""
    column, row = s.to(tl.int32), t.to(tl.int32)
    fs, ft = (s - column)[:, None], (t - row)[:, None]
    at = (start + row * width + column)[:, None] * 4 + tl.arange(0, 4)[None, :]
    right = tl.where(column + 1 < width, 4, 0)[:, None]
    below = tl.where(row + 1 < height, 4 * width, 0)[:, None]
    wanted = mask[:, None]
    a = tl.load(texels + at, mask=wanted, other=0.0)
    b = tl.load(texels + at + right, mask=wanted, other=0.0)
    c = tl.load(texels + at + below, mask=wanted, other=0.0)
    d = tl.load(texels + at + below + right, mask=wanted, other=0.0)
    return (1 - ft) * ((1 - fs) * a + fs * b) + ft * ((1 - fs) * c + fs * d)


@triton.jit
def _shade(
    keys,  # (layers, H, W) int64
    planes,  # (m, PLANE) float32
    texels,  # (k, 4) float32, premultiplied
    texel_starts,  # (layers,) int64 into texels
    texture_sizes,  # (layers, 2) int64
    tolerance,
    rgb,  # out: (H, W, 3) float32
    alpha,  # out: (H, W) float32
    disparity,  # out: (H, W) float32
    num_layers,
    height,
    width,
    BLOCK: tl.constexpr,
):
    row = tl.program_id(1)
    column = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    mine = column < width
    pixel = row * width + column
    area = (height * width).to(tl.int64)
    channel = tl.arange(0, 4)[None, :]
    color = tl.zeros((BLOCK, 4), tl.float32)
    light = tl.where(mine, 1.0, 0.0)
    front = tl.zeros((BLOCK,), tl.float32)
    for turn in range(num_layers):
        layer = num_layers - 1 - turn
        key = tl.load(keys + layer * area + pixel, mask=mine, other=0)
        shown = (key > 0) & (light > 0)
        if tl.max(shown.to(tl.int32), 0) > 0:
            w = (key >> 32).to(tl.int32).to(tl.float32, bitcast=True)
            # Layers are ordered, yet slanted ones may pass through each other.
            visible = tl.where(shown, 1.0, 0.0)
            for rear in range(layer):
                other = tl.load(keys + rear * area + pixel, mask=shown, other=0)
                other_w = (other >> 32).to(tl.int32).to(tl.float32, bitcast=True)
                beyond = other_w - (w + tolerance)
                nearer = shown & (beyond > 0)
                if tl.max(nearer.to(tl.int32), 0) > 0:
                    rear_height = tl.load(texture_sizes + 2 * rear)
                    rear_width = tl.load(texture_sizes + 2 * rear + 1)
                    s, t = _texture_place(other, planes, column, row, rear_height, rear_width)
                    start = tl.load(texel_starts + rear)
                    rear_color = _sample(texels, start, rear_height, rear_width, s, t, nearer)
                    cover = tl.sum(tl.where(channel == 3, rear_color, 0.0), 1)
                    left = tl.where(beyond < 0.5 * tolerance, 1 - beyond / (0.5 * tolerance), 0.0)
                    visible = tl.where(
                        nearer & (cover >= OPAQUE), tl.minimum(visible, left), visible
                    )
            shown = shown & (visible > 0)
            texture_height = tl.load(texture_sizes + 2 * layer)
            texture_width = tl.load(texture_sizes + 2 * layer + 1)
            s, t = _texture_place(key, planes, column, row, texture_height, texture_width)
            start = tl.load(texel_starts + layer)
            seen = _sample(texels, start, texture_height, texture_width, s, t, shown)
            cover = tl.sum(tl.where(channel == 3, seen, 0.0), 1)
            color += (light * visible)[:, None] * seen
            cover = cover * visible
            front = tl.where(shown & (cover > 0.5) & (front == 0), w, front)
            light = light * (1 - cover)
            light = tl.where(light < CLEAR, 0.0, light)
    tl.store(rgb + 3 * pixel[:, None] + channel, color, mask=mine[:, None] & (channel < 3))
    tl.store(alpha + pixel, 1 - light, mask=mine)
    tl.store(disparity + pixel, front, mask=mine)
