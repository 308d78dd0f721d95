"""Figure of docs/stages/layers.md: a synthetic scene taken apart into its layers."""

from pathlib import Path

import cv2
import numpy as np

from diorama import testing
from diorama.camera import ViewBox
from diorama.layers import Layer, extract_layers

HOLE_TINT = np.array([1.0, 0.55, 0.1])


def main() -> None:
    scene = testing.floor_and_people(480, 360)
    layers, _ = extract_layers(scene.photo(), scene.disparity(), scene.masks(), ViewBox())
    panels = [scene.photo().rgb, *(panel(layer) for layer in layers)]
    gap = np.ones((panels[0].shape[0], 8, 3))
    row = np.hstack([part for p in panels for part in (p, gap)][:-1])
    out = Path(__file__).parents[1] / "images" / "layers.png"
    out.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(out), np.rint(row[..., ::-1] * 255).astype(np.uint8))


def panel(layer: Layer) -> np.ndarray:
    """A layer over a checkerboard, its holes tinted."""
    height, width = layer.disparity.shape
    y, x = np.mgrid[:height, :width] // 12
    board = np.where((x + y) % 2, 0.82, 0.94)[..., None] * np.ones(3)
    rgb = np.where(
        layer.hole[..., None], 0.4 * layer.rgba[..., :3] + 0.6 * HOLE_TINT, layer.rgba[..., :3]
    )
    alpha = layer.rgba[..., 3:]
    return rgb * alpha + board * (1 - alpha)


if __name__ == "__main__":
    main()
