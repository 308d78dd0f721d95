"""The moving picture of the README, and enlarged edges for docs/stages/render.md.

`demo.webp` is the bundled photo's scene seen by a circling camera. `edges.png` shows three spots at
400 %: in the photo, and from the left and right ends of the view box.
"""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import diorama
from diorama.export.video import scene_path

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
SPOTS = ((404, 440), (640, 296), (800, 20))
"""Left upper corners (x, y) of what is enlarged: a walker, a downpipe, a dormer before the sky."""

SIDE = 96
"""Of each spot, in pixels."""


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    scene = diorama.photo_to_scene(ROOT / "src" / "diorama" / "data" / "demo.jpg")
    circle(scene)
    edges(scene)


def circle(scene: diorama.Scene) -> None:
    """Write a seamless loop."""
    cameras = scene_path(scene, "circle", num_frames=30, size=560)
    frames = [Image.fromarray(to_bytes(scene.render(camera).rgb)) for camera in cameras]
    frames[0].save(
        IMAGES / "demo.webp",
        save_all=True,
        append_images=frames[1:],
        duration=80,
        loop=0,
        quality=60,
        method=6,
    )


def edges(scene: diorama.Scene) -> None:
    """Write the spots, a row each."""
    sideways = scene.view_box.sideways
    views = [scene.photo.rgb] + [
        scene.render(scene.camera.at(x=x)).rgb for x in (-sideways, sideways)
    ]
    rows = []
    for left, top in SPOTS:
        parts = [to_bytes(view[top : top + SIDE, left : left + SIDE]) for view in views]
        rows.append(np.hstack([np.kron(part, np.ones((4, 4, 1), np.uint8)) for part in parts]))
    cv2.imwrite(str(IMAGES / "edges.png"), np.vstack(rows)[..., ::-1])


def to_bytes(rgb: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(rgb, 0, 1) * 255).astype(np.uint8)


if __name__ == "__main__":
    main()
