"""A photo becomes a scene: the promises of the whole."""

import hashlib
import os
import subprocess
import sys
import weakref
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diorama import testing
from diorama.camera import ViewBox
from diorama.config import SceneConfig
from diorama.depth import DepthResult
from diorama.errors import InputError, UnknownNameError
from diorama.matting import composite
from diorama.models import embedded
from diorama.mpi import build_mpi, render_mpi
from diorama.pipeline import STAGES, photo_to_scene, remake
from diorama.runtime import release_networks
from diorama.scene import Scene

DEMO = Path(__file__).parents[1] / "src" / "diorama" / "data" / "demo.jpg"
SMALL = SceneConfig(max_size=480)


@pytest.fixture(scope="module")
def demo_scene() -> Scene:
    return photo_to_scene(DEMO, config=SMALL)


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(-10 * np.log10(np.square(a.astype(np.float64) - b).mean()))


def test_every_stage_is_reported_in_order() -> None:
    seen: list[str] = []
    photo_to_scene(DEMO, config=replace(SMALL, max_size=160), progress=seen.append)
    assert tuple(seen) == STAGES


def test_a_path_an_image_and_an_array_give_the_same_scene() -> None:
    config = replace(SMALL, max_size=160)
    with Image.open(DEMO) as image:
        from_image = photo_to_scene(image, config=config)
    array = np.asarray(Image.open(DEMO).convert("RGB"))
    from_array = photo_to_scene(array, config=config)
    from_path = photo_to_scene(str(DEMO), config=config)
    for other in (from_image, from_array):
        np.testing.assert_array_equal(other.disparity, from_path.disparity)
        for a, b in zip(other.layers, from_path.layers, strict=True):
            np.testing.assert_array_equal(a.rgba, b.rgba)


def test_the_layers_are_the_photo_again(demo_scene: Scene) -> None:
    rgb, alpha = composite([layer.rgba for layer in demo_scene.layers])
    assert alpha.min() > 0.999
    assert psnr(rgb, demo_scene.photo.rgb) > 60


def test_fills_lie_behind_one_another_in_the_order_of_their_layers(demo_scene: Scene) -> None:
    ceiling = demo_scene.disparity.copy()
    several = 0
    for layer in reversed(demo_scene.layers):
        assert (layer.disparity <= ceiling + 1e-6)[layer.hole].all()
        several += int((layer.hole & (ceiling < demo_scene.disparity)).sum())
        ceiling[layer.hole] = layer.disparity[layer.hole]
    assert several > 0, "the demo has fills behind fills"


def test_from_the_photos_camera_the_photo_is_seen(demo_scene: Scene) -> None:
    frame = demo_scene.render(demo_scene.camera)
    assert psnr(frame.rgb, demo_scene.photo.rgb) > 48


def test_planes_and_meshes_agree_at_the_view_boxs_corners(demo_scene: Scene) -> None:
    mpi = build_mpi(demo_scene.layers, demo_scene.camera, num_planes=64)
    for corner in demo_scene.view_box.corners():
        camera = demo_scene.camera.at(*corner)
        meshes, planes = demo_scene.render(camera), render_mpi(mpi, camera)
        assert psnr(meshes.rgb, planes.rgb) > 30, corner


def test_nothing_is_open_inside_the_frame_at_the_view_boxs_corners(demo_scene: Scene) -> None:
    for corner in demo_scene.view_box.corners():
        alpha = demo_scene.render(demo_scene.camera.at(*corner)).alpha
        border = 40  # beyond the photo's own border there is nothing to see
        assert alpha[border:-border, border:-border].min() > 0.9, corner


def test_true_depth_gives_a_true_novel_view() -> None:
    scene = testing.two_cards(480, 360)
    camera = scene.camera.at(x=0.03)
    truth = scene.look(camera)[0].rgb
    made = photo_to_scene(
        scene.photo().texture,
        depth=DepthResult(scene.disparity(), "relative"),
        config=replace(SMALL, fov_deg=scene.camera.fov_deg),
    )
    view = made.render(camera).rgb
    inside = np.s_[20:-20, 40:-40]
    assert psnr(view[inside], truth[inside]) > 30
    assert psnr(view[inside], scene.photo().rgb[inside]) < 22


def test_what_made_a_scene_is_written_down(demo_scene: Scene) -> None:
    provenance = demo_scene.provenance
    assert provenance["models"] == {
        "depth": "embedded",
        "segmenter": "embedded",
        "inpainter": "embedded",
    }
    assert provenance["licences"]["depth embedded"] == "Apache-2.0"
    weights = hashlib.sha256((DEMO.parent / "embedded.onnx").read_bytes()).hexdigest()
    assert provenance["weights"] == {"depth embedded": f"embedded.onnx sha256:{weights[:16]}"}
    assert provenance["config"]["seed"] == 0
    assert provenance["reports"]["layers"]["num_layers"] == len(demo_scene.layers)


