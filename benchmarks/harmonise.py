"""How much closer harmonised depth is to the truth near its edges, and what it costs.

Every dense ground-truth disparity is blurred as an estimator would (Gaussian of 0.3 % and 0.6 % of
the width; down- and up-sampling by 8) and gets 1 % smooth noise. Masks come from the true depth
edges (`true_masks`), and from our own segmenter, which sees photo and blurred depth (`own_masks`).

- `edge_mae`: mean absolute error within 8 px of true edges, in percent of the disparity range
- `interior_mae`: the same elsewhere
- `wrong_side`: share of pixels within 5 px of a true edge that are nearer to the other side
- `boundary_f1`: Depth Pro's, of steps in depth by 5, 10, .. 25 % from pixel to pixel

An edge is a step of more than 4 % of the range (2nd to 98th percentile) between neighbours. The
Fast Bilateral Solver takes part where Debian's python3-opencv is installed.
"""

import argparse
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from common import Result, arguments, load_items, read_rgb, read_truth
from scipy import sparse
from scipy.sparse.csgraph import connected_components, minimum_spanning_tree

from diorama import registry
from diorama.arrays import Array
from diorama.camera import Camera
from diorama.harmonise import harmonise
from diorama.masks import Masks
from diorama.photo import Photo

EDGE_STEP = 0.04
"""Step between neighbours that is an edge, as part of the disparity range."""

EDGE_REACH_PX = 8
"""How far from a true edge a pixel counts as near it."""

SIDE_REACH_PX = 5
"""How far from a true edge a pixel's side is asked for."""

NOISE = 0.01
"""Standard deviation of the noise, as part of the disparity range; smooth over 1 % of the width."""

BOUNDARY_PERCENT = (5, 10, 15, 20, 25)
"""Steps in depth that are boundaries."""

SOLVER_PYTHON = "/usr/bin/python3"
"""A Python whose OpenCV has the Fast Bilateral Solver."""

REPEATS = 7
"""Timed calls of each method, taking turns."""

BLURS = ("gauss-0.3%", "gauss-0.6%", "down-8")


def main() -> None:
    args = arguments("harmonise: error near true depth edges")
    result = Result("harmonise")
    solver = Solver.start()
    if solver:
        PEERS["fast bilateral solver"] = lambda rgb, estimate: solver.filter(rgb, estimate)[0]
    for item in dense_items(args):
        photo = photo_of(read_rgb(item))
        truth, known = filled(read_truth(item))
        scale = float(np.percentile(truth[known], 98) - np.percentile(truth[known], 2))
        truth, scale = (truth / scale).astype(np.float32), 1.0
        true_masks = masks_from_truth(truth)
        for blur in BLURS:
            estimate = as_estimated(truth, blur)
            own_masks = registry.load("segmenter", "embedded").segment(
                photo, (estimate / np.percentile(estimate, 99.5)).astype(np.float32)
            )
            with_true = harmonise(photo, estimate, true_masks).disparity
            with_own = harmonise(photo, estimate, own_masks).disparity
            outputs: dict[str, tuple[Array, Array]] = {"diorama": (with_true, with_own)}
            for name, peer in PEERS.items():
                output = peer(photo.rgb, estimate)  # knows no masks
                outputs[name] = (output, output)
            for method, pair in outputs.items():
                metrics = {
                    f"{prefix}.{name}": value
                    for prefix, output in zip(("true_masks", "own_masks"), pair, strict=True)
                    for name, value in score(output, truth, known).items()
                }
                result.add(f"{item['id']}/{blur}", method, metrics)
    if not args.quick:
        add_speed(result, solver)
    result.finish(args)
    print_against_input(result)


