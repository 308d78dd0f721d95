"""Saving, opening and saving again: the same bytes; and one clear line for what is not a scene."""

import copy
import dataclasses
import json
import os
import random
import shutil
import tracemalloc
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

import diorama
from diorama import scene_file
from diorama.camera import ViewBox
from diorama.errors import InputError, OutputError
from diorama.layers import Layer
from diorama.photo import load_photo
from diorama.pipeline import open_scene
from diorama.png import encode_png
from diorama.scene import Scene
from diorama.scene_file import read_scene
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


FORMAT_1 = Path(__file__).parent / "data" / "scene_format1.zip"
SCHEMA = json.loads((Path(diorama.__file__).parent / "data" / "scene.schema.json").read_text())
VALID = jsonschema.Draft202012Validator(SCHEMA)


def full_scene() -> Scene:
    """A scene with everything that can be left out."""
    scene = card_scene()
    random = np.random.default_rng(0)
    alpha = random.integers(0, 256, (48, 64)).astype(np.float32) / np.float32(255)
    confidence = random.random((48, 64), np.float32)
    edges = random.integers(0, 256, (48, 64)).astype(np.float32) / np.float32(255)
    photo = dataclasses.replace(scene.photo, alpha=alpha)
    return dataclasses.replace(scene, photo=photo, confidence=confidence, edges=edges)


def refused(path: Path) -> str:
    """The one line that says why a scene is not opened."""
    with pytest.raises(InputError) as caught:
        open_scene(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)
    return str(caught.value)


def opens(path: Path) -> bool:
    """Whether a scene can be read; if not, one line says why."""
    try:
        read_scene(path)
    except InputError as error:
        message = str(error)
    else:
        return True
    assert str(path) in message
    assert "\n" not in message
    return False


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


def test_alpha_confidence_and_edges_come_back(tmp_path: Path) -> None:
    scene = full_scene()
    scene.save(tmp_path / "a.diorama")
    opened, edited = read_scene(tmp_path / "a.diorama")
    assert not edited
    assert scene.photo.alpha is not None
    np.testing.assert_array_equal(opened.photo.alpha, scene.photo.alpha)
    np.testing.assert_allclose(opened.confidence, scene.confidence, atol=0.51 / 65535)
    np.testing.assert_array_equal(opened.edges, scene.edges)
    opened.save(tmp_path / "b.diorama")
    assert contents(tmp_path / "b.diorama") == contents(tmp_path / "a.diorama")


def test_mask_ids_up_to_24_bits_come_back(tmp_path: Path) -> None:
    scene = card_scene()
    far = np.int32((1 << 24) - 3)
    masks = dataclasses.replace(
        scene.masks, labels=scene.masks.labels + far, ids=scene.masks.ids + far
    )
    dataclasses.replace(scene, masks=masks).save(tmp_path / "a.zip")
    opened = open_scene(tmp_path / "a.zip").masks
    np.testing.assert_array_equal(opened.labels, masks.labels)
    np.testing.assert_array_equal(opened.ids, masks.ids)


def test_a_scene_of_format_1_opens_as_it_was(tmp_path: Path) -> None:
    scene, edited = read_scene(FORMAT_1)
    assert not edited
    assert [layer.mask_ids for layer in scene.layers] == [(0, 1), (2, 3), (4, 5)]
    assert scene.photo.name == "photo"
    assert (scene.photo.alpha, scene.confidence, scene.edges) == (None, None, None)
    assert scene.provenance["models"]["segmenter"] == "embedded"
    assert scene.masks.ids.tolist() == np.unique(scene.masks.labels).tolist()
    cards = two_cards(64, 48)
    np.testing.assert_array_equal(scene.photo.texture, cards.photo().texture)
    np.testing.assert_allclose(scene.raw_disparity, cards.disparity(), atol=1 / 65535)
    scene.save(tmp_path / "new.diorama")
    old, new = contents(FORMAT_1), contents(tmp_path / "new.diorama")
    same = sorted(old.keys() - {"scene.json", "masks.png"})
    assert [new[name] for name in same] == [old[name] for name in same]
    document = json.loads(new["scene.json"])
    assert document["format"] == 2
    assert document["checksums"].keys() >= set(same)
    open_scene(tmp_path / "new.diorama").save(tmp_path / "newer.diorama")
    assert contents(tmp_path / "newer.diorama") == new


def test_every_format_that_was_released_is_migrated() -> None:
    assert sorted(scene_file.MIGRATIONS) == list(range(1, scene_file.FORMAT))


@pytest.mark.parametrize("make", [card_scene, full_scene, lambda: open_scene(FORMAT_1)])
def test_saved_scenes_satisfy_the_schema(make: Callable[[], Scene], tmp_path: Path) -> None:
    make().save(tmp_path / "a.diorama")
    VALID.validate(json.loads((tmp_path / "a.diorama" / "scene.json").read_text()))


