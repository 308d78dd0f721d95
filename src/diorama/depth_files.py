"""Depth files: a picture or an array of depth or disparity beside a photo becomes disparity.

What no camera measured is missing in most depth files; it is filled from the surface around it,
and beside an edge from its farther side, for what stereo cannot see is mostly hidden background.
"""

import contextlib
import io
import math
import struct
import tokenize
import warnings
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, get_args

import cv2
import numpy as np
from PIL import Image, TiffImagePlugin

from diorama.arrays import Array, Disparity, Mask, refuse_bomb
from diorama.depth import DepthKind, DepthResult
from diorama.errors import DioramaError, InputError
from diorama.exr import read_exr
from diorama.files import refuse_url
from diorama.runtime import silence

DepthValues = Literal[
    "depth",  # z, distance along the optical axis; 0 is missing
    "disparity",  # 1/z; 0 is infinitely far, in integers missing
]

DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".exr", ".npy", ".npz")
"""Of depth files; what else is given as depth is a model's name."""

INTEGER_UNIT_M = 0.001
"""Metres a step of a metric depth in integers: cameras with depth write millimetres."""

FILLED_CONFIDENCE = 0.25
"""Confidence of a pixel the depth file did not have: better than nothing, overruled by colour."""

SAME_SURFACE = 0.9
"""Two ends of a gap are one surface if their disparities differ by less than this ratio."""

MAX_DEPTH_PIXELS = 64_000_000
"""By the header: more than thirty times what stages compute at, at two dozen bytes a pixel."""

# Whatever a decoder raises on damaged files; anything else is our own fault and stays loud.
_DAMAGED = (
    *(OSError, ValueError, EOFError, KeyError, IndexError, SyntaxError, RuntimeError),
    *(struct.error, zlib.error, cv2.error, zipfile.BadZipFile, MemoryError, OverflowError),
    tokenize.TokenError,  # NumPy's way to read a header
)


@dataclass(frozen=True)
class _Values:
    """What a file holds."""

    array: Array
    told: DepthValues | None = None
    """What the file says its values are."""
    zero_is_missing: bool = False
    """In a disparity; in a depth it always is."""
    inf_is_far: bool = False
    """Whether an infinite depth is the background rather than missing."""


def read_depth(
    path: str | Path,
    *,
    kind: DepthValues | None = None,
    scale: DepthKind | None = None,
    unit_m: float | None = None,
) -> DepthResult:
    """Read a depth file: a grey PNG or TIFF, an EXR, an NPY, or an NPZ.

    An NPZ holds ``disparity``, or ``depth`` (z), or one array of any name. An EXR holds a channel
    ``disparity``, or ``Z`` or ``depth``, or one channel of any name, or ``Y``, or equal ``R``,
    ``G`` and ``B``. What is not named depth is disparity unless `kind` tells.

    NaN, infinite and negative values are missing, and so is 0 in a depth and in a picture of
    integers; in any other disparity 0 is infinitely far, and so is an infinite Z in an EXR, for
    that is how renderers write their background. Missing pixels are filled by `fill_missing`.

    Args:
        path: the file; any size with the photo's aspect will do.
        kind: what its values are; None: what the file suggests.
        scale: what they are known up to; None: "metric" for a depth, "relative" for a disparity.
        unit_m: metres a unit of a metric depth; None: 0.001 for integers and 1 for floats.

    Returns:
        The disparity, and a confidence that is low where it was filled.

    Raises:
        InputError: if the file cannot be read, holds no valid pixel, claims more than 64
            megapixels, or is told to be what it cannot be.
        MissingExtraError: if it is an EXR and the extra is not installed.
    """
    refuse_url(path, "depth file")
    path = Path(path)
    _check_choice("depth kind", kind, get_args(DepthValues))
    _check_choice("depth scale", scale, get_args(DepthKind))
    held = _read_values(path)
    values = held.array
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[..., 0]
    if values.ndim != 2 or values.dtype.kind not in "uif" or values.size == 0:
        raise InputError(
            f"{path} must hold one (H, W) array of real numbers, got {values.shape} {values.dtype}"
        )
    is_depth = (kind or held.told) == "depth"
    scale = scale or ("metric" if is_depth else "relative")
    unit = _unit(path, values.dtype, unit_m, is_depth=is_depth, scale=scale)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        values = values.astype(np.float32)
        zero_is_missing = is_depth or held.zero_is_missing
        valid = np.isfinite(values) & ((values > 0) if zero_is_missing else (values >= 0))
        if is_depth and held.inf_is_far:
            valid |= values == np.inf
        disparity = 1 / (values * np.float32(unit)) if is_depth else values
    valid &= np.isfinite(disparity)
    if not valid.any():
        raise InputError(f"{path} holds no valid pixel: all are missing, infinite or negative")
    confidence = None
    if not valid.all():
        disparity = fill_missing(disparity, valid)
        confidence = np.where(valid, np.float32(1), np.float32(FILLED_CONFIDENCE))
    return DepthResult(np.ascontiguousarray(disparity, np.float32), scale, confidence)


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


def _check_choice(what: str, value: str | None, choices: tuple[str, ...]) -> None:
    if value is not None and value not in choices:
        raise InputError(f"{what} {value!r}: choose from {', '.join(choices)}")


