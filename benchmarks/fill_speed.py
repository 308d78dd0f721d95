"""Time and memory of filling: against pyamg, against the hole's size and against the photo's.

Times are CPU time of the process, all its threads together: the least of a few runs that take
turns, so that other work on the machine counts for little. `wall_ms` is the least wall time.

    python benchmarks/fill_speed.py [--json FILE] [--quick]
"""

import time
from collections.abc import Callable, Mapping

import cv2
import numpy as np
from common import Result, arguments

from diorama.arrays import Array, Mask, Rgb
from diorama.camera import Camera
from diorama.inpaint import FillTask, fill_disparity, fill_layers
from diorama.kernels.harmonic import solve_harmonic
from diorama.layers import Layer
from diorama.models.exemplar import Exemplar
from diorama.photo import Photo

SEED = 0
FULL_HD = (1080, 1920)
RING_PX = 40
"""Width of a hole along an object's outline."""
RADIUS_PX = 300
"""Of the object at 1080p: its hole has 80,000 pixels."""
SMALL_RADIUS_PX = 60
"""Of objects whose holes have 20,000 pixels each."""
PHOTO_SIZES = {"2 MP": (1080, 1920), "8 MP": (2448, 3264), "24 MP": (4000, 6000)}
NUM_HOLES = (1, 2, 4, 8)
AMG_TOLERANCE = 1e-5
"""Of the residual: leaves an error as small as ours."""


def discs(shape: tuple[int, int], centers: list[tuple[int, int]], radius: int) -> tuple[Mask, Mask]:
    """The occluder, and a hole of `RING_PX` around it."""
    inner, outer = np.zeros((2, *shape), np.uint8)
    for x, y in centers:
        cv2.circle(outer, (x, y), radius + RING_PX, 1, -1)
        cv2.circle(inner, (x, y), radius, 1, -1)
    return inner > 0, (outer > 0) & (inner == 0)


def texture(shape: tuple[int, int]) -> Rgb:
    """Noise at all scales."""
    rng = np.random.default_rng(SEED)
    total = np.full((*shape, 3), 0.5, np.float32)
    for octave in range(6):
        size = (shape[1] >> octave) + 1, (shape[0] >> octave) + 1
        noise = rng.random((size[1], size[0], 3), np.float32) - 0.5
        noise = cv2.resize(noise, (shape[1], shape[0]), interpolation=cv2.INTER_LINEAR)
        total += np.float32(0.1) * noise
    return np.clip(total, 0, 1)


def measure(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, dict[str, float]]:
    """Least CPU and wall milliseconds of each call, the calls taking turns."""
    least = {name: {"cpu_ms": np.inf, "wall_ms": np.inf} for name in calls}
    for turn in range(repeats + 1):
        for name, call in calls.items():
            cpu, wall = time.process_time(), time.perf_counter()
            call()
            spent = {
                "cpu_ms": (time.process_time() - cpu) * 1e3,
                "wall_ms": (time.perf_counter() - wall) * 1e3,
            }
            if turn:  # the first is the warm-up
                least[name] = {key: min(least[name][key], spent[key]) for key in spent}
    return least


def equations(values: Array, known: Mask, hole: Mask) -> tuple:
    """The same linear system as a sparse matrix and its right side."""
    from scipy.sparse import csr_matrix

    index = np.full(hole.shape, -1)
    index[hole] = np.arange(hole.sum())
    rows, columns = np.nonzero(hole)
    diagonal, rhs = np.zeros(rows.size), np.zeros(rows.size)
    here, there = [], []
    for dy, dx in ((0, -1), (0, 1), (-1, 0), (1, 0)):
        y, x = rows + dy, columns + dx  # the hole keeps clear of the picture's edge
        pull = known[y, x]
        rhs += np.where(pull, values[y, x], 0)
        diagonal += pull | hole[y, x]
        here.append(index[rows, columns][hole[y, x]])
        there.append(index[y, x][hole[y, x]])
    here, there = np.concatenate(here), np.concatenate(there)
    every = np.arange(rows.size)
    entries = np.r_[diagonal, np.full(here.size, -1.0)]
    return csr_matrix((entries, (np.r_[every, here], np.r_[every, there]))), rhs


