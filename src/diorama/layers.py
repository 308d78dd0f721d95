"""Layers: masks grouped by depth, back to front, with soft edges and marked holes.

Two masks A, B may share a layer if what parts them in disparity is no more than their own scatter::

    gap = min(|median_A - median_B|, how far each lies from the other's plane)
    spread = overlap_factor * 1.4826 * (MAD_A + MAD_B)
    gap <= max(spread, min_gap)        and not cannot_link(A, B)

MAD is taken of the residuals to each mask's robust plane, so that a floor spanning the whole depth
range scatters little, and pieces of one floor have no gap between them. `min_gap` is the disparity
worth one pixel of parallax at the view box's limit; a jump along much of a shared boundary is a
`cannot_link`. Clusters grow by complete linkage, closing no cycle of who-occludes-whom; where that
leaves more than `max_layers`, the pairs go on merging whose union tears, mixes and turns around the
least. Of cycles that remain, the weakest relation is left out, so that an order back to front
exists. Masks that depth tears are parted first: `diorama.pieces`.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from diorama.arrays import (
    Array,
    Confidence,
    Disparity,
    Labels,
    Mask,
    Rgba,
    check_disparity,
    check_labels,
)
from diorama.camera import Camera, ViewBox, disparity_per_px, parallax_px
from diorama.errors import InputError
from diorama.masks import Masks
from diorama.matting import EdgeMatte, MattingConfig, edge_matte
from diorama.photo import Photo
from diorama.pieces import part_at_steps
from diorama.runtime import run_tasks
from diorama.tiles import cells_around

MAD_TO_SIGMA = 1.4826
"""The MAD of normal noise times this is its standard deviation."""

MIXED_ALPHA = 0.02
"""A nearer layer's alpha above which a pixel behind it counts as mixed: five grey levels of 255."""

DISC_SPANS_AT_ONCE = 1 << 20
"""Spans of discs held in memory at a time: some tens of megabytes."""

THICKNESS_REACH = 3.0
"""How many times its own thickness something reaches behind what hides it, if anything farther
reaches there too: a sliver beside a wheel does not go on behind the wheel, the floor does."""

SLIVER_BANDS = 2.0
"""Half widths of soft edges that a sliver of mixed depth between two surfaces is wide at most."""

DEPTH_MIX_WEIGHT = 0.5
"""Square pixels that a pixel of parallax between two clusters counts for, a pixel of the smaller
one's side: sheets of one depth are easier to edit, but mixing depths apart tears nothing."""

STEP_GAPS = 0.5
"""Least step a mask is parted at, in `min_gap_px`: steps are followed to where they fade out."""

CYCLE_PX = 1e-3
"""Square pixels of parallax that sums of floats may leave where nothing contradicts."""

SAMPLES_PER_MASK = 1024
"""Pixels a mask's statistics are taken from: their standard error is 4 % of the scatter."""


@dataclass(frozen=True)
class LayersConfig:
    """How masks become layers."""

    max_layers: int = 8
    """Most layers a scene may have."""
    min_gap_px: float = 1.0
    """Parallax at the view box's limit, in pixels, below which two depths are the same."""
    overlap_factor: float = 1.0
    """How much of their scatter two masks may be apart and still share a layer."""
    cannot_link_share: float = 0.15
    """Share of their boundary with a jump above which two masks never share a layer."""
    margin_px: float = 3.0
    """How much farther than the parallax a hole reaches, for filtering and rounding."""

    def __post_init__(self) -> None:
        if self.max_layers < 1:
            raise InputError(f"max_layers must be at least 1, got {self.max_layers}")
        if min(self.min_gap_px, self.overlap_factor, self.margin_px) < 0:
            raise InputError("min_gap_px, overlap_factor and margin_px must not be negative")
        if not 0 <= self.cannot_link_share <= 1:
            raise InputError(f"cannot_link_share lies in 0..1, got {self.cannot_link_share}")


