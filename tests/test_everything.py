"""Masks of everything: a predictor that knows its shapes exactly, so that so do the tests."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import pytest

from diorama.arrays import Array, Labels, Mask
from diorama.errors import InputError
from diorama.masks import Prompt
from diorama.models.everything import EverythingConfig, find_everything, partition_everything
from diorama.models.prompted import AT_ONCE, Seen, coordinates, fitted, resized

HEIGHT, WIDTH = 96, 128

FALLBACK = np.zeros((HEIGHT, WIDTH), np.int32)
FALLBACK[:, WIDTH // 2 :] = 7


def box(top: int, left: int, bottom: int, right: int) -> Mask:
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[top:bottom, left:right] = True
    return mask


def disc(y: float, x: float, radius: float) -> Mask:
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    return np.hypot(rows + 0.5 - y, columns + 0.5 - x) < radius


@dataclass(frozen=True)
class Thing:
    """A shape that can be pointed at."""

    mask: Mask
    iou: float = 0.95
    """What the predictor expects."""
    slope: float = 8.0
    """Of the logits across its outline, per pixel: how steadily it is cut."""

    @property
    def logits(self) -> Array:
        """A signed distance: the outline runs between pixels, at 0."""
        inside, outside = (
            cv2.distanceTransform(m.astype(np.uint8), cv2.DIST_L1, 3)
            for m in (self.mask, ~self.mask)
        )
        distance = np.where(
            self.mask, np.minimum(inside, 300) - 0.5, 0.5 - np.minimum(outside, 300)
        )
        return (distance * self.slope).astype(np.float32)


Answer = Callable[[int, int], list[Thing]]
"""The three things at a row and column of the photo, from the smallest."""


def at_point(things: Sequence[Thing]) -> Answer:
    """What covers a point: a part, what it is a part of, and the whole; one twice if it is one."""

    def answer(row: int, column: int) -> list[Thing]:
        found = [thing for thing in things if thing.mask[row, column]]
        found.sort(key=lambda thing: np.count_nonzero(thing.mask))
        nothing = Thing(np.zeros((HEIGHT, WIDTH), bool), iou=0.1)
        return (found + found[-1:] * 2 + [nothing] * 3)[:3]

    return answer


def seen(answer: Answer, asked: list[int] | None = None) -> Seen:
    """A photo whose things are known; notes how many prompts came together."""

    def predict(prompts: Sequence[Prompt], several: bool) -> tuple[Array, Array]:
        assert several
        if asked is not None:
            asked.append(len(prompts))
        points = [prompt.inside[0] for prompt in prompts]
        things = [answer(int(y), int(x)) for x, y in points]
        logits = np.array([[thing.logits for thing in three] for three in things], np.float32)
        return logits, np.array([[t.iou for t in three] for three in things], np.float32)

    return Seen(HEIGHT, WIDTH, (float(HEIGHT), float(WIDTH)), predict)


SMALL = EverythingConfig(points_per_side=8, min_area=10 / (HEIGHT * WIDTH))


def masks_of(things: Sequence[Thing], config: EverythingConfig = SMALL) -> list[Mask]:
    photo = seen(at_point(things))
    return [photo.enlarged(found.logits) for found in find_everything(photo, config)]


def labels_of(things: Sequence[Thing], config: EverythingConfig = SMALL) -> Labels:
    return partition_everything(seen(at_point(things)), FALLBACK, config).labels


def areas(masks: Sequence[Mask]) -> list[int]:
    return sorted(np.count_nonzero(mask) for mask in masks)


class TestFinding:
    def test_every_thing_is_found_once_to_the_pixel(self) -> None:
        things = [Thing(disc(40, 50, 30)), Thing(box(30, 40, 54, 60)), Thing(box(70, 90, 90, 120))]

        found = masks_of(things)

        assert len(found) == 3
        for thing in things:
            assert sum(np.array_equal(thing.mask, mask) for mask in found) == 1

    def test_the_grid_has_its_points_in_the_middle_of_cells(self) -> None:
        asked: list[tuple[float, float]] = []

        def predict(prompts: Sequence[Prompt], several: bool) -> tuple[Array, Array]:
            asked.extend(prompt.inside[0] for prompt in prompts)
            assert all(len(p.inside) == 1 and not p.outside and p.box is None for p in prompts)
            return np.zeros((len(prompts), 3, 4, 4), np.float32), np.ones((len(prompts), 3))

        find_everything(Seen(60, 120, (4, 4), predict), EverythingConfig(points_per_side=3))
        assert asked == [(x, y) for y in (10, 30, 50) for x in (20, 60, 100)]

    def test_points_are_asked_in_batches(self) -> None:
        asked: list[int] = []
        photo = seen(at_point([Thing(disc(40, 50, 30))]), asked)
        find_everything(photo, replace(SMALL, points_per_side=10))
        assert asked == [AT_ONCE, 100 - AT_ONCE]

    def test_what_is_not_expected_to_fit_goes(self) -> None:
        things = [Thing(disc(40, 50, 30), iou=0.87), Thing(box(70, 90, 90, 120), iou=0.89)]
        assert areas(masks_of(things)) == [600]

    def test_what_depends_on_where_it_is_cut_goes(self) -> None:
        """The same shape, by logits of 0.4 a pixel and of 8."""
        shape = box(20, 20, 60, 60)
        vague = Thing(shape, slope=0.4)
        assert masks_of([vague]) == []
        stability = np.count_nonzero(vague.logits > 1) / np.count_nonzero(vague.logits > -1)
        assert 0.6 < stability < 0.8
        assert masks_of([vague], replace(SMALL, min_stability=stability + 1e-6)) == []
        assert areas(masks_of([vague], replace(SMALL, min_stability=stability - 1e-6))) == [1600]
        assert areas(masks_of([Thing(shape)])) == [1600]

    def test_of_two_that_are_almost_the_same_the_surer_stays(self) -> None:
        better = Thing(disc(48, 60, 30), iou=0.97)
        worse = Thing(disc(48, 62, 30), iou=0.95)
        for things in ([better, worse], [worse, better]):
            (mask,) = masks_of(things)
            np.testing.assert_array_equal(mask, better.mask)

    def test_how_much_two_may_overlap(self) -> None:
        things = [Thing(box(10, 10, 50, 50)), Thing(box(10, 10, 50, 38), iou=0.9)]  # IoU 0.7
        assert len(masks_of(things)) == 2
        assert len(masks_of(things, replace(SMALL, max_iou=0.69))) == 1

    def test_a_frame_and_its_picture_are_two(self) -> None:
        """Their boxes are nearly one, and so boxes would not tell them apart."""
        picture = box(14, 14, 70, 90)
        frame = box(10, 10, 74, 94) & ~picture
        fine = replace(SMALL, points_per_side=32)
        assert areas(masks_of([Thing(frame), Thing(picture)], fine)) == areas([frame, picture])

    def test_of_too_many_the_surest_stay(self) -> None:
        things = [Thing(box(0, 16 * i, 90, 16 * i + 16), iou=0.9 + 0.01 * i) for i in range(8)]
        kept = masks_of(things, replace(SMALL, max_masks=3))
        assert [int(np.argmax(mask.any(0))) // 16 for mask in kept] == [7, 6, 5]

    def test_the_order_of_prompts_does_not_matter(self) -> None:
        """Nor for masks that are as sure as each other, and almost the same."""
        rng = np.random.default_rng(1)
        things = [
            Thing(disc(rng.uniform(30, 60), rng.uniform(40, 90), rng.uniform(8, 30)))
            for _ in range(64)
        ]

        def found(order: Array) -> list[bytes]:
            def answer(row: int, column: int) -> list[Thing]:
                cell = order[row // (HEIGHT // 8) * 8 + column // (WIDTH // 8)]
                return [things[cell]] * 3

            return [f.logits.tobytes() for f in find_everything(seen(answer), SMALL)]

        first = found(np.arange(64))
        assert 1 < len(first) < 64
        for _ in range(3):
            assert found(rng.permutation(64)) == first

    def test_small_holes_and_islands_are_closed(self) -> None:
        whole = disc(48, 60, 30)
        torn = whole.copy()
        torn[40:42, 50:53] = False  # a hole of 6 pixels
        torn[5:8, 5:8] = True  # an island of 9
        (mask,) = masks_of([Thing(torn)])
        np.testing.assert_array_equal(mask, whole)

        open_, island = torn.copy(), box(4, 4, 8, 8)
        open_[40:43, 50:54] = False  # of 12
        (mask,) = masks_of([Thing(open_ | island)])
        np.testing.assert_array_equal(mask, open_ | island)

    def test_what_is_all_small_keeps_its_largest_island(self) -> None:
        config = replace(SMALL, min_area=0.5, min_stability=0)
        (mask,) = masks_of([Thing(box(20, 20, 50, 50) | box(60, 100, 80, 120))], config)
        np.testing.assert_array_equal(mask, box(20, 20, 50, 50))

    def test_logits_without_end_do_no_harm(self) -> None:
        (mask,) = masks_of([Thing(box(20, 20, 60, 60), slope=1e30)])
        np.testing.assert_array_equal(mask, box(20, 20, 60, 60))


class TestPartition:
    def test_the_smallest_mask_wins_and_the_rest_is_the_fallbacks(self) -> None:
        table, plate, cup = box(40, 8, 80, 120), disc(60, 40, 16), disc(60, 100, 9)
        spoon = box(56, 30, 64, 50)
        labels = labels_of([Thing(mask) for mask in (table, plate, cup, spoon)])

        expected = np.where(FALLBACK > 0, 1, 0)
        for value, mask in ((2, table), (3, cup), (4, plate), (5, spoon)):
            expected[mask] = value
        pairs = np.unique(np.stack([labels.ravel(), expected.ravel()]), axis=1)
        assert pairs.shape[1] == 6  # one to one

    def test_without_masks_it_is_the_fallback(self) -> None:
        labels = labels_of([])
        np.testing.assert_array_equal(labels, FALLBACK > 0)

    def test_it_is_a_partition_into_connected_masks(self) -> None:
        masks = partition_everything(
            seen(at_point([Thing(disc(48, 60, 30)), Thing(box(0, 60, 96, 70))])), FALLBACK, SMALL
        )
        assert masks.labels.dtype == np.int32
        np.testing.assert_array_equal(masks.ids, np.unique(masks.labels))
        firsts = np.unique(masks.labels, return_index=True)[1]
        assert (np.diff(firsts) > 0).all()
        for index in masks.ids:
            assert (
                cv2.connectedComponents((masks.labels == index).astype(np.uint8), connectivity=4)[0]
                == 2
            )

    def test_the_same_photo_gives_the_same_bytes(self) -> None:
        things = [Thing(disc(48, 60, 30)), Thing(box(20, 50, 80, 70)), Thing(box(0, 0, 96, 40))]
        assert labels_of(things).tobytes() == labels_of(things).tobytes()

    def test_what_two_outlines_leave_between_them_is_nothing(self) -> None:
        """A person and a shirt end where the photo has one edge; the masks differ by a pixel."""
        config = replace(SMALL, min_width=4 / WIDTH)
        person, shirt = box(10, 30, 90, 80), box(40, 31, 70, 79)
        labels = labels_of([Thing(person), Thing(shirt)], config)
        assert len(np.unique(labels)) == 5  # head, shirt, legs, and the fallback to both sides
        assert np.count_nonzero(np.diff(labels[55])) == 2

    def test_a_thin_thing_of_its_own_is_something(self) -> None:
        wire = box(40, 4, 42, 124)
        config = EverythingConfig(min_area=4e-3, min_width=6 / WIDTH, min_stability=0)
        labels = labels_of([Thing(wire), Thing(disc(70, 60, 20))], config)
        np.testing.assert_array_equal(labels == labels[41, 60], wire)

    def test_specks_go_to_their_neighbours(self) -> None:
        """A part of the fallback that a mask cuts off, of 8 pixels."""
        labels = labels_of([Thing(box(0, 0, 92, 64)), Thing(box(90, 2, 96, 64))])
        assert labels[93, 1] in (labels[50, 30], labels[93, 30])


class TestSeen:
    """What a single prompt gives."""

    def make(self, span: tuple[float, float] = (24.0, 32.0)) -> tuple[Seen, list]:
        calls: list[tuple[int, bool]] = []

        def predict(prompts: Sequence[Prompt], several: bool) -> tuple[Array, Array]:
            """Discs around the first point or the box's middle, in a grid of 32 x 32."""
            calls.append((len(prompts), several))
            rows, columns = np.mgrid[:32, :32]
            logits, scores = [], []
            for prompt in prompts:
                left, top, right, bottom = prompt.box or (*prompt.inside[0], *prompt.inside[0])
                x, y = ((left + right) / 2 / 4, (top + bottom) / 2 / 4)
                distance = np.hypot(columns + 0.5 - x, rows + 0.5 - y)
                logits.append([r - distance for r in ((2, 5, 9) if several else (4,))])
                scores.append([0.3, 0.9, 0.6] if several else [0.8])
            return np.array(logits, np.float32), np.array(scores, np.float32)

        return Seen(HEIGHT, WIDTH, span, predict), calls

    def test_one_point_gives_what_the_network_is_surest_of(self) -> None:
        photo, _ = self.make()
        (found,) = photo.masks([Prompt(inside=((50.0, 40.0),))])
        assert found.score == pytest.approx(0.9)
        assert (np.count_nonzero(found.mask) / (np.pi * 20**2)) == pytest.approx(1, abs=0.03)
        rows, columns = np.nonzero(found.mask)
        assert rows.mean() + 0.5 == pytest.approx(40, abs=0.1)
        assert columns.mean() + 0.5 == pytest.approx(50, abs=0.1)

    @pytest.mark.parametrize(
        "prompt",
        [
            Prompt(inside=((50.0, 40.0), (52.0, 40.0))),
            Prompt(inside=((50.0, 40.0),), outside=((90.0, 40.0),)),
            Prompt(box=(30.0, 20.0, 70.0, 60.0)),
            Prompt(inside=((50.0, 40.0),), box=(30.0, 20.0, 70.0, 60.0)),
        ],
        ids=["two points", "a point and one beside", "a box", "a point in a box"],
    )
    def test_what_means_one_thing_is_asked_for_one(self, prompt: Prompt) -> None:
        photo, calls = self.make()
        (found,) = photo.masks([prompt])
        assert calls == [(1, False)]
        assert found.score == pytest.approx(0.8)

    def test_prompts_of_all_kinds_are_answered_in_their_order(self) -> None:
        photo, calls = self.make()
        prompts = []
        for x in np.linspace(10, 110, 90):
            prompts.append(Prompt(inside=((float(x), 50.0),)))
            prompts.append(Prompt(box=(float(x) - 5, 45.0, float(x) + 5, 55.0)))

        found = photo.masks(prompts)

        assert calls == [(64, True), (26, True), (64, False), (26, False)]
        assert [f.score for f in found[:4]] == pytest.approx([0.9, 0.8, 0.9, 0.8])
        for prompt, one in zip(prompts, found, strict=True):
            (alone,) = photo.masks([prompt])
            np.testing.assert_array_equal(one.mask, alone.mask)

    def test_no_prompts_give_no_masks(self) -> None:
        photo, calls = self.make()
        assert photo.masks([]) == []
        assert calls == []

    @pytest.mark.parametrize("size", [(683, 1024), (97, 101), (20, 700), (31, 9), (1, 1)])
    def test_a_mask_lies_where_its_logits_do(self, size: tuple[int, int]) -> None:
        """Sizes whose logits end within a pixel; made larger and smaller."""
        height, width = size
        rows, columns = fitted(height, width, 1024)
        span = rows / 4, columns / 4
        photo = Seen(height, width, span, lambda prompts, several: (np.empty(0), np.empty(0)))
        y, x = np.mgrid[: int(np.ceil(span[0])), : int(np.ceil(span[1]))] + 0.5
        for along, at in ((x / span[1], 0.37), (y / span[0], 0.61)):
            mask = photo.enlarged((along - at).astype(np.float16))
            assert mask.shape == size
            across = along is not y and np.array_equal(along, x / span[1])
            centres = (np.arange(width if across else height) + 0.5) / (width if across else height)
            expected = centres > at
            found = mask[0] if across else mask[:, 0]
            near = np.abs(centres - at) < 2e-3
            np.testing.assert_array_equal(found[~near], expected[~near])

    @pytest.mark.parametrize(
        ("prompt", "message"),
        [
            (
                Prompt(inside=((128.5, 20.0),)),
                r"the point \(128.5, 20\) lies outside the photo of 12",
            ),
            (Prompt(inside=((-1.0, 20.0),)), "lies outside the photo of 128x96 px"),
            (
                Prompt(inside=((1.0, 2.0),), outside=((5.0, 97.0),)),
                r"the point \(5, 97\) lies outside",
            ),
            (Prompt(box=(130.0, 0.0, 140.0, 10.0)), r"the box \(130, 0, 140, 10\) lies outside"),
            (Prompt(box=(0.0, -9.0, 10.0, 0.0)), "lies outside the photo"),
        ],
    )
    def test_what_is_outside_the_photo_is_refused(self, prompt: Prompt, message: str) -> None:
        photo, calls = self.make()
        with pytest.raises(InputError, match=message):
            photo.masks([Prompt(inside=((1.0, 1.0),)), prompt])
        assert calls == []

    def test_a_box_is_cut_off_at_the_photos_edge(self) -> None:
        photo, _ = self.make()
        beyond, within = photo.masks(
            [Prompt(box=(-50.0, 40.0, 60.0, 200.0)), Prompt(box=(0.0, 40.0, 60.0, 96.0))]
        )
        np.testing.assert_array_equal(beyond.mask, within.mask)


