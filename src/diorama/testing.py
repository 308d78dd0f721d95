"""Synthetic scenes with exact truth, and estimators that return it: for tests, yours and ours.

A scene is a list of textured surfaces seen by a pinhole camera. Every pixel is ray-cast, so colour,
disparity and labels are exact from any camera.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Labels, Mask, Rgb
from diorama.camera import Camera, Frame
from diorama.depth import DepthResult
from diorama.masks import Masks
from diorama.photo import Photo


@dataclass(frozen=True)
class Plane:
    """A textured plane, cut to a shape.

    The plane is ``{p : normal . p = distance}`` in world units (the photo's camera at the origin).
    Its texture coordinates (s, t) are the world x and y of the hit, or x and z where it is level.
    """

    normal: tuple[float, float, float]
    distance: float
    color: Callable[[Array, Array], Array]
    """(s, t) -> (..., 3) in 0..1."""
    shape: Callable[[Array, Array], Mask] | None = None
    """(s, t) -> bool: where the surface exists; everywhere if None."""

    def hit(self, rays: Array, origin: Array) -> tuple[Array, Array, Array]:
        """Return z along the ray (inf: no hit), and (s, t) there."""
        normal = np.array(self.normal)
        with np.errstate(divide="ignore", invalid="ignore"):
            z = (self.distance - normal @ origin) / (rays @ normal)
        z = np.where(np.isfinite(z) & (z > 1e-6), z, np.inf)
        point = origin + rays * np.where(np.isfinite(z), z, 0.0)[..., None]
        level = abs(normal[1]) > abs(normal[2])
        s, t = point[..., 0], point[..., 2] if level else point[..., 1]
        if self.shape is not None:
            z = np.where(self.shape(s, t), z, np.inf)
        return z, s, t


@dataclass(frozen=True)
class Sphere:
    """A textured sphere; its texture coordinates are the world x and y of the hit."""

    center: tuple[float, float, float]
    radius: float
    color: Callable[[Array, Array], Array]

    def hit(self, rays: Array, origin: Array) -> tuple[Array, Array, Array]:
        """Return z along the ray (inf: no hit), and (s, t) there."""
        to_center = np.array(self.center) - origin
        a = (rays * rays).sum(-1)
        b = rays @ to_center
        c = to_center @ to_center - self.radius**2
        discriminant = b * b - a * c
        z = (b - np.sqrt(np.maximum(discriminant, 0.0))) / a
        z = np.where((discriminant > 0) & (z > 1e-6), z, np.inf)
        point = origin + rays * np.where(np.isfinite(z), z, 0.0)[..., None]
        return z, point[..., 0], point[..., 1]


@dataclass(frozen=True)
class SyntheticScene:
    """Surfaces and the camera that photographs them."""

    surfaces: tuple[Plane | Sphere, ...]
    camera: Camera

    def look(self, camera: Camera, *, supersample: int = 3) -> tuple[Frame, Labels]:
        """Ray-cast the scene: colours averaged over sub-pixels, geometry at pixel centres.

        Returns:
            The frame, and labels (H, W) int32: the index of the surface, -1 where there is none.
        """
        fine = camera.resized(camera.width * supersample, camera.height * supersample)
        rgb, alpha, _, _ = self._cast(fine)
        shape = (camera.height, supersample, camera.width, supersample)
        rgb = (rgb * alpha[..., None]).reshape(*shape, 3).mean((1, 3))
        soft = alpha.reshape(shape).mean((1, 3))
        _, _, disparity, labels = self._cast(camera)
        frame = Frame(rgb.astype(np.float32), soft.astype(np.float32), disparity.astype(np.float32))
        return frame, labels

    def _cast(self, camera: Camera) -> tuple[Array, Array, Array, Labels]:
        x = (np.arange(camera.width) + 0.5 - camera.K[0, 2]) / camera.K[0, 0]
        y = (np.arange(camera.height) + 0.5 - camera.K[1, 2]) / camera.K[1, 1]
        grid_x, grid_y = np.meshgrid(x, y)
        local = np.stack([grid_x, grid_y, np.ones_like(grid_x)], -1)
        rays = local @ camera.camera_to_world[:3, :3].T
        origin = camera.camera_to_world[:3, 3]
        nearest = np.full(grid_x.shape, np.inf)
        labels = np.full(grid_x.shape, -1, np.int32)
        rgb = np.zeros((*grid_x.shape, 3))
        for index, surface in enumerate(self.surfaces):
            z, s, t = surface.hit(rays, origin)
            wins = z < nearest
            nearest = np.where(wins, z, nearest)
            labels[wins] = index
            rgb[wins] = np.clip(surface.color(s[wins], t[wins]), 0, 1)
        return rgb, (labels >= 0).astype(np.float64), 1.0 / nearest, labels

    def photo(self) -> Photo:
        """The scene as a `Photo`, taken by its camera."""
        frame, _ = self.look(self.camera)
        rgb: Rgb = frame.rgb
        texture = np.rint(rgb * 255).astype(np.uint8)
        return Photo(texture.astype(np.float32) / 255, texture, self.camera, "synthetic")

    def disparity(self) -> Disparity:
        """True disparity (H, W) seen by its camera."""
        return self.look(self.camera, supersample=1)[0].disparity

    def masks(self) -> Masks:
        """The surfaces as masks; ids are their indices (background without a surface: the next)."""
        labels = self.look(self.camera, supersample=1)[1]
        labels = np.where(labels < 0, len(self.surfaces), labels).astype(np.int32)
        return Masks(labels, np.unique(labels).astype(np.int32))


@dataclass(frozen=True)
class KnownDepth:
    """A `DepthEstimator` that returns the disparity it was given."""

    disparity: Disparity

    def estimate(self, photo: Photo) -> DepthResult:
        """Return the known disparity as relative depth."""
        del photo
        return DepthResult(self.disparity, "relative")


@dataclass(frozen=True)
class KnownMasks:
    """A `Segmenter` that returns the masks it was given."""

    masks: Masks

    def segment(self, photo: Photo, disparity: Disparity, edges: Alpha | None = None) -> Masks:
        """Return the known masks."""
        del photo, disparity, edges
        return self.masks


def stripes(
    low: tuple[float, float, float], high: tuple[float, float, float], frequency: float
) -> Callable[[Array, Array], Array]:
    """A smooth two-colour texture: a product of sines, `frequency` periods a scene unit."""

    def color(s: Array, t: Array) -> Array:
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * frequency * s) * np.sin(2 * np.pi * frequency * t)
        return np.array(low) + (np.array(high) - np.array(low)) * wave[..., None]

    return color


def rectangle(left: float, top: float, right: float, bottom: float) -> Callable[..., Mask]:
    """A shape: inside this rectangle."""
    return lambda s, t: (s >= left) & (s <= right) & (t >= top) & (t <= bottom)


def disc(x: float, y: float, radius: float) -> Callable[..., Mask]:
    """A shape: inside this circle."""
    return lambda s, t: (s - x) ** 2 + (t - y) ** 2 <= radius**2


def two_cards(width: int = 320, height: int = 240) -> SyntheticScene:
    """A red disc at z = 1 and a blue card at z = 1.6 before a green wall at z = 3."""
    return SyntheticScene(
        (
            Plane((0, 0, 1), 3.0, stripes((0.1, 0.45, 0.15), (0.35, 0.7, 0.3), 3.0)),
            Plane(
                (0, 0, 1),
                1.6,
                stripes((0.1, 0.15, 0.6), (0.2, 0.3, 0.9), 5.0),
                rectangle(-0.65, -0.35, -0.05, 0.4),
            ),
            Plane(
                (0, 0, 1),
                1.0,
                stripes((0.7, 0.1, 0.1), (0.95, 0.3, 0.2), 8.0),
                disc(0.1, 0.05, 0.2),
            ),
        ),
        Camera.from_fov(width, height),
    )


def floor_and_people(width: int = 320, height: int = 240) -> SyntheticScene:
    """A level floor up to a wall at z = 5, and two upright cards standing on it."""
    floor_y = 0.5
    return SyntheticScene(
        (
            Plane((0, 0, 1), 5.0, stripes((0.55, 0.5, 0.45), (0.75, 0.7, 0.65), 1.0)),
            Plane((0, 1, 0), floor_y, stripes((0.3, 0.25, 0.2), (0.5, 0.42, 0.35), 2.0)),
            Plane(
                (0, 0, 1),
                2.0,
                stripes((0.1, 0.2, 0.5), (0.2, 0.4, 0.8), 6.0),
                rectangle(-0.6, -0.3, -0.3, floor_y),
            ),
            Plane(
                (0, 0, 1),
                3.2,
                stripes((0.6, 0.2, 0.1), (0.9, 0.4, 0.2), 6.0),
                rectangle(0.3, -0.3, 0.65, floor_y),
            ),
        ),
        Camera.from_fov(width, height),
    )


def sphere_before_wall(width: int = 320, height: int = 240) -> SyntheticScene:
    """A sphere at z = 1.5 before a slanted wall."""
    return SyntheticScene(
        (
            Plane((0.3, 0, 1), 3.0, stripes((0.6, 0.6, 0.55), (0.85, 0.8, 0.75), 2.0)),
            Sphere((0.0, 0.05, 1.5), 0.4, stripes((0.6, 0.3, 0.1), (0.9, 0.6, 0.3), 5.0)),
        ),
        Camera.from_fov(width, height),
    )


def fence(width: int = 320, height: int = 240) -> SyntheticScene:
    """Thin upright posts (about 4 px at 320 px) at z = 1 before a wall at z = 3."""

    def posts(s: Array, t: Array) -> Mask:
        return (np.abs((s + 10.0) % 0.12 - 0.06) < 0.007) & (t > -0.3)

    return SyntheticScene(
        (
            Plane((0, 0, 1), 3.0, stripes((0.3, 0.5, 0.7), (0.5, 0.7, 0.9), 2.0)),
            Plane((0, 0, 1), 1.0, stripes((0.25, 0.15, 0.05), (0.45, 0.3, 0.15), 6.0), posts),
        ),
        Camera.from_fov(width, height),
    )


def slanted_cards(width: int = 320, height: int = 240) -> SyntheticScene:
    """Three slanted cards before a slanted wall, whose depth ranges overlap one another's."""
    return SyntheticScene(
        (
            Plane((0.5, 0, 1), 2.6, stripes((0.1, 0.45, 0.15), (0.35, 0.7, 0.3), 3.0)),
            Plane(
                (0.8, 0, 1),
                1.5,
                stripes((0.1, 0.15, 0.6), (0.2, 0.3, 0.9), 5.0),
                rectangle(-0.75, -0.45, -0.15, 0.2),
            ),
            Plane(
                (-0.7, 0, 1),
                1.35,
                stripes((0.7, 0.6, 0.1), (0.95, 0.8, 0.2), 6.0),
                rectangle(0.05, -0.4, 0.6, 0.1),
            ),
            Plane(
                (0, 0.9, 1),
                1.3,
                stripes((0.7, 0.1, 0.1), (0.95, 0.3, 0.2), 8.0),
                rectangle(-0.3, -0.05, 0.35, 0.45),
            ),
        ),
        Camera.from_fov(width, height),
    )


def hair(width: int = 320, height: int = 240) -> SyntheticScene:
    """A head at z = 1 with strands about a pixel wide (at 480 px) before a wall at z = 3."""

    def head(s: Array, t: Array) -> Mask:
        angle, radius = np.arctan2(t - 0.1, s), np.hypot(s, t - 0.1)
        # Strands leave the head every 8 degrees and bend as they go.
        turn = (angle + 1.2 * (radius - 0.12)) / np.radians(8.0)
        away = np.abs(turn - np.round(turn)) * np.radians(8.0) * radius
        return (radius < 0.12) | ((away < 0.0012) & (radius < 0.28))

    return SyntheticScene(
        (
            Plane((0, 0, 1), 3.0, stripes((0.45, 0.6, 0.75), (0.65, 0.8, 0.95), 2.0)),
            Plane((0, 0, 1), 1.0, stripes((0.2, 0.1, 0.05), (0.35, 0.2, 0.1), 6.0), head),
        ),
        Camera.from_fov(width, height),
    )
