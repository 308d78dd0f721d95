"""Depth that a phone put into the photo's own file, upright as the photo is.

===========================  ======================================================================
Google GDepth                XMP of a JPEG: developers.google.com/depthmap-metadata
Google Dynamic Depth         pictures appended to a JPEG, listed in its XMP: developer.android.com,
                             "Dynamic Depth" 1.0 (2019)
Apple, in HEIC               auxiliary pictures (ISO/IEC 23008-12) with XMP of Apple's own
HEIC of others               auxiliary pictures with HEVC's depth representation information
Apple, in JPEG               further pictures in the file (CIPA DC-007, MPF) with the same XMP
===========================  ======================================================================

Google's maps hold near as 0 and far as 1. With n the nearest and f the farthest depth they hold
``RangeInverse: 1/z = 1/n + x (1/f - 1/n)`` and ``RangeLinear: z = n + x (f - n)``.
"""

import base64
import binascii
import io
import logging
import math
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import cv2
import numpy as np
from PIL import Image, JpegImagePlugin, PngImagePlugin

from diorama.arrays import Array
from diorama.camera import DEFAULT_FOV_DEG
from diorama.depth import ASPECT_TOLERANCE, DepthKind, DepthResult
from diorama.errors import InputError
from diorama.extras import import_extra
from diorama.heif import Meta, read_meta
from diorama.pictures import orientation
from diorama.xmp import (
    MAX_PACKET_BYTES,
    jpeg_end,
    jpeg_packets,
    jpeg_segments,
    list_of,
    parse,
    property_of,
)

logger = logging.getLogger(__name__)

MAX_FILE_BYTES = 1_000_000_000
"""Larger files are not looked into: photos with a short film appended have a tenth of that."""

MAX_MAP_PIXELS = 64_000_000
"""By the header of a depth map, before it is decoded; phones' have a fraction of a megapixel."""

MAX_PICTURES = 16
"""Beside the photo, and descriptions of one; more are not looked at."""

GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
DYNAMIC_DEPTH = "http://ns.google.com/photos/dd/1.0/"
PIXEL_DATA_INFO = "http://ns.apple.com/pixeldatainfo/1.0/"
DEPTH_DATA = "http://ns.apple.com/depthData/1.0/"

_CONTAINERS = (
    (f"{DYNAMIC_DEPTH}container/", f"{DYNAMIC_DEPTH}item/"),
    (
        "http://ns.google.com/photos/1.0/container/",
        "http://ns.google.com/photos/1.0/container/item/",
    ),
)
_HEVC_DEPTH = ("urn:mpeg:hevc:2015:auxid:2", "urn:mpeg:mpegB:cicp:systems:auxiliary:depth")
_APPLE_MATTE = "urn:com:apple:photo:2018:aux:portraiteffectsmatte"
# Core Video pixel formats: half and full floats of disparity in 1/metre, of depth in metres.
_APPLE_DISPARITY, _APPLE_DEPTH = ("hdis", "fdis"), ("hdep", "fdep")
_INVERSE_Z, _DISPARITY, _LINEAR_Z = 0, 1, 2  # HEVC depth_representation_type
_MPF_ENTRIES = 0xB002
_ACROSS = (
    *(Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270),
    *(Image.Transpose.TRANSPOSE, Image.Transpose.TRANSVERSE),
)

# Whatever decoders raise on damaged files; anything else is our own fault and stays loud.
_DAMAGED = (
    *(OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, struct.error),
    *(RuntimeError, OverflowError, MemoryError, binascii.Error),
)


@dataclass(frozen=True)
class _Found:
    """A depth map as it is in the file."""

    disparity: Array
    """(h, w) float."""
    kind: DepthKind
    confidence: Array | None = None
    """(h2, w2) float in 0..1."""
    matte: Array | None = None
    """(h3, w3) float in 0..1."""
    focal: tuple[float, float] | None = None
    """Focal length in widths and in heights of the map."""
    along_rays: bool = False
    """Whether depth is the distance to the camera rather than along its axis."""
    stretched: bool = False
    """Whether the map covers the photo whatever its aspect is."""


