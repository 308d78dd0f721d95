"""Draw a world: colour, disparity, normals, objects and people, exact at every pixel's centre.

Triangles are drawn in homogeneous coordinates (Olano and Greer 1997): a triangle whose corners have
the columns of M as camera coordinates covers a pixel with ray r where ``b = M^-1 r`` is positive,
and ``b_0 + b_1 + b_2 = 1 / z`` there, so that nothing needs clipping and depth is exact. Each pixel
has four samples; they are shaded together where they see the same smooth surface.
"""

import math
from dataclasses import dataclass
from typing import Literal

import cv2
import numba
import numpy as np

from diorama.arrays import Array
from training.scenes.textures import SIDE, Textures
from training.scenes.world import Light, Sky, Triangles

NEAR = 0.05
"""Metres; nothing nearer is seen."""

SHADOW_SIDE = 768
"""Texels of the shadow map's side."""

Kernels = Literal["numba", "torch"]
"""What draws: `_fill` and `_shade` here, or their twins in `raster_torch`."""


@dataclass(frozen=True)
class Eye:
    """A pinhole camera in the world."""

    position: Array
    """(3,) metres."""
    to_camera: Array
    """(3, 3) rotation from world axes to x right, y down, z forward."""
    focal: float
    """Pixels."""
    size: tuple[int, int]
    """(H, W) pixels."""

    @staticmethod
    def looking(
        position: Array, yaw: float, pitch: float, roll: float, focal: float, size: tuple[int, int]
    ) -> "Eye":
        """Yaw is 0 along y and grows to the right; pitch is above the horizon; radians."""
        forward = np.array(
            [math.sin(yaw) * math.cos(pitch), math.cos(yaw) * math.cos(pitch), math.sin(pitch)]
        )
        right = np.array([math.cos(yaw), -math.sin(yaw), 0.0])
        down = np.cross(forward, right)
        c, s = math.cos(roll), math.sin(roll)
        axes = np.stack([c * right + s * down, c * down - s * right, forward])
        return Eye(np.asarray(position, float), axes, focal, size)


@dataclass(frozen=True)
class Drawn:
    """What an eye sees."""

    rgb: Array
    """(H, W, 3) float32, linear light, not yet exposed."""
    disparity: Array
    """(H, W) float32, 1/m; 0 in the sky."""
    normal: Array
    """(H, W, 3) float32 in camera axes, towards the camera; 0 in the sky."""
    instance: Array
    """(H, W) int32; 0 in the sky."""
    person: Array
    """(H, W) float32, share of the pixel that is people."""


def draw(
    triangles: Triangles,
    eye: Eye,
    light: Light,
    sky: Sky,
    textures: Textures,
    *,
    kernels: Kernels = "numba",
) -> Drawn:
    """Draw it; one thread, for many worlds are drawn at once by as many processes.

    The torch kernels run on the GPU, if there is one.
    """
    height, width = eye.size
    fill, shade = _fill, _shade
    if kernels == "torch":
        from training.scenes import raster_torch

        fill, shade = raster_torch.fill, raster_torch.shade
    flags = np.ascontiguousarray(triangles.table[triangles.material][:, [8, 0]].astype(np.int32))
    seen, found = (
        np.zeros((2 * height, 2 * width), np.float32),
        np.full((2 * height, 2 * width), -1, np.int32),
    )

    def look(corners: Array, weights: Array, value: Array, found: Array) -> Array:
        """Fill in the largest value and its triangle; return the inverses (T, 3, 3) float32."""
        inverse = np.zeros((len(corners), 3, 3), np.float32)
        weights = np.ascontiguousarray(weights)
        fill(corners, weights, triangles.uv, flags, textures.pixels, value, found, inverse)
        return inverse

    inverse = look(*_projected(triangles, eye), seen, found)
    corners, weights, to_shadow = _from_light(triangles, eye, light)
    shadow = np.zeros((SHADOW_SIDE, SHADOW_SIDE), np.float32)
    look(corners, weights, shadow, np.full(shadow.shape, -1, np.int32))
    return Drawn(
        *shade(
            found,
            inverse,
            triangles.corners,
            triangles.normals,
            triangles.uv,
            triangles.density,
            triangles.material,
            triangles.instance,
            triangles.table,
            textures.pixels,
            eye.position.astype(np.float32),
            eye.to_camera.astype(np.float32),
            np.float32(eye.focal),
            shadow,
            to_shadow.astype(np.float32),
            light.is_lamp,
            light.towards.astype(np.float32),
            np.concatenate([light.colour, light.above, light.below, [light.softness]]).astype(
                np.float32
            ),
            light.glows.astype(np.float32),
            np.concatenate([sky.zenith, sky.horizon, [sky.clouds, sky.cover, sky.fog]]).astype(
                np.float32
            ),
        )
    )


