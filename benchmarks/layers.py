"""How well layers follow what is truly one surface, what tears, and how soft edges come out.

Scenes: synthetic ones, ray-cast with exact truth, and every picture with dense true disparity. The
depth is the truth, blurred and noisy as an estimator's (`harmonise.as_estimated`), harmonised; it
is the same for every method. True layers are the synthetic surfaces; of a picture, the regions of a
watershed cut at steps of disparity (`harmonise.masks_from_truth`), united where less than 15 % of
their common boundary is a step, those below 0.5 % of the picture given to the neighbour whose step
is least. Every method is asked for the true number of layers. Ours groups masks: `given`, the true
surfaces cut up by random Voronoi cells, and `own`, those of our segmenter.

- `ari`: adjusted Rand index against the true layers (Hubert and Arabie, 1985)
- `recall`, `precision`: share of true layer boundaries with one of ours within 2 px, and back
- `order`: share of the pixel pairs across true occluding edges whose front is not strictly before
- `gap_px`: alpha missing, in pixels a view, where a camera at a corner of the view box sees what
  the photo showed, farther than 4 px from where truth jumps: at feet on a floor, between slices of
  a floor. `diorama, unextended` has its holes, the reach of layers under one another, cut away
- `stretched`: share of those pixels seen at a depth a pixel of parallax or more from the truth
- `sad`, `mse`: sum of absolute alpha errors in thousands, and mean squared error, in a band around
  the mixed pixels, from masks that are exact, a pixel too large, and a pixel too small
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
from common import Result, arguments, load_items, pick, print_table, read_rgb, read_truth
from harmonise import (
    as_estimated,
    dense_items,
    edge_distance,
    filled,
    masks_from_truth,
    photo_of,
    steps,
)
from PIL import Image

from diorama import registry, testing
from diorama.arrays import Array
from diorama.camera import Camera, ViewBox, disparity_per_px, project_from
from diorama.harmonise import harmonise
from diorama.inpaint import fill_layers
from diorama.layers import (
    Layer,
    LayersConfig,
    _cluster,
    assign_layers,
    extract_layers,
    mask_boundaries,
    mask_statistics,
)
from diorama.masks import Masks
from diorama.matting import MattingConfig, edge_matte
from diorama.photo import Photo
from diorama.scene import Scene

SEED = 0
"""Of the Voronoi cells, k-means and the estimator's noise."""

SIZE = (480, 360)
"""Width and height of the synthetic scenes."""

VIEW_BOX = ViewBox()
"""Whose eight corners see the gaps: 3 % sideways and up or down, 5 % forward."""

CELLS = 60
"""Voronoi cells that cut up the true surfaces."""

BLUR = "gauss-0.3%"
"""What the estimator does to the truth."""

STEP_SHARE = 0.15
"""Share of a common boundary that must be a step to part two regions of a picture's truth."""

LEAST_AREA = 0.005
"""Smaller true regions of a picture, as a share of it, go to the neighbour they step to least."""

EDGE_PX = 4
"""How far from a true occluding edge tearing is looked for: where surfaces are continuous."""

REACH_PX = 2
"""How far from a true boundary one of ours still finds it."""

SCENES: dict[str, Callable[[int, int], testing.SyntheticScene]] = {
    "cards": testing.two_cards,
    "slanted cards": testing.slanted_cards,
    "floor and people": testing.floor_and_people,
    "sphere": testing.sphere_before_wall,
    "fence": testing.fence,
    "hair": testing.hair,
}

MATTES = {"cards": 2, "fence": 1, "hair": 1}
"""Scenes whose front surface, by its index, has its alpha compared."""

DEFOCUS_PX = (0.0, 1.5)
"""Standard deviations of the blur of alpha: in focus, and out of it."""


@dataclass(frozen=True)
class Case:
    """One picture whose layers are known."""

    kind: str
    name: str
    photo: Photo
    truth: Array
    """(H, W) disparity."""
    surfaces: Array
    """(H, W) int32: the true layers."""
    known: Array
    """(H, W) bool: where there is truth."""


