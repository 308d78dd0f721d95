"""A scene as one plain picture: for link previews, and for a page to show while it loads."""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from diorama.export.jpeg import encode_jpeg
from diorama.files import whole_file
from diorama.framing import fitted, photo_camera, render_picture
from diorama.png import to_bytes
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
    """The same as JPEG bytes; a cut-out lies on white."""
    camera = fitted(photo_camera(scene), POSTER_SIZE)
    return encode_jpeg(render_picture(scene, camera), quality=POSTER_QUALITY)


def poster_webp(scene: Scene) -> bytes:
    """The same as WebP bytes with alpha, for cut-outs."""
    frame = scene.render(fitted(photo_camera(scene), POSTER_SIZE))
    alpha = frame.alpha[..., None]
    rgba = np.concatenate([frame.rgb / np.maximum(alpha, np.float32(1e-3)), alpha], 2)
    file = io.BytesIO()
    Image.fromarray(to_bytes(rgba)).save(file, "WEBP", quality=POSTER_QUALITY)
    return file.getvalue()
