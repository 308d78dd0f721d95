"""Masks: the photo as a full partition into regions, and single things that somebody points at."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Ids, Labels, Mask, check_array, check_labels
from diorama.errors import InputError
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


Point = tuple[float, float]
"""x to the right and y down, in pixels of `photo.rgb`, whose upper left corner is (0, 0)."""


@dataclass(frozen=True)
class Prompt:
    """Where one thing is in a photo: points, a box, or both.

    Raises:
        InputError: if it tells nothing, is not finite, or its box has no area.
    """

    inside: tuple[Point, ...] = ()
    """Points on the thing: those that SAM labels 1."""
    outside: tuple[Point, ...] = ()
    """Points beside it: those that SAM labels 0."""
    box: tuple[float, float, float, float] | None = None
    """Its left, top, right and bottom."""

    def __post_init__(self) -> None:
        if not self.inside and self.box is None:
            raise InputError("a prompt needs a point on the thing, or a box around it")
        values = [value for point in (*self.inside, *self.outside) for value in point]
        if not all(map(math.isfinite, (*values, *(self.box or ())))):
            raise InputError(f"a prompt must be finite, got {self}")
        if self.box is not None:
            left, top, right, bottom = self.box
            if left >= right or top >= bottom:
                raise InputError(f"a box is left, top, right, bottom, with an area, got {self.box}")


@dataclass(frozen=True)
class PromptedMask:
    """The thing that a prompt is about."""

    mask: Mask
    """(H, W) bool; may be empty, and may come in parts."""
    score: float
    """How well the model thinks it fits: the intersection over union it expects, about 0..1."""


@runtime_checkable
class SeenPhoto(Protocol):
    """A photo that a model has looked at once, which is the costly part."""

    def masks(self, prompts: Sequence[Prompt]) -> list[PromptedMask]:
        """Return the mask of each prompt, in their order.

        Must be deterministic. Raises `InputError` where a point lies outside the photo.
        """
        ...


@runtime_checkable
class PromptedSegmenter(Protocol):
    """Anything that finds what somebody points at.

    What it saw of a photo is a value of its own, which an editor holds from click to click and a
    tracker from prompt to prompt.
    """

    def look(self, photo: Photo) -> SeenPhoto:
        """See a photo. Must not change it."""
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
    rank = np.empty(total, np.int32)
    rank[np.argsort(_firsts(parts, total))] = np.arange(total, dtype=np.int32)
    return rank[parts]


def _boxes(owner: Labels) -> dict[int, tuple[slice, slice]]:
    """The bounding box of every label that occurs."""
    count = int(owner.max(initial=-1)) + 1
    spans: list[list[slice]] = []
    for axis in (0, 1):
        # A label's first and last row (column) by its first and last place in reading order.
        lines = np.moveaxis(owner, axis, 0).reshape(owner.shape[axis], -1)
        begins = _firsts(lines, count) // lines.shape[1]
        ends = len(lines) - _firsts(lines[::-1], count) // lines.shape[1]
        spans.append([slice(int(b), int(e)) for b, e in zip(begins, ends, strict=True)])
    boxes = enumerate(zip(*spans, strict=True))
    return {label: (rows, columns) for label, (rows, columns) in boxes if rows.start >= 0}


def _firsts(labels: Array, count: int) -> Array:
    """(count,) int64: where each label first is in reading order; -1 where it is nowhere."""
    firsts = np.full(count, -1, np.int64)
    # Of values for one place the last remains.
    firsts[labels.ravel()[::-1]] = np.arange(labels.size - 1, -1, -1)
    return firsts
