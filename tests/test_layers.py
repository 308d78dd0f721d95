"""Layers: grouping, order, soft edges and holes, on scenes whose layers are known."""

import cv2
import numpy as np
import pytest

from diorama import testing
from diorama.camera import Camera, ViewBox, parallax_px
from diorama.errors import InputError
from diorama.layers import (
    LayersConfig,
    assign_layers,
    extract_layers,
    mask_boundaries,
    mask_statistics,
)
from diorama.masks import Masks

SCENES = {
    "two_cards": testing.two_cards,
    "floor_and_people": testing.floor_and_people,
    "sphere_before_wall": testing.sphere_before_wall,
    "fence": testing.fence,
    "slanted_cards": testing.slanted_cards,
    "hair": testing.hair,
}


@pytest.fixture(params=SCENES, scope="module")
def scene(request: pytest.FixtureRequest) -> testing.SyntheticScene:
    return SCENES[request.param]()


def adjusted_rand_index(a: np.ndarray, b: np.ndarray) -> float:
    """Agreement of two partitions: 1 the same, 0 chance (Hubert and Arabie, 1985)."""
    table = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(table, (a.ravel(), b.ravel()), 1)
    pairs = lambda n: (n * (n - 1) / 2).sum()  # noqa: E731 - the formula's own operator
    both, rows, columns = pairs(table), pairs(table.sum(1)), pairs(table.sum(0))
    expected = rows * columns / pairs(np.array([a.size]))
    return (both - expected) / ((rows + columns) / 2 - expected)


def split_masks(masks: Masks, cells: int) -> Masks:
    """Cut every mask by a grid, as an over-segmentation would."""
    height, width = masks.labels.shape
    row = np.arange(height)[:, None] * cells // height
    column = np.arange(width)[None, :] * cells // width
    labels = (masks.labels * cells + row) * cells + column
    ids, labels = np.unique(labels, return_inverse=True)
    return Masks(
        labels.reshape(height, width).astype(np.int32), np.arange(len(ids), dtype=np.int32)
    )


def test_over_segmented_surfaces_come_back_as_their_layers(scene: testing.SyntheticScene) -> None:
    masks = scene.masks()
    index, _, _, report = assign_layers(
        scene.disparity(),
        split_masks(masks, 6),
        scene.camera,
        ViewBox(),
        config=LayersConfig(max_layers=len(masks.ids)),
    )
    assert report.num_layers <= len(masks.ids)
    assert adjusted_rand_index(index, masks.labels) > 0.9


def test_no_pixel_is_hidden_by_a_layer_behind_it(scene: testing.SyntheticScene) -> None:
    disparity = scene.disparity()
    index, _, boundaries, _ = assign_layers(
        disparity, split_masks(scene.masks(), 4), scene.camera, ViewBox()
    )
    layer = index.ravel()[boundaries.pixel]
    nearer_first = boundaries.jump > 0
    wrong = np.where(nearer_first, layer[:, 0] < layer[:, 1], layer[:, 1] < layer[:, 0])
    assert not (wrong & boundaries.significant).any()


def test_layers_partition_the_masks(scene: testing.SyntheticScene) -> None:
    masks = split_masks(scene.masks(), 3)
    layers, report = extract_layers(scene.photo(), scene.disparity(), masks, ViewBox())
    assert sorted(i for layer in layers for i in layer.mask_ids) == list(masks.ids)
    assert report.num_layers == len(layers)
    assert report.num_masks == len(masks.ids)


def test_max_layers_holds_and_what_it_tears_is_reported() -> None:
    scene = testing.two_cards()
    layers, report = extract_layers(
        scene.photo(),
        scene.disparity(),
        scene.masks(),
        ViewBox(),
        config=LayersConfig(max_layers=2),
    )
    assert len(layers) == 2
    assert report.torn_px > 0
    # The card and the disc share the shortest boundary; uniting the wall with either tears more.
    assert [layer.mask_ids for layer in layers] == [(0,), (1, 2)]


def test_a_floor_scatters_little_around_its_plane() -> None:
    scene = testing.floor_and_people()
    statistics = mask_statistics(scene.disparity(), scene.masks())
    assert statistics.mad[1] < 1e-5
    assert np.ptp(scene.disparity()[scene.masks().labels == 1]) > 0.3


