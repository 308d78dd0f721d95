"""Scene files: a folder (``cat.diorama``) or the same files in an uncompressed zip.

`scene.json` and PNG files: colours in 8 bits, disparities in 16 bits times a scale that stands in
the JSON, masks as colours. What was saved, opened and saved again is the same to the byte.
Checksums of the pictures' pixels tell what an image editor has changed since. `docs/formats.md` and
`data/scene.schema.json` describe every field.
"""

import contextlib
import json
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, astuple, replace
from pathlib import Path, PurePosixPath
from typing import Any

import cv2
import numpy as np

from diorama.arrays import MAX_PIXELS, Alpha, Array, Disparity, Ids, Labels
from diorama.camera import Camera, ViewBox
from diorama.errors import InputError
from diorama.files import refuse_url, whole_file, whole_folder
from diorama.inpaint import bleed
from diorama.kernels.harmonic import nearest_labels
from diorama.layers import Layer
from diorama.masks import Masks
from diorama.photo import photo_from_texture
from diorama.png import (
    HIGHEST,
    PngKind,
    checksum,
    decode_png,
    disparity_step,
    encode_png,
    label_colors,
    quantise_disparity,
    to_bytes,
)
from diorama.runtime import run_tasks
from diorama.scene import Part, Scene
from diorama.scene_fields import MAX_ID, Fields, parse_json, shown

FORMAT = 2
"""Of `scene.json`; raised whenever an older reader would misread a newer file."""

SUFFIXES = (".diorama", ".zip", "")
"""What a scene may be called: saving replaces what is there, so a slip must not be a folder of
photos."""

MAX_JSON_BYTES = 1 << 26
"""Of `scene.json`."""

MAX_STEP = 1e4
"""Disparity of one step of a 16-bit picture: nothing is nearer than a billionth of a unit."""

MAX_LAYER_PIXELS = 1 << 29
"""Processing pixels times layers: 11 GB once decoded, whatever a few compressed bytes claim."""

MAX_DRAWN_MASKS = 2048
"""More colours than this are a photo, not masks that somebody drew."""

_METADATA_BYTES = 1 << 24  # what an editor may add to a picture
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same scene, the same bytes
_BAD_ZIP = (
    *(zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError),
    *(RuntimeError, OverflowError, IndexError),
)
_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)

_Read = Callable[[str, int], bytes]


def _from_format_1(document: dict[str, Any]) -> dict[str, Any]:
    """Format 1 had no checksums: its pictures are taken as they are. Its masks are grey ids."""
    return {
        **document,
        "format": 2,
        "alpha": None,
        "confidence": None,
        "edges": None,
        "checksums": None,
    }


MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {1: _from_format_1}
"""From a format to the next: takes and returns the parsed `scene.json`. One entry for every format
that was ever released, so that any scene opens."""


def write_scene(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the scene as a folder, or as one file if `path` ends in ".zip".

    Nothing is left half-written; an older scene of this name is replaced.

    Raises:
        InputError: if `path` does not end in ".diorama", ".zip" or no suffix at all.
        OutputError: if `path` cannot be written, or is a folder that is not a scene.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(
            f"a scene is saved as name.diorama or name.zip, not {path.name}; "
            f"scene.export writes other formats"
        )
    if path.is_dir() and any(path.iterdir()) and not (path / "scene.json").is_file():
        raise InputError(f"{path} is a folder that is not a scene: choose another name")
    members = _encode(scene)
    if path.suffix.lower() == ".zip":
        with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
            for name, data in members.items():
                archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)
        return
    with whole_folder(path) as partial:
        for name, data in members.items():
            (partial / name).write_bytes(data)


def read_scene(path: str | os.PathLike[str]) -> tuple[Scene, frozenset[Part]]:
    """Read a saved scene, folder or zip, as it is; nothing is recomputed.

    Returns:
        The scene, and the parts that were edited since it was saved: what depends on them is as it
        was before the edit.

    Raises:
        InputError: if it is not a scene, is damaged, or was made by a newer version; one line that
            names the file and the field.
    """
    refuse_url(path, "scene")
    path = Path(path)
    with _opened(path) as read:
        document = _migrated(parse_json(read("scene.json", MAX_JSON_BYTES), path), path)
        scene, edited = _decode(Fields(document, str(path)), read)
    return replace(scene, unknown=_unknown_fields(document, _describe(scene))), edited


