"""The layers folder: a PNG pair a layer that composites to the photo, and JSON that says how."""

import json
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image

from diorama.errors import OutputError
from diorama.export.layers import write_layers


def test_every_layer_is_a_pair_of_pictures(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    write_layers(scene, tmp_path / "a.layers")
    document = json.loads((tmp_path / "a.layers" / "layers.json").read_text())
    assert (document["width"], document["height"]) == (64, 48)
    assert np.allclose(document["K"], scene.camera.K)
    assert document["view_box"] == {"sideways": 0.03, "vertical": 0.03, "forward": 0.05}
    assert len(document["layers"]) == len(scene.layers)
    for entry, layer in zip(document["layers"], scene.layers, strict=True):
        rgba = np.asarray(Image.open(tmp_path / "a.layers" / entry["rgba"]))
        assert rgba.shape == (48, 64, 4)
        assert np.abs(rgba / 255 - layer.rgba).max() <= 0.501 / 255
        steps = np.asarray(Image.open(tmp_path / "a.layers" / entry["disparity"]))
        assert steps.dtype == np.uint16
        error = np.abs(steps * entry["disparity_scale"] - layer.disparity)
        assert error.max() <= 0.501 * entry["disparity_scale"]
        assert entry["mask_ids"] == list(layer.mask_ids)


def test_medians_rise_from_back_to_front(tmp_path: Path) -> None:
    write_layers(card_scene(64, 48), tmp_path / "a.layers")
    document = json.loads((tmp_path / "a.layers" / "layers.json").read_text())
    medians = [entry["disparity_median"] for entry in document["layers"]]
    assert medians == pytest.approx([1 / 3, 1 / 1.6, 1])


def test_composited_back_to_front_they_are_the_photo(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    write_layers(scene, tmp_path / "a.layers")
    canvas = Image.new("RGBA", (64, 48), (0, 0, 0, 255))
    for path in sorted((tmp_path / "a.layers").glob("layer_??.png")):
        canvas.alpha_composite(Image.open(path))
    rgb = np.asarray(canvas)[..., :3] / 255
    inside = np.abs(rgb - scene.photo.rgb).max(-1) < 2 / 255
    assert inside.mean() > 0.9  # all but the cards' anti-aliased outlines


def test_it_cannot_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_layers(card_scene(64, 48), tmp_path / "file" / "a.layers")
