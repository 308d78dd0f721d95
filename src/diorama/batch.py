"""Many photos: one after another or in several processes, and on where an earlier run ended."""

import errno
import json
import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import diorama
from diorama.camera import ViewBox
from diorama.config import SceneConfig
from diorama.errors import DioramaError, InputError, OutputError
from diorama.export import FORMATS, find_format, write
from diorama.extras import check_extra, has_extra
from diorama.files import append_line, sweep, whole_set
from diorama.inputs import PhotoFile
from diorama.interrupts import stop_if_interrupted
from diorama.report import Stages, scene_facts
from diorama.runtime import num_threads
from diorama.workers import Death, Workers

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No space left, quota used up: what one photo meets, the next ones will meet, too."""

MAX_FULL = 3
"""Photos in a row that find the disk full, after which no others are tried. A smaller one may still
fit, so one is not enough."""


@dataclass(frozen=True)
class PhotoResult:
    """What became of one photo."""

    input: str
    """Its path."""
    status: Literal["ok", "failed", "skipped"]
    """Made; failed; or left alone because all its results are there."""
    outputs: tuple[str, ...] = ()
    """Paths of its results; none if it failed."""
    error: str | None = None
    """Why it failed, in one line."""
    fault: str | None = None
    """A traceback, where it failed by our own fault."""
    seconds: float = 0.0
    """What it took."""
    timings_s: Mapping[str, float] = field(default_factory=dict)
    """Seconds for each stage and export, in order."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Models, seed, sizes and counts of the scene, as `--json` has them."""
    pid: int | None = None
    """The process that worked on it; None if there was nothing to do."""
    memory_mb: float | None = None
    """Resident megabytes of that process afterwards, where the system tells (Linux)."""
    peak_mb: float | None = None
    """The most that process has held so far."""


