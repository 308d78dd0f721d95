"""What a camera sees of a scene's layered meshes.

Each layer's triangles are rasterised with their texture, and the layers are composited with
premultiplied alpha in encoded sRGB, as viewers do. Textures are filtered premultiplied: the filter
weighs colours by their coverage, so what lies under alpha 0 cannot show as a fringe.
"""

import math
from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np

from diorama.arrays import AnyArray, Array
from diorama.camera import Camera, Frame, disparity_per_px
from diorama.extras import check_extra
from diorama.kernels.rasterise import project, rasterise
from diorama.layers import Layer
from diorama.mesh import Mesh
from diorama.runtime import run_tasks
from diorama.scene import Scene
from diorama.textures import layer_textures

NEAR = 1e-3
"""Triangles with a corner nearer than this or behind the camera, in scene units, are not drawn."""

HIDDEN_PX = 2.0
"""How much parallax at the view box's limit a layer may lie behind an opaque fragment of a layer
that ought to be farther before it is hidden there: meshes approximate depth to a fraction of it."""

STEPS_PER_OCTAVE = 4
"""Sizes of textures prepared per factor of two: a zoom prepares a few, not one a frame."""

TEXELS_PER_PIXEL = math.sqrt(2)
"""How much finer than the picture textures are: at 1 area-averaging and bilinear filtering blur
twice, at 2 they alias; both cost 1 to 4 dB against a supersampled view of photos made smaller."""

TEXTURE_SETS = 2
"""Sizes kept: a zoom moves from one to the next, and each may take a hundred megabytes."""

CLEAR_MARGIN_TEXELS = 4
"""Clear texels kept around a cut: a hull that reaches beyond the alpha samples these."""

SKIRT = 1 / 32
"""How far meshes go on beyond the frame, in long sides. Textures end in clear texels there, and the
filter makes the frame's edge as smooth as that of any layer, down to pictures 32 pixels long."""

ENLARGED = 1.05
"""How far textures may be magnified before larger ones are prepared, from the full photo."""


class Renderer:
    """Renders one scene from many cameras; holds the textures at the sizes that were needed.

    Args:
        scene: what is seen.
        device: a torch device, such as ``cuda``, to render on: frames are tensors there. None: the
            CPU, and frames are NumPy arrays.

    Raises:
        MissingExtraError: a device is asked for without the extra ``gpu``.
    """

    def __init__(self, scene: Scene, device: str | None = None) -> None:
        if device is not None:
            check_extra("gpu", f"rendering on {device}")
        self._device = device
        # The scene caches this renderer: to hold the scene itself would keep both in memory until
        # the garbage collector comes by.
        self._scene = replace(scene)
        nothing = np.zeros((0, 3)), np.zeros((0, 2)), np.zeros((0, 3), np.int32)
        parts = [_skirted(mesh, scene.camera) for mesh in scene.meshes]
        vertices, pixels, triangles = zip(nothing, *parts, strict=True)
        counts = [len(array) for array in vertices]
        firsts = np.cumsum([0, *counts[:-1]])
        self._vertices, self._pixels = np.concatenate(vertices), np.concatenate(pixels)
        self._layer_of_vertex = np.repeat(np.arange(len(parts)), counts[1:])
        self._triangles = np.concatenate(
            [array + np.int32(first) for array, first in zip(triangles, firsts, strict=True)]
        )
        self._layer_starts = np.cumsum([len(array) for array in triangles])
        per_px = disparity_per_px(scene.camera, scene.view_box)
        self._tolerance = HIDDEN_PX * per_px if math.isfinite(per_px) else np.inf
        self._textures: dict[float, _Textures] = {}
        if device is not None:
            self._vertices = _on(device, self._vertices)
            self._layer_of_vertex = _on(device, self._layer_of_vertex)
            self._pixels = _on(device, self._pixels)
            self._triangles = _on(device, self._triangles)
            self._layer_starts = _on(device, self._layer_starts)

    def __call__(self, camera: Camera) -> Frame:
        """Render what `camera` sees: premultiplied colour, alpha, and disparity of this camera."""
        textures = self._textures_for(camera)
        corners = project(
            self._vertices,
            self._pixels,
            self._layer_of_vertex,
            scales=textures.scales,
            shifts=textures.shifts,
            world_to_camera=np.linalg.inv(camera.camera_to_world),
            K=camera.K,
            near=NEAR,
        )
        rgb, alpha, disparity = rasterise(
            corners,
            self._triangles,
            self._layer_starts,
            texels=textures.texels,
            texel_starts=textures.starts,
            texture_sizes=textures.sizes,
            tolerance=self._tolerance,
            size=(camera.height, camera.width),
        )
        return Frame(rgb, alpha, disparity)

    def _textures_for(self, camera: Camera) -> "_Textures":
        """The textures that are a little finer than what this camera resolves."""
        scene = self._scene
        magnification = camera.K[0, 0] / scene.camera.K[0, 0]
        finest = max(1.0, scene.photo.texture.shape[1] / scene.photo.rgb.shape[1])
        steps = math.ceil(math.log2(magnification / ENLARGED * TEXELS_PER_PIXEL) * STEPS_PER_OCTAVE)
        largest = finest if magnification > ENLARGED else 1.0
        scale = min(largest, 2.0 ** (steps / STEPS_PER_OCTAVE))
        if scale not in self._textures:
            if len(self._textures) == TEXTURE_SETS:
                self._textures.pop(next(iter(self._textures)))
            made = _prepare(scene, scale)
            if self._device is not None:
                made = _Textures(*(_on(self._device, array) for array in vars(made).values()))
            self._textures[scale] = made
        return self._textures[scale]


