"""The script for Blender, run by the real one: geometry, cameras, keys and a render compared."""

import ast
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from blender import run_blender
from card_scene import card_scene
from PIL import Image

from diorama.camera import Camera
from diorama.errors import OutputError
from diorama.export.blend import NUM_FRAMES, write_blend
from diorama.export.textured import textured_meshes
from diorama.export.video import scene_path
from diorama.photo import Photo
from diorama.scene import Scene

LAYERS = ["layer 0 (back)", "layer 1", "layer 2 (front)"]
POINTS = [[0.1, 0.2, 1.0], [-0.5, 0.3, 2.0], [0.0, 0.0, 5.0], [0.3, -0.2, 1.5]]

REPORT = """
import bpy, json, mathutils, sys
from bpy_extras.object_utils import world_to_camera_view

scene = bpy.context.scene
points = [mathutils.Vector((x, z, -y)) for x, y, z in json.loads(sys.argv[-2])]

def evaluated(o):
    return o.evaluated_get(bpy.context.evaluated_depsgraph_get())

def seen(camera):
    return [tuple(world_to_camera_view(scene, evaluated(camera), p)) for p in points]

def mesh(o):
    o = evaluated(o)
    data = o.data
    uvs = [tuple(u.uv) for u in data.uv_layers[0].data]
    return {
        "points": [tuple(o.matrix_world @ v.co) for v in data.vertices],
        "triangles": [tuple(p.vertices) for p in data.polygons],
        "uvs": [[uvs[i] for i in p.loop_indices] for p in data.polygons],
        "origin": o.location.y,
        "blend": data.materials[0].blend_method,
        "nodes": sorted(n.type for n in data.materials[0].node_tree.nodes),
        "image": [n.image for n in data.materials[0].node_tree.nodes if n.type == "TEX_IMAGE"][0]
            .packed_file.size,
    }

objects = {o.name: o for o in scene.objects}
moves = []
for frame in range(scene.frame_start, scene.frame_end + 1):
    scene.frame_set(frame)
    moves.append(seen(objects["orbit"]))
scene.frame_set(1)
report = {
    "scenes": [s.name for s in bpy.data.scenes],
    "default": [o.name for o in bpy.data.scenes["Scene"].objects],
    "scene": scene.name,
    "collections": [[c.name, [o.name for o in c.objects]] for c in scene.collection.children],
    "counts": {k: len(getattr(bpy.data, k)) for k in ("objects", "meshes", "cameras", "actions")},
    "images": [i.name for i in bpy.data.images if i.packed_file],
    "meshes": {n: mesh(o) for n, o in objects.items() if o.type == "MESH"},
    "camera": scene.camera.name,
    "photo": seen(objects["photo"]),
    "clip": [objects["photo"].data.clip_start, objects["photo"].data.clip_end],
    "moves": moves,
    "size": [scene.render.resolution_x, scene.render.resolution_y],
    "aspect": [scene.render.pixel_aspect_x, scene.render.pixel_aspect_y],
    "fps": scene.render.fps / scene.render.fps_base,
    "view": scene.view_settings.view_transform,
}
json.dump(report, open(sys.argv[-1] + ".json", "w"))
scene.camera = objects["photo"]
scene.render.engine = "CYCLES"
scene.cycles.device = "CPU"
scene.cycles.samples = 8
scene.render.filepath = sys.argv[-1] + ".png"
bpy.ops.render.render(write_still=True)
"""


def run(scene: Scene, folder: Path, *, times: int = 1) -> tuple[dict[str, Any], np.ndarray]:
    """What Blender says of the scene after running the script, and what it renders."""
    write_blend(scene, folder / "a.blend.py")
    (folder / "report.py").write_text(REPORT)
    scripts = ["--python", folder / "a.blend.py"] * times
    out = folder / "found"
    run_blender(*scripts, "--python", folder / "report.py", "--", json.dumps(POINTS), out)
    picture = np.asarray(Image.open(folder / "found.png").convert("RGB"))
    return json.loads((folder / "found.json").read_text()), picture


def pixels(seen: list, width: int, height: int) -> np.ndarray:
    """Blender's view coordinates begin at the lower left corner."""
    return np.array([[x * width, (1 - y) * height] for x, y, _ in seen])


def project(camera: Camera) -> np.ndarray:
    world = np.column_stack([POINTS, np.ones(len(POINTS))])
    local = (world @ np.linalg.inv(camera.camera_to_world).T)[:, :3] @ camera.K.T
    return local[:, :2] / local[:, 2:]


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(((a - b) ** 2).mean()))


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene(128, 96, name='it\'s "my" <GLB> \\ photo')


@pytest.fixture(scope="module")
def ran(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict, np.ndarray]:
    return run(scene, tmp_path_factory.mktemp("blend"), times=2)


@pytest.fixture(scope="module")
def report(ran: tuple[dict, np.ndarray]) -> dict:
    return ran[0]


def test_it_makes_a_scene_of_its_own(report: dict, scene: Scene) -> None:
    assert report["scene"] == scene.photo.name
    assert report["collections"] == [[scene.photo.name, [*LAYERS, "photo", "orbit"]]]
    assert report["default"] == ["Cube", "Light", "Camera"]


def test_run_twice_it_replaces_what_it_made(report: dict, scene: Scene) -> None:
    """The fixture ran it twice; the rest is Blender's own default scene."""
    assert sorted(report["scenes"]) == sorted(["Scene", scene.photo.name])
    assert report["images"] == LAYERS
    assert report["counts"] == {"objects": 5 + 3, "meshes": 3 + 1, "cameras": 2 + 1, "actions": 2}


