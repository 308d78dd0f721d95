"""The photo with its depth in XMP: read back by us and, byte for byte, by exiftool."""

import functools
import io
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image

from diorama.camera import Camera
from diorama.depth import canonical_disparity
from diorama.errors import OutputError
from diorama.export import format_of
from diorama.export.gdepth import quantised, write_gdepth
from diorama.phone_depth import own_depth
from diorama.photo import load_photo, photo_from_texture
from diorama.scene import Scene

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is absent")


@functools.cache
def noisy_scene(width: int = 264, height: int = 198) -> Scene:
    """Disparity that no PNG compresses below a segment, from 0.05 to 1."""
    scene = card_scene(width, height)
    noise = np.random.default_rng(0).uniform(0.05, 1, (height, width)).astype(np.float32)
    return replace(scene, disparity=noise)


def test_it_comes_back_within_a_step(tmp_path: Path) -> None:
    for scene in (card_scene(64, 48), noisy_scene()):
        write_gdepth(scene, tmp_path / "a.gdepth.jpg")
        got = own_depth(tmp_path / "a.gdepth.jpg")
        assert got is not None
        assert got.kind == "relative"
        near = np.percentile(scene.disparity, 99.9, method="higher")
        step = (near - scene.disparity.min()) / 255
        error = np.abs(got.disparity - np.minimum(scene.disparity, near))
        assert error.max() <= 0.501 * step
        photo = load_photo(tmp_path / "a.gdepth.jpg")
        canonical_disparity(got, photo)
        assert np.abs(photo.rgb - scene.photo.rgb).mean() < 0.01
        assert photo.camera.fov_deg == pytest.approx(scene.camera.fov_deg, rel=0.02)


def test_metres_stay_metres(tmp_path: Path) -> None:
    scene = replace(card_scene(64, 48), metric=True)
    write_gdepth(scene, tmp_path / "a.gdepth.jpg")
    got = own_depth(tmp_path / "a.gdepth.jpg")
    assert got is not None
    assert got.kind == "metric"


@pytest.mark.parametrize("fov_deg", [12.0, 30.0, 55.0, 84.0])
def test_the_field_of_view_survives_as_far_as_exif_can_tell(tmp_path: Path, fov_deg: float) -> None:
    scene = card_scene(64, 48)
    photo = replace(scene.photo, camera=Camera.from_fov(64, 48, fov_deg))
    write_gdepth(replace(scene, photo=photo), tmp_path / "a.gdepth.jpg")
    got = load_photo(tmp_path / "a.gdepth.jpg").camera
    # half a millimetre of 35 mm equivalent
    assert abs(got.K[0, 0] - photo.camera.K[0, 0]) <= 0.51 / 43.27 * np.hypot(64, 48)


def test_the_photo_is_as_large_as_its_texture(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    texture = np.asarray(Image.fromarray(scene.photo.texture).resize((256, 192)))
    photo = photo_from_texture(texture, scene.camera)
    write_gdepth(replace(scene, photo=photo), tmp_path / "a.gdepth.jpg")
    with Image.open(tmp_path / "a.gdepth.jpg") as image:
        assert image.size == (256, 192)
    got = own_depth(tmp_path / "a.gdepth.jpg")
    assert got is not None
    assert got.disparity.shape == (48, 64)


def test_sky_a_flat_wall_and_a_single_near_pixel() -> None:
    sky = np.zeros((40, 50), np.float32)
    sky[20:] = 0.5
    steps, near, far = quantised(sky)
    assert (near, far) == (2, 1000)
    assert (np.unique(steps) == [0, 255]).all()
    for value in (0.0, 0.25, 3.0):
        steps, near, far = quantised(np.full((4, 5), value, np.float32))
        assert np.unique(steps).size == 1
        assert near == far == pytest.approx(1 / max(value, 1e-3))
    speck = np.linspace(0.1, 1, 20_000, dtype=np.float32).reshape(100, 200)
    speck[50, 50] = 500
    steps, near, _ = quantised(speck)
    assert near == pytest.approx(1, rel=0.01)
    assert steps[50, 50] == 0
    assert np.unique(steps).size == 256


def test_twice_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_gdepth(noisy_scene(), tmp_path / f"{name}.gdepth.jpg")
    assert (tmp_path / "a.gdepth.jpg").read_bytes() == (tmp_path / "b.gdepth.jpg").read_bytes()


@needs_exiftool
@pytest.mark.parametrize("make", [lambda: card_scene(64, 48), noisy_scene])
def test_exiftool_reads_the_same(tmp_path: Path, make) -> None:
    scene = make()
    path = tmp_path / "a.gdepth.jpg"
    write_gdepth(scene, path)
    shown = subprocess.run(
        ["exiftool", "-j", "-n", "-XMP-GDepth:all", "-EXIF:all", "-Warning", str(path)],
        check=True,
        capture_output=True,
    ).stdout
    tags = json.loads(shown)[0]
    steps, near, far = quantised(scene.disparity)
    assert tags["Format"] == "RangeInverse"
    assert tags["Near"] == pytest.approx(near)
    assert tags["Far"] == pytest.approx(far)
    assert tags["Mime"] == "image/png"
    assert tags["FocalLengthIn35mmFormat"] == 33
    assert "Warning" not in tags
    command = ["exiftool", "-b", "-XMP-GDepth:DepthImage", str(path)]
    png = subprocess.run(command, check=True, capture_output=True).stdout
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), steps)
    if make is noisy_scene:
        assert path.read_bytes().count(b"http://ns.adobe.com/xmp/extension/\0") > 1


def test_the_suffix_chooses_it(tmp_path: Path) -> None:
    assert format_of("cat.gdepth.jpg").name == "gdepth"
    card_scene(64, 48).export(tmp_path / "cat.gdepth.jpg")
    assert own_depth(tmp_path / "cat.gdepth.jpg") is not None


def test_it_cannot_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_gdepth(card_scene(64, 48), tmp_path / "file" / "a.gdepth.jpg")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
