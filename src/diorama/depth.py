"""Depth: what an estimator gives, and how it becomes the canonical disparity.

Canonical disparity is 1/z in 1/scene units at the photo's size. What an estimate is known up to
decides what may be done to it: an affine one is shifted and scaled so that its far end (0.5th
percentile) lies at `disparity_far` and its near end (99.5th) at 1; a supplied one is only scaled;
a metric one is left alone.
"""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, get_args

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Confidence, Disparity, Mask, Normals, check_disparity
from diorama.errors import InputError
from diorama.photo import Photo

DepthKind = Literal[
    "affine",  # disparity up to scale and shift; larger is nearer
    "relative",  # disparity up to scale; 0 is infinitely far
    "metric",  # disparity in 1/metre
]

DISPARITY_FAR = 0.1
"""Where the far end of an affine estimate goes: ten times deeper than the near one."""

PERCENTILES = (0.5, 99.5)
"""Far and near end of an estimate: the extremes themselves are noise."""

ASPECT_TOLERANCE = 0.02
"""How far the aspect of a depth map may be from the photo's: rounding, not another crop."""

DEPTH_SUFFIXES = (".png", ".npy", ".npz")
"""Of depth files; what else is given as depth is a model's name."""

FILLED_CONFIDENCE = 0.25
"""Confidence of a pixel the depth file did not have: better than nothing, overruled by colour."""

SAME_SURFACE = 0.9
"""Two ends of a gap are one surface if their disparities differ by less than this ratio."""


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
        disparity = np.where(empty, np.float32(0), disparity)
    confidence = depth.confidence
    if confidence is not None:
        confidence = _resize(confidence, width, height)
    return CanonicalDepth(
        np.ascontiguousarray(disparity, np.float32), depth.kind == "metric", scale, confidence
    )


def read_depth(path: str | Path, *, kind: DepthKind | None = None) -> DepthResult:
    """Read a depth file: a grey PNG (8 or 16 bit), an NPY, or an NPZ.

    A PNG or NPY holds disparity. An NPZ holds ``disparity``, or ``depth`` (z, which becomes 1/z in
    1/metre), or one array of any name, which is disparity. NaN, infinite and negative values are
    missing, and so is 0 in a depth or in a PNG; in a disparity of floats 0 is infinitely far.
    Missing pixels are filled from the surface around them, where that has an edge from its farther
    side, for what stereo cannot see is mostly hidden background.

    Args:
        path: the file; any size with the photo's aspect will do.
        kind: what the values are known up to; None takes "metric" for a depth and "relative" for a
            disparity.

    Returns:
        The disparity, and a confidence that is low where it was filled.

    Raises:
        InputError: if the file cannot be read or holds no valid pixel.
    """
    path = Path(path)
    if kind is not None and kind not in get_args(DepthKind):
        raise InputError(f"depth kind {kind!r}: choose from {', '.join(get_args(DepthKind))}")
    values, is_depth, zero_is_missing = _read_values(path)
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or not np.issubdtype(values.dtype, np.number) or values.size == 0:
        raise InputError(
            f"{path} must hold one (H, W) array of numbers, got {values.shape} {values.dtype}"
        )
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = values.astype(np.float32)
        valid = np.isfinite(values) & ((values > 0) if zero_is_missing else (values >= 0))
        disparity = 1 / values if is_depth else values
    valid &= np.isfinite(disparity)
    if not valid.any():
        raise InputError(f"{path} holds no valid pixel: all are missing, infinite or negative")
    confidence = None
    if not valid.all():
        disparity = fill_missing(disparity, valid)
        confidence = np.where(valid, np.float32(1), np.float32(FILLED_CONFIDENCE))
    if kind is None:
        kind = "metric" if is_depth else "relative"
    return DepthResult(np.ascontiguousarray(disparity, np.float32), kind, confidence)