def _projected(triangles: Triangles, eye: Eye) -> tuple[Array, Array]:
    """Corners (T, 3, 3) float64 in samples, homogeneous, and what they weigh (T, 3)."""
    local = (triangles.corners - eye.position) @ eye.to_camera.T
    height, width = eye.size
    out = np.empty(local.shape)
    out[..., 0] = 2 * eye.focal * local[..., 0] + width * local[..., 2]
    out[..., 1] = 2 * eye.focal * local[..., 1] + height * local[..., 2]
    out[..., 2] = local[..., 2]
    return out, np.ones(local.shape[:2])


def _from_light(triangles: Triangles, eye: Eye, light: Light) -> tuple[Array, Array, Array]:
    """Corners and weights as `_projected`, and the (4, 4) matrix of world points to (x, y, w, q).

    A shadow map's value is q / w: it grows towards the light.
    """
    if light.is_lamp:
        half = 3.0  # tangent of its half angle
        axes = np.array([[1, 0, 0], [0, 1, 0], [0, 0, -1.0]])
        scale = SHADOW_SIDE / 2 / half
        rows = np.zeros((4, 4))
        rows[2, :3], rows[2, 3] = axes[2], -axes[2] @ light.towards
        for k in range(2):
            rows[k, :3] = scale * axes[k]
            rows[k, 3] = -scale * axes[k] @ light.towards
            rows[k] += SHADOW_SIDE / 2 * rows[2]
        rows[3, 3] = 1.0
    else:
        # A square of the ground ahead; nearer things get more of it in worlds that are small.
        forward = eye.to_camera[2]
        reach = float(np.clip(np.percentile(np.abs(triangles.corners).max((1, 2)), 80), 2, 30))
        centre = eye.position + forward * 0.7 * reach
        side = np.cross(light.towards, [0, 0, 1.0] if abs(light.towards[2]) < 0.9 else [0, 1.0, 0])
        side /= np.linalg.norm(side)
        axes = np.stack([side, np.cross(light.towards, side)])
        scale = SHADOW_SIDE / 2 / reach
        rows = np.zeros((4, 4))
        for k in range(2):
            rows[k, :3] = scale * axes[k]
            rows[k, 3] = SHADOW_SIDE / 2 - scale * axes[k] @ centre
        rows[2, 3] = 1.0
        rows[3, :3] = light.towards / 1000
        rows[3, 3] = 1.0 - light.towards @ centre / 1000  # above 0 for a kilometre around
    moved = triangles.corners @ rows[:, :3].T + rows[:, 3]
    return np.ascontiguousarray(moved[..., :3]), moved[..., 3], rows


@numba.njit(nogil=True, cache=True, fastmath=True)
def _positive(slope, offset, low, high):
    """Where in low..high slope x + offset is not negative; high is -1 if it is nowhere."""
    if slope > 0:
        return max(low, -offset / slope), high
    if slope < 0:
        return low, min(high, -offset / slope)
    return low, high if offset >= 0 else -1.0


