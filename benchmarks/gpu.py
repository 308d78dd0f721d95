"""The GPU kernels: launches, bytes, what they take on a GPU if there is one, and a model if not.

The stages' kernels on a scene made of a photo (the first large one in `--data`, or the bundled one)
at 720p, 1080p and 4K.

- ``launches``: of our kernels and of torch's, in one call.
- ``mb``: bytes moved, in millions. Every array that a launch is handed counts once, twice if it is
  changed in place; of what a launch skips where a tile holds nothing of the hole or band, only the
  other tiles count. All iterations count, though those after the last needed return at once.
- ``floor_ms``: those bytes at 504 GB/s, what a consumer's card (RTX 4070) moves.
- ``modelled_ms``: the floor and 5 us a launch. Modelled, not measured.
- ``graph_ms``, ``eager_ms``: measured, if there is a GPU: the median of 20 replays of a CUDA graph,
  and of 20 calls. ``differs``: the share of values more than 0.002 from the CPU's.

Without a GPU the launches are counted and not run.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import common
import cv2
import numpy as np
import torch
from stages import choose, write_photo
from torch.utils._python_dispatch import TorchDispatchMode
from triton.runtime.jit import JITFunction

from diorama.config import SceneConfig
from diorama.harmonise import MAX_NODES_ACROSS, HarmoniseConfig
from diorama.kernels import _triton as twins
from diorama.kernels._triton import harmonic, mask_grid, mask_statistics, matting, planes, rasterise
from diorama.kernels.harmonic import fill_harmonic
from diorama.kernels.mask_grid import (
    CAPACITY,
    GridProblem,
    blend,
    build_grid,
    mark_jumps,
    slice_grid,
    solve_grid,
)
from diorama.kernels.mask_statistics import mask_statistics as take_statistics
from diorama.kernels.matting import matte_band
from diorama.layers import SAMPLES_PER_MASK
from diorama.mpi import build_mpi, render_mpi
from diorama.pipeline import photo_to_scene
from diorama.render import Renderer
from diorama.scene import Scene

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4K": (3840, 2160)}

BANDWIDTH = 504e9
"""Bytes a second of the card that is modelled."""

LAUNCH_S = 5e-6

NUM_PLANES = 32

SORT_LAUNCHES, SORT_PASSES = 8, 4
"""Of torch.sort on 16-bit keys: it fills in indices, counts digits, and moves all twice."""

SKIPPING = {
    "mask_grid._begin": {"seen", "trust", "coverage", "scale"},
    "mask_grid._advance": {"seen", "coverage"},
    "mask_grid._apply": {"seen", "coverage"},
    "mask_grid._step": {"scale"},
    "mask_grid._see": {"seen", "coverage"},
    "harmonic._link": {"hole", "code"},
    "harmonic._begin": set(),
    "harmonic._restrict": set(),
    "harmonic._black_up": set(),
    "harmonic._red_up": set(),
    "harmonic._advance": set(),
    "harmonic._step": set(),
    "harmonic._finish": {"values", "hole", "filled"},
    "matting._mix": {"band"},
    "matting._smooth": {"band", "certain", "alpha"},
    "mask_statistics._summarise": {"starts"},
}
"""Kernels that leave out tiles or vertices, and the arrays that they see whole all the same."""

CHANGED = {
    "harmonic._begin": {"residual"},
    "harmonic._red_up": {"v"},
    "harmonic._step": {"solution", "residual"},
    "rasterise._find": {"keys"},
    "mask_grid._advance": {"direction"},
    "mask_grid._step": {"surface", "residual"},
}
"""Arrays that are read and written."""

ON_GPU = torch.cuda.is_available()
DEVICE = "cuda" if ON_GPU else "cpu"


def main() -> None:
    args = common.arguments(__doc__ or "", needs_data=False)
    if not ON_GPU:
        # All kernels are imported by now, and so for a GPU: this only lets tensors on the CPU in.
        assert mask_grid
        assert mask_statistics
        os.environ["TRITON_INTERPRET"] = "1"
    result = common.Result("gpu")
    sizes = {"1080p": SIZES["1080p"]} if args.quick else SIZES
    for name, (width, height) in sizes.items():
        scene = make_scene(choose(args.data), width, height)
        total: dict[str, float] = {}
        for stage, work in stages(scene).items():
            metrics = measure(work)
            result.add(scene.photo.name, f"{stage}, {name}", metrics)
            if stage != "render, 32 planes":  # a frame is rendered once, as meshes or as planes
                for metric, value in metrics.items():
                    total[metric] = total.get(metric, 0) + value
        total.pop("differs", None)
        result.add(scene.photo.name, f"all, {name}", total)
    device = torch.cuda.get_device_name() if ON_GPU else "no GPU: launches are counted, not run"
    print(f"{device}; torch {torch.__version__}")
    result.finish(args)


def make_scene(source: Path, width: int, height: int) -> Scene:
    """A scene of the photo's middle at this size."""
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / f"{source.stem}.jpg"
        write_photo(source, photo, width, height)
        return photo_to_scene(photo, config=SceneConfig(max_size=width, texture_size=width))


