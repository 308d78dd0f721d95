"""A scene as a multi-picture JPEG (MPO): what 3D cameras write, and 3D televisions show.

CIPA DC-007: two whole JPEGs, left then right. An APP2 segment in the first lists both as a
"multi-frame disparity" pair; one in each says from where it was seen. Programs that know nothing
of it show the left eye's.
"""

import struct
from pathlib import Path

from diorama.export.jpeg import encode_jpeg
from diorama.files import whole_file
from diorama.scene import Scene
from diorama.stereo import render_stereo

LONGEST_SIDE = 65_500
"""Pixels: a JPEG holds no more."""

SUBSAMPLING = "4:2:2"
"""The finest that Exif allows, and with it the chips in televisions and cameras."""

_DISPARITY = 0x020002  # type of both pictures: seen from two places at one time
_SHOWN_FIRST = 1 << 29  # flag of the picture for programs that show only one
_UNKNOWN = (0xFFFFFFFF, 0xFFFFFFFF)

_MARK = b"MPF\0"
_VERSION, _COUNT, _LIST = 0xB000, 0xB001, 0xB002  # tags
_NUMBER, _BASE, _CONVERGENCE, _BASELINE = 0xB101, 0xB204, 0xB205, 0xB206
_LONG, _RATIONAL, _UNDEFINED, _SIGNED_RATIONAL = 4, 5, 7, 10  # types of TIFF fields

Field = tuple[int, int, int, bytes]
"""Tag, type, count, value."""


def write_mpo(scene: Scene, path: Path) -> None:
    """Write the left and the right eye's pictures, of the photo's size.

    Raises:
        InputError: if the scene's view box has no width.
        OutputError: if `path` cannot be written.
    """
    pair = render_stereo(scene, size=LONGEST_SIDE)
    left, right = (encode_jpeg(eye, subsampling=SUBSAMPLING) for eye in pair)
    file = join_mpo(left, right, eyes_m=2 * scene.view_box.sideways if scene.metric else None)
    with whole_file(path) as partial:
        partial.write_bytes(file)


def join_mpo(left: bytes, right: bytes, *, eyes_m: float | None) -> bytes:
    """Two JPEGs as one MPO.

    Args:
        left: what programs show that show only one.
        right: the other.
        eyes_m: distance of the two eyes in metres, where it is known.
    """
    at = _after_exif(left)
    second = _inserted(right, _after_exif(right), _tiff(_place(2, eyes_m)))
    empty = _inserted(left, at, _tiff(_index(0, 0, 0), _place(1, 0.0)))
    head = at + 4 + len(_MARK)  # places are counted from here, where the TIFF begins
    index = _index(len(empty), len(second), len(empty) - head)
    return _inserted(left, at, _tiff(index, _place(1, 0.0))) + second


def _index(first_size: int, second_size: int, second_at: int) -> list[Field]:
    """What the first picture says of both."""
    entries = struct.pack("<IIIHH", _SHOWN_FIRST | _DISPARITY, first_size, 0, 0, 0)
    entries += struct.pack("<IIIHH", _DISPARITY, second_size, second_at, 0, 0)
    return [
        (_VERSION, _UNDEFINED, 4, b"0100"),
        (_COUNT, _LONG, 1, struct.pack("<I", 2)),
        (_LIST, _UNDEFINED, len(entries), entries),
    ]


def _place(number: int, eyes_m: float | None) -> list[Field]:
    """What a picture says of itself: from how far beside the first it was seen, looking alike."""
    micrometres = _UNKNOWN if eyes_m is None else (round(eyes_m * 1e6), 1_000_000)
    return [
        (_VERSION, _UNDEFINED, 4, b"0100"),
        (_NUMBER, _LONG, 1, struct.pack("<I", number)),
        (_BASE, _LONG, 1, struct.pack("<I", 1)),
        (_CONVERGENCE, _SIGNED_RATIONAL, 1, struct.pack("<ii", 0, 1)),
        (_BASELINE, _RATIONAL, 1, struct.pack("<II", *micrometres)),
    ]


def _tiff(*directories: list[Field]) -> bytes:
    """Little-endian TIFF of these directories, one pointing to the next."""
    tiff = struct.pack("<2sHI", b"II", 42, 8)
    for order, fields in enumerate(directories):
        values = b""
        behind = len(tiff) + 2 + 12 * len(fields) + 4  # what does not fit into four bytes
        tiff += struct.pack("<H", len(fields))
        for tag, kind, count, value in fields:
            tiff += struct.pack("<HHI", tag, kind, count)
            if len(value) <= 4:
                tiff += value
            else:
                tiff += struct.pack("<I", behind + len(values))
                values += value
        last = order == len(directories) - 1
        tiff += struct.pack("<I", 0 if last else behind + len(values)) + values
    return tiff


def _after_exif(jpeg: bytes) -> int:
    """Where the segments end that must come first: APP0 (JFIF) and APP1 (Exif)."""
    at = 2
    while jpeg[at : at + 2] in (b"\xff\xe0", b"\xff\xe1"):
        at += 2 + int.from_bytes(jpeg[at + 2 : at + 4], "big")
    return at


def _inserted(jpeg: bytes, at: int, tiff: bytes) -> bytes:
    """The JPEG with an APP2 segment at a place."""
    segment = b"\xff\xe2" + struct.pack(">H", 2 + len(_MARK) + len(tiff)) + _MARK + tiff
    return jpeg[:at] + segment + jpeg[at:]
