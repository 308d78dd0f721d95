"""Tiles: all that a mask holds, once, with the pixels around it."""

import numpy as np
import pytest

from diorama.tiles import CELL_PX, TILE_PX, cells_around, distant_parts, tiles_with


@pytest.mark.parametrize("shape", [(1, 1), (TILE_PX, 40), (2 * TILE_PX + 7, 3 * TILE_PX - 1)])
def test_tiles_hold_what_is_set_once_and_know_what_is_around(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros(shape, bool)
    mask[rng.integers(0, shape[0], 3), rng.integers(0, shape[1], 3)] = True
    picture = rng.random(shape)
    seen = np.zeros(shape, int)

    for tile in tiles_with(mask, margin=5):
        assert mask[tile.here].any()
        seen[tile.here] += 1
        assert (picture[tile.around][tile.inner] == picture[tile.here]).all()
        for here, around, side in zip(tile.here, tile.around, shape, strict=True):
            assert around.start == max(0, here.start - 5)
            assert around.stop == min(side, here.stop + 5)

    assert (seen[mask] == 1).all()
    assert seen.max() == 1


def test_nothing_set_needs_no_tile() -> None:
    assert tiles_with(np.zeros((300, 300), bool), margin=2) == []
    assert tiles_with(np.zeros((0, 5), bool), margin=2) == []
    assert cells_around(np.zeros((300, 300), bool)) == []
    assert cells_around(np.zeros((0, 5), bool)) == []


@pytest.mark.parametrize("shape", [(1, 1), (CELL_PX, 40), (5 * CELL_PX + 7, 9 * CELL_PX - 1)])
def test_cells_hold_what_is_set_and_a_cell_around_it_and_each_once(shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    mask = np.zeros(shape, bool)
    mask[rng.integers(0, shape[0], 3), rng.integers(0, shape[1], 3)] = True
    seen = np.zeros(shape, int)
    for box in cells_around(mask):
        seen[box] += 1
    y, x = np.nonzero(mask)
    rows, columns = np.indices(shape) // CELL_PX
    near = np.zeros(shape, bool)
    for row, column in zip(y // CELL_PX, x // CELL_PX, strict=True):
        near |= (np.abs(rows - row) <= 1) & (np.abs(columns - column) <= 1)
    assert (seen == near).all()


def test_parts_far_from_each_other_are_told_apart_and_near_ones_are_not() -> None:
    mask = np.zeros((100, 300), bool)
    mask[10:14, 20:30] = mask[10:14, 34:40] = True  # nearer than a cell
    mask[80:90, 250:260] = True
    parts = distant_parts(mask, cell_px=32)
    assert [len(place) for place, _, _ in parts] == [4 * 16, 100]
    listed = np.argwhere(mask)
    for place, rows, columns in parts:
        np.testing.assert_array_equal(listed[place], np.stack([rows, columns], 1))


def test_an_empty_mask_has_no_parts() -> None:
    assert distant_parts(np.zeros((5, 7), bool), cell_px=32) == []
