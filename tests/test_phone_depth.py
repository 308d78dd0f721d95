"""Depth inside photos: files as phones write them, put together here by the formats' own texts."""

import base64
import hashlib
import io
import json
import logging
import math
import shutil
import struct
import subprocess
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from diorama.depth import canonical_disparity
from diorama.errors import InputError
from diorama.heif import Box, full_box, meta_boxes, read_meta, with_meta_boxes, with_properties
from diorama.phone_depth import own_depth
from diorama.photo import load_photo

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DD = "http://ns.google.com/photos/dd/1.0/"
STEPS = np.arange(0, 256, 8).astype(np.uint8)[None].repeat(24, axis=0)
"""32x24, from 0 at the left to 248 at the right."""
UNIT = STEPS / 255
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32)).astype(np.uint8)

needs_exiftool = pytest.mark.skipif(shutil.which("exiftool") is None, reason="exiftool is absent")


def encoded(pixels: np.ndarray, kind: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def photo_jpeg(width: int = 64, height: int = 48, *, turn: int = 1) -> bytes:
    """Bright at the left, dark at the right, as stored; `turn` is EXIF's orientation."""
    exif = Image.Exif()
    exif[0x0112] = turn
    grey = np.linspace(250, 5, width).astype(np.uint8)[None].repeat(height, axis=0)
    return encoded(np.dstack([grey] * 3), "JPEG", exif=exif, quality=95)


def app1(payload: bytes) -> bytes:
    return b"\xff\xe1" + struct.pack(">H", len(payload) + 2) + payload


def with_xmp(jpeg: bytes, document: str) -> bytes:
    return jpeg[:2] + app1(b"http://ns.adobe.com/xap/1.0/\0" + document.encode()) + jpeg[2:]


def xmp(attributes: str = "", body: str = "") -> str:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description '
        f'rdf:about="" {attributes}>{body}</rdf:Description></rdf:RDF></x:xmpmeta>'
    )


def gdepth(
    data: bytes | str, *, turn: int = 1, size: tuple[int, int] = (64, 48), **told: str
) -> bytes:
    """A JPEG with everything in the main packet, as the specification's first example has it."""
    told = {
        "Format": "RangeInverse",
        "Near": "0.5",
        "Far": "8",
        "Units": "m",
        "Mime": "image/png",
    } | told
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    attributes = " ".join(f'GDepth:{name}="{value}"' for name, value in told.items() if value)
    namespace = 'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/"'
    document = xmp(f'{namespace} {attributes} GDepth:Data="{text}"')
    return with_xmp(photo_jpeg(*size, turn=turn), document)


def written(tmp_path: Path, data: bytes, name: str = "a.jpg") -> Path:
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def warned(caplog: pytest.LogCaptureFixture) -> str:
    """The one line that was logged."""
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "\n" not in record.getMessage()
    return record.getMessage()


