"""Portraits: who is found, and what becomes of a face."""

import dataclasses
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from diorama import registry
from diorama.arrays import Array
from diorama.camera import Camera
from diorama.config import SceneConfig
from diorama.depth import DepthResult
from diorama.errors import InputError, UnknownNameError
from diorama.masks import Prompt, PromptedMask
from diorama.photo import Photo
from diorama.pipeline import open_scene, photo_to_scene, remake
from diorama.portrait import (
    Face,
    add_faces,
    confirmed,
    find_people,
    hair_of,
    masks_of,
    point_at_people,
    settle_outlines,
)
from diorama.registry import ModelEntry
from diorama.scene import Scene

HEIGHT, WIDTH, UNIT = 240, 320, 24.0
"""Of the pictures, and the distance between the pupils in them."""


def face_at(
    x: float, y: float, *, roll: float = 0.0, unit: float = UNIT, nose: float | None = None
):
    """A face whose eyes are around (x, y); `nose` is how far aside its tip is, in units."""
    right, down = (
        np.array([math.cos(roll), math.sin(roll)]),
        np.array([-math.sin(roll), math.cos(roll)]),
    )
    middle = np.array([x, y])

    def place(u: float, v: float) -> tuple[float, float]:
        a, b = middle + unit * (u * right + v * down)
        return float(a), float(b)

    tip = None if nose is None else place(nose, 0.72)
    return Face(place(-0.5, 0), place(0.5, 0), place(0, 1.12), tip)


def person_at(face: Face, shape: tuple[int, int] = (HEIGHT, WIDTH)) -> Array:
    """(H, W) bool: a head and shoulders."""
    (x, y), (x2, _) = face.left_eye, face.right_eye
    unit, x = x2 - x, (x + x2) / 2
    picture = np.zeros(shape, np.uint8)
    axes = round(1.3 * unit), round(2.0 * unit)
    cv2.ellipse(picture, (round(x), round(y + 0.2 * unit)), axes, 0, 0, 360, 1, -1)
    axes = round(2.8 * unit), round(3 * unit)
    cv2.ellipse(picture, (round(x), round(y + 5 * unit)), axes, 0, 0, 360, 1, -1)
    return picture > 0


def painted(people: Array, seed: int = 0) -> Array:
    """(H, W, 3) people in warm, noisy colours before a cold, noisy wall."""
    random = np.random.default_rng(seed)
    colors = np.where(people[..., None], [0.7, 0.45, 0.35], [0.3, 0.4, 0.55])
    return np.clip(colors + random.normal(0, 0.03, colors.shape), 0, 1).astype(np.float32)


def overlap(one: Array, other: Array) -> float:
    return (one & other).sum() / (one | other).sum()


class TestFindPeople:
    def test_a_rough_matte_becomes_the_person(self) -> None:
        face = face_at(160, 90)
        truth = person_at(face)
        # Shifted, blurred, and with a flag beside the head that is nobody.
        matte = np.roll(truth, (6, -8), (0, 1)).astype(np.float32)
        matte[20:120, 20:80] = 1
        matte = cv2.GaussianBlur(matte, (0, 0), 6)
        found = find_people(painted(truth), matte, [face])
        assert set(np.unique(found)) == {0, 1}
        assert overlap(found == 1, truth) > 0.95
        assert not (found[20:100, 20:80] > 0).any()

    def test_two_people_are_two(self) -> None:
        faces = [face_at(90, 90), face_at(230, 100)]
        truths = [person_at(face) for face in faces]
        both = truths[0] | truths[1]
        found = find_people(painted(both), both.astype(np.float32), faces)
        for number, truth in enumerate(truths, 1):
            alone = truth & ~truths[2 - number]
            assert (found[alone] == number).mean() > 0.95

    def test_the_outline_is_fine_in_a_large_photo(self) -> None:
        face = face_at(640, 360, unit=96)
        truth = person_at(face, (960, 1280))
        found = find_people(
            painted(truth), cv2.GaussianBlur(truth.astype(np.float32), (0, 0), 20), [face]
        )
        assert overlap(found == 1, truth) > 0.985

    def test_it_is_the_same_again(self) -> None:
        face = face_at(160, 90)
        truth = person_at(face)
        one, other = (
            find_people(painted(truth), truth.astype(np.float32), [face]) for _ in range(2)
        )
        np.testing.assert_array_equal(one, other)

    def test_nobody(self) -> None:
        rgb = painted(np.zeros((HEIGHT, WIDTH), bool))
        assert not find_people(rgb, np.ones((HEIGHT, WIDTH), np.float32), []).any()

    @pytest.mark.parametrize("at", [(-500.0, -500.0), (0.0, 0.0), (319.0, 239.0)])
    def test_faces_at_and_beyond_the_frame(self, at: tuple[float, float]) -> None:
        matte = np.full((HEIGHT, WIDTH), 0.5, np.float32)
        find_people(painted(matte > 1), matte, [face_at(*at)])

    @pytest.mark.parametrize("size", [(1, 1), (5, 7), (40, 3), (9, 400)])
    def test_the_smallest_photos(self, size: tuple[int, int]) -> None:
        matte = np.ones(size, np.float32)
        found = find_people(painted(matte > 0), matte, [face_at(size[1] / 2, size[0] / 3, unit=2)])
        assert found.shape == size

    def test_all_but_a_corner(self) -> None:
        matte = np.ones((60, 80), np.float32)
        matte[:1, :3] = 0
        found = find_people(painted(matte > 0.5), matte, [face_at(40, 25, unit=30)])
        assert found.mean() > 0.8

    def test_one_colour(self) -> None:
        flat = np.full((HEIGHT, WIDTH, 3), 0.5, np.float32)
        face = face_at(160, 90)
        find_people(flat, person_at(face).astype(np.float32), [face])

    def test_who_fills_the_photo(self) -> None:
        face = face_at(20, 20, unit=30)
        whole = np.ones((40, 40), np.float32)
        assert find_people(painted(whole > 0), whole, [face]).mean() > 0.9