@dataclass(frozen=True)
class Layer:
    """One sheet of the scene, as large as the photo at processing size."""

    rgba: Rgba
    """(H, W, 4) float32, straight; colour is bled to where alpha is 0, and 0 far from the layer."""
    disparity: Disparity
    """(H, W) float32; meaningful where alpha > 0, continued nearby, 0 far from the layer."""
    hole: Mask
    """(H, W) bool: what the photo does not show and was filled."""
    mask_ids: tuple[int, ...]
    """The masks it is made of; one that depth tears may be in several layers."""


@dataclass(frozen=True)
class LayersReport:
    """What layering decided."""

    num_masks: int
    num_layers: int
    num_cannot_links: int
    """Pairs of masks that a jump keeps apart."""
    torn_px: float
    """Parallax times boundary length, in square pixels, that merging down to `max_layers` left
    inside layers: what will be seen as stretched."""


@dataclass(frozen=True)
class MaskStatistics:
    """Robust statistics of disparity, one row a mask, in the order of `Masks.ids`."""

    area: Array
    """(n,) pixels."""
    median: Array
    """(n,) disparity."""
    mad: Array
    """(n,) median absolute residual to the plane."""
    plane: Array
    """(n, 3): a, b, c of the robust plane a x + b y + c over pixel centres."""
    center: Array
    """(n, 2): mean x, y in pixels."""


@dataclass(frozen=True)
class Boundaries:
    """Every pair of pixels that touch across a mask edge."""

    pixel: Array
    """(m, 2) flat indices of the two pixels."""
    mask: Array
    """(m, 2) rows of the two masks in `Masks.ids`."""
    jump: Array
    """(m,) disparity of the first side minus the second, extrapolated to the edge."""
    parallax_px: Array
    """(m,) what the jump is worth at the view box's limit."""
    significant: Array
    """(m,) bool: worth more than `min_gap_px`."""


def extract_layers(
    photo: Photo,
    disparity: Disparity,
    masks: Masks,
    view_box: ViewBox,
    *,
    whole: Collection[int] = (),
    hair: Mask | None = None,
    confidence: Confidence | None = None,
    config: LayersConfig = LayersConfig(),
    matting: MattingConfig = MattingConfig(),
) -> tuple[tuple[Layer, ...], LayersReport]:
    """Group masks into layers with soft edges and mark what must be filled.

    Where the photo shows nothing there is no layer; what is half transparent keeps the photo's own
    alpha and colour.

    Args:
        photo: at processing size.
        disparity: (H, W) harmonised.
        masks: the partition; where the photo shows nothing they are masks of their own.
        view_box: where the camera may go.
        whole: ids of masks that are one thing, such as a person: no step of disparity parts them.
        hair: (H, W) where edges are hair, and so softer than others; None: nowhere.
        confidence: (H, W) weights for the statistics; all alike if None.
        config: thresholds of the grouping.
        matting: width of soft edges.

    Returns:
        Layers back to front, whose colour and disparity in `hole` are still unknown, and a report.

    Raises:
        InputError: if the arrays do not have the stated types and sizes.
    """
    check_disparity(disparity, photo.rgb)
    check_labels(masks.labels, photo.rgb)
    index, ids, boundaries, report = assign_layers(
        disparity,
        masks,
        photo.camera,
        view_box,
        whole=whole,
        confidence=confidence,
        config=config,
    )
    first = 0
    if photo.nothing is not None:
        # Nothing is a layer as long as it can hide behind others: the farthest, with no edge.
        first = 1
        index, ids = _nothing_farthest(index, ids, masks, photo.nothing)
    between = _between_layers(index, boundaries)
    torn = between.tears & (between.layer[:, 1] >= first)
    mattes = run_tasks(
        [
            lambda layer=layer: edge_matte(
                photo.rgb,
                index == layer,
                (index < layer) & (index >= first),
                between.pixel[torn & (between.layer[:, 0] == layer)].ravel(),
                hair=hair,
                config=matting,
            )
            for layer in range(len(ids))
        ]
    )
    soft_px = np.zeros(len(torn))
    for layer, matte in enumerate(mattes):
        soft_px[torn & (between.layer[:, 0] == layer)] = matte.band_px[::2]
    beside_px = round(SLIVER_BANDS * matting.band_px(*disparity.shape))
    reach = _reach(disparity, between, photo.camera, view_box, beside_px)
    # From across the photo everything hidden is in reach, however wide the view box.
    reach = np.minimum(reach + soft_px + config.margin_px, math.hypot(*disparity.shape))
    holes = _holes(index, len(ids), between, reach, config.margin_px)
    for layer, hole in enumerate(holes):
        for matte in mattes[layer + 1 :]:
            # What a nearer layer's soft edge has mixed into this one is not this one's colour.
            mixed = matte.pixels[matte.alpha > MIXED_ALPHA]
            hole.ravel()[mixed[index.ravel()[mixed] == layer]] = True
        if photo.alpha is not None:
            hole &= photo.alpha >= 1
    layers = run_tasks(
        [
            lambda k=k: _layer(photo.rgb, disparity, index == k, mattes[k], holes[k], ids[k])
            for k in range(first, len(ids))
        ]
    )
    if photo.alpha is not None:
        # The photo's own alpha and colour are exact; a matte or a fill could only blur them.
        soft = photo.alpha < 1
        for number, layer in enumerate(layers, first):
            own = np.where(index == number, photo.alpha, np.float32(0))
            np.copyto(layer.rgba[..., 3], own, where=soft)
            np.copyto(layer.rgba[..., :3], photo.rgb, where=soft[..., None])
    return tuple(layers), replace(report, num_layers=len(layers))


