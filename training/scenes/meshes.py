"""Meshes: the few shapes everything in a world is built from.

Texture coordinates are metres along the surface wherever that means something, so that a texture
has one scale in the whole world.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from diorama.arrays import Array


@dataclass(frozen=True)
class Mesh:
    """Triangles with a normal and texture coordinates at each corner."""

    corners: Array
    """(T, 3, 3) float32, metres: corner and axis of each triangle."""
    normals: Array
    """(T, 3, 3) float32, of length 1."""
    uv: Array
    """(T, 3, 2) float32."""


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """All of them as one."""
    return Mesh(
        np.concatenate([m.corners for m in meshes]),
        np.concatenate([m.normals for m in meshes]),
        np.concatenate([m.uv for m in meshes]),
    )


def transform(
    position: Sequence[float] | Array = (0, 0, 0),
    *,
    yaw: float = 0.0,
    pitch: float = 0.0,
    roll: float = 0.0,
    scale: float | Sequence[float] | Array = 1.0,
) -> Array:
    """(3, 4) float64: scale, then roll about y, pitch about x, yaw about z (radians), then move."""
    cz, sz, cx, sx = math.cos(yaw), math.sin(yaw), math.cos(pitch), math.sin(pitch)
    cy, sy = math.cos(roll), math.sin(roll)
    out = np.empty((3, 4))
    out[0, :3] = cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy
    out[1, :3] = sz * cy + cz * sx * sy, cz * cx, sz * sy - cz * sx * cy
    out[2, :3] = -cx * sy, sx, cx * cy
    out[:, :3] *= scale
    out[:, 3] = position
    return out


def combined(outer: Array, inner: Array) -> Array:
    """(3, 4): first `inner`, then `outer`."""
    out = outer[:, :3] @ inner
    out[:, 3] += outer[:, 3]
    return out


def towards(start: Array, end: Array, *, radius: float) -> Array:
    """(3, 4): puts a shape of unit radius that stands on the origin, 1 high, from start to end."""
    along = np.asarray(end, float) - start
    length = float(np.linalg.norm(along))
    up = along / max(length, 1e-9)
    x, y, z = up
    side = np.array([-z, 0.0, x]) if abs(y) < 0.9 else np.array([0.0, z, -y])
    side *= radius / math.sqrt(float(side @ side))
    out = np.empty((3, 4))
    out[:, 0], out[:, 1], out[:, 2], out[:, 3] = side, cross(up, side), along, start
    return out


def cross(a: Array, b: Array) -> Array:
    """`numpy.cross` of (..., 3) in a tenth of its time for the few vectors of a mesh."""
    out = np.empty_like(a)
    out[..., 0] = a[..., 1] * b[..., 2] - a[..., 2] * b[..., 1]
    out[..., 1] = a[..., 2] * b[..., 0] - a[..., 0] * b[..., 2]
    out[..., 2] = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
    return out


def flat(corners: Array, uv: Array) -> Mesh:
    """Triangles (T, 3, 3) with their own flat normals."""
    corners = np.asarray(corners, np.float32)
    normal = cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    normal /= np.maximum(np.sqrt((normal * normal).sum(-1, keepdims=True)), 1e-12)
    return Mesh(corners, np.repeat(normal[:, None], 3, 1), np.asarray(uv, np.float32))


def quad(a: Sequence[float], b: Sequence[float], c: Sequence[float], d: Sequence[float]) -> Mesh:
    """A parallelogram a, b, c, d in order round it; uv is metres along ab and ad."""
    p = np.array([a, b, c, d], np.float32)
    width, height = float(np.linalg.norm(p[1] - p[0])), float(np.linalg.norm(p[3] - p[0]))
    uv = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    order = np.array([[0, 1, 2], [0, 2, 3]])
    return flat(p[order], uv[order])


def box(width: float, depth: float, height: float) -> Mesh:
    """Stands on the origin: x by y by z metres."""
    size = np.array([width, depth, height], np.float32)
    unit, scale = _unit_box()
    return Mesh(unit.corners * size, unit.normals, unit.uv * size[scale])


@cache
def _unit_box() -> tuple[Mesh, Array]:
    """A cube of side 1 that stands on the origin, and which sides (12, 1, 2) its uv run along."""
    x = y = 0.5
    sides = [
        quad((-x, -y, 0), (x, -y, 0), (x, -y, 1), (-x, -y, 1)),
        quad((x, -y, 0), (x, y, 0), (x, y, 1), (x, -y, 1)),
        quad((x, y, 0), (-x, y, 0), (-x, y, 1), (x, y, 1)),
        quad((-x, y, 0), (-x, -y, 0), (-x, -y, 1), (-x, y, 1)),
        quad((-x, -y, 1), (x, -y, 1), (x, y, 1), (-x, y, 1)),
        quad((-x, y, 0), (x, y, 0), (x, -y, 0), (-x, -y, 0)),
    ]
    along = np.repeat([[0, 2], [1, 2], [0, 2], [1, 2], [0, 1], [0, 1]], 2, axis=0)
    return joined(sides), along[:, None]


def grid(points: Array, *, closed: bool = False, smooth: bool = True) -> Mesh:
    """A surface through (rows, columns, 3) points; `closed` joins its last column to its first."""
    points = np.asarray(points, np.float32)
    around = np.concatenate([points, points[:, :1]], 1) if closed else points
    right = np.gradient(around, axis=1)
    if closed:
        right[:, 0] = right[:, -1] = (around[:, 1] - around[:, -2]) / 2
    normals = cross(right, np.gradient(around, axis=0))
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
    u = np.cumsum(np.linalg.norm(np.diff(around, axis=1), axis=-1).mean(0, keepdims=True), 1)
    v = np.cumsum(np.linalg.norm(np.diff(around, axis=0), axis=-1).mean(1, keepdims=True), 0)
    u, v = np.pad(u, ((0, 0), (1, 0))), np.pad(v, ((1, 0), (0, 0)))
    uv = np.stack(np.broadcast_arrays(u, v), -1).astype(np.float32)

    def triangles(values: Array) -> Array:
        a, b = values[:-1, :-1], values[:-1, 1:]
        c, d = values[1:, 1:], values[1:, :-1]
        pairs = np.stack([np.stack([a, b, c], 2), np.stack([a, c, d], 2)], 2)
        return pairs.reshape(-1, 3, values.shape[-1])

    if not smooth:
        return flat(triangles(around), triangles(uv))
    return Mesh(triangles(around), triangles(normals).astype(np.float32), triangles(uv))


def lathe(profile: Array, *, sides: int = 20) -> Mesh:
    """(N, 2) radii and heights turned about the z axis, from bottom to top."""
    profile = np.asarray(profile, np.float32)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False, dtype=np.float32)
    ring = np.stack([np.cos(angle), np.sin(angle)], -1)
    points = np.concatenate(
        [
            profile[:, None, :1] * ring,
            np.broadcast_to(profile[:, None, 1:], (len(profile), sides, 1)),
        ],
        -1,
    )
    return grid(points, closed=True)


@cache
def sphere(sides: int = 14) -> Mesh:
    """Of radius 1, about the origin."""
    angle = np.linspace(-np.pi / 2, np.pi / 2, sides // 2 + 1)
    mesh = lathe(np.stack([np.cos(angle), np.sin(angle)], -1), sides=sides)
    return Mesh(mesh.corners, mesh.corners.copy(), mesh.uv)


@cache
def cylinder(sides: int = 14, top: float = 1.0) -> Mesh:
    """Stands on the origin, 1 high, of radius 1 below and `top` above, with its ends closed."""
    side = lathe(np.array([[1, 0], [top, 1]]), sides=sides)
    ends = [lathe(np.array([[0, 0], [1, 0]]), sides=sides)]
    if top > 0:
        ends.append(lathe(np.array([[top, 1], [0, 1]]), sides=sides))
    return joined([side, *ends])


@cache
def limb(taper_percent: int, sides: int = 10) -> Mesh:
    """A round cone: from the origin, radius 1, up by 1 to a radius of `taper_percent` of it.

    Its round ends reach past 0 and 1 by a fifth: it is meant to be stretched to several radii.
    """
    top = taper_percent / 100
    low, high = np.linspace(-np.pi / 2, 0, 4), np.linspace(0, np.pi / 2, 4)
    profile = np.concatenate(
        [
            np.stack([np.cos(low), 0.2 * np.sin(low)], -1),
            np.stack([top * np.cos(high), 1 + 0.2 * top * np.sin(high)], -1),
        ]
    )
    return lathe(profile, sides=sides)


def tube(path: Array, radius: float | Array, *, sides: int = 6) -> Mesh:
    """A tube of this radius (one, or one for each point) along (N, 3) points."""
    path = np.asarray(path, float)
    along = np.gradient(path, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=-1, keepdims=True), 1e-9)
    reference = np.eye(3)[np.abs(along).mean(0).argmin()]
    side = np.cross(along, reference)
    side /= np.maximum(np.linalg.norm(side, axis=-1, keepdims=True), 1e-9)
    other = np.cross(along, side)
    angle = np.linspace(0, 2 * np.pi, sides, endpoint=False)
    ring = np.cos(angle)[:, None] * side[:, None] + np.sin(angle)[:, None] * other[:, None]
    radii = np.broadcast_to(np.asarray(radius, float), (len(path),))
    return grid(path[:, None] + radii[:, None, None] * ring, closed=True)


def heightfield(heights: Array, width: float, depth: float) -> Mesh:
    """(rows, columns) heights in metres over a width x depth area about the origin."""
    rows, columns = heights.shape
    x, y = np.meshgrid(
        np.linspace(-width / 2, width / 2, columns), np.linspace(-depth / 2, depth / 2, rows)
    )
    return grid(np.stack([x, y, heights], -1))


def from_sdf(distance: Callable[[Array], Array], *, reach: float, cells: int = 24) -> Mesh:
    """The zero surface of a signed distance of (..., 3) points, inside a cube of +- reach.

    By surface nets (Gibson 1998): one vertex in each cell that the surface crosses, moved onto the
    surface along the gradient.
    """
    axis = np.linspace(-reach, reach, cells)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), -1)
    values = distance(points)
    inside = values < 0
    count = np.zeros((cells - 1,) * 3, np.int32)
    for dx, dy, dz in np.ndindex(2, 2, 2):
        count += inside[dx : cells - 1 + dx, dy : cells - 1 + dy, dz : cells - 1 + dz]
    crossed = (count > 0) & (count < 8)
    index = np.full(crossed.shape, -1)
    index[crossed] = np.arange(crossed.sum())
    step = axis[1] - axis[0]
    vertices = points[:-1, :-1, :-1][crossed] + step / 2
    small = 0.1 * step
    normals = np.zeros_like(vertices)
    for _ in range(3):
        for k in range(3):
            offset = np.eye(3)[k] * small
            normals[:, k] = distance(vertices + offset) - distance(vertices - offset)
        normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        vertices -= np.clip(distance(vertices), -step, step)[:, None] * normals
    quads = []
    for k in range(3):
        # An edge along axis k between grid points that differ is shared by four cells.
        a, b = (k + 1) % 3, (k + 2) % 3
        change = np.diff(inside.astype(np.int8), axis=k)
        core = [slice(None)] * 3
        core[a] = core[b] = slice(1, -1)
        where = np.argwhere(change[tuple(core)])
        if not len(where):
            continue
        where[:, a] += 1
        where[:, b] += 1
        step_a, step_b = np.eye(3, dtype=int)[a], np.eye(3, dtype=int)[b]
        ring = [where - step_a - step_b, where - step_b, where, where - step_a]
        quads.append(np.stack([index[tuple(cell.T)] for cell in ring], 1))
    four = np.concatenate(quads)
    order = np.concatenate([four[:, [0, 1, 2]], four[:, [0, 2, 3]]])
    uv = np.stack([vertices[:, 0] + vertices[:, 1], vertices[:, 2]], -1)
    return Mesh(
        vertices[order].astype(np.float32),
        normals[order].astype(np.float32),
        uv[order].astype(np.float32),
    )
