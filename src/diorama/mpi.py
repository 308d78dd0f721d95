"""Multi-plane images: the layers shared among planes evenly spaced in disparity.

A surface between two planes is shared softly by both, the rear one opaque so that no light leaks
(`diorama.kernels.planes`). Planes are mostly empty, so only their occupied tiles are stored.
Reference: Tucker and Snavely, "Single-view view synthesis with multiplane images" (2020).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from diorama.arrays import Array, PlaneDisparities, Rgba, TileIndex, Tiles, check_disparity
from diorama.camera import Camera, Frame, ViewBox, parallax_px
from diorama.errors import InputError
from diorama.extras import check_extra
from diorama.kernels import planes
from diorama.kernels.planes import TILE
from diorama.layers import Layer

MAX_PLANES = 128
"""What one byte can number, with room for marks; more than 64 gain nothing at video sizes."""

OUTLIERS = 1e-4
"""Share of pixels, at either end, that may lie beyond the planes: a few wild ones would otherwise
spread the planes thin for all."""


NEAREST = 1e-3
"""Share of its distance from the photo's camera at which a plane stops being drawn."""


@dataclass(frozen=True)
class Mpi:
    """Planes as sparse tiles, as a camera saw them."""

    tiles: Tiles
    """(n, 33, 33, 4) uint8, premultiplied: 32x32 pixels and a seam, which repeats the first column
    and row of the tiles to the right and below."""
    tile_index: TileIndex
    """(p, rows, columns) int32: the tile at each place of each plane, -1 where it is empty."""
    disparities: PlaneDisparities
    """(p,) float32, ascending: back to front, evenly spaced."""
    camera: Camera
    """Whose pixels the planes are made of."""

    @property
    def occupancy(self) -> float:
        """Share of the tiles that is not empty."""
        return len(self.tiles) / math.prod(self.tile_index.shape)

    def to(self, device: str) -> "Mpi":
        """The same planes as torch tensors on a device such as ``cuda``, for `render_mpi` there.

        Raises:
            MissingExtraError: without the extra ``gpu``.
        """
        check_extra("gpu", "an MPI on a GPU")
        import torch

        tiles, index = (torch.as_tensor(a, device=device) for a in (self.tiles, self.tile_index))
        return replace(self, tiles=tiles, tile_index=index)

    def plane(self, index: int) -> Rgba:
        """One plane whole: (H, W, 4) float32, straight, colour 0 where it is clear."""
        rows, columns = self.tile_index.shape[1:]
        filled = np.zeros((len(self.tiles) + 1, TILE, TILE, 4), np.uint8)
        filled[:-1] = self.tiles[:, :TILE, :TILE]  # -1 reads the empty one behind
        whole = filled[self.tile_index[index]].swapaxes(1, 2)
        whole = whole.reshape(rows * TILE, columns * TILE, 4)
        rgba = whole[: self.camera.height, : self.camera.width].astype(np.float32) / 255
        rgba[..., :3] /= np.maximum(rgba[..., 3:], 1 / 255)
        return rgba