def _encode(scene: Scene) -> dict[str, bytes]:
    """Every member of the scene by its file name, in a fixed order."""

    def plain(pixels: Array) -> tuple[bytes, str]:
        return encode_png(pixels), checksum(pixels)

    def steps(disparity: Array) -> tuple[bytes, str]:
        pixels, step = quantise_disparity(disparity)
        return encode_png(pixels), checksum(pixels, step)

    photo, masks = scene.photo, scene.masks
    pictures: dict[str, Callable[[], tuple[bytes, str]]] = {
        "photo.png": lambda: plain(photo.texture),
        "raw_disparity.png": lambda: steps(scene.raw_disparity),
        "disparity.png": lambda: steps(scene.disparity),
        "masks.png": lambda: (encode_png(label_colors(masks.labels)), checksum(masks.labels)),
    }
    if photo.alpha is not None:
        pictures["alpha.png"] = lambda alpha=photo.alpha: plain(to_bytes(alpha))
    if scene.confidence is not None:
        share = scene.confidence
        pictures["confidence.png"] = lambda: plain(
            np.rint(share.clip(0, 1) * np.float64(HIGHEST)).astype(np.uint16)
        )
    if scene.edges is not None:
        pictures["edges.png"] = lambda edges=scene.edges: plain(to_bytes(edges))
    for index, layer in enumerate(scene.layers):
        names = _layer_files(index)
        pictures[names["rgba"]] = lambda layer=layer: plain(to_bytes(layer.rgba))
        pictures[names["disparity"]] = lambda layer=layer: steps(layer.disparity)
        pictures[names["hole"]] = lambda layer=layer: plain(_hole_bytes(layer.hole))
    described = _merge(_describe(scene), scene.unknown)
    encoded = dict(zip(pictures, run_tasks(list(pictures.values())), strict=True))
    described["checksums"] = {
        **{name: _numbers_checksum(numbers) for name, numbers in _numbers(scene).items()},
        **{name: found for name, (_, found) in encoded.items()},
    }
    # Provenance, long and for the record, stands last.
    described["provenance"] = described.pop("provenance")
    text = json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    return {"scene.json": text.encode(), **{name: data for name, (data, _) in encoded.items()}}


def _describe(scene: Scene) -> dict[str, Any]:
    """`scene.json` without checksums, and without what a newer version may have added."""
    camera, texture, masks = scene.camera, scene.photo.texture, scene.masks
    if len(masks.ids) and not (masks.ids.min() >= 0 and masks.ids.max() <= MAX_ID):
        raise InputError(f"mask ids must lie in 0..{MAX_ID} to be saved; renumber the masks")
    return {
        "format": FORMAT,
        "kind": "photo",
        "name": scene.photo.name,
        "width": camera.width,
        "height": camera.height,
        "photo": {"file": "photo.png", "width": texture.shape[1], "height": texture.shape[0]},
        "alpha": None if scene.photo.alpha is None else {"file": "alpha.png"},
        "camera": {"K": camera.K.tolist(), "camera_to_world": camera.camera_to_world.tolist()},
        "view_box": asdict(scene.view_box),
        "metric": scene.metric,
        "disparity_scale": float(scene.disparity_scale),
        "raw_disparity": {
            "file": "raw_disparity.png",
            "scale": disparity_step(scene.raw_disparity),
        },
        "confidence": None if scene.confidence is None else {"file": "confidence.png"},
        "edges": None if scene.edges is None else {"file": "edges.png"},
        "disparity": {"file": "disparity.png", "scale": disparity_step(scene.disparity)},
        "masks": {
            "file": "masks.png",
            "ids": masks.ids.tolist(),
            "scores": None if masks.scores is None else masks.scores.tolist(),
        },
        "layers": [
            {
                **_layer_files(index),
                "disparity_scale": disparity_step(layer.disparity),
                "mask_ids": [int(i) for i in layer.mask_ids],
            }
            for index, layer in enumerate(scene.layers)
        ],
        "provenance": scene.provenance,
    }


def _layer_files(index: int) -> dict[str, str]:
    stem = f"layer_{index:02d}"
    return {
        "rgba": f"{stem}.png",
        "disparity": f"{stem}_disparity.png",
        "hole": f"{stem}_hole.png",
    }


def _hole_bytes(hole: Array) -> Array:
    return hole.astype(np.uint8) * np.uint8(255)


def _numbers(scene: Scene) -> dict[Part, tuple[float, ...]]:
    """Parts that are numbers in `scene.json` and decide what layers are."""
    camera = scene.camera
    return {
        "camera": (*camera.K.ravel().tolist(), *camera.camera_to_world.ravel().tolist()),
        "view_box": astuple(scene.view_box),
    }


