"""How the work is spread over cores, where networks run, and how long they stay in memory.

Kernels are compiled `nogil` and work on a band of rows; `run_bands` hands fixed bands to one shared
thread pool. The bands do not depend on the number of threads, so neither does any result.

What an ONNX file runs on is a matter of which wheel of ONNX Runtime is installed, and that of what
somebody wanted. So "auto" means the best device that a wheel was installed for: CUDA, DirectML,
OpenVINO, else the CPU. TensorRT, which is in every wheel with CUDA, compiles for minutes whenever a
picture has a new size, and CoreML, which is in every wheel for macOS, loses its speed where sizes
vary, says its documentation, and ours do: both are for who asks for them.
"""

import contextlib
import functools
import gc
import logging
import os
import re
import sys
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import IO, TYPE_CHECKING, Any, Literal, TypeVar

from diorama.errors import InputError

if TYPE_CHECKING:
    from onnx import ModelProto
    from onnxruntime import InferenceSession

logger = logging.getLogger(__name__)

Device = Literal[
    "auto",  # the best there is: the module says which
    "cpu",
    "cuda",
    "directml",
    "openvino",
    "coreml",
    "tensorrt",
]
"""Where a network runs. PyTorch knows cpu and cuda alone."""

Precision = Literal[
    "auto",  # as each model is best
    "fp32",
    "fp16",
    "bf16",
    "int8",
]
"""Of a network's arithmetic."""

BAND_ROWS = 64
"""Rows in a band: small enough to balance many cores, large enough to hide dispatch."""

CPU = "CPUExecutionProvider"
"""What every ONNX Runtime can run on."""