def test_a_plane_in_space_is_recovered_as_an_affine_function_of_position() -> None:
    y, x = np.mgrid[:40, :50] + 0.5
    disparity = (0.002 * x + 0.005 * y + 0.3).astype(np.float32)
    masks = Masks(np.zeros((40, 50), np.int32), np.zeros(1, np.int32))
    np.testing.assert_allclose(
        mask_statistics(disparity, masks).plane[0], [0.002, 0.005, 0.3], atol=1e-5
    )


def test_statistics_believe_what_is_confident() -> None:
    disparity = np.full((20, 20), 0.2, np.float32)
    disparity[:, 12:] = 0.9
    confidence = np.ones((20, 20), np.float32)
    confidence[:, :12] = 0.1
    masks = Masks(np.zeros((20, 20), np.int32), np.zeros(1, np.int32))
    assert mask_statistics(disparity, masks).median[0] == pytest.approx(0.2)
    trusted = mask_statistics(disparity, masks, confidence=confidence)
    assert trusted.median[0] == pytest.approx(0.9)


def obvious_statistics(
    values: np.ndarray, weights: np.ndarray, x: np.ndarray, y: np.ndarray
) -> tuple[float, float, np.ndarray]:
    """Weighted median, weighted MAD and plane, as the field writes them in NumPy."""

    def median(v: np.ndarray) -> float:
        order = np.argsort(v, kind="stable")
        share = np.cumsum(weights[order])
        return float(v[order[np.searchsorted(share, share[-1] / 2)]])

    design = np.stack([x - x.mean(), y - y.mean(), np.ones_like(x)], -1)
    robust, fit, off = weights, np.zeros(3), values
    for _ in range(5):
        root = np.sqrt(robust)
        fit = np.linalg.lstsq(design * root[:, None], values * root, rcond=None)[0]
        off = np.abs(values - design @ fit)
        scale = 2 * (1.4826 * np.median(off) + 1e-7)
        robust = weights / (1 + (off / scale) ** 2) ** 2
    plane = np.array([*fit[:2], fit[2] - fit[0] * x.mean() - fit[1] * y.mean()])
    return median(values), median(off), plane


@pytest.mark.parametrize("weighted", [False, True])
def test_statistics_are_those_of_the_obvious_version(weighted: bool) -> None:
    random = np.random.default_rng(0)
    y, x = np.mgrid[:30, :41] + 0.5
    disparity = 0.3 + 0.004 * x + 0.002 * y + random.normal(0, 0.002, x.shape)
    disparity = np.where(random.random(x.shape) < 0.15, 0.9, disparity).astype(np.float32)
    confidence = random.random(x.shape).astype(np.float32) if weighted else None
    labels = (x > 17.3).astype(np.int32) + 2 * (y > 12).astype(np.int32)
    found = mask_statistics(
        disparity, Masks(labels, np.arange(4, dtype=np.int32)), confidence=confidence
    )
    for mask in range(4):
        at = labels == mask
        weights = np.ones(at.sum()) if confidence is None else confidence[at] + 1e-6
        median, mad, plane = obvious_statistics(disparity[at].astype(float), weights, x[at], y[at])
        assert found.area[mask] == at.sum()
        assert found.median[mask] == pytest.approx(median)
        assert found.mad[mask] == pytest.approx(mad, rel=1e-4)
        np.testing.assert_allclose(found.plane[mask], plane, atol=1e-6)
        np.testing.assert_allclose(found.center[mask], [x[at].mean(), y[at].mean()])


def test_threads_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = testing.floor_and_people()
    masks, results = split_masks(scene.masks(), 6), []
    for threads in ("1", "3"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        index, _, boundaries, _ = assign_layers(scene.disparity(), masks, scene.camera, ViewBox())
        results.append((index.tobytes(), boundaries.parallax_px.tobytes()))
    assert results[0] == results[1]


def test_pieces_of_one_surface_unite_before_surfaces_of_one_depth_do() -> None:
    scene = testing.floor_and_people()
    masks = scene.masks()
    noise = np.random.default_rng(0).standard_normal((240, 320)).astype(np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), 3.2)
    disparity = np.maximum(scene.disparity() + 0.01 * noise / noise.std(), 0).astype(np.float32)
    index, _, _, report = assign_layers(
        disparity,
        split_masks(masks, 6),
        scene.camera,
        ViewBox(),
        config=LayersConfig(max_layers=4),
    )
    assert report.num_layers == 4
    assert adjusted_rand_index(index, masks.labels) > 0.85


