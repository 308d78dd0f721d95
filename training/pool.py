"""A pool of training samples on disk: made once from consecutive seeds, read at random.

    python -m training.pool --out POOL --count 20000 [--train DIR] [--jobs 2]

Drawing a sample costs about as much as a training step on it, so each is used several times, with
other crops, mirrors and colours. The pool's content depends on its seeds alone; filling goes on
where it stopped.
"""

import argparse
import multiprocessing
import os
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import cv2
import numpy as np

from diorama.arrays import Array
from training.real import Folder, read_folder
from training.scenes.composites import add_people, people_over_photo
from training.scenes.raster import Kernels
from training.scenes.sample import DISPARITY, EDGES, NORMAL, PERSON, Sample, make_sample
from training.scenes.textures import Textures, make_textures

TEXTURE_SETS = 8
"""Sets of tiles; a sample's seed chooses one."""

BLOCK = 8192
"""Samples drawn before the next: a pool half full has seen every set of tiles."""

FIELDS: dict[str, tuple[type, int]] = {
    "photo": (np.uint8, 3),
    "disparity": (np.float16, 1),
    "normal": (np.int8, 3),
    "person": (np.uint8, 1),
    "edges": (np.uint8, 1),
    "known": (np.uint8, 1),
}
"""What is kept of a sample: dtype and channels. Disparity is divided by its 99th percentile."""


@dataclass(frozen=True)
class Pool:
    """Arrays of shape (N, H, W, channels) on disk, and (N,) uint8: 1 where a sample is there."""

    arrays: dict[str, Array]
    done: Array

    def __len__(self) -> int:
        """Samples that are there."""
        return int(self.done.sum())

    def put(self, index: int, sample: Sample, known: Array) -> None:
        """Keep a sample."""
        scale = max(float(np.percentile(sample.disparity, 99)), 1e-6)
        self.arrays["photo"][index] = sample.photo
        self.arrays["disparity"][index, ..., 0] = np.minimum(sample.disparity / scale, 100)
        self.arrays["normal"][index] = np.rint(sample.normal * 127)
        self.arrays["person"][index, ..., 0] = np.rint(sample.person * 255)
        self.arrays["edges"][index, ..., 0] = sample.edges
        self.arrays["known"][index, ..., 0] = known
        self.done[index] = 1


def open_pool(folder: Path, count: int = 0, rows: int = 288) -> Pool:
    """Open a pool, or make an empty one of `count` samples, `rows` high and a third wider."""
    if count and not (folder / "done.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        size = rows, rows * 4 // 3
        for name, (dtype, channels) in FIELDS.items():
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", dtype, (count, *size, channels))
        np.lib.format.open_memmap(folder / "done.npy", "w+", np.uint8, (count,))
    return Pool(
        {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in FIELDS},
        np.load(folder / "done.npy", mmap_mode="r+"),
    )


def make(
    seed: int, textures: Textures, folder: Folder | None, size: tuple[int, int], kernels: Kernels
) -> tuple[Sample, Array]:
    """The sample of a seed, and which of its truths hold where."""
    random = np.random.default_rng([seed, 1])
    everything = np.full(size, DISPARITY | NORMAL | PERSON | EDGES, np.uint8)
    kind = random.random()
    if folder is not None and folder.cutouts and folder.photos and kind < 0.1:
        return people_over_photo(random, folder, size)
    sample = make_sample(seed, textures, size, kernels)
    if folder is not None and folder.cutouts and kind < 0.25:
        return add_people(random, sample, folder), everything
    return sample, everything


def fill(out: Path, train: Path | None, part: int, parts: int, kernels: Kernels) -> None:
    """Make every sample of this part that is not there yet."""
    cv2.setNumThreads(1)
    pool = open_pool(out)
    folder = read_folder(train) if train else None
    photos = folder.photos if folder else []
    size = pool.arrays["photo"].shape[1:3]
    for begin in range(0, len(pool.done), BLOCK):
        left = begin + np.flatnonzero(pool.done[begin : begin + BLOCK] == 0)
        mine = left[left // TEXTURE_SETS % parts == part]
        for group in np.unique(mine % TEXTURE_SETS):
            textures = make_textures(int(group), photos[group::TEXTURE_SETS])
            for index in mine[mine % TEXTURE_SETS == group]:
                pool.put(index, *make(int(index), textures, folder, size, kernels))


def main() -> None:
    """Fill a pool."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--rows", type=int, default=288, help="height of a sample; a third wider")
    parser.add_argument("--train", type=Path, help="folder with photos and cut-outs (index.jsonl)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--kernels", choices=get_args(Kernels), default="numba", help="torch draws on a GPU"
    )
    args = parser.parse_args()
    open_pool(args.out, args.count, args.rows)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=fill, args=(args.out, args.train, part, args.jobs, args.kernels))
        for part in range(args.jobs)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print(f"{len(open_pool(args.out))} samples in {args.out}")


if __name__ == "__main__":
    main()
