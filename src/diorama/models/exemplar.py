"""Exemplar fill: holes continued from what is similar nearby, coarse to fine, without weights.

Two fills are made and joined. H is harmonic: close to the truth beside what is known and a good
mean farther in, but without texture. E is exemplar-based: patches around the hole are replaced by
similar known ones, from coarse to fine, and vote (`kernels.patchmatch`); it has the surroundings'
texture and continues edges, but may be confidently wrong. With D = E - H, which is 0 where known,
and r the distance to what is known,

``fill = H + r^2 / (r^2 + r0^2) (gain (D - G * D) + structure (G * D))``

where G is a small Gaussian: E's coarse scales are taken in part, and its fine ones with the gain
that gives them the strength they have in the known surroundings, so that nothing smooth gets
noisy. All of it vanishes at the seam, so there is none; that is gradient-domain blending (Perez et
al., "Poisson image editing", 2003) with E as the guide.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import cv2
import numpy as np

from diorama.arrays import Array, Rgb
from diorama.errors import InputError
from diorama.inpaint import FillTask, check_task
from diorama.kernels.harmonic import nearest_labels, solve_harmonic
from diorama.kernels.patchmatch import (
    FRAME,
    RADIUS,
    PatchImage,
    match_patches,
    vote_patches,
)
from diorama.runtime import run_tasks
from diorama.tiles import Tile, distant_parts, tiles_with

CELL_PX = 32
"""Parts of a hole nearer than about this are filled together, farther ones on their own."""

COARSEST_DISTANCE_PX = 6.0
"""The pyramid ends where no hole pixel is farther than this from what is known: nearly every patch
there sees something known."""

COARSEST_SIDE_PX = 24
"""The least side of a level: below, there is hardly a patch to choose from."""

ENERGY_SIGMA_PX, ENERGY_SHRINK = 10.0, 4
"""The neighbourhood whose mean square is a texture's strength, and how much smaller a picture holds
so smooth a quantity."""

FAINT_ENERGY = 1e-6
"""Square of a quarter of a grey level of 255: fainter texture than this is none."""

HARMONIC_REACH_PX = 2.0
"""r0: so far from what is known a harmonic fill predicts even the texture better than chance."""

HOLE_WEIGHT = 0.25
"""Of the hole's harmonic fill against known pixels when levels are halved."""

MIN_SEARCH_PX = 16
"""Coarse levels search at least this far, or they would have next to nothing to choose from."""

SWEEPS_COARSEST, SWEEPS, SWEEPS_FINEST = 6, 2, 1
"""Rounds of matching and voting in a level: the coarsest begins from nothing, the finest from what
is nearly right."""

CONFIDENCE_FALL = 1.15
"""Confidence in the hole's current guess falls by this factor with each pixel from the known."""

LARGE_PX = 1 << 22
"""A part of a picture of more pixels than this is filled alone, by all threads together: several at
once would take gigabytes."""

RUN_PX = 4096
"""Pixels matched or voted for by one thread at a time: some milliseconds of work."""

MATCHED_DIFFERENCE = 1e-3
"""Squared colour difference, about 8 of 255, below which patches count as equally good."""

DISTANCE_PENALTY = 7e-7
"""Added to a squared colour difference for each squared pixel between a patch and its source:
far sources must be better. 64 px cost as much as a difference of 14 of 255. Thirty times more
makes rows of stamps."""

VOTE_SIGMA_PX = 2.0
"""A patch has most to say about its middle."""

FINAL_VOTE_SIGMA_PX = 0.5
"""The last vote nearly copies the middle: a wider one would average the texture away."""

BAND_ROWS = 128
"""Rows halved as one, an even number: what they need stays in cache."""

INNER = np.s_[FRAME:-FRAME, FRAME:-FRAME]
"""A framed picture without its frame."""

TOLERANCE = 1e-3
"""Of the harmonic fill: a thousandth of the colours' range cannot be seen."""