def test_the_schema_describes_every_field_that_is_written(tmp_path: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def check(document: Any, schema: dict[str, Any], where: str) -> None:
        if "$ref" in schema:
            schema = {**SCHEMA["$defs"][schema["$ref"].rpartition("/")[2]], **schema}
        for option in schema.get("anyOf", ()):
            if option["type"] in ("object", "array"):
                schema = {**option, **schema}
        if isinstance(document, dict) and "properties" in schema:
            for name, value in document.items():
                assert name in schema["properties"], f"{where}.{name}"
                field = schema["properties"][name]
                assert "description" in field or "$ref" in field, f"{where}.{name}"
                check(value, field, f"{where}.{name}")
        if isinstance(document, list) and "items" in schema:
            for value in document:
                check(value, schema["items"], f"{where}[]")

    scene = dataclasses.replace(full_scene(), provenance=open_scene(FORMAT_1).provenance)
    scene.save(tmp_path / "a.diorama")
    check(json.loads((tmp_path / "a.diorama" / "scene.json").read_text()), SCHEMA, "scene")


STRANGE: list[Any] = [
    *(None, True, "", "x", "..", "a/b", 0, -1, 1.5, 1e300, 10**30, 1 << 24, [], {}, [[1, 2], [3]]),
    *({"file": "photo.png"}, ["x"], [-1], [1e13], "disparity.png", 64, 48, 2, [None], [True]),
]


def mutated(document: dict[str, Any], seed: int) -> dict[str, Any]:
    """The document with one value, anywhere, taken away or replaced by another."""
    chance = random.Random(seed)
    document = copy.deepcopy(document)
    places: list[tuple[Any, Any]] = []

    def visit(value: Any) -> None:
        keys = value if isinstance(value, dict) else range(len(value))
        for key in keys:
            places.append((value, key))
            if isinstance(value[key], (dict, list)):
                visit(value[key])

    visit(document)
    parent, key = chance.choice(places)
    if chance.random() < 0.2:
        del parent[key]
    else:
        parent[key] = copy.deepcopy(chance.choice(STRANGE))
    return document


def test_what_the_schema_refuses_is_refused_and_nothing_crashes(tmp_path: Path) -> None:
    path = tmp_path / "a.diorama"
    full_scene().save(path)
    document = json.loads((path / "scene.json").read_text())
    counts = {"refused by both": 0, "refused by us alone": 0, "opened": 0}
    for seed in range(300):
        changed = mutated(document, seed)
        (path / "scene.json").write_text(json.dumps(changed))
        valid = VALID.is_valid(changed) or changed.get("format") != 2
        if opens(path):
            assert valid, f"seed {seed}: {[e.message for e in VALID.iter_errors(changed)]}"
            counts["opened"] += 1
        else:
            counts["refused by us alone" if valid else "refused by both"] += 1
    assert min(counts.values()) >= 5, counts


def test_a_zip_with_any_bytes_changed_opens_or_is_one_line(tmp_path: Path) -> None:
    whole = tmp_path / "a.zip"
    full_scene().save(whole)
    with zipfile.ZipFile(whole) as archive, zipfile.ZipFile(tmp_path / "b.zip", "w") as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name), zipfile.ZIP_DEFLATED)
    chance = random.Random(0)
    opened = 0
    for seed in range(240):
        data = bytearray((whole if seed % 2 else tmp_path / "b.zip").read_bytes())
        for _ in range(chance.choice((1, 1, 3, 20))):
            # The directory at the end decides most: it takes half of the blows.
            low = len(data) - 2500 if chance.random() < 0.5 else 0
            data[chance.randrange(low, len(data))] = chance.randrange(256)
        if chance.random() < 0.1:
            del data[chance.randrange(len(data)) :]
        path = tmp_path / "broken.zip"
        path.write_bytes(data)
        opened += opens(path)
    assert 0 < opened < 120


def deflated_bomb(size: int, claimed: int) -> bytes:
    """A zip whose scene.json inflates to `size` bytes and claims to have `claimed`."""
    import io

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("scene.json", bytes(size), zipfile.ZIP_DEFLATED)
    data = out.getvalue()
    return data.replace(size.to_bytes(4, "little"), claimed.to_bytes(4, "little"))


@pytest.mark.parametrize("claimed", [1000, 300 << 20])
def test_a_zip_bomb_takes_no_memory(tmp_path: Path, claimed: int) -> None:
    path = tmp_path / "bomb.zip"
    path.write_bytes(deflated_bomb(300 << 20, claimed))
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    try:
        message = refused(path)
        assert tracemalloc.get_traced_memory()[1] - before < 16 << 20
    finally:
        tracemalloc.stop()
    assert ("damaged" if claimed == 1000 else "more than a scene can need") in message


def test_a_scene_that_claims_more_than_memory_holds_is_refused(saved: Path) -> None:
    def grow(document: dict[str, Any]) -> None:
        for of in (document, document["photo"]):
            of.update(width=16000, height=16000)

    rewrite(saved, grow)
    assert "claims 3 layers of 16000x16000 px" in refused(saved)
    rewrite(saved, lambda d: d["photo"].update(width=300000, height=300000))
    assert "claims a photo of 300000x300000 px, more than 300 megapixels" in refused(saved)


