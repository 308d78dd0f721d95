"""Worker processes that do one thing at a time and may die without taking anything else along.

Each is spawned and has a pipe to the process that started it. When the pipe closes, because that
process stops its workers or was killed, a worker drops what it is doing, removes its scratch
folders and ends by itself. Ctrl-C in a terminal goes to every process there is; workers do not
listen to it.
"""

import contextlib
import multiprocessing
import os
import pickle
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import Any

from diorama.errors import InputError
from diorama.files import remove_scratch
from diorama.interrupts import raising_on_signals

GRACE_SECONDS = 10.0
"""What a worker has for dropping its work before it is killed; the longest kernel takes two."""

THREAD_SETTINGS = (
    *("DIORAMA_THREADS", "OPENCV_FOR_THREADS_NUM"),
    *("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
)
"""Environment variables that say how many threads a process may use."""

Work = Callable[[Any, Any, Callable[[str], None]], object]
"""Called with the settings, a task, and a function that takes the name of each stage."""


@dataclass(frozen=True)
class Death:
    """What stands for the result of a task whose worker died."""

    reason: str
    """Such as "a worker was killed by signal 9"."""


class Workers:
    """Processes that call `work(settings, task, progress)`; all four must be picklable.

    Closing them stops what they are doing.
    """

    def __init__(self, work: Work, settings: object, *, jobs: int, threads: int) -> None:
        self._payload = pickle.dumps((work, settings))
        self._jobs, self._threads = jobs, threads
        self._workers: list[_Worker] = []

    @property
    def num_busy(self) -> int:
        """Tasks under way."""
        return sum(worker.task is not None for worker in self._workers)

    @property
    def are_busy(self) -> bool:
        """Whether another task would have to wait."""
        return self.num_busy == self._jobs

    def submit(self, task: object) -> None:
        """Begin a task; there must be a free worker, or room for one."""
        for worker in [worker for worker in self._workers if worker.task is None]:
            try:
                worker.connection.send(task)
            except OSError:  # it died while it had nothing to do
                self._forget(worker)
            else:
                worker.task = task
                return
        worker = _Worker(self._payload, self._threads)
        self._workers.append(worker)
        worker.task = task
        with contextlib.suppress(OSError):  # `finished` finds the pipe closed
            worker.connection.send(task)

    def finished(self, progress: Callable[[Any, str], None]) -> Iterator[tuple[Any, Any]]:
        """Wait for something to happen; yield tasks with their results, or a `Death`.

        Args:
            progress: called with a task and the stage that it begins.

        Raises:
            InputError: if worker processes cannot start here.
        """
        busy = {w.connection: w for w in self._workers if w.task is not None}
        for connection in wait(list(busy)):
            worker = busy[connection]  # pyright: ignore[reportArgumentType] (what went in)
            try:
                message = worker.connection.recv()
            except (EOFError, OSError):
                yield worker.task, self._death(worker)
                continue
            worker.has_started = True
            if isinstance(message, _Stage):
                progress(worker.task, message.name)
            elif isinstance(message, _Done):
                task, worker.task = worker.task, None
                yield task, message.result

    def close(self) -> None:
        """Stop every worker, and wait until it has cleaned up behind itself."""
        for worker in self._workers:
            worker.connection.close()
        deadline = time.monotonic() + GRACE_SECONDS
        for worker in self._workers:
            worker.process.join(max(0.0, deadline - time.monotonic()))
            if worker.process.is_alive():
                worker.process.kill()
                worker.process.join()
        self._workers.clear()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _forget(self, worker: "_Worker") -> int:
        """Its exit code, negative for a signal."""
        self._workers.remove(worker)
        worker.connection.close()
        worker.process.join()
        return worker.process.exitcode or 0

    def _death(self, worker: "_Worker") -> Death:
        code = self._forget(worker)
        if code > 128 or code < 0:
            signum = code - 128 if code > 128 else -code
            hint = " (out of memory?)" if signum == getattr(signal, "SIGKILL", 9) else ""
            return Death(f"a worker was killed by signal {signum}{hint}")
        if not worker.has_started:
            raise InputError(
                "worker processes cannot start: a script that asks for several jobs does so under "
                "`if __name__ == '__main__':`; with one job none are needed"
            )
        return Death(f"a worker ended with exit code {code}")


class _Worker:
    """One process, seen from outside."""

    def __init__(self, payload: bytes, threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self.process = context.Process(
            target=_serve, args=(theirs, payload, threads), name="diorama worker", daemon=True
        )
        self.task: object = None
        self.has_started = False
        with _ctrl_c_blocked():
            self.process.start()
        theirs.close()


@dataclass(frozen=True)
class _Started:
    pass


@dataclass(frozen=True)
class _Stage:
    name: str


@dataclass(frozen=True)
class _Done:
    result: object


@contextlib.contextmanager
def _ctrl_c_blocked() -> Iterator[None]:
    """Start processes that never see Ctrl-C: they inherit the mask, and keep it from the outset."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # its own start would lift the mask
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: "Connection[Any, Any]", payload: bytes, threads: int) -> None:
    """A worker's life."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Before anything is imported that looks at them.
    os.environ.update(dict.fromkeys(THREAD_SETTINGS, str(threads)))
    code = 1
    try:
        with raising_on_signals([signal.SIGTERM]):
            work, settings = pickle.loads(payload)
            connection.send(_Started())
            tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
            threading.Thread(target=_listen, args=(connection, tasks), daemon=True).start()
            while (task := tasks.get()) is not None:
                result = work(settings, task, lambda stage: connection.send(_Stage(stage)))
                connection.send(_Done(result))
            code = 0
    except KeyboardInterrupt:
        code = 128 + signal.SIGTERM
    except BrokenPipeError:
        pass  # whoever wanted the result is gone
    except Exception:  # noqa: BLE001 (said here, since this process does not end as others do)
        traceback.print_exc()
    finally:
        _end(code)


def _listen(connection: "Connection[Any, Any]", tasks: "queue.SimpleQueue[Any]") -> None:
    """Take tasks; when the pipe closes, stop the main thread's work wherever it is."""
    with contextlib.suppress(EOFError, OSError):
        while True:
            tasks.put(connection.recv())
    # In this order: a main thread that wakes up for nothing to do finds the signal pending, and
    # never meets it while it takes its handler away.
    signal.raise_signal(signal.SIGTERM)
    tasks.put(None)
    time.sleep(GRACE_SECONDS)
    _end(1)


def _end(code: int) -> None:
    """End this process now, whatever its threads do."""
    with contextlib.suppress(ValueError):  # not in the main thread, which is the interrupted one
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    remove_scratch()
    os._exit(code)