def own_depth(source: str | Path) -> DepthResult | None:
    """The depth that a phone put into a photo's own file.

    Args:
        source: a photo; JPEG and HEIC can hold depth.

    Returns:
        Disparity of the map's own size, upright as `load_photo` gives the photo; None if there is
        none, or, with a warning in the log, if it cannot be used. "metric" where the file speaks of
        metres that were measured, "relative" where its range is known up to scale, else "affine".

    Raises:
        InputError: if there is no such file.
        MissingExtraError: if it is a HEIC and the extra is not installed.
    """
    path = Path(source)
    try:
        with path.open("rb") as file:
            head = file.read(12)
            reader = _reader(head)
            if reader is None:
                return None
            rest = file.read(MAX_FILE_BYTES)
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        if len(head) + len(rest) > MAX_FILE_BYTES:
            raise ValueError(f"the file has more than {MAX_FILE_BYTES} bytes")
        return reader(head + rest)
    except _DAMAGED as error:
        reason = (str(error).splitlines() or [""])[0] or type(error).__name__
        logger.warning("%s: the depth in it cannot be used: %s", path, reason)
        return None


def _reader(head: bytes) -> Callable[[bytes], DepthResult | None] | None:
    if head.startswith(b"\xff\xd8\xff"):
        return _of_jpeg
    if head[4:8] == b"ftyp" and head[8:12] not in (b"avif", b"avis"):
        return _of_heif
    return None


def _of_jpeg(data: bytes) -> DepthResult | None:
    packets = jpeg_packets(data)
    documents = [parse(packet) for packet in packets]
    found = _dynamic_depth(data, documents) or _gdepth(documents) or _apple_jpeg(data)
    if found is None:
        return None
    photo = JpegImagePlugin.JpegImageFile(io.BytesIO(data), None)
    turn = orientation(photo)
    turns = [] if turn is None else [turn]
    width, height = photo.size
    return _upright(found, turns, height / width if _lies_across(turns) else width / height)


def _gdepth(documents: Sequence[Element]) -> _Found | None:
    encoded = _property(documents, GDEPTH, "Data")
    if encoded is None:
        if _property(documents, GDEPTH, "Format") is not None:
            raise ValueError("its depth map is missing")
        return None
    units = (_property(documents, GDEPTH, "Units") or "").strip().lower()
    # Where units are left out they default to metres, but the specification's own example counts
    # in something else.
    unit_m = {"m": 1.0, "mm": 0.001}.get(units)
    disparity, kind = _in_range(
        _unit_map(_decoded(encoded)),
        _property(documents, GDEPTH, "Format"),
        _number(_property(documents, GDEPTH, "Near")),
        _number(_property(documents, GDEPTH, "Far")),
        unit_m=unit_m,
    )
    confidence = _property(documents, GDEPTH, "Confidence")
    return _Found(
        disparity,
        kind,
        confidence=None if confidence is None else _unit_map(_decoded(confidence)),
        along_rays=_property(documents, GDEPTH, "MeasureType") == "OpticRay",
        stretched=True,
    )


def _dynamic_depth(data: bytes, documents: Sequence[Element]) -> _Found | None:
    """A depth map that is appended to the photo and listed in its container's directory."""
    depth_map, camera = _camera(documents)
    if depth_map is None or camera is None:
        return None
    namespace = f"{DYNAMIC_DEPTH}depthmap/"
    items = _items(documents)
    pixels = _appended(data, items, property_of(depth_map, namespace, "DepthURI"), "depth")
    if pixels is None:
        raise ValueError("its depth map is not among what is appended to it")
    units = (property_of(depth_map, namespace, "Units") or "").strip().lower()
    near, far = (_number(property_of(depth_map, namespace, n)) for n in ("Near", "Far"))
    if units == "diopters":
        near = far = None  # no public text says which end of which scale these would be
    disparity, kind = _in_range(
        _unit_map(pixels),
        property_of(depth_map, namespace, "Format"),
        near,
        far,
        unit_m=1.0 if units == "meters" else None,
    )
    uri = property_of(depth_map, namespace, "ConfidenceURI")
    confidence = None if uri is None else _appended(data, items, uri, "confidence")
    return _Found(
        disparity,
        kind,
        confidence=None if confidence is None else _unit_map(confidence),
        focal=_dynamic_focal(camera),
        along_rays=property_of(depth_map, namespace, "MeasureType") == "OpticRay",
        stretched=True,
    )


