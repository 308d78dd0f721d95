"""A scene as a wiggle picture: a short GIF that swings from one eye's view to the other's."""

import math
from pathlib import Path

from diorama.export.video import GIF_SIZE, default_fps, encode_video
from diorama.framing import (
    covering_zoom,
    fitted,
    focus_disparity,
    magnified,
    photo_camera,
    render_picture,
)
from diorama.scene import Scene
from diorama.stereo import eye_at, eyes_in_box

NUM_VIEWS = 7
"""From one eye to the other; with as many as come back it is a loop of about a second."""


def write_wiggle(scene: Scene, path: Path) -> None:
    """Write a loop through the views between the eyes, which turn slowest at the ends.

    What lies in the middle of the depths stands still; the rest swings around it.

    Raises:
        InputError: if the scene's view box has no width.
        OutputError: if `path` cannot be written.
    """
    focus = focus_disparity(scene)
    reach = eyes_in_box(scene, 2 * scene.view_box.sideways) / 2
    camera = fitted(photo_camera(scene), GIF_SIZE)
    shares = [-math.cos(math.pi * view / (NUM_VIEWS - 1)) for view in range(NUM_VIEWS)]
    views = [eye_at(camera, reach * share, focus_disparity=focus) for share in shares]
    zoom = covering_zoom(scene, views)
    there = [render_picture(scene, magnified(view, zoom)) for view in views]
    and_back = there[-2:0:-1]
    encode_video([*there, *and_back], path, fps=default_fps(path))
