"""MPO: two whole JPEGs and a list of them, as Pillow and ExifTool read it."""

import io
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image, JpegImagePlugin, MpoImagePlugin

from diorama.camera import ViewBox
from diorama.errors import InputError
from diorama.export import write
from diorama.stereo import render_stereo


def exif(path: Path, *options: str) -> str:
    command = ["exiftool", *options, str(path)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_pillow_reads_the_left_eye_then_the_right(tmp_path: Path) -> None:
    scene = card_scene(160, 120)
    write(scene, tmp_path / "a.mpo")
    eyes = render_stereo(scene)
    with Image.open(tmp_path / "a.mpo") as mpo:
        assert isinstance(mpo, MpoImagePlugin.MpoImageFile)
        assert mpo.n_frames == 2
        for index, eye in enumerate(eyes):
            mpo.seek(index)
            got = np.asarray(mpo.convert("RGB")).astype(int)
            assert got.shape == (120, 160, 3)
            assert np.abs(got - eye).mean() < 2
            other = eyes[1 - index]
            assert np.abs(got - other).mean() > 4
        assert mpo.mpinfo is not None
        kinds = [entry["Attribute"] for entry in mpo.mpinfo[0xB002]]
    assert [kind["MPType"] for kind in kinds] == ["Multi-Frame Image: (Disparity)"] * 2
    assert [kind["RepresentativeImageFlag"] for kind in kinds] == [True, False]


def test_exiftool_reads_the_list_and_cuts_out_the_second(tmp_path: Path) -> None:
    scene = card_scene(160, 120)
    write(scene, tmp_path / "a.mpo")
    said = exif(tmp_path / "a.mpo", "-s3", "-NumberOfImages", "-MPImageType", "-MPImageFormat")
    assert said.splitlines() == ["2", "Multi-frame Disparity", "JPEG"]
    place = exif(tmp_path / "a.mpo", "-s3", "-MPIndividualNum", "-ConvergenceAngle")
    assert place.splitlines() == ["1", "0"]
    warnings = exif(tmp_path / "a.mpo", "-validate", "-s3", "-a", "-warning").splitlines()[1:]
    # Pillow writes this tag with the type of bytes.
    assert [line for line in warnings if "ComponentsConfiguration" not in line] == []
    second = subprocess.run(
        ["exiftool", "-b", "-MPImage2", str(tmp_path / "a.mpo")], capture_output=True, check=True
    ).stdout
    assert second.startswith(b"\xff\xd8")
    assert second.endswith(b"\xff\xd9")
    with JpegImagePlugin.JpegImageFile(io.BytesIO(second)) as image:
        got = np.asarray(image).astype(int)
    assert np.abs(got - render_stereo(scene)[1]).mean() < 2
    (tmp_path / "second.jpg").write_bytes(second)
    place = exif(tmp_path / "second.jpg", "-s3", "-MPIndividualNum", "-BaseViewpointNum")
    assert place.splitlines() == ["2", "1"]


@pytest.mark.parametrize("metric", [False, True])
def test_a_metric_scene_says_how_far_the_eyes_are_apart(tmp_path: Path, metric: bool) -> None:
    scene = replace(card_scene(64, 48), metric=metric, view_box=ViewBox(sideways=0.0325))
    write(scene, tmp_path / "a.mpo")
    second = subprocess.run(
        ["exiftool", "-b", "-MPImage2", str(tmp_path / "a.mpo")], capture_output=True, check=True
    ).stdout
    (tmp_path / "second.jpg").write_bytes(second)
    said = exif(tmp_path / "second.jpg", "-s3", "-n", "-BaselineLength")
    assert said == ("0.065" if metric else "1")  # 0xFFFFFFFF / 0xFFFFFFFF: not known


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mpo", "b.mpo"):
        write(card_scene(64, 48), tmp_path / name)
    assert (tmp_path / "a.mpo").read_bytes() == (tmp_path / "b.mpo").read_bytes()


def test_one_eye_makes_no_pair(tmp_path: Path) -> None:
    flat = replace(card_scene(64, 48), view_box=ViewBox(sideways=0))
    with pytest.raises(InputError, match="view box"):
        write(flat, tmp_path / "a.mpo")
    assert list(tmp_path.iterdir()) == []
