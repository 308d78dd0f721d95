"""What a scene can be exported to: one entry of data a format, one writer a file."""

import importlib
import operator
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diorama.errors import UnknownNameError

if TYPE_CHECKING:
    from diorama.scene import Scene


@dataclass(frozen=True)
class Format:
    """One format a scene can be written in."""

    name: str
    """What `--formats` calls it; its suffix is the name after a dot."""
    writer: str
    """ "module:function", called with the scene and the path."""
    summary: str
    """One sentence."""

    @property
    def suffix(self) -> str:
        """Of the file or folder."""
        return f".{self.name}"


FORMATS = {
    entry.name: entry
    for entry in (
        Format("html", "diorama.export.html:write_html", "One page to look around in, offline."),
        Format("glb", "diorama.export.glb:write_glb", "Layered meshes with textures (glTF)."),
        Format("ply", "diorama.export.ply:write_ply", "Gaussian splats in 3DGS field order."),
        Format("mp4", "diorama.export.video:write_video", "A camera move, H.264."),
        Format("webm", "diorama.export.video:write_video", "A camera move, VP9."),
        Format("gif", "diorama.export.video:write_video", "A camera move, small and silent."),
        Format("depth", "diorama.export.depth:write_depth", "Folder: 16-bit, coloured, NPZ."),
        Format("layers", "diorama.export.layers:write_layers", "Folder: a PNG pair a layer, JSON."),
        Format("diorama", "diorama.scene:Scene.save", "The scene itself, as a folder."),
        Format("zip", "diorama.scene:Scene.save", "The scene itself, as one file."),
    )
}
"""In the order help shows them."""


def find_format(name: str) -> Format:
    """The format of this name, or `UnknownNameError` with the nearest one."""
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    return FORMATS[name]


def write(scene: "Scene", path: str | os.PathLike[str]) -> None:
    """Write `scene` in the format of the suffix of `path`; whole or not at all.

    Raises:
        UnknownNameError: if no format has this suffix.
        OutputError: if `path` cannot be written.
    """
    path = Path(path)
    entry = find_format(path.suffix.lower().removeprefix("."))
    module, _, names = entry.writer.partition(":")
    operator.attrgetter(names)(importlib.import_module(module))(scene, path)