def _unit(
    path: Path, dtype: np.dtype, unit_m: float | None, *, is_depth: bool, scale: DepthKind
) -> float:
    """What the file's values are multiplied by."""
    if is_depth and scale == "affine":
        raise InputError(
            f"{path} is said to hold depth up to scale and shift, which has no inverse: pass its "
            "disparity, or say that it is relative"
        )
    if unit_m is None:
        millimetres = is_depth and scale == "metric" and np.issubdtype(dtype, np.integer)
        return INTEGER_UNIT_M if millimetres else 1.0
    if not (is_depth and scale == "metric"):
        raise InputError(f"{path} holds no metric depth: leave out the depth's unit")
    if not (math.isfinite(unit_m) and unit_m > 0):
        raise InputError(f"a depth's unit must be a positive number of metres, got {unit_m}")
    return unit_m


def _read_values(path: Path) -> _Values:
    readers = {
        ".png": _read_png,
        ".tif": _read_tiff,
        ".tiff": _read_tiff,
        ".exr": _read_exr,
        ".npy": _read_npy,
        ".npz": _read_npz,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: a depth file is a {', '.join(readers)} file")
    if not path.is_file():
        raise InputError(f"depth file {path} does not exist")
    try:
        return reader(path)
    except DioramaError:
        raise
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise InputError(f"cannot read depth file {path}: {reason}") from error


def _read_png(path: Path) -> _Values:
    data = np.fromfile(path, np.uint8)
    if data[12:16].tobytes() == b"IHDR":
        _refuse_bomb(path, *struct.unpack(">II", data[16:24].tobytes()))
    with silence():  # libpng reports every odd chunk
        pixels = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if pixels is None:
        raise InputError(f"{path} is not a readable PNG")
    return _Values(_grey(pixels, path), zero_is_missing=True)


def _read_tiff(path: Path) -> _Values:
    with path.open("rb") as file, _without_warnings(), silence():
        # Not Image.open, whose limit is a global at 179 megapixels.
        image: Image.Image = TiffImagePlugin.TiffImageFile(file, None)
        _refuse_bomb(path, image.width, image.height)
        image.load()
        if image.mode in ("P", "PA", "CMYK", "LAB", "YCbCr"):
            image = image.convert("RGB")
        pixels = np.asarray(image)
    return _Values(_grey(pixels, path), zero_is_missing=pixels.dtype.kind != "f")


def _read_exr(path: Path) -> _Values:
    planes = read_exr(path)
    # A layered file puts the layer before the channel: "ViewLayer.Depth.Z".
    ends = {name.rpartition(".")[2].lower(): name for name in planes}
    if "disparity" in ends:
        return _Values(planes[ends["disparity"]], "disparity")
    for end in ("z", "depth"):
        if end in ends:
            return _Values(planes[ends[end]], "depth", inf_is_far=True)
    if len(planes) == 1:
        return _Values(next(iter(planes.values())))
    if "y" in ends:
        return _Values(planes[ends["y"]])
    if {"r", "g", "b"} <= ends.keys():
        return _Values(_grey(np.dstack([planes[ends[c]] for c in "rgb"]), path))
    if "r" in ends:
        return _Values(planes[ends["r"]])
    raise InputError(
        f"{path} has the channels {', '.join(planes)}: name one 'Z', 'depth' or 'disparity'"
    )


def _read_npy(path: Path) -> _Values:
    with path.open("rb") as file:
        return _Values(_read_array(file, path))


def _read_npz(path: Path) -> _Values:
    with zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        told: DepthValues | None = None
        if "disparity" in names:
            name = told = "disparity"
        elif "depth" in names:
            name = told = "depth"
        elif len(names) == 1:
            name = names[0]
        else:
            raise InputError(
                f"{path} holds {', '.join(names) or 'nothing'}: name one array 'disparity' or "
                "'depth'"
            )
        with archive.open(f"{name}.npy") as file:
            return _Values(_read_array(file, path), told)


def _read_array(file: IO[bytes] | io.BufferedIOBase, path: Path) -> Array:
    """An array in NumPy's format, whose header is believed only as far as `MAX_DEPTH_PIXELS`."""
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    reader = readers.get(np.lib.format.read_magic(file))
    if reader is None:
        raise InputError(f"{path} holds no plain array")
    shape, _, dtype = reader(file)
    if len(shape) not in (2, 3) or dtype.kind not in "uif":
        raise InputError(f"{path} must hold one (H, W) array of real numbers, got {shape} {dtype}")
    _refuse_bomb(path, shape[1], shape[0] * math.prod(shape[2:]))
    file.seek(0)
    return np.lib.format.read_array(file, allow_pickle=False)


def _grey(pixels: Array, path: Path) -> Array:
    if pixels.ndim == 2:
        return pixels
    if pixels.shape[2] == 2 or (pixels[..., :3] == pixels[..., :1]).all():
        return pixels[..., 0]
    raise InputError(f"{path} is a colour picture: depth must be grey")


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of every odd tag; those that count are checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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


def _refuse_bomb(path: Path, width: int, height: int) -> None:
    refuse_bomb(path, width, height, most=MAX_DEPTH_PIXELS)
