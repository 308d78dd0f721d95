"""Figure of docs/stages/inpaint.md: one-sided holes in the demo photo, filled in three ways."""

from pathlib import Path

import cv2
import numpy as np

from diorama.inpaint import FillTask
from diorama.kernels.harmonic import solve_harmonic
from diorama.models.exemplar import Exemplar

ROOT = Path(__file__).parents[2]
HOLE_TINT = np.array([1.0, 0.55, 0.1])
WIDTH_PX = 960
CROP = np.s_[70:390, 120:840]


def main() -> None:
    photo = cv2.imread(str(ROOT / "src" / "diorama" / "data" / "demo.jpg"))
    height = round(photo.shape[0] * WIDTH_PX / photo.shape[1])
    photo = cv2.resize(photo, (WIDTH_PX, height), interpolation=cv2.INTER_AREA)
    rgb = (photo[..., ::-1] / 255).astype(np.float32)
    y, x = np.mgrid[:height, :WIDTH_PX]
    occluder = np.zeros((height, WIDTH_PX), bool)
    moved = occluder.copy()
    for left, top, radius in ((230, 200, 60), (470, 300, 60), (700, 190, 60)):
        occluder |= np.hypot(x - left, y - top) < radius
        moved |= np.hypot(x - left - 26, y - top) < radius
    hole = moved & ~occluder
    task = FillTask(rgb, ~occluder & ~hole, hole)

    marked, smooth, filled = rgb.copy(), rgb.copy(), rgb.copy()
    marked[hole] = HOLE_TINT
    smooth[hole] = solve_harmonic(rgb, task.known, hole)
    filled[hole] = Exemplar().inpaint([task], seed=0)[0]
    panels = [shaded(panel, occluder)[CROP] for panel in (marked, smooth, filled, rgb)]
    height, width = panels[0].shape[:2]
    sheet = np.ones((2 * height + 8, 2 * width + 8, 3))
    sheet[:height, :width], sheet[:height, -width:] = panels[:2]
    sheet[-height:, :width], sheet[-height:, -width:] = panels[2:]
    out = ROOT / "docs" / "images" / "inpaint.jpg"
    sheet = np.rint(sheet[..., ::-1] * 255).astype(np.uint8)
    cv2.imwrite(str(out), sheet, [cv2.IMWRITE_JPEG_QUALITY, 90])


def shaded(rgb: np.ndarray, occluder: np.ndarray) -> np.ndarray:
    """The picture with the occluder in grey: nobody may look there."""
    return np.where(occluder[..., None], 0.25, rgb)


if __name__ == "__main__":
    main()
