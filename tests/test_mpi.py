"""Multi-plane images: exact from the photo's camera, close to truth from the view box's corners."""

import numpy as np
import pytest
from card_scene import card_scene

from diorama.arrays import Array
from diorama.camera import Camera, Frame, ViewBox
from diorama.errors import InputError
from diorama.layers import Layer
from diorama.mpi import Mpi, build_mpi, render_mpi
from diorama.testing import Plane, SyntheticScene, stripes, two_cards

CAMERA = Camera.from_fov(90, 70)


def layer(rgb: Array, disparity: Array | float, alpha: Array | float = 1.0) -> Layer:
    """A layer of the camera's size; scalars are spread."""
    size = (CAMERA.height, CAMERA.width)
    rgba = np.empty((*size, 4), np.float32)
    rgba[..., :3], rgba[..., 3] = rgb, alpha
    spread = np.broadcast_to(np.asarray(disparity, np.float32), size).copy()
    return Layer(rgba, spread, np.zeros(size, bool), ())


def noise(seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((CAMERA.height, CAMERA.width, 3))


def ramp(low: float, high: float) -> Array:
    return np.linspace(low, high, CAMERA.width, dtype=np.float32)[None].repeat(CAMERA.height, 0)


def over(layers: list[Layer]) -> Array:
    """Composited back to front, over black."""
    seen = np.zeros((CAMERA.height, CAMERA.width, 3))
    for each in layers:
        alpha = each.rgba[..., 3:]
        seen = seen * (1 - alpha) + each.rgba[..., :3] * alpha
    return seen


def psnr(a: Array, b: Array) -> float:
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-12)


def reference(mpi: Mpi, camera: Camera) -> Frame:
    """The same picture the slow and obvious way: every plane whole, back to front."""
    height, width = camera.height, camera.width
    y, x = np.mgrid[:height, :width] + 0.5
    rays = np.stack([x, y, np.ones_like(x)], -1) @ np.linalg.inv(camera.K).T
    rays = rays @ camera.camera_to_world[:3, :3].T
    origin = camera.camera_to_world[:3, 3]
    out = np.zeros((height, width, 4))
    disparity = np.zeros((height, width))
    for index, d in enumerate(mpi.disparities.astype(np.float64)):
        reach = (1 - d * origin[2]) / rays[..., 2]  # times d: distance along the ray
        u, v, w = (mpi.camera.K @ (d * origin + rays * reach[..., None]).reshape(-1, 3).T).reshape(
            3, height, width
        )
        u, v = u / w - 0.5, v / w - 0.5
        rgba = mpi.plane(index).astype(np.float64)
        rgba[..., :3] *= rgba[..., 3:]
        inside = (np.abs(u - (width - 1) / 2) <= width / 2) & (
            np.abs(v - (height - 1) / 2) <= height / 2
        )
        u, v = np.clip(u, 0, width - 1), np.clip(v, 0, height - 1)
        i, j = np.minimum(u.astype(int), width - 2), np.minimum(v.astype(int), height - 2)
        fu, fv = (u - i)[..., None], (v - j)[..., None]
        top = rgba[j, i] * (1 - fu) + rgba[j, i + 1] * fu
        low = rgba[j + 1, i] * (1 - fu) + rgba[j + 1, i + 1] * fu
        sample = (top * (1 - fv) + low * fv) * inside[..., None]
        out = sample + out * (1 - sample[..., 3:])
        disparity = sample[..., 3] * d / reach + disparity * (1 - sample[..., 3])
    seen = np.maximum(out[..., 3], 1e-9)
    return Frame(out[..., :3], out[..., 3], disparity / seen)


# --- contract ---