def main() -> None:
    args = arguments("layers: grouping, order, tearing and soft edges", needs_data=False)
    result = Result("layers", seed=SEED)
    for case in cases(args):
        add_grouping(result, case)
    for kind, make in SCENES.items():
        add_tearing(result, kind, make(*SIZE))
    for kind, front in MATTES.items():
        scene = SCENES[kind](320, 240)
        for sigma in DEFOCUS_PX:
            add_mattes(result, f"{kind}, {sigma} px", *composed(scene, front, sigma))
    if args.data:
        for item in load_items(args.data, ("matte",)):
            add_mattes(result, item["id"], *read_matte(item))
    if not args.quick:
        add_speed(result)
    by_kind(result)
    result.finish(args)


def by_kind(result: Result) -> None:
    """Print a table of means for each kind of scene."""
    kinds: dict[str, Result] = {}
    for row in result.rows:
        kind = row["item"].split("/")[0]
        kinds.setdefault(kind, Result(result.benchmark)).rows.append(row)
    for kind, part in kinds.items():
        print(f"\n{kind}\n")
        print_table(part.summary())
    print("\nall\n")


# --- what is looked at ---


def cases(args: argparse.Namespace) -> Iterator[Case]:
    """Synthetic scenes, then pictures with dense truth."""
    for kind, make in SCENES.items():
        scene = make(*SIZE)
        labels = scene.masks().labels
        everywhere = np.ones(labels.shape, bool)
        yield Case(kind, "", scene.photo(), scene.disparity(), labels, everywhere)
    if args.data is None:
        return
    for item in pick(list(dense_items(args)), args.quick):
        photo = photo_of(read_rgb(item))
        truth, known = filled(cv2.medianBlur(read_gt(item), 3))
        low, high = np.percentile(truth[known], (2, 98))
        truth = (truth / (high - low)).astype(np.float32)
        surfaces = true_surfaces(truth)
        if surfaces.max() > 0:
            # The near surfaces lie at z = 1, as the view box expects.
            near = np.float32(np.percentile(truth, 99.5))
            yield Case("pictures", item["id"], photo, truth / near, surfaces, known)


def read_gt(item: dict[str, Any]) -> Array:
    """True disparity, 0 where unknown, for filters that cannot take NaN."""
    return np.nan_to_num(read_truth(item))


def true_surfaces(truth: Array) -> Array:
    """(H, W) int32: regions of one surface each; `truth` has a range of 1."""
    labels = masks_from_truth(truth).labels
    right, down = steps(truth)
    size = np.abs(np.diff(truth, axis=1)), np.abs(np.diff(truth, axis=0))

    def boundaries() -> tuple[Array, Array, Array]:
        """For each pair of neighbours: length, share that is a step, and mean difference."""
        num = int(labels.max()) + 1
        pairs = [
            (labels[:, 1:], labels[:, :-1], right, size[0]),
            (labels[1:], labels[:-1], down, size[1]),
        ]
        table = np.zeros((3, num, num))
        for a, b, step, difference in pairs:
            cut = a != b
            for k, weight in enumerate((np.ones(cut.sum()), step[cut], difference[cut])):
                np.add.at(table[k], (a[cut], b[cut]), weight)
        table += table.transpose(0, 2, 1)
        length = np.maximum(table[0], 1)
        return table[0], table[1] / length, table[2] / length

    while True:
        length, share, difference = boundaries()
        area = np.bincount(labels.ravel(), minlength=len(length))
        same = np.where((length > 0) & (share < STEP_SHARE), share, np.inf)
        a, b = np.unravel_index(np.argmin(same), same.shape)
        if not np.isfinite(same[a, b]):
            small = int(np.argmin(area))
            if area[small] >= LEAST_AREA * labels.size or len(area) == 1:
                return labels.astype(np.int32)
            a, b = small, int(np.argmin(np.where(length[small] > 0, difference[small], np.inf)))
        labels = np.where(labels == a, b, labels)
        labels = np.unique(labels, return_inverse=True)[1].reshape(labels.shape)


