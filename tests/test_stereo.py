"""Two eyes: where points land, that nothing past the photo shows, and how two pictures join."""

from dataclasses import replace

import numpy as np
import pytest
from card_scene import card_scene

from diorama.camera import Camera, ViewBox
from diorama.errors import InputError
from diorama.export import STEREO_LAYOUTS
from diorama.stereo import (
    LAYOUTS,
    anaglyph,
    eye_pair,
    half_side_by_side,
    layout_of,
    over_under,
    render_depth,
    render_layout,
    render_stereo,
    side_by_side,
    stereo_cameras,
)
from diorama.testing import two_cards

WIDTH, HEIGHT = 320, 240


def seen_at(camera: Camera, point: np.ndarray) -> np.ndarray:
    x, y, z = camera.K @ np.linalg.inv(camera.camera_to_world)[:3] @ np.append(point, 1)
    return np.array([x / z, y / z])


@pytest.mark.parametrize("disparity", [0.25, 0.5, 1.0])
def test_parallax_is_the_baseline_times_the_distance_from_the_focus(disparity: float) -> None:
    turn = np.deg2rad(20)
    camera = Camera.from_fov(WIDTH, HEIGHT).at(x=0.2, z=-0.1)
    camera.camera_to_world[:3, :3] = [
        [np.cos(turn), 0, np.sin(turn)],
        [0, 1, 0],
        [-np.sin(turn), 0, np.cos(turn)],
    ]
    left, right = eye_pair(camera, eyes=0.06, focus_disparity=0.5)
    local = np.array([0.1, -0.2, 1.0]) / disparity
    point = camera.camera_to_world[:3, :3] @ local + camera.camera_to_world[:3, 3]
    shift = seen_at(right, point) - seen_at(left, point)
    # Nearer than the focus: to the left in the right eye, so in front of the screen.
    np.testing.assert_allclose(shift, [camera.K[0, 0] * 0.06 * (0.5 - disparity), 0], atol=1e-9)
    middle = (seen_at(right, point) + seen_at(left, point)) / 2
    np.testing.assert_allclose(middle, seen_at(camera, point), atol=1e-9)


def test_eyes_stand_at_the_ends_of_the_view_box() -> None:
    scene = card_scene(WIDTH, HEIGHT)
    left, right = stereo_cameras(scene)
    assert left.camera_to_world[:3, 3].tolist() == [-0.03, 0, 0]
    assert right.camera_to_world[:3, 3].tolist() == [0.03, 0, 0]
    assert left.K[0, 0] == right.K[0, 0]
    assert left.K[0, 2] - WIDTH / 2 == pytest.approx(WIDTH / 2 - right.K[0, 2])
    near = stereo_cameras(scene, eyes=0.02, size=100)[1]
    assert near.camera_to_world[0, 3] == pytest.approx(0.01)
    assert (near.width, near.height) == (100, 75)


def test_neither_eye_sees_past_the_photo() -> None:
    scene = card_scene(WIDTH, HEIGHT)
    plain = eye_pair(scene.camera, eyes=0.06, focus_disparity=0.625)
    assert min(scene.render(eye).alpha.min() for eye in plain) == 0, "or this tests nothing"
    for eye in stereo_cameras(scene, focus_disparity=0.625):
        assert scene.render(eye).alpha.min() > 0.75


def test_each_eye_sees_the_truth_and_things_shift_as_they_should() -> None:
    scene, truth = card_scene(WIDTH, HEIGHT), two_cards(WIDTH, HEIGHT)
    focus = 0.625  # the blue card's: it must stand still
    cameras = stereo_cameras(scene, focus_disparity=focus)
    eyes = render_stereo(scene, focus_disparity=focus)
    for camera, eye in zip(cameras, eyes, strict=True):
        assert np.abs(eye / 255 - truth.look(camera)[0].rgb).mean() < 0.015
    left, right = (eye.astype(int) for eye in eyes)
    e_times_fx = 0.06 * cameras[0].K[0, 0]

    def disc(eye: np.ndarray) -> float:
        return float(np.nonzero(eye[..., 0] > 150)[1].mean())

    def card(eye: np.ndarray) -> float:
        row = eye[90:110, :120]
        return float((row[..., 2] > 120).argmax(1).mean())

    assert disc(right) - disc(left) == pytest.approx(e_times_fx * (focus - 1), abs=0.5)
    assert card(right) - card(left) == pytest.approx(0, abs=0.5)
    wall = e_times_fx * (focus - 1 / 3)
    x = np.arange(200, 300)
    row = left[20, x, 1]
    moved = np.interp(x + wall, np.arange(WIDTH), right[20, :, 1])
    wrong = np.interp(x - wall, np.arange(WIDTH), right[20, :, 1])
    assert wall > 4
    assert np.abs(moved - row).mean() < 2 < np.abs(wrong - row).mean() / 4


