import cv2
import numpy as np
import pytest

from diorama.camera import ViewBox, disparity_per_px
from diorama.errors import InputError
from diorama.inpaint import BLEED_PX, FillTask, InpaintConfig, fill_disparity, fill_layers
from diorama.kernels.harmonic import nearest_values, solve_harmonic
from diorama.layers import Layer, extract_layers
from diorama.models.exemplar import Exemplar
from diorama.photo import Photo
from diorama.testing import SyntheticScene, floor_and_people, sphere_before_wall, two_cards

SCENES = {"cards": two_cards, "floor": floor_and_people, "sphere": sphere_before_wall}


def grid(height, width):
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return x, y


class MeanColor:
    """An inpainter whose answer is plain, and that keeps what it was asked."""

    def __init__(self):
        self.calls = []

    def inpaint(self, tasks, *, seed):
        self.calls.append((list(tasks), seed))
        means = [task.rgb[task.known].mean(0) for task in tasks]
        return [
            np.tile(mean, (task.hole.sum(), 1)) for mean, task in zip(means, tasks, strict=True)
        ]


class TestSolveHarmonic:
    def test_a_row_between_two_ends_is_their_straight_line(self):
        values = np.zeros((1, 6, 1), np.float32)
        values[0, 5] = 1.0
        hole = np.array([[False, True, True, True, True, False]])
        assert solve_harmonic(values, ~hole, hole)[:, 0] == pytest.approx([0.2, 0.4, 0.6, 0.8])

    def test_a_pixel_is_the_mean_of_its_known_neighbours(self):
        values = np.arange(9, dtype=np.float32).reshape(3, 3, 1) ** 2
        hole = np.zeros((3, 3), bool)
        hole[1, 1] = True
        known = ~hole
        known[0, 1] = False  # the occluder: 1 must not count
        assert solve_harmonic(values, known, hole)[0, 0] == pytest.approx((9 + 25 + 49) / 3)

    def test_agrees_with_a_direct_solve_on_a_ragged_hole(self):
        rng = np.random.default_rng(3)
        state = rng.random((60, 70))
        hole, known = state < 0.55, state > 0.8
        known[[0, -1]] = True
        hole &= ~known
        values = rng.random((60, 70, 2), np.float32)
        ours = solve_harmonic(values, known, hole, tolerance=1e-6)
        expected, held = dense_solve(values, known, hole)
        assert np.abs(ours - expected)[held].max() < 1e-4

    def test_obeys_the_maximum_principle(self):
        x, y = grid(80, 90)
        hole = (np.hypot(x - 45, y - 40) < 30) & (x > 30)
        known = ~hole & (x > 25)
        values = np.random.default_rng(0).random((80, 90, 1), np.float32)
        filled = solve_harmonic(values, known, hole)
        assert values[known].min() <= filled.min()
        assert filled.max() <= values[known].max()

    def test_a_part_that_touches_nothing_known_takes_the_nearest_value(self):
        hole, known = np.zeros((2, 9, 9), bool)
        hole[4, 4:7] = True
        known[:, 0], known[:, 8] = True, True
        values = np.where(grid(9, 9)[0] > 4, 0.75, 0.25).astype(np.float32)[..., None]
        assert solve_harmonic(values, known, hole)[:, 0].tolist() == [0.25, 0.75, 0.75]

    def test_nothing_known_gives_zero_and_no_hole_gives_nothing(self):
        values, nowhere = np.ones((4, 4, 3), np.float32), np.zeros((4, 4), bool)
        assert not solve_harmonic(values, nowhere, ~nowhere).any()
        assert solve_harmonic(values, ~nowhere, nowhere).shape == (0, 3)


def dense_solve(values, known, hole):
    """The same equations written down one by one; `held`: parts that touch something known."""
    index = np.full(hole.shape, -1)
    index[hole] = np.arange(hole.sum())
    matrix, rhs = np.zeros((hole.sum(), hole.sum())), np.zeros((hole.sum(), values.shape[2]))
    for y, x in zip(*np.nonzero(hole), strict=True):
        p = index[y, x]
        for q in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            if not (0 <= q[0] < hole.shape[0] and 0 <= q[1] < hole.shape[1]):
                continue
            if known[q]:
                matrix[p, p] += 1
                rhs[p] += values[q]
            elif hole[q]:
                matrix[p, p] += 1
                matrix[p, index[q]] -= 1
    solution = np.linalg.lstsq(matrix, rhs, rcond=None)[0]
    constant = np.linalg.lstsq(matrix, matrix @ np.ones(len(matrix)), rcond=None)[0]
    return solution, constant > 0.5


