"""The embedded estimator: our own small network, run by ONNX Runtime.

The network (`diorama.models.nets.embedded`; ``training/`` makes it) sees the whole photo, and its
mirror image, at three small sizes, and gives disparity up to scale and shift, people, occlusion
edges, and the error it expects. The smallest looks know best what is before what, the largest what
has which shape; their disparities, brought to one median and mean deviation, are averaged. A larger
photo is seen once more at up to 384x512 pixels. Locally the mean c is an affine function of that
fine disparity f, which keeps the order of the whole and takes the fine one's edges (He et al.,
"Guided image filtering", 2010)::

    d = a f + b,    (a, b) = argmin over a window  sum (a f + b - c)^2 + EASE a^2

Confidence falls with the error e, in mean deviations of disparity, that the network expects; how
far its looks disagree tells less, and adds nothing::

    confidence = 1 / (1 + (e / TYPICAL_ERROR)^2)

Code and weights are ours (Apache-2.0); the weights come with the package.

It runs on the CPU unless another device is asked for: so any number of threads, and any wheel of
ONNX Runtime, gives the same bytes. In 8 bits on 0.2 megapixels there is little that a GPU could
save, and starting one takes longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from diorama.arrays import Alpha, Array, check_rgb
from diorama.depth import DepthResult
from diorama.errors import InputError
from diorama.models.sky import find_sky
from diorama.photo import Photo
from diorama.runtime import Device, device_of, kept, open_network, precision_of, run_tasks

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WEIGHTS = Path(__file__).parents[1] / "data" / "embedded.onnx"
"""The network: input ``photo`` (B, 3, H, W) sRGB in 0..1 with sides that are multiples of 32,
output ``outputs`` (B, 7, H, W); float32 both."""

GRID = 32
"""Sides are multiples of this."""

SMALLEST, LARGEST = 2 * GRID, 64 * GRID
"""Of a side as the network sees it."""

COARSE_PIXELS, FINE_PIXELS = (96 * 128, 160 * 213, 256 * 341), 384 * 512
"""What the network sees of any photo, and of a large one once more."""

LARGE = 1.5
"""Times the largest of `COARSE_PIXELS` above which a photo is large."""

FRAME_PX = 2
"""Outermost pixels of a look that take over what is inside of them."""

WINDOW_PX, EASE = 24, 1e-2
"""Of the guided filter: half width in fine pixels; least variance, in variances of the whole."""

SOFT_PX = 1.8
"""Least blur of an edge of disparity: the network guesses where edges are, and none of its steps
may look as if it were known to the pixel, as a depth file's are."""

TYPICAL_ERROR = 1.0
"""Expected error, in mean deviations of disparity, at which confidence is one half."""

NARROW = 0.02
"""Uncertain strips narrower than this, in widths of the photo, are edges, which
`diorama.harmonise` knows better how to treat."""

USED = (0, 4, 5, 6)
DISPARITY, PERSON, EDGES, SPREAD = range(4)
"""Which planes of the output are used, and where they lie among these."""


@dataclass(frozen=True)
class EmbeddedDepth:
    """A `diorama.depth.DepthEstimator` whose weights come with the package."""

    weights: Path = WEIGHTS
    """The network's file."""
    device: Device = "cpu"
    """Where the network runs."""

    def estimate(self, photo: Photo) -> DepthResult:
        """Return all that the network sees, at the photo's size; disparity is affine.

        Raises:
            InputError: if the weights are missing, damaged or another network's, or the device is.
        """
        check_rgb(photo.rgb)
        session = _session(self.weights, self.device)
        rgb = photo.rgb
        height, width = rgb.shape[:2]
        pixels = height * width
        sizes = list(COARSE_PIXELS)
        if pixels > LARGE * sizes[-1]:
            sizes.append(min(pixels, FINE_PIXELS))
        photos = [_fitted(rgb, size) for size in sizes]
        looks = [partial(_run, session, look) for look in photos]
        looks += [
            partial(_run, session, look, mirrored=True) for look in photos[: len(COARSE_PIXELS)]
        ]
        looks.sort(key=lambda look: -look.args[1].size)  # the longest first
        # Other providers than the CPU's may bear no two runs at once.
        one_by_one = device_of(session) != "cpu"
        found = [look() for look in looks] if one_by_one else run_tasks(looks)
        if not all(np.isfinite(planes).all() for planes in found):
            raise InputError(f"{self.weights} is damaged: install diorama again")
        num_fine = len(sizes) - len(COARSE_PIXELS)
        seen = _agreed(found[num_fine:])
        if num_fine:
            seen = _joined(seen, found[0])
        confidence = _confidence(np.exp(np.clip(seen[SPREAD], -5, 3)))
        disparity = _resized(seen[DISPARITY], height, width)
        disparity = cv2.GaussianBlur(disparity, (0, 0), SOFT_PX)
        disparity -= disparity.min()
        return DepthResult(
            disparity,
            "affine",
            confidence=_resized(confidence, height, width),
            edges=_resized(_share(seen[EDGES]), height, width),
            matte=_resized(_share(seen[PERSON]), height, width),
            sky=find_sky(rgb, disparity),
        )

    @property
    def runs_as(self) -> str:
        """Where and in what the network runs here."""
        session = _session(self.weights, self.device)
        return f"{device_of(session)} {precision_of(session)}"