def assign_layers(
    disparity: Disparity,
    masks: Masks,
    camera: Camera,
    view_box: ViewBox,
    *,
    whole: Collection[int] = (),
    confidence: Confidence | None = None,
    config: LayersConfig = LayersConfig(),
) -> tuple[Labels, list[tuple[int, ...]], Boundaries, LayersReport]:
    """Group masks into layers and order them back to front.

    Args:
        disparity: (H, W) harmonised.
        masks: the partition.
        camera: the photo's camera.
        view_box: where the camera may go.
        whole: ids of masks that are one thing, which no step of disparity parts.
        confidence: (H, W) weights for the statistics; all alike if None.
        config: thresholds.

    Returns:
        The layer of each pixel (H, W) int32, counted from the back; the mask ids of each layer; the
        boundaries between masks; and a report.

    Raises:
        InputError: if the arrays do not have the stated types and sizes.
    """
    check_disparity(disparity)
    check_labels(masks.labels, disparity)
    per_px = disparity_per_px(camera, view_box)
    least = STEP_GAPS * config.min_gap_px * per_px
    one_thing = np.flatnonzero(np.isin(masks.ids, list(whole))).tolist()
    rows, mask_of = part_at_steps(disparity, _rows_of(masks), least, whole=one_thing)
    pieces = Masks(rows, np.arange(len(mask_of), dtype=np.int32))
    statistics = mask_statistics(disparity, pieces, confidence=confidence)
    boundaries = mask_boundaries(disparity, rows, camera, view_box, min_gap_px=config.min_gap_px)
    clusters, torn_px, num_cannot = _cluster(statistics, boundaries, per_px, config)
    order = np.empty(len(mask_of), np.int32)
    for position, members in enumerate(clusters):
        order[members] = position
    ids = [tuple(masks.ids[np.unique(mask_of[members])].tolist()) for members in clusters]
    report = LayersReport(len(masks.ids), len(clusters), num_cannot, torn_px)
    return order[rows], ids, boundaries, report


def mask_statistics(
    disparity: Disparity, masks: Masks, *, confidence: Confidence | None = None
) -> MaskStatistics:
    """Median, plane and scatter of each mask's disparity.

    Args:
        disparity: (H, W).
        masks: the partition.
        confidence: (H, W) weights; all alike if None.

    Returns:
        One row a mask.
    """
    from diorama.kernels.mask_statistics import mask_statistics as summarise

    return MaskStatistics(
        *summarise(
            disparity,
            _rows_of(masks),
            len(masks.ids),
            confidence=confidence,
            samples=SAMPLES_PER_MASK,
        )
    )


