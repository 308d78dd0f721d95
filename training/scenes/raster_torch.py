"""`raster`'s two kernels in torch, for a GPU: the same pictures from the same worlds.

Where the CPU walks over each triangle's pixels, every pair of a triangle and a pixel of its
bounding box is tested here at once, and the nearest of a pixel's triangles is found by one atomic
maximum of depth and number together. Arrays come and go as NumPy's; tiles stay on the device.
"""

import numpy as np
import torch
from torch import Tensor

from diorama.arrays import Array
from training.scenes.raster import NEAR
from training.scenes.textures import SIDE

PAIRS = 1 << 23
"""Pairs of a triangle and a pixel that are tested at once; bounds the memory."""


def device() -> torch.device:
    """The GPU, or the CPU where there is none."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fill(
    corners: Array,
    weights: Array,
    uv: Array,
    flags: Array,
    pixels: Array,
    value: Array,
    found: Array,
    inverse: Array,
) -> None:
    """Draw depth and the triangles' numbers; see `raster._fill`."""
    height, width = value.shape
    c, q = _up(corners), _up(weights).to(torch.float64)
    cutout, tile = _up(flags[:, 0]) != 0, _up(flags[:, 1]).long()
    tiles, coordinates = _tiles(pixels), _up(uv).double()
    begin, end, first, last = _boxes(c, width, height)
    cross = torch.stack(
        [torch.linalg.cross(c[:, (k + 1) % 3], c[:, (k + 2) % 3]) for k in range(3)], 1
    )
    det = (c[:, 0] * cross[:, 0]).sum(-1)
    shown = (end > begin) & (last > first) & (det.abs() >= 1e-12)
    matrix = torch.where(
        shown[:, None, None],
        cross / torch.where(shown, det, torch.ones_like(det))[:, None, None],
        0,
    )
    inverse[:] = matrix.float().cpu().numpy()
    which = torch.nonzero(shown)[:, 0]
    columns = (end - begin)[which]
    count = columns * (last - first)[which]
    best = torch.zeros(height * width, dtype=torch.int64, device=c.device)
    ends = torch.cumsum(count, 0)
    done = 0
    while done < len(which):
        before = int(ends[done - 1]) if done else 0
        upto = max(done + 1, int(torch.searchsorted(ends, before + PAIRS, right=True)))
        part = slice(done, upto)
        t = torch.repeat_interleave(which[part], count[part])
        start = torch.repeat_interleave(ends[part] - count[part], count[part])
        place = torch.arange(before, int(ends[upto - 1]), device=c.device) - start
        wide = torch.repeat_interleave(columns[part], count[part])
        x, y = begin[t] + place % wide, first[t] + place // wide
        ray = torch.stack([x + 0.5, y + 0.5, torch.ones_like(x, dtype=torch.float64)], -1)
        b = (matrix[t] @ ray[..., None])[..., 0]
        inside = (b >= 0).all(-1)
        t, x, y, b = t[inside], x[inside], y[inside], b[inside]
        v = (b * q[t]).sum(-1).float()
        seen = v > 0
        place = (b[:, :, None] * coordinates[t]).sum(1) / b.sum(-1, keepdim=True)
        at = ((place - place.floor()) * SIDE).long().clamp(0, SIDE - 1)
        alpha = tiles[torch.where(cutout[t], tile[t], 0), at[:, 1] * SIDE + at[:, 0], 3]
        seen &= ~cutout[t] | (alpha >= 128)
        # A positive float's bits grow with it; of equals the first triangle wins.
        key = (v.view(torch.int32).long() << 32) | (0x7FFFFFFF - t)
        best.scatter_reduce_(0, (y * width + x)[seen], key[seen], "amax")
        done = upto
    hit = best > 0
    found[:] = (
        torch.where(hit, 0x7FFFFFFF - (best & 0xFFFFFFFF), -1)
        .to(torch.int32)
        .view(height, width)
        .cpu()
        .numpy()
    )
    value[:] = (best >> 32).to(torch.int32).view(torch.float32).view(height, width).cpu().numpy()