class TestFillDisparity:
    def test_continues_a_floor_exactly_into_a_one_sided_hole(self):
        x, y = grid(120, 160)
        plane = (0.2 + 0.001 * x + 0.004 * y).astype(np.float32)
        occluder = np.hypot(x - 80, y - 60) < 20
        hole = occluder | (np.hypot(x - 80, y - 60) < 32)
        given = np.where(hole, np.float32(np.nan), plane)
        filled = fill_disparity(given, ~hole, hole)
        assert np.abs(filled - plane).max() < 1e-4

    def test_outliers_beside_the_hole_do_not_tilt_the_plane(self):
        x, y = grid(100, 120)
        plane = (0.3 + 0.002 * x).astype(np.float32)
        hole = (x > 40) & (x < 60) & (y > 30) & (y < 70)
        given = plane.copy()
        given[10:22, 45:60] = 1.0  # a wrong patch, within reach of the hole
        filled = fill_disparity(given, ~hole, hole)
        assert np.abs(filled - plane)[hole].max() < 1e-3

    def test_noise_without_a_slope_is_not_extrapolated(self):
        rng = np.random.default_rng(1)
        x, _ = grid(80, 200)
        given = (0.5 + 0.01 * rng.standard_normal((80, 200))).astype(np.float32)
        hole = (x >= 30) & (x < 110)
        filled = fill_disparity(given, x < 30, hole)
        assert np.abs(filled[hole] - 0.5).max() < 0.03

    def test_two_holes_continue_two_planes(self):
        x, _ = grid(60, 200)
        truth = np.where(x < 100, 0.2 + 0.003 * x, 0.9 - 0.002 * x).astype(np.float32)
        hole = ((x > 20) & (x < 45)) | ((x > 150) & (x < 180))
        filled = fill_disparity(np.where(hole, 0, truth).astype(np.float32), ~hole, hole)
        assert np.abs(filled - truth).max() < 1e-4

    def test_floor_and_wall_behind_one_object_have_planes_of_their_own(self):
        _, y = grid(400, 500)
        truth = np.maximum(0.1, 0.1 + 0.002 * (y - 200)).astype(np.float32)  # a wall, then a floor
        x, _ = grid(400, 500)
        occluder = (np.abs(x - 250) < 100) & (np.abs(y - 200) < 150)
        edge = (np.abs(x - 250) < 80) & (np.abs(y - 200) < 130)
        hole = occluder & ~edge  # known on its outer side only
        filled = fill_disparity(np.where(occluder, 1, truth).astype(np.float32), ~occluder, hole)
        error = np.abs(filled - truth)[hole]
        assert np.sqrt(np.square(error).mean()) < 3e-3  # one plane: 7e-3
        assert np.median(error) < 1e-4

    def test_is_never_nearer_than_the_occluder_nor_behind_infinity(self):
        x, _ = grid(40, 100)
        slope = np.maximum(0.5 - 0.01 * x, 0).astype(np.float32)
        hole = x >= 45
        upper = np.full((40, 100), 0.03, np.float32)
        filled = fill_disparity(slope, ~hole, hole, upper=upper)
        assert filled[hole].min() == 0
        assert filled[hole].max() == np.float32(0.03)

    def test_keeps_what_is_known_and_its_inputs(self):
        rng = np.random.default_rng(5)
        given = rng.random((30, 40), np.float32)
        hole = np.zeros((30, 40), bool)
        hole[10:20, 5:35] = True
        before = given.copy()
        filled = fill_disparity(given, ~hole, hole)
        assert filled.dtype == np.float32
        assert (filled[~hole] == given[~hole]).all()
        assert (given == before).all()

    @pytest.mark.parametrize("size", [(1, 1), (1, 7), (5, 1)])
    def test_works_on_the_smallest_pictures(self, size):
        everything = np.ones(size, bool)
        filled = fill_disparity(np.ones(size, np.float32), ~everything, everything)
        assert (filled == 0).all()  # nothing is known: infinitely far, behind whatever is there

    def test_without_a_hole_nothing_changes(self):
        given = np.random.default_rng(0).random((8, 9), np.float32)
        everything = np.ones((8, 9), bool)
        assert (fill_disparity(given, everything, ~everything) == given).all()

    def test_refuses_masks_of_another_size(self):
        # The suite's type checks would object first; the door must hold without them.
        door = fill_disparity.__wrapped__
        mask = np.zeros((4, 5), bool)
        with pytest.raises(InputError, match=r"hole must be \(4, 4\) bool, got \(4, 5\) bool"):
            door(np.ones((4, 4), np.float32), mask[:, :4], mask)

    def test_agrees_with_the_truth_behind_a_sphere(self):
        scene = sphere_before_wall(240, 180)
        disparity, labels = scene.disparity(), scene.masks().labels
        truth = SyntheticScene(scene.surfaces[:1], scene.camera).disparity()
        hole = labels == 1
        filled = fill_disparity(disparity, ~hole, hole, upper=disparity)
        assert np.abs(filled - truth)[hole].max() < 1e-4


