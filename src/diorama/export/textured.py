"""What the 3D formats share: each layer as one mesh with a texture of its own, the right way up.

Their axes are x right, y up, -z forward: OpenCV's turned half round x, so (x, y, z) becomes
(x, -y, -z). The photo's camera is at the origin and looks along -z.

Most programs compare depths, where ours draw back to front: what lies on a layer comes a little
nearer, along the rays of the photo's camera, so that the photo stays as it is.
"""

import io
import math
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from diorama.arrays import Array, Points, RgbaBytes, Triangles, Uvs
from diorama.camera import Camera, disparity_per_px
from diorama.errors import OutputError
from diorama.export.pictures import layer_name
from diorama.mesh import Mesh
from diorama.png import encode_png
from diorama.scene import Scene
from diorama.textures import Texture, layer_textures

MAX_TEXTURE_SIZE = 4096
"""Longest side of a whole frame's texture in pixels: what every phone's GPU takes."""

JPEG_QUALITY = 92
"""Of opaque textures; without chroma subsampling, which would show at red edges."""

MAX_SLIP_PX = 0.5
"""How far a texture may slide from where the photo has it, in photo pixels."""

TIE_PX = 0.15
"""How much nearer than what it lies on a layer is brought, in pixels of parallax at the view box's
limit. Most ties are exact, so little parts them; more would show, for it adds up over layers."""

MAX_ROUNDS = 12
"""Of halving edges; a bound no real layer reaches, for the slip falls fourfold a round."""


@dataclass(frozen=True)
class TexturedMesh:
    """A layer for programs that interpolate textures in space."""

    name: str
    """What people read: "layer 0 (back)"."""
    vertices: Points
    """(n, 3) float32 in scene units; x right, y up, -z forward."""
    uvs: Uvs
    """(n, 2) float32: (0, 0) is the texture's top left corner, (1, 1) its bottom right one."""
    triangles: Triangles
    """(m, 3) int32 indices of vertices, counter-clockwise as the photo's camera sees them."""
    texture: RgbaBytes
    """(h, w, 4) uint8, straight; colour goes on under alpha 0."""

    @property
    def uvs_from_below(self) -> Uvs:
        """(n, 2) float32: (0, 0) is the texture's lower left corner, (1, 1) its upper right one."""
        return np.column_stack([self.uvs[:, 0], 1 - self.uvs[:, 1]])

    @property
    def identifier(self) -> str:
        """The name for formats that allow letters, digits and underscores: "layer_0_back"."""
        return re.sub(r"\W+", "_", self.name).strip("_")

    @property
    def opaque(self) -> bool:
        """Whether nothing shines through."""
        return bool((self.texture[..., 3] == 255).all())


def textured_meshes(scene: Scene) -> list[TexturedMesh]:
    """The layers that have triangles, back to front.

    Raises:
        OutputError: if there are none.
    """
    textures = layer_textures(scene.photo, scene.layers, max_size=MAX_TEXTURE_SIZE)
    meshes = [_lifted(*pair) for pair in zip(scene.meshes, _lifts(scene), strict=True)]
    shown = [
        _textured(layer_name(index, len(scene.layers)), mesh, texture, scene.camera)
        for index, (mesh, texture) in enumerate(zip(meshes, textures, strict=True))
        if len(mesh.triangles)
    ]
    if not shown:
        raise OutputError("nothing written: every layer of the scene is empty")
    return shown


def nearest_z(meshes: list[TexturedMesh]) -> float:
    """How far before the photo's camera the nearest vertex lies, in scene units."""
    return min(float(-mesh.vertices[:, 2].max()) for mesh in meshes)


def encode_texture(mesh: TexturedMesh) -> tuple[str, bytes]:
    """Format ("jpeg" where it is opaque, "png" where it is not) and bytes of a mesh's texture."""
    if not mesh.opaque:
        return "png", encode_png(mesh.texture)
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(mesh.texture[..., :3]))
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "jpeg", file.getvalue()


def _lifts(scene: Scene) -> list[float]:
    """How much disparity brings each layer before the farther ones that it lies on.

    Fills end at the depth of what hides them, and feet stand on a floor: there two layers are
    equally far, and programs that compare depths would show either.
    """
    step = TIE_PX * disparity_per_px(scene.camera, scene.view_box)
    if not math.isfinite(step):
        return [0.0] * len(scene.layers)
    steps: list[int] = []
    for index, layer in enumerate(scene.layers):
        seen = layer.rgba[..., 3] > 0
        below = [0]
        for other, count in zip(scene.layers[:index], steps, strict=True):
            both = seen & (other.rgba[..., 3] > 0)
            if (np.abs(layer.disparity[both] - other.disparity[both]) < step).any():
                below.append(count + 1)
        steps.append(max(below))
    return [count * step for count in steps]


