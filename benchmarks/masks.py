"""Quality of the embedded segmenter, beside SLIC with merging and Felzenszwalb's segmentation.

On photos that people have segmented: boundary F with the tolerance of the Berkeley benchmark, and
covering, the mean best overlap of the true regions (Arbelaez et al., 2011). Each peer is there
twice, at the settings that are best for the one and for the other measure, over all these photos;
ours with the settings everybody gets, with the embedded network's depth and edges and by colour
alone. On stereo pairs: the share of true depth edges, and of all large steps, that lie on a mask
edge to the pixel where the true disparity is given, and the share of true depth edges within two
pixels of a mask edge where the network estimates it.
"""

import itertools
from collections.abc import Iterator

import cv2
import numpy as np
from common import Result, arguments, load_items, pick, read_rgb, read_truth, time_ms
from skimage import graph
from skimage.segmentation import felzenszwalb, slic

from diorama import registry
from diorama.camera import Camera
from diorama.depth import CanonicalDepth, canonical_disparity
from diorama.depth_files import fill_missing
from diorama.models.region_merging import RegionMerging
from diorama.photo import Photo

DEPTH_EDGE = 0.015
"""A depth edge: neighbours that differ by this share of the truth's range."""

SCALES = (150, 250, 400, 650, 1000, 1600, 2500)
SIGMAS = (0.5, 0.8)
LEAST_AREAS = (1 / 3000, 1 / 300)
"""Of Felzenszwalb's method: scale, smoothing, and least area in areas of the photo."""

SUPERPIXELS = (200, 400, 800)
COLORS_APART = (15, 20, 25, 30, 35, 40, 50, 60, 75)
"""Of SLIC: number of superpixels, and mean colours (8-bit RGB) that differ by less merge."""

NEAR_PX = 2.0
"""How far from a mask edge a depth edge still counts as found."""


def main() -> None:
    args = arguments(__doc__ or "")
    result = Result("masks")
    drawn = [item for item in load_items(args.data, ("segmentation",)) if "keys" in item["gt"]]
    rows: list[tuple[str, str, str, dict[str, float]]] = []
    for item in pick(drawn, args.quick):
        rgb = read_rgb(item)
        with np.load(item["root"] / item["files"]["gt"]) as truth:
            segmentations, boundaries = truth["segmentations"], truth["boundaries"]
        for method, setting, labels in partitions(rgb, quick=args.quick):
            metrics = {
                "boundary_f": boundary_f(labels, boundaries),
                "covering": covering(labels, segmentations),
                "num_masks": float(len(np.unique(labels))),
            }
            rows.append((item["id"], method, setting, metrics))
    add_best(result, rows)
    stereo = load_items(args.data, ("depth", "stereo"))
    stereo = [item for item in stereo if item.get("gt", {}).get("key") == "disparity"]
    for item in pick(stereo, args.quick):
        rgb, truth = read_rgb(item), read_truth(item)
        photo, quantisation = as_photo(rgb), item["gt"].get("quantisation_px") or 0.0
        masks = RegionMerging().segment(photo, fill_missing(np.nan_to_num(truth), truth > 0))
        edges_on_masks, steps_on_masks = share_on_masks(masks.labels, truth, quantisation)
        own = segmented(photo, estimate(photo))
        metrics = {
            "depth_edges_on_masks": edges_on_masks,
            "large_steps_on_masks": steps_on_masks,
            "depth_masks": float(len(masks.ids)),
            "edges_found": share_found(own, truth, quantisation),
            "own_masks": float(len(np.unique(own))),
        }
        result.add(item["id"], "diorama", metrics)
        blind = segmented(photo, None)
        metrics = {
            "edges_found": share_found(blind, truth, quantisation),
            "own_masks": float(len(np.unique(blind))),
        }
        result.add(item["id"], "diorama, colour only", metrics)
    photo = as_photo(cv2.resize(read_rgb(drawn[0]), (1920, 1080), interpolation=cv2.INTER_CUBIC))
    depth = estimate(photo)
    speed = {"diorama": lambda: segmented(photo, depth)}
    if not args.quick:
        speed["slic + merging, best covering"] = lambda: merged(photo.texture, 400, 40)
    for method, ms in time_ms(speed, repeats=2 if args.quick else 5).items():
        result.add("1920x1080", method, {"ms": ms})
    result.finish(args)


