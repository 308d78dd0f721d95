"""Figure of docs/stages/mesh.md: the triangles of a flat and of a bent layer."""

from pathlib import Path

import cv2
import numpy as np

from diorama.camera import Camera, ViewBox
from diorama.layers import Layer
from diorama.mesh import layer_mesh

HEIGHT, WIDTH, SCALE = 180, 240, 2


def main() -> None:
    y, x = np.mgrid[:HEIGHT, :WIDTH].astype(np.float32)
    noise = np.random.default_rng(1).random((HEIGHT, WIDTH)).astype(np.float32)
    alpha = (cv2.GaussianBlur(noise, (0, 0), 10) > 0.497).astype(np.float32)
    flat = 0.2 + 0.3 * y / HEIGHT
    bent = flat + np.where(x > WIDTH / 2, 0.1, 0) * np.sin(x / 12) * np.sin(y / 12)
    panels = [panel(alpha, flat), panel(alpha, bent.astype(np.float32))]
    gap = np.full((panels[0].shape[0], 16, 3), 255, np.uint8)
    out = Path(__file__).parents[1] / "images" / "mesh.png"
    out.parent.mkdir(exist_ok=True)
    picture = np.hstack([panels[0], gap, panels[1]])
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def panel(alpha: np.ndarray, disparity: np.ndarray) -> np.ndarray:
    """The layer's alpha with its mesh drawn over it."""
    rgba = np.dstack([np.zeros((*alpha.shape, 3), np.float32), alpha])
    layer = Layer(rgba, disparity, np.zeros(alpha.shape, bool), ())
    camera = Camera.from_fov(WIDTH, HEIGHT)
    mesh = layer_mesh(layer, camera, ViewBox(0.15, 0.15, 0.05))
    grey = np.where(alpha > 0, 205, 245).astype(np.uint8)
    size = (WIDTH * SCALE, HEIGHT * SCALE)
    image = cv2.cvtColor(cv2.resize(grey, size, interpolation=cv2.INTER_NEAREST), 8)
    corners = np.rint(mesh.uvs * size * 16).astype(np.int32)[mesh.triangles]
    cv2.polylines(image, list(corners[:, :, None]), True, (160, 90, 20), 1, cv2.LINE_AA, 4)
    return image


if __name__ == "__main__":
    main()