def _numbers_checksum(numbers: tuple[float, ...]) -> str:
    return checksum(np.empty(0, np.uint8), *numbers)


def _merge(document: dict[str, Any], unknown: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(document)
    for name, value in unknown.items():
        if name == "layers":
            # An edit may have moved, split or dropped layers: what they are made of tells them.
            extras = {tuple(e["mask_ids"]): e for e in value}
            merged[name] = [
                {**e, **_without(extras.get(tuple(e["mask_ids"]), {}), e)} for e in document[name]
            ]
        elif isinstance(document.get(name), dict):
            merged[name] = _merge(document[name], value)
        else:
            merged[name] = value
    return merged


def _without(extra: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if name not in known}


def _unknown_fields(document: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    unknown = _without(document, {**known, "checksums": None})
    for name, value in known.items():
        if name == "layers":
            extras = [_without(e, k) for e, k in zip(document[name], value, strict=True)]
            if any(extras):
                unknown[name] = [
                    {"mask_ids": k["mask_ids"], **e} for e, k in zip(extras, value, strict=True)
                ]
        elif isinstance(value, dict) and isinstance(document.get(name), dict):
            inner = {} if name == "provenance" else _unknown_fields(document[name], value)
            if inner:
                unknown[name] = inner
    return unknown


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[_Read]:
    """A function from a member's name and its largest size in bytes to its bytes."""
    if path.is_dir():
        yield lambda name, limit: _read_member(path, name, limit)
        return
    if not path.exists():
        raise InputError(f"{path} does not exist")
    try:
        if not path.is_file():
            raise zipfile.BadZipFile
        archive = zipfile.ZipFile(path)
    except _BAD_ZIP as error:
        raise InputError(f"{path} is not a scene: neither a folder nor a whole zip file") from error
    with archive:
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise InputError(f"{path} holds two files of the same name; pack it again")
        # Whoever zipped the folder itself has one folder inside.
        tops = [n.removesuffix("scene.json") for n in names if _is_named(n, "scene.json")]
        if not tops:
            raise InputError(f"{path} is not a scene: it holds no scene.json")
        top = min(tops, key=len)
        yield lambda name, limit: _read_zip_member(path, archive, top, name, limit)


def _is_named(member: str, name: str) -> bool:
    return PurePosixPath(member).name == name and member.endswith(name)


def _read_member(folder: Path, name: str, limit: int) -> bytes:
    file = folder / _plain(folder, name)
    try:
        if not file.resolve(strict=True).is_relative_to(folder.resolve()):
            raise InputError(f"{folder}: {name} leads out of the scene; put the file itself there")
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise InputError(f"{folder}: {name} is not a file")
        _check_bytes(folder, name, found.st_size, limit)
        return file.read_bytes()
    except FileNotFoundError:
        if name == "scene.json":
            raise InputError(f"{folder} is not a scene: it holds no scene.json") from None
        raise InputError(f"{folder}: {name} is missing") from None
    except RuntimeError as error:  # links in a circle
        raise InputError(f"{folder}: cannot read {name}: it leads to itself") from error
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{folder}: cannot read {name}: {error.strerror or error}") from error


def _read_zip_member(
    path: Path, archive: zipfile.ZipFile, top: str, name: str, limit: int
) -> bytes:
    try:
        info = archive.getinfo(top + _plain(path, name))
    except KeyError:
        raise InputError(f"{path}: {name} is missing") from None
    _check_bytes(path, name, info.file_size, limit)
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise InputError(f"{path}: {name} is compressed in an unusual way; pack it again")
    try:
        with archive.open(info) as member:
            # Asked for as many bytes as it claims, it never makes more of what it holds.
            data = member.read(info.file_size)
    except _BAD_ZIP as error:
        raise InputError(f"{path}: {name} is damaged") from error
    if len(data) != info.file_size:
        raise InputError(f"{path}: {name} is damaged")
    return data


def _check_bytes(where: Path, name: str, size: int, limit: int) -> None:
    if size > limit:
        raise InputError(f"{where}: {name} has {size} bytes, more than a scene can need")


def _plain(where: Path, name: str) -> str:
    """`name`, if it is a plain file name: a scene reads nothing outside itself."""
    if name in ("", ".", "..") or not name.isprintable() or any(c in name for c in "/\\:"):
        raise InputError(f"{where}: {name[:60]!r} is not a plain file name")
    return name


def _migrated(document: Any, path: Path) -> dict[str, Any]:
    number = document.get("format") if isinstance(document, dict) else None
    if type(number) is not int:
        raise InputError(f"{path}: scene.json has no 'format' number; it is not a diorama scene")
    if number > FORMAT:
        raise InputError(
            f"{path} has format {shown(number)}, newer than {FORMAT}, the newest this version "
            "reads: update diorama"
        )
    while number < FORMAT:
        if number not in MIGRATIONS:
            raise InputError(f"{path} has format {shown(number)}, which no version ever wrote")
        document = MIGRATIONS[number](document)
        number = document["format"]
    return document


def _decode(fields: Fields, read: _Read) -> tuple[Scene, frozenset[Part]]:
    if fields.text("kind") != "photo":
        fields.fail("kind", "'photo' for this version")
    size = (fields.count("width"), fields.count("height"))
    photo, masks = fields.inner("photo"), fields.inner("masks")
    texture_size = (photo.count("width"), photo.count("height"))
    if texture_size[0] < size[0] or texture_size[1] < size[1]:
        fields.fail("width", "no larger than the photo's")
    parts = fields.each("layers")
    _check_pixels(fields, texture_size, size, len(parts))
    checksums = _checksums(fields)
    used: dict[str, object] = {}
    edited: dict[str, Part] = {}

    def picture(
        of: Fields,
        key: str,
        kind: PngKind,
        part: Part,
        *scale: float,
        size: tuple[int, int] = size,
    ) -> Array:
        name = of.text(key)
        if used.setdefault(name, mark := object()) is not mark:
            of.fail(key, "a file of its own")
        data = read(name, 9 * size[0] * size[1] + _METADATA_BYTES)
        pixels = decode_png(data, kind, size, f"{fields.where}: {name}")
        if checksums is not None and checksums.get(name) != checksum(pixels, *scale):
            edited[name] = part
        return pixels

    def disparity(of: Fields, key: str, scale: str, part: Part) -> Disparity:
        step = of.number(scale, low=0.0, high=MAX_STEP)
        return (picture(of, key, "grey16", part, step) * np.float64(step)).astype(np.float32)

    def partition() -> Masks:
        labels = picture(masks, "file", "labels", "masks")
        name, ids = masks.text("file"), np.array(masks.ids("ids"), np.int32)
        complete = _holds(ids, labels)
        if checksums is None and not complete:
            edited[name] = "masks"  # whoever draws a new mask has edited them
        if (np.diff(ids) <= 0).any() or not (complete or name in edited):
            masks.fail("ids", "ascending and hold every label in the picture")
        scores = None
        if masks.values.get("scores") is not None:
            scores = masks.numbers("scores", len(ids)).astype(np.float32)
        found = Masks(labels, ids, scores)
        return _redrawn(found, f"{fields.where}: {name}") if name in edited else found

    def alpha(of: Fields) -> Alpha | None:
        pixels = picture(of, "file", "grey", "alpha")
        if pixels.max() < 128:
            raise InputError(f"{of.where}: {of.text('file')} leaves nothing to be seen")
        return None if pixels.min() == 255 else cv2.LUT(pixels, _UNIT)

    def layer(of: Fields) -> Layer:
        rgba = cv2.LUT(picture(of, "rgba", "rgba", "layers"), _UNIT)
        depth = disparity(of, "disparity", "disparity_scale", "layers")
        hole = picture(of, "hole", "grey", "layers") > 127
        if edited.keys() & {of.text("rgba"), of.text("disparity")}:
            # Editors drop the colour under alpha 0, which filtering would pull in.
            rgba, depth = bleed(rgba, depth)
        return Layer(rgba, depth, hole, tuple(of.ids("mask_ids")))

    given_alpha, given_confidence, given_edges = (
        fields.inner_or_none(name) for name in ("alpha", "confidence", "edges")
    )
    jobs: list[Callable[[], Any]] = [
        lambda: picture(photo, "file", "rgb", "photo", size=texture_size),
        lambda: disparity(fields.inner("raw_disparity"), "file", "scale", "raw_disparity"),
        lambda: disparity(fields.inner("disparity"), "file", "scale", "disparity"),
        partition,
        lambda: None if given_alpha is None else alpha(given_alpha),
        lambda: (
            None
            if given_confidence is None
            else picture(given_confidence, "file", "grey16", "raw_disparity") / np.float32(HIGHEST)
        ),
        lambda: (
            None
            if given_edges is None
            else cv2.LUT(picture(given_edges, "file", "grey", "edges"), _UNIT)
        ),
        *(lambda part=part: layer(part) for part in parts),
    ]
    texture, raw, harmonised, found, opacity, confidence, edges, *layers = run_tasks(jobs)
    box = fields.inner("view_box")
    scene = Scene(
        photo=photo_from_texture(
            texture, _camera(fields.inner("camera"), *size), name=fields.text("name"), alpha=opacity
        ),
        view_box=ViewBox(**{n: box.number(n, low=0.0) for n in asdict(ViewBox())}),
        raw_disparity=raw,
        disparity=harmonised,
        masks=found,
        layers=tuple(layers),
        metric=fields.flag("metric"),
        disparity_scale=fields.number("disparity_scale"),
        provenance=_provenance(fields.inner("provenance")),
        confidence=confidence,
        edges=edges,
    )
    if checksums is not None:
        for part, numbers in _numbers(scene).items():
            if checksums.get(part) != _numbers_checksum(numbers):
                edited[part] = part
    return scene, frozenset(edited.values())


def _check_pixels(
    fields: Fields, texture: tuple[int, int], size: tuple[int, int], num_layers: int
) -> None:
    """Refuse sizes that no memory holds, before anything is decoded."""
    if texture[0] * texture[1] > MAX_PIXELS:
        raise InputError(
            f"{fields.where} claims a photo of {texture[0]}x{texture[1]} px, more than "
            f"{MAX_PIXELS // 1_000_000} megapixels; that is no scene"
        )
    if size[0] * size[1] * (num_layers + 1) > MAX_LAYER_PIXELS:
        raise InputError(
            f"{fields.where} claims {num_layers} layers of {size[0]}x{size[1]} px, more than "
            "memory holds; that is no scene"
        )


def _checksums(fields: Fields) -> dict[str, Any] | None:
    checksums = fields.inner_or_none("checksums")
    if checksums is not None:
        for name in checksums.values:
            checksums.text(name)
    return None if checksums is None else dict(checksums.values)


def _provenance(fields: Fields) -> dict[str, Any]:
    for name in fields.values.keys() & {"models", "config", "reports"}:
        fields.inner(name)
    for task in fields.values.get("models", ()):
        fields.inner("models").text(task)
    if "edited" in fields.values:
        fields.texts("edited")
    return dict(fields.values)


def _camera(fields: Fields, width: int, height: int) -> Camera:
    K, pose = fields.matrix("K", 3), fields.matrix("camera_to_world", 4)
    if not (K[0, 0] > 0 and K[1, 1] > 0 and (K[2] == (0, 0, 1)).all()):
        fields.fail("K", "3x3 numbers [[fx, 0, cx], [0, fy, cy], [0, 0, 1]] with fx and fy above 0")
    if not (pose[3] == (0, 0, 0, 1)).all():
        fields.fail("camera_to_world", "4x4 numbers that end in [0, 0, 0, 1]")
    return Camera(K, pose, width, height)


def _holds(ids: Ids, labels: Labels) -> bool:
    """Whether every label is among the ids."""
    known = np.zeros(max(labels.max(), ids.max(initial=0)) + 1, bool)
    known[ids] = True
    return bool(known[labels].all())


def _redrawn(masks: Masks, where: str) -> Masks:
    """Masks as somebody drew them: new ids appended, vanished ones dropped.

    A soft brush leaves colours between those of two masks: a colour that no mask had and that
    nowhere fills 3x3 pixels is not meant, and its pixels join the nearest mask.
    """
    labels, square = masks.labels, np.ones((3, 3), np.uint8)
    exact = labels.astype(np.float32)  # up to 24 bits
    meant = np.union1d(masks.ids, labels[cv2.erode(exact, square) == cv2.dilate(exact, square)])
    stray = ~np.isin(labels, meant)
    if stray.all():
        raise InputError(f"{where} has no area of one colour: every mask needs its own")
    if stray.any():
        owner = nearest_labels(~stray)
        source = np.zeros(int(np.count_nonzero(~stray)) + 1, np.int32)
        source[owner[~stray]] = labels[~stray]
        labels = source[owner]
    ids = np.unique(labels)
    if len(ids) > max(MAX_DRAWN_MASKS, len(masks.ids)):
        raise InputError(f"{where} has {len(ids)} colours: every mask needs its own, and no shades")
    scores = None
    if masks.scores is not None:
        drawn = np.float32(1)
        old = dict(zip(masks.ids.tolist(), masks.scores, strict=True))
        scores = np.array([old.get(i, drawn) for i in ids.tolist()], np.float32)
    return Masks(labels, ids, scores)