class TestGDepth:
    def test_range_inverse_is_linear_in_disparity(self, tmp_path: Path) -> None:
        got = own_depth(written(tmp_path, gdepth(encoded(STEPS))))
        assert got is not None
        # the specification's way back, which gives depth
        depth = (8 * 0.5) / (8 - UNIT * (8 - 0.5))
        assert np.abs(got.disparity - 1 / depth).max() < 1e-6
        assert (got.kind, got.confidence, got.fov_deg) == ("metric", None, None)
        assert got.disparity.dtype == np.float32

    def test_range_linear_is_linear_in_depth(self, tmp_path: Path) -> None:
        got = own_depth(written(tmp_path, gdepth(encoded(STEPS), Format="RangeLinear")))
        assert got is not None
        assert np.abs(got.disparity - 1 / (0.5 + UNIT * 7.5)).max() < 1e-6

    def test_16_bits(self, tmp_path: Path) -> None:
        steps = (UNIT * 65535).astype(np.uint16)
        got = own_depth(written(tmp_path, gdepth(encoded(steps))))
        assert got is not None
        assert np.abs(got.disparity - (2 + steps / 65535 * (1 / 8 - 2))).max() < 1e-6

    def test_a_jpeg_within_the_jpeg(self, tmp_path: Path) -> None:
        for pixels in (STEPS, np.dstack([STEPS] * 3)):
            data = encoded(pixels, "JPEG", quality=100, subsampling=0)
            got = own_depth(written(tmp_path, gdepth(data, Mime="image/jpeg")))
            assert got is not None
            assert np.abs(got.disparity - (2 + UNIT * (1 / 8 - 2))).max() < 0.03

    @pytest.mark.parametrize(
        ("units", "kind", "near"),
        [("m", "metric", 2.0), ("mm", "metric", 2000.0), ("unknown", "relative", 2.0)],
    )
    def test_units(self, tmp_path: Path, units: str, kind: str, near: float) -> None:
        got = own_depth(written(tmp_path, gdepth(encoded(STEPS), Units=units)))
        assert got is not None
        assert got.kind == kind
        assert got.disparity.max() == pytest.approx(near)

    def test_without_units_nothing_is_said_to_be_metres(self, tmp_path: Path) -> None:
        got = own_depth(written(tmp_path, gdepth(encoded(STEPS), Units="")))
        assert got is not None
        assert got.kind == "relative"

    def test_without_a_range_it_is_affine(self, tmp_path: Path) -> None:
        got = own_depth(written(tmp_path, gdepth(encoded(STEPS), Near="", Far="")))
        assert got is not None
        assert got.kind == "affine"
        assert np.abs(got.disparity - (1 - UNIT)).max() < 1e-6

    def test_far_may_be_infinite(self, tmp_path: Path) -> None:
        steps = STEPS.copy()
        steps[0, 0] = 255
        got = own_depth(written(tmp_path, gdepth(encoded(steps), Far="inf")))
        assert got is not None
        assert got.disparity[0, 0] == 0
        assert got.disparity.max() == 2

    def test_confidence(self, tmp_path: Path) -> None:
        confidence = base64.b64encode(encoded(STEPS[::2, ::2])).decode()
        data = gdepth(encoded(STEPS), Confidence=confidence, ConfidenceMime="image/png")
        got = own_depth(written(tmp_path, data))
        assert got is not None
        assert got.confidence is not None
        assert got.confidence.shape == got.disparity.shape
        assert np.abs(got.confidence - UNIT).max() < 0.05

    def test_distances_along_rays_become_depth(self, tmp_path: Path) -> None:
        flat = np.zeros((48, 64), np.uint8)
        got = own_depth(written(tmp_path, gdepth(encoded(flat), MeasureType="OpticRay")))
        assert got is not None
        # 1/z = 1/(r cos), 55 degrees across without a focal length
        x, y = (31.5 / 32) * np.tan(np.radians(27.5)), (23.5 / 32) * np.tan(np.radians(27.5))
        assert got.disparity[0, 0] == pytest.approx(2 * np.sqrt(1 + x**2 + y**2), rel=1e-5)
        assert got.disparity[23:25, 31:33] == pytest.approx(2, rel=1e-3)

    @pytest.mark.parametrize("turn", range(1, 9))
    def test_it_is_upright_like_the_photo(self, tmp_path: Path, turn: int) -> None:
        # The map falls from left to right as the photo's brightness does, as both are stored.
        steps = np.linspace(0, 255, 64).astype(np.uint8)[None].repeat(48, axis=0)
        path = written(tmp_path, gdepth(encoded(steps), turn=turn))
        got = own_depth(path)
        assert got is not None
        photo = load_photo(path)
        luma = photo.rgb.mean(axis=2)
        assert got.disparity.shape == luma.shape
        assert np.corrcoef(got.disparity.ravel(), luma.ravel())[0, 1] > 0.99
        canonical_disparity(got, photo)

    def test_it_is_stretched_to_fit_the_photo(self, tmp_path: Path) -> None:
        path = written(tmp_path, gdepth(encoded(STEPS), size=(64, 36)))
        got = own_depth(path)
        assert got is not None
        assert got.disparity.shape == (18, 32)
        canonical_disparity(got, load_photo(path))

    @needs_exiftool
    def test_what_exiftool_writes_is_read(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (480, 640)).astype(np.uint8)
        png = tmp_path / "depth.png"
        png.write_bytes(encoded(noise))
        assert png.stat().st_size > 65536  # into extended XMP
        path = written(tmp_path, photo_jpeg(640, 480))
        told = ("Format=RangeInverse", "Near=0.5", "Far=8", "Units=m", "Mime=image/png")
        subprocess.run(
            [
                *("exiftool", "-q", "-overwrite_original"),
                *(f"-XMP-GDepth:{value}" for value in told),
                f"-XMP-GDepth:DepthImage<={png}",
                str(path),
            ],
            check=True,
        )
        assert b"http://ns.adobe.com/xmp/extension/\0" in path.read_bytes()
        got = own_depth(path)
        assert got is not None
        assert np.abs(got.disparity - (2 + noise / 255 * (1 / 8 - 2))).max() < 1e-6


