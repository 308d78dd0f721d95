"""The synthetic scenes that the other tests take for truth."""

import numpy as np
import pytest

from diorama import testing
from diorama.camera import Camera


def test_a_wall_straight_ahead_has_the_disparity_of_its_distance() -> None:
    disparity = testing.two_cards().disparity()
    np.testing.assert_allclose(np.unique(np.round(disparity, 5)), [0.33333, 0.625, 1.0], atol=1e-5)


def test_a_floor_is_affine_in_disparity() -> None:
    scene = testing.floor_and_people()
    labels, disparity = scene.masks().labels, scene.disparity()
    column = disparity[:, 5][labels[:, 5] == 1]
    np.testing.assert_allclose(np.diff(column, 2), 0, atol=1e-6)


def test_from_a_moved_camera_a_point_is_where_its_disparity_says() -> None:
    scene = testing.two_cards()
    here, there = scene.look(scene.camera)[1], scene.look(scene.camera.at(x=0.1))[1]
    left = lambda labels: int(np.nonzero((labels == 2).any(0))[0][0])  # noqa: E731
    shift_px = scene.camera.K[0, 0] * 0.1 * 1.0
    assert left(here) - left(there) == pytest.approx(shift_px, abs=1)


def test_a_sphere_bulges_towards_the_camera() -> None:
    scene = testing.sphere_before_wall()
    nearest = scene.disparity().max()
    assert nearest == pytest.approx(1 / (1.5 - 0.4), abs=0.002)
    assert scene.disparity()[scene.masks().labels == 1].min() < nearest - 0.1


def test_a_scene_photographs_itself_at_any_size() -> None:
    scene = testing.SyntheticScene(testing.fence().surfaces, Camera.from_fov(64, 48))
    photo = scene.photo()
    assert photo.rgb.shape == (48, 64, 3)
    np.testing.assert_array_equal(photo.rgb, photo.texture.astype(np.float32) / 255)
