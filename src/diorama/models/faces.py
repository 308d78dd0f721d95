"""Face detectors: YuNet where its file was pulled, else the cascade that comes with scikit-image.

YuNet (Wu et al., "YuNet: A Tiny Millisecond-level Face Detector", 2023; MIT) tells eyes, nose and
mouth. The cascade of local binary patterns (Liao et al., 2007; trained by OpenCV's community, BSD)
tells a square for upright frontal faces; eyes are then looked for by their round gradients (Timm
and Barth, "Accurate Eye Centre Localisation by Means of Gradients", 2011), the mouth as the dark
line below.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diorama.arrays import Array
from diorama.errors import InputError
from diorama.photo import Photo
from diorama.portrait import Face

YUNET_SIZE, CASCADE_SIZE = 640, 480
"""Long sides in pixels at which faces are looked for."""

LEAST_SCORE = 0.7
"""Of a face that YuNet finds."""

LEAST_FINDS = 10
"""Squares, a little apart and of other sizes, that the cascade finds a face in."""

EYES, EYE_WINDOW = ((0.30, 0.39), (0.70, 0.39)), (0.15, 0.11)
"""Where the cascade's square has eyes, and how far from there they may be, in its sides."""

MOUTH_SPAN, MOUTH_HALF = (0.68, 0.92), 0.2
"""Between which heights of the square the mouth is, and how far to its sides."""

EYE_PX = 80
"""Side in pixels at which a face's eyes and mouth are looked for."""


@dataclass(frozen=True)
class YuNet:
    """A `diorama.portrait.FaceDetector`."""

    weights: Path
    """face_detection_yunet_2023mar.onnx."""

    def detect(self, photo: Photo) -> tuple[Face, ...]:
        """See `FaceDetector`.

        Raises:
            InputError: if the weights are missing, damaged or another network's.
        """
        image, scale = _bytes_of(photo, YUNET_SIZE)
        try:
            net = cv2.FaceDetectorYN.create(
                str(self.weights), "", (image.shape[1], image.shape[0]), LEAST_SCORE
            )
            _, found = net.detect(np.ascontiguousarray(image[..., ::-1]))
        except cv2.error as error:
            raise InputError(f"{self.weights} is missing, or is no YuNet: pull it again") from error
        faces = []
        for row in np.zeros((0, 15)) if found is None else np.asarray(found, np.float64):
            # Eyes, nose and corners of the mouth, the person's right one first: our left.
            points = row[4:14].reshape(5, 2) / scale
            left, right = sorted((tuple(points[0]), tuple(points[1])))
            mouth = tuple((points[3] + points[4]) / 2)
            faces.append(Face(left, right, mouth, tuple(points[2]), float(row[14])))
        return _largest_first(faces)


@dataclass(frozen=True)
class Cascade:
    """A `diorama.portrait.FaceDetector` for upright faces that look at the camera."""

    def detect(self, photo: Photo) -> tuple[Face, ...]:
        """See `FaceDetector`.

        Raises:
            MissingExtraError: if scikit-image is not installed.
        """
        image, scale = _bytes_of(photo, CASCADE_SIZE)
        side = min(image.shape[:2])
        if side < 30:
            return ()
        found = _cascade().detect_multi_scale(
            img=image,
            scale_factor=1.15,
            step_ratio=1,
            min_size=(30, 30),
            max_size=(side, side),
            min_neighbor_number=LEAST_FINDS,
        )
        # It is not deterministic in the order of what it finds.
        boxes = sorted((b["c"], b["r"], b["width"]) for b in found)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return _largest_first([_face_in(grey, *box, scale=scale) for box in boxes])


