"""PatchMatch: for every patch around a hole its most similar known patch, and what they vote.

The distance between the patch around a target t and the one around a source s is

``D(t, s) = sum_o c(t + o) |I(t + o) - I(s + o)|^2 / sum_o c(t + o)  +  penalty |t - s|^2``

with c the confidence in what stands at a target pixel: 1 where known, less in the hole, 0 on the
occluder, which so has no say. References: Barnes et al., "PatchMatch: a randomized correspondence
algorithm for structural image editing" (2009); Wexler, Shechtman and Irani, "Space-time completion
of video" (2007).
"""

from dataclasses import dataclass

import numpy as np

from diorama.arrays import Array

RADIUS = 3
"""Half a patch: patches are 7x7 pixels."""

FRAME = RADIUS + 1
"""Pixels that targets and sources keep from the array's edge, so that no patch leaves it."""


@dataclass(frozen=True)
class PatchImage:
    """A picture to match patches in. The hole's pixels in `rgb` are a guess that may be changed."""

    rgb: Array
    """(h, w, 3) float32, contiguous."""
    confidence: Array
    """(h, w) float32, contiguous: c above."""
    usable: Array
    """(h, w) uint8, contiguous: 1 at centres of patches that are known throughout; 0 in the
    frame."""


def match_patches(
    image: PatchImage,
    targets: Array,
    sources: Array,
    *,
    before: Array,
    costs: Array,
    forward: bool,
    search_px: int,
    penalty: float,
    seed: int,
) -> None:
    """One sweep over the targets: take over neighbours' offsets, then search at random.

    Writes `sources` and `costs` in place, target after target, so that a good offset runs through
    all targets in one sweep. Disjoint runs of a hole's targets may be swept at the same time: from
    another run's targets only what they had `before` is taken.

    Args:
        image: the picture.
        targets: (n,) int32 flat indices of patch centres, ascending, outside the frame; a run of
            them without gaps.
        sources: (h * w,) int32: flat index of each target's source, -1 where there is none.
        before: (h * w,) int32: a copy of `sources` from before the sweep.
        costs: (h * w,) float32: D of it.
        forward: sweep from the first target to the last, or back.
        search_px: how far from the best source so far the search begins; it halves with each try.
        penalty: see above.
        seed: of the search.
    """
    if not targets.size:
        return
    from diorama.kernels._numba.patchmatch import match

    match(
        targets,
        forward,
        image.rgb.shape[1],
        image.rgb.reshape(-1),
        image.confidence.reshape(-1),
        image.usable.reshape(-1),
        before,
        sources,
        costs,
        search_px,
        np.float32(penalty),
        np.uint32(seed & 0xFFFFFFFF),
    )


def vote_patches(
    image: PatchImage, pixels: Array, sources: Array, *, weights: Array, window: Array
) -> Array:
    """What the patches over each pixel say it is: the mean of their sources' colours there.

    Args:
        image: the picture.
        pixels: (n,) int32 flat indices, outside the frame.
        sources: (h * w,) int32 as from `match_patches`.
        weights: (h * w,) float32: of each patch.
        window: (7, 7) float32: of a pixel's place in the patch.

    Returns:
        (n, 3) float32; a pixel under no patch with a source keeps its colour.
    """
    from diorama.kernels._numba.patchmatch import vote

    out = np.empty((pixels.size, 3), np.float32)
    vote(pixels, image.rgb.shape[1], image.rgb.reshape(-1), sources, weights, window.ravel(), out)
    return out
