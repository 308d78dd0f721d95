"""What a model's precisions cost and give on this machine: time, memory, error, accuracy.

Every file is run on every execution provider that ONNX Runtime has here, each in a process of its
own, so that its peak memory is its own and no thread of another one is in its way::

    python -m diorama.models.bench FILE PROVIDER THREADS

is that process; it prints its times and its memory as JSON.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from diorama.arrays import Array, RgbBytes
from diorama.errors import InputError
from diorama.models.conversion.sessions import (
    PIXELS,
    Answers,
    PhotoInput,
    photo_input,
    relative_errors,
    run_photos,
)
from diorama.pictures import read_picture
from diorama.registry import DATA
from diorama.runtime import CPU, num_threads, open_session

PRECISIONS = {"": "fp32", "-fp16": "fp16", "-int8": "int8"}
"""What a file's name ends with, and the precision that it says."""

REMOTE = {"AzureExecutionProvider"}
"""Providers that run nothing on this machine."""

WARM_UP, RUNS = 5, 30
"""Runs before the clock starts, and while it runs."""


@dataclass(frozen=True)
class Row:
    """One file on one provider."""

    file: str
    precision: str
    provider: str
    size_mb: float
    ms: float | None = None
    """Median of one photo."""
    ms_spread: float | None = None
    """Between quartiles."""
    peak_mb: float | None = None
    """Peak resident memory of the process; None where the system does not say."""
    error: float | None = None
    """Against fp32 on the CPU, mean over channels, in standard deviations."""
    abs_rel: float | None = None
    """Mean relative error of depth against the truth, after aligning scale and shift."""
    delta1: float | None = None
    """Share of pixels whose depth is within 25 % of the truth."""
    problem: str | None = None
    """Why the provider could not run it."""


@dataclass(frozen=True)
class Truth:
    """A photo and its true inverse depth."""

    rgb: RgbBytes
    inverse_depth: Array
    """(h, w) float64 of any size, up to scale where a camera is unknown; NaN where unknown."""


def find_files(name: str) -> list[Path]:
    """A model's files, one a precision, fp32 first.

    Args:
        name: any one of the files, or the name they share in the working folder. The packaged file
            of this name is taken where there are none.

    Raises:
        InputError: if there is none.
    """
    path = Path(name)
    if path.suffix.lower() == ".onnx":
        stem = path.stem
        for ending in PRECISIONS:
            stem = stem.removesuffix(ending) if ending else stem
    else:
        stem = path.name
    found = [
        file for ending in PRECISIONS if (file := path.parent / f"{stem}{ending}.onnx").exists()
    ]
    packaged = DATA / f"{stem}.onnx"
    if not found and path.suffix.lower() != ".onnx" and packaged.exists():
        found = [packaged]
    if not found:
        raise InputError(
            f"no {path.parent / stem}*.onnx is there: make one by `diorama models convert`"
        )
    return found


def bench(
    files: Sequence[Path],
    photos: Sequence[Array],
    truths: Sequence[Truth] = (),
    *,
    threads: int | None = None,
) -> Iterator[Row]:
    """Measure every file on every provider.

    Args:
        files: of one model; the first is what the others' errors are against.
        photos: (H, W, 3) uint8 each, of any sizes, to compare outputs on.
        truths: to compare the first channel of the first output with, as disparity.
        threads: of the CPU; None: `diorama.runtime.num_threads`.

    Raises:
        InputError: if a file is damaged or does not take photos.
    """
    import onnxruntime

    providers = [p for p in onnxruntime.get_available_providers() if p not in REMOTE]
    reference: Answers | None = None
    for file in files:
        session = open_session(file)
        wanted = photo_input(session, file.name)
        tensors = [wanted.tensor(photo) for photo in photos]
        reference = reference or run_photos(session, tensors)
        precision = _precision(file)
        for provider in sorted(providers, key=lambda name: name != CPU):
            about = (str(file), precision, provider, file.stat().st_size / 1e6)
            try:
                session = open_session(file, provider=provider)
                answers = run_photos(session, tensors)
                error = float(relative_errors(reference, answers).mean())
                scores = [_score(session, wanted, truth) for truth in truths]
            except InputError as problem:
                yield Row(*about, problem=str(problem))
                continue
            del session
            abs_rel, delta1 = np.mean(scores, axis=0).tolist() if scores else (None, None)
            times, peak_mb = _measured(file, provider, threads or num_threads())
            low, median, high = np.percentile(times, (25, 50, 75)).tolist()
            yield Row(*about, median, high - low, peak_mb, error, abs_rel, delta1)


