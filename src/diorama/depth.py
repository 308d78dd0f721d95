"""Depth: what an estimator gives, and how it becomes the canonical disparity.

Canonical disparity is 1/z in 1/scene units at the photo's size. What an estimate is known up to
decides what may be done to it: an affine one is shifted and scaled so that its far end (0.5th
percentile) lies at `disparity_far` and its near end (99.5th) at 1; a supplied one is only scaled;
a metric one is left alone.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Confidence, Disparity, Mask, Normals, check_disparity
from diorama.errors import InputError
from diorama.photo import Photo
from diorama.runtime import run_bands

DepthKind = Literal[
    "affine",  # disparity up to scale and shift; larger is nearer
    "relative",  # disparity up to scale; 0 is infinitely far
    "metric",  # disparity in 1/metre
]

DISPARITY_FAR = 0.1
"""Where the far end of an affine estimate goes: ten times deeper than the near one."""

PERCENTILES = (0.5, 99.5)
"""Far and near end of an estimate: the extremes themselves are noise."""

NUM_SAMPLES = 1_000_000
"""About so many disparities tell these ends; up to four times as many are all looked at."""

ASPECT_TOLERANCE = 0.02
"""How far the aspect of a depth map may be from the photo's: rounding, not another crop."""


@dataclass(frozen=True)
class DepthResult:
    """What a depth estimator returns, at any size."""

    disparity: Disparity
    """(h, w) float32, larger is nearer, finite and >= 0."""
    kind: DepthKind
    """What `disparity` is known up to."""
    confidence: Confidence | None = None
    """(h, w) float32 in 0..1."""
    edges: Alpha | None = None
    """(h, w) float32: probability of an occlusion edge."""
    normals: Normals | None = None
    """(h, w, 3) float32 unit vectors in camera axes."""
    matte: Alpha | None = None
    """(h, w) float32: the person's or main object's alpha."""
    sky: Alpha | None = None
    """(h, w) float32: probability of sky, whose disparity is 0."""
    fov_deg: float | None = None
    """Horizontal field of view if the estimator tells."""


class DepthEstimator(Protocol):
    """Anything that turns a photo into a `DepthResult`."""

    def estimate(self, photo: Photo) -> DepthResult:
        """Return depth for `photo.rgb`, at its size or any other with the same aspect.

        Must not change its argument and must be deterministic. Raises `DioramaError` with one line
        where the photo cannot be used.
        """
        ...


@dataclass(frozen=True)
class CanonicalDepth:
    """Depth in scene units at the photo's size."""

    disparity: Disparity
    """(H, W) float32, 1/z in 1/scene units; 0 is infinitely far."""
    metric: bool
    """True if the scene unit is the metre."""
    scale: float
    """What a supplied disparity was multiplied by; 1 for the other kinds."""
    confidence: Confidence | None
    """(H, W) float32 in 0..1 if the estimator tells."""
    edges: Alpha | None = None
    """(H, W) float32 in 0..1, probability of an occlusion edge, if the estimator tells."""
    matte: Alpha | None = None
    """(H, W) float32 in 0..1, the person's or main object's alpha, if the estimator tells."""


def canonical_disparity(
    depth: DepthResult, photo: Photo, *, disparity_far: float = DISPARITY_FAR
) -> CanonicalDepth:
    """Bring an estimate to the photo's size and to scene units.

    With p the percentiles of what is neither sky nor transparent, an affine estimate e becomes
    ``d = far + (1 - far) (e - p_0.5) / (p_99.5 - p_0.5)``, bent to ``1 + log(d)`` above 1 and to
    ``far exp(d / far - 1)`` below `far`, so that order is kept and nothing is cut off; `far` is
    `disparity_far`, or 0 where there is sky. A map already at the photo's size keeps its pixels;
    where the photo is transparent disparity becomes 0.

    Args:
        depth: what the estimator gave; not changed.
        photo: the photo it was given.
        disparity_far: where the far end of an affine estimate goes, in 1/scene units.

    Returns:
        The canonical depth.

    Raises:
        InputError: if the map is not finite, is negative, or has another aspect than the photo.
    """
    check_disparity(depth.disparity)
    height, width = photo.rgb.shape[:2]
    _check_aspect(depth.disparity, width, height)
    sky = None if depth.sky is None else _resize(depth.sky, width, height) > 0.5
    empty = sky  # where there is no surface to measure
    if photo.nothing is not None:
        empty = photo.nothing if sky is None else sky | photo.nothing
    disparity = _resize(depth.disparity, width, height)
    scale = 1.0
    if depth.kind == "affine":
        far = disparity_far if sky is None or not sky.any() else 0.0
        disparity = _normalise(disparity, empty, far)
    elif depth.kind == "relative":
        disparity, scale = _scale_to_unit(disparity, empty)
    if empty is not None:
        disparity = disparity.copy() if disparity is depth.disparity else disparity
        disparity[empty] = 0
    confidence, edges, matte = (
        None if share is None else _resize(share, width, height)
        for share in (depth.confidence, depth.edges, depth.matte)
    )
    return CanonicalDepth(
        np.ascontiguousarray(disparity, np.float32),
        depth.kind == "metric",
        scale,
        confidence,
        edges,
        matte,
    )


def _check_aspect(disparity: Disparity, width: int, height: int) -> None:
    rows, columns = disparity.shape
    if abs(columns * height / (rows * width) - 1) > ASPECT_TOLERANCE:
        raise InputError(
            f"the depth map is {columns}x{rows} px and the photo {width}x{height} px: "
            "their aspects differ; pass a depth map of the whole photo"
        )


def _resize(image: Array, width: int, height: int) -> Array:
    rows, columns = image.shape[:2]
    if (columns, rows) == (width, height):
        return image
    way = cv2.INTER_AREA if width < columns else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=way)


def _normalise(disparity: Disparity, empty: Mask | None, disparity_far: float) -> Disparity:
    seen = _sample(disparity, empty)
    if not seen.size:
        return np.zeros_like(disparity)
    low, high = (float(p) for p in np.percentile(seen, PERCENTILES))
    if high - low <= 1e-6 * max(high, 1e-30):
        return np.ones_like(disparity)  # flat: all of it is the near surface
    gain = (1 - disparity_far) / (high - low)
    normalised = np.empty_like(disparity)

    def band(first: int, end: int) -> None:
        out = normalised[first:end]
        np.subtract(disparity[first:end], np.float32(low), out=out)
        out *= np.float32(gain)
        out += np.float32(disparity_far)
        near = out > 1
        out[near] = 1 + np.log(out[near])
        far = out < disparity_far
        out[far] = disparity_far * np.exp(out[far] / disparity_far - 1) if disparity_far > 0 else 0

    run_bands(band, len(disparity))
    return normalised


def _scale_to_unit(disparity: Disparity, empty: Mask | None) -> tuple[Disparity, float]:
    seen = _sample(disparity, empty)
    near = float(np.percentile(seen, PERCENTILES[1])) if seen.size else 0.0
    if near <= 0:
        near = float(disparity.max() if empty is None else disparity.max(where=~empty, initial=0))
    scale = 1.0 / near if near > 0 else 1.0
    return disparity * np.float32(scale), scale


def _sample(disparity: Disparity, empty: Mask | None) -> Array:
    """(n,) disparities of surfaces, evenly spread over the picture."""
    step = max(1, int((disparity.size / NUM_SAMPLES) ** 0.5))
    for every in (step, 1):  # what is small may lie between the samples
        at = np.s_[::every, ::every]
        seen = disparity[at].ravel() if empty is None else disparity[at][~empty[at]]
        if seen.size:
            break
    return seen
