"""The layered-mesh renderer: exact at the photo's camera, true to ray-cast scenes elsewhere."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from diorama import testing
from diorama.camera import Camera, Frame, ViewBox, disparity_per_px
from diorama.kernels.rasterise import rasterise
from diorama.layers import Layer
from diorama.masks import Masks
from diorama.mesh import Mesh
from diorama.photo import Photo
from diorama.render import Renderer, render_meshes
from diorama.scene import Scene
from diorama.testing import SyntheticScene

OFFSETS = ((0.03, 0, 0), (-0.03, 0.03, 0), (0.03, -0.03, 0.05), (0, 0, -0.05))

SCENES = {
    # scene, surfaces of each layer back to front, least PSNR of a novel view
    "two cards": (testing.two_cards, ((0,), (1,), (2,)), 40.0),
    "floor and people": (testing.floor_and_people, ((0, 1), (3,), (2,)), 43.0),
    "sphere": (testing.sphere_before_wall, ((0,), (1,)), 43.0),
    "fence": (testing.fence, ((0,), (1,)), 29.5),  # all edges, some straight on pixel borders
}


def true_scene(synthetic: SyntheticScene, groups: tuple[tuple[int, ...], ...]) -> Scene:
    """A scene with exact layers: each sees its surfaces alone, so its holes are filled with truth.

    Args:
        synthetic: the surfaces.
        groups: indices of the surfaces of each layer, back to front.
    """
    layers = []
    for group in groups:
        alone = SyntheticScene(tuple(synthetic.surfaces[i] for i in group), synthetic.camera)
        frame, labels = alone.look(synthetic.camera)
        alpha = frame.alpha[..., None]
        rgb = np.where(alpha > 0, frame.rgb / np.maximum(alpha, 1e-6), 0.0)
        disparity = continued(frame.disparity, labels >= 0)
        rgba = np.concatenate([rgb, alpha], -1).astype(np.float32)
        layers.append(Layer(rgba, disparity, np.zeros(disparity.shape, bool), group))
    disparity = synthetic.disparity()
    return Scene(
        synthetic.photo(), ViewBox(), disparity, disparity, synthetic.masks(), tuple(layers)
    )


def continued(disparity: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Disparity with the nearest known value where there is none."""
    _, index = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(index.max() + 1, np.float32)
    values[index[known]] = disparity[known]
    return np.where(known, disparity, values[index])


def scene_of(*layers: Layer, box: ViewBox = ViewBox()) -> Scene:
    """Layers without a photo behind them."""
    height, width = layers[0].disparity.shape if layers else (24, 32)
    blank = np.zeros((height, width, 3), np.uint8)
    photo = Photo(blank.astype(np.float32), blank, Camera.from_fov(width, height))
    disparity = np.full((height, width), 0.5, np.float32)
    masks = Masks(np.zeros((height, width), np.int32), np.zeros(1, np.int32))
    return Scene(photo, box, disparity, disparity, masks, layers)


def layer_of(rgb: tuple[float, float, float], alpha: np.ndarray, disparity: np.ndarray | float):
    rgba = np.empty((*alpha.shape, 4), np.float32)
    rgba[..., :3], rgba[..., 3] = rgb, alpha
    filled = np.broadcast_to(np.float32(disparity), alpha.shape).copy()
    return Layer(rgba, filled, np.zeros(alpha.shape, bool), (0,))


def flat(scene: Scene) -> np.ndarray:
    """The layers on top of each other, without any geometry."""
    out = np.zeros((*scene.disparity.shape, 3))
    for layer in scene.layers:
        alpha = layer.rgba[..., 3:]
        out = out * (1 - alpha) + layer.rgba[..., :3] * alpha
    return out


def psnr(a: np.ndarray, b: np.ndarray, where: np.ndarray | None = None) -> float:
    squared = (a.astype(np.float64) - b) ** 2
    return float(-10 * np.log10(max(squared[where].mean(), 1e-12)))


@pytest.fixture(scope="module")
def scenes() -> dict[str, Scene]:
    return {name: true_scene(make(), groups) for name, (make, groups, _) in SCENES.items()}


def test_contract(scenes: dict[str, Scene]) -> None:
    scene = scenes["two cards"]
    before = [(layer.rgba.tobytes(), layer.disparity.tobytes()) for layer in scene.layers]
    frame = render_meshes(scene, scene.camera.resized(200, 100))
    assert isinstance(frame, Frame)
    assert frame.rgb.shape == (100, 200, 3)
    assert frame.alpha.shape == frame.disparity.shape == (100, 200)
    for array in (frame.rgb, frame.alpha, frame.disparity):
        assert array.dtype == np.float32
        assert array.flags.c_contiguous
        assert np.isfinite(array).all()
    assert (frame.rgb <= frame.alpha[..., None] + 1e-5).all()  # premultiplied
    assert before == [(layer.rgba.tobytes(), layer.disparity.tobytes()) for layer in scene.layers]


