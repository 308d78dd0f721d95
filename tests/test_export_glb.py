"""The GLB file: valid by Khronos' own tool, and read back by two independent libraries."""

import io
import json
import math
import shutil
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pygltflib
import pytest
import trimesh
from blender import run_blender
from card_scene import card_scene, plane_scene
from PIL import Image

from diorama.camera import disparity_per_px
from diorama.errors import OutputError
from diorama.export.glb import write_glb
from diorama.export.textured import TIE_PX
from diorama.mesh import Mesh
from diorama.scene import Scene
from diorama.testing import floor_and_people

WEB = Path(__file__).resolve().parent.parent / "web"

VALIDATE = """
const { readFileSync } = require("node:fs");
const bytes = new Uint8Array(readFileSync(process.argv[1]));
require("gltf-validator").validateBytes(bytes).then((r) => console.log(JSON.stringify(r)));
"""


def validate(path: Path) -> dict:
    """Khronos' report."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.fail("node is not installed: run `make setup` or `apt-get install nodejs npm`")
    if not (WEB / "node_modules" / "gltf-validator").is_dir():
        subprocess.run([npm, "ci", "--silent"], cwd=WEB, check=True, timeout=300)
    command = [node, "-e", VALIDATE, str(path)]
    done = subprocess.run(command, cwd=WEB, check=True, timeout=60, capture_output=True, text=True)
    return json.loads(done.stdout)


def with_mesh(scene: Scene, *meshes: Mesh) -> Scene:
    """The scene with these meshes instead of its own."""
    other = replace(scene)
    other.__dict__["meshes"] = meshes
    return other


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene()


@pytest.fixture(scope="module")
def path(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glb") / "cards.glb"
    write_glb(scene, path)
    return path


@pytest.fixture(scope="module")
def gltf(path: Path) -> pygltflib.GLTF2:
    document = pygltflib.GLTF2().load(str(path))
    assert document is not None
    return document


def test_khronos_finds_no_fault(path: Path) -> None:
    issues = validate(path)["issues"]
    assert (issues["numErrors"], issues["numWarnings"]) == (0, 0), issues["messages"]


def test_layers_are_nodes_from_back_to_front(gltf: pygltflib.GLTF2) -> None:
    names = [node.name for node in gltf.nodes]
    assert names == ["layer 0 (back)", "layer 1", "layer 2 (front)", "photo"]
    assert gltf.scenes[0].nodes == [0, 1, 2, 3]
    assert gltf.asset.generator.startswith("diorama ")
    assert gltf.scenes[0].extras["view_box"] == [0.03, 0.03, 0.05]


def test_materials_are_unlit_and_blend_where_they_must(gltf: pygltflib.GLTF2) -> None:
    assert gltf.extensionsUsed == ["KHR_materials_unlit"]
    assert [material.alphaMode for material in gltf.materials] == ["OPAQUE", "BLEND", "BLEND"]
    assert all("KHR_materials_unlit" in material.extensions for material in gltf.materials)
    assert all(material.doubleSided for material in gltf.materials)
    assert [image.mimeType for image in gltf.images] == ["image/jpeg", "image/png", "image/png"]
    assert (gltf.samplers[0].wrapS, gltf.samplers[0].wrapT) == (33071, 33071)


def test_camera_is_the_photos(gltf: pygltflib.GLTF2, scene: Scene) -> None:
    perspective = gltf.cameras[0].perspective
    assert perspective.aspectRatio == pytest.approx(320 / 240)
    assert perspective.yfov == pytest.approx(2 * math.atan(120 / scene.camera.K[1, 1]))
    assert 0 < perspective.znear < 1
    assert gltf.nodes[3].camera == 0


def test_trimesh_reads_the_same_triangles(path: Path, scene: Scene) -> None:
    loaded = trimesh.load(path, process=False)
    assert isinstance(loaded, trimesh.Scene)
    for node, mesh in zip(
        ["layer 0 (back)", "layer 1", "layer 2 (front)"], scene.meshes, strict=True
    ):
        geometry = loaded.geometry[node]
        # Level cards in space need no refinement: the file holds the mesh itself.
        np.testing.assert_allclose(geometry.vertices, mesh.vertices * [1, -1, -1], rtol=1e-6)
        np.testing.assert_array_equal(geometry.faces, mesh.triangles[:, ::-1])


def test_front_faces_look_at_the_camera(path: Path) -> None:
    loaded = trimesh.load(path, process=False)
    for geometry in loaded.geometry.values():
        assert (geometry.face_normals[:, 2] > 0.99).all()


def test_textures_and_their_uvs(gltf: pygltflib.GLTF2, scene: Scene) -> None:
    """At each vertex the texture shows the layer's own pixel."""
    blob = gltf.binary_blob()
    assert blob is not None
    for index, (layer, mesh) in enumerate(zip(scene.layers, scene.meshes, strict=True)):
        view = gltf.bufferViews[gltf.images[index].bufferView]
        start = view.byteOffset
        texture = np.asarray(Image.open(io.BytesIO(blob[start : start + view.byteLength])))
        uvs = _accessor(gltf, gltf.meshes[index].primitives[0].attributes.TEXCOORD_0)
        size = np.array([320, 240])
        used = np.unique(mesh.triangles)
        pixels = (mesh.uvs * size)[used]
        inside = ((pixels > 0) & (pixels < size)).all(1)
        texels = uvs[used] * texture.shape[1::-1]
        inside &= ((texels >= 0.5) & (texels <= np.array(texture.shape[1::-1]) - 0.5)).all(1)
        x, y = np.floor(pixels[inside] + 1e-3).astype(int).T
        u, v = np.floor(texels[inside] + 1e-3).astype(int).T
        assert inside.sum() > 20
        tolerance = 10 if texture.shape[2] == 3 else 1  # JPEG, PNG
        want = np.rint(layer.rgba[y, x, : texture.shape[2]] * 255)
        assert np.abs(texture[v, u].astype(float) - want).max() <= tolerance