def cut_up(surfaces: Array) -> Masks:
    """The surfaces, each cut by the same random Voronoi cells."""
    height, width = surfaces.shape
    random = np.random.default_rng(SEED)
    centers = random.random((CELLS, 2)) * [height, width]
    y, x = np.mgrid[:height, :width]
    away = [(y - row) ** 2 + (x - column) ** 2 for row, column in centers]
    cells = np.argmin(away, axis=0)
    ids, labels = np.unique(surfaces * CELLS + cells, return_inverse=True)
    return Masks(
        labels.reshape(height, width).astype(np.int32), np.arange(len(ids), dtype=np.int32)
    )


# --- peers: (H, W) disparity and the number of layers in, layers counted from the back out ---


def kmeans(disparity: Array, num: int, *, position: float = 0.0) -> Array:
    """k-means on disparity, and on position in widths times `position`."""
    height, width = disparity.shape
    y, x = np.mgrid[:height, :width] / width * position
    features = [disparity.ravel()] if not position else [disparity.ravel(), x.ravel(), y.ravel()]
    data = np.stack(features, -1).astype(np.float32)
    cv2.setRNGSeed(SEED)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_MAX_ITER, 50, 1e-5)
    found = np.zeros((len(data), 1), np.int32)
    _, labels, centers = cv2.kmeans(data, num, found, stop, 3, cv2.KMEANS_PP_CENTERS)
    rank = np.argsort(np.argsort(centers[:, 0]))
    return rank[labels.ravel().astype(np.intp)].reshape(height, width).astype(np.int32)


def equal_width(disparity: Array, num: int) -> Array:
    """Slices of equal width in disparity, as multi-plane images have them."""
    low, high = float(disparity.min()), float(disparity.max())
    return np.clip((disparity - low) / (high - low + 1e-9) * num, 0, num - 1).astype(np.int32)


def equal_count(disparity: Array, num: int) -> Array:
    """Slices of equally many pixels."""
    edges = np.quantile(disparity, np.arange(1, num) / num)
    return np.searchsorted(edges, disparity, side="right").astype(np.int32)


PEERS: dict[str, Callable[[Array, int], Array]] = {
    "k-means": kmeans,
    "k-means + position": lambda disparity, num: kmeans(disparity, num, position=0.5),
    "equal width": equal_width,
    "equal count": equal_count,
}


# --- grouping ---


def add_grouping(result: Result, case: Case) -> None:
    """Agreement of layers with the truth, from masks that are given and our own."""
    num = int(case.surfaces.max()) + 1
    estimate = as_estimated(case.truth, BLUR)
    canonical = (estimate / np.percentile(estimate, 99.5)).astype(np.float32)
    own = registry.load("segmenter", "embedded").segment(case.photo, canonical)
    scores: dict[str, dict[str, float]] = {}
    for source, masks in (("given", cut_up(case.surfaces)), ("own", own)):
        disparity = harmonise(case.photo, estimate, masks).disparity
        config = LayersConfig(max_layers=num)
        ours = assign_layers(disparity, masks, case.photo.camera, VIEW_BOX, config=config)[0]
        maps = {"diorama": ours} | {name: peer(disparity, num) for name, peer in PEERS.items()}
        for name, index in maps.items():
            found = scores.setdefault(name, {})
            for metric, value in grouping_scores(index, case).items():
                found[f"{source}.{metric}"] = value
    for name, metrics in scores.items():
        result.add(f"{case.kind}/{case.name}", name, metrics)


def grouping_scores(index: Array, case: Case) -> dict[str, float]:
    """`ari`, `recall`, `precision` and `order`."""
    true_edge, edge = boundary(case.surfaces), boundary(index)
    return {
        "ari": adjusted_rand_index(index[case.known], case.surfaces[case.known]),
        "recall": found_share(true_edge, edge),
        "precision": found_share(edge, true_edge),
        "order": order_errors(index, case),
    }


