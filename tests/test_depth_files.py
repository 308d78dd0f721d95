"""Depth files in every format become disparity; files with gaps are filled from behind."""

import io
import struct
import zipfile
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest
from PIL import Image

from diorama.depth import canonical_disparity
from diorama.depth_files import fill_missing, read_depth
from diorama.errors import InputError
from diorama.photo import Photo, load_photo
from diorama.testing import two_cards


def photo_of(width: int, height: int) -> Photo:
    return load_photo(np.zeros((height, width, 3), np.uint8))


def ramp(width: int = 40, height: int = 30) -> np.ndarray:
    """From 2 at the top to 6 at the bottom."""
    return np.repeat(np.linspace(2, 6, height, dtype=np.float32)[:, None], width, axis=1)


def write_exr(path: Path, **channels: np.ndarray) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, channels).write(str(path))
    return path


class TestRead:
    def test_a_16_bit_png_is_disparity(self, tmp_path: Path) -> None:
        steps = np.arange(1, 1201, dtype=np.uint16).reshape(30, 40) * 50
        cv2.imwrite(str(tmp_path / "d.png"), steps)
        got = read_depth(tmp_path / "d.png")
        assert np.array_equal(got.disparity, steps.astype(np.float32))
        assert (got.kind, got.confidence) == ("relative", None)

    def test_zero_in_a_png_is_missing(self, tmp_path: Path) -> None:
        steps = np.full((30, 40), 200, np.uint8)
        steps[10:12, 10:20] = 0
        cv2.imwrite(str(tmp_path / "d.png"), steps)
        got = read_depth(tmp_path / "d.png")
        assert (got.disparity == 200).all()
        assert got.confidence is not None
        assert ((got.confidence < 1) == (steps == 0)).all()

    def test_an_npy_is_disparity_in_which_zero_is_infinitely_far(self, tmp_path: Path) -> None:
        values = ramp().astype(np.float64)
        values[:5] = 0
        np.save(tmp_path / "d.npy", values)
        got = read_depth(tmp_path / "d.npy")
        assert np.array_equal(got.disparity, values.astype(np.float32))
        assert (got.kind, got.confidence) == ("relative", None)

    def test_an_npz_says_what_it_holds(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "a.npz", disparity=ramp(), depth=ramp() * 5, K=np.eye(3))
        assert np.array_equal(read_depth(tmp_path / "a.npz").disparity, ramp())
        np.savez(tmp_path / "b.npz", depth=ramp())
        got = read_depth(tmp_path / "b.npz")
        assert np.array_equal(got.disparity, 1 / ramp())
        assert got.kind == "metric"
        np.savez(tmp_path / "c.npz", ramp()[..., None])
        assert np.array_equal(read_depth(tmp_path / "c.npz").disparity, ramp())

    def test_what_the_values_are_can_be_told(self, tmp_path: Path) -> None:
        np.save(tmp_path / "d.npy", ramp())
        assert read_depth(tmp_path / "d.npy", scale="affine").kind == "affine"
        got = read_depth(tmp_path / "d.npy", kind="depth")
        assert np.array_equal(got.disparity, 1 / ramp())
        assert got.kind == "metric"
        assert read_depth(tmp_path / "d.npy", kind="depth", scale="relative").kind == "relative"
        np.savez(tmp_path / "d.npz", depth=ramp())
        got = read_depth(tmp_path / "d.npz", kind="disparity")
        assert np.array_equal(got.disparity, ramp())
        assert got.kind == "relative"

    @pytest.mark.parametrize(
        ("values", "unit_m", "metres"),
        [
            (np.full((30, 40), 2500, np.uint16), None, 2.5),
            (np.full((30, 40), 2500, np.int32), None, 2.5),
            (np.full((30, 40), 2.5, np.float64), None, 2.5),
            (np.full((30, 40), 12500, np.uint16), 0.0002, 2.5),
            (np.full((30, 40), 250, np.float32), 0.01, 2.5),
        ],
    )
    def test_integers_are_millimetres_and_floats_metres_unless_told(
        self, tmp_path: Path, values: np.ndarray, unit_m: float | None, metres: float
    ) -> None:
        np.save(tmp_path / "d.npy", values)
        got = read_depth(tmp_path / "d.npy", kind="depth", unit_m=unit_m)
        assert got.kind == "metric"
        assert np.allclose(got.disparity, 1 / metres, rtol=1e-6)

    @pytest.mark.parametrize(
        ("told", "message"),
        [
            ({"kind": "depth", "scale": "affine"}, "has no inverse: pass its disparity"),
            ({"unit_m": 0.001}, "holds no metric depth: leave out"),
            ({"kind": "depth", "scale": "relative", "unit_m": 1.0}, "holds no metric depth"),
            ({"kind": "depth", "unit_m": 0.0}, "must be a positive number of metres, got 0"),
            ({"kind": "depth", "unit_m": float("nan")}, "must be a positive number of metres"),
        ],
    )
    def test_what_makes_no_sense_is_one_line(
        self, tmp_path: Path, told: dict, message: str
    ) -> None:
        np.save(tmp_path / "d.npy", ramp())
        with pytest.raises(InputError, match=message) as caught:
            read_depth(tmp_path / "d.npy", **told)
        assert "\n" not in str(caught.value)

    def test_a_depth_too_near_to_invert_is_missing(self, tmp_path: Path) -> None:
        values = np.full((30, 40), 4, np.float32)
        values[3:6, 3:6] = 1e-45
        np.savez(tmp_path / "d.npz", depth=values)
        assert (read_depth(tmp_path / "d.npz").disparity == 0.25).all()

    def test_a_depth_of_nothing_but_zeros_is_no_depth(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "d.npz", depth=np.zeros((30, 40)))
        with pytest.raises(InputError, match="holds no valid pixel"):
            read_depth(tmp_path / "d.npz")

    @pytest.mark.parametrize("value", [0.0, 3.0])
    def test_a_constant_disparity_is_taken_as_it_is(self, tmp_path: Path, value: float) -> None:
        np.save(tmp_path / "d.npy", np.full((30, 40), value))
        assert (read_depth(tmp_path / "d.npy").disparity == value).all()

    def test_another_aspect_than_the_photos_is_refused(self, tmp_path: Path) -> None:
        np.save(tmp_path / "d.npy", ramp(40, 40))
        with pytest.raises(InputError, match="their aspects differ"):
            canonical_disparity(read_depth(tmp_path / "d.npy"), photo_of(40, 30))

    @pytest.mark.parametrize("missing", [np.nan, np.inf, -np.inf, -3.0])
    def test_missing_values_are_filled(self, tmp_path: Path, missing: float) -> None:
        values = ramp(40, 120)
        values[50:54, 5:30] = missing
        np.savez(tmp_path / "d.npz", disparity=values)
        got = read_depth(tmp_path / "d.npz")
        assert np.abs(got.disparity - ramp(40, 120)).max() < 0.02
        assert got.confidence is not None
        assert ((got.confidence < 1) == (values != ramp(40, 120))).all()

    def test_zero_depth_is_missing(self, tmp_path: Path) -> None:
        values = np.full((30, 40), 4, np.float32)
        values[3:9, 3:9] = 0
        np.savez(tmp_path / "d.npz", depth=values)
        assert (read_depth(tmp_path / "d.npz").disparity == 0.25).all()

    @pytest.mark.parametrize(
        ("name", "data", "message"),
        [
            ("d.png", b"text", "is not a readable PNG"),
            ("d.npy", b"text", "cannot read depth file"),
            ("d.npz", b"text", "cannot read depth file"),
            ("d.npy", b"", "cannot read depth file"),
            ("d.jpg", b"", r"a depth file is a \.png, \.tif, \.tiff, \.exr, \.npy, \.npz file"),
            ("d.png", b"", "is not a readable PNG"),
            ("d.tif", b"text", "cannot read depth file"),
            ("d.tif", b"", "cannot read depth file"),
            ("d.exr", b"text", "is damaged"),
            ("d.exr", b"", "is damaged"),
            ("d.npz", b"", "cannot read depth file"),
        ],
    )
    def test_a_file_that_is_no_depth_is_one_line(
        self, tmp_path: Path, name: str, data: bytes, message: str
    ) -> None:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(InputError, match=message) as caught:
            read_depth(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"d\.npy does not exist"):
            read_depth(tmp_path / "d.npy")

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (np.full((30, 40), np.nan), "holds no valid pixel"),
            (np.zeros((30, 40, 3)), r"got \(30, 40, 3\) float64"),
            (np.zeros((30, 40), "U3"), r"got \(30, 40\) <U3"),
            (np.zeros((0, 40)), r"got \(0, 40\) float64"),
            (np.array([[None]]), r"got \(1, 1\) object"),
            (np.zeros((30, 40), complex), r"got \(30, 40\) complex128"),
            (np.zeros((30, 40), bool), r"got \(30, 40\) bool"),
            (np.zeros(40), r"got \(40,\) float64"),
        ],
    )
    def test_an_array_that_is_no_depth(
        self, tmp_path: Path, values: np.ndarray, message: str
    ) -> None:
        np.save(tmp_path / "d.npy", values, allow_pickle=True)
        with pytest.raises(InputError, match=message):
            read_depth(tmp_path / "d.npy")

    def test_an_npz_of_many_names(self, tmp_path: Path) -> None:
        np.savez(tmp_path / "d.npz", a=ramp(), b=ramp())
        with pytest.raises(InputError, match="holds a, b: name one array 'disparity' or 'depth'"):
            read_depth(tmp_path / "d.npz")

    def test_a_colour_png_is_refused_and_a_grey_one_of_three_channels_is_not(
        self, tmp_path: Path
    ) -> None:
        color = np.full((30, 40, 3), (10, 20, 30), np.uint8)
        cv2.imwrite(str(tmp_path / "d.png"), color)
        with pytest.raises(InputError, match="is a colour picture"):
            read_depth(tmp_path / "d.png")
        cv2.imwrite(str(tmp_path / "d.png"), color[..., :1].repeat(3, axis=2))
        assert (read_depth(tmp_path / "d.png").disparity == 10).all()


