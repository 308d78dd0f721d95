"""Apple's depth: a further picture in a JPEG (MPF, CIPA DC-007), or what is told beside one.

XMP of Apple's own says what a map was before it became bytes: half or full floats of disparity in
1/metre or of depth in metres, spread evenly between two values; and whether those are measured
("absolute") or only right about what is nearer ("relative").
"""

import math
import struct
from collections.abc import Sequence
from dataclasses import replace
from xml.etree.ElementTree import Element

import numpy as np

from diorama.arrays import Array
from diorama.phone_depth.maps import MAX_PICTURES, FoundMap, number_of, property_in, unit_map
from diorama.xmp import jpeg_packets, jpeg_segments, list_of, parse

PIXEL_DATA_INFO = "http://ns.apple.com/pixeldatainfo/1.0/"
DEPTH_DATA = "http://ns.apple.com/depthData/1.0/"

# Core Video pixel formats: half and full floats of disparity in 1/metre, of depth in metres.
_APPLE_DISPARITY, _APPLE_DEPTH = ("hdis", "fdis"), ("hdep", "fdep")
_MPF_ENTRIES = 0xB002


def apple_jpeg_map(data: bytes) -> FoundMap | None:
    """Depth in one of the further pictures of a JPEG."""
    found = matte = None
    for start, size in _further_pictures(data):
        picture = data[start : start + size]
        documents = [parse(packet) for packet in jpeg_packets(picture)]
        if not documents:
            continue
        if "portraiteffectsmatte" in _apple_types(documents):
            matte = unit_map(picture)
        elif apple_format(documents) in (*_APPLE_DISPARITY, *_APPLE_DEPTH):
            found = apple_map(unit_map(picture), documents)
    return None if found is None else replace(found, matte=matte)


def apple_format(documents: Sequence[Element]) -> str:
    """The four characters of what a map was before it became bytes; "" where it does not tell."""
    text = (property_in(documents, PIXEL_DATA_INFO, "NativeFormat") or "").strip()
    if text.isascii() and text.isdigit() and int(text) < 2**32:
        return int(text).to_bytes(4, "big").decode("latin1")
    return text


def apple_map(grey: Array, documents: Sequence[Element]) -> FoundMap:
    """By Apple's XMP: its floats were spread over the map's steps."""
    native = apple_format(documents)
    is_depth = native in _APPLE_DEPTH or (
        native not in _APPLE_DISPARITY and _apple_types(documents).split()[:1] == ["depth"]
    )
    low, high = (
        number_of(property_in(documents, PIXEL_DATA_INFO, name))
        for name in ("FloatMinValue", "FloatMaxValue")
    )
    focal = _apple_focal(documents)
    if low is None or high is None or not low < high < math.inf:
        if is_depth:
            raise ValueError("its depth map tells no range")
        return FoundMap(grey, "affine", focal=focal)
    values = low + grey * (high - low)
    absolute = property_in(documents, DEPTH_DATA, "Accuracy") == "absolute"
    disparity = 1 / np.maximum(values, 1e-3) if is_depth else np.maximum(values, 0)
    return FoundMap(disparity, "metric" if absolute else "relative", focal=focal)


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


def _apple_types(documents: Sequence[Element]) -> str:
    names = ("AuxiliaryImageType", "AuxiliaryImageSubType")
    return " ".join(property_in(documents, PIXEL_DATA_INFO, name) or "" for name in names)


def _apple_focal(documents: Sequence[Element]) -> tuple[float, float] | None:
    matrix = [m for d in documents for m in list_of(d, DEPTH_DATA, "IntrinsicMatrix")]
    width, height = (
        number_of(property_in(documents, DEPTH_DATA, f"IntrinsicMatrixReference{side}"))
        for side in ("Width", "Height")
    )
    if len(matrix) < 9 or not width or not height:
        return None
    fx, fy = number_of(matrix[0]), number_of(matrix[4])
    if fx is None or fy is None or min(fx, fy, width, height) <= 0:
        return None
    return fx / width, fy / height
