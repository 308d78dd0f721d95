"""A scene as USDZ: one mesh a layer that glows in its texture's colours, and the photo's camera.

The package is an uncompressed zip in which each file begins at a multiple of 64 bytes, the stage
first; the stage is USDA, the text form. UsdPreviewSurface has no unlit mode: the colour is emitted,
and nothing reflects. Axes are x right, y up, looking along -z.

Specifications: Pixar, "Usdz File Format Specification" 1.3, "UsdPreviewSurface Specification" 2.6.
"""

import io
import os
import struct
import zipfile
from collections.abc import Iterator, Mapping

import numpy as np

from diorama import __version__
from diorama.arrays import Array
from diorama.camera import Camera
from diorama.export.textured import TexturedMesh, encode_texture, nearest_z, textured_meshes
from diorama.files import whole_file
from diorama.runtime import run_tasks
from diorama.scene import Scene

ALIGNMENT = 64
"""Bytes; programs map the files of a package into memory as they are."""

SENSOR_WIDTH = 0.36
"""Of the camera, a full frame's 36 mm: USD measures lenses in tenths of a scene unit, here 1 m."""

_PADDING_FIELD = 0x1986  # the zip extra field that USD's own tools pad with
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same scene, the same bytes


def write_usdz(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the scene as one USDZ file; the same scene gives the same bytes.

    Args:
        scene: the scene; its meshes are built if they are not yet.
        path: the file to write.

    Raises:
        OutputError: if `path` cannot be written, or the scene has no visible layer.
    """
    meshes = textured_meshes(scene)
    encoded = run_tasks([lambda mesh=mesh: encode_texture(mesh) for mesh in meshes])
    textures = {
        f"textures/layer_{index}.{'jpg' if kind == 'jpeg' else kind}": data
        for index, (kind, data) in enumerate(encoded)
    }
    lines = _stage(dict(zip(textures, meshes, strict=True)), scene.camera)
    package = _package({"scene.usda": ("\n".join(lines) + "\n").encode(), **textures})
    with whole_file(path) as partial:
        partial.write_bytes(package)


def _package(files: Mapping[str, bytes]) -> bytes:
    """An uncompressed zip whose files begin at multiples of `ALIGNMENT`."""
    package = io.BytesIO()
    with zipfile.ZipFile(package, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            # A local header is 30 bytes, the name, and extra fields of at least 4 bytes.
            padding = 4 + -(package.tell() + 30 + len(name) + 4) % ALIGNMENT
            info.extra = struct.pack("<HH", _PADDING_FIELD, padding - 4) + bytes(padding - 4)
            archive.writestr(info, data)
    return package.getvalue()


def _stage(meshes: Mapping[str, TexturedMesh], camera: Camera) -> Iterator[str]:
    """USDA, line by line, of meshes by the names of their textures."""
    yield f"""#usda 1.0
(
    defaultPrim = "scene"
    doc = "diorama {__version__}"
    metersPerUnit = 1
    upAxis = "Y"
)

def Xform "scene" (
    kind = "component"
)
{{"""
    for texture, mesh in meshes.items():
        yield from _mesh(mesh)
        yield _material(mesh, texture)
    near = nearest_z(list(meshes.values())) / 2
    far = 2 * max(float(-mesh.vertices[:, 2].min()) for mesh in meshes.values())
    yield _camera(camera, near, far)
    yield "}"


def _mesh(mesh: TexturedMesh) -> Iterator[str]:
    name = mesh.identifier
    low, high = mesh.vertices.min(0), mesh.vertices.max(0)
    yield f"""    def Mesh "{name}" (
        prepend apiSchemas = ["MaterialBindingAPI"]
        displayName = "{mesh.name}"
    )
    {{
        uniform bool doubleSided = 1
        float3[] extent = {_tuples(np.stack([low, high]))}
        int[] faceVertexCounts = [{", ".join(["3"] * len(mesh.triangles))}]
        int[] faceVertexIndices = [{", ".join(map(str, mesh.triangles.ravel().tolist()))}]
        rel material:binding = </scene/{name}_material>
        point3f[] points = {_tuples(mesh.vertices)}
        texCoord2f[] primvars:st = {_tuples(mesh.uvs_from_below)} (
            interpolation = "vertex"
        )
        uniform token subdivisionScheme = "none"
    }}
"""


def _material(mesh: TexturedMesh, texture: str) -> str:
    name = f"{mesh.identifier}_material"
    path = f"/scene/{name}"
    opacity = " = 1" if mesh.opaque else f".connect = <{path}/texture.outputs:a>"
    return f"""    def Material "{name}"
    {{
        token outputs:surface.connect = <{path}/surface.outputs:surface>

        def Shader "surface"
        {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor = (0, 0, 0)
            color3f inputs:emissiveColor.connect = <{path}/texture.outputs:rgb>
            float inputs:opacity{opacity}
            token inputs:opacityMode = "presence"
            float inputs:opacityThreshold = 0
            float inputs:roughness = 1
            color3f inputs:specularColor = (0, 0, 0)
            int inputs:useSpecularWorkflow = 1
            token outputs:surface
        }}

        def Shader "texture"
        {{
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @{texture}@
            token inputs:sourceColorSpace = "sRGB"
            float2 inputs:st.connect = <{path}/st.outputs:result>
            token inputs:wrapS = "clamp"
            token inputs:wrapT = "clamp"
            float outputs:a
            float3 outputs:rgb
        }}

        def Shader "st"
        {{
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "st"
            float2 outputs:result
        }}
    }}
"""


def _camera(camera: Camera, near: float, far: float) -> str:
    fx, fy = float(camera.K[0, 0]), float(camera.K[1, 1])
    cx, cy = float(camera.K[0, 2]), float(camera.K[1, 2])
    pixel = SENSOR_WIDTH / camera.width  # its width; its height is `tall`, at the same focal length
    tall = pixel * fx / fy
    return f"""    def Camera "photo"
    {{
        float2 clippingRange = ({near:.9g}, {far:.9g})
        float focalLength = {fx * pixel:.9g}
        float horizontalAperture = {SENSOR_WIDTH:.9g}
        float horizontalApertureOffset = {(camera.width / 2 - cx) * pixel:.9g}
        token projection = "perspective"
        float verticalAperture = {camera.height * tall:.9g}
        float verticalApertureOffset = {(cy - camera.height / 2) * tall:.9g}
    }}"""


def _tuples(rows: Array) -> str:
    line = "(" + ", ".join(["%.9g"] * rows.shape[1]) + ")"
    return "[" + ", ".join(line % tuple(row) for row in rows.tolist()) + "]"