def _camera(documents: Sequence[Element]) -> tuple[Element | None, Element | None]:
    """The first depth map described, and the camera it belongs to or the document around it."""
    wanted = f"{{{DYNAMIC_DEPTH}camera/}}DepthMap"
    for document in documents:
        for camera in (*document.iter(f"{{{DYNAMIC_DEPTH}device/}}Camera"), document):
            depth_map = next(camera.iter(wanted), None)
            if depth_map is not None:
                return depth_map, camera
    return None, None


def _dynamic_focal(camera: Element) -> tuple[float, float] | None:
    namespace = f"{DYNAMIC_DEPTH}imagingmodel/"
    names = ("FocalLengthX", "ImageWidth", "FocalLengthY", "ImageHeight")
    fx, width, fy, height = (_number(property_of(camera, namespace, name)) for name in names)
    if not (fx and width and fy and height and min(fx, fy) > 20 and min(width, height) > 0):
        return None  # not given, or not in pixels
    return fx / width, fy / height


@dataclass(frozen=True)
class _Item:
    """An entry of a container's directory."""

    uri: str
    semantic: str
    length: int
    padding: int
    """Bytes between its end and the next one."""


def _items(documents: Sequence[Element]) -> list[_Item]:
    """What the directory lists, the photo itself first."""
    items = []
    for container, namespace in _CONTAINERS:
        for document in documents:
            for node in document.iter(f"{{{container}}}Item"):
                length, padding = (
                    _number(property_of(node, namespace, name)) or 0
                    for name in ("Length", "Padding")
                )
                if not (0 <= length <= MAX_FILE_BYTES and 0 <= padding <= MAX_FILE_BYTES):
                    raise ValueError("its container lists an impossible length")
                uri = property_of(node, namespace, "DataURI") or ""
                semantic = property_of(node, namespace, "Semantic") or ""
                items.append(_Item(uri, semantic.lower(), int(length), int(padding)))
        if items:
            return items
    return items


def _appended(data: bytes, items: Sequence[_Item], uri: str | None, name: str) -> bytes | None:
    """The picture of this address, or else of this meaning, among what follows the photo.

    Items follow one another; the photo's own length may be left out, and other things may follow
    the items or stand before them, so that both ends are tried.
    """
    at = next((i for i, item in enumerate(items) if i and uri and item.uri == uri), None)
    if at is None:
        at = next((i for i, item in enumerate(items) if i and item.semantic.startswith(name)), None)
    if at is None:
        return None
    item = items[at]
    before = items[0].padding + sum(i.length + i.padding for i in items[1:at])
    after = sum(i.length + i.padding for i in items[at:])
    for start in (items[0].length + before, jpeg_end(data) + before, len(data) - after):
        picture = data[start : start + item.length] if start > 0 else b""
        if len(picture) == item.length and _is_whole(picture):
            return picture
    return None


def _is_whole(picture: bytes) -> bool:
    """Whether this begins and ends as a JPEG or a PNG does."""
    if picture.startswith(b"\x89PNG"):
        return picture[-8:-4] == b"IEND"
    return picture.startswith(b"\xff\xd8\xff") and picture.endswith(b"\xff\xd9")


def _apple_jpeg(data: bytes) -> _Found | None:
    """Depth in one of the further pictures of a JPEG."""
    found = matte = None
    for start, size in _further_pictures(data):
        picture = data[start : start + size]
        documents = [parse(packet) for packet in jpeg_packets(picture)]
        if not documents:
            continue
        if "portraiteffectsmatte" in _apple_types(documents):
            matte = _unit_map(picture)
        elif _apple_format(documents) in (*_APPLE_DISPARITY, *_APPLE_DEPTH):
            found = _apple(_unit_map(picture), documents)
    return None if found is None else replace(found, matte=matte)


