"""A layer as a triangle mesh: its hull, with vertices where disparity bends.

The fine edge of a layer lives in its texture's alpha. The mesh is a hull that follows it at a
distance of one to two pixels, triangulated under the constraint of that hull. Inside it a plane
needs no vertex, for a plane in space is affine in disparity; elsewhere vertices are inserted at the
pixel with the largest error of each triangle until no error shows (Garland and Heckbert, "Fast
polygonal approximation of terrains and height fields", 1995).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from diorama.arrays import Array, Disparity, Points, Triangles, Uvs
from diorama.camera import Z_MAX, Camera, ViewBox, disparity_per_px
from diorama.errors import InputError
from diorama.kernels.mesh_error import mesh_error
from diorama.layers import Layer
from diorama.runtime import run_tasks

if TYPE_CHECKING:
    from pythoncdt import Triangulation

HULL_MARGIN_PX = 2
"""How far the hull's outline is drawn outside alpha > 0; simplifying it may take up to
`HULL_SIMPLIFY_PX` of that back, which leaves half a pixel for the filter's footprint."""

HULL_SIMPLIFY_PX = 0.5
"""Largest deviation of the simplified outline."""

HULL_GAPS_PX = (3, 9, 33, 129)
"""Gaps and holes narrower than this are meshed over; the first that keeps the outline within half
of the triangles is taken, so hair or leaves cost coverage and not triangles."""

MIN_INSERTIONS = 512
"""Vertices a round of refinement may always insert: fewer are not worth a round."""

MAX_ROUNDS = 24
"""Rounds of refinement: each may triple the triangles, so the budget is what ends them."""


@dataclass(frozen=True)
class MeshConfig:
    """How fine a mesh is."""

    error_px: float = 0.25
    """Largest parallax error of the interpolated disparity at the view box's limit, in pixels."""
    max_triangles: int = 10_000
    """Triangles a layer may have; where they do not suffice, they go where the error is largest."""

    def __post_init__(self) -> None:
        if not self.error_px > 0:
            raise InputError(f"error_px must be positive, got {self.error_px}")
        if self.max_triangles < 2:
            raise InputError(f"max_triangles must be at least 2, got {self.max_triangles}")


@dataclass(frozen=True)
class Mesh:
    """Triangles in the photo camera's axes (OpenCV), textured by the layer's `rgba`."""

    vertices: Points
    """(n, 3) float32 in scene units."""
    uvs: Uvs
    """(n, 2) float32: (x / W, y / H) of the layer's picture, x right and y down, pixel edges at
    whole numbers of pixels (so the centre of the first pixel is at 0.5 / W)."""
    triangles: Triangles
    """(m, 3) int32 indices of vertices, clockwise on screen (facing the camera in OpenCV axes)."""


