"""From a photo to a scene, a page to look around in, and a picture from another place.

python examples/first_scene.py photo.jpg out/first
"""

import sys
from pathlib import Path

from PIL import Image

import diorama

photo, out = sys.argv[1], Path(sys.argv[2])

scene = diorama.photo_to_scene(photo)
scene.save(out / "scene.diorama")  # diorama.open_scene() brings it back
scene.export(out / "scene.html")  # one file, opens in any browser
frame = scene.render(scene.camera.at(x=0.02))  # two hundredths of a scene unit to the right
Image.fromarray((frame.rgb * 255).round().astype("uint8")).save(out / "moved.png")