def find_eye(grey: Array, middle: tuple[float, float], reach: tuple[float, float]) -> Array:
    """Where gradients point away from in all directions, and it is dark: an iris.

    Args:
        grey: (h, w) uint8, a face about 80 px wide.
        middle: x and y where it is expected.
        reach: how far from there it may be, to the sides and up and down, pixels.

    Returns:
        (2,) x and y.
    """
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.5)
    gx, gy = (cv2.Sobel(smooth, cv2.CV_32F, *d, ksize=3) for d in ((1, 0), (0, 1)))
    size = np.hypot(gx, gy)
    (x0, y0), (rx, ry) = middle, reach
    top, left = max(0, int(y0 - 2 * ry)), max(0, int(x0 - 1.6 * rx))
    part = np.s_[top : int(y0 + 2 * ry) + 1, left : int(x0 + 1.6 * rx) + 1]
    strong = size[part] > max(np.percentile(size[part], 70), 1e-3)
    at = np.argwhere(strong)[:, ::-1] + (left, top)  # (n, 2) x, y
    towards = (np.dstack([gx, gy]) / np.maximum(size, 1e-3)[..., None])[part][strong]  # (n, 2)
    y, x = np.mgrid[int(y0 - ry) : int(y0 + ry) + 1, int(x0 - rx) : int(x0 + rx) + 1]
    y, x = np.clip(y, 0, grey.shape[0] - 1).ravel(), np.clip(x, 0, grey.shape[1] - 1).ravel()
    away = at[None] - np.stack([x, y], 1)[:, None]  # (m, n, 2)
    distance = np.maximum(np.hypot(away[..., 0], away[..., 1]), 1)
    dot = np.maximum((away * towards).sum(-1) / distance, 0) * (distance < 0.9 * rx)
    likely = np.exp(-0.5 * (((x - x0) / (0.7 * rx)) ** 2 + ((y - y0) / (0.7 * ry)) ** 2))
    score = (dot**2).sum(1) * (255 - smooth[y, x]) * likely
    best = int(np.argmax(score))
    return np.array([x[best], y[best]], float)


def find_mouth(grey: Array, x: float, half: float, span: tuple[float, float]) -> float:
    """The row between two rows where a dark line crosses a face.

    Args:
        grey: (h, w) uint8.
        x: the face's middle.
        half: half of the line's length, pixels.
        span: first and last row.
    """
    smooth = cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.5)
    columns = smooth[:, max(0, int(x - half)) : int(x + half) + 1]
    rows = columns.mean(1)
    step = 4
    valley = np.full(len(rows), -np.inf)
    valley[step:-step] = rows[2 * step :] + rows[: -2 * step] - 2 * rows[step:-step]
    first, last = max(step, int(span[0])), min(len(rows) - step - 1, int(span[1]))
    if first >= last:
        return sum(span) / 2
    at = np.arange(first, last + 1)
    middle, wide = (first + last) / 2, (last - first) / 2
    return float(at[np.argmax(valley[at] - 0.1 * np.ptp(rows) * ((at - middle) / wide) ** 2)])


def _face_in(grey: Array, x: int, y: int, side: int, *, scale: float) -> Face:
    """The face in a square of the cascade, in pixels of the photo."""
    zoom = EYE_PX / side
    matrix = np.array([[zoom, 0, -zoom * x], [0, zoom, -zoom * y]])
    face = cv2.warpAffine(grey, matrix, (EYE_PX, EYE_PX), borderMode=cv2.BORDER_REPLICATE)
    reach = EYE_WINDOW[0] * EYE_PX, EYE_WINDOW[1] * EYE_PX
    eyes = [find_eye(face, (u * EYE_PX, v * EYE_PX), reach) for u, v in EYES]
    middle = (eyes[0] + eyes[1]) / 2
    span = MOUTH_SPAN[0] * EYE_PX, MOUTH_SPAN[1] * EYE_PX
    row = find_mouth(face, middle[0], MOUTH_HALF * EYE_PX, span)
    # Across the line between the eyes, straight down from its middle.
    across = eyes[1] - eyes[0]
    slope = across[1] / max(across[0], 1)
    mouth = np.array([middle[0] - slope * (row - middle[1]), row])
    points = [((p + 0.5) / zoom + (x, y)) / scale for p in (*eyes, mouth)]
    left, right, below = ((float(a), float(b)) for a, b in points)
    return Face(left, right, below)


def _bytes_of(photo: Photo, longest: int) -> tuple[Array, float]:
    """(h, w, 3) uint8, about so large, and its size over the photo's; never above twice that."""
    height, width = photo.rgb.shape[:2]
    scale = min(2.0, longest / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    seen = cv2.resize(photo.rgb, size, interpolation=way)
    return np.rint(255 * np.clip(seen, 0, 1)).astype(np.uint8), size[0] / width


def _largest_first(faces: list[Face]) -> tuple[Face, ...]:
    def size(face: Face) -> float:
        return float(np.hypot(*np.subtract(face.left_eye, face.right_eye)))

    return tuple(sorted(faces, key=lambda face: (-size(face), face.left_eye)))


@cache
def _cascade() -> Any:
    from diorama.extras import check_extra

    check_extra("portrait", "finding faces")
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade as LbpCascade

    return LbpCascade(lbp_frontal_face_cascade_filename())
