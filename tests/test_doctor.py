"""The doctor finds what is there, and what is wrong with it.

What is wrong is so in truth: distributions and packages in a folder that comes first on the path.
"""

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from file_server import FileServer

from diorama import doctor, extras, registry
from diorama.errors import InputError
from diorama.runtime import PROVIDERS
from diorama.weights import WeightFile, Weights, pull


def by_name() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_this_installation_is_fine() -> None:
    findings = by_name()
    assert [f for f in findings.values() if f.advice] == []
    assert findings["numpy"].value == importlib.metadata.version("numpy")
    assert {"python", "cores", "opencv", "kernel cache", "mp4 encoder"} <= set(findings)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first on the path, of this process and of those that it starts."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, sys.path)]))
    return folder


def install(site: Path, name: str, version: str, module: str = "", code: str = "") -> None:
    """Put a distribution there, and a package if it is to have one."""
    info = site / f"{name.replace('-', '_')}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    if module:
        (site / module).mkdir()
        (site / module / "__init__.py").write_text(code)


def asked_elsewhere(code: int = 2) -> dict[str, dict[str, str | None]]:
    """What the command says in a process of its own, where packages are found anew."""
    command = [sys.executable, "-m", "diorama.cli", "doctor", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stderr
    return {finding["name"]: finding for finding in json.loads(done.stdout)}


@pytest.mark.parametrize(
    ("name", "both"),
    [
        ("opencv", ("opencv-contrib-python-headless", "opencv-python")),
        ("onnxruntime", ("onnxruntime", "onnxruntime-gpu")),
    ],
)
def test_two_wheels_of_one_library_are_a_trap(site: Path, name: str, both: tuple[str, str]) -> None:
    install(site, both[1], "4.10.0")
    finding = by_name()[name]
    assert finding.value == f"{both[0]} {importlib.metadata.version(both[0])} and {both[1]} 4.10.0"
    assert finding.advice == (
        f"pip uninstall -y {both[0]} {both[1]}; then pip install {both[0]} or {both[1]}"
    )


def test_a_wheel_that_was_removed_from_beside_another_leaves_a_hole(site: Path) -> None:
    """As `pip uninstall onnxruntime` does where onnxruntime-gpu is to stay."""
    install(site, "onnxruntime", "1.30.0", "onnxruntime")
    install(site, "torch", "2.9.0", "torch", "raise OSError('libcudart.so.13: cannot open shared')")
    found = asked_elsewhere()
    assert found["onnxruntime"]["value"] == "onnxruntime 1.30.0, broken: its files are gone"
    assert found["onnxruntime"]["advice"] == ("pip install --force-reinstall --no-deps onnxruntime")
    assert found["torch"]["value"] == "2.9.0, broken: libcudart.so.13: cannot open shared"
    assert found["torch"]["advice"] == "pip install --force-reinstall torch"


@pytest.mark.parametrize("command", ["doctor", "formats"])
def test_where_no_command_can_start_the_reason_is_told(site: Path, command: str) -> None:
    install(site, "opencv-contrib-python-headless", "4.13.0", "cv2")
    told = [sys.executable, "-m", "diorama.cli", command]
    done = subprocess.run(told, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines() == [
        "error: cannot start: module 'cv2' has no attribute 'error'",
        "opencv: opencv-contrib-python-headless 4.13.0, broken: its files are gone -> "
        "pip install --force-reinstall --no-deps opencv-contrib-python-headless",
    ]


def test_a_torchvision_that_does_not_fit_torch(site: Path) -> None:
    assert "torchvision" not in by_name()
    code = "raise RuntimeError('operator torchvision::nms does not exist\\nand more')"
    install(site, "torchvision", "0.24.0", "torchvision", code)
    assert by_name()["torchvision"] == doctor.Finding(
        "torchvision",
        "0.24.0, broken: operator torchvision::nms does not exist",
        "pip uninstall -y torchvision: nothing here needs it",
    )


def test_plain_opencv_is_not_enough(monkeypatch: pytest.MonkeyPatch, site: Path) -> None:
    install(site, "opencv-python", "4.10.0")
    real = doctor._installed
    contrib = "opencv-contrib-python-headless"  # whose files cannot be taken away from here
    monkeypatch.setattr(doctor, "_installed", lambda n: None if n == contrib else real(n))
    assert by_name()["opencv"] == doctor.Finding(
        "opencv", "opencv-python 4.10.0", f"replace it by {contrib}"
    )


def test_what_networks_run_on_is_listed() -> None:
    findings = by_name()
    version = importlib.metadata.version("onnxruntime")
    assert findings["onnxruntime"].value == f"onnxruntime {version}"
    assert "cpu" in findings["onnxruntime runs on"].value.split(", ")
    assert findings["torch"].value.startswith(importlib.metadata.version("torch"))
    for precision in ("int8", "bf16", "fp16"):
        assert precision in findings["processor"].value


@pytest.mark.parametrize("has_gpu", [True, False])
def test_a_device_that_does_not_start_is_told(
    monkeypatch: pytest.MonkeyPatch, has_gpu: bool
) -> None:
    """As onnxruntime-gpu says it without CUDA's libraries."""

    def cannot(model: Path, *, provider: str) -> None:
        if provider == PROVIDERS["cuda"]:
            raise InputError("ONNX Runtime cannot use CUDA here: libcublasLt.so.13: no such file")

    monkeypatch.setattr(doctor, "devices", lambda: ["cuda", "cpu", "tensorrt"])
    monkeypatch.setattr(doctor, "open_session", cannot)
    monkeypatch.setattr(doctor, "_has_nvidia", lambda: has_gpu)
    finding = by_name()["onnxruntime runs on"]
    assert finding.value == (
        "cuda (does not start: libcublasLt.so.13: no such file), cpu, "
        "tensorrt (not tried: it compiles for minutes)"
    )
    advice = "pip install 'onnxruntime-gpu[cuda,cudnn]', or its libraries from NVIDIA"
    assert finding.advice == (advice if has_gpu else None)


class TestModels:
    @pytest.fixture(autouse=True)
    def folder(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        monkeypatch.setenv("DIORAMA_MODELS_DIR", str(tmp_path / "models"))
        return tmp_path / "models" / "assets" / "diorama"

    def test_pulled_ones_are_listed_and_what_is_missing_of_them(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        assert by_name()["models"].value.startswith(f"{folder}, ")
        monkeypatch.setattr(registry, "_entries", dict(registry._entries))
        with FileServer({"a.txt": b"hello"}) as server:
            mine = Weights("mine", server.url, (WeightFile("a.txt"),))
            registry.register(
                registry.ModelEntry("mine", "depth", "One.", "a:b", "MIT", weights=mine)
            )
            path = pull(mine)
        assert by_name()["  mine"] == doctor.Finding("  mine", str(path))
        path.unlink()
        assert by_name()["  mine"] == doctor.Finding(
            "  mine", f"{path} is missing", "diorama models pull mine"
        )

    def test_a_folder_that_cannot_be_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(doctor.os, "access", lambda *args: False)
        advice = by_name()["models"].advice
        assert advice is not None
        assert advice.endswith("cannot be written: pass --models-dir, or set DIORAMA_MODELS_DIR")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = doctor._installed
    monkeypatch.setattr(doctor, "_installed", lambda n: None if n == "pythoncdt" else real(n))
    assert by_name()["pythoncdt"] == doctor.Finding("pythoncdt", "missing", "pip install pythoncdt")


def test_an_unwritable_cache_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_CACHE_DIR", "/proc/nowhere")
    monkeypatch.setattr(doctor.os, "access", lambda *args: False)
    assert by_name()["kernel cache"].advice == "NUMBA_CACHE_DIR cannot be written: change it"


def test_extras_are_named_and_none_is_missed(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(extras.EXTRAS, "heic", "a_module_that_nobody_has")
    found = {finding.name: finding for finding in doctor.examine()}
    assert (found["[exr]"].value, found["[exr]"].advice) == ("installed", None)
    assert (found["[heic]"].value, found["[heic]"].advice) == ("not installed", None)