def _lifted(mesh: Mesh, lift: float) -> Mesh:
    """Nearer by a disparity, along the rays of the photo's camera."""
    if not lift:
        return mesh
    nearer = mesh.vertices / (1 + np.float32(lift) * mesh.vertices[:, 2:])
    return Mesh(nearer, mesh.uvs, mesh.triangles)


def _textured(name: str, mesh: Mesh, texture: Texture, camera: Camera) -> TexturedMesh:
    refined = _refine(mesh, camera)
    return TexturedMesh(
        name,
        refined.vertices * np.array([1, -1, -1], np.float32),
        _cut_uvs(refined.uvs, texture, camera),
        # On screen front faces run counter-clockwise there, ours clockwise.
        np.ascontiguousarray(refined.triangles[:, ::-1]),
        texture.rgba,
    )


def _cut_uvs(uvs: Array, texture: Texture, camera: Camera) -> Array:
    """From the whole picture's UVs to those of the cut texture."""
    left, top, right, bottom = texture.box
    pixels = uvs * np.array([camera.width, camera.height])
    return ((pixels - (left, top)) / (right - left, bottom - top)).astype(np.float32)


def _refine(mesh: Mesh, camera: Camera) -> Mesh:
    """Halve edges until the texture stays where the photo has it.

    Viewers interpolate UVs in space, but the photo was projected: along an edge of L pixels whose
    ends lie at z1 and z2, the picture's middle is shown ``L |z1 - z2| / (2 (z1 + z2))`` pixels away
    from where it was seen. New vertices lie halfway in the photo, where disparity is linear.
    """
    size = np.array([camera.width, camera.height], np.float64)
    pixels = mesh.uvs.astype(np.float64) * size
    disparity = 1.0 / mesh.vertices[:, 2].astype(np.float64)
    triangles = mesh.triangles
    for _ in range(MAX_ROUNDS):
        # (m, 3) keys of sides, the same whichever way a triangle runs along them
        after = np.roll(triangles, -1, 1)
        keys = np.minimum(triangles, after) * np.int64(len(pixels)) + np.maximum(triangles, after)
        edges, side_edge = np.unique(keys, return_inverse=True)
        a, b = np.divmod(edges, len(pixels))
        length = np.hypot(*(pixels[a] - pixels[b]).T)
        # |z1 - z2| / (z1 + z2) is the same in disparities.
        slip = length * np.abs(disparity[a] - disparity[b]) / (2 * (disparity[a] + disparity[b]))
        split = slip > MAX_SLIP_PX
        if not split.any():
            break
        middle = np.where(split, len(pixels) + np.cumsum(split) - 1, -1)
        a, b = a[split], b[split]
        pixels = np.concatenate([pixels, (pixels[a] + pixels[b]) / 2])
        disparity = np.concatenate([disparity, (disparity[a] + disparity[b]) / 2])
        triangles = _split(triangles, middle[side_edge.reshape(triangles.shape)])
    focal = camera.K[[0, 1], [0, 1]]
    rays = (pixels - camera.K[:2, 2]) / focal
    added = slice(len(mesh.uvs), None)
    new = np.column_stack([rays[added], np.ones(len(rays[added]))]) / disparity[added, None]
    return Mesh(
        np.concatenate([mesh.vertices, new.astype(np.float32)]),
        np.concatenate([mesh.uvs, (pixels[added] / size).astype(np.float32)]),
        triangles.astype(np.int32),
    )


def _split(triangles: Array, middle: Array) -> Array:
    """Cut triangles at the middles of their sides.

    Args:
        triangles: (m, 3) indices.
        middle: (m, 3) index of the vertex in the middle of the side from corner k to corner k + 1,
            -1 where the side stays whole.

    Returns:
        (n, 3) indices, wound as before.
    """
    count = (middle >= 0).sum(1)
    # Turn every triangle so that, of one cut side, it is the first; of two, the last stays whole.
    first = np.where(count == 1, (middle >= 0).argmax(1), (middle < 0).argmin(1))
    first = np.where(count == 2, ((middle < 0).argmax(1) + 1) % 3, first)
    turn = (first[:, None] + np.arange(3)) % 3
    corners = np.take_along_axis(triangles, turn, 1)
    a, b, c = corners.T
    ab, bc, ca = np.take_along_axis(middle, turn, 1).T

    def cut(into: int, *parts: tuple[Array, Array, Array]) -> list[Array]:
        rows = count == into
        return [np.column_stack(part)[rows] for part in parts]

    return np.concatenate(
        [
            *cut(0, (a, b, c)),
            *cut(1, (a, ab, c), (ab, b, c)),
            *cut(2, (ab, b, bc), (a, ab, bc), (a, bc, c)),
            *cut(3, (a, ab, ca), (ab, b, bc), (ca, bc, c), (ab, bc, ca)),
        ]
    )