class TestPictures:
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32])
    def test_a_tiff_of_integers_is_like_a_png(self, tmp_path: Path, dtype: type) -> None:
        steps = np.arange(1200).reshape(30, 40).astype(dtype) % 251
        Image.fromarray(steps).save(tmp_path / "d.tif")
        got = read_depth(tmp_path / "d.tif")
        assert got.confidence is not None
        assert np.array_equal(got.disparity[steps > 0], steps[steps > 0].astype(np.float32))
        assert ((got.confidence < 1) == (steps == 0)).all()

    @pytest.mark.parametrize("byteorder", ["<", ">"])
    def test_16_bits_in_either_byte_order(self, tmp_path: Path, byteorder: str) -> None:
        tifffile = pytest.importorskip("tifffile")
        steps = np.arange(1, 1201, dtype=np.uint16).reshape(30, 40) * 50
        tifffile.imwrite(tmp_path / "d.tiff", steps, byteorder=byteorder, compression="zlib")
        assert np.array_equal(read_depth(tmp_path / "d.tiff").disparity, steps.astype(np.float32))

    def test_a_tiff_of_floats_is_like_an_npy(self, tmp_path: Path) -> None:
        values = ramp()
        values[:5] = 0
        values[10, 10] = np.nan
        Image.fromarray(values).save(tmp_path / "d.tiff")
        got = read_depth(tmp_path / "d.tiff")
        assert (got.disparity[:5] == 0).all()
        assert got.confidence is not None
        assert (got.confidence < 1).sum() == 1

    def test_a_tiff_of_metres(self, tmp_path: Path) -> None:
        Image.fromarray(ramp()).save(tmp_path / "d.tiff")
        got = read_depth(tmp_path / "d.tiff", kind="depth")
        assert np.array_equal(got.disparity, 1 / ramp())
        assert got.kind == "metric"

    @pytest.mark.parametrize("name", ["d.png", "d.tif"])
    def test_a_truncated_picture_is_one_line(self, tmp_path: Path, name: str) -> None:
        noise = np.random.default_rng(0).integers(1, 60000, (60, 80)).astype(np.uint16)
        Image.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: len(data) // 2])
        with pytest.raises(InputError, match=r"readable PNG|cannot read depth file") as caught:
            read_depth(tmp_path / name)
        assert "\n" not in str(caught.value)

    def test_a_colour_tiff_is_refused(self, tmp_path: Path) -> None:
        Image.new("RGB", (40, 30), (10, 20, 30)).save(tmp_path / "d.tif")
        with pytest.raises(InputError, match="is a colour picture"):
            read_depth(tmp_path / "d.tif")