@dataclass(frozen=True)
class Work:
    """One stage's kernels on given inputs."""

    call: Callable[[], Any]
    """On the device; returns tensors."""
    expected: Callable[[], Any]
    """The same from the CPU."""
    shares: Mapping[tuple[int, int], float] = field(default_factory=dict)
    """The share that is not skipped of arrays with these rows and columns; of all, if one."""


def stages(scene: Scene) -> dict[str, Work]:
    """The work of every stage, its inputs on the device."""
    camera = scene.camera.at(*scene.view_box.corners()[0])
    mpi = build_mpi(scene.layers, scene.camera, num_planes=NUM_PLANES, view_box=scene.view_box)
    tensors, renderer = mpi.to(DEVICE), Renderer(scene, device=DEVICE)
    return {
        "harmonise": harmonise_work(scene),
        "layers: statistics": statistics_work(scene),
        "layers: mattes": matte_work(scene),
        "disparity fill": fill_work(scene),
        "render, meshes": Work(
            lambda: tuple(vars(renderer(camera)).values()),
            lambda: tuple(vars(scene.render(camera)).values()),
        ),
        "render, 32 planes": Work(
            lambda: tuple(vars(render_mpi(tensors, camera)).values()),
            lambda: tuple(vars(render_mpi(mpi, camera)).values()),
        ),
    }


def harmonise_work(scene: Scene) -> Work:
    """The mask grid as `harmonise` builds, solves and reads it, for an estimate's usual blur."""
    labels, disparity = scene.masks.labels, scene.disparity
    long_side = max(labels.shape)
    blur_px = 0.004 * long_side
    spacing = float(round(max(blur_px, long_side / MAX_NODES_ACROSS)))
    edges = np.ones(labels.shape, np.uint8)
    edges[:, 1:] &= labels[:, 1:] == labels[:, :-1]
    distance = cv2.distanceTransform(edges, cv2.DIST_L2, 5)
    config = HarmoniseConfig()

    def call(labels, disparity, distance):
        """On arrays and tensors alike."""
        grid, mean = build_grid(labels, disparity, spacing)
        seen = grid.see(mean)
        problem = GridProblem(
            mean,
            mean < 0,
            seen,
            seen * 0 + 1,
            grid.right_share * config.smoothness,
            grid.down_share * config.smoothness,
            grid.pairs[:, 0] * np.float32(0),
            blur_px / spacing,
        )
        surface = mean
        for _ in range(config.rounds):
            surface, *_ = solve_grid(
                grid,
                problem,
                surface,
                max_iterations=config.max_iterations,
                tolerance=config.tolerance,
            )
        sliced = slice_grid(grid, labels, surface, disparity)
        mark_jumps(labels, sliced, 0.02)
        return (
            blend(
                grid,
                disparity,
                sliced,
                confidence=seen[:1, :1] * 0 + 1,
                distance=distance,
                band_px=(blur_px, 3 * blur_px),
                strength=problem.trust,
            ),
        )

    arrays = (labels, disparity, distance)
    inputs = on_device(*arrays)
    grid, _ = build_grid(labels, disparity, spacing)
    used = len(grid.label) / (CAPACITY * (len(grid.offset) - 1))
    return Work(lambda: call(*inputs), lambda: call(*arrays), {grid.shape: used})