def test_so_is_how_networks_ran(demo_scene: Scene) -> None:
    assert demo_scene.provenance["runs_as"] == {"depth embedded": "cpu int8"}
    config = demo_scene.provenance["config"]
    assert (config["device"], config["precision"], config["low_memory"]) == ("auto", "auto", False)
    scene = testing.two_cards(160, 120)
    given = photo_to_scene(scene.photo().texture, depth=DepthResult(scene.disparity(), "relative"))
    assert given.provenance["runs_as"] == {}
    for scribble in (5, ["cpu"], {"inpainter embedded": "cuda bf16", "depth given": "by hand"}):
        scribbled = replace(given, provenance={**given.provenance, "runs_as": scribble})
        kept = {"depth given": "by hand"} if isinstance(scribble, dict) else {}
        assert remake(scribbled, ["disparity"]).provenance["runs_as"] == kept


def test_where_memory_is_short_a_network_is_closed_when_its_stage_is_done() -> None:
    open_now: dict[str, int] = {}

    def look(stage: str) -> None:
        open_now[stage] = embedded._session.cache_info().currsize

    config = replace(SMALL, max_size=160)
    release_networks()
    kept = photo_to_scene(DEMO, config=config, progress=look)
    assert [open_now[stage] for stage in STAGES] == [0, 0, 1, 1, 1, 1]

    network = weakref.ref(embedded._session(embedded.WEIGHTS, "cpu"))
    closed = photo_to_scene(DEMO, config=replace(config, low_memory=True), progress=look)
    assert [open_now[stage] for stage in STAGES] == [1, 1, 0, 0, 0, 0]
    assert network() is None

    assert closed.provenance["runs_as"] == kept.provenance["runs_as"]
    for a, b in zip(closed.layers, kept.layers, strict=True):
        np.testing.assert_array_equal(a.rgba, b.rgba)


def test_the_field_of_view_is_the_photos_or_else_the_estimators() -> None:
    scene = testing.two_cards(width=160, height=120)
    depth = DepthResult(scene.disparity(), "metric", fov_deg=70.0)
    array = scene.photo().texture
    told = photo_to_scene(array, depth=depth)
    assert told.camera.fov_deg == pytest.approx(70)
    assert told.view_box == ViewBox.for_camera(told.camera)
    chosen = photo_to_scene(array, depth=depth, config=SceneConfig(fov_deg=40))
    assert chosen.camera.fov_deg == pytest.approx(40)
    unknown = photo_to_scene(array, depth=replace(depth, fov_deg=None))
    assert unknown.camera.fov_deg == pytest.approx(55)


def test_a_depth_file_is_used_by_its_name(tmp_path: Path) -> None:
    scene = testing.two_cards(160, 120)
    path = tmp_path / "depth.npy"
    np.save(path, scene.disparity() / 4)
    made = photo_to_scene(scene.photo().texture, config=SceneConfig(depth=str(path)))
    assert made.disparity_scale == pytest.approx(4, rel=1e-3)
    assert made.provenance["models"]["depth"] == "depth.npy"
    np.testing.assert_allclose(made.raw_disparity, scene.disparity(), atol=1e-4)


@pytest.mark.parametrize("task", ["depth", "segmenter", "inpainter"])
def test_an_unknown_model_is_refused_before_anything_is_computed(task: str) -> None:
    seen: list[str] = []
    with pytest.raises(UnknownNameError, match="did you mean 'embedded'"):
        photo_to_scene(DEMO, config=SceneConfig(**{task: "embeded"}), progress=seen.append)
    assert seen == []


def test_a_missing_photo_is_named() -> None:
    with pytest.raises(InputError, match=r"nowhere\.jpg"):
        photo_to_scene("nowhere.jpg")


def test_one_thread_or_two_give_the_same_bytes(tmp_path: Path) -> None:
    program = (
        "import sys; from diorama.pipeline import photo_to_scene, SceneConfig\n"
        f"scene = photo_to_scene({str(DEMO)!r}, config=SceneConfig(max_size=400))\n"
        "for name in ('s.zip', 's.html', 's.glb', 's.ply'):\n"
        "    (scene.save if name.endswith('.zip') else scene.export)(f'{sys.argv[1]}/{name}')\n"
    )
    digests = []
    for threads in ("1", "2"):
        folder = tmp_path / threads
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", program, str(folder)],
            check=True,
            env={**os.environ, "DIORAMA_THREADS": threads},
        )
        digests.append(
            {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}
        )
    assert set(digests[0]) == {"s.zip", "s.html", "s.glb", "s.ply"}
    assert digests[0] == digests[1]