def dense_items(args: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Items whose truth is dense disparity, measured at the photo's size."""
    found = [
        item
        for item in load_items(args.data, ("stereo", "depth"))
        if item["gt"].get("dense") and item["gt"]["key"] == "disparity"
    ]
    yield from found[:3] if args.quick else found


def photo_of(rgb: Array) -> Photo:
    """A photo from bytes."""
    height, width = rgb.shape[:2]
    return Photo(rgb.astype(np.float32) / 255, rgb, Camera.from_fov(width, height))


def filled(truth: Array) -> tuple[Array, Array]:
    """Truth with its gaps filled from the farther neighbour in the row, and where it was known."""
    known = np.isfinite(truth) & (truth > 0)
    width = truth.shape[1]
    columns = np.arange(width)
    left = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    right = np.minimum.accumulate(np.where(known, columns, width)[:, ::-1], axis=1)[:, ::-1]
    from_left = np.take_along_axis(truth, np.maximum(left, 0), 1)
    from_right = np.take_along_axis(truth, np.minimum(right, width - 1), 1)
    out = np.minimum(
        np.where(left >= 0, from_left, np.inf), np.where(right < width, from_right, np.inf)
    )
    empty = ~np.isfinite(out)
    if empty.any():
        _, nearest = cv2.distanceTransformWithLabels(
            empty.astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
        )
        values = np.zeros(int(nearest.max()) + 1, np.float32)
        nearest = nearest.astype(np.intp)
        values[nearest[~empty]] = out[~empty]
        out = values[nearest]
    return out.astype(np.float32), known


def as_estimated(truth: Array, blur: str) -> Array:
    """The truth as an estimator would see it."""
    height, width = truth.shape
    if blur == "down-8":
        size = max(1, round(width / 8)), max(1, round(height / 8))
        small = cv2.resize(truth, size, interpolation=cv2.INTER_AREA)
        blurred = cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC)
    else:
        percent = float(blur.removeprefix("gauss-").removesuffix("%"))
        blurred = cv2.GaussianBlur(truth, (0, 0), percent / 100 * width)
    noise = np.random.default_rng(0).standard_normal((height, width)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 0.01 * width)
    return np.maximum(blurred + NOISE * noise / noise.std(), 0).astype(np.float32)


def steps(truth: Array) -> tuple[Array, Array]:
    """Edges between a pixel and its right (H, W - 1) and lower (H - 1, W) neighbour."""
    right = np.abs(np.diff(truth, axis=1)) > EDGE_STEP
    return right, np.abs(np.diff(truth, axis=0)) > EDGE_STEP


def edge_distance(right: Array, down: Array) -> Array:
    """Distance (H, W) in pixels to the nearest pixel beside an edge."""
    flat = np.ones((right.shape[0], down.shape[1]), np.uint8)
    flat[:, 1:][right] = flat[:, :-1][right] = 0
    flat[1:][down] = flat[:-1][down] = 0
    if flat.all():
        return np.full(flat.shape, np.inf, np.float32)
    return np.asarray(cv2.distanceTransform(flat, cv2.DIST_L2, cv2.DIST_MASK_PRECISE))


def masks_from_truth(truth: Array) -> Masks:
    """Masks whose edges hold all true depth edges, closed at necks: a watershed cut.

    Seeds are what lies far from edges, then what lies less far and holds no seed yet. They grow
    along the least disparity difference (a minimum spanning forest), deepest parts first.
    """
    height, width = truth.shape
    distance = edge_distance(*steps(truth))
    seeds = np.zeros((height, width), np.int32)
    for depth in (0.03 * width, 0.015 * width, 8, 4, 2, 1, 0):
        count, parts = cv2.connectedComponents((distance > depth).astype(np.uint8), connectivity=4)
        parts = parts.astype(np.intp)
        fresh = np.ones(count, bool)
        fresh[0] = False
        fresh[np.unique(parts[seeds > 0])] = False
        names = np.zeros(count, np.int32)
        names[fresh] = seeds.max() + 1 + np.arange(fresh.sum())
        seeds = np.where(names[parts] > 0, names[parts], seeds)
    index = np.arange(height * width).reshape(height, width)
    a = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    b = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    difference = [np.abs(np.diff(truth, axis=axis)).ravel() / EDGE_STEP for axis in (1, 0)]
    depth = np.minimum(distance.ravel()[a], distance.ravel()[b])
    weight = np.minimum(np.concatenate(difference), 100) + 1 - 1e-3 * np.minimum(depth / width, 1)
    # One extra vertex for every seed ties its pixels, and a root ties the seeds; cutting at the
    # root leaves one tree for each.
    pixels, num = np.flatnonzero(seeds), int(seeds.max())
    root = height * width + num
    a = np.concatenate([a, pixels, height * width + np.arange(num)])
    b = np.concatenate([b, height * width + seeds.ravel()[pixels] - 1, np.full(num, root)])
    weight = np.concatenate([weight, np.full(len(pixels), 1e-6), np.full(num, 1e-7)])
    graph = sparse.coo_matrix((weight, (a, b)), shape=(root + 1, root + 1)).tocsr()
    tree = minimum_spanning_tree(graph).tocoo()
    keep = (tree.row != root) & (tree.col != root)
    forest = sparse.coo_matrix((tree.data[keep], (tree.row[keep], tree.col[keep])), tree.shape)
    _, trees = connected_components(forest, directed=False)
    ids, labels = np.unique(trees[: height * width], return_inverse=True)
    return Masks(
        labels.reshape(height, width).astype(np.int32), np.arange(len(ids), dtype=np.int32)
    )