def mask_boundaries(
    disparity: Disparity,
    rows: Labels,
    camera: Camera,
    view_box: ViewBox,
    *,
    min_gap_px: float,
) -> Boundaries:
    """Find the pixel pairs across mask edges and what depth does there.

    Each side is extrapolated to the edge from the two pixels behind it, where they are of the same
    mask, so that a slope is not taken for a jump.

    Args:
        disparity: (H, W) harmonised.
        rows: (H, W) int32, the mask of each pixel.
        camera: the photo's camera.
        view_box: where the camera may go.
        min_gap_px: parallax above which a jump counts.
    """
    width = disparity.shape[1]
    parts = run_tasks(
        [
            lambda: _jumps_along_rows(disparity, rows),
            lambda: _jumps_along_rows(disparity.T, rows.T),
        ]
    )
    (y, x, jump_x, slope_x), (column, row, jump_y, slope_y) = parts
    first = np.concatenate([y * width + x, row * width + column])
    second = np.concatenate([y * width + x + 1, (row + 1) * width + column])
    pixel = np.stack([first, second], -1)
    jump, slope = np.concatenate([jump_x, jump_y]), np.concatenate([slope_x, slope_y])
    flat = disparity.ravel()
    worth = np.zeros(len(pixel))
    apart = np.flatnonzero(jump)
    near = np.maximum(flat[first[apart]], flat[second[apart]])
    worth[apart] = parallax_px(
        camera,
        view_box,
        near,
        np.maximum(near - np.abs(jump[apart]), 0.0),
        first[apart] % width + 0.5,
        first[apart] // width + 0.5,
    )
    significant = (worth > min_gap_px) & (np.abs(jump) > 2 * slope)
    return Boundaries(pixel, rows.ravel()[pixel], jump, worth, significant)


def _rows_of(masks: Masks) -> Labels:
    """Labels as row numbers of `masks.ids`."""
    if np.array_equal(masks.ids, np.arange(len(masks.ids))):
        return masks.labels
    return np.searchsorted(masks.ids, masks.labels).astype(np.int32)


def _jumps_along_rows(disparity: Disparity, rows: Labels) -> tuple[Array, Array, Array, Array]:
    """For pairs (y, x), (y, x + 1) across a mask edge: y, x, the jump and the slope beside it."""
    width = disparity.shape[1]
    y, x = np.nonzero(rows[:, 1:] != rows[:, :-1])

    def side(at: Array, step: int) -> tuple[Array, Array]:
        behind = np.clip(at + step, 0, width - 1)
        farther = np.clip(at + 2 * step, 0, width - 1)
        here = rows[y, at]
        has_one = rows[y, behind] == here
        has_two = has_one & (rows[y, farther] == here)
        nearest = np.where(has_one, disparity[y, behind], disparity[y, at])
        slope = np.where(has_two, nearest - disparity[y, farther], 0.0)
        return nearest + 1.5 * slope, np.abs(slope)

    left, left_slope = side(x, -1)
    right, right_slope = side(x + 1, +1)
    raw = disparity[y, x] - disparity[y, x + 1]
    # An extrapolation that turns the jump around, or makes much more of it, follows noise.
    jump = np.where(
        (left - right) * raw > 0,
        np.sign(raw) * np.minimum(np.abs(left - right), 2 * np.abs(raw)),
        0.0,
    )
    return y, x, jump, np.maximum(left_slope, right_slope)


