"""What comes in: a photo, upright, in sRGB, with its field of view.

A photo is kept at two sizes. Textures keep the original's pixels up to `texture_size`; the stages
compute at `max_size`, which is an area average of the texture, so that a scene on disk needs to
hold the texture alone.
"""

import contextlib
import io
import logging
import struct
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import (
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from diorama.arrays import Array, Rgb, RgbBytes
from diorama.camera import Camera, focal_from_35mm
from diorama.errors import InputError

logger = logging.getLogger(__name__)

MAX_SIZE = 1920
"""Long side in pixels that the stages compute at: full HD, what most screens show."""

TEXTURE_SIZE = 4096
"""Long side in pixels of textures: what every phone's WebGL takes."""

MIN_SIDE = 16
"""Pixels; below it there is nothing to tell depth from."""

MAX_PIXELS = 300_000_000
"""By the header, before anything is decoded: above the largest phone sensors (200 megapixels)."""

PLAUSIBLE_35MM = (4.0, 3000.0)
"""Focal lengths in mm to believe; cameras write 0 or nonsense when they do not know."""

# Opened by their own classes: Image.open's limit is a global that stops at 179 megapixels.
_PLUGINS = (
    (b"\xff\xd8\xff", 0, JpegImagePlugin.jpeg_factory),
    (b"\x89PNG\r\n\x1a\n", 0, PngImagePlugin.PngImageFile),
    (b"WEBP", 8, WebPImagePlugin.WebPImageFile),
    (b"II*\0", 0, TiffImagePlugin.TiffImageFile),
    (b"MM\0*", 0, TiffImagePlugin.TiffImageFile),
    (b"BM", 0, BmpImagePlugin.BmpImageFile),
)

# What Pillow's decoders raise on damaged files; anything else is our own fault and stays loud.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error)

_ORIENTATION, _EXIF_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0xA405  # EXIF tags
_UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_BYTE_TO_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)


@dataclass(frozen=True)
class Photo:
    """A photo at two sizes: one to compute on, one for textures."""

    rgb: Rgb
    """(H, W, 3) float32 at processing size; what every stage works on."""
    texture: RgbBytes = field(repr=False)
    """(H2, W2, 3) uint8 with the same aspect, at least as large: what textures are cut from."""
    camera: Camera
    """At processing size, at the origin."""
    name: str = "photo"
    """The file's stem, or "photo"."""


def load_photo(
    source: str | Path | Image.Image | Array,
    *,
    max_size: int = MAX_SIZE,
    texture_size: int = TEXTURE_SIZE,
    fov_deg: float | None = None,
) -> Photo:
    """Load a photo: upright, in sRGB, with its field of view, at two sizes.

    Alpha is composited over white. The field of view comes from `fov_deg`, else from the EXIF
    35 mm equivalent focal length, else it is 55 degrees.

    Args:
        source: a JPEG, PNG, WebP, TIFF or BMP file, a PIL image, or an array (H, W), (H, W, 1),
            (H, W, 3) or (H, W, 4), uint8 or float in 0..1.
        max_size: longest side in pixels to compute at; a smaller photo is not enlarged.
        texture_size: longest side in pixels of the texture; at least `max_size` is kept.
        fov_deg: horizontal field of view in degrees.

    Returns:
        The photo; `rgb` equals `texture / 255` where the sizes are equal.

    Raises:
        InputError: if it cannot be read as a photo, with the reason in one line.
    """
    if max_size < MIN_SIDE:
        raise InputError(f"max_size must be at least {MIN_SIDE} px, got {max_size}")
    if fov_deg is not None and not 1 <= fov_deg <= 170:
        raise InputError(f"fov_deg must lie in 1..170 degrees, got {fov_deg}")
    texture_size = max(texture_size, max_size)
    if isinstance(source, np.ndarray):
        pixels, focal_35mm, name = _from_array(source), None, "photo"
    elif isinstance(source, Image.Image):
        name = Path(getattr(source, "filename", "") or "photo").stem
        pixels, focal_35mm = _from_image(source, name)
    elif isinstance(source, (str, Path)):
        pixels, focal_35mm = _from_file(str(source), texture_size)
        name = Path(source).stem
    else:
        raise InputError(
            f"a photo is a path, a PIL image or a NumPy array, got {type(source).__name__}"
        )
    texture = shrink(pixels, fitting_size(pixels, texture_size))
    size = fitting_size(texture, max_size)
    if min(size) < MIN_SIDE:
        raise InputError(
            f"{name} is {pixels.shape[1]}x{pixels.shape[0]} px: its short side would be "
            f"{min(size)} px at max_size {max_size}, and at least {MIN_SIDE} are needed; crop it"
        )
    if fov_deg is not None:
        camera = Camera.from_fov(*size, fov_deg)
    elif focal_35mm is not None:
        camera = Camera.from_focal(*size, focal_from_35mm(*size, focal_35mm))
    else:
        camera = Camera.from_fov(*size)
    return photo_from_texture(texture, camera, name=name)


def photo_from_texture(texture: RgbBytes, camera: Camera, *, name: str = "photo") -> Photo:
    """A photo whose processing size is the camera's; the same bytes give the same `rgb`."""
    small = shrink(texture, (camera.width, camera.height))
    # A table is exact (it holds texture / 255) and an order faster than the division.
    return Photo(cv2.LUT(small, _BYTE_TO_UNIT), texture, camera, name)


def fitting_size(pixels: Array, longest: int) -> tuple[int, int]:
    """(width, height) of `pixels` scaled down, never up, to a long side of at most `longest`."""
    height, width = pixels.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))


