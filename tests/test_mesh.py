"""Layer meshes: a hull round the alpha, vertices where disparity bends, never more than allowed."""

import cv2
import numpy as np
import pytest

from diorama.camera import Camera, ViewBox, disparity_per_px
from diorama.errors import InputError
from diorama.kernels.mesh_error import mesh_error
from diorama.layers import Layer
from diorama.mesh import Mesh, MeshConfig, layer_mesh, layer_meshes

BOX = ViewBox(0.1, 0.1, 0.05)
SIZE = (90, 120)  # height, width


def layer_of(alpha: np.ndarray, disparity: np.ndarray | float = 0.5) -> Layer:
    rgba = np.full((*alpha.shape, 4), 0.5, np.float32)
    rgba[..., 3] = alpha
    filled = np.broadcast_to(np.float32(disparity), alpha.shape).copy()
    return Layer(rgba, filled, np.zeros(alpha.shape, bool), (0,))


def mesh_of(layer: Layer, box: ViewBox = BOX, config: MeshConfig = MeshConfig()) -> Mesh:
    height, width = layer.disparity.shape
    return layer_mesh(layer, Camera.from_fov(width, height), box, config=config)


def grid(height: int = SIZE[0], width: int = SIZE[1]) -> tuple[np.ndarray, np.ndarray]:
    """x and y of the pixel centres."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return x, y


def interpolated(mesh: Mesh, height: int, width: int) -> np.ndarray:
    """Disparity of the mesh at pixel centres (nan: outside), one triangle after the other."""
    out = np.full((height, width), np.nan)
    x, y = grid(height, width)
    points = mesh.uvs.astype(np.float64) * [width, height]
    values = 1.0 / mesh.vertices[:, 2].astype(np.float64)
    for corners in mesh.triangles:
        a, b, c = points[corners]
        area = np.linalg.det([b - a, c - a])
        if abs(area) < 1e-9:
            continue
        u = ((x - a[0]) * (c - a)[1] - (y - a[1]) * (c - a)[0]) / area
        v = ((b - a)[0] * (y - a[1]) - (b - a)[1] * (x - a[0])) / area
        inside = (u >= -1e-6) & (v >= -1e-6) & (u + v <= 1 + 1e-6)
        d = values[corners]
        out[inside] = (d[0] + u * (d[1] - d[0]) + v * (d[2] - d[0]))[inside]
    return out


def shapes() -> dict[str, np.ndarray]:
    """Outlines that make triangulators stumble."""
    height, width = SIZE
    x, y = grid()
    radius = np.hypot(x - 60, y - 45)
    empty = np.zeros(SIZE)
    rng = np.random.default_rng(5)
    blobs = cv2.GaussianBlur(rng.random(SIZE).astype(np.float32), (0, 0), 3) > 0.5
    one, line, corners, cross = (empty.copy() for _ in range(4))
    one[40, 7] = 1
    line[30, 4:100] = 1
    corners[0, 0] = corners[-1, -1] = corners[0, -1] = 1
    cross[:, 50] = cross[20, :] = 1
    return {
        "full": np.ones(SIZE),
        "disc": radius < 30,
        "ring": (radius < 40) & (radius > 25),
        "soft disc": np.clip(30 - radius, 0, 1),
        "half": x < 60,
        "one pixel": one,
        "line": line,
        "diagonal": np.eye(height, width),
        "two touching by a corner": ((x < 60) & (y < 45)) | ((x > 60) & (y > 45)),
        "corners": corners,
        "cross": cross,
        "checkerboard": (np.floor(x / 7) + np.floor(y / 7)) % 2,
        "blobs": blobs,
        "noise": rng.random(SIZE) > 0.5,
        "dust": rng.random(SIZE) > 0.97,
    }


@pytest.mark.parametrize("name", shapes())
def test_hull_covers_the_layer_and_little_else(name: str) -> None:
    layer = layer_of(shapes()[name].astype(np.float32))
    mesh = mesh_of(layer)
    covered = np.isfinite(interpolated(mesh, *SIZE))
    seen = layer.rgba[..., 3] > 0
    assert covered[seen].all()
    far = cv2.distanceTransform((~seen).astype(np.uint8), cv2.DIST_L2, 5)
    # Between centres: two pixels and a half. Gaps narrower than three pixels are meshed over.
    assert far[covered].max() <= (4 if name in {"blobs", "noise", "dust", "checkerboard"} else 2.5)


@pytest.mark.parametrize("name", shapes())
def test_contract(name: str) -> None:
    layer = layer_of(shapes()[name].astype(np.float32), 0.2 + 0.001 * grid()[1])
    before = layer.rgba.tobytes(), layer.disparity.tobytes()
    mesh = mesh_of(layer)
    assert (layer.rgba.tobytes(), layer.disparity.tobytes()) == before
    assert mesh.vertices.dtype == mesh.uvs.dtype == np.float32
    assert mesh.triangles.dtype == np.int32
    assert len(mesh.vertices) == len(mesh.uvs)
    assert np.isfinite(mesh.vertices).all()
    assert mesh.uvs.min() >= 0
    assert mesh.uvs.max() <= 1
    assert set(mesh.triangles.ravel()) <= set(range(len(mesh.vertices)))
    a, b, c = (mesh.uvs[mesh.triangles[:, k]].astype(np.float64) * SIZE[::-1] for k in range(3))
    twice_area = (b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]
    assert (twice_area > 0).all()  # clockwise on screen, y down


def test_full_frame_plane_is_two_triangles_with_exact_corners() -> None:
    x, y = grid()
    mesh = mesh_of(layer_of(np.ones(SIZE), 0.1 + 0.002 * x + 0.005 * y))
    assert len(mesh.triangles) == 2
    corners = mesh.uvs * np.array(SIZE[::-1])
    assert sorted(map(tuple, corners.tolist())) == [(0, 0), (0, 90), (120, 0), (120, 90)]
    expected = 0.1 + 0.002 * corners[:, 0] + 0.005 * corners[:, 1]
    np.testing.assert_allclose(1 / mesh.vertices[:, 2], expected, rtol=1e-5)


def test_vertices_project_to_their_texture_coordinates() -> None:
    x, y = grid()
    camera = Camera(np.array([[100.0, 0, 50], [0, 110, 40], [0, 0, 1]]), np.eye(4), 120, 90)
    layer = layer_of(shapes()["disc"].astype(np.float32), 0.3 + 0.1 * np.sin(x / 9) * np.sin(y / 7))
    mesh = layer_mesh(layer, camera, BOX)
    projected = mesh.vertices @ camera.K.T
    np.testing.assert_allclose(
        projected[:, :2] / projected[:, 2:], mesh.uvs * [120, 90], rtol=1e-5, atol=1e-3
    )


def test_infinitely_far_is_put_at_z_max() -> None:
    mesh = mesh_of(layer_of(np.ones(SIZE), 0.0))
    np.testing.assert_allclose(mesh.vertices[:, 2], 1000, rtol=1e-6)


def test_holes_stay_holes_and_islands_stay_islands() -> None:
    x, _ = grid()
    alpha = (shapes()["ring"] | (x < 5)).astype(np.float32)
    covered = np.isfinite(interpolated(mesh_of(layer_of(alpha)), *SIZE))
    count, _ = cv2.connectedComponents(covered.astype(np.uint8))
    assert count - 1 == 2
    assert not covered[45, 60]


def test_bends_are_followed_to_the_given_error() -> None:
    x, y = grid()
    disparity = 0.4 + 0.2 * np.sin(x / 11) * np.cos(y / 13)
    layer = layer_of(shapes()["disc"].astype(np.float32), disparity)
    seen = layer.rgba[..., 3] > 0
    per_px = disparity_per_px(Camera.from_fov(120, 90), BOX)
    counts = []
    for error_px in (0.25, 1.0):
        mesh = mesh_of(layer, config=MeshConfig(error_px=error_px))
        error = np.abs(interpolated(mesh, *SIZE) - layer.disparity)[seen] / per_px
        # Triangles above 256 pixels are looked at on every second pixel only.
        assert error.max() <= 1.1 * error_px
        counts.append(len(mesh.triangles))
    assert counts[0] > counts[1]


def test_without_a_view_box_no_bend_can_be_seen() -> None:
    x, y = grid()
    bumpy = layer_of(np.ones(SIZE), 0.4 + 0.2 * np.sin(x / 11) * np.cos(y / 13))
    assert len(mesh_of(bumpy, ViewBox(0, 0, 0)).triangles) == 2


@pytest.mark.parametrize("name", ["full", "noise", "checkerboard", "dust", "blobs"])
@pytest.mark.parametrize("max_triangles", [2, 50, 400])
def test_never_more_triangles_than_allowed(name: str, max_triangles: int) -> None:
    rough = np.random.default_rng(1).random(SIZE)
    layer = layer_of(shapes()[name].astype(np.float32), rough)
    mesh = mesh_of(layer, config=MeshConfig(max_triangles=max_triangles))
    assert 2 <= len(mesh.triangles) <= max_triangles
    assert np.isfinite(interpolated(mesh, *SIZE))[layer.rgba[..., 3] > 0].all()


def test_a_small_budget_goes_where_the_error_is_largest() -> None:
    x, y = grid()
    disparity = 0.4 + np.where(x > 60, 0.2, 0.01) * np.sin(x / 5) * np.sin(y / 5)
    mesh = mesh_of(layer_of(np.ones(SIZE), disparity), config=MeshConfig(max_triangles=200))
    assert (mesh.uvs[:, 0] > 0.5).mean() > 0.9


def test_triangles_over_a_step_are_narrow() -> None:
    x, _ = grid()
    mesh = mesh_of(layer_of(np.ones(SIZE), np.where(x > 50, 0.8, 0.3)))
    disparity = 1 / mesh.vertices[:, 2][mesh.triangles]
    across = np.ptp(disparity, axis=1) > 0.1
    columns = (mesh.uvs[:, 0] * SIZE[1])[mesh.triangles]
    assert across.any()
    # The step is a pixel wide; the photo's top and bottom edge hold no vertex beside it.
    assert np.mean(np.ptp(columns[across], axis=1) <= 2) > 0.8


def test_disparity_outside_the_layer_is_believed_only_if_it_continues_it() -> None:
    x, y = grid()
    plane = 0.3 + 0.002 * y
    alpha = shapes()["disc"].astype(np.float32)
    garbage = np.where(alpha > 0, plane, np.where(x > 60, 5.0, 0.0))
    mesh = mesh_of(layer_of(alpha, garbage))
    error = np.abs(interpolated(mesh, *SIZE) - plane)[alpha > 0]
    assert error.max() < 3 * 0.002  # a hull's vertex lies up to three rows from the layer
    clean = mesh_of(layer_of(alpha, plane))
    assert np.abs(interpolated(clean, *SIZE) - plane)[alpha > 0].max() < 1e-5


def test_nothing_seen_gives_no_triangles() -> None:
    mesh = mesh_of(layer_of(np.zeros(SIZE)))
    assert mesh.vertices.shape == (0, 3)
    assert mesh.uvs.shape == (0, 2)
    assert mesh.triangles.shape == (0, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 9), (9, 1), (2, 2), (3, 3)])
def test_tiny_photos(size: tuple[int, int]) -> None:
    mesh = mesh_of(layer_of(np.ones(size)))
    assert np.isfinite(interpolated(mesh, *size)).all()


def test_all_layers_share_a_budget() -> None:
    rough = np.random.default_rng(1).random(SIZE)
    layers = [layer_of(np.ones(SIZE), rough) for _ in range(3)]
    meshes = layer_meshes(layers, Camera.from_fov(120, 90), BOX, total_triangles=900)
    counts = [len(mesh.triangles) for mesh in meshes]
    assert sum(counts) <= 900
    assert min(counts) > 250
    assert layer_meshes([], Camera.from_fov(120, 90), BOX) == ()


def test_same_bytes_with_one_thread_and_two(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = grid()
    rough = 0.3 + 0.1 * np.random.default_rng(2).random(SIZE) + 0.1 * np.sin(x / 9) * np.sin(y / 9)
    layers = [layer_of(a.astype(np.float32), rough) for a in shapes().values()]
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        meshes = layer_meshes(layers, Camera.from_fov(120, 90), BOX)
        results.append([m.vertices.tobytes() + m.triangles.tobytes() for m in meshes])
    assert results[0] == results[1]


def test_mesh_error_is_the_largest_difference_to_the_plane() -> None:
    rng = np.random.default_rng(3)
    target = rng.random((20, 30)).astype(np.float32)
    seen = (rng.random((20, 30)) > 0.3).astype(np.uint8)
    points = np.array([[1.0, 2], [28, 3.5], [14, 19]])
    values = np.array([0.2, 0.9, 0.4])
    worst, where = mesh_error(
        points, values, np.array([[0, 1, 2]], np.int32), target=target, seen=seen
    )
    x, y = grid(20, 30)
    coefficients = np.linalg.solve(np.column_stack([points, np.ones(3)]), values)
    a, b, c = points
    inside = np.ones_like(x, bool)
    for p, q in ((a, b), (b, c), (c, a)):
        inside &= (q - p)[0] * (y - p[1]) - (q - p)[1] * (x - p[0]) >= 0
    assert abs(np.linalg.det([b - a, c - a])) < 512  # small enough to be looked at whole
    full = np.abs(target - (coefficients[0] * x + coefficients[1] * y + coefficients[2]))
    full[~inside | (seen == 0)] = 0
    assert worst[0] == pytest.approx(full.max(), abs=1e-5)
    assert where[0] == full.argmax()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"error_px": 0.0}, "error_px must be positive, got 0.0"),
        ({"max_triangles": 1}, "max_triangles must be at least 2, got 1"),
    ],
)
def test_errors(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        MeshConfig(**arguments)


def test_the_photos_border_bends_with_the_surface() -> None:
    height, width = SIZE
    _, y = grid()
    disparity = (0.3 + 0.5 * (y / height) ** 2).astype(np.float32)
    mesh = mesh_of(layer_of(np.ones(SIZE, np.float32), disparity))
    left = mesh.uvs[:, 0] == 0
    at, d = mesh.uvs[left, 1] * height, 1 / mesh.vertices[left, 2]
    order = np.argsort(at)
    rows = np.arange(height) + 0.5
    border = np.interp(rows, at[order], d[order])
    per_px = disparity_per_px(Camera.from_fov(width, height), BOX)
    assert np.abs(border - disparity[:, 0]).max() / per_px < 0.3