def render_meshes(scene: Scene, camera: Camera) -> Frame:
    """Render the layered meshes of a scene.

    Args:
        scene: what is seen.
        camera: who sees it, of any size and pose.

    Returns:
        Colour premultiplied by alpha, alpha, and the disparity of the frontmost surface with alpha
        above 0.5.
    """
    return scene.renderer(camera)


@dataclass(frozen=True)
class _Textures:
    """The premultiplied textures of all layers, one after the other."""

    texels: AnyArray
    """(k, 4) float32."""
    starts: AnyArray
    """(layers,) int64: where each begins."""
    sizes: AnyArray
    """(layers, 2) int64: height and width."""
    scales: AnyArray
    """(layers, 2): texels, with centres at whole numbers, are processing pixels * scale + shift."""
    shifts: AnyArray
    """(layers, 2)."""


def _skirted(mesh: Mesh, camera: Camera) -> tuple[Array, Array, Array]:
    """A mesh that goes on beyond the frame, each of its vertices there at the depth of the edge.

    Returns:
        Vertices (n, 3) float64, where the photo's camera sees them (n, 2) float64 in pixels, and
        triangles (m, 3) int32.
    """
    size = np.array([camera.width, camera.height])
    vertices, pixels = mesh.vertices.astype(np.float64), mesh.uvs * size
    side = (pixels >= size).astype(np.int64) - (pixels <= 0)  # (n, 2)
    edges = mesh.triangles[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
    edges = edges[(side[edges[:, 0]] * side[edges[:, 1]] > 0).any(1)]
    rim, outer = np.unique(edges, return_inverse=True)
    outer = outer.reshape(-1, 2) + len(vertices)
    outward = SKIRT * max(size) * side[rim]
    moved = vertices[rim]
    moved[:, :2] += outward / camera.K[[0, 1], [0, 1]] * moved[:, 2:]
    skirt = np.concatenate(
        [np.column_stack([edges, outer[:, 1]]), np.column_stack([outer[:, ::-1], edges[:, 0]])]
    )
    return (
        np.concatenate([vertices, moved]),
        np.concatenate([pixels, pixels[rim] + outward]),
        np.concatenate([mesh.triangles, skirt.astype(np.int32)]),
    )


def _on(device: str, array: Array) -> AnyArray:
    """A tensor of its own on this device."""
    import torch

    return torch.as_tensor(array).to(device, copy=True)


def _prepare(scene: Scene, scale: float) -> _Textures:
    """Textures at this many texels a processing pixel."""
    if scale > 1:
        longest = round(scale * max(scene.disparity.shape))
        fine = layer_textures(scene.photo, scene.layers, max_size=longest)
        boxes = [texture.box for texture in fine]
        shapes = [texture.rgba.shape[:2] for texture in fine]
        painters = [partial(_paint_bytes, texture.rgba) for texture in fine]
    else:
        boxes = run_tasks([partial(_box, layer, scale) for layer in scene.layers])
        shapes = [
            (max(1, round((bottom - top) * scale)), max(1, round((right - left) * scale)))
            for left, top, right, bottom in boxes
        ]
        pairs = zip(scene.layers, boxes, strict=True)
        painters = [partial(_paint_layer, layer, box) for layer, box in pairs]
    edges = np.array(boxes, np.float64).reshape(-1, 4)
    sizes = np.array(shapes, np.int64).reshape(-1, 2)
    scales = sizes[:, ::-1] / (edges[:, 2:] - edges[:, :2])
    sizes += 2  # a clear texel on each side
    ends = np.cumsum(sizes.prod(1))
    starts = ends - sizes.prod(1)
    texels = np.zeros((int(sizes.prod(1).sum()), 4), np.float32)
    parts = [
        texels[start:end].reshape(*size, 4)[1:-1, 1:-1]
        for start, end, size in zip(starts, ends, sizes, strict=True)
    ]
    run_tasks([partial(paint, part) for paint, part in zip(painters, parts, strict=True)])
    return _Textures(texels, starts, sizes, scales, -edges[:, :2] * scales + 0.5)


def _box(layer: Layer, scale: float) -> tuple[int, int, int, int]:
    """left, top, right, bottom of where a layer is, with room for the filter at this size."""
    height, width = layer.disparity.shape
    seen = (layer.rgba[..., 3] > 0).view(np.uint8)
    left, top, cut_width, cut_height = cv2.boundingRect(seen)
    margin = math.ceil(CLEAR_MARGIN_TEXELS / scale)
    right, bottom = min(width, left + cut_width + margin), min(height, top + cut_height + margin)
    return max(0, left - margin), max(0, top - margin), right, bottom


def _paint_bytes(rgba: Array, texels: Array) -> None:
    """Write straight bytes as premultiplied texels of their size."""
    np.divide(rgba, np.float32(255), out=texels)
    texels[..., :3] *= texels[..., 3:]


def _paint_layer(layer: Layer, box: tuple[int, int, int, int], texels: Array) -> None:
    """Write a layer's colour, cut to the box, as premultiplied texels of the size they have."""
    left, top, right, bottom = box
    straight = layer.rgba[top:bottom, left:right]
    height, width = texels.shape[:2]
    same = straight.shape == texels.shape
    light = texels if same else np.empty(straight.shape, np.float32)
    np.multiply(straight, straight[..., 3:], out=light)
    light[..., 3] = straight[..., 3]
    if not same:
        cv2.resize(light, (width, height), dst=texels, interpolation=cv2.INTER_AREA)
