"""Quality of the embedded segmenter, beside SLIC and Felzenszwalb's graph segmentation.

On photos that people have segmented: boundary F with the tolerance of the Berkeley benchmark, and
covering, the mean best overlap of the true regions (Arbelaez et al., 2011); the peers get about as
many regions as ours. On stereo pairs with their true disparity: the share of true depth edges, and
of all large steps, that lie on a mask edge to the pixel.
"""

import cv2
import numpy as np
from common import Result, arguments, load_items, pick, read_rgb, read_truth, time_ms
from skimage.segmentation import felzenszwalb, slic

from diorama.camera import Camera
from diorama.depth_files import fill_missing
from diorama.models.region_merging import RegionMerging
from diorama.photo import Photo

DEPTH_EDGE = 0.015
"""A depth edge: neighbours that differ by this share of the truth's range."""

SCALES = (40, 80, 150, 250, 400, 650, 1000, 1600, 2500)
"""Scales of Felzenszwalb's method among which the nearest in number is chosen."""


def main() -> None:
    args = arguments(__doc__ or "")
    result = Result("masks")
    drawn = [item for item in load_items(args.data, ("segmentation",)) if "keys" in item["gt"]]
    for item in pick(drawn, args.quick):
        rgb = read_rgb(item)
        with np.load(item["root"] / item["files"]["gt"]) as truth:
            segmentations, boundaries = truth["segmentations"], truth["boundaries"]
        for method, labels in partitions(rgb).items():
            metrics = {
                "boundary_f": boundary_f(labels, boundaries),
                "covering": covering(labels, segmentations),
                "num_masks": float(len(np.unique(labels))),
            }
            result.add(item["id"], method, metrics)
    stereo = load_items(args.data, ("depth", "stereo"))
    stereo = [item for item in stereo if item.get("gt", {}).get("key") == "disparity"]
    for item in pick(stereo, args.quick):
        rgb, truth = read_rgb(item), read_truth(item)
        masks = RegionMerging().segment(
            as_photo(rgb), fill_missing(np.nan_to_num(truth), truth > 0)
        )
        edges_on_masks, steps_on_masks = share_on_masks(
            masks.labels, truth, item["gt"].get("quantisation_px") or 0.0
        )
        metrics = {
            "depth_edges_on_masks": edges_on_masks,
            "large_steps_on_masks": steps_on_masks,
            "depth_masks": float(len(masks.ids)),
        }
        result.add(item["id"], "diorama", metrics)
    photo = as_photo(cv2.resize(read_rgb(drawn[0]), (1920, 1080), interpolation=cv2.INTER_CUBIC))
    even = np.zeros(photo.rgb.shape[:2], np.float32)
    speed = {"diorama": lambda: RegionMerging().segment(photo, even)}
    if not args.quick:
        speed["slic"] = lambda: slic(photo.rgb, 100, start_label=0)
    for method, ms in time_ms(speed, repeats=2 if args.quick else 5).items():
        result.add("1920x1080", method, {"ms": ms})
    result.finish(args)


def as_photo(rgb: np.ndarray) -> Photo:
    """A photo without its file."""
    return Photo(rgb.astype(np.float32) / 255, rgb, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


def partitions(rgb: np.ndarray) -> dict[str, np.ndarray]:
    """Labels (H, W) by each method, the peers' with about as many regions as ours."""
    ours = RegionMerging().segment(as_photo(rgb), np.zeros(rgb.shape[:2], np.float32)).labels
    count = len(np.unique(ours))
    pixels = rgb.shape[0] * rgb.shape[1]
    by_scale = [felzenszwalb(rgb, scale, 0.8, pixels // 3000) for scale in SCALES]
    by_number = [slic(rgb, round(count * more), 10, start_label=0) for more in (1, 1.4, 2, 2.8)]
    return {
        "diorama": ours,
        "slic": min(by_number, key=lambda labels: abs(len(np.unique(labels)) - count)),
        "felzenszwalb": min(by_scale, key=lambda labels: abs(len(np.unique(labels)) - count)),
    }


def edges(labels: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels that differ from their right or lower neighbour."""
    found = np.zeros(labels.shape, bool)
    found[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    found[:-1] |= labels[:-1] != labels[1:]
    return found


def boundary_f(labels: np.ndarray, boundaries: np.ndarray) -> float:
    """F of precision (a hit with any annotator) and recall (mean over annotators)."""
    tolerance = 0.0075 * float(np.hypot(*labels.shape))
    ours = edges(labels)

    def distance(mask: np.ndarray) -> np.ndarray:
        return cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, 5)

    near = distance(np.any(boundaries > 0, axis=0)) <= tolerance
    precision = near[ours].mean() if ours.any() else 0.0
    reach = distance(ours) <= tolerance if ours.any() else np.zeros(ours.shape, bool)
    recall = np.mean([reach[b > 0].mean() for b in boundaries if b.any()])
    return float(2 * precision * recall / max(precision + recall, 1e-9))


def covering(labels: np.ndarray, segmentations: np.ndarray) -> float:
    """Mean over annotators of the area-weighted best overlap (intersection over union)."""
    _, ours = np.unique(labels, return_inverse=True)
    ours = ours.ravel()
    totals = []
    for segmentation in segmentations:
        _, true = np.unique(segmentation, return_inverse=True)
        true = true.ravel()
        both = np.bincount(true * (ours.max() + 1) + ours).astype(float)
        table = np.zeros((true.max() + 1) * (ours.max() + 1))
        table[: len(both)] = both
        table = table.reshape(true.max() + 1, -1)
        area, area_ours = table.sum(1, keepdims=True), table.sum(0, keepdims=True)
        best = (table / (area + area_ours - table)).max(1)
        totals.append(float((area[:, 0] * best).sum() / area.sum()))
    return float(np.mean(totals))


def true_depth_edges(truth: np.ndarray, axis: int, quantisation: float) -> np.ndarray:
    """Links along an axis across an occluding edge: a step, not the slope of a surface.

    It is more than `DEPTH_EDGE` of the range and than one level of the file, at least as large as
    the links before and after it, and three times the median of the seven links around it.
    """
    steps = np.abs(np.diff(truth, axis=axis))
    span = np.nanpercentile(truth, 98) - np.nanpercentile(truth, 2)
    pad = [(3, 3) if a == axis else (0, 0) for a in (0, 1)]
    around = np.lib.stride_tricks.sliding_window_view(
        np.pad(np.nan_to_num(steps), pad), 7, axis=axis
    )
    largest = steps >= around[..., 2:5].max(-1)
    least = max(DEPTH_EDGE * span, 1.5 * quantisation)
    return (steps > least) & largest & (steps > 3 * np.median(around, -1))


def share_on_masks(
    labels: np.ndarray, truth: np.ndarray, quantisation: float
) -> tuple[float, float]:
    """Shares of true depth edges, and of all large steps, that lie between two masks."""
    span = np.nanpercentile(truth, 98) - np.nanpercentile(truth, 2)
    counts = np.zeros((2, 2))
    for axis in (0, 1):
        parted = np.diff(labels, axis=axis) != 0
        large = np.abs(np.diff(truth, axis=axis)) > DEPTH_EDGE * span
        for row, links in zip(
            counts, (true_depth_edges(truth, axis, quantisation), large), strict=True
        ):
            row += parted[links].sum(), links.sum()
    edges, steps = counts[:, 0] / np.maximum(counts[:, 1], 1)
    return float(edges), float(steps)


if __name__ == "__main__":
    main()