@dataclass(frozen=True)
class Things:
    """A `SeenPhoto` that knows which things there are, and answers with the one pointed at."""

    labels: Array

    def masks(self, prompts: Sequence[Prompt]) -> list[PromptedMask]:
        found = []
        for prompt in prompts:
            labels = [int(self.labels[int(y), int(x)]) for x, y in prompt.inside]
            found.append(PromptedMask(self.labels == max(set(labels), key=labels.count), 0.9))
        return found


class TestPointAtPeople:
    def test_who_is_pointed_at(self) -> None:
        faces = [face_at(90, 90), face_at(230, 100, roll=0.2)]
        things = np.where(person_at(faces[0]), 4, np.where(person_at(faces[1]), 9, 0))
        found = point_at_people(Things(things), faces, things.shape)
        np.testing.assert_array_equal(found, np.select([things == 4, things == 9], [1, 2]))

    def test_two_in_one_mask_are_parted(self) -> None:
        faces = [face_at(90, 90), face_at(230, 100)]
        both = (person_at(faces[0]) | person_at(faces[1])).astype(np.int64)
        found = point_at_people(Things(both), faces, both.shape)
        assert (found[:, :130][both[:, :130] > 0] == 1).all()
        assert (found[:, 190:][both[:, 190:] > 0] == 2).all()
        np.testing.assert_array_equal(found > 0, both > 0)

    def test_a_chest_below_the_frame_is_not_pointed_at(self) -> None:
        face = face_at(160, 200)
        things = person_at(face).astype(np.int64)
        found = point_at_people(Things(things), [face], things.shape)
        np.testing.assert_array_equal(found, things)
        whole = np.ones_like(things)
        assert point_at_people(Things(whole), [face_at(-900, -900)], whole.shape).any()


def test_a_face_in_a_stone_is_none() -> None:
    faces = [face_at(90, 90), face_at(230, 100), face_at(-900, 20)]
    matte = person_at(faces[1]).astype(np.float32)
    assert confirmed(faces, matte) == (faces[1],)


