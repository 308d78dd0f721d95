"""The figure of docs/formats-stereo.md: both eyes' views of the bundled photo, and the anaglyph."""

from pathlib import Path

import numpy as np
from PIL import Image

import diorama
from diorama.stereo import anaglyph, render_stereo

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"


def main() -> None:
    IMAGES.mkdir(exist_ok=True)
    scene = diorama.photo_to_scene(ROOT / "src" / "diorama" / "data" / "demo.jpg")
    left, right = render_stereo(scene, size=400)
    sheet = np.hstack([left, right, anaglyph(left, right)])
    Image.fromarray(sheet).save(IMAGES / "stereo.jpg", quality=88)


if __name__ == "__main__":
    main()
