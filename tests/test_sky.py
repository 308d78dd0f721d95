"""Sky is found to the pixel, and nothing else is taken for it."""

import cv2
import numpy as np
import pytest

from diorama.models.sky import find_sky


def landscape(sky: tuple[float, float, float], height: int = 200, width: int = 300) -> np.ndarray:
    """Rough ground, dark green, below a smooth sky."""
    rgb = np.empty((height, width, 3), np.float32)
    rgb[:] = sky
    ground = height // 2
    rough = np.random.default_rng(0).random((height - ground, width, 1)).astype(np.float32)
    rgb[ground:] = np.float32([0.15, 0.3, 0.1]) * (0.5 + rough)
    return rgb


def nearer_below(rgb: np.ndarray) -> np.ndarray:
    height, width = rgb.shape[:2]
    return np.linspace(0, 1, height, dtype=np.float32)[:, None].repeat(width, 1)


@pytest.mark.parametrize(
    "color",
    [(0.45, 0.65, 0.95), (0.93, 0.95, 0.97), (0.1, 0.12, 0.3), (0.05, 0.06, 0.2)],
    ids=["blue", "overcast", "dusk", "night"],
)
def test_sky_is_found_to_the_pixel(color) -> None:
    rgb = landscape(color)
    kept = rgb.copy()

    sky = find_sky(rgb, nearer_below(rgb))

    assert sky is not None
    np.testing.assert_array_equal(sky[:99], 1)
    np.testing.assert_array_equal(sky[102:], 0)
    np.testing.assert_array_equal(rgb, kept)


@pytest.mark.parametrize("color", [(0.03, 0.03, 0.035), (0.03, 0.04, 0.09)])
def test_black_is_no_sky(color) -> None:
    rgb = landscape(color)
    assert find_sky(rgb, nearer_below(rgb)) is None


def test_what_is_near_is_no_sky() -> None:
    rgb = landscape((0.45, 0.65, 0.95))
    assert find_sky(rgb, nearer_below(rgb)[::-1].copy()) is None


def test_the_skyline_follows_the_full_size_photo() -> None:
    rgb = cv2.resize(landscape((0.45, 0.65, 0.95)), (1200, 800), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:800, :1200]
    hill = y > 330 + 60 * np.sin(x / 90)
    rgb[:] = (0.45, 0.65, 0.95)
    rgb[hill] = (0.2, 0.3, 0.1)

    sky = find_sky(rgb, nearer_below(rgb))

    assert sky is not None
    assert ((sky > 0) == hill).mean() < 1e-3


def test_a_white_wall_and_a_ceiling_are_no_sky() -> None:
    wall = np.full((200, 300, 3), 0.93, np.float32)
    wall[60:, 100:200] = (0.5, 0.2, 0.2)
    ceiling = np.full((200, 300, 3), (0.85, 0.8, 0.7), np.float32)
    ceiling[90:] = (0.4, 0.3, 0.2)

    for rgb in (wall, ceiling):
        assert find_sky(rgb, nearer_below(rgb)) is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2), (5, 3), (3, 900)])
def test_the_smallest_photos(shape) -> None:
    rgb = np.linspace(0, 1, shape[0] * shape[1] * 3, dtype=np.float32).reshape(*shape, 3)
    sky = find_sky(rgb, nearer_below(rgb))
    assert sky is None or sky.shape == shape