def _further_pictures(data: bytes) -> list[tuple[int, int]]:
    """Start and size of the pictures that an MPF index lists after the first."""
    for segment in jpeg_segments(data):
        if segment.marker != 0xE2 or not segment.payload.startswith(b"MPF\0"):
            continue
        tiff = segment.payload[4:]
        order = "<" if tiff[:2] == b"II" else ">"
        (ifd,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, ifd)
        for entry in range(count):
            tag, _, size, at = struct.unpack_from(f"{order}HHII", tiff, ifd + 2 + 12 * entry)
            if tag == _MPF_ENTRIES:
                entries = [
                    struct.unpack_from(f"{order}III", tiff, at + 16 * i) for i in range(size // 16)
                ]
                base = segment.start + 4
                further = [(base + offset, length) for _, length, offset in entries if offset]
                return further[:MAX_PICTURES]
    return []


def _of_heif(data: bytes) -> DepthResult | None:
    heif = import_extra("heic", "reading a HEIC file")
    photo = heif.open_heif(data)
    if not photo.info["depth_images"]:
        return None
    meta = read_meta(data)
    depth_image = photo.info["depth_images"][0]
    _refuse_large(*depth_image.size)
    item = next(
        (i for i in meta.sources(b"auxl", meta.primary) if _aux_type(meta, i) in _HEVC_DEPTH), None
    )
    documents = [] if item is None else _item_documents(data, meta, item)
    grey = _to_unit(np.asarray(depth_image))
    if _apple_format(documents):
        found = _apple(grey, documents)
    else:
        found = _hevc(grey, depth_image.info["metadata"])
    turns = _transformations(meta, meta.primary)
    if item is not None and _transformations(meta, item):
        # The codec library has turned the map, but nobody the focal lengths.
        found = replace(found, focal=_turned_focal(found.focal, turns))
        turns = []
    found = replace(found, matte=_heif_matte(photo))
    return _upright(found, turns, photo.size[0] / photo.size[1])


def _aux_type(meta: Meta, item: int) -> str:
    for box in meta.items[item].properties if item in meta.items else ():
        if box.kind == b"auxC":
            return box.payload[4:].split(b"\0")[0].decode("latin1")
    return ""


def _item_documents(data: bytes, meta: Meta, item: int) -> list[Element]:
    """The XMP that describes an item."""
    return [
        parse(meta.data(data, source, limit=MAX_PACKET_BYTES))
        for source in meta.sources(b"cdsc", item)[:MAX_PICTURES]
        if source in meta.items and meta.items[source].content_type == "application/rdf+xml"
    ]


def _heif_matte(photo: Any) -> Array | None:
    ids = photo.info.get("aux", {}).get(_APPLE_MATTE, ())
    if not ids:
        return None
    image = photo.get_aux_image(ids[0])
    _refuse_large(*image.size)
    return _to_unit(np.asarray(image))


def _transformations(meta: Meta, item: int) -> list[Image.Transpose]:
    """Turns and mirrorings of an item, in order."""
    turns = []
    for box in meta.items[item].properties if item in meta.items else ():
        if box.kind == b"irot" and box.payload[:1]:
            quarter = box.payload[0] & 3  # anticlockwise
            turns += [Image.Transpose.ROTATE_90] * quarter
        if box.kind == b"imir" and box.payload[:1]:
            flips = (Image.Transpose.FLIP_TOP_BOTTOM, Image.Transpose.FLIP_LEFT_RIGHT)
            turns.append(flips[box.payload[0] & 1])
    return turns


def _hevc(grey: Array, info: dict) -> _Found:
    """By the depth representation information of HEVC (ITU-T H.265, G.14.3.3)."""
    kind = info.get("representation_type", _DISPARITY)
    near, far = info.get("z_near"), info.get("z_far")
    if kind == _DISPARITY:
        low, high = info.get("d_min"), info.get("d_max")
        if low is None or high is None or not 0 <= low < high < math.inf:
            return _Found(grey, "affine")
        return _Found(low + grey * (high - low), "relative")
    if kind == _INVERSE_Z:
        return _Found(*_in_range(1 - grey, "RangeInverse", near, far, unit_m=None))
    if kind == _LINEAR_Z:
        return _Found(*_in_range(grey, "RangeLinear", near, far, unit_m=None))
    raise ValueError(f"its depth is of representation type {kind}, which has no known scale")


def _apple_format(documents: Sequence[Element]) -> str:
    """The four characters of what a map was before it became bytes; "" where it does not tell."""
    text = (_property(documents, PIXEL_DATA_INFO, "NativeFormat") or "").strip()
    if text.isascii() and text.isdigit() and int(text) < 2**32:
        return int(text).to_bytes(4, "big").decode("latin1")
    return text


def _apple_types(documents: Sequence[Element]) -> str:
    names = ("AuxiliaryImageType", "AuxiliaryImageSubType")
    return " ".join(_property(documents, PIXEL_DATA_INFO, name) or "" for name in names)


def _apple(grey: Array, documents: Sequence[Element]) -> _Found:
    """By Apple's XMP: its floats were spread over the map's steps."""
    native = _apple_format(documents)
    is_depth = native in _APPLE_DEPTH or (
        native not in _APPLE_DISPARITY and _apple_types(documents).split()[:1] == ["depth"]
    )
    low, high = (
        _number(_property(documents, PIXEL_DATA_INFO, name))
        for name in ("FloatMinValue", "FloatMaxValue")
    )
    focal = _apple_focal(documents)
    if low is None or high is None or not low < high < math.inf:
        if is_depth:
            raise ValueError("its depth map tells no range")
        return _Found(grey, "affine", focal=focal)
    values = low + grey * (high - low)
    absolute = _property(documents, DEPTH_DATA, "Accuracy") == "absolute"
    disparity = 1 / np.maximum(values, 1e-3) if is_depth else np.maximum(values, 0)
    return _Found(disparity, "metric" if absolute else "relative", focal=focal)


def _apple_focal(documents: Sequence[Element]) -> tuple[float, float] | None:
    matrix = [m for d in documents for m in list_of(d, DEPTH_DATA, "IntrinsicMatrix")]
    width, height = (
        _number(_property(documents, DEPTH_DATA, f"IntrinsicMatrixReference{side}"))
        for side in ("Width", "Height")
    )
    if len(matrix) < 9 or not width or not height:
        return None
    fx, fy = _number(matrix[0]), _number(matrix[4])
    if fx is None or fy is None or min(fx, fy, width, height) <= 0:
        return None
    return fx / width, fy / height


def _in_range(
    unit: Array, form: str | None, near: float | None, far: float | None, *, unit_m: float | None
) -> tuple[Array, DepthKind]:
    """Disparity, and what it is known up to, of a map that is 0 where it is near and 1 where far.

    Args:
        unit: (h, w) float in 0..1.
        form: "RangeInverse" or "RangeLinear"; None is the former.
        near: nearest depth; None: not known.
        far: farthest depth; None: not known.
        unit_m: metres a unit of these; None: not known.
    """
    inverse = {"rangeinverse": True, "rangelinear": False}.get((form or "RangeInverse").lower())
    if inverse is None:
        raise ValueError(f"its depth map has an unknown format {form!r}")
    if near is None or far is None:
        if not inverse:
            raise ValueError("its depth map tells no range")
        return 1 - unit, "affine"
    if not (0 < near <= far and math.isfinite(near) and (inverse or math.isfinite(far))):
        raise ValueError(f"its depth map has an impossible range, {near:g} to {far:g}")
    scale = 1.0 if unit_m is None else unit_m
    near, far = near * scale, far * scale
    disparity = (
        1 / near + unit * (1 / far - 1 / near) if inverse else 1 / (near + unit * (far - near))
    )
    return disparity, "relative" if unit_m is None else "metric"


def _upright(found: _Found, turns: Sequence[Image.Transpose], aspect: float) -> DepthResult:
    """The map as the photo is shown, after these turns, with this ratio of width to height."""
    disparity = _along_axis(found) if found.along_rays else found.disparity
    confidence, matte = found.confidence, found.matte
    for turn in turns:
        disparity = _turned(disparity, turn)
        confidence = None if confidence is None else _turned(confidence, turn)
        matte = None if matte is None else _turned(matte, turn)
    rows, columns = _fitted_shape(disparity, aspect, stretched=found.stretched)
    if matte is not None and matte.shape[0] > rows:
        rows, columns = matte.shape
    disparity = _sized(disparity, columns, rows)
    if not np.isfinite(disparity).all():
        raise ValueError("its depth map is not finite")
    focal = _turned_focal(found.focal, turns)
    return DepthResult(
        disparity,
        found.kind,
        None if confidence is None else _sized(confidence, columns, rows),
        matte=None if matte is None else _sized(matte, columns, rows),
        fov_deg=None if focal is None else math.degrees(2 * math.atan(0.5 / focal[0])),
    )


def _fitted_shape(pixels: Array, aspect: float, *, stretched: bool) -> tuple[int, int]:
    """Rows and columns of a map that has the photo's aspect, or is to be stretched to it."""
    rows, columns = pixels.shape
    if abs(columns / rows / aspect - 1) <= ASPECT_TOLERANCE:
        return rows, columns
    on_its_side = abs(columns / rows * aspect - 1) <= ASPECT_TOLERANCE
    if on_its_side or not stretched:
        raise ValueError(f"its depth map is {columns}x{rows} px, which is not the photo's shape")
    return max(1, round(columns / aspect)), columns


def _lies_across(turns: Sequence[Image.Transpose]) -> bool:
    """Whether these turns exchange width and height."""
    return sum(turn in _ACROSS for turn in turns) % 2 == 1


def _turned_focal(
    focal: tuple[float, float] | None, turns: Sequence[Image.Transpose]
) -> tuple[float, float] | None:
    return (focal[1], focal[0]) if focal is not None and _lies_across(turns) else focal


def _sized(pixels: Array, columns: int, rows: int) -> Array:
    pixels = np.ascontiguousarray(pixels, np.float32)
    if pixels.shape == (rows, columns):
        return pixels
    way = cv2.INTER_AREA if pixels.shape[0] > rows else cv2.INTER_LINEAR
    return cv2.resize(pixels, (columns, rows), interpolation=way)


def _turned(pixels: Array, turn: Image.Transpose) -> Array:
    return np.asarray(Image.fromarray(pixels.astype(np.float32)).transpose(turn))


def _along_axis(found: _Found) -> Array:
    """1/z from 1/r, the inverse distance to the camera."""
    rows, columns = found.disparity.shape
    if found.focal is not None:
        fx, fy = found.focal[0] * columns, found.focal[1] * rows
    else:
        fx = fy = max(rows, columns) / 2 / math.tan(math.radians(DEFAULT_FOV_DEG) / 2)
    x = (np.arange(columns) + 0.5 - columns / 2) / fx
    y = (np.arange(rows) + 0.5 - rows / 2) / fy
    return found.disparity * np.sqrt(1 + x[None] ** 2 + y[:, None] ** 2)


def _property(documents: Sequence[Element], namespace: str, name: str) -> str | None:
    for document in documents:
        value = property_of(document, namespace, name)
        if value is not None:
            return value
    return None


def _number(text: str | None) -> float | None:
    """The number a property holds; None if there is none, or it is none."""
    try:
        number = float(text or "")
    except ValueError:
        return None
    return None if math.isnan(number) else number


def _decoded(text: str) -> bytes:
    """What base64 holds; it may be broken into lines."""
    return base64.b64decode("".join(text.split()), validate=True)


def _unit_map(data: bytes) -> Array:
    """A grey JPEG or PNG as (h, w) float in 0..1."""
    return _to_unit(_pixels(data))


def _pixels(data: bytes) -> Array:
    opener = (
        PngImagePlugin.PngImageFile
        if data.startswith(b"\x89PNG")
        else JpegImagePlugin.JpegImageFile
    )
    image: Image.Image = opener(io.BytesIO(data), None)
    _refuse_large(image.width, image.height)
    image.load()
    if not image.mode.startswith(("L", "I")):
        image = image.convert("L")  # grey that was saved as colour
    pixels = np.asarray(image)
    return pixels if pixels.ndim == 2 else pixels[..., 0]


def _to_unit(pixels: Array) -> Array:
    if pixels.ndim == 3:
        pixels = pixels[..., 0]
    full = 255 if pixels.dtype == np.uint8 else 65535
    return pixels.astype(np.float64) / full


def _refuse_large(width: int, height: int) -> None:
    if width * height > MAX_MAP_PIXELS:
        raise ValueError(f"its depth map claims {width}x{height} px")
