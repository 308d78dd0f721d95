"""What a scene can be exported to: one entry of data a format, one writer a file."""

import importlib
import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diorama.errors import UnknownNameError
from diorama.extras import check_extra

if TYPE_CHECKING:
    from diorama.scene import Scene


@dataclass(frozen=True)
class Format:
    """One format a scene can be written in."""

    name: str
    """What `--formats` calls it."""
    suffixes: tuple[str, ...]
    """What its files may end in, such as ".sbs.jpg"; the first is what `--formats` writes."""
    writer: str
    """ "module:function", called with the scene and the path."""
    summary: str
    """One sentence."""
    extra: str | None = None
    """The extra it needs; None for the base install."""


STEREO_LAYOUTS = {
    "sbs": "Left eye on the left, right on the right.",
    "half-sbs": "The same, each squeezed to half its width.",
    "over-under": "Left eye above right.",
    "anaglyph": "For red and cyan glasses.",
    "rgbd": "The photo, and its disparity beside it.",
}
"""How two pictures share one, by name (`diorama.stereo.LAYOUTS`), each as a picture or a move."""

FORMATS = {
    entry.name: entry
    for entry in (
        Format(
            "html",
            (".html",),
            "diorama.export.html:write_html",
            "One page to look around in, offline.",
        ),
        Format(
            "embed",
            (".embed.html",),
            "diorama.export.html:write_embed",
            "A page for a frame in another page.",
        ),
        Format(
            "glb", (".glb",), "diorama.export.glb:write_glb", "Layered meshes with textures (glTF)."
        ),
        Format(
            "obj",
            (".obj",),
            "diorama.export.obj:write_obj",
            "Layered meshes, with MTL and PNG beside it.",
        ),
        Format(
            "usdz",
            (".usdz",),
            "diorama.export.usdz:write_usdz",
            "Layered meshes for AR Quick Look and USD.",
        ),
        Format(
            "blend",
            (".blend.py",),
            "diorama.export.blend:write_blend",
            "Script that builds the scene in Blender.",
        ),
        Format(
            "ply", (".ply",), "diorama.export.ply:write_ply", "Gaussian splats in 3DGS field order."
        ),
        Format("mp4", (".mp4",), "diorama.export.video:write_video", "A camera move, H.264."),
        Format("webm", (".webm",), "diorama.export.video:write_video", "A camera move, VP9."),
        Format(
            "gif", (".gif",), "diorama.export.video:write_video", "A camera move, small and silent."
        ),
        *(
            Format(
                layout,
                tuple(f".{layout}{container}" for container in (".jpg", ".png", ".mp4", ".webm")),
                "diorama.export.stereo:write_stereo",
                summary,
            )
            for layout, summary in STEREO_LAYOUTS.items()
        ),
        Format("mpo", (".mpo",), "diorama.export.mpo:write_mpo", "Both eyes in one JPEG (MPO)."),
        Format(
            "wiggle",
            (".wiggle.gif",),
            "diorama.export.wiggle:write_wiggle",
            "A second's swing from eye to eye.",
        ),
        Format(
            "poster",
            (".poster.jpg",),
            "diorama.export.poster:write_poster",
            "A picture for link previews.",
        ),
        Format(
            "depth",
            (".depth",),
            "diorama.export.depth:write_depth",
            "Folder: 16-bit, coloured, NPZ.",
        ),
        Format(
            "depth-exr",
            (".depth.exr",),
            "diorama.export.depth_exr:write_depth_exr",
            "Photo, Z and disparity as OpenEXR.",
            extra="exr",
        ),
        Format(
            "gdepth",
            (".gdepth.jpg",),
            "diorama.export.gdepth:write_gdepth",
            "JPEG that carries its depth in XMP.",
        ),
        Format(
            "spatial",
            (".spatial.heic",),
            "diorama.export.spatial:write_spatial",
            "Spatial photo for headsets (experimental).",
            extra="heic",
        ),
        Format(
            "layers",
            (".layers",),
            "diorama.export.layers:write_layers",
            "Folder: a PNG pair a layer, JSON.",
        ),
        Format(
            "ora",
            (".ora",),
            "diorama.export.ora:write_ora",
            "Layers and depth for GIMP and Krita.",
        ),
        Format(
            "psd",
            (".psd",),
            "diorama.export.psd:write_psd",
            "Layers and depth for Photoshop.",
        ),
        Format(
            "diorama", (".diorama",), "diorama.scene:Scene.save", "The scene itself, as a folder."
        ),
        Format("zip", (".zip",), "diorama.scene:Scene.save", "The scene itself, as one file."),
    )
}
"""In the order help shows them."""


def find_format(name: str) -> Format:
    """The format of this name, or `UnknownNameError` with the nearest one."""
    if name not in FORMATS:
        raise UnknownNameError("format", name, FORMATS)
    return FORMATS[name]


def format_of(path: str | os.PathLike[str]) -> Format:
    """The format that the end of a file's name chooses; the longest suffix that fits wins.

    Raises:
        UnknownNameError: if no format has such a suffix.
        MissingExtraError: if the format needs an extra that is not installed.
    """
    name = Path(path).name.lower()
    fitting = [(suffix, entry) for suffix, entry in _suffixes() if name.endswith(suffix)]
    if not fitting:
        suffix = Path(name).suffix or "(no suffix)"
        raise UnknownNameError("format", suffix, [suffix for suffix, _ in _suffixes()])
    _, entry = max(fitting, key=lambda pair: len(pair[0]))
    if entry.extra is not None:
        check_extra(entry.extra, f"format {entry.name!r}")
    return entry


def write(scene: "Scene", path: str | os.PathLike[str]) -> None:
    """Write `scene` in the format of the suffix of `path`; whole or not at all.

    Raises:
        UnknownNameError: if no format has this suffix.
        MissingExtraError: if the format needs an extra that is not installed.
        OutputError: if `path` cannot be written.
    """
    path = Path(path)
    module, _, names = format_of(path).writer.partition(":")
    operator.attrgetter(names)(importlib.import_module(module))(scene, path)


def _suffixes() -> Iterable[tuple[str, Format]]:
    return [(suffix, entry) for entry in FORMATS.values() for suffix in entry.suffixes]
