"""Work on bands, in order, whatever the number of threads."""

import threading

import pytest

from diorama import runtime
from diorama.models.embedded import WEIGHTS
from diorama.runtime import num_threads, open_session, run_bands, run_tasks


def test_threads_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "3")
    assert num_threads() == 3
    monkeypatch.setenv("DIORAMA_THREADS", "many")
    assert num_threads() >= 1


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_bands_cover_every_row_once_and_do_not_depend_on_threads(
    monkeypatch: pytest.MonkeyPatch, threads: str
) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", threads)
    bands = run_bands(lambda begin, end, offset: (begin + offset, end + offset), 130, 1000)
    assert bands == [(1000, 1064), (1064, 1128), (1128, 1130)]
    assert run_bands(lambda begin, end: 1, 0) == []
    assert run_bands(lambda begin, end: end - begin, 10, band_rows=4) == [4, 4, 2]


def test_tasks_run_at_the_same_time_and_return_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "2")
    barrier = threading.Barrier(2, timeout=10)

    def task(name: str) -> str:
        barrier.wait()
        return name

    assert run_tasks([lambda: task("a"), lambda: task("b")]) == ["a", "b"]


def test_a_failing_task_fails_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "2")
    with pytest.raises(ZeroDivisionError):
        run_tasks([lambda: 1, lambda: 1 / 0])


def test_tasks_may_run_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIORAMA_THREADS", "2")

    def nested(first: int) -> list[int]:
        return run_tasks([lambda k=k: first + k for k in range(3)])

    assert run_tasks([lambda f=f: nested(f) for f in range(4)]) == [
        [f, f + 1, f + 2] for f in range(4)
    ]


def test_bytes_are_summed_slowly_only_where_the_processor_would_overflow(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def options() -> str:
        session = open_session(WEIGHTS)
        return session.get_session_options().get_session_config_entry("session.x64quantprecision")

    monkeypatch.setattr(runtime, "_sums_bytes", lambda: False)
    assert options() == "1"
    monkeypatch.setattr(runtime, "_sums_bytes", lambda: True)
    with pytest.raises(RuntimeError):  # not set
        options()