def test_config_refuses_a_reach_that_makes_no_plane():
    with pytest.raises(InputError, match="plane_reach_px must be at least 4, got 2"):
        InpaintConfig(plane_reach_px=2)


@pytest.fixture(scope="module", params=list(SCENES))
def case(request):
    """What is seen, the layers as extracted, and the layers filled."""
    scene = SCENES[request.param](240, 180)
    photo, disparity = scene.photo(), scene.disparity()
    layers, _ = extract_layers(photo, disparity, scene.masks(), ViewBox())
    filled = fill_layers(photo, layers, disparity, inpainter=Exemplar(), seed=0)
    return disparity, layers, filled


class TestFillLayers:
    def test_known_pixels_alpha_holes_and_ids_stay(self, case):
        _, layers, filled = case
        for before, after in zip(layers, filled, strict=True):
            known = (before.rgba[..., 3] >= 1) & ~before.hole
            assert (after.rgba[known] == before.rgba[known]).all()
            assert (after.disparity[known] == before.disparity[known]).all()
            assert (after.rgba[..., 3] == before.rgba[..., 3]).all()
            assert (after.hole == before.hole).all()
            assert after.mask_ids == before.mask_ids

    def test_no_fill_is_nearer_than_its_occluder(self, case):
        disparity, _, filled = case
        assert any(layer.hole.any() for layer in filled)
        for layer in filled:
            assert (layer.disparity[layer.hole] <= disparity[layer.hole]).all()

    def test_fills_keep_half_a_pixel_of_parallax_behind_what_hides_them(self, case):
        disparity, _, filled = case
        step = 0.5 * disparity_per_px(two_cards(240, 180).camera, ViewBox())
        ceiling = np.maximum(disparity - 0.99 * step, 0)
        for layer in reversed(filled):
            assert (layer.disparity[layer.hole] <= ceiling[layer.hole]).all()
            ceiling[layer.hole] = np.maximum(layer.disparity[layer.hole] - 0.99 * step, 0)

    def test_a_box_without_room_needs_no_gap(self):
        photo, layers, disparity = three_sheets()
        nowhere = ViewBox(0.0, 0.0, 0.0)
        back = fill_layers(photo, layers, disparity, inpainter=MeanColor(), view_box=nowhere)[0]
        assert (back.disparity[back.hole] == np.float32(0.2)).all()

    def test_everything_is_finite_and_in_range(self, case):
        for layer in case[2]:
            assert layer.rgba.dtype == layer.disparity.dtype == np.float32
            assert (layer.rgba >= 0).all()
            assert (layer.rgba <= 1).all()
            assert (layer.disparity >= 0).all()

    def test_colours_in_holes_are_the_layers_own(self, case):
        for layer in case[2]:
            known = (layer.rgba[..., 3] >= 1) & ~layer.hole
            own = layer.rgba[known][:, :3]
            low, high = own.min(0) - 0.1, own.max(0) + 0.1
            fill = layer.rgba[layer.hole][:, :3]
            assert ((fill >= low) & (fill <= high)).all()

    def test_all_holes_go_to_the_inpainter_as_one_batch(self):
        photo, layers, disparity = three_sheets()
        inpainter = MeanColor()
        fill_layers(photo, layers, disparity, inpainter=inpainter, seed=7)
        ((tasks, seed),) = inpainter.calls
        assert seed == 7
        assert len(tasks) == 2  # the nearest sheet has no hole
        for task, layer in zip(tasks, layers, strict=False):
            assert (task.hole == layer.hole).all()
            assert (task.known == ((layer.rgba[..., 3] == 1) & ~layer.hole)).all()

    def test_colour_and_disparity_are_bled_beyond_the_outline(self):
        photo, layers, disparity = three_sheets()
        near = fill_layers(photo, layers, disparity, inpainter=MeanColor())[2]
        assert (near.rgba[..., 3] == layers[2].rgba[..., 3]).all()
        reach = cv2.dilate(near.rgba[..., 3], np.ones((2 * BLEED_PX + 1,) * 2)) > 0
        assert np.unique(reach).tolist() == [False, True]
        expected = np.where(reach[..., None], np.float32(0.9), 0) * np.ones(3, np.float32)
        assert near.rgba[..., :3] == pytest.approx(expected)
        assert (near.disparity == reach).all()

    def test_inputs_are_not_changed(self):
        photo, layers, disparity = three_sheets()
        before = [(la.rgba.copy(), la.disparity.copy()) for la in layers]
        fill_layers(photo, layers, disparity, inpainter=MeanColor())
        for layer, (rgba, values) in zip(layers, before, strict=True):
            assert (layer.rgba == rgba).all()
            assert (layer.disparity == values).all()

    def test_overwriting_gives_the_same_in_the_layers_own_arrays(self):
        photo, layers, disparity = three_sheets()
        copies = fill_layers(photo, layers, disparity, inpainter=MeanColor())
        own = fill_layers(photo, layers, disparity, inpainter=MeanColor(), overwrite=True)
        for layer, before, copy in zip(own, layers, copies, strict=True):
            assert layer.rgba is before.rgba
            assert layer.disparity is before.disparity
            assert (layer.rgba == copy.rgba).all()
            assert (layer.disparity == copy.disparity).all()

    @pytest.mark.parametrize(
        ("answer", "text"),
        [
            (lambda tasks: [], r"the inpainter filled 0 of \d holes"),
            (
                lambda tasks: [np.array(task.rgb) for task in tasks],
                r"colours of the inpainter must be \(\d+, 3\) float32, got \(\d+, \d+, 3\) float32",
            ),
            (
                lambda tasks: [np.zeros((task.hole.sum(), 3)) for task in tasks],
                "got .* float64",
            ),
        ],
    )
    def test_refuses_answers_that_are_none(self, answer, text):
        class Wrong:
            def inpaint(self, tasks, *, seed):
                return answer(tasks)

        photo, layers, disparity = three_sheets()
        with pytest.raises(InputError, match=text):
            fill_layers(photo, layers, disparity, inpainter=Wrong())

    def test_refuses_a_layer_of_another_size(self):
        photo, layers, _ = three_sheets()
        small = np.ones((10, 30), np.float32)
        with pytest.raises(InputError, match=r"disparity must be \(20, 30\) float32"):
            fill_layers.__wrapped__(photo, layers, small, inpainter=MeanColor())