def shrink(pixels: Array, size: tuple[int, int]) -> Array:
    """The area average of `pixels` at `size` (width, height); no copy if that is their size."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)


def _from_file(source: str, texture_size: int) -> tuple[RgbBytes, float | None]:
    if "://" in source:
        raise InputError(f"{source} is a URL: download the photo first and pass the file")
    path = Path(source)
    if path.is_dir():
        raise InputError(f"{path} is a folder: pass the photos in it, for example {path / '*.jpg'}")
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    with file:
        image = _open_image(file, path)
        try:
            if max(image.size) >= 2 * texture_size and hasattr(image, "draft"):
                # A JPEG decodes at 1/2, 1/4 or 1/8 for a fraction of the time and memory.
                image.draft(None, (texture_size, texture_size))
            return _from_image(image, str(path))
        finally:
            image.close()


def _open_image(file: BinaryIO, path: Path) -> Image.Image:
    head = file.read(32)
    file.seek(0)
    if not head:
        raise InputError(f"{path} is empty")
    plugins = [plugin for magic, at, plugin in _PLUGINS if head[at : at + len(magic)] == magic]
    if not plugins:
        raise InputError(f"{path} is not a JPEG, PNG, WebP, TIFF or BMP picture")
    try:
        with _without_warnings():
            image = plugins[0](file, None)
    except _DAMAGED as error:
        raise InputError(f"{path} is damaged: {_one_line(error)}") from error
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise InputError(
            f"{path} claims {width}x{height} px, more than {MAX_PIXELS // 1_000_000} megapixels: "
            "scale it down first"
        )
    return image


def _from_image(image: Image.Image, name: str) -> tuple[RgbBytes, float | None]:
    _check_size(image.width, image.height, name)
    try:
        image.load()
        turn, focal_35mm = _exif(image)
        upright = image if turn is None else image.transpose(turn)
        return _to_srgb_bytes(upright, name), focal_35mm
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{name} is damaged: {_one_line(error)}") from error


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{name} is {width}x{height} px: at least {MIN_SIDE} px a side are needed")


def _exif(image: Image.Image) -> tuple[Image.Transpose | None, float | None]:
    """What turns the image upright, and its 35 mm focal length in mm where that is plausible.

    To be asked of a loaded image: Pillow turns a TIFF itself while loading it.
    """
    try:
        with _without_warnings():
            tags = image.getexif()
            turn = _UPRIGHT.get(tags.get(_ORIENTATION))
            focal = float(tags.get_ifd(_EXIF_IFD).get(_FOCAL_35MM, 0))
    except (*_DAMAGED, TypeError):
        return None, None
    low, high = PLAUSIBLE_35MM
    return turn, focal if low <= focal <= high else None


def _to_srgb_bytes(image: Image.Image, name: str) -> RgbBytes:
    if image.mode.startswith("I"):
        # 16-bit grey, which Pillow would clip to 255
        return _grey_to_rgb((np.asarray(image, np.float64) / 257 + 0.5).clip(0, 255))
    if image.mode == "F":
        return _from_array(np.asarray(image))
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    alpha = image.getchannel("A") if image.mode == "RGBA" else None
    rgb = _icc_to_srgb(image, name)
    if rgb.mode != "RGB":
        rgb = rgb.convert("RGB")
    pixels = np.array(rgb)
    return pixels if alpha is None else _over_white(pixels, np.asarray(alpha))


def _icc_to_srgb(image: Image.Image, name: str) -> Image.Image:
    icc = image.info.get("icc_profile")
    if not icc:
        return image
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if ImageCms.getProfileDescription(profile).strip().lower().startswith("srgb"):
            return image
        space = getattr(profile.profile, "xcolor_space", "").strip()
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}[space]
        source = image if image.mode == mode else image.convert(mode)
        converted = ImageCms.profileToProfile(
            source, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError) as error:
        logger.warning("%s: colour profile ignored (%s)", name, _one_line(error))
        return image
    return image if converted is None else converted


def _from_array(array: Array) -> RgbBytes:
    fits = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    floating = np.issubdtype(array.dtype, np.floating)
    if not fits or not (floating or array.dtype == np.uint8):
        raise InputError(
            "a photo array must be (H, W, 3), (H, W, 4) or (H, W, 1), uint8 or float in 0..1, "
            f"got {array.shape} {array.dtype}"
        )
    _check_size(array.shape[1], array.shape[0], "the photo array")
    if floating:
        low, high = float(array.min()), float(array.max())
        # Resampling overshoots by a little; anything more is another range.
        if not (low >= -0.01 and high <= 1.01):
            raise InputError(
                f"a float photo array must lie in 0..1, got {low:g}..{high:g}; "
                "divide it by its white or pass uint8"
            )
        array = np.rint(array.clip(0, 1) * 255).astype(np.uint8)
    if array.ndim == 2 or array.shape[2] == 1:
        return _grey_to_rgb(array.reshape(array.shape[:2]))
    if array.shape[2] == 4:
        return _over_white(array[..., :3], array[..., 3])
    return array.copy()


def _grey_to_rgb(grey: Array) -> RgbBytes:
    return np.repeat(grey.astype(np.uint8)[..., None], 3, axis=2)


def _over_white(rgb: RgbBytes, alpha: Array) -> RgbBytes:
    if alpha.min() == 255:
        return np.ascontiguousarray(rgb)
    share = alpha.astype(np.uint16)[..., None]
    return ((rgb * share + 255 * (255 - share) + 127) // 255).astype(np.uint8)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of every odd EXIF tag; those that count are checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _one_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