class TestPrompts:
    @pytest.mark.parametrize(
        ("build", "message"),
        [
            (lambda: Prompt(), "a prompt needs a point on the thing, or a box around it"),
            (lambda: Prompt(outside=((1.0, 1.0),)), "a prompt needs a point on the thing"),
            (lambda: Prompt(inside=((float("nan"), 1.0),)), "a prompt must be finite"),
            (lambda: Prompt(box=(0.0, 0.0, float("inf"), 1.0)), "a prompt must be finite"),
            (lambda: Prompt(box=(5.0, 0.0, 5.0, 9.0)), "left, top, right, bottom, with an area"),
            (lambda: Prompt(box=(0.0, 9.0, 5.0, 3.0)), "left, top, right, bottom, with an area"),
        ],
    )
    def test_those_that_tell_nothing_are_refused(
        self, build: Callable[[], Prompt], message: str
    ) -> None:
        with pytest.raises(InputError, match=message) as raised:
            build()
        assert "\n" not in str(raised.value)

    def test_coordinates_are_those_of_pixels_centres(self) -> None:
        """SAM counts pixels and adds half a one: the middle of a photo is 512 of 1024."""
        prompts = [
            Prompt(inside=((50.0, 20.0),), outside=((100.0, 40.0),), box=(0.0, 0.0, 50.0, 40.0)),
            Prompt(inside=((25.0, 10.0),), outside=((0.0, 0.0),), box=(50.0, 20.0, 100.0, 40.0)),
        ]
        points, labels, boxes = coordinates(prompts, (10.0, 10.24))
        assert boxes is not None
        np.testing.assert_allclose(
            points + 0.5, [[[512, 200], [1024, 400]], [[256, 100], [0, 0]]], atol=1e-4
        )
        assert labels.tolist() == [[1, 0], [1, 0]]
        np.testing.assert_allclose(
            boxes + 0.5, [[0, 0, 512, 400], [512, 200, 1024, 400]], atol=1e-4
        )

        points, labels, boxes = coordinates([Prompt(box=(0.0, 0.0, 9.0, 9.0))], (1.0, 1.0))
        assert points.shape == (1, 0, 2)
        assert labels.shape == (1, 0)
        points, _, boxes = coordinates([Prompt(inside=((3.5, 4.5),))], (1.0, 1.0))
        assert (points.tolist(), boxes) == ([[[3.0, 4.0]]], None)

    def test_the_long_side_is_fitted(self) -> None:
        assert fitted(1080, 1920, 1024) == (576, 1024)
        assert fitted(1920, 1080, 1024) == (1024, 576)
        assert fitted(100, 100, 1024) == (1024, 1024)
        assert fitted(3, 5000, 1024) == (1, 1024)

    def test_a_photo_is_resized_as_pillow_does(self) -> None:
        from PIL import Image

        rgb = np.random.default_rng(0).random((40, 60, 3), np.float32)
        image = Image.fromarray(np.rint(rgb * 255).astype(np.uint8))
        expected = np.asarray(image.resize((30, 20), Image.Resampling.BILINEAR))
        assert np.abs(resized(rgb, 20, 30).astype(int) - expected).max() <= 1
