"""Figure of docs/stages/paths.md: where each path's cameras stand, from behind and from above."""

from pathlib import Path

import cv2
import numpy as np

from diorama.camera import Camera, ViewBox
from diorama.paths import camera_path, path_names

SIZE, MARGIN, FRAMES = 150, 18, 48


def main() -> None:
    camera, box = Camera.from_fov(640, 480), ViewBox()
    columns = []
    for name in path_names():
        cameras = camera_path(name, camera, box, num_frames=FRAMES)
        at = np.array([c.camera_to_world[:3, 3] for c in cameras])
        x, y, z = (at / [box.sideways, box.vertical, box.forward]).T
        label = np.full((24, SIZE, 3), 255, np.uint8)
        cv2.putText(
            label, name, (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (60, 60, 60), 1, cv2.LINE_AA
        )
        columns.append(np.vstack([label, panel(x, y), panel(x, -z)]))
    out = Path(__file__).parents[1] / "images" / "paths.png"
    out.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(out), np.hstack(columns), [cv2.IMWRITE_PNG_COMPRESSION, 9])


def panel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Dots in a square that is the view box, from dark to light in time."""
    picture = np.full((SIZE, SIZE, 3), 255, np.uint8)
    cv2.rectangle(picture, (MARGIN, MARGIN), (SIZE - MARGIN, SIZE - MARGIN), (200, 200, 200), 1)
    half = SIZE / 2 - MARGIN
    for share, u, v in zip(np.linspace(0, 1, len(x)), x, y, strict=True):
        color = [
            int(c) for c in np.array([150, 60, 20]) * (1 - share) + np.array([90, 190, 250]) * share
        ]
        center = round(SIZE / 2 + half * u), round(SIZE / 2 + half * v)
        cv2.circle(picture, center, 3, color, -1, cv2.LINE_AA)
    return picture


if __name__ == "__main__":
    main()
