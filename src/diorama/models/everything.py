"""Masks of everything in a photo, by a network that answers prompts.

A grid of points is asked, of each a whole, a part and a part of that:

1. What the network is not sure of goes, and what depends on where its logits are cut,
   ``stability = |logits > offset| / |logits > -offset|``.
2. Of masks that are almost the same, by the intersection over union of their pixels, the surest
   stays. (Boxes around masks, which are usual, are faster by a second and drop 0.4 % of the regions
   that people draw: a frame, say, and the picture in it have one box.)
3. Holes and islands that are too small to be meant are closed.
4. Each pixel takes the smallest mask that covers it, else the embedded segmenter's region. What
   then is thin although that of which it shows is not, as between two outlines of one thing, is
   given to its neighbours, and so is what is small.

All but the last is done on the network's own grid of logits, on which 1000 masks are small.

Kirillov et al., "Segment anything" (2023); Ravi et al., "SAM 2: Segment anything in images and
videos" (2024).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from diorama.arrays import Array, Labels, Mask
from diorama.masks import Masks, Prompt, partition_masks
from diorama.models.prompted import AT_ONCE, Seen


@dataclass(frozen=True)
class EverythingConfig:
    """Which masks of a grid of points are kept."""

    points_per_side: int = 32
    """Of the grid; 32 asks 1024 times."""
    min_iou: float = 0.88
    """The least intersection over union that the network expects."""
    min_stability: float = 0.95
    """The least stability."""
    stability_offset: float = 1.0
    """In logits, to both sides of where a mask is cut."""
    max_iou: float = 0.7
    """Of two masks that overlap more, one is dropped."""
    max_masks: int = 250
    """Of more than these the surest are kept."""
    min_area: float = 1e-4
    """The least hole, island or mask, as a share of the photo: 14 x 14 pixels of 1920 x 1080."""
    min_width: float = 4e-3
    """The least width of what shows of a thing beside others, in long sides of the photo: about a
    pixel of the logits, 8 of 1920, and 3 at least. What is thin itself, as a wire, stays."""


@dataclass(frozen=True)
class Found:
    """One mask of everything."""

    logits: Array = field(repr=False)
    """(h, w) float16."""
    score: float
    """The intersection over union that the network expects."""
    stability: float
    """The module's equation."""


def find_everything(seen: Seen, config: EverythingConfig = EverythingConfig()) -> list[Found]:
    """Return the different things that a grid of points finds, the surest first.

    Masks may overlap: a thing, its parts and what it is part of.

    Args:
        seen: the photo, seen by a network.
        config: what is kept.
    """
    steps = (np.arange(config.points_per_side) + 0.5) / config.points_per_side
    prompts = [
        Prompt(inside=((float(x * seen.width), float(y * seen.height)),))
        for y in steps
        for x in steps
    ]
    found: list[Found] = []
    for first in range(0, len(prompts), AT_ONCE):
        logits, scores = seen.ask(prompts[first : first + AT_ONCE], several=True)
        found += _sure(logits.reshape(-1, *logits.shape[2:]), scores.ravel(), config)
    kept = _different(found, config)
    return [_closed(one, config.min_area * seen.span[0] * seen.span[1]) for one in kept]


def partition_everything(
    seen: Seen, fallback: Labels, config: EverythingConfig = EverythingConfig()
) -> Masks:
    """Return a partition of a photo into everything that a grid of points finds.

    Args:
        seen: the photo, seen by a network.
        fallback: (H, W) int32, a partition for what no mask covers, such as the embedded
            segmenter's.
        config: what is kept.

    Returns:
        Connected masks, numbered in the order of their first pixels.
    """
    masks = [seen.enlarged(found.logits) for found in find_everything(seen, config)]
    masks = [mask for mask in masks if mask.any()]  # a photo may be smaller than its logits
    labels = partition_masks(masks, fallback).labels
    return partition_masks([], _without_slivers(labels, masks, fallback, config))


def _sure(logits: Array, scores: Array, config: EverythingConfig) -> list[Found]:
    """Those of a batch (n, h, w) that are expected to fit and do not depend on where one cuts."""
    likely = np.flatnonzero(scores >= config.min_iou)
    logits = logits[likely]
    inner = np.count_nonzero(logits > config.stability_offset, axis=(1, 2))
    outer = np.count_nonzero(logits > -config.stability_offset, axis=(1, 2))
    stability = inner / np.maximum(outer, 1)
    return [
        # In half the memory, without the infinity that a random network may reach.
        Found(logits[i].clip(-6e4, 6e4).astype(np.float16), float(scores[likely[i]]), float(s))
        for i, s in enumerate(stability)
        if s >= config.min_stability and inner[i]
    ]