@dataclass(frozen=True)
class Exemplar:
    """Multi-scale PatchMatch with voting, steadied by a harmonic fill. An `Inpainter`."""

    search_px: int = 64
    """How far around a hole sources are looked for; time does not depend on it."""
    anchor: float = 0.15
    """How much of the harmonic fill is mixed into the guess that patches are matched to, 0..1."""
    detail: float = 1.15
    """Strength of fine texture, relative to the known surroundings."""
    max_gain: float = 2.0
    """The most that the exemplar fill's fine scales are amplified to reach it: beyond, there is
    noise and not texture."""
    structure: float = 0.15
    """Share of its coarse scales; the rest is the harmonic fill's."""
    detail_sigma_px: float = 2.0
    """Standard deviation of the Gaussian that parts fine from coarse."""

    def __post_init__(self) -> None:
        if self.search_px < 1 or self.detail_sigma_px <= 0:
            raise InputError("search_px and detail_sigma_px must be positive")
        if self.detail < 0 or self.max_gain < 0:
            raise InputError("detail and max_gain must not be negative")
        if not all(0 <= share <= 1 for share in (self.anchor, self.structure)):
            raise InputError("anchor and structure lie in 0..1")

    def inpaint(self, tasks: Sequence[FillTask], *, seed: int) -> list[Array]:
        """Fill all tasks' holes; see `Inpainter`.

        Distant parts of a hole are filled independently and in parallel. Where a task knows nothing
        at all its hole becomes mid-grey; a part of a hole that touches nothing known begins from
        the nearest known colour.

        Raises:
            InputError: a task's arrays do not agree in size, or have other dtypes.
        """
        smooth = run_tasks([partial(_harmonic_fill, task) for task in tasks])
        regions = [self._regions(*both) for both in zip(tasks, smooth, strict=True)]
        fills = {
            region: partial(self._fill, task.rgb, region, seed)
            for task, own in zip(tasks, regions, strict=True)
            for region in own
        }
        filled = {region: fill() for region, fill in fills.items() if region.large}
        small = [region for region in fills if not region.large]
        filled |= zip(small, run_tasks([fills[region] for region in small]), strict=True)
        for colors, own in zip(smooth, regions, strict=True):
            for region in own:
                colors[region.place] = filled[region]
        return smooth

    def _regions(self, task: FillTask, smooth: Array) -> list["_Region"]:
        """The hole in parts, each with the surroundings it may take from."""
        margin = self.search_px + 2 * RADIUS
        regions = []
        for place, y, x in distant_parts(task.hole, cell_px=CELL_PX):
            box = np.s_[
                max(0, int(y.min()) - margin) : int(y.max()) + 1 + margin,
                max(0, int(x.min()) - margin) : int(x.max()) + 1 + margin,
            ]
            known = task.known[box]
            hole = np.zeros_like(known)
            hole[y - box[0].start, x - box[1].start] = True
            regions.append(_Region(box, known, hole, place, smooth[place]))
        return regions

    def _fill(self, rgb: Rgb, region: "_Region", seed: int) -> Array:
        """(n, 3) colours of the region's hole."""
        known, hole, smooth = region.known, region.hole, region.smooth
        if not known.any():
            return smooth
        levels = _pyramid(rgb[region.box], region)
        match = None
        for depth in range(len(levels) - 1, -1, -1):
            match = self._match(levels[depth], match, depth, seed)
        assert match is not None
        difference = match.rgb[INNER][hole] - smooth
        coarse, wanted, have = self._scales(match.rgb[INNER], difference, region)
        wanted = solve_harmonic(wanted[..., None], known, hole, tolerance=1e-2)[:, 0]
        ratio = (np.maximum(wanted, 0) + FAINT_ENERGY) / (have[hole] + FAINT_ENERGY)
        gain = np.minimum(self.detail * np.sqrt(ratio), self.max_gain)[:, None]
        coarse = coarse[hole]
        square = np.square(levels[0].distance_px)[:, None]
        trust = square / (square + np.float32(HARMONIC_REACH_PX**2))
        fill = smooth + trust * (gain * (difference - coarse) + self.structure * coarse)
        return np.clip(fill, 0, 1).astype(np.float32)

    def _match(
        self,
        level: "_Level",
        coarser: "_Match | None",
        depth: int,
        seed: int,
    ) -> "_Match":
        """Match and vote on one level, whose hole is painted, from the next coarser one's result.

        Arrays have the picture's size, yet are read and written at the targets alone.
        """
        known, hole = level.known, level.hole
        kernel = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
        usable = cv2.erode(known.view(np.uint8), kernel)
        # Patches at the hole's rim that overlap it vote, too: they tie it to what is known.
        rim = cv2.dilate(hole.view(np.uint8), np.ones((2 * RADIUS - 1,) * 2, np.uint8)).view(bool)
        pixels = np.flatnonzero(hole).astype(np.int32)
        targets = np.flatnonzero(rim & (known | hole)).astype(np.int32)

        guess = level.rgb.reshape(-1, 3)  # a view
        harmonic = guess[pixels]
        sources = np.full(hole.size, -1, np.int32)
        if coarser is None:
            sources[targets] = _nearest_source(usable)[targets]
        else:
            sources[targets] = _refined(coarser.sources, targets, usable)
            guess[pixels] = _doubled(coarser.rgb[INNER], hole)

        confidence = known.astype(np.float32)
        confidence[hole] = CONFIDENCE_FALL**-level.distance_px
        image = PatchImage(level.rgb, confidence, usable)
        before = sources.copy()
        costs, weights = np.zeros(hole.size, np.float32), np.zeros(hole.size, np.float32)

        def vote(weights: Array, sigma_px: float) -> Array:
            window = _window(sigma_px)
            voted = run_tasks(
                [
                    lambda part=part: vote_patches(
                        image, part, sources, weights=weights, window=window
                    )
                    for part in _runs(pixels)
                ]
            )
            return np.concatenate(voted)

        def search(sweep: int) -> None:
            before[targets] = sources[targets]
            run_tasks(
                [
                    lambda part=part: match_patches(
                        image,
                        part,
                        sources,
                        before=before,
                        costs=costs,
                        forward=sweep % 2 == 0,
                        search_px=max(self.search_px >> depth, MIN_SEARCH_PX),
                        penalty=DISTANCE_PENALTY * 4**depth,
                        seed=(seed * 64 + depth) * 64 + sweep,
                    )
                    for part in _runs(targets)
                ]
            )

        if coarser is not None:
            # Sources at this scale bring detail that no interpolation has.
            colors = vote(confidence.reshape(-1), VOTE_SIGMA_PX)
            guess[pixels] = self._anchored(colors, harmonic)
        sweeps = SWEEPS_FINEST if depth == 0 else SWEEPS
        if coarser is None:
            sweeps = SWEEPS_COARSEST
        for sweep in range(sweeps):
            search(sweep)
            last = sweep == sweeps - 1
            certain = confidence.reshape(-1)[targets]
            weights[targets] = certain / (costs[targets] + np.float32(MATCHED_DIFFERENCE))
            colors = vote(weights, FINAL_VOTE_SIGMA_PX if last and depth == 0 else VOTE_SIGMA_PX)
            guess[pixels] = colors if last else self._anchored(colors, harmonic)
        return _Match(level.rgb, sources.reshape(hole.shape))

    def _scales(
        self, rgb: Array, difference: Array, region: "_Region"
    ) -> tuple[Array, Array, Array]:
        """What parts fine scales from coarse ones, and the strengths of the fine ones.

        Args:
            rgb: (h, w, 3) E.
            difference: (n, 3) D in the hole.
            region: whose hole and surroundings these are.

        Returns:
            G * D (h, w, 3), right in the hole; the known surroundings' energy (h, w), right beside
            it; and the hole's (h, w). Elsewhere they are 0.
        """
        near = cv2.dilate(region.hole.view(np.uint8), np.ones((3, 3), np.uint8)).view(bool)
        change, coarse = np.zeros(rgb.shape, np.float32), np.zeros(rgb.shape, np.float32)
        change[region.hole] = difference
        wanted, have = np.zeros(near.shape, np.float32), np.zeros(near.shape, np.float32)

        def fill(tile: Tile) -> None:
            known, hole = region.known[tile.around], region.hole[tile.around]
            inside, colors = known | hole, rgb[tile.around]
            luma = (colors[..., 0] + colors[..., 1] + colors[..., 2]) / np.float32(3)
            energy = np.square(luma - _blur(luma, inside, self.detail_sigma_px))
            wanted[tile.here] = _strength(energy, known)[tile.inner]
            have[tile.here] = _strength(energy, hole)[tile.inner]
            blurred = _blur(change[tile.around], inside, self.detail_sigma_px)
            coarse[tile.here] = blurred[tile.inner]

        margin = math.ceil(4 * ENERGY_SIGMA_PX) + math.ceil(4 * self.detail_sigma_px) + 2
        run_tasks([partial(fill, tile) for tile in tiles_with(near, margin=margin)])
        return coarse, wanted, have

    def _anchored(self, colors: Array, harmonic: Array) -> Array:
        return colors + np.float32(self.anchor) * (harmonic - colors)


