"""Pieces of masks: where disparity tears, and where it does not."""

import cv2
import numpy as np
import pytest

from diorama import testing
from diorama.arrays import Array
from diorama.kernels import mutex_watershed
from diorama.pieces import STEP_SHARE, part_at_steps

LEAST = 0.02


def one_mask(disparity: Array) -> Array:
    return np.zeros(disparity.shape, np.int32)


def open_step() -> Array:
    """(60, 80): a step of 0.3 in the upper rows, that has faded out above row 45."""
    disparity = np.full((60, 80), 0.3, np.float32)
    disparity[:, 40:] += np.maximum(0.3 - np.arange(60)[:, None] / 150, 0).astype(np.float32)
    return disparity


def links(values: Array) -> list[tuple[Array, Array]]:
    return [(values[:, :-1], values[:, 1:]), (values[:-1], values[1:])]


def test_a_step_that_ends_inside_a_mask_parts_it() -> None:
    disparity = open_step()
    pieces, owner = part_at_steps(disparity, one_mask(disparity), LEAST)
    assert owner.tolist() == [0, 0]
    assert (pieces[:40, :40] == pieces[0, 0]).all()
    assert (pieces[:40, 40:] == pieces[0, 40]).all()
    assert pieces[0, 0] != pieces[0, 40]


def test_beyond_a_step_the_cut_follows_the_steepest_slope() -> None:
    # Downwards the step widens, until it is a slope that no step is in.
    width = np.linspace(0.3, 3, 60)[:, None]
    disparity = (0.3 + 0.3 / (1 + np.exp((39.5 - np.arange(80)) / width))).astype(np.float32)
    masks = one_mask(disparity)
    steps = mutex_watershed.find_steps(disparity, masks, least=LEAST, share=STEP_SHARE)
    assert steps[:20, 39].all()
    assert not steps[50:].any()
    pieces, owner = part_at_steps(disparity, masks, LEAST)
    assert owner.tolist() == [0, 0]
    assert (pieces[:, :34] == pieces[0, 0]).all()
    assert (pieces[:, 46:] == pieces[0, 79]).all()


def test_who_stands_on_a_floor_in_the_same_mask_is_not_on_the_wall() -> None:
    scene = testing.floor_and_people(320, 240)
    pieces, _ = part_at_steps(scene.disparity(), one_mask(scene.disparity()), LEAST)
    truth = scene.masks().labels
    wall, (one, other) = truth == 0, (truth == 2, truth == 3)
    seen = [set(np.unique(pieces[surface]).tolist()) for surface in (wall, one, other)]
    assert all(len(found) == 1 for found in seen)
    assert seen[0].isdisjoint(seen[1] | seen[2])
    assert seen[1].isdisjoint(seen[2])


def test_a_sliver_beside_a_step_goes_to_the_mask_it_belongs_to() -> None:
    disparity = np.full((60, 80), 0.3, np.float32)
    disparity[:, 40:] = 0.6
    masks = one_mask(disparity)
    masks[:, 40:] = 1
    masks[20:25, 40:42] = 0  # the mask's edge lies two pixels beside
    pieces, owner = part_at_steps(disparity, masks, LEAST)
    np.testing.assert_array_equal(pieces, disparity > 0.5)
    assert owner.tolist() == [0, 1]


def test_a_hair_whose_depth_is_wrong_for_a_while_leaves_its_mask_nowhere() -> None:
    disparity = np.full((60, 80), 0.3, np.float32)
    masks = one_mask(disparity)
    masks[:, 40:42] = 1
    disparity[:, 40:42] = 0.6
    disparity[25:30, 40:42] = 0.3
    pieces, owner = part_at_steps(disparity, masks, LEAST)
    np.testing.assert_array_equal(owner[pieces], masks)


def test_an_island_stays_with_its_mask() -> None:
    disparity = open_step()
    masks = one_mask(disparity)
    masks[50:, 60:] = 1
    masks[54:56, 70:72] = 0  # far from the rest of mask 0
    pieces, owner = part_at_steps(disparity, masks, LEAST)
    assert owner[pieces[54, 70]] == 0
    assert (pieces[masks == 1] == 1).all()