def test_planes_are_evenly_spaced_over_the_scene():
    mpi = build_mpi([layer(noise(), 0.2), layer(noise(), 0.9, ramp(-1, 1) > 0)], CAMERA)
    assert mpi.disparities.shape == (64,)
    assert mpi.disparities.dtype == np.float32
    assert np.allclose(np.diff(mpi.disparities), 0.7 / 63, atol=1e-6)
    assert mpi.disparities[[0, -1]] == pytest.approx([0.2, 0.9])
    assert mpi.tiles.dtype == np.uint8
    assert mpi.tiles.shape[1:] == (33, 33, 4)
    assert mpi.tile_index.shape == (64, 3, 3)
    assert mpi.occupancy < 0.1
    frame = render_mpi(mpi, CAMERA.at(x=0.02))
    assert frame.rgb.shape == (70, 90, 3)
    assert frame.alpha.shape == frame.disparity.shape == (70, 90)
    assert frame.rgb.dtype == frame.alpha.dtype == frame.disparity.dtype == np.float32


def test_the_layers_are_not_changed():
    layers = [layer(noise(), ramp(0.2, 0.6)), layer(noise(1), 0.9, 0.5)]
    kept = [(each.rgba.copy(), each.disparity.copy()) for each in layers]
    build_mpi(layers, CAMERA)
    for each, (rgba, disparity) in zip(layers, kept, strict=True):
        assert np.array_equal(each.rgba, rgba)
        assert np.array_equal(each.disparity, disparity)


# --- by hand ---


def test_a_pixel_between_two_planes_is_shared_with_the_rear_one_opaque():
    slope = layer(np.array([0.2, 0.4, 0.8]), ramp(0, 1))
    mpi = build_mpi([slope], CAMERA, num_planes=2)
    rear, front = mpi.plane(0)[20], mpi.plane(1)[20]
    assert rear[:-1, 3] == pytest.approx(1)
    assert front[:, 3] == pytest.approx(np.linspace(0, 1, 90), abs=0.003)
    assert rear[10, :3] == pytest.approx([0.2, 0.4, 0.8], abs=0.003)
    assert front[40, :3] == pytest.approx([0.2, 0.4, 0.8], abs=0.006)


def test_a_soft_pixel_keeps_its_opacity():
    mpi = build_mpi([layer(0.7, ramp(0.3, 0.9), 0.4)], CAMERA, num_planes=8)
    frame = render_mpi(mpi, CAMERA)
    assert frame.alpha == pytest.approx(0.4, abs=0.004)
    assert frame.rgb == pytest.approx(0.28, abs=0.006)
    # At the two ends the planes are exact; between them the mean is weighted by what is seen.
    assert frame.disparity[:, [0, -1]] == pytest.approx(np.array([[0.3, 0.9]] * 70), abs=1e-5)


def test_a_card_moves_by_its_parallax():
    disparity = 0.8
    card = layer(noise(), disparity)
    mpi = build_mpi([card, layer(0, 1.0, 0.0)], CAMERA)
    shift = 2.0 / (CAMERA.K[0, 0] * disparity)  # two whole pixels
    frame = render_mpi(mpi, CAMERA.at(x=shift))
    assert np.abs(frame.rgb[:, :-2] - card.rgba[:, 2:, :3]).max() < 0.01
    assert not frame.alpha[:, -2:].any(), "beyond the photo there is nothing"


def test_disparity_is_that_of_the_camera_that_looks():
    mpi = build_mpi([layer(noise(), ramp(0.5, 1.0))], CAMERA)
    still = render_mpi(mpi, CAMERA).disparity
    error = np.abs(still - ramp(0.5, 1.0))
    assert error[1:-1, 1:-1].max() < 1e-4
    assert error.max() <= 0.5 * 0.5 / 63 + 1e-4, "the photo's border lies on the closer plane"
    near = render_mpi(build_mpi([layer(0.5, 0.5)], CAMERA), CAMERA.at(z=0.2))
    assert near.disparity == pytest.approx(0.5 / (1 - 0.5 * 0.2))


# --- laws ---


@pytest.mark.parametrize("num_planes", [32, 64])
def test_the_photos_camera_sees_the_layers_exactly(num_planes: int):
    layers = [
        layer(noise(0), ramp(0.1, 0.7)),
        layer(noise(1), ramp(0.9, 0.3), np.clip(ramp(-1, 2), 0, 1)),
        layer(noise(2), 0.55, noise(3)[..., 0]),
    ]
    frame = render_mpi(build_mpi(layers, CAMERA, num_planes=num_planes), CAMERA)
    assert psnr(frame.rgb, over(layers)) > 52
    assert frame.alpha.min() > 0.99


