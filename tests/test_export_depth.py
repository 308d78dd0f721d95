"""The depth folder: three files that agree, and that come back through `--depth`."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image

from diorama.depth import canonical_disparity
from diorama.depth_files import read_depth
from diorama.errors import OutputError
from diorama.export.depth import write_depth


def test_three_files_hold_the_harmonised_disparity(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    write_depth(scene, tmp_path / "a.depth")
    assert sorted(p.name for p in (tmp_path / "a.depth").iterdir()) == [
        "color.png",
        "depth.npz",
        "disparity.png",
    ]
    with np.load(tmp_path / "a.depth" / "depth.npz") as arrays:
        assert np.array_equal(arrays["disparity"], scene.disparity)
        assert np.array_equal(arrays["depth"], 1 / scene.disparity)
        assert np.array_equal(arrays["K"], scene.camera.K)
        assert not arrays["metric"]
    grey = np.asarray(Image.open(tmp_path / "a.depth" / "disparity.png"))
    assert grey.dtype == np.uint16
    step = scene.disparity.max() / 65535
    assert np.abs(grey * step - scene.disparity).max() <= 0.501 * step


def test_near_is_red_and_far_is_blue(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    ramp = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(48, axis=0)
    write_depth(replace(scene, disparity=ramp), tmp_path / "a.depth")
    color = np.asarray(Image.open(tmp_path / "a.depth" / "color.png")).astype(int)
    assert color[0, 10, 2] > color[0, 10, 0]
    assert color[0, 60, 0] > color[0, 60, 2]


@pytest.mark.parametrize("name", ["disparity.png", "depth.npz"])
def test_it_comes_back_as_supplied_depth(tmp_path: Path, name: str) -> None:
    scene = card_scene(64, 48)
    disparity = scene.disparity.copy()
    disparity[:10] = 0  # sky
    write_depth(replace(scene, disparity=disparity), tmp_path / "a.depth")
    back = canonical_disparity(read_depth(tmp_path / "a.depth" / name), scene.photo)
    assert back.confidence is None
    expected = disparity / np.percentile(disparity, 99.5)
    assert np.abs(back.disparity - expected).max() < 2e-5


def test_infinitely_far_is_infinite_depth(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    write_depth(replace(scene, disparity=np.zeros_like(scene.disparity)), tmp_path / "a.depth")
    with np.load(tmp_path / "a.depth" / "depth.npz") as arrays:
        assert np.isinf(arrays["depth"]).all()
    assert (cv2.imread(str(tmp_path / "a.depth" / "disparity.png"), -1) == 1).all()


def test_it_cannot_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_depth(card_scene(64, 48), tmp_path / "file" / "a.depth")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
