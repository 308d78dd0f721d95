"""Figure of docs/embedded-network.md: photos, and all that the embedded network sees in them."""

from pathlib import Path

import cv2
import numpy as np
from skimage import data

import diorama
from diorama.camera import Camera
from diorama.models.embedded import EmbeddedDepth
from diorama.photo import Photo

SIZE = 240, 180


def main() -> None:
    demo = cv2.imread(str(Path(diorama.__file__).parent / "data" / "demo.jpg"))[..., ::-1]
    # Public domain or CC0, as scikit-image says of them.
    pictures = [demo, data.astronaut(), data.coffee(), data.rocket(), data.chelsea()]
    pictures.append(data.stereo_motorcycle()[0])
    rows = [row(np.ascontiguousarray(picture)) for picture in pictures]
    sheet = np.vstack([part for r in rows for part in (r, np.full((4, r.shape[1], 3), 255, "u1"))])
    out = Path(__file__).parents[1] / "images" / "embedded.jpg"
    cv2.imwrite(str(out), sheet[:-4, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, 88])


def row(rgb: np.ndarray) -> np.ndarray:
    """Photo, disparity, people, occlusion edges, confidence."""
    photo = Photo(rgb.astype(np.float32) / 255, rgb, Camera.from_fov(*rgb.shape[1::-1]))
    seen = EmbeddedDepth().estimate(photo)
    low, high = np.percentile(seen.disparity, [0.5, 99.5])
    near = np.clip((seen.disparity - low) / (high - low), 0, 1)
    if seen.sky is not None:
        near = np.where(seen.sky > 0.5, 0, near)
    colors = cv2.applyColorMap(np.rint(255 * near).astype(np.uint8), cv2.COLORMAP_INFERNO)
    panels = [rgb, colors[..., ::-1]]
    for plane in (seen.matte, seen.edges, seen.confidence):
        assert plane is not None
        panels.append(np.repeat(np.rint(255 * plane).astype(np.uint8)[..., None], 3, -1))
    return np.hstack([cv2.resize(panel, SIZE, interpolation=cv2.INTER_AREA) for panel in panels])


if __name__ == "__main__":
    main()
