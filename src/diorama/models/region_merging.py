"""The embedded segmenter: over-segmentation and region merging, no weights.

1. Flood the photo into a few thousand regions along the lightest links between pixels; a sharp
   step of the disparity is a wall that no region spans (`diorama.kernels.flood`).
2. Merge the most alike neighbours first, as long as they are alike enough: by the distances of
   their histograms of colour and fine detail, the image gradient along their border, the jump of
   disparity across it, which a slanted surface has not, and the probability that one thing ends
   there before another, if the estimator tells (`diorama.kernels.merging`). Small and thin regions
   are let go more easily; across a wall none merge.

So edges of masks lie on image edges, and where the disparity has sharp steps, on these.
Related: Arbelaez et al., "Contour detection and hierarchical image segmentation" (2011).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Labels, check_array, check_disparity, check_rgb
from diorama.kernels.flood import WALL, flood, link_weights, region_histograms
from diorama.kernels.merging import merge_regions
from diorama.masks import Masks
from diorama.photo import Photo
from diorama.runtime import run_bands

NUM_SEEDS = 3000
"""Cells of the seed grid: regions of about 26 x 26 pixels at 1920x1080."""
NOISE_SIGMA_PX = 0.9
"""Smoothing before neighbours are compared; a line two pixels wide survives it."""
BARRIER = 20
"""Link weight of an edge that encloses things between seeds: 2.5 levels from pixel to pixel."""
MIN_AREA = 12
"""Pixels of a region enclosed by strong edges without a seed of its own."""
SPECK_AREA = 8
"""Fewer pixels than this are no mask in any case: noise of a depth file, mixed pixels."""
CHANNEL_WEIGHTS = (1.0, 2.04, 5.87, 0.77)
"""Of the distances in L, a, b (8-bit levels; L counts 2.55 times as many) and detail."""
DETAIL_WIDTH_PX = 17
"""Fine detail over less than this is an edge, not a texture."""
DETAIL_SIGMA_PX = 1.5
"""Of the blurs that tell fine detail from the rest, and gather it."""
DETAIL_ROWS = 192
"""Rows whose detail is found as one; what reaches over from beside them is found twice."""
EDGE_WEIGHT, JUMP_WEIGHT, OCCLUSION_WEIGHT = 0.6, 90.0, 50.0
"""Of the image gradient (levels), of the jump of disparity (shares of its range) and of the
excess of an occlusion edge's probability over `LIKELY` on a border: a certain edge parts regions
however alike they are, and one that is not likely counts for nothing."""
LIKELY = 0.75
"""Probability of an occlusion edge from which it counts."""
GRADIENT_SIGMA_PX = 1.5
"""The least blur, on a smaller picture, at which the wide gradient is taken."""
BLUR_REACH = 0.008
"""How far an estimator smears a depth edge, in widths of the photo."""


@dataclass(frozen=True)
class RegionMergingConfig:
    """How far regions are merged."""

    depth_step: float = 0.015
    """The least sharp step between neighbouring pixels, as a share of the range of disparity
    (98th less 2nd percentile), that parts two masks in every case."""
    difference: float = 45.0
    """Regions that differ by less merge; about levels of 8-bit Lab."""
    min_masks: int = 8
    """At this number or below, only regions that differ by less than half of that merge."""
    max_masks: int = 150
    """Above this number, regions merge although they differ by more; depth steps keep theirs."""


@dataclass(frozen=True)
class RegionMerging:
    """A `diorama.masks.Segmenter` that needs no weights."""

    config: RegionMergingConfig = RegionMergingConfig()

    def segment(self, photo: Photo, disparity: Disparity, edges: Alpha | None = None) -> Masks:
        """Return 8-150 connected masks for most photos; see the module's docstring.

        Raises:
            InputError: if photo, disparity and edges differ in size, or a disparity is not finite.
        """
        check_rgb(photo.rgb)
        check_disparity(disparity, like=photo.rgb)
        if edges is not None:
            check_array("edges", edges, dtype=np.float32, shape=disparity.shape)
        lab = _lab(photo.rgb)
        unit = _range(disparity)
        step = max(self.config.depth_step, min(1.5 * _usual_step(disparity, unit), 0.04)) * unit
        right, down = link_weights(lab, disparity, step, noise_sigma_px=NOISE_SIGMA_PX)
        seeds = _seeds(right, down)
        labels, count = flood(right, down, seeds, barrier=BARRIER, min_area=MIN_AREA)
        channels = _channels(lab)
        histograms = region_histograms(labels, channels, count)
        borders = _borders(
            labels,
            right,
            down,
            disparity,
            np.float32(unit),
            _gradient(lab),
            np.zeros(disparity.shape, np.float32) if edges is None else edges,
        )
        merged = merge_regions(
            histograms,
            borders.pairs,
            borders.sums,
            np.array([*CHANNEL_WEIGHTS, EDGE_WEIGHT, JUMP_WEIGHT, OCCLUSION_WEIGHT]),
            difference=self.config.difference,
            most=self.config.max_masks,
            fewest=self.config.min_masks,
            speck=SPECK_AREA,
        )
        run_bands(partial(_rename, labels, merged), len(labels))
        return Masks(labels, np.arange(merged.max() + 1, dtype=np.int32))


@dataclass(frozen=True)
class _Borders:
    """Borders between regions, one entry a pair that touches."""

    pairs: Array
    """(m, 2) int64, first < second."""
    sums: Array
    """(m, 6) float64: links along the border; of these walls; sums over them of the step of
    disparity, the image gradient, the smeared jump of disparity and the probability of an edge."""

    @staticmethod
    def gathered(first: Array, second: Array, measures: Sequence[Array]) -> "_Borders":
        """Add up the measures of links between the same two regions, in the order of pairs."""
        first, second = np.minimum(first, second), np.maximum(first, second)
        if second.max(initial=0) < 65536:
            # Keys of 16 bits are sorted by radix: linear, and several times faster than wider ones.
            first, second = first.astype(np.uint16), second.astype(np.uint16)
        order = np.lexsort((second, first))
        first, second = first[order], second[order]
        new = np.ones(len(order), bool)
        new[1:] = (first[1:] != first[:-1]) | (second[1:] != second[:-1])
        starts = np.flatnonzero(new)
        sums = [np.diff(starts, append=len(order))]
        sums += [np.add.reduceat(m[order], starts) if len(starts) else m for m in measures]
        pairs = np.stack([first[starts], second[starts]], 1).astype(np.int64)
        return _Borders(pairs, np.stack(sums, 1, dtype=np.float64))


def _range(disparity: Disparity) -> float:
    """The range of disparity without its outliers; 1 where there is none."""
    sample = disparity[:: max(1, disparity.shape[0] // 256), :: max(1, disparity.shape[1] // 256)]
    low, high = np.percentile(sample, (2, 98))
    return float(high - low) if high - low > 1e-6 else 1.0


def _usual_step(disparity: Disparity, unit: float) -> float:
    """What neighbours usually differ by if they do: a slope, or the step of a quantised file.

    Without it a slanted surface in a file of few levels would be a staircase of depth edges.
    """
    rows = disparity[:: max(1, disparity.shape[0] // 256)]
    steps = np.abs(np.diff(rows, axis=1))
    steps = steps[steps > 1e-4 * unit]
    return float(np.median(steps)) / unit if len(steps) else 0.0


def _lab(rgb: Array) -> Array:
    """(H, W, 3) uint8: OpenCV's Lab."""
    lab = np.empty(rgb.shape, np.uint8)

    def band(first: int, end: int) -> None:
        pixels = cv2.convertScaleAbs(rgb[first:end], alpha=255)
        cv2.cvtColor(pixels, cv2.COLOR_RGB2LAB, dst=lab[first:end])

    run_bands(band, len(rgb))
    return lab