def statistics_work(scene: Scene) -> Work:
    """Of all masks."""
    masks, disparity = scene.masks, scene.disparity
    rows = np.searchsorted(masks.ids, masks.labels).astype(np.int32)
    num = len(masks.ids)
    values, pixels = on_device(disparity, rows)
    area = np.bincount(rows.ravel())
    sampled = np.ceil(area / np.maximum(area // SAMPLES_PER_MASK, 1)).sum() / area.sum()
    return Work(
        lambda: take_statistics(values, pixels, num, samples=SAMPLES_PER_MASK),
        lambda: take_statistics(disparity, rows, num, samples=SAMPLES_PER_MASK),
        {disparity.shape: float(sampled)},
    )


def matte_work(scene: Scene) -> Work:
    """A band along the outline of every layer but the farthest."""
    band_px = 0.0015 * float(np.hypot(*scene.disparity.shape))
    settings = {"reach": int(np.ceil(2 * band_px + 2)), "sigma": band_px, "color_noise": 0.06}
    pictures, shares = [], []
    for layer in scene.layers[1:]:
        inside = (layer.rgba[..., 3] > 0.5).view(np.uint8)
        signed = cv2.distanceTransform(inside, cv2.DIST_L2, 5)
        signed -= cv2.distanceTransform(1 - inside, cv2.DIST_L2, 5)
        band = np.abs(signed) <= band_px
        certain = np.where(band, 0, np.where(inside, 1, 2)).astype(np.uint8)
        pictures.append((scene.photo.rgb, certain, band, signed))
        shares.append(tile_share(band, matting.ROWS, matting.COLUMNS))
    inputs = [on_device(*arrays) for arrays in pictures]
    return Work(
        lambda: tuple(a for i in inputs for a in matte_band(*i, **settings)),
        lambda: tuple(a for i in pictures for a in matte_band(*i, **settings)),
        {scene.disparity.shape: float(np.mean(shares)) if shares else 0.0},
    )


def fill_work(scene: Scene) -> Work:
    """The holes of all layers that have one."""
    layers = [layer for layer in scene.layers if layer.hole.any()]
    hole = np.stack([layer.hole for layer in layers])
    known = np.stack([layer.rgba[..., 3] >= 1 for layer in layers]) & ~hole
    values = np.stack([layer.disparity for layer in layers])[..., None]
    slopes = np.zeros((*hole.shape, 2), np.float32)
    arrays = (values, known, hole)
    inputs, lines = on_device(*arrays), on_device(slopes)[0]
    shares, level = {}, hole
    for size in harmonic._levels(*hole.shape[1:]):
        shares[size] = tile_share(level, harmonic.ROWS, harmonic.COLUMNS)
        level = pooled(level, 2, 2)
    return Work(
        lambda: (fill_harmonic(*inputs, slopes=lines),),
        lambda: (fill_harmonic(*arrays, slopes=slopes),),
        shares,
    )


def tile_share(mask: np.ndarray, rows: int, columns: int) -> float:
    """The share of tiles that hold anything of a mask (..., H, W)."""
    return float(pooled(mask.reshape(-1, *mask.shape[-2:]), rows, columns).mean())


def pooled(mask: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """(L, H, W) bool to whether any pixel of each tile is set."""
    num, height, width = mask.shape
    padded = np.zeros((num, -(-height // rows) * rows, -(-width // columns) * columns), bool)
    padded[:, :height, :width] = mask
    tiles = padded.reshape(num, padded.shape[1] // rows, rows, -1, columns)
    return np.asarray(tiles.any((2, 4)))


def on_device(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.as_tensor(np.ascontiguousarray(a), device=DEVICE) for a in arrays]


class Ledger(TorchDispatchMode):
    """Counts launches of torch's kernels and of ours, and the bytes they move."""

    def __init__(self, shares: Mapping[tuple[int, int], float]) -> None:
        super().__init__()
        self.launches, self.bytes = 0, 0.0
        self._shares = shares

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        """Run one of torch's functions; views and empty arrays launch nothing."""
        result = func(*args, **(kwargs or {}))
        name = func.overloadpacket.__name__
        given = [a for a in args if isinstance(a, torch.Tensor)]
        made = [a for a in (result if isinstance(result, tuple) else [result]) if is_data(a)]
        shared = {a.untyped_storage().data_ptr() for a in given}
        in_place = name.endswith("_")
        view = not in_place and any(a.untyped_storage().data_ptr() in shared for a in made)
        if not view and not name.startswith(("empty", "new_empty", "detach")):
            moved = sum(a.numel() * a.element_size() for a in [*given, *made])
            self.launches += SORT_LAUNCHES if name == "sort" else 1
            self.bytes += moved * (SORT_PASSES if name == "sort" else 1)
        return result

    def launched(self, name: str, arguments: Mapping[str, Any]) -> None:
        """Count one of our kernels."""
        size = arguments.get("height", 0), arguments.get("width", 0)
        if name not in SKIPPING or len(self._shares) == 1:
            size = next(iter(self._shares), size)
        share = self._shares[size] if name in SKIPPING else 1.0
        self.launches += 1
        seen = set()
        for argument, value in arguments.items():
            if isinstance(value, torch.Tensor) and value.data_ptr() not in seen:
                seen.add(value.data_ptr())
                moved = value.numel() * value.element_size()
                moved *= 1.0 if argument in SKIPPING.get(name, ()) else share
                self.bytes += moved * (2 if argument in CHANGED.get(name, ()) else 1)


def is_data(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def count(work: Work) -> Ledger:
    """Call the work once, and count; without a GPU our kernels are not run."""
    ledger, run = Ledger(work.shares), JITFunction.run

    def counted(self, *args, grid, warmup, **options):
        name = f"{self.fn.__module__.rpartition('.')[2]}.{self.fn.__name__}"
        ledger.launched(name, dict(zip(self.arg_names, args, strict=False)))
        return run(self, *args, grid=grid, warmup=warmup, **options) if ON_GPU else None

    with mock.patch.object(JITFunction, "run", counted), ledger:
        work.call()
    return ledger


def measure(work: Work) -> dict[str, float]:
    """One row."""
    with resident_uploads():
        work.call() if ON_GPU else None  # the uploads are done
        ledger = count(work)
        floor_s = ledger.bytes / BANDWIDTH
        row = {
            "launches": float(ledger.launches),
            "mb": ledger.bytes / 1e6,
            "floor_ms": floor_s * 1e3,
            "modelled_ms": (floor_s + ledger.launches * LAUNCH_S) * 1e3,
        }
        if ON_GPU:
            row |= measure_on_gpu(work)
    return row


@contextmanager
def resident_uploads():
    """Keep cameras' few numbers on the device: what is measured is the kernels.

    Nor may a graph copy from the host: what it would copy from is gone by then.
    """
    kept: dict[tuple[bytes, torch.dtype], torch.Tensor] = {}

    def upload(array, like, dtype):
        if isinstance(array, torch.Tensor):
            return twins.upload(array, like, dtype)
        key = (np.asarray(array).tobytes(), dtype)
        if key not in kept:
            kept[key] = twins.upload(array, like, dtype)
        return kept[key]

    with (
        mock.patch.object(planes, "upload", upload),
        mock.patch.object(rasterise, "upload", upload),
    ):
        if not ON_GPU:
            upload_all = mock.patch.object(twins, "upload", twins.upload)
            with upload_all:
                yield
        else:
            yield


def measure_on_gpu(work: Work) -> dict[str, float]:
    """Times by the clock between synchronisations; agreement with the CPU."""
    found = work.call()
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        work.call()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work.call()
    differing = [
        np.abs(a.cpu().numpy().astype(np.float64) - b) > 0.002
        for a, b in zip(found, work.expected(), strict=True)
    ]
    return {
        "graph_ms": time_ms(graph.replay),
        "eager_ms": time_ms(work.call),
        "differs": float(np.mean(np.concatenate([d.ravel() for d in differing]))),
    }


def time_ms(call: Callable[[], object], repeats: int = 20) -> float:
    """Median milliseconds, the device waited for."""
    times = []
    for _ in range(repeats + 3):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        call()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times[3:])


if __name__ == "__main__":
    main()
