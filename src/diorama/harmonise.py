"""Harmonise: depth whose edges lie on the masks' edges.

An estimator gives the disparity of one smooth surface per object, seen through a blur G. Unknown is
one surface f_m per mask m; what the estimate ought to look like follows from them::

    E(f) =   sum_i c_i ((G S f)_i - d0_i)^2                        data
           + lambda sum_(i,j) w_ij (u_im - u_jm)^2                 smoothness inside a mask only
           + kappa  sum_i k_i,ab (f_ia - f_ib)^2                   contrast across mask edges
    with     u_im = f_im - plane_m(i)

S adds the masks' surfaces by the share of each node they cover, so ``G S f`` is the blurred picture
of sharp edges that lie exactly on the masks' edges. The unblurred data term would have to leave out
a band of two blur radii on both sides of an edge and guess; this one explains the band, finds the
jump g from it, and recovers things thinner than the blur. G's width is measured from the estimate.

- plane_m is a robust affine fit over the mask's interior, or a constant where that is no better, so
  a floor is reproduced exactly and only the deviation is smoothed.
- k is 1 where a jump is not significant against the residuals of the data term: an accidental edge
  (a stripe on a shirt) stays smooth; it falls to 0 where the jump is significant.
- c and w are robust weights, found again from the residuals in every round.

The surfaces replace the estimate near significant edges as far as they explain it, and nowhere
else. Masks that miss an edge of the estimate are parted along it first: `diorama.mask_edges`.
References: Barron and Poole, "The Fast Bilateral Solver" (2016); Chen, Paris, Durand,
"Real-time edge-aware image processing with the bilateral grid" (2007).
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from statistics import NormalDist

import cv2
import numpy as np

from diorama.arrays import (
    Array,
    Confidence,
    Disparity,
    check_array,
    check_disparity,
    check_labels,
    check_rgb,
)
from diorama.errors import InputError
from diorama.kernels import mask_grid
from diorama.kernels.mask_grid import GridProblem, MaskGrid
from diorama.mask_edges import part_masks
from diorama.masks import Masks
from diorama.photo import Photo
from diorama.runtime import run_tasks

SHARP_PX = 0.4
"""Below this blur an estimate is exact and stays as it is."""

SHARP_SHARE = 0.95
"""Part of an edge's height climbed within one pixel that makes it sharp."""

STEP_OVER_LINE = 0.399 / 0.607
"""Steepest slope of a blurred step over that of a blurred thin line of the same height:
1 / sqrt(2 pi) over exp(-1/2), both over sigma."""

MIN_REACH_PX = 12
"""Half length of profiles in small photos, where a part of the size tells nothing."""

TYPICAL_EDGE = 80
"""Percentile of the profiles' steepness that counts: surfaces that slope beside an edge make most
profiles look a little more blurred than they are."""

MAX_ROWS, MAX_PROFILES = 360, 1500
"""Rows and, on these, profiles across mask edges that the blur is measured on, and as many columns
and profiles along these."""

MIN_PROFILES = 10
"""Fewer tell nothing; the estimate then has no edge to sharpen."""

MAX_NODES_ACROSS, MAX_SPACING_PX = 256, 16
"""Node spacing follows the blur between long side / 256 (at least 2 px) and 16 px: finer only costs
time, coarser loses shape."""

NOISE_FLOOR = 0.002
"""Least noise, as part of the disparity range, so that exact data keeps finite weights."""

DISTANCE_ROWS = 270
"""Rows of a band of the distance transform; a distance depends on rows of the next band only as far
as it counts."""

PLANE_ROUNDS = 4
"""Reweightings of the planes; the weights hardly move after."""


