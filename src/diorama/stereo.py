"""Two views of a scene for two eyes, and how two pictures share one.

Both eyes look in the same direction and their pictures are shifted (off-axis projection), so that
nothing is seen in two heights, as it would be by eyes turned inwards. With eyes e apart, a point of
disparity d lies at ``x_right - x_left = fx e (d_focus - d)``: what is nearer than the focus appears
before the screen, what is farther behind it.
"""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from diorama.arrays import Array, RgbBytes
from diorama.camera import Camera
from diorama.errors import InputError
from diorama.framing import (
    covering_zoom,
    fitted,
    focus_disparity,
    magnified,
    photo_camera,
    render_picture,
    to_picture,
)
from diorama.scene import Scene

DUBOIS_LEFT = (
    (0.4561, 0.500484, 0.176381),
    (-0.0400822, -0.0378246, -0.0157589),
    (-0.0152161, -0.0205971, -0.00546856),
)
DUBOIS_RIGHT = (
    (-0.0434706, -0.0879388, -0.00155529),
    (0.378476, 0.73364, -0.0184503),
    (-0.0721527, -0.112961, 1.2264),
)
"""What linear RGB of the left and of the right eye give to an anaglyph for red and cyan glasses.

The least-squares projection onto what the two filters pass: E. Dubois, "A projection method to
generate anaglyph stereo images" (ICASSP 2001); figures for common screens and glasses by W. Sanders
and D. McAllister, "Producing anaglyphs from synthetic images" (2003)."""


@dataclass(frozen=True)
class Layout:
    """How two pictures of one size share one."""

    join: Callable[[RgbBytes, RgbBytes], Array]
    """Of the left and the right eye's; or of the picture and its depth, where `depth` is set."""
    depth: bool = False
    """Whether the second picture is not an eye's but depth."""
    packing: Literal["side-by-side", "top-bottom"] | None = None
    """What tells a player to give each eye its part; None: nothing is to be taken apart."""
    squeezed: bool = False
    """Whether each part is to be stretched to twice its width."""


def side_by_side(left: RgbBytes, right: RgbBytes) -> Array:
    """Left on the left, for parallel viewing; twice as wide."""
    return np.hstack([left, right])


def half_side_by_side(left: RgbBytes, right: RgbBytes) -> Array:
    """Side by side, each squeezed to half its width; an odd last column is lost."""
    height, width = left.shape[0], left.shape[1] // 2
    halves = [
        cv2.resize(eye[:, : 2 * width], (width, height), interpolation=cv2.INTER_AREA)
        for eye in (left, right)
    ]
    return np.hstack(halves)


def over_under(left: RgbBytes, right: RgbBytes) -> Array:
    """Left above right; twice as high."""
    return np.vstack([left, right])


def anaglyph(left: RgbBytes, right: RgbBytes) -> RgbBytes:
    """One picture for red (left) and cyan (right) glasses, mixed in linear light."""
    both = np.concatenate([_LINEAR[left], _LINEAR[right]], -1)
    mix = np.hstack([DUBOIS_LEFT, DUBOIS_RIGHT]).astype(np.float32)  # (3, 6)
    return _encoded(both @ mix.T)


LAYOUTS = {
    "sbs": Layout(side_by_side, packing="side-by-side"),
    "half-sbs": Layout(half_side_by_side, packing="side-by-side", squeezed=True),
    "over-under": Layout(over_under, packing="top-bottom"),
    "anaglyph": Layout(anaglyph),
    "rgbd": Layout(side_by_side, depth=True),
}
"""By the name that stands before the suffix of a file, as in "cat.sbs.jpg"."""


def layout_of(path: str | os.PathLike[str]) -> Layout | None:
    """The layout that a file's name asks for; None: the picture as it is."""
    return LAYOUTS.get(Path(Path(path).stem).suffix.lower().removeprefix("."))


def eye_at(camera: Camera, x: float, *, focus_disparity: float) -> Camera:
    """An eye `x` scene units to the right of a camera, seeing the focus where the camera does."""
    eye = camera.at(x=x)
    K = eye.K.copy()
    K[0, 2] += K[0, 0] * x * focus_disparity
    return Camera(K, eye.camera_to_world, eye.width, eye.height)


def eye_pair(camera: Camera, *, eyes: float, focus_disparity: float) -> tuple[Camera, Camera]:
    """The left and the right eye about a camera.

    Args:
        camera: midway between the eyes, of any pose.
        eyes: their distance in scene units.
        focus_disparity: of what both see at the same place, where the screen seems to be.
    """
    return (
        eye_at(camera, -eyes / 2, focus_disparity=focus_disparity),
        eye_at(camera, eyes / 2, focus_disparity=focus_disparity),
    )


