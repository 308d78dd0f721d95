"""Harmonised depth: sharp on significant mask edges, untouched elsewhere."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from diorama import testing
from diorama.camera import Camera
from diorama.errors import InputError
from diorama.harmonise import HarmoniseConfig, harmonise
from diorama.masks import Masks
from diorama.photo import Photo

SCENES = {
    "two_cards": testing.two_cards,
    "floor_and_people": testing.floor_and_people,
    "sphere_before_wall": testing.sphere_before_wall,
    "fence": testing.fence,
}


def photo_like(disparity):
    height, width = disparity.shape
    rgb = np.full((height, width, 3), 0.5, np.float32)
    return Photo(rgb, np.zeros((height, width, 3), np.uint8), Camera.from_fov(width, height))


def masks_of(labels):
    return Masks(labels.astype(np.int32), np.unique(labels).astype(np.int32))


def blurred(disparity, sigma):
    return cv2.GaussianBlur(disparity, (0, 0), sigma)


def two_halves(near=0.8, far=0.2, shape=(60, 80)):
    labels = np.zeros(shape, np.int32)
    labels[:, shape[1] // 2 :] = 1
    return np.where(labels == 1, near, far).astype(np.float32), masks_of(labels)


def near_edges(disparity, jump=0.04, reach=8):
    flat = np.ones(disparity.shape, np.uint8)
    rows = np.abs(np.diff(disparity, axis=0)) > jump
    columns = np.abs(np.diff(disparity, axis=1)) > jump
    flat[:-1][rows] = flat[1:][rows] = 0
    flat[:, :-1][columns] = flat[:, 1:][columns] = 0
    return cv2.distanceTransform(flat, cv2.DIST_L2, 5) < reach


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("sigma", [1.0, 2.5, 5.0])
def test_blurred_scenes_get_their_edges_back(scene, sigma):
    scene = SCENES[scene]()
    truth, masks = scene.disparity(), scene.masks()
    estimate = blurred(truth, sigma)
    result = harmonise(scene.photo(), estimate, masks).disparity
    near = near_edges(truth)
    before, after = np.abs(estimate - truth), np.abs(result - truth)
    assert after[near].mean() < 0.35 * before[near].mean()
    assert after[~near].mean() <= 1.01 * before[~near].mean()


@pytest.mark.parametrize("scene", SCENES)
def test_exact_disparity_stays_as_it_is(scene):
    scene = SCENES[scene]()
    truth = scene.disparity()
    result = harmonise(scene.photo(), truth, scene.masks())
    np.testing.assert_array_equal(result.disparity, truth)
    assert result.report.blur_radius_px == 0


def test_contract():
    truth, masks = two_halves()
    estimate = blurred(truth, 3)
    photo = photo_like(truth)
    kept = estimate.copy(), masks.labels.copy(), photo.rgb.copy()
    result = harmonise(photo, estimate, masks)
    assert result.disparity.shape == truth.shape
    assert result.disparity.dtype == np.float32
    assert result.disparity.flags.c_contiguous
    for before, now in zip(kept, (estimate, masks.labels, photo.rgb), strict=True):
        np.testing.assert_array_equal(before, now)


def test_a_blurred_step_becomes_the_step_at_the_mask_edge():
    truth, masks = two_halves()
    result = harmonise(photo_like(truth), blurred(truth, 3), masks)
    np.testing.assert_allclose(result.disparity, truth, atol=0.01)
    assert result.report.blur_radius_px == pytest.approx(3, abs=0.2)
    assert result.report.edge_shift_px == pytest.approx(0, abs=1)
    assert result.report.num_significant_edges == 1


def test_a_misplaced_edge_moves_onto_the_mask_edge():
    truth, masks = two_halves()
    estimate = blurred(np.roll(truth, 2, axis=1), 4)
    estimate[:, :20] = 0.2
    result = harmonise(photo_like(truth), estimate, masks)
    jump = result.disparity[:, 40] - result.disparity[:, 39]
    assert (jump > 0.3).all()
    assert result.report.edge_shift_px == pytest.approx(2, abs=0.5)


def test_a_mask_edge_across_a_floor_leaves_the_floor_a_plane():
    y, x = np.mgrid[:80, :120].astype(np.float32)
    floor = 0.1 + 0.008 * y + 0.001 * x
    labels = (np.hypot(x - 50, y - 40) < 25).astype(np.int32)
    labels[:, 100:] = 2
    truth = floor.copy()
    truth[:, 100:] += 0.3
    estimate = blurred(truth, 2.5)
    result = harmonise(photo_like(truth), estimate, masks_of(labels)).disparity
    np.testing.assert_allclose(result[5:-5, 5:-5], truth[5:-5, 5:-5], atol=0.02)
    np.testing.assert_array_equal(result[:, :80], estimate[:, :80])


def test_a_stripe_of_a_mask_leaves_a_noisy_floor_a_plane():
    y, x = np.mgrid[:160, :240].astype(np.float32)
    floor = 0.1 + 0.003 * y + 0.0005 * x
    card = (x > 180) & (y < 110)
    truth = np.where(card, 0.9, floor).astype(np.float32)
    noise = np.random.default_rng(0).standard_normal(truth.shape).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 2.4)
    estimate = blurred(truth, 2.5) + 0.005 * noise / noise.std()
    labels = np.where(card, 2, np.abs(y - 0.4 * x - 40) < 6)  # a stripe across the floor
    result = harmonise(photo_like(truth), estimate, masks_of(labels))
    assert result.report.num_significant_edges >= 1  # the card's
    near_card = cv2.dilate(card.astype(np.uint8), np.ones((23, 23))) > 0
    beside_stripe = (np.abs(y - 0.4 * x - 40) < 16) & ~near_card
    inside = beside_stripe & (x > 8) & (y > 8) & (y < 152)
    design = np.stack([np.ones(inside.sum()), x[inside], y[inside]], 1)
    residuals = []
    for disparity in (estimate, result.disparity):
        values = disparity[inside].astype(np.float64)
        plane = np.linalg.lstsq(design, values, rcond=None)[0]
        np.testing.assert_allclose(plane, [0.1, 0.0005, 0.003], atol=2e-3)
        residuals.append(values - design @ plane)
    assert np.abs(residuals[1]).mean() <= 1.02 * np.abs(residuals[0]).mean()
    assert np.abs(residuals[1] - residuals[0]).max() < 0.01


def test_an_edge_that_no_mask_has_is_sharpened_where_the_photo_has_it():
    y, x = np.mgrid[:120, :160]
    card, missed = x >= 100, (x >= 30) & (x < 70) & (y >= 30) & (y < 90)
    truth = np.where(card, 0.9, np.where(missed, 0.6, 0.2)).astype(np.float32)
    estimate = blurred(truth, 3)
    photo = photo_like(truth)
    photo = replace(photo, rgb=np.where(missed[..., None], np.float32(0.9), photo.rgb))
    result = harmonise(photo, estimate, masks_of(card)).disparity
    near = near_edges(truth) & (x < 85)
    error = np.abs(result - truth)[near].mean()
    assert error < 0.35 * np.abs(estimate - truth)[near].mean()


def test_a_mask_edge_beside_an_estimates_edge_moves_onto_it():
    truth, _ = two_halves(shape=(60, 120))
    labels = np.zeros(truth.shape)
    labels[:, 65:] = 1  # 5 px, more than two blurs, off
    estimate = blurred(truth, 2)
    result = harmonise(photo_like(truth), estimate, masks_of(labels)).disparity
    assert np.abs(result - truth).mean() < 0.5 * np.abs(estimate - truth).mean()


def test_a_sharp_edge_inside_a_mask_is_not_smeared():
    truth, masks = two_halves(shape=(80, 120))
    estimate = blurred(truth, 2)
    estimate[20:60, 15:30] += 0.3
    result = harmonise(photo_like(truth), estimate, masks).disparity
    np.testing.assert_allclose(result[:, :35], estimate[:, :35], atol=0.05)


def test_scaled_disparity_gives_a_scaled_result():
    scene = testing.two_cards(160, 120)
    estimate = blurred(scene.disparity(), 2)
    one = harmonise(scene.photo(), estimate, scene.masks()).disparity
    four = harmonise(scene.photo(), estimate * 4, scene.masks()).disparity
    np.testing.assert_allclose(four, 4 * one, rtol=1e-4, atol=1e-4)


def test_a_mirrored_photo_gives_a_mirrored_result():
    scene = testing.two_cards(161, 120)
    estimate, labels = blurred(scene.disparity(), 2), scene.masks().labels
    one = harmonise(photo_like(estimate), estimate, masks_of(labels)).disparity
    flipped, flipped_labels = (np.ascontiguousarray(a[:, ::-1]) for a in (estimate, labels))
    two = harmonise(photo_like(flipped), flipped, masks_of(flipped_labels)).disparity
    np.testing.assert_allclose(two[:, ::-1], one, atol=0.003)


def test_constant_disparity_stays():
    _, masks = two_halves()
    constant = np.full((60, 80), 0.4, np.float32)
    result = harmonise(photo_like(constant), constant, masks)
    np.testing.assert_array_equal(result.disparity, constant)


def test_sky_stays_at_infinity_and_nothing_becomes_negative():
    truth, masks = two_halves(near=0.5, far=0.0)
    estimate = blurred(truth, 3)
    estimate[estimate < 0.002] = 0
    result = harmonise(photo_like(truth), estimate, masks).disparity
    assert (result >= 0).all()
    assert (result[estimate == 0] == 0).all()
    assert (result[:, :40] < 0.01).all()


def test_low_confidence_gives_way_to_the_masks_surfaces():
    truth, masks = two_halves()
    estimate = blurred(truth, 2)
    estimate[25:35, 10:20] += 0.3
    confidence = np.ones_like(estimate)
    confidence[22:38, 7:23] = 0
    result = harmonise(photo_like(truth), estimate, masks, confidence=confidence).disparity
    np.testing.assert_allclose(result[25:35, 10:20], 0.2, atol=0.02)


def test_no_confidence_at_all_still_gives_the_masks_surfaces():
    truth, masks = two_halves()
    confidence = np.zeros_like(truth)
    result = harmonise(photo_like(truth), blurred(truth, 2), masks, confidence=confidence)
    np.testing.assert_allclose(result.disparity, truth, atol=0.05)


def test_starting_from_the_solution_saves_iterations_and_changes_little():
    scene = testing.two_cards(160, 120)
    estimate = blurred(scene.disparity(), 2)
    cold = harmonise(scene.photo(), estimate, scene.masks())
    warm = harmonise(scene.photo(), estimate, scene.masks(), initial=cold.disparity)
    assert warm.report.iterations <= cold.report.iterations
    np.testing.assert_allclose(warm.disparity, cold.disparity, atol=0.02)


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (2, 3), (7, 64)])
def test_tiny_photos(shape):
    disparity = np.linspace(0.1, 1, shape[0] * shape[1], dtype=np.float32).reshape(shape)
    labels = (disparity > 0.5).astype(np.int32)
    config = HarmoniseConfig(blur_px=2.0)
    result = harmonise(photo_like(disparity), disparity, masks_of(labels), config=config)
    assert result.disparity.shape == shape
    assert np.isfinite(result.disparity).all()


def test_one_mask_changes_nothing():
    estimate = blurred(two_halves()[0], 3)
    masks = masks_of(np.zeros(estimate.shape))
    result = harmonise(photo_like(estimate), estimate, masks).disparity
    np.testing.assert_array_equal(result, estimate)


def test_a_mask_of_every_pixel_is_survived():
    estimate = blurred(two_halves((0.8), 0.2, (24, 32))[0], 2)
    masks = masks_of(np.arange(estimate.size).reshape(estimate.shape))
    config = HarmoniseConfig(blur_px=2.0)
    result = harmonise(photo_like(estimate), estimate, masks, config=config).disparity
    assert np.isfinite(result).all()
    assert np.abs(result - estimate).max() < 0.6


def test_one_and_two_threads_give_the_same_bytes(monkeypatch):
    scene = testing.floor_and_people(320, 240)
    estimate = blurred(scene.disparity(), 2)
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        results.append(harmonise(scene.photo(), estimate, scene.masks()).disparity.tobytes())
    assert results[0] == results[1]


def test_what_does_not_fit_is_refused_in_one_line():
    truth, masks = two_halves()
    photo = photo_like(truth)
    with pytest.raises(InputError, match=r"disparity must be \(60, 80\) float32"):
        harmonise(photo, truth[:-1], masks)
    broken = truth.copy()
    broken[3, 4] = np.nan
    with pytest.raises(InputError, match="must be finite"):
        harmonise(photo, broken, masks)
    with pytest.raises(InputError, match="labels must be"):
        harmonise(photo, truth, replace(masks, labels=masks.labels[:, :-1]))
    with pytest.raises(InputError, match=r"confidence must lie in 0\.\.1"):
        harmonise(photo, truth, masks, confidence=truth * 2)


@pytest.mark.parametrize(
    ("field", "value"),
    [("blur_px", -1.0), ("max_blur", 0.5), ("smoothness", 0.0), ("evidence", -1.0), ("rounds", 0)],
)
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        HarmoniseConfig(**{field: value})


def test_a_sky_cut_out_to_the_pixel_does_not_hide_the_blur_elsewhere() -> None:
    height, width = 160, 240
    labels = np.ones((height, width), np.int32)
    labels[:, width // 2 :] = 2
    labels[:60] = 0
    disparity = np.where(labels == 1, np.float32(0.3), np.float32(0.8))
    disparity = cv2.GaussianBlur(disparity, (0, 0), 3)
    disparity[:60] = 0
    rgb = np.float32([[0.6, 0.7, 0.9], [0.2, 0.4, 0.2], [0.7, 0.3, 0.2]])[labels]
    texture = np.rint(rgb * 255).astype(np.uint8)
    photo = Photo(rgb, texture, Camera.from_fov(width, height))

    found = harmonise(photo, disparity, Masks(labels, np.arange(3, dtype=np.int32)))

    assert found.report.blur_radius_px == pytest.approx(3, rel=0.2)
    assert found.disparity[:59].max() < 0.02
    step = found.disparity[110, width // 2] - found.disparity[110, width // 2 - 1]
    assert step > 0.4
