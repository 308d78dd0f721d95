"""After an edit what depends on it is made anew, just as a fresh run would have made it."""

import dataclasses
import json
import logging
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from diorama import registry, testing
from diorama.cli import main
from diorama.config import SceneConfig
from diorama.depth import DepthResult
from diorama.errors import InputError, UnknownNameError
from diorama.masks import Masks
from diorama.models.exemplar import Exemplar
from diorama.pipeline import STAGES, open_scene, photo_to_scene, remake
from diorama.png import encode_png, label_colors, quantise_disparity
from diorama.scene import Scene

CARDS = testing.two_cards(96, 72)
WALL, CARD, DISC = 0, 1, 2
CALLS: list[str] = []


class CountingSegmenter:
    """Finds the masks it is told to, and is counted."""

    masks = CARDS.masks()

    def segment(self, photo: Any, disparity: Any, edges: Any = None) -> Masks:
        del photo, disparity, edges
        CALLS.append("segmenter")
        return self.masks


class CountingInpainter(Exemplar):
    """The embedded one, counted."""

    def inpaint(self, tasks: Any, *, seed: int) -> Any:
        CALLS.append("inpainter")
        return super().inpaint(tasks, seed=seed)


@pytest.fixture(scope="module", autouse=True)
def models() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for task, kind in (("segmenter", "CountingSegmenter"), ("inpainter", "CountingInpainter")):
            entry = registry.ModelEntry("counting", task, "Counts.", f"{__name__}:{kind}", "MIT")
            patch.setitem(registry._entries, (task, "counting"), entry)
        yield


def make(*, masks: Masks | None = None, source: np.ndarray | None = None) -> Scene:
    """The two cards from a blurred depth that a file holds exactly."""
    steps, step = quantise_disparity(cv2.GaussianBlur(CARDS.disparity(), (0, 0), 1.5))
    disparity = (steps * np.float64(step)).astype(np.float32)
    CountingSegmenter.masks = CARDS.masks() if masks is None else masks
    return photo_to_scene(
        CARDS.photo().texture if source is None else source,
        depth=DepthResult(disparity, "metric", np.full_like(disparity, 1.0)),
        config=SceneConfig(
            segmenter="counting", inpainter="counting", fov_deg=CARDS.camera.fov_deg, seed=5
        ),
    )


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, models: None) -> Path:
    """A saved scene, to be copied."""
    del models
    path = tmp_path_factory.mktemp("fresh") / "cards.diorama"
    make().save(path)
    return path


@pytest.fixture
def saved(fresh: Path, tmp_path: Path) -> Path:
    shutil.copytree(fresh, tmp_path / "cards.diorama")
    CALLS.clear()
    CountingSegmenter.masks = CARDS.masks()
    return tmp_path / "cards.diorama"


def paint(path: Path, change: Callable[[np.ndarray], None]) -> None:
    """Change a picture as an editor would, and save it by another encoder."""
    with Image.open(path) as image:
        pixels = np.array(image)
    change(pixels)
    Image.fromarray(pixels).save(path)


def box_of(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(path.iterdir())}


def same(a: Scene, b: Scene) -> None:
    """Both scenes hold the same pictures."""
    np.testing.assert_array_equal(a.photo.texture, b.photo.texture)
    np.testing.assert_array_equal(a.raw_disparity, b.raw_disparity)
    np.testing.assert_array_equal(a.masks.labels, b.masks.labels)
    np.testing.assert_array_equal(a.disparity, b.disparity)
    assert [layer.mask_ids for layer in a.layers] == [layer.mask_ids for layer in b.layers]
    for one, other in zip(a.layers, b.layers, strict=True):
        np.testing.assert_array_equal(one.rgba, other.rgba)
        np.testing.assert_array_equal(one.disparity, other.disparity)
        np.testing.assert_array_equal(one.hole, other.hole)


def darken(pixels: np.ndarray) -> None:
    pixels[10:20, 10:30] = pixels[10:20, 10:30] // 2


def merge(pixels: np.ndarray) -> None:
    """The card joins the wall."""
    pixels[(pixels == label_colors(np.array([[CARD]], np.int32))).all(-1)] = 0


EDITS: dict[str, tuple[Callable[[np.ndarray], None], tuple[str, ...]]] = {
    "photo.png": (darken, STAGES[2:]),
    "raw_disparity.png": (darken, STAGES[3:]),
    "masks.png": (merge, STAGES[3:]),
    "disparity.png": (darken, STAGES[4:]),
    "layer_00.png": (darken, ()),
    "layer_01_disparity.png": (darken, ()),
    "layer_00_hole.png": (darken, ()),
}