@pytest.mark.parametrize("name", SCENES)
def test_the_photos_camera_sees_the_flat_composite(scenes: dict[str, Scene], name: str) -> None:
    scene = scenes[name]
    frame = scene.render(scene.camera)
    assert psnr(frame.rgb, flat(scene)) > 80
    np.testing.assert_allclose(frame.alpha, 1, atol=1e-3)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("offset", OFFSETS)
def test_novel_views_are_the_ray_cast_ones(
    scenes: dict[str, Scene], name: str, offset: tuple[float, float, float]
) -> None:
    scene = scenes[name]
    camera = scene.camera.at(*offset)
    frame = scene.render(camera)
    truth, _ = SCENES[name][0]().look(camera)
    inside = frame.alpha > 0.999
    assert inside.mean() > 0.9  # the rest was outside the photo
    assert psnr(frame.rgb, truth.rgb, inside) > SCENES[name][2]
    error = np.abs(frame.disparity - truth.disparity)[inside]
    assert np.quantile(error, 0.9) < 0.25 * disparity_per_px(scene.camera, scene.view_box)


@pytest.mark.parametrize(("scale", "least"), [(1.25, 42), (0.75, 42), (0.5, 41), (0.3, 38)])
def test_smaller_and_larger_pictures_neither_alias_nor_shift(
    scenes: dict[str, Scene], scale: float, least: float
) -> None:
    scene = scenes["floor and people"]
    camera = scene.camera.resized(round(320 * scale), round(240 * scale)).at(0.01, 0.01)
    frame = scene.render(camera)
    truth, _ = testing.floor_and_people().look(camera, supersample=4)
    assert psnr(frame.rgb, truth.rgb, frame.alpha > 0.999) > least


def test_a_magnified_view_shows_the_full_resolution_photo() -> None:
    y, x = np.mgrid[:120, :160]
    checks = np.where((x + y) % 2, 102, 153).astype(np.uint8)  # even grey at half the size
    scene = scene_of(layer_of((0.5, 0.5, 0.5), np.ones((60, 80)), 0.5))
    texture = np.repeat(checks[..., None], 3, 2)
    photo = replace(scene.photo, rgb=np.full((60, 80, 3), 0.5, np.float32), texture=texture)
    scene = replace(scene, photo=photo)
    assert np.ptp(scene.render(scene.camera).rgb) < 1e-5
    large = scene.render(scene.camera.resized(160, 120)).rgb
    np.testing.assert_allclose(large[4:-4, 4:-4], (texture / 255)[4:-4, 4:-4], atol=1e-4)


def test_edges_shared_by_triangles_are_drawn_once() -> None:
    """Half-transparent, any edge drawn twice or never would show."""
    y, x = np.mgrid[:60, :80]
    disparity = 0.5 + 0.2 * np.sin(x / 5) * np.sin(y / 6)
    scene = scene_of(layer_of((1, 1, 1), np.full((60, 80), 0.5), disparity), box=ViewBox(0.3, 0.3))
    assert len(scene.meshes[0].triangles) > 500
    roll = np.eye(4)
    roll[:2, :2] = [[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]]
    cameras = [scene.camera, scene.camera.at(0.003, 0.002), Camera(scene.camera.K, roll, 80, 60)]
    for camera in cameras:
        alpha = scene.render(camera).alpha[20:40, 25:55]
        np.testing.assert_allclose(alpha, 0.5, atol=1e-6)


def test_what_lies_under_alpha_0_never_shows() -> None:
    y, x = np.mgrid[:60, :80]
    alpha = np.clip(20 - np.hypot(x - 40, y - 30), 0, 1)
    back = layer_of((0, 0, 1), np.ones((60, 80)), 0.1)
    frames = []
    for hidden in (0.0, 1.0):
        front = layer_of((1, 0, 0), alpha, 1.0)
        front.rgba[alpha == 0, :3] = hidden
        scene = scene_of(back, front)
        frames.append(scene.render(scene.camera.at(0.013, 0.007)).rgb)
    np.testing.assert_array_equal(*frames)
    # Where red gives way to blue there is neither dark nor bright: the two always sum to one.
    np.testing.assert_allclose(frames[0].sum(-1)[4:-4, 4:-4], 1, atol=3e-4)