class TestAddFaces:
    camera = Camera.from_fov(WIDTH, HEIGHT, 55)

    def made(self, face: Face, disparity: Array, person: Array | None = None) -> Array:
        labels = (person_at(face) if person is None else person).astype(np.int32)
        return add_faces(disparity, [face], labels, self.camera)

    def test_a_flat_face_becomes_a_head(self) -> None:
        face = face_at(160, 100)
        person = person_at(face)
        flat = np.where(person, 0.8, 0.2).astype(np.float32)
        before = flat.copy()
        found = self.made(face, flat)
        np.testing.assert_array_equal(flat, before)
        at = lambda u, v: float(found[round(100 + v * UNIT), round(160 + u * UNIT)])  # noqa: E731
        nose = at(0, 0.72)
        assert nose > at(0, 1.12) > at(-1.1, 0.3)
        assert nose > max(at(-0.5, 0), at(0.5, 0), at(0, -0.8), at(0, 1.7))
        # 1.1 pupil distances nearer than the ears: 70 mm of the 0.81 m that its size tells.
        distance_m = self.camera.K[0, 0] * 0.063 / UNIT
        assert nose / at(-1.15, 0.3) == pytest.approx(1 / (1 - 0.07 / distance_m), rel=0.04)
        # Only the head changes, and there is no step around it.
        changed = found != flat
        assert not changed[~person].any()
        assert not changed[round(100 + 2.6 * UNIT) :].any()
        inner = cv2.erode(person.astype(np.uint8), np.ones((3, 3))) > 0
        steps = np.abs(np.diff(found, axis=0))[(inner[1:] & inner[:-1])]
        assert steps.max() < 0.03

    def test_the_neck_stays_where_it_is(self) -> None:
        face = face_at(160, 100)
        slope = np.linspace(0.5, 0.9, HEIGHT, dtype=np.float32)[:, None] * np.ones(
            WIDTH, np.float32
        )
        found = self.made(face, slope)
        far = np.zeros((HEIGHT, WIDTH), bool)
        far[round(100 + 2.6 * UNIT) :] = True
        far &= cv2.erode(person_at(face).astype(np.uint8), np.ones((15, 15))) > 0
        np.testing.assert_array_equal(found[far], slope[far])

    def test_an_edge_beside_the_outline_moves_to_it(self) -> None:
        face = face_at(160, 100)
        person = person_at(face)
        seen = np.roll(person, 5, 1)  # as an estimator may see it
        disparity = np.where(seen, 0.8, 0.2).astype(np.float32)
        before = disparity.copy()
        found = settle_outlines(disparity, [face], person.astype(np.int32))
        np.testing.assert_array_equal(disparity, before)
        rows = np.s_[170:230]
        left = np.argmax(person[rows], axis=1)
        for y, x in zip(range(170, 230), left, strict=True):
            assert found[y, x] > 0.7
            assert found[y, x - 1] < 0.3

    def test_a_turned_face_looks_aside(self) -> None:
        straight, turned = face_at(160, 100, nose=0.0), face_at(160, 100, nose=0.35)
        flat = np.full((HEIGHT, WIDTH), 0.8, np.float32)
        found = [self.made(face, flat) for face in (straight, turned)]
        row = round(100 + 0.72 * UNIT)
        # Where it stands out of both its sides: a turned head slopes.
        out = [d[row, 130:191] - (d[row, 124:185] + d[row, 136:197]) / 2 for d in found]
        tips = [int(np.argmax(each)) + 130 for each in out]
        assert abs(tips[0] - 160) <= 1
        assert tips[1] >= tips[0] + 3

    def test_a_tilted_face_is_tilted(self) -> None:
        flat = np.full((HEIGHT, WIDTH), 0.8, np.float32)
        upright = self.made(face_at(160, 110), flat)
        tilted = self.made(face_at(160, 110, roll=0.5), flat)
        matrix = cv2.getRotationMatrix2D((160 - 0.5, 110 - 0.5), -math.degrees(0.5), 1)
        expected = cv2.warpAffine(upright, matrix, (WIDTH, HEIGHT))
        x, y = np.meshgrid(np.arange(WIDTH) - 160, np.arange(HEIGHT) - 110)
        near = np.hypot(x, y) < 0.9 * UNIT
        assert np.abs(tilted - expected)[near].max() < 0.02

    def test_what_cannot_have_a_relief_is_left_alone(self) -> None:
        flat = np.full((HEIGHT, WIDTH), 0.5, np.float32)
        for face in (face_at(160, 100, unit=3), face_at(-900, 40), face_at(160, 9000)):
            found = add_faces(flat, [face], np.zeros(flat.shape, np.int32), self.camera)
            np.testing.assert_array_equal(found, flat)
        np.testing.assert_array_equal(
            add_faces(flat, [], np.zeros(flat.shape, np.int32), self.camera), flat
        )

    def test_where_nothing_is_known_around(self) -> None:
        face = face_at(160, 100)
        tiny = np.zeros((HEIGHT, WIDTH), bool)
        tiny[90:130, 140:180] = True  # a face alone: nothing of it goes on beyond the head
        disparity = np.where(tiny, 0.8, 0.0).astype(np.float32)
        found = self.made(face, disparity, tiny)
        assert np.isfinite(found).all()
        assert (found[~tiny] == 0).all()
        assert found[tiny].min() > 0.4


def test_masks_of_faces() -> None:
    faces = [face_at(90, 90), face_at(230, 100), face_at(-900, 0)]
    labels = np.where(person_at(faces[0]), 7, np.where(person_at(faces[1]), 3, 0)).astype(np.int32)
    assert masks_of(faces, labels) == [7, 3]