def _runs(pixels: Array) -> list[Array]:
    """The pixels in runs of `RUN_PX`, whatever the number of threads."""
    return [pixels[i : i + RUN_PX] for i in range(0, max(1, pixels.size), RUN_PX)]


@dataclass(frozen=True)
class _Level:
    """A picture at one scale, with `FRAME` empty pixels all round."""

    rgb: Array
    """(h, w, 3) float32: the harmonic fill in the hole, black where nothing is known."""
    known: Array
    hole: Array
    distance_px: Array
    """(n,) float32: from each pixel of the hole to the nearest known one."""


@dataclass(frozen=True, eq=False)
class _Region:
    """A part of a task's hole that is filled on its own."""

    box: tuple[slice, slice]
    known: Array
    """(h, w) bool in the box."""
    hole: Array
    """(h, w) bool in the box: this part's, not the others'."""
    place: Array
    """(n,): which of the hole's pixels are this part's."""
    smooth: Array
    """(n, 3) float32: H there."""

    @property
    def large(self) -> bool:
        """Whether it is filled alone."""
        return self.known.size > LARGE_PX


@dataclass(frozen=True)
class _Match:
    """A level's result."""

    rgb: Array
    """(h, w, 3), framed."""
    sources: Array
    """(h, w) int32, framed: flat indices in an array of that size."""


