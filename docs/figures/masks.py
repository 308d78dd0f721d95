"""Figure of docs/stages/masks.md: the demo photo's masks, and masks that true depth parts."""

from pathlib import Path

import cv2
import numpy as np

import diorama
from diorama import testing
from diorama.camera import Camera
from diorama.models.region_merging import RegionMerging
from diorama.photo import Photo

EDGE_COLOR = (1.0, 0.0, 0.8)
HEIGHT = 360


def main() -> None:
    demo = cv2.imread(str(Path(diorama.__file__).parent / "data" / "demo.jpg"))
    size = round(demo.shape[1] * HEIGHT / demo.shape[0]), HEIGHT
    rgb = cv2.resize(demo, size, interpolation=cv2.INTER_AREA)[..., ::-1].copy()
    photo = Photo(rgb.astype(np.float32) / 255, rgb, Camera.from_fov(*size))
    panels = [outlined(photo, np.zeros(photo.rgb.shape[:2], np.float32))]
    scene = testing.fence(480, HEIGHT)
    grey = np.full((HEIGHT, 480, 3), 0.75, np.float32)
    blind = Photo(grey, scene.photo().texture, scene.camera)
    panels.append(outlined(blind, scene.disparity()))
    gap = np.ones((HEIGHT, 8, 3))
    row = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    out = Path(__file__).parents[1] / "images" / "masks.png"
    out.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(out), np.rint(row[..., ::-1] * 255).astype(np.uint8))


def outlined(photo: Photo, disparity: np.ndarray) -> np.ndarray:
    """The photo with the edges of its masks."""
    labels = RegionMerging().segment(photo, disparity).labels
    picture = photo.rgb.copy()
    picture[:, 1:][labels[:, 1:] != labels[:, :-1]] = EDGE_COLOR
    picture[1:][labels[1:] != labels[:-1]] = EDGE_COLOR
    return picture


if __name__ == "__main__":
    main()
