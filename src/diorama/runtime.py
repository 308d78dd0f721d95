"""How the work is spread over cores.

Kernels are compiled `nogil` and work on a band of rows; `run_bands` hands fixed bands to one shared
thread pool. The bands do not depend on the number of threads, so neither does any result.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache

BAND_ROWS = 64
"""Rows in a band: small enough to balance many cores, large enough to hide dispatch."""


def num_threads() -> int:
    """Threads to use: `DIORAMA_THREADS` if set, else the cores this process may run on."""
    wanted = os.environ.get("DIORAMA_THREADS", "")
    if wanted.isdigit() and int(wanted) > 0:
        return int(wanted)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="diorama")


def run_tasks(tasks: Sequence[Callable[[], object]]) -> list:
    """Run independent calls on the shared pool and return their results in order.

    Not to be called from inside a task: the pool is shared and would wait for itself.
    """
    threads = num_threads()
    if threads == 1 or len(tasks) < 2:
        return [task() for task in tasks]
    return [future.result() for future in [_pool(threads).submit(task) for task in tasks]]


def run_bands(
    kernel: Callable[..., object], num_rows: int, *args: object, band_rows: int = BAND_ROWS
) -> list:
    """Call `kernel(first_row, end_row, *args)` for every band of rows; results in row order."""
    bands = [(row, min(row + band_rows, num_rows)) for row in range(0, num_rows, band_rows)]
    # The first call may compile; letting every thread do so at once would only repeat the work.
    first = [kernel(*band, *args) for band in bands[:1]]
    return first + run_tasks([lambda b=band: kernel(*b, *args) for band in bands[1:]])


@contextlib.contextmanager
def silence() -> Iterator[None]:
    """Keep compiled libraries from writing lines of their own to stderr, of the whole process."""
    sys.stderr.flush()
    before = os.dup(2)
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 2)
        os.close(nowhere)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
