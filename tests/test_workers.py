"""Worker processes: what they are given, what they give back, how they end."""

import os
import signal
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from diorama.workers import Death, Workers


def divide(settings: float, task: float, progress: Callable[[str], None]) -> float:
    """Runs in a worker; dividing by nothing is a fault that it does not survive."""
    progress(f"divide {task:g}")
    return task / settings


def environment(settings: str, task: str, progress: Callable[[str], None]) -> dict[str, Any]:
    return {
        "variables": {name: os.environ.get(name) for name in (settings, task)},
        "ctrl-c": signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, []),
        "pid": os.getpid(),
    }


def wait(settings: float, task: float, progress: Callable[[str], None]) -> None:
    """Notices no signal."""
    progress("wait")
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(settings)


def results(workers: Workers, stages: list[tuple[Any, str]] | None = None) -> list[tuple[Any, Any]]:
    found = []
    while workers.num_busy:
        found += workers.finished(
            lambda task, stage: stages.append((task, stage)) if stages is not None else None
        )
    return found


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(os.path.dirname(__file__))  # noqa: PTH120 (sys.path holds texts)


def test_tasks_are_shared_and_results_come_with_them() -> None:
    with Workers(divide, 2.0, jobs=2, threads=1) as workers:
        stages: list[tuple[Any, str]] = []
        assert not workers.are_busy
        workers.submit(1.0)
        workers.submit(3.0)
        assert workers.are_busy
        assert sorted(results(workers, stages)) == [(1.0, 0.5), (3.0, 1.5)]
        assert sorted(stages) == [(1.0, "divide 1"), (3.0, "divide 3")]
        workers.submit(5.0)
        assert results(workers) == [(5.0, 2.5)]


def test_threads_are_set_before_anything_is_imported() -> None:
    names = ("DIORAMA_THREADS", "OPENCV_FOR_THREADS_NUM")
    with Workers(environment, names[0], jobs=1, threads=3) as workers:
        workers.submit(names[1])
        ((_, seen),) = results(workers)
    assert seen["variables"] == dict.fromkeys(names, "3")
    assert seen["ctrl-c"] is True
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_a_fault_costs_one_worker(capfd: pytest.CaptureFixture[str]) -> None:
    with Workers(divide, 0.0, jobs=1, threads=1) as workers:
        for task in (1.0, 2.0):
            workers.submit(task)
            assert results(workers) == [(task, Death("a worker ended with exit code 1"))]
    assert capfd.readouterr().err.count("ZeroDivisionError") == 2


def test_one_that_dies_idle_is_replaced() -> None:
    with Workers(environment, "A", jobs=1, threads=1) as workers:
        workers.submit("B")
        ((_, first),) = results(workers)
        os.kill(first["pid"], signal.SIGKILL)
        os.waitid(os.P_PID, first["pid"], os.WEXITED | os.WNOWAIT)
        workers.submit("C")
        ((task, second),) = results(workers)
    assert task == "C"
    assert second["pid"] != first["pid"]


def test_one_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[Workers.__module__], "GRACE_SECONDS", 0.5)
    with Workers(wait, 60.0, jobs=1, threads=1) as workers:
        workers.submit(1.0)
        stages: list[str] = []
        while not stages:
            list(workers.finished(lambda _, stage: stages.append(stage)))
        time.sleep(0.1)
        began = time.monotonic()
    assert time.monotonic() - began < 5
