"""Masks: the photo as a full partition into regions."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Ids, Labels, Mask, check_array, check_labels
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


@runtime_checkable
class Segmenter(Protocol):
    """Anything that turns a photo into `Masks`."""

    def segment(self, photo: Photo, disparity: Disparity, edges: Alpha | None = None) -> Masks:
        """Return a full partition of `photo.rgb`'s pixels.

        `disparity` (H, W) is the canonical estimate and `edges` (H, W) the probability of an
        occlusion edge, if the estimator tells: hints where they help. Must not change its
        arguments and must be deterministic.
        """
        ...


def partition_masks(masks: Sequence[Array], fallback: Labels) -> Masks:
    """Make a partition of masks that may overlap and leave gaps.

    Each pixel goes to the smallest mask that covers it, the first of equally small ones; what none
    covers keeps the region of `fallback`. Parts that come apart become masks of their own.

    Args:
        masks: each (H, W) bool.
        fallback: (H, W) int32, any partition, such as the embedded segmenter's.

    Returns:
        Connected masks with ids 0.. in the order of their first pixels, row by row.

    Raises:
        InputError: if a mask's size or dtype does not fit.
    """
    check_labels(fallback)
    for index, mask in enumerate(masks):
        check_array(f"masks[{index}]", mask, dtype=np.bool_, shape=fallback.shape)
    owner = np.unique(fallback, return_inverse=True)[1].reshape(fallback.shape)
    owner = (owner + len(masks)).astype(np.int32)
    areas = [np.count_nonzero(mask) for mask in masks]
    # Painted from the largest to the smallest, so that the smallest is what stays.
    for index in sorted(range(len(masks)), key=lambda i: (-areas[i], -i)):
        owner[masks[index]] = index
    labels = _parts(owner)
    return Masks(labels, np.arange(labels.max(initial=-1) + 1, dtype=np.int32))


def set_apart(masks: Masks, region: Mask) -> Masks:
    """Give a region a mask of its own, whatever masks it crosses.

    Args:
        masks: the partition.
        region: (H, W) bool.

    Returns:
        The partition with `region` under a new id, the largest, unless it is empty or a mask
        already; masks that lay wholly inside it are gone.
    """
    inside = np.unique(masks.labels[region])
    if not len(inside) or (len(inside) == 1 and not (masks.labels == inside)[~region].any()):
        return masks
    own = int(masks.ids.max(initial=-1)) + 1
    labels = np.where(region, np.int32(own), masks.labels)
    left = np.isin(masks.ids, labels)
    scores = None
    if masks.scores is not None:
        scores = np.append(masks.scores[left], np.float32(1))
    return Masks(labels, np.append(masks.ids[left], np.int32(own)), scores)


def _parts(owner: Labels) -> Labels:
    """(H, W) int32: the 4-connected parts of a partition, numbered by their first pixels."""
    parts, total = np.empty_like(owner), 0
    for index, box in _boxes(owner).items():
        inside = owner[box] == index
        count, found = cv2.connectedComponents(inside.astype(np.uint8), connectivity=4)
        parts[box][inside] = found[inside] - 1 + total
        total += count - 1
    first = np.unique(parts, return_index=True)[1]
    rank = np.empty(total, np.int32)
    rank[np.argsort(first)] = np.arange(total, dtype=np.int32)
    return rank[parts]


def _boxes(owner: Labels) -> dict[int, tuple[slice, slice]]:
    """The bounding box of every label that occurs."""
    spans: list[dict[int, slice]] = []
    for axis in (0, 1):
        # A label's first and last row (column) by its first and last place in reading order.
        lines = np.moveaxis(owner, axis, 0).reshape(owner.shape[axis], -1)
        labels, first = np.unique(lines, return_index=True)
        last = np.unique(lines[::-1], return_index=True)[1]
        begins = first // lines.shape[1]
        ends = lines.shape[0] - last // lines.shape[1]
        spans.append(
            {int(k): slice(int(b), int(e)) for k, b, e in zip(labels, begins, ends, strict=True)}
        )
    return {label: (rows, spans[1][label]) for label, rows in spans[0].items()}
