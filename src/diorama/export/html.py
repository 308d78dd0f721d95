"""A scene as one HTML page: layered meshes, textures and the viewer, without a network.

Vertices travel as photo pixel and disparity in 16-bit steps (a step is below 0.1 px at 4096 px),
from which the viewer projects them exactly; textures travel as WebP. The page has a size budget:
quality goes first, then size, by a fixed ladder, so that the same scene gives the same bytes.

A page for a frame in another one begins with a poster, which is there before anything else has
arrived, and stays where scripts or WebGL do not run.
"""

import base64
import dataclasses
import io
import json
import math
from collections.abc import Sequence
from functools import partial
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from diorama.arrays import Array, Disparity
from diorama.camera import Camera
from diorama.export.poster import poster_jpeg, poster_webp
from diorama.files import whole_file
from diorama.mesh import Mesh
from diorama.runtime import run_tasks
from diorama.scene import Scene
from diorama.textures import Texture, layer_textures
from diorama.viewer import viewer_html
from diorama.viewer.messages import FORMAT, LayerData, SceneData

MAX_BYTES = 4_000_000
"""The page's largest size up to `BUDGET_PIXELS`; bigger photos get proportionally more."""

BUDGET_PIXELS = 1920 * 1080
"""Photo pixels that `MAX_BYTES` is meant for."""

MAX_TEXTURE_SIZE = 4096
"""Longest side of a whole frame's texture in pixels: what every phone's GPU takes."""

QUALITY_LADDER = ((88, 1.0), (80, 1.0), (70, 1.0), (70, 0.75), (60, 0.6), (50, 0.45), (40, 0.3))
"""WebP quality and texture scale, tried in order until the page fits; the last in any case."""

WEBP_METHOD = 2
"""Effort 0..6: 3 % larger than 4 at half the time."""

FRAME_STEP_PX = 8
"""Photo pixels between samples of the frame's disparity; the skirt is as fine."""

PLACEHOLDER = '<script id="scene" type="application/json">null</script>'
"""Where the template takes the scene."""

_SCHEME = '<meta name="color-scheme" content="dark" />'
_ROOT, _STAGE = '<html lang="en">', '<main id="stage"></main>'  # what an embedded page adds to


def write_html(scene: Scene, path: Path) -> None:
    """Write the scene as one page that runs from disk.

    Args:
        scene: the scene; its meshes are built if they are not yet.
        path: the file to write.

    Raises:
        OutputError: if `path` cannot be written.
    """
    page = html_page(scene)
    with whole_file(path) as unfinished:
        unfinished.write_bytes(page)


def write_embed(scene: Scene, path: Path) -> None:
    """Write the scene as a page for an `<iframe>`, which fills it and leaves scrolling alone.

    Args:
        scene: the scene; its meshes are built if they are not yet.
        path: the file to write.

    Raises:
        OutputError: if `path` cannot be written.
    """
    page = html_page(scene, embed=True)
    with whole_file(path) as unfinished:
        unfinished.write_bytes(page)


def html_page(scene: Scene, *, embed: bool = False) -> bytes:
    """The page as UTF-8, for itself or for a frame; the same scene gives the same bytes."""
    template = _with_poster(viewer_html(), scene) if embed else viewer_html()
    camera = scene.camera
    box = scene.view_box
    textures = layer_textures(scene.photo, scene.layers, max_size=MAX_TEXTURE_SIZE)
    shown = [
        (mesh, texture)
        for mesh, texture in zip(scene.meshes, textures, strict=True)
        if len(mesh.triangles)
    ]
    layers = [_pack_layer(mesh, texture, camera) for mesh, texture in shown]
    data = SceneData(
        FORMAT,
        scene.photo.name,
        camera.width,
        camera.height,
        (camera.K[0, 0], camera.K[1, 1], camera.K[0, 2], camera.K[1, 2]),
        (box.sideways, box.vertical, box.forward),
        _frame(scene.disparity),
        tuple(layers),
        scene.photo.alpha is not None,
    )
    bare = len(_fill(template, data))
    pixels = scene.photo.texture.shape[0] * scene.photo.texture.shape[1]
    budget = int(MAX_BYTES * max(1.0, pixels / BUDGET_PIXELS)) - bare
    urls = _encode([texture for _, texture in shown], budget)
    filled = [
        dataclasses.replace(layer, texture=url) for layer, url in zip(layers, urls, strict=True)
    ]
    return _fill(template, dataclasses.replace(data, layers=tuple(filled)))


