"""The Triton twins held to the numba kernels, on the same inputs.

Where there is no GPU, Triton interprets its kernels on the CPU. It decides so when it is imported,
so the variable is set in a fixture, and torch is imported there and not when tests are collected.
"""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene

from diorama.errors import InputError
from diorama.extras import has_extra
from diorama.mpi import Mpi, build_mpi, render_mpi

pytestmark = pytest.mark.skipif(not has_extra("gpu"), reason="the extra gpu is not installed")

LEVEL = 1 / 255


@pytest.fixture(scope="module")
def device():
    """Where the twins run: a GPU if there is one."""
    before = os.environ.get("TRITON_INTERPRET")
    if not Path("/dev/nvidiactl").exists():
        os.environ["TRITON_INTERPRET"] = "1"
    import torch

    yield "cuda" if torch.cuda.is_available() else "cpu"
    if before is None:
        os.environ.pop("TRITON_INTERPRET", None)


def to_numpy(*tensors):
    return [tensor.cpu().numpy() for tensor in tensors]


def differing(a, b, tolerance):
    """The share of values that differ by more than `tolerance`."""
    return float((np.abs(a.astype(np.float64) - b) > tolerance).mean())


# --- planes ---


@pytest.fixture(scope="module")
def mpi() -> Mpi:
    scene = card_scene(97, 71)
    return build_mpi(scene.layers, scene.camera, num_planes=16)


@pytest.mark.parametrize(
    "offset", [(0, 0, 0), (0.03, -0.02, 0), (0.01, 0.02, 0.3), (0, 0, 5.0)], ids=str
)
def test_composite(device: str, mpi: Mpi, offset: tuple[float, float, float]):
    camera = mpi.camera.at(*offset).resized(83, 58)
    expected = render_mpi(mpi, camera)
    frame = render_mpi(mpi.to(device), camera)
    assert frame.rgb.device.type == device
    rgb, alpha, disparity = to_numpy(frame.rgb, frame.alpha, frame.disparity)
    assert rgb.dtype == alpha.dtype == disparity.dtype == np.float32
    # Positions are float32 there and float64 here: now and then the next 1/256 pixel is read.
    np.testing.assert_allclose(rgb, expected.rgb, atol=LEVEL)
    np.testing.assert_allclose(alpha, expected.alpha, atol=LEVEL)
    assert differing(rgb, expected.rgb, 0.05 * LEVEL) < 0.05
    assert differing(disparity, expected.disparity, 1e-4) < 0.02


def test_composite_of_a_turned_camera(device: str, mpi: Mpi):
    camera = mpi.camera.at(0.02, 0, -0.04)
    turn = np.eye(4)
    turn[:3, :3] = [[0.98, 0, 0.199], [0, 1, 0], [-0.199, 0, 0.98]]
    camera = replace(camera, camera_to_world=camera.camera_to_world @ turn)
    expected = render_mpi(mpi, camera)
    frame = render_mpi(mpi.to(device), camera)
    rgb, alpha = to_numpy(frame.rgb, frame.alpha)
    assert expected.alpha.min() == 0
    assert differing(alpha, expected.alpha, LEVEL) < 0.002, "where the planes end, pixels may flip"
    assert differing(rgb, expected.rgb, LEVEL) < 0.002


# --- doors ---


def test_a_tensor_on_the_cpu_is_refused(device: str, mpi: Mpi, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match=r"got a tensor on cpu: pass tensor.numpy\(\)"):
        render_mpi(mpi.to("cpu"), mpi.camera)


def test_arrays_never_bring_in_torch():
    code = """
import sys
sys.path.insert(0, "tests")
from card_scene import card_scene
from diorama.mpi import build_mpi, render_mpi
scene = card_scene(48, 32)
render_mpi(build_mpi(scene.layers, scene.camera, num_planes=4), scene.camera)
scene.render(scene.camera)
assert not {"torch", "triton"} & set(sys.modules)
"""
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