def add_disparity_rows(result: Result, repeats: int) -> None:
    """The harmonic rest of a disparity fill beside pyamg on the same equations."""
    occluder, hole = discs(FULL_HD, [(960, 540)], RADIUS_PX)
    known = ~occluder & ~hole
    y, x = np.mgrid[: FULL_HD[0], : FULL_HD[1]].astype(np.float32)
    values = (0.3 + 1e-4 * x + 0.1 * np.sin(x / 40) * np.cos(y / 60)).astype(np.float32)
    item = f"disparity, {hole.sum()} hole pixels"
    calls: dict[str, Callable[[], object]] = {
        "harmonic": lambda: solve_harmonic(values[..., None], known, hole)[:, 0],
        "plane and harmonic": lambda: fill_disparity(values, known, hole),
    }
    errors = {}
    try:
        import pyamg
        from scipy.sparse.linalg import spsolve
    except ImportError:
        print("pyamg is not installed: no comparison (pip install -e .[bench])")
    else:
        matrix, rhs = equations(values, known, hole)
        calls["pyamg Ruge-Stuben"] = lambda: pyamg.ruge_stuben_solver(matrix).solve(
            rhs, tol=AMG_TOLERANCE, accel="cg"
        )
        exact = spsolve(matrix.tocsc(), rhs)
        for name in ("harmonic", "pyamg Ruge-Stuben"):
            errors[name] = {"error": float(np.abs(np.asarray(calls[name]()) - exact).max())}
    for name, spent in measure(calls, repeats).items():
        result.add(item, name, {**spent, **errors.get(name, {})})


def add_exemplar_rows(result: Result, repeats: int) -> None:
    """One long hole at 1080p, then more and more of them in one photo."""
    rgb = texture(FULL_HD)
    occluder, hole = discs(FULL_HD, [(960, 540)], RADIUS_PX)
    tasks = {f"exemplar, one hole of {hole.sum()} pixels, 1080p": _task(rgb, occluder, hole)}
    shape = PHOTO_SIZES["8 MP"]
    rgb = texture(shape)
    for number in NUM_HOLES:
        centers = [(400 + 800 * (k % 4), 600 + 1200 * (k // 4)) for k in range(number)]
        occluder, hole = discs(shape, centers, SMALL_RADIUS_PX)
        item = f"exemplar, {hole.sum()} pixels in {number} holes, 8 MP"
        tasks[item] = _task(rgb, occluder, hole)
    calls = {
        item: lambda task=task: Exemplar().inpaint([task], seed=SEED)
        for item, task in tasks.items()
    }
    for item, spent in measure(calls, repeats).items():
        pixels = tasks[item].hole.sum()
        result.add(item, "diorama", {**spent, "cpu_us_per_px": spent["cpu_ms"] * 1e3 / pixels})


def _task(rgb: Rgb, occluder: Mask, hole: Mask) -> FillTask:
    return FillTask(rgb, ~occluder & ~hole, hole)


def add_photo_size_rows(result: Result, repeats: int) -> None:
    """The whole stage with the same hole in larger and larger photos."""
    calls = {}
    for name, shape in PHOTO_SIZES.items():
        rgb = texture(shape)
        occluder, hole = discs(shape, [(960, 540)], RADIUS_PX)
        rgba = np.dstack([rgb, (~occluder).astype(np.float32)])
        disparity = np.full(shape, 0.3, np.float32)
        layer = Layer(rgba, disparity, hole, (0,))
        photo = Photo(rgb, rgb, Camera.from_fov(shape[1], shape[0]))
        seen = np.where(occluder | hole, np.float32(1), disparity)
        calls[f"stage, {hole.sum()} hole pixels, {name}"] = lambda p=photo, la=layer, s=seen: (
            fill_layers(p, [la], s, inpainter=Exemplar(), seed=SEED)
        )
    for item, spent in measure(calls, repeats).items():
        result.add(item, "diorama", spent)


def main() -> None:
    args = arguments("Time filling.", needs_data=False)
    repeats = 2 if args.quick else 5
    result = Result("fill_speed", seed=SEED)
    add_disparity_rows(result, repeats)
    add_exemplar_rows(result, repeats)
    add_photo_size_rows(result, repeats)
    for row in result.rows:
        print(row["item"], row["method"], {k: float(f"{v:.3g}") for k, v in row["metrics"].items()})
    result.finish(args)


if __name__ == "__main__":
    main()
