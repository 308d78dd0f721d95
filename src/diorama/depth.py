"""Depth: what an estimator gives, and how it becomes the canonical disparity."""

from dataclasses import dataclass
from typing import Literal, Protocol

from diorama.arrays import Alpha, Confidence, Disparity, Normals
from diorama.photo import Photo

DepthKind = Literal[
    "affine",  # disparity up to scale and shift; larger is nearer
    "relative",  # disparity up to scale; 0 is infinitely far
    "metric",  # disparity in 1/metre
]


@dataclass(frozen=True)
class DepthResult:
    """What a depth estimator returns, at any size."""

    disparity: Disparity
    """(h, w) float32, larger is nearer, finite and >= 0."""
    kind: DepthKind
    """What `disparity` is known up to."""
    confidence: Confidence | None = None
    """(h, w) float32 in 0..1."""
    edges: Alpha | None = None
    """(h, w) float32: probability of an occlusion edge."""
    normals: Normals | None = None
    """(h, w, 3) float32 unit vectors in camera axes."""
    matte: Alpha | None = None
    """(h, w) float32: the person's or main object's alpha."""
    sky: Alpha | None = None
    """(h, w) float32: probability of sky, whose disparity is 0."""
    fov_deg: float | None = None
    """Horizontal field of view if the estimator tells."""


class DepthEstimator(Protocol):
    """Anything that turns a photo into a `DepthResult`."""

    def estimate(self, photo: Photo) -> DepthResult:
        """Return depth for `photo.rgb`, at its size or any other with the same aspect.

        Must not change its argument and must be deterministic. Raises `DioramaError` with one line
        where the photo cannot be used.
        """
        ...
