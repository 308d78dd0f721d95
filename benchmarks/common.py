"""What every benchmark shares: the data folder, timing, and how results are written.

Every benchmark runs alone: ``python benchmarks/NAME.py [--data DIR] [--json FILE] [--quick]``.
`DIR` holds an ``index.json`` with ``items``, each with an ``id``, a ``kind`` and ``files``.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from diorama.runtime import num_threads

PACKAGES = (
    *("diorama", "numpy", "numba", "onnxruntime", "opencv-contrib-python-headless"),
    *("scikit-image", "scipy"),
)


@dataclass
class Result:
    """Rows of measures and their means."""

    benchmark: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    seed: int = 0

    def add(self, item: str, method: str, metrics: Mapping[str, float]) -> None:
        """Add one row."""
        self.rows.append({"item": item, "method": method, "metrics": dict(metrics)})

    def summary(self) -> dict[str, dict[str, float]]:
        """Mean over items of each method's metrics, leaving out what is not finite."""
        values: dict[str, dict[str, list[float]]] = {}
        for row in self.rows:
            for name, value in row["metrics"].items():
                if np.isfinite(value):
                    values.setdefault(row["method"], {}).setdefault(name, []).append(value)
        return {
            method: {name: float(np.mean(v)) for name, v in metrics.items()}
            for method, metrics in values.items()
        }

    def finish(self, args: argparse.Namespace) -> None:
        """Print the table and write the JSON file if one was asked for."""
        print(f"{machine_line()}\n")
        print_table(self.summary())
        if args.json:
            report = {
                "benchmark": self.benchmark,
                "machine": machine(),
                "versions": versions(),
                "seed": self.seed,
                "rows": self.rows,
                "summary": self.summary(),
            }
            Path(args.json).write_text(json.dumps(report, indent=1) + "\n")


def arguments(description: str, *, needs_data: bool = True, **options: str) -> argparse.Namespace:
    """The command line every benchmark has, and what else this one takes: its name and help."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, required=needs_data, help="folder with an index.json")
    parser.add_argument("--json", type=Path, help="write rows and summary here")
    parser.add_argument("--quick", action="store_true", help="fewer items, fewer repeats")
    for name, text in options.items():
        parser.add_argument(f"--{name}", help=text)
    return parser.parse_args()


def load_items(data: Path, kinds: Iterable[str]) -> list[dict[str, Any]]:
    """The items of these kinds, each with its folder under "root"."""
    wanted = set(kinds)
    index = json.loads((data / "index.json").read_text())
    return [{**item, "root": data} for item in index["items"] if item["kind"] in wanted]


def read_rgb(item: Mapping[str, Any], name: str = "image") -> np.ndarray:
    """(H, W, 3) uint8, upright."""
    with Image.open(item["root"] / item["files"][name]) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_truth(item: Mapping[str, Any], name: str = "gt") -> np.ndarray:
    """(H, W) float32 depth or disparity as `item["gt"]["key"]` says; NaN where unknown."""
    with np.load(item["root"] / item["files"][name]) as arrays:
        return arrays[item["gt"]["key"]].astype(np.float32)


def psnr(a: np.ndarray, b: np.ndarray, mask: np.ndarray | None = None) -> float:
    """Peak signal-to-noise ratio in dB of (H, W, C) pictures in 0..1, over `mask`."""
    error = np.square(np.asarray(a, np.float64) - b)
    error = error if mask is None else error[mask]
    if not error.size:
        return float("nan")
    return float(-10 * np.log10(max(error.mean(), 1e-12)))


def time_ms(
    calls: Mapping[str, Callable[[], object]], *, repeats: int = 5, warm_up: int = 1
) -> dict[str, float]:
    """Median milliseconds of each call, after warm-up, the calls taking turns."""
    for call in calls.values():
        for _ in range(warm_up):
            call()
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            begin = time.perf_counter()
            call()
            times[name].append((time.perf_counter() - begin) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_mb() -> float:
    """Peak resident size of this process in megabytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def machine() -> dict[str, Any]:
    """What this runs on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].split(":", 1)[1].strip() if names else model
    return {"cpu": model, "cores": os.cpu_count(), "threads": num_threads()}


def versions() -> dict[str, str]:
    """Versions of what was measured, where installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def machine_line() -> str:
    """Machine and versions in one line, for the head of a results file."""
    about = machine()
    parts = [f"{about['cpu']}, {about['cores']} cores, {about['threads']} threads"]
    parts += [f"{name} {version}" for name, version in versions().items()]
    return "; ".join(parts)


def print_table(summary: Mapping[str, Mapping[str, float]]) -> None:
    """Print a Markdown table: a row a method, a column a metric."""
    columns: list[str] = []
    for metrics in summary.values():
        columns += [name for name in metrics if name not in columns]
    print("| method | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for method, metrics in summary.items():
        cells = [_cell(metrics.get(name)) for name in columns]
        print(f"| {method} | " + " | ".join(cells) + " |")


def _cell(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def pick(items: Sequence[dict[str, Any]], quick: bool, count: int = 3) -> list[dict[str, Any]]:
    """All items, or an even few of them when quick."""
    if not quick or len(items) <= count:
        return list(items)
    return [items[i * (len(items) - 1) // (count - 1)] for i in range(count)]
