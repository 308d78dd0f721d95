"""The mask grid's kernels against the slow, obvious version."""

import cv2
import numpy as np
import pytest

from diorama.kernels import mask_grid
from diorama.kernels.mask_grid import GridProblem
from diorama.kernels.watershed import flood_sides


@pytest.fixture
def labels():
    y, x = np.mgrid[:13, :18]
    return ((x > 7) + 2 * (y > 5) * (x < 5)).astype(np.int32)


def hats(grid, shape):
    """Weight (R * C, H * W) of every pixel at every node."""
    columns = grid.left + grid.spacing * np.arange(grid.shape[1])
    rows = grid.top + grid.spacing * np.arange(grid.shape[0])
    x = np.maximum(0, 1 - np.abs(np.arange(shape[1]) + 0.5 - columns[:, None]) / grid.spacing)
    y = np.maximum(0, 1 - np.abs(np.arange(shape[0]) + 0.5 - rows[:, None]) / grid.spacing)
    return np.einsum("jy,ix->jiyx", y, x).reshape(len(rows) * len(columns), -1)


def slicing(grid, labels):
    """The matrix (H * W, V) that reads a surface at every pixel."""
    same = labels.ravel()[:, None] == grid.label
    weight = hats(grid, labels.shape).T[:, grid.nodes()] * same
    return weight / weight.sum(1, keepdims=True)


def dense_energy(grid, problem):
    """The energy's Hessian (V, V) and right side (V,), for a grid without blur."""
    num = grid.label.size
    see = np.zeros((grid.offset.size - 1, num))
    see[grid.nodes(), np.arange(num)] = grid.coverage
    trust = problem.trust.ravel()
    hessian = see.T @ (trust[:, None] * see)
    right_side = see.T @ (trust * problem.target.ravel())
    links = [
        (v, w, weight, problem.plane[v] - problem.plane[w])
        for neighbour, weights in (
            (grid.right, problem.right_weight),
            (grid.down, problem.down_weight),
        )
        for v, (w, weight) in enumerate(zip(neighbour, weights, strict=True))
        if w >= 0
    ]
    links += [(a, b, k, 0.0) for (a, b), k in zip(grid.pairs, problem.pair_weight, strict=True)]
    for v, w, weight, offset in links:
        difference = np.zeros(num)
        difference[v], difference[w] = 1, -1
        hessian += weight * np.outer(difference, difference)
        right_side += weight * offset * difference
    return hessian, right_side


def problem_on(grid, random, blur_nodes=0.0):
    num = grid.label.size

    def some(size, low=0.1):
        return random.uniform(low, 1, size).astype(np.float32)

    return GridProblem(
        some(num),
        np.zeros(num, bool),
        some(grid.shape),
        some(grid.shape),
        some(num),
        some(num),
        some(len(grid.pairs)),
        blur_nodes,
    )


def test_coverage_and_means_are_hat_weighted(labels):
    image = np.random.default_rng(1).random(labels.shape, np.float32)
    grid, mean = mask_grid.build_grid(labels, image, 4)
    weight = hats(grid, labels.shape)
    inside = weight[grid.nodes()] * (labels.ravel() == grid.label[:, None])
    total = weight.sum(1)[grid.nodes()]
    np.testing.assert_allclose(grid.coverage, inside.sum(1) / total, rtol=1e-5)
    np.testing.assert_allclose(mean, inside @ image.ravel() / inside.sum(1), rtol=1e-5)


def test_neighbours_are_the_same_mask_one_node_on(labels):
    grid, _ = mask_grid.build_grid(labels, np.zeros(labels.shape, np.float32), 3)
    nodes = grid.nodes()
    for neighbour, step in ((grid.right, 1), (grid.down, grid.shape[1])):
        linked = neighbour >= 0
        assert linked.any()
        np.testing.assert_array_equal(grid.label[neighbour[linked]], grid.label[linked])
        np.testing.assert_array_equal(nodes[neighbour[linked]], nodes[linked] + step)
    a, b = grid.pairs.T
    np.testing.assert_array_equal(nodes[a], nodes[b])
    assert (grid.label[a] != grid.label[b]).all()


