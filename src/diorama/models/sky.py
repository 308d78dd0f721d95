"""Sky: what is at the top, smooth, and blue, night-blue, black, or paler than all below.

A region of the photo counts if its colour says so for certain and the estimate does not object: sky
is never nearer than most of the photo. Its edge is then found again in the photo at full size.
"""

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Labels, Rgb
from diorama.camera import Camera
from diorama.models.region_merging import RegionMerging, RegionMergingConfig
from diorama.photo import Photo

WORK_SIZE = 320
"""Long side in pixels at which regions are looked at."""

SEGMENTER = RegionMerging(RegionMergingConfig(difference=26.0))
"""Finer than masks need to be: a region that is half sky would be neither."""

FARTHEST, STILL_FAR = 0.4, 0.8
"""Share of the photo that may be farther than a region of sky, and than one that joins it: along
the skyline an estimate mixes both sides."""


def find_sky(rgb: Rgb, disparity: Disparity) -> Alpha | None:
    """Find the sky, to the pixel.

    Args:
        rgb: (H, W, 3) the photo.
        disparity: (H, W) an estimate on any scale; larger is nearer.

    Returns:
        (H, W) float32, 1 in the sky; None unless some is found for certain.
    """
    height, width = rgb.shape[:2]
    scale = min(1.0, WORK_SIZE / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.clip(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), 0, 1)
    lab = cv2.cvtColor(cv2.convertScaleAbs(small, alpha=255), cv2.COLOR_RGB2LAB)
    texture = np.rint(small * 255).astype(np.uint8)
    photo = Photo(small, texture, Camera.from_fov(*size))
    labels = SEGMENTER.segment(photo, np.zeros(small.shape[:2], np.float32)).labels
    depth = cv2.resize(disparity, size, interpolation=cv2.INTER_AREA)
    sky = _coarse(lab, labels, depth)
    return None if sky is None else _refined(sky, small, rgb)


def _coarse(lab: Array, labels: Labels, disparity: Array) -> Alpha | None:
    """(h, w) float32, 1 in regions that are sky; None unless it is quite certain.

    A wall or a ceiling is rarely blue, and where it is pale it is hardly ever brighter than most of
    what is below it; a backdrop goes down to the floor. Black may be fur, or a room behind a flash.
    """
    flat, area = labels.ravel(), np.bincount(labels.ravel())
    luma = lab[..., 0].astype(np.float32)
    detail = np.abs(luma - cv2.GaussianBlur(luma, (0, 0), 1.5))
    level, a, b, rough, depth = (
        np.bincount(flat, np.asarray(c, np.float64).ravel()) / area
        for c in (luma, lab[..., 1], lab[..., 2], detail, disparity)
    )
    y = np.repeat(np.arange(luma.shape[0]), luma.shape[1]) / luma.shape[0]
    middle = np.bincount(flat, y) / area
    brighter = level > np.percentile(luma[luma.shape[0] // 2 :], 80) + 15
    smooth = rough < 3.2
    blue = smooth & (a < 136) & ((b < 119) | (brighter & (b < 124) & (level > 160)))
    glaring = (rough < 7) & brighter & (level > 235) & (a < 130) & (b < 130)
    pale = smooth & brighter & (level > 210) & (a < 130) & (b < 130)
    night = smooth & (level < 40) & (b < 114) & (middle < 0.35)
    far, still_far = (depth <= limit for limit in np.quantile(disparity, (FARTHEST, STILL_FAR)))
    sky = (blue | glaring | pale | night) & still_far
    chosen = sky & far & (np.bincount(labels[0], minlength=len(area)) > 0.05 * labels.shape[1])
    top, certain = chosen[labels[0]], (blue | glaring)[labels[0]]
    least_width = 0.25 if certain[top].any() else 0.6
    if top.mean() < least_width or area[chosen].sum() < 0.03 * flat.size:
        return None
    # Clouds, and slivers along the skyline: sky-coloured, or coloured as the sky there is.
    color = np.stack([level, a, b], 1)
    mean = (color[chosen] * area[chosen, None]).sum(0) / area[chosen].sum()
    sky |= (np.abs(color - mean).max(1) < 8) & still_far
    for _ in range(4):
        near = cv2.dilate(chosen[labels].astype(np.uint8), np.ones((5, 5), np.uint8))
        chosen |= sky & (np.bincount(flat, near.ravel()) > 0)
    return chosen[labels].astype(np.float32)


def _refined(sky: Array, rgb: Array, fine: Array) -> Alpha:
    """(H, W) float32: sky at the photo's size; beside its border colour decides.

    Every pixel within a few small pixels of the border goes to the side whose local mean colour is
    nearer, so that the skyline lies where the photo has it.
    """
    size = fine.shape[1], fine.shape[0]
    if not sky.any() or sky.all():
        return np.full(fine.shape[:2], sky.flat[0], np.float32)
    window = (13, 13)
    means = [
        cv2.blur(rgb * side[..., None], window)
        / np.maximum(cv2.blur(side, window), 1e-3)[..., None]
        for side in (sky, 1 - sky)
    ]
    # |p - m0| < |p - m1| as a plane in colour: p . (m0 - m1) > (|m0|^2 - |m1|^2) / 2.
    offset = (np.square(means[0]) - np.square(means[1])).sum(2) / 2
    plane = cv2.resize(np.dstack([means[0] - means[1], offset]), size)
    reach = cv2.resize(cv2.blur(sky, (7, 7)), size)
    refined = reach > 0.5
    band = np.flatnonzero((reach > 0.02) & (reach < 0.98))
    plane = plane.reshape(-1, 4)[band]
    sides = (fine.reshape(-1, 3)[band] * plane[:, :3]).sum(1) > plane[:, 3]
    refined.ravel()[band] = sides
    # Single pixels of noise would each be an edge of infinite depth.
    return cv2.medianBlur(refined.astype(np.uint8), 5).astype(np.float32)