def test_nothing_is_computed_without_an_edit(saved: Path, tmp_path: Path) -> None:
    seen: list[str] = []
    scene = open_scene(saved, progress=seen.append)
    scene.save(tmp_path / "again.diorama")
    assert (seen, CALLS) == ([], [])
    assert box_of(tmp_path / "again.diorama") == box_of(saved)


@pytest.mark.parametrize("name", EDITS)
def test_an_edit_runs_the_stages_that_depend_on_it(saved: Path, name: str) -> None:
    change, stages = EDITS[name]
    paint(saved / name, change)
    before, seen = box_of(saved), []
    open_scene(saved, progress=seen.append)
    assert tuple(seen) == stages
    calls = {"masks": "segmenter", "inpaint": "inpainter"}
    assert [calls[stage] for stage in stages if stage in calls] == CALLS
    assert box_of(saved) == before, "files stay as they are until the scene is saved"


@pytest.mark.parametrize("name", EDITS)
def test_an_edited_scene_is_saved_and_opened_without_another_run(
    saved: Path, tmp_path: Path, name: str
) -> None:
    paint(saved / name, EDITS[name][0])
    scene = open_scene(saved)
    scene.save(tmp_path / "once.diorama")
    CALLS.clear()
    seen: list[str] = []
    open_scene(tmp_path / "once.diorama", progress=seen.append).save(tmp_path / "twice.diorama")
    assert (seen, CALLS) == ([], [])
    assert box_of(tmp_path / "twice.diorama") == box_of(tmp_path / "once.diorama")
    part = {"layer": "layers"}.get(name[:5], name.removesuffix(".png"))
    assert scene.provenance["edited"] == [part]


def test_merged_masks_give_what_a_run_with_them_would_give(saved: Path) -> None:
    truth = CARDS.masks()
    merged = np.where(truth.labels == CARD, np.int32(WALL), truth.labels)
    paint(saved / "masks.png", merge)
    opened = open_scene(saved)
    expected = make(masks=Masks(merged, np.array([WALL, DISC], np.int32)))
    assert opened.masks.ids.tolist() == [WALL, DISC]
    same(opened, expected)
    assert not np.array_equal(opened.disparity, open_scene(saved.parent / saved.name).raw_disparity)


def test_a_retouched_photo_gives_what_a_run_with_it_and_the_old_depth_would_give(
    saved: Path,
) -> None:
    paint(saved / "photo.png", darken)
    texture = CARDS.photo().texture.copy()
    darken(texture)
    same(open_scene(saved), make(source=texture))


def test_a_wider_view_box_is_noticed(saved: Path, fresh: Path) -> None:
    document = json.loads((saved / "scene.json").read_text())
    document["view_box"]["sideways"] = 0.06
    (saved / "scene.json").write_text(json.dumps(document))
    seen: list[str] = []
    opened = open_scene(saved, progress=seen.append)
    assert tuple(seen) == STAGES[4:]
    before = open_scene(fresh)
    box = dataclasses.replace(before.view_box, sideways=0.06)
    same(opened, remake(dataclasses.replace(before, view_box=box), {"view_box"}))
    holes = [sum(layer.hole.sum() for layer in scene.layers) for scene in (before, opened)]
    assert holes[1] > holes[0] + 100


def test_a_new_colour_is_a_new_mask(saved: Path) -> None:
    def draw(pixels: np.ndarray) -> None:
        pixels[40:60, 70:90] = (255, 0, 0)  # on the wall

    paint(saved / "masks.png", draw)
    opened = open_scene(saved)
    new = opened.masks.labels[50, 80]
    assert opened.masks.ids.tolist() == [WALL, CARD, DISC, new]
    assert new > DISC
    assert (opened.masks.labels[40:60, 70:90] == new).all()
    assert np.count_nonzero(opened.masks.labels == new) == 400
    assert any(new in layer.mask_ids for layer in opened.layers)


