"""Figure of docs/stages/splats.md: splats where the photo's camera sees them, by size."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from render import true_scene

from diorama import testing
from diorama.splats import PIXEL_SIGMA, SIGMA, SplatsConfig, layer_splats

ZOOM = 4
COLORS = {
    1: (90, 90, 90),
    2: (60, 120, 230),
    4: (40, 180, 120),
    8: (230, 150, 30),
    16: (210, 60, 90),
}


def main() -> None:
    synthetic = testing.two_cards()
    wall, *cards = synthetic.surfaces
    calm = replace(wall, color=testing.stripes((0.55, 0.65, 0.6), (0.6, 0.7, 0.65), 1.0))
    scene = true_scene(replace(synthetic, surfaces=(calm, *cards)), ((0,), (1,), (2,)))
    camera = scene.camera
    photo = np.rint(scene.photo.rgb * 255).astype(np.uint8)
    large = cv2.resize(photo, None, fx=ZOOM, fy=ZOOM, interpolation=cv2.INTER_NEAREST)
    drawn = np.full_like(large, 255)
    for layer in scene.layers:  # what is in front covers what is behind
        seen = cv2.resize(layer.rgba[..., 3], None, fx=ZOOM, fy=ZOOM) > 0.5
        drawn[seen] = 255
        splats = layer_splats([layer], camera, config=SplatsConfig(color_error=0.03))
        x, y, z = splats.means.T
        at_x = camera.K[0, 0] * x / z + camera.K[0, 2]
        at_y = camera.K[1, 1] * y / z + camera.K[1, 2]
        sigma = np.sqrt(splats.scales[:, 0] * splats.scales[:, 1]) / z * camera.K[0, 0]
        for u, v, radius in zip(at_x, at_y, sigma, strict=True):
            size = 1 if radius < 2 * PIXEL_SIGMA else min(16, 2 ** round(np.log2(radius / SIGMA)))
            center = round(float(u) * ZOOM), round(float(v) * ZOOM)
            cv2.circle(drawn, center, round(float(radius) * ZOOM), COLORS[size], 1, cv2.LINE_AA)
    cut = np.s_[100:460, 560:1060]
    row = np.hstack([large[cut], np.full((360, 6, 3), 255, np.uint8), drawn[cut]])
    out = Path(__file__).parents[1] / "images" / "splats.png"
    out.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(out), row[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()