def test_a_picture_of_a_layout_is_its_eyes_joined() -> None:
    scene = card_scene(64, 48)
    left, right = eye_pair(scene.camera, eyes=0.03, focus_disparity=0.4)
    picture = render_layout(scene, scene.camera, LAYOUTS["sbs"], eyes=0.03, focus_disparity=0.4)
    for eye, half in ((left, picture[:, :64]), (right, picture[:, 64:])):
        frame = scene.render(eye)
        seen = frame.alpha > 0.99
        assert np.abs(half / 255 - frame.rgb)[seen].max() < 0.01


def test_joined_pictures_keep_left_and_right_apart() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 256, (2, 6, 9, 3)).astype(np.uint8)
    wide, high, half = (join(left, right) for join in (side_by_side, over_under, half_side_by_side))
    np.testing.assert_array_equal(wide[:, :9], left)
    np.testing.assert_array_equal(wide[:, 9:], right)
    np.testing.assert_array_equal(high[:6], left)
    np.testing.assert_array_equal(high[6:], right)
    assert half.shape == (6, 8, 3)
    for eye, part in ((left, half[:, :4]), (right, half[:, 4:])):
        means = eye[:, :8].reshape(6, 4, 2, 3).mean(2)
        assert np.abs(part - means).max() <= 0.5


def test_anaglyph_is_dubois_mix_in_linear_light() -> None:
    rng = np.random.default_rng(0)
    left, right = rng.integers(0, 256, (2, 40, 50, 3)).astype(np.uint8)
    left[0], right[1] = 0, 255

    def linear(byte: int) -> float:
        v = byte / 255
        return v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4

    def byte(v: float) -> float:
        v = min(max(v, 0.0), 1.0)
        return 255 * (v * 12.92 if v <= 0.0031308 else 1.055 * v ** (1 / 2.4) - 0.055)

    # As Sanders and McAllister print them: three rows, left eye and right eye.
    mix = [
        [0.456100, 0.500484, 0.176381, -0.0434706, -0.0879388, -0.00155529],
        [-0.0400822, -0.0378246, -0.0157589, 0.378476, 0.73364, -0.0184503],
        [-0.0152161, -0.0205971, -0.00546856, -0.0721527, -0.112961, 1.2264],
    ]
    got = anaglyph(left, right)
    for y in range(40):
        for x in range(50):
            six = [linear(int(v)) for v in (*left[y, x], *right[y, x])]
            want = [byte(sum(m * v for m, v in zip(row, six, strict=True))) for row in mix]
            assert np.abs(got[y, x] - want).max() <= 0.51


def test_the_eyes_reach_the_right_filters() -> None:
    white, black = (np.full((1, 1, 3), v, np.uint8) for v in (255, 0))
    red, _, blue = anaglyph(white, black)[0, 0]
    assert red > 250
    assert blue == 0
    red, green, blue = anaglyph(black, white)[0, 0]
    assert red == 0
    assert min(green, blue) > 250


def test_depth_is_grey_linear_in_disparity() -> None:
    scene = card_scene(WIDTH, HEIGHT)
    rgb, grey = render_depth(scene, scene.camera)
    assert np.abs(rgb / 255 - scene.photo.rgb).mean() < 0.01
    assert (grey == grey[..., :1]).all()
    values = {d: np.median(grey[np.isclose(scene.disparity, d)]) for d in (1.0, 0.625)}
    assert values[1.0] == 255
    assert values[0.625] == pytest.approx(255 * (0.625 - 1 / 3) / (1 - 1 / 3), abs=1)
    assert grey[5, 5, 0] == 0
    flat = replace(scene, disparity=np.full_like(scene.disparity, 0.5))
    assert (render_depth(flat, scene.camera)[1] == 0).all()


def test_layouts_are_those_that_the_formats_list() -> None:
    assert list(LAYOUTS) == list(STEREO_LAYOUTS)
    assert layout_of("x/a.b.Half-SBS.mp4") is LAYOUTS["half-sbs"]
    for name in ("sbs.jpg", "a.jpg", "a.sbs.b.jpg", "a.sbs"):
        assert layout_of(name) is None


@pytest.mark.parametrize("eyes", [0.0, -0.01, 0.0601, float("nan")])
def test_eyes_must_fit_into_the_view_box(eyes: float) -> None:
    with pytest.raises(InputError, match=r"eyes must be more than 0 and at most 0\.06 .*got"):
        stereo_cameras(card_scene(64, 48), eyes=eyes)


def test_a_view_box_without_width_has_no_two_eyes() -> None:
    flat = replace(card_scene(64, 48), view_box=ViewBox(sideways=0))
    with pytest.raises(InputError, match=r"--view-box\.sideways"):
        stereo_cameras(flat)


def test_the_focus_is_a_disparity() -> None:
    with pytest.raises(InputError, match="focus_disparity must be finite and not negative"):
        stereo_cameras(card_scene(64, 48), focus_disparity=-1)