PROVIDERS: dict[str, str] = {
    "cuda": "CUDAExecutionProvider",
    "directml": "DmlExecutionProvider",
    "openvino": "OpenVINOExecutionProvider",
    "cpu": CPU,
    "coreml": "CoreMLExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
"""What ONNX Runtime calls the devices. "auto" tries them in this order, down to the CPU."""

WHEELS = {
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "directml": "onnxruntime-directml",
    "openvino": "onnxruntime-openvino",
    "coreml": "onnxruntime for macOS",
}
"""Which wheel of ONNX Runtime has a device. They overwrite each other: one alone may be there."""

Opened = TypeVar("Opened")


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


def devices() -> list[Device]:
    """Where the ONNX Runtime that is installed may run a network, the CPU among them.

    Whether a device is really there shows when a network is opened on it.
    """
    present = _onnx_runtime().get_available_providers()
    return [name for name, provider in PROVIDERS.items() if provider in present]  # pyright: ignore[reportReturnType]


def open_network(model: Path, device: Device = "auto", **settings: Any) -> "InferenceSession":
    """Make a session of ONNX Runtime on a device, or for "auto" on the best that works.

    One that does not start or cannot run the network is passed over, which is logged in one line;
    after that it is not tried again.

    Args:
        model: a file.
        device: where it is to run.
        **settings: of `open_session`.

    Raises:
        InputError: if the model cannot be run, or not on the device that was asked for.
    """
    present = devices()
    if device != "auto":
        if device not in present:
            raise InputError(
                f"{model.name} cannot run on {device}: this ONNX Runtime has "
                f"{', '.join(present)}; pass auto, or install {WHEELS[device]} in its place"
            )
        try:
            return open_session(model, provider=PROVIDERS[device], **settings)
        except InputError as error:
            if device == "cpu":
                raise
            raise InputError(f"{error}; pass --device auto, or ask `diorama doctor`") from error
    passed: dict[str, str] = {}
    for choice in present[: present.index("cpu")]:
        if choice in _useless:
            continue
        try:
            session = open_session(model, provider=PROVIDERS[choice], **settings)
        except InputError as error:
            passed[choice] = str(error)
            continue
        _pass_over(passed, model, choice)
        return session
    session = open_session(model, **settings)  # a damaged file is an error here, and no more
    _pass_over(passed, model, "cpu")
    return session


_useless: set[str] = set()
"""Devices that failed in this process."""


def _pass_over(problems: dict[str, str], model: Path, device: str) -> None:
    for problem in problems.values():
        logger.warning("%s, so %s runs on %s", problem, model.name, device)
    _useless.update(problems)


def device_of(session: "InferenceSession") -> str:
    """The device that a session runs on."""
    provider = session.get_providers()[0]
    return next(name for name, known in PROVIDERS.items() if known == provider)


def precision_of(session: "InferenceSession") -> str:
    """What a network computes in, as `diorama models convert` wrote it into its file."""
    noted = session.get_modelmeta().custom_metadata_map.get("precision", "")
    return {"onnx-fp16": "fp16", "onnx-int8": "int8"}.get(noted, "fp32")


def open_session(
    model: "Path | ModelProto",
    *,
    provider: str = CPU,
    threads: int | None = None,
    options: Any = None,
) -> "InferenceSession":
    """Make a session of ONNX Runtime that runs on one provider only.

    What that one cannot compute, the CPU does.

    Args:
        model: a file, or a model in memory.
        provider: as ONNX Runtime calls it.
        threads: of the CPU; None: `num_threads`.
        options: a `SessionOptions` to start from.

    Raises:
        InputError: if the model cannot be run, or the provider is not to be had.
    """
    onnxruntime = _onnx_runtime()
    options = options or onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or num_threads()
    options.log_severity_level = 4  # what goes wrong is raised
    if not _sums_bytes():
        # Else sums of 8-bit products overflow; it makes them as slow as float32.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if provider == PROVIDERS["directml"]:
        options.enable_mem_pattern = False  # it cannot
    name = model.name if isinstance(model, Path) else "the model"
    source = model if isinstance(model, Path) else model.SerializeToString()
    chosen: list[Any] = [(provider, _provider_options(provider))]
    if provider == PROVIDERS["tensorrt"]:
        # What it cannot compute either, CUDA may.
        chosen.append((PROVIDERS["cuda"], _provider_options(PROVIDERS["cuda"])))
    with contextlib.nullcontext(str) if provider == CPU else silence() as said:
        if provider in (PROVIDERS["cuda"], PROVIDERS["tensorrt"]):
            with contextlib.redirect_stdout(None), contextlib.suppress(AttributeError, OSError):
                onnxruntime.preload_dlls()  # CUDA's libraries, where pip has put them
        session = failure = None
        try:
            session = onnxruntime.InferenceSession(
                source,
                options,
                providers=chosen,
                enable_fallback=0,  # which would print to stdout
            )
        except Exception as error:  # noqa: BLE001 (raised below; fifteen classes, no common base)
            failure = error
    if session is not None and session.get_providers()[0] == provider:
        return session
    missing = re.search(r"with error: (.*)", said())  # a library of the provider's
    if failure is None or missing:
        reason = f": {missing[1].strip()}" if missing else ""
        raise InputError(f"ONNX Runtime cannot use {provider} here{reason}") from failure
    reason = next(iter(str(failure).splitlines()), type(failure).__name__)
    on = "" if provider == CPU else f" on {provider}"
    raise InputError(f"ONNX Runtime cannot run {name}{on}: {reason}") from failure


def _provider_options(provider: str) -> dict[str, str]:
    if provider == PROVIDERS["cuda"]:
        # Trying every algorithm at every new size takes longer than what it saves.
        return {"cudnn_conv_algo_search": "HEURISTIC", "use_tf32": "0"}
    if provider == PROVIDERS["coreml"]:
        return {"ModelFormat": "MLProgram"}  # the older one computes in half precision
    if provider == PROVIDERS["tensorrt"]:
        from diorama.weights import own_folder

        folder = own_folder() / "tensorrt"
        with contextlib.suppress(OSError):  # else it compiles again in every process
            folder.mkdir(parents=True, exist_ok=True)
        return {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
    return {}


def _onnx_runtime() -> ModuleType:
    import onnxruntime

    if not hasattr(onnxruntime, "InferenceSession"):
        raise InputError(
            "ONNX Runtime is damaged, as if one of its wheels had been removed from beside "
            "another: run `diorama doctor`"
        )
    return onnxruntime


def kept(most: int) -> "Callable[[Callable[..., Opened]], functools._lru_cache_wrapper[Opened]]":
    """For a function that opens a network: its last results stay, until `release_networks`.

    Args:
        most: how many.
    """

    def keep(open_it: Callable[..., Opened]) -> "functools._lru_cache_wrapper[Opened]":
        cached = functools.lru_cache(maxsize=most)(open_it)
        _caches.append(cached)
        return cached

    return keep


_caches: list[Any] = []
"""Of the functions that open networks."""


def release_networks() -> None:
    """Close the networks that nobody uses at the moment, and give back what they held."""
    for cached in _caches:
        cached.cache_clear()
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        import ctypes

        with contextlib.suppress(OSError, AttributeError):  # no glibc
            ctypes.CDLL("libc.so.6").malloc_trim(0)


@cache
def _sums_bytes() -> bool:
    """Whether the processor sums products of bytes in 32 bits (VNNI); what is no x86 does."""
    from llvmlite import binding

    features = binding.get_host_cpu_features()
    return not features.get("avx2") or any(features.get(f) for f in ("avx512vnni", "avxvnni"))


@contextlib.contextmanager
def silence() -> Iterator[Callable[[], str]]:
    """Keep compiled libraries from writing lines of their own to stderr, of the whole process.

    What it yields tells, afterwards, what they wrote.
    """
    sys.stderr.flush()
    before = os.dup(2)
    text = ""
    with _notepad() as heard:
        try:
            os.dup2(heard.fileno(), 2)
            yield lambda: text
        finally:
            os.dup2(before, 2)
            os.close(before)
            heard.seek(0)
            text = heard.read().decode(errors="replace")


def _notepad() -> IO[bytes]:
    try:
        return tempfile.TemporaryFile()
    except OSError:  # no place to write to: then nobody listens
        return Path(os.devnull).open("r+b")
