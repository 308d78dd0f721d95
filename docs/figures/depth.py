"""Figure of docs/stages/depth.md: the demo photo and what the embedded estimator makes of it."""

from pathlib import Path

import cv2
import numpy as np

import diorama
from diorama.camera import Camera
from diorama.depth import canonical_disparity
from diorama.models.embedded import EmbeddedDepth
from diorama.photo import Photo

HEIGHT = 360


def main() -> None:
    demo = cv2.imread(str(Path(diorama.__file__).parent / "data" / "demo.jpg"))
    size = round(demo.shape[1] * HEIGHT / demo.shape[0]), HEIGHT
    bgr = cv2.resize(demo, size, interpolation=cv2.INTER_AREA)
    rgb = bgr[..., ::-1].copy()
    photo = Photo(rgb.astype(np.float32) / 255, rgb, Camera.from_fov(*size))
    disparity = canonical_disparity(EmbeddedDepth().estimate(photo), photo).disparity
    levels = np.rint(np.clip(disparity, 0, 1) * 255).astype(np.uint8)
    colors = cv2.applyColorMap(levels, cv2.COLORMAP_INFERNO)
    panels = [bgr, np.full((HEIGHT, 8, 3), 255, np.uint8), colors]
    out = Path(__file__).parents[1] / "images" / "depth.png"
    out.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(out), np.hstack(panels))


if __name__ == "__main__":
    main()
