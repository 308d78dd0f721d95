"""The EXR, read by a parser written here from the file layout's text, by FFmpeg, and by us."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from card_scene import card_scene

from diorama.depth_files import read_depth
from diorama.errors import OutputError
from diorama.export import format_of
from diorama.export.depth_exr import write_depth_exr
from diorama.photo import load_photo
from diorama.scene import Scene


def parse_exr(path: Path) -> tuple[dict[str, tuple[str, bytes]], dict[str, np.ndarray]]:
    """Attributes and channels of a ZIP-compressed scanline file ("OpenEXR File Layout")."""
    data = path.read_bytes()
    assert data[:8] == b"\x76\x2f\x31\x01\x02\0\0\0"
    at = 8
    attributes = {}

    def text() -> str:
        nonlocal at
        end = data.index(b"\0", at)
        value, at = data[at:end].decode(), end + 1
        return value

    while data[at]:
        name, kind = text(), text()
        (size,) = struct.unpack_from("<i", data, at)
        attributes[name] = (kind, data[at + 4 : at + 4 + size])
        at += 4 + size
    at += 1
    x0, y0, x1, y1 = struct.unpack("<4i", attributes["dataWindow"][1])
    width, height = x1 - x0 + 1, y1 - y0 + 1
    assert attributes["compression"][1] == b"\3"  # ZIP, 16 lines a block
    channels, rest = [], attributes["channels"][1]
    while rest[0]:
        name, _, rest = rest.partition(b"\0")
        channels.append((name.decode(), {1: "<f2", 2: "<f4"}[struct.unpack_from("<i", rest)[0]]))
        rest = rest[16:]
    planes = {name: np.zeros((height, width), dtype) for name, dtype in channels}
    num_blocks = -(-height // 16)
    for (offset,) in struct.iter_unpack("<Q", data[at : at + 8 * num_blocks]):
        y, size = struct.unpack_from("<ii", data, offset)
        lines = range(y - y0, min(y - y0 + 16, height))
        whole = len(lines) * width * sum(np.dtype(dtype).itemsize for _, dtype in channels)
        block = data[offset + 8 : offset + 8 + size]
        if size < whole:
            # Differences of bytes, and before that even bytes apart from odd ones.
            steps = np.frombuffer(zlib.decompress(block), np.uint8).astype(np.int64)
            steps[1:] -= 128
            halves = np.cumsum(steps).astype(np.uint8)
            out = np.empty(whole, np.uint8)
            out[::2], out[1::2] = halves[: (whole + 1) // 2], halves[(whole + 1) // 2 :]
            block = out.tobytes()
        read = 0
        for line in lines:
            for name, dtype in channels:
                planes[name][line] = np.frombuffer(block, dtype, width, read)
                read += width * np.dtype(dtype).itemsize
    return attributes, planes


def sky_scene() -> Scene:
    scene = card_scene(64, 48)
    disparity = scene.disparity.copy()
    disparity[:10] = 0
    return replace(scene, disparity=disparity)


def test_depth_and_disparity_are_exact(tmp_path: Path) -> None:
    scene = sky_scene()
    write_depth_exr(scene, tmp_path / "a.depth.exr")
    attributes, planes = parse_exr(tmp_path / "a.depth.exr")
    assert sorted(planes) == ["B", "G", "R", "Z", "disparity"]
    assert np.array_equal(planes["disparity"], scene.disparity)
    with np.errstate(divide="ignore"):
        assert np.array_equal(planes["Z"], np.float32(1) / scene.disparity)
    assert np.isinf(planes["Z"][:10]).all()
    kind, value = attributes["K"]
    assert kind == "m33d"
    assert np.array_equal(np.frombuffer(value).reshape(3, 3), scene.camera.K)
    assert attributes["metric"] == ("int", bytes(4))
    write_depth_exr(replace(scene, metric=True), tmp_path / "b.depth.exr")
    assert parse_exr(tmp_path / "b.depth.exr")[0]["metric"] == ("int", b"\1\0\0\0")


def test_colours_are_linear_light(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    write_depth_exr(scene, tmp_path / "a.depth.exr")
    _, planes = parse_exr(tmp_path / "a.depth.exr")
    linear = np.dstack([planes[c] for c in "RGB"]).astype(np.float64)
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    assert np.abs(encoded - scene.photo.rgb).max() < 1e-3


def test_ffmpeg_sees_the_same_photo(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    write_depth_exr(scene, tmp_path / "a.depth.exr")
    _, planes = parse_exr(tmp_path / "a.depth.exr")
    with av.open(str(tmp_path / "a.depth.exr")) as container:
        frame = next(container.decode(video=0))
    assert frame.format.name == "gbrpf16le"
    for plane, name in zip(frame.planes, "GBR", strict=True):
        got = np.frombuffer(bytes(plane), np.float16).reshape(48, -1)[:, :64]
        assert np.array_equal(got, planes[name])


def test_it_comes_back_as_photo_and_as_depth(tmp_path: Path) -> None:
    scene = sky_scene()
    write_depth_exr(scene, tmp_path / "a.depth.exr")
    got = read_depth(tmp_path / "a.depth.exr")
    assert np.array_equal(got.disparity, scene.disparity)
    assert got.confidence is None
    photo = load_photo(tmp_path / "a.depth.exr")
    assert np.abs(photo.rgb - scene.photo.rgb).max() < 1.01 / 255


def test_alpha(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    alpha = np.linspace(0, 1, 64, dtype=np.float32)[None].repeat(48, axis=0)
    photo = replace(scene.photo, alpha=alpha)
    write_depth_exr(replace(scene, photo=photo), tmp_path / "a.depth.exr")
    _, planes = parse_exr(tmp_path / "a.depth.exr")
    assert np.abs(planes["A"].astype(np.float32) - alpha).max() < 1e-3
    assert (planes["R"][:, 0] == 0).all()
    got = load_photo(tmp_path / "a.depth.exr")
    assert got.alpha is not None
    assert np.abs(got.alpha - alpha).max() < 1.01 / 255
    solid = alpha > 0.1
    assert np.abs(got.rgb - scene.photo.rgb)[solid].max() < 0.03


def test_twice_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_depth_exr(card_scene(64, 48), tmp_path / f"{name}.depth.exr")
    assert (tmp_path / "a.depth.exr").read_bytes() == (tmp_path / "b.depth.exr").read_bytes()


def test_the_suffix_chooses_it(tmp_path: Path) -> None:
    assert format_of("cat.depth.exr").name == "depth-exr"
    card_scene(64, 48).export(tmp_path / "cat.depth.exr")
    assert "Z" in parse_exr(tmp_path / "cat.depth.exr")[1]


def test_it_cannot_be_written_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_depth_exr(card_scene(64, 48), tmp_path / "file" / "a.depth.exr")
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