def _boxes(c: Tensor, width: int, height: int) -> tuple[Tensor, ...]:
    """Columns and rows (T,) each that the part of a triangle in front of the camera may cover."""
    ahead = c[..., 2] >= NEAR
    spots = [c[..., :2] / torch.where(ahead, c[..., 2], torch.ones_like(c[..., 2]))[..., None]]
    valid = [ahead]
    for k in range(3):
        a, b = c[:, k], c[:, (k + 1) % 3]
        crossing = ahead[:, k] != ahead[:, (k + 1) % 3]
        run = torch.where(crossing, b[:, 2] - a[:, 2], torch.ones_like(b[:, 2]))
        s = (NEAR - a[:, 2]) / run
        spots.append(((a[:, :2] + s[:, None] * (b[:, :2] - a[:, :2])) / NEAR)[:, None])
        valid.append(crossing[:, None])
    spot, known = torch.cat(spots, 1), torch.cat(valid, 1)[..., None]
    low = torch.where(known, spot, 1e9).amin(1).clamp(-1, 1e7)
    high = torch.where(known, spot, -1e9).amax(1).clamp(-2, 1e7)
    limit = torch.tensor([width, height], device=c.device)
    begin = low.floor().long().clamp(min=0).minimum(limit)
    end = (high.floor().long() + 1).clamp(min=0).minimum(limit)
    return begin[:, 0], end[:, 0], begin[:, 1], end[:, 1]


