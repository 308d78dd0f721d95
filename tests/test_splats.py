"""Splats: right by hand, faithful from the photo's camera, closed from the side, within budget."""

import numpy as np
import pytest
from card_scene import card_scene

from diorama.arrays import Array
from diorama.camera import Camera, ViewBox
from diorama.errors import InputError
from diorama.layers import Layer
from diorama.splats import Splats, SplatsConfig, layer_splats
from diorama.testing import Plane, SyntheticScene, stripes, two_cards

CAMERA = Camera.from_fov(96, 64)


def layer(rgb: Array | float, disparity: Array | float, alpha: Array | float = 1.0) -> Layer:
    """A layer of the camera's size; scalars are spread."""
    size = (CAMERA.height, CAMERA.width)
    rgba = np.empty((*size, 4), np.float32)
    rgba[..., :3], rgba[..., 3] = rgb, alpha
    spread = np.broadcast_to(np.asarray(disparity, np.float32), size).copy()
    return Layer(rgba, spread, np.zeros(size, bool), ())


def noise(seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((CAMERA.height, CAMERA.width, 3))


def rotations(quats: Array) -> Array:
    """(n, 3, 3): columns are the principal axes."""
    w, x, y, z = quats.T.astype(np.float64)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def splat(splats: Splats, camera: Camera, *, blur: float = 0.3) -> tuple[Array, Array]:
    """The slow and obvious renderer (EWA): colour over black and alpha.

    Zwicker et al., "EWA Splatting" (2002), with the blur and limits of the 3DGS rasteriser.
    """
    world_to_camera = np.linalg.inv(camera.camera_to_world)
    means = splats.means.astype(np.float64) @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    axes = world_to_camera[:3, :3] @ rotations(splats.quats) * splats.scales[:, None, :]
    x, y, z = means.T
    fx, fy = camera.K[0, 0], camera.K[1, 1]
    J = np.zeros((len(means), 2, 3))
    J[:, 0, 0], J[:, 0, 2], J[:, 1, 1], J[:, 1, 2] = fx / z, -fx * x / z**2, fy / z, -fy * y / z**2
    spread = J @ axes
    covariance = spread @ spread.transpose(0, 2, 1) + blur * np.eye(2)
    precision = np.linalg.inv(covariance)
    center = np.stack([fx * x / z + camera.K[0, 2], fy * y / z + camera.K[1, 2]], -1)
    reach = 3 * np.sqrt(covariance[:, [0, 1], [0, 1]].max(-1))
    low = np.maximum(np.floor(center - reach[:, None]), 0).astype(int)
    high = np.maximum(np.ceil(center + reach[:, None]).astype(int) + 1, low)
    rgb, clear = np.zeros((camera.height, camera.width, 3)), np.ones((camera.height, camera.width))
    for i in np.argsort(z, kind="stable"):
        (x0, y0), (x1, y1) = low[i], high[i]
        dx = np.arange(x0, min(x1, camera.width)) + 0.5 - center[i, 0]
        dy = (np.arange(y0, min(y1, camera.height)) + 0.5 - center[i, 1])[:, None]
        (a, b), (_, c) = precision[i]
        alpha = splats.opacities[i] * np.exp(-0.5 * (a * dx * dx + 2 * b * dx * dy + c * dy * dy))
        alpha = np.minimum(alpha, 0.99)
        weight = clear[y0:y1, x0:x1] * alpha
        rgb[y0:y1, x0:x1] += weight[..., None] * splats.colors[i]
        clear[y0:y1, x0:x1] -= weight
    return rgb, 1 - clear


def psnr(a: Array, b: Array) -> float:
    return -10 * np.log10(np.mean((a - b) ** 2) + 1e-12)


def tilted_wall() -> tuple[SyntheticScene, Layer]:
    wall = SyntheticScene(
        (Plane((0.8, 0.3, 1), 1.5, stripes((0.1, 0.2, 0.6), (0.9, 0.8, 0.3), 2.0)),), CAMERA
    )
    shot = wall.look(CAMERA)[0]
    return wall, layer(shot.rgb, shot.disparity)


# --- contract ---


def test_fields():
    splats = layer_splats([layer(noise(), 0.5)], CAMERA)
    n = len(splats.means)
    assert splats.means.shape == splats.scales.shape == splats.colors.shape == (n, 3)
    assert splats.quats.shape == (n, 4)
    assert splats.opacities.shape == (n,)
    for values in vars(splats).values():
        assert values.dtype == np.float32
        assert np.isfinite(values).all()
    assert np.allclose(np.linalg.norm(splats.quats, axis=1), 1, atol=1e-5)
    assert (splats.quats[:, 0] >= 0).all()
    assert (splats.scales > 0).all()


def test_the_layers_are_not_changed():
    given = layer(noise(), 0.5)
    kept = given.rgba.copy(), given.disparity.copy()
    layer_splats([given], CAMERA)
    assert np.array_equal(given.rgba, kept[0])
    assert np.array_equal(given.disparity, kept[1])


# --- by hand ---


def test_one_pixel():
    alpha = np.zeros((64, 96))
    alpha[10, 20] = 0.6
    splats = layer_splats([layer(np.array([0.2, 0.4, 0.8]), 0.5, alpha)], CAMERA)
    f = CAMERA.K[0, 0]
    assert splats.means == pytest.approx(np.array([[(20.5 - 48) / f, (10.5 - 32) / f, 1.0]]) * 2)
    assert splats.opacities == pytest.approx([0.6])
    assert splats.colors[0] == pytest.approx([0.2, 0.4, 0.8])
    assert sorted(splats.scales[0])[1:] == pytest.approx([1 / f, 1 / f], rel=0.06)
    assert splats.scales[0].min() < 0.1 / f


def test_flat_squares_merge_and_busy_ones_do_not():
    rgb = np.full((64, 96, 3), 0.5)
    rgb[:, 48:] = noise()[:, 48:]
    splats = layer_splats([layer(rgb, 0.5)], CAMERA)
    pixel = np.sqrt(splats.scales[:, 0] * splats.scales[:, 1]) * CAMERA.K[0, 0] * 0.5
    left = splats.means[:, 0] < 0
    assert (~left).sum() == 48 * 64
    assert left.sum() < 48 * 64 / 3
    assert pixel[~left].max() < 0.51
    assert pixel[left].max() == pytest.approx(8 * 0.75, rel=0.02)


def test_a_bend_in_depth_keeps_leaves_small():
    x = np.abs(np.arange(96) - 47.5)[None].repeat(64, 0)
    bent = layer_splats([layer(0.5, 0.3 + 0.004 * x)], CAMERA, view_box=ViewBox(0.3, 0.3, 0.3))
    straight = layer_splats(
        [layer(0.5, 0.3 + 0.004 * x[:, ::-1].cumsum(1) / 48)],
        CAMERA,
        view_box=ViewBox(0, 0, 0),
    )
    assert len(bent.means) > len(straight.means)
    where = np.abs(bent.means[:, 0] * CAMERA.K[0, 0] / bent.means[:, 2])
    small = np.sqrt(bent.scales[:, 0] * bent.scales[:, 1]) / bent.means[:, 2] * CAMERA.K[0, 0] < 4
    assert small[where < 2].all()


def test_discs_lie_in_the_surface():
    _, seen = tilted_wall()
    splats = layer_splats([seen], CAMERA)
    normal = np.array([0.8, 0.3, 1]) / np.linalg.norm([0.8, 0.3, 1])
    assert splats.means @ np.array([0.8, 0.3, 1]) == pytest.approx(1.5, abs=0.01)
    thinnest = np.take_along_axis(
        rotations(splats.quats), splats.scales.argmin(1)[:, None, None], 2
    )[..., 0]
    assert np.abs(thinnest @ normal).min() > 0.99


def test_seen_from_the_photos_camera_discs_are_round():
    _, seen = tilted_wall()
    splats = layer_splats([seen], CAMERA)
    x, y, z = splats.means.T.astype(np.float64)
    f = CAMERA.K[0, 0]
    J = np.zeros((len(x), 2, 3))
    J[:, 0, 0], J[:, 0, 2], J[:, 1, 1], J[:, 1, 2] = f / z, -f * x / z**2, f / z, -f * y / z**2
    spread = J @ (rotations(splats.quats) * splats.scales[:, None, :])
    covariance = spread @ spread.transpose(0, 2, 1)
    assert np.abs(covariance[:, 0, 1] / covariance[:, 0, 0]).max() < 0.1
    assert np.abs(covariance[:, 1, 1] / covariance[:, 0, 0] - 1).max() < 0.1


# --- quality ---


def test_the_photo_is_reproduced():
    scene, synthetic = card_scene(96, 64), two_cards(96, 64)
    rgb, alpha = splat(layer_splats(scene.layers, scene.camera), scene.camera)
    inside = np.s_[4:-4, 4:-4]
    assert psnr(rgb[inside], synthetic.photo().rgb[inside]) > 25
    assert alpha[inside].min() > 0.98


@pytest.mark.parametrize("corner", ViewBox().corners()[[1, 4]])
def test_no_cracks_from_the_side(corner: Array):
    wall, seen = tilted_wall()
    camera = CAMERA.at(*corner)
    rgb, alpha = splat(layer_splats([seen], CAMERA), camera)
    inside = np.s_[8:-8, 8:-8]
    assert alpha[inside].min() > 0.97
    assert psnr(rgb[inside], wall.look(camera)[0].rgb[inside]) > 26


def test_flat_colour_is_closed_whatever_the_leaves():
    """Nothing behind shines through, neither between equal leaves nor where sizes meet."""
    rgb = np.full((64, 96, 3), 0.9)
    rgb[30:34, 40:44] = 0.1  # small leaves in the middle
    splats = layer_splats([layer(rgb, 0.5)], CAMERA)
    assert splats.scales.max() > 5 * splats.scales[:, :2].min()
    assert splat(splats, CAMERA)[1][4:-4, 4:-4].min() > 0.98


def test_edges_are_kept_to_the_pixel():
    """Beyond the edge of an opaque card there is nothing but the blur of its last pixels."""
    alpha = np.zeros((64, 96))
    alpha[:, 40:] = 1
    seen = splat(layer_splats([layer(0.5, 0.8, alpha)], CAMERA), CAMERA)[1][20:40]
    assert seen[:, 38].max() < 0.1
    assert seen[:, 40].min() > 0.9


def test_what_is_hidden_is_there_too():
    scene = card_scene(96, 64)
    front_only = layer_splats(scene.layers[-1:], scene.camera)
    everything = layer_splats(scene.layers, scene.camera)
    n = len(front_only.means)
    assert len(everything.means) > n
    assert np.array_equal(everything.means[-n:], front_only.means)


# --- laws ---


def test_the_budget_holds():
    layers = [layer(noise(0), 0.3), layer(noise(1), 0.8, np.arange(96) > 40)]
    for budget in (8000, 6000):
        config = SplatsConfig(max_splats=budget)
        assert budget * 0.8 < len(layer_splats(layers, CAMERA, config=config).means) <= budget


def test_stricter_errors_give_more_splats():
    _, seen = tilted_wall()
    counts = [
        len(layer_splats([seen], CAMERA, config=SplatsConfig(color_error=error)).means)
        for error in (0.08, 0.016, 0.001)
    ]
    assert counts == sorted(counts)
    assert counts[0] < counts[-1]


def test_one_thread_or_two_give_the_same_bytes(monkeypatch: pytest.MonkeyPatch):
    scene = card_scene(200, 150)
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        results.append(layer_splats(scene.layers, scene.camera))
    for one, two in zip(vars(results[0]).values(), vars(results[1]).values(), strict=True):
        assert np.array_equal(one, two)


# --- edges ---


def test_nothing_to_show():
    assert len(layer_splats([layer(0.5, 0.5, 0.0)], CAMERA).means) == 0
    assert len(layer_splats([], CAMERA).means) == 0


def test_the_sky_is_far_and_finite():
    splats = layer_splats([layer(0.5, 0.0)], CAMERA)
    assert splats.means[:, 2] == pytest.approx(1000)


def test_a_cliff_inside_a_layer_stays_before_the_camera():
    steep = layer(noise(), np.where(np.arange(96) < 48, 0.001, 2.0))
    splats = layer_splats([steep], CAMERA)
    deep = (np.abs(rotations(splats.quats)[:, 2]) * splats.scales).max(1)
    assert (deep < splats.means[:, 2]).all()


def test_one_pixel_photo():
    camera = Camera.from_fov(1, 1)
    rgba = np.array([[[0.2, 0.4, 0.6, 1.0]]], np.float32)
    single = Layer(rgba, np.full((1, 1), 0.5, np.float32), np.zeros((1, 1), bool), ())
    assert layer_splats([single], camera).means == pytest.approx(np.array([[0, 0, 2.0]]))


# --- errors ---


def test_wrong_input_is_told():
    with pytest.raises(InputError, match="layers must be as large as the camera's 10x10 pixels"):
        layer_splats([layer(0.5, 0.5)], Camera.from_fov(10, 10))
    with pytest.raises(InputError, match="disparity must be finite"):
        layer_splats([layer(0.5, np.nan)], CAMERA)
    with pytest.raises(InputError, match=r"max_splats must be at least \d+ for these layers"):
        layer_splats([layer(0.5, 0.5)], CAMERA, config=SplatsConfig(max_splats=5))
    with pytest.raises(InputError, match="splats need max_splats >= 1"):
        SplatsConfig(max_splats=0)
