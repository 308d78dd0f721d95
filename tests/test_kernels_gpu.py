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

from diorama import layers
from diorama.errors import InputError
from diorama.extras import has_extra
from diorama.kernels.harmonic import fill_harmonic
from diorama.kernels.mask_grid import (
    CAPACITY,
    GridProblem,
    MaskGrid,
    blend,
    build_grid,
    mark_jumps,
    slice_grid,
    solve_grid,
    splat_again,
)
from diorama.kernels.mask_statistics import mask_statistics
from diorama.kernels.matting import matte_band
from diorama.kernels.rasterise import rasterise
from diorama.masks import Masks
from diorama.mpi import Mpi, build_mpi, render_mpi
from diorama.render import Renderer
from diorama.scene import Scene

pytestmark = [
    pytest.mark.skipif(not has_extra("gpu"), reason="the extra gpu is not installed"),
    # Triton 3.9 announces another default of the next release wherever it compiles.
    pytest.mark.filterwarnings("ignore:TRITON_DEFAULT_FP_FUSION"),
]

LEVEL = 1 / 255

KERNELS = {
    *{"_composite", "_project", "_find", "_shade"},
    *{"_link", "_begin", "_coarsen", "_coarsen_bottom", "_restrict", "_bottom"},
    *{"_mix", "_smooth", "_summarise"},
    *{"_splat_nodes", "_connect", "_turn_round", "_see", "_blur", "_apply"},
    *{"_slice", "_mark", "_blend"},
    *{"_black_up", "_red_up", "_advance", "_step", "_finish"},
}


@pytest.fixture(scope="module")
def device():
    """Where the twins run: a GPU if there is one."""
    import torch

    from diorama.kernels._triton import harmonic, rasterise

    if not torch.cuda.is_available():
        # Interpreted, each program takes milliseconds.
        rasterise.PROGRAMS = 128
        harmonic.ROWS, harmonic.COLUMNS = 16, 32
    return "cuda" if torch.cuda.is_available() else "cpu"


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


# --- layered meshes ---


def assert_frames_agree(frame, expected):
    """Coverage is decided in float64 by both; colours are read at places that float32 gives."""
    rgb, alpha, disparity = to_numpy(frame.rgb, frame.alpha, frame.disparity)
    assert rgb.dtype == alpha.dtype == disparity.dtype == np.float32
    np.testing.assert_allclose(rgb, expected.rgb, atol=2e-3)
    np.testing.assert_allclose(alpha, expected.alpha, atol=2e-3)
    np.testing.assert_allclose(disparity, expected.disparity, atol=1e-5)


@pytest.fixture(scope="module")
def scene() -> Scene:
    return card_scene(75, 49)


@pytest.mark.parametrize("offset", [(0, 0, 0), (0.03, -0.02, 0.05), (0.2, 0, -0.3)], ids=str)
def test_layered_mesh(device: str, scene: Scene, offset: tuple[float, float, float]):
    camera = scene.camera.at(*offset).resized(65, 40)
    frame = Renderer(scene, device=device)(camera)
    assert frame.rgb.device.type == device
    assert_frames_agree(frame, scene.render(camera))


def test_layered_mesh_behind_the_camera(device: str, scene: Scene):
    camera = scene.camera.at(z=1.0 / float(scene.disparity.max()) + 0.01)
    expected = scene.render(camera)
    assert expected.alpha.max() > 0, "the wall is still ahead"
    assert_frames_agree(Renderer(scene, device=device)(camera), expected)


def test_many_small_triangles_and_layers_that_cross(device: str):
    import torch

    random = np.random.default_rng(3)
    num_layers, per_layer, size = 3, 24, (32, 50)
    num = num_layers * per_layer * 3
    corners = np.empty((num, 6))
    corners[:, :2] = random.uniform(-10, 60, (num, 2)).round(1)
    corners[:, 2] = random.uniform(0.2, 1.0, num)
    corners[:, 3] = random.uniform(0.8, 1.2, num)
    corners[:, 4:] = random.uniform(0, 16, (num, 2)) * corners[:, 3:4]
    corners[random.random(num) < 0.03, 2] = 0
    triangles = np.arange(num, dtype=np.int32).reshape(-1, 3)
    texels = random.random((num_layers * 16 * 16, 4)).astype(np.float32)
    texels[:, 3] = np.where(random.random(len(texels)) < 0.5, 1, texels[:, 3])
    texels[:, :3] *= texels[:, 3:]
    arrays = {
        "texels": texels,
        "texel_starts": np.arange(num_layers) * 256,
        "texture_sizes": np.full((num_layers, 2), 16),
    }
    starts = np.arange(num_layers + 1) * per_layer
    settings = {"tolerance": 0.05, "size": size}
    expected = rasterise(corners, triangles, starts, **arrays, **settings)
    tensors = {name: torch.as_tensor(array, device=device) for name, array in arrays.items()}
    geometry = [torch.as_tensor(a, device=device) for a in (corners, triangles, starts)]
    found = to_numpy(*rasterise(*geometry, **tensors, **settings))
    # White noise as texture, and triangles so slanted that two swap their order within a pixel.
    for a, b in zip(found, expected, strict=True):
        assert differing(a, b, 5e-3) < 0.01


