"""Saving, opening and saving again: the same bytes; and one clear line for what is not a scene."""

import dataclasses
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from diorama import scene_file
from diorama.camera import ViewBox
from diorama.errors import InputError, OutputError
from diorama.layers import Layer
from diorama.photo import load_photo
from diorama.pipeline import open_scene
from diorama.scene import Scene
from diorama.testing import two_cards


def card_scene(width: int = 64, height: int = 48) -> Scene:
    """Each surface of `two_cards` as a layer; nothing filled."""
    cards = two_cards(width, height)
    photo, disparity, masks = cards.photo(), cards.disparity(), cards.masks()
    layers = []
    for index in masks.ids:
        seen = masks.labels == index
        rgba = np.dstack([photo.rgb, seen.astype(np.float32)])
        layers.append(Layer(rgba, disparity, ~seen & (disparity < 0.5), (int(index),)))
    return Scene(
        photo,
        ViewBox(0.02, 0.01, 0.04),
        disparity * np.float32(0.9),
        disparity,
        dataclasses.replace(masks, scores=np.linspace(0.1, 1, len(masks.ids), dtype=np.float32)),
        tuple(layers),
        disparity_scale=0.0123456789,
        provenance={"models": {"depth": "known"}, "seed": 3, "reports": {"harmonise": [0.1, None]}},
    )


def contents(path: Path) -> dict[str, bytes]:
    if path.is_dir():
        return {p.name: p.read_bytes() for p in sorted(path.iterdir())}
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in sorted(archive.namelist())}


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "cat.diorama"
    card_scene().save(path)
    return path


def rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "scene.json"
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_what_was_saved_comes_back(saved: Path) -> None:
    scene, opened = card_scene(), open_scene(saved)
    assert np.array_equal(opened.photo.texture, scene.photo.texture)
    assert np.array_equal(opened.photo.rgb, scene.photo.rgb)
    assert opened.photo.name == scene.photo.name
    assert np.array_equal(opened.camera.K, scene.camera.K)
    assert opened.view_box == scene.view_box
    assert opened.metric is False
    assert opened.disparity_scale == scene.disparity_scale
    assert opened.provenance == scene.provenance
    assert np.array_equal(opened.masks.labels, scene.masks.labels)
    assert np.array_equal(opened.masks.ids, scene.masks.ids)
    assert opened.masks.scores is not None
    assert scene.masks.scores is not None
    assert np.array_equal(opened.masks.scores, scene.masks.scores)
    half_step = scene.disparity.max() / 65535 * 0.501
    assert np.abs(opened.disparity - scene.disparity).max() <= half_step
    assert np.abs(opened.raw_disparity - scene.raw_disparity).max() <= half_step
    assert len(opened.layers) == len(scene.layers)
    for got, want in zip(opened.layers, scene.layers, strict=True):
        assert got.mask_ids == want.mask_ids
        assert np.array_equal(got.hole, want.hole)
        assert np.abs(got.rgba - want.rgba).max() <= 0.501 / 255
        assert np.abs(got.disparity - want.disparity).max() <= half_step


@pytest.mark.parametrize("name", ["again.diorama", "again.zip"])
def test_saving_what_was_opened_gives_the_same_bytes(
    saved: Path, tmp_path: Path, name: str
) -> None:
    open_scene(saved).save(tmp_path / name)
    assert contents(tmp_path / name) == contents(saved)