class TestExr:
    @pytest.mark.parametrize("dtype", [np.float16, np.float32])
    def test_z_is_depth_in_metres(self, tmp_path: Path, dtype: type) -> None:
        values = ramp().astype(dtype)
        for channel in ("Z", "depth", "ViewLayer.Depth.Z"):
            got = read_depth(write_exr(tmp_path / "d.exr", **{channel: values}))
            assert np.array_equal(got.disparity, 1 / values.astype(np.float32))
            assert (got.kind, got.confidence) == ("metric", None)

    @pytest.mark.parametrize("channel", ["disparity", "Y", "R", "anything"])
    def test_other_channels_are_disparity(self, tmp_path: Path, channel: str) -> None:
        got = read_depth(write_exr(tmp_path / "d.exr", **{channel: ramp()}))
        assert np.array_equal(got.disparity, ramp())
        assert got.kind == "relative"

    def test_disparity_comes_before_z_and_either_before_colour(self, tmp_path: Path) -> None:
        color = dict.fromkeys("RGB", np.zeros((30, 40), np.float32))
        path = write_exr(tmp_path / "d.exr", **color, Z=ramp() * 9, disparity=ramp())
        assert np.array_equal(read_depth(path).disparity, ramp())
        path = write_exr(tmp_path / "d.exr", **color, Z=ramp())
        assert np.array_equal(read_depth(path).disparity, 1 / ramp())

    def test_an_infinite_z_is_the_background_and_nan_is_missing(self, tmp_path: Path) -> None:
        values = np.full((30, 40), 4, np.float32)
        values[:10] = np.inf
        values[20:22, 5:9] = np.nan
        got = read_depth(write_exr(tmp_path / "d.exr", Z=values))
        assert (got.disparity[:10] == 0).all()
        assert (got.disparity[10:] == 0.25).all()
        assert got.confidence is not None
        assert (got.confidence < 1).sum() == 8

    def test_grey_in_three_channels_is_grey_and_colour_is_refused(self, tmp_path: Path) -> None:
        path = write_exr(tmp_path / "d.exr", R=ramp(), G=ramp(), B=ramp())
        assert np.array_equal(read_depth(path).disparity, ramp())
        with pytest.raises(InputError, match="is a colour picture"):
            read_depth(write_exr(tmp_path / "d.exr", R=ramp(), G=ramp(), B=ramp() * 2))
        with pytest.raises(InputError, match="channels a, b: name one 'Z', 'depth' or 'disparity'"):
            read_depth(write_exr(tmp_path / "d.exr", a=ramp(), b=ramp()))

    def test_a_truncated_one_is_one_line(self, tmp_path: Path) -> None:
        path = write_exr(
            tmp_path / "d.exr", Z=np.random.default_rng(0).random((60, 80), np.float32)
        )
        path.write_bytes(path.read_bytes()[:2000])
        with pytest.raises(InputError, match="is damaged") as caught:
            read_depth(path)
        assert "\n" not in str(caught.value)