def _cluster(
    statistics: MaskStatistics, boundaries: Boundaries, per_px: float, config: LayersConfig
) -> tuple[list[Array], float, int]:
    """Group masks; return their rows back to front, what is torn inside, and the cannot-links."""
    num = len(statistics.area)
    first, second = boundaries.mask[:, 0], boundaries.mask[:, 1]
    pair = first * num + second
    touching = np.bincount(pair, minlength=num * num).reshape(num, num)
    jumping = np.bincount(pair[boundaries.significant], minlength=num * num).reshape(num, num)
    touching, jumping = touching + touching.T, jumping + jumping.T
    cannot = jumping > config.cannot_link_share * np.maximum(touching, 1)

    # in_front[a, b]: square pixels of parallax by which a hides b along their boundary.
    worth = np.where(boundaries.significant, boundaries.parallax_px, 0.0)
    nearer = np.where(boundaries.jump > 0, pair, second * num + first)
    in_front = np.bincount(nearer, worth, minlength=num * num).reshape(num, num)

    # A scene seen from one point has no parallax: any two depths then look the same.
    min_gap = config.min_gap_px * per_px
    apart, off_plane = _gaps(statistics)
    gap = np.minimum(apart, off_plane)
    spread = config.overlap_factor * MAD_TO_SIGMA
    spread = spread * (statistics.mad[:, None] + statistics.mad[None, :])
    linkage = gap / np.maximum(spread, min_gap) if np.isfinite(min_gap) else np.zeros_like(gap)
    linkage[cannot] = np.inf
    np.fill_diagonal(linkage, np.inf)

    hides = np.where(cannot, np.maximum(in_front - in_front.T, 0.0), 0.0)
    state = _Clusters(
        linkage=linkage,
        gap_px=off_plane / per_px,
        hides=hides,
        torn=in_front + in_front.T,
        step=touching * gap / per_px,
        touching=touching.astype(np.float64),
        area=statistics.area.astype(np.float64),
    )
    state.link()
    state.reduce(config.max_layers)
    clusters = _back_to_front(state.members(), in_front, statistics)
    inside = sum(float(in_front[np.ix_(c, c)].sum()) for c in clusters)
    return clusters, inside, int(np.triu(cannot).sum())


def _gaps(statistics: MaskStatistics) -> tuple[Array, Array]:
    """(n, n) disparity between masks' medians, and of each to the other's plane."""
    median, (a, b, c) = statistics.median, statistics.plane.T
    x, y = statistics.center.T
    own = a * x + b * y + c
    there = a[:, None] * x[None] + b[:, None] * y[None] + c[:, None]  # plane i at center j
    off_plane = np.abs(there - own[None])
    return np.abs(median[:, None] - median[None]), np.maximum(off_plane, off_plane.T)


