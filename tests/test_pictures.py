"""Image files of every format that photos come in."""

import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import OpenEXR
import pillow_heif
import pytest
from PIL import Image, ImageCms

from diorama import extras
from diorama.errors import InputError, MissingExtraError
from diorama.photo import load_photo
from diorama.pictures import PHOTO_SUFFIXES, read_picture

SIZE = (48, 64)


def smooth() -> np.ndarray:
    """(48, 64, 3) uint8 that lossy codecs keep well."""
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return np.dstack([x * 3 + 20, y * 4 + 10, (x + y) * 2]).astype(np.uint8)


def soft_alpha() -> np.ndarray:
    x = np.linspace(0, 255, SIZE[1])
    return np.broadcast_to(np.rint(x), SIZE).astype(np.uint8)


def write_exr(path: Path, channels: dict[str, np.ndarray]) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels).write(str(path))
    return path


def write_heic(path: Path, pixels: np.ndarray, **options: object) -> Path:
    mode = "RGBA" if pixels.shape[2] == 4 else "RGB"
    pillow_heif.from_bytes(mode, pixels.shape[1::-1], pixels.tobytes()).save(
        str(path), quality=95, chroma=444, **options
    )
    return path


class TestFormats:
    @pytest.mark.parametrize("suffix", [".png", ".tiff", ".bmp", ".webp"])
    def test_lossless_files_give_their_pixels(self, tmp_path: Path, suffix: str) -> None:
        options = {"lossless": True} if suffix == ".webp" else {}
        Image.fromarray(smooth()).save(tmp_path / f"a{suffix}", **options)
        picture = read_picture(tmp_path / f"a{suffix}")
        assert np.array_equal(picture.rgb, smooth())
        assert picture.alpha is None

    @pytest.mark.parametrize("suffix", [".jpg", ".avif", ".mpo"])
    def test_lossy_files_give_nearly_their_pixels(self, tmp_path: Path, suffix: str) -> None:
        image = Image.fromarray(smooth())
        image.save(tmp_path / f"a{suffix}", quality=95, subsampling="4:4:4")
        assert np.abs(read_picture(tmp_path / f"a{suffix}").rgb.astype(int) - smooth()).mean() < 2

    def test_heic(self, tmp_path: Path) -> None:
        path = write_heic(tmp_path / "a.heic", smooth())
        assert np.abs(read_picture(path).rgb.astype(int) - smooth()).mean() < 2

    def test_heic_and_avif_keep_alpha(self, tmp_path: Path) -> None:
        rgba = np.dstack([smooth(), soft_alpha()])
        Image.fromarray(rgba).save(tmp_path / "a.avif", quality=95)
        for path in (write_heic(tmp_path / "a.heic", rgba), tmp_path / "a.avif"):
            alpha = read_picture(path).alpha
            assert alpha is not None
            assert np.abs(alpha.astype(int) - soft_alpha()).mean() < 2

    @pytest.mark.parametrize("format", ["heic", "avif"])
    def test_heic_and_avif_stand_upright(self, tmp_path: Path, format: str) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned clockwise
        exif.get_ifd(0x8769)[0xA405] = 28
        path = tmp_path / f"a.{format}"
        if format == "heic":
            pillow_heif.register_heif_opener()
        Image.fromarray(smooth()).save(path, quality=95, exif=exif.tobytes())
        picture = read_picture(path)
        assert picture.rgb.shape == (64, 48, 3)
        assert np.abs(picture.rgb.astype(int) - np.rot90(smooth(), -1)).mean() < 3
        assert picture.focal_35mm == 28

    def test_sixteen_bits_are_rounded_to_eight(self, tmp_path: Path) -> None:
        grey = (np.arange(SIZE[0] * SIZE[1]).reshape(SIZE) * 21).astype(np.uint16)
        Image.fromarray(grey).save(tmp_path / "a.png")
        Image.fromarray(grey).save(tmp_path / "a.tiff")
        for name in ("a.png", "a.tiff"):
            rgb = read_picture(tmp_path / name).rgb
            assert np.abs(rgb - grey[..., None] / 257).max() <= 0.5

    def test_sixteen_bit_colour(self, tmp_path: Path) -> None:
        rows = (smooth().astype(np.uint16) * 257).astype(">u2").reshape(SIZE[0], -1)
        raw = b"".join(b"\0" + row.tobytes() for row in rows)
        chunks = [
            (b"IHDR", struct.pack(">IIBBBBB", SIZE[1], SIZE[0], 16, 2, 0, 0, 0)),
            (b"IDAT", zlib.compress(raw)),
            (b"IEND", b""),
        ]
        data = b"\x89PNG\r\n\x1a\n"
        for kind, body in chunks:
            data += struct.pack(">I", len(body)) + kind + body
            data += struct.pack(">I", zlib.crc32(kind + body))
        (tmp_path / "a.png").write_bytes(data)
        assert np.array_equal(read_picture(tmp_path / "a.png").rgb, smooth())

    def test_an_exr_is_linear(self, tmp_path: Path) -> None:
        encoded = smooth() / 255
        linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
        path = write_exr(tmp_path / "a.exr", {"RGB": linear.astype(np.float32)})
        assert np.abs(read_picture(path).rgb.astype(int) - smooth()).max() <= 1

    def test_an_exr_is_multiplied_by_alpha(self, tmp_path: Path) -> None:
        alpha = np.broadcast_to(np.float32([0, 0.25, 0.5, 1]).repeat(16), SIZE)
        rgba = np.dstack([np.full((*SIZE, 3), 0.5, np.float32) * alpha[..., None], alpha])
        picture = read_picture(write_exr(tmp_path / "a.exr", {"RGBA": rgba.astype(np.float16)}))
        assert picture.alpha is not None
        assert np.abs(picture.alpha / 255 - alpha).max() < 0.003
        assert np.abs(picture.rgb[:, 16:].astype(int) - 188).max() <= 1  # 0.5 encoded

    def test_an_exr_of_high_range_is_cut_off(self, tmp_path: Path) -> None:
        grey = np.full(SIZE, 7.0, np.float32)
        grey[0, :3] = np.nan, np.inf, -1
        rgb = read_picture(write_exr(tmp_path / "a.exr", {"Y": grey})).rgb
        assert rgb[1:].min() == 255
        assert rgb[0, :3, 0].tolist() == [0, 255, 0]

    def test_an_exr_without_colour(self, tmp_path: Path) -> None:
        path = write_exr(tmp_path / "a.exr", {"Z": np.ones(SIZE, np.float32)})
        with pytest.raises(InputError, match="has the channels Z: a photo needs R, G, B or Y"):
            read_picture(path)

    def test_cmyk(self, tmp_path: Path) -> None:
        Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.tiff")
        Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
        assert np.array_equal(read_picture(tmp_path / "a.tiff").rgb, smooth())
        assert np.abs(read_picture(tmp_path / "a.jpg").rgb.astype(int) - smooth()).mean() < 3

    def test_lab(self, tmp_path: Path) -> None:
        srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(Image.fromarray(smooth()), srgb, lab, outputMode="LAB")
        assert image is not None
        image.save(tmp_path / "a.tiff")
        assert np.abs(read_picture(tmp_path / "a.tiff").rgb.astype(int) - smooth()).mean() < 3

    @pytest.mark.parametrize("suffix", [".gif", ".webp", ".png", ".avif", ".tiff"])
    def test_the_first_of_several_pictures_is_taken_and_said(
        self, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        colors = [(200, 30, 30), (30, 200, 30), (30, 30, 200)]
        first, *rest = (Image.new("RGB", (40, 30), color) for color in colors)
        options = {} if suffix == ".tiff" else {"duration": 100}
        first.save(tmp_path / f"a{suffix}", save_all=True, append_images=rest, **options)
        with caplog.at_level(logging.WARNING, "diorama.pictures"):
            rgb = read_picture(tmp_path / f"a{suffix}").rgb
        assert (np.abs(rgb.astype(int) - colors[0]) < 8).all()
        assert f"a{suffix} holds several pictures: the first one is used" in caplog.text

    @pytest.mark.parametrize("suffix", [".jpg", ".gif"])
    def test_a_single_picture_says_nothing(
        self, tmp_path: Path, suffix: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        Image.fromarray(smooth()).save(tmp_path / f"a{suffix}")
        read_picture(tmp_path / f"a{suffix}")
        assert caplog.text == ""


class TestRefused:
    def test_a_raw_file(self, tmp_path: Path) -> None:
        for tags in ({0xC612: b"\1\4\0\0"}, {0x00FE: 1}):
            Image.fromarray(smooth()).save(tmp_path / "a.tif", tiffinfo=tags)
            with pytest.raises(InputError, match="is a camera's raw file: develop it first"):
                read_picture(tmp_path / "a.tif")

    def test_a_bomb_before_it_is_decoded(self, tmp_path: Path) -> None:
        header = struct.pack(">IIBBBBB", 20000, 15001, 8, 2, 0, 0, 0)
        data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + b"IHDR" + header
        data += struct.pack(">I", zlib.crc32(b"IHDR" + header))
        data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(InputError, match="claims 20000x15001 px, more than 300 megapixels"):
            read_picture(tmp_path / "a.png")

    def test_an_exr_bomb(self, tmp_path: Path) -> None:
        path = write_exr(tmp_path / "a.exr", {"Y": np.ones(SIZE, np.float32)})
        small = struct.pack("<iiii", 0, 0, SIZE[1] - 1, SIZE[0] - 1)
        huge = struct.pack("<iiii", 0, 0, 29999, 29999)
        path.write_bytes(path.read_bytes().replace(small, huge))
        with pytest.raises(InputError, match="claims 30000x30000 px"):
            read_picture(path)

    @pytest.mark.parametrize(("extra", "suffix"), [("heic", ".heic"), ("exr", ".exr")])
    def test_what_needs_an_extra(
        self, tmp_path: Path, extra: str, suffix: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / f"a{suffix}"
        if suffix == ".heic":
            write_heic(path, smooth())
        else:
            write_exr(path, {"Y": np.ones(SIZE, np.float32)})
        monkeypatch.setitem(extras.EXTRAS, extra, "a_module_that_nobody_has")
        with pytest.raises(
            MissingExtraError, match=rf"a{suffix} needs an extra: pip install 'diorama\[{extra}\]'"
        ):
            read_picture(path)

    @pytest.mark.parametrize("suffix", [".heic", ".avif", ".exr", ".gif"])
    @pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9])
    def test_a_truncated_file(self, tmp_path: Path, suffix: str, share: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        path = tmp_path / f"a{suffix}"
        if suffix == ".heic":
            write_heic(path, noise)
        elif suffix == ".exr":
            write_exr(path, {"RGB": noise.astype(np.float32)})
        else:
            Image.fromarray(noise).save(path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(InputError, match=rf"a{suffix} is damaged"):
            read_picture(path)

    def test_a_symlink_loop(self, tmp_path: Path) -> None:
        (tmp_path / "a.jpg").symlink_to(tmp_path / "b.jpg")
        (tmp_path / "b.jpg").symlink_to(tmp_path / "a.jpg")
        with pytest.raises(InputError, match=r"cannot read .*a\.jpg: Too many levels"):
            read_picture(tmp_path / "a.jpg")

    @pytest.mark.parametrize("name", ["a b.png", 'it\'s "a".png', "🐈.png", "a\nb.png"])
    def test_odd_names_work(self, tmp_path: Path, name: str) -> None:
        Image.fromarray(smooth()).save(tmp_path / name)
        assert load_photo(tmp_path / name).name == name.removesuffix(".png")

    def test_a_name_that_is_no_text(self, tmp_path: Path) -> None:
        path = tmp_path / os.fsdecode(b"Z\xfcrich.png")
        Image.fromarray(smooth()).save(path)
        assert load_photo(path).name == "Z?rich"

    def test_photo_suffixes_are_lower_case(self) -> None:
        assert all(suffix == suffix.lower() for suffix in PHOTO_SUFFIXES)
