"""Cameras, the view box, and the parallax between two disparities.

Axes are OpenCV's (x right, y down, z forward); the photo's camera sits at the origin of the world.
Pixel centres lie at +0.5, so the centre of a W pixels wide picture is at x = W / 2.
"""

import math
from dataclasses import dataclass, field

import numpy as np

from diorama.arrays import AnyArray, Array, Corners, Matrix3, Matrix4
from diorama.errors import InputError

DEFAULT_FOV_DEG = 55.0
"""Horizontal field of view where a photo does not tell: between a phone's wide and normal lens."""

Z_MAX = 1000.0
"""Where geometry puts what is infinitely far, in scene units."""

DIAGONAL_35MM = 43.27
"""Diagonal of the 36x24 mm frame that 35 mm equivalent focal lengths refer to."""


@dataclass(frozen=True)
class Camera:
    """A pinhole camera."""

    K: Matrix3
    """Intrinsics in pixels: [[fx, 0, cx], [0, fy, cy], [0, 0, 1]]."""
    camera_to_world: Matrix4
    """Pose."""
    width: int
    """Pixels."""
    height: int
    """Pixels."""

    @staticmethod
    def from_focal(width: int, height: int, focal_px: float) -> "Camera":
        """The camera at the origin with square pixels and a centred principal point."""
        K = np.array([[focal_px, 0, width / 2], [0, focal_px, height / 2], [0, 0, 1.0]])
        return Camera(K, np.eye(4), width, height)

    @staticmethod
    def from_fov(width: int, height: int, fov_deg: float = DEFAULT_FOV_DEG) -> "Camera":
        """The camera at the origin with this horizontal field of view."""
        return Camera.from_focal(width, height, focal_from_fov(width, fov_deg))

    @property
    def fov_deg(self) -> float:
        """Horizontal field of view in degrees."""
        return math.degrees(2 * math.atan(self.width / 2 / self.K[0, 0]))

    def at(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> "Camera":
        """This camera moved by (x, y, z) scene units along its own axes."""
        pose = self.camera_to_world.copy()
        pose[:3, 3] += pose[:3, :3] @ np.array([x, y, z], dtype=np.float64)
        return Camera(self.K, pose, self.width, self.height)

    def resized(self, width: int, height: int) -> "Camera":
        """The same view on another pixel grid."""
        K = self.K.copy()
        K[0] *= width / self.width
        K[1] *= height / self.height
        return Camera(K, self.camera_to_world, width, height)


def focal_from_fov(width: int, fov_deg: float) -> float:
    """Focal length in pixels of a picture `width` pixels wide."""
    return width / 2 / math.tan(math.radians(fov_deg) / 2)


def focal_from_35mm(width: int, height: int, focal_35mm: float) -> float:
    """Focal length in pixels from the 35 mm equivalent, by the picture's diagonal."""
    return focal_35mm / DIAGONAL_35MM * math.hypot(width, height)


@dataclass(frozen=True)
class ViewBox:
    """Where the camera may go, as half sizes around the photo's camera, in scene units.

    Holes, minimum gaps, path limits and viewer limits all follow from it.
    """

    sideways: float = 0.03
    """Left and right."""
    vertical: float = 0.03
    """Up and down."""
    forward: float = 0.05
    """Forward and back."""

    def __post_init__(self) -> None:
        sizes = (self.sideways, self.vertical, self.forward)
        if not all(math.isfinite(s) and s >= 0 for s in sizes):
            raise InputError(f"a view box needs finite half sizes >= 0, got {sizes}")

    @staticmethod
    def for_camera(camera: Camera) -> "ViewBox":
        """The default box; for a lens longer than the default, narrower in its proportion.

        A telephoto lens magnifies parallax: unscaled, 400 mm would reveal half a picture.
        """
        box = ViewBox()
        longer = max(1.0, camera.K[0, 0] / focal_from_fov(camera.width, DEFAULT_FOV_DEG))
        return ViewBox(box.sideways / longer, box.vertical / longer, box.forward)

    def corners(self) -> Corners:
        """The eight corners, one (x, y, z) a row."""
        signs = np.array([[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)], np.float64)
        return signs * np.array([self.sideways, self.vertical, self.forward])


def project_from(
    camera: Camera, offset: Array, x: Array, y: Array, disparity: Array
) -> tuple[Array, Array]:
    """Where a point seen at (x, y) appears from a camera moved by `offset` along its axes.

    With (x, y) relative to the principal point and d = 1/z:
    ``x' = (x - fx tx d) / (1 - tz d)`` and likewise for y.

    Args:
        camera: the camera that saw the point.
        offset: (3,) in scene units.
        x: pixel coordinates, any shape.
        y: pixel coordinates, as `x`.
        disparity: 1/z, as `x`.

    Returns:
        Pixel coordinates in the moved camera.
    """
    K = camera.K
    tx, ty, tz = (float(t) for t in offset)
    scale = 1.0 / np.maximum(1.0 - tz * disparity, 1e-3)
    moved_x = (x - K[0, 2] - K[0, 0] * tx * disparity) * scale + K[0, 2]
    moved_y = (y - K[1, 2] - K[1, 1] * ty * disparity) * scale + K[1, 2]
    return moved_x, moved_y


def parallax_px(
    camera: Camera,
    view_box: ViewBox,
    near: Array | float,
    far: Array | float,
    x: Array | float | None = None,
    y: Array | float | None = None,
) -> Array:
    """How far apart two disparities at one pixel can be seen from inside the view box.

    The largest distance, over the box's corners, between the projections of the two points.

    Args:
        camera: the photo's camera.
        view_box: where the camera may go.
        near: disparity, any shape.
        far: disparity, as `near`.
        x: pixel coordinates of the two points; the principal point if not given.
        y: as `x`.

    Returns:
        Pixels, shaped as the broadcast arguments.
    """
    at_x = camera.K[0, 2] if x is None else x
    at_y = camera.K[1, 2] if y is None else y
    values = np.broadcast_arrays(near, far, at_x, at_y)
    shape = values[0].shape
    near, far, at_x, at_y = (np.atleast_1d(v).astype(np.float64) for v in values)
    largest = np.zeros(near.shape)
    for corner in view_box.corners():
        near_x, near_y = project_from(camera, corner, at_x, at_y, near)
        far_x, far_y = project_from(camera, corner, at_x, at_y, far)
        largest = np.maximum(largest, np.hypot(near_x - far_x, near_y - far_y))
    return largest.reshape(shape)


def disparity_per_px(camera: Camera, view_box: ViewBox) -> float:
    """The disparity step worth one pixel of parallax at the view box's limit (inf: no parallax)."""
    per_unit = float(parallax_px(camera, view_box, 1e-3, 0.0)) * 1e3
    return 1.0 / per_unit if per_unit > 0 else math.inf


@dataclass(frozen=True)
class Frame:
    """What a camera sees; CUDA tensors if it was rendered on a GPU."""

    rgb: AnyArray
    """(H, W, 3) float32 sRGB, premultiplied by `alpha` (so: over black)."""
    alpha: AnyArray
    """(H, W) float32: 0 where nothing of the scene is seen."""
    disparity: AnyArray = field(repr=False)
    """(H, W) float32, of the rendering camera; 0 where nothing is seen."""
