"""Figure of docs/stages/render.md: crops of a rendered novel view beside the ray-cast truth."""

from pathlib import Path

import cv2
import numpy as np

from diorama import testing
from diorama.camera import ViewBox
from diorama.layers import Layer
from diorama.scene import Scene
from diorama.testing import SyntheticScene

CROP, ZOOM = 56, 4


def main() -> None:
    rows = []
    for synthetic, groups, (left, top) in (
        (testing.floor_and_people(), ((0, 1), (3,), (2,)), (76, 160)),
        (testing.two_cards(), ((0,), (1,), (2,)), (98, 84)),
    ):
        scene = true_scene(synthetic, groups)
        camera = scene.camera.at(0.03, -0.03, 0.05)
        rendered = scene.render(camera).rgb
        truth = synthetic.look(camera)[0].rgb
        cut = np.s_[top : top + CROP, left : left + CROP]
        crops = [rendered[cut], truth[cut], np.abs(rendered - truth)[cut] * 8]
        gap = np.ones((CROP, 2, 3))
        rows.append(np.hstack([part for crop in crops for part in (crop, gap)][:-1]))
    picture = np.clip(np.vstack([rows[0], np.ones((2, rows[0].shape[1], 3)), rows[1]]), 0, 1)
    picture = cv2.resize(picture, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
    out = Path(__file__).parents[1] / "images" / "render.png"
    out.parent.mkdir(exist_ok=True)
    picture = np.rint(picture[..., ::-1] * 255).astype(np.uint8)
    cv2.imwrite(str(out), picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def true_scene(synthetic: SyntheticScene, groups: tuple[tuple[int, ...], ...]) -> Scene:
    """A scene with exact layers: each sees its surfaces (by index, back to front) alone."""
    layers = []
    for group in groups:
        alone = SyntheticScene(tuple(synthetic.surfaces[i] for i in group), synthetic.camera)
        frame, labels = alone.look(synthetic.camera)
        alpha = frame.alpha[..., None]
        rgb = np.where(alpha > 0, frame.rgb / np.maximum(alpha, 1e-6), 0)
        # These surfaces are flat: the disparity of any pixel stands for all, or none is missing.
        seen = labels >= 0
        disparity = np.where(seen, frame.disparity, frame.disparity[seen][0])
        rgba = np.concatenate([rgb, alpha], -1).astype(np.float32)
        layers.append(Layer(rgba, disparity, np.zeros(seen.shape, bool), group))
    disparity = synthetic.disparity()
    return Scene(
        synthetic.photo(), ViewBox(), disparity, disparity, synthetic.masks(), tuple(layers)
    )


if __name__ == "__main__":
    main()
