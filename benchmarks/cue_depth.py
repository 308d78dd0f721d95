"""A baseline for depth: a prior from image cues, no weights.

    e(x, y) = s y + max(y - h, 0) - c (1 - y) x^2 + r rarity + v vividness

with x in -1..1 and y in 0..1 downwards: the ground comes nearer below the horizon h, which lies at
the middle outdoors and higher indoors, where it also bends away to the sides; what is coloured
unlike the photo's border (Zhu et al., "Saliency optimization from robust background detection",
2014) and what is vivid is a little nearer, for haze and focus take colour and detail from the far.
Regions that stand on something take part of the value at their foot all the way up. Outdoors means
that sky was found: smooth, blue, night-blue, or brighter than everything else, and at the top.

It knows nothing of objects and nothing of shape: faces are flat, a ceiling is as far as the wall
under it, a picture of a street is a street, and looking straight down or up it is simply wrong.
"""

import cv2
import numpy as np

from diorama.arrays import Array, Labels, check_rgb
from diorama.depth import DepthResult
from diorama.models.region_merging import RegionMerging, RegionMergingConfig
from diorama.models.sky import find_sky
from diorama.photo import Photo

WORK_SIZE = 320
"""Long side in pixels at which the cues are computed; they are broad."""
SEGMENTER = RegionMerging(RegionMergingConfig(difference=26.0))
"""Finer than masks need to be: a region that is half sky would be neither."""
EDGE_SIGMA_PX = 2.0
"""Blur of the result at that size."""
HORIZON_OUTDOORS, HORIZON_INDOORS = 0.52, 0.3
"""Where the ground starts to come nearer, in heights from the top."""
SLOPE_OUTDOORS, SLOPE_INDOORS = 0.1, 0.4
"""How much nearer the bottom is than the top even above the horizon."""
CENTRE = 0.12
"""How much farther the upper corners are than the upper middle, indoors."""
RARITY, VIVIDNESS = 0.2, 0.15
"""Weights of the two colour cues."""
COLOUR_OUTDOORS = 0.25
"""What is left of these outdoors, where sun and paint say little of distance."""
STANDING_OUTDOORS, STANDING_INDOORS = 0.7, 0.45
"""How upright a region is that could stand: 1 lifts all of it to the depth of its foot."""


class CueDepth:
    """A `diorama.depth.DepthEstimator` without weights."""

    def estimate(self, photo: Photo) -> DepthResult:
        """Return an affine disparity with soft edges, and sky to the pixel, at the photo's size."""
        check_rgb(photo.rgb)
        height, width = photo.rgb.shape[:2]
        scale = min(1.0, WORK_SIZE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        rgb = np.clip(cv2.resize(photo.rgb, size, interpolation=cv2.INTER_AREA), 0, 1)
        small = Photo(rgb, photo.texture, photo.camera.resized(*size), photo.name)
        labels = SEGMENTER.segment(small, np.zeros(rgb.shape[:2], np.float32)).labels
        lab = cv2.cvtColor(cv2.convertScaleAbs(rgb, alpha=255), cv2.COLOR_RGB2LAB)
        sky = find_sky(
            photo.rgb, np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
        )
        cues = _cues(lab, labels, outdoors=sky is not None)
        # Its edges are guesses: blurred, they read as a network's, and claim no step to the pixel.
        soft = cv2.GaussianBlur(np.maximum(cues, 0), (0, 0), EDGE_SIGMA_PX)
        disparity = cv2.resize(soft, (width, height), interpolation=cv2.INTER_LINEAR)
        return DepthResult(disparity, "affine", sky=sky)


def _cues(lab: Array, labels: Labels, *, outdoors: bool) -> Array:
    """(h, w) float32: the module's equation, regions standing on their feet."""
    height, width = labels.shape
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)
    if outdoors:
        ground = SLOPE_OUTDOORS * y + np.maximum(y - HORIZON_OUTDOORS, 0) + 0 * x
    else:
        ground = SLOPE_INDOORS * y + np.maximum(y - HORIZON_INDOORS, 0) - CENTRE * (1 - y) * x**2
    flat = labels.ravel()
    area = np.bincount(flat)
    order = np.argsort(flat, kind="stable")  # row by row inside each region
    first = np.cumsum(area) - area
    foot = order[first + (0.95 * (area - 1)).astype(int)]
    columns = np.sort(flat.astype(np.int64) * width + np.arange(flat.size) % width) % width
    wide = (columns[first + (0.98 * (area - 1)).astype(int)] - columns[first] + 1) / width
    # What runs out of the bottom has no foot to see, and what spans the width is ground or wall.
    upright = (STANDING_OUTDOORS if outdoors else STANDING_INDOORS) * (1 - wide)
    upright[np.unique(labels[-1])] = 0
    ground += upright[labels] * (ground.ravel()[foot][labels] - ground)
    chroma = np.hypot(lab[..., 1] - 128.0, lab[..., 2] - 128.0) / 60
    colour = (RARITY * _rarity(lab) + VIVIDNESS * chroma).ravel() * (
        COLOUR_OUTDOORS if outdoors else 1.0
    )
    return (ground + (np.bincount(flat, colour) / area)[labels] + 0.3).astype(np.float32)


def _rarity(lab: Array) -> Array:
    """(h, w) float64 in 0..1: how rare each colour is along the top and the sides."""
    bins = (lab >> 4).astype(np.int64) @ np.array([256, 16, 1])
    rim = np.concatenate([bins[:8].ravel(), bins[:, :8].ravel(), bins[:, -8:].ravel()])
    common = np.log1p(np.bincount(rim, minlength=4096))
    return 1 - common[bins] / common.max()