def stereo_cameras(
    scene: Scene,
    *,
    eyes: float | None = None,
    focus_disparity: float | None = None,
    size: float = math.inf,
) -> tuple[Camera, Camera]:
    """The left and the right eye before a scene, about the photo's camera.

    Both are magnified a little, as little as keeps the photo's border out of either picture.

    Args:
        scene: what is seen.
        eyes: their distance in scene units; None: the view box's whole width.
        focus_disparity: of what seems to lie on the screen; None: the middle of what is seen.
        size: longest side in pixels; never more than the photo's.

    Raises:
        InputError: if the eyes do not fit into the view box, or the focus is negative.
    """
    eyes = eyes_in_box(scene, 2 * scene.view_box.sideways if eyes is None else eyes)
    focus = focus_of(scene, focus_disparity)
    camera = fitted(photo_camera(scene), size)
    pair = eye_pair(camera, eyes=eyes, focus_disparity=focus)
    zoom = covering_zoom(scene, pair)
    return magnified(pair[0], zoom), magnified(pair[1], zoom)


def render_stereo(
    scene: Scene,
    *,
    eyes: float | None = None,
    focus_disparity: float | None = None,
    size: float = math.inf,
) -> tuple[RgbBytes, RgbBytes]:
    """What the left and the right eye see; arguments as those of `stereo_cameras`.

    Returns:
        Two pictures (H, W, 3) uint8 sRGB.

    Raises:
        InputError: as `stereo_cameras` does.
    """
    pair = stereo_cameras(scene, eyes=eyes, focus_disparity=focus_disparity, size=size)
    left, right = (render_picture(scene, camera) for camera in pair)
    return left, right


def render_depth(scene: Scene, camera: Camera) -> tuple[RgbBytes, RgbBytes]:
    """What `camera` sees, and its depth as grey.

    Grey is linear in disparity: the scene's nearest is white, its farthest black, for any camera.
    """
    frame = scene.render(camera)
    nothing = scene.photo.nothing
    seen = scene.disparity if nothing is None else scene.disparity[~nothing]
    far, near = float(seen.min()), float(seen.max())
    share = (frame.disparity - far) / (near - far) if near > far else np.zeros_like(frame.alpha)
    grey = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
    return to_picture(scene, frame), np.repeat(grey[..., None], 3, -1)


def render_layout(
    scene: Scene,
    camera: Camera,
    layout: Layout,
    *,
    eyes: float,
    focus_disparity: float | None = None,
) -> Array:
    """What a layout shows of a scene about `camera`.

    Args:
        scene: what is seen.
        camera: midway between the eyes.
        layout: a value of `LAYOUTS`.
        eyes: their distance in scene units; not used by a layout with depth.
        focus_disparity: of what seems to lie on the screen; None: the middle of what is seen.

    Returns:
        One picture (H, W, 3) uint8 sRGB.
    """
    if layout.depth:
        return layout.join(*render_depth(scene, camera))
    focus = focus_of(scene, focus_disparity)
    pair = eye_pair(camera, eyes=eyes, focus_disparity=focus)
    left, right = (render_picture(scene, eye) for eye in pair)
    return layout.join(left, right)


def eyes_in_box(scene: Scene, eyes: float) -> float:
    """`eyes`, the distance of two eyes in scene units, if both can be in the view box.

    Raises:
        InputError: if they cannot.
    """
    width = 2 * scene.view_box.sideways
    # Rounding of decimal numbers is not an error.
    if not 0 < eyes <= width * (1 + 1e-6):
        raise InputError(
            f"eyes must be more than 0 and at most {width:g} scene units apart, the width of the "
            f"scene's view box, got {eyes:g}; make the scene with a larger --view-box.sideways"
        )
    return eyes


def focus_of(scene: Scene, disparity: float | None) -> float:
    """`disparity`, or that of the middle of what is seen.

    Raises:
        InputError: if it is none.
    """
    if disparity is None:
        return focus_disparity(scene)
    if not (math.isfinite(disparity) and disparity >= 0):
        raise InputError(f"focus_disparity must be finite and not negative, got {disparity}")
    return disparity


def _decoding() -> Array:
    """Linear light of each sRGB byte (IEC 61966-2-1)."""
    encoded = np.arange(256) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


_LINEAR = _decoding().astype(np.float32)


def _encoded(linear: Array) -> RgbBytes:
    linear = linear.clip(0, 1)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(encoded * 255).astype(np.uint8)