class TestBombs:
    """Headers that claim more than 64 megapixels are refused before anything is decoded."""

    def test_png(self, tmp_path: Path) -> None:
        Image.fromarray(np.ones((30, 40), np.uint16)).save(tmp_path / "d.png")
        data = bytearray((tmp_path / "d.png").read_bytes())
        data[16:24] = struct.pack(">II", 40_000, 30_000)
        (tmp_path / "d.png").write_bytes(bytes(data))
        with pytest.raises(InputError, match="claims 40000x30000 px, more than 64 megapixels"):
            read_depth(tmp_path / "d.png")

    def test_tiff(self, tmp_path: Path) -> None:
        Image.fromarray(np.ones((30, 40), np.uint16)).save(tmp_path / "d.tif")
        data = (tmp_path / "d.tif").read_bytes()
        width, height = (struct.pack("<HHII", tag, 4, 1, n) for tag, n in ((256, 40), (257, 30)))
        assert width in data, "Pillow writes sizes otherwise by now: mend the test"
        data = data.replace(width, struct.pack("<HHII", 256, 4, 1, 40_000))
        data = data.replace(height, struct.pack("<HHII", 257, 4, 1, 30_000))
        (tmp_path / "d.tif").write_bytes(data)
        with pytest.raises(InputError, match="claims 40000x30000 px"):
            read_depth(tmp_path / "d.tif")

    @pytest.mark.parametrize("suffix", [".npy", ".npz"])
    def test_npy(self, tmp_path: Path, suffix: str) -> None:
        file = io.BytesIO()
        header = {"descr": "<f4", "fortran_order": False, "shape": (30_000, 40_000)}
        np.lib.format.write_array_header_1_0(file, header)
        path = tmp_path / f"d{suffix}"
        path.write_bytes(file.getvalue())
        if suffix == ".npz":
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("disparity.npy", file.getvalue())
        with pytest.raises(InputError, match="claims 40000x30000 px"):
            read_depth(path)

    def test_an_array_shorter_than_it_claims(self, tmp_path: Path) -> None:
        np.save(tmp_path / "d.npy", ramp())
        data = (tmp_path / "d.npy").read_bytes()
        (tmp_path / "d.npy").write_bytes(data[:-100])
        with pytest.raises(InputError, match="cannot read depth file"):
            read_depth(tmp_path / "d.npy")