def score(output: Array, truth: Array, known: Array) -> dict[str, float]:
    """Errors near edges between known pixels, and elsewhere."""
    right, down = steps(truth)
    right &= known[:, 1:] & known[:, :-1]
    down &= known[1:] & known[:-1]
    near = edge_distance(right, down) < EDGE_REACH_PX
    error = 100 * np.abs(output - truth)
    return {
        "edge_mae": float(error[near & known].mean()) if (near & known).any() else float("nan"),
        "interior_mae": float(error[~near & known].mean()),
        "wrong_side": wrong_side(output, truth, right, down),
        "boundary_f1": boundary_f1(output, truth, known),
    }


def wrong_side(output: Array, truth: Array, right: Array, down: Array) -> float:
    """Share of the pixels 1 to 5 steps off an edge that are nearer to what lies across it."""
    wrong = total = 0
    for out, gt, edge in ((output, truth, right), (output.T, truth.T, down.T)):
        y, x = np.nonzero(edge)
        for reach in range(SIDE_REACH_PX):
            for own, other in ((x - reach, x + 1), (x + 1 + reach, x)):
                inside = (own >= 0) & (own < gt.shape[1])
                row, column, across = y[inside], own[inside], other[inside]
                beside = x[inside] + (across == x[inside])
                # Only as long as the pixel still belongs to the surface beside the edge.
                same = np.abs(gt[row, column] - gt[row, beside]) < EDGE_STEP
                row, column, across = row[same], column[same], across[same]
                value = out[row, column]
                to_own = np.abs(value - gt[row, column])
                wrong += int((np.abs(value - gt[row, across]) < to_own).sum())
                total += len(row)
    return wrong / total if total else float("nan")


def boundary_f1(output: Array, truth: Array, known: Array) -> float:
    """Bochkovskii et al. 2024, "Depth Pro", section 3.2: strict, in four directions."""
    total = 0.0
    for percent in BOUNDARY_PERCENT:
        precision, recall = [], []
        for axis in (0, 1):
            both = np.minimum(known[1:], known[:-1]) if axis == 0 else known[:, 1:] & known[:, :-1]
            found, wanted = (
                np.diff(np.log(np.maximum(d, 1e-6)), axis=axis) / np.log1p(percent / 100)
                for d in (output, truth)
            )
            for sign in (1, -1):
                is_found, is_wanted = (sign * found > 1) & both, (sign * wanted > 1) & both
                hits = int((is_found & is_wanted).sum())
                precision.append(hits / max(int(is_found.sum()), 1))
                recall.append(hits / max(int(is_wanted.sum()), 1))
        p, r = float(np.mean(precision)), float(np.mean(recall))
        total += percent * 2 * p * r / max(p + r, 1e-12)
    return total / sum(BOUNDARY_PERCENT)


def guided_filter(rgb: Array, estimate: Array) -> Array:
    """He et al. 2010, radius 1 % of the width."""
    radius = max(2, round(0.01 * rgb.shape[1]))
    return cv2.ximgproc.guidedFilter(rgb, estimate, radius, 1e-4)


def domain_transform(rgb: Array, estimate: Array) -> Array:
    """Gastal and Oliveira 2011, normalised convolution, over 1 % of the width."""
    return cv2.ximgproc.dtFilter(rgb, estimate, 0.01 * rgb.shape[1], 0.1)


def joint_bilateral(rgb: Array, estimate: Array) -> Array:
    """Petschnig et al. 2004, over 1 % of the width."""
    return cv2.ximgproc.jointBilateralFilter(rgb, estimate, -1, 0.1, 0.01 * rgb.shape[1])


