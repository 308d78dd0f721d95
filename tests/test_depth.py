"""Depth in every kind becomes canonical disparity."""

import numpy as np
import pytest

from diorama.depth import DepthResult, canonical_disparity
from diorama.errors import InputError
from diorama.photo import Photo, load_photo


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
