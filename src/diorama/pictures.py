"""Image files as upright 8-bit sRGB pixels: what each format needs to become a photo.

Sizes are checked by the header, before anything is decoded. The first picture of a file that holds
several is taken. Colours under alpha 0 are left as the file has them.
"""

import contextlib
import io
import logging
import struct
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import cv2
import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from diorama.arrays import AlphaBytes, Array, RgbBytes, refuse_bomb
from diorama.errors import DioramaError, InputError
from diorama.exr import read_exr
from diorama.extras import import_extra
from diorama.files import refuse_url
from diorama.runtime import silence

logger = logging.getLogger(__name__)

PHOTO_SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".mpo", ".png", ".webp", ".tif", ".tiff", ".bmp", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".exr"),
)
"""What photos are called, in lower case; a folder's other files are not photos. A single file is
told by its first bytes, whatever its name."""

FORMATS_LINE = "JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC or EXR"
"""For people."""

MIN_SIDE = 16
"""Pixels; below it there is nothing to tell depth from."""

MAX_CANVAS_PIXELS = 100_000_000
"""Of formats that may be animated: their decoders hold several pictures of this size at once."""

PLAUSIBLE_35MM = (4.0, 3000.0)
"""Focal lengths in mm to believe; cameras write 0 or nonsense when they do not know."""

# Whatever a decoder raises on damaged files; anything else is our own fault and stays loud.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error),
    *(RuntimeError, OverflowError, MemoryError, Image.DecompressionBombError),
)

_ORIENTATION, _EXIF_IFD, _FOCAL_35MM = 0x0112, 0x8769, 0xA405  # EXIF tags
_SUBFILE_TYPE, _CFA_PATTERN, _DNG_VERSION = 0x00FE, 0x828E, 0xC612  # TIFF tags
_UPRIGHT: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_EXR_MAGIC = b"\x76\x2f\x31\x01"


@dataclass(frozen=True)
class Picture:
    """One decoded picture, upright and in sRGB."""

    rgb: RgbBytes
    """(H, W, 3) uint8."""
    alpha: AlphaBytes | None
    """(H, W) uint8; None if every pixel is opaque."""
    focal_35mm: float | None = None
    """EXIF 35 mm equivalent focal length in mm, where that is plausible."""


