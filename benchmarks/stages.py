"""Speed and memory of every stage and of the whole, photo to page.

Three fresh processes make a scene and a page of the same 1920x1080 photo: one with an empty kernel
cache (what a newcomer waits for), one with a warm cache, and one that repeats the work to time each
stage warm (medians). Then mesher and renderers beside their peers, as ``render.py`` prints them.
``sizes.py`` tells how time and memory grow with the photo.

``ms`` is time, ``cpu_ms`` the same summed over threads, ``peak_mb`` the resident peak while the
stage ran, of which earlier stages hold a part. ``scene`` is photo to scene, import included, before
meshes and encoding; ``whole`` is everything. Photos are read from `--data` (the first of kind
``photo`` with at least two megapixels), or the bundled one is used.
"""

import itertools
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import common
import cv2

DEMO = Path(__file__).parents[1] / "src" / "diorama" / "data" / "demo.jpg"

SCENE = ("import", "photo", "depth", "masks", "harmonise", "layers", "inpaint")
"""The stages of ``scene``; more follow."""


def main() -> None:
    args = common.arguments(__doc__ or "", needs_data=False)
    result = common.Result("stages")
    source = choose(args.data)
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        cache = {"NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
        write_photo(source, photo, 1920, 1080)
        warm = 2 if args.quick else 5
        for name, repeats in (("first run", 1), ("fresh process", 1), ("warm", warm)):
            for stage, metrics in in_fresh_process(photo, 1920, repeats, cache).items():
                result.add(source.name, f"{stage}, {name}", metrics)
    # Here, for it brings in all of diorama, which a fresh process is timed to import.
    from render import add_rows

    add_rows(result, source, quick=args.quick)
    result.finish(args)


def choose(data: Path | None) -> Path:
    """A photo of at least two megapixels."""
    for item in common.load_items(data, ["photo"]) if data else []:
        if item["size"][0] * item["size"][1] >= 2_000_000:
            return data / item["files"]["image"]
    return DEMO


def write_photo(source: Path, target: Path, width: int, height: int) -> None:
    """The photo's middle at this size."""
    picture = cv2.imread(str(source))
    assert picture is not None
    scale = max(width / picture.shape[1], height / picture.shape[0])
    size = math.ceil(picture.shape[1] * scale), math.ceil(picture.shape[0] * scale)
    filtering = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    picture = cv2.resize(picture, size, interpolation=filtering)
    top, left = (size[1] - height) // 2, (size[0] - width) // 2
    cv2.imwrite(str(target), picture[top : top + height, left : left + width])


def in_fresh_process(
    photo: Path, size: int, repeats: int, environment: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Run `measure` in a process of its own and return what it printed."""
    run = subprocess.run(
        [sys.executable, __file__, "--measure", str(photo), str(size), str(repeats)],
        env={**os.environ, **environment},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return json.loads(run.stdout)


def measure(photo: Path, size: int, repeats: int) -> None:
    """Make scene and page `repeats` times; print what each stage took."""
    runs: list[dict[str, dict[str, float]]] = []
    for _ in range(repeats):
        marks = [("import", *usage())]
        make(photo, size, lambda stage, marks=marks: marks.append((stage, *usage())))
        marks.append(("end", *usage()))
        run = {}
        for (stage, begin, cpu, _), (_, end, cpu_end, peak) in itertools.pairwise(marks):
            run[stage] = {
                "ms": (end - begin) * 1e3,
                "cpu_ms": (cpu_end - cpu) * 1e3,
                "peak_mb": peak,
            }
        run["scene"] = total([run[stage] for stage in SCENE])
        run["whole"] = total([run[stage] for stage in run if stage != "scene"])
        runs.append(run)
    settled = runs[1:] or runs
    print(
        json.dumps(
            {
                stage: {
                    name: median(run[stage][name] for run in settled) for name in settled[0][stage]
                }
                for stage in settled[0]
            }
        )
    )


def make(photo: Path, size: int, mark: Callable[[str], None]) -> None:
    """A scene and its page, with a call of `mark` as each stage begins."""
    from diorama.config import SceneConfig
    from diorama.pipeline import photo_to_scene

    config = SceneConfig(max_size=size, texture_size=size)
    scene = photo_to_scene(photo, config=config, progress=mark)
    mark("mesh")
    _ = scene.meshes
    mark("render")
    scene.render(scene.camera.at(*scene.view_box.corners()[0]))
    mark("html")
    with tempfile.TemporaryDirectory() as folder:
        scene.export(Path(folder) / "scene.html")


def total(stages: list[dict[str, float]]) -> dict[str, float]:
    """Times added up, and the highest peak."""
    return {
        "ms": sum(stage["ms"] for stage in stages),
        "cpu_ms": sum(stage["cpu_ms"] for stage in stages),
        "peak_mb": max(stage["peak_mb"] for stage in stages),
    }


def usage() -> tuple[float, float, float]:
    """Wall and CPU seconds, and the resident peak in megabytes since the last call, if told."""
    status = Path("/proc/self/status")
    if not status.exists():
        return time.perf_counter(), time.process_time(), common.peak_mb()
    peak = re.search(r"VmHWM:\s*(\d+)", status.read_text())
    Path("/proc/self/clear_refs").write_text("5")  # starts the peak again
    return time.perf_counter(), time.process_time(), int(peak[1]) / 1024 if peak else math.nan


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))
    else:
        main()