def _different(found: list[Found], config: EverythingConfig) -> list[Found]:
    """Without those that are almost the same as a surer one (non-maximum suppression).

    Equally sure ones are ordered by what they are, so that the order of prompts does not matter.
    """
    if not found:
        return []
    bits = np.stack([np.packbits(one.logits > 0) for one in found])
    bits = np.pad(bits, ((0, 0), (0, -bits.shape[1] % 8))).view(np.uint64)
    areas = np.bitwise_count(bits).sum(1, dtype=np.int64)
    order = sorted(
        range(len(found)),
        key=lambda i: (-found[i].score, -found[i].stability, areas[i], bits[i].tobytes()),
    )
    kept: list[int] = []
    for index in order:
        # Masks whose areas differ by more than that cannot overlap by so much.
        near = np.array(kept, np.int64)
        ratio = np.minimum(areas[near], areas[index]) / np.maximum(areas[near], areas[index])
        near = near[ratio > config.max_iou]
        shared = np.bitwise_count(bits[near] & bits[index]).sum(1, dtype=np.int64)
        if (shared > config.max_iou * (areas[near] + areas[index] - shared)).any():
            continue
        kept.append(index)
        if len(kept) == config.max_masks:
            break
    return [found[index] for index in kept]


def _closed(found: Found, min_area: float) -> Found:
    """Without holes and islands of fewer pixels; the largest island stays."""
    logits = found.logits.copy()
    for sign in (1, -1):  # islands, then holes, which are islands of what is around
        region = logits > 0 if sign > 0 else logits <= 0
        # A hole is closed at its corners, as the mask around it hangs together there.
        _, parts, stats, _ = cv2.connectedComponentsWithStats(
            region.astype(np.uint8), connectivity=8 if sign > 0 else 4
        )
        small = stats[:, cv2.CC_STAT_AREA] < min_area
        small[0] = False  # what is not of the region
        if sign > 0:
            small[1 + stats[1:, cv2.CC_STAT_AREA].argmax()] = False
        turned = small[np.asarray(parts, np.int32)]
        logits[turned] = -sign * np.maximum(np.abs(logits[turned]), np.float16(1e-3))
    return Found(logits, found.score, found.stability)


def _without_slivers(
    labels: Labels, sources: Sequence[Mask], fallback: Labels, config: EverythingConfig
) -> Labels:
    """Give what is thin although that of which it shows is not, and what is small, to neighbours.

    Outlines of masks that follow one edge of the photo differ by a few pixels, and what one of them
    leaves of the other there is nothing of its own.

    Args:
        labels: (H, W) int32, the partition.
        sources: (H, W) bool each, the masks it was made of.
        fallback: (H, W) int32, what it was made of elsewhere.
        config: what is small and thin.
    """
    height, width = labels.shape
    least = config.min_area * height * width
    radius = (max(3.0, config.min_width * max(height, width)) - 1) / 2
    whole = _is_thick(fallback, radius)
    for source in sorted(sources, key=np.count_nonzero, reverse=True):
        rows, columns = (np.flatnonzero(source.any(axis)) for axis in (1, 0))
        # With a pixel around, so that the outline is seen.
        crop = np.s_[max(rows[0] - 1, 0) : rows[-1] + 2, max(columns[0] - 1, 0) : columns[-1] + 2]
        inside = source[crop]
        whole[crop][inside] = _is_thick(inside.astype(np.int32), radius)[inside]
    sliver = (whole & ~_is_thick(labels, radius)).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(sliver, connectivity=8)
    long = stats[:, cv2.CC_STAT_AREA] >= least
    long[0] = False  # what is no sliver
    labels = partition_masks([], _given_away(labels, long[np.asarray(parts, np.int32)])).labels
    small = np.bincount(labels.ravel()) < least
    return labels if small.all() else _given_away(labels, small[labels])


def _is_thick(labels: Labels, radius: float) -> Mask:
    """(H, W) bool: where a disc fits into a region and covers the pixel (morphological opening)."""
    edge = np.zeros(labels.shape, np.uint8)
    across, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    edge[:, 1:] |= across
    edge[:, :-1] |= across
    edge[1:] |= down
    edge[:-1] |= down
    if not edge.any():
        return np.ones(labels.shape, bool)
    # Distances are 5 % too short at most.
    core = cv2.distanceTransform(1 - edge, cv2.DIST_L2, 3) >= 0.95 * radius
    if not core.any():
        return core
    owners, away = _nearest(labels, ~core, cv2.DIST_L2)
    return (owners == labels) & (away <= radius + 0.5)


def _given_away(labels: Labels, gone: Mask) -> Labels:
    """(H, W) int32: `labels` where pixels that are gone take the nearest one's that is not."""
    if not gone.any() or gone.all():
        return labels
    # By rows and columns, so that what grows stays connected.
    return _nearest(labels, gone, cv2.DIST_L1)[0]


def _nearest(labels: Labels, gone: Mask, metric: int) -> tuple[Labels, Array]:
    """The label of the nearest pixel that is not gone, and how far away it is, (H, W) each."""
    away, nearest = cv2.distanceTransformWithLabels(
        gone.astype(np.uint8), metric, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    pixels = np.asarray(nearest, np.int32)
    owners = np.zeros(pixels.max() + 1, np.int32)
    owners[pixels[~gone]] = labels[~gone]
    return owners[pixels], np.asarray(away)
