"""The doctor finds what is there, and what is wrong with it."""

import importlib.metadata

import pytest

from diorama import doctor, extras


def by_name() -> dict[str, doctor.Finding]:
    return {finding.name: finding for finding in doctor.examine()}


def test_this_installation_is_fine() -> None:
    findings = by_name()
    assert [f for f in findings.values() if f.advice] == []
    assert findings["numpy"].value == importlib.metadata.version("numpy")
    assert {"python", "cores", "opencv", "kernel cache", "mp4 encoder"} <= set(findings)


def installed(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    real = doctor._installed

    def pretend(distribution: str) -> str | None:
        name = distribution.replace("-", "_")
        return versions[name] if name in versions else real(distribution)

    monkeypatch.setattr(doctor, "_installed", pretend)


@pytest.mark.parametrize(
    ("name", "wheel"), [("opencv", "opencv-python"), ("onnxruntime", "onnxruntime-gpu")]
)
def test_two_wheels_of_one_library_are_a_trap(
    monkeypatch: pytest.MonkeyPatch, name: str, wheel: str
) -> None:
    installed(monkeypatch, **{wheel.replace("-", "_"): "4.10.0"})
    finding = by_name()[name]
    assert f"{wheel} 4.10.0" in finding.value
    assert finding.advice is not None
    assert finding.advice.startswith("pip uninstall all of them")


def test_plain_opencv_is_not_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, opencv_contrib_python_headless=None, opencv_python="4.10.0")
    advice = by_name()["opencv"].advice
    assert advice is not None
    assert "opencv-contrib-python-headless" in advice


def test_what_networks_run_on_is_listed() -> None:
    findings = by_name()
    assert findings["onnxruntime"].value == importlib.metadata.version("onnxruntime")
    assert "CPU" in findings["onnxruntime runs on"].value.split(", ")


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch, pythoncdt=None)
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
