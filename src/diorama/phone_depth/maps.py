"""What the readers of phones' depth share: a map as found, its range, and pictures as numbers.

Google's maps hold near as 0 and far as 1. With n the nearest and f the farthest depth they hold
``RangeInverse: 1/z = 1/n + x (1/f - 1/n)`` and ``RangeLinear: z = n + x (f - n)``.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from diorama.arrays import Array
from diorama.depth import DepthKind
from diorama.xmp import property_of

MAX_MAP_PIXELS = 64_000_000
"""By the header of a depth map, before it is decoded; phones' have a fraction of a megapixel."""

MAX_PICTURES = 16
"""Beside the photo, and descriptions of one; more are not looked at."""

_ACROSS = (
    *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
    *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
)


@dataclass(frozen=True)
class FoundMap:
    """A depth map as it is in the file."""

    disparity: Array
    """(h, w) float."""
    kind: DepthKind
    confidence: Array | None = None
    """(h2, w2) float in 0..1."""
    matte: Array | None = None
    """(h3, w3) float in 0..1."""
    focal: tuple[float, float] | None = None
    """Focal length in widths and in heights of the map."""
    along_rays: bool = False
    """Whether depth is the distance to the camera rather than along its axis."""
    stretched: bool = False
    """Whether the map covers the photo whatever its aspect is."""


def in_range(
    unit: Array, form: str | None, near: float | None, far: float | None, *, unit_m: float | None
) -> tuple[Array, DepthKind]:
    """Disparity, and what it is known up to, of a map that is 0 where it is near and 1 where far.

    Args:
        unit: (h, w) float in 0..1.
        form: "RangeInverse" or "RangeLinear"; None is the former.
        near: nearest depth; None: not known.
        far: farthest depth; None: not known.
        unit_m: metres a unit of these; None: not known.
    """
    inverse = {"rangeinverse": True, "rangelinear": False}.get((form or "RangeInverse").lower())
    if inverse is None:
        raise ValueError(f"its depth map has an unknown format {form!r}")
    if near is None or far is None:
        if not inverse:
            raise ValueError("its depth map tells no range")
        return 1 - unit, "affine"
    if not (0 < near <= far and math.isfinite(near) and (inverse or math.isfinite(far))):
        raise ValueError(f"its depth map has an impossible range, {near:g} to {far:g}")
    scale = 1.0 if unit_m is None else unit_m
    near, far = near * scale, far * scale
    disparity = (
        1 / near + unit * (1 / far - 1 / near) if inverse else 1 / (near + unit * (far - near))
    )
    return disparity, "relative" if unit_m is None else "metric"


def unit_map(data: bytes) -> Array:
    """A grey JPEG or PNG as (h, w) float in 0..1."""
    return to_unit(_pixels(data))


def to_unit(pixels: Array) -> Array:
    """Grey of 8 or 16 bits as (h, w) float in 0..1."""
    if pixels.ndim == 3:
        pixels = pixels[..., 0]
    full = 255 if pixels.dtype == np.uint8 else 65535
    return pixels.astype(np.float64) / full


def refuse_large(width: int, height: int) -> None:
    """Raise a ValueError where a header claims more than `MAX_MAP_PIXELS`."""
    if width * height > MAX_MAP_PIXELS:
        raise ValueError(f"its depth map claims {width}x{height} px")


def property_in(documents: Sequence[Element], namespace: str, name: str) -> str | None:
    """A property of whichever packet has it; None if there is none."""
    for document in documents:
        value = property_of(document, namespace, name)
        if value is not None:
            return value
    return None


def number_of(text: str | None) -> float | None:
    """The number a property holds; None if there is none, or it is none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def lies_across(turns: Sequence[Image.Transpose]) -> bool:
    """Whether these turns exchange width and height."""
    return sum(turn in _ACROSS for turn in turns) % 2 == 1


def turned_focal(
    focal: tuple[float, float] | None, turns: Sequence[Image.Transpose]
) -> tuple[float, float] | None:
    """Focal lengths in widths and in heights, after these turns."""
    return (focal[1], focal[0]) if focal is not None and lies_across(turns) else focal


def _pixels(data: bytes) -> Array:
    opener = (
        PngImagePlugin.PngImageFile
        if data.startswith(b"\x89PNG")
        else JpegImagePlugin.JpegImageFile
    )
    image: Image.Image = opener(io.BytesIO(data), None)
    refuse_large(image.width, image.height)
    image.load()
    if not image.mode.startswith(("L", "I")):
        image = image.convert("L")  # grey that was saved as colour
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 2 else pixels[..., 0]