def _seeds(right: Array, down: Array) -> Array:
    """(H, W) uint8, 1 at the flattest pixel of each cell of a grid."""
    height, width = right.shape
    cell = max(8, round((height * width / NUM_SEEDS) ** 0.5))
    columns = -(-width // cell)
    seeds = np.zeros((height, width), np.uint8)

    def row_of_cells(first: int, end: int) -> None:
        # The photo's last row and column carry walls; a neighbourhood's sum keeps seeds off edges.
        rows = slice(max(0, first - 2), min(height, end + 2))
        either = cv2.max(right[rows], down[rows])
        steep = cv2.boxFilter(either, cv2.CV_16U, (5, 5), normalize=False)
        padded = np.full((cell, columns * cell), 65535, np.uint16)
        padded[: end - first, :width] = steep[first - rows.start : end - rows.start]
        cells = padded.reshape(cell, columns, cell).transpose(1, 0, 2).reshape(columns, -1)
        flattest = cells.argmin(1)
        seeds[first + flattest // cell, np.arange(columns) * cell + flattest % cell] = 1

    run_bands(row_of_cells, height, band_rows=cell)
    return seeds


def _channels(lab: Array) -> Array:
    """(H, W, 4) uint8: Lab and the energy of fine detail, where it covers an area."""
    height, width = lab.shape[:2]
    channels = np.empty((height, width, 4), np.uint8)
    # The opening removes what is narrow: the detail of an edge belongs to no region beside it.
    kernel = np.ones((DETAIL_WIDTH_PX, DETAIL_WIDTH_PX), np.uint8)
    margin = 2 * math.ceil(4 * DETAIL_SIGMA_PX) + DETAIL_WIDTH_PX

    def band(first: int, end: int) -> None:
        rows = slice(max(0, first - margin), min(height, end + margin))
        luma = lab[rows, :, 0].astype(np.float32)
        detail = cv2.absdiff(luma, cv2.GaussianBlur(luma, (0, 0), DETAIL_SIGMA_PX))
        detail = cv2.convertScaleAbs(cv2.GaussianBlur(detail, (0, 0), DETAIL_SIGMA_PX), alpha=8)
        detail = cv2.morphologyEx(detail, cv2.MORPH_OPEN, kernel)
        channels[first:end, :, :3] = lab[first:end]
        channels[first:end, :, 3] = detail[first - rows.start : end - rows.start]

    run_bands(band, height, band_rows=DETAIL_ROWS)
    return channels


def _rename(labels: Labels, names: Array, first: int, end: int) -> None:
    """Give regions their new labels, in place."""
    labels[first:end] = names[labels[first:end]]


def _gradient(lab: Array) -> Array:
    """(H, W) float32: the colour gradient a few pixels wide, in levels.

    So wide a one is as well computed on a smaller picture, and enlarged.
    """
    height, width = lab.shape[:2]
    sigma = max(1.0, 0.0022 * float(np.hypot(height, width)))
    shrink = max(1, int(sigma / GRADIENT_SIGMA_PX))
    if shrink > 1:
        size = (-(-width // shrink), -(-height // shrink))
        lab, sigma = cv2.resize(lab, size, interpolation=cv2.INTER_AREA), sigma / shrink
    wide = cv2.GaussianBlur(lab, (0, 0), sigma).astype(np.float32) * np.array([1, 2, 2], np.float32)
    total = np.zeros(lab.shape[:2], np.float32)
    for c in range(3):
        dx = cv2.Sobel(wide[..., c], cv2.CV_32F, 1, 0, scale=0.125)
        dy = cv2.Sobel(wide[..., c], cv2.CV_32F, 0, 1, scale=0.125)
        total += dx * dx + dy * dy
    return cv2.resize(np.sqrt(total) * np.float32(2.5 * sigma), (width, height))


def _jump(values: Array, unit: np.float32, at: Array, step: int, shape: tuple[int, int]) -> Array:
    """(n,) float32: how much disparity jumps, in units, beyond the slope on both sides of links.

    With r the reach of an estimator's blur and d_k the disparity k pixels along the link,
    J = |d_r - d_-r| - (|d_3r - d_r| + |d_-r - d_-3r|) / 2, not below 0: none on a plane.
    """
    height, width = shape
    reach = max(1, round(BLUR_REACH * width))
    y, x = np.divmod(at, width)
    far, near, near_after, far_after = (
        values[
            y * width + np.clip(x + k, 0, width - 1)
            if step == 1
            else np.clip(y + k, 0, height - 1) * width + x
        ]
        / unit
        for k in (-3 * reach, -reach, reach + 1, 3 * reach + 1)
    )
    slope = (np.abs(far - near) + np.abs(far_after - near_after)) / 2
    return np.maximum(np.abs(near_after - near) - slope, 0)


def _borders(
    labels: Labels,
    right: Array,
    down: Array,
    disparity: Disparity,
    unit: np.float32,
    gradient: Array,
    edges: Alpha,
) -> _Borders:
    """Measure every border of a partition, disparity in units."""
    width = labels.shape[1]
    flat, values = labels.ravel(), disparity.ravel()
    gradient, edges = gradient.ravel(), edges.ravel()
    links: list[tuple[Array, ...]] = []
    for step, weights in ((1, right), (width, down)):
        if step == 1:
            at = np.flatnonzero(labels[:, :-1] != labels[:, 1:])
            at += at // max(width - 1, 1)
        else:
            at = np.flatnonzero(labels[:-1] != labels[1:])
        weights = weights.ravel()
        walls = weights[at] == WALL
        # The gradient is wide: it is due to the border only where this runs along the ridge, and
        # no more of it than the link itself climbs (it weighs 8 a level).
        climb = np.where(walls, 0, weights[at])
        peak = np.zeros(len(at), np.uint8)
        for k in (-2, -1, 1, 2):
            near = weights.take(at + k * step, mode="clip")
            np.maximum(peak, np.where(near == WALL, 0, near), out=peak)
        ridge = 2 * climb.astype(np.int32) >= peak
        links.append(
            (
                flat[at],
                flat[at + step],
                walls.astype(np.float64),
                np.abs(values[at] / unit - values[at + step] / unit).astype(np.float64),
                ridge * np.minimum(np.maximum(gradient[at], gradient[at + step]), climb * 1.0),
                _jump(values, unit, at, step, labels.shape).astype(np.float64),
                np.maximum(np.maximum(edges[at], edges[at + step]) - LIKELY, 0.0) / (1 - LIKELY),
            )
        )
    first, second, *measures = (np.concatenate(parts) for parts in zip(*links, strict=True))
    return _Borders.gathered(first, second, measures)
