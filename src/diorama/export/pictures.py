"""What the layered picture formats share: each layer, and its depth, cut to where it is seen.

Depth is disparity as 8-bit grey, white at the largest disparity that is seen, on one scale for the
whole scene. 256 steps are enough to choose and to blur by; the 16 bits are in `.depth`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diorama.arrays import Array, RgbaBytes
from diorama.errors import OutputError
from diorama.png import to_bytes
from diorama.scene import Scene


@dataclass(frozen=True)
class Picture:
    """A named picture somewhere on the canvas."""

    name: str
    rgba: RgbaBytes
    """(h, w, 4) uint8, straight."""
    left: int
    """Pixels from the canvas's left side."""
    top: int
    """Pixels from its upper side."""


def layer_name(index: int, count: int) -> str:
    """What people read for the layer at `index`, back to front, of `count`."""
    if count == 1:
        return f"layer {index}"
    return f"layer {index}" + {0: " (back)", count - 1: " (front)"}.get(index, "")


def layer_pictures(scene: Scene) -> list[Picture]:
    """The layers that are seen anywhere, back to front, at processing size.

    Raises:
        OutputError: if there are none.
    """
    pictures = []
    for index, layer in enumerate(scene.layers):
        rgba = to_bytes(layer.rgba)
        if rgba[..., 3].any():
            pictures.append(_cut(layer_name(index, len(scene.layers)), rgba))
    if not pictures:
        raise OutputError("nothing written: every layer of the scene is empty")
    return pictures


def depth_pictures(scene: Scene) -> list[Picture]:
    """The depth of the layers that are seen anywhere, back to front, then that of the scene."""
    seen = [layer.disparity[layer.rgba[..., 3] > 0].max(initial=0) for layer in scene.layers]
    largest = float(max([scene.disparity.max(initial=0), *seen]))
    scale = 255 / largest if largest > 0 else 0.0

    def grey(disparity: Array, alpha: Array) -> RgbaBytes:
        steps = np.rint((disparity * scale).clip(0, 255)).astype(np.uint8)
        return np.dstack([steps, steps, steps, alpha])

    pictures = []
    for index, layer in enumerate(scene.layers):
        alpha = to_bytes(layer.rgba)[..., 3]
        if alpha.any():
            name = f"depth of {layer_name(index, len(scene.layers))}"
            pictures.append(_cut(name, grey(layer.disparity, alpha)))
    opaque = np.full(scene.disparity.shape, 255, np.uint8)
    return [*pictures, Picture("depth of the scene", grey(scene.disparity, opaque), 0, 0)]


def composite(pictures: Sequence[Picture], width: int, height: int) -> RgbaBytes:
    """What the pictures, back to front, look like together on a transparent canvas."""
    color = np.zeros((height, width, 3), np.float32)  # premultiplied, 0..255
    alpha = np.zeros((height, width, 1), np.float32)
    for picture in pictures:
        rows, columns = picture.rgba.shape[:2]
        cut = np.s_[picture.top : picture.top + rows, picture.left : picture.left + columns]
        share = picture.rgba[..., 3:].astype(np.float32) / 255
        color[cut] += (picture.rgba[..., :3] - color[cut]) * share
        alpha[cut] += (1 - alpha[cut]) * share
    straight = color / np.maximum(alpha, np.float32(1 / 255))
    rgba = np.concatenate([straight, alpha * 255], 2)
    return np.rint(rgba.clip(0, 255)).astype(np.uint8)


def _cut(name: str, rgba: RgbaBytes) -> Picture:
    seen = rgba[..., 3] > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    top, left = int(rows[0]), int(columns[0])
    cut = rgba[top : int(rows[-1]) + 1, left : int(columns[-1]) + 1]
    return Picture(name, np.ascontiguousarray(cut), left, top)