def fill_missing(disparity: Disparity, valid: Mask) -> Disparity:
    """Fill what is not `valid` along the shorter of the two chords through it.

    Each missing pixel looks left and right, up and down for the nearest valid ones. Of the two
    chords the shorter tells which surfaces it lies between: its ends are interpolated if they are
    one surface, else the farther one is taken. A median then removes streaks inside the gaps.

    Args:
        disparity: (H, W) float32; what lies under missing pixels is not read.
        valid: (H, W) bool with at least one True.

    Returns:
        (H, W) float32, equal to `disparity` where `valid`.
    """
    across, across_px = _chord(disparity, valid)
    down, down_px = (a.T for a in _chord(disparity.T, valid.T))
    filled = np.where(across_px <= down_px, across, down)
    unreached = np.isnan(filled)
    if unreached.any():
        # Neither its row nor its column has a valid pixel: by now whole rows and columns are
        # filled, so a second look reaches everything.
        return fill_missing(filled, ~unreached)
    for _ in range(3):
        smooth = cv2.medianBlur(np.ascontiguousarray(filled, np.float32), 5)
        filled = np.where(valid, disparity, smooth)
    return filled


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
    seen = disparity if empty is None else disparity[~empty]
    if not seen.size:
        return np.zeros_like(disparity)
    low, high = (float(p) for p in np.percentile(seen, PERCENTILES))
    if high - low <= 1e-6 * max(high, 1e-30):
        return np.ones_like(disparity)  # flat: all of it is the near surface
    gain = (1 - disparity_far) / (high - low)
    out = (disparity - np.float32(low)) * np.float32(gain) + np.float32(disparity_far)
    near = out > 1
    out[near] = 1 + np.log(out[near])
    far = out < disparity_far
    if disparity_far > 0:
        out[far] = disparity_far * np.exp(out[far] / disparity_far - 1)
    else:
        out[far] = 0.0
    return out


def _scale_to_unit(disparity: Disparity, empty: Mask | None) -> tuple[Disparity, float]:
    seen = disparity if empty is None else disparity[~empty]
    near = float(np.percentile(seen, PERCENTILES[1])) if seen.size else 0.0
    if near <= 0:
        near = float(seen.max()) if seen.size else 0.0
    scale = 1.0 / near if near > 0 else 1.0
    return disparity * np.float32(scale), scale


def _read_values(path: Path) -> tuple[Array, bool, bool]:
    """The array in the file, whether it is z rather than 1/z, and whether 0 means missing."""
    suffix = path.suffix.lower()
    if not path.is_file():
        raise InputError(f"depth file {path} does not exist")
    try:
        if suffix == ".png":
            pixels = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
            if pixels is None:
                raise InputError(f"{path} is not a readable PNG")
            return _grey(pixels, path), False, True
        if suffix == ".npy":
            return np.load(path, allow_pickle=False), False, False
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                return _pick(arrays, path)
    except InputError:
        raise
    except (OSError, ValueError, EOFError, KeyError, cv2.error, zipfile.BadZipFile) as error:
        raise InputError(f"cannot read depth file {path}: {str(error).splitlines()[0]}") from error
    raise InputError(f"{path}: a depth file is a 16-bit .png, an .npy or an .npz")


def _grey(pixels: Array, path: Path) -> Array:
    if pixels.ndim == 2:
        return pixels
    if (pixels[..., :3] == pixels[..., :1]).all():
        return pixels[..., 0]
    raise InputError(f"{path} is a colour picture: a depth PNG must be grey")


def _pick(arrays: "np.lib.npyio.NpzFile", path: Path) -> tuple[Array, bool, bool]:
    names = list(arrays.files)
    if "disparity" in names:
        return arrays["disparity"], False, False
    if "depth" in names:
        return arrays["depth"], True, True
    if len(names) == 1:
        return arrays[names[0]], False, False
    raise InputError(
        f"{path} holds {', '.join(names) or 'nothing'}: name one array 'disparity' or 'depth'"
    )


def _chord(disparity: Disparity, valid: Mask) -> tuple[Array, Array]:
    """Fill along rows; also the length in pixels of each pixel's chord (inf: no valid pixel)."""
    width = valid.shape[1]
    columns = np.arange(width)
    left = np.maximum.accumulate(np.where(valid, columns, -1), axis=1)
    right = np.minimum.accumulate(np.where(valid, columns, width)[:, ::-1], axis=1)[:, ::-1]
    from_left = np.where(left >= 0, np.take_along_axis(disparity, left.clip(0), 1), np.nan)
    from_right = np.where(
        right < width, np.take_along_axis(disparity, right.clip(None, width - 1), 1), np.nan
    )
    span = (right - left).astype(np.float32)
    share = np.where(valid, 0, (columns - left) / np.maximum(span, 1)).astype(np.float32)
    far, near = np.fmin(from_left, from_right), np.fmax(from_left, from_right)
    between = from_left + (from_right - from_left) * share
    out = np.where(far >= SAME_SURFACE * near, between, far)
    one_sided = np.isnan(from_left) | np.isnan(from_right)
    out = np.where(one_sided, far, out)
    span[np.isnan(out)] = np.inf
    return out.astype(np.float32), np.where(one_sided, span + width, span)
