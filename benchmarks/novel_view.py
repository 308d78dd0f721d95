"""Novel views of stereo pairs: the left picture, rendered where the right camera stood.

Depth is the pair's true disparity, given as a depth file, and the view box is the pair's baseline,
so that what is measured is masks, layers, fills and rendering. Peers get the same disparity:

- ``mesh_warp``: every pixel a vertex, neighbours joined whatever lies between them.
- ``warp_telea``: forward splat at twice the width with a z-test, gaps filled by OpenCV's Telea.

psnr_vis is over pixels the left camera sees, psnr_disocc over those it does not, psnr_all over both
(``vis_right``: 255, 128); coverage is the share of them that the scene covers.
"""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import common
import cv2
import numpy as np
from numba import njit
from skimage.metrics import structural_similarity

from diorama.camera import ViewBox
from diorama.config import SceneConfig
from diorama.depth import canonical_disparity
from diorama.depth_files import read_depth
from diorama.layers import LayersConfig
from diorama.photo import load_photo
from diorama.pipeline import photo_to_scene

CONFIG = SceneConfig(layers=LayersConfig(max_layers=16))
"""True disparity parts more depths than an estimate does."""


def main() -> None:
    args = common.arguments(__doc__ or "")
    result = common.Result("novel_view")
    items = [i for i in common.load_items(args.data, ["stereo"]) if "vis_right" in i["files"]]
    for item in common.pick(items, args.quick):
        truth = common.read_truth(item)
        left = common.read_rgb(item)
        views = {
            "left_unchanged": (left / 255.0, np.ones(left.shape[:2])),
            "mesh_warp": mesh_warp(left, truth),
            "warp_telea": warp_telea(left, truth),
            "diorama": diorama_view(left, truth, CONFIG),
        }
        for method, (view, covered) in views.items():
            result.add(item["id"], method, measure(item, view, covered))
    result.finish(args)


def measure(item: Mapping[str, Any], view: np.ndarray, covered: np.ndarray) -> dict[str, float]:
    """Compare a view, (H, W, 3) in 0..1, with the right picture."""
    right = common.read_rgb(dict(item), "right") / 255.0
    visibility = cv2.imread(str(item["root"] / item["files"]["vis_right"]), cv2.IMREAD_GRAYSCALE)
    assert visibility is not None
    view = np.rint(np.clip(view, 0, 1) * 255) / 255
    seen, hidden = visibility == 255, visibility == 128
    both = seen | hidden
    # Item 1 rather than unpacking: the declared type has one form for every choice of options.
    similarity = structural_similarity(view, right, channel_axis=2, data_range=1, full=True)[1]
    return {
        "psnr_all": common.psnr(view, right, both),
        "psnr_vis": common.psnr(view, right, seen),
        "psnr_disocc": common.psnr(view, right, hidden),
        "ssim": float(similarity.mean(-1)[both].mean()),
        "coverage": float((covered[both] > 0.5).mean()),
    }


def diorama_view(
    left: np.ndarray, disparity_px: np.ndarray, config: SceneConfig
) -> tuple[np.ndarray, np.ndarray]:
    """Our scene of the left picture, seen from the right camera."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "disparity.npz"
        np.savez(path, disparity=disparity_px)
        photo = load_photo(left, max_size=max(left.shape))
        scale = canonical_disparity(read_depth(path), photo).scale
        # A point's parallax is focal times baseline times disparity: here, the file's own pixels.
        baseline = 1.0 / (photo.camera.K[0, 0] * scale)
        scene = photo_to_scene(
            left,
            view_box=ViewBox(baseline, 0.0, 0.0),
            config=SceneConfig(
                depth=str(path), max_size=max(left.shape), layers=config.layers, seed=config.seed
            ),
        )
    frame = scene.render(scene.camera.at(x=baseline))
    return frame.rgb, frame.alpha


def mesh_warp(left: np.ndarray, disparity_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every pixel a vertex of one connected mesh; unknown disparity takes its nearest value."""
    unknown = ~np.isfinite(disparity_px)
    _, label = cv2.distanceTransformWithLabels(
        unknown.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    label = label.astype(np.int32)
    values = np.zeros(int(np.max(label)) + 1, np.float32)
    values[label[~unknown]] = disparity_px[~unknown]
    return _mesh_rows((left / 255.0).astype(np.float32), values[label])


@njit(cache=True)
def _mesh_rows(rgb, disparity):
    height, width = disparity.shape
    out = np.zeros((height, width, 3), np.float32)
    nearest = np.zeros((height, width), np.float32)
    for y in range(height):
        for x in range(width - 1):
            begin, end = x - disparity[y, x], x + 1 - disparity[y, x + 1]
            if end <= begin:
                continue
            for u in range(max(0, int(np.ceil(begin))), min(width - 1, int(np.floor(end))) + 1):
                t = (u - begin) / (end - begin)
                d = (1 - t) * disparity[y, x] + t * disparity[y, x + 1]
                if d > nearest[y, u]:
                    nearest[y, u] = d
                    for c in range(3):
                        out[y, u, c] = (1 - t) * rgb[y, x, c] + t * rgb[y, x + 1, c]
    return out, (nearest > 0).astype(np.float32)


def warp_telea(left: np.ndarray, disparity_px: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Forward splat at twice the width, the larger disparity winning, then Telea with radius 5."""
    height, width = disparity_px.shape
    wide = cv2.resize(left, (2 * width, height), interpolation=cv2.INTER_LINEAR)
    disparity = np.repeat(disparity_px, 2, 1)
    y, x = np.nonzero(np.isfinite(disparity))
    values = disparity[y, x]
    target = np.rint((x - 0.5) / 2 - values).astype(int)
    inside = (target >= 0) & (target < width)
    y, x, target, values = y[inside], x[inside], target[inside], values[inside]
    order = np.argsort(values, kind="stable")
    out, covered = np.zeros_like(left), np.zeros((height, width), np.uint8)
    out[y[order], target[order]] = wide[y[order], x[order]]
    covered[y, target] = 1
    return cv2.inpaint(out, 1 - covered, 5, cv2.INPAINT_TELEA) / 255.0, covered


if __name__ == "__main__":
    main()
