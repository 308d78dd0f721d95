"""Compile the Triton twins for GPUs that are not here; run as a program by test_kernels_gpu.py.

Triton brings the whole compiler with it: only loading what it made needs a GPU. Every launch that
the public functions make is compiled, with the argument types that it has there, and none is run.
"""

import contextlib
import sys
from types import SimpleNamespace

import torch
from card_scene import card_scene
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.jit import JITFunction

from diorama.kernels import _triton as twins
from diorama.kernels.harmonic import fill_harmonic
from diorama.kernels.mask_grid import (
    GridProblem,
    blend,
    build_grid,
    mark_jumps,
    slice_grid,
    solve_grid,
)
from diorama.kernels.mask_statistics import mask_statistics
from diorama.kernels.matting import matte_band
from diorama.mpi import build_mpi, render_mpi
from diorama.render import Renderer

compiled: list[str] = []
launch = JITFunction.run


def compile_only(self: JITFunction, *args, grid, warmup=False, **options):
    kernel = launch(self, *args, grid=grid, warmup=True, **options)
    assert kernel.asm["cubin"]
    compiled.append(self.fn.__name__)
    return kernel


def main(capability: int) -> None:
    target = GPUTarget("cuda", capability, 32)
    driver.set_active(
        SimpleNamespace(
            get_current_device=lambda: 0,
            get_current_stream=lambda device: 0,
            get_current_target=lambda: target,
        )
    )
    JITFunction.run = compile_only
    twins.launching_on = lambda tensor: contextlib.nullcontext()
    scene = card_scene(97, 71)
    render_mpi(build_mpi(scene.layers, scene.camera, num_planes=8).to("cpu"), scene.camera)
    Renderer(scene, device="cpu")(scene.camera)
    hole = torch.zeros((200, 300), dtype=torch.bool)
    holes = torch.stack([hole, hole])
    slopes = torch.zeros((*holes.shape, 2))
    fill_harmonic(torch.zeros((*holes.shape, 1)), ~holes, holes, slopes=slopes)
    nowhere, flat = torch.zeros(hole.shape, dtype=torch.uint8), torch.zeros(hole.shape)
    rgb = torch.zeros((*hole.shape, 3))
    matte_band(rgb, nowhere, hole, flat, reach=9, sigma=3.3, color_noise=0.06)
    for confidence in (None, flat):
        mask_statistics(flat, hole.to(torch.int32), 2, confidence=confidence, samples=2048)
    labels = hole.to(torch.int32)
    grid, mean = build_grid(labels, flat, 8.0)
    seen = torch.zeros(grid.shape)
    weights = (mean, mean, torch.zeros(len(grid.pairs)))
    problem = GridProblem(mean, mean > 0, seen, seen, *weights, 1.0)
    surface, *_ = solve_grid(grid, problem, mean, max_iterations=1, tolerance=0.03)
    sliced = slice_grid(grid, labels, surface, flat)
    mark_jumps(labels, sliced, 0.1)
    for trust in (flat, torch.ones((1, 1))):
        about = {"confidence": trust, "distance": flat, "strength": seen}
        blend(grid, flat, sliced, **about, band_px=(2.0, 5.0))
    print(*compiled)  # noqa: T201, read by the test


if __name__ == "__main__":
    main(int(sys.argv[1]))