def layer_meshes(
    layers: Sequence[Layer],
    camera: Camera,
    view_box: ViewBox,
    *,
    config: MeshConfig = MeshConfig(),
    total_triangles: int = 60_000,
) -> tuple[Mesh, ...]:
    """Mesh all layers of a scene.

    Args:
        layers: back to front.
        camera: the photo's.
        view_box: where the camera may go.
        config: how fine.
        total_triangles: what all layers may have together, shared evenly.

    Returns:
        One mesh a layer, in order.
    """
    share = max(2, total_triangles // max(1, len(layers)))
    config = MeshConfig(config.error_px, min(config.max_triangles, share))
    mesh = partial(layer_mesh, camera=camera, view_box=view_box, config=config)
    return tuple(run_tasks([partial(mesh, layer) for layer in layers]))


def layer_mesh(
    layer: Layer, camera: Camera, view_box: ViewBox, *, config: MeshConfig = MeshConfig()
) -> Mesh:
    """Mesh one layer: a vertex at (x, y) lies at ((x - cx) / fx, (y - cy) / fy, 1) / disparity.

    Args:
        layer: its alpha gives the outline, its disparity the shape.
        camera: the photo's, sized as the layer.
        view_box: where the camera may go; it says how much of a bend can be seen.
        config: how fine.

    Returns:
        The mesh; no triangles where alpha is 0 everywhere.
    """
    height, width = layer.disparity.shape
    seen = (layer.rgba[..., 3] > 0).astype(np.uint8)
    left, top, cut_width, cut_height = cv2.boundingRect(seen)
    if cut_width == 0:
        return Mesh(*(np.zeros((0, n), t) for n, t in ((3, "f4"), (2, "f4"), (3, "i4"))))
    margin = HULL_MARGIN_PX + 1
    box = (
        max(0, left - margin),
        max(0, top - margin),
        min(width, left + cut_width + margin),
        min(height, top + cut_height + margin),
    )
    cut = (slice(box[1], box[3]), slice(box[0], box[2]))
    surface = _Surface(
        np.ascontiguousarray(layer.disparity[cut]),
        np.ascontiguousarray(seen[cut]),
        disparity_per_px(camera, view_box),
    )
    at_edge = (box[0] == 0, box[1] == 0, box[2] == width, box[3] == height)
    loops = _hull(surface.seen, at_edge, max_vertices=config.max_triangles // 2)
    loops = _follow_frame(loops, surface, at_edge, config)
    points, triangles = _triangulate(loops, surface, config)
    disparity = np.maximum(surface.at(points), 1.0 / Z_MAX)
    points = points + np.array(box[:2])
    rays = (points - camera.K[:2, 2]) / camera.K[[0, 1], [0, 1]]
    vertices = np.column_stack([rays, np.ones(len(rays))]) / disparity[:, None]
    uvs = points / np.array([width, height])
    return Mesh(vertices.astype(np.float32), uvs.astype(np.float32), triangles)


@dataclass(frozen=True)
class _Surface:
    """A layer's disparity, cut to where the layer is."""

    disparity: Disparity
    seen: Array
    """(h, w) uint8, 1 where alpha > 0."""
    per_px: float
    """The disparity worth one pixel of parallax."""

    def at(self, points: Array) -> Array:
        """Disparity (n,) at points (n, 2), believed outside the layer only if it continues it."""
        rows = np.clip(points[:, 1].astype(np.int64), 0, self.seen.shape[0] - 1)
        columns = np.clip(points[:, 0].astype(np.int64), 0, self.seen.shape[1] - 1)
        values = self._interpolate(points)
        outside = np.flatnonzero(self.seen[rows, columns] == 0)
        if len(outside):
            values[outside] = self._believe(values[outside], rows[outside], columns[outside])
        return values

    def _interpolate(self, points: Array) -> Array:
        """Bilinear between pixel centres, linear beyond the outermost ones."""
        height, width = self.disparity.shape
        x, y = points[:, 0] - 0.5, points[:, 1] - 0.5
        column = np.clip(np.floor(x).astype(np.int64), 0, max(0, width - 2))
        row = np.clip(np.floor(y).astype(np.int64), 0, max(0, height - 2))
        right, below = np.minimum(column + 1, width - 1), np.minimum(row + 1, height - 1)
        fx, fy = x - column, y - row
        d = self.disparity
        upper = d[row, column] * (1 - fx) + d[row, right] * fx
        lower = d[below, column] * (1 - fx) + d[below, right] * fx
        return upper * (1 - fy) + lower * fy

    def _believe(self, values: Array, rows: Array, columns: Array) -> Array:
        """Replace what leaves the range of the layer's own pixels nearby by the nearest of them."""
        reach = np.arange(-4, 5)
        height, width = self.seen.shape
        near_rows = np.clip(rows[:, None, None] + reach[:, None], 0, height - 1)
        near_columns = np.clip(columns[:, None, None] + reach[None, :], 0, width - 1)
        known = self.seen[near_rows, near_columns] > 0
        near = self.disparity[near_rows, near_columns].astype(np.float64)
        low = np.where(known, near, np.inf).min((1, 2))
        high = np.where(known, near, -np.inf).max((1, 2))
        # Half the range again: a slanted layer goes on climbing outside itself.
        slack = np.minimum(0.5 * (high - low), self.per_px)
        distance = np.where(known, np.hypot(reach[:, None], reach[None, :]), np.inf)
        first = distance.reshape(len(rows), -1).argmin(1)
        nearest = near.reshape(len(rows), -1)[np.arange(len(rows)), first]
        alone = ~known.any((1, 2))
        if alone.any():
            own = self.disparity[self.seen > 0]
            low[alone], high[alone], slack[alone] = own.min(), own.max(), 0.0
            nearest[alone] = np.clip(values[alone], low[alone], high[alone])
        credible = (values >= low - slack - 1e-6) & (values <= high + slack + 1e-6)
        return np.where(credible, values, nearest)


def _hull(seen: Array, at_edge: tuple[bool, bool, bool, bool], *, max_vertices: int) -> list[Array]:
    """Outlines (n, 2) float64 of the layer and of its holes, in pixels of the cut."""
    height, width = seen.shape
    whole = [np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)]
    if min(seen.shape) < 3:  # a photo thinner than any outline
        return whole
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * HULL_MARGIN_PX + 1,) * 2)
    grown = cv2.dilate(seen, kernel)
    for gap in HULL_GAPS_PX:
        closed = _without_pinches(_close(grown, gap))
        contours, _ = cv2.findContours(closed, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        if len(contours) > max_vertices // 3:
            continue
        loops = _simplify([contour[:, 0] for contour in contours], seen.shape, at_edge)
        if sum(map(len, loops)) <= max_vertices:
            return loops
    return whole


def _close(mask: Array, gap: int) -> Array:
    """Fill gaps up to `gap` - 1 pixels wide; beyond the cut there is nothing."""
    kernel = np.ones((gap, gap), np.uint8)
    grown = cv2.dilate(np.pad(mask, gap), kernel)
    return cv2.erode(grown, kernel)[gap:-gap, gap:-gap] | mask


def _without_pinches(mask: Array) -> Array:
    """Fill where two pixels touch only by a corner: there an outline would touch itself."""
    while True:
        a, b, c, d = mask[:-1, :-1], mask[:-1, 1:], mask[1:, :-1], mask[1:, 1:]
        rows, columns = np.nonzero((a == d) & (b == c) & (a != b))
        if not len(rows):
            return mask
        mask = mask.copy()
        for down in (0, 1):
            for right in (0, 1):
                mask[rows + down, columns + right] = 1


def _simplify(
    contours: list[Array], shape: tuple[int, int], at_edge: tuple[bool, ...]
) -> list[Array]:
    """Drop vertices of pixel outlines; along the photo's edge they stay on that edge exactly."""
    height, width = shape
    pixels = np.concatenate(contours)
    low = (pixels == 0) & np.array(at_edge[:2])
    high = (pixels == np.array([width - 1, height - 1])) & np.array(at_edge[2:])
    points = (pixels + 0.5 - 0.5 * low + 0.5 * high).astype(np.float32)
    starts = np.cumsum([0, *map(len, contours)])
    touching = np.logical_or.reduceat((low | high).any(1), starts[:-1])
    loops = []
    for start, end, touches in zip(starts[:-1], starts[1:], touching, strict=True):
        outline = points[start:end]
        if touches:
            loops.append(_simplify_at_edge(outline, low[start:end], high[start:end]))
        else:
            loops.append(cv2.approxPolyDP(outline, HULL_SIMPLIFY_PX, closed=True)[:, 0])
    return [loop.astype(np.float64) for loop in loops]


def _simplify_at_edge(outline: Array, low: Array, high: Array) -> Array:
    """Simplify between the points where the outline meets, leaves or turns along the edge."""
    sides = np.concatenate([low, high], 1) @ np.array([1, 2, 4, 8])
    ends = (sides & np.roll(sides, 1) == 0) | (sides & np.roll(sides, -1) == 0)
    fixed = np.flatnonzero((sides > 0) & ends | (low | high).all(1))
    outline = np.roll(outline, -int(fixed[0]), axis=0)
    outline = np.concatenate([outline, outline[:1]])
    bounds = [*(fixed - fixed[0]).tolist(), len(outline) - 1]
    pieces = [
        cv2.approxPolyDP(outline[start : end + 1], HULL_SIMPLIFY_PX, closed=False)[:-1, 0]
        for start, end in pairwise(bounds)
    ]
    return np.concatenate(pieces)


def _follow_frame(
    loops: list[Array], surface: _Surface, at_edge: tuple[bool, ...], config: MeshConfig
) -> list[Array]:
    """Add vertices where disparity bends along the photo's edge, as far as the budget allows.

    Inside, and beyond soft outlines, an outline's own course is not seen; at the photo's edge it is
    the picture's border, and a straight line from corner to corner would bow it by many pixels.
    """
    room = config.max_triangles // 4
    tolerance = config.error_px * surface.per_px
    while math.isfinite(tolerance):
        bent = [_bend_at_frame(loop, surface, at_edge, tolerance) for loop in loops]
        if sum(map(len, bent)) <= room:
            return bent
        tolerance *= 2
        if tolerance > surface.disparity.max():
            break
    return loops


def _bend_at_frame(
    loop: Array, surface: _Surface, at_edge: tuple[bool, ...], tolerance: float
) -> Array:
    """One outline, with vertices where disparity bends by more than `tolerance`."""
    height, width = surface.seen.shape
    sides = [loop[:, 0] == 0, loop[:, 1] == 0, loop[:, 0] == width, loop[:, 1] == height]
    at_side = np.stack(sides) & np.array(at_edge)[:, None]
    along = set(np.nonzero(at_side & np.roll(at_side, -1, axis=1))[1].tolist())
    pieces = []
    for index, (begin, end) in enumerate(zip(loop, np.roll(loop, -1, axis=0), strict=True)):
        pieces.append(begin[None])
        if index in along:
            steps = max(1, round(float(np.abs(end - begin).max())))
            line = begin + (end - begin) * (np.arange(steps + 1) / steps)[:, None]
            pieces.append(line[_bends(surface.at(line), tolerance)])
    return np.concatenate(pieces)


def _bends(values: Array, tolerance: float) -> list[int]:
    """Where to cut a line so that straight pieces stay within tolerance (Douglas and Peucker)."""
    cuts, pending = [], [(0, len(values) - 1)]
    while pending:
        begin, end = pending.pop()
        if end - begin < 2:
            continue
        inner = np.arange(begin + 1, end)
        straight = values[begin] + (values[end] - values[begin]) * (inner - begin) / (end - begin)
        error = np.abs(values[inner] - straight)
        if error.max() > tolerance:
            middle = int(inner[error.argmax()])
            cuts.append(middle)
            pending += [(begin, middle), (middle, end)]
    return sorted(cuts)


def _triangulate(
    loops: list[Array], surface: _Surface, config: MeshConfig
) -> tuple[Array, Triangles]:
    """Constrained Delaunay triangles of the hull, refined until no error shows or none are left."""
    cdt = _constrained(loops)
    tolerance = config.error_px * surface.per_px
    if math.isfinite(tolerance):
        hull_triangles = sum(map(len, loops)) + 2 * len(loops)
        _refine(cdt, surface, tolerance, room=(config.max_triangles - hull_triangles) // 2)
    cdt.erase_outer_triangles_and_holes()
    points = _points(cdt)
    return points, np.ascontiguousarray(cdt.triangles_array()["vertices"].astype(np.int32))


def _constrained(loops: list[Array]) -> "Triangulation":
    import pythoncdt

    starts = np.cumsum([0, *map(len, loops)])
    edges = np.concatenate(
        [
            np.column_stack([ring := np.arange(len(loop)), np.roll(ring, -1)]) + start
            for loop, start in zip(loops, starts, strict=False)
        ]
    )
    points, index = np.unique(np.concatenate(loops), axis=0, return_inverse=True)
    edges = index.reshape(-1)[edges]
    edges = edges[edges[:, 0] != edges[:, 1]].astype(np.uint32)
    cdt = pythoncdt.Triangulation(
        pythoncdt.VertexInsertionOrder.AUTO,
        pythoncdt.IntersectingConstraintEdges.TRY_RESOLVE,
        0.0,
    )
    cdt.insert_vertices(_buffer(points))
    cdt.insert_edges(_buffer(edges))
    return cdt


def _refine(cdt: "Triangulation", surface: _Surface, tolerance: float, *, room: int) -> None:
    """Insert up to `room` vertices, the worst pixels of the worst triangles first."""
    width = surface.seen.shape[1]
    taken = np.zeros(surface.seen.size + 1, bool)  # the last one stands for "no pixel", -1
    known = np.zeros((0, 3), np.int32)
    worst, where = np.zeros(0), np.zeros(0, np.int64)
    points, values = np.zeros((0, 2)), np.zeros(0)
    for _ in range(MAX_ROUNDS):
        if room <= 0:
            return
        points = _points(cdt)
        values = np.concatenate([values, surface.at(points[len(values) :])])
        triangles = cdt.triangles_array()["vertices"].astype(np.int32)
        # Triangles keep their place, so only those that changed need another look.
        changed = np.ones(len(triangles), bool)
        changed[: len(known)] = (triangles[: len(known)] != known).any(1)
        changed &= (triangles >= 3).all(1)  # the first three points are the super-triangle's
        errors, pixels = mesh_error(
            points, values, triangles[changed], target=surface.disparity, seen=surface.seen
        )
        worst = np.concatenate([worst, np.zeros(len(triangles) - len(worst))])
        where = np.concatenate([where, np.full(len(triangles) - len(where), -1)])
        worst[changed], where[changed], known = errors, pixels, triangles
        bad = np.flatnonzero((worst > tolerance) & ~taken[where])
        if not len(bad):
            return
        order = np.argsort(-worst[bad], kind="stable")
        # Spending half of what is left leaves the next rounds a say in where the rest goes.
        chosen = np.unique(where[bad[order[: min(room, max(MIN_INSERTIONS, room // 2))]]])
        taken[chosen] = True
        room -= len(chosen)
        cdt.insert_vertices(_buffer(np.column_stack([chosen % width, chosen // width]) + 0.5))


def _points(cdt: "Triangulation") -> Array:
    return cdt.vertices_array().view(np.float64).reshape(-1, 2).copy()


def _buffer(array: Array) -> Any:
    """The array as pythoncdt takes it; its stubs ask for `Buffer`, which NumPy's only fulfil."""
    return np.ascontiguousarray(array)
