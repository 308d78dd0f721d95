"""A scene as a Photoshop document: a layer a layer, and their depth in a hidden group.

From the bottom: the layers, farthest first, then the group "depth" with every layer's disparity and
the scene's as grey. 8 bits a channel, sRGB by its profile, packed by PackBits, which every reader
knows. Specification: Adobe, "Photoshop File Formats Specification" (2019).
"""

import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from diorama.arrays import Array
from diorama.errors import OutputError
from diorama.export.pictures import Picture, composite, depth_pictures, layer_pictures
from diorama.files import whole_file
from diorama.runtime import run_tasks
from diorama.scene import Scene

MAX_SIDE = 30_000
"""Pixels a side of a PSD may have."""

MAX_BYTES = 2**31 - 1
"""A PSD may have: its lengths are 32-bit, and readers take them as signed."""

PIXELS_PER_INCH = 72
"""What programs print by until told otherwise."""

_CHANNELS = (0, 1, 2, -1)  # red, green, blue, alpha
_PACKBITS = 1
_HIDDEN, _FLAGS_KNOWN, _NO_PIXELS = 0x02, 0x08, 0x10  # of a layer
_OPEN_GROUP, _END_OF_GROUP = 1, 3  # section dividers
_RESOLUTION, _ICC_PROFILE, _VERSION = 1005, 1039, 1057  # image resources
_MAX_PACKET = 128


@dataclass(frozen=True)
class _Record:
    """A layer, or one of the two marks that a group lies between."""

    name: str
    picture: Picture | None = None
    divider: int | None = None
    hidden: bool = False


def write_psd(scene: Scene, path: str | os.PathLike[str]) -> None:
    """Write the scene's layers, at processing size, as one PSD file.

    Raises:
        OutputError: if `path` cannot be written, the scene is too large for a PSD, or it has no
            visible layer.
    """
    width, height = scene.camera.width, scene.camera.height
    if max(width, height) > MAX_SIDE:
        raise OutputError(
            f"cannot write {path}: a PSD has at most {MAX_SIDE} px a side, the scene is "
            f"{width}x{height}; write .ora or .layers"
        )
    layers = layer_pictures(scene)
    merged = composite(layers, width, height)
    channels = 3 if (merged[..., 3] == 255).all() else 4
    records = [
        *(_Record(picture.name, picture) for picture in layers),
        _Record("</Layer group>", divider=_END_OF_GROUP),
        *(_Record(picture.name, picture) for picture in depth_pictures(scene)),
        _Record("depth", divider=_OPEN_GROUP, hidden=True),
    ]
    header = struct.pack(">4sH6xHIIHH", b"8BPS", 1, channels, height, width, 8, 3)
    parts = [
        header,
        _sized(b""),  # colour mode: none for RGB
        _sized(_resources()),
        _sized(_sized(_layers(records, merged_alpha=channels == 4), 4) + _sized(b"")),
        _image(merged[..., :channels]),
    ]
    total = sum(map(len, parts))
    if total > MAX_BYTES:
        raise OutputError(
            f"cannot write {path}: a PSD has at most {MAX_BYTES} bytes, this one would have "
            f"{total}; write .ora or .layers"
        )
    with whole_file(path) as partial, partial.open("wb") as file:
        file.writelines(parts)


