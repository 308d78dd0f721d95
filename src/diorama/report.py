"""What a command says: its report or its paths on stdout, progress and errors on stderr."""

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any

import diorama
from diorama.errors import DioramaError
from diorama.interrupts import stop_if_interrupted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from diorama.batch import PhotoResult
    from diorama.inputs import PhotoFile
    from diorama.scene import Scene

EXIT_FAULT = 1
"""Our own fault."""

EXIT_USER = 2
"""The user can mend it."""

MAX_LISTED = 20
"""Failed photos that a summary names."""

_UNPRINTABLE = {code: f"\\x{code:02x}" for code in (*range(32), *range(127, 160))}


class Report:
    """What `--json` prints: the command, and for each input its outputs, timings and error."""

    def __init__(self, command: str, as_json: bool) -> None:
        self._command, self._as_json = command, as_json
        self._results: list[dict[str, Any]] = []
        self._counts: Counter[str] = Counter()
        self._failed: list[str] = []
        self._has_fault = False
        self._began = time.perf_counter()

    def begin(self, source: str) -> dict[str, Any]:
        """A result to fill in."""
        self._results.append({"input": source, "outputs": [], "error": None, "timings_s": {}})
        return self._results[-1]

    def add(self, result: "PhotoResult") -> None:
        """A photo that is finished; only `--json` keeps it in memory."""
        self._counts[result.status] += 1
        self._has_fault = self._has_fault or result.fault is not None
        if result.fault is not None:
            sys.stderr.write(result.fault)
        if result.error is not None:
            tell(f"error: {result.error}")
            if len(self._failed) < MAX_LISTED:
                self._failed.append(result.input)
        if self._as_json:
            self.begin(result.input).update(
                status=result.status,
                outputs=list(result.outputs),
                error=result.error,
                timings_s=dict(result.timings_s),
                **result.facts,
            )
        elif result.status == "ok":
            for output in result.outputs:
                say(output)

    @property
    def exit_code(self) -> int:
        """0 if every input came through."""
        if self._has_fault:
            return EXIT_FAULT
        return EXIT_USER if any(result["error"] for result in self._results) or self._failed else 0

    def __enter__(self) -> "Report":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is not None and not isinstance(error, DioramaError):
            return
        if self._as_json:
            document = {
                "command": self._command,
                "version": diorama.__version__,
                "ok": error is None and self.exit_code == 0,
                "error": None if error is None else str(error),
                "seconds": round(time.perf_counter() - self._began, 4),
                "results": self._results,
            }
            say(json.dumps(document, indent=1, ensure_ascii=False))
        elif not self._counts:
            for result in self._results:
                for output in result["outputs"]:
                    say(output)
        if self._counts.total() > 1:
            self._sum_up()

    def _sum_up(self) -> None:
        """How many photos were made, skipped and failed, and which failed."""
        words = {"ok": "made", "skipped": "skipped", "failed": "failed"}
        tell(", ".join(f"{self._counts[s]} {words[s]}" for s in words if self._counts[s]))
        for source in self._failed:
            tell(f"failed: {source}")
        if more := self._counts["failed"] - len(self._failed):
            tell(f"and {more} more")


