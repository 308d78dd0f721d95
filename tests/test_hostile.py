"""Files that are broken, empty, absurd or malicious, through the command line.

Each is refused in one line with exit status 2 and nothing left behind, or makes a scene; what
becomes of killed processes and full disks stands in test_cli.py and test_batch.py, random mutations
in benchmarks/hostile.py.
"""

import io
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diorama import cli, own_depth
from diorama.pipeline import STAGES

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"

Said = Callable[[], list[str]]


@pytest.fixture
def said(capfd: pytest.CaptureFixture[str]) -> Said:
    """What was said on stderr apart from progress, by us or by any library."""

    def lines() -> list[str]:
        everything = capfd.readouterr().err.splitlines()
        return [line for line in everything if line.rpartition(": ")[2] not in STAGES]

    return lines


def photograph(height: int = 48, width: int = 64) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    noise = np.random.default_rng(0).integers(0, 60, (height, width, 3))
    return (np.dstack([x % 190, y % 190, (x + y) % 190]) + noise).astype(np.uint8)


def encoded(pixels: np.ndarray, format: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format, **options)
    return file.getvalue()


def run(photo: Path, out: Path, *options: object) -> int:
    return cli.main(["photo", str(photo), "-o", str(out), "--formats", "", *map(str, options)])


def left_in(out: Path) -> list[str]:
    return sorted(path.name for path in out.iterdir()) if out.exists() else []


def png_claiming(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(1000))), (b"IEND", b"")]
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        crc = struct.pack(">I", zlib.crc32(kind + body))
        data += struct.pack(">I", len(body)) + kind + body + crc
    return data


REFUSED: dict[str, tuple[bytes, str]] = {
    "empty.jpg": (b"", "is empty"),
    "text.jpg": (b"I am not a cat.\n" * 9, "is not a JPEG"),
    "one_pixel.png": (encoded(photograph(1, 1), "PNG"), "is 1x1 px"),
    "ribbon.png": (encoded(photograph(5000, 3), "PNG"), "is 3x5000 px"),
    "line.png": (encoded(photograph(3, 20000), "PNG"), "is 20000x3 px"),
    "bomb.png": (png_claiming(20000, 20000), "claims 20000x20000 px, more than 300 megapixels"),
    "clear.png": (encoded(np.zeros((48, 64, 4), np.uint8), "PNG"), "is transparent everywhere"),
    "pdf.jpg": (b"%PDF-1.7\n" + bytes(100), "is not a JPEG"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_photo_is_refused(tmp_path: Path, said: Said, name: str) -> None:
    data, message = REFUSED[name]
    (tmp_path / name).write_bytes(data)
    assert run(tmp_path / name, tmp_path / "out") == 2
    lines = said()
    assert len([line for line in lines if line.startswith("error: ")]) == 1
    assert message in "\n".join(lines)
    assert name in "\n".join(lines)
    assert left_in(tmp_path / "out") == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing.jpg", "does not exist"),
        ("https://example.org/cat.jpg", "is a URL: download the photo first"),
        ("nul\0byte.jpg", ""),
        ("x" * 400 + ".jpg", ""),
    ],
)
def test_what_is_not_there(tmp_path: Path, said: Said, name: str, message: str) -> None:
    code = cli.main(["photo", name, "-o", str(tmp_path / "out"), "--formats", ""])
    assert code == 2
    lines = said()
    assert len(lines) == 1
    assert message in lines[0]
    assert left_in(tmp_path / "out") == []


def test_a_symlink_loop(tmp_path: Path, said: Said) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "b.jpg")
    (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
    assert run(tmp_path / "a.jpg", tmp_path / "out") == 2
    assert len(said()) == 1


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_cut_off_anywhere(tmp_path: Path, said: Said, format: str) -> None:
    whole = encoded(photograph(), format)
    rng = np.random.default_rng(0)
    for number, length in enumerate(rng.integers(0, len(whole) - 1, 50)):
        path = tmp_path / f"photo{number}"
        path.write_bytes(whole[:length])
        out = tmp_path / f"out{number}"
        code = run(path, out, "--max-size", 32)
        lines = said()
        if code == 0:
            # Some formats end in bytes that nothing needs.
            assert length > 0.9 * len(whole)
            continue
        assert code == 2
        assert len(lines) == 1, lines
        assert lines[0].startswith("error: ")
        assert left_in(out) == []


@pytest.mark.parametrize(
    "pixels",
    [
        np.full((48, 64, 3), 128, np.uint8),
        np.zeros((48, 64, 3), np.uint8),
        np.full((48, 64, 3), 255, np.uint8),
        np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8),
        photograph(20, 2000),
    ],
    ids=["grey", "black", "white", "noise", "panorama"],
)
def test_dull_photos_make_scenes(tmp_path: Path, pixels: np.ndarray) -> None:
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    assert run(tmp_path / "photo.png", tmp_path / "out") == 0
    assert left_in(tmp_path / "out") == ["photo.diorama"]


