"""Tiles: the few squares of a picture where there is something to do."""

from dataclasses import dataclass

import numpy as np

from diorama.arrays import Mask

TILE_PX = 256
"""Side of a tile: what is computed there stays in cache, and its margin is not most of it."""

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Tile:
    """A square of a picture and what is around it."""

    here: Box
    """The square, in the picture."""
    around: Box
    """The square with its margin, as far as the picture reaches, in the picture."""
    inner: Box
    """The square, in `around`."""


def tiles_with(mask: Mask, *, margin: int) -> list[Tile]:
    """The tiles that hold something of a mask, row by row, each with `margin` pixels around it."""
    rows, columns = (np.arange(0, side, TILE_PX) for side in mask.shape)
    if not mask.size:
        return []
    held = np.bitwise_or.reduceat(np.bitwise_or.reduceat(mask, rows, axis=0), columns, axis=1)
    tiles = []
    for top, left in TILE_PX * np.argwhere(held):
        here = _span(top, mask.shape[0]), _span(left, mask.shape[1])
        around = tuple(
            slice(max(0, span.start - margin), min(side, span.stop + margin))
            for span, side in zip(here, mask.shape, strict=True)
        )
        inner = tuple(
            slice(span.start - wide.start, span.stop - wide.start)
            for span, wide in zip(here, around, strict=True)
        )
        tiles.append(Tile(here, (around[0], around[1]), (inner[0], inner[1])))
    return tiles


def _span(first: np.integer, side: int) -> slice:
    return slice(int(first), min(side, int(first) + TILE_PX))
