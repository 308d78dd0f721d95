"""The scene: a photo, its depth, masks and layers, and what can be made of them.

On disk a scene is a folder (``cat.diorama``) or the same files in an uncompressed zip: `scene.json`
and PNG files. Colours are 8-bit, disparities 16-bit times a scale that stands in the JSON; what was
saved, opened and saved again is the same to the byte. `docs/formats.md` describes every field.
"""

import io
import json
import math
import os
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NoReturn

import cv2
import numpy as np
from PIL import Image

from diorama.arrays import Array, Disparity, RgbaBytes, RgbBytes
from diorama.camera import Camera, Frame, ViewBox
from diorama.errors import InputError
from diorama.files import whole_file, whole_folder
from diorama.layers import Layer
from diorama.masks import Masks
from diorama.mesh import Mesh
from diorama.photo import Photo, photo_from_texture
from diorama.runtime import run_tasks

if TYPE_CHECKING:
    from diorama.render import Renderer

FORMAT = 1
"""Of `scene.json`; raised whenever an older reader would misread a newer file."""

MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}
"""From a format to the next: takes and returns the parsed `scene.json`. One entry for every format
that was ever released, so that any scene opens."""

SUFFIXES = (".diorama", ".zip", "")
"""What a scene may be called: saving replaces what is there, so a slip must not be a folder of
photos."""

_HIGHEST = 65535  # of 16-bit PNG
_MAX_MEMBER_BYTES = 1 << 30  # a zip may claim anything
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip can say: the same scene, the same bytes
_UNIT = np.arange(256, dtype=np.float32) / np.float32(255)
# Run-length coding costs half the time of the default strategy and 3 % more bytes.
_PNG_FAST = (cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE)
# What Pillow raises on damaged PNG files.
_DAMAGED = (OSError, SyntaxError, ValueError, EOFError, struct.error)


@dataclass(frozen=True)
class Scene:
    """One photo as layers in space. Immutable: an edit makes a new scene."""

    photo: Photo
    view_box: ViewBox
    raw_disparity: Disparity
    """(H, W) float32: the estimate in canonical units, before harmonising."""
    disparity: Disparity
    """(H, W) float32: harmonised; its edges lie on mask edges."""
    masks: Masks
    layers: tuple[Layer, ...]
    """Back to front."""
    metric: bool = False
    """True if the scene unit is the metre."""
    disparity_scale: float = 1.0
    """What a supplied disparity was multiplied by to reach canonical units."""
    provenance: dict[str, Any] = field(default_factory=dict)
    """JSON-ready: models, versions, config, seed, licences, and what each stage reported."""
    unknown: dict[str, Any] = field(default_factory=dict, repr=False)
    """Fields of an opened `scene.json` that this version does not know; saved again as they are."""

    @property
    def camera(self) -> Camera:
        """The photo's camera, at processing size."""
        return self.photo.camera

    @cached_property
    def meshes(self) -> tuple[Mesh, ...]:
        """One mesh a layer, in the order of `layers`; built at first use."""
        from diorama.mesh import layer_meshes

        return layer_meshes(self.layers, self.camera, self.view_box)

    def render(self, camera: Camera) -> Frame:
        """What `camera` sees of the layered meshes."""
        return self.renderer(camera)

    @cached_property
    def renderer(self) -> "Renderer":
        """Renders the layered meshes; keeps their textures between frames."""
        from diorama.render import Renderer

        return Renderer(self)

    def save(self, path: str | os.PathLike[str]) -> None:
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
        members = _encode(self)
        if path.suffix.lower() == ".zip":
            with whole_file(path) as partial, zipfile.ZipFile(partial, "w") as archive:
                for name, data in members.items():
                    archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data)
            return
        with whole_folder(path) as partial:
            for name, data in members.items():
                (partial / name).write_bytes(data)

    def export(self, path: str | os.PathLike[str]) -> None:
        """Write the scene in the format of the suffix of `path` (`diorama.export.FORMATS`).

        Raises:
            UnknownNameError: if no format has this suffix.
            OutputError: if `path` cannot be written.
        """
        from diorama.export import write

        write(self, path)


