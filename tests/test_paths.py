"""Camera paths stay in the view box, look where they say, close without a seam, refuse nonsense."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from diorama.camera import Camera, ViewBox
from diorama.errors import InputError, UnknownNameError
from diorama.paths import CameraPath, KeyFrame, camera_path, load_path, monotone_cubic, path_names

CAMERA = Camera.from_fov(640, 360)
BOXES = [
    ViewBox(),
    ViewBox(0.3, 0.1, 0.0),
    ViewBox(0.0, 0.2, 0.4),
    ViewBox(0.0, 0.0, 0.0),
    ViewBox(2.0, 2.0, 2.0),
]
LOOPS = [name for name in path_names() if name != "push-in"]
KEYS = [
    {"t": 0, "position": [-1, 0, 0]},
    {"t": 1, "position": [1, 0.5, 0.25]},
    {"t": 3, "position": [-1, 0, 0]},
]


def positions(cameras: list[Camera]) -> np.ndarray:
    return np.array([camera.camera_to_world[:3, 3] for camera in cameras])


def project(camera: Camera, point: list[float]) -> np.ndarray:
    local = np.linalg.inv(camera.camera_to_world) @ [*point, 1.0]
    return (camera.K @ local[:3])[:2] / local[2]


def write(tmp_path: Path, content: object) -> Path:
    file = tmp_path / "path.json"
    file.write_text(content if isinstance(content, str) else json.dumps(content))
    return file


def test_the_names_are_those_that_are_promised():
    names = "orbit circle swing zoom dolly-zoom push-in spiral static"
    assert path_names() == names.split()


@pytest.mark.parametrize("name", path_names())
@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("focus", [0.01, 0.4, 8.0])
def test_every_camera_is_inside_the_box_and_rigid(name: str, box: ViewBox, focus: float):
    cameras = camera_path(name, CAMERA, box, num_frames=25, focus_disparity=focus)
    assert len(cameras) == 25
    limits = np.array([box.sideways, box.vertical, box.forward])
    assert (np.abs(positions(cameras)) <= limits * (1 + 1e-9) + 1e-12).all()
    for camera in cameras:
        R = camera.camera_to_world[:3, :3]
        assert np.allclose(R @ R.T, np.eye(3))
        assert np.linalg.det(R) > 0
        assert (camera.width, camera.height) == (640, 360)
        assert R[1, 0] == pytest.approx(0), "the picture stays level"


@pytest.mark.parametrize("name", [name for name in path_names() if name not in ("zoom", "static")])
def test_moves_use_the_box(name: str):
    box = ViewBox()
    reached = np.abs(positions(camera_path(name, CAMERA, box, num_frames=200))).max(0)
    assert (reached / [box.sideways, box.vertical, box.forward]).max() > 0.7


@pytest.mark.parametrize("name", LOOPS)
@pytest.mark.parametrize("easing", ["linear", "ease-in-out", "smooth"])
def test_loops_close_without_a_doubled_frame_or_a_jolt(name: str, easing):
    cameras = camera_path(name, CAMERA, ViewBox(), num_frames=120, easing=easing)
    poses = np.array([[*c.camera_to_world[:3].ravel(), c.K[0, 0] / 600] for c in cameras])
    steps = np.roll(poses, -1, 0) - poses
    change = np.abs(steps - np.roll(steps, 1, 0)).max(1)
    # The change of speed where the loop closes is no larger than elsewhere.
    assert max(change[0], change[-1]) <= change[1:-1].max() * 1.05 + 1e-12
    if name != "static" and easing == "linear" and name != "spiral":
        sizes = np.linalg.norm(steps, axis=1)
        assert sizes[-1] == pytest.approx(sizes[0], rel=0.1), "the last frame is one step before"


@pytest.mark.parametrize("name", ["orbit", "swing", "spiral"])
def test_the_focus_stays_in_the_centre(name: str):
    for camera in camera_path(name, CAMERA, ViewBox(), num_frames=12, focus_disparity=0.5):
        assert project(camera, [0, 0, 2.0]) == pytest.approx([320, 180])


def test_orbit_keeps_its_distance_from_the_focus():
    cameras = camera_path("orbit", CAMERA, ViewBox(), num_frames=12, focus_disparity=0.5)
    assert np.linalg.norm(positions(cameras) - [0, 0, 2.0], axis=1) == pytest.approx(2.0)


def test_circle_swing_and_static_by_hand():
    circle = camera_path("circle", CAMERA, ViewBox(), num_frames=4)
    expected = [[0.03, 0, 0], [0, 0.03, 0], [-0.03, 0, 0], [0, -0.03, 0]]
    assert np.allclose(positions(circle), expected)
    assert all(np.array_equal(c.camera_to_world[:3, :3], np.eye(3)) for c in circle)
    swing = positions(camera_path("swing", CAMERA, ViewBox(), num_frames=4))
    assert np.allclose(swing[:, 0], [0, 0.03, 0, -0.03])
    assert np.allclose(swing[:, 1], 0)
    for camera in camera_path("static", CAMERA, ViewBox(), num_frames=3):
        assert np.array_equal(camera.K, CAMERA.K)
        assert np.array_equal(camera.camera_to_world, CAMERA.camera_to_world)


def test_dolly_zoom_keeps_the_focus_plane_and_changes_the_rest():
    cameras = camera_path("dolly-zoom", CAMERA, ViewBox(), num_frames=16, focus_disparity=0.8)
    at_focus = [project(c, [0.3, 0.2, 1.25]) for c in cameras]
    assert np.allclose(at_focus, at_focus[0])
    behind = [project(c, [0.3, 0.2, 10.0])[0] for c in cameras]
    assert np.ptp(behind) > 0.5


def test_zoom_only_changes_the_lens_and_comes_back():
    cameras = camera_path("zoom", CAMERA, ViewBox(), num_frames=10)
    focal = np.array([c.K[0, 0] for c in cameras]) / CAMERA.K[0, 0]
    assert focal[0] == 1
    assert focal.argmax() == 5
    assert np.allclose(focal[1:5], focal[:5:-1])
    assert not positions(cameras).any()


def test_push_in_goes_forward_once():
    z = positions(camera_path("push-in", CAMERA, ViewBox(), num_frames=9))[:, 2]
    assert z[0] == 0
    assert z[-1] == pytest.approx(0.05)
    assert (np.diff(z) > 0).all()


def test_easing_starts_and_ends_at_rest():
    def z(easing):
        path = camera_path("push-in", CAMERA, ViewBox(), num_frames=101, easing=easing)
        return positions(path)[:, 2] / 0.05

    assert np.allclose(np.diff(z("linear")), 0.01)
    for easing in ("ease-in-out", "smooth"):
        eased = z(easing)
        assert eased[50] == pytest.approx(0.5)
        assert max(eased[1], 1 - eased[-2]) < 4e-4


def test_paths_are_relative_to_the_photos_own_pose():
    turned = np.eye(4)
    turned[:3, :3] = [[0, 0, 1], [0, 1, 0], [-1, 0, 0]]
    turned[:3, 3] = [5, 6, 7]
    posed = Camera(CAMERA.K, turned, 640, 360)
    for camera, plain in zip(
        camera_path("spiral", posed, ViewBox(), num_frames=7),
        camera_path("spiral", CAMERA, ViewBox(), num_frames=7),
        strict=True,
    ):
        assert np.allclose(camera.camera_to_world, turned @ plain.camera_to_world)


def test_the_arguments_are_not_changed():
    K, pose = CAMERA.K.copy(), CAMERA.camera_to_world.copy()
    camera_path("dolly-zoom", CAMERA, ViewBox(), num_frames=5)
    assert np.array_equal(CAMERA.K, K)
    assert np.array_equal(CAMERA.camera_to_world, pose)


def test_one_frame_is_enough():
    assert all(len(camera_path(n, CAMERA, ViewBox(), num_frames=1)) == 1 for n in path_names())


def test_wrong_arguments_are_told():
    with pytest.raises(UnknownNameError, match=r"unknown camera path 'orbitt'.*mean 'orbit'"):
        camera_path("orbitt", CAMERA, ViewBox(), num_frames=2)
    with pytest.raises(UnknownNameError, match="unknown easing 'bouncy'"):
        camera_path("orbit", CAMERA, ViewBox(), num_frames=2, easing="bouncy")
    with pytest.raises(InputError, match="num_frames must be at least 1, got 0"):
        camera_path("orbit", CAMERA, ViewBox(), num_frames=0)
    with pytest.raises(InputError, match="focus_disparity must be finite and > 0, got 0"):
        camera_path("orbit", CAMERA, ViewBox(), num_frames=2, focus_disparity=0)


# --- key frames ---


def test_monotone_cubic_meets_its_keys_stays_between_them_and_keeps_lines_straight():
    t = np.array([0.0, 1.0, 3.0, 4.0, 6.0])
    values = np.array([[0.0], [1.0], [1.0], [-2.0], [0.0]])
    fine = np.linspace(0, 6, 601)
    curve = monotone_cubic(t, values, fine)[:, 0]
    assert np.allclose(monotone_cubic(t, values, t), values)
    i = np.clip(np.searchsorted(t, fine, side="right") - 1, 0, 3)
    low = np.minimum(values[i, 0], values[i + 1, 0])
    high = np.maximum(values[i, 0], values[i + 1, 0])
    assert (curve >= low - 1e-12).all()
    assert (curve <= high + 1e-12).all()
    assert np.allclose(monotone_cubic(t, t[:, None] * 3, fine)[:, 0], fine * 3)


def test_key_frames_from_a_file(tmp_path: Path):
    file = write(tmp_path, {"fps": 10, "loop": True, "keys": KEYS})
    path = load_path(file)
    assert (path.fps, path.loop, path.easing, path.seconds) == (10, True, "linear", 3)
    cameras = path.cameras(CAMERA, ViewBox())
    assert len(cameras) == 30
    assert np.allclose(positions(cameras)[0], [-0.03, 0, 0])
    assert np.allclose(positions(cameras)[10], [0.03, 0.015, 0.0125])
    assert (positions(cameras)[-1] > [-0.03, 0, 0]).all(), "the repeated key is not shown twice"
    by_name = camera_path(file, CAMERA, ViewBox(), num_frames=30)
    assert np.array_equal(positions(by_name), positions(cameras))
    steps = np.diff(np.concatenate([positions(cameras), positions(cameras)[:2]]), axis=0)
    assert np.abs(steps[-1] - steps[-2]).max() <= np.abs(np.diff(steps[:-1], axis=0)).max()


def test_a_path_that_does_not_loop_ends_on_its_last_key():
    keys = (KeyFrame(1, (0, 0, 0), fov_deg=50), KeyFrame(2, (0, 0, 1), fov_deg=40))
    cameras = CameraPath(keys, fps=5).cameras(CAMERA, ViewBox())
    assert len(cameras) == 5
    assert [cameras[0].fov_deg, cameras[-1].fov_deg] == pytest.approx([50, 40])
    assert positions(cameras)[-1] == pytest.approx([0, 0, 0.05])


def test_keys_keep_what_they_look_at_in_the_centre():
    keys = (
        KeyFrame(0, (-1, 1, 0), look_at=(0.1, 0.2, 2.0)),
        KeyFrame(1, (1, -1, -1), look_at=(0.1, 0.2, 2.0)),
    )
    for camera in CameraPath(keys).cameras(CAMERA, ViewBox()):
        assert project(camera, [0.1, 0.2, 2.0]) == pytest.approx([320, 180])


def changed(index: int, **fields) -> list[dict]:
    return [{**key, **fields} if i == index else key for i, key in enumerate(KEYS)]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not JSON"),
        ([], "must be an object with keys"),
        ({}, "keys is missing"),
        ({"keys": 3}, "keys must be a list of key frames"),
        ({"keys": KEYS[:1]}, "keys must hold at least 2 key frames, got 1"),
        ({"keys": KEYS, "speed": 2}, "'speed' is not known here; use keys, fps, loop, easing"),
        ({"keys": KEYS, "fps": 0}, "fps must be finite and > 0, got 0"),
        ({"keys": KEYS, "fps": "30"}, "fps must be a finite number, got '30'"),
        ({"keys": KEYS, "loop": 1}, "loop must be true or false, got 1"),
        ({"keys": KEYS, "easing": "bouncy"}, "easing must be one of linear, ease-in-out, smooth"),
        ({"keys": KEYS, "easing": []}, r"easing must be one of .* got \[\]"),
        ({"keys": [3, *KEYS]}, r"keys\[0\] must be an object with t, position"),
        ({"keys": [{"t": 0}, *KEYS]}, r"keys\[0\]: position is missing"),
        ({"keys": changed(1, t=0)}, r"keys\[1\].t must be later than the key before it \(0 s\)"),
        ({"keys": changed(1, position=[0, 2, 0])}, r"keys\[1\].position must stay in the view box"),
        ({"keys": changed(1, position=[0, 0])}, r"keys\[1\].position must be three numbers"),
        ({"keys": changed(2, position=[0, 0, "x"])}, r"keys\[2\].position must be a finite number"),
        ({"keys": changed(1, look_at=[0, 0, 1])}, "give look_at in all keys or in none"),
        ({"keys": changed(1, fov_deg=300)}, r"keys\[1\].fov_deg must be within 1..150, got 300"),
        ({"keys": KEYS[:2], "loop": True}, "a loop's last key must repeat its first"),
    ],
)
def test_files_that_make_no_path_are_told_where(tmp_path: Path, content, message: str):
    file = write(tmp_path, content)
    with pytest.raises(InputError, match=message) as error:
        load_path(file)
    assert str(file) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_missing_file_is_told(tmp_path: Path):
    with pytest.raises(InputError, match=r"cannot read camera path .*none.json: No such file"):
        load_path(tmp_path / "none.json")


def test_looking_backwards_is_told():
    keys = (
        KeyFrame(0, (0, 0, 1), look_at=(0, 0, 0.01)),
        KeyFrame(1, (0, 0, -1), look_at=(0, 0, 0.01)),
    )
    with pytest.raises(InputError, match="look_at must lie before the camera"):
        CameraPath(keys).cameras(CAMERA, ViewBox())


def test_a_focal_length_read_back_is_the_one_given():
    keys = (KeyFrame(0, (0, 0, 0), fov_deg=90), KeyFrame(1, (0, 0, 0), fov_deg=90))
    camera = CameraPath(keys).cameras(CAMERA, ViewBox(), num_frames=1)[0]
    assert camera.K[0, 0] == pytest.approx(320 / math.tan(math.radians(45)))
