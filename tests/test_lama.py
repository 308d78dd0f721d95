"""LaMa as an inpainter: what the network is shown, and what is made of its answer."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from official_weights import official_weights

from diorama.errors import InputError
from diorama.inpaint import FillTask
from diorama.models import cuts, lama
from diorama.models.exemplar import Exemplar
from diorama.models.lama import Lama
from diorama.models.nets import lama as nets

MAGENTA = np.array([1, 0, 1], np.float32)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "lama.pt"
    torch.save(official_weights(nets.build(ngf=8, n_blocks=2)), path)
    return path


@pytest.fixture(scope="module")
def inpainter(weights: Path) -> Lama:
    return Lama(weights, precision="fp32")


def scenery(height: int, width: int) -> np.ndarray:
    """Smooth colours with fine texture."""
    rng = np.random.default_rng(5)
    noise = rng.random((height, width, 3), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 20)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (0.2 + 0.5 * smooth + 0.2 * noise).astype(np.float32)


def one_sided(rgb: np.ndarray, *, first: int = 60, width: int = 30) -> FillTask:
    """An occluder in the columns before the hole, the rest known; what is hidden is magenta."""
    x = np.broadcast_to(np.arange(rgb.shape[1]), rgb.shape[:2])
    hole = (x >= first) & (x < first + width)
    known = x >= first + width
    return FillTask(np.where(known[..., None], rgb, MAGENTA), known, hole)


def told_by_network(weights: Path, rgb: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(h, w, 3): the network's answer, asked without any of our ways around it."""
    state = torch.load(weights, weights_only=True)
    network = nets.load_official(nets.build(ngf=8, n_blocks=2), state)
    both = np.dstack([np.where(known[..., None], rgb, 0), ~known]).astype(np.float32)
    with torch.inference_mode():
        return (
            network(torch.from_numpy(both.transpose(2, 0, 1)[None]))[0].numpy().transpose(1, 2, 0)
        )


