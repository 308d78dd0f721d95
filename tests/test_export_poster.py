"""The poster: the photo's view, as large as link previews show it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image

from diorama.errors import OutputError
from diorama.export import write


def test_the_poster_is_the_photo(tmp_path: Path) -> None:
    scene = card_scene(320, 240)
    write(scene, tmp_path / "a.poster.jpg")
    with Image.open(tmp_path / "a.poster.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (320, 240))
        assert np.abs(np.asarray(image) / 255 - scene.photo.rgb).mean() < 0.015


def test_a_large_photo_gets_a_poster_of_1200_pixels(tmp_path: Path) -> None:
    scene = card_scene(320, 240)
    fine = np.asarray(
        Image.fromarray(scene.photo.texture).resize((1600, 1200), Image.Resampling.BICUBIC)
    )
    large = replace(scene, photo=replace(scene.photo, texture=fine))
    write(large, tmp_path / "a.poster.jpg")
    with Image.open(tmp_path / "a.poster.jpg") as image:
        assert image.size == (1200, 900)
        got = np.asarray(image.resize((320, 240), Image.Resampling.BOX)) / 255
    assert np.abs(got - scene.photo.rgb).mean() < 0.02


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.poster.jpg", "b.poster.jpg"):
        write(card_scene(64, 48), tmp_path / name)
    assert (tmp_path / "a.poster.jpg").read_bytes() == (tmp_path / "b.poster.jpg").read_bytes()


def test_a_folder_in_the_way_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.poster.jpg").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*a\.poster\.jpg"):
        write(card_scene(64, 48), tmp_path / "a.poster.jpg")