def test_layers_that_pass_through_each_other() -> None:
    """A fragment of a nearer layer is hidden where the farther one is in front of it after all."""
    ramp = np.broadcast_to(np.linspace(0.2, 0.8, 80), (60, 80))
    red, blue = (layer_of(c, np.ones((60, 80)), 0.5) for c in ((1, 0, 0), (0, 0, 1)))
    slanted = replace(red, disparity=ramp.astype(np.float32))
    scene = scene_of(slanted, blue, box=ViewBox(1, 1, 0))
    rgb = scene.render(scene.camera).rgb
    np.testing.assert_allclose(rgb[:, :35], np.broadcast_to((0, 0, 1), (60, 35, 3)), atol=1e-5)
    np.testing.assert_allclose(rgb[:, -15:], np.broadcast_to((1, 0, 0), (60, 15, 3)), atol=1e-5)
    # Between them one fades into the other, and nothing else shows through.
    share = rgb[30, :, 0]
    assert (np.diff(share) >= -1e-5).all()
    assert ((share > 0.01) & (share < 0.99)).any()
    np.testing.assert_allclose(rgb.sum(-1), 1, atol=1e-5)


def test_depth_errors_smaller_than_can_be_seen_do_not_hide() -> None:
    back, front = (layer_of(c, np.ones((60, 80)), d) for c, d in (((1, 0, 0), 0.5), ((0, 0, 1), 0)))
    front.disparity[:] = 0.5 - 0.2  # less than two pixels at 80 pixels' width
    scene = scene_of(back, front)
    rgb = scene.render(scene.camera).rgb
    np.testing.assert_allclose(rgb, np.broadcast_to((0, 0, 1), rgb.shape), atol=1e-5)


@pytest.mark.parametrize("shift_px", [0.25, 0.5, 0.8])
def test_the_frames_edge_is_smooth(shift_px: float) -> None:
    """A pixel that the frame covers in part is covered in part, whatever the picture's size."""
    scene = scene_of(layer_of((0.5, 0.6, 0.7), np.ones((60, 80)), 1.0))
    camera = scene.camera
    frame = scene.render(camera.at(x=(3 + shift_px) / camera.K[0, 0]))
    np.testing.assert_allclose(frame.alpha[:, :76], 1, atol=1e-4)
    np.testing.assert_allclose(frame.alpha[1:-1, 76], 1 - shift_px, atol=1e-3)
    assert (frame.alpha[:, 77:] == 0).all()
    np.testing.assert_allclose(
        frame.rgb, frame.alpha[..., None] * np.array([0.5, 0.6, 0.7]), atol=1e-5
    )
    small = scene.render(camera.resized(20, 15).at(x=(3 + shift_px) / camera.K[0, 0]))
    np.testing.assert_allclose(small.alpha.sum(1)[2:-2], 20 - (3 + shift_px) / 4, atol=0.2)


def test_a_folded_mesh_shows_its_nearest_side() -> None:
    scene = scene_of(layer_of((1, 1, 1), np.ones((60, 80)), 0.5))
    scene.layers[0].rgba[:, :40, :3] = 0.25
    near = np.array([[-0.5, -0.5, 1], [0.5, -0.5, 1], [0, 0.9, 1]])
    mesh = Mesh(
        np.concatenate([near, near * 2]).astype(np.float32),
        np.repeat([[0.1, 0.5], [0.9, 0.5]], 3, 0).astype(np.float32),
        np.array([[0, 1, 2], [3, 4, 5]], np.int32),
    )
    for order in ([0, 1], [1, 0]):
        folded = replace(mesh, triangles=mesh.triangles[order][:, ::-1].copy())
        scene.__dict__["meshes"] = (folded,)
        frame = Renderer(scene)(scene.camera)
        assert frame.rgb[30, 40, 0] == pytest.approx(0.25)
        assert frame.disparity[30, 40] == pytest.approx(1.0)


def test_disparity_is_that_of_the_frontmost_solid_surface() -> None:
    faint, solid = (np.full((60, 80), a, np.float32) for a in (0.4, 0.6))
    for alpha, expected in ((faint, 0.2), (solid, 0.8)):
        scene = scene_of(
            layer_of((0, 0, 1), np.ones((60, 80)), 0.2), layer_of((1, 0, 0), alpha, 0.8)
        )
        frame = scene.render(scene.camera)
        np.testing.assert_allclose(frame.disparity, expected, rtol=1e-5)
    # Seen from half a unit nearer, z = 1.25 becomes 0.75.
    frame = scene.render(scene.camera.at(z=0.5))
    np.testing.assert_allclose(frame.disparity[30, 40], 1 / 0.75, rtol=1e-5)


def test_nothing_to_see() -> None:
    empty = layer_of((1, 0, 0), np.zeros((24, 32)), 0.5)
    for scene in (scene_of(), scene_of(empty)):
        frame = scene.render(scene.camera)
        assert not frame.rgb.any()
        assert not frame.alpha.any()
        assert not frame.disparity.any()