def adjusted_rand_index(a: Array, b: Array) -> float:
    """Agreement of two partitions: 1 the same, 0 chance."""
    table = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(table, (a, b), 1)

    def pairs(count: Array) -> float:
        return float((count * (count - 1) / 2).sum())

    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / pairs(np.array([a.size]))
    largest = (rows + columns) / 2
    return (both - expected) / (largest - expected) if largest > expected else 1.0


def boundary(labels: Array) -> Array:
    """(H, W) bool: pixels on both sides of an edge between labels."""
    out = np.zeros(labels.shape, bool)
    right, down = labels[:, 1:] != labels[:, :-1], labels[1:] != labels[:-1]
    out[:, 1:] |= right
    out[:, :-1] |= right
    out[1:] |= down
    out[:-1] |= down
    return out


def found_share(wanted: Array, found: Array) -> float:
    """Share of wanted pixels with a found one within reach."""
    if not wanted.any() or not found.any():
        return float(not wanted.any())
    away = cv2.distanceTransform((~found).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return float((away[wanted] <= REACH_PX).mean())


def jumps(truth: Array) -> tuple[Array, Array]:
    """Where a pixel and its right (H, W - 1), and lower (H - 1, W), neighbour truly tear."""
    at_least = 2 * disparity_per_px(Camera.from_fov(truth.shape[1], truth.shape[0]), VIEW_BOX)
    return np.abs(np.diff(truth, axis=1)) > at_least, np.abs(np.diff(truth, axis=0)) > at_least


def order_errors(index: Array, case: Case) -> float:
    """Share of pairs across true occluding edges whose nearer side is not in a nearer layer.

    Both sides are asked `REACH_PX` from the edge if the surface reaches there, so that a mask a
    pixel off is no wrong order.
    """
    wrong = total = 0
    right, down = jumps(case.truth)
    for torn, turned in ((right, False), (down, True)):
        arrays = (torn, index, case.truth, case.surfaces, case.known)
        edge, layer, truth, surface, known = (a.T for a in arrays) if turned else arrays
        y, x = np.nonzero(edge & (surface[:, 1:] != surface[:, :-1]))
        both = known[y, x] & known[y, x + 1]
        y, x = y[both], x[both]
        left = np.maximum(x - REACH_PX, 0)
        left = np.where(surface[y, left] == surface[y, x], left, x)
        beside = np.minimum(x + 1 + REACH_PX, edge.shape[1])
        beside = np.where(surface[y, beside] == surface[y, x + 1], beside, x + 1)
        nearer = np.sign(truth[y, x] - truth[y, x + 1])
        before = np.sign(layer[y, left] - layer[y, beside])
        wrong += int((before != nearer).sum())
        total += len(y)
    return wrong / total if total else float("nan")


# --- tearing ---


def add_tearing(result: Result, kind: str, synthetic: testing.SyntheticScene) -> None:
    """Render layers from exact depth at the view box's corners."""
    photo, disparity, surfaces = synthetic.photo(), synthetic.disparity(), synthetic.masks()
    masks, num = cut_up(surfaces.labels), len(surfaces.ids)
    config = LayersConfig(max_layers=num)
    layers, _ = extract_layers(photo, disparity, masks, VIEW_BOX, config=config)
    inpainter = registry.load("inpainter", "embedded")
    whole = fill_layers(photo, layers, disparity, inpainter=inpainter)
    stacks = {"diorama": whole, "diorama, unextended": [without_hole(layer) for layer in layers]}
    for name, peer in PEERS.items():
        stacks[name] = hard_layers(photo, disparity, peer(disparity, num))
    views = [synthetic.camera.at(*corner) for corner in VIEW_BOX.corners()]
    for name, stack in stacks.items():
        scene = Scene(photo, VIEW_BOX, disparity, disparity, surfaces, tuple(stack))
        scores = [tearing(scene, synthetic, view) for view in views]
        gap, stretched = np.mean(scores, axis=0)
        result.add(f"{kind}/tearing", name, {"gap_px": gap, "stretched": stretched})


def without_hole(layer: Layer) -> Layer:
    """A layer as far as the photo shows it."""
    rgba = layer.rgba.copy()
    rgba[layer.hole, 3] = 0
    return replace(layer, rgba=rgba, hole=np.zeros_like(layer.hole))


def hard_layers(photo: Photo, disparity: Array, index: Array) -> list[Layer]:
    """Layers that are cut out of the photo and nothing more."""
    nothing = np.zeros(index.shape, bool)
    return [
        Layer(np.dstack([photo.rgb, (index == k).astype(np.float32)]), disparity, nothing, (k,))
        for k in range(int(index.max()) + 1)
    ]


def tearing(scene: Scene, synthetic: testing.SyntheticScene, view: Camera) -> tuple[float, float]:
    """Alpha missing and share seen stretched, of what the photo shows."""
    frame, labels = synthetic.look(view, supersample=1)
    height, width = labels.shape
    y, x = np.mgrid[:height, :width] + 0.5
    back = synthetic.camera.camera_to_world[:3, 3] - view.camera_to_world[:3, 3]
    u, v = project_from(view, back, x, y, frame.disparity)
    inside = (u > 2) & (v > 2) & (u < width - 2) & (v < height - 2)
    column = np.clip(np.floor(u), 1, width - 2).astype(int)
    row = np.clip(np.floor(v), 1, height - 2).astype(int)
    photo_labels = scene.masks.labels
    seen = inside & (photo_labels[row, column] == labels)
    # What is seen in the view, where the photo saw it.
    z = 1 / frame.disparity - back[2]
    seen &= np.abs(scene.disparity[row, column] * z - 1) < 0.02
    # Where truth jumps, an edge is soft by right and what lies behind comes into view.
    seen &= (edge_distance(*jumps(scene.disparity)) > EDGE_PX)[row, column]
    found = scene.render(view)
    missing = float((1 - found.alpha)[seen].sum())
    per_px = disparity_per_px(scene.camera, VIEW_BOX)
    wrong = np.abs(found.disparity - frame.disparity) > per_px
    covered = seen & (found.alpha > 0.5)
    return missing, float(wrong[covered].mean())


# --- soft edges ---


def composed(
    scene: testing.SyntheticScene, front: int, sigma_px: float
) -> tuple[Array, Array, Array]:
    """The photo, true alpha and true mask of a surface out of focus."""
    camera, fine = scene.camera, 8
    large = camera.resized(camera.width * fine, camera.height * fine)
    labels = scene.look(large, supersample=1)[1] == front
    alpha = labels.reshape(camera.height, fine, camera.width, fine).mean((1, 3))
    if sigma_px:
        alpha = cv2.GaussianBlur(alpha, (0, 0), sigma_px)
    rest = tuple(s for k, s in enumerate(scene.surfaces) if k != front)
    behind = testing.SyntheticScene(rest, camera).look(camera)[0].rgb
    endless = replace(scene.surfaces[front], shape=None)  # pyright: ignore[reportArgumentType]
    before = testing.SyntheticScene((endless,), camera).look(camera)[0].rgb
    rgb = alpha[..., None] * before + (1 - alpha[..., None]) * behind
    rgb = np.rint(rgb * 255).astype(np.float32) / 255
    band = (alpha > 0.004) & (alpha < 0.996)
    return rgb, alpha.astype(np.float32), cv2.dilate(band.astype(np.uint8), np.ones((5, 5))) > 0


def read_matte(item: dict[str, Any]) -> tuple[Array, Array, Array]:
    """The photo, the true alpha and the unknown band of a real matte."""

    def read(name: str) -> Array:
        return np.asarray(Image.open(item["root"] / item["files"][name]).convert("L"))

    rgb = read_rgb(item).astype(np.float32) / 255
    trimap = read("trimap")
    return rgb, read("gt").astype(np.float32) / 255, (trimap > 0) & (trimap < 255)


def add_mattes(result: Result, item: str, rgb: Array, truth: Array, band: Array) -> None:
    """Alpha errors of all methods, mean over masks that are exact, too large and too small."""
    exact = (truth > 0.5).astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    masks = [exact, cv2.dilate(exact, cross), cv2.erode(exact, cross)]
    for name, method in MATTING.items():
        errors = [np.abs(method(rgb, mask > 0) - truth)[band] for mask in masks]
        exact_error = errors[0].astype(np.float64)
        result.add(
            f"{item}/alpha",
            name,
            {
                "sad": float(exact_error.sum()) / 1000,
                "mse": float(np.square(exact_error).mean()),
                "off.sad": float(np.mean([e.sum() for e in errors[1:]])) / 1000,
                "off.mse": float(np.mean([np.square(e).mean() for e in errors[1:]])),
            },
        )


def our_alpha(rgb: Array, mask: Array) -> Array:
    """`edge_matte` around the whole mask."""
    y, x = np.nonzero(mask[:, 1:] != mask[:, :-1])
    v, u = np.nonzero(mask[1:] != mask[:-1])
    width = mask.shape[1]
    beside = [y * width + x, y * width + x + 1, v * width + u, (v + 1) * width + u]
    matte = edge_matte(rgb, mask, ~mask, np.concatenate(beside), config=MattingConfig())
    alpha = mask.astype(np.float32)
    alpha.ravel()[matte.pixels] = matte.alpha
    return alpha


def guided(rgb: Array, mask: Array) -> Array:
    """He et al. 2010, as wide as our band; the mask is the input."""
    band = MattingConfig().band_px(*mask.shape)
    radius = round(2 * band)
    alpha = cv2.ximgproc.guidedFilter(rgb, mask.astype(np.float32), radius, 1e-4)
    return np.clip(alpha, 0, 1)


MATTING: dict[str, Callable[[Array, Array], Array]] = {
    "diorama": our_alpha,
    "hard mask": lambda rgb, mask: mask.astype(np.float32),
    "feathered 1 px": lambda rgb, mask: cv2.GaussianBlur(mask.astype(np.float32), (0, 0), 1.0),
    "guided filter": guided,
}


# --- speed ---


def add_speed(result: Result) -> None:
    """CPU time at 1920x1080 with 200 masks, on warm kernels: least of ten, taking turns."""
    height, width = 1080, 1920
    small = testing.floor_and_people(width // 4, height // 4)
    random = np.random.default_rng(SEED)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    nearest, labels = np.full((height, width), np.inf, np.float32), np.zeros((height, width), int)
    for index, (row, column) in enumerate(random.random((200, 2)) * [height, width]):
        away = (y - row) ** 2 + (x - column) ** 2
        labels[away < nearest] = index
        nearest = np.minimum(nearest, away)
    masks = Masks(labels.astype(np.int32), np.arange(200, dtype=np.int32))
    disparity = cv2.resize(small.disparity(), (width, height), interpolation=cv2.INTER_LINEAR)
    rgb = cv2.resize(small.photo().rgb, (width, height))
    photo = photo_of(np.rint(rgb * 255).astype(np.uint8))
    per_px = disparity_per_px(photo.camera, VIEW_BOX)
    boundaries = mask_boundaries(disparity, masks.labels, photo.camera, VIEW_BOX, min_gap_px=1.0)
    calls: dict[str, Callable[[], object]] = {
        "statistics and clustering": lambda: _cluster(
            mask_statistics(disparity, masks), boundaries, per_px, LayersConfig()
        ),
        "boundaries": lambda: mask_boundaries(
            disparity, masks.labels, photo.camera, VIEW_BOX, min_gap_px=1.0
        ),
        "extract_layers": lambda: extract_layers(photo, disparity, masks, VIEW_BOX),
        "k-means": lambda: kmeans(disparity, 4),
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(6):
        for name, call in calls.items():
            begin, cpu = time.perf_counter(), time.process_time()
            call()
            spent = time.process_time() - cpu, time.perf_counter() - begin
            times[name].append((spent[0] * 1e3, spent[1] * 1e3))
    for name, values in times.items():
        cpu, wall = np.min(values[1:], axis=0)
        result.add("speed/1080p-200-masks", name, {"cpu_ms": cpu, "ms": wall})


if __name__ == "__main__":
    main()
