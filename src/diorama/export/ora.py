"""A scene as OpenRaster, which GIMP, Krita and MyPaint open: a layer a layer, and their depth.

From the top: a hidden group "depth" with the scene's and every layer's disparity as grey, then the
layers, nearest first. Specification: freedesktop.org, "OpenRaster" 0.0.6.
"""

import os
import xml.etree.ElementTree as ET
import zipfile
from collections.abc import Callable

import cv2

from diorama.arrays import Array
from diorama.export.pictures import Picture, composite, depth_pictures, layer_pictures
from diorama.files import whole_file
from diorama.png import encode_png
from diorama.runtime import run_tasks
from diorama.scene import Scene

THUMBNAIL_SIZE = 256
"""Longest side in pixels that the specification allows."""

_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same scene, the same bytes


def write_ora(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the scene's layers, at processing size, as one OpenRaster file.

    Raises:
        OutputError: if `path` cannot be written, or the scene has no visible layer.
    """
    layers, depth = layer_pictures(scene), depth_pictures(scene)
    size = scene.camera.width, scene.camera.height
    merged = composite(layers, *size)
    names = {f"data/layer_{index}.png": picture for index, picture in enumerate(layers)}
    greys = {f"data/depth_{index}.png": picture for index, picture in enumerate(depth)}
    encode: dict[str, Callable[[], bytes]] = {
        **{name: lambda p=p: encode_png(p.rgba) for name, p in {**names, **greys}.items()},
        "mergedimage.png": lambda: encode_png(merged),
        "Thumbnails/thumbnail.png": lambda: encode_png(_thumbnail(merged)),
    }
    encoded = run_tasks(list(encode.values()))
    members = {
        "mimetype": b"image/openraster",  # must come first
        "stack.xml": _stack(names, greys, size),
        **dict(zip(encode, encoded, strict=True)),
    }
    with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)


def _stack(layers: dict[str, Picture], depth: dict[str, Picture], size: tuple[int, int]) -> bytes:
    """stack.xml, which lists layers from the top."""
    width, height = map(str, size)
    image = ET.Element("image", version="0.0.6", w=width, h=height, xres="72", yres="72")
    root = ET.SubElement(image, "stack")
    group = ET.SubElement(root, "stack", name="depth", visibility="hidden", isolation="isolate")
    for parent, pictures in ((group, depth), (root, layers)):
        for file, picture in reversed(pictures.items()):
            ET.SubElement(
                parent,
                "layer",
                name=picture.name,
                src=file,
                x=str(picture.left),
                y=str(picture.top),
                opacity="1.0",
                visibility="visible",
                attrib={"composite-op": "svg:src-over"},
            )
    ET.indent(image, " ")
    return ET.tostring(image, encoding="UTF-8", xml_declaration=True)


def _thumbnail(rgba: Array) -> Array:
    height, width = rgba.shape[:2]
    scale = min(1.0, THUMBNAIL_SIZE / max(height, width))
    small = max(1, round(width * scale)), max(1, round(height * scale))
    return cv2.resize(rgba, small, interpolation=cv2.INTER_AREA)
