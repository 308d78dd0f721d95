"""The OBJ set: read back by trimesh and by Blender, geometry and pixels compared."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import trimesh
from blender import run_blender
from card_scene import card_scene
from PIL import Image

from diorama.errors import OutputError
from diorama.export.obj import write_obj
from diorama.scene import Scene
from diorama.textures import layer_textures

LAYERS = ("layer_0_back", "layer_1", "layer_2_front")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene(128, 96)


@pytest.fixture(scope="module")
def path(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("obj") / "my #1 photo.obj"
    write_obj(scene, path)
    return path


def test_siblings_have_names_every_reader_understands(path: Path) -> None:
    assert sorted(p.name for p in path.parent.iterdir()) == [
        "my #1 photo.obj",
        "my__1_photo.mtl",
        "my__1_photo_layer_0.png",
        "my__1_photo_layer_1.png",
        "my__1_photo_layer_1_alpha.png",
        "my__1_photo_layer_2.png",
        "my__1_photo_layer_2_alpha.png",
    ]


def test_trimesh_reads_the_same_triangles(path: Path, scene: Scene) -> None:
    loaded = trimesh.load(path, process=False, split_objects=True)
    assert isinstance(loaded, trimesh.Scene)
    assert len(loaded.geometry) == 3
    textures = layer_textures(scene.photo, scene.layers)
    for name, mesh, texture in zip(LAYERS, scene.meshes, textures, strict=True):
        geometry = next(g for g in loaded.geometry.values() if g.visual.material.name == name)
        # Corner by corner: readers may drop unused vertices. Level cards need no refinement.
        want = (mesh.vertices * [1, -1, -1])[mesh.triangles[:, ::-1]]
        np.testing.assert_allclose(geometry.vertices[geometry.faces], want, rtol=1e-6)
        left, top, right, bottom = texture.box
        pixels = (mesh.uvs * [128, 96] - (left, top)) / (right - left, bottom - top)
        uvs = pixels[mesh.triangles[:, ::-1]] * [1, -1] + [0, 1]
        np.testing.assert_allclose(geometry.visual.uv[geometry.faces], uvs, atol=1e-5)
        assert (geometry.face_normals[:, 2] > 0.99).all()


def test_trimesh_reads_the_same_pixels(path: Path, scene: Scene) -> None:
    loaded = trimesh.load(path, process=False, split_objects=True)
    textures = layer_textures(scene.photo, scene.layers)
    for name, texture in zip(LAYERS, textures, strict=True):
        geometry = next(g for g in loaded.geometry.values() if g.visual.material.name == name)
        image = np.asarray(geometry.visual.material.image.convert("RGBA"))
        np.testing.assert_array_equal(image, texture.rgba)


def test_alpha_is_grey_and_alpha(path: Path, scene: Scene) -> None:
    textures = layer_textures(scene.photo, scene.layers)
    for index in (1, 2):
        image = Image.open(path.with_name(f"my__1_photo_layer_{index}_alpha.png"))
        grey, alpha = (np.asarray(band) for band in image.split())
        np.testing.assert_array_equal(grey, textures[index].rgba[..., 3])
        np.testing.assert_array_equal(alpha, textures[index].rgba[..., 3])


IMPORT = """
import bpy, json, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.wm.obj_import(filepath=sys.argv[-2])
found = {}
for o in bpy.data.objects:
    links = {
        link.to_socket.name: (link.from_socket.name, link.from_node.image.name)
        for link in o.data.materials[0].node_tree.links
        if link.from_node.type == "TEX_IMAGE"
    }
    found[o.name] = {
        "corners": [tuple(o.matrix_world @ v.co) for v in o.data.vertices],
        "triangles": [tuple(p.vertices) for p in o.data.polygons],
        "links": links,
        "sizes": {n: bpy.data.images[n].size[:] for _, n in links.values()},
    }
json.dump(found, open(sys.argv[-1], "w"))
"""


def test_blender_reads_the_same_triangles_and_materials(
    path: Path, scene: Scene, tmp_path: Path
) -> None:
    (tmp_path / "import.py").write_text(IMPORT)
    run_blender("--python", tmp_path / "import.py", "--", path, tmp_path / "found.json")
    found = json.loads((tmp_path / "found.json").read_text())
    assert sorted(found) == sorted(LAYERS)
    for index, (name, mesh) in enumerate(zip(LAYERS, scene.meshes, strict=True)):
        corners = np.array(found[name]["corners"])[np.array(found[name]["triangles"])]
        # Blender's z is up and it looks along y.
        want = mesh.vertices[:, [0, 2, 1]] * [1, 1, -1]
        np.testing.assert_allclose(corners, want[mesh.triangles[:, ::-1]], atol=1e-5)
        stem = f"my__1_photo_layer_{index}"
        links = {"Base Color": ["Color", f"{stem}.png"]}
        if index:
            links["Alpha"] = ["Alpha", f"{stem}_alpha.png"]
        assert found[name]["links"] == links
        assert all(min(size) > 0 for size in found[name]["sizes"].values())


def test_same_scene_same_bytes(scene: Scene, path: Path, tmp_path: Path) -> None:
    write_obj(scene, tmp_path / path.name)
    for first in path.parent.iterdir():
        assert (tmp_path / first.name).read_bytes() == first.read_bytes()


def test_an_empty_scene_leaves_nothing(scene: Scene, tmp_path: Path) -> None:
    other = replace(scene)
    other.__dict__["meshes"] = tuple(
        replace(mesh, triangles=np.zeros((0, 3), np.int32)) for mesh in scene.meshes
    )
    with pytest.raises(OutputError, match="every layer of the scene is empty"):
        write_obj(other, tmp_path / "none.obj")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_not_replaced(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "a.obj").mkdir()
    (tmp_path / "a.obj" / "mine").touch()
    with pytest.raises(OutputError, match="a folder of this name exists"):
        write_obj(scene, tmp_path / "a.obj")
    assert (tmp_path / "a.obj" / "mine").exists()
