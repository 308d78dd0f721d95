"""MiDaS v2.1 small as a depth estimator: relative inverse depth of any photo, from 256 pixels.

The photo and its mirror image are seen together. Disparity is the photo's own; confidence falls
where the two disagree (`diorama.models.mirrored`).

The network is ours, written from Ranftl et al. (TPAMI 2020); the official code and weights (Intel)
are under MIT. The user fetches the weights.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from diorama.arrays import Array, Rgb, check_rgb
from diorama.depth import DepthResult
from diorama.errors import InputError
from diorama.models.mirrored import agreement
from diorama.models.official import Network, Opened, Precision
from diorama.models.sky import find_sky
from diorama.photo import Photo
from diorama.runtime import Device

NETWORK = Network(
    "MiDaS v2.1 small", "diorama.models.nets.midas_small", channels=3, bears_bf16=False
)

SIDE_PX = 256
"""The long side of what the network sees."""

GRID = 32
"""Sides of what it sees are multiples of this."""


@dataclass(frozen=True)
class Midas:
    """A `diorama.depth.DepthEstimator`."""

    weights: Path
    """midas_v21_small_256.pt, or the .onnx file converted from it."""
    device: Device = "auto"
    """Where the network runs; a checkpoint on the CPU or by CUDA."""
    precision: Precision = "auto"
    """Of its arithmetic; auto is fp32: bf16 costs accuracy (50 dB), and gains little here."""

    def estimate(self, photo: Photo) -> DepthResult:
        """Return disparity, affine, with its confidence and the sky, at the photo's size.

        Raises:
            InputError: the weights are missing, damaged or another network's, or cannot run so.
            MissingExtraError: the weights need torch, which is not installed.
        """
        check_rgb(photo.rgb)
        run = self._open()
        seen = as_seen(photo.rgb)
        looks = np.stack([seen, seen[:, ::-1]]).transpose(0, 3, 1, 2)  # (2, 3, h, w)
        ahead, mirrored = run(np.ascontiguousarray(looks))[:, 0]
        if not (np.isfinite(ahead).all() and np.isfinite(mirrored).all()):
            raise InputError(f"{self.weights} is damaged: what it sees is not a number")
        height, width = photo.rgb.shape[:2]
        disparity = np.maximum(resized(ahead, height, width), 0)
        confidence = agreement(ahead, mirrored[:, ::-1])
        return DepthResult(
            disparity,
            "affine",
            confidence=cv2.resize(confidence, (width, height), interpolation=cv2.INTER_LINEAR),
            sky=find_sky(photo.rgb, disparity),
        )

    @property
    def runs_as(self) -> str:
        """Where and in what the network runs here."""
        return self._open().runs_as

    def _open(self) -> Opened:
        return NETWORK.open(self.weights, device=self.device, precision=self.precision)


def size_seen(width: int, height: int) -> tuple[int, int]:
    """Width and height as the network sees a photo: at most `SIDE_PX`, in multiples of `GRID`."""
    scale = min(SIDE_PX / width, SIDE_PX / height)
    sides = (round(scale * side / GRID) * GRID for side in (width, height))
    seen_width, seen_height = (min(max(side, GRID), SIDE_PX) for side in sides)
    return seen_width, seen_height


def as_seen(rgb: Rgb) -> Array:
    """(h, w, 3) float32: the photo as the network sees it.

    Resized as it was trained, bicubic without a filter first, which sharpens what is made smaller.
    """
    return resized(rgb, *size_seen(rgb.shape[1], rgb.shape[0])[::-1])


def resized(image: Array, height: int, width: int) -> Array:
    """Bicubic, with a = -0.75; may overshoot."""
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
