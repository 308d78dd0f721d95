"""Cuts: holes in parts with their surroundings, and pictures of them at other sizes."""

import cv2
import numpy as np
import pytest

from diorama.errors import InputError
from diorama.inpaint import FillTask
from diorama.models import cuts
from diorama.models.cuts import batches, cut_out, exemplar_fills, padded, resized
from diorama.models.exemplar import Exemplar


def two_holes() -> FillTask:
    """One in the middle, one at the right edge."""
    hole = np.zeros((400, 1000), bool)
    hole[100:120, 200:230] = hole[300:310, 990:] = True
    rgb = np.random.default_rng(1).random((400, 1000, 3), np.float32)
    return FillTask(rgb, ~hole, hole)


class TestCutOut:
    def test_distant_holes_are_cut_out_each_with_its_surroundings(self) -> None:
        task = two_holes()
        near, far = cut_out([task])
        assert (near.hole.shape, far.hole.shape) == ((256, 256), (256, 256))
        assert near.hole.sum() + far.hole.sum() == task.hole.sum()
        rows, columns = np.nonzero(near.hole)
        assert min(rows.min(), 255 - rows.max()) >= cuts.CONTEXT_PX
        assert min(columns.min(), 255 - columns.max()) >= cuts.CONTEXT_PX
        flat = np.zeros(task.hole.sum(), bool)
        flat[near.place] = True
        expected = np.zeros_like(task.hole)
        expected[100:120, 200:230] = True
        np.testing.assert_array_equal(flat, expected[task.hole])

    def test_a_cut_knows_where_it_is(self) -> None:
        task = two_holes()
        for cut in cut_out([task, task]):
            (top, left), (height, width) = cut.corner, cut.hole.shape
            box = np.s_[top : top + height, left : left + width]
            np.testing.assert_array_equal(cut.rgb, task.rgb[box])
            np.testing.assert_array_equal(cut.known, task.known[box])
            assert not (cut.hole & ~task.hole[box]).any()
        assert [cut.number for cut in cut_out([task, task])] == [0, 0, 1, 1]

    def test_it_is_as_large_as_is_asked_where_the_picture_is(self) -> None:
        near, far = cut_out([two_holes()], least_px=512)
        assert near.hole.shape == far.hole.shape == (400, 512)
        assert near.longer_side == 512
        assert near.size_seen(0.5) == (256, 200)

    def test_parts_are_seen_together_as_far_as_is_asked(self) -> None:
        task = two_holes()
        assert len(cut_out([task], cell_px=150)) == 2
        (both,) = cut_out([task], cell_px=300)
        assert both.hole.sum() == task.hole.sum()

    def test_arrays_that_do_not_fit_are_refused(self) -> None:
        task = FillTask.__new__(FillTask)  # as a caller without the suite's type checks would
        values = {"rgb": np.zeros((4, 4, 3), np.uint8), "known": np.zeros((4, 4), bool)}
        for name, value in {**values, "hole": np.zeros((4, 4), bool)}.items():
            object.__setattr__(task, name, value)
        with pytest.raises(InputError, match=r"rgb must be \(4, 4, 3\) float32, got .* uint8"):
            cut_out([task])


class TestSizes:
    @pytest.mark.parametrize("size", [(20, 10), (80, 60)])
    def test_what_is_outside_has_no_part_in_another_size(self, size: tuple[int, int]) -> None:
        inside = np.zeros((30, 40), bool)
        inside[:, :25] = True
        rgb = np.where(inside[..., None], np.float32([0.2, 0.4, 0.6]), np.float32(np.nan))
        colors, share = resized(rgb, inside, size)
        assert colors.shape == (size[1], size[0], 3)
        np.testing.assert_allclose(colors[share > 0], [[0.2, 0.4, 0.6]] * (share > 0).sum(), 1e-5)
        assert not colors[share == 0].any()
        assert share.mean() == pytest.approx(25 / 40, abs=0.02)

    def test_pictures_are_mirrored_to_the_grid(self) -> None:
        picture = np.random.default_rng(0).random((50, 64, 2), np.float32)
        larger = padded(picture)
        assert larger.shape == (64, 64, 2)
        np.testing.assert_array_equal(larger[:50], picture)
        np.testing.assert_array_equal(larger[50:], picture[:35:-1])

    def test_those_of_one_shape_run_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cuts, "BATCH_PX", 2 * 64 * 128)
        shapes = [(64, 128), (40, 128), (128, 128), (64, 100), (50, 80), (640, 640)]
        assert list(batches(shapes)) == [[0, 1], [3, 4], [2], [5]]


class TestExemplar:
    def test_chosen_cuts_alone_are_filled(self) -> None:
        task = two_holes()
        near, _ = cut_out([task])
        (fill,) = exemplar_fills([task], [near], 3)
        only = np.zeros_like(task.hole)
        only[100:120, 200:230] = True
        (expected,) = Exemplar().inpaint([FillTask(task.rgb, task.known, only)], seed=3)
        np.testing.assert_array_equal(fill[near.place], expected)
        assert np.count_nonzero(fill.any(1)) <= near.place.size

    def test_a_picture_that_is_the_guide_s_own_changes_nothing(self) -> None:
        smooth = cv2.GaussianBlur(
            np.random.default_rng(2).random((128, 128, 3), np.float32), (0, 0), 9
        )
        hole = np.zeros((128, 128), bool)
        hole[50:80, 40:90] = True
        (cut,) = cut_out([FillTask(smooth, ~hole, hole)])
        small, _ = resized(smooth, ~hole | hole, (64, 64))
        fill = cuts.with_fine_scales(cut, small, smooth[hole])
        np.testing.assert_allclose(fill, smooth[hole], atol=1e-5)