@numba.njit(nogil=True, cache=True, fastmath=True)
def _fill(corners, weights, uv, flags, pixels, value, found, inverse):
    height, width = value.shape
    for t in range(corners.shape[0]):
        x0, y0, w0 = corners[t, 0, 0], corners[t, 0, 1], corners[t, 0, 2]
        x1, y1, w1 = corners[t, 1, 0], corners[t, 1, 1], corners[t, 1, 2]
        x2, y2, w2 = corners[t, 2, 0], corners[t, 2, 1], corners[t, 2, 2]
        if w0 < NEAR and w1 < NEAR and w2 < NEAR:
            continue
        left, right, top, low = 1e9, -1e9, 1e9, -1e9
        for k in range(3):
            m = (k + 1) % 3
            xa, ya, wa = corners[t, k, 0], corners[t, k, 1], corners[t, k, 2]
            xb, yb, wb = corners[t, m, 0], corners[t, m, 1], corners[t, m, 2]
            if wa >= NEAR:
                left, right = min(left, xa / wa), max(right, xa / wa)
                top, low = min(top, ya / wa), max(low, ya / wa)
            if (wa < NEAR) != (wb < NEAR):
                s = (NEAR - wa) / (wb - wa)
                xc, yc = (xa + s * (xb - xa)) / NEAR, (ya + s * (yb - ya)) / NEAR
                left, right = min(left, xc), max(right, xc)
                top, low = min(top, yc), max(low, yc)
        if right < 0 or low < 0 or left > width or top > height:
            continue
        begin, end = max(0, int(left)), min(width, int(right) + 1)
        first, last = max(0, int(top)), min(height, int(low) + 1)
        c0x, c0y, c0z = y1 * w2 - w1 * y2, w1 * x2 - x1 * w2, x1 * y2 - y1 * x2
        c1x, c1y, c1z = y2 * w0 - w2 * y0, w2 * x0 - x2 * w0, x2 * y0 - y2 * x0
        c2x, c2y, c2z = y0 * w1 - w0 * y1, w0 * x1 - x0 * w1, x0 * y1 - y0 * x1
        det = x0 * c0x + y0 * c0y + w0 * c0z
        if abs(det) < 1e-12:
            continue
        det = 1.0 / det
        c0x, c0y, c0z = c0x * det, c0y * det, c0z * det
        c1x, c1y, c1z = c1x * det, c1y * det, c1z * det
        c2x, c2y, c2z = c2x * det, c2y * det, c2z * det
        inverse[t, 0, 0], inverse[t, 0, 1], inverse[t, 0, 2] = c0x, c0y, c0z
        inverse[t, 1, 0], inverse[t, 1, 1], inverse[t, 1, 2] = c1x, c1y, c1z
        inverse[t, 2, 0], inverse[t, 2, 1], inverse[t, 2, 2] = c2x, c2y, c2z
        q0, q1, q2 = weights[t, 0], weights[t, 1], weights[t, 2]
        cutout = flags[t, 0] != 0
        for y in range(first, last):
            py = y + 0.5
            r0, r1, r2 = c0y * py + c0z, c1y * py + c1z, c2y * py + c2z
            low_x, high_x = _positive(c0x, r0, float(begin), float(end))
            low_x, high_x = _positive(c1x, r1, low_x, high_x)
            low_x, high_x = _positive(c2x, r2, low_x, high_x)
            # An edge that hardly leans meets the row farther away than an integer can say.
            low_x, high_x = min(low_x, float(end)), max(high_x, begin - 1.0)
            begin_x = max(begin, math.ceil(low_x - 0.5))
            for x in range(begin_x, min(end, math.floor(high_x - 0.5) + 1)):
                px = x + 0.5
                b0, b1, b2 = c0x * px + r0, c1x * px + r1, c2x * px + r2
                v = b0 * q0 + b1 * q1 + b2 * q2
                if v <= value[y, x]:
                    continue
                if cutout:
                    total = b0 + b1 + b2
                    u = (b0 * uv[t, 0, 0] + b1 * uv[t, 1, 0] + b2 * uv[t, 2, 0]) / total
                    w = (b0 * uv[t, 0, 1] + b1 * uv[t, 1, 1] + b2 * uv[t, 2, 1]) / total
                    tx, ty = int((u - math.floor(u)) * SIDE), int((w - math.floor(w)) * SIDE)
                    if pixels[flags[t, 1], min(ty, SIDE - 1) * SIDE + min(tx, SIDE - 1), 3] < 128:
                        continue
                value[y, x] = v
                found[y, x] = t


