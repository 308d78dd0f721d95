"""What meshes and planes wear: each layer's colour at the photo's full resolution, cut to size."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diorama.arrays import RgbaBytes
from diorama.layers import Layer
from diorama.photo import Photo


@dataclass(frozen=True)
class Texture:
    """A layer's picture, cut to where the layer is."""

    rgba: RgbaBytes
    """(h, w, 4) uint8, straight; colour is bled to where alpha is 0."""
    box: tuple[int, int, int, int]
    """left, top, right, bottom of the cut in processing pixels."""


def layer_textures(
    photo: Photo, layers: Sequence[Layer], *, max_size: int | None = None
) -> list[Texture]:
    """Cut each layer's texture: the photo's own pixels where it shows the layer, fills elsewhere.

    Args:
        photo: the photo, whose `texture` gives the resolution.
        layers: back to front.
        max_size: longest side in pixels a whole frame may have; None keeps the photo's.

    Returns:
        One texture a layer, in order.
    """
    height, width = photo.rgb.shape[:2]
    scale = max(1.0, photo.texture.shape[1] / width)
    if max_size is not None:
        scale = min(scale, max_size / max(height, width))
    return [_layer_texture(photo, layer, scale) for layer in layers]


def _layer_texture(photo: Photo, layer: Layer, scale: float) -> Texture:
    height, width = layer.disparity.shape
    box = _bounding_box(layer)
    left, top, right, bottom = box
    cut = (slice(top, bottom), slice(left, right))
    size = (max(1, round((right - left) * scale)), max(1, round((bottom - top) * scale)))
    rgba = layer.rgba[cut]
    if size == (right - left, bottom - top) and photo.texture.shape[:2] == (height, width):
        return Texture(_to_bytes(rgba), box)

    def resize(image: np.ndarray) -> np.ndarray:
        shrinking = size[0] < image.shape[1]
        return cv2.resize(
            image, size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
        )

    out = _to_bytes(resize(rgba))
    ratio_x, ratio_y = photo.texture.shape[1] / width, photo.texture.shape[0] / height
    fine = photo.texture[
        round(top * ratio_y) : round(bottom * ratio_y),
        round(left * ratio_x) : round(right * ratio_x),
    ]
    # The photo's own pixels replace the enlarged ones where the layer shows the photo unchanged;
    # the share is soft so that no seam appears where a fill or a decontaminated edge begins.
    unchanged = np.abs(rgba[..., :3] - photo.rgb[cut]).max(-1) < 1e-3
    unchanged &= (rgba[..., 3] >= 1) & ~layer.hole[cut]
    share = cv2.erode(unchanged.astype(np.float32), np.ones((3, 3), np.uint8))
    share = resize(cv2.blur(share, (3, 3)))[..., None]
    out[..., :3] = np.rint(out[..., :3] * (1 - share) + resize(fine) * share)
    return Texture(out, box)


def _bounding_box(layer: Layer) -> tuple[int, int, int, int]:
    seen = layer.rgba[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    height, width = seen.shape
    if not len(rows):
        return 0, 0, 1, 1
    margin = 2  # filtering at the cut's edge reads the bled colour, not the border
    return (
        max(0, int(columns[0]) - margin),
        max(0, int(rows[0]) - margin),
        min(width, int(columns[-1]) + 1 + margin),
        min(height, int(rows[-1]) + 1 + margin),
    )


def _to_bytes(rgba: np.ndarray) -> RgbaBytes:
    return np.rint(np.clip(rgba, 0, 1) * 255).astype(np.uint8)
