"""A scene as binary glTF 2.0: one unlit mesh a layer, back to front, and the photo's camera.

glTF's axes are x right, y up, -z forward: OpenCV's turned half round x, so (x, y, z) becomes
(x, -y, -z). Specification: Khronos, "glTF 2.0" (2021), and its extension KHR_materials_unlit.
"""

import io
import json
import math
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from diorama import __version__
from diorama.arrays import Array, RgbaBytes
from diorama.camera import Camera
from diorama.errors import OutputError
from diorama.files import whole_file
from diorama.mesh import Mesh
from diorama.runtime import run_tasks
from diorama.scene import Scene, encode_png
from diorama.textures import Texture, layer_textures

MAX_TEXTURE_SIZE = 4096
"""Longest side of a whole frame's texture in pixels: what every phone's GPU takes."""

JPEG_QUALITY = 92
"""Of opaque textures; without chroma subsampling, which would show at red edges."""

MAX_SLIP_PX = 0.5
"""How far a texture may slide from where the photo has it, in photo pixels."""

MAX_ROUNDS = 12
"""Of halving edges; a bound no real layer reaches, for the slip falls fourfold a round."""

FLOAT, UNSIGNED_INT, UNSIGNED_SHORT = 5126, 5125, 5123
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE = 9729, 9987, 33071


def write_glb(scene: Scene, path: Path) -> None:
    """Write the scene as one GLB file; the same scene gives the same bytes.

    Args:
        scene: the scene; its meshes are built if they are not yet.
        path: the file to write.

    Raises:
        OutputError: if `path` cannot be written, or the scene has no visible layer.
    """
    file = _glb(scene)
    with whole_file(path) as partial:
        partial.write_bytes(file)


def _glb(scene: Scene) -> bytes:
    camera = scene.camera
    textures = layer_textures(scene.photo, scene.layers, max_size=MAX_TEXTURE_SIZE)
    shown = [
        (index, mesh, texture)
        for index, (mesh, texture) in enumerate(zip(scene.meshes, textures, strict=True))
        if len(mesh.triangles)
    ]
    if not shown:
        raise OutputError("no GLB written: every layer of the scene is empty")
    pictures = run_tasks([lambda t=texture.rgba: _encode(t) for _, _, texture in shown])
    last = len(scene.layers) - 1
    document = _Document()
    nearest = math.inf
    for (index, mesh, texture), (mime, picture) in zip(shown, pictures, strict=True):
        place = {0: " (back)", last: " (front)"}.get(index, "") if last else ""
        refined = _refine(mesh, camera)
        nearest = min(nearest, float(refined.vertices[:, 2].min()))
        uvs = _cut_uvs(refined.uvs, texture, camera)
        document.add_layer(f"layer {index}{place}", refined, uvs, mime, picture)
    document.add_camera(camera, nearest / 2)
    box = scene.view_box
    return document.to_bytes(
        {
            "photo": scene.photo.name,
            "view_box": [box.sideways, box.vertical, box.forward],
            "metric": scene.metric,
        }
    )


def _encode(rgba: RgbaBytes) -> tuple[str, bytes]:
    """MIME type and bytes of a texture: JPEG where it is opaque, PNG where it is not."""
    if (rgba[..., 3] < 255).any():
        return "image/png", encode_png(rgba)
    file = io.BytesIO()
    picture = Image.fromarray(np.ascontiguousarray(rgba[..., :3]))
    picture.save(file, "JPEG", quality=JPEG_QUALITY, subsampling=0)
    return "image/jpeg", file.getvalue()


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


