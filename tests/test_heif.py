"""HEIF boxes: what pillow-heif wrote is understood, what is added is read by libheif."""

import io
import random
import struct
import subprocess
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from diorama.heif import (
    Box,
    full_box,
    meta_boxes,
    read_meta,
    with_meta_boxes,
    with_properties,
)


def heic(*, xmp: bytes | None = None, count: int = 2, size: tuple[int, int] = (96, 64)) -> bytes:
    """Pictures of different grey levels, the last with XMP."""
    file = pillow_heif.HeifFile()
    for i in range(count):
        image = file.add_from_pillow(Image.new("RGB", size, (60 + 90 * i,) * 3))
        if xmp is not None and i == count - 1:
            image.info["xmp"] = xmp
    out = io.BytesIO()
    file.save(out, quality=90)
    return out.getvalue()


def pixels(data: bytes, index: int) -> np.ndarray:
    return np.asarray(pillow_heif.open_heif(data)[index].to_pillow())


def test_items_properties_and_references_are_understood() -> None:
    data = heic(xmp=b"<x/>")
    meta = read_meta(data)
    pictures = [n for n, item in meta.items.items() if item.kind == b"hvc1"]
    assert len(pictures) == 2
    assert meta.primary == pictures[0]
    (packet,) = meta.sources(b"cdsc", pictures[1])
    assert meta.items[packet].content_type == "application/rdf+xml"
    assert meta.data(data, packet, limit=100) == b"<x/>"
    with pytest.raises(ValueError, match="has more than 3 bytes"):
        meta.data(data, packet, limit=3)
    for picture in pictures:
        (size,) = (p for p in meta.items[picture].properties if p.kind == b"ispe")
        assert struct.unpack(">II", size.payload[4:]) == (96, 64)


def test_the_same_boxes_give_the_same_bytes() -> None:
    data = heic(xmp=b"<x/>")
    assert with_meta_boxes(data, meta_boxes(data)) == data


@pytest.mark.parametrize("grown", [0, 1, 1001])
def test_pixels_are_found_where_they_moved_to(grown: int) -> None:
    data = heic(xmp=b"<x/>" * 100)
    larger = with_meta_boxes(data, [*meta_boxes(data), Box(b"free", b"x" * grown)])
    assert len(larger) == len(data) + 8 + grown
    for index in range(2):
        assert np.array_equal(pixels(larger, index), pixels(data, index))
    assert pillow_heif.open_heif(larger)[1].info["xmp"] == b"<x/>" * 100


def test_properties_are_added_to_the_item_they_are_for() -> None:
    data = heic()
    first, second = (n for n, item in read_meta(data).items.items() if item.kind == b"hvc1")
    turn = Box(b"irot", b"\1")
    turned = with_meta_boxes(data, with_properties(meta_boxes(data), {second: [turn]}))
    assert read_meta(turned).items[second].properties[-1] == turn
    assert read_meta(turned).items[first] != read_meta(turned).items[second]
    assert pixels(turned, 0).shape == (64, 96, 3)
    assert pixels(turned, 1).shape == (96, 64, 3)


def test_heif_info_reads_what_was_added(tmp_path: Path) -> None:
    data = heic()
    first, second = read_meta(data).items
    boxes = with_properties(meta_boxes(data), {second: [full_box(b"auxC", b"urn:example:aux\0")]})
    group = full_box(b"ster", struct.pack(">IIII", 77, 2, first, second))
    path = tmp_path / "a.heic"
    path.write_bytes(with_meta_boxes(data, [*boxes, Box(b"grpl", group.encoded())]))
    shown = subprocess.run(
        ["heif-info", "-d", str(path)], check=True, capture_output=True, text=True
    ).stdout
    assert "aux type: urn:example:aux" in shown
    assert f"entity IDs: {first} {second}" in shown


@pytest.mark.parametrize("data", [b"", b"text", b"\0\0\0\x10ftypheic\0\0\0\0", b"\0\0\0\x08meta"])
def test_what_is_no_heif_is_a_value_error(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"HEIF|cut off"):
        read_meta(data)


def test_damage_is_a_value_error_or_harmless() -> None:
    data = heic(xmp=b"<x/>")
    end = data.index(b"mdat")
    noise = random.Random(0)
    refused = 0
    for _ in range(400):
        spoiled = bytearray(data)
        for _ in range(noise.randint(1, 4)):
            spoiled[noise.randrange(end)] = noise.choice((0, 1, 127, 255, noise.randrange(256)))
        cut = noise.choice((len(data), noise.randrange(end)))
        try:
            read_meta(bytes(spoiled[:cut]))
        except ValueError:
            refused += 1
    assert refused > 100


def test_more_extents_than_there_are_bytes_for_are_refused() -> None:
    data = heic()
    empty = struct.pack(">IBBH", 0, 0, 0, 2) + struct.pack(">HHH", 1, 0, 65535) * 2
    boxes = [Box(b"iloc", empty) if b.kind == b"iloc" else b for b in meta_boxes(data)]
    # Moving needs the places to be right, and so the boxes are put together here.
    meta = Box(b"meta", bytes(4) + b"".join(box.encoded() for box in boxes))
    with pytest.raises(ValueError, match="too many extents"):
        read_meta(meta.encoded())