@numba.njit(nogil=True, cache=True, fastmath=True)
def _texel(pixels, tile, u, v, level_of_detail, out):
    """Trilinear colour and alpha, 0..1, into `out` (4,)."""
    level_of_detail = min(max(level_of_detail, 0.0), 7.0)
    level = int(level_of_detail)
    mix = level_of_detail - level
    out[0] = out[1] = out[2] = out[3] = 0.0
    start = 0
    side = SIDE
    for _ in range(level):
        start += side * side
        side //= 2
    for k in range(2):
        share = (1.0 - mix) if k == 0 else mix
        if share > 0.0:
            x, y = (u - math.floor(u)) * side - 0.5, (v - math.floor(v)) * side - 0.5
            fx, fy = math.floor(x), math.floor(y)
            x0, y0 = int(fx), int(fy)
            fx, fy = x - fx, y - fy
            for dy in range(2):
                row = ((y0 + dy) % side) * side
                wy = share * (fy if dy else 1.0 - fy)
                for dx in range(2):
                    w = wy * (fx if dx else 1.0 - fx) * (1.0 / 255.0)
                    at = start + row + (x0 + dx) % side
                    out[0] += w * pixels[tile, at, 0]
                    out[1] += w * pixels[tile, at, 1]
                    out[2] += w * pixels[tile, at, 2]
                    out[3] += w * pixels[tile, at, 3]
        start += side * side
        side = max(side // 2, 1)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _shade(
    found,
    inverse,
    corners,
    normals,
    uv,
    density,
    material,
    instance,
    table,
    pixels,
    position,
    axes,
    focal,
    shadow,
    to_shadow,
    is_lamp,
    towards,
    lights,
    glows,
    sky,
):
    height, width = found.shape[0] // 2, found.shape[1] // 2
    rgb = np.zeros((height, width, 3), np.float32)
    disparity = np.zeros((height, width), np.float32)
    normal = np.zeros((height, width, 3), np.float32)
    objects = np.zeros((height, width), np.int32)
    person = np.zeros((height, width), np.float32)
    out, own, n = np.zeros(4, np.float32), np.zeros(3, np.float32), np.zeros(3, np.float32)
    for y in range(height):
        for x in range(width):
            # The surface that most of the four samples see, the nearest of equals, is the pixel's.
            best, best_count, best_value = -1, -1, -1.0
            alike = True
            first = found[2 * y, 2 * x]
            for k in range(4):
                t = found[2 * y + k // 2, 2 * x + k % 2]
                count, value = 0, 0.0
                mine = -1 if t < 0 else instance[t]
                if t >= 0 and table[material[t], 9] > 0:
                    person[y, x] += 0.25
                for m in range(4):
                    s = found[2 * y + m // 2, 2 * x + m % 2]
                    count += mine == (-1 if s < 0 else instance[s])
                if t >= 0:
                    px, py = 2 * x + 1.0, 2 * y + 1.0
                    value = 0.0
                    for i in range(3):
                        value += inverse[t, i, 0] * px + inverse[t, i, 1] * py + inverse[t, i, 2]
                if count > best_count or (count == best_count and value > best_value):
                    best, best_count, best_value = t, count, value
                if t != first:
                    if t < 0 or first < 0 or material[t] != material[first]:
                        alike = False
                    else:
                        dot = (
                            normals[t, 0, 0] * normals[first, 0, 0]
                            + normals[t, 0, 1] * normals[first, 0, 1]
                            + normals[t, 0, 2] * normals[first, 0, 2]
                        )
                        alike = alike and abs(dot) > 0.95
            if best >= 0:
                objects[y, x] = instance[best]
                disparity[y, x] = max(best_value, 1e-5)
            samples = 1 if alike else 4
            for k in range(samples):
                if alike:
                    t, px, py = best, 2 * x + 1.0, 2 * y + 1.0
                else:
                    t = found[2 * y + k // 2, 2 * x + k % 2]
                    px, py = 2 * x + k % 2 + 0.5, 2 * y + k // 2 + 0.5
                rx, ry = (px - width) / (2 * focal), (py - height) / (2 * focal)
                dx = axes[0, 0] * rx + axes[1, 0] * ry + axes[2, 0]
                dy = axes[0, 1] * rx + axes[1, 1] * ry + axes[2, 1]
                dz = axes[0, 2] * rx + axes[1, 2] * ry + axes[2, 2]
                _light_ray(
                    t, px, py, dx, dy, dz, inverse, corners, normals, uv, density, material,
                    table, pixels, position, focal, shadow, to_shadow, is_lamp, towards, lights,
                    glows, sky, out, own, n,
                )  # fmt: skip
                for i in range(3):
                    rgb[y, x, i] += own[i] / samples
                if best >= 0 and t == best:
                    for i in range(3):
                        normal[y, x, i] = axes[i, 0] * n[0] + axes[i, 1] * n[1] + axes[i, 2] * n[2]
    return rgb, disparity, normal, objects, person


@numba.njit(nogil=True, cache=True, fastmath=True)
def _light_ray(
    t, px, py, dx, dy, dz, inverse, corners, normals, uv, density, material, table, pixels,
    position, focal, shadow, to_shadow, is_lamp, towards, lights, glows, sky, out, own, n,
):  # fmt: skip
    """The light (3,) that comes along a ray, into `own`, and the normal in world axes into `n`."""
    length = math.sqrt(dx * dx + dy * dy + dz * dz)
    up = dz / length
    rise = min(max(up, 0.0), 1.0) ** 0.5
    far0 = sky[3] + (sky[0] - sky[3]) * rise
    far1 = sky[4] + (sky[1] - sky[4]) * rise
    far2 = sky[5] + (sky[2] - sky[5]) * rise
    if t < 0:
        if up > 0.02 and sky[7] > 0:
            _texel(pixels, int(sky[6]), 0.3 * dx / dz, 0.3 * dy / dz, 2.0 / (up + 0.1) - 2.0, out)
            cover = out[3] * sky[7] * min(1.0, up * 6)
            far0 += (out[0] * 1.2 - far0) * cover
            far1 += (out[1] * 1.2 - far1) * cover
            far2 += (out[2] * 1.2 - far2) * cover
        own[0], own[1], own[2] = far0, far1, far2
        return
    b0 = inverse[t, 0, 0] * px + inverse[t, 0, 1] * py + inverse[t, 0, 2]
    b1 = inverse[t, 1, 0] * px + inverse[t, 1, 1] * py + inverse[t, 1, 2]
    b2 = inverse[t, 2, 0] * px + inverse[t, 2, 1] * py + inverse[t, 2, 2]
    total = max(b0 + b1 + b2, 1e-9)
    z = 1.0 / total
    b0, b1, b2 = b0 * z, b1 * z, b2 * z
    x, y, w = position[0] + z * dx, position[1] + z * dy, position[2] + z * dz
    n0 = b0 * normals[t, 0, 0] + b1 * normals[t, 1, 0] + b2 * normals[t, 2, 0]
    n1 = b0 * normals[t, 0, 1] + b1 * normals[t, 1, 1] + b2 * normals[t, 2, 1]
    n2 = b0 * normals[t, 0, 2] + b1 * normals[t, 1, 2] + b2 * normals[t, 2, 2]
    norm = max(math.sqrt(n0 * n0 + n1 * n1 + n2 * n2), 1e-9)
    facing = (n0 * dx + n1 * dy + n2 * dz) / (norm * length)
    if facing > 0:
        norm, facing = -norm, -facing
    n0, n1, n2 = n0 / norm, n1 / norm, n2 / norm
    n[0], n[1], n[2] = n0, n1, n2
    m = material[t]
    u = b0 * uv[t, 0, 0] + b1 * uv[t, 1, 0] + b2 * uv[t, 2, 0]
    v = b0 * uv[t, 0, 1] + b1 * uv[t, 1, 1] + b2 * uv[t, 2, 1]
    footprint = density[t] * SIDE * z / focal / math.sqrt(max(-facing, 0.08))
    _texel(pixels, int(table[m, 0]), u, v, math.log2(max(footprint, 1e-6)), out)
    contrast = table[m, 4]
    # Tiles are sRGB; light adds up linearly. A square is near enough.
    a0 = table[m, 1] * (1 + contrast * (out[0] - 1))
    a1 = table[m, 2] * (1 + contrast * (out[1] - 1))
    a2 = table[m, 3] * (1 + contrast * (out[2] - 1))
    a0, a1, a2 = a0 * a0, a1 * a1, a2 * a2
    lit = 1.0
    fall = 1.0
    if is_lamp:
        lx, ly, lz = towards[0] - x, towards[1] - y, towards[2] - w
        away = max(math.sqrt(lx * lx + ly * ly + lz * lz), 1e-3)
        lx, ly, lz = lx / away, ly / away, lz / away
        fall = 4.0 / (1.0 + away * away)
    else:
        lx, ly, lz = towards[0], towards[1], towards[2]
    slope = n0 * lx + n1 * ly + n2 * lz
    diffuse = max(slope, 0.0) * fall
    if diffuse > 0:
        off = 0.01 + 0.02 * (1 - slope)
        sx, sy, sw = x + n0 * off, y + n1 * off, w + n2 * off
        h0 = to_shadow[0, 0] * sx + to_shadow[0, 1] * sy + to_shadow[0, 2] * sw + to_shadow[0, 3]
        h1 = to_shadow[1, 0] * sx + to_shadow[1, 1] * sy + to_shadow[1, 2] * sw + to_shadow[1, 3]
        h2 = to_shadow[2, 0] * sx + to_shadow[2, 1] * sy + to_shadow[2, 2] * sw + to_shadow[2, 3]
        h3 = to_shadow[3, 0] * sx + to_shadow[3, 1] * sy + to_shadow[3, 2] * sw + to_shadow[3, 3]
        if h2 > 1e-3:
            h0, h1, h3 = h0 / h2, h1 / h2, h3 / h2
            soft = lights[9]
            lit = 0.0
            margin = h3 * 0.006 if is_lamp else 1.5e-5 * soft
            for j in range(-1, 2):
                for i in range(-1, 2):
                    cx, cy = int(h0 + i * soft), int(h1 + j * soft)
                    inside = 0 <= cx < shadow.shape[1] and 0 <= cy < shadow.shape[0]
                    if not inside or shadow[cy, cx] <= h3 + margin:
                        lit += 1.0 / 9.0
    sky_share = 0.5 + 0.5 * n2
    e0 = lights[3] * sky_share + lights[6] * (1 - sky_share) + lights[0] * diffuse * lit
    e1 = lights[4] * sky_share + lights[7] * (1 - sky_share) + lights[1] * diffuse * lit
    e2 = lights[5] * sky_share + lights[8] * (1 - sky_share) + lights[2] * diffuse * lit
    for g in range(glows.shape[0]):
        gx, gy, gz = glows[g, 0] - x, glows[g, 1] - y, glows[g, 2] - w
        away = gx * gx + gy * gy + gz * gz + 0.05
        share = max((n0 * gx + n1 * gy + n2 * gz) / math.sqrt(away), 0.0) / (1 + away)
        e0, e1, e2 = e0 + glows[g, 3] * share, e1 + glows[g, 4] * share, e2 + glows[g, 5] * share
    emission = table[m, 7]
    c0, c1, c2 = a0 * (e0 + emission), a1 * (e1 + emission), a2 * (e2 + emission)
    specular = table[m, 5]
    if specular > 0:
        hx, hy, hz = lx - dx / length, ly - dy / length, lz - dz / length
        half = max(math.sqrt(hx * hx + hy * hy + hz * hz), 1e-6)
        shine = max((n0 * hx + n1 * hy + n2 * hz) / half, 0.0) ** table[m, 6] * lit * fall
        # What it mirrors: sky above, ground below, more so at grazing angles.
        mirror = specular * (0.04 + 0.96 * (1 + facing) ** 5)
        rz = up - 2 * facing * n2
        e = 0.5 + 0.5 * rz
        c0 += specular * shine * lights[0] + mirror * (lights[3] * e + lights[6] * (1 - e))
        c1 += specular * shine * lights[1] + mirror * (lights[4] * e + lights[7] * (1 - e))
        c2 += specular * shine * lights[2] + mirror * (lights[5] * e + lights[8] * (1 - e))
    clear = math.exp(-sky[8] * z * length)
    own[0] = far0 + (c0 - far0) * clear
    own[1] = far1 + (c1 - far1) * clear
    own[2] = far2 + (c2 - far2) * clear


def occlusion(drawn: Drawn, focal: float, radius: float) -> Array:
    """(H, W) float32 in 0..1: how open each surface is to its surroundings within `radius` metres.

    Screen-space, with a few taps at half the size; multiplies the picture afterwards, which darkens
    direct light in corners a little too much.
    """
    step = 2
    small = np.ascontiguousarray(drawn.disparity[::step, ::step])
    normal = np.ascontiguousarray(drawn.normal[::step, ::step])
    opened = _open_share(small, normal, np.float32(focal / step), np.float32(radius))
    opened = cv2.blur(opened, (5, 5))
    height, width = drawn.disparity.shape
    return cv2.resize(opened, (width, height), interpolation=cv2.INTER_LINEAR)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _open_share(disparity, normal, focal, radius):
    height, width = disparity.shape
    out = np.ones((height, width), np.float32)
    for y in range(height):
        for x in range(width):
            d = disparity[y, x]
            if d <= 0:
                continue
            z = 1 / d
            px, py = (x + 0.5 - width / 2) * z / focal, (y + 0.5 - height / 2) * z / focal
            reach = min(radius * focal * d, 0.12 * width)
            if reach < 1:
                continue
            blocked = 0.0
            turn = ((x * 7 + y * 13) % 16) * 0.3926991
            for k in range(8):
                far = reach * (k + 0.6) / 8
                sx, sy = x + far * math.cos(turn), y + far * math.sin(turn)
                turn += 2.39996
                ix, iy = int(sx + 0.5), int(sy + 0.5)
                if not (0 <= ix < width and 0 <= iy < height):
                    continue
                e = disparity[iy, ix]
                if e <= 0:
                    continue
                w = 1 / e
                ox = (ix + 0.5 - width / 2) * w / focal - px
                oy = (iy + 0.5 - height / 2) * w / focal - py
                oz = w - z
                away = math.sqrt(ox * ox + oy * oy + oz * oz) + 1e-6
                rise = (normal[y, x, 0] * ox + normal[y, x, 1] * oy + normal[y, x, 2] * oz) / away
                blocked += max(rise - 0.1, 0.0) / (1 + (away / radius) ** 2)
            out[y, x] = max(1 - 0.35 * blocked, 0.25)
    return out