@pytest.mark.parametrize("parallax", [0.0, 0.1])
def test_any_view_box_serves(parallax: float) -> None:
    box = ViewBox(parallax, parallax, parallax)
    scene = photo_to_scene(DEMO, view_box=box, config=replace(SMALL, max_size=160))
    assert psnr(scene.render(scene.camera).rgb, scene.photo.rgb) > 48


@pytest.mark.shared
def test_every_shared_photo_becomes_a_scene(shared_data: Path) -> None:
    pictures = sorted((shared_data / "photo").iterdir()) + sorted(
        (shared_data / "object").iterdir()
    )
    pictures = [p for p in pictures if p.suffix.lower() in {".jpg", ".png", ".webp"}]
    assert pictures
    for path in pictures:
        scene = photo_to_scene(path, config=replace(SMALL, max_size=320))
        shown = scene.photo.rgb
        if scene.photo.alpha is not None:
            shown = shown * scene.photo.alpha[..., None]
        assert psnr(scene.render(scene.camera).rgb, shown) > 48, path.name


def test_a_cut_out_stays_one() -> None:
    yy, xx = np.mgrid[:120, :160]
    shape = np.clip((45 - np.hypot(yy - 60, xx - 80)) / 6, 0, 1)  # a disc with a soft edge
    rng = np.random.default_rng(0)
    colors = np.where((xx < 80)[..., None], (190, 60, 40), (40, 90, 200))
    rgb = (colors + rng.integers(0, 20, (120, 160, 1))).astype(np.uint8)
    rgba = np.dstack([rgb, np.rint(shape * 255).astype(np.uint8)])
    disparity = np.where(xx < 80, 1.0, 0.4).astype(np.float32)
    scene = photo_to_scene(rgba, depth=DepthResult(disparity, "relative"))
    assert scene.photo.alpha is not None
    frame = scene.render(scene.camera)
    assert psnr(frame.rgb, scene.photo.rgb * scene.photo.alpha[..., None]) > 48
    assert np.abs(frame.alpha - scene.photo.alpha).mean() < 0.002
    assert (scene.disparity[scene.photo.nothing] == 0).all()
    # The two halves come apart inside the disc, and nothing grows outside it.
    aside = scene.render(scene.camera.at(x=scene.view_box.sideways))
    assert len(scene.layers) == 2
    assert any(layer.hole.any() for layer in scene.layers)
    assert aside.alpha[np.hypot(yy - 60, xx - 80) > 55].max() < 0.01


@pytest.fixture(scope="module")
def phone_photo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A JPEG with depth in its metadata, written by our own exporter."""
    path = tmp_path_factory.mktemp("phone") / "cat.gdepth.jpg"
    y, x = np.mgrid[:96, :128].astype(np.float32)
    disparity = np.where((x - 64) ** 2 + (y - 48) ** 2 < 900, 1.0, 0.2 + x / 400)
    with Image.open(DEMO) as image:
        rgb = np.asarray(image.convert("RGB").resize((128, 96)))
    scene = photo_to_scene(rgb, depth=DepthResult(disparity.astype(np.float32), "relative"))
    scene.export(path)
    return path


class TestDepthThatThePhotoBrings:
    @pytest.mark.parametrize("depth", ["auto", "own"])
    def test_it_is_used(self, phone_photo: Path, depth: str) -> None:
        scene = photo_to_scene(phone_photo, config=SceneConfig(depth=depth))
        assert scene.provenance["models"]["depth"] == "own"
        assert scene.raw_disparity[48, 64] / scene.raw_disparity[10, 10] == pytest.approx(
            1 / (0.2 + 10 / 400), rel=0.05
        )

    def test_unless_another_is_asked_for(self, phone_photo: Path) -> None:
        scene = photo_to_scene(phone_photo, config=SceneConfig(depth="embedded"))
        assert scene.provenance["models"]["depth"] == "embedded"

    def test_without_it_the_embedded_estimator_serves(self) -> None:
        scene = photo_to_scene(DEMO, config=SMALL)
        assert scene.provenance["models"]["depth"] == "embedded"
        with pytest.raises(InputError, match="brings no depth of its own"):
            photo_to_scene(DEMO, config=replace(SMALL, depth="own"))
