"""What a picture of a scene shows: its size, its crop, and no more than the photo covers."""

import math
from collections.abc import Sequence

import numpy as np

from diorama.arrays import RgbBytes
from diorama.camera import Camera, Frame
from diorama.scene import Scene

MIN_FOCUS_DISPARITY = 0.02
"""A focus fifty scene units away is as good as infinitely far."""

MAX_ZOOM = 1.25
"""How far a view is magnified at most to keep the photo's border out of the frame."""

_PROBES, _PROBE_SIZE = 12, 320  # views of a move that are looked at, and their pixels
_COVERED = 0.75  # alpha; where layers meet, small frames fall short of 1


def photo_camera(scene: Scene) -> Camera:
    """The photo's camera with a pixel for each of the photo's, of which a scene may compute fewer.

    The finest view that shows anything more.
    """
    height, width = scene.photo.texture.shape[:2]
    return scene.camera.resized(width, height)


def focus_disparity(scene: Scene) -> float:
    """Disparity of the middle of what is seen: what moves turn around, and screens lie at."""
    # Sky would pull the focus to infinity, where turning around it is no turning at all.
    seen = scene.disparity[scene.disparity > 0]
    return max(float(np.median(seen)), MIN_FOCUS_DISPARITY) if seen.size else 1.0


def fitted(camera: Camera, longest: float) -> Camera:
    """The same view with a long side of at most `longest` pixels."""
    scale = min(1.0, longest / max(camera.width, camera.height))
    return camera.resized(max(2, round(camera.width * scale)), max(2, round(camera.height * scale)))


def cropped(camera: Camera, width: int, height: int) -> Camera:
    """The largest part of the view, around its middle, of this shape and in this many pixels."""
    scale = max(width / camera.width, height / camera.height)
    K = camera.K.copy()
    K[:2] *= scale
    K[0, 2] += (width - camera.width * scale) / 2
    K[1, 2] += (height - camera.height * scale) / 2
    return Camera(K, camera.camera_to_world, width, height)


def magnified(camera: Camera, zoom: float) -> Camera:
    """The view's middle, enlarged by `zoom` to the same number of pixels."""
    K = camera.K.copy()
    K[:2] *= zoom
    K[0, 2] -= (zoom - 1) * camera.width / 2
    K[1, 2] -= (zoom - 1) * camera.height / 2
    return Camera(K, camera.camera_to_world, camera.width, camera.height)


def covering_zoom(scene: Scene, cameras: Sequence[Camera]) -> float:
    """The smallest magnification at which none of the cameras sees past the photo's border.

    At most `MAX_ZOOM`; of many cameras a dozen are looked through. A cut-out has no border.
    """
    if scene.photo.alpha is not None:
        return 1.0
    reach = 1.0  # of the frame's half size, from its centre: covered by the photo in every frame
    for camera in cameras[:: math.ceil(len(cameras) / _PROBES)]:
        probe = fitted(camera, _PROBE_SIZE)
        y, x = np.nonzero(scene.render(probe).alpha < _COVERED)
        # Half a pixel to its inner edge, and half a pixel to spare.
        from_center = np.maximum(
            (np.abs(x + 0.5 - probe.width / 2) - 1) / (probe.width / 2),
            (np.abs(y + 0.5 - probe.height / 2) - 1) / (probe.height / 2),
        )
        # What is uncovered farther in is no border.
        reach = float(from_center.min(initial=reach, where=from_center > 1 / MAX_ZOOM))
    return 1 / reach


def render_picture(scene: Scene, camera: Camera) -> RgbBytes:
    """What `camera` sees, as pixels without alpha: a cut-out lies on white."""
    return to_picture(scene, scene.render(camera))


def to_picture(scene: Scene, frame: Frame) -> RgbBytes:
    """The pixels of a frame of `scene`, without alpha."""
    alpha = frame.alpha[..., None]
    if scene.photo.alpha is not None:
        rgb = frame.rgb + (1 - alpha)
    else:
        # Where layers meet, alpha falls short of 1 in frames smaller than the photo; over black
        # that would be a dark line.
        rgb = frame.rgb / np.maximum(alpha, np.float32(0.5))
    return np.rint(rgb.clip(0, 1) * np.float32(255)).astype(np.uint8)