def pack_bits(rows: Array) -> tuple[Array, bytes]:
    """Pack (h, w) uint8 rows by PackBits, each by itself.

    Three or more equal bytes become a pair, what is between them is copied, at most 128 at a time.

    Returns:
        (h,) bytes that each row takes, and the packed bytes.
    """
    height, width = rows.shape
    flat = np.ascontiguousarray(rows).ravel()
    begins = np.ones(flat.shape, bool)
    begins[1:] = flat[1:] != flat[:-1]
    begins[::width] = True
    starts = np.flatnonzero(begins)
    repeated = np.diff(starts, append=len(flat)) >= 3
    # What is copied goes on through runs that are too short, but not into the next row.
    kept = repeated | (starts % width == 0)
    kept[1:] |= repeated[:-1]
    starts, repeated = starts[kept], repeated[kept]
    lengths = np.diff(starts, append=len(flat))
    packets = -(-lengths // _MAX_PACKET)
    number = np.arange(packets.sum()) - np.repeat(np.cumsum(packets) - packets, packets)
    starts = np.repeat(starts, packets) + number * _MAX_PACKET
    lengths = np.minimum(np.repeat(lengths, packets) - number * _MAX_PACKET, _MAX_PACKET)
    repeated = np.repeat(repeated, packets)
    sizes = np.where(repeated, 2, 1 + lengths)
    offsets = np.cumsum(sizes) - sizes
    packed = np.empty(int(sizes.sum()), np.uint8)
    packed[offsets] = np.where(repeated, 257 - lengths, lengths - 1) % 256
    packed[offsets[repeated] + 1] = flat[starts[repeated]]
    copied = np.repeat(~repeated, lengths)
    shift = np.repeat((offsets + 1 - starts)[~repeated], lengths[~repeated])
    packed[np.flatnonzero(copied) + shift] = flat[copied]
    counts = np.bincount(starts // width, sizes, minlength=height).astype(np.int64)
    return counts, packed.tobytes()


def _image(pixels: Array) -> bytes:
    """The merged image: all channels' row lengths, then all channels' rows."""
    packed = run_tasks([lambda c=c: pack_bits(pixels[..., c]) for c in range(pixels.shape[2])])
    counts = b"".join(counts.astype(">u2").tobytes() for counts, _ in packed)
    return struct.pack(">H", _PACKBITS) + counts + b"".join(data for _, data in packed)


def _layers(records: Sequence[_Record], *, merged_alpha: bool) -> bytes:
    """Layer info: every record, then every record's pixels."""
    pixels = run_tasks([lambda record=record: _pixels(record.picture) for record in records])
    # A negative count says that the merged image's fourth channel is its transparency.
    count = -len(records) if merged_alpha else len(records)
    head = [
        _record(record, number, [len(channel) for channel in channels])
        for number, (record, channels) in enumerate(zip(records, pixels, strict=True), 1)
    ]
    data = [channel for channels in pixels for channel in channels]
    return struct.pack(">h", count) + b"".join([*head, *data])


def _pixels(picture: Picture | None) -> list[bytes]:
    """Each channel's pixels, of an even length, as Pillow expects; a group's marks have none."""
    if picture is None:
        return [struct.pack(">H", 0)] * len(_CHANNELS)
    channels = []
    for channel in range(4):
        counts, data = pack_bits(picture.rgba[..., channel])
        counts = counts.astype(">u2").tobytes()
        channels.append(struct.pack(">H", _PACKBITS) + counts + data + bytes(len(data) % 2))
    return channels


def _record(record: _Record, number: int, sizes: Sequence[int]) -> bytes:
    left = top = right = bottom = 0
    if record.picture is not None:
        left, top = record.picture.left, record.picture.top
        bottom, right = top + record.picture.rgba.shape[0], left + record.picture.rgba.shape[1]
    flags = _FLAGS_KNOWN | (_HIDDEN if record.hidden else 0)
    if record.divider is not None:
        flags |= _NO_PIXELS
    channels = [struct.pack(">hI", *pair) for pair in zip(_CHANNELS, sizes, strict=True)]
    extra = [
        _sized(b""),  # no mask
        _sized(b""),  # blending ranges: all
        _pascal(record.name, 4),
        _tagged(b"luni", _unicode(record.name)),
        _tagged(b"lyid", struct.pack(">I", number)),
    ]
    if record.divider is not None:
        extra.append(_tagged(b"lsct", struct.pack(">I4s4s", record.divider, b"8BIM", b"norm")))
    return b"".join(
        [
            struct.pack(">4iH", top, left, bottom, right, len(channels)),
            *channels,
            struct.pack(">4s4sBBBx", b"8BIM", b"norm", 255, 0, flags),
            _sized(b"".join(extra)),
        ]
    )


def _resources() -> bytes:
    inch = PIXELS_PER_INCH << 16
    versions = struct.pack(">IB", 1, True) + _unicode("diorama") * 2 + struct.pack(">I", 1)
    resources = {
        _RESOLUTION: struct.pack(">IHHIHH", inch, 1, 1, inch, 1, 1),
        _ICC_PROFILE: _srgb_profile(),
        _VERSION: versions,  # and that the merged image is one
    }
    return b"".join(
        struct.pack(">4sHH", b"8BIM", number, 0) + _sized(data) + bytes(len(data) % 2)
        for number, data in resources.items()
    )


@cache
def _srgb_profile() -> bytes:
    """An ICC profile that says sRGB, without the time it was made at."""
    from PIL import ImageCms

    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    profile[84:100] = bytes(16)  # its checksum, which may be left out
    return bytes(profile)


def _sized(data: bytes, multiple: int = 1) -> bytes:
    """`data` padded to a multiple of bytes, after its length."""
    padded = data + bytes(-len(data) % multiple)
    return struct.pack(">I", len(padded)) + padded


def _tagged(key: bytes, data: bytes) -> bytes:
    return b"8BIM" + key + _sized(data, 4)


def _pascal(text: str, multiple: int) -> bytes:
    data = text.encode("ascii", "replace")[:255]
    data = bytes([len(data)]) + data
    return data + bytes(-len(data) % multiple)


def _unicode(text: str) -> bytes:
    data = text.encode("utf-16-be")
    return struct.pack(">I", len(data) // 2) + data
