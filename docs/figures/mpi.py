"""Figure of docs/stages/mpi.md: a synthetic scene on planes, and seen from the side."""

from pathlib import Path

import cv2
import numpy as np
from render import true_scene

from diorama import testing
from diorama.mpi import Mpi, build_mpi, render_mpi

GROUPS = ((0, 12), (12, 30), (30, 64))


def main() -> None:
    synthetic = testing.floor_and_people()
    scene = true_scene(synthetic, ((0, 1), (3,), (2,)))
    mpi = build_mpi(scene.layers, scene.camera)
    moved = render_mpi(mpi, scene.camera.at(0.03, -0.03, 0.05)).rgb
    panels = [*(over_board(mpi, *group) for group in GROUPS), moved]
    gap = np.ones((moved.shape[0], 6, 3))
    row = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    out = Path(__file__).parents[1] / "images" / "mpi.png"
    out.parent.mkdir(exist_ok=True)
    picture = np.rint(np.clip(row, 0, 1)[..., ::-1] * 255).astype(np.uint8)
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def over_board(mpi: Mpi, first: int, end: int) -> np.ndarray:
    """Some planes over a checkerboard, back to front."""
    y, x = np.mgrid[: mpi.camera.height, : mpi.camera.width] // 12
    seen = np.where((x + y) % 2, 0.82, 0.94)[..., None] * np.ones(3)
    for index in range(first, end):
        rgba = mpi.plane(index)
        seen = seen * (1 - rgba[..., 3:]) + rgba[..., :3] * rgba[..., 3:]
    return seen


if __name__ == "__main__":
    main()