def shade(
    found: Array,
    inverse: Array,
    corners: Array,
    normals: Array,
    uv: Array,
    density: Array,
    material: Array,
    instance: Array,
    table: Array,
    pixels: Array,
    position: Array,
    axes: Array,
    focal: np.float32,
    shadow: Array,
    to_shadow: Array,
    is_lamp: bool,
    towards: Array,
    lights: Array,
    glows: Array,
    sky: Array,
) -> tuple[Array, ...]:
    """Colour, disparity, normals, objects and people of every pixel; see `raster._shade`."""
    height, width, focal_px = found.shape[0] // 2, found.shape[1] // 2, float(focal)
    world = {
        name: _up(values)
        for name, values in {
            "inverse": inverse,
            "normals": normals,
            "uv": uv,
            "density": density,
            "table": table,
            "position": position,
            "axes": axes,
            "shadow": shadow,
            "to_shadow": to_shadow,
            "towards": towards,
            "lights": lights,
            "glows": glows,
            "sky": sky,
        }.items()
    }
    world["material"], world["tiles"] = _up(material).long(), _tiles(pixels)
    objects, normal_of = _up(instance), world["normals"][:, 0]
    samples = _up(found).long().view(height, 2, width, 2).permute(0, 2, 1, 3).reshape(-1, 4)
    here = samples.clamp(min=0)
    own = torch.where(samples < 0, -1, objects[here])
    count = (own[:, :, None] == own[:, None, :]).sum(-1)
    index = torch.arange(height * width, device=samples.device)
    middle = torch.stack([2.0 * (index % width) + 1, 2.0 * (index // width) + 1], -1)
    m = world["inverse"].sum(1)[here]  # the sum of the three weights is 1 / z
    value = m[..., 0] * middle[:, None, 0] + m[..., 1] * middle[:, None, 1] + m[..., 2]
    value = torch.where(samples < 0, 0.0, value)
    order = count.double() * 1e6 + value.clamp(0, 1e5).double()
    best = samples.gather(1, order.argmax(1, keepdim=True))[:, 0]
    best_value = value.gather(1, order.argmax(1, keepdim=True))[:, 0]
    first = samples[:, :1]
    same = world["material"][here] == world["material"][first.clamp(min=0)]
    dot = (normal_of[here] * normal_of[first.clamp(min=0)]).sum(-1).abs()
    alike = ((samples == first) | ((samples >= 0) & (first >= 0) & same & (dot > 0.95))).all(1)
    person = (world["table"][world["material"][here], 9] > 0) & (samples >= 0)

    rgb = torch.zeros(height * width, 3, device=samples.device)
    normal = torch.zeros_like(rgb)
    one = torch.nonzero(alike)[:, 0]
    rgb[one], normal[one] = _light(best[one], middle[one], width, height, focal_px, is_lamp, world)
    four = torch.nonzero(~alike)[:, 0]
    for k in range(4):
        t = samples[four, k]
        at = middle[four] + torch.tensor([k % 2 - 0.5, k // 2 - 0.5], device=t.device)
        colour, n = _light(t, at, width, height, focal_px, is_lamp, world)
        rgb[four] += colour / 4
        mine = (t == best[four]) & (t >= 0)
        normal[four[mine]] = n[mine]
    normal[best < 0] = 0
    disparity = torch.where(best >= 0, best_value.clamp(min=1e-5), 0)
    labels = torch.where(best >= 0, objects[best.clamp(min=0)], 0)
    return tuple(
        values.view(height, width, *values.shape[1:]).cpu().numpy()
        for values in (
            rgb,
            disparity.float(),
            normal @ world["axes"].T,
            labels.to(torch.int32),
            person.float().mean(1),
        )
    )


def _light(
    t: Tensor,
    at: Tensor,
    width: int,
    height: int,
    focal: float,
    is_lamp: bool,
    world: dict[str, Tensor],
) -> tuple[Tensor, Tensor]:
    """The light (N, 3) along the rays through samples `at` (N, 2), and normals in world axes."""
    sky, lights, tiles = world["sky"], world["lights"], world["tiles"]
    flat = (at - torch.tensor([width, height], device=at.device)) / (2 * focal)
    axes = world["axes"]
    ray = flat[:, :1] * axes[0] + flat[:, 1:] * axes[1] + axes[2]
    length = ray.norm(dim=1)
    up = ray[:, 2] / length
    far = sky[3:6] + (sky[:3] - sky[3:6]) * up.clamp(0, 1).sqrt()[:, None]
    nothing = t < 0
    t = t.clamp(min=0)

    clouded = nothing & (up > 0.02)
    if sky[7] > 0 and bool(clouded.any()):
        c = torch.nonzero(clouded)[:, 0]
        spot = 0.3 * ray[c, :2] / ray[c, 2:]
        texel = _texel(tiles, sky[6].long().expand(len(c)), spot, 2 / (up[c] + 0.1) - 2)
        cover = texel[:, 3:] * sky[7] * (up[c, None] * 6).clamp(max=1)
        far[c] += (texel[:, :3] * 1.2 - far[c]) * cover

    b = world["inverse"][t]
    b = b[..., 0] * at[:, :1] + b[..., 1] * at[:, 1:] + b[..., 2]
    z = 1 / b.sum(1).clamp(min=1e-9)
    b = b * z[:, None]
    point = world["position"] + z[:, None] * ray
    n = (b[..., None] * world["normals"][t]).sum(1)
    n = n / n.norm(dim=1, keepdim=True).clamp(min=1e-9)
    facing = (n * ray).sum(1) / length
    n = torch.where(facing[:, None] > 0, -n, n)
    facing = -facing.abs()
    table = world["table"][world["material"][t]]
    spot = (b[..., None] * world["uv"][t]).sum(1)
    footprint = world["density"][t] * SIDE * z / focal / (-facing).clamp(min=0.08).sqrt()
    texel = _texel(tiles, table[:, 0].long(), spot, footprint.clamp(min=1e-6).log2())
    albedo = (table[:, 1:4] * (1 + table[:, 4:5] * (texel[:, :3] - 1))) ** 2

    if is_lamp:
        to_light = world["towards"] - point
        away = to_light.norm(dim=1).clamp(min=1e-3)
        to_light = to_light / away[:, None]
        fall = 4 / (1 + away * away)
    else:
        to_light = world["towards"].expand_as(point)
        fall = torch.ones_like(z)
    slope = (n * to_light).sum(1)
    diffuse = slope.clamp(min=0) * fall
    lit = _lit(point + n * (0.01 + 0.02 * (1 - slope))[:, None], is_lamp, world)
    lit = torch.where(diffuse > 0, lit, torch.ones_like(lit))
    share = (0.5 + 0.5 * n[:, 2])[:, None]
    energy = lights[3:6] * share + lights[6:9] * (1 - share) + lights[:3] * (diffuse * lit)[:, None]
    for glow in world["glows"]:
        to_glow = glow[:3] - point
        away = (to_glow * to_glow).sum(1) + 0.05
        energy = energy + glow[3:6] * (
            ((n * to_glow).sum(1) / away.sqrt()).clamp(min=0) / (1 + away)
        ).unsqueeze(1)
    colour = albedo * (energy + table[:, 7:8])

    specular = table[:, 5]
    half = to_light - ray / length[:, None]
    half = half / half.norm(dim=1, keepdim=True).clamp(min=1e-6)
    shine = (n * half).sum(1).clamp(min=0) ** table[:, 6] * lit * fall
    mirror = specular * (0.04 + 0.96 * (1 + facing) ** 5)
    share = (0.5 + 0.5 * (up - 2 * facing * n[:, 2]))[:, None]
    glossy = (specular * shine)[:, None] * lights[:3]
    glossy = glossy + mirror[:, None] * (lights[3:6] * share + lights[6:9] * (1 - share))
    colour = torch.where(specular[:, None] > 0, colour + glossy, colour)
    clear = torch.exp(-sky[8] * z * length)[:, None]
    return torch.where(nothing[:, None], far, far + (colour - far) * clear), n


def _lit(point: Tensor, is_lamp: bool, world: dict[str, Tensor]) -> Tensor:
    """Share of the light that reaches each point (N, 3), by nine looks at the shadow map."""
    shadow, soft = world["shadow"], world["lights"][9]
    matrix = world["to_shadow"]
    h = point @ matrix[:, :3].T + matrix[:, 3]
    ahead = h[:, 2] > 1e-3
    w = torch.where(ahead, h[:, 2], torch.ones_like(h[:, 2]))
    x, y, depth = h[:, 0] / w, h[:, 1] / w, h[:, 3] / w
    bound = depth + (depth * 0.006 if is_lamp else 1.5e-5 * soft)
    lit = torch.zeros_like(depth)
    side = shadow.shape[0]
    for j in range(-1, 2):
        for i in range(-1, 2):
            cx, cy = (x + i * soft).trunc(), (y + j * soft).trunc()
            inside = (cx >= 0) & (cx < side) & (cy >= 0) & (cy < side)
            at = (cy.clamp(0, side - 1) * side + cx.clamp(0, side - 1)).long()
            lit += (~inside | (shadow.view(-1)[at] <= bound)) / 9
    return torch.where(ahead, lit, torch.ones_like(lit))


def _texel(tiles: Tensor, tile: Tensor, spot: Tensor, level: Tensor) -> Tensor:
    """Trilinear colour and alpha (N, 4), 0..1, at `spot` (N, 2) of pyramids of tiles."""
    level = level.clamp(0, 7)
    low = level.floor().long()
    out = torch.zeros(len(tile), 4, device=tiles.device)
    sides = torch.tensor([max(SIDE >> k, 1) for k in range(9)], device=tiles.device)
    starts = torch.cumsum(sides * sides, 0) - sides * sides
    spot = spot - spot.floor()
    for k in range(2):
        share = (1 - (level - low)) if k == 0 else (level - low)
        side, start = sides[low + k], starts[low + k]
        at = spot * side[:, None] - 0.5
        whole = at.floor()
        rest, corner = at - whole, whole.long()
        for dy in range(2):
            for dx in range(2):
                x, y = (corner[:, 0] + dx) % side, (corner[:, 1] + dy) % side
                weight = share * (rest[:, 0] if dx else 1 - rest[:, 0])
                weight = weight * (rest[:, 1] if dy else 1 - rest[:, 1]) / 255
                out += weight[:, None] * tiles[tile, start + y * side + x]
    return out


def _up(array: Array) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device())


_kept: dict[int, tuple[Array, Tensor]] = {}


def _tiles(pixels: Array) -> Tensor:
    """The tiles on the device, moved there once; a process draws from one set at a time."""
    if id(pixels) not in _kept:
        _kept.clear()
        _kept[id(pixels)] = pixels, _up(pixels)
    return _kept[id(pixels)][1]