def convert_photos(
    photos: Iterable[PhotoFile],
    out: str | os.PathLike[str],
    *,
    formats: Iterable[str] = ("html",),
    config: SceneConfig = SceneConfig(),
    view_box: ViewBox | None = None,
    jobs: int = 1,
    skip_existing: bool = False,
    manifest: str | os.PathLike[str] | None = None,
    progress: Callable[[PhotoFile, str], None] | None = None,
) -> Generator[PhotoResult, None, None]:
    """Make a scene of every photo, and yield what became of each as it finishes.

    One that fails does not stop the others. Closing the generator stops the work; what is being
    made then leaves nothing behind.

    Args:
        photos: what to make, from `diorama.inputs.find_photos`.
        out: folder for the results; made if it is not there.
        formats: what to write beside each scene (`diorama.export.FORMATS`); "zip" writes the scene
            as one file, "all" everything that is installed.
        config: how a photo becomes a scene.
        view_box: where the camera will go; None: the default box, fitted to each photo's lens.
        jobs: processes to work in, which divide the cores among them; 1 is this one, 0 as many as
            there are cores. A script that asks for several does so under
            `if __name__ == "__main__":`.
        skip_existing: leave photos alone whose results are all there.
        manifest: a file to which a line of JSON is added for each photo; any number of processes
            and machines may share it.
        progress: called with a photo and the stage that begins.

    Returns:
        A generator of results, in the order in which they finish.

    Raises:
        DioramaError: at once if a setting cannot be used or `out` cannot be written; from the
            generator if nothing can be written any more, or if processes cannot be started.
    """
    from diorama.pipeline import check_models

    if jobs < 0:
        raise InputError(f"jobs must be 0 (as many as there are cores) or more, got {jobs}")
    todo = list(photos)
    check_models(config)  # once, rather than an error for every photo
    recipe = _Recipe(Path(out), result_suffixes(formats), config, view_box)
    _check_writable(recipe.out)
    if manifest is not None:
        append_line(manifest)
    cores = num_threads()
    jobs = min(jobs or cores, max(len(todo), 1))

    def show(photo: PhotoFile, stage: str) -> None:
        if progress is not None:
            progress(photo, stage)

    outcomes = _outcomes(todo, recipe, jobs, cores // jobs, skip_existing, show)
    return _results(outcomes, len(todo), recipe.out, max(MAX_FULL, jobs), manifest)


def result_suffixes(formats: Iterable[str]) -> tuple[str, ...]:
    """Suffixes of the results of these formats, without repeats; the scene itself comes first.

    "all" is every format whose extra is installed.

    Raises:
        UnknownNameError: if there is no such format.
        MissingExtraError: if one needs an extra that is not installed.
    """
    names = [name.strip().lower().removeprefix(".") for name in formats]
    if "all" in names:
        present = [f for f in FORMATS.values() if f.extra is None or has_extra(f.extra)]
        names += [f.name for f in present if f.name != "zip"]
    chosen = [find_format(name) for name in dict.fromkeys(names) if name not in ("", "all")]
    for entry in chosen:
        if entry.extra is not None:
            check_extra(entry.extra, f"format {entry.name!r}")
    scene = "zip" if "zip" in names else "diorama"
    return (f".{scene}", *(f.suffixes[0] for f in chosen if f.name != scene))


@dataclass(frozen=True)
class _Recipe:
    """What is the same for every photo of a batch."""

    out: Path
    suffixes: tuple[str, ...]
    config: SceneConfig
    view_box: ViewBox | None

    def folder(self, photo: PhotoFile) -> Path:
        return (self.out / photo.name).parent

    def outputs(self, photo: PhotoFile) -> tuple[str, ...]:
        return tuple(f"{self.out / photo.name}{suffix}" for suffix in self.suffixes)


@dataclass(frozen=True)
class _Outcome:
    """A result, and whether it is one for want of a place to write to."""

    result: PhotoResult
    errno: int | None = None
    """The system's reason why something could not be written; 0 where it is not the system's."""


def _results(
    outcomes: Generator[_Outcome, None, None],
    num_photos: int,
    out: Path,
    max_full: int,
    manifest: str | os.PathLike[str] | None,
) -> Generator[PhotoResult, None, None]:
    """The results, on record; an error where it is clear that no other can be written."""
    num_done = num_full = 0
    try:
        for outcome in outcomes:
            if manifest is not None:
                append_line(manifest, json.dumps(_record(outcome.result)))
            yield outcome.result
            num_done += 1
            if outcome.result.status == "ok":
                num_full = 0
            if outcome.errno is None:
                continue
            num_full += outcome.errno in FULL
            reason = f"{out}: {os.strerror(outcome.errno)}" if num_full >= max_full else None
            try:
                _check_writable(out)
            except OutputError as error:
                reason = str(error)
            if reason is not None:
                left = f"; {num_photos - num_done} photos are left" if num_done < num_photos else ""
                raise OutputError(
                    f"stopped, because nothing can be written any more: {reason}{left}; mend that "
                    f"and run again with --skip-existing"
                )
    finally:
        outcomes.close()


def _outcomes(
    photos: Sequence[PhotoFile],
    recipe: _Recipe,
    jobs: int,
    threads: int,
    skip_existing: bool,
    show: Callable[[PhotoFile, str], None],
) -> Generator[_Outcome, None, None]:
    if jobs == 1:
        for photo in photos:
            known = _known(photo, recipe, skip_existing)
            yield known or _make(recipe, photo, lambda stage, photo=photo: show(photo, stage))
        return
    with Workers(_make, recipe, jobs=jobs, threads=max(1, threads)) as workers:

        def finished() -> Iterator[_Outcome]:
            for photo, result in workers.finished(show):
                yield _buried(photo, recipe, result) if isinstance(result, Death) else result

        for photo in photos:
            known = _known(photo, recipe, skip_existing)
            if known is not None:
                yield known
                continue
            while workers.are_busy:
                yield from finished()
            workers.submit(photo)
        while workers.num_busy:
            yield from finished()


def _known(photo: PhotoFile, recipe: _Recipe, skip_existing: bool) -> _Outcome | None:
    """What becomes of a photo for which there is nothing to do."""
    if photo.problem is not None:
        return _Outcome(PhotoResult(photo.path, "failed", error=photo.problem))
    outputs = recipe.outputs(photo)
    if skip_existing and all(os.path.lexists(output) for output in outputs):
        return _Outcome(PhotoResult(photo.path, "skipped", outputs))
    return None


def _buried(photo: PhotoFile, recipe: _Recipe, death: Death) -> _Outcome:
    """What becomes of a photo whose worker died."""
    sweep(recipe.folder(photo))
    error = f"{death.reason} while making {photo.path}"
    return _Outcome(PhotoResult(photo.path, "failed", error=error))


def _make(recipe: _Recipe, photo: PhotoFile, progress: Callable[[str], None]) -> _Outcome:
    """Make one photo's scene and write its results, all of them or none."""
    began = time.perf_counter()
    stages = Stages(progress)
    reason = None
    try:
        facts = _write_results(recipe, photo, stages)
        result = PhotoResult(photo.path, "ok", recipe.outputs(photo), facts=facts)
    except DioramaError as error:
        result = PhotoResult(photo.path, "failed", error=str(error))
        reason = _errno(error)
    except MemoryError:
        hint = "fewer jobs or a smaller max_size need less"
        result = PhotoResult(photo.path, "failed", error=f"no memory for {photo.path}: {hint}")
    except Exception as error:  # noqa: BLE001 (the next photo may be spared our fault)
        line = "".join(traceback.format_exception_only(error)).strip().splitlines()[-1]
        result = PhotoResult(
            photo.path,
            "failed",
            error=f"{photo.path}: our fault, please report it: {line}",
            fault=traceback.format_exc(),
        )
    result = replace(
        result,
        seconds=round(time.perf_counter() - began, 4),
        timings_s=stages.end(),
        pid=os.getpid(),
        **_memory(),
    )
    return _Outcome(result, reason)


def _write_results(recipe: _Recipe, photo: PhotoFile, stages: Stages) -> dict[str, Any]:
    from diorama.pipeline import photo_to_scene

    for output in recipe.outputs(photo):
        if (
            Path(output).exists()
            and Path(photo.path).exists()
            and Path(output).samefile(photo.path)
        ):
            raise InputError(f"{output} would replace the photo itself: choose another folder")
    scene = photo_to_scene(
        photo.path, view_box=recipe.view_box, config=recipe.config, progress=stages.begin
    )
    with whole_set(recipe.folder(photo)) as folder:
        for suffix in recipe.suffixes:
            stages.begin(f"export {suffix.removeprefix('.')}")
            write(scene, folder / f"{Path(recipe.out / photo.name).name}{suffix}")
        stop_if_interrupted()
    return scene_facts(scene)


def _check_writable(out: Path) -> None:
    with whole_set(out):
        pass


def _errno(error: BaseException | None) -> int | None:
    """The system's reason for an `OutputError`; 0 if there is none, None for other errors."""
    if not isinstance(error, OutputError):
        return None
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return 0


def _record(result: PhotoResult) -> dict[str, Any]:
    """What the manifest says of a photo."""
    return {
        "input": result.input,
        "status": result.status,
        "error": result.error,
        "outputs": result.outputs,
        "seconds": result.seconds,
        "timings_s": result.timings_s,
        **{name: result.facts.get(name) for name in ("size", "models", "seed")},
        "memory_mb": result.memory_mb,
        "peak_mb": result.peak_mb,
        "host": socket.gethostname(),
        "pid": result.pid,
        "version": diorama.__version__,
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
    }


def _memory() -> dict[str, float]:
    """Resident megabytes of this process, now and at the most."""
    if sys.platform != "linux":
        return {}
    status = Path("/proc/self/status").read_text()
    values = dict(line.split(":", 1) for line in status.splitlines())
    names = {"memory_mb": "VmRSS", "peak_mb": "VmHWM"}
    return {name: round(int(values[key].split()[0]) / 1024, 1) for name, key in names.items()}
