"""Novel views of stereo pairs: the left picture, rendered where the right camera stood.

Depth is the pair's true disparity, given as a depth file, and the view box is the pair's baseline,
so that what is measured is masks, layers, fills and rendering. Peers get the same disparity:

- ``mesh_warp``: every pixel a vertex, neighbours joined whatever lies between them.
- ``warp_telea``: forward splat at twice the width with a z-test, gaps filled by OpenCV's Telea.

Rows that leave a stage out show what it is worth (`ROWS`): `diorama` without soft edges
(``without_soft_alpha``: every pixel wholly in one layer) and without fills (``without_fill``: holes
stay open, and black); and, with depth blurred as an estimator blurs it, all of `diorama`
(``blurred_depth``) and the same without harmonising (``without_harmonise``). 0.3 and 0.6 are the
blur's standard deviation in percent of the width.

psnr_vis is over pixels the left camera sees, psnr_disocc over those it does not, psnr_all over both
(``vis_right``: 255, 128); psnr_edge is over those of both within 8 px of a depth edge of the right
view; coverage is the share of them that the scene covers.
"""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import common
import cv2
import numpy as np
from harmonise import EDGE_REACH_PX, as_estimated, edge_distance, filled, steps
from numba import njit
from skimage.metrics import structural_similarity

from diorama.camera import ViewBox
from diorama.config import SceneConfig
from diorama.depth import canonical_disparity
from diorama.depth_files import read_depth
from diorama.harmonise import HarmoniseConfig
from diorama.layers import Layer, LayersConfig
from diorama.matting import MattingConfig
from diorama.photo import load_photo
from diorama.pipeline import photo_to_scene

CONFIG = SceneConfig(layers=LayersConfig(max_layers=16), seed=0)
"""True disparity parts more depths than an estimate does."""

BASELINE = 1.0
"""Where the camera goes, in the pair's baselines to the right; the view box reaches as far.
Frames are not cropped: what the left picture does not contain is left out by ``vis_right``."""


@dataclass(frozen=True)
class Row:
    """What a row of the table is given, and what it leaves out."""

    blur: str | None = None
    """How the true disparity is blurred (`harmonise.BLURS`); None: not at all."""
    config: SceneConfig = CONFIG
    fill: bool = True
    """False: holes are opened again."""


UNHARMONISED = replace(CONFIG, harmonise=HarmoniseConfig(blur_px=0.0))
HARD = replace(CONFIG, matting=MattingConfig(band=0.0, min_band_px=0.25))  # no pixel is so near

ROWS = {
    "diorama": Row(),
    "without_soft_alpha": Row(config=HARD),
    "without_fill": Row(fill=False),
    "blurred_depth_0.3": Row("gauss-0.3%"),
    "without_harmonise_0.3": Row("gauss-0.3%", UNHARMONISED),
    "blurred_depth_0.6": Row("gauss-0.6%"),
    "without_harmonise_0.6": Row("gauss-0.6%", UNHARMONISED),
}


def main() -> None:
    args = common.arguments(__doc__ or "")
    result = common.Result("novel_view", seed=CONFIG.seed)
    items = [i for i in common.load_items(args.data, ["stereo"]) if "vis_right" in i["files"]]
    for item in common.pick(items, args.quick):
        truth = common.read_truth(item)
        left = common.read_rgb(item)
        views = {
            "left_unchanged": (left / 255.0, np.ones(left.shape[:2])),
            "mesh_warp": mesh_warp(left, truth),
            "warp_telea": warp_telea(left, truth),
        }
        for name, row in ROWS.items():
            views[name] = diorama_view(left, blurred(truth, row.blur), row)
        for method, (view, covered) in views.items():
            result.add(item["id"], method, measure(item, view, covered))
    result.finish(args)


def blurred(disparity_px: np.ndarray, blur: str | None) -> np.ndarray:
    """Disparity as an estimator that blurs so would see it; gaps are filled first."""
    if blur is None:
        return disparity_px
    whole, known = filled(disparity_px)
    scale = _range(whole[known])
    return as_estimated((whole / scale).astype(np.float32), blur) * scale


def _range(disparity: np.ndarray) -> float:
    low, high = np.percentile(disparity, (2, 98))
    return float(high - low)


def measure(item: Mapping[str, Any], view: np.ndarray, covered: np.ndarray) -> dict[str, float]:
    """Compare a view, (H, W, 3) in 0..1, with the right picture."""
    right = common.read_rgb(dict(item), "right") / 255.0
    visibility = cv2.imread(str(item["root"] / item["files"]["vis_right"]), cv2.IMREAD_GRAYSCALE)
    assert visibility is not None
    view = np.rint(np.clip(view, 0, 1) * 255) / 255
    seen, hidden = visibility == 255, visibility == 128
    both = seen | hidden
    whole, known = filled(common.read_truth(item, "gt_right"))
    edge = edge_distance(*steps(whole / _range(whole[known]))) <= EDGE_REACH_PX
    # Item 1 rather than unpacking: the declared type has one form for every choice of options.
    similarity = structural_similarity(view, right, channel_axis=2, data_range=1, full=True)[1]
    return {
        "psnr_all": common.psnr(view, right, both),
        "psnr_vis": common.psnr(view, right, seen),
        "psnr_disocc": common.psnr(view, right, hidden),
        "psnr_edge": common.psnr(view, right, both & edge),
        "ssim": float(similarity.mean(-1)[both].mean()),
        "coverage": float((covered[both] > 0.5).mean()),
    }


def diorama_view(
    left: np.ndarray, disparity_px: np.ndarray, row: Row
) -> tuple[np.ndarray, np.ndarray]:
    """Our scene of the left picture, seen from the right camera."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "disparity.npz"
        np.savez(path, disparity=disparity_px)
        photo = load_photo(left, max_size=max(left.shape))
        scale = canonical_disparity(read_depth(path), photo).scale
        # A point's parallax is focal times baseline times disparity: here, the file's own pixels.
        baseline = BASELINE / (photo.camera.K[0, 0] * scale)
        scene = photo_to_scene(
            left,
            view_box=ViewBox(baseline, 0.0, 0.0),
            config=replace(row.config, depth=str(path), max_size=max(left.shape)),
        )
    if not row.fill:
        scene = replace(scene, layers=tuple(map(_opened, scene.layers)))
    frame = scene.render(scene.camera.at(x=baseline))
    return frame.rgb, frame.alpha


def _opened(layer: Layer) -> Layer:
    """The layer with its holes open."""
    rgba = layer.rgba.copy()
    rgba[layer.hole, 3] = 0
    return replace(layer, rgba=rgba)


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