def _accessor(gltf: pygltflib.GLTF2, index: int) -> np.ndarray:
    accessor = gltf.accessors[index]
    view = gltf.bufferViews[accessor.bufferView]
    blob = gltf.binary_blob()
    assert blob is not None
    width = {"SCALAR": 1, "VEC2": 2, "VEC3": 3}[accessor.type]
    dtype = {5126: "<f4", 5125: "<u4", 5123: "<u2"}[accessor.componentType]
    values = np.frombuffer(blob, dtype, accessor.count * width, view.byteOffset)
    return values.reshape(-1, width)


IMPORT = """
import bpy, json, numpy, sys
if not hasattr(numpy, "bool"):
    numpy.bool = bool  # NumPy 1.24 had none, and Debian's importer asks for it
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.import_scene.gltf(filepath=sys.argv[-2])
found = {}
for o in bpy.data.objects:
    if o.type == "MESH":
        tree = o.data.materials[0].node_tree
        points = [tuple(o.matrix_world @ v.co) for v in o.data.vertices]
        found[o.name] = {
            "corners": [[points[i] for i in p.vertices] for p in o.data.polygons],
            "images": [n.image.name for n in tree.nodes if n.type == "TEX_IMAGE"],
            "lit": any(n.type == "BSDF_PRINCIPLED" for n in tree.nodes),
        }
json.dump(found, open(sys.argv[-1], "w"))
"""


def test_blender_reads_the_same_triangles(path: Path, scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "import.py").write_text(IMPORT)
    found_at = tmp_path / "found.json"
    run_blender("--python", tmp_path / "import.py", "--", path, found_at)
    found = json.loads(found_at.read_text())
    names = ["layer 0 (back)", "layer 1", "layer 2 (front)"]
    for name, mesh in zip(names, scene.meshes, strict=True):
        # Blender's z is up and it looks along y.
        want = mesh.vertices[:, [0, 2, 1]] * [1, 1, -1]
        np.testing.assert_allclose(found[name]["corners"], want[mesh.triangles[:, ::-1]], atol=1e-5)
        assert found[name]["images"] == [name]
        assert not found[name]["lit"]