def test_layers_in_one_plane_hide_each_other():
    """The rear layer's front share may not shine through the front layer's rear share."""
    rear, front = layer(np.array([1, 0, 0]), 0.52), layer(np.array([0, 1, 0]), 0.505)
    ends = layer(0, ramp(0, 1))
    frame = render_mpi(build_mpi([ends, rear, front], CAMERA, num_planes=32), CAMERA)
    assert frame.rgb[..., 0].max() == 0
    assert frame.rgb[..., 1].min() > 0.99


@pytest.mark.parametrize("corner", ViewBox().corners()[[0, 3, 5, 6]])
def test_cards_look_as_they_truly_would(corner: Array):
    """The scene's own camera, moved; where the photo's border does not end the picture."""
    scene = card_scene(320, 240)
    camera = scene.camera.at(*corner)
    truth = two_cards(320, 240).look(camera)[0]
    frame = render_mpi(build_mpi(scene.layers, scene.camera), camera)
    inside = np.s_[20:-20, 20:-20]
    assert frame.alpha[inside].min() > 0.98, "nothing behind shines through, no crack"
    assert psnr(frame.rgb[inside], truth.rgb[inside]) > 38
    agree = np.abs(frame.disparity - truth.disparity)[inside] < 0.02
    assert agree.mean() > 0.97


@pytest.mark.parametrize("corner", ViewBox().corners()[[1, 2, 4, 7]])
def test_a_slanted_wall_has_no_cracks_and_stays_sharp(corner: Array):
    wall = SyntheticScene(
        (Plane((0.9, 0, 1), 1.2, stripes((0.1, 0.2, 0.6), (0.9, 0.8, 0.3), 3.0)),),
        Camera.from_fov(320, 240),
    )
    shot = wall.look(wall.camera)[0]
    rgba = np.dstack([shot.rgb, shot.alpha]).astype(np.float32)
    seen = Layer(rgba, shot.disparity, np.zeros(shot.alpha.shape, bool), ())
    camera = wall.camera.at(*corner)
    frame = render_mpi(build_mpi([seen], wall.camera), camera)
    inside = np.s_[20:-20, 20:-20]
    assert frame.alpha[inside].min() > 0.97
    assert psnr(frame.rgb[inside], wall.look(camera)[0].rgb[inside]) > 40


def test_a_step_inside_a_layer_is_bridged():
    """A layer is one skin: where its depth jumps it stretches, and shows nothing from behind."""
    step = layer(0.6, np.where(ramp(0, 1) < 0.5, 0.2, 0.9))
    mpi = build_mpi([step], CAMERA, view_box=ViewBox(0.1, 0.1, 0.1))
    for x in (-0.1, 0.1):
        frame = render_mpi(mpi, CAMERA.at(x=x))
        assert frame.alpha[:, 15:-15].min() > 0.99
        assert frame.rgb[:, 15:-15].min() > 0.59


def test_soft_edges_show_neither_dark_nor_bright():
    """A grey card with a soft edge over a grey wall is grey everywhere."""
    soft = np.clip((ramp(0, 90) - 40) / 6, 0, 1)
    mpi = build_mpi([layer(0.5, 0.3), layer(0.5, 0.77, soft)], CAMERA)
    frame = render_mpi(mpi, CAMERA.at(x=0.03, y=-0.03, z=0.05))
    assert np.abs(frame.rgb[10:-10, 10:-10] - 0.5).max() < 0.008