class _Clusters:
    """Masks being merged: the matrices that every merge updates; rows of what is gone are inf."""

    def __init__(
        self,
        *,
        linkage: Array,
        gap_px: Array,
        hides: Array,
        torn: Array,
        step: Array,
        touching: Array,
        area: Array,
    ) -> None:
        self.owner = np.arange(len(area))
        self.alive = np.ones(len(area), bool)
        self.linkage = linkage
        self.hides = hides  # hides[a, b]: how much more a is in front of b than b of a
        self.torn = torn
        self.step = step  # parallax along a common boundary, and its length
        self.touching = touching
        self.gap_px = gap_px
        self.area = area
        # cyclic[a, b]: how much of `hides` the union of a and b would contradict
        self.cyclic = np.zeros_like(torn)
        for c in np.flatnonzero(hides.any(0) & hides.any(1)):
            self._add_paths(int(c), 1.0)

    def link(self) -> None:
        """Merge by complete linkage whatever may be merged and closes no cycle."""
        linkage = self.linkage
        while True:
            a, b = divmod(int(np.argmin(linkage)), len(linkage))
            if not linkage[a, b] <= 1:
                return
            if self.cyclic[a, b] > CYCLE_PX:
                linkage[a, b] = linkage[b, a] = np.inf
            else:
                self.merge(a, b)

    def reduce(self, most: int) -> None:
        """Go on with the pairs whose union costs least: what tears, mixes or turns around."""
        while self.alive.sum() > most:
            alive = np.flatnonzero(self.alive)
            pairs = np.ix_(alive, alive)
            area = self.area[alive]
            side = np.sqrt(np.minimum(area[:, None], area))
            length = self.touching[pairs]
            met = np.where(length > 0, self.step[pairs] / np.maximum(length, 1), np.inf)
            gap = np.minimum(self.gap_px[pairs], met)
            cost = self.torn[pairs] + DEPTH_MIX_WEIGHT * gap * side
            cost += np.maximum(self.cyclic[pairs], 0)
            np.fill_diagonal(cost, np.inf)
            a, b = divmod(int(np.argmin(cost)), len(alive))
            self.merge(int(alive[a]), int(alive[b]))

    def merge(self, a: int, b: int) -> None:
        """Unite b into a."""
        self.owner[self.owner == b] = a
        self.alive[b] = False
        for matrix in (self.linkage, self.gap_px):
            matrix[a] = np.maximum(matrix[a], matrix[b])
            matrix[:, a] = matrix[a]
            matrix[b] = matrix[:, b] = matrix[a, a] = np.inf
        for matrix in (self.torn, self.step, self.touching):
            matrix[a] += matrix[b]
            matrix[:, a] = matrix[a]
        self.area[a] += self.area[b]
        net = self.hides[a] - self.hides[:, a] + self.hides[b] - self.hides[:, b]
        if not net.any():
            return
        self._add_paths(a, -1.0)
        self._add_paths(b, -1.0)
        net[[a, b]] = 0
        self.hides[a], self.hides[:, a] = np.maximum(net, 0), np.maximum(-net, 0)
        self.hides[b] = self.hides[:, b] = 0
        self._add_paths(a, 1.0)
        below, above = np.flatnonzero(self.hides[a]), np.flatnonzero(self.hides[:, a])
        paths = np.minimum(self.hides[a, below, None], self.hides[below]).sum(0)
        paths += np.minimum(self.hides[:, above], self.hides[above, a]).sum(1)
        self.cyclic[a] = self.cyclic[:, a] = paths

    def members(self) -> list[Array]:
        """The rows of the masks of each cluster."""
        return [np.flatnonzero(self.owner == a) for a in np.flatnonzero(self.alive)]

    def _add_paths(self, c: int, sign: float) -> None:
        """Count (or take back) the paths a > c > b, that would make a and b one cycle."""
        above, below = np.flatnonzero(self.hides[:, c]), np.flatnonzero(self.hides[c])
        if len(above) and len(below):
            least = sign * np.minimum(self.hides[above, c, None], self.hides[c, below])
            self.cyclic[above[:, None], below] += least
            self.cyclic[below[:, None], above] += least.T


def _without_cycles(weight: Array) -> Array:
    """Who is in front of whom, transitively, without the weakest relations that close cycles."""
    num = len(weight)
    closure = np.zeros((num, num), bool)
    front, back = np.nonzero(weight)
    for k in np.argsort(-weight[front, back], kind="stable"):
        a, b = front[k], back[k]
        if not closure[b, a] and not closure[a, b]:
            above, below = closure[:, a].copy(), closure[b].copy()
            above[a] = below[b] = True
            closure |= above[:, None] & below[None, :]
    return closure


def _back_to_front(
    clusters: Sequence[Array], in_front: Array, statistics: MaskStatistics
) -> list[Array]:
    """Topological order of the clusters; among those free to come next, the farthest."""
    weight = np.array([[in_front[np.ix_(a, b)].sum() for b in clusters] for a in clusters])
    hides = _without_cycles(np.maximum(weight - weight.T, 0.0))
    area = np.maximum(statistics.area, 1)
    depth = [float(np.average(statistics.median[m], weights=area[m])) for m in clusters]
    left, order = set(range(len(clusters))), []
    while left:
        free = [a for a in left if not any(hides[a, b] for b in left)]
        farthest = min(free, key=lambda a: (depth[a], a))
        order.append(clusters[farthest])
        left.remove(farthest)
    return order


@dataclass(frozen=True)
class _LayerEdges:
    """Pixel pairs across layer edges, the layer in front first."""

    pixel: Array  # (m, 2) flat indices
    layer: Array  # (m, 2) layers, counted from the back
    tears: Array  # (m,) bool: the front one is nearer by a significant jump