def open_scene(path: str | os.PathLike[str]) -> Scene:
    """Open a saved scene, folder or zip; nothing is recomputed.

    Raises:
        InputError: if it is not a scene, is damaged, or was made by a newer version; one line that
            names the file and the field.
    """
    path = Path(path)
    read = _reader(path)
    document = _parse(read("scene.json"), path)
    scene = _decode(_Fields(document, str(path)), read)
    return replace(scene, unknown=_unknown_fields(document, _describe(scene)))


def encode_png(pixels: Array) -> bytes:
    """PNG bytes of (H, W), (H, W, 3) RGB or (H, W, 4) RGBA pixels, uint8 or uint16."""
    if pixels.ndim == 3:
        order = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, order)
    return cv2.imencode(".png", pixels, _PNG_FAST)[1].tobytes()


def quantise_disparity(disparity: Disparity) -> tuple[Array, float]:
    """Disparity as (H, W) uint16, and the disparity of one step.

    What was quantised, multiplied by its step as float32 and quantised again is the same.
    """
    step = _step(disparity)
    steps = disparity * np.float64(1 / step)
    return np.rint(steps, out=steps).clip(0, _HIGHEST, out=steps).astype(np.uint16), step


def to_bytes(rgba: Array) -> RgbaBytes:
    """Colour and alpha in 0..1 as (H, W, 4) uint8."""
    return np.rint(rgba.clip(0, 1) * np.float32(255)).astype(np.uint8)


