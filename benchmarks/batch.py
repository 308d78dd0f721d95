"""Many photos at once: how much of the machine a batch uses, and whether its memory stays level.

Photos are cut and mirrored from the bundled one and from those of kind ``photo`` in `--data`. Some
are made one by one, with one thread in one process; then all of them by `convert_photos` with a
process for each core. The single rate is for the same photos, from those made both ways. `ratio` is
the batch's rate over the single rate times the cores: 1 would be as if every core worked alone. The
batch's clock runs from before its processes start.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import mean
from typing import Any

import common
import numpy as np
from PIL import Image

DEMO = Path(__file__).parents[1] / "src" / "diorama" / "data" / "demo.jpg"

SEED = 0

SETTLED = 20
"""Photos after which a worker has seen everything that it keeps."""


def main() -> None:
    args = common.arguments(__doc__ or "", needs_data=False)
    num_photos, num_single = (12, 4) if args.quick else (200, 30)
    sources = [{"files": {"image": DEMO.name}, "root": DEMO.parent}]
    sources += common.load_items(args.data, ["photo"]) if args.data else []
    result = common.Result("batch", seed=SEED)
    cores = common.num_threads()
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(sources, Path(folder) / "photos", num_photos)
        chosen = np.random.default_rng(SEED).permutation(np.arange(1, num_photos))[:num_single]
        # The first photo of a process loads and compiles what all others use.
        single = in_fresh_process(
            [photos[0], *(photos[index] for index in chosen)], 1, Path(folder) / "single", threads=1
        )
        batch = in_fresh_process(photos, cores, Path(folder) / "batch")
    # Photos differ: what all of them would take one by one follows from those made both ways.
    alone = {photo["input"]: photo["seconds"] for photo in single["photos"][1:]}
    together = {photo["input"]: photo["seconds"] for photo in batch["photos"]}
    slower = sum(together[name] for name in alone) / sum(alone.values())
    rate = num_photos / (sum(together.values()) / slower)
    batch_rate = num_photos / batch["seconds"]
    result.add(
        f"{num_single} photos",
        "diorama, one thread",
        {"photos_per_s": rate, "worker_mb_last": single["photos"][-1]["memory_mb"]},
    )
    result.add(
        f"{num_photos} photos",
        f"diorama, {cores} processes",
        {
            "photos_per_s": batch_rate,
            "ratio": batch_rate / (rate * cores),
            f"worker_mb_{SETTLED}": mean(
                memory[min(SETTLED, len(memory)) - 1] for memory in memories(batch)
            ),
            "worker_mb_last": mean(memory[-1] for memory in memories(batch)),
            "worker_mb_peak": max(photo["peak_mb"] for photo in batch["photos"]),
        },
    )
    result.finish(args)


def write_photos(sources: list[dict[str, Any]], folder: Path, count: int) -> list[Path]:
    """`count` different photos: parts of the sources, every other one mirrored."""
    rng = np.random.default_rng(SEED)
    folder.mkdir()
    photos = []
    for index in range(count):
        picture = common.read_rgb(sources[index % len(sources)])
        height, width = (int(side * rng.uniform(0.8, 1)) for side in picture.shape[:2])
        top = int(rng.integers(picture.shape[0] - height + 1))
        left = int(rng.integers(picture.shape[1] - width + 1))
        part = picture[top : top + height, left : left + width]
        photos.append(folder / f"{index:03}.jpg")
        Image.fromarray(part[:, ::-1] if index % 2 else part).save(photos[-1], quality=92)
    return photos


def memories(run: dict) -> list[list[float]]:
    """Resident megabytes of each process after each of its photos."""
    pids = {photo["pid"] for photo in run["photos"]}
    return [[p["memory_mb"] for p in run["photos"] if p["pid"] == pid] for pid in sorted(pids)]


def in_fresh_process(photos: list[Path], jobs: int, out: Path, threads: int | None = None) -> dict:
    """Run `measure` in a process of its own and return what it printed."""
    environment = (
        {}
        if threads is None
        else {
            "DIORAMA_THREADS": str(threads),
            "OPENCV_FOR_THREADS_NUM": str(threads),
            "OMP_NUM_THREADS": str(threads),
        }
    )
    run = subprocess.run(
        [sys.executable, __file__, "--measure", str(jobs), str(out)],
        input="\n".join(map(str, photos)),
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(run.stdout)


def measure(jobs: int, out: Path) -> None:
    """Make the photos that stdin lists; print the seconds and memory that each took."""
    from diorama.batch import convert_photos
    from diorama.inputs import find_photos

    begin = time.perf_counter()
    made = []
    for result in convert_photos(find_photos(sys.stdin.read().split("\n")), out, jobs=jobs):
        assert result.status == "ok", result.error
        made.append(
            {
                "input": result.input,
                "seconds": result.seconds,
                "pid": result.pid,
                "memory_mb": result.memory_mb or float("nan"),
                "peak_mb": result.peak_mb or float("nan"),
            }
        )
    print(json.dumps({"seconds": time.perf_counter() - begin, "photos": made}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(int(sys.argv[2]), Path(sys.argv[3]))
    else:
        main()