def test_a_mask_that_depth_tears_is_in_both_layers() -> None:
    scene = testing.two_cards()
    blind = Masks(np.zeros((240, 320), np.int32), np.zeros(1, np.int32))
    index, ids, _, report = assign_layers(scene.disparity(), blind, scene.camera, ViewBox())
    assert ids == [(0,), (0,), (0,)]
    assert report.num_masks == 1
    assert adjusted_rand_index(index, scene.masks().labels) == 1


def test_a_speck_of_noise_parts_no_mask() -> None:
    scene = testing.two_cards()
    disparity = np.full((240, 320), 0.3, np.float32)
    disparity[100:103, 100:103] = 1.0
    blind = Masks(np.zeros((240, 320), np.int32), np.zeros(1, np.int32))
    assert len(assign_layers(disparity, blind, scene.camera, ViewBox())[1]) == 1


def test_a_slope_is_no_jump() -> None:
    camera = Camera.from_fov(100, 60)
    disparity = np.repeat(np.linspace(0.1, 0.9, 60, dtype=np.float32)[:, None], 100, 1)
    rows = (np.arange(60)[:, None] // 30 * np.ones((1, 100))).astype(np.int32)
    boundaries = mask_boundaries(disparity, rows, camera, ViewBox(), min_gap_px=0.01)
    assert len(boundaries.jump) == 100
    assert not boundaries.significant.any()


def test_holes_reach_as_far_as_the_view_box_reveals() -> None:
    scene = testing.two_cards(640, 480)
    view_box = ViewBox()
    masks, disparity = scene.masks(), scene.disparity()
    layers, _ = extract_layers(scene.photo(), disparity, masks, view_box)
    wall = layers[0]
    for corner in view_box.corners():
        moved = scene.camera.at(*corner)
        _, labels = scene.look(moved, supersample=1)
        y, x = np.nonzero(labels == 0)
        # Back to the photo: where on the wall (z = 3) does this pixel look?
        z = 3.0 - corner[2]
        point_x = (x + 0.5 - moved.K[0, 2]) / moved.K[0, 0] * z + corner[0]
        point_y = (y + 0.5 - moved.K[1, 2]) / moved.K[1, 1] * z + corner[1]
        u = np.floor(point_x / 3.0 * scene.camera.K[0, 0] + scene.camera.K[0, 2]).astype(int)
        v = np.floor(point_y / 3.0 * scene.camera.K[1, 1] + scene.camera.K[1, 2]).astype(int)
        inside = (u >= 0) & (u < 640) & (v >= 0) & (v < 480)
        assert (wall.rgba[v[inside], u[inside], 3] == 1).all()
    farthest = float(parallax_px(scene.camera, view_box, 1.0, 1 / 3, 0.0, 0.0))
    deep = wall.hole & (masks.labels != 0)
    assert deep.any()
    assert not deep[240, 340:350].any(), "the disc's middle can never be seen behind"
    assert deep.sum() < (farthest + 12) * 2 * np.pi * 260


def test_a_larger_view_box_only_adds_to_the_holes() -> None:
    scene = testing.two_cards()
    small, _ = extract_layers(scene.photo(), scene.disparity(), scene.masks(), ViewBox(0.02, 0, 0))
    large, _ = extract_layers(scene.photo(), scene.disparity(), scene.masks(), ViewBox(0.05, 0, 0))
    for a, b in zip(small, large, strict=True):
        assert not (a.hole & ~b.hole).any()
    assert large[0].hole.sum() > small[0].hole.sum()


def test_feet_do_not_tear_from_the_floor() -> None:
    scene = testing.floor_and_people(640, 480)
    layers, _ = extract_layers(scene.photo(), scene.disparity(), scene.masks(), ViewBox())
    labels = scene.masks().labels
    floor = next(layer for layer in layers if 1 in layer.mask_ids)
    person = labels == 2
    sole = person & ~np.roll(person, -1, 0)
    sole[-1] = False
    y, x = np.nonzero(sole)
    assert (floor.rgba[y, x, 3] == 1).all(), "the floor must reach under the feet"
    middle = slice(len(x) // 4, -len(x) // 4)
    figure = next(layer for layer in layers if layer.mask_ids == (2,))
    assert (figure.rgba[y[middle], x[middle], 3] == 1).all(), "no soft edge where nothing tears"


def test_soft_edges_follow_the_true_matte(scene: testing.SyntheticScene) -> None:
    layers, _ = extract_layers(scene.photo(), scene.disparity(), scene.masks(), ViewBox())
    front = layers[-1]
    fine = testing.SyntheticScene(scene.surfaces, scene.camera.resized(1280, 960))
    labels = fine.look(fine.camera, supersample=1)[1]
    truth = np.isin(labels, front.mask_ids).reshape(240, 4, 320, 4).mean((1, 3))
    band = (truth > 0) & (truth < 1)
    # Only edges that tear have a matte: the fronts of these scenes, but for feet on the floor.
    error = np.abs(front.rgba[..., 3] - truth)[band]
    hard = np.abs(np.isin(scene.masks().labels, front.mask_ids) - truth)[band]
    assert error.mean() < 0.65 * hard.mean()


def test_one_mask_is_one_opaque_layer() -> None:
    scene = testing.two_cards(64, 48)
    masks = Masks(np.zeros((48, 64), np.int32), np.zeros(1, np.int32))
    layers, report = extract_layers(
        scene.photo(), np.full((48, 64), 0.5, np.float32), masks, ViewBox()
    )
    assert report.num_layers == 1
    assert (layers[0].rgba[..., 3] == 1).all()
    assert not layers[0].hole.any()


def test_without_a_view_box_everything_is_one_sheet() -> None:
    scene = testing.two_cards(64, 48)
    layers, _ = extract_layers(scene.photo(), scene.disparity(), scene.masks(), ViewBox(0, 0, 0))
    assert len(layers) == 1


def test_mask_ids_need_not_be_consecutive() -> None:
    scene = testing.two_cards(64, 48)
    masks = scene.masks()
    labels = np.array([7, 40, 900], np.int32)[masks.labels]
    layers, _ = extract_layers(
        scene.photo(), scene.disparity(), Masks(labels, np.unique(labels)), ViewBox()
    )
    assert [layer.mask_ids for layer in layers] == [(7,), (40,), (900,)]


def test_inputs_are_not_changed() -> None:
    scene = testing.two_cards(64, 48)
    photo, disparity, masks = scene.photo(), scene.disparity(), scene.masks()
    kept = photo.rgb.copy(), disparity.copy(), masks.labels.copy()
    extract_layers(photo, disparity, masks, ViewBox())
    for before, after in zip(kept, (photo.rgb, disparity, masks.labels), strict=True):
        np.testing.assert_array_equal(before, after)


def test_wrong_input_is_named() -> None:
    scene = testing.two_cards(64, 48)
    disparity = scene.disparity()
    disparity[3, 4] = np.nan
    with pytest.raises(InputError, match="finite"):
        extract_layers(scene.photo(), disparity, scene.masks(), ViewBox())
    with pytest.raises(InputError, match="max_layers must be at least 1, got 0"):
        LayersConfig(max_layers=0)


def test_what_lies_behind_a_sliver_reaches_as_far_as_behind_the_thing_beside_it() -> None:
    scene = testing.two_cards()
    labels, disparity = scene.masks().labels, scene.disparity()
    wall = (labels == 0).astype(np.uint8)
    rim = (labels == 0) & (cv2.erode(wall, np.ones((5, 5))) == 0)
    half = np.where(rim, (disparity + cv2.dilate(disparity, np.ones((5, 5)))) / 2, disparity)
    masks = Masks(np.where(rim, 3, labels).astype(np.int32), np.arange(4, dtype=np.int32))
    holes = [
        extract_layers(scene.photo(), d, m, ViewBox())[0][0].hole & (labels > 0)
        for d, m in ((disparity, scene.masks()), (half, masks))
    ]
    assert holes[0].sum() > 500
    assert (holes[0] & holes[1]).sum() > 0.75 * holes[0].sum()
