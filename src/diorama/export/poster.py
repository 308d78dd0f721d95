"""A scene as one plain picture: for link previews, and for a page to show while it loads."""

from pathlib import Path

from diorama.export.jpeg import encode_jpeg
from diorama.files import whole_file
from diorama.framing import fitted, photo_camera, to_picture
from diorama.scene import Scene

POSTER_SIZE = 1200
"""Longest side in pixels at most: what link previews show (Open Graph)."""

POSTER_QUALITY = 88


def write_poster(scene: Scene, path: Path) -> None:
    """Write what the photo's camera sees of the scene.

    Raises:
        OutputError: if `path` cannot be written.
    """
    picture = poster_jpeg(scene)
    with whole_file(path) as partial:
        partial.write_bytes(picture)


def poster_jpeg(scene: Scene) -> bytes:
    """The same as JPEG bytes."""
    camera = fitted(photo_camera(scene), POSTER_SIZE)
    return encode_jpeg(to_picture(scene.render(camera)), quality=POSTER_QUALITY)