@pytest.mark.parametrize("name", ["a b.png", 'it\'s "a".png', "🐈 é.png", "a\nb.png", "-x.png"])
def test_odd_names(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(photograph()).save(tmp_path / name)
    assert run(tmp_path / name, tmp_path / "out") == 0
    assert left_in(tmp_path / "out") == [f"{name.removesuffix('.png')}.diorama"]


DEPTHS: dict[str, tuple[np.ndarray, str]] = {
    "nan": (np.full((48, 64), np.nan, np.float32), "holds no valid pixel"),
    "infinite": (np.full((48, 64), np.inf, np.float32), "holds no valid pixel"),
    "negative": (np.full((48, 64), -3, np.float32), "holds no valid pixel"),
    "another aspect": (np.ones((64, 48), np.float32), "their aspects differ"),
    "colour": (np.ones((48, 64, 3), np.float32), "must hold one (H, W) array"),
    "empty": (np.ones((0, 64), np.float32), "must hold one (H, W) array"),
    "text": (np.full((48, 64), "far"), "real numbers"),
}


@pytest.mark.parametrize("what", DEPTHS)
def test_depth_that_is_none(tmp_path: Path, said: Said, what: str) -> None:
    array, message = DEPTHS[what]
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    np.save(tmp_path / "depth.npy", array)
    out = tmp_path / "out"
    assert run(tmp_path / "photo.png", out, "--depth", tmp_path / "depth.npy") == 2
    lines = said()
    assert len(lines) == 1
    assert message in lines[0]
    assert left_in(out) == []


@pytest.mark.parametrize("value", [0.0, 1e-30, 1.0, 1e30])
def test_constant_depth_makes_a_scene(tmp_path: Path, value: float) -> None:
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    np.save(tmp_path / "depth.npy", np.full((48, 64), value, np.float32))
    out = tmp_path / "out"
    assert run(tmp_path / "photo.png", out, "--depth", tmp_path / "depth.npy") == 0


def jpeg_with(segments: list[bytes]) -> bytes:
    """A JPEG with APP1 segments of this content."""
    whole = encoded(photograph(), "JPEG", quality=95)
    app1 = b"".join(b"\xff\xe1" + struct.pack(">H", len(s) + 2) + s for s in segments)
    return whole[:2] + app1 + whole[2:]


XMP = b"http://ns.adobe.com/xap/1.0/\0"
LAUGHS = (
    b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'ha'>"
    + b"".join(b"<!ENTITY %c '%s'>" % (98 + i, b"&%c;" % (97 + i) * 20) for i in range(12))
    + b"]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&m;</x:xmpmeta>"
)
ODD_METADATA = {
    "laughs": [XMP + LAUGHS],
    "external": [
        XMP + b"<!DOCTYPE x [<!ENTITY a SYSTEM 'file:///etc/passwd'>]><x:xmpmeta "
        b"xmlns:x='adobe:ns:meta/'>&a;</x:xmpmeta>"
    ],
    "no xml": [XMP + b"\xff\xfe not XML at all <<<"],
    "deep": [XMP + b"<a>" * 20000],
    "exif of nonsense": [b"Exif\0\0" + bytes(range(256)) * 20],
    "exif in circles": [
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x08\0\0\0\x08"
    ],
    "exif focal of infinity": [
        b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x87\x69\0\x04\0\0\0\x01\0\0\0\x1a\0\0\0\0"
        b"\0\x01\xa4\x05\0\x05\0\0\0\x01\0\0\0\x2c\0\0\0\0\0\0\0\x01\0\0\0\0"
    ],
    "extension without its main part": [
        b"http://ns.adobe.com/xmp/extension/\0" + b"A" * 32 + struct.pack(">II", 2**32 - 1, 7)
    ],
}


@pytest.mark.parametrize("what", ODD_METADATA)
def test_broken_metadata_does_no_harm(tmp_path: Path, what: str) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(jpeg_with(ODD_METADATA[what]))
    assert own_depth(path) is None
    assert run(path, tmp_path / "out") == 0


def test_an_output_folder_that_is_a_file(tmp_path: Path, said: Said) -> None:
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    (tmp_path / "out").write_text("mine")
    assert run(tmp_path / "photo.png", tmp_path / "out") == 2
    assert len(said()) == 1
    assert (tmp_path / "out").read_text() == "mine"


def test_an_output_folder_that_loops(tmp_path: Path, said: Said) -> None:
    Image.fromarray(photograph()).save(tmp_path / "photo.png")
    (tmp_path / "out").symlink_to(tmp_path / "out")
    assert run(tmp_path / "photo.png", tmp_path / "out") == 2
    assert len(said()) == 1


@pytest.mark.slow
def test_mutated_files_of_every_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.setattr(sys, "argv", ["hostile.py", "--mutations", "40", "--seed", "1"])
    hostile = __import__("hostile")
    assert hostile.main() == 0
    assert Path(BENCHMARKS).exists()