class TestExtendedXmp:
    def hand_built(self, png: bytes, *, spoil: bool = False) -> bytes:
        namespace = 'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/"'
        data = base64.b64encode(png).decode()
        whole = xmp(f'{namespace} GDepth:Data="{data}"').encode()
        guid = hashlib.md5(whole).hexdigest().upper()
        main = xmp(
            f'{namespace} xmlns:xmpNote="http://ns.adobe.com/xmp/note/" '
            f'GDepth:Format="RangeInverse" GDepth:Near="0.5" GDepth:Far="8" GDepth:Units="m" '
            f'xmpNote:HasExtendedXMP="{guid}"'
        )
        parts = [
            app1(
                b"http://ns.adobe.com/xmp/extension/\0"
                + guid.encode()
                + struct.pack(">II", len(whole), at)
                + whole[at : at + 300]
            )
            for at in range(0, len(whole), 300)
        ]
        if spoil:
            parts[0] = parts[0][:-1] + b"?"
        jpeg = with_xmp(photo_jpeg(), main)
        return jpeg[:2] + b"".join(parts[::-1]) + jpeg[2:]

    def test_parts_out_of_order(self, tmp_path: Path) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (24, 32)).astype(np.uint8)
        got = own_depth(written(tmp_path, self.hand_built(encoded(noise))))
        assert got is not None
        assert np.abs(got.disparity - (2 + noise / 255 * (1 / 8 - 2))).max() < 1e-6

    def test_a_stripped_map(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        whole = self.hand_built(encoded(STEPS))
        stripped = whole.replace(
            b"http://ns.adobe.com/xmp/extension/", b"http://example.org/something/else/"
        )
        assert own_depth(written(tmp_path, stripped)) is None
        assert "its depth map is missing" in warned(caplog)

    def test_a_wrong_md5(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        data = self.hand_built(encoded(STEPS), spoil=True)
        assert own_depth(written(tmp_path, data)) is None
        assert "not what its MD5 says" in warned(caplog)


def container(
    depth: bytes,
    *,
    confidence: bytes = b"",
    film: bytes = b"",
    padding: int = 0,
    form: str = "attributes",
    **told: str,
) -> bytes:
    """A photo, padding, a film and maps, as "Dynamic Depth" and "Motion photo" have them."""
    told = {"Format": "RangeInverse", "Near": "0.5", "Far": "8", "Units": "Meters"} | told
    listed = [
        ("image/jpeg", 0, "primary", "Primary", padding),
        *([("video/mp4", len(film), "film", "MotionPhoto", 0)] if film else []),
        ("image/png", len(depth), "android/depthmap", "Depth", 0),
        *([("image/png", len(confidence), "conf", "Confidence", 0)] if confidence else []),
    ]
    names = ("Mime", "Length", "DataURI", "Semantic", "Padding")
    if form == "attributes":
        items = "".join(
            '<rdf:li rdf:parseType="Resource"><Container:Item '
            + " ".join(f'Item:{n}="{v}"' for n, v in zip(names, item, strict=True))
            + "/></rdf:li>"
            for item in listed
        )
    else:
        items = "".join(
            '<rdf:li rdf:parseType="Resource"><Container:Item rdf:parseType="Resource">'
            + "".join(f"<Item:{n}>{v}</Item:{n}>" for n, v in zip(names, item, strict=True))
            + "</Container:Item></rdf:li>"
            for item in listed
        )
    ranges = " ".join(f'DepthMap:{name}="{value}"' for name, value in told.items() if value)
    confidence_uri = 'DepthMap:ConfidenceURI="conf"' if confidence else ""
    namespaces = " ".join(
        f'xmlns:{name}="{DD}{name.lower()}/"'
        for name in ("Device", "Container", "Item", "Camera", "DepthMap", "ImagingModel")
    )
    document = xmp(
        namespaces,
        f"<Device:Container><Container:Directory><rdf:Seq>{items}</rdf:Seq>"
        "</Container:Directory></Device:Container>"
        '<Device:Cameras><rdf:Seq><rdf:li rdf:parseType="Resource"><Device:Camera>'
        f"<rdf:Description><Camera:DepthMap><rdf:Description {ranges} {confidence_uri} "
        'DepthMap:DepthURI="android/depthmap" DepthMap:ItemSemantic="Depth"/></Camera:DepthMap>'
        '<Camera:ImagingModel><rdf:Description ImagingModel:FocalLengthX="3000" '
        'ImagingModel:FocalLengthY="3000" ImagingModel:ImageWidth="4000" '
        'ImagingModel:ImageHeight="3000"/></Camera:ImagingModel></rdf:Description>'
        "</Device:Camera></rdf:li></rdf:Seq></Device:Cameras>",
    )
    return with_xmp(photo_jpeg(), document) + bytes(padding) + film + depth + confidence


class TestDynamicDepth:
    @pytest.mark.parametrize("form", ["attributes", "elements"])
    @pytest.mark.parametrize("padding", [0, 17])
    def test_the_map_behind_the_photo(self, tmp_path: Path, form: str, padding: int) -> None:
        data = container(encoded(STEPS), confidence=encoded(STEPS), padding=padding, form=form)
        got = own_depth(written(tmp_path, data))
        assert got is not None
        assert np.abs(got.disparity - (2 + UNIT * (1 / 8 - 2))).max() < 1e-6
        assert got.confidence == pytest.approx(UNIT, abs=1e-6)
        assert got.kind == "metric"
        assert got.fov_deg == pytest.approx(2 * np.degrees(np.arctan(2000 / 3000)))

    def test_a_film_before_it(self, tmp_path: Path) -> None:
        film = b"\0\0\0\x18ftypmp42" + bytes(5000)
        got = own_depth(written(tmp_path, container(encoded(STEPS), film=film, padding=3)))
        assert got is not None
        assert np.abs(got.disparity - (2 + UNIT * (1 / 8 - 2))).max() < 1e-6

    def test_what_the_camera_puts_between(self, tmp_path: Path) -> None:
        # A second JPEG that no directory lists: only the way from the end leads to the map.
        depth = encoded(STEPS)
        whole = container(depth)
        data = whole[: -len(depth)] + photo_jpeg() + depth
        got = own_depth(written(tmp_path, data))
        assert got is not None
        assert np.abs(got.disparity - (2 + UNIT * (1 / 8 - 2))).max() < 1e-6

    @pytest.mark.parametrize(
        ("units", "kind"), [("Meters", "metric"), ("None", "relative"), ("Diopters", "affine")]
    )
    def test_units(self, tmp_path: Path, units: str, kind: str) -> None:
        got = own_depth(written(tmp_path, container(encoded(STEPS), Units=units)))
        assert got is not None
        assert got.kind == kind
        assert (np.diff(got.disparity[0]) < 0).all()

    def test_a_portrait_swaps_the_field_of_view(self, tmp_path: Path) -> None:
        data = container(encoded(STEPS))
        turned = data.replace(photo_jpeg()[2:100], photo_jpeg(turn=6)[2:100])
        assert turned != data
        got = own_depth(written(tmp_path, turned))
        assert got is not None
        assert got.disparity.shape == (32, 24)
        assert got.fov_deg == pytest.approx(2 * np.degrees(np.arctan(1500 / 3000)))

    @needs_exiftool
    def test_exiftool_reads_the_same(self, tmp_path: Path) -> None:
        path = written(tmp_path, container(encoded(STEPS), form="elements"))
        shown = subprocess.run(
            ["exiftool", "-j", "-XMP:all", str(path)], check=True, capture_output=True
        ).stdout
        tags = json.loads(shown)[0]
        assert str(len(encoded(STEPS))) in str(tags)
        assert "RangeInverse" in str(tags)

    def test_a_map_that_is_not_there(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        depth = encoded(STEPS)
        assert own_depth(written(tmp_path, container(depth)[: -len(depth)])) is None
        assert "not among what is appended" in warned(caplog)


APPLE = (
    'xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/" '
    'xmlns:depthData="http://ns.apple.com/depthData/1.0/"'
)


def apple_xmp(native: str = "hdis", *, accuracy: str = "relative", ranged: bool = True) -> str:
    """What an iPhone writes beside a portrait's map."""
    number = int.from_bytes(native.encode(), "big")
    matrix = "".join(f"<rdf:li>{v}</rdf:li>" for v in (3000, 0, 0, 0, 3000, 0, 2000, 1500, 1))
    bounds = (
        "<apdi:FloatMaxValue>4</apdi:FloatMaxValue><apdi:FloatMinValue>0.5</apdi:FloatMinValue>"
    )
    kind = "disparity" if native.endswith("dis") else "depth"
    return xmp(
        APPLE,
        f"<apdi:NativeFormat>{number}</apdi:NativeFormat>"
        "<apdi:IntMinValue>0</apdi:IntMinValue><apdi:IntMaxValue>255</apdi:IntMaxValue>"
        f"<apdi:AuxiliaryImageType>{kind}</apdi:AuxiliaryImageType>{bounds if ranged else ''}"
        f"<depthData:Accuracy>{accuracy}</depthData:Accuracy>"
        f"<depthData:IntrinsicMatrix><rdf:Seq>{matrix}</rdf:Seq></depthData:IntrinsicMatrix>"
        "<depthData:IntrinsicMatrixReferenceWidth>4000</depthData:IntrinsicMatrixReferenceWidth>"
        "<depthData:IntrinsicMatrixReferenceHeight>3000</depthData:IntrinsicMatrixReferenceHeight>",
    )


MATTE_XMP = xmp(
    APPLE,
    "<apdi:AuxiliaryImageSubType>portraiteffectsmatte</apdi:AuxiliaryImageSubType>"
    "<apdi:NativeFormat>1278226488</apdi:NativeFormat>"
    "<apdi:AuxiliaryImageType>depth</apdi:AuxiliaryImageType>",
)


class TestAppleJpeg:
    """Pictures after the first, listed by Pillow's own MPF writer."""

    def mpo(self, *further: tuple[np.ndarray, str]) -> bytes:
        images = []
        for pixels, document in further:
            image = Image.fromarray(pixels)
            image.encoderinfo = {"xmp": document.encode(), "quality": 100}
            images.append(image)
        file = io.BytesIO()
        photo = Image.open(io.BytesIO(photo_jpeg()))
        photo.save(file, "MPO", save_all=True, append_images=images)
        return file.getvalue()

    def test_disparity_and_matte(self, tmp_path: Path) -> None:
        matte = np.zeros((48, 64), np.uint8)
        matte[:, 32:] = 255
        data = self.mpo((matte, MATTE_XMP), (STEPS, apple_xmp()))
        got = own_depth(written(tmp_path, data))
        assert got is not None
        assert got.kind == "relative"
        assert got.disparity.shape == (48, 64)
        assert np.abs(got.disparity[::2, ::2] - (0.5 + UNIT * 3.5)).max() < 0.1
        assert got.matte is not None
        assert got.matte[:, :30].max() < 0.1
        assert got.matte[:, 34:].min() > 0.9
        assert got.fov_deg == pytest.approx(2 * np.degrees(np.arctan(2000 / 3000)))

    def test_a_matte_of_another_shape_is_left_out(self, tmp_path: Path) -> None:
        matte = np.zeros((64, 48), np.uint8)
        got = own_depth(written(tmp_path, self.mpo((matte, MATTE_XMP), (STEPS, apple_xmp()))))
        assert got is not None
        assert got.matte is None
        assert got.disparity.shape == (24, 32)

    def test_a_second_picture_that_is_no_depth(self, tmp_path: Path) -> None:
        gain = xmp('xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/"')
        assert own_depth(written(tmp_path, self.mpo((STEPS, gain)))) is None
        assert own_depth(written(tmp_path, self.mpo((STEPS, MATTE_XMP)))) is None


DEPTH_AUX = "urn:mpeg:hevc:2015:auxid:2"


def sei(kind: int, **values: float) -> bytes:
    """Depth representation information (ITU-T H.265, G.14.2.3) as `auxC` carries it."""

    def exp_golomb(number: int) -> str:
        bits = f"{number + 1:b}"
        return "0" * (len(bits) - 1) + bits

    def element(value: float) -> str:
        mantissa, exponent = math.frexp(value)  # value = 2 mantissa 2^(exponent - 1)
        return f"0{exponent - 1 + 31:07b}{15:05b}{round((2 * mantissa - 1) * 65536):016b}"

    names = ("z_near", "z_far", "d_min", "d_max")
    bits = "".join(str(int(name in values)) for name in names) + exp_golomb(kind)
    if "d_min" in values or "d_max" in values:
        bits += exp_golomb(0)
    bits += "".join(element(values[name]) for name in names if name in values) + "1"
    bits += "0" * (-len(bits) % 8)
    payload = int(bits, 2).to_bytes(len(bits) // 8, "big")
    unit = b"\x4e\x01" + bytes([177, len(payload)]) + payload
    return struct.pack(">II", 4 + len(unit), len(unit)) + unit


def depth_heic(
    document: str | None = None,
    *,
    turns: tuple[bytes, ...] = (),
    map_turns: bool = True,
    info: bytes = b"",
    matte: np.ndarray | None = None,
    aux_type: str = DEPTH_AUX,
) -> bytes:
    """Pictures by libheif's encoder, made auxiliary to the first by boxes put in here."""
    file = pillow_heif.HeifFile()
    grey = np.linspace(250, 5, 128).astype(np.uint8)[None].repeat(96, axis=0)
    file.add_from_pillow(Image.fromarray(np.dstack([grey] * 3)))
    steps = np.linspace(255, 0, 64).round().astype(np.uint8)[None].repeat(48, axis=0)
    image = file.add_from_pillow(Image.fromarray(steps))
    if document is not None:
        image.info["xmp"] = document.encode()
    if matte is not None:
        file.add_from_pillow(Image.fromarray(matte))
    out = io.BytesIO()
    file.save(out, quality=-1, chroma=444)
    data = out.getvalue()
    items = [n for n, item in read_meta(data).items.items() if item.kind == b"hvc1"]
    types = [aux_type, "urn:com:apple:photo:2018:aux:portraiteffectsmatte"]
    added: dict[int, list[Box]] = {}
    links = b""
    for item, name in zip(items[1:], types, strict=False):
        more = info if name == DEPTH_AUX else b""
        added[item] = [full_box(b"auxC", name.encode() + b"\0" + more)]
        links += Box(b"auxl", struct.pack(">HHH", item, 1, items[0])).encoded()
    for item in items if map_turns else items[:1]:
        added.setdefault(item, []).extend(Box(t[:4], t[4:]) for t in turns)
    boxes = with_properties(meta_boxes(data), added)
    kinds = [box.kind for box in boxes]
    if b"iref" in kinds:
        at = kinds.index(b"iref")
        boxes[at] = Box(b"iref", boxes[at].payload + links)
    else:
        boxes.append(Box(b"iref", bytes(4) + links))
    return with_meta_boxes(data, boxes)


class TestHeic:
    EXPECTED = 0.5 + np.linspace(1, 0, 64) * 3.5

    def test_apples_disparity(self, tmp_path: Path) -> None:
        path = written(tmp_path, depth_heic(apple_xmp()), "a.heic")
        got = own_depth(path)
        assert got is not None
        assert got.kind == "relative"
        assert got.disparity.shape == (48, 64)
        assert np.abs(got.disparity - self.EXPECTED).max() < 0.03
        assert got.fov_deg == pytest.approx(2 * np.degrees(np.arctan(2000 / 3000)))
        canonical_disparity(got, load_photo(path))

    def test_apples_depth_in_metres(self, tmp_path: Path) -> None:
        data = depth_heic(apple_xmp("hdep", accuracy="absolute"))
        got = own_depth(written(tmp_path, data, "a.heic"))
        assert got is not None
        assert got.kind == "metric"
        assert np.abs(1 / got.disparity - self.EXPECTED).max() < 0.03

    def test_apples_without_a_range(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        data = depth_heic(apple_xmp("fdis", ranged=False))
        got = own_depth(written(tmp_path, data, "a.heic"))
        assert got is not None
        assert got.kind == "affine"
        data = depth_heic(apple_xmp("fdep", ranged=False))
        assert own_depth(written(tmp_path, data, "b.heic")) is None
        assert "tells no range" in warned(caplog)

    def test_the_matte(self, tmp_path: Path) -> None:
        matte = np.zeros((96, 128), np.uint8)
        matte[:, 64:] = 255
        got = own_depth(written(tmp_path, depth_heic(apple_xmp(), matte=matte), "a.heic"))
        assert got is not None
        assert got.matte is not None
        assert got.matte.shape == got.disparity.shape == (96, 128)
        assert got.matte[:, :60].max() < 0.05
        assert got.matte[:, 68:].min() > 0.95

    @pytest.mark.parametrize("map_turns", [True, False])
    @pytest.mark.parametrize(
        "turns",
        [
            (b"irot\1",),
            (b"irot\2",),
            (b"irot\3",),
            (b"imir\0",),
            (b"imir\1",),
            (b"irot\1", b"imir\1"),
        ],
    )
    def test_it_is_upright_like_the_photo(
        self, tmp_path: Path, turns: tuple[bytes, ...], map_turns: bool
    ) -> None:
        data = depth_heic(apple_xmp(), turns=turns, map_turns=map_turns)
        path = written(tmp_path, data, "a.heic")
        got, photo = own_depth(path), load_photo(path)
        assert got is not None
        luma = photo.rgb.mean(axis=2)
        half = luma[::2, ::2]
        assert got.disparity.shape == half.shape
        assert np.corrcoef(got.disparity.ravel(), half.ravel())[0, 1] > 0.99
        across = turns[0] in (b"irot\1", b"irot\3")
        assert got.fov_deg == pytest.approx(
            2 * np.degrees(np.arctan((1500 if across else 2000) / 3000))
        )

    def test_without_metadata_it_is_affine(self, tmp_path: Path) -> None:
        got = own_depth(written(tmp_path, depth_heic(), "a.heic"))
        assert got is not None
        assert got.kind == "affine"
        assert np.abs(got.disparity - np.linspace(1, 0, 64)).max() < 0.01

    @pytest.mark.parametrize(
        ("message", "expected"),
        [
            (lambda: sei(1, d_min=1.5, d_max=4.375), lambda x: 1.5 + x * 2.875),
            (lambda: sei(0, z_near=0.5, z_far=8.0), lambda x: 1 / 8 + x * (2 - 1 / 8)),
            (lambda: sei(2, z_near=0.5, z_far=8.0), lambda x: 1 / (0.5 + x * 7.5)),
        ],
    )
    def test_hevc_depth_representation_information(
        self,
        tmp_path: Path,
        message: Callable[[], bytes],
        expected: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        got = own_depth(written(tmp_path, depth_heic(info=message()), "a.heic"))
        assert got is not None
        assert got.kind == "relative"
        assert np.allclose(got.disparity, expected(np.linspace(1, 0, 64)), rtol=0.03)

    def test_a_depth_of_no_known_scale(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert own_depth(written(tmp_path, depth_heic(info=sei(2)), "a.heic")) is None
        assert "tells no range" in warned(caplog)

    def test_auxiliary_pictures_that_are_no_depth(self, tmp_path: Path) -> None:
        data = depth_heic(aux_type="urn:com:apple:photo:2020:aux:hdrgainmap")
        assert own_depth(written(tmp_path, data, "a.heic")) is None


class TestNone:
    @pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
    def test_a_photo_without_depth(
        self, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = written(tmp_path, encoded(np.zeros((48, 64, 3), np.uint8), kind))
        assert own_depth(path) is None
        assert not caplog.records

    def test_a_missing_file_and_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"a\.jpg does not exist"):
            own_depth(tmp_path / "a.jpg")
        with pytest.raises(InputError, match="cannot read"):
            own_depth(tmp_path)

    def test_an_empty_file_is_none(self, tmp_path: Path) -> None:
        assert own_depth(written(tmp_path, b"")) is None


def bomb_png() -> bytes:
    data = bytearray(encoded(STEPS))
    data[16:24] = struct.pack(">II", 60_000, 50_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


class TestBroken:
    """None, and one line in the log; never an exception, a hang, or much memory."""

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: gdepth("!!!!"), "cannot be used"),
            (lambda: gdepth(""), "cannot be used"),
            (lambda: gdepth(b"text"), "cannot be used"),
            (lambda: gdepth(encoded(NOISE)[:400]), "cannot be used"),
            (lambda: gdepth(bomb_png()), "claims 60000x50000 px"),
            (lambda: gdepth(encoded(STEPS), Near="0"), "impossible range"),
            (lambda: gdepth(encoded(STEPS), Near="9"), "impossible range"),
            (lambda: gdepth(encoded(STEPS), Near="-1"), "impossible range"),
            (lambda: gdepth(encoded(STEPS), Near="inf", Far="inf"), "impossible range"),
            (lambda: gdepth(encoded(STEPS), Near="nan", Format="RangeLinear"), "tells no range"),
            (lambda: gdepth(encoded(STEPS), Format="Cubic"), "unknown format"),
            (lambda: gdepth(encoded(STEPS), size=(48, 64)), "not the photo's shape"),
            (lambda: container(encoded(STEPS), Near="x", Format="RangeLinear"), "tells no range"),
            (lambda: container(bomb_png()), "claims 60000x50000 px"),
            (lambda: with_xmp(photo_jpeg(), "<a"), "is not XML"),
            (lambda: photo_jpeg()[:6], "cut off"),
            (lambda: depth_heic(apple_xmp())[:900], "cannot be used"),
            (lambda: depth_heic("<a"), "is not XML"),
        ],
    )
    def test_one_line(
        self,
        tmp_path: Path,
        caplog: pytest.LogCaptureFixture,
        make: Callable[[], bytes],
        message: str,
    ) -> None:
        start = time.perf_counter()
        path = written(tmp_path, make())
        assert own_depth(path) is None
        assert message in warned(caplog)
        assert str(path) in caplog.text
        assert time.perf_counter() - start < 5

    def test_a_billion_laughs(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        entities = '<!ENTITY a0 "ha">' + "".join(
            f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
        )
        data = with_xmp(photo_jpeg(), f"<!DOCTYPE x [{entities}]><x>&a11;</x>")
        assert own_depth(written(tmp_path, data)) is None
        assert "declares a document type" in warned(caplog)

    @pytest.mark.parametrize("kind", ["gdepth", "container", "heic"])
    def test_random_damage(self, tmp_path: Path, kind: str) -> None:
        makers = {
            "gdepth": lambda: gdepth(encoded(STEPS)),
            "container": lambda: container(encoded(STEPS)),
            "heic": lambda: depth_heic(apple_xmp()),
        }
        data = makers[kind]()
        noise = np.random.default_rng(0)
        for _ in range(60):
            spoiled = np.frombuffer(data, np.uint8).copy()
            at = noise.integers(4, len(data), 5)
            spoiled[at] = noise.integers(0, 256, 5)
            got = own_depth(written(tmp_path, spoiled[: noise.integers(20, len(data))].tobytes()))
            got = own_depth(written(tmp_path, spoiled.tobytes()))
            assert got is None or np.isfinite(got.disparity).all()
