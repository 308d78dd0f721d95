"""Depth in a HEIC: an auxiliary picture (ISO/IEC 23008-12) with Apple's XMP or HEVC's range."""

import math
from dataclasses import replace
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from PIL import Image

from diorama.arrays import Array
from diorama.extras import import_extra
from diorama.heif import Meta, read_meta
from diorama.phone_depth.apple import apple_format, apple_map
from diorama.phone_depth.maps import (
    MAX_PICTURES,
    FoundMap,
    in_range,
    refuse_large,
    to_unit,
    turned_focal,
)
from diorama.xmp import MAX_PACKET_BYTES, parse

_HEVC_DEPTH = ("urn:mpeg:hevc:2015:auxid:2", "urn:mpeg:mpegB:cicp:systems:auxiliary:depth")
_APPLE_MATTE = "urn:com:apple:photo:2018:aux:portraiteffectsmatte"
_INVERSE_Z, _DISPARITY, _LINEAR_Z = 0, 1, 2  # HEVC depth_representation_type


def heic_map(data: bytes) -> tuple[FoundMap, list[Image.Transpose], float] | None:
    """The depth map of a HEIC, what still turns it upright, and the aspect of the photo upright."""
    heif = import_extra("heic", "reading a HEIC file")
    photo = heif.open_heif(data)
    if not photo.info["depth_images"]:
        return None
    meta = read_meta(data)
    depth_image = photo.info["depth_images"][0]
    refuse_large(*depth_image.size)
    item = next(
        (i for i in meta.sources(b"auxl", meta.primary) if _aux_type(meta, i) in _HEVC_DEPTH), None
    )
    documents = [] if item is None else _item_documents(data, meta, item)
    grey = to_unit(np.asarray(depth_image))
    if apple_format(documents):
        found = apple_map(grey, documents)
    else:
        found = _hevc(grey, depth_image.info["metadata"])
    turns = _transformations(meta, meta.primary)
    if item is not None and _transformations(meta, item):
        # The codec library has turned the map, but nobody the focal lengths.
        found = replace(found, focal=turned_focal(found.focal, turns))
        turns = []
    width, height = photo.size
    return replace(found, matte=_heif_matte(photo)), turns, width / height


def _hevc(grey: Array, info: dict) -> FoundMap:
    """By the depth representation information of HEVC (ITU-T H.265, G.14.3.3)."""
    kind = info.get("representation_type", _DISPARITY)
    near, far = info.get("z_near"), info.get("z_far")
    if kind == _DISPARITY:
        low, high = info.get("d_min"), info.get("d_max")
        if low is None or high is None or not 0 <= low < high < math.inf:
            return FoundMap(grey, "affine")
        return FoundMap(low + grey * (high - low), "relative")
    if kind == _INVERSE_Z:
        return FoundMap(*in_range(1 - grey, "RangeInverse", near, far, unit_m=None))
    if kind == _LINEAR_Z:
        return FoundMap(*in_range(grey, "RangeLinear", near, far, unit_m=None))
    raise ValueError(f"its depth is of representation type {kind}, which has no known scale")


def _heif_matte(photo: Any) -> Array | None:
    ids = photo.info.get("aux", {}).get(_APPLE_MATTE, ())
    if not ids:
        return None
    image = photo.get_aux_image(ids[0])
    refuse_large(*image.size)
    return to_unit(np.asarray(image))


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
