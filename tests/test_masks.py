"""Overlapping masks become a partition."""

import numpy as np
import pytest

from diorama.errors import InputError
from diorama.masks import Masks, partition_masks, set_apart


def box(top: int, left: int, bottom: int, right: int) -> np.ndarray:
    mask = np.zeros((6, 8), bool)
    mask[top:bottom, left:right] = True
    return mask


def plain() -> np.ndarray:
    return np.zeros((6, 8), np.int32)


def test_a_pixel_goes_to_the_smallest_mask_that_covers_it() -> None:
    masks = partition_masks([box(2, 2, 4, 4), box(1, 1, 5, 7)], plain())

    assert masks.labels.dtype == np.int32
    assert masks.labels[0, 0] == 0
    assert (masks.labels[box(2, 2, 4, 4)] == 2).all()
    assert (masks.labels[box(1, 1, 5, 7) & ~box(2, 2, 4, 4)] == 1).all()
    assert masks.ids.tolist() == [0, 1, 2]


def test_of_equally_small_masks_the_first_wins() -> None:
    masks = partition_masks([box(0, 0, 6, 4), box(0, 2, 6, 6)], plain())

    assert (np.diff(masks.labels, axis=1) != 0).nonzero()[1].tolist() == [3, 5] * 6


def test_what_none_covers_keeps_its_own_region() -> None:
    fallback = plain()
    fallback[:, 4:] = 77

    masks = partition_masks([box(0, 0, 3, 2)], fallback)

    assert len(masks.ids) == 3
    assert masks.labels[5, 0] == masks.labels[0, 3] != masks.labels[0, 4] == masks.labels[5, 7]


def test_without_masks_the_fallback_remains() -> None:
    fallback = plain()
    fallback[3:] = -5

    labels = partition_masks([], fallback).labels

    np.testing.assert_array_equal(labels, np.repeat([0, 1], 3)[:, None].repeat(8, 1))


def test_parts_that_come_apart_are_masks_of_their_own() -> None:
    masks = partition_masks([box(0, 0, 6, 8), box(0, 3, 6, 5)], plain())

    assert masks.labels[0].tolist() == [0, 0, 0, 1, 1, 2, 2, 2]


def test_pixels_that_touch_at_corners_only_are_apart() -> None:
    fallback = np.array([[0, 1], [1, 0]], np.int32)

    assert partition_masks([], fallback).labels.tolist() == [[0, 1], [2, 3]]


def test_masks_and_fallback_are_left_alone() -> None:
    given, fallback = box(1, 1, 5, 7), plain()

    partition_masks([given], fallback)

    assert given.sum() == 24
    assert not fallback.any()


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(InputError, match=r"masks\[1\] must be \(6, 8\) bool, got \(5, 8\) bool"):
        partition_masks([plain() > 0, np.zeros((5, 8), bool)], plain())


class TestSetApart:
    def test_a_region_gets_a_mask_of_its_own(self):
        labels = np.repeat(np.int32([[3, 3, 5, 8]]), 4, axis=0)
        masks = Masks(labels, np.int32([3, 5, 8]), np.float32([0.3, 0.5, 0.8]))
        region = np.zeros((4, 4), bool)
        region[:, 1:3] = True
        apart = set_apart(masks, region)
        assert apart.labels.tolist() == [[3, 9, 9, 8]] * 4
        assert apart.ids.tolist() == [3, 8, 9]
        assert apart.scores is not None
        assert apart.scores.tolist() == pytest.approx([0.3, 0.8, 1.0])

    def test_a_second_time_changes_nothing(self):
        masks = Masks(np.zeros((4, 4), np.int32), np.int32([0]))
        region = np.eye(4, dtype=bool)
        once = set_apart(masks, region)
        assert set_apart(once, region) is once
        assert set_apart(masks, np.zeros((4, 4), bool)) is masks