def test_no_layers_at_all(device: str, scene: Scene):
    nothing = replace(scene, layers=())
    nothing.__dict__["meshes"] = ()
    frame = Renderer(nothing, device=device)(scene.camera)
    assert not any(tensor.any() for tensor in (frame.rgb, frame.alpha, frame.disparity))


# --- disparity fill ---


def holes(height, width):
    """Thin, fat and branching holes, one at the border, beside pixels that are neither."""
    y, x = np.mgrid[:height, :width]
    hole = np.hypot(y - 0.4 * height, x - 0.3 * width) < 0.28 * height
    hole |= (abs(x - 0.7 * width) < 3) & (y > 5)
    hole |= (abs(y - 0.8 * height) < 4) & (x > 0.3 * width)
    hole |= x >= width - 2
    occluder = np.hypot(y - 0.4 * height, x - 0.3 * width) < 0.12 * height
    return ~hole & ~occluder, hole & ~occluder


@pytest.mark.parametrize(("size", "bottom"), [((18, 27), 8), ((17, 2), 64)])
def test_fill(device: str, size: tuple[int, int], bottom: int, monkeypatch: pytest.MonkeyPatch):
    import torch

    from diorama.kernels._triton import harmonic as twin

    # A small one, so that several levels are launched one by one.
    monkeypatch.setattr(twin, "BOTTOM", bottom)
    random = np.random.default_rng(1)
    known, hole = (mask[None] for mask in holes(*size))
    values = random.random((1, *size, 1)).astype(np.float32)
    slopes = random.uniform(-0.01, 0.01, (1, *size, 2)).astype(np.float32)
    arrays = [values, known, hole]
    tensors = [torch.as_tensor(a, device=device) for a in arrays]
    expected = fill_harmonic(*arrays, slopes=slopes)
    lines = torch.as_tensor(slopes, device=device)
    (found,) = to_numpy(fill_harmonic(*tensors, slopes=lines, tolerance=1e-4))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    np.testing.assert_array_equal(found[~hole], values[~hole])


def test_fill_of_several_pictures_and_channels(device: str):
    import torch

    first, second = holes(10, 16), holes(16, 10)
    known = np.stack([first[0], second[0].T])
    hole = np.stack([first[1], second[1].T])
    values = np.random.default_rng(2).random((2, 10, 16, 2)).astype(np.float32)
    arrays = [values, known, hole]
    tensors = [torch.as_tensor(a, device=device) for a in arrays]
    (found,) = to_numpy(fill_harmonic(*tensors, tolerance=1e-2))
    np.testing.assert_allclose(found, fill_harmonic(*arrays), atol=1e-2)


def test_fill_of_a_part_that_touches_nothing_known(device: str):
    import torch

    known, hole = np.ones((12, 16), bool), np.zeros((12, 16), bool)
    known[2:9, 2:9], hole[4:7, 4:7], hole[5, 12:], known[5, 12:] = False, True, True, False
    values = np.full((1, 12, 16, 1), 0.5, np.float32)
    slopes = np.full((1, 12, 16, 2), 0.01, np.float32)
    arrays = [torch.as_tensor(a, device=device) for a in (values, known[None], hole[None])]
    (found,) = to_numpy(fill_harmonic(*arrays, slopes=torch.as_tensor(slopes, device=device)))
    assert found[0, 4:7, 4:7].mean() == pytest.approx(0.5, abs=0.02), "the mean of the other's rim"


# --- mask statistics ---


