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

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from diorama.arrays import Array, Rgb, check_array
from diorama.errors import InputError
from diorama.inpaint import FillTask
from diorama.kernels.harmonic import nearest_labels, solve_harmonic
from diorama.kernels.patchmatch import (
    FRAME,
    RADIUS,
    PatchImage,
    match_patches,
    vote_patches,
)
from diorama.runtime import run_tasks

CELL_PX = 32
"""Parts of a hole nearer than about this are filled together, farther ones on their own."""

COARSEST_DISTANCE_PX = 6.0
"""The pyramid ends where no hole pixel is farther than this from what is known: nearly every patch
there sees something known."""

COARSEST_SIDE_PX = 24
"""The least side of a level: below, there is hardly a patch to choose from."""

ENERGY_SIGMA_PX = 10.0
"""The neighbourhood whose mean square is a texture's strength."""

FAINT_ENERGY = 1e-6
"""Square of a quarter of a grey level of 255: fainter texture than this is none."""

HARMONIC_REACH_PX = 2.0
"""r0: so far from what is known a harmonic fill predicts even the texture better than chance."""

HOLE_WEIGHT = 0.25
"""Of the hole's harmonic fill against known pixels when levels are halved."""

MIN_SEARCH_PX = 16
"""Coarse levels search at least this far, or they would have next to nothing to choose from."""

SWEEPS = 2
SWEEPS_COARSEST = 6
"""Rounds of matching and voting in a level; the coarsest begins from nothing."""

CONFIDENCE_FALL = 1.15
"""Confidence in the hole's current guess falls by this factor with each pixel from the known."""

