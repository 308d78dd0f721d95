"""Google's depth: in the XMP of a JPEG (GDepth), or appended to it (Dynamic Depth).

developers.google.com/depthmap-metadata; developer.android.com, "Dynamic Depth" 1.0 (2019).
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from diorama.phone_depth.maps import FoundMap, in_range, number_of, property_in, unit_map
from diorama.xmp import jpeg_end, property_of

GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
DYNAMIC_DEPTH = "http://ns.google.com/photos/dd/1.0/"

MAX_ITEM_BYTES = 1_000_000_000
"""Of what a container lists, such as a film; what is longer is a mistake."""

_CONTAINERS = (
    (f"{DYNAMIC_DEPTH}container/", f"{DYNAMIC_DEPTH}item/"),
    (
        "http://ns.google.com/photos/1.0/container/",
        "http://ns.google.com/photos/1.0/container/item/",
    ),
)


def gdepth_map(documents: Sequence[Element]) -> FoundMap | None:
    """A depth map that stands in the photo's XMP itself."""
    encoded = property_in(documents, GDEPTH, "Data")
    if encoded is None:
        if property_in(documents, GDEPTH, "Format") is not None:
            raise ValueError("its depth map is missing")
        return None
    units = (property_in(documents, GDEPTH, "Units") or "").strip().lower()
    # Where units are left out they default to metres, but the specification's own example counts
    # in something else.
    unit_m = {"m": 1.0, "mm": 0.001}.get(units)
    disparity, kind = in_range(
        unit_map(_decoded(encoded)),
        property_in(documents, GDEPTH, "Format"),
        number_of(property_in(documents, GDEPTH, "Near")),
        number_of(property_in(documents, GDEPTH, "Far")),
        unit_m=unit_m,
    )
    confidence = property_in(documents, GDEPTH, "Confidence")
    return FoundMap(
        disparity,
        kind,
        confidence=None if confidence is None else unit_map(_decoded(confidence)),
        along_rays=property_in(documents, GDEPTH, "MeasureType") == "OpticRay",
        stretched=True,
    )


def dynamic_depth_map(data: bytes, documents: Sequence[Element]) -> FoundMap | None:
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
    near, far = (number_of(property_of(depth_map, namespace, n)) for n in ("Near", "Far"))
    if units == "diopters":
        near = far = None  # no public text says which end of which scale these would be
    disparity, kind = in_range(
        unit_map(pixels),
        property_of(depth_map, namespace, "Format"),
        near,
        far,
        unit_m=1.0 if units == "meters" else None,
    )
    uri = property_of(depth_map, namespace, "ConfidenceURI")
    confidence = None if uri is None else _appended(data, items, uri, "confidence")
    return FoundMap(
        disparity,
        kind,
        confidence=None if confidence is None else unit_map(confidence),
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
    fx, width, fy, height = (number_of(property_of(camera, namespace, name)) for name in names)
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
                    number_of(property_of(node, namespace, name)) or 0
                    for name in ("Length", "Padding")
                )
                if not (0 <= length <= MAX_ITEM_BYTES and 0 <= padding <= MAX_ITEM_BYTES):
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


def _decoded(text: str) -> bytes:
    """What base64 holds; it may be broken into lines."""
    return base64.b64decode("".join(text.split()), validate=True)
