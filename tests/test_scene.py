"""A scene is immutable; what is made of it is made once, when it is first asked for."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene

from diorama.errors import OutputError, UnknownNameError
from diorama.pipeline import open_scene


def test_a_scene_cannot_be_changed() -> None:
    scene = card_scene(64, 48)
    with pytest.raises(dataclasses.FrozenInstanceError):
        scene.metric = True  # pyright: ignore[reportAttributeAccessIssue]


def test_meshes_and_renderer_are_built_once_and_anew_for_an_edited_scene() -> None:
    scene = dataclasses.replace(card_scene(64, 48))
    assert len(scene.meshes) == len(scene.layers) == 3
    assert scene.meshes is scene.meshes
    assert scene.renderer is scene.renderer
    edited = dataclasses.replace(scene, layers=scene.layers[:1])
    assert len(edited.meshes) == 1
    assert edited.renderer is not scene.renderer


def test_rendering_from_the_photos_camera_shows_the_photo() -> None:
    scene = card_scene(128, 96)
    frame = scene.render(scene.camera)
    assert scene.camera is scene.photo.camera
    assert np.abs(frame.rgb - scene.photo.rgb)[4:-4, 4:-4].mean() < 0.02


def test_saving_and_exporting_go_by_the_suffix(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    scene.save(tmp_path / "a.zip")
    scene.export(tmp_path / "b.zip")
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert len(open_scene(tmp_path / "a.zip").layers) == 3
    with pytest.raises(UnknownNameError):
        scene.export(tmp_path / "a.xyz")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        scene.save(tmp_path / "file" / "a.zip")