def test_slicing_is_the_obvious_one_and_exact_on_planes(labels):
    grid, _ = mask_grid.build_grid(labels, np.zeros(labels.shape, np.float32), 4)
    surface = np.random.default_rng(2).random(grid.label.size, np.float32)
    none = np.full(labels.shape, -1, np.float32)
    sliced = mask_grid.slice_grid(grid, labels, surface, none)
    np.testing.assert_allclose(sliced.ravel(), slicing(grid, labels) @ surface, rtol=1e-5)
    whole = np.zeros_like(labels)
    grid, _ = mask_grid.build_grid(whole, np.zeros(labels.shape, np.float32), 4)
    x = grid.left + 4 * (grid.nodes() % grid.shape[1])
    sliced = mask_grid.slice_grid(grid, whole, (3 + x).astype(np.float32), none)
    np.testing.assert_allclose(sliced[0], 3 + np.arange(18) + 0.5, rtol=1e-5)


def test_the_solve_finds_the_minimum(labels):
    random = np.random.default_rng(3)
    grid, mean = mask_grid.build_grid(labels, random.random(labels.shape, np.float32), 4)
    problem = problem_on(grid, random)
    found, fitted, _, _ = mask_grid.solve_grid(
        grid, problem, mean, max_iterations=300, tolerance=1e-6
    )
    expected = np.linalg.solve(*dense_energy(grid, problem))
    np.testing.assert_allclose(found, expected, atol=1e-4)
    np.testing.assert_allclose(fitted, grid.see(found), atol=1e-6)


def test_fixed_vertices_keep_their_value(labels):
    random = np.random.default_rng(4)
    grid, mean = mask_grid.build_grid(labels, random.random(labels.shape, np.float32), 4)
    problem = problem_on(grid, random, blur_nodes=1.0)
    problem.fixed[::3] = True
    found, _, _, _ = mask_grid.solve_grid(grid, problem, mean, max_iterations=50, tolerance=1e-3)
    np.testing.assert_array_equal(found[::3], mean[::3])
    assert (found[1::3] != mean[1::3]).any()