class TestContract:
    def test_it_gives_the_colours_of_the_hole_and_leaves_the_task_alone(self, inpainter) -> None:
        task = one_sided(scenery(100, 160))
        before = task.rgb.copy()

        (fill,) = inpainter.inpaint([task], seed=0)

        assert fill.shape == (np.count_nonzero(task.hole), 3)
        assert fill.dtype == np.float32
        assert fill.min() >= 0
        assert fill.max() <= 1
        np.testing.assert_array_equal(task.rgb, before)

    @pytest.mark.parametrize("side", [lama.SIDE_PX, 128])
    def test_neither_the_occluder_nor_the_hole_is_looked_at(
        self, inpainter, side: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lama, "SIDE_PX", side)
        task = one_sided(scenery(150, 200))
        other = np.where(task.known[..., None], task.rgb, np.float32(np.nan))

        fill, blind = (
            inpainter.inpaint([FillTask(rgb, task.known, task.hole)], seed=0)[0]
            for rgb in (task.rgb, other)
        )

        np.testing.assert_array_equal(fill, blind)

    def test_tasks_do_not_see_each_other(self, inpainter) -> None:
        tasks = [one_sided(scenery(128, 192)), one_sided(1 - scenery(128, 192), width=40)]
        alone = [inpainter.inpaint([task], seed=0)[0] for task in tasks]
        together = inpainter.inpaint(tasks, seed=0)
        for one, both in zip(alone, together, strict=True):
            np.testing.assert_allclose(both, one, atol=1e-5)

    def test_no_tasks_no_fills(self, inpainter) -> None:
        assert inpainter.inpaint([], seed=0) == []

    def test_where_nothing_is_known_there_is_grey(self, inpainter) -> None:
        nowhere = np.zeros((20, 30), bool)
        task = FillTask(np.ones((20, 30, 3), np.float32), nowhere, ~nowhere)
        assert (inpainter.inpaint([task], seed=0)[0] == 0.5).all()

    def test_a_hole_far_from_all_that_is_known_is_left_to_the_exemplar_fill(
        self, inpainter
    ) -> None:
        rgb, known, hole = scenery(64, 600), np.zeros((64, 600), bool), np.zeros((64, 600), bool)
        known[:, :40], hole[20:40, 560:580] = True, True
        task = FillTask(rgb, known, hole)
        (expected,) = Exemplar().inpaint([task], seed=3)
        np.testing.assert_array_equal(inpainter.inpaint([task], seed=3)[0], expected)

    @pytest.mark.parametrize("side", [lama.SIDE_PX, 128])
    def test_the_same_task_gives_the_same_bytes(
        self, weights: Path, side: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(lama, "SIDE_PX", side)
        task = one_sided(scenery(150, 200))
        first, second = (Lama(weights).inpaint([task], seed=1)[0] for _ in range(2))
        assert first.tobytes() == second.tobytes()

    def test_bytes_are_refused(self, inpainter) -> None:
        task = FillTask.__new__(FillTask)  # as a caller without the suite's type checks would
        nowhere = np.zeros((4, 4), bool)
        rgb = np.zeros((4, 4, 3), np.uint8)
        for name, value in (("rgb", rgb), ("known", nowhere), ("hole", nowhere)):
            object.__setattr__(task, name, value)
        with pytest.raises(InputError, match=r"rgb must be \(4, 4, 3\) float32, got .* uint8"):
            inpainter.inpaint([task], seed=0)

    def test_weights_that_are_missing_are_named(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"none\.pt is not there"):
            Lama(tmp_path / "none.pt").inpaint([one_sided(scenery(64, 128))], seed=0)


class TestSmallHoles:
    def test_the_fill_is_what_the_network_says_of_the_whole_picture(
        self, inpainter, weights: Path
    ) -> None:
        task = one_sided(scenery(128, 192))  # in multiples of the grid: nothing is mirrored
        told = told_by_network(weights, task.rgb, task.known)
        (fill,) = inpainter.inpaint([task], seed=0)
        np.testing.assert_allclose(fill, told[task.hole], atol=2e-6)

    def test_what_is_beyond_the_picture_is_its_mirror_image(self, inpainter, weights: Path) -> None:
        task = one_sided(scenery(100, 150))
        rgb = np.pad(task.rgb, ((0, 28), (0, 42), (0, 0)), mode="symmetric")
        known = np.pad(task.known, ((0, 28), (0, 42)), mode="symmetric")
        told = told_by_network(weights, rgb, known)[:100, :150]
        (fill,) = inpainter.inpaint([task], seed=0)
        np.testing.assert_allclose(fill, told[task.hole], atol=2e-6)

    def test_cuts_of_one_size_run_together(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(cuts, "BATCH_PX", 2 * 64 * 128)
        shapes = []

        def run(x: np.ndarray) -> np.ndarray:
            shapes.append(x.shape)
            return x[:, :3]

        sizes = [(64, 128), (40, 128), (128, 128), (64, 100), (50, 80)]
        looks = [
            lama._Look(np.full((*size, 3), 0.1 * k, np.float32), np.ones(size, bool))
            for k, size in enumerate(sizes)
        ]
        pictures = lama._pictures(run, looks)
        assert shapes == [(2, 4, 64, 128), (2, 4, 64, 128), (1, 4, 128, 128)]
        for k, (picture, size) in enumerate(zip(pictures, sizes, strict=True)):
            assert picture is not None
            assert picture.shape == (*size, 3)
            assert (picture == np.float32(0.1 * k)).all()


class TestLargeHoles:
    """The network sees them at an eighth or half of their size."""

    @pytest.fixture(autouse=True)
    def small_network(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lama, "SIDE_PX", 128)

    def fills(self, inpainter: Lama) -> tuple[FillTask, np.ndarray, np.ndarray]:
        """A task; its fill, and the exemplar fill, as whole pictures."""
        task = one_sided(scenery(256, 512), first=100, width=150)
        whole, guide = task.rgb.copy(), task.rgb.copy()
        whole[task.hole] = inpainter.inpaint([task], seed=0)[0]
        guide[task.hole] = Exemplar().inpaint([task], seed=0)[0]
        return task, whole, guide

    def test_coarse_scales_are_the_network_s(self, inpainter, weights: Path) -> None:
        task, whole, guide = self.fills(inpainter)
        rgb = cv2.resize(task.rgb, (128, 64), interpolation=cv2.INTER_AREA)
        known = cv2.resize(task.known.astype(np.float32), (128, 64), interpolation=cv2.INTER_AREA)
        told = told_by_network(weights, rgb, known > 0.5)
        small = [cv2.resize(a, (128, 64), interpolation=cv2.INTER_AREA) for a in (whole, guide)]
        inner = np.s_[8:-8, 33:55]  # of the hole, 25 to 62 in these pixels
        ours, other, told = (cv2.GaussianBlur(a, (0, 0), 2)[inner] for a in (*small, told))
        assert np.abs(ours - told).mean() < 0.1 * np.abs(other - told).mean()

    def test_fine_scales_are_the_exemplar_s(self, inpainter) -> None:
        _, whole, guide = self.fills(inpainter)
        ours, theirs = (a - cv2.GaussianBlur(a, (0, 0), 1.5) for a in (whole, guide))
        inner = np.s_[20:-20, 120:230]
        correlation = np.corrcoef(ours[inner].ravel(), theirs[inner].ravel())[0, 1]
        assert correlation > 0.95

    def test_there_is_no_seam(self, inpainter) -> None:
        _, whole, guide = self.fills(inpainter)
        change = np.abs(whole - guide).mean((0, 2))
        deep = change[150:200].mean()
        assert deep > 0.02
        assert change[249] < 0.25 * deep
        assert change[248] < 0.6 * deep
        assert change[250] == 0