def test_a_soft_brush_leaves_no_masks_of_its_own(saved: Path) -> None:
    def draw(pixels: np.ndarray) -> None:
        soft = cv2.circle(np.zeros(pixels.shape[:2], np.uint8), (80, 50), 9, 255, -1, cv2.LINE_AA)
        share = cv2.GaussianBlur(soft, (0, 0), 0.6)[..., None] / 255
        pixels[:] = np.rint(pixels * (1 - share) + np.array([250, 40, 90]) * share)

    paint(saved / "masks.png", draw)
    masks = open_scene(saved).masks
    assert len(masks.ids) == 4
    assert abs(np.count_nonzero(masks.labels == masks.ids[-1]) - np.pi * 81) < 40


def test_masks_drawn_by_hand_outlive_a_later_retouch(saved: Path) -> None:
    paint(saved / "masks.png", merge)
    open_scene(saved).save(saved)
    paint(saved / "photo.png", darken)
    CALLS.clear()
    seen: list[str] = []
    opened = open_scene(saved, progress=seen.append)
    assert tuple(seen) == STAGES[3:]
    assert CALLS == ["inpainter"]
    assert opened.masks.ids.tolist() == [WALL, DISC]
    assert opened.provenance["edited"] == ["photo", "masks"]


def test_disparity_edited_by_hand_is_never_harmonised_away(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paint(saved / "disparity.png", darken)
    edited = open_scene(saved).disparity
    paint(saved / "masks.png", merge)
    seen: list[str] = []
    opened = open_scene(saved, progress=seen.append)
    assert tuple(seen) == STAGES[4:]
    np.testing.assert_array_equal(opened.disparity, edited)
    assert not caplog.records
    paint(saved / "raw_disparity.png", darken)
    np.testing.assert_array_equal(open_scene(saved).disparity, edited)
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert "disparity was edited by hand and is kept" in caplog.text


def test_layers_painted_by_hand_are_missed_aloud(
    saved: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paint(saved / "layer_00.png", darken)
    open_scene(saved).save(saved)
    assert not caplog.records
    paint(saved / "masks.png", merge)
    scene = open_scene(saved)
    assert len(caplog.records) == 1
    assert "without what was painted into them by hand" in caplog.text
    assert scene.provenance["edited"] == ["masks"]


def test_a_layers_colour_is_continued_again_under_its_new_outline(saved: Path) -> None:
    def erase(pixels: np.ndarray) -> None:
        gone = (pixels[..., 3] == 0) | (np.arange(pixels.shape[1]) < 48)
        pixels[gone] = 0  # as editors do: no colour where nothing is seen

    before = open_scene(saved).layers[-1]
    name = f"layer_{len(open_scene(saved).layers) - 1:02d}.png"
    paint(saved / name, erase)
    after = open_scene(saved).layers[-1]
    assert not after.rgba[:, :48, 3].any()
    kept = after.rgba[..., 3] > 0
    np.testing.assert_array_equal(after.rgba[kept], before.rgba[kept])
    beside = cv2.dilate(kept.astype(np.uint8), np.ones((5, 5), np.uint8)).astype(bool) & ~kept
    assert (after.rgba[beside].min(0) >= after.rgba[kept].min(0))[:3].all(), "no black"


def test_alpha_is_the_layers_edge_and_can_be_edited(tmp_path: Path) -> None:
    alpha = np.full((72, 96, 1), 255, np.uint8)
    alpha[:10] = 0
    made = make(source=np.dstack([CARDS.photo().texture, alpha]))
    made.save(tmp_path / "cut.diorama")

    def erase(pixels: np.ndarray) -> None:
        pixels[:16] = 0

    opened = open_scene(tmp_path / "cut.diorama")
    assert opened.photo.alpha is not None
    np.testing.assert_array_equal(opened.photo.alpha, made.photo.alpha)
    paint(tmp_path / "cut.diorama" / "alpha.png", erase)
    seen: list[str] = []
    edited = open_scene(tmp_path / "cut.diorama", progress=seen.append)
    assert tuple(seen) == STAGES[4:]
    assert not any(layer.rgba[:16, :, 3].any() for layer in edited.layers)
    assert any((layer.rgba[16:20, :, 3] == 1).any() for layer in edited.layers)


def test_with_a_part_replaced_in_python_the_same_is_made(saved: Path) -> None:
    scene = open_scene(saved)
    truth = CARDS.masks()
    merged = Masks(
        np.where(truth.labels == CARD, np.int32(WALL), truth.labels),
        np.array([WALL, DISC], np.int32),
    )
    by_hand = remake(dataclasses.replace(scene, masks=merged), {"masks"})
    (saved / "masks.png").write_bytes(encode_png(label_colors(merged.labels)))
    same(by_hand, open_scene(saved))
    assert by_hand.provenance == open_scene(saved).provenance
    with pytest.raises(UnknownNameError, match="did you mean 'masks'"):
        remake(scene, ["mask"])


def test_a_model_that_is_gone_is_one_line(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paint(saved / "masks.png", merge)
    monkeypatch.delitem(registry._entries, ("inpainter", "counting"))
    with pytest.raises(
        InputError, match=r"inpainter 'counting', which is not registered"
    ) as caught:
        open_scene(saved)
    assert str(saved) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["layers"].update(max_layers="many"), "max_layers must be int, but is 'many'"),
        (lambda c: c["layers"].update(max_layers=0), "max_layers must be at least 1"),
        (lambda c: c.update(harmonise=3), "harmonise must be an object, but is '3'"),
        (lambda c: c.update(seed=1.5), "seed must be int, but is '1.5'"),
    ],
)
def test_a_wrong_setting_is_one_line_once_it_is_needed(
    saved: Path, change: Callable[[dict[str, Any]], None], message: str
) -> None:
    document = json.loads((saved / "scene.json").read_text())
    change(document["provenance"]["config"])
    (saved / "scene.json").write_text(json.dumps(document))
    open_scene(saved)
    paint(saved / "disparity.png", darken)
    with pytest.raises(InputError) as caught:
        open_scene(saved)
    assert message in str(caught.value)
    assert f"{saved}: provenance: config" in str(caught.value)