class TestFill:
    def test_what_is_valid_stays(self) -> None:
        noise = np.random.default_rng(0).uniform(1, 2, (30, 40)).astype(np.float32)
        valid = np.random.default_rng(1).random((30, 40)) > 0.3
        assert np.array_equal(fill_missing(noise, valid)[valid], noise[valid])

    def test_beside_a_depth_edge_the_farther_side_is_taken(self) -> None:
        disparity = np.full((30, 40), 0.3, np.float32)
        disparity[:, 20:] = 1.0
        valid = np.ones((30, 40), bool)
        valid[:, 14:20] = False  # what the left camera sees and the right one does not
        assert (fill_missing(disparity, valid) == disparity).all()
        assert (fill_missing(disparity[:, ::-1], valid[:, ::-1]) == disparity[:, ::-1]).all()

    def test_a_gap_in_a_slanted_surface_is_interpolated(self) -> None:
        valid = np.ones((120, 40), bool)
        valid[50:54, 5:35] = False
        assert np.abs(fill_missing(ramp(40, 120), valid) - ramp(40, 120)).max() < 0.02

    def test_shadows_of_a_synthetic_scene(self) -> None:
        truth = two_cards().disparity()
        shadow = np.zeros(truth.shape, bool)
        for shift in range(1, 9):  # pixels whose right neighbour within 8 px is much nearer
            shadow[:, :-shift] |= truth[:, shift:] > truth[:, :-shift] + 0.2
        filled = fill_missing(np.where(shadow, np.float32(np.nan), truth), ~shadow)
        assert shadow.mean() > 0.01
        assert (np.abs(filled - truth)[shadow] < 0.02).mean() > 0.99

    def test_one_valid_pixel_fills_everything(self) -> None:
        valid = np.zeros((30, 40), bool)
        valid[7, 9] = True
        assert (fill_missing(ramp(), valid) == ramp()[7, 9]).all()

    def test_what_lies_under_missing_pixels_is_not_read(self) -> None:
        valid = np.random.default_rng(0).random((30, 40)) > 0.5
        for junk in (np.nan, np.inf, -1e30):
            got = fill_missing(np.where(valid, ramp(), np.float32(junk)), valid)
            assert np.array_equal(got, fill_missing(ramp(), valid))


@pytest.mark.shared
def test_every_shared_truth_is_read(shared_data: Path) -> None:
    paths = sorted((shared_data / "stereo").glob("*_disp.npz"))
    for path in paths:
        result = read_depth(path)
        height, width = result.disparity.shape
        got = canonical_disparity(result, photo_of(width, height))
        assert np.percentile(got.disparity, 99.5) == pytest.approx(1, rel=1e-3)
    assert paths
