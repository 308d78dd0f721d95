"""What `diorama doctor` looks at: versions, cores, caches, and the traps others fell into."""

import importlib.metadata
import importlib.util
import os
import platform
from dataclasses import dataclass
from pathlib import Path

from diorama.extras import EXTRAS, has_extra
from diorama.runtime import num_threads

_REQUIRED = (*("numpy", "numba", "av", "pillow", "pythoncdt", "tyro", "rich", "jaxtyping"),)
_OPENCV = (
    "opencv-contrib-python-headless",
    "opencv-contrib-python",
    "opencv-python-headless",
    "opencv-python",
)
_ONNX_RUNTIME = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino")
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
        *(_version(name) for name in _REQUIRED),
        _opencv(),
        *_onnx_runtime(),
        *(_extra(name) for name in EXTRAS),
        _kernel_cache(),
        *_encoders(),
        *_torchvision(),
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


def _opencv() -> Finding:
    wheels = [f"{name} {v}" for name in _OPENCV if (v := _installed(name)) is not None]
    if not wheels:
        return Finding("opencv", "missing", f"pip install {_OPENCV[0]}")
    if len(wheels) > 1:
        # They unpack into the same folder: whichever came last wins, in part.
        return Finding(
            "opencv",
            " and ".join(wheels),
            f"pip uninstall all of them, then pip install {_OPENCV[0]}",
        )
    if not wheels[0].startswith("opencv-contrib"):
        return Finding("opencv", wheels[0], f"replace it by {_OPENCV[0]}")
    return Finding("opencv", wheels[0])


def _onnx_runtime() -> list[Finding]:
    """Its wheels unpack into one folder, as OpenCV's do."""
    wheels = [f"{name} {v}" for name in _ONNX_RUNTIME if (v := _installed(name)) is not None]
    if not wheels:
        return [Finding("onnxruntime", "missing", f"pip install {_ONNX_RUNTIME[0]}")]
    advice = None
    if len(wheels) > 1:
        advice = f"pip uninstall all of them, then pip install {_ONNX_RUNTIME[0]}"
    import onnxruntime

    providers = onnxruntime.get_available_providers()
    return [
        Finding("onnxruntime", " and ".join(wheels).removeprefix("onnxruntime "), advice),
        Finding(
            "onnxruntime runs on",
            ", ".join(provider.removesuffix("ExecutionProvider") for provider in providers),
        ),
    ]


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
    try:
        import torchvision  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        return [Finding("torchvision", f"broken: {reason}", "pip uninstall torchvision")]
    return [Finding("torchvision", torchvision.__version__)]
