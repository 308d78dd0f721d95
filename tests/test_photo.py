"""Photos come in upright, in sRGB, at two sizes, with their field of view; else one clear line."""

import logging
import math
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from diorama.errors import InputError
from diorama.photo import load_photo

FOCAL_35MM, EXIF_IFD, ORIENTATION = 0xA405, 0x8769, 0x0112


def picture(width: int = 60, height: int = 40) -> np.ndarray:
    """A colour ramp with a red corner at the top left: not symmetric under any turn or flip."""
    y, x = np.mgrid[:height, :width]
    ramp = np.stack([x * 4, y * 6, (x + y) * 2], -1).clip(0, 255).astype(np.uint8)
    ramp[: height // 4, : width // 4] = (255, 0, 0)
    return ramp


def saved(path: Path, array: np.ndarray, **options: object) -> Path:
    Image.fromarray(array).save(path, **options)
    return path


def exif(tags: dict[int, object], inner: dict[int, object] | None = None) -> bytes:
    data = Image.Exif()
    for tag, value in tags.items():
        data[tag] = value
    for tag, value in (inner or {}).items():
        data.get_ifd(EXIF_IFD)[tag] = value
    return data.tobytes()


class TestFile:
    @pytest.mark.parametrize(
        ("suffix", "options"),
        [(".png", {}), (".webp", {"lossless": True}), (".tiff", {}), (".bmp", {})],
    )
    def test_a_lossless_file_is_its_pixels(
        self, tmp_path: Path, suffix: str, options: dict[str, bool]
    ) -> None:
        photo = load_photo(saved(tmp_path / f"cat{suffix}", picture(), **options))
        assert np.array_equal(photo.texture, picture())
        assert photo.name == "cat"

    def test_a_jpeg_is_close_to_its_pixels(self, tmp_path: Path) -> None:
        smooth = cv2.GaussianBlur(picture(), (0, 0), 3)
        photo = load_photo(saved(tmp_path / "cat.jpg", smooth, quality=95))
        assert photo.texture.shape == (40, 60, 3)
        assert np.abs(photo.texture.astype(int) - smooth).mean() < 2

    def test_rgb_is_the_texture_over_255_exactly(self, tmp_path: Path) -> None:
        photo = load_photo(saved(tmp_path / "cat.png", picture()))
        assert photo.rgb.dtype == np.float32
        assert np.array_equal(photo.rgb, photo.texture.astype(np.float32) / np.float32(255))

    def test_the_file_is_released(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.png", picture())
        with warnings.catch_warnings():
            warnings.simplefilter("error", ResourceWarning)
            load_photo(path)
        path.unlink()

    def test_the_name_of_the_file_does_not_matter(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.png", picture()).rename(tmp_path / "cat.jpg")
        assert np.array_equal(load_photo(path).texture, picture())


class TestSize:
    def test_a_large_photo_is_computed_on_small_and_textured_large(self) -> None:
        photo = load_photo(picture(300, 200), max_size=60, texture_size=150)
        assert photo.texture.shape == (100, 150, 3)
        assert photo.rgb.shape == (40, 60, 3)
        assert (photo.camera.width, photo.camera.height) == (60, 40)

    def test_rgb_is_the_area_average_of_the_texture(self) -> None:
        photo = load_photo(picture(120, 80), max_size=60)
        blocks = photo.texture.reshape(40, 2, 60, 2, 3).mean((1, 3)) / 255
        assert np.abs(photo.rgb - blocks).max() <= 0.51 / 255

    def test_a_small_photo_is_never_enlarged(self) -> None:
        photo = load_photo(picture(), max_size=1920)
        assert photo.rgb.shape == photo.texture.shape == (40, 60, 3)

    def test_the_texture_is_never_smaller_than_the_processing_size(self) -> None:
        photo = load_photo(picture(300, 200), max_size=150, texture_size=50)
        assert photo.texture.shape == photo.rgb.shape == (100, 150, 3)

    def test_a_much_larger_jpeg_is_decoded_small(self, tmp_path: Path) -> None:
        smooth = cv2.GaussianBlur(picture(800, 600), (0, 0), 5)
        path = saved(tmp_path / "cat.jpg", smooth, quality=95)
        photo = load_photo(path, max_size=100, texture_size=100)
        whole = load_photo(path, max_size=100, texture_size=800)
        assert photo.texture.shape == (75, 100, 3)
        assert np.abs(photo.rgb - whole.rgb).mean() < 0.01


class TestOrientation:
    @pytest.mark.parametrize("suffix", [".png", ".tiff"])
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_every_orientation_comes_out_upright(
        self, tmp_path: Path, orientation: int, suffix: str
    ) -> None:
        upright = picture()
        stored = {
            1: upright,
            2: upright[:, ::-1],
            3: upright[::-1, ::-1],
            4: upright[::-1],
            5: upright.transpose(1, 0, 2),
            6: np.rot90(upright),
            7: upright[::-1, ::-1].transpose(1, 0, 2),
            8: np.rot90(upright, -1),
        }[orientation]
        path = saved(
            tmp_path / f"cat{suffix}",
            np.ascontiguousarray(stored),
            exif=exif({ORIENTATION: orientation}),
        )
        assert np.array_equal(load_photo(path).texture, upright)

    @pytest.mark.shared
    def test_real_cameras_agree(self, shared_data: Path) -> None:
        photos = [
            load_photo(shared_data / f"photo/exif_landscape_{n}.jpg", max_size=400)
            for n in (1, 3, 6, 8)
        ]
        for photo in photos[1:]:
            assert np.abs(photo.rgb - photos[0].rgb).mean() * 255 < 4


class TestFieldOfView:
    def test_35mm_focal_length_counts_along_the_diagonal(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.jpg", picture(), exif=exif({}, {FOCAL_35MM: 28}))
        camera = load_photo(path).camera
        assert camera.K[0, 0] == pytest.approx(28 / 43.27 * math.hypot(60, 40))
        assert camera.K[0, 0] == camera.K[1, 1]
        assert (camera.K[0, 2], camera.K[1, 2]) == (30, 20)

    def test_it_is_the_same_at_every_processing_size(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.jpg", picture(240, 160), exif=exif({}, {FOCAL_35MM: 28}))
        small, large = load_photo(path, max_size=60), load_photo(path)
        assert small.camera.fov_deg == pytest.approx(large.camera.fov_deg)

    def test_without_exif_it_is_55_degrees_across(self) -> None:
        assert load_photo(picture()).camera.fov_deg == pytest.approx(55)

    @pytest.mark.parametrize("focal", [0, 1, 60000])
    def test_an_implausible_focal_length_is_ignored(self, tmp_path: Path, focal: int) -> None:
        path = saved(tmp_path / "cat.jpg", picture(), exif=exif({}, {FOCAL_35MM: focal}))
        assert load_photo(path).camera.fov_deg == pytest.approx(55)

    def test_an_argument_overrules_the_file(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.jpg", picture(), exif=exif({}, {FOCAL_35MM: 28}))
        assert load_photo(path, fov_deg=90).camera.fov_deg == pytest.approx(90)

    def test_damaged_exif_is_ignored(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.jpg", picture(), exif=b"Exif\0\0II*\0\xff\xff\xff\0garbage")
        assert load_photo(path).camera.fov_deg == pytest.approx(55)


class TestColour:
    def test_grey_becomes_three_equal_channels(self, tmp_path: Path) -> None:
        grey = picture()[..., 2]
        photo = load_photo(saved(tmp_path / "cat.png", grey))
        assert np.array_equal(photo.texture, np.dstack([grey] * 3))

    def test_16_bit_grey_keeps_its_range(self, tmp_path: Path) -> None:
        grey = picture()[..., 2].astype(np.uint16) * 257
        photo = load_photo(saved(tmp_path / "cat.png", grey))
        assert np.array_equal(photo.texture[..., 0], picture()[..., 2])

    def test_16_bit_colour_keeps_its_range(self, tmp_path: Path) -> None:
        cv2.imwrite(str(tmp_path / "cat.png"), picture()[..., ::-1].astype(np.uint16) * 257)
        assert np.array_equal(load_photo(tmp_path / "cat.png").texture, picture())

    def test_a_palette_is_looked_up(self, tmp_path: Path) -> None:
        image = Image.fromarray(picture()).quantize(32)
        image.save(tmp_path / "cat.png")
        assert np.array_equal(
            load_photo(tmp_path / "cat.png").texture, np.asarray(image.convert("RGB"))
        )

    def test_black_and_white_are_black_and_white(self, tmp_path: Path) -> None:
        bits = picture()[..., 0] > 100
        photo = load_photo(saved(tmp_path / "cat.png", bits))
        assert np.array_equal(photo.texture[..., 1], bits * np.uint8(255))

    def test_cmyk_becomes_rgb(self, tmp_path: Path) -> None:
        cmyk = np.zeros((20, 30, 4), np.uint8)
        cmyk[..., 1:3] = 255  # magenta and yellow make red
        Image.fromarray(cmyk, "CMYK").save(tmp_path / "cat.jpg", quality=95)
        mean = load_photo(tmp_path / "cat.jpg").texture.mean((0, 1))
        assert np.abs(mean - (255, 0, 0)).max() < 3

    def test_alpha_is_kept_with_the_colours_under_it(self, tmp_path: Path) -> None:
        alpha = np.full((40, 60), 255, np.uint8)
        alpha[:, 20:40] = 51
        photo = load_photo(saved(tmp_path / "cat.png", np.dstack([picture(), alpha])))
        assert photo.alpha is not None
        assert np.array_equal(photo.alpha, alpha / np.float32(255))
        assert np.array_equal(photo.texture, picture())

    def test_colours_go_on_smoothly_where_nothing_is_seen(self, tmp_path: Path) -> None:
        rgba = np.zeros((64, 96, 4), np.uint8)
        rgba[:, :30] = 200, 100, 50, 255
        rgba[:, 30:] = 255, 0, 255, 0  # what a file holds under alpha 0 means nothing
        photo = load_photo(saved(tmp_path / "cat.png", rgba))
        assert (np.abs(photo.texture.astype(int) - (200, 100, 50)) <= 1).all()
        assert photo.nothing is not None
        assert np.array_equal(photo.nothing, rgba[..., 3] == 0)

    def test_a_shrunk_edge_keeps_its_own_colour(self, tmp_path: Path) -> None:
        rgba = np.zeros((90, 120, 4), np.uint8)
        rgba[:, :61] = 200, 100, 50, 255
        photo = load_photo(saved(tmp_path / "cat.png", rgba), max_size=40, texture_size=40)
        assert photo.alpha is not None
        assert photo.alpha[5, 20] == pytest.approx(1 / 3, abs=1 / 255)
        assert (np.abs(photo.texture.astype(int) - (200, 100, 50)) <= 1).all()

    def test_an_opaque_alpha_channel_is_none(self, tmp_path: Path) -> None:
        rgba = np.dstack([picture(), np.full((40, 60), 255, np.uint8)])
        assert load_photo(saved(tmp_path / "cat.png", rgba)).alpha is None

    def test_a_transparent_palette_colour_is_nothing(self, tmp_path: Path) -> None:
        image = Image.fromarray(picture()).quantize(8)
        first = int(np.asarray(image)[0, 0])
        image.save(tmp_path / "cat.png", transparency=first)
        nothing = load_photo(tmp_path / "cat.png").nothing
        assert np.array_equal(nothing, np.asarray(image) == first)

    def test_a_profile_is_converted_to_srgb(self, tmp_path: Path) -> None:
        linear = linear_grey_profile()
        grey = np.full((20, 30), 55, np.uint8)  # 0.2157 linear
        path = saved(tmp_path / "cat.png", grey, icc_profile=linear)
        assert np.abs(load_photo(path).texture.astype(int) - 128).max() <= 2

    def test_an_srgb_profile_changes_nothing(self, tmp_path: Path) -> None:
        srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        path = saved(tmp_path / "cat.png", picture(), icc_profile=srgb)
        assert np.array_equal(load_photo(path).texture, picture())

    def test_a_broken_profile_is_ignored_with_a_warning(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        path = saved(tmp_path / "cat.png", picture(), icc_profile=b"not a profile" * 20)
        with caplog.at_level(logging.WARNING, "diorama.pictures"):
            assert np.array_equal(load_photo(path).texture, picture())
        assert "colour profile ignored" in caplog.text


def linear_grey_profile() -> bytes:
    """The smallest ICC profile: grey, gamma 1."""

    def xyz(x: float, y: float, z: float) -> bytes:
        fixed = [round(v * 65536) for v in (x, y, z)]
        return b"XYZ \0\0\0\0" + struct.pack(">3i", *fixed)

    tags = {
        b"desc": b"desc\0\0\0\0" + struct.pack(">I", 7) + b"linear\0" + bytes(79),
        b"wtpt": xyz(0.9642, 1.0, 0.8249),
        b"kTRC": b"curv\0\0\0\0" + struct.pack(">IH", 1, 256) + b"\0\0",
    }
    offset = 128 + 4 + 12 * len(tags)
    table, body = struct.pack(">I", len(tags)), b""
    for name, data in tags.items():
        data += bytes(-len(data) % 4)
        table += name + struct.pack(">II", offset + len(body), len(data))
        body += data
    header = struct.pack(
        ">I4sI4s4s4s12s4s4sII4sQI12s4s",
        offset + len(body), b"\0\0\0\0", 0x02400000, b"mntr", b"GRAY", b"XYZ ", bytes(12),
        b"acsp", b"\0\0\0\0", 0, 0, b"\0\0\0\0", 0, 0,
        struct.pack(">3i", 63190, 65536, 54061), b"\0\0\0\0",
    )  # fmt: skip
    return header + bytes(128 - len(header)) + table + body


class TestArray:
    def test_bytes_and_floats_give_the_same_photo(self) -> None:
        from_bytes = load_photo(picture())
        from_floats = load_photo(picture().astype(np.float64) / 255)
        assert np.array_equal(from_bytes.rgb, from_floats.rgb)
        assert from_bytes.name == "photo"

    def test_the_argument_is_neither_changed_nor_kept(self) -> None:
        array = picture()
        photo = load_photo(array)
        assert np.array_equal(array, picture())
        array[:] = 0
        assert np.array_equal(photo.texture, picture())

    @pytest.mark.parametrize("shape", [(40, 60), (40, 60, 1)])
    def test_grey_arrays(self, shape: tuple[int, ...]) -> None:
        grey = picture()[..., 2].reshape(shape)
        assert np.array_equal(load_photo(grey).texture, np.dstack([grey.reshape(40, 60)] * 3))

    def test_the_fourth_channel_is_alpha(self) -> None:
        alpha = np.arange(40 * 60).reshape(40, 60) % 256
        photo = load_photo(np.dstack([picture(), alpha.astype(np.uint8)]))
        assert np.array_equal(photo.alpha, alpha.astype(np.float32) / np.float32(255))

    def test_a_strided_view_works(self) -> None:
        assert np.array_equal(load_photo(picture()[:, ::-1]).texture, picture()[:, ::-1])

    @pytest.mark.parametrize(
        ("array", "message"),
        [
            (np.zeros((40, 60, 2), np.uint8), r"got \(40, 60, 2\) uint8"),
            (np.zeros((3, 40, 60, 3), np.uint8), r"got \(3, 40, 60, 3\) uint8"),
            (np.zeros((40, 60, 3), np.int32), r"got \(40, 60, 3\) int32"),
            (np.zeros((40, 60, 3), bool), r"got \(40, 60, 3\) bool"),
            (np.full((40, 60, 3), 200.0), r"must lie in 0\.\.1, got 200\.\.200"),
            (np.full((40, 60, 3), np.nan), r"must lie in 0\.\.1, got nan\.\.nan"),
            (np.zeros((0, 60, 3), np.uint8), "is 60x0 px: at least 16 px a side are needed"),
            (np.zeros((10, 60, 3), np.uint8), "is 60x10 px: at least 16 px a side are needed"),
        ],
    )
    def test_other_arrays_are_refused(self, array: np.ndarray, message: str) -> None:
        with pytest.raises(InputError, match=message):
            load_photo(array)


class TestImage:
    def test_a_pil_image_gives_what_its_file_gives(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.png", picture(), exif=exif({ORIENTATION: 6}, {FOCAL_35MM: 50}))
        with Image.open(path) as image:
            from_image = load_photo(image)
        from_file = load_photo(path)
        assert np.array_equal(from_image.rgb, from_file.rgb)
        assert from_image.camera.fov_deg == from_file.camera.fov_deg
        assert from_image.name == "cat"

    def test_the_image_is_not_changed(self) -> None:
        image = Image.fromarray(picture())
        load_photo(image)
        assert image.mode == "RGB"
        assert np.array_equal(np.asarray(image), picture())


class TestErrors:
    def fails(self, source: object, message: str, **options: int) -> None:
        with pytest.raises(InputError) as caught:
            load_photo(source, **options)  # type: ignore[arg-type]  # wrong on purpose
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.fails(tmp_path / "cat.jpg", f"{tmp_path / 'cat.jpg'} does not exist")

    def test_a_folder(self, tmp_path: Path) -> None:
        self.fails(tmp_path, f"{tmp_path} is a folder")

    def test_an_empty_file(self, tmp_path: Path) -> None:
        (tmp_path / "cat.jpg").touch()
        self.fails(tmp_path / "cat.jpg", f"{tmp_path / 'cat.jpg'} is empty")

    def test_text_named_jpg(self, tmp_path: Path) -> None:
        (tmp_path / "cat.jpg").write_text("I am not a cat.")
        self.fails(tmp_path / "cat.jpg", "cat.jpg is not a JPEG, PNG, WebP, TIFF, BMP, GIF")

    @pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tiff", ".bmp"])
    @pytest.mark.parametrize("share", [0.03, 0.5, 0.9])
    def test_a_truncated_file(self, tmp_path: Path, suffix: str, share: float) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
        path = saved(tmp_path / f"cat{suffix}", noise)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        self.fails(path, f"cat{suffix} is damaged")

    def test_a_transparent_photo(self) -> None:
        rgba = np.zeros((40, 60, 4), np.uint8)
        self.fails(rgba, "photo is transparent everywhere")

    def test_a_tiny_picture(self, tmp_path: Path) -> None:
        path = saved(tmp_path / "cat.png", np.zeros((1, 1, 3), np.uint8))
        self.fails(path, "cat.png is 1x1 px: at least 16 px a side are needed")

    def test_a_ribbon(self) -> None:
        ribbon = np.zeros((20, 3000, 3), np.uint8)
        self.fails(ribbon, "its short side would be 13 px at max_size 1920", max_size=1920)

    def test_a_decompression_bomb_is_told_by_its_header(self, tmp_path: Path) -> None:
        def chunk(kind: bytes, data: bytes) -> bytes:
            crc = zlib.crc32(kind + data)
            return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)

        header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60000, 60000, 8, 2, 0, 0, 0))
        body = chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
        (tmp_path / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + body)
        self.fails(tmp_path / "bomb.png", "claims 60000x60000 px, more than 300 megapixels")

    def test_a_url(self) -> None:
        self.fails("https://example.org/cat.jpg", "is a URL: download the photo first")

    def test_sizes_out_of_range(self) -> None:
        self.fails(picture(), "max_size must be at least 16 px, got 4", max_size=4)
        self.fails(picture(), "fov_deg must lie in 1..170 degrees, got 180", fov_deg=180)


@pytest.mark.shared
def test_every_shared_photo_loads(shared_data: Path) -> None:
    paths = sorted((shared_data / "photo").iterdir())
    for path in paths:
        photo = load_photo(path, max_size=640)
        assert max(photo.rgb.shape[:2]) <= 640
        assert 1 < photo.camera.fov_deg < 120
    assert paths