def _harmonic_fill(task: FillTask) -> Array:
    """(n, 3): the smoothest colours of the hole; mid-grey where nothing at all is known."""
    check_task(task)
    if not task.known.any():
        return np.full((np.count_nonzero(task.hole), 3), 0.5, np.float32)
    return solve_harmonic(task.rgb, task.known, task.hole, tolerance=TOLERANCE)


def _pyramid(rgb: Rgb, region: _Region) -> list[_Level]:
    """Levels, finest first, until the hole is thin enough for patches to see across it."""
    known, hole = region.known, region.hole
    finest = _blank(known.shape)
    # Other regions' guesses are not this one's business: all else is as good as black.
    cv2.copyTo(rgb, known.view(np.uint8), finest[0][INNER])
    finest[0][INNER][hole] = region.smooth
    finest[1][INNER], finest[2][INNER] = known, hole
    levels = [_level(*finest)]
    while True:
        level = levels[-1]
        thin = level.distance_px.max() <= COARSEST_DISTANCE_PX
        if thin or min(level.known[INNER].shape) < 2 * COARSEST_SIDE_PX:
            return levels
        halved = _halved(level)
        if not halved.hole.any() or not halved.known.any():
            return levels
        levels.append(halved)


def _blank(shape: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Colours, what is known and what is hole, all of it empty, with a frame."""
    height, width = shape[0] + 2 * FRAME, shape[1] + 2 * FRAME
    rgb = np.zeros((height, width, 3), np.float32)
    return rgb, np.zeros((height, width), bool), np.zeros((height, width), bool)


def _level(rgb: Array, known: Array, hole: Array) -> _Level:
    distance = cv2.distanceTransform((~known).view(np.uint8), cv2.DIST_L2, 3)
    return _Level(rgb, known, hole, distance[hole].astype(np.float32, copy=False))


def _halved(level: _Level) -> _Level:
    """Half the size: 2x2 means of what is known; the hole's harmonic fill counts for little."""
    rgb, known, hole = level.rgb[INNER], level.known[INNER], level.hole[INNER]
    height, width = known.shape
    halved = _blank(((height + 1) // 2, (width + 1) // 2))

    def band(top: int) -> None:
        rows = slice(top, top + BAND_ROWS)
        is_known, is_hole, colors = known[rows], hole[rows], rgb[rows].copy()
        colors[is_hole] *= np.float32(HOLE_WEIGHT)
        share_known = _mean_of_four(is_known.astype(np.float32))
        share_hole = _mean_of_four(is_hole.astype(np.float32))
        colors = _mean_of_four(colors)
        weight = share_known + np.float32(HOLE_WEIGHT) * share_hole
        light = (weight > 0) & (weight < 1)
        colors[light] /= weight[light, None]
        # A cell is known by majority, or where it would else be nothing.
        is_known = (share_known > 0.375) | ((share_known > 0.125) & (share_hole < 0.125))
        at = slice(top // 2, top // 2 + len(weight))
        halved[0][INNER][at], halved[1][INNER][at] = colors, is_known
        halved[2][INNER][at] = (share_hole > 0.125) & ~is_known

    run_tasks([partial(band, top) for top in range(0, height, BAND_ROWS)])
    return _level(*halved)


def _mean_of_four(quantity: Array) -> Array:
    """2x2 means; beyond an odd edge there is 0."""
    height, width = quantity.shape[:2]
    if height % 2 or width % 2:
        quantity = cv2.copyMakeBorder(
            quantity, 0, height % 2, 0, width % 2, cv2.BORDER_CONSTANT, value=(0,) * 4
        )
    size = (quantity.shape[1] // 2, quantity.shape[0] // 2)
    return cv2.resize(quantity, size, interpolation=cv2.INTER_AREA)


def _nearest_source(usable: Array) -> Array:
    """(h * w,) int32: flat index of the nearest usable centre, -1 if there is none."""
    if not usable.any():
        return np.full(usable.size, -1, np.int32)
    labels = nearest_labels(usable > 0)
    centers = np.flatnonzero(usable).astype(np.int32)
    table = np.zeros(int(labels.max()) + 1, np.int32)
    table[labels.reshape(-1)[centers]] = centers
    return table[labels].reshape(-1)


def _refined(coarse: Array, targets: Array, usable: Array) -> Array:
    """(n,) int32: the coarser level's sources at twice the size, -1 where not usable."""
    height, width = usable.shape
    y, x = targets // width - FRAME, targets % width - FRAME
    source = coarse[y // 2 + FRAME, x // 2 + FRAME]
    found_y = 2 * (source // coarse.shape[1] - FRAME) + y % 2 + FRAME
    found_x = 2 * (source % coarse.shape[1] - FRAME) + x % 2 + FRAME
    valid = (source >= 0) & (found_y < height - FRAME) & (found_x < width - FRAME)
    fine = np.where(valid, found_y * width + found_x, 0)
    return np.where(valid & (usable.reshape(-1)[fine] > 0), fine, -1).astype(np.int32)


def _doubled(coarse: Array, hole: Array) -> Array:
    """(n, 3): the coarser level's colours at the framed hole's pixels, interpolated."""
    rows, columns = np.nonzero(hole)
    total = np.zeros((rows.size, 3), np.float32)
    # A fine pixel lies a quarter of a coarse one beside the nearest coarse centre.
    for row, down in _beside(rows - FRAME, coarse.shape[0]):
        for column, across in _beside(columns - FRAME, coarse.shape[1]):
            total += np.float32(down * across) * coarse[row, column]
    return total


def _beside(at: Array, side: int) -> list[tuple[Array, float]]:
    """The nearer and the farther coarse pixel of each fine one, and what they count for."""
    near = at // 2
    far = np.clip(near + 2 * (at % 2) - 1, 0, side - 1)
    return [(near, 0.75), (far, 0.25)]


def _window(sigma_px: float) -> Array:
    """(7, 7) float32 Gaussian weights of a patch's pixels."""
    profile = np.exp(-np.square(np.arange(-RADIUS, RADIUS + 1) / sigma_px) / 2)
    return np.outer(profile, profile).astype(np.float32)


def _blur(quantity: Array, inside: Array, sigma_px: float) -> Array:
    """Gaussian mean over what is `inside` only; (h, w) or (h, w, 3)."""
    weight = inside.astype(np.float32)
    each = weight if quantity.ndim == 2 else np.repeat(weight, 3, 1).reshape(quantity.shape)
    blurred = cv2.GaussianBlur(quantity * each, (0, 0), sigma_px)
    weight = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma_px), 1e-6)
    return blurred / (weight if quantity.ndim == 2 else weight[..., None])


def _strength(energy: Array, inside: Array) -> Array:
    """(h, w): the mean of `energy` (h, w) over what is `inside` within some `ENERGY_SIGMA_PX`."""
    height, width = energy.shape
    small = max(1, width // ENERGY_SHRINK), max(1, height // ENERGY_SHRINK)
    weight = inside.astype(np.float32)
    both = np.stack([energy * weight, weight], -1)
    both = cv2.resize(both, small, interpolation=cv2.INTER_AREA)
    both = cv2.GaussianBlur(both, (0, 0), ENERGY_SIGMA_PX / ENERGY_SHRINK)
    mean = both[..., 0] / np.maximum(both[..., 1], 1e-6)
    return cv2.resize(mean, (width, height), interpolation=cv2.INTER_LINEAR)