def test_the_blur_has_the_width_it_is_given():
    labels = np.zeros((80, 80), np.int32)
    grid, surface = mask_grid.build_grid(labels, np.zeros((80, 80), np.float32), 2)
    surface[(grid.shape[0] // 2) * grid.shape[1] + grid.shape[1] // 2] = 1
    problem = problem_on(grid, np.random.default_rng(0), blur_nodes=1.7)
    problem.fixed[:] = True
    _, fitted, _, _ = mask_grid.solve_grid(grid, problem, surface, max_iterations=1, tolerance=1)
    profile = fitted.sum(0).astype(np.float64)
    x = np.arange(profile.size) - grid.shape[1] // 2
    assert profile.sum() == pytest.approx(1, rel=1e-5)
    assert np.sqrt((profile * x * x).sum()) == pytest.approx(1.7, rel=1e-3)


def test_jumps_are_marked_on_both_sides_of_mask_edges_only(labels):
    surface = np.where(labels == 1, 0.5, 0.1).astype(np.float32)
    surface[:, 12:] += 0.3
    flat = mask_grid.mark_jumps(labels, surface, 0.2)
    rows, columns = np.nonzero(flat == 0)
    assert set(columns) == {7, 8}
    assert set(rows) == set(range(13))


def test_more_masks_than_a_node_holds_still_cover_every_pixel():
    labels = np.arange(64, dtype=np.int32).reshape(8, 8)
    image = cv2.GaussianBlur(np.random.default_rng(5).random((8, 8), np.float32), (0, 0), 1)
    grid, mean = mask_grid.build_grid(labels, image, 4)
    assert np.diff(grid.offset).max() == mask_grid.CAPACITY
    np.testing.assert_allclose(grid.see(np.ones_like(mean)), 1, rtol=1e-5)
    sliced = mask_grid.slice_grid(grid, labels, mean, image)
    np.testing.assert_allclose(sliced, image, atol=1e-6)


def test_planes_are_what_numpy_fits(labels):
    y, x = np.mgrid[: labels.shape[0], : labels.shape[1]].astype(np.float32)
    image = (labels + 0.1 * x * (labels > 0) - 0.05 * y * (labels > 1)).astype(np.float32)
    grid, mean = mask_grid.build_grid(labels, image, 2)
    ids, mask = np.unique(grid.label, return_inverse=True)
    weight = grid.coverage.astype(np.float64)
    plane = mask_grid.fit_planes(grid, mask, mean, weight, rounds=1, floor=1e-3)
    columns, rows = grid.nodes() % grid.shape[1], grid.nodes() // grid.shape[1]
    for index in range(len(ids)):
        of = mask == index
        design = np.stack([np.ones(of.sum()), columns[of], rows[of]], 1)
        root = np.sqrt(weight[of])
        # A quarter of a node's variance in both directions holds masks of one node.
        center = np.average(design[:, 1:], axis=0, weights=weight[of])
        ridge = np.sqrt(0.25 * weight[of].sum()) * np.eye(2)
        design[:, 1:] -= center
        stacked = np.vstack([design * root[:, None], np.pad(ridge, ((0, 0), (1, 0)))])
        fit = np.linalg.lstsq(stacked, np.r_[mean[of] * root, 0, 0], rcond=None)[0]
        spread = np.abs(mean[of] - design @ fit) @ weight[of]
        constant = np.average(mean[of], weights=weight[of])
        wanted = design @ fit
        if spread >= 0.9 * (np.abs(mean[of] - constant) @ weight[of]):
            wanted = np.full(of.sum(), constant)
        np.testing.assert_allclose(plane[of], wanted, atol=1e-4)


def sides(labels, disparity, rgb, **settings):
    zone = np.ones((6, 8), np.uint8)
    low, high = np.zeros((6, 8), np.float32), np.ones((6, 8), np.float32)
    defaults = {"core": 0.15, "sharpness": 4, "wall": 10.0, "floor": 5.0}
    return flood_sides(labels, disparity, rgb, zone, low, high, **{**defaults, **settings})


def climb(shape=(30, 60), sigma=4.0):
    step = np.zeros(shape, np.float32)
    step[:, shape[1] // 2 :] = 1
    return cv2.GaussianBlur(step, (0, 0), sigma)


def test_sides_meet_where_the_climb_is_half_done():
    disparity = climb()
    labels = np.full(disparity.shape, 7, np.int32)
    out = sides(labels, disparity, np.zeros((*disparity.shape, 3), np.float32))
    assert (out[:, :29] == 3 * 7 + 1).all()
    assert (out[:, 31:] == 3 * 7 + 2).all()


@pytest.mark.parametrize("shift", [-2, 2])
def test_sides_meet_at_the_photos_edge_beside_the_middle(shift):
    disparity = climb()
    rgb = np.zeros((*disparity.shape, 3), np.float32)
    rgb[:, 30 + shift :] = 0.8
    out = sides(np.zeros(disparity.shape, np.int32), disparity, rgb)
    ends = (out == 1).sum(1)
    assert (np.abs(ends - (30 + shift)) <= 1).all()


def test_every_side_keeps_the_mask_of_its_core():
    disparity = climb()
    labels = np.zeros(disparity.shape, np.int32)
    labels[:, 33:] = 1  # the mask's edge is three pixels beside the middle
    out = sides(labels, disparity, np.zeros((*disparity.shape, 3), np.float32), wall=0.0)
    assert set(np.unique(out)) == {1, 5}  # low side of mask 0, high side of mask 1
    assert (np.abs((out == 1).sum(1) - 30) <= 1).all()


def test_nothing_is_parted_outside_the_zone():
    disparity = climb()
    zone = np.ones((6, 8), np.uint8)
    zone[:3] = 0
    low, high = np.zeros((6, 8), np.float32), np.ones((6, 8), np.float32)
    rgb = np.zeros((*disparity.shape, 3), np.float32)
    labels = np.ones(disparity.shape, np.int32)
    out = flood_sides(
        labels, disparity, rgb, zone, low, high, core=0.15, sharpness=4, wall=10.0, floor=5.0
    )
    assert (out[:15] == 3).all()
    assert set(np.unique(out[15:])) == {4, 5}
