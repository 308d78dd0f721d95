"""A scene as binary glTF 2.0: one unlit mesh a layer, back to front, and the photo's camera.

glTF's axes are x right, y up, -z forward: OpenCV's turned half round x, so (x, y, z) becomes
(x, -y, -z). Specification: Khronos, "glTF 2.0" (2021), and its extension KHR_materials_unlit.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

from diorama import __version__
from diorama.arrays import Array
from diorama.camera import Camera
from diorama.export.textured import TexturedMesh, encode_texture, nearest_z, textured_meshes
from diorama.files import whole_file
from diorama.runtime import run_tasks
from diorama.scene import Scene

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
    file = glb_bytes(scene)
    with whole_file(path) as partial:
        partial.write_bytes(file)


def glb_bytes(scene: Scene) -> bytes:
    """The scene as GLB.

    Raises:
        OutputError: if the scene has no visible layer.
    """
    meshes = textured_meshes(scene)
    pictures = run_tasks([lambda mesh=mesh: encode_texture(mesh) for mesh in meshes])
    document = _Document()
    for mesh, (kind, picture) in zip(meshes, pictures, strict=True):
        document.add_layer(mesh, f"image/{kind}", picture)
    document.add_camera(scene.camera, nearest_z(meshes) / 2)
    box = scene.view_box
    return document.to_bytes(
        {
            "photo": scene.photo.name,
            "view_box": [box.sideways, box.vertical, box.forward],
            "metric": scene.metric,
        }
    )


class _Document:
    """glTF JSON and its one binary buffer, growing together."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        kinds = ("nodes", "meshes", "materials", "textures", "images", "cameras")
        self._json: dict[str, list[Any]] = {
            kind: [] for kind in (*kinds, "accessors", "bufferViews")
        }

    def add_layer(self, mesh: TexturedMesh, mime: str, picture: bytes) -> None:
        """A node with its mesh, material and picture."""
        positions = mesh.vertices.astype("<f4")
        wide = len(positions) > 65535  # the last 16-bit index is reserved
        attributes = {
            "POSITION": self._accessor(positions, FLOAT, "VEC3", ARRAY_BUFFER, bounds=True),
            "TEXCOORD_0": self._accessor(mesh.uvs.astype("<f4"), FLOAT, "VEC2", ARRAY_BUFFER),
        }
        indices = self._accessor(
            mesh.triangles.ravel().astype("<u4" if wide else "<u2"),
            UNSIGNED_INT if wide else UNSIGNED_SHORT,
            "SCALAR",
            ELEMENT_ARRAY_BUFFER,
        )
        image = self._add(
            "images", {"name": mesh.name, "mimeType": mime, "bufferView": self._view(picture)}
        )
        texture = self._add("textures", {"sampler": 0, "source": image})
        material = self._add(
            "materials",
            {
                "name": mesh.name,
                "alphaMode": "OPAQUE" if mesh.opaque else "BLEND",
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
        self._add("nodes", {"name": mesh.name, "mesh": len(self._json["meshes"])})
        self._add("meshes", {"name": mesh.name, "primitives": [primitive]})

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