def _with_poster(template: str, scene: Scene) -> str:
    """The template for a frame in another page."""
    classes = "embed"
    if scene.photo.alpha is None:
        poster = "data:image/jpeg;base64," + _base64(poster_jpeg(scene))
    else:
        # The page around shines through, which browsers allow to pages of the same colour scheme.
        classes = "embed cut-out"
        template = template.replace(_SCHEME, "")
        poster = "data:image/webp;base64," + _base64(poster_webp(scene))
    image = f'<img id="poster" src="{poster}" alt="{escape(scene.photo.name)}" />'
    stage = _STAGE.replace("></", f">{image}</")
    return template.replace(_ROOT, f'<html lang="en" class="{classes}">').replace(_STAGE, stage)


def _fill(template: str, data: SceneData) -> bytes:
    """The template with this scene in it."""
    # "</" would end the script element, "<!--" would hide its end: no "<" stays as it is.
    block = json.dumps(dataclasses.asdict(data), separators=(",", ":")).replace("<", "\\u003c")
    before, after = template.split(PLACEHOLDER)
    return (before + PLACEHOLDER.replace("null", block) + after).encode()


def _pack_layer(mesh: Mesh, texture: Texture, camera: Camera) -> LayerData:
    """A layer's geometry in 16-bit steps; the texture is filled in later."""
    places = _places(mesh, camera)
    low, high = places.min(0), places.max(0)
    steps = np.rint((places - low) / np.where(high > low, high - low, 1.0) * 65535)
    index_bytes = 2 if len(places) <= 65536 else 4
    return LayerData(
        low=_triple(low),
        high=_triple(high),
        vertices=_base64(steps.astype("<u2").tobytes()),
        indices=_base64(mesh.triangles.astype(f"<u{index_bytes}").tobytes()),
        index_bytes=index_bytes,
        box=texture.box,
        texture="",
        opaque=bool((texture.rgba[..., 3] == 255).all()),
    )


def _places(mesh: Mesh, camera: Camera) -> Array:
    """(n, 3) float64: where the photo shows each vertex, in pixels, and its disparity."""
    disparity = 1.0 / mesh.vertices[:, 2].astype(np.float64)
    size = np.array([camera.width, camera.height])
    return np.column_stack([mesh.uvs.astype(np.float64) * size, disparity])


def _frame(disparity: Disparity) -> tuple[str, str, str, str]:
    """Disparity along the four sides, a sample every `FRAME_STEP_PX` or so."""
    height, width = disparity.shape
    x = np.linspace(0, width - 1, 2 + width // FRAME_STEP_PX).round().astype(int)
    y = np.linspace(0, height - 1, 2 + height // FRAME_STEP_PX).round().astype(int)
    sides = disparity[0, x], disparity[-1, x], disparity[y, 0], disparity[y, -1]
    top, bottom, left, right = (_base64(side.astype("<f4").tobytes()) for side in sides)
    return top, bottom, left, right


def _triple(values: Array) -> tuple[float, float, float]:
    x, y, z = (round(float(value), 7) for value in values)
    return x, y, z


def _encode(textures: Sequence[Texture], budget: int) -> list[str]:
    """The textures as data URLs of at most `budget` bytes together, as good as that allows."""
    urls: list[str] = []
    for quality, scale in QUALITY_LADDER:
        urls = run_tasks([partial(_webp, texture, quality, scale) for texture in textures])
        if sum(map(len, urls)) <= budget:
            break
    return urls


def _webp(texture: Texture, quality: int, scale: float) -> str:
    rgba = texture.rgba
    if (rgba[..., 3] == 255).all():
        rgba = rgba[..., :3]
    picture = Image.fromarray(np.ascontiguousarray(rgba))
    if scale < 1:
        size = (math.ceil(picture.width * scale), math.ceil(picture.height * scale))
        picture = picture.resize(size, Image.Resampling.BOX)
    file = io.BytesIO()
    # Alpha stays lossless. Colour under alpha 0 may change: the viewer filters premultiplied.
    picture.save(file, "WEBP", quality=quality, method=WEBP_METHOD)
    return "data:image/webp;base64," + _base64(file.getvalue())


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