@pytest.mark.parametrize("weighted", [False, True])
def test_mask_statistics(device: str, weighted: bool):
    import torch

    random = np.random.default_rng(6)
    height, width = 40, 64
    y, x = np.mgrid[:height, :width]
    labels = (x // 22 + 3 * (y // 23)).astype(np.int32)
    labels[3, 3:10] = 6  # too few pixels for a plane
    labels[10:30, 40] = 7  # a line
    disparity = 0.3 + 0.004 * x * (labels % 2) + random.normal(0, 0.004, labels.shape)
    disparity[labels == 2] = 0.25
    outliers = random.random(labels.shape) < 0.1
    disparity = np.where(outliers, 0.9, disparity).astype(np.float32)
    confidence = random.random(labels.shape).astype(np.float32) if weighted else None
    masks = Masks(labels=labels, ids=np.arange(8, dtype=np.int32))
    expected = vars(layers.mask_statistics(disparity, masks, confidence=confidence)).values()
    values, rows = (torch.as_tensor(a, device=device) for a in (disparity, labels))
    trust = None if confidence is None else torch.as_tensor(confidence, device=device)
    samples = layers.SAMPLES_PER_MASK
    found = mask_statistics(values, rows, 8, confidence=trust, samples=samples)
    for a, b in zip(to_numpy(*found), expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-6, rtol=1e-6)


# --- mask grid ---


def places(grid: MaskGrid) -> np.ndarray:
    """Which vertex of a GPU's grid each vertex of a NumPy grid is."""
    first = np.repeat(grid.offset[:-1], np.diff(grid.offset))
    return (np.arange(len(grid.label)) - first) * (len(grid.offset) - 1) + grid.nodes()


def dense(grid: MaskGrid, values) -> np.ndarray:
    """Values of a NumPy grid's vertices where a GPU's grid has them, 0 elsewhere."""
    out = np.zeros(CAPACITY * (len(grid.offset) - 1), values.dtype)
    out[places(grid)] = values
    return out


def test_mask_grid(device: str):
    import torch

    random = np.random.default_rng(8)
    height, width, spacing, blur_nodes = 45, 62, 7.0, 2.2
    y, x = np.mgrid[:height, :width]
    labels = (x // 25 + 3 * (y // 19)).astype(np.int32)
    labels[np.hypot(y - 20, x - 30) < 8] = 20
    labels[5:12, 5:12] = 30 + random.integers(0, 8, (7, 7))  # more masks than a node has room for
    disparity = (0.2 + 0.02 * labels % 0.3 + 0.002 * x).astype(np.float32)
    picture, image = (torch.as_tensor(a, device=device) for a in (labels, disparity))
    grid, mean = build_grid(labels, disparity, spacing)
    twin, twin_mean = build_grid(picture, image, spacing)
    assert twin.shape == grid.shape
    assert (twin.left, twin.top) == (grid.left, grid.top)
    used = dense(grid, np.ones(len(mean), bool))
    label, coverage, found = to_numpy(twin.label, twin.coverage, twin_mean)
    np.testing.assert_array_equal(label >= 0, used)
    vertex = places(grid)
    np.testing.assert_array_equal(label[vertex], grid.label)
    np.testing.assert_allclose(coverage, dense(grid, grid.coverage), atol=1e-6)
    np.testing.assert_allclose(found, dense(grid, mean), atol=1e-6)
    (again,) = to_numpy(splat_again(twin, picture, image))
    np.testing.assert_array_equal(again, found)
    for side in ("right", "down"):
        expected = getattr(grid, side)
        expected = np.where(expected >= 0, vertex[expected], -1)
        there, share = to_numpy(getattr(twin, side), getattr(twin, f"{side}_share"))
        np.testing.assert_array_equal(there[vertex], expected)
        assert (there[~used] == -1).all()
        np.testing.assert_allclose(share[vertex], getattr(grid, f"{side}_share"), atol=1e-6)

    right_weight, down_weight = random.random((2, len(mean))).astype(np.float32)
    pair_weight = random.random(len(grid.pairs)).astype(np.float32)
    fixed = random.random(len(mean)) < 0.1
    plane = (mean + random.normal(0, 0.02, len(mean))).astype(np.float32)
    target = grid.see(mean) + random.normal(0, 0.05, grid.shape).astype(np.float32)
    trust = random.random(grid.shape).astype(np.float32)
    problem = GridProblem(
        plane, fixed, target, trust, right_weight, down_weight, pair_weight, blur_nodes
    )
    settings = {"max_iterations": 6, "tolerance": 0.02}
    surface, fitted, iterations, residual = solve_grid(grid, problem, mean, **settings)
    inside = {pair: n for n, pair in enumerate(map(tuple, twin.pairs.cpu().numpy()))}
    twin_pairs = np.zeros(len(twin.pairs), np.float32)
    twin_pairs[[inside[tuple(vertex[pair])] for pair in grid.pairs]] = pair_weight
    arrays = {
        "plane": dense(grid, plane),
        "fixed": dense(grid, fixed),
        "target": target,
        "trust": trust,
        "right_weight": dense(grid, right_weight),
        "down_weight": dense(grid, down_weight),
        "pair_weight": twin_pairs,
    }
    tensors = {name: torch.as_tensor(a, device=device) for name, a in arrays.items()}
    problem = GridProblem(**tensors, blur_nodes=blur_nodes)
    solved = solve_grid(twin, problem, twin_mean, **settings)
    found, twin_fitted, twin_iterations, twin_residual = to_numpy(*solved)
    np.testing.assert_allclose(found[vertex], surface, atol=2e-5)
    np.testing.assert_allclose(twin_fitted, fitted, atol=2e-5)
    assert twin_iterations == iterations > 2
    assert twin_residual == pytest.approx(residual, rel=1e-3)

    expected = slice_grid(grid, labels, surface, disparity)
    sliced = slice_grid(twin, picture, solved[0], image)
    (found,) = to_numpy(sliced)
    np.testing.assert_allclose(found, expected, atol=3e-5)
    flat = mark_jumps(labels, expected, 0.05)
    (found,) = to_numpy(mark_jumps(picture, sliced, 0.05))
    assert 0 < flat.mean() < 1
    assert differing(found, flat, 0) < 0.005, "a jump of just the threshold may flip"
    distance = random.uniform(0, 9, labels.shape).astype(np.float32)
    strength = random.random(grid.shape).astype(np.float32)
    for confidence in (np.ones((1, 1), np.float32), random.random(labels.shape, np.float32)):
        arrays = {"confidence": confidence, "distance": distance, "strength": strength}
        tensors = {name: torch.as_tensor(a, device=device) for name, a in arrays.items()}
        blended = blend(grid, disparity, expected, **arrays, band_px=(2.0, 7.0))
        (found,) = to_numpy(blend(twin, image, sliced, **tensors, band_px=(2.0, 7.0)))
        np.testing.assert_allclose(found, blended, atol=3e-5)


# --- matting ---


def test_matte(device: str):
    import torch

    random = np.random.default_rng(4)
    y, x = np.mgrid[:23, :40]
    signed = (9 - np.hypot(y - 11.3, x - 18.6)).astype(np.float32)
    band = abs(signed) < 2
    certain = np.where(band, 0, np.where(signed > 0, 1, 2)).astype(np.uint8)
    certain[:, 34:] = 0
    certain[11, 10] = 1  # a ridge, in the band
    cover = np.clip(signed / 3 + 0.5, 0, 1)[..., None]
    rgb = (cover * [0.9, 0.4, 0.2] + (1 - cover) * [0.1, 0.5, 0.7]).astype(np.float32)
    rgb += random.normal(0, 0.02, rgb.shape).astype(np.float32)
    settings = {"reach": 4, "sigma": 2.0, "color_noise": 0.06}
    arrays = [rgb, certain, band, signed]
    expected = matte_band(*arrays, **settings)
    tensors = [torch.as_tensor(a, device=device) for a in arrays]
    found = to_numpy(*matte_band(*tensors, **settings))
    assert found[0].dtype == found[1].dtype == np.float32
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(found[1][band], expected[1][band], atol=1e-5)
    assert np.abs(found[0] - cover[..., 0])[band].mean() < 0.15, "nearly the true mixture"


def test_matte_without_one_side(device: str):
    import torch

    rgb = np.random.default_rng(5).random((9, 12, 3)).astype(np.float32)
    certain = np.zeros((9, 12), np.uint8)
    certain[0, 0] = 1
    band = np.zeros((9, 12), bool)
    band[1:3, 2:] = True
    signed = np.linspace(-2, 2, 108, dtype=np.float32).reshape(9, 12)
    arrays = [rgb, certain, band, signed]
    settings = {"reach": 3, "sigma": 1.5, "color_noise": 0.06}
    tensors = [torch.as_tensor(a, device=device) for a in arrays]
    expected = matte_band(*arrays, **settings)
    found = to_numpy(*matte_band(*tensors, **settings))
    np.testing.assert_allclose(found[0], expected[0], atol=1e-5)
    np.testing.assert_allclose(found[1][band], expected[1][band], atol=1e-5)


# --- compiling ---


def test_every_kernel_compiles_for_a_gpu(tmp_path: Path):
    program = Path(__file__).with_name("compile_kernels.py")
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-W", "ignore", str(program), "90"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == KERNELS


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