class _Document:
    """glTF JSON and its one binary buffer, growing together."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        kinds = ("nodes", "meshes", "materials", "textures", "images", "cameras")
        self._json: dict[str, list[Any]] = {
            kind: [] for kind in (*kinds, "accessors", "bufferViews")
        }

    def add_layer(self, name: str, mesh: Mesh, uvs: Array, mime: str, picture: bytes) -> None:
        """A node with its mesh (OpenCV axes), material and picture."""
        positions = (mesh.vertices * np.array([1, -1, -1], np.float32)).astype("<f4")
        # On screen glTF's front faces run counter-clockwise, ours clockwise.
        triangles = mesh.triangles[:, ::-1].ravel()
        wide = len(positions) > 65535  # the last 16-bit index is reserved
        attributes = {
            "POSITION": self._accessor(positions, FLOAT, "VEC3", ARRAY_BUFFER, bounds=True),
            "TEXCOORD_0": self._accessor(uvs.astype("<f4"), FLOAT, "VEC2", ARRAY_BUFFER),
        }
        indices = self._accessor(
            triangles.astype("<u4" if wide else "<u2"),
            UNSIGNED_INT if wide else UNSIGNED_SHORT,
            "SCALAR",
            ELEMENT_ARRAY_BUFFER,
        )
        image = self._add("images", {"mimeType": mime, "bufferView": self._view(picture)})
        texture = self._add("textures", {"sampler": 0, "source": image})
        material = self._add(
            "materials",
            {
                "name": name,
                "alphaMode": "OPAQUE" if mime == "image/jpeg" else "BLEND",
                "doubleSided": True,
                # What viewers without the extension should do: no shine.
                "pbrMetallicRoughness": {
                    "baseColorTexture": {"index": texture},
                    "metallicFactor": 0,
                    "roughnessFactor": 1,
                },
                "extensions": {"KHR_materials_unlit": {}},
            },
        )
        primitive = {"attributes": attributes, "indices": indices, "material": material}
        self._add("nodes", {"name": name, "mesh": len(self._json["meshes"])})
        self._add("meshes", {"name": name, "primitives": [primitive]})

    def add_camera(self, camera: Camera, near: float) -> None:
        """A node with the photo's camera; glTF's principal point is always in the middle."""
        fx, fy = float(camera.K[0, 0]), float(camera.K[1, 1])
        perspective = {
            "yfov": 2 * math.atan(camera.height / 2 / fy),
            "aspectRatio": camera.width / fx * fy / camera.height,
            "znear": near,
        }
        index = self._add("cameras", {"type": "perspective", "perspective": perspective})
        self._add("nodes", {"name": "photo", "camera": index})

    def to_bytes(self, extras: dict[str, Any]) -> bytes:
        """The whole file."""
        document = {
            "asset": {"version": "2.0", "generator": f"diorama {__version__}"},
            "extensionsUsed": ["KHR_materials_unlit"],
            "scene": 0,
            "scenes": [{"nodes": list(range(len(self._json["nodes"]))), "extras": extras}],
            **self._json,
            "samplers": [
                {
                    "magFilter": LINEAR,
                    "minFilter": LINEAR_MIPMAP_LINEAR,
                    "wrapS": CLAMP_TO_EDGE,
                    "wrapT": CLAMP_TO_EDGE,
                }
            ],
            "buffers": [{"byteLength": len(self._buffer)}],
        }
        text = json.dumps(document, separators=(",", ":")).encode()
        chunks = _chunk(b"JSON", text, b" ") + _chunk(b"BIN\0", bytes(self._buffer), b"\0")
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def _add(self, kind: str, item: dict[str, Any]) -> int:
        self._json[kind].append(item)
        return len(self._json[kind]) - 1

    def _view(self, data: bytes, target: int | None = None) -> int:
        self._buffer += bytes(-len(self._buffer) % 4)
        view = {"buffer": 0, "byteOffset": len(self._buffer), "byteLength": len(data)}
        self._buffer += data
        return self._add("bufferViews", view if target is None else {**view, "target": target})

    def _accessor(
        self, array: Array, component: int, kind: str, target: int, *, bounds: bool = False
    ) -> int:
        accessor: dict[str, Any] = {
            "bufferView": self._view(array.tobytes(), target),
            "componentType": component,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            accessor["min"] = array.min(0).tolist()
            accessor["max"] = array.max(0).tolist()
        return self._add("accessors", accessor)


def _chunk(kind: bytes, data: bytes, padding: bytes) -> bytes:
    padded = data + padding * (-len(data) % 4)
    return struct.pack("<I4s", len(padded), kind) + padded