def build_mpi(
    layers: Sequence[Layer],
    camera: Camera,
    *,
    num_planes: int = 64,
    view_box: ViewBox | None = None,
) -> Mpi:
    """Share layers among planes.

    From the camera itself the planes reproduce the layers composited back to front, to the rounding
    of their bytes. A slanted or bent surface is repeated behind itself as far as the view box can
    shift neighbouring planes, so that no crack opens between them.

    Args:
        layers: back to front, sized as the camera.
        camera: the photo's.
        num_planes: 2 to 128.
        view_box: where the camera will go; None: the default box.

    Raises:
        InputError: if the layers do not fit the camera, or `num_planes` is out of range.
    """
    if not 2 <= num_planes <= MAX_PLANES:
        raise InputError(f"num_planes must be within 2..{MAX_PLANES}, got {num_planes}")
    if not layers:
        raise InputError("a multi-plane image needs at least one layer")
    height, width = camera.height, camera.width
    for layer in layers:
        check_disparity(layer.disparity, like=layer.rgba)
        if layer.disparity.shape != (height, width):
            raise InputError(
                f"layers must be as large as the camera's {height}x{width} pixels, "
                f"got {layer.disparity.shape[0]}x{layer.disparity.shape[1]}"
            )
    far, near = _range(layers)
    step = max((near - far) / (num_planes - 1), 1e-6)
    reach = _crack_px(camera, view_box or ViewBox(), far, near, step)

    ceiling = np.full((height, width), num_planes - 1, np.uint8)
    grid = (num_planes, -(-height // TILE), -(-width // TILE))
    occupied = np.zeros(grid, bool)
    placed = []
    for layer in reversed(layers):
        rear, share = planes.locate(layer.rgba, layer.disparity, ceiling, far=far, step=step)
        lowest = _lowest(layer, rear, reach)
        _settle_border(rear, share, lowest)
        planes.occupy(rear, share, lowest, occupied)
        placed.append((layer, rear, share, lowest))

    tile_index = np.where(occupied, np.cumsum(occupied).reshape(grid) - 1, -1).astype(np.int32)
    tiles = np.zeros((int(occupied.sum()), TILE + 1, TILE + 1, 4), np.uint8)
    for layer, rear, share, lowest in placed:
        planes.deposit(layer.rgba, rear, share, lowest, tile_index, tiles)
    disparities = (far + step * np.arange(num_planes)).astype(np.float32)
    return Mpi(tiles, tile_index, disparities, camera)


def render_mpi(mpi: Mpi, camera: Camera) -> Frame:
    """What `camera` sees of the planes; their disparity is averaged where several are seen.

    The frame's arrays are CUDA tensors if the planes' are (`Mpi.to`).
    """
    shown, homographies, depths = _plane_views(mpi, camera)
    rgb, alpha, disparity = planes.composite(
        mpi.tiles,
        mpi.tile_index[:shown],
        (mpi.camera.height, mpi.camera.width),
        homographies,
        depths,
        (camera.height, camera.width),
    )
    return Frame(rgb, alpha, disparity)


def _range(layers: Sequence[Layer]) -> tuple[float, float]:
    """Smallest and largest disparity, but for outliers."""
    seen = [layer.disparity[layer.rgba[..., 3] > 0] for layer in layers]
    values = np.concatenate(seen)
    if not values.size:
        return 0.0, 1.0
    beyond = int(OUTLIERS * values.size)
    ends = np.partition(values, (beyond, values.size - 1 - beyond))
    return float(ends[beyond]), float(ends[values.size - 1 - beyond])


def _crack_px(camera: Camera, view_box: ViewBox, far: float, near: float, step: float) -> int:
    """The most that two neighbouring planes can move apart, in whole pixels."""
    moved = parallax_px(camera, view_box, near, max(far, near - step), 0.0, 0.0)
    return max(1, int(np.ceil(moved)))


def _lowest(layer: Layer, rear: Array, reach: int) -> Array:
    """The farthest plane each pixel is repeated on: the farthest of those around it.

    Where the layer ends, a repeat would stick out from the side. There only steps are bridged; on a
    gentle slope the front share covers the crack.
    """
    around = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    lowest = cv2.erode(rear, around)
    opaque = (layer.rgba[..., 3] > 0.99).astype(np.uint8)
    inner = cv2.erode(opaque, around, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return np.where((inner == 0) & (rear - lowest <= 1), rear, lowest)


def _settle_border(rear: Array, share: Array, lowest: Array) -> None:
    """Put the photo's outermost pixels wholly on the closer of their two planes, in place.

    Shared, they would let the border stick out by the parallax between the planes.
    """
    for line in (np.s_[0], np.s_[-1], np.s_[:, 0], np.s_[:, -1]):
        bridging = lowest[line] < rear[line]
        rear[line] += share[line] > 127  # of 255
        share[line] = 0
        lowest[line] = np.where(bridging, lowest[line], rear[line])


def _plane_views(mpi: Mpi, camera: Camera) -> tuple[int, Array, Array]:
    """How many planes lie ahead of `camera`; of these homographies (n, 3, 3) and depths (n, 3).

    With d a plane's disparity, o the camera's position and R its rotation in the axes of the MPI's
    camera, ``H = K_mpi (d o e_z^T + (1 - d o_z) I) R K^-1`` leads from `camera`'s pixels to the
    plane's, and the disparity seen at pixel p is ``d (R K^-1 p)_z / (1 - d o_z)``.
    """
    pose = np.linalg.inv(mpi.camera.camera_to_world) @ camera.camera_to_world
    rays = pose[:3, :3] @ np.linalg.inv(camera.K)
    d = mpi.disparities.astype(np.float64)
    ahead = 1 - d * pose[2, 3]
    shown = int((ahead > NEAREST).sum())  # disparities ascend: the farthest so many
    d, ahead = d[:shown, None, None], ahead[:shown, None, None]
    homographies = mpi.camera.K @ (d * np.outer(pose[:3, 3], rays[2]) + ahead * rays)
    return shown, homographies, (d / ahead)[:, 0] * rays[2]