@pytest.mark.parametrize("slope", ["floor", "flat", "speck"])
def test_what_does_not_tear_is_not_parted(slope: str) -> None:
    disparity = np.full((60, 80), 0.3, np.float32)
    if slope == "floor":
        disparity += np.arange(60, dtype=np.float32)[:, None] / 50  # a step's height every row
    if slope == "speck":
        disparity[30, 40:42] = 0.9
    pieces, owner = part_at_steps(disparity, one_mask(disparity), LEAST)
    assert owner.tolist() == [0]
    assert not pieces.any()


def test_without_parallax_nothing_tears() -> None:
    disparity = open_step()
    assert part_at_steps(disparity, one_mask(disparity), np.inf)[1].tolist() == [0]
    assert len(part_at_steps(disparity, one_mask(disparity), 0.0)[1]) > 1


def rough(seed: int) -> tuple[Array, Array]:
    """Disparity (90, 130) with many steps, open and closed, and masks of several parts."""
    random = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(random.standard_normal((90, 130)).astype(np.float32), (0, 0), 6)
    levels = np.floor(noise / noise.std() * 2) / 8
    fade = np.linspace(0, 1, 130, dtype=np.float32)
    disparity = (1 + levels * fade + 0.02 * noise / noise.std()).astype(np.float32)
    masks = (cv2.GaussianBlur(random.standard_normal((90, 130)), (0, 0), 9) > 0).astype(np.int32)
    return disparity, masks


@pytest.mark.parametrize("seed", range(4))
def test_no_piece_holds_both_sides_of_a_step(seed: int) -> None:
    disparity, masks = rough(seed)
    steps = mutex_watershed.find_steps(disparity, masks, least=LEAST, share=STEP_SHARE)
    boxes = {mask: (slice(0, 90), slice(0, 130)) for mask in (0, 1)}
    pieces, owner, area = mutex_watershed.part_masks(
        disparity, masks, boxes, steps, disparity, least=LEAST
    )
    found = 0
    for bit, (one, other) in enumerate(links(pieces)):
        rows, columns = one.shape
        step = (steps[:rows, :columns] >> bit & 1).astype(bool)
        assert (one != other)[step].all()
        found += int(step.sum())
    assert found > 100
    np.testing.assert_array_equal(owner[pieces], masks)
    assert (np.bincount(pieces.ravel())[2:] == area[2:]).all()
    for piece in range(len(owner)):
        assert cv2.connectedComponents((pieces == piece).astype(np.uint8), connectivity=4)[0] == 2


@pytest.mark.parametrize("seed", range(4))
def test_steps_are_those_of_the_obvious_version(seed: int) -> None:
    disparity, masks = rough(seed)
    expected = np.zeros(masks.shape, np.uint8)
    for bit, (values, rows) in enumerate([(disparity, masks), (disparity.T, masks.T)]):
        out = expected.T if bit else expected
        for y, x in np.argwhere(rows[:, 1:] == rows[:, :-1]):
            left = max(min(x - 2, values.shape[1] - 6), 0)
            around = values[y, left : left + 6]
            climb = abs(values[y, x + 1] - values[y, x])
            is_step = np.ptp(around) > LEAST and climb > STEP_SHARE * np.ptp(around)
            out[y, x] += np.uint8(is_step << bit)
    found = mutex_watershed.find_steps(disparity, masks, least=LEAST, share=STEP_SHARE)
    np.testing.assert_array_equal(found, expected)


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    disparity, masks = rough(0)
    results = []
    for threads in ("1", "3"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        results.append(part_at_steps(disparity, masks, LEAST)[0].tobytes())
    assert results[0] == results[1]


def test_inputs_are_not_changed() -> None:
    disparity, masks = rough(1)
    kept = disparity.copy(), masks.copy()
    part_at_steps(disparity, masks, LEAST)
    np.testing.assert_array_equal(disparity, kept[0])
    np.testing.assert_array_equal(masks, kept[1])