@dataclass(frozen=True)
class HarmoniseConfig:
    """How depth is harmonised."""

    blur_px: float | None = None
    """Standard deviation of the estimator's blur in pixels; None measures it. 0 or more."""
    max_blur: float = 0.02
    """Largest blur radius looked for, as part of the photo's long side, in 0.001..0.1."""
    smoothness: float = 2.0
    """lambda, weight of smoothness inside a mask against the data. Above 0."""
    contrast: float = 1.0
    """kappa, weight that holds masks together where the jump between them is accidental."""
    min_jump: float = 0.015
    """Least disparity jump, as part of the disparity range, that makes an edge significant."""
    significance: float = 3.0
    """Least jump in standard deviations of the residual that makes an edge significant."""
    band: float = 2.0
    """Half width, in blur radii, of the zone around a significant edge that is replaced."""
    evidence: float = 16.0
    """How much better than it is changed the estimate must be explained before it is replaced:
    a correction a that leaves a residual r is applied by ``a^2 / (a^2 + evidence r^2)``."""
    rounds: int = 2
    """Solves; after each, significance and robust weights are found again. At least 1."""
    max_iterations: int = 30
    """Steps of conjugate gradients in each round. At least 1."""
    tolerance: float = 0.03
    """Relative residual at which a round ends, above 0."""

    def __post_init__(self) -> None:
        if self.blur_px is not None and not 0 <= self.blur_px < math.inf:
            raise InputError(f"blur_px must be 0 or more pixels, got {self.blur_px}")
        if not 0.001 <= self.max_blur <= 0.1:
            raise InputError(f"max_blur must be in 0.001..0.1, got {self.max_blur}")
        for name in ("smoothness", "band", "tolerance"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(f"{name} must be above 0, got {getattr(self, name)}")
        for name in ("contrast", "min_jump", "significance", "evidence"):
            if not 0 <= getattr(self, name) < math.inf:
                raise InputError(f"{name} must be 0 or more, got {getattr(self, name)}")
        if self.rounds < 1 or self.max_iterations < 1:
            raise InputError("rounds and max_iterations must be at least 1")


@dataclass(frozen=True)
class HarmoniseReport:
    """What was measured and how the solve went."""

    blur_radius_px: float
    """Standard deviation of the estimator's blur; 0 where its edges are sharp or there is none."""
    edge_shift_px: float
    """Median distance between the estimate's edges and the mask edges they moved to."""
    num_significant_edges: int
    """Pairs of masks with a significant jump between them."""
    noise: float
    """Standard deviation of what the surfaces do not explain, in disparity."""
    iterations: int
    """Steps of conjugate gradients over all rounds."""
    residual: float
    """Relative residual of the last round."""


@dataclass(frozen=True)
class Harmonised:
    """Depth that respects object boundaries."""

    disparity: Disparity
    """(H, W) float32, canonical; its edges lie on mask edges, or on the photo's where masks have
    none."""
    report: HarmoniseReport


def harmonise(
    photo: Photo,
    disparity: Disparity,
    masks: Masks,
    *,
    confidence: Confidence | None = None,
    config: HarmoniseConfig = HarmoniseConfig(),
    initial: Disparity | None = None,
) -> Harmonised:
    """Move depth edges onto mask edges and sharpen them; leave everything else alone.

    Edges that the masks miss are sharpened where the photo has them.

    Args:
        photo: at processing size.
        disparity: (H, W) canonical estimate.
        masks: a partition of the photo.
        confidence: (H, W) of the estimate, in 0..1; where it is low the masks' surfaces take over.
        config: settings.
        initial: (H, W) a nearby solution to start from, such as the previous frame's.

    Returns:
        New disparity, never negative, with a report. An estimate without blurred edges comes back
        unchanged.

    Raises:
        InputError: if sizes or dtypes do not fit, or a disparity is negative or not finite.
    """
    _check(photo, disparity, masks, confidence, initial)
    labels = np.ascontiguousarray(masks.labels)
    disparity = np.ascontiguousarray(disparity)
    scale = _disparity_range(disparity)
    blur_px, shift_px = _measure_blur(labels, disparity, scale, config)
    blur_px = blur_px if config.blur_px is None else config.blur_px
    if blur_px < SHARP_PX or scale <= 0:
        report = HarmoniseReport(0.0, 0.0, 0, 0.0, 0, 0.0)
        return Harmonised(disparity.copy(), report)
    parted = part_masks(
        labels,
        disparity,
        photo.rgb,
        blur_px,
        min_range=2 * config.min_jump * scale,
        confidence=confidence,
    )
    fit = _fit_surfaces(
        parted, parted is not labels, disparity, confidence, initial, scale, blur_px, config
    )
    surface = mask_grid.slice_grid(fit.grid, parted, fit.surface, disparity)
    flat = mask_grid.mark_jumps(parted, surface, fit.threshold)
    half_px = max(0.35 * config.band * blur_px, 0.5)
    band_px = config.band * blur_px - half_px, config.band * blur_px + half_px + 1
    trusted = np.ones((1, 1), np.float32) if confidence is None else confidence
    harmonised = mask_grid.blend(
        fit.grid,
        disparity,
        surface,
        confidence=np.ascontiguousarray(trusted),
        distance=_distance(flat, band_px[1]),
        band_px=band_px,
        strength=fit.strength,
    )
    report = HarmoniseReport(
        blur_px, shift_px, fit.num_significant, fit.noise, fit.iterations, fit.residual
    )
    return Harmonised(harmonised, report)


@dataclass(frozen=True)
class _Fit:
    """The solved grid."""

    grid: MaskGrid
    surface: Array  # (V,) float32
    strength: Array  # (R, C) float32, how far the surface may replace the estimate
    threshold: float  # disparity
    noise: float  # disparity
    num_significant: int
    iterations: int
    residual: float


def _check(
    photo: Photo,
    disparity: Disparity,
    masks: Masks,
    confidence: Confidence | None,
    initial: Disparity | None,
) -> None:
    check_rgb(photo.rgb)
    check_disparity(disparity, photo.rgb)
    check_labels(masks.labels, photo.rgb)
    if initial is not None:
        check_disparity(initial, photo.rgb)
    if confidence is not None:
        check_array("confidence", confidence, dtype=np.float32, shape=photo.rgb.shape[:2])
        if not ((confidence >= 0) & (confidence <= 1)).all():
            raise InputError("confidence must lie in 0..1; clip it first")


def _disparity_range(disparity: Disparity) -> float:
    """How far disparities spread: 2nd to 98th percentile of a sample."""
    step = max(1, int(math.sqrt(disparity.size / 50_000)))
    low, high = np.percentile(disparity[::step, ::step], [2, 98])
    # Where nearly everything lies at one depth, the percentiles miss the small near thing.
    return float(high - low) or float(np.ptp(disparity))


def _measure_blur(
    labels: Array, disparity: Disparity, scale: float, config: HarmoniseConfig
) -> tuple[float, float]:
    """The blur of the estimate's edges near mask edges, and how far they lie from them, in pixels.

    A step J blurred by sigma climbs at most ``M = J erf(1 / (2 sqrt(2) sigma))`` from one pixel to
    the next. Both are read from profiles across mask edges, wherever along the profile the climb
    is, so a misplaced mask does not look like blur. Profiles that climb evenly are ramps, not
    edges; those that come down again are lines, and serve only where there are no steps. The
    profiles' length follows the blur found with the last one.
    """
    reach = max(MIN_REACH_PX, round(3 * config.max_blur * max(labels.shape)))
    profiles = np.concatenate(
        [_profiles(labels, disparity, reach), _profiles(labels.T, disparity.T, reach)]
    )
    # A sky that was cut out ends at once: its edge tells nothing of the estimator's blur.
    leaps = np.abs(np.diff(profiles, axis=1)) > 2 * config.min_jump * scale
    leaps &= (profiles[:, 1:] == 0) != (profiles[:, :-1] == 0)
    profiles = profiles[~leaps.any(1)]
    blur, shift = reach / 3, 0.0
    for _ in range(8):
        half = int(np.clip(round(3 * blur + 1), 2, reach))
        inner = profiles[:, reach - half : reach + half]
        climbs = np.abs(np.diff(inner, axis=1))
        span = np.ptp(inner, axis=1)
        steepest = climbs.max(1, initial=0) / np.maximum(span, 1e-12)
        is_edge = (span > 2 * config.min_jump * scale) & (steepest * (2 * half - 1) > 1.6)
        outer = max(1, half // 3)
        ends = 0.5 * (climbs[:, :outer].mean(1) + climbs[:, -outer:].mean(1))
        is_step = is_edge & (np.abs(inner[:, -1] - inner[:, 0]) > 0.8 * span)
        is_step &= ends < 0.3 * climbs.max(1, initial=0)
        if is_step.sum() >= MIN_PROFILES:
            chosen, share = is_step, float(np.percentile(steepest[is_step], TYPICAL_EDGE))
        elif is_edge.sum() >= MIN_PROFILES:
            chosen, share = is_edge, float(np.percentile(steepest[is_edge], TYPICAL_EDGE))
            share = share if share > SHARP_SHARE else share * STEP_OVER_LINE
        else:
            return 0.0, 0.0
        if share > SHARP_SHARE:
            return 0.0, 0.0
        shift = float(np.median(np.abs(climbs[chosen].argmax(1) - (half - 1))))
        previous, blur = blur, 0.5 / NormalDist().inv_cdf((1 + share) / 2)
        if abs(blur - previous) < 0.02 * blur:
            break
    return blur, shift


def _profiles(labels: Array, disparity: Disparity, reach: int) -> Array:
    """Disparity (n, 2 reach) along rows, across mask edges that the estimate climbs squarely.

    The mask edge lies between columns reach - 1 and reach.
    """
    height, width = labels.shape
    step = height // MAX_ROWS + 1
    rows = labels[step // 2 :: step]
    y, x = np.nonzero(rows[:, 1:] != rows[:, :-1])
    keep = slice(None, None, len(y) // MAX_PROFILES + 1)
    y, x = y[keep] * step + step // 2, x[keep]
    up, below = np.maximum(y - 2, 0), np.minimum(y + 2, height - 1)
    before, after = np.maximum(x - 1, 0), np.minimum(x + 2, width - 1)
    along = np.abs(disparity[y, after] - disparity[y, before]) / 3
    across = np.abs(disparity[below, x] - disparity[up, x]) / 4
    y, x = y[along >= 2 * across], x[along >= 2 * across]
    columns = np.clip(x[:, None] + np.arange(1 - reach, reach + 1), 0, width - 1)
    return disparity[y[:, None], columns]


def _fit_surfaces(
    labels: Array,
    is_parted: bool,
    disparity: Disparity,
    confidence: Confidence | None,
    initial: Disparity | None,
    scale: float,
    blur_px: float,
    config: HarmoniseConfig,
) -> _Fit:
    """Solve for one surface per mask, in rounds of solving and reweighting."""
    finest_px = max(2, round(max(labels.shape) / MAX_NODES_ACROSS))
    spacing = int(np.clip(round(blur_px), finest_px, max(finest_px, MAX_SPACING_PX)))
    grid, mean = mask_grid.build_grid(labels, disparity, spacing)
    target = grid.see(mean)
    certainty = np.ones(grid.shape, np.float32)
    if confidence is not None:
        certain = mask_grid.splat_again(grid, labels, np.ascontiguousarray(confidence))
        certainty = np.maximum(grid.see(certain), 1e-3)
    tied = _tied(grid) if is_parted else np.zeros(len(grid.pairs), bool)
    inside = _inside(grid, tied, blur_px)
    plane, is_sky = _fit_planes(grid, mean, inside * certainty, scale)
    surface = mean if initial is None else mask_grid.splat_again(grid, labels, initial)
    surface = np.where(is_sky, np.float32(0), surface)
    problem = GridProblem(
        plane,
        is_sky,
        target,
        certainty,
        np.float32(config.smoothness) * _floored(grid.right_share),
        np.float32(config.smoothness) * _floored(grid.down_share),
        np.float32(config.contrast) * tied,
        blur_px / spacing,
    )
    total, noise, residual = 0, NOISE_FLOOR * scale, 0.0
    fitted, weights = target, problem
    for _ in range(config.rounds):
        surface, fitted, iterations, residual = mask_grid.solve_grid(
            grid,
            weights,
            surface,
            max_iterations=config.max_iterations,
            tolerance=config.tolerance,
        )
        total += iterations
        noise = _noise(target - fitted, inside, scale)
        weights = _reweighted(grid, problem, tied, surface, fitted, noise, scale, config)
    threshold = _threshold(noise, scale, config)
    jumps = np.abs(surface[grid.pairs[:, 0]] - surface[grid.pairs[:, 1]])
    return _Fit(
        grid,
        surface,
        _strength(grid, surface, target, fitted, blur_px / spacing, config),
        threshold,
        noise,
        _count_significant(grid, jumps > threshold),
        total,
        residual,
    )


def _floored(share: Array) -> Array:
    """Weight of a link: its coverage, and a little where there is next to none, to hold it."""
    return np.where(share > 0, share + np.float32(0.05), np.float32(0)).astype(np.float32)


def _tied(grid: MaskGrid) -> Array:
    """(P,) bool: pairs of a side of a parted mask and what is left of it beyond the climb."""
    a, b = grid.label[grid.pairs].T
    return (a // 3 == b // 3) & ((a % 3 == 0) | (b % 3 == 0))


def _inside(grid: MaskGrid, tied: Array, blur_px: float) -> Array:
    """(R, C) in 0..1: how far a node lies outside the blur of any mask edge."""
    alone = np.ones(grid.shape, np.uint8)
    alone.ravel()[grid.nodes()[grid.pairs[~tied, 0]]] = 0
    if alone.all():
        return np.ones(grid.shape, np.float32)
    padded = cv2.copyMakeBorder(alone, 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=(1,))
    distance_px = cv2.distanceTransform(padded, cv2.DIST_L2, 3)[1:-1, 1:-1] * grid.spacing
    return _smoothstep(distance_px, 0.5 * grid.spacing, 1.5 * blur_px + 0.6 * grid.spacing)


def _fit_planes(
    grid: MaskGrid, mean: Array, node_weight: Array, scale: float
) -> tuple[Array, Array]:
    """Fit a robust affine function to each mask, or a constant where that is no worse.

    Returns:
        Its value (V,) float32 at each vertex, and (V,) bool: the mask is infinitely far.
    """
    _, mask = np.unique(grid.label, return_inverse=True)
    far = np.bincount(mask, grid.coverage * (mean == 0)) > 0.5 * np.bincount(mask, grid.coverage)
    # Vertices of masks that lie wholly inside the blur still count a little: their ridge.
    weight = grid.coverage * (node_weight.ravel()[grid.nodes()] + 1e-3 * grid.coverage**2)
    plane = mask_grid.fit_planes(
        grid, mask, mean, weight.astype(np.float64), rounds=PLANE_ROUNDS, floor=NOISE_FLOOR * scale
    )
    is_sky = far[mask]
    return np.where(is_sky, np.float32(0), plane), is_sky


def _distance(flat: Array, reach_px: float) -> Array:
    """Distance (H, W) to the nearest 0, right where it is less than `reach_px`."""
    height, overlap = flat.shape[0], math.ceil(reach_px) + 1
    distance = np.empty(flat.shape, np.float32)

    def band(first: int) -> None:
        begin = max(0, first - overlap)
        part = flat[begin : first + DISTANCE_ROWS + overlap]
        out = distance[first : first + DISTANCE_ROWS]
        if part.all():
            out.fill(np.inf)
        else:
            found = cv2.distanceTransform(part, cv2.DIST_L2, 3)
            out[:] = found[first - begin : first - begin + len(out)]

    run_tasks([partial(band, row) for row in range(0, height, DISTANCE_ROWS)])
    return distance


def _noise(residual: Array, inside: Array, scale: float) -> float:
    """Standard deviation of what is not explained, by its median, away from edges if possible."""
    sample = residual[inside > 0.5]
    sample = sample if sample.size >= MIN_PROFILES else residual
    return max(1.4826 * float(np.median(np.abs(sample))), NOISE_FLOOR * scale)


def _threshold(noise: float, scale: float, config: HarmoniseConfig) -> float:
    """The least significant jump."""
    return max(config.significance * noise, config.min_jump * scale)


def _reweighted(
    grid: MaskGrid,
    problem: GridProblem,
    tied: Array,
    surface: Array,
    fitted: Array,
    noise: float,
    scale: float,
    config: HarmoniseConfig,
) -> GridProblem:
    """Trust less what is explained badly, and join masks that do not differ significantly."""
    deviation = surface - problem.plane
    threshold = _threshold(noise, scale, config)
    jumps = np.abs(surface[grid.pairs[:, 0]] - surface[grid.pairs[:, 1]])
    accidental = 1 - _smoothstep(jumps, threshold, 2 * threshold)
    accidental = np.where(tied, np.float32(1), accidental)
    return replace(
        problem,
        trust=problem.trust / (1 + ((problem.target - fitted) / (3 * noise)) ** 2),
        right_weight=problem.right_weight * _agreement(deviation, grid.right, noise),
        down_weight=problem.down_weight * _agreement(deviation, grid.down, noise),
        pair_weight=(np.float32(config.contrast) * accidental).astype(np.float32),
    )


def _agreement(deviation: Array, neighbour: Array, noise: float) -> Array:
    """Robust weight (V,) of a link: less where the surface really bends or breaks."""
    return 1 / (1 + ((deviation - deviation[neighbour]) / np.float32(noise)) ** 2)


def _strength(
    grid: MaskGrid,
    surface: Array,
    target: Array,
    fitted: Array,
    blur_nodes: float,
    config: HarmoniseConfig,
) -> Array:
    """(R, C) in 0..1: how far the surfaces explain what they change, averaged over the blur.

    A correction that is much larger than what it leaves unexplained is right; a mask that misses
    an edge, or an estimate blurred otherwise, leaves much.
    """
    change = surface - target.ravel()[grid.nodes()]
    sigma = max(1.5 * blur_nodes, 0.5)
    changed = cv2.GaussianBlur(grid.see(change * change), (0, 0), sigma)
    left_over = cv2.GaussianBlur((target - fitted) ** 2, (0, 0), sigma)
    return changed / (changed + np.float32(config.evidence) * left_over + np.float32(1e-20))


def _count_significant(grid: MaskGrid, significant: Array) -> int:
    """Pairs of masks most of whose common nodes jump."""
    if not len(grid.pairs):
        return 0
    labels = np.sort(grid.label[grid.pairs], axis=1).astype(np.int64)
    _, edge = np.unique(labels[:, 0] << 32 | labels[:, 1], return_inverse=True)
    jumping = np.bincount(edge, significant)
    return int((jumping > 0.5 * np.bincount(edge)).sum())


def _smoothstep(value: Array, low: float, high: float) -> Array:
    """Rise smoothly from 0 at `low` to 1 at `high`."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    return t * t * (3 - 2 * t)