LARGE_HOLE_PX = 16384
"""A hole of more pixels than this is filled by all threads together."""

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

    def inpaint(self, tasks: Sequence[FillTask], *, seed: int) -> list[Rgb]:
        """Fill all tasks' holes; see `Inpainter`.

        Distant parts of a hole are filled independently and in parallel. Where a task knows nothing
        at all its hole becomes mid-grey; a part of a hole that touches nothing known begins from
        the nearest known colour.

        Raises:
            InputError: a task's arrays do not agree in size, or have other dtypes.
        """
        results = run_tasks([lambda t=task: _harmonic_fill(t) for task in tasks])
        regions = [
            (rgb, region)
            for task, rgb in zip(tasks, results, strict=True)
            for region in self._regions(task)
        ]
        # Of the large ones all threads work on one after the other, of the small ones each on one.
        small = [
            lambda rgb=rgb, region=region: self._fill(rgb, region, seed, _one_by_one)
            for rgb, region in regions
            if not region.large
        ]
        fills = iter(run_tasks(small))
        for rgb, region in regions:
            fill = self._fill(rgb, region, seed, run_tasks) if region.large else next(fills)
            rgb[region.box][region.hole] = fill
        return results

    def _regions(self, task: FillTask) -> list["_Region"]:
        """The hole in parts, each with the surroundings it may take from."""
        rows, columns = np.nonzero(task.hole)
        height, width = task.hole.shape
        cells = np.zeros((height // CELL_PX + 1, width // CELL_PX + 1), np.uint8)
        cells[rows // CELL_PX, columns // CELL_PX] = 1
        count, parts = cv2.connectedComponents(cv2.dilate(cells, np.ones((3, 3), np.uint8)))
        part = parts[rows // CELL_PX, columns // CELL_PX]
        margin = self.search_px + 2 * RADIUS
        regions = []
        for k in range(1, count):
            y, x = rows[part == k], columns[part == k]
            box = np.s_[
                max(0, int(y.min()) - margin) : int(y.max()) + 1 + margin,
                max(0, int(x.min()) - margin) : int(x.max()) + 1 + margin,
            ]
            known = task.known[box]
            hole = np.zeros_like(known)
            hole[y - box[0].start, x - box[1].start] = True
            regions.append(_Region(box, known, hole, y.size > LARGE_HOLE_PX))
        return regions

    def _fill(self, rgb: Rgb, region: "_Region", seed: int, run: "_Runner") -> Array:
        """(n, 3) colours of the region's hole; `rgb` holds its harmonic fill."""
        known, hole = region.known, region.hole
        if not known.any():
            return rgb[region.box][hole]
        # Other regions' guesses are not this one's business: all else is as good as black.
        harmonic = np.where((known | hole)[..., None], rgb[region.box], np.float32(0))
        levels = _pyramid(_Level(harmonic, known, hole))
        match = None
        for depth in range(len(levels) - 1, -1, -1):
            match = self._match(levels[depth], match, depth, seed, run)
        assert match is not None
        difference = match.rgb - harmonic
        coarse = _blur(difference, known | hole, self.detail_sigma_px)[hole]
        fine = difference[hole] - coarse
        square = np.square(_distance_px(known)[hole, None])
        trust = square / (square + np.float32(HARMONIC_REACH_PX**2))
        gain = self._gain(match.rgb, known, hole)[:, None]
        fill = harmonic[hole] + trust * (gain * fine + self.structure * coarse)
        return np.clip(fill, 0, 1).astype(np.float32)

    def _match(
        self,
        level: "_Level",
        coarser: "_Match | None",
        depth: int,
        seed: int,
        run: "_Runner",
    ) -> "_Match":
        """Match and vote on one level, beginning from the next coarser one's result."""
        known, hole = _framed(level.known), _framed(level.hole)
        height, width = known.shape
        kernel = np.ones((2 * RADIUS + 1, 2 * RADIUS + 1), np.uint8)
        usable = cv2.erode(known.view(np.uint8), kernel)
        # Patches at the hole's rim that overlap it vote, too: they tie it to what is known.
        rim = cv2.dilate(hole.view(np.uint8), np.ones((2 * RADIUS - 1,) * 2, np.uint8)).view(bool)
        pixels = np.flatnonzero(hole).astype(np.int32)
        targets = np.flatnonzero(rim & (known | hole)).astype(np.int32)

        rgb = _framed(level.rgb)
        guess = rgb.reshape(-1, 3)  # a view
        harmonic = guess[pixels]
        sources = np.full(height * width, -1, np.int32)
        if coarser is None:
            sources[targets] = _nearest_source(usable)[targets]
        else:
            sources[targets] = _refined(coarser.sources, targets, level.known.shape, usable)
            guess[pixels] = _doubled(coarser.rgb, level.hole)

        confidence = np.where(hole, CONFIDENCE_FALL ** -_distance_px(known), known)
        image = PatchImage(rgb, confidence.astype(np.float32), usable)
        costs = np.zeros(height * width, np.float32)

        def vote(weights: Array, sigma_px: float) -> Array:
            window = _window(sigma_px)
            voted = run(
                [
                    lambda part=part: vote_patches(
                        image, part, sources, weights=weights, window=window
                    )
                    for part in _runs(pixels)
                ]
            )
            return np.concatenate(voted)

        def search(sweep: int) -> None:
            before = sources.copy()
            run(
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
            colors = vote(image.confidence.reshape(-1), VOTE_SIGMA_PX)
            guess[pixels] = self._anchored(colors, harmonic)
        sweeps = SWEEPS_COARSEST if coarser is None else SWEEPS
        for sweep in range(sweeps):
            search(sweep)
            last = sweep == sweeps - 1
            weights = image.confidence.reshape(-1) / (costs + np.float32(MATCHED_DIFFERENCE))
            colors = vote(weights, FINAL_VOTE_SIGMA_PX if last and depth == 0 else VOTE_SIGMA_PX)
            guess[pixels] = colors if last else self._anchored(colors, harmonic)
        return _Match(rgb[FRAME:-FRAME, FRAME:-FRAME], sources.reshape(height, width))

    def _gain(self, rgb: Array, known: Array, hole: Array) -> Array:
        """(n,): what gives the hole's fine texture the strength it has around."""
        luma = rgb.mean(2, keepdims=True)
        energy = np.square(luma - _blur(luma, known | hole, self.detail_sigma_px))
        wanted = _blur(energy, known, ENERGY_SIGMA_PX)
        wanted = solve_harmonic(wanted, known, hole, tolerance=1e-2)[:, 0]
        have = _blur(energy, hole, ENERGY_SIGMA_PX)[hole, 0]
        ratio = (np.maximum(wanted, 0) + FAINT_ENERGY) / (have + FAINT_ENERGY)
        return np.minimum(self.detail * np.sqrt(ratio), self.max_gain)

    def _anchored(self, colors: Array, harmonic: Array) -> Array:
        return colors + np.float32(self.anchor) * (harmonic - colors)


_Runner = Callable[[Sequence[Callable[[], object]]], list]
"""`run_tasks`, or what does the same in one thread."""


def _one_by_one(tasks: Sequence[Callable[[], object]]) -> list:
    return [task() for task in tasks]


def _runs(pixels: Array) -> list[Array]:
    """The pixels in runs of `RUN_PX`, whatever the number of threads."""
    return [pixels[i : i + RUN_PX] for i in range(0, max(1, pixels.size), RUN_PX)]


@dataclass(frozen=True)
class _Level:
    """A picture at one scale; `rgb` holds the harmonic fill in the hole, black elsewhere."""

    rgb: Array
    known: Array
    hole: Array


@dataclass(frozen=True)
class _Region:
    """A part of a task's hole that is filled on its own."""

    box: tuple[slice, slice]
    known: Array
    """(h, w) bool in the box."""
    hole: Array
    """(h, w) bool in the box: this part's, not the others'."""
    large: bool
    """Whether it is worth the work of several threads."""


@dataclass(frozen=True)
class _Match:
    """A level's result."""

    rgb: Array
    """(h, w, 3)."""
    sources: Array
    """(h + 2 FRAME, w + 2 FRAME) int32: flat indices in an array of that size."""


def _harmonic_fill(task: FillTask) -> Rgb:
    """`task.rgb` with the smoothest hole; mid-grey where nothing at all is known."""
    shape = (*task.rgb.shape[:2], 3)
    check_array("rgb", task.rgb, dtype=np.float32, shape=shape)
    check_array("known", task.known, dtype=np.bool_, shape=shape[:2])
    check_array("hole", task.hole, dtype=np.bool_, shape=shape[:2])
    filled = task.rgb.copy()
    if task.known.any():
        filled[task.hole] = solve_harmonic(task.rgb, task.known, task.hole, tolerance=TOLERANCE)
    else:
        filled[task.hole] = 0.5
    return filled


def _pyramid(finest: _Level) -> list[_Level]:
    """Levels, finest first, until the hole is thin enough for patches to see across it."""
    levels = [finest]
    while True:
        level = levels[-1]
        thin = _distance_px(level.known)[level.hole].max() <= COARSEST_DISTANCE_PX
        if thin or min(level.known.shape) < 2 * COARSEST_SIDE_PX:
            return levels
        halved = _halved(level)
        if not halved.hole.any() or not halved.known.any():
            return levels
        levels.append(halved)


def _halved(level: _Level) -> _Level:
    """Half the size: 2x2 means of what is known; the hole's harmonic fill counts for little."""
    height, width = level.known.shape
    size = (width // 2 + width % 2, height // 2 + height % 2)
    pad = ((0, height % 2), (0, width % 2))
    known = np.pad(level.known, pad).astype(np.float32)
    hole = np.pad(level.hole, pad).astype(np.float32)
    weight = known + HOLE_WEIGHT * hole
    rgb = np.pad(level.rgb, (*pad, (0, 0))) * weight[..., None]

    def mean(quantity: Array) -> Array:
        return cv2.resize(quantity, size, interpolation=cv2.INTER_AREA)

    num_known, num_hole = 4 * mean(known), 4 * mean(hole)
    # A cell is known by majority, or where it would else be nothing.
    is_known = (num_known > 1.5) | ((num_known > 0.5) & (num_hole < 0.5))
    is_hole = (num_hole > 0.5) & ~is_known
    return _Level(mean(rgb) / np.maximum(mean(weight), 1e-6)[..., None], is_known, is_hole)


def _distance_px(known: Array) -> Array:
    """(h, w) float32: the distance to the nearest known pixel."""
    distance = cv2.distanceTransform((~known).view(np.uint8), cv2.DIST_L2, 3)
    return distance.astype(np.float32, copy=False)


def _framed(array: Array) -> Array:
    """`array` with `FRAME` empty pixels all round, contiguous."""
    return np.pad(array, ((FRAME, FRAME), (FRAME, FRAME)) + ((0, 0),) * (array.ndim - 2))


def _nearest_source(usable: Array) -> Array:
    """(h * w,) int32: flat index of the nearest usable centre, -1 if there is none."""
    if not usable.any():
        return np.full(usable.size, -1, np.int32)
    labels = nearest_labels(usable > 0)
    centers = np.flatnonzero(usable).astype(np.int32)
    table = np.zeros(int(labels.max()) + 1, np.int32)
    table[labels.reshape(-1)[centers]] = centers
    return table[labels].reshape(-1)


def _refined(coarse: Array, targets: Array, shape: tuple[int, ...], usable: Array) -> Array:
    """(n,) int32: the coarser level's sources at twice the size, -1 where not usable."""
    width = usable.shape[1]
    y, x = targets // width - FRAME, targets % width - FRAME
    source = coarse[y // 2 + FRAME, x // 2 + FRAME]
    found_y = 2 * (source // coarse.shape[1] - FRAME) + y % 2
    found_x = 2 * (source % coarse.shape[1] - FRAME) + x % 2
    valid = (source >= 0) & (found_y < shape[0]) & (found_x < shape[1])
    fine = np.where(valid, (found_y + FRAME) * width + found_x + FRAME, 0)
    return np.where(valid & (usable.reshape(-1)[fine] > 0), fine, -1).astype(np.int32)


def _doubled(coarse: Array, hole: Array) -> Array:
    """(n, 3): the coarser level's colours at the hole's pixels, interpolated."""
    size = (2 * coarse.shape[1], 2 * coarse.shape[0])
    fine = cv2.resize(coarse, size, interpolation=cv2.INTER_LINEAR)
    return fine[: hole.shape[0], : hole.shape[1]][hole]


def _window(sigma_px: float) -> Array:
    """(7, 7) float32 Gaussian weights of a patch's pixels."""
    profile = np.exp(-np.square(np.arange(-RADIUS, RADIUS + 1) / sigma_px) / 2)
    return np.outer(profile, profile).astype(np.float32)


def _blur(quantity: Array, inside: Array, sigma_px: float) -> Array:
    """Gaussian mean over what is `inside` only."""
    weight = inside.astype(np.float32)
    blurred = cv2.GaussianBlur(quantity * weight[..., None], (0, 0), sigma_px)
    weight = np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma_px), 1e-6)
    return blurred.reshape(quantity.shape) / weight[..., None]  # OpenCV drops a last axis of 1
