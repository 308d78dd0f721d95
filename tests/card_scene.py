"""A `Scene` with exact layers, meshes and fills, for the writers' tests: no stage has to run."""

from dataclasses import replace

import cv2
import numpy as np

from diorama.camera import Camera, ViewBox
from diorama.layers import Layer
from diorama.mesh import Mesh
from diorama.scene import Scene
from diorama.testing import Plane, SyntheticScene, two_cards


def card_scene(width: int = 320, height: int = 240, *, name: str = "two cards") -> Scene:
    """The two cards before their wall, one layer a surface."""
    return plane_scene(two_cards(width, height), name=name)


def cut_out_scene(width: int = 320, height: int = 240) -> Scene:
    """The two cards without their wall, as of a photo that is transparent around them."""
    scene = card_scene(width, height)
    layers = scene.layers[1:]
    clear = np.prod([1 - layer.rgba[..., 3] for layer in layers], axis=0)
    alpha = (np.rint((1 - clear) * 255) / np.float32(255)).astype(np.float32)
    disparity = np.where(alpha > 0, scene.disparity, np.float32(0))
    cut_out = replace(
        scene, photo=replace(scene.photo, alpha=alpha), disparity=disparity, layers=layers
    )
    cut_out.__dict__["meshes"] = scene.meshes[1:]
    return cut_out


def plane_scene(synthetic: SyntheticScene, *, name: str) -> Scene:
    """Each plane of a synthetic scene as one layer, back to front as listed."""
    camera = synthetic.camera
    layers = tuple(_layer(surface, camera) for surface in synthetic.surfaces)
    disparity = synthetic.disparity()
    photo = replace(synthetic.photo(), name=name)
    scene = Scene(photo, ViewBox(), disparity, disparity, synthetic.masks(), layers)
    # The meshes a scene would build for itself.
    scene.__dict__["meshes"] = tuple(grid_mesh(layer, camera) for layer in layers)
    return scene


def grid_mesh(layer: Layer, camera: Camera, *, step: int = 16) -> Mesh:
    """Squares of `step` pixels wherever the layer is seen."""
    height, width = layer.disparity.shape
    columns = np.append(np.arange(0, width, step), width)
    rows = np.append(np.arange(0, height, step), height)
    x, y = (grid.ravel().astype(np.float64) for grid in np.meshgrid(columns, rows))
    inside_x = np.minimum(x.astype(int), width - 1)
    inside_y = np.minimum(y.astype(int), height - 1)
    z = 1.0 / np.maximum(layer.disparity[inside_y, inside_x], 1e-3)
    K = camera.K
    vertices = np.column_stack([(x - K[0, 2]) / K[0, 0] * z, (y - K[1, 2]) / K[1, 1] * z, z])
    seen = cv2.dilate((layer.rgba[..., 3] > 0).astype(np.uint8), np.ones((5, 5)))
    triangles = []
    for row in range(len(rows) - 1):
        for column in range(len(columns) - 1):
            cut = np.s_[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
            if seen[cut].any():
                a = row * len(columns) + column
                c = a + len(columns)
                triangles += [(a, a + 1, c), (a + 1, c + 1, c)]
    uvs = np.column_stack([x / width, y / height])
    return Mesh(
        vertices.astype(np.float32),
        uvs.astype(np.float32),
        np.array(triangles, np.int32).reshape(-1, 3),
    )


def _layer(surface: Plane, camera: Camera) -> Layer:
    """What the camera sees of one plane alone; its colour goes on beyond its edge."""
    shaped = SyntheticScene((surface,), camera).look(camera)[0]
    endless = SyntheticScene((replace(surface, shape=None),), camera).look(camera)[0]
    rgba = np.dstack([endless.rgb, shaped.alpha]).astype(np.float32)
    return Layer(rgba, endless.disparity, np.zeros(endless.disparity.shape, bool), ())
