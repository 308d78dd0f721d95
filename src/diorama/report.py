"""What a command says: its report or its paths on stdout, progress and errors on stderr."""

import json
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Any

import diorama
from diorama.errors import DioramaError
from diorama.interrupts import stop_if_interrupted

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

EXIT_USER = 2
"""The user can mend it."""


class Report:
    """What `--json` prints: the command, and for each input its outputs, timings and error."""

    def __init__(self, command: str, as_json: bool) -> None:
        self._command, self._as_json = command, as_json
        self._results: list[dict[str, Any]] = []
        self._error: str | None = None
        self._began = time.perf_counter()

    def begin(self, source: str) -> dict[str, Any]:
        """A result to fill in."""
        self._results.append({"input": source, "outputs": [], "error": None, "timings_s": {}})
        return self._results[-1]

    @property
    def exit_code(self) -> int:
        """0 if every input came through."""
        return EXIT_USER if any(result["error"] for result in self._results) else 0

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
        failed = [result for result in self._results if result["error"]]
        if self._as_json:
            document = {
                "command": self._command,
                "version": diorama.__version__,
                "ok": error is None and not failed,
                "error": None if error is None else str(error),
                "seconds": round(time.perf_counter() - self._began, 4),
                "results": self._results,
            }
            say(json.dumps(document, indent=1, ensure_ascii=False))
        else:
            for result in self._results:
                for output in result["outputs"]:
                    say(output)
        if failed and len(self._results) > 1:
            tell(f"{len(failed)} of {len(self._results)} failed")


class Display:
    """Progress on stderr: one bar a photo on a terminal, plain lines elsewhere."""

    def __init__(self, num_inputs: int) -> None:
        self._num_inputs = num_inputs
        self._num_begun = 0
        self._progress: Progress | None = None

    def begin(self, title: str) -> "Stages":
        """The next input's stages."""
        self._num_begun += 1
        if self._num_inputs > 1:
            title = f"[{self._num_begun}/{self._num_inputs}] {title}"
        return Stages(title, self._progress)

    def __enter__(self) -> "Display":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

            self._progress = Progress(
                SpinnerColumn(finished_text="[green]✓"),
                TextColumn("{task.description}"),
                TextColumn("[cyan]{task.fields[stage]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                redirect_stdout=False,
            )
            self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._progress is not None:
            self._progress.stop()


class Stages:
    """Shows which stage of an input is at work and keeps how long each took."""

    def __init__(self, title: str, progress: "Progress | None") -> None:
        self._title, self._progress = title, progress
        self._timings: dict[str, float] = {}
        self._stage: str | None = None
        self._since = time.perf_counter()
        self._task: TaskID | None = None
        if progress is not None:
            from rich.markup import escape

            self._task = progress.add_task(escape(title), total=1, stage="")

    def begin(self, stage: str) -> None:
        """End the stage before and begin this one."""
        stop_if_interrupted()
        self._close()
        self._stage = stage
        if self._progress is None:
            tell(f"{self._title}: {stage}")
        elif self._task is not None:
            self._progress.update(self._task, stage=stage)

    def end(self) -> dict[str, float]:
        """Seconds for each stage, in order."""
        self._close()
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, stage="", completed=1)
        return {stage: round(seconds, 4) for stage, seconds in self._timings.items()}

    def _close(self) -> None:
        now = time.perf_counter()
        if self._stage is not None:
            self._timings[self._stage] = now - self._since
        self._stage, self._since = None, now


def say(text: str) -> None:
    """One line of result, to stdout."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def tell(text: str) -> None:
    """One line for people, to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
