"""Sizes, crops and magnifications of a view: where points land says whether they are right."""

from dataclasses import replace

import numpy as np
import pytest
from card_scene import card_scene, cut_out_scene

from diorama.camera import Camera, Frame
from diorama.framing import (
    MAX_ZOOM,
    covering_zoom,
    cropped,
    fitted,
    focus_disparity,
    magnified,
    photo_camera,
    render_picture,
    to_picture,
)


def seen_at(camera: Camera, point: tuple[float, float, float]) -> np.ndarray:
    """(x, y) in pixels from the picture's middle."""
    x, y, z = camera.K @ np.linalg.inv(camera.camera_to_world)[:3] @ (*point, 1)
    return np.array([x / z - camera.width / 2, y / z - camera.height / 2])


POINT = (0.2, -0.3, 2.0)


def off_axis(width: int = 300, height: int = 200) -> Camera:
    """A camera whose principal point is not the picture's middle."""
    camera = Camera.from_fov(width, height).at(x=0.1)
    K = camera.K.copy()
    K[:2, 2] += (7, -3)
    return replace(camera, K=K)


def test_fitted_keeps_the_view_and_never_enlarges() -> None:
    camera = Camera.from_fov(1920, 1080)
    assert (fitted(camera, 640).width, fitted(camera, 640).height) == (640, 360)
    assert fitted(camera, 640).fov_deg == pytest.approx(camera.fov_deg)
    assert (fitted(camera, 4000).width, fitted(camera, 4000).height) == (1920, 1080)


def test_magnified_enlarges_around_the_pictures_middle() -> None:
    camera = off_axis()
    np.testing.assert_allclose(seen_at(magnified(camera, 1.2), POINT), 1.2 * seen_at(camera, POINT))


@pytest.mark.parametrize(("width", "height", "scale"), [(100, 100, 0.5), (90, 160, 0.8)])
def test_cropped_covers_the_new_shape_around_the_middle(
    width: int, height: int, scale: float
) -> None:
    camera = off_axis()
    crop = cropped(camera, width, height)
    assert (crop.width, crop.height) == (width, height)
    np.testing.assert_allclose(seen_at(crop, POINT), scale * seen_at(camera, POINT))


def test_the_photos_camera_has_the_photos_pixels() -> None:
    scene = card_scene(64, 48)
    texture = np.zeros((480, 640, 3), np.uint8)
    camera = photo_camera(replace(scene, photo=replace(scene.photo, texture=texture)))
    assert (camera.width, camera.height) == (640, 480)
    assert camera.fov_deg == pytest.approx(scene.camera.fov_deg)


def test_focus_is_the_middle_of_what_is_not_sky() -> None:
    scene = card_scene(64, 48)
    half_sky = scene.disparity.copy()
    half_sky[:40] = 0
    half_sky[40:44] = 0.25
    half_sky[44:] = 0.5
    half_sky[43, :2] = 0.5
    assert focus_disparity(replace(scene, disparity=half_sky)) == 0.5
    nothing = np.zeros_like(scene.disparity)
    assert focus_disparity(replace(scene, disparity=nothing)) == 1.0


def test_covering_zoom_is_enough_and_hardly_more() -> None:
    scene = card_scene(320, 240)
    assert covering_zoom(scene, [scene.camera]) == 1
    beside = scene.camera.at(x=0.03)
    zoom = covering_zoom(scene, [scene.camera, beside])
    assert 1 < zoom < MAX_ZOOM
    assert scene.render(magnified(beside, zoom)).alpha.min() > 0.75
    less = scene.render(magnified(beside, 1 + (zoom - 1) * 0.5))
    assert less.alpha.min() < 0.75


def test_a_picture_has_no_dark_seams() -> None:
    alpha = np.array([[1.0, 0.8, 0.0]], np.float32)
    frame = Frame(alpha[..., None] * np.array([0.5, 1.0, 0.25], np.float32), alpha, alpha)
    picture = to_picture(card_scene(64, 48), frame)
    assert picture.tolist() == [[[128, 255, 64], [128, 255, 64], [0, 0, 0]]]


def test_a_cut_out_lies_on_white_and_has_no_border() -> None:
    scene = cut_out_scene()
    assert covering_zoom(scene, [scene.camera.at(x=0.03)]) == 1
    alpha = scene.photo.alpha
    assert alpha is not None
    white = scene.photo.rgb * alpha[..., None] + (1 - alpha[..., None])
    assert np.abs(render_picture(scene, scene.camera) / 255 - white).mean() < 0.002