def _nothing_farthest(
    index: Labels, ids: Sequence[tuple[int, ...]], masks: Masks, nothing: Mask
) -> tuple[Labels, list[tuple[int, ...]]]:
    """The layers with the masks that show nothing taken out of theirs, as layer 0."""
    unseen = tuple(np.unique(masks.labels[nothing]).tolist())
    left = [tuple(i for i in members if i not in unseen) for members in ids]
    # A sliver that is seen, in a layer of nothing but nothing, goes to the next one behind.
    new = np.maximum(np.cumsum([bool(members) for members in left]), 1).astype(np.int32)
    seen = [members for members in left if members]
    return np.where(nothing, np.int32(0), new[index]), [unseen, *seen]


def _between_layers(index: Labels, boundaries: Boundaries) -> _LayerEdges:
    layer = index.ravel()[boundaries.pixel]
    differ = layer[:, 0] != layer[:, 1]
    pixel, layer = boundaries.pixel[differ], layer[differ]
    swap = layer[:, 0] < layer[:, 1]
    pixel[swap], layer[swap] = pixel[swap][:, ::-1], layer[swap][:, ::-1]
    jump = np.where(swap, -boundaries.jump[differ], boundaries.jump[differ])
    return _LayerEdges(pixel, layer, boundaries.significant[differ] & (jump > 0))


def _reach(
    disparity: Disparity, edges: _LayerEdges, camera: Camera, view_box: ViewBox, beside_px: int
) -> Array:
    """Parallax (m,) in pixels by which an edge's front can uncover what is behind it.

    It is that of the nearest thing `beside_px` around: between it and what is behind there may be a
    sliver of mixed depth, in front of one and behind the other, that hides neither for long.
    """
    width, size = disparity.shape[1], 2 * beside_px + 1
    nearest = cv2.dilate(disparity, np.ones((size, size), np.uint8)).ravel()
    front, back = edges.pixel.T
    far = disparity.ravel()[back]
    near = np.maximum(nearest[front], far)
    x, y = front % width + 0.5, front // width + 0.5
    return parallax_px(camera, view_box, near, far, x, y)


def _holes(
    index: Labels, num_layers: int, edges: _LayerEdges, reach: Array, margin_px: float
) -> list[Mask]:
    """What of each layer is hidden and a camera in the view box can reveal.

    Where several layers reach the same hidden pixel, it belongs to the one seen nearest to it, and
    what is small does not reach much farther than its own thickness; only the farthest is kept
    whatever the distance, so that nothing is left open.
    """
    claims = run_tasks(
        [
            lambda layer=layer: _claim(index, layer, edges, reach, margin_px)
            for layer in range(num_layers)
        ]
    )
    nearest = np.full(index.size, np.inf, np.float32)
    holes: list[Mask] = []
    for pixels, sure, away in claims:
        before = nearest[pixels]
        kept = np.isinf(before) | (sure & (away <= before + margin_px))
        nearest[pixels[kept]] = np.minimum(before, away)[kept]
        hole = np.zeros(index.shape, bool)
        hole.ravel()[pixels[kept]] = True
        holes.append(hole)
    return holes


def _claim(
    index: Labels, layer: int, edges: _LayerEdges, reach: Array, margin_px: float
) -> tuple[Array, Array, Array]:
    """What one layer reaches under what is in front of it.

    Returns:
        (n,) flat indices of the hidden pixels within reach; (n,) bool, those within reach of
        something that thick; and (n,) their distance to where the layer is seen.
    """
    height, width = index.shape
    here = edges.layer[:, 1] == layer
    beside, radii = edges.pixel[here, 1], reach[here]
    if not len(beside):
        return beside, np.empty(0, bool), np.empty(0, np.float32)
    y, x = beside // width, beside % width
    border = int(radii.max()) + 2
    top, left = max(0, int(y.min()) - border), max(0, int(x.min()) - border)
    bottom, right = min(height, int(y.max()) + border), min(width, int(x.max()) + border)
    cut = (slice(top, bottom + 1), slice(left, right + 1))
    y, x = y - top, x - left
    local = index[cut]
    seen = (local == layer).astype(np.uint8)
    part = cv2.connectedComponents(seen, connectivity=4)[1]
    depth = cv2.distanceTransform(seen, cv2.DIST_L2, 3)
    thickness = np.zeros(int(part.max()) + 1, np.float32)
    np.maximum.at(thickness, part[seen > 0], depth[seen > 0])
    own = np.minimum(radii, THICKNESS_REACH * thickness[part[y, x]] + margin_px)
    rows, columns = np.nonzero((local > layer) & _discs(y, x, radii, *local.shape))
    sure = _discs(y, x, own, *local.shape)[rows, columns]
    away = cv2.distanceTransform(1 - seen, cv2.DIST_L2, 3)[rows, columns]
    return (rows + top) * width + columns + left, sure, away


