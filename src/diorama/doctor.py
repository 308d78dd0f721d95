"""What `diorama doctor` looks at: versions, devices, caches, and the traps others fell into."""

import importlib
import importlib.metadata
import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from diorama import registry, weights
from diorama.errors import InputError
from diorama.extras import EXTRAS, has_extra
from diorama.runtime import PROVIDERS, WHEELS, Device, devices, num_threads, open_session

_REQUIRED = (*("numpy", "numba", "av", "pillow", "pythoncdt", "tyro", "rich", "jaxtyping"),)
_OPENCV = (
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-python",
)
_ONNX_RUNTIME = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
_BROKEN = (ImportError, RuntimeError, AttributeError, OSError)
"""What importing a package raises whose files, or whose libraries, do not fit together."""

_FAST = {
    "int8": ("avx512vnni", "avxvnni", "amx-int8", "dotprod", "i8mm"),
    "bf16": ("avx512bf16", "amx-bf16", "bf16"),
    "fp16": ("avx512fp16", "amx-fp16", "fullfp16"),
}
"""The instructions, any of which makes a precision faster than fp32, as LLVM calls them."""

_ENCODERS = {"mp4": "libx264", "webm": "libvpx-vp9"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    name: str
    value: str
    """What was found."""
    advice: str | None = None
    """What to do about it; None if it is fine."""


def examine() -> list[Finding]:
    """Look at everything; nothing is changed and no network is used."""
    import diorama

    return [
        Finding("diorama", diorama.__version__),
        Finding("python", f"{platform.python_version()} on {platform.system()}"),
        Finding("cores", f"{os.cpu_count()}, of which {num_threads()} are used"),
        *_processor(),
        *(_version(name) for name in _REQUIRED),
        _opencv(),
        *_onnx_runtime(),
        *_torch(),
        *_torchvision(),
        *(_extra(name) for name in EXTRAS),
        *_models(),
        _kernel_cache(),
        *_encoders(),
    ]


def _installed(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _version(distribution: str) -> Finding:
    version = _installed(distribution)
    if version is None:
        return Finding(distribution, "missing", f"pip install {distribution}")
    return Finding(distribution, version)


def _extra(name: str) -> Finding:
    """Not having one is fine: whatever needs it says so."""
    return Finding(f"[{name}]", "installed" if has_extra(name) else "not installed")


def _processor() -> list[Finding]:
    """What it computes fast in; fp32 it does in any case."""
    if importlib.util.find_spec("llvmlite") is None:
        return []
    from llvmlite import binding

    has = binding.get_host_cpu_features()
    said = []
    for precision, names in _FAST.items():
        found = [name for name in names if has.get(name)]
        said.append(f"{precision} by {' and '.join(found)}" if found else f"no fast {precision}")
    return [Finding("processor", ", ".join(said))]


def _present(distributions: Sequence[str]) -> dict[str, str]:
    """Versions of those that are installed."""
    found = {name: _installed(name) for name in distributions}
    return {name: version for name, version in found.items() if version is not None}


def _wheels(name: str, distributions: Sequence[str], *, module: str, has: str) -> Finding:
    """What there is to say of wheels of which only one may be there.

    They unpack into one folder: whichever came last wins in part, and removing it leaves a hole.

    Args:
        name: of the finding.
        distributions: the wheels, the usual one first.
        module: what they all bring.
        has: what a whole one has.
    """
    wheels = _present(distributions)
    told = " and ".join(f"{wheel} {version}" for wheel, version in wheels.items())
    if not wheels:
        return Finding(name, "missing", f"pip install {distributions[0]}")
    if len(wheels) > 1:
        one = " or ".join(wheels)
        return Finding(name, told, f"pip uninstall -y {' '.join(wheels)}; then pip install {one}")
    problem = _problem(module, has)
    if problem is not None:
        advice = f"pip install --force-reinstall --no-deps {next(iter(wheels))}"
        return Finding(name, f"{told}, broken: {problem}", advice)
    return Finding(name, told)


def _problem(module: str, has: str) -> str | None:
    """Why a module cannot be used; None if it can."""
    try:
        found = importlib.import_module(module)
    except _BROKEN as error:
        return next(iter(str(error).splitlines()), type(error).__name__)
    return None if hasattr(found, has) else "its files are gone"


def _opencv() -> Finding:
    finding = _wheels("opencv", _OPENCV, module="cv2", has="resize")
    if finding.advice is None and not finding.value.startswith("opencv-contrib"):
        return Finding("opencv", finding.value, f"replace it by {_OPENCV[0]}")
    return finding


def _onnx_runtime() -> list[Finding]:
    name = _ONNX_RUNTIME[0]
    finding = _wheels(name, _ONNX_RUNTIME, module=name, has="InferenceSession")
    if finding.advice is not None and " and " not in finding.value:
        return [finding]
    try:
        ways = [_way(device) for device in devices()]
    except _BROKEN as error:  # two wheels, neither of them whole
        return [Finding(finding.name, f"{finding.value}, broken: {error}", finding.advice)]
    return [
        finding,
        Finding(
            f"{name} runs on",
            ", ".join(told for told, _ in ways),
            next((advice for _, advice in ways if advice), None),
        ),
    ]


def _way(device: Device) -> tuple[str, str | None]:
    """A device of ONNX Runtime, tried out, and what to do if it does not work but ought to."""
    if device == "tensorrt":
        return "tensorrt (not tried: it compiles for minutes)", None
    try:
        open_session(registry.DATA / "embedded.onnx", provider=PROVIDERS[device])
    except InputError as error:
        problem = str(error).partition(" here: ")[2] or str(error)
        advice = None
        if device == "cuda" and _has_nvidia():
            advice = f"pip install '{WHEELS['cuda']}[cuda,cudnn]', or its libraries from NVIDIA"
        return f"{device} (does not start: {problem})", advice
    return device, None


def _has_nvidia() -> bool:
    """Whether there is a GPU, by its driver."""
    return Path("/dev/nvidiactl").exists() or shutil.which("nvidia-smi") is not None


def _torch() -> list[Finding]:
    if (version := _installed("torch")) is None:
        return []
    if (problem := _problem("torch", "Tensor")) is not None:
        advice = "pip install --force-reinstall torch"
        return [Finding("torch", f"{version}, broken: {problem}", advice)]
    import torch

    if not torch.cuda.is_available():
        if torch.version.cuda is not None and _has_nvidia():
            advice = "update NVIDIA's driver, or install torch for the CUDA that it knows"
            built = f"{version}, built for CUDA {torch.version.cuda}"
            return [Finding("torch", f"{built}, but it finds no GPU", advice)]
        unused = "; there is a GPU, but this is a build for the CPU" if _has_nvidia() else ""
        return [Finding("torch", f"{version} on the CPU{unused}")]
    return [Finding("torch", version), *map(_gpu, range(torch.cuda.device_count()))]


def _gpu(index: int) -> Finding:
    import torch

    free, total = (size / 2**30 for size in torch.cuda.mem_get_info(index))
    with torch.cuda.device(index):
        reduced = "bf16 and fp16" if torch.cuda.is_bf16_supported() else "fp16"
    about = f"{torch.cuda.get_device_name(index)}, {free:.1f} of {total:.1f} GiB free, {reduced}"
    return Finding(f"cuda {index}", about)


def _models() -> Iterator[Finding]:
    """Where pulled models lie, and which are there; `diorama models verify` reads them."""
    folder = weights.own_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    advice = None
    if not os.access(existing, os.W_OK):
        advice = f"{existing} cannot be written: pass --models-dir, or set DIORAMA_MODELS_DIR"
    yield Finding(
        "models", f"{folder}, {shutil.disk_usage(existing).free / 1e9:.0f} GB free", advice
    )
    for entry in registry.entries():
        if entry.weights is None or not weights.is_pulled(entry.weights):
            continue
        path = weights.locate(entry.weights)
        files = (
            [path]
            if len(entry.weights.files) == 1
            else [path / file.name for file in entry.weights.files]
        )
        gone = [file for file in files if not file.exists()]
        yield Finding(
            f"  {entry.name}",
            f"{gone[0]} is missing" if gone else str(path),
            f"diorama models pull {entry.name}" if gone else None,
        )


def _kernel_cache() -> Finding:
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    beside = Path(__file__).parent / "kernels" / "_numba" / "__pycache__"
    folder = Path(chosen) if chosen else beside
    existing = next(p for p in (folder, *folder.parents) if p.exists())
    if os.access(existing, os.W_OK):
        return Finding("kernel cache", str(folder))
    if chosen:
        return Finding("kernel cache", str(folder), "NUMBA_CACHE_DIR cannot be written: change it")
    return Finding("kernel cache", "in the user's cache folder: the package's cannot be written")


def _encoders() -> list[Finding]:
    if importlib.util.find_spec("av") is None:
        return []
    from av.codec.codec import Codec, UnknownCodecError

    findings = []
    for suffix, name in _ENCODERS.items():
        try:
            findings.append(Finding(f"{suffix} encoder", Codec(name, "w").name))
        except UnknownCodecError:
            findings.append(
                Finding(f"{suffix} encoder", f"{name} is missing", "install PyAV's wheel from PyPI")
            )
    return findings


def _torchvision() -> list[Finding]:
    """Broken where torch is a CPU build and torchvision is not; then transformers breaks, too."""
    version = _installed("torchvision")
    if version is None:
        return []
    if (problem := _problem("torchvision", "__version__")) is not None:
        advice = "pip uninstall -y torchvision: nothing here needs it"
        return [Finding("torchvision", f"{version}, broken: {problem}", advice)]
    return [Finding("torchvision", version)]