def as_photo(rgb: np.ndarray) -> Photo:
    """A photo without its file."""
    return Photo(rgb.astype(np.float32) / 255, rgb, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


def estimate(photo: Photo) -> CanonicalDepth:
    """Depth and edges by the embedded network."""
    return canonical_disparity(registry.load("depth", "embedded").estimate(photo), photo)


def segmented(photo: Photo, depth: CanonicalDepth | None) -> np.ndarray:
    """Our labels (H, W), with an estimate or by colour alone."""
    if depth is None:
        return RegionMerging().segment(photo, np.zeros(photo.rgb.shape[:2], np.float32)).labels
    return RegionMerging().segment(photo, depth.disparity, depth.edges).labels


def partitions(rgb: np.ndarray, *, quick: bool) -> Iterator[tuple[str, str, np.ndarray]]:
    """Method, setting and labels (H, W): ours, and the peers at every setting."""
    photo = as_photo(rgb)
    yield "diorama", "", segmented(photo, estimate(photo))
    yield "diorama, colour only", "", segmented(photo, None)
    pixels = rgb.shape[0] * rgb.shape[1]
    step = 3 if quick else 1
    for scale, sigma, share in itertools.product(SCALES[::step], SIGMAS, LEAST_AREAS):
        labels = felzenszwalb(rgb, scale, sigma, round(share * pixels))
        yield "felzenszwalb", f"scale {scale}, sigma {sigma}, area {share:.4f}", labels
    for number, apart in itertools.product(SUPERPIXELS[::step], COLORS_APART[::step]):
        yield "slic + merging", f"{number} superpixels, {apart} apart", merged(rgb, number, apart)


def merged(rgb: np.ndarray, number: int, apart: float) -> np.ndarray:
    """SLIC superpixels, the nearest in mean colour merged first until all are this far apart."""

    def weight(regions: graph.RAG, _: int, into: int, other: int) -> dict[str, float]:
        means = [regions.nodes[node]["mean color"] for node in (into, other)]
        return {"weight": float(np.linalg.norm(means[0] - means[1]))}

    def merge(regions: graph.RAG, gone: int, into: int) -> None:
        kept, lost = regions.nodes[into], regions.nodes[gone]
        kept["total color"] += lost["total color"]
        kept["pixel count"] += lost["pixel count"]
        kept["mean color"] = kept["total color"] / kept["pixel count"]

    labels = slic(rgb, number, 10, start_label=0)
    return graph.merge_hierarchical(
        labels,
        graph.rag_mean_color(rgb, labels),
        apart,
        rag_copy=False,
        in_place_merge=True,
        merge_func=merge,
        weight_func=weight,
    )


def add_best(result: Result, rows: list[tuple[str, str, str, dict[str, float]]]) -> None:
    """Add every method at its settings that are best on average for each measure."""
    for method in dict.fromkeys(row[1] for row in rows):
        settings: dict[str, list[tuple[str, dict[str, float]]]] = {}
        for item, name, setting, metrics in rows:
            if name == method:
                settings.setdefault(setting, []).append((item, metrics))
        if len(settings) == 1:
            for item, metrics in settings[""]:
                result.add(item, method, metrics)
            continue
        for measure in ("boundary_f", "covering"):
            best = max(settings, key=lambda s: np.mean([m[measure] for _, m in settings[s]]))
            for item, metrics in settings[best]:
                result.add(item, f"{method}, best {measure}", metrics)


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


def share_found(labels: np.ndarray, truth: np.ndarray, quantisation: float) -> float:
    """Share of true depth edges within `NEAR_PX` of a mask edge."""
    true = np.zeros(labels.shape, bool)
    true[:, :-1] |= true_depth_edges(truth, 1, quantisation)
    true[:-1] |= true_depth_edges(truth, 0, quantisation)
    distance = cv2.distanceTransform((~edges(labels)).astype(np.uint8), cv2.DIST_L2, 5)
    return float((distance[true] <= NEAR_PX).mean())


if __name__ == "__main__":
    main()
