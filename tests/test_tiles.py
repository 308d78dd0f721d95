"""Tiles: all that a mask holds, once, with the pixels around it."""

import numpy as np
import pytest

from diorama.tiles import TILE_PX, tiles_with


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