def read_picture(path: str | Path, *, fitting: int | None = None) -> Picture:
    """Decode an image file.

    Args:
        path: a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC or EXR file, told by its first bytes.
        fitting: what is at least twice as large may come smaller, with a long side of no less than
            this many pixels; that takes a fraction of the memory, and of a JPEG's time.

    Returns:
        The picture; an EXR's linear colours are encoded as sRGB and cut off at 1.

    Raises:
        InputError: if it cannot be read, with the reason in one line.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    refuse_url(path, "photo")
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(
                f"{path} is a folder: pass the photos in it, for example {path / '*.jpg'}"
            )
        file = path.open("rb")
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {_reason(error)}") from error
    with file:
        head = file.read(64)
        if not head:
            raise InputError(f"{path} is empty")
        if head.startswith(_EXR_MAGIC):
            return _read_exr(path)
        opener = _opener(head, path)
        file.seek(0)
        image = _opened(opener, file, path)
        try:
            _refuse_raw(image, path)
            if fitting is not None and max(image.size) >= 2 * fitting and hasattr(image, "draft"):
                image.draft(None, (fitting, fitting))
            return picture_from_image(image, str(path), fitting=fitting)
        finally:
            image.close()


def picture_from_image(image: Image.Image, name: str, *, fitting: int | None = None) -> Picture:
    """Decode and convert a PIL image; `name` is for messages, `fitting` as for `read_picture`.

    Raises:
        InputError: if it is damaged, too small or of a kind that is no photo.
    """
    _check_size(image.width, image.height, name)
    try:
        if getattr(image, "is_animated", False) and image.format not in ("MPO", "HEIF"):
            logger.warning("%s holds several pictures: the first one is used", name)
            image.seek(0)
        with silence() if image.format == "TIFF" else contextlib.nullcontext():
            image.load()  # libtiff reports every damaged strip
        turn, focal_35mm = _exif(image)
        if fitting is not None and image.mode in ("RGB", "L", "CMYK"):
            factor = max(image.size) // fitting
            if factor > 1:
                icc = image.info.get("icc_profile")
                image = image.reduce(factor)
                image.info["icc_profile"] = icc
        upright = image if turn is None else image.transpose(turn)
        picture = _to_srgb_bytes(upright, name)
    except DioramaError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{name} is damaged: {_reason(error)}") from error
    return Picture(picture.rgb, picture.alpha, focal_35mm)


def picture_from_array(array: Array) -> Picture:
    """Take (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or float in 0..1, as a picture.

    Raises:
        InputError: if the array is something else.
    """
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
        return Picture(_grey_to_rgb(array.reshape(array.shape[:2])), None)
    rgb = np.array(array[..., :3], order="C")
    return Picture(rgb, _alpha(array[..., 3]) if array.shape[2] == 4 else None)


def orientation(image: Image.Image) -> Image.Transpose | None:
    """What turns `image` upright; to be asked once it is loaded, for Pillow turns a TIFF then."""
    return _exif(image)[0]


def _opener(head: bytes, path: Path) -> Callable[[BinaryIO], Image.Image]:
    """What opens a file that begins with `head`.

    Pillow's classes are called directly: Image.open's limit is a global at 179 megapixels.
    """
    if head.startswith(b"\xff\xd8\xff"):
        return lambda file: JpegImagePlugin.jpeg_factory(file, None)
    if head[4:8] == b"ftyp":
        # The major brand, then a version, then brands it is compatible with.
        brands = {head[at : at + 4] for at in (8, *range(16, min(len(head), 64), 4))}
        if brands & _AVIF_BRANDS:
            return lambda file: AvifImagePlugin.AvifImageFile(file, None)
        if brands & _HEIC_BRANDS:
            heif = import_extra("heic", f"reading {path}")
            return lambda file: heif.HeifImageFile(file, None)
    plugins = (
        (b"\x89PNG\r\n\x1a\n", 0, PngImagePlugin.PngImageFile),
        (b"WEBP", 8, WebPImagePlugin.WebPImageFile),
        (b"II*\0", 0, TiffImagePlugin.TiffImageFile),
        (b"MM\0*", 0, TiffImagePlugin.TiffImageFile),
        (b"BM", 0, BmpImagePlugin.BmpImageFile),
        (b"GIF8", 0, GifImagePlugin.GifImageFile),
    )
    for magic, at, plugin in plugins:
        if head[at : at + len(magic)] == magic:
            return lambda file: plugin(file, None)
    raise InputError(f"{path} is not a {FORMATS_LINE} picture")


def _opened(opener: Callable[[BinaryIO], Image.Image], file: BinaryIO, path: Path) -> Image.Image:
    try:
        with _without_warnings():
            image = opener(file)
    except _DAMAGED as error:
        raise InputError(f"{path} is damaged: {_reason(error)}") from error
    refuse_bomb(path, image.width, image.height)
    if image.format in ("WEBP", "GIF"):
        refuse_bomb(path, image.width, image.height, most=MAX_CANVAS_PIXELS)
    return image


def _refuse_raw(image: Image.Image, path: Path) -> None:
    """A camera's raw file looks like a TIFF whose first picture is a thumbnail."""
    tags = getattr(image, "tag_v2", {})
    if _DNG_VERSION in tags or _CFA_PATTERN in tags or tags.get(_SUBFILE_TYPE) == 1:
        raise InputError(
            f"{path} is a camera's raw file: develop it first, to a JPEG or a 16-bit TIFF"
        )


def _check_size(width: int, height: int, name: str) -> None:
    if min(width, height) < MIN_SIDE:
        raise InputError(f"{name} is {width}x{height} px: at least {MIN_SIDE} px a side are needed")


def _exif(image: Image.Image) -> tuple[Image.Transpose | None, float | None]:
    """What turns the image upright, and its 35 mm focal length in mm where that is plausible."""
    try:
        with _without_warnings():
            tags = image.getexif()
            turn = _UPRIGHT.get(tags.get(_ORIENTATION))
            focal = float(tags.get_ifd(_EXIF_IFD).get(_FOCAL_35MM, 0))
    except (*_DAMAGED, TypeError):
        return None, None
    low, high = PLAUSIBLE_35MM
    return turn, focal if low <= focal <= high else None


def _to_srgb_bytes(image: Image.Image, name: str) -> Picture:
    if image.mode == "F":
        return picture_from_array(np.asarray(image))
    if image.mode.startswith("I"):
        # 16-bit grey, which Pillow would clip to 255
        scaled = (np.asarray(image, np.float64) / 257 + 0.5).clip(0, 255).astype(np.uint8)
        icc = image.info.get("icc_profile")
        image = Image.fromarray(scaled)
        image.info["icc_profile"] = icc
    if image.mode in ("P", "PA", "LA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA" if image.has_transparency_data else "RGB")
    alpha = _alpha(np.asarray(image.getchannel("A"))) if image.mode == "RGBA" else None
    rgb = _icc_to_srgb(image, name)
    if rgb.mode != "RGB":
        rgb = rgb.convert("RGB")
    return Picture(np.array(rgb), alpha)


def _icc_to_srgb(image: Image.Image, name: str) -> Image.Image:
    icc = image.info.get("icc_profile")
    if not icc:
        return _lab_to_srgb(image) if image.mode == "LAB" else image
    from PIL import ImageCms

    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        if ImageCms.getProfileDescription(profile).strip().lower().startswith("srgb"):
            return image
        space = getattr(profile.profile, "xcolor_space", "").strip()
        mode = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK", "Lab": "LAB"}[space]
        source = image if image.mode == mode else image.convert(mode)
        converted = ImageCms.profileToProfile(
            source, profile, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError, KeyError, ValueError, TypeError) as error:
        logger.warning("%s: colour profile ignored (%s)", name, _reason(error))
        return _lab_to_srgb(image) if image.mode == "LAB" else image
    return image if converted is None else converted


def _lab_to_srgb(image: Image.Image) -> Image.Image:
    from PIL import ImageCms

    lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, lab, srgb, outputMode="RGB")
    assert converted is not None  # not in place
    return converted