def test_triangles_are_the_scenes(report: dict, scene: Scene) -> None:
    for name, mesh, textured in zip(LAYERS, scene.meshes, textured_meshes(scene), strict=True):
        found = report["meshes"][name]
        want = mesh.vertices[:, [0, 2, 1]] * [1, 1, -1]
        np.testing.assert_allclose(found["points"], want, atol=1e-5)
        np.testing.assert_array_equal(found["triangles"], mesh.triangles[:, ::-1])
        uvs = textured.uvs_from_below[textured.triangles]
        np.testing.assert_allclose(found["uvs"], uvs, atol=1e-6)
        corners = np.array(found["points"])[np.array(found["triangles"])]
        a, b, c = corners.transpose(1, 0, 2)
        assert (np.cross(b - a, c - a)[:, 1] < 0).all()  # they face the camera


def test_materials_are_unlit_and_drawn_back_to_front(report: dict) -> None:
    back, *others = (report["meshes"][name] for name in LAYERS)
    assert (back["blend"], back["nodes"]) == (
        "OPAQUE",
        ["EMISSION", "OUTPUT_MATERIAL", "TEX_IMAGE"],
    )
    for other in others:
        assert other["blend"] == "BLEND"
        assert set(other["nodes"]) == {*back["nodes"], "BSDF_TRANSPARENT", "MIX_SHADER"}
    origins = [report["meshes"][name]["origin"] for name in LAYERS]
    assert origins == pytest.approx([3, 1.6, 1], rel=1e-3)
    assert origins == sorted(origins, reverse=True)
    assert all(report["meshes"][name]["image"] > 0 for name in LAYERS)


def test_the_photos_camera_projects_as_ours(report: dict, scene: Scene) -> None:
    assert report["size"] == [128, 96]
    np.testing.assert_allclose(pixels(report["photo"], 128, 96), project(scene.camera), atol=0.01)
    near, far = report["clip"]
    assert 0 < near < 1
    assert far > 3


def test_every_frame_of_the_move_is_ours(report: dict, scene: Scene) -> None:
    assert (report["camera"], report["fps"], len(report["moves"])) == ("orbit", 30, NUM_FRAMES)
    cameras = scene_path(scene, "orbit", num_frames=NUM_FRAMES)
    for seen, camera in zip(report["moves"], cameras, strict=True):
        found = pixels(seen, camera.width, camera.height)
        np.testing.assert_allclose(found, project(camera), atol=0.01)
    assert np.ptp([seen[0][0] for seen in report["moves"]]) * 128 > 1  # and it does move


def test_cycles_renders_the_photo(ran: tuple[dict, np.ndarray], scene: Scene) -> None:
    report, picture = ran
    assert report["view"] == "Standard"
    ours = scene.render(scene.camera).rgb
    assert psnr(picture / 255, ours) > 33
    # Away from outlines colours are the photo's own, to two levels and the texture's JPEG.
    inside = np.zeros((96, 128), bool)
    inside[4:12, 4:124] = inside[84:92, 4:124] = True
    assert np.abs(picture / 255 - ours)[inside].mean() < 1.5 / 255


def test_off_centre_and_oblong_pixels(tmp_path: Path) -> None:
    scene = card_scene(96, 80)
    K = scene.camera.K.copy()
    K[0, 2] += 9
    K[1, 2] -= 6
    K[1, 1] *= 1.25
    photo = scene.photo
    # A texture twice as large, as of a photo that is larger than what is computed on.
    texture = np.repeat(np.repeat(photo.texture, 2, 0), 2, 1)
    moved = replace(scene, photo=Photo(photo.rgb, texture, Camera(K, np.eye(4), 96, 80), "odd"))
    report, picture = run(moved, tmp_path)
    assert report["size"] == [192, 160]
    assert report["aspect"] == pytest.approx([1.25, 1])
    np.testing.assert_allclose(pixels(report["photo"], 96, 80), project(moved.camera), atol=0.01)
    ours = moved.render(moved.camera.resized(192, 160)).rgb
    assert psnr(picture / 255, ours) > 28


def test_the_script_is_plain_ascii_python(scene: Scene, tmp_path: Path) -> None:
    write_blend(replace(scene, photo=replace(scene.photo, name="Größe '''")), tmp_path / "a.py")
    text = (tmp_path / "a.py").read_text(encoding="ascii")
    assert max(map(len, text.splitlines())) < 1000
    constants = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in ast.parse(text).body
        if isinstance(node, ast.Assign)
    }
    assert json.loads(constants["INFO"])["name"] == "Größe '''"
    assert len(json.loads(constants["FRAMES"])) == NUM_FRAMES


def test_same_scene_same_bytes(scene: Scene, tmp_path: Path) -> None:
    for name in ("a.blend.py", "b.blend.py"):
        write_blend(scene, tmp_path / name)
    assert (tmp_path / "a.blend.py").read_bytes() == (tmp_path / "b.blend.py").read_bytes()


def test_an_empty_scene_is_said(scene: Scene, tmp_path: Path) -> None:
    other = replace(scene)
    other.__dict__["meshes"] = tuple(
        replace(mesh, triangles=np.zeros((0, 3), np.int32)) for mesh in scene.meshes
    )
    with pytest.raises(OutputError, match="every layer of the scene is empty"):
        write_blend(other, tmp_path / "a.blend.py")
    assert list(tmp_path.iterdir()) == []