def test_a_zip_is_the_same_bytes_each_time_and_opens(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip"):
        card_scene().save(tmp_path / name)
    assert (tmp_path / "a.zip").read_bytes() == (tmp_path / "b.zip").read_bytes()
    assert len(open_scene(tmp_path / "a.zip").layers) == 3


def test_a_zipped_folder_opens(saved: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "cat.diorama")
    assert open_scene(tmp_path / "packed.zip").camera.width == 64


def test_one_thread_and_two_write_the_same_bytes(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "1")
    card_scene().save(tmp_path / "one.diorama")
    monkeypatch.setenv("DIORAMA_THREADS", "2")
    card_scene().save(tmp_path / "two.diorama")
    assert contents(tmp_path / "one.diorama") == contents(tmp_path / "two.diorama")


def test_a_texture_larger_than_the_photo_gives_the_same_rgb(tmp_path: Path) -> None:
    texture = np.random.default_rng(0).integers(0, 256, (96, 128, 3), np.uint8)
    photo = load_photo(texture, max_size=64)
    dataclasses.replace(card_scene(), photo=photo).save(tmp_path / "big.diorama")
    opened = open_scene(tmp_path / "big.diorama").photo
    assert opened.texture.shape == (96, 128, 3)
    assert np.array_equal(opened.rgb, photo.rgb)


def test_an_all_far_scene_survives(tmp_path: Path) -> None:
    scene = card_scene()
    flat = np.zeros_like(scene.disparity)
    dataclasses.replace(scene, disparity=flat).save(tmp_path / "flat.diorama")
    assert not open_scene(tmp_path / "flat.diorama").disparity.any()


def test_unknown_fields_are_kept(saved: Path, tmp_path: Path) -> None:
    def add(document: dict[str, Any]) -> None:
        document["mood"] = {"warm": 1}
        document["camera"]["lens"] = "50 mm"
        document["layers"][1]["label"] = "card"

    rewrite(saved, add)
    open_scene(saved).save(tmp_path / "again.diorama")
    document = json.loads((tmp_path / "again.diorama" / "scene.json").read_text())
    assert document["mood"] == {"warm": 1}
    assert document["camera"]["lens"] == "50 mm"
    assert [layer.get("label") for layer in document["layers"]] == [None, "card", None]


def test_unknown_fields_of_a_layer_follow_it_through_an_edit(saved: Path, tmp_path: Path) -> None:
    rewrite(saved, lambda d: d["layers"][1].update(label="card"))
    opened = open_scene(saved)
    dataclasses.replace(opened, layers=opened.layers[1:]).save(tmp_path / "edited.diorama")
    document = json.loads((tmp_path / "edited.diorama" / "scene.json").read_text())
    assert [layer.get("label") for layer in document["layers"]] == ["card", None]


def test_an_older_format_is_migrated(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def to_1(document: dict[str, Any]) -> dict[str, Any]:
        return {**document, "format": 1, "view_box": document["box"]}

    monkeypatch.setitem(scene_file.MIGRATIONS, 0, to_1)

    def age(document: dict[str, Any]) -> None:
        document["format"] = 0
        document["box"] = document.pop("view_box")

    rewrite(saved, age)
    assert open_scene(saved).view_box == ViewBox(0.02, 0.01, 0.04)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.update(format=99), "format 99, newer than 2"),
        (lambda d: d.update(format=0), "format 0, which no version ever wrote"),
        (lambda d: d.pop("format"), "no 'format' number"),
        (lambda d: d.update(kind="video"), "'kind' must be 'photo' for this version"),
        (lambda d: d.pop("width"), "field 'width' must be a whole number of at least 1, but is mi"),
        (lambda d: d.update(metric="yes"), "field 'metric' must be true or false, but is 'yes'"),
        (lambda d: d["camera"].update(K=[[1, 2]]), "camera: field 'K' must be 3x3 numbers"),
        (lambda d: d["camera"].update(K="wide"), "camera: field 'K' must be 3x3 numbers"),
        (lambda d: d["view_box"].update(forward=-1), "field 'forward' must be a number of at leas"),
        (lambda d: d["masks"].update(ids=[0]), "field 'ids' must be ascending and hold every"),
        (
            lambda d: d["layers"][0].update(mask_ids=None),
            "layers 0: field 'mask_ids' must be n num",
        ),
        (lambda d: d.update(layers="none"), "field 'layers' must be a list of objects"),
        (lambda d: d["layers"][0].update(rgba="../photo.png"), "is not a plain file name"),
        (lambda d: d["layers"][0].update(rgba="gone.png"), "gone.png is missing"),
        (lambda d: d["layers"][0].update(rgba="photo.png"), "must be a file of its own"),
        (lambda d: d.update(width=63), "must be 63x48 px, but is 64x48"),
    ],
)
def test_a_wrong_scene_json_is_one_line(
    saved: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    rewrite(saved, change)
    with pytest.raises(InputError) as caught:
        open_scene(saved)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert str(saved) in str(caught.value)


@pytest.mark.parametrize("name", ["photo.png", "disparity.png", "masks.png", "layer_01.png"])
def test_a_damaged_picture_is_one_line(saved: Path, name: str) -> None:
    path = saved / name
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"text", whole[:60] + b"\0" * 40 + whole[100:]):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match=f"{name} is damaged$"):
            open_scene(saved)
    path.unlink()
    with pytest.raises(InputError, match=f"{name} is missing$"):
        open_scene(saved)


def test_what_is_not_a_scene_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.diorama does not exist"):
        open_scene(tmp_path / "nothing.diorama")
    with pytest.raises(InputError, match=r"is not a scene: it holds no scene\.json"):
        open_scene(tmp_path)
    text = tmp_path / "text.zip"
    text.write_text("not a zip")
    with pytest.raises(InputError, match="neither a folder nor a whole zip file"):
        open_scene(text)
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(InputError, match=r"it holds no scene\.json"):
        open_scene(tmp_path / "other.zip")
    (tmp_path / "scene.json").write_text("{")
    with pytest.raises(InputError, match=r"scene\.json is not JSON"):
        open_scene(tmp_path)


def test_a_truncated_zip_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    card_scene().save(path)
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match="neither a folder nor a whole zip file"):
        open_scene(path)


def test_saving_never_replaces_a_folder_that_is_no_scene(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "a.jpg").write_text("precious")
    with pytest.raises(InputError, match="is a folder that is not a scene"):
        card_scene().save(photos)
    assert (photos / "a.jpg").read_text() == "precious"


def test_saving_replaces_an_older_scene_and_leaves_no_scratch(saved: Path) -> None:
    scene = card_scene()
    dataclasses.replace(scene, layers=scene.layers[:1]).save(saved)
    assert len(open_scene(saved).layers) == 1
    assert not (saved / "layer_01.png").exists()
    assert [p.name for p in saved.parent.iterdir()] == ["cat.diorama"]


def test_saving_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"name\.diorama or name\.zip, not cat\.png"):
        card_scene().save(tmp_path / "cat.png")
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        card_scene().save(tmp_path / "file" / "cat.diorama")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_mask_ids_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    scene = card_scene()
    masks = dataclasses.replace(
        scene.masks,
        labels=scene.masks.labels + np.int32(1 << 24),
        ids=scene.masks.ids + np.int32(1 << 24),
    )
    with pytest.raises(InputError, match=r"mask ids must lie in 0\.\.16777215"):
        dataclasses.replace(scene, masks=masks).save(tmp_path / "cat.diorama")
