"""The embedded depth estimator: what it can know, and what it must not claim."""

import cv2
import numpy as np
import pytest

from diorama import testing
from diorama.camera import Camera
from diorama.depth import canonical_disparity
from diorama.models.cue_depth import CueDepth
from diorama.photo import Photo


def photo_of(rgb: np.ndarray) -> Photo:
    texture = np.rint(rgb * 255).astype(np.uint8)
    return Photo(rgb.astype(np.float32), texture, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


def landscape(sky: tuple[float, float, float], height: int = 200, width: int = 300) -> np.ndarray:
    """Rough ground, dark green, below a smooth sky."""
    rgb = np.empty((height, width, 3), np.float32)
    rgb[:] = sky
    ground = height // 2
    rough = np.random.default_rng(0).random((height - ground, width, 1)).astype(np.float32)
    rgb[ground:] = np.float32([0.15, 0.3, 0.1]) * (0.5 + rough)
    return rgb


def test_the_result_is_an_affine_disparity_at_the_photos_size() -> None:
    photo = testing.floor_and_people().photo()
    kept = photo.rgb.copy()

    depth = CueDepth().estimate(photo)

    assert depth.kind == "affine"
    assert depth.disparity.shape == photo.rgb.shape[:2]
    assert depth.disparity.dtype == np.float32
    assert np.isfinite(depth.disparity).all()
    assert (depth.disparity >= 0).all()
    np.testing.assert_array_equal(photo.rgb, kept)


def test_the_ground_comes_nearer_towards_the_bottom() -> None:
    disparity = CueDepth().estimate(testing.floor_and_people().photo()).disparity

    rows = disparity[:, 150:165].mean(1)
    assert (np.diff(rows[150:236]) > 0).all()


def test_what_stands_on_the_ground_is_nearer_than_what_it_hides() -> None:
    scene = testing.floor_and_people()
    disparity = CueDepth().estimate(scene.photo()).disparity
    card = scene.masks().labels == 2

    top = np.flatnonzero(card.any(1))[0] + 8
    columns = np.flatnonzero(card[top])[5:-5]
    assert disparity[top, columns].mean() > disparity[top, columns + 60].mean() + 0.05


@pytest.mark.parametrize(
    "color",
    [(0.45, 0.65, 0.95), (0.93, 0.95, 0.97), (0.1, 0.12, 0.3), (0.03, 0.03, 0.04)],
    ids=["blue", "overcast", "dusk", "night"],
)
def test_sky_is_found_to_the_pixel(color) -> None:
    photo = photo_of(landscape(color))

    depth = CueDepth().estimate(photo)

    assert depth.sky is not None
    np.testing.assert_array_equal(depth.sky[:99], 1)
    np.testing.assert_array_equal(depth.sky[102:], 0)
    assert (canonical_disparity(depth, photo).disparity[:99] == 0).all()


def test_the_skyline_follows_the_full_size_photo() -> None:
    rgb = cv2.resize(landscape((0.45, 0.65, 0.95)), (1200, 800), interpolation=cv2.INTER_LINEAR)
    y, x = np.mgrid[:800, :1200]
    hill = y > 330 + 60 * np.sin(x / 90)
    rgb[:] = (0.45, 0.65, 0.95)
    rgb[hill] = (0.2, 0.3, 0.1)

    sky = CueDepth().estimate(photo_of(rgb)).sky

    assert sky is not None
    assert ((sky > 0) == hill).mean() < 1e-3


def test_a_white_wall_and_a_ceiling_are_no_sky() -> None:
    wall = np.full((200, 300, 3), 0.93, np.float32)
    wall[60:, 100:200] = (0.5, 0.2, 0.2)
    ceiling = np.full((200, 300, 3), (0.85, 0.8, 0.7), np.float32)
    ceiling[90:] = (0.4, 0.3, 0.2)

    for rgb in (wall, ceiling):
        sky = CueDepth().estimate(photo_of(rgb)).sky
        assert sky is not None
        assert not sky.any()


def test_its_guessed_edges_are_not_sharp() -> None:
    photo = testing.two_cards().photo()

    disparity = CueDepth().estimate(photo).disparity

    assert np.abs(np.diff(disparity, axis=1)).max() < 0.1 * np.ptp(disparity)


def test_the_same_photo_gives_the_same_bytes(monkeypatch) -> None:
    photo = testing.sphere_before_wall().photo()
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        results.append(CueDepth().estimate(photo).disparity)

    np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2), (5, 3), (3, 900)])
def test_the_smallest_photos(shape) -> None:
    rgb = np.linspace(0, 1, shape[0] * shape[1] * 3, dtype=np.float32).reshape(*shape, 3)

    depth = CueDepth().estimate(photo_of(rgb))

    assert depth.disparity.shape == shape
    assert np.isfinite(depth.disparity).all()
