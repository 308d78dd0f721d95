"""Depth in every kind becomes canonical disparity; files with gaps are filled from behind."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama.depth import DepthResult, canonical_disparity, fill_missing, read_depth
from diorama.errors import InputError
from diorama.photo import Photo, load_photo
from diorama.testing import two_cards


def photo_of(width: int, height: int) -> Photo:
    return load_photo(np.zeros((height, width, 3), np.uint8))


def ramp(width: int = 40, height: int = 30) -> np.ndarray:
    """From 2 at the top to 6 at the bottom."""
    return np.repeat(np.linspace(2, 6, height, dtype=np.float32)[:, None], width, axis=1)


class TestAffine:
    def test_percentiles_go_to_far_and_one(self) -> None:
        got = canonical_disparity(DepthResult(ramp(), "affine"), photo_of(40, 30))
        low, high = np.percentile(got.disparity, (0.5, 99.5))
        assert low == pytest.approx(0.1, abs=0.01)
        assert high == pytest.approx(1, abs=0.01)
        assert (got.scale, got.metric) == (1, False)
        assert got.disparity.dtype == np.float32

    def test_it_does_not_depend_on_scale_and_shift(self) -> None:
        a = canonical_disparity(DepthResult(ramp(), "affine"), photo_of(40, 30))
        b = canonical_disparity(DepthResult(ramp() * 7 + 3, "affine"), photo_of(40, 30))
        assert np.abs(a.disparity - b.disparity).max() < 1e-5

    def test_outliers_keep_their_order_and_are_never_cut_off(self) -> None:
        estimate = ramp(400, 300)
        estimate[0, :3] = 1.5, 0.5, 0.0
        estimate[-1, :3] = 20, 40, 80
        got = canonical_disparity(DepthResult(estimate, "affine"), photo_of(400, 300)).disparity
        assert 1 < got[-1, 0] < got[-1, 1] < got[-1, 2] < 6
        assert 0 < got[0, 2] < got[0, 1] < got[0, 0] < 0.1

    def test_the_knee_has_no_kink(self) -> None:
        estimate = np.linspace(0, 1, 100 * 100, dtype=np.float32).reshape(100, 100)
        got = canonical_disparity(DepthResult(estimate, "affine"), photo_of(100, 100)).disparity
        slope = np.diff(got.ravel().astype(np.float64))
        assert (slope > 0).all()
        assert np.abs(np.diff(slope)).max() < 1e-2 * slope.max()

    def test_sky_is_zero_and_lets_the_far_end_go_to_zero(self) -> None:
        sky = np.zeros((30, 40), np.float32)
        sky[:10] = 1
        got = canonical_disparity(DepthResult(ramp(), "affine", sky=sky), photo_of(40, 30))
        assert (got.disparity[:10] == 0).all()
        low, high = np.percentile(got.disparity[10:], (0.5, 99.5))
        assert low == pytest.approx(0, abs=0.01)
        assert high == pytest.approx(1, abs=0.01)

    def test_a_photo_of_nothing_but_sky_is_far(self) -> None:
        sky = np.ones((30, 40), np.float32)
        got = canonical_disparity(DepthResult(ramp(), "affine", sky=sky), photo_of(40, 30))
        assert not got.disparity.any()

    @pytest.mark.parametrize("value", [0.0, 5.0])
    def test_a_constant_is_a_flat_near_surface(self, value: float) -> None:
        flat = np.full((30, 40), value, np.float32)
        got = canonical_disparity(DepthResult(flat, "affine"), photo_of(40, 30))
        assert (got.disparity == 1).all()


class TestRelative:
    def test_it_is_only_scaled(self) -> None:
        got = canonical_disparity(DepthResult(ramp(), "relative"), photo_of(40, 30))
        assert np.percentile(got.disparity, 99.5) == pytest.approx(1)
        assert got.scale == pytest.approx(1 / np.percentile(ramp(), 99.5))
        assert np.array_equal(got.disparity, ramp() * np.float32(got.scale))
        assert got.metric is False

    def test_the_nearest_percent_is_not_cut_off(self) -> None:
        disparity = ramp(400, 300)
        disparity[-1, :3] = 80
        got = canonical_disparity(DepthResult(disparity, "relative"), photo_of(400, 300))
        assert got.disparity.max() == pytest.approx(80 * got.scale)

    @pytest.mark.parametrize("value", [0.0, 5.0])
    def test_a_constant_stays_constant(self, value: float) -> None:
        flat = np.full((30, 40), value, np.float32)
        got = canonical_disparity(DepthResult(flat, "relative"), photo_of(40, 30))
        assert (got.disparity == (1 if value else 0)).all()

    def test_a_single_near_pixel_before_infinity_counts(self) -> None:
        disparity = np.zeros((30, 40), np.float32)
        disparity[15, 20] = 4
        got = canonical_disparity(DepthResult(disparity, "relative"), photo_of(40, 30))
        assert got.disparity[15, 20] == 1


class TestMetric:
    def test_the_metre_is_kept(self) -> None:
        got = canonical_disparity(DepthResult(ramp(), "metric"), photo_of(40, 30))
        assert np.array_equal(got.disparity, ramp())
        assert (got.scale, got.metric) == (1, True)


class TestSize:
    def test_a_map_of_the_photos_size_keeps_its_pixels(self) -> None:
        noise = np.random.default_rng(0).uniform(1, 2, (30, 40)).astype(np.float32)
        got = canonical_disparity(DepthResult(noise, "metric"), photo_of(40, 30))
        assert np.array_equal(got.disparity, noise)

    @pytest.mark.parametrize("size", [(20, 15), (80, 60), (81, 60)])
    def test_another_size_is_brought_to_the_photos(self, size: tuple[int, int]) -> None:
        confidence = np.ones(size[::-1], np.float32)
        result = DepthResult(ramp(*size), "metric", confidence)
        got = canonical_disparity(result, photo_of(40, 30))
        assert got.disparity.shape == (30, 40)
        assert np.abs(got.disparity - ramp()).max() < 0.12
        assert got.confidence is not None
        assert np.abs(got.confidence - 1).max() < 1e-6

    def test_another_aspect_is_refused_with_both_sizes(self) -> None:
        with pytest.raises(InputError, match="map is 40x40 px and the photo 40x30 px"):
            canonical_disparity(DepthResult(ramp(40, 40), "metric"), photo_of(40, 30))

    @pytest.mark.parametrize("wrong", [np.nan, np.inf, -1])
    def test_values_that_are_no_disparity_are_refused(self, wrong: float) -> None:
        disparity = ramp()
        disparity[3, 4] = wrong
        with pytest.raises(InputError, match="must be finite and not negative"):
            canonical_disparity(DepthResult(disparity, "affine"), photo_of(40, 30))

    def test_the_estimate_is_not_changed(self) -> None:
        for kind in ("affine", "relative", "metric"):
            estimate, sky = ramp(), (ramp() < 3).astype(np.float32)
            canonical_disparity(DepthResult(estimate, kind, sky=sky), photo_of(40, 30))
            assert np.array_equal(estimate, ramp())


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

    def test_the_kind_can_be_told(self, tmp_path: Path) -> None:
        np.save(tmp_path / "d.npy", ramp())
        assert read_depth(tmp_path / "d.npy", kind="affine").kind == "affine"

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
            ("d.jpg", b"", r"a depth file is a 16-bit \.png, an \.npy or an \.npz"),
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
            (np.array([[None]]), "cannot read depth file"),
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
