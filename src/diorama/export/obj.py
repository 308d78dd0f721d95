"""A scene as Wavefront OBJ: one object a layer, its material in an MTL file, its texture as PNG.

::

    cat.obj                  o layer_0_back ...: positions, UVs, faces; y up, looking along -z
    cat.mtl                  one material a layer, with map_Kd, and map_d where it is not opaque
    cat_layer_1.png          RGBA, straight (RGB where it is opaque)
    cat_layer_1_alpha.png    its alpha, as grey and as alpha: Blender reads map_d's alpha channel,
                             others its grey

OBJ has no word for unlit; `illum 0` (the colour alone) comes nearest. Names hold no spaces, which
many readers take for the end of a name. Specification: Wavefront, "Advanced Visualizer Manual",
appendix B1, and Ramey, Rose and Tyerman, "MTL material format" (1995).
"""

import io
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from diorama import __version__
from diorama.arrays import Array
from diorama.errors import OutputError
from diorama.export.textured import TexturedMesh, textured_meshes
from diorama.files import whole_set
from diorama.png import encode_png
from diorama.runtime import run_tasks
from diorama.scene import Scene


def write_obj(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the scene as `path`, and the material file and textures it names beside it.

    Args:
        scene: the scene; its meshes are built if they are not yet.
        path: the OBJ file; its siblings' names begin with its stem.

    Raises:
        OutputError: if a file cannot be written, or the scene has no visible layer.
    """
    path = Path(path)
    if path.is_dir():
        raise OutputError(f"cannot write {path}: a folder of this name exists; remove it")
    stem = re.sub(r"[\s#]|^-", "_", path.stem)  # "#" begins a comment, "-" an option
    meshes = textured_meshes(scene)
    pictures = [f"{stem}_layer_{index}" for index in range(len(meshes))]
    encoded = run_tasks([lambda mesh=mesh: _encode(mesh) for mesh in meshes])
    with whole_set(path.parent) as folder:
        for name, (texture, alpha) in zip(pictures, encoded, strict=True):
            (folder / f"{name}.png").write_bytes(texture)
            if alpha is not None:
                (folder / f"{name}_alpha.png").write_bytes(alpha)
        materials = "\n".join(_materials(meshes, pictures)) + "\n"
        (folder / f"{stem}.mtl").write_text(materials, encoding="utf-8", newline="\n")
        geometry = "\n".join(_geometry(meshes, f"{stem}.mtl")) + "\n"
        (folder / path.name).write_text(geometry, encoding="utf-8", newline="\n")


def _encode(mesh: TexturedMesh) -> tuple[bytes, bytes | None]:
    """The texture as PNG, and its alpha where it is not opaque."""
    if mesh.opaque:
        return encode_png(np.ascontiguousarray(mesh.texture[..., :3])), None
    file = io.BytesIO()
    alpha = Image.fromarray(mesh.texture[..., 3])
    Image.merge("LA", (alpha, alpha)).save(file, "PNG")
    return encode_png(mesh.texture), file.getvalue()


def _materials(meshes: Sequence[TexturedMesh], pictures: Sequence[str]) -> Iterator[str]:
    yield f"# diorama {__version__}"
    for mesh, picture in zip(meshes, pictures, strict=True):
        yield from ("", f"newmtl {mesh.identifier}")
        yield from ("Ka 0 0 0", "Kd 1 1 1", "Ks 0 0 0", "illum 0", f"map_Kd {picture}.png")
        if not mesh.opaque:
            yield f"map_d {picture}_alpha.png"


def _geometry(meshes: Sequence[TexturedMesh], materials: str) -> Iterator[str]:
    yield f"# diorama {__version__}: x right, y up, the photo's camera at 0 0 0, looking along -z"
    yield f"mtllib {materials}"
    first = 1  # vertices are counted from 1, through all objects
    for mesh in meshes:
        name = mesh.identifier
        yield from ("", f"o {name}")
        yield from _rows("v %.9g %.9g %.9g", mesh.vertices)
        yield from _rows("vt %.9g %.9g", mesh.uvs_from_below)
        yield f"usemtl {name}"
        yield from _rows("f %d/%d %d/%d %d/%d", np.repeat(mesh.triangles + first, 2, axis=1))
        first += len(mesh.vertices)


def _rows(line: str, rows: Array) -> Iterator[str]:
    return (line % tuple(row) for row in rows.tolist())