@dataclass(frozen=True)
class EmbeddedMatte:
    """A `diorama.portrait.MatteEstimator`: the people of the same network."""

    weights: Path = WEIGHTS
    """The network's file."""
    device: Device = "cpu"
    """Where the network runs."""

    def matte(self, photo: Photo) -> Alpha:
        """(H, W) float32 in 0..1: people.

        Raises:
            InputError: if the weights are missing, damaged or another network's.
        """
        matte = EmbeddedDepth(self.weights, self.device).estimate(photo).matte
        assert matte is not None
        return matte


@kept(2)
def _session(weights: Path, device: Device) -> "InferenceSession":
    """The loaded network, which stays: loading takes longer than seeing.

    It has no threads of its own; looks run side by side on the shared pool. How ONNX Runtime parts
    a sum depends on the number of its threads, and so would the last bits of what it sees.
    """
    try:
        session = open_network(weights, device, threads=1)
    except InputError as error:
        if weights.is_file() and device != "cpu":
            raise
        raise InputError(
            f"{weights} is {'damaged' if weights.is_file() else 'missing'}: install diorama again"
        ) from error
    found = [[i.name, *i.shape[1:2]] for i in (*session.get_inputs(), *session.get_outputs())]
    if found != [["photo", 3], ["outputs", 7]]:
        raise InputError(f"{weights} is another network: its inputs and outputs are {found}")
    return session


def _run(session: "InferenceSession", photo: Array, *, mirrored: bool = False) -> Array:
    """(4, h, w) float32: the planes that are used, of (h, w, 3) in 0..1."""
    way = -1 if mirrored else 1
    batch = np.ascontiguousarray(photo[:, ::way].transpose(2, 0, 1)[None])
    planes = np.asarray(session.run(None, {"photo": batch})[0])[0, USED, :, ::way]
    # Beside the frame it misses neighbours, and what it then sees may look like a step.
    inner = planes[:, FRAME_PX:-FRAME_PX, FRAME_PX:-FRAME_PX]
    return np.pad(inner, ((0, 0), (FRAME_PX, FRAME_PX), (FRAME_PX, FRAME_PX)), mode="edge")


def _fitted(rgb: Array, pixels: int) -> Array:
    """(h, w, 3) of about so many pixels, the sides multiples of `GRID`."""
    height, width = rgb.shape[:2]
    scale = (pixels / (height * width)) ** 0.5
    sides = (round(scale * side / GRID) * GRID for side in (width, height))
    size = tuple(min(max(side, SMALLEST), LARGEST) for side in sides)
    return _resized(rgb, *size[::-1])


def _agreed(looks: Sequence[Array]) -> Array:
    """(4, h, w): what looks show on average, the largest two first; of the rest disparity only."""
    height, width = looks[0].shape[1:]
    disparity = np.stack([_resized(_evened(look[DISPARITY]), height, width) for look in looks])
    seen = (looks[0] + looks[1]) / 2
    seen[DISPARITY] = disparity.mean(0)
    return seen


def _evened(disparity: Array) -> Array:
    """The same with median 0 and mean deviation 1."""
    moved = disparity - np.median(disparity)
    return moved / np.maximum(np.abs(moved).mean(), np.float32(1e-6))


def _joined(coarse: Array, fine: Array) -> Array:
    """(4, h, w): the coarse look's disparity with the fine one's edges; the rest on average."""
    coarse = np.stack([_resized(plane, *fine.shape[1:]) for plane in coarse])
    joined = (coarse + fine) / 2
    guide, source = fine[DISPARITY], coarse[DISPARITY]
    window = (2 * WINDOW_PX + 1, 2 * WINDOW_PX + 1)
    mean_g, mean_s = cv2.blur(guide, window), cv2.blur(source, window)
    variance = cv2.blur(guide * guide, window) - mean_g * mean_g
    covariance = cv2.blur(guide * source, window) - mean_g * mean_s
    a = covariance / (variance + np.float32(EASE * guide.var() + 1e-12))
    b = mean_s - a * mean_g
    joined[DISPARITY] = cv2.blur(a, window) * guide + cv2.blur(b, window)
    return joined


def _confidence(error: Array) -> Array:
    """(h, w) float32 in 0..1: the module's equation, without narrow strips of uncertainty."""
    confidence = 1 / (1 + np.square(error / np.float32(TYPICAL_ERROR)))
    side = 2 * round(NARROW * error.shape[1] / 2) + 1
    return cv2.morphologyEx(confidence, cv2.MORPH_CLOSE, np.ones((side, side), np.uint8))


def _share(logit: Array) -> Array:
    """Probability in 255ths, which a picture keeps."""
    return np.rint(255 / (1 + np.exp(-logit))) / np.float32(255)


def _resized(image: Array, height: int, width: int) -> Array:
    way = cv2.INTER_AREA if width < image.shape[1] else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=way)