class Solver:
    """Barron and Poole 2016, as OpenCV has it, in another process."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        """Talk to a running `bilateral_solver.py`."""
        self.process, self.folder = process, folder

    @classmethod
    def start(cls) -> "Solver | None":
        """Start it, where there is a Python that has the solver."""
        check = "import cv2; cv2.ximgproc.fastBilateralSolverFilter"
        try:
            subprocess.run([SOLVER_PYTHON, "-c", check], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return None
        script = Path(__file__).with_name("bilateral_solver.py")
        process = subprocess.Popen(
            [SOLVER_PYTHON, str(script)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return cls(process, Path(tempfile.mkdtemp()))

    def filter(self, rgb: Array, estimate: Array) -> tuple[Array, tuple[float, float]]:
        """The filtered estimate, and the milliseconds it took, of time and of processors."""
        source, target = self.folder / "in.npz", self.folder / "out.npy"
        np.savez(source, rgb=np.rint(255 * rgb).astype(np.uint8), estimate=estimate)
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{source}\t{target}\n")
        self.process.stdin.flush()
        line = next(line for line in self.process.stdout if line.startswith("ms "))
        ms, cpu_ms = (float(number) for number in line.split()[1:])
        return np.load(target), (ms, cpu_ms)


PEERS: dict[str, Callable[[Array, Array], Array]] = {
    "input": lambda rgb, estimate: estimate,
    "guided filter": guided_filter,
    "domain transform": domain_transform,
    "joint bilateral": joint_bilateral,
}


def add_speed(result: Result, solver: Solver | None) -> None:
    """Time at 1920x1080 with 100 masks, on warm kernels; and with masks that lie beside the edges.

    `ms` is the median time, `cpu_ms` the least time of all processors together, which other work
    on the machine changes little. `ratio` and `cpu_ratio`: the Fast Bilateral Solver over ours.
    """
    height, width = 1080, 1920
    random = np.random.default_rng(0)
    centers = random.random((100, 2)) * [height, width]
    y, x = np.mgrid[:height, :width].astype(np.float32)
    nearest = np.full((height, width), np.inf, np.float32)
    labels = np.zeros((height, width), np.int32)
    for index, (row, column) in enumerate(centers):
        away = (y - row) ** 2 + (x - column) ** 2
        labels[away < nearest] = index
        nearest = np.minimum(nearest, away)
    truth = (0.1 + 0.8 * random.random(100)[labels] + 0.1 * x / width).astype(np.float32)
    texture = (random.random((height, width, 3)) * 255).astype(np.uint8)
    photo = photo_of(cv2.GaussianBlur(texture, (0, 0), 3))
    masks = Masks(labels, np.arange(100, dtype=np.int32))
    beside = Masks(np.roll(labels, 8, axis=1), masks.ids)
    for blur in BLURS:
        estimate = as_estimated(truth, blur)
        calls: dict[str, Callable[[], object]] = {
            "diorama": lambda e=estimate: harmonise(photo, e, masks),
            "beside": lambda e=estimate: harmonise(photo, e, beside),
            "guided filter": lambda e=estimate: guided_filter(photo.rgb, e),
            "domain transform": lambda e=estimate: domain_transform(photo.rgb, e),
        }
        if solver:
            calls["fast bilateral solver"] = lambda e=estimate: solver.filter(photo.rgb, e)[1]
        times = taking_turns(calls)
        ours = times["diorama"]
        ours["masks_beside_ms"] = times.pop("beside")["ms"]
        if solver:
            theirs = times["fast bilateral solver"]
            ours["ratio"] = theirs["ms"] / ours["ms"]
            ours["cpu_ratio"] = theirs["cpu_ms"] / ours["cpu_ms"]
        for method, metrics in times.items():
            result.add(f"1080p-100-masks/{blur}", method, metrics)


def taking_turns(calls: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Time warm calls; one that returns a pair of numbers has measured itself."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for turn in range(REPEATS + 1):
        for name, call in calls.items():
            begin, begin_cpu = time.perf_counter(), time.process_time()
            own = call()
            taken = time.perf_counter() - begin, time.process_time() - begin_cpu
            if turn > 0:  # the first warms up
                found[name].append(
                    own if isinstance(own, tuple) else (taken[0] * 1e3, taken[1] * 1e3)
                )
    return {
        name: {
            "ms": statistics.median(ms for ms, _ in values),
            "cpu_ms": min(cpu_ms for _, cpu_ms in values),
        }
        for name, values in found.items()
    }


def print_against_input(result: Result) -> None:
    """How each measure compares to the input's, picture by picture."""
    rows = {(row["item"], row["method"]): row["metrics"] for row in result.rows}
    for method in dict.fromkeys(row["method"] for row in result.rows):
        for measure in ("true_masks.edge_mae", "own_masks.edge_mae", "own_masks.interior_mae"):
            ratios = [
                metrics[measure] / rows[item, "input"][measure] - 1
                for (item, name), metrics in rows.items()
                if name == method and measure in metrics
            ]
            if method != "input" and ratios:
                print(
                    f"{method}, {measure}: mean of ratios {100 * np.mean(ratios):+.1f} %, "
                    f"worst {100 * max(ratios):+.1f} %, "
                    f"better on {100 * np.mean(np.array(ratios) < 0):.0f} %"
                )


if __name__ == "__main__":
    main()
