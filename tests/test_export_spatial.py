"""The spatial photo: libheif finds both pictures, the pair, and the cameras they were seen by."""

import io
import struct
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from card_scene import card_scene

from diorama.camera import Camera, ViewBox
from diorama.errors import InputError, OutputError
from diorama.export import format_of
from diorama.export.spatial import joined, write_spatial
from diorama.framing import render_picture
from diorama.heif import read_meta
from diorama.stereo import stereo_cameras


def test_two_pictures_as_the_eyes_see_them(tmp_path: Path) -> None:
    scene = card_scene(160, 120)
    write_spatial(scene, tmp_path / "a.spatial.heic")
    file = pillow_heif.open_heif(tmp_path / "a.spatial.heic")
    assert len(file) == 2
    assert file.primary_index == 0
    for image, camera in zip(file, stereo_cameras(scene), strict=True):
        expected = render_picture(scene, camera).astype(float)
        got = np.asarray(image.to_pillow()).astype(float)
        assert got.shape == expected.shape
        error = np.square(got - expected).mean()
        assert 10 * np.log10(255**2 / error) > 30
    # not one picture twice
    left, right = (np.asarray(image.to_pillow()).astype(float) for image in file)
    assert np.abs(left - right).mean() > 1


def test_they_are_a_stereo_pair_left_first(tmp_path: Path) -> None:
    write_spatial(card_scene(160, 120), tmp_path / "a.spatial.heic")
    (group,) = pillow_heif.open_heif(tmp_path / "a.spatial.heic").info["entity_groups"]
    assert group["type"] == "ster"
    assert group["images"] == [0, 1]
    assert group["id"] not in group["entities"]


def test_libheif_reads_the_cameras(tmp_path: Path) -> None:
    scene = card_scene(160, 120)
    write_spatial(scene, tmp_path / "a.spatial.heic")
    for image, camera in zip(
        pillow_heif.open_heif(tmp_path / "a.spatial.heic"), stereo_cameras(scene), strict=True
    ):
        held = image.info["heif"]
        intrinsics = held["camera_intrinsic_matrix"]
        assert intrinsics["focal_length_x"] == pytest.approx(camera.K[0, 0], rel=1e-6)
        assert intrinsics["focal_length_y"] == pytest.approx(camera.K[1, 1], rel=1e-6)
        assert intrinsics["principal_point_x"] == pytest.approx(camera.K[0, 2], rel=1e-6)
        assert intrinsics["principal_point_y"] == pytest.approx(camera.K[1, 2], rel=1e-6)
        assert held["camera_extrinsic_matrix_rot"] == (1, 0, 0, 0, 1, 0, 0, 0, 1)


@pytest.mark.parametrize("sideways", [0.03, 0.0319035])
def test_the_right_eye_is_a_baseline_beside_the_left_one(tmp_path: Path, sideways: float) -> None:
    scene = replace(card_scene(160, 120), view_box=ViewBox(sideways=sideways))
    write_spatial(scene, tmp_path / "a.spatial.heic")
    meta = read_meta((tmp_path / "a.spatial.heic").read_bytes())
    left, right = (
        next(box for box in item.properties if box.kind == b"cmex")
        for item in meta.items.values()
        if item.kind == b"hvc1"
    )
    assert left.payload == bytes(4)
    # As a headset's own photo has it: 00000001 0000f93f, which is 63.807 mm.
    assert right.payload == struct.pack(">Ii", 1, round(2 * sideways * 1e6))


@pytest.mark.parametrize("fov_deg", [8.0, 60.0, 120.0])
def test_any_lens_fits_into_fixed_point(fov_deg: float) -> None:
    file = pillow_heif.HeifFile()
    for _ in range(2):
        file.add_frombytes("RGB", (64, 64), bytes(64 * 64 * 3))
    encoded = io.BytesIO()
    file.save(encoded)
    camera = Camera.from_fov(64, 64, fov_deg)
    joint = pillow_heif.open_heif(joined(encoded.getvalue(), camera, camera.at(x=0.06)))
    got = joint.info["heif"]["camera_intrinsic_matrix"]["focal_length_x"]
    assert got == pytest.approx(camera.K[0, 0], rel=1e-6)


def test_another_libheif_reads_its_structure(tmp_path: Path) -> None:
    write_spatial(card_scene(160, 120), tmp_path / "a.spatial.heic")
    shown = subprocess.run(
        ["heif-info", "-d", str(tmp_path / "a.spatial.heic")],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert "group type: ster" in shown
    assert shown.count("Box: cmin") == shown.count("Box: cmex") == 2
    assert "colour_primaries: 1\n" in shown
    assert "transfer_characteristics: 13\n" in shown


def test_twice_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_spatial(card_scene(160, 120), tmp_path / f"{name}.spatial.heic")
    assert (tmp_path / "a.spatial.heic").read_bytes() == (tmp_path / "b.spatial.heic").read_bytes()


def test_a_box_without_width_has_no_two_eyes(tmp_path: Path) -> None:
    scene = replace(card_scene(160, 120), view_box=ViewBox(sideways=0))
    with pytest.raises(InputError, match="view box"):
        write_spatial(scene, tmp_path / "a.spatial.heic")
    assert not list(tmp_path.iterdir())


def test_the_suffix_chooses_it(tmp_path: Path) -> None:
    assert format_of("cat.spatial.heic").name == "spatial"
    card_scene(160, 120).export(tmp_path / "cat.spatial.heic")
    assert len(pillow_heif.open_heif(tmp_path / "cat.spatial.heic")) == 2


def test_it_cannot_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_spatial(card_scene(160, 120), tmp_path / "file" / "a.spatial.heic")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
