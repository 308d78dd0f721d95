"""A scene as a script for Blender that holds all it needs: layers, textures, camera and a move.

``blender --python cat.blend.py``, or open it in Blender's Text editor and run it: from 3.4 on. The
layers travel as the GLB file in base64, which the script reads by itself, for Blender's importer is
an add-on that may be off and gives all layers one origin, by which Eevee would then sort them.

Blender's axes are x right, z up, and its scene's photo looks along y: (x, y, z) of OpenCV becomes
(x, z, -y). What the script does is in `blend_script.txt`.
"""

import base64
import hashlib
import json
import os
import re
from importlib import resources
from typing import Any

import numpy as np

from diorama import __version__
from diorama.camera import Camera
from diorama.export.glb import glb_bytes
from diorama.export.video import scene_path
from diorama.files import whole_file
from diorama.scene import Scene

MOVE = "orbit"
"""The camera move of the animation; one loop of it."""

FPS, NUM_FRAMES = 30, 120
"""Frames a second, and in the loop."""

SENSOR_WIDTH = 36.0
"""Of Blender's cameras in mm: the focal lengths are then those of a full-frame camera."""

_FROM_OPENCV = np.array([[1, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]], np.float64)
_TO_OPENCV_CAMERA = np.diag([1.0, -1.0, -1.0, 1.0])


def write_blend(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the scene as one Python script that builds it in Blender.

    Args:
        scene: the scene; its meshes are built if they are not yet.
        path: the script to write.

    Raises:
        OutputError: if `path` cannot be written, or the scene has no visible layer.
    """
    glb = glb_bytes(scene)
    moving = [_camera(c) for c in scene_path(scene, MOVE, num_frames=NUM_FRAMES)]
    height, width = scene.photo.texture.shape[:2]
    camera = scene.camera.resized(width, height)
    # What is narrower than high must be as many times higher: aspects begin at 1.
    ratio = float(camera.K[1, 1] / camera.K[0, 0])
    info = {
        "name": scene.photo.name,
        "key": hashlib.sha256(glb).hexdigest(),
        "resolution": [width, height],
        "pixel_aspect": [max(1.0, ratio), max(1.0, 1 / ratio)],
        "sensor_width": SENSOR_WIDTH,
        "fps": FPS,
        "photo": _camera(camera),
        "move": MOVE,
    }
    values = {
        "VERSION": __version__,
        "INFO": _literal(json.dumps(info, indent=1)),
        "FRAMES": "[\n" + _literal(",\n".join(map(json.dumps, moving))) + "\n]",
        "GLB": base64.encodebytes(glb).decode().strip(),  # in lines: editors choke on a long one
    }
    template = resources.files("diorama.export").joinpath("blend_script.txt").read_text("utf-8")
    script = re.sub("<([A-Z]+)>", lambda found: values[found[1]], template)
    with whole_file(path) as partial:
        partial.write_text(script, encoding="ascii", newline="\n")


def _camera(camera: Camera) -> dict[str, Any]:
    """Pose and lens in Blender's terms."""
    K, width = camera.K, camera.width
    shift_x = (width / 2 - K[0, 2]) / width
    shift_y = (K[1, 2] - camera.height / 2) / width * K[0, 0] / K[1, 1]
    return {
        "matrix": (_FROM_OPENCV @ camera.camera_to_world @ _TO_OPENCV_CAMERA).tolist(),
        "lens": float(K[0, 0] / width * SENSOR_WIDTH),
        "shift": [float(shift_x), float(shift_y)],
    }


def _literal(text: str) -> str:
    """JSON that can stand between triple single quotes."""
    return text.replace("'", "\\u0027")
