"""Figure of docs/stages/harmonise.md: a blurred estimate gets its edges back."""

from pathlib import Path

import cv2
import numpy as np

from diorama import testing
from diorama.harmonise import harmonise

BLUR_PX = 5.0
CROP = (slice(95, 305), slice(60, 270))


def main() -> None:
    scene = testing.floor_and_people(480, 360)
    photo, truth, masks = scene.photo(), scene.disparity(), scene.masks()
    estimate = cv2.GaussianBlur(truth, (0, 0), BLUR_PX)
    harmonised = harmonise(photo, estimate, masks).disparity
    high = float(truth.max())
    panels = [np.rint(photo.rgb[CROP][..., ::-1] * 255).astype(np.uint8)]
    panels += [colored(d[CROP] / high) for d in (estimate, harmonised)]
    panels.append(colored(8 * np.abs(harmonised - truth)[CROP] / high))
    gap = np.full((panels[0].shape[0], 8, 3), 255, np.uint8)
    row = np.hstack([part for panel in panels for part in (panel, gap)][:-1])
    out = Path(__file__).parents[1] / "images" / "harmonise.png"
    out.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(out), row)


def colored(values: np.ndarray) -> np.ndarray:
    """0..1 as colours, (H, W, 3) BGR bytes."""
    levels = np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)
    return cv2.applyColorMap(levels, cv2.COLORMAP_MAGMA)


if __name__ == "__main__":
    main()
