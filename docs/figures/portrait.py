"""Figure of docs/stages/portrait.md: a face found, who has it, and her head with and without."""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from diorama import SceneConfig, photo_to_scene
from diorama.arrays import Array
from diorama.portrait import Face, masks_of

BOX = np.s_[10:260, 110:360]
"""What is shown."""

SIDE = 300
CORNER = 0
"""Of the view box."""


def main() -> None:
    photo = data.astronaut()
    plain = photo_to_scene(photo, config=SceneConfig(faces="none"))
    scene = photo_to_scene(photo, config=SceneConfig(faces="cascade"))
    (face,) = (Face.from_dict(values) for values in scene.provenance["faces"])
    marked = photo.copy()
    for x, y in (face.left_eye, face.right_eye, face.mouth):
        cv2.circle(marked, (round(4 * x), round(4 * y)), 16, (80, 255, 80), -1, cv2.LINE_AA, 2)
    (person,) = masks_of([face], scene.masks.labels)
    alone = np.where((scene.masks.labels == person)[..., None], photo, 235).astype(np.uint8)
    rows = [[marked, alone]]
    for each in (plain, scene):
        moved = each.render(each.camera.at(*each.view_box.corners()[CORNER]))
        rows.append([shaded(each.disparity), to_bytes(moved.rgb)])
    panels = [[panel(picture) for picture in row] for row in rows]
    # Photo and person; then, from left to right, without and with.
    columns = [np.vstack(column) for column in panels]
    gap = np.full((columns[0].shape[0], 8, 3), 255, np.uint8)
    picture = np.hstack([part for column in columns for part in (column, gap)][:-1])
    out = Path(__file__).parents[1] / "images" / "portrait.jpg"
    cv2.imwrite(str(out), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 90])


def panel(picture: Array) -> Array:
    """What is shown of a picture, at the figure's size."""
    shown = cv2.resize(picture[BOX], (SIDE, SIDE), interpolation=cv2.INTER_LANCZOS4)
    return cv2.copyMakeBorder(shown, 4, 4, 0, 0, cv2.BORDER_CONSTANT, value=(255, 255, 255))


def shaded(disparity: Array) -> Array:
    """The surface under light from the upper left, as uint8."""
    height = 30 * cv2.GaussianBlur(disparity, (0, 0), 0.8) * disparity.shape[1] / 100
    dy, dx = np.gradient(height)
    normal = np.dstack([-dx, -dy, np.ones_like(dx)])
    normal /= np.linalg.norm(normal, axis=2, keepdims=True)
    light = np.clip(normal @ np.array([-0.45, -0.55, 0.7]), 0, 1)
    return np.repeat(to_bytes(light)[..., None], 3, 2)


def to_bytes(picture: Array) -> Array:
    return np.rint(255 * np.clip(picture, 0, 1)).astype(np.uint8)


if __name__ == "__main__":
    main()
