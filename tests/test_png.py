"""PNG files come back as what they ought to hold, however an editor saved them again."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from diorama.errors import InputError
from diorama.png import PngKind, checksum, decode_png, encode_png, label_colors, quantise_disparity

SIZE = (19, 13)
RANDOM = np.random.default_rng(0)
RGB = RANDOM.integers(0, 256, (13, 19, 3), np.uint8)
RGBA = RANDOM.integers(0, 256, (13, 19, 4), np.uint8)
GREY = RGB[..., 0].copy()
GREY16 = RANDOM.integers(0, 65536, (13, 19), np.uint16)
LABELS = RANDOM.integers(0, 1 << 24, (13, 19), np.int32)
OPAQUE = np.full((13, 19), 255, np.uint8)


def png(pixels: np.ndarray, *, interlaced: bool = False) -> bytes:
    """A PNG by an encoder of our own: any depth and channels, and Adam7."""
    pixels = pixels.reshape(*pixels.shape[:2], -1)
    height, width, channels = pixels.shape
    passes = [(0, 0, 1, 1)]
    if interlaced:
        passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4)]
        passes += [(1, 0, 2, 2), (0, 1, 1, 2)]
    big = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = b"".join(
        b"\0" + row.tobytes() for x, y, dx, dy in passes for row in big[y::dy, x::dx] if row.size
    )
    color_type = {1: 0, 2: 4, 3: 2, 4: 6}[channels]
    head = struct.pack(">IIBBBBB", width, height, 8 * big.itemsize, color_type, 0, 0, interlaced)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    )


def by_pillow(pixels: np.ndarray, mode: str) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.quantize(256) if mode == "P" else image.convert(mode)).save(out, "PNG")
    return out.getvalue()


def stack(*channels: np.ndarray) -> np.ndarray:
    return np.dstack(channels)


def wide(pixels: np.ndarray) -> np.ndarray:
    return pixels.astype(np.uint16) * np.uint16(257)


FEW = (GREY // 64 * 85).astype(np.uint8)  # four tones, for a palette
BINARY = np.where(GREY > 127, np.uint8(255), np.uint8(0))
IDS = LABELS % 7

SAVED: list[tuple[str, PngKind, np.ndarray, bytes]] = [
    ("as written", "rgb", RGB, encode_png(RGB)),
    ("interlaced", "rgb", RGB, png(RGB, interlaced=True)),
    ("opaque alpha", "rgb", RGB, png(stack(RGB, OPAQUE))),
    ("16 bits", "rgb", RGB, png(wide(RGB))),
    ("16 bits with alpha, interlaced", "rgb", RGB, png(wide(stack(RGB, OPAQUE)), interlaced=True)),
    ("grey", "rgb", stack(GREY, GREY, GREY), png(GREY)),
    ("palette", "rgb", stack(FEW, FEW, FEW), by_pillow(FEW, "P")),
    ("as written", "rgba", RGBA, encode_png(RGBA)),
    ("16 bits", "rgba", RGBA, png(wide(RGBA))),
    ("without alpha", "rgba", stack(RGB, OPAQUE), png(RGB)),
    ("grey with alpha", "rgba", stack(GREY, GREY, GREY, FEW), png(stack(GREY, FEW))),
    ("as written", "grey16", GREY16, encode_png(GREY16)),
    ("RGB", "grey16", GREY16, png(stack(GREY16, GREY16, GREY16))),
    ("with alpha", "grey16", GREY16, png(stack(GREY16, wide(OPAQUE)))),
    ("RGBA", "grey16", GREY16, png(stack(GREY16, GREY16, GREY16, wide(OPAQUE)), interlaced=True)),
    ("8 bits", "grey16", wide(GREY), png(GREY)),
    ("8-bit RGB", "grey16", wide(GREY), png(stack(GREY, GREY, GREY))),
    ("palette", "grey16", wide(FEW), by_pillow(FEW, "P")),
    ("as written", "grey", BINARY, encode_png(BINARY)),
    ("1 bit", "grey", BINARY, by_pillow(BINARY, "1")),
    ("16 bits", "grey", GREY, png(wide(GREY))),
    ("RGB", "grey", GREY, png(stack(GREY, GREY, GREY))),
    ("with alpha", "grey", GREY, png(stack(GREY, OPAQUE))),
    ("as written", "labels", LABELS, encode_png(label_colors(LABELS))),
    ("16 bits", "labels", LABELS, png(wide(label_colors(LABELS)))),
    ("opaque alpha", "labels", LABELS, png(stack(label_colors(LABELS), OPAQUE))),
    ("palette", "labels", IDS, by_pillow(label_colors(IDS), "P")),
    ("ids in 16 bits", "labels", GREY16.astype(np.int32), png(GREY16)),
    ("ids in 8 bits", "labels", GREY.astype(np.int32), png(GREY)),
]


@pytest.mark.parametrize(
    ("kind", "pixels", "data"),
    [case[1:] for case in SAVED],
    ids=[f"{kind} {how}" for how, kind, _, _ in SAVED],
)
def test_what_can_be_converted_is(kind: PngKind, pixels: np.ndarray, data: bytes) -> None:
    read = decode_png(data, kind, SIZE, "a.png")
    assert read.dtype == pixels.dtype
    np.testing.assert_array_equal(read, pixels)
    assert checksum(read) == checksum(pixels)


@pytest.mark.parametrize(
    ("kind", "data", "message"),
    [
        ("grey16", png(RGB), "must be grey, but is RGB with colours"),
        ("grey", png(RGB), "must be grey"),
        ("rgb", png(RGBA), "must not be transparent anywhere"),
        ("labels", png(RGBA), "must not be transparent anywhere"),
        ("grey16", png(stack(GREY16, GREY16)), "must not be transparent anywhere"),
        ("rgb", png(RGB[1:]), "must be 19x13 px, but is 19x12"),
        ("rgb", png(RGB)[:-40], "is damaged"),
        ("rgb", png(wide(RGB))[:-40], "is damaged"),
        ("rgb", png(RGB).replace(b"IDAT", b"IDOT"), "is damaged"),
        ("rgb", b"\xff\xd8\xff" + bytes(100), "is damaged"),
        ("rgb", b"", "is damaged"),
    ],
)
def test_what_would_be_a_guess_is_refused(kind: PngKind, data: bytes, message: str) -> None:
    with pytest.raises(InputError) as caught:
        decode_png(data, kind, SIZE, "cat.diorama: a.png")
    assert str(caught.value).startswith("cat.diorama: a.png ")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_header_that_claims_too_much_is_refused_before_anything_is_decoded() -> None:
    whole = png(RGB)
    head = struct.pack(">II", 1 << 30, 1 << 30)
    with pytest.raises(InputError, match="must be 19x13 px, but is 1073741824x1073741824"):
        decode_png(whole[:16] + head + whole[24:], "rgb", SIZE, "a.png")


def test_labels_have_the_colours_of_pascal_voc() -> None:
    ids = np.array([[0, 1, 2, 3, 8, 15, 20, 255]], np.int32)
    colors = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (64, 0, 0), (192, 128, 128)]
    colors += [(0, 64, 128), (224, 224, 192)]
    assert label_colors(ids)[0].tolist() == [list(c) for c in colors]


def test_a_quantised_disparity_is_quantised_to_itself() -> None:
    disparity = np.random.default_rng(1).random((50, 40)).astype(np.float32)
    steps, step = quantise_disparity(disparity)
    again = quantise_disparity((steps * np.float64(step)).astype(np.float32))
    np.testing.assert_array_equal(again[0], steps)
    assert again[1] == step


def test_a_checksum_tells_pixels_and_numbers_apart() -> None:
    assert checksum(GREY16) != checksum(GREY16[::-1])
    assert checksum(GREY16, 0.5) != checksum(GREY16)
    assert checksum(GREY16, 0.5) == checksum(GREY16.copy(), 0.5)