class Display:
    """Progress on stderr: live on a terminal, with the time left if there are several photos.

    Elsewhere plain lines: every stage where inputs come one by one, else every photo.
    """

    def __init__(self, num_inputs: int, *, jobs: int = 1) -> None:
        self._num_inputs, self._jobs = num_inputs, jobs
        self._num_done = self._num_failed = 0
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def begin(self, title: str) -> "Stages":
        """The stages of the only input."""
        return Stages(lambda stage: self._show(title, stage))

    def stage(self, photo: "PhotoFile", stage: str) -> None:
        """A stage of a photo begins."""
        self._show(os.path.basename(photo.file), stage)  # noqa: PTH119 (it is a str)

    def finish(self, result: "PhotoResult") -> None:
        """A photo is finished."""
        self._num_done += 1
        self._num_failed += result.status == "failed"
        if self._progress is not None and self._task is not None:
            failed = f"[red]{self._num_failed} failed" if self._num_failed else ""
            self._progress.update(self._task, completed=self._num_done, failed=failed)
        elif result.status == "skipped":
            tell(f"[{self._num_done}/{self._num_inputs}] {result.input}: skipped")
        elif result.status == "ok" and self._jobs > 1:
            seconds = f"{result.seconds:.1f} s"
            tell(f"[{self._num_done}/{self._num_inputs}] {result.input}: {seconds}")

    def _show(self, title: str, stage: str) -> None:
        if self._progress is not None and self._task is not None:
            from rich.markup import escape

            title = escape(printable(title))
            self._progress.update(self._task, description=title, stage=stage)
        elif self._num_inputs == 1:
            tell(f"{title}: {stage}")
        elif self._jobs == 1:
            tell(f"[{self._num_done + 1}/{self._num_inputs}] {title}: {stage}")

    def __enter__(self) -> "Display":
        if not sys.stderr.isatty():
            return self
        from rich import progress
        from rich.console import Console

        spinner = progress.SpinnerColumn(finished_text="[green]✓")
        title = progress.TextColumn("{task.description} [cyan]{task.fields[stage]}")
        elapsed = progress.TimeElapsedColumn()
        counted = (
            *(spinner, progress.BarColumn(), progress.MofNCompleteColumn(), elapsed),
            *(progress.TimeRemainingColumn(), progress.TextColumn("{task.fields[failed]}"), title),
        )
        self._progress = progress.Progress(
            *((spinner, title, elapsed) if self._num_inputs == 1 else counted),
            console=Console(stderr=True),
            redirect_stdout=sys.stdout.isatty(),
        )
        self._task = self._progress.add_task("", total=self._num_inputs, stage="", failed="")
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if self._progress is not None and self._task is not None:
            title = None if self._num_inputs == 1 else ""
            self._progress.update(self._task, description=title, stage="")
            if kind is None:
                self._progress.update(self._task, completed=self._num_inputs)
            self._progress.stop()


class Downloads:
    """Progress of downloads on stderr: live on a terminal, a line for every tenth elsewhere."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._tasks: dict[str, TaskID] = {}
        self._tenths: dict[str, int] = {}

    def show(self, name: str, done: int, total: int | None) -> None:
        """A file has so many bytes now, of so many."""
        if self._progress is not None:
            if name not in self._tasks:
                self._tasks[name] = self._progress.add_task(name, total=total)
            self._progress.update(self._tasks[name], completed=done, total=total)
        elif total:
            tenth = 10 * done // total
            if tenth > self._tenths.get(name, -1):
                tell(f"{name}: {10 * tenth} % of {total / 1e6:.1f} MB")
                self._tenths[name] = tenth

    def __enter__(self) -> "Downloads":
        if not sys.stderr.isatty():
            return self
        from rich import progress
        from rich.console import Console

        self._progress = progress.Progress(
            *(progress.TextColumn("{task.description}"), progress.BarColumn()),
            *(progress.DownloadColumn(), progress.TransferSpeedColumn()),
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            redirect_stdout=sys.stdout.isatty(),
        )
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()


class Stages:
    """Passes on which stage of an input begins and keeps how long each took."""

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._timings: dict[str, float] = {}
        self._stage: str | None = None
        self._since = time.perf_counter()

    def begin(self, stage: str) -> None:
        """End the stage before and begin this one."""
        stop_if_interrupted()
        self._close()
        self._stage = stage
        self._show(stage)

    def end(self) -> dict[str, float]:
        """Seconds for each stage, in order."""
        self._close()
        return {stage: round(seconds, 4) for stage, seconds in self._timings.items()}

    def _close(self) -> None:
        now = time.perf_counter()
        if self._stage is not None:
            self._timings[self._stage] = now - self._since
        self._stage, self._since = None, now


def scene_facts(scene: "Scene") -> dict[str, Any]:
    """What `--json` says of a scene."""
    texture = scene.photo.texture
    return {
        "models": scene.provenance.get("models", {}),
        "seed": scene.provenance.get("config", {}).get("seed"),
        "size": [scene.camera.width, scene.camera.height],
        "texture_size": [texture.shape[1], texture.shape[0]],
        "fov_deg": round(scene.camera.fov_deg, 3),
        "metric": scene.metric,
        "num_masks": len(scene.masks.ids),
        "num_layers": len(scene.layers),
    }


def printable(text: str) -> str:
    """A file's name as it may go to a terminal: in one line, without control characters."""
    return text.translate(_UNPRINTABLE).encode("utf-8", "backslashreplace").decode()


def say(text: str) -> None:
    """One line of result, to stdout; a path's bytes as they are."""
    try:
        sys.stdout.write(text + "\n")
    except UnicodeEncodeError:
        sys.stdout.buffer.write(f"{text}\n".encode("utf-8", "surrogateescape"))
    sys.stdout.flush()


def tell(text: str) -> None:
    """One line for people, to stderr."""
    sys.stderr.write(printable(text) + "\n")
    sys.stderr.flush()