def test_settings_of_other_versions_are_passed_over(saved: Path) -> None:
    document = json.loads((saved / "scene.json").read_text())
    config = document["provenance"]["config"]
    config["aura"] = config["layers"]["aura"] = 3
    del config["layers"]["margin_px"], config["matting"]
    (saved / "scene.json").write_text(json.dumps(document))
    expected = open_scene(saved)
    paint(saved / "disparity.png", lambda pixels: None)
    same(open_scene(saved), expected)
    paint(saved / "masks.png", merge)
    opened = open_scene(saved)
    assert opened.provenance["config"]["aura"] == 3


def test_a_scene_of_the_first_format_can_be_edited(tmp_path: Path) -> None:
    old = Path(__file__).parent / "data" / "scene_format1.zip"
    shutil.unpack_archive(old, tmp_path / "old.diorama")
    seen: list[str] = []
    scene = open_scene(tmp_path / "old.diorama", progress=seen.append)
    assert not seen
    scene.save(tmp_path / "new.diorama")
    paint(tmp_path / "new.diorama" / "disparity.png", darken)
    open_scene(tmp_path / "new.diorama", progress=seen.append)
    assert tuple(seen) == STAGES[4:]


def test_any_scribble_opens(saved: Path, fresh: Path) -> None:
    chance = np.random.default_rng(0)
    names = sorted(p.name for p in saved.glob("*.png"))
    for _ in range(16):
        shutil.rmtree(saved)
        shutil.copytree(fresh, saved)
        for name in chance.choice(names, 2, replace=False):
            top, left = chance.integers(0, 60), chance.integers(0, 80)
            tone = int(chance.integers(0, 256))
            cut = np.s_[top : top + chance.integers(1, 72), left : left + chance.integers(1, 96)]
            paint(saved / name, lambda pixels, cut=cut, tone=tone: pixels.__setitem__(cut, tone))
        scene = open_scene(saved)
        assert np.isfinite(scene.render(scene.camera).rgb).all()


@pytest.mark.parametrize("sideways", [0.0, 1e3, 1e12])
def test_a_view_box_of_any_width_opens(saved: Path, sideways: float) -> None:
    document = json.loads((saved / "scene.json").read_text())
    document["view_box"]["sideways"] = sideways
    (saved / "scene.json").write_text(json.dumps(document))
    assert open_scene(saved).view_box.sideways == sideways


def test_commands_say_what_they_make_anew(saved: Path, capfd: pytest.CaptureFixture[str]) -> None:
    paint(saved / "disparity.png", darken)
    assert main(["export", str(saved), str(saved.with_name("cards.glb"))]) == 0
    out, err = capfd.readouterr()
    assert out.split() == [str(saved.with_name("cards.glb"))]
    stages = ("open", "layers", "inpaint", "export glb")
    assert err.splitlines() == [f"cards.diorama: {stage}" for stage in stages]
