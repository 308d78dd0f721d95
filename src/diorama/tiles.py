"""Tiles: the few squares of a picture where there is something to do."""

from dataclasses import dataclass

import cv2
import numpy as np

from diorama.arrays import Array, Mask

TILE_PX = 256
"""Side of a tile: what is computed there stays in cache, and its margin is not most of it."""

CELL_PX = 64
"""What is written to a sparse picture is written to whole cells of this side."""

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
    tiles = []
    for top, left in TILE_PX * np.argwhere(_held(mask, TILE_PX)):
        here = (
            slice(int(top), min(mask.shape[0], int(top) + TILE_PX)),
            slice(int(left), min(mask.shape[1], int(left) + TILE_PX)),
        )
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


def cells_around(mask: Mask) -> list[Box]:
    """Boxes of whole cells, row by row: those that hold something of a mask, and all beside them.

    A picture of zeros that nothing is written to takes no memory; written to in these boxes alone,
    it takes little where the mask is sparse, and is whole for `CELL_PX` around what is set.
    """
    held = _held(mask, CELL_PX)
    if not held.any():
        return []
    held = np.asarray(cv2.dilate(held.view(np.uint8), np.ones((3, 3), np.uint8)), np.int8)
    ends = np.diff(held, axis=1, prepend=0, append=0)
    tops, lefts = (CELL_PX * np.argwhere(ends > 0)).T.tolist()
    rights = (CELL_PX * np.nonzero(ends < 0)[1]).tolist()
    return [
        (slice(top, top + CELL_PX), slice(left, right))
        for top, left, right in zip(tops, lefts, rights, strict=True)
    ]


def distant_parts(mask: Mask, *, cell_px: int) -> list[tuple[Array, Array, Array]]:
    """What is set in a mask, in parts that are about `cell_px` or more from each other.

    Returns:
        Of each part: (n,) which of the mask's set pixels it has, in row-major order; and their rows
        and columns, (n,) each.
    """
    rows, columns = np.nonzero(mask)
    cells = np.zeros(tuple(side // cell_px + 1 for side in mask.shape), np.uint8)
    cells[rows // cell_px, columns // cell_px] = 1
    count, parts = cv2.connectedComponents(cv2.dilate(cells, np.ones((3, 3), np.uint8)))
    part = parts[rows // cell_px, columns // cell_px]
    places = (np.flatnonzero(part == k) for k in range(1, count))
    return [(place, rows[place], columns[place]) for place in places]


def _held(mask: Mask, side_px: int) -> Array:
    """(rows, columns) bool: which squares of this side hold something of a mask."""
    if not mask.size:
        return np.zeros((0, 0), bool)
    rows, columns = (np.arange(0, side, side_px) for side in mask.shape)
    return np.bitwise_or.reduceat(np.bitwise_or.reduceat(mask, rows, axis=0), columns, axis=1)
