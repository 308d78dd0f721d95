"""A scene for two eyes, or with its depth, in one picture or one video.

The name says how: "cat.sbs.jpg", "cat.anaglyph.png", "cat.over-under.mp4".
"""

from pathlib import Path

from diorama.errors import UnknownNameError
from diorama.export.jpeg import encode_jpeg
from diorama.export.video import write_video
from diorama.files import whole_file
from diorama.framing import fitted, photo_camera
from diorama.png import encode_png
from diorama.scene import Scene
from diorama.stereo import LAYOUTS, layout_of, render_depth, render_stereo

LONGEST_SIDE = 32_000
"""Pixels of one of two pictures: a JPEG holds no more than 65,535."""

_ENCODERS = {".jpg": encode_jpeg, ".png": encode_png}


def write_stereo(
    scene: Scene,
    path: Path,
    *,
    eyes: float | None = None,
    focus_disparity: float | None = None,
) -> None:
    """Write the layout that the name of `path` asks for.

    Args:
        scene: what is seen.
        path: ends in a layout (`diorama.stereo.LAYOUTS`) and ".jpg" or ".png", for a picture of
            the photo's size; or ".mp4" or ".webm", for a move as `write_video` makes it.
        eyes: their distance in scene units; None: the view box's whole width for a picture, half
            of it for a move.
        focus_disparity: of what seems to lie on the screen of a picture; None: the middle of what
            is seen.

    Raises:
        InputError: if the eyes do not fit into the view box.
        UnknownNameError: if `path` names no layout.
        OutputError: if `path` cannot be written.
    """
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        write_video(scene, path, eyes=eyes)
        return
    layout = layout_of(path)
    if layout is None:
        raise UnknownNameError("layout", Path(path.stem).suffix.removeprefix("."), LAYOUTS)
    if layout.depth:
        pair = render_depth(scene, fitted(photo_camera(scene), LONGEST_SIDE))
    else:
        pair = render_stereo(scene, eyes=eyes, focus_disparity=focus_disparity, size=LONGEST_SIDE)
    picture = encode(layout.join(*pair))
    with whole_file(path) as partial:
        partial.write_bytes(picture)
