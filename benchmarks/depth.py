"""Accuracy of the embedded depth estimator, beside the cue prior, a vertical ramp and a constant.

Predictions are aligned to the truth by scale and shift in disparity (least squares), then compared
item by item: relative error and delta_1 of depth, order of random pairs, and, where the truth is
dense and sharp, the strict boundary F1 of Depth Pro (Bochkovskii et al., 2024). ``harmonised`` is
the estimate after masks and harmonising, as scenes have it. ``ms`` is the estimate's time.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import Result, arguments, load_items, pick, read_rgb, read_truth, time_ms
from cue_depth import CueDepth

from diorama import registry
from diorama.camera import Camera
from diorama.depth import DepthEstimator, canonical_disparity
from diorama.harmonise import harmonise
from diorama.models.embedded import EmbeddedDepth
from diorama.photo import Photo

PAIRS = 20_000
THRESHOLDS = (5, 10, 15, 20, 25)
"""Steps that count as a boundary, in percent of the truth's range."""


def main() -> None:
    args = arguments(
        __doc__ or "",
        model="a depth model's name, or a file of the embedded network (default: embedded)",
    )
    model = chosen(args.model or "embedded")
    result = Result("depth")
    items = [item for item in load_items(args.data, ("depth", "stereo")) if "gt" in item["files"]]
    for item in pick(items, args.quick):
        photo = as_photo(read_rgb(item))
        truth = inverse_depth(item)
        group = group_of(item)
        for method, disparity in predictions(model, photo).items():
            height, width = truth.shape
            resized = cv2.resize(disparity, (width, height), interpolation=cv2.INTER_LINEAR)
            metrics = score(resized, truth, boundaries=has_sharp_edges(item))
            result.add(item["id"], method, {f"{group}.{k}": v for k, v in metrics.items()})
        calls: dict[str, Callable[[], object]] = {
            "diorama": lambda photo=photo: model.estimate(photo),
            "cues": lambda photo=photo: CueDepth().estimate(photo),
        }
        times = time_ms(calls, repeats=1 if args.quick else 5, warm_up=0)
        for method, ms in times.items():
            result.add(item["id"], method, {f"{group}.ms": ms})
    result.finish(args)


def chosen(model: str) -> DepthEstimator:
    """The estimator of this name, or the embedded one with other weights."""
    if model.endswith(".onnx"):
        return EmbeddedDepth(Path(model))
    return registry.load("depth", model)


def as_photo(rgb: np.ndarray) -> Photo:
    """A photo without its file."""
    return Photo(rgb.astype(np.float32) / 255, rgb, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


def predictions(model: DepthEstimator, photo: Photo) -> dict[str, np.ndarray]:
    """Each method's disparity (H, W) float32."""
    height, width = photo.rgb.shape[:2]
    ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)
    depth = canonical_disparity(model.estimate(photo), photo)
    masks = registry.load("segmenter", "embedded").segment(photo, depth.disparity, depth.edges)
    return {
        "diorama": depth.disparity,
        "harmonised": harmonise(
            photo, depth.disparity, masks, confidence=depth.confidence
        ).disparity,
        "cues": canonical_disparity(CueDepth().estimate(photo), photo).disparity,
        "ramp": ramp,
        "constant": np.ones_like(ramp),
    }


def group_of(item: Mapping[str, Any]) -> str:
    """Which of dense, lidar and stereo an item counts to."""
    if item["kind"] == "stereo":
        return "stereo"
    return "dense" if item["gt"]["dense"] else "lidar"


def has_sharp_edges(item: Mapping[str, Any]) -> bool:
    """Whether the truth is exact at depth edges: matched or rendered, not from a depth sensor."""
    return item["gt"]["dense"] and item["gt"]["key"] == "disparity"


def inverse_depth(item: Mapping[str, Any]) -> np.ndarray:
    """(H, W) float64: the truth in the space it is aligned in; NaN where unknown."""
    truth = read_truth(item).astype(np.float64)
    truth[~(truth > 0)] = np.nan
    return truth if item["gt"]["key"] == "disparity" else 1 / truth


def score(disparity: np.ndarray, truth: np.ndarray, *, boundaries: bool) -> dict[str, float]:
    """Every metric of one prediction."""
    valid = np.isfinite(truth)
    p, q = disparity[valid].astype(np.float64), truth[valid]
    spread = p.var()
    scale = ((p - p.mean()) * (q - q.mean())).mean() / spread if spread > 1e-12 else 0.0
    aligned = scale * disparity + (q.mean() - scale * p.mean())
    aligned = np.maximum(aligned, 0.5 * np.percentile(q, 1))
    ratio = q / aligned[valid]
    metrics = {
        "abs_rel": float(np.abs(ratio - 1).mean()),
        "delta1": float((np.maximum(ratio, 1 / ratio) < 1.25).mean()),
        "ordinal_error": ordinal_error(p, q),
    }
    if boundaries:
        metrics["boundary_f1"] = boundary_f1(aligned, truth)
    return metrics


def ordinal_error(p: np.ndarray, q: np.ndarray) -> float:
    """Share of random pairs, clearly apart in truth, that are not in the true order."""
    i, j = np.random.default_rng(0).integers(0, len(q), (2, PAIRS))
    apart = np.maximum(q[i], q[j]) / np.minimum(q[i], q[j]) > 1.05
    wrong = np.sign(p[i] - p[j]) != np.sign(q[i] - q[j])
    return float(wrong[apart].mean()) if apart.any() else float("nan")


def boundary_f1(aligned: np.ndarray, truth: np.ndarray) -> float:
    """F1 of occluding pixel pairs, mean over thresholds with the threshold as weight."""
    span = np.nanpercentile(truth, 98) - np.nanpercentile(truth, 2)
    total = 0.0
    for threshold in THRESHOLDS:
        hits = found = wanted = 0
        for axis in (0, 1):
            for sign in (1, -1):
                known = np.isfinite(np.diff(truth, axis=axis))
                step = sign * threshold / 100 * span
                true = known & (np.sign(step) * np.diff(truth, axis=axis) > abs(step))
                ours = known & (np.sign(step) * np.diff(aligned, axis=axis) > abs(step))
                hits += int((true & ours).sum())
                found += int(ours.sum())
                wanted += int(true.sum())
        total += threshold * 2 * hits / max(found + wanted, 1)
    return total / sum(THRESHOLDS)


if __name__ == "__main__":
    main()