def _read_exr(path: Path) -> Picture:
    planes = read_exr(path)
    height, width = next(iter(planes.values())).shape if planes else (0, 0)
    _check_size(width, height, str(path))
    names = "RGB" if {"R", "G", "B"} <= planes.keys() else "YYY"
    if not set(names) <= planes.keys():
        raise InputError(
            f"{path} has the channels {', '.join(planes)}: a photo needs R, G, B or Y; "
            "a depth file is passed with --depth"
        )
    alpha = planes.get("A")
    linear = np.stack([planes[name] for name in names], -1)
    if alpha is not None:
        # EXR colours are multiplied by alpha.
        alpha = np.nan_to_num(alpha).clip(0, 1)
        linear = linear / np.maximum(alpha, np.float32(1e-3))[..., None]
        alpha = _alpha(np.rint(alpha * 255).astype(np.uint8))
    linear = np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0).clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return Picture(np.rint(encoded * 255).astype(np.uint8), alpha)


def _alpha(alpha: Array) -> AlphaBytes | None:
    return None if alpha.min() == 255 else np.array(alpha, np.uint8)


def _grey_to_rgb(grey: Array) -> RgbBytes:
    return cv2.cvtColor(np.ascontiguousarray(grey), cv2.COLOR_GRAY2RGB)


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of every odd EXIF tag; those that count are checked here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return (str(error).splitlines() or [type(error).__name__])[0] or type(error).__name__
