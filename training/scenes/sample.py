"""One training sample from one seed."""

from dataclasses import dataclass

import numpy as np

from diorama.arrays import Array
from training.scenes.lens import develop
from training.scenes.raster import Kernels, draw, occlusion
from training.scenes.textures import Textures
from training.scenes.worlds import make_view

EDGE_RATIO = 1.06
"""Neighbours whose depths differ by more than this factor have an occlusion edge between them."""

DISPARITY, NORMAL, PERSON, EDGES = 1, 2, 4, 8
"""Bits that say which truths of a sample hold at a pixel."""


@dataclass(frozen=True)
class Sample:
    """A photo with its truth."""

    photo: Array
    """(H, W, 3) uint8."""
    disparity: Array
    """(H, W) float32, 1/m; 0 in the sky."""
    normal: Array
    """(H, W, 3) float32 in camera axes (x right, y down, z forward); 0 in the sky."""
    edges: Array
    """(H, W) uint8, 1 where a pixel lies beside an occlusion edge."""
    person: Array
    """(H, W) float32 in 0..1."""
    instance: Array
    """(H, W) int32."""


def make_sample(
    seed: int, textures: Textures, size: tuple[int, int], kernels: Kernels = "numba"
) -> Sample:
    """Build a world, draw it and take its photo; views that show nothing are thrown again."""
    random = np.random.default_rng(seed)
    while True:
        view = make_view(random, textures, size)
        world = view.world.triangles()
        drawn = draw(world, view.eye, view.light, view.sky, textures, kernels=kernels)
        near, far = np.percentile(drawn.disparity, [99, 10])
        if near < 8 and near > 1.3 * far and len(np.unique(drawn.instance)) > 3:
            break
    openness = occlusion(drawn, view.eye.focal, view.openness)
    drawn.rgb[:] *= openness[..., None]
    edges = occlusion_edges(drawn.disparity, drawn.instance)
    return Sample(
        develop(drawn, random), drawn.disparity, drawn.normal, edges, drawn.person, drawn.instance
    )


def occlusion_edges(disparity: Array, instance: Array) -> Array:
    """(H, W) uint8: 1 at both sides of a step in depth between objects, or of a large one."""
    edges = np.zeros(disparity.shape, np.uint8)
    z = np.minimum(1 / np.maximum(disparity, 1e-6), 1e4)
    for axis in (0, 1):
        a = [slice(None)] * 2
        b = [slice(None)] * 2
        a[axis], b[axis] = slice(None, -1), slice(1, None)
        first, second = z[tuple(a)], z[tuple(b)]
        ratio = np.maximum(first, second) / np.minimum(first, second)
        other = instance[tuple(a)] != instance[tuple(b)]
        step = (ratio > EDGE_RATIO) & (other | (ratio > 1.3))
        edges[tuple(a)] |= step
        edges[tuple(b)] |= step
    return edges