def _encode(scene: Scene) -> dict[str, bytes]:
    """Every member of the scene by its file name, in a fixed order."""
    pictures: dict[str, Callable[[], Array]] = {
        "photo.png": lambda: scene.photo.texture,
        "raw_disparity.png": lambda: quantise_disparity(scene.raw_disparity)[0],
        "disparity.png": lambda: quantise_disparity(scene.disparity)[0],
        "masks.png": lambda: scene.masks.labels.astype(np.uint16),
    }
    for index, layer in enumerate(scene.layers):
        names = _layer_files(index)
        pictures[names["rgba"]] = lambda layer=layer: to_bytes(layer.rgba)
        pictures[names["disparity"]] = lambda layer=layer: quantise_disparity(layer.disparity)[0]
        pictures[names["hole"]] = lambda layer=layer: layer.hole.astype(np.uint8) * np.uint8(255)
    described = _merge(_describe(scene), scene.unknown)
    text = json.dumps(described, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    encoded = run_tasks([lambda make=make: encode_png(make()) for make in pictures.values()])
    return {"scene.json": text.encode(), **dict(zip(pictures, encoded, strict=True))}


def _describe(scene: Scene) -> dict[str, Any]:
    """`scene.json` without what a newer version may have added."""
    camera, texture, masks = scene.camera, scene.photo.texture, scene.masks
    if len(masks.ids) and not (masks.ids.min() >= 0 and masks.ids.max() <= _HIGHEST):
        raise InputError(f"mask ids must lie in 0..{_HIGHEST} to be saved; renumber the masks")
    return {
        "format": FORMAT,
        "kind": "photo",
        "name": scene.photo.name,
        "width": camera.width,
        "height": camera.height,
        "photo": {"file": "photo.png", "width": texture.shape[1], "height": texture.shape[0]},
        "camera": {"K": camera.K.tolist(), "camera_to_world": camera.camera_to_world.tolist()},
        "view_box": asdict(scene.view_box),
        "metric": scene.metric,
        "disparity_scale": float(scene.disparity_scale),
        "raw_disparity": {"file": "raw_disparity.png", "scale": _step(scene.raw_disparity)},
        "disparity": {"file": "disparity.png", "scale": _step(scene.disparity)},
        "masks": {
            "file": "masks.png",
            "ids": masks.ids.tolist(),
            "scores": None if masks.scores is None else masks.scores.tolist(),
        },
        "layers": [
            {
                **_layer_files(index),
                "disparity_scale": _step(layer.disparity),
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


def _step(disparity: Disparity) -> float:
    """Disparity of one step of a 16-bit PNG; exact again after a round trip."""
    highest = float(disparity.max(initial=0.0))
    return highest / _HIGHEST if highest > 0 else 1.0


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
    unknown = _without(document, known)
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


def _reader(path: Path) -> Callable[[str], bytes]:
    """A function from a member's name to its bytes, for a folder or a zip."""
    if path.is_dir():
        return lambda name: _read_member(path, name)
    if not path.exists():
        raise InputError(f"{path} does not exist")
    try:
        with zipfile.ZipFile(path) as archive:
            # Whoever zipped the folder itself has one folder inside.
            tops = [
                n.removesuffix("scene.json")
                for n in archive.namelist()
                if PurePosixPath(n).name == "scene.json"
            ]
    except (zipfile.BadZipFile, OSError, EOFError, ValueError) as error:
        raise InputError(f"{path} is not a scene: neither a folder nor a whole zip file") from error
    if not tops:
        raise InputError(f"{path} is not a scene: it holds no scene.json")
    return lambda name: _read_zip_member(path, min(tops, key=len), name)


def _read_member(folder: Path, name: str) -> bytes:
    try:
        return (folder / _plain(folder, name)).read_bytes()
    except FileNotFoundError:
        if name == "scene.json":
            raise InputError(f"{folder} is not a scene: it holds no scene.json") from None
        raise InputError(f"{folder}: {name} is missing") from None
    except OSError as error:
        raise InputError(f"{folder}: cannot read {name}: {error.strerror or error}") from error


def _read_zip_member(path: Path, top: str, name: str) -> bytes:
    try:
        with zipfile.ZipFile(path) as archive:
            info = archive.getinfo(top + _plain(path, name))
            if info.file_size > _MAX_MEMBER_BYTES:
                raise InputError(f"{path}: {name} claims {info.file_size} bytes; that is no scene")
            return archive.read(info)
    except KeyError:
        raise InputError(f"{path}: {name} is missing") from None
    except (zipfile.BadZipFile, OSError, EOFError, RuntimeError, NotImplementedError) as error:
        raise InputError(f"{path}: {name} is damaged") from error


def _plain(where: Path, name: str) -> str:
    """`name`, if it is a plain file name: a scene reads nothing outside itself."""
    if not name or name in (".", "..") or any(c in name for c in "/\\:\0"):
        raise InputError(f"{where}: {name!r} is not a plain file name")
    return name


def _parse(data: bytes, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise InputError(f"{path}: scene.json is not JSON ({error})") from error
    number = document.get("format") if isinstance(document, dict) else None
    if not isinstance(number, int) or isinstance(number, bool):
        raise InputError(f"{path}: scene.json has no 'format' number; it is not a diorama scene")
    if number > FORMAT:
        raise InputError(
            f"{path} has format {number}, newer than {FORMAT}, the newest this version reads: "
            "update diorama"
        )
    while number < FORMAT:
        if number not in MIGRATIONS:
            raise InputError(f"{path} has format {number}, which no version ever wrote")
        document = MIGRATIONS[number](document)
        number = document["format"]
    return document


class _Fields:
    """A JSON object whose fields are asked for with the type they must have."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def fail(self, name: str, wanted: str) -> NoReturn:
        seen = "missing" if name not in self.values else repr(self.values[name])[:60]
        raise InputError(f"{self.where}: field {name!r} must be {wanted}, but is {seen}")

    def text(self, name: str) -> str:
        value = self.values.get(name)
        return value if isinstance(value, str) else self.fail(name, "text")

    def flag(self, name: str) -> bool:
        value = self.values.get(name)
        return value if isinstance(value, bool) else self.fail(name, "true or false")

    def number(self, name: str, *, low: float = -math.inf) -> float:
        value = self.values.get(name)
        seen = math.nan
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            seen = float(value)
        if not (math.isfinite(seen) and seen >= low):
            self.fail(name, "a number" if low == -math.inf else f"a number of at least {low:g}")
        return seen

    def count(self, name: str) -> int:
        value = self.values.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            self.fail(name, "a whole number of at least 1")
        return value

    def numbers(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> Array:
        value = self.values.get(name)
        wanted = "x".join(str(n) if n >= 0 else "n" for n in shape) + " numbers"
        try:
            array = np.array(value, np.float64 if isinstance(value, list) else object)
        except (ValueError, TypeError):
            self.fail(name, wanted)
        fits = array.ndim == len(shape) and all(
            want in (-1, have) for want, have in zip(shape, array.shape, strict=True)
        )
        if array.dtype == object or not fits or not np.isfinite(array).all():
            self.fail(name, wanted)
        return array.astype(dtype)

    def inner(self, name: str) -> "_Fields":
        value = self.values.get(name)
        if not isinstance(value, dict):
            self.fail(name, "an object")
        return _Fields(value, f"{self.where}: {name}")

    def each(self, name: str) -> list["_Fields"]:
        value = self.values.get(name)
        if not isinstance(value, list) or not all(isinstance(v, dict) for v in value):
            self.fail(name, "a list of objects")
        return [_Fields(v, f"{self.where}: {name} {i}") for i, v in enumerate(value)]


def _decode(fields: _Fields, read: Callable[[str], bytes]) -> Scene:
    if fields.text("kind") != "photo":
        fields.fail("kind", "'photo' for this version")
    size = (fields.count("width"), fields.count("height"))
    photo, camera, masks = (fields.inner(name) for name in ("photo", "camera", "masks"))
    texture_size = (photo.count("width"), photo.count("height"))

    def picture(of: _Fields, key: str, mode: str, size: tuple[int, int] = size) -> Array:
        name = of.text(key)
        return _decode_png(read(name), mode, size, f"{fields.where}: {name}")

    def disparity(of: _Fields, key: str, scale: str) -> Disparity:
        step = of.number(scale, low=0.0)
        return (picture(of, key, "I;16") * np.float64(step)).astype(np.float32)

    def layer(of: _Fields) -> Layer:
        return Layer(
            rgba=cv2.LUT(picture(of, "rgba", "RGBA"), _UNIT),
            disparity=disparity(of, "disparity", "disparity_scale"),
            hole=picture(of, "hole", "L") > 127,
            mask_ids=tuple(of.numbers("mask_ids", (-1,), np.int64).tolist()),
        )

    parts = fields.each("layers")
    jobs: list[Callable[[], Any]] = [
        lambda: picture(photo, "file", "RGB", texture_size),
        lambda: disparity(fields.inner("raw_disparity"), "file", "scale"),
        lambda: disparity(fields.inner("disparity"), "file", "scale"),
        lambda: _masks(masks, picture(masks, "file", "I;16")),
        *(lambda part=part: layer(part) for part in parts),
    ]
    texture, raw, harmonised, partition, *layers = run_tasks(jobs)
    box = fields.inner("view_box")
    view = Camera(
        camera.numbers("K", (3, 3), np.float64),
        camera.numbers("camera_to_world", (4, 4), np.float64),
        *size,
    )
    return Scene(
        photo=_photo(texture, view, fields),
        view_box=ViewBox(**{n: box.number(n, low=0.0) for n in asdict(ViewBox())}),
        raw_disparity=raw,
        disparity=harmonised,
        masks=partition,
        layers=tuple(layers),
        metric=fields.flag("metric"),
        disparity_scale=fields.number("disparity_scale"),
        provenance=dict(fields.inner("provenance").values),
    )


def _photo(texture: RgbBytes, camera: Camera, fields: _Fields) -> Photo:
    if texture.shape[1] < camera.width or texture.shape[0] < camera.height:
        fields.fail("width", "no larger than the photo's")
    return photo_from_texture(texture, camera, name=fields.text("name"))


def _masks(fields: _Fields, labels: Array) -> Masks:
    ids = fields.numbers("ids", (-1,), np.int32)
    known = np.zeros(_HIGHEST + 1, bool)
    known[ids[(ids >= 0) & (ids <= _HIGHEST)]] = True
    if (np.diff(ids) <= 0).any() or not known[labels].all():
        fields.fail("ids", "ascending and hold every label in the picture")
    scores = fields.values.get("scores")
    if scores is not None:
        scores = fields.numbers("scores", (len(ids),), np.float32)
    return Masks(labels.astype(np.int32), ids, scores)


def _decode_png(data: bytes, mode: str, size: tuple[int, int], where: str) -> Array:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG",)) as image:
            seen = f"{image.width}x{image.height} {image.mode}"
            if (image.mode, image.size) != (mode, size):
                raise InputError(f"{where} must be {size[0]}x{size[1]} {mode}, but is {seen}")
            return np.array(image)
    except InputError:
        raise
    except _DAMAGED as error:
        raise InputError(f"{where} is damaged") from error