def read_truths(folder: Path) -> Iterator[Truth]:
    """The photos with depth or disparity in a folder with an ``index.json``.

    Its ``items`` have ``files`` (an ``image``, and ``gt``: an .npz) and ``gt`` with the ``key`` of
    the array in there, "depth" or "disparity"; zero and not a number mean unknown.

    Raises:
        InputError: if there is no such index, or nothing in it has truth.
    """
    try:
        items = json.loads((folder / "index.json").read_text())["items"]
        chosen = [
            item
            for item in items
            if {"image", "gt"} <= item["files"].keys()
            and (item.get("gt") or {}).get("key") in ("depth", "disparity")
        ]
        for item in chosen:
            with np.load(folder / item["files"]["gt"]) as arrays:
                truth = arrays[item["gt"]["key"]].astype(np.float64)
            truth[~(truth > 0)] = np.nan
            truth = truth if item["gt"]["key"] == "disparity" else 1 / truth
            yield Truth(read_picture(folder / item["files"]["image"]).rgb, truth)
    except (OSError, KeyError, TypeError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{folder} holds no photos with truth: {error}") from error
    if not chosen:
        raise InputError(f"{folder}/index.json has no item with truth")


def table(rows: Sequence[Row]) -> str:
    """Markdown."""
    lines = [
        "| precision | provider | MB | ms | peak MB | error | AbsRel | delta1 |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        provider = row.provider.removesuffix("ExecutionProvider")
        if row.problem:
            lines.append(
                f"| {row.precision} | {provider} | {row.size_mb:.1f} | {row.problem} |||||"
            )
            continue
        cells = (
            f"{row.ms:.1f} ± {(row.ms_spread or 0) / 2:.1f}",
            *(_cell(row.peak_mb, ".0f"), _cell(row.error, ".2%")),
            *(_cell(row.abs_rel, ".4f"), _cell(row.delta1, ".4f")),
        )
        lines.append(f"| {row.precision} | {provider} | {row.size_mb:.1f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def accuracy(disparity: Array, truth: Array) -> tuple[float, float]:
    """AbsRel and delta1 of depth, the disparity aligned to the true one by least squares.

    As for any estimator up to scale and shift (Ranftl et al., "Towards robust monocular depth
    estimation", 2020); aligned values below half the truth's first percentile are set to that.
    """
    known = np.isfinite(truth)
    p, q = disparity[known].astype(np.float64), truth[known]
    scale = ((p - p.mean()) * (q - q.mean())).mean() / max(p.var(), 1e-12)
    aligned = np.maximum(scale * (p - p.mean()) + q.mean(), 0.5 * np.percentile(q, 1))
    ratio = q / aligned
    return float(np.abs(ratio - 1).mean()), float((np.maximum(ratio, 1 / ratio) < 1.25).mean())


def _score(session: Any, wanted: PhotoInput, truth: Truth) -> tuple[float, float]:
    [[output, *_]] = run_photos(session, [wanted.tensor(truth.rgb)])
    plane = output[0, ..., 0] if wanted.channels_last else np.squeeze(output[0])
    plane = plane[0] if plane.ndim == 3 else plane
    height, width = truth.inverse_depth.shape
    resized = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
    return accuracy(resized, truth.inverse_depth)


def _precision(file: Path) -> str:
    ending = next((e for e in PRECISIONS if e and file.stem.endswith(e)), "")
    return PRECISIONS[ending]


def _measured(file: Path, provider: str, threads: int) -> tuple[list[float], float | None]:
    """Milliseconds of each run, and peak megabytes, of a process that does nothing else."""
    command = [sys.executable, "-m", __name__, str(file), provider, str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise InputError(f"measuring {file.name} failed: {last}")
    found = json.loads(done.stdout)
    return found["ms"], found["peak_mb"]


def _cell(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)


def _main() -> None:
    """The process that is measured."""
    parser = argparse.ArgumentParser(description="Measure one model on one provider.")
    parser.add_argument("file", type=Path)
    parser.add_argument("provider")
    parser.add_argument("threads", type=int)
    args = parser.parse_args()
    session = open_session(args.file, provider=args.provider, threads=args.threads)
    wanted = photo_input(session, args.file.name)
    noise = np.random.default_rng(0).integers(0, 256, (384, 512, 3), np.uint8)
    tensor = wanted.tensor(noise, pixels=PIXELS)
    run_photos(session, [tensor] * WARM_UP)
    times = []
    for _ in range(RUNS):
        begin = time.perf_counter()
        run_photos(session, [tensor])
        times.append(1000 * (time.perf_counter() - begin))
    print(json.dumps({"ms": times, "peak_mb": _peak_mb()}))  # noqa: T201 (its one result)


def _peak_mb() -> float | None:
    """Peak resident memory of this process."""
    status = Path("/proc/self/status")
    if status.exists():  # getrusage would count what was there before this program was loaded
        line = next(v for v in status.read_text().splitlines() if v.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / 1e6
    if os.name == "nt":
        return None
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes on macOS


if __name__ == "__main__":
    _main()
