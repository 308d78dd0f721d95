"""What FFmpeg cannot be told to write into an MP4: that each frame holds the pictures of two eyes.

The `st3d` box of Google's "Spherical Video V2" specification, which video sites and headsets read,
goes to the end of the video's sample entry; whatever lies behind it moves by its size.
"""

import struct

_TO_SAMPLE_ENTRY = (
    # Each box, and the bytes of its own before the next one (ISO 14496-12).
    *((name, 8) for name in (b"moov", b"trak", b"mdia", b"minf", b"stbl")),
    (b"stsd", 16),
    (b"avc1", 86),
)


def with_stereo_mode(mp4: bytes, mode: int) -> bytes:
    """The file with a stereo mode in its video track.

    Args:
        mp4: a file with one track, H.264, whose index comes before its frames.
        mode: 1: the left eye above the right; 2: the left eye left of the right.
    """
    box = struct.pack(">I4sIB", 13, b"st3d", 0, mode)
    file = bytearray(mp4)
    around = []  # where the boxes begin that grow
    start, end, chunks = 0, len(file), 0
    for name, head in _TO_SAMPLE_ENTRY:
        at, end = _find(file, name, start, end)
        if name == b"stbl":
            chunks, _ = _find(file, b"stco", at + head, end)
        around.append(at)
        start = at + head
    for at in around:
        _add(file, at, len(box))
    (count,) = struct.unpack_from(">I", file, chunks + 12)
    for index in range(count):
        _add(file, chunks + 16 + 4 * index, len(box))
    file[end:end] = box
    return bytes(file)


def _find(file: bytearray, name: bytes, start: int, end: int) -> tuple[int, int]:
    """Where the box of this name begins and ends."""
    while start < end:
        size, found = struct.unpack_from(">I4s", file, start)
        if found == name:
            return start, start + size
        start += size
    raise AssertionError(f"no {name} in this MP4")


def _add(file: bytearray, at: int, amount: int) -> None:
    """Raise the 32-bit number at a place."""
    (number,) = struct.unpack_from(">I", file, at)
    struct.pack_into(">I", file, at, number + amount)