def test_a_camera_inside_or_past_the_scene_sees_what_is_before_it() -> None:
    back, front = (layer_of((1, 0, 0), np.ones((24, 32)), d) for d in (0.2, 1.0))
    scene = scene_of(back, front)
    assert (scene.render(scene.camera.at(z=2.0)).disparity > 0).all()  # past the front layer
    behind = scene.render(scene.camera.at(z=9.0))
    assert not behind.alpha.any()


def test_one_pixel() -> None:
    scene = scene_of(layer_of((0.2, 0.4, 0.6), np.ones((1, 1)), 1.0))
    np.testing.assert_allclose(scene.render(scene.camera).rgb[0, 0], [0.2, 0.4, 0.6], rtol=1e-6)


def test_same_bytes_with_one_thread_and_two(
    scenes: dict[str, Scene], monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = scenes["floor and people"]
    frames = []
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        frames.append(Renderer(scene)(scene.camera.at(0.02, 0.01, 0.01)))
    assert frames[0].rgb.tobytes() == frames[1].rgb.tobytes()
    assert frames[0].disparity.tobytes() == frames[1].disparity.tobytes()


def test_rasterise_agrees_with_a_ray_caster() -> None:
    """Random triangles of three layers against the definition, one pixel and triangle at a time."""
    rng = np.random.default_rng(4)
    height, width = 24, 32
    size = 5
    textures = rng.random((3, size, size, 4)).astype(np.float32)
    textures[..., :3] *= textures[..., 3:]
    w, q = rng.uniform(0.2, 1, (2, 30))
    places = rng.uniform((-5, -5), (width + 5, height + 5), (30, 2))
    texels = rng.uniform(-1, size, (30, 2))
    corners = np.column_stack([places, w, q, texels * q[:, None]])
    triangles = np.arange(30, dtype=np.int32).reshape(10, 3)
    layer_starts = np.array([0, 4, 7, 10])
    rgb, alpha, disparity = rasterise(
        corners,
        triangles,
        layer_starts,
        texels=textures.reshape(-1, 4),
        texel_starts=np.arange(3) * size * size,
        texture_sizes=np.full((3, 2), size),
        tolerance=np.inf,
        size=(height, width),
    )
    expected = cast_rays(corners, triangles, layer_starts, textures, height, width)
    np.testing.assert_allclose(rgb, expected[..., :3], atol=1e-3)
    np.testing.assert_allclose(alpha, expected[..., 3], atol=1e-3)
    np.testing.assert_allclose(disparity, expected[..., 4], atol=1e-5)
    assert (alpha > 0).mean() > 0.5


def cast_rays(
    corners: np.ndarray,
    triangles: np.ndarray,
    layer_starts: np.ndarray,
    textures: np.ndarray,
    height: int,
    width: int,
) -> np.ndarray:
    """Colour, alpha and w of every pixel by barycentric coordinates, back to front."""
    y, x = np.mgrid[:height, :width] + 0.5
    out = np.zeros((height, width, 5))
    for layer, texture in enumerate(textures):
        nearest = np.zeros((height, width))
        rgba = np.zeros((height, width, 4))
        for index in triangles[layer_starts[layer] : layer_starts[layer + 1]]:
            a, b, c = corners[index]
            share = np.linalg.inv(np.column_stack([[*p[:2], 1] for p in (a, b, c)]))
            weights = np.einsum("ij,jhw->ihw", share, np.stack([x, y, np.ones_like(x)]))
            w, q, s, t = np.einsum("ihw,ij->jhw", weights, np.stack([a, b, c])[:, 2:])
            wins = (weights > 0).all(0) & (w > nearest)
            nearest[wins] = w[wins]
            maps = (s / q).astype(np.float32), (t / q).astype(np.float32)
            border = np.pad(texture, ((9, 9), (9, 9), (0, 0)), mode="edge")
            rgba[wins] = bilinear(border, maps[0] + 9, maps[1] + 9)[wins]
        out[..., :4] = out[..., :4] * (1 - rgba[..., 3:]) + rgba
        solid = rgba[..., 3] > 0.5
        out[solid, 4] = nearest[solid]
    return out


def bilinear(texture: np.ndarray, s: np.ndarray, t: np.ndarray) -> np.ndarray:
    s = np.clip(s, 0, texture.shape[1] - 1.001)
    t = np.clip(t, 0, texture.shape[0] - 1.001)
    column, row = s.astype(int), t.astype(int)
    fs, ft = (s - column)[..., None], (t - row)[..., None]
    upper = texture[row, column] * (1 - fs) + texture[row, column + 1] * fs
    lower = texture[row + 1, column] * (1 - fs) + texture[row + 1, column + 1] * fs
    return upper * (1 - ft) + lower * ft