def three_sheets():
    """A wall, a card before it and a smaller one before that, each of one colour."""
    x, y = grid(20, 30)
    shapes = [np.ones((20, 30), bool), (x > 8) & (x < 24) & (y > 3), (x > 12) & (x < 20) & (y > 7)]
    values = [0.2, 0.5, 1.0]
    layers, disparity = [], np.zeros((20, 30), np.float32)
    for k, (shape, value) in enumerate(zip(shapes, values, strict=True)):
        disparity[shape] = value
        hole = shape & np.any(shapes[k + 1 :], 0) if k < 2 else np.zeros_like(shape)
        rgba = np.zeros((20, 30, 4), np.float32)
        rgba[shape] = (*[0.3 * (k + 1)] * 3, 1)
        rgba[hole, :3] = 0
        layers.append(Layer(rgba, np.where(hole, 0, value).astype(np.float32), hole, (k,)))
    scene = two_cards(30, 20).photo()
    return Photo(scene.rgb, scene.texture, scene.camera), tuple(layers), disparity


def test_a_part_that_touches_nothing_known_takes_the_nearest_value_however_far():
    values = np.zeros((40, 900), np.float32)
    values[:, 300:] = np.linspace(0.2, 0.9, 40)[:, None]
    known = np.zeros(values.shape, bool)
    known[:, 300:310] = True
    hole = np.zeros(values.shape, bool)
    hole[10:12, [5, 295, 890]] = True
    filled = solve_harmonic(values[..., None], known, hole)[:, 0]
    assert (filled.reshape(2, 3) == values[10:12, [300]]).all()


def test_nearest_values_are_zero_where_nothing_is_valid():
    assert not nearest_values(np.ones((3, 4), np.float32), np.zeros((3, 4), bool)).any()


def test_exemplar_is_what_the_registry_calls_embedded():
    from diorama.registry import load

    assert isinstance(load("inpainter", "embedded"), Exemplar)


def test_a_task_is_three_arrays():
    rgb, nowhere = np.zeros((2, 2, 3), np.float32), np.zeros((2, 2), bool)
    assert FillTask(rgb, ~nowhere, nowhere).known.all()
