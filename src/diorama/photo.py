"""What comes in: a photo, upright, in sRGB, with its field of view.

A photo is kept at two sizes. Textures keep the original's pixels up to `texture_size`; the stages
compute at `max_size`, which is an area average of the texture, so that a scene on disk needs to
hold the texture alone.

Where a photo is transparent there is nothing: `alpha` becomes the edge of its layers. Its colours
are continued smoothly there, so that no stage and no filter meets the arbitrary ones a file holds.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from diorama.arrays import Alpha, AlphaBytes, Array, Mask, Rgb, RgbBytes
from diorama.camera import DEFAULT_FOV_DEG, Camera, focal_from_35mm
from diorama.errors import InputError
from diorama.pictures import MIN_SIDE, picture_from_array, picture_from_image, read_picture

MAX_SIZE = 1920
"""Long side in pixels that the stages compute at: full HD, what most screens show."""

TEXTURE_SIZE = 4096
"""Long side in pixels of textures: what every phone's WebGL takes."""

SEEN_ALPHA = 0.04
"""Alpha below which a pixel shows nothing: ten grey levels, under the noise of most cut-outs."""

_TRUE_COLOR = 16  # alpha in bytes from which a straight colour is more than rounding
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
    alpha: Alpha | None = None
    """(H, W) float32 in steps of 1/255 at processing size; None if every pixel is opaque."""

    @property
    def nothing(self) -> Mask | None:
        """(H, W) bool: where the photo shows nothing; None if it is opaque everywhere."""
        return None if self.alpha is None else self.alpha < np.float32(SEEN_ALPHA)

    @property
    def tells_fov(self) -> bool:
        """Whether the field of view is its own, not the usual one of photos that do not tell."""
        return not math.isclose(self.camera.fov_deg, DEFAULT_FOV_DEG, rel_tol=1e-9)


def load_photo(
    source: str | Path | Image.Image | Array,
    *,
    max_size: int = MAX_SIZE,
    texture_size: int = TEXTURE_SIZE,
    fov_deg: float | None = None,
) -> Photo:
    """Load a photo: upright, in sRGB, with its field of view, at two sizes.

    The field of view comes from `fov_deg`, else from the EXIF 35 mm equivalent focal length, else
    it is 55 degrees.

    Args:
        source: a JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC or EXR file, a PIL image, or an array
            (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8 or float in 0..1. The last channel of
            four is straight alpha.
        max_size: longest side in pixels to compute at; a smaller photo is not enlarged.
        texture_size: longest side in pixels of the texture; at least `max_size` is kept.
        fov_deg: horizontal field of view in degrees.

    Returns:
        The photo; `rgb` equals `texture / 255` where the sizes are equal.

    Raises:
        InputError: if it cannot be read as a photo, with the reason in one line.
        MissingExtraError: if its format needs an extra that is not installed.
    """
    if max_size < MIN_SIDE:
        raise InputError(f"max_size must be at least {MIN_SIDE} px, got {max_size}")
    if fov_deg is not None and not 1 <= fov_deg <= 170:
        raise InputError(f"fov_deg must lie in 1..170 degrees, got {fov_deg}")
    texture_size = max(texture_size, max_size)
    where = "photo"
    if isinstance(source, np.ndarray):
        picture = picture_from_array(source)
    elif isinstance(source, Image.Image):
        where = str(getattr(source, "filename", "") or "photo")
        picture = picture_from_image(source, where)
    elif isinstance(source, (str, Path)):
        where = str(source)
        picture = read_picture(source, fitting=texture_size)
    else:
        raise InputError(
            f"a photo is a path, a PIL image or a NumPy array, got {type(source).__name__}"
        )
    height, width = picture.rgb.shape[:2]
    texture, alpha = _fit(picture.rgb, picture.alpha, fitting_size(picture.rgb, texture_size))
    size = fitting_size(texture, max_size)
    if min(size) < MIN_SIDE:
        raise InputError(
            f"{where} is {width}x{height} px: its short side would be "
            f"{min(size)} px at max_size {max_size}, and at least {MIN_SIDE} are needed; crop it"
        )
    if alpha is not None:
        alpha = cv2.LUT(shrink(alpha, size), _BYTE_TO_UNIT)
        if alpha.max() < 0.5:
            raise InputError(f"{where} is transparent everywhere: there is nothing to see in it")
    if fov_deg is not None:
        camera = Camera.from_fov(*size, fov_deg)
    elif picture.focal_35mm is not None:
        camera = Camera.from_focal(*size, focal_from_35mm(*size, picture.focal_35mm))
    else:
        camera = Camera.from_fov(*size)
    # A name that is no text, which file systems allow, could not be written into any format.
    name = Path(where).stem.encode("utf-8", "replace").decode()
    return photo_from_texture(texture, camera, name=name, alpha=alpha)


def photo_from_texture(
    texture: RgbBytes, camera: Camera, *, name: str = "photo", alpha: Alpha | None = None
) -> Photo:
    """A photo whose processing size is the camera's; the same bytes give the same `rgb`."""
    small = shrink(texture, (camera.width, camera.height))
    # A table is exact (it holds texture / 255) and an order faster than the division.
    return Photo(cv2.LUT(small, _BYTE_TO_UNIT), texture, camera, name, alpha)


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


def _fit(rgb: Array, alpha: Array | None, size: tuple[int, int]) -> tuple[Array, Array | None]:
    """Colour and alpha shrunk to `size`; colour continued to where the photo is transparent."""
    if alpha is None:
        return shrink(rgb, size), None
    small = shrink(alpha, size)
    true = alpha >= _TRUE_COLOR
    colors = shrink(np.where(true[..., None], rgb, 0).astype(np.uint8), size)
    share = shrink(true.view(np.uint8) * np.uint8(255), size)
    return _continued(colors, share), small


def _continued(colors: RgbBytes, share: AlphaBytes) -> RgbBytes:
    """Colours that count by their `share` of 255 (and are multiplied by it), made whole.

    Pixels with no share take a weighted mean of those around them, from ever coarser levels
    (pull and push; Gortler et al., "The lumigraph", 1996).
    """
    if share.min() == 255:
        return colors
    height, width = share.shape
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse = _pull_push(
        cv2.resize(colors.astype(np.float32), half, interpolation=cv2.INTER_AREA),
        cv2.resize(share.astype(np.float32), half, interpolation=cv2.INTER_AREA) / 255,
    )
    out = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    out = np.rint(out.clip(0, 255)).astype(np.uint8)
    y, x = np.nonzero(share)
    own = colors[y, x] * (np.float32(255) / share[y, x])[:, None]
    out[y, x] = np.rint(own.clip(0, 255))
    return out


def _pull_push(colors: Array, weight: Array) -> Array:
    """Colours (h, w, 3) float32, multiplied by their weight (h, w), with weightless ones filled."""
    height, width = weight.shape
    if max(height, width) == 1:
        return colors / np.maximum(weight, np.float32(1e-6))[..., None]
    half = ((width + 1) // 2, (height + 1) // 2)
    coarse = _pull_push(
        cv2.resize(colors, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0], 3),
        cv2.resize(weight, half, interpolation=cv2.INTER_AREA).reshape(half[1], half[0]),
    )
    around = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    around = around.reshape(height, width, 3)
    return colors + around * (1 - weight[..., None])