def _layer(
    rgb: Array, disparity: Disparity, seen: Mask, own: EdgeMatte, hole: Mask, ids: tuple[int, ...]
) -> Layer:
    """Assemble one layer: what is seen of it, its soft edge, and the hole to fill."""
    shown = seen | hole
    here = shown.copy()
    here.ravel()[own.pixels] = True
    rgba, own_disparity = np.zeros((*shown.shape, 4), np.float32), np.zeros(shown.shape, np.float32)
    for box in cells_around(here):
        cv2.cvtColor(rgb[box], cv2.COLOR_RGB2RGBA, dst=rgba[box])
        rgba[box][..., 3] = shown[box]
        own_disparity[box] = disparity[box]
    flat = rgba.reshape(-1, 4)
    mixed = own.alpha < 1
    flat[own.pixels[mixed], :3] = own.color[mixed]
    flat[own.pixels, 3] = np.maximum(own.alpha, hole.ravel()[own.pixels])
    # The soft fringe outside the layer has the depth of the edge it belongs to.
    _continue(own_disparity, seen, own.pixels)
    return Layer(rgba, own_disparity, hole, ids)


def _continue(disparity: Disparity, seen: Mask, pixels: Array) -> None:
    """Give each listed pixel outside `seen`, in place, its nearest value inside."""
    outside = pixels[~seen.ravel()[pixels]]
    if not len(outside) or not seen.any():
        return
    width = seen.shape[1]
    y, x = outside // width, outside % width
    margin = 2
    top, left = max(0, int(y.min()) - margin), max(0, int(x.min()) - margin)
    bottom, right = int(y.max()) + margin + 1, int(x.max()) + margin + 1
    cut = (slice(top, bottom), slice(left, right))
    inside = seen[cut]
    labels = cv2.distanceTransformWithLabels(
        (~inside).view(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )[1]
    nearest = labels.astype(np.int32, copy=False)
    values = np.zeros(int(nearest.max()) + 1, np.float32)
    values[nearest[inside]] = disparity[cut][inside]
    # Never behind what it is drawn over, where an order forced by a cycle contradicts the depths.
    disparity[y, x] = np.maximum(values[nearest[y - top, x - left]], disparity[y, x])


def _discs(y: Array, x: Array, radii: Array, height: int, width: int) -> Mask:
    """The union of discs.

    Their spans are marked as differences and summed along rows, so that the cost grows with the
    discs' heights and not with their areas.
    """
    marks = np.zeros(height * (width + 1), np.int32)
    largest = int(radii.max())
    dy = np.arange(-largest, largest + 1)
    per_chunk = max(1, DISC_SPANS_AT_ONCE // len(dy))
    for begin in range(0, len(y), per_chunk):
        chunk = slice(begin, begin + per_chunk)
        row, radius = y[chunk, None] + dy, radii[chunk, None]
        inside = (np.abs(dy) <= radius) & (row >= 0) & (row < height)
        half = np.sqrt(np.maximum(radius**2 - dy**2, 0)).astype(np.int64)[inside]
        middle = np.broadcast_to(x[chunk, None], row.shape)[inside]
        start = row[inside] * (width + 1)
        np.add.at(marks, start + np.maximum(middle - half, 0), np.int32(1))
        np.add.at(marks, start + np.minimum(middle + half + 1, width), np.int32(-1))
    return np.cumsum(marks.reshape(height, width + 1), axis=1, dtype=np.int32)[:, :width] > 0
