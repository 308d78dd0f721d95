"""The PSD: read back by psd-tools and by Pillow, every layer's pixels compared."""

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image, ImageCms
from psd_tools import PSDImage

from diorama.errors import OutputError
from diorama.export import psd
from diorama.export.pictures import Picture, depth_pictures, layer_pictures
from diorama.export.psd import pack_bits, write_psd
from diorama.png import to_bytes
from diorama.scene import Scene


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene(127, 95)


@pytest.fixture(scope="module")
def path(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("psd") / "cards.psd"
    write_psd(scene, path)
    return path


def same(layer: object, picture: Picture) -> bool:
    return (
        layer.name == picture.name
        and (layer.left, layer.top) == (picture.left, picture.top)
        and np.array_equal(np.asarray(layer.topil()), picture.rgba)
    )


def test_layers_from_the_bottom_are_the_scenes_from_the_back(path: Path, scene: Scene) -> None:
    document = PSDImage.open(path)
    assert (document.size, document.depth) == ((127, 95), 8)
    *layers, group = document
    assert [layer.name for layer in layers] == ["layer 0 (back)", "layer 1", "layer 2 (front)"]
    assert all(layer.visible for layer in layers)
    assert all(map(same, layers, layer_pictures(scene)))
    for layer, ours in zip(layers, scene.layers, strict=True):
        whole = np.asarray(layer.composite(viewport=document.viewbox))
        seen = ours.rgba[..., 3] >= 1
        np.testing.assert_array_equal(whole[seen], to_bytes(ours.rgba)[seen])
    assert (group.name, group.is_group(), group.visible) == ("depth", True, False)


def test_depth_is_a_hidden_group(path: Path, scene: Scene) -> None:
    group = list(PSDImage.open(path))[-1]
    assert [layer.name for layer in group] == [
        "depth of layer 0 (back)",
        "depth of layer 1",
        "depth of layer 2 (front)",
        "depth of the scene",
    ]
    assert all(map(same, group, depth_pictures(scene)))
    grey = np.asarray(list(group)[-1].topil())[..., 0] / 255
    unit = scene.disparity / scene.disparity.max()
    assert np.abs(grey - unit).max() <= 0.501 / 255


def test_pillow_reads_the_same_layers(path: Path, scene: Scene) -> None:
    pictures = [*layer_pictures(scene), None, *depth_pictures(scene), None]
    with Image.open(path) as image:
        assert len(image.layers) == len(pictures)
        # From the top: Pillow takes the merged image it begins with for the first layer.
        for index, picture in reversed(list(enumerate(pictures, 1))):
            if picture is None:
                continue
            image.seek(index)
            image.load()
            name, _, (left, top, right, bottom), _ = image.layers[index - 1]
            assert (name, left, top) == (picture.name, picture.left, picture.top)
            seen = np.asarray(image)[top:bottom, left:right]
            np.testing.assert_array_equal(seen, picture.rgba)


def test_merged_it_is_the_photo(path: Path, scene: Scene) -> None:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        merged = np.asarray(image)
    np.testing.assert_array_equal(merged, np.asarray(PSDImage.open(path).topil()))
    inside = np.abs(merged / 255 - scene.photo.rgb).max(-1) < 2 / 255
    assert inside.mean() > 0.9  # all but the cards' anti-aliased outlines
    # What psd-tools itself makes of the layers, with the hidden ones left out.
    again = np.asarray(PSDImage.open(path).composite(force=True))[..., :3]
    assert np.abs(again.astype(int) - merged).max() <= 1


def test_holes_in_the_scene_stay_transparent(scene: Scene, tmp_path: Path) -> None:
    write_psd(replace(scene, layers=scene.layers[1:]), tmp_path / "a.psd")
    document = PSDImage.open(tmp_path / "a.psd")
    merged = np.asarray(document.topil())
    assert merged.shape == (95, 127, 4)
    assert set(np.unique(merged[..., 3])) >= {0, 255}


def test_it_says_that_its_colours_are_srgb(path: Path) -> None:
    with Image.open(path) as image:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(image.info["icc_profile"]))
    assert "sRGB" in ImageCms.getProfileDescription(profile)


def test_same_scene_same_bytes(scene: Scene, path: Path, tmp_path: Path) -> None:
    psd._srgb_profile.cache_clear()
    write_psd(scene, tmp_path / "again.psd")
    assert (tmp_path / "again.psd").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("levels", [1, 2, 4, 256])
@pytest.mark.parametrize("width", [1, 2, 3, 127, 128, 129, 130, 257, 400])
def test_packed_rows_unpack_to_what_they_were(levels: int, width: int) -> None:
    random = np.random.default_rng(levels * 1000 + width)
    rows = random.integers(0, levels, (7, width)).astype(np.uint8)
    rows[2] = 9  # one run
    rows[3, : width // 2] = 1  # a run, then noise
    counts, packed = pack_bits(rows)
    assert counts.sum() == len(packed)
    assert counts.max() <= width + -(-width // 128)
    starts = np.cumsum(counts) - counts
    for row, start, count in zip(rows, starts, counts, strict=True):
        assert decode_rle_row(packed[start : start + count]) == row.tobytes()


def decode_rle_row(packed: bytes) -> bytes:
    """PackBits as Apple's note has it."""
    out, at = bytearray(), 0
    while at < len(packed):
        n = packed[at]
        if n < 128:
            out += packed[at + 1 : at + 2 + n]
            at += 2 + n
        else:
            assert n > 128
            out += packed[at + 1 : at + 2] * (257 - n)
            at += 2
    return bytes(out)


def test_a_run_packs_to_two_bytes_a_packet() -> None:
    counts, packed = pack_bits(np.full((1, 300), 7, np.uint8))
    assert (counts.tolist(), packed) == ([6], bytes([129, 7, 129, 7, 257 - 44, 7]))


def test_too_large_is_said_in_one_line(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psd, "MAX_SIDE", 126)
    with pytest.raises(OutputError, match="at most 126 px a side, the scene is 127x95; write"):
        write_psd(scene, tmp_path / "a.psd")
    monkeypatch.undo()
    monkeypatch.setattr(psd, "MAX_BYTES", 10_000)
    with pytest.raises(OutputError, match="at most 10000 bytes, this one would have"):
        write_psd(scene, tmp_path / "a.psd")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_scene_is_said(scene: Scene, tmp_path: Path) -> None:
    clear = [replace(layer, rgba=np.zeros_like(layer.rgba)) for layer in scene.layers]
    with pytest.raises(OutputError, match="every layer of the scene is empty"):
        write_psd(replace(scene, layers=tuple(clear)), tmp_path / "a.psd")
    assert list(tmp_path.iterdir()) == []
