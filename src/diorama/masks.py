"""Masks: the photo as a full partition into regions."""

from dataclasses import dataclass
from typing import Protocol

from diorama.arrays import Array, Disparity, Ids, Labels
from diorama.photo import Photo


@dataclass(frozen=True)
class Masks:
    """A partition of the photo."""

    labels: Labels
    """(H, W) int32: the id of the mask each pixel belongs to; every pixel belongs to one."""
    ids: Ids
    """(n,) int32, ascending: the ids that occur in `labels`; stable when a photo is edited."""
    scores: Array | None = None
    """(n,) float32 in 0..1: how sure the segmenter is of each mask."""


class Segmenter(Protocol):
    """Anything that turns a photo into `Masks`."""

    def segment(self, photo: Photo, disparity: Disparity) -> Masks:
        """Return a full partition of `photo.rgb`'s pixels.

        `disparity` (H, W) is the canonical estimate, a hint where it helps. Must not change
        its arguments and must be deterministic.
        """
        ...
