"""Soft edges: what is mixed is taken apart, and put together again."""

import math

import numpy as np
import pytest

from diorama.matting import MattingConfig, composite, edge_matte, reconcile


def mixed_edge(blur_px: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A red half before a blue one with a blurred upright edge at x = 40: rgb, truth, inside."""
    x = np.arange(80) + 0.5
    alpha = np.clip(0.5 - (x - 40) / (2 * blur_px), 0, 1)
    alpha = np.repeat(alpha[None, :], 60, 0).astype(np.float32)
    front, back = np.array([0.9, 0.1, 0.1]), np.array([0.1, 0.2, 0.8])
    rgb = alpha[..., None] * front + (1 - alpha[..., None]) * back
    return rgb.astype(np.float32), alpha, np.repeat((x < 40)[None, :], 60, 0)


def edge_pixels(inside: np.ndarray) -> np.ndarray:
    y, x = np.nonzero(inside[:, :-1] & ~inside[:, 1:])
    width = inside.shape[1]
    return np.concatenate([y * width + x, y * width + x + 1])


@pytest.mark.parametrize("blur_px", [0.5, 1.0, 2.0])
def test_alpha_and_clean_colour_of_a_blurred_edge(blur_px: float) -> None:
    rgb, truth, inside = mixed_edge(blur_px)
    matte = edge_matte(
        rgb, inside, ~inside, edge_pixels(inside), config=MattingConfig(min_band_px=3.5)
    )
    error = np.abs(matte.alpha - truth.ravel()[matte.pixels])
    assert error.mean() < 0.06
    seen = matte.alpha > 0.1
    assert np.abs(matte.color[seen] - [0.9, 0.1, 0.1]).max() < 0.02, "no blue in the foreground"


def test_where_colours_tell_nothing_the_edge_is_where_the_mask_ends() -> None:
    _, _, inside = mixed_edge(1.0)
    grey = np.full((60, 80, 3), 0.5, np.float32)
    matte = edge_matte(grey, inside, ~inside, edge_pixels(inside), config=MattingConfig())
    x = matte.pixels % 80
    assert (matte.alpha[x < 39] > 0.9).all()
    assert (matte.alpha[x > 40] < 0.1).all()


def test_texture_alone_makes_no_holes_in_the_foreground() -> None:
    rng = np.random.default_rng(0)
    _, _, inside = mixed_edge(1.0)
    rgb = rng.random((60, 80, 3)).astype(np.float32)
    matte = edge_matte(
        rgb, inside, ~inside, edge_pixels(inside), config=MattingConfig(min_band_px=3.5)
    )
    deep = matte.pixels % 80 < 38
    assert matte.alpha[deep].min() > 0.7


def test_no_edge_no_matte() -> None:
    rgb, _, inside = mixed_edge(1.0)
    matte = edge_matte(rgb, inside, ~inside, np.empty(0, np.int64), config=MattingConfig())
    assert len(matte.pixels) == len(matte.alpha) == len(matte.color) == 0


def test_reconciled_layers_are_the_photo_again() -> None:
    rgb, truth, _ = mixed_edge(2.0)
    rng = np.random.default_rng(0)
    back = np.empty((60, 80, 4), np.float32)
    back[..., :3], back[..., 3] = rng.random(3), 1  # a fill that is quite wrong
    hole = truth > 0
    back[~hole, :3] = rgb[~hole]
    front = np.empty((60, 80, 4), np.float32)
    front[..., :3], front[..., 3] = [0.8, 0.2, 0.1], truth
    front[truth == 1, :3] = rgb[truth == 1]
    layers = [(back, hole), (front, np.zeros_like(hole))]
    reconcile(rgb, layers)
    np.testing.assert_allclose(composite([back, front])[0], rgb, atol=2e-3)
    for rgba in (back, front):
        assert rgba.min() >= 0
        assert rgba.max() <= 1
    np.testing.assert_array_equal(back[~hole, :3], rgb[~hole])


def test_a_pixel_no_layer_covers_becomes_opaque() -> None:
    rgb = np.full((4, 4, 3), 0.3, np.float32)
    rgba = np.zeros((4, 4, 4), np.float32)
    reconcile(rgb, [(rgba, np.zeros((4, 4), bool))])
    np.testing.assert_allclose(composite([rgba])[0], rgb, atol=1e-6)


def defocused(sigma_px: float) -> tuple[np.ndarray, np.ndarray]:
    """A red half before a blue one, sharp above row 60 and out of focus below row 100."""
    x, row = np.arange(120) + 0.5, np.arange(160)[:, None]
    sigma = np.interp(row, [60, 100], [0.3, sigma_px])
    alpha = (0.5 - np.vectorize(math.erf)((x - 60) / (math.sqrt(2) * sigma)) / 2)[..., None]
    rgb = alpha * np.array([0.9, 0.1, 0.1]) + (1 - alpha) * np.array([0.1, 0.2, 0.8])
    return rgb.astype(np.float32), alpha[..., 0].astype(np.float32)


def test_the_band_is_wide_only_where_the_photo_is_out_of_focus() -> None:
    rgb, truth = defocused(2.5)
    inside = np.repeat((np.arange(120) < 60)[None, :], 160, 0)
    matte = edge_matte(rgb, inside, ~inside, edge_pixels(inside), config=MattingConfig())
    alpha = inside.astype(np.float32)
    alpha.ravel()[matte.pixels] = matte.alpha
    in_band = np.zeros(inside.size, bool)
    in_band[matte.pixels] = True
    width = in_band.reshape(inside.shape).sum(1)
    assert (width[5:25] <= 4).all()
    assert (width[130:] >= 8).all()
    assert matte.band_px.max() > 4
    assert np.abs(alpha - truth)[130:, 50:70].mean() < 0.03
    assert np.abs(inside - truth)[130:, 50:70].mean() > 0.09
