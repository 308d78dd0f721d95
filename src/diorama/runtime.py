"""How the work is spread over cores, and how networks are run.

Kernels are compiled `nogil` and work on a band of rows; `run_bands` hands fixed bands to one shared
thread pool. The bands do not depend on the number of threads, so neither does any result.
"""

import contextlib
import os
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from diorama.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

BAND_ROWS = 64
"""Rows in a band: small enough to balance many cores, large enough to hide dispatch."""

CPU = "CPUExecutionProvider"
"""What every ONNX Runtime can run on."""


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
    """Run independent calls, here and on the shared pool, and return their results in order."""
    threads = num_threads()
    results: list = [None] * len(tasks)
    waiting = deque(range(len(tasks)))

    def work() -> None:
        while True:
            try:
                index = waiting.popleft()
            except IndexError:  # asking whether it is empty could be outrun by another thread
                return
            results[index] = tasks[index]()

    helpers = [_pool(threads).submit(work) for _ in range(min(threads, len(tasks)) - 1)]
    try:
        work()
    except BaseException:
        waiting.clear()
        raise
    for helper in helpers:
        # One that has not begun is not needed, and may wait for a thread that waits for us.
        if not helper.cancel():
            helper.result()
    return results


def run_bands(
    kernel: Callable[..., object], num_rows: int, *args: object, band_rows: int = BAND_ROWS
) -> list:
    """Call `kernel(first_row, end_row, *args)` for every band of rows; results in row order."""
    bands = [(row, min(row + band_rows, num_rows)) for row in range(0, num_rows, band_rows)]
    # A compiled function's first call compiles or loads it, for which all threads would wait.
    alone = 0 if getattr(kernel, "signatures", True) else 1
    first = [kernel(*band, *args) for band in bands[:alone]]
    return first + run_tasks([lambda b=band: kernel(*b, *args) for band in bands[alone:]])


def open_session(
    model: "Path | ModelProto",
    *,
    provider: str = CPU,
    threads: int | None = None,
    options: Any = None,
) -> "InferenceSession":
    """Make a session of ONNX Runtime that runs on one provider only.

    Args:
        model: a file, or a model in memory.
        provider: as ONNX Runtime calls it.
        threads: of the CPU; None: `num_threads`.
        options: a `SessionOptions` to start from.

    Raises:
        InputError: if the model cannot be run, or the provider is not to be had.
    """
    import onnxruntime

    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or num_threads()
    options.log_severity_level = 4  # what goes wrong is raised
    if not _sums_bytes():
        # Else sums of 8-bit products overflow; it makes them as slow as float32.
        options.add_session_config_entry("session.x64quantprecision", "1")
    name = model.name if isinstance(model, Path) else "the model"
    source = model if isinstance(model, Path) else model.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(source, options, providers=[provider])
    except Exception as error:  # its errors are fifteen classes without another common base
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise InputError(f"ONNX Runtime cannot run {name}: {reason}") from error
    if session.get_providers()[0] != provider:
        raise InputError(f"ONNX Runtime cannot use {provider} here")
    return session


@cache
def _sums_bytes() -> bool:
    """Whether the processor sums products of bytes in 32 bits (VNNI); what is no x86 does."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return not features.get("avx2") or any(features.get(f) for f in ("avx512vnni", "avxvnni"))


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