def test_a_picture_with_a_huge_header_is_refused_before_it_is_decoded(saved: Path) -> None:
    row = zlib.compress(bytes(100))
    head = (60000).to_bytes(4, "big") * 2 + bytes([8, 6, 0, 0, 0])
    chunks = ((b"IHDR", head), (b"IDAT", row), (b"IEND", b""))
    (saved / "layer_00.png").write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(
            len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")
            for kind, data in chunks
        )
    )
    assert "layer_00.png must be 64x48 px, but is 60000x60000" in refused(saved)


def test_links_out_of_the_folder_and_what_is_no_file_are_refused(
    saved: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "secret.png"
    (saved / "masks.png").rename(outside)
    (saved / "masks.png").symlink_to(outside)
    assert "masks.png leads out of the scene" in refused(saved)
    (saved / "masks.png").unlink()
    (saved / "masks.png").symlink_to("masks.png")
    assert "cannot read masks.png" in refused(saved)
    (saved / "masks.png").unlink()
    (saved / "masks.png").mkdir()
    assert "masks.png is not a file" in refused(saved)
    (saved / "masks.png").rmdir()
    os.mkfifo(saved / "masks.png")
    assert "masks.png is not a file" in refused(saved)
    (saved / "masks.png").unlink()
    outside.rename(saved / "kept.png")
    (saved / "masks.png").symlink_to("kept.png")
    assert len(open_scene(saved).layers) == 3, "a link inside the folder leads nowhere else"
    os.mkfifo(tmp_path / "pipe.zip")
    assert "neither a folder nor a whole zip file" in refused(tmp_path / "pipe.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_zips_that_mean_two_things_are_refused(tmp_path: Path) -> None:
    card_scene().save(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "a.zip", "a") as archive:
        archive.writestr("masks.png", b"another")
    assert "holds two files of the same name" in refused(tmp_path / "a.zip")
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("scene.json", b"{}", zipfile.ZIP_LZMA)
    assert "scene.json is compressed in an unusual way" in refused(tmp_path / "b.zip")
    with zipfile.ZipFile(tmp_path / "c.zip", "w") as archive:
        archive.writestr("../../scene.json", b"{}")
    assert "no 'format' number" in refused(tmp_path / "c.zip")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"format": NaN}', "NaN is not a number"),
        ('{"format": 2, "x": -Infinity}', "-Infinity is not a number"),
        ('{"format": 2, "x": 1e999}', "a number too large to be one"),
        ('{"format": ' + "9" * 5000 + "}", "is not JSON"),
        ('{"format": ' + "9" * 400 + "}", "has format a huge number"),
        ('{"format": -3}', "format -3, which no version ever wrote"),
        ('{"format": true}', "no 'format' number"),
        ("[" * 100_000, "nested too deep"),
        ('{"format": 2, "x": ' + "[" * 200 + "]" * 200 + "}", "nested too deep"),
        ('{"format": 2, "x": "\\ud800"}', "text that is not Unicode"),
        ('{"format": 2, "\\udfff": 1}', "text that is not Unicode"),
        ("[]", "no 'format' number"),
        ("", "is not JSON"),
        ("\x00", "is not JSON"),
    ],
    ids=range(14),
)
def test_json_that_is_none_is_one_line(saved: Path, text: str, message: str) -> None:
    (saved / "scene.json").write_text(text)
    assert message in refused(saved)


def test_a_number_too_large_for_a_float_is_named(saved: Path) -> None:
    rewrite(saved, lambda d: d["view_box"].update(forward=10**400))
    assert "field 'forward' must be a number of at least 0, but is a huge number" in refused(saved)


def test_two_fields_that_name_one_file_are_refused(saved: Path) -> None:
    rewrite(saved, lambda d: d["layers"][1].update(hole=d["layers"][0]["hole"]))
    assert "must be a file of its own, but is 'layer_00_hole.png'" in refused(saved)


def test_a_photo_given_as_masks_is_refused(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
    (saved / "masks.png").write_bytes(encode_png(noise))
    assert "masks.png has no area of one colour" in refused(saved)
    tiles = noise[:12, :16].repeat(4, 0).repeat(4, 1)
    (saved / "masks.png").write_bytes(encode_png(tiles))
    monkeypatch.setattr(scene_file, "MAX_DRAWN_MASKS", 100)
    assert "masks.png has 192 colours: every mask needs its own" in refused(saved)


def test_alpha_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    full_scene().save(tmp_path / "a.diorama")
    (tmp_path / "a.diorama" / "alpha.png").write_bytes(encode_png(np.zeros((48, 64), np.uint8)))
    assert "alpha.png leaves nothing to be seen" in refused(tmp_path / "a.diorama")
