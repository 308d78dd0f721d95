"""Depth that a phone put into the photo's own file, upright as the photo is.

===========================  ======================================================================
Google GDepth                XMP of a JPEG: developers.google.com/depthmap-metadata
Google Dynamic Depth         pictures appended to a JPEG, listed in its XMP: developer.android.com,
                             "Dynamic Depth" 1.0 (2019)
Apple, in HEIC               auxiliary pictures (ISO/IEC 23008-12) with XMP of Apple's own
HEIC of others               auxiliary pictures with HEVC's depth representation information
Apple, in JPEG               further pictures in the file (CIPA DC-007, MPF) with the same XMP
===========================  ======================================================================
"""

import io
import logging
import math
import struct
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin

from diorama.arrays import Array
from diorama.camera import DEFAULT_FOV_DEG
from diorama.depth import ASPECT_TOLERANCE, DepthResult
from diorama.errors import InputError
from diorama.phone_depth.apple import apple_jpeg_map
from diorama.phone_depth.google import dynamic_depth_map, gdepth_map
from diorama.phone_depth.heic import heic_map
from diorama.phone_depth.maps import FoundMap, lies_across, turned_focal
from diorama.pictures import orientation
from diorama.xmp import jpeg_packets, parse

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 1_000_000_000
"""Larger files are not looked into: photos with a short film appended have a tenth of that."""

# Whatever decoders raise on damaged files; anything else is our own fault and stays loud.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error),
    *(RuntimeError, OverflowError, MemoryError),
)


def own_depth(source: str | Path) -> DepthResult | None:
    """The depth that a phone put into a photo's own file.

    Args:
        source: a photo; JPEG and HEIC can hold depth.

    Returns:
        Disparity of the map's own size, upright as `load_photo` gives the photo; None if there is
        none, or, with a warning in the log, if it cannot be used. "metric" where the file speaks of
        metres that were measured, "relative" where its range is known up to scale, else "affine".

    Raises:
        InputError: if there is no such file.
        MissingExtraError: if it is a HEIC and the extra is not installed.
    """
    path = Path(source)
    try:
        with path.open("rb") as file:
            head = file.read(12)
            reader = _reader(head)
            if reader is None:
                return None
            rest = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if len(head) + len(rest) > MAX_FILE_BYTES:
            raise ValueError(f"the file has more than {MAX_FILE_BYTES} bytes")
        return reader(head + rest)
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        logger.warning("%s: the depth in it cannot be used: %s", path, reason)
        return None


def _reader(head: bytes) -> Callable[[bytes], DepthResult | None] | None:
    if head.startswith(b"\xff\xd8\xff"):
        return _of_jpeg
    if head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"avis"):
        return _of_heif
    return None


def _of_jpeg(data: bytes) -> DepthResult | None:
    packets = jpeg_packets(data)
    documents = [parse(packet) for packet in packets]
    found = dynamic_depth_map(data, documents) or gdepth_map(documents) or apple_jpeg_map(data)
    if found is None:
        return None
    photo = JpegImagePlugin.JpegImageFile(io.BytesIO(data), None)
    turn = orientation(photo)
    turns = [] if turn is None else [turn]
    width, height = photo.size
    return _upright(found, turns, height / width if lies_across(turns) else width / height)


def _of_heif(data: bytes) -> DepthResult | None:
    found = heic_map(data)
    return None if found is None else _upright(*found)


def _upright(found: FoundMap, turns: Sequence[Image.Transpose], aspect: float) -> DepthResult:
    """The map as the photo is shown, after these turns, with this ratio of width to height."""
    disparity = _along_axis(found) if found.along_rays else found.disparity
    confidence, matte = found.confidence, found.matte
    for turn in turns:
        disparity = _turned(disparity, turn)
        confidence = None if confidence is None else _turned(confidence, turn)
        matte = None if matte is None else _turned(matte, turn)
    rows, columns = _fitted_shape(disparity, aspect, stretched=found.stretched)
    if matte is not None:
        if abs(matte.shape[1] / matte.shape[0] / aspect - 1) > ASPECT_TOLERANCE:
            matte = None  # of something else than the whole photo
        elif matte.shape[0] > rows:
            rows, columns = matte.shape
    disparity = _sized(disparity, columns, rows)
    if not np.isfinite(disparity).all():
        raise ValueError("its depth map is not finite")
    focal = turned_focal(found.focal, turns)
    return DepthResult(
        disparity,
        found.kind,
        None if confidence is None else _sized(confidence, columns, rows),
        matte=None if matte is None else _sized(matte, columns, rows),
        fov_deg=None if focal is None else math.degrees(2 * math.atan(0.5 / focal[0])),
    )


def _fitted_shape(pixels: Array, aspect: float, *, stretched: bool) -> tuple[int, int]:
    """Rows and columns of a map that has the photo's aspect, or is to be stretched to it."""
    rows, columns = pixels.shape
    if abs(columns / rows / aspect - 1) <= ASPECT_TOLERANCE:
        return rows, columns
    on_its_side = abs(columns / rows * aspect - 1) <= ASPECT_TOLERANCE
    if on_its_side or not stretched:
        raise ValueError(f"its depth map is {columns}x{rows} px, which is not the photo's shape")
    return max(1, round(columns / aspect)), columns


def _sized(pixels: Array, columns: int, rows: int) -> Array:
    pixels = np.ascontiguousarray(pixels, np.float32)
    if pixels.shape == (rows, columns):
        return pixels
    way = cv2.INTER_AREA if pixels.shape[0] > rows else cv2.INTER_LINEAR
    return cv2.resize(pixels, (columns, rows), interpolation=way)


def _turned(pixels: Array, turn: Image.Transpose) -> Array:
    return np.asarray(Image.fromarray(pixels.astype(np.float32)).transpose(turn))


def _along_axis(found: FoundMap) -> Array:
    """1/z from 1/r, the inverse distance to the camera."""
    rows, columns = found.disparity.shape
    if found.focal is not None:
        fx, fy = found.focal[0] * columns, found.focal[1] * rows
    else:
        fx = fy = max(rows, columns) / 2 / math.tan(math.radians(DEFAULT_FOV_DEG) / 2)
    x = (np.arange(columns) + 0.5 - columns / 2) / fx
    y = (np.arange(rows) + 0.5 - rows / 2) / fy
    return found.disparity * np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)
