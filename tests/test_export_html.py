"""The HTML page: what is in it, how large it may be, and that it is the same every time."""

import base64
import io
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image

from diorama.errors import OutputError
from diorama.export import html, write
from diorama.export.html import html_page, write_html
from diorama.mesh import Mesh
from diorama.scene import Scene
from diorama.viewer import viewer_html


def block(page: bytes) -> dict:
    """The JSON the page carries."""
    found = re.search(rb'<script id="scene" type="application/json">(.*?)</script>', page, re.S)
    assert found is not None
    return json.loads(found[1])


def unpack(layer: dict) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (n, 3) in pixels and disparity, and triangles (m, 3)."""
    steps = np.frombuffer(base64.b64decode(layer["vertices"]), "<u2").reshape(-1, 3) / 65535
    low, high = np.array(layer["low"]), np.array(layer["high"])
    indices = np.frombuffer(base64.b64decode(layer["indices"]), f"<u{layer['index_bytes']}")
    return low + steps * (high - low), indices.reshape(-1, 3)


def picture(layer: dict) -> np.ndarray:
    """The texture (h, w, 3 or 4) uint8."""
    head, body = layer["texture"].split(",")
    assert head == "data:image/webp;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(body))))


def with_mesh(scene: Scene, *meshes: Mesh) -> Scene:
    """The scene with these meshes instead of its own."""
    other = replace(scene)
    other.__dict__["meshes"] = meshes
    return other


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene()


@pytest.fixture(scope="module")
def data(scene: Scene) -> dict:
    return block(html_page(scene))


def test_the_page_is_the_viewer_around_one_block(scene: Scene) -> None:
    page = html_page(scene).decode()
    before, after = viewer_html().split("null</script>", 1)
    assert page.startswith(before)
    assert page.endswith(after)


def test_photo_camera_and_view_box(scene: Scene, data: dict) -> None:
    K = scene.camera.K
    assert (data["format"], data["name"]) == (1, "two cards")
    assert (data["width"], data["height"]) == (320, 240)
    assert data["lens"] == [K[0, 0], K[1, 1], 160, 120]
    assert data["view_box"] == [0.03, 0.03, 0.05]


def test_geometry_comes_back_within_a_hundredth_of_a_pixel(scene: Scene, data: dict) -> None:
    assert len(data["layers"]) == len(scene.layers)
    for packed, mesh in zip(data["layers"], scene.meshes, strict=True):
        places, triangles = unpack(packed)
        np.testing.assert_array_equal(triangles, mesh.triangles)
        np.testing.assert_allclose(places[:, :2], mesh.uvs * [320, 240], atol=0.01)
        # Half a step of disparity is far below a thousandth of a pixel of parallax.
        np.testing.assert_allclose(places[:, 2], 1 / mesh.vertices[:, 2], atol=1e-5)


def test_textures_come_back(scene: Scene, data: dict) -> None:
    for packed, layer in zip(data["layers"], scene.layers, strict=True):
        left, top, right, bottom = packed["box"]
        cut = layer.rgba[top:bottom, left:right]
        shown = picture(packed).astype(np.float32) / 255
        assert packed["opaque"] == (shown.shape[2] == 3) == bool((layer.rgba[..., 3] == 1).all())
        seen = cut[..., 3] > 0
        assert np.abs(shown[..., :3] - cut[..., :3])[seen].mean() < 0.015
        if not packed["opaque"]:
            np.testing.assert_allclose(shown[..., 3], cut[..., 3], atol=0.5 / 255 + 1e-6)


def test_the_frames_disparity_runs_from_corner_to_corner(scene: Scene) -> None:
    ramp = np.linspace(0.1, 1, 320 * 240, dtype=np.float32).reshape(240, 320)
    frame = block(html_page(with_mesh(replace(scene, disparity=ramp), *scene.meshes)))["frame"]
    top, bottom, left, right = (np.frombuffer(base64.b64decode(side), "<f4") for side in frame)
    assert len(top) == len(bottom) == 42
    assert len(left) == len(right) == 32
    for side, whole in (
        (top, ramp[0]),
        (bottom, ramp[-1]),
        (left, ramp[:, 0]),
        (right, ramp[:, -1]),
    ):
        assert side[[0, -1]].tolist() == whole[[0, -1]].tolist()
        even = np.interp(np.linspace(0, 1, len(side)), np.linspace(0, 1, len(whole)), whole)
        np.testing.assert_allclose(side, even, atol=0.6 * float(whole[1] - whole[0]))


def test_same_scene_same_bytes_with_one_thread_or_two(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "1")
    one = html_page(scene)
    monkeypatch.setenv("DIORAMA_THREADS", "2")
    assert html_page(scene) == one


def test_writing_leaves_the_scene_as_it_was(scene: Scene, tmp_path: Path) -> None:
    before = [layer.rgba.copy() for layer in scene.layers]
    write_html(scene, tmp_path / "cards.html")
    for layer, rgba in zip(scene.layers, before, strict=True):
        np.testing.assert_array_equal(layer.rgba, rgba)
    assert (tmp_path / "cards.html").read_bytes() == html_page(scene)


def test_too_large_a_page_loses_quality_then_size(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    noisy = replace(
        scene.layers[0],
        rgba=np.dstack([rng.random((240, 320, 3), np.float32), np.ones((240, 320), np.float32)]),
    )
    noise = with_mesh(replace(scene, layers=(noisy, *scene.layers[1:])), *scene.meshes)
    best = html_page(noise)
    monkeypatch.setattr(html, "MAX_BYTES", len(best) - 1)
    poorer = html_page(noise)
    assert len(poorer) < len(best)
    assert picture(block(poorer)["layers"][0]).shape == (240, 320, 3)
    bare = len(viewer_html()) + sum(
        len(layer["vertices"]) + len(layer["indices"]) for layer in block(best)["layers"]
    )
    monkeypatch.setattr(html, "MAX_BYTES", bare + (len(best) - bare) // 4)
    smaller = html_page(noise)
    assert len(smaller) <= bare + (len(best) - bare) // 4
    assert picture(block(smaller)["layers"][0]).shape[1] < 320


def test_a_full_hd_photo_may_take_four_megabytes() -> None:
    assert html.MAX_BYTES == 4_000_000
    assert html.BUDGET_PIXELS == 1920 * 1080


def test_empty_layers_are_left_out(scene: Scene) -> None:
    nothing = replace(scene.meshes[1], triangles=np.zeros((0, 3), np.int32))
    page = html_page(with_mesh(scene, scene.meshes[0], nothing, scene.meshes[2]))
    assert len(block(page)["layers"]) == 2


def test_large_meshes_get_wide_indices(scene: Scene) -> None:
    mesh = scene.meshes[0]
    count = 65537
    wide = Mesh(
        np.resize(mesh.vertices, (count, 3)),
        np.resize(mesh.uvs, (count, 2)),
        np.array([[0, 1, count - 1]], np.int32),
    )
    packed = block(html_page(with_mesh(scene, wide, *scene.meshes[1:])))["layers"][0]
    assert packed["index_bytes"] == 4
    assert unpack(packed)[1].tolist() == [[0, 1, count - 1]]


def test_names_that_try_to_break_out_stay_text(scene: Scene) -> None:
    name = "</script><script>alert(1)</script><!-- é"
    evil = with_mesh(replace(scene, photo=replace(scene.photo, name=name)), *scene.meshes)
    page = html_page(evil)
    assert b"alert(1)</script>" not in page
    assert block(page)["name"] == name


def test_a_folder_in_the_way_is_said(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "cards.html").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*cards\.html"):
        write_html(scene, tmp_path / "cards.html")


def test_an_embedded_page_is_the_page_with_a_poster(scene: Scene) -> None:
    page, embed = html_page(scene).decode(), html_page(scene, embed=True).decode()
    assert '<html lang="en" class="embed">' in embed
    image = re.search(
        r'<main id="stage"><img id="poster" src="([^"]+)" alt="two cards" /></main>', embed
    )
    assert image is not None
    assert embed.replace(image[0], '<main id="stage"></main>').replace(' class="embed"', "") == page
    head, body = image[1].split(",")
    assert head == "data:image/jpeg;base64"
    poster = Image.open(io.BytesIO(base64.b64decode(body)))
    assert np.abs(np.asarray(poster) / 255 - scene.photo.rgb).mean() < 0.015


def test_the_poster_comes_before_the_scene_and_the_program(scene: Scene) -> None:
    page = html_page(scene, embed=True).decode()
    places = [page.index(part) for part in ("<style", 'id="poster"', 'id="scene"', 'type="module"')]
    assert places == sorted(places)


def test_an_embedded_page_is_the_same_every_time(scene: Scene, tmp_path: Path) -> None:
    write(scene, tmp_path / "a.embed.html")
    assert (tmp_path / "a.embed.html").read_bytes() == html_page(scene, embed=True)


def test_a_posters_name_stays_text(scene: Scene) -> None:
    name = '"><script>alert(1)</script>'
    evil = with_mesh(replace(scene, photo=replace(scene.photo, name=name)), *scene.meshes)
    page = html_page(evil, embed=True)
    assert b"<script>alert(1)" not in page
    assert b'alt="&quot;&gt;&lt;script&gt;' in page


def test_a_poster_counts_among_the_pages_bytes(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    best = html_page(scene, embed=True)
    monkeypatch.setattr(html, "MAX_BYTES", len(best) - 1)
    assert len(html_page(scene, embed=True)) < len(best)