@pytest.mark.parametrize("turned", [False, True])
def test_it_is_what_the_obvious_way_gives(turned: bool):
    layers = [
        layer(noise(0), ramp(0.1, 0.7)),
        layer(noise(1), 0.8, np.clip(ramp(-3, 4), 0, 1)),
    ]
    mpi = build_mpi(layers, CAMERA, num_planes=8)
    camera = CAMERA.at(0.04, -0.02, 0.1)
    if turned:
        c, s = np.cos(0.1), np.sin(0.1)
        camera.camera_to_world[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
    frame, slow = render_mpi(mpi, camera), reference(mpi, camera)
    assert np.abs(frame.rgb - slow.rgb).max() < 0.012
    assert np.abs(frame.alpha - slow.alpha).max() < 0.012
    solid = slow.alpha > 0.5
    assert np.abs(frame.disparity - slow.disparity)[solid].max() < 0.01


def test_a_camera_of_another_size_sees_the_same():
    scene = card_scene(160, 120)
    mpi = build_mpi(scene.layers, scene.camera)
    large = render_mpi(mpi, scene.camera.resized(320, 240))
    small = render_mpi(mpi, scene.camera)
    halved = large.rgb.reshape(120, 2, 160, 2, 3).mean((1, 3))
    assert psnr(halved, small.rgb) > 32


def test_one_thread_or_two_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch):
    scene = card_scene(200, 150)
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        mpi = build_mpi(scene.layers, scene.camera)
        frame = render_mpi(mpi, scene.camera.at(0.03, 0.03, 0.05))
        results.append((mpi.tiles, mpi.tile_index, frame.rgb, frame.alpha, frame.disparity))
    for one, two in zip(*results, strict=True):
        assert np.array_equal(one, two)


# --- edges ---


def test_one_pixel():
    camera = Camera.from_fov(1, 1)
    rgba = np.array([[[0.2, 0.4, 0.6, 1.0]]], np.float32)
    single = Layer(rgba, np.full((1, 1), 0.5, np.float32), np.zeros((1, 1), bool), ())
    frame = render_mpi(build_mpi([single], camera), camera)
    assert frame.rgb[0, 0] == pytest.approx([0.2, 0.4, 0.6], abs=0.003)
    assert frame.disparity[0, 0] == pytest.approx(0.5)


def test_layers_that_show_nothing():
    frame = render_mpi(build_mpi([layer(0.5, 0.5, 0.0)], CAMERA), CAMERA)
    assert not frame.rgb.any()
    assert not frame.alpha.any()
    assert not frame.disparity.any()


def test_what_is_infinitely_far_does_not_move():
    sky = layer(noise(), 0.0)
    frame = render_mpi(build_mpi([sky], CAMERA), CAMERA.at(x=5.0))
    assert np.abs(frame.rgb - sky.rgba[..., :3]).max() < 0.003
    assert not frame.disparity.any()


def test_planes_behind_the_camera_are_not_seen():
    mpi = build_mpi([layer(0.9, 0.1), layer(0.1, 1.0)], CAMERA)
    frame = render_mpi(mpi, CAMERA.at(z=2.0))
    assert frame.rgb == pytest.approx(0.9, abs=0.004)


def test_looking_away_shows_nothing():
    mpi = build_mpi([layer(0.9, ramp(0.1, 1.0))], CAMERA)
    for turn in (1.5, 3.0):
        c, s = np.cos(turn), np.sin(turn)
        camera = CAMERA.at()
        camera.camera_to_world[:3, :3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]]
        assert not render_mpi(mpi, camera).alpha.any()


def test_a_few_wild_pixels_do_not_spread_the_planes():
    wild = ramp(0.2, 0.8)
    wild = np.tile(wild, (4, 4))
    wild[:2, :2] = 50.0
    camera = Camera.from_fov(360, 280)
    rgba = np.full((*wild.shape, 4), 0.5, np.float32)
    rgba[..., 3] = 1
    mpi = build_mpi([Layer(rgba, wild, np.zeros(wild.shape, bool), ())], camera)
    assert mpi.disparities[-1] == pytest.approx(0.8, abs=0.01)


# --- errors ---


def test_wrong_input_is_told():
    with pytest.raises(InputError, match=r"num_planes must be within 2..128, got 1"):
        build_mpi([layer(0.5, 0.5)], CAMERA, num_planes=1)
    with pytest.raises(InputError, match="needs at least one layer"):
        build_mpi([], CAMERA)
    with pytest.raises(InputError, match="layers must be as large as the camera's 10x10 pixels"):
        build_mpi([layer(0.5, 0.5)], Camera.from_fov(10, 10))
    with pytest.raises(InputError, match="disparity must be finite"):
        build_mpi([layer(0.5, np.nan)], CAMERA)
