"""Cameras, the view box and parallax."""

import math

import numpy as np
import pytest

from diorama.camera import (
    Camera,
    ViewBox,
    disparity_per_px,
    focal_from_35mm,
    parallax_px,
    project_from,
)
from diorama.errors import InputError


def test_default_field_of_view_is_55_degrees() -> None:
    camera = Camera.from_fov(1920, 1080)
    assert camera.fov_deg == pytest.approx(55)
    assert camera.K[0, 0] == pytest.approx(960 / math.tan(math.radians(27.5)))
    assert camera.K[0, 2] == 960
    assert camera.K[1, 2] == 540


def test_a_35_mm_lens_on_a_full_frame_sees_its_width() -> None:
    # 36x24 mm at 36 mm: half the width is half the focal length.
    assert focal_from_35mm(3600, 2400, 36.0) == pytest.approx(3600, rel=1e-3)


def test_resizing_keeps_the_view() -> None:
    camera = Camera.from_fov(640, 480)
    small = camera.resized(320, 240)
    assert small.fov_deg == pytest.approx(camera.fov_deg)
    np.testing.assert_allclose(small.K[:2], camera.K[:2] / 2)


def test_moving_goes_along_the_cameras_own_axes() -> None:
    camera = Camera.from_fov(64, 48)
    turned = Camera(camera.K, np.diag([-1.0, 1, -1, 1]), 64, 48)  # looks back
    np.testing.assert_allclose(turned.at(x=1, z=2).camera_to_world[:3, 3], [-1, 0, -2])
    np.testing.assert_array_equal(camera.camera_to_world, np.eye(4))


def test_projection_agrees_with_matrices() -> None:
    camera = Camera.from_fov(640, 480)
    offset = np.array([0.1, -0.05, 0.2])
    x, y, d = np.array([100.5, 500.0]), np.array([50.0, 400.5]), np.array([0.2, 0.9])
    rays = np.stack([x, y, np.ones(2)]) * (1 / d)
    local = np.linalg.inv(camera.K) @ rays - offset[:, None]
    expected = camera.K @ local
    moved = project_from(camera, offset, x, y, d)
    np.testing.assert_allclose(moved, expected[:2] / expected[2])


def test_default_view_box_is_worth_55_px_at_1920() -> None:
    camera = Camera.from_fov(1920, 1080)
    sideways = ViewBox(sideways=0.03, vertical=0, forward=0)
    assert float(parallax_px(camera, sideways, 1.0, 0.0)) == pytest.approx(55, abs=1)


def test_parallax_is_the_largest_over_the_corners() -> None:
    camera, box = Camera.from_fov(640, 480), ViewBox()
    x, y = np.array([20.0]), np.array([30.0])
    near, far = np.array([0.8]), np.array([0.3])
    each = [
        np.hypot(
            *np.subtract(
                project_from(camera, corner, x, y, near), project_from(camera, corner, x, y, far)
            )
        )
        for corner in box.corners()
    ]
    assert float(parallax_px(camera, box, near, far, x, y)[0]) == pytest.approx(float(max(each)[0]))


def test_one_pixel_of_disparity_is_one_pixel_of_parallax() -> None:
    camera, box = Camera.from_fov(640, 480), ViewBox(0.03, 0, 0)
    step = disparity_per_px(camera, box)
    assert float(parallax_px(camera, box, 0.5 + step, 0.5)) == pytest.approx(1)
    assert disparity_per_px(camera, ViewBox(0, 0, 0)) == math.inf


def test_a_telephoto_lens_gets_a_narrower_box_and_the_same_parallax() -> None:
    wide, tele = Camera.from_fov(1920, 1080, 55), Camera.from_fov(1920, 1080, 5)
    assert ViewBox.for_camera(wide) == ViewBox()
    sideways = [ViewBox.for_camera(c).sideways * c.K[0, 0] for c in (wide, tele)]
    assert sideways[1] == pytest.approx(sideways[0])
    assert ViewBox.for_camera(Camera.from_fov(1920, 1080, 90)) == ViewBox()


@pytest.mark.parametrize("size", [-0.1, math.nan, math.inf])
def test_a_view_box_has_finite_sizes(size: float) -> None:
    with pytest.raises(InputError, match="finite half sizes"):
        ViewBox(sideways=size)