def test_hair_is_around_the_face() -> None:
    face = face_at(160, 100)
    hair = hair_of([face], (HEIGHT, WIDTH))
    assert hair[round(100 - 2 * UNIT), 160]
    assert hair[100, round(160 + 1.5 * UNIT)]
    assert not hair[100, 160]
    assert not hair[round(100 + 4 * UNIT), 160]


class TestFaceFromDict:
    def test_json_and_back(self) -> None:
        for face in (face_at(10, 20), face_at(10, 20, nose=0.1)):
            assert Face.from_dict(json.loads(json.dumps(dataclasses.asdict(face)))) == face

    @pytest.mark.parametrize(
        "change",
        [
            {"mouth": None},
            {"left_eye": 3},
            {"right_eye": ["a", 1]},
            {"score": "much"},
            {"mouth": [math.nan, 1]},
            {"nose": [1e300, 0]},
        ],
    )
    def test_what_is_no_face(self, change: dict[str, object]) -> None:
        values = {**dataclasses.asdict(face_at(10, 20)), **change}
        with pytest.raises((KeyError, TypeError, ValueError)):
            Face.from_dict(values)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return photo_to_scene(data.astronaut())


@pytest.fixture(scope="module")
def person(scene: Scene) -> tuple[int, Face]:
    (face,) = (Face.from_dict(values) for values in scene.provenance["faces"])
    (number,) = masks_of([face], scene.masks.labels)
    return number, face


@dataclass(frozen=True, eq=False)
class Seeing:
    """A depth estimator that has seen the photo before."""

    disparity: Array
    matte: Array | None

    def estimate(self, photo: Photo) -> DepthResult:
        return DepthResult(self.disparity, "relative", matte=self.matte)


def made_by(estimator: Seeing, monkeypatch: pytest.MonkeyPatch) -> Scene:
    """The astronaut's scene with an estimator of one's own."""
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    monkeypatch.setattr(sys.modules[__name__], "own_estimator", lambda: estimator, raising=False)
    target = f"{__name__}:own_estimator"
    registry.register(ModelEntry("own-net", "depth", "Ours.", target, "MIT"))
    return photo_to_scene(data.astronaut(), config=SceneConfig(depth="own-net"))


