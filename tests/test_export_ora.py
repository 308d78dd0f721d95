"""The OpenRaster file: read back by pyora, and as the zip of PNG files that it is."""

import io
import xml.etree.ElementTree as ET
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyora
import pytest
from card_scene import card_scene
from PIL import Image

from diorama.errors import OutputError
from diorama.export.ora import write_ora
from diorama.export.pictures import depth_pictures, layer_pictures
from diorama.png import to_bytes
from diorama.scene import Scene

NAMES = ["layer 0 (back)", "layer 1", "layer 2 (front)"]


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene(320, 240)


@pytest.fixture(scope="module")
def path(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ora") / "cards.ora"
    write_ora(scene, path)
    return path


def picture(path: Path, name: str) -> np.ndarray:
    with zipfile.ZipFile(path) as archive:
        return np.asarray(Image.open(io.BytesIO(archive.read(name))))


def test_the_type_comes_first_and_nothing_is_compressed_twice(path: Path) -> None:
    assert path.read_bytes()[30:54] == b"mimetypeimage/openraster"
    with zipfile.ZipFile(path) as archive:
        assert archive.namelist()[:2] == ["mimetype", "stack.xml"]
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
        assert archive.testzip() is None


def test_the_stack_lists_layers_from_the_top(path: Path, scene: Scene) -> None:
    with zipfile.ZipFile(path) as archive:
        image = ET.fromstring(archive.read("stack.xml"))
    assert (image.get("w"), image.get("h")) == ("320", "240")
    (root,) = image
    group, *layers = root
    assert (group.tag, group.get("name"), group.get("visibility")) == ("stack", "depth", "hidden")
    assert [layer.get("name") for layer in layers] == NAMES[::-1]
    assert [layer.get("name") for layer in group] == [
        "depth of the scene",
        *(f"depth of {name}" for name in NAMES[::-1]),
    ]
    for parent, pictures in ((layers, layer_pictures(scene)), (group, depth_pictures(scene))):
        for layer, ours in zip(parent, reversed(pictures), strict=True):
            assert (layer.get("x"), layer.get("y")) == (str(ours.left), str(ours.top))
            np.testing.assert_array_equal(picture(path, layer.get("src")), ours.rgba)


def test_pyora_reads_the_same_layers(path: Path, scene: Scene) -> None:
    project = pyora.Project.load(str(path))
    assert project.dimensions == (320, 240)
    for name, layer in zip(NAMES, scene.layers, strict=True):
        read = project[name]
        assert read.visible
        whole = np.asarray(read.get_image_data(raw=False))
        rgba = to_bytes(layer.rgba)
        seen = rgba[..., 3] > 0
        np.testing.assert_array_equal(whole[seen], rgba[seen])
        assert not whole[~seen][:, 3].any()
    assert not project["depth"].visible
    grey = np.asarray(project["depth/depth of the scene"].get_image_data())
    unit = scene.disparity / scene.disparity.max()
    assert np.abs(grey[..., 0] / 255 - unit).max() <= 0.501 / 255
    assert (grey[..., 3] == 255).all()


def test_fills_are_in_the_layers(scene: Scene, tmp_path: Path) -> None:
    """What a nearer layer hides is there when that one is switched off."""
    wall = scene.layers[0]
    hole = scene.layers[2].rgba[..., 3] > 0
    rgba = wall.rgba.copy()
    rgba[hole, :3] = (0.2, 0.4, 0.6)
    filled = replace(scene, layers=(replace(wall, rgba=rgba, hole=hole), *scene.layers[1:]))
    write_ora(filled, tmp_path / "a.ora")
    read = np.asarray(pyora.Project.load(str(tmp_path / "a.ora"))[NAMES[0]].get_image_data())
    assert set(map(tuple, read[hole])) == {(51, 102, 153, 255)}


def test_merged_it_is_the_photo(path: Path, scene: Scene) -> None:
    merged = picture(path, "mergedimage.png")
    assert merged.shape == (240, 320, 4)
    inside = np.abs(merged[..., :3] / 255 - scene.photo.rgb).max(-1) < 2 / 255
    assert inside.mean() > 0.9  # all but the cards' anti-aliased outlines
    # What pyora itself makes of the visible layers.
    canvas = Image.new("RGBA", (320, 240))
    for name in NAMES:
        canvas.alpha_composite(pyora.Project.load(str(path))[name].get_image_data(raw=False))
    assert np.abs(np.asarray(canvas).astype(int) - merged).max() <= 1


def test_the_thumbnail_is_small(path: Path) -> None:
    small = picture(path, "Thumbnails/thumbnail.png")
    assert small.shape == (192, 256, 4)
    large = Image.fromarray(picture(path, "mergedimage.png")).resize(
        (256, 192), Image.Resampling.BOX
    )
    assert np.abs(np.asarray(large).astype(int) - small).mean() < 2


def test_same_scene_same_bytes(scene: Scene, path: Path, tmp_path: Path) -> None:
    write_ora(scene, tmp_path / "again.ora")
    assert (tmp_path / "again.ora").read_bytes() == path.read_bytes()


def test_an_empty_scene_is_said(scene: Scene, tmp_path: Path) -> None:
    clear = [replace(layer, rgba=np.zeros_like(layer.rgba)) for layer in scene.layers]
    with pytest.raises(OutputError, match="every layer of the scene is empty"):
        write_ora(replace(scene, layers=tuple(clear)), tmp_path / "a.ora")
    assert list(tmp_path.iterdir()) == []
