"""Real pictures: those with depth that may teach weights that ship, cut-outs, and plain photos."""

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from diorama.arrays import Array

HELD_OUT = 10
"""Every tenth scene is kept for validation."""


@dataclass(frozen=True)
class RealDepth:
    """A photo with measured inverse depth."""

    photo: Array
    """(H, W, 3) uint8."""
    disparity: Array
    """(H, W) float32, up to scale and shift; NaN where unknown."""
    held_out: bool


@dataclass(frozen=True)
class Cutout:
    """A person on nothing."""

    rgb: Array
    """(H, W, 3) uint8."""
    alpha: Array
    """(H, W) float32."""
    held_out: bool


@dataclass(frozen=True)
class Folder:
    """What a folder with an ``index.jsonl`` holds."""

    depth: list[RealDepth]
    """Only pictures whose terms let the weights go out."""
    cutouts: list[Cutout]
    photos: list[Array]


def read_folder(root: Path) -> Folder:
    """Read everything that may be used, small enough to stay in memory."""
    lines = (root / "index.jsonl").read_text().splitlines()
    items = [item for line in lines if (item := json.loads(line))["release"] != "no"]
    scenes = sorted({item["scene"] for item in items})
    held_out = {scene for k, scene in enumerate(scenes) if k % HELD_OUT == 0}
    depth, cutouts, photos = [], [], []
    for item in items:
        out = item["scene"] in held_out
        photo = _read(root / item["path"])
        if item["kind"] in ("rgbd", "pseudo") and item["release"] == "yes":
            values = cv2.imread(str(root / item["depth"]), cv2.IMREAD_UNCHANGED)
            assert values is not None
            known = values > 0
            disparity = np.where(known, (values.astype(np.float32) - 1) / 65520, np.nan)
            depth.append(RealDepth(photo, disparity.astype(np.float32), out))
        elif item["kind"] == "mask":
            mask = cv2.imread(str(root / item["mask"]), cv2.IMREAD_GRAYSCALE)
            assert mask is not None
            cutouts.append(Cutout(photo, mask.astype(np.float32) / 255, out))
        elif item["kind"] == "photo" and not out:
            photos.append(photo)
    return Folder(depth, cutouts, photos)


def _read(path: Path) -> Array:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None, path
    return np.ascontiguousarray(picture[..., ::-1])