class TestScene:
    def test_she_is_one_layer(self, scene: Scene, person: tuple[int, Face]) -> None:
        number, _ = person
        (layer,) = (each for each in scene.layers if number in each.mask_ids)
        own = scene.masks.labels == number
        assert (layer.rgba[..., 3] > 0)[own].all()
        # Head, hair and suit, and neither the flag nor the shuttle.
        for x, y in ((224, 60), (224, 130), (190, 95), (150, 300), (280, 350)):
            assert own[y, x], (x, y)
        for x, y in ((40, 60), (430, 150), (320, 40), (100, 100)):
            assert not own[y, x], (x, y)

    def test_her_nose_is_nearer_than_her_ears(self, scene: Scene, person: tuple[int, Face]) -> None:
        number, face = person
        d = np.where(scene.masks.labels == number, scene.disparity, np.nan)
        left, right, mouth = (np.array(p) for p in (face.left_eye, face.right_eye, face.mouth))
        across, down = right - left, mouth - (left + right) / 2
        nose = (left + right) / 2 + 0.62 * down

        def at(place: Array) -> float:
            return float(d[int(place[1]), int(place[0])])

        ears = [at(nose + side * across * 1.15 - 0.3 * down) for side in (-1, 1)]
        assert at(nose) > 1.05 * max(ears)
        # Along forehead and chin nothing steps.
        x0, y0 = (int(v) for v in (left + right) / 2)
        line = d[y0 - 40 : y0 + int(1.7 * down[1]), x0]
        assert np.abs(np.diff(line)).max() < 0.02

    def test_nothing_of_her_is_behind_her(self, scene: Scene, person: tuple[int, Face]) -> None:
        number, _ = person
        behind = [each for each in scene.layers if number not in each.mask_ids]
        head = np.zeros(scene.disparity.shape, bool)
        head[20:200, 130:320] = True
        colors = np.concatenate([each.rgba[each.hole & head, :3] for each in behind])
        assert len(colors) > 500
        skin = (colors[:, 0] > colors[:, 2] + 0.25) & (colors[:, 0] > 0.35)
        assert skin.mean() < 0.02

    def test_without_a_detector_she_is_nothing_special(self) -> None:
        scene = photo_to_scene(data.astronaut(), config=SceneConfig(faces="none"))
        assert scene.provenance["faces"] == []
        assert not {"faces", "matte"} & set(scene.provenance["models"])

    def test_measured_depth_knows_better(
        self, scene: Scene, caplog: pytest.LogCaptureFixture
    ) -> None:
        given = DepthResult(scene.raw_disparity, "relative")
        one, other, asked = (
            photo_to_scene(data.astronaut(), depth=given, config=SceneConfig(faces=faces))
            for faces in ("auto", "none", "cascade")
        )
        assert one.provenance["faces"] == []
        np.testing.assert_array_equal(one.disparity, other.disparity)
        np.testing.assert_array_equal(one.masks.labels, other.masks.labels)
        np.testing.assert_array_equal(asked.disparity, other.disparity)
        assert caplog.messages == ["depth is given, so --faces cascade changes nothing"]

    def test_a_network_that_knows_faces_keeps_them(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = made_by(Seeing(scene.raw_disparity, None), monkeypatch)
        (face,) = found.provenance["faces"]
        assert face == scene.provenance["faces"][0]
        middle = np.s_[90:150, 200:245]
        own = found.masks.labels == found.masks.labels[130, 224]
        assert overlap(own, scene.masks.labels == scene.masks.labels[130, 224]) > 0.95
        flat = cv2.GaussianBlur(scene.raw_disparity, (0, 0), 4)[middle]
        assert np.abs(found.disparity[middle] - flat).max() < 0.03
        assert np.abs(found.disparity - scene.disparity)[middle].max() > 0.03

    @pytest.mark.parametrize("side", [100, 800])
    def test_a_matte_has_the_estimators_size(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, side: int
    ) -> None:
        own = scene.masks.labels == scene.masks.labels[130, 224]
        disparity, matte = (
            cv2.resize(plane, (side, side), interpolation=cv2.INTER_AREA)
            for plane in (scene.raw_disparity, own.astype(np.float32))
        )
        found = made_by(Seeing(disparity, matte), monkeypatch)
        assert found.provenance["faces"] == scene.provenance["faces"]
        assert overlap(found.masks.labels == found.masks.labels[130, 224], own) > 0.9
        nobody = made_by(Seeing(disparity, 0 * matte), monkeypatch)
        assert nobody.provenance["faces"] == []

    def test_an_edit_keeps_her(self, scene: Scene, tmp_path: Path) -> None:
        assert scene.provenance["models"]["faces"] == "cascade"
        assert scene.provenance["models"]["matte"] == "embedded"
        assert scene.provenance["licences"]["faces cascade"] == "BSD-3-Clause"
        assert scene.provenance["licences"]["matte embedded"] == "Apache-2.0"
        scene.save(tmp_path / "portrait.diorama")
        again = remake(open_scene(tmp_path / "portrait.diorama"), {"raw_disparity"})
        # Files keep 16 bits, with which a step here and there is found a pixel farther, or softer.
        off = np.abs(again.disparity - scene.disparity)
        assert (off > 1e-3).mean() < 1e-3
        assert off.max() < 0.02
        assert again.provenance["faces"] == scene.provenance["faces"]
        anew = remake(scene, {"photo"})
        np.testing.assert_array_equal(anew.masks.labels, scene.masks.labels)
        assert anew.provenance["faces"] == scene.provenance["faces"]

    def test_a_damaged_face_is_one_line(self, scene: Scene) -> None:
        spoilt = dataclasses.replace(scene, provenance={**scene.provenance, "faces": [{"nose": 1}]})
        with pytest.raises(InputError, match="provenance: faces cannot be read"):
            remake(spoilt, {"raw_disparity"})

    def test_an_unknown_detector_suggests(self) -> None:
        with pytest.raises(UnknownNameError, match="cascade"):
            photo_to_scene(data.astronaut(), config=SceneConfig(faces="cascad"))
        with pytest.raises(UnknownNameError, match="u2net-human"):
            photo_to_scene(data.astronaut(), config=SceneConfig(matte="u2net"))

    @pytest.mark.parametrize(
        ("config", "command"),
        [
            (SceneConfig(faces="yunet"), "models pull yunet` gets them .0.2 MB, MIT.$"),
            (SceneConfig(matte="u2net-human"), "models pull u2net-human` gets them .176 MB"),
        ],
    )
    def test_what_was_not_pulled_is_missed_at_once(self, config: SceneConfig, command: str) -> None:
        stages: list[str] = []
        with pytest.raises(InputError, match=command):
            photo_to_scene(data.astronaut(), config=config, progress=stages.append)
        assert stages == []
