"""Speed and memory of every stage and of the whole, photo to page.

Three fresh processes make a scene and a page of the same 1920x1080 photo: one with an empty kernel
cache (what a newcomer waits for), one with a warm cache, and one that repeats the work to time each
stage warm (median). Photos are read from `--data` (the first of kind ``photo`` with at least two
megapixels), or the bundled one is used.
"""

import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import common
import cv2

DEMO = Path(__file__).parents[1] / "src" / "diorama" / "data" / "demo.jpg"


def main() -> None:
    args = common.arguments(__doc__ or "", needs_data=False)
    result = common.Result("stages")
    with tempfile.TemporaryDirectory() as folder:
        photo = Path(folder) / "photo.jpg"
        source = choose(args.data)
        write_1080p(source, photo)
        cache = {"NUMBA_CACHE_DIR": str(Path(folder) / "kernels")}
        for name, repeats in (
            ("first run", 1),
            ("fresh process", 1),
            ("warm", 2 if args.quick else 5),
        ):
            measured = in_fresh_process(photo, repeats, cache)
            for stage, ms in measured["ms"].items():
                result.add(source.name, f"{stage}, {name}", {"ms": ms})
            result.add(
                source.name,
                f"whole, {name}",
                {"ms": sum(measured["ms"].values()), "peak_mb": measured["peak_mb"]},
            )
    result.finish(args)


def choose(data: Path | None) -> Path:
    """A photo of at least two megapixels."""
    for item in common.load_items(data, ["photo"]) if data else []:
        if item["size"][0] * item["size"][1] >= 2_000_000:
            return data / item["files"]["image"]
    return DEMO


def write_1080p(source: Path, target: Path) -> None:
    """The photo's middle, 1920x1080."""
    picture = cv2.imread(str(source))
    assert picture is not None
    height, width = picture.shape[:2]
    scale = max(1920 / width, 1080 / height)
    picture = cv2.resize(picture, (round(width * scale), round(height * scale)))
    top, left = (picture.shape[0] - 1080) // 2, (picture.shape[1] - 1920) // 2
    cv2.imwrite(str(target), picture[top : top + 1080, left : left + 1920])


def in_fresh_process(photo: Path, repeats: int, environment: dict[str, str]) -> dict:
    """Run `measure` in a process of its own and return what it printed."""
    run = subprocess.run(
        [sys.executable, __file__, "--measure", str(photo), str(repeats)],
        env={**os.environ, **environment},
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(run.stdout)


def measure(photo: Path, repeats: int) -> None:
    """Make scene and page `repeats` times; print median milliseconds a stage and peak memory."""
    begin = time.perf_counter()
    from diorama.pipeline import photo_to_scene

    times: dict[str, list[float]] = {}
    for _ in range(repeats):
        marks: list[tuple[str, float]] = [("import", begin)]
        scene = photo_to_scene(
            photo, progress=lambda stage, m=marks: m.append((stage, time.perf_counter()))
        )
        marks.append(("mesh", time.perf_counter()))
        _ = scene.meshes
        marks.append(("html", time.perf_counter()))
        with tempfile.TemporaryDirectory() as folder:
            scene.export(Path(folder) / "scene.html")
        marks.append(("end", time.perf_counter()))
        for (stage, start), (_, end) in itertools.pairwise(marks):
            times.setdefault(stage, []).append((end - start) * 1e3)
        begin = time.perf_counter()
    settled = {stage: median(values[1:] or values) for stage, values in times.items()}
    print(json.dumps({"ms": settled, "peak_mb": common.peak_mb()}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