def test_a_floor_is_refined_until_its_texture_stays_put(tmp_path: Path) -> None:
    """Two triangles over a floor from z = 1 to 10 would show its middle 200 px off."""
    scene = plane_scene(floor_and_people(), name="floor")
    disparity = np.array([0.1, 0.1, 1.0, 1.0])
    pixels = np.array([[0, 120], [320, 120], [320, 240], [0, 240]], np.float64)
    K = scene.camera.K
    rays = np.column_stack([(pixels - K[:2, 2]) / K[[0, 1], [0, 1]], np.ones(4)])
    floor = Mesh(
        (rays / disparity[:, None]).astype(np.float32),
        (pixels / [320, 240]).astype(np.float32),
        np.array([[0, 1, 2], [0, 2, 3]], np.int32),
    )
    write_glb(with_mesh(scene, scene.meshes[0], floor, *scene.meshes[2:]), tmp_path / "floor.glb")
    assert validate(tmp_path / "floor.glb")["issues"]["numErrors"] == 0
    refined = trimesh.load(tmp_path / "floor.glb", process=False).geometry["layer 1"]
    points = refined.vertices * [1, -1, -1]
    seen = points[:, :2] / points[:, 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    a, b = refined.faces, np.roll(refined.faces, -1, 1)
    # Where the photo shows the middle of each edge in space, against the middle of its UVs.
    middle = (points[a] + points[b]) / 2
    shown = middle[..., :2] / middle[..., 2:] * K[[0, 1], [0, 1]] + K[:2, 2]
    slip = np.linalg.norm(shown - (seen[a] + seen[b]) / 2, axis=-1)
    assert slip.max() <= 0.5 + 1e-3
    # The same surface: disparity is still affine in the picture, and the area is the same.
    nearer = 1 / points[:, 2] - (0.1 + 0.9 * (seen[:, 1] - 120) / 120)
    assert np.ptp(nearer) < 1e-4
    # Where it meets the wall it lies on it.
    assert 0 < nearer.mean() < disparity_per_px(scene.camera, scene.view_box)
    corner = seen[refined.faces]
    one, two = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    area = np.abs(one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]).sum() / 2
    assert area == pytest.approx(320 * 120, rel=1e-4)
    assert len(refined.faces) < 10_000


def test_a_layer_lies_before_the_fill_behind_it(scene: Scene, tmp_path: Path) -> None:
    """A fill as near as what hides it would flicker through in programs that compare depths."""
    wall, card, disc = scene.layers
    hidden = disc.rgba[..., 3] > 0
    filled = replace(card, disparity=np.where(hidden, disc.disparity, card.disparity))
    filled = replace(filled, rgba=np.dstack([card.rgba[..., :3], hidden]).astype(np.float32))
    other = with_mesh(replace(scene, layers=(wall, filled, disc)), *scene.meshes)
    write_glb(other, tmp_path / "tie.glb")
    loaded = trimesh.load(tmp_path / "tie.glb", process=False)
    step = TIE_PX * disparity_per_px(scene.camera, scene.view_box)
    names = ["layer 0 (back)", "layer 1", "layer 2 (front)"]
    for name, mesh, lift in zip(names, scene.meshes, (0, 0, step), strict=True):
        points = loaded.geometry[name].vertices * [1, -1, -1]
        np.testing.assert_allclose(1 / points[:, 2], 1 / mesh.vertices[:, 2] + lift, rtol=1e-5)
        # The photo's camera sees it where it was.
        rays = mesh.vertices[:, :2] / mesh.vertices[:, 2:]
        np.testing.assert_allclose(points[:, :2] / points[:, 2:], rays, atol=1e-6)


def test_file_is_one_header_and_two_aligned_chunks(path: Path) -> None:
    data = path.read_bytes()
    magic, version, length = struct.unpack_from("<4sII", data)
    assert (magic, version, length) == (b"glTF", 2, len(data))
    first, kind = struct.unpack_from("<I4s", data, 12)
    second, other = struct.unpack_from("<I4s", data, 20 + first)
    assert (kind, other) == (b"JSON", b"BIN\0")
    assert first % 4 == second % 4 == 0
    assert 28 + first + second == len(data)


def test_same_scene_same_bytes_with_one_thread_or_two(
    scene: Scene, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        write_glb(scene, tmp_path / f"{threads}.glb")
        assert (tmp_path / f"{threads}.glb").read_bytes() == path.read_bytes()


def test_empty_layers_are_left_out_and_an_empty_scene_is_said(scene: Scene, tmp_path: Path) -> None:
    empty = [replace(mesh, triangles=np.zeros((0, 3), np.int32)) for mesh in scene.meshes]
    write_glb(with_mesh(scene, scene.meshes[0], *empty[1:]), tmp_path / "one.glb")
    assert [node.name for node in pygltflib.GLTF2().load(str(tmp_path / "one.glb")).nodes] == [
        "layer 0 (back)",
        "photo",
    ]
    with pytest.raises(OutputError, match="every layer of the scene is empty"):
        write_glb(with_mesh(scene, *empty), tmp_path / "none.glb")
    assert not (tmp_path / "none.glb").exists()
