import numpy as np
import pytest

from diorama.errors import InputError
from diorama.inpaint import FillTask
from diorama.kernels.harmonic import solve_harmonic
from diorama.kernels.patchmatch import FRAME, PatchImage, match_patches, vote_patches
from diorama.models import exemplar
from diorama.models.exemplar import Exemplar

MAGENTA = np.array([1, 0, 1], np.float32)


def one_sided(rgb, *, width=10):
    """A task: an occluder on the left, a hole beside it, the rest known. Unknown is magenta."""
    x = np.broadcast_to(np.arange(rgb.shape[1]), rgb.shape[:2])
    hole = (x >= 20) & (x < 20 + width)
    known = x >= 20 + width
    return FillTask(np.where(known[..., None], rgb, MAGENTA).astype(np.float32), known, hole)


def fill(task, **settings):
    filled = task.rgb.copy()
    filled[task.hole] = Exemplar(**settings).inpaint([task], seed=0)[0]
    return filled


def stripes(height=90, width=120):
    """Horizontal stripes of period 12."""
    y = np.arange(height)[:, None, None]
    return np.broadcast_to(
        0.5 + 0.4 * np.sign(np.sin(2 * np.pi * (y + 0.5) / 12)), (height, width, 3)
    )


def noise(height=90, width=120, strength=0.2):
    rng = np.random.default_rng(2)
    return (0.5 + strength * (rng.random((height, width, 3)) - 0.5)).astype(np.float32)


class TestContract:
    def test_result_has_shape_and_dtype_and_equals_what_is_known(self):
        task = one_sided(noise())
        filled = fill(task)
        assert filled.shape == task.rgb.shape
        assert filled.dtype == np.float32
        assert (filled[task.known] == task.rgb[task.known]).all()

    def test_inputs_are_not_changed(self):
        task = one_sided(noise())
        before = task.rgb.copy()
        fill(task)
        assert (task.rgb == before).all()

    def test_what_is_neither_known_nor_hole_is_never_looked_at(self):
        task = one_sided(noise())
        occluder = ~task.known & ~task.hole
        other = task.rgb.copy()
        other[occluder] = np.nan
        assert (fill(FillTask(other, task.known, task.hole)) == fill(task))[task.hole].all()

    def test_what_stands_in_the_hole_is_never_looked_at(self):
        task = one_sided(noise())
        other = task.rgb.copy()
        other[task.hole] = 0.123
        assert (fill(FillTask(other, task.known, task.hole)) == fill(task))[task.hole].all()

    def test_tasks_of_one_batch_do_not_see_each_other(self):
        first, second = one_sided(noise()), one_sided(stripes())
        alone = [Exemplar().inpaint([task], seed=0)[0] for task in (first, second)]
        together = Exemplar().inpaint([first, second], seed=0)
        assert all((a == b).all() for a, b in zip(alone, together, strict=True))

    def test_no_tasks_no_results(self):
        assert Exemplar().inpaint([], seed=0) == []

    def test_same_seed_same_bytes_with_one_thread_or_many(self, monkeypatch):
        tasks = [one_sided(noise()), one_sided(stripes(), width=25), one_sided(noise(60, 200))]
        results = []
        for threads in "1", "2", "3":
            monkeypatch.setenv("DIORAMA_THREADS", threads)
            results.append([r.tobytes() for r in Exemplar().inpaint(tasks, seed=4)])
        assert results[0] == results[1] == results[2]

    def test_threads_that_share_one_hole_make_the_same_bytes(self, monkeypatch):
        monkeypatch.setattr(exemplar, "LARGE_PX", 100)
        monkeypatch.setattr(exemplar, "RUN_PX", 64)
        task = one_sided(noise(60, 120), width=25)
        results = []
        for threads in "1", "3":
            monkeypatch.setenv("DIORAMA_THREADS", threads)
            results.append(fill(task).tobytes())
        monkeypatch.setattr(exemplar, "LARGE_PX", task.hole.size)
        assert results[0] == results[1] == fill(task).tobytes()

    def test_another_seed_searches_elsewhere(self):
        task = one_sided(noise())
        a, b = (Exemplar().inpaint([task], seed=seed)[0] for seed in (0, 1))
        assert (a != b).any()

    @pytest.mark.parametrize(
        ("settings", "text"),
        [
            ({"search_px": 0}, "search_px and detail_sigma_px must be positive"),
            ({"detail": -1}, "detail and max_gain must not be negative"),
            ({"structure": 2}, "anchor and structure lie in 0..1"),
        ],
    )
    def test_refuses_settings_out_of_range(self, settings, text):
        with pytest.raises(InputError, match=text):
            Exemplar(**settings)


class TestQuality:
    def test_a_constant_stays_that_constant(self):
        task = one_sided(np.full((80, 100, 3), 0.37), width=30)
        assert np.abs(fill(task) - np.float32(0.37))[task.hole].max() < 1e-4

    def test_nothing_is_invented_where_the_surroundings_are_smooth(self):
        y = np.linspace(0.2, 0.8, 100)[:, None, None]
        task = one_sided(np.broadcast_to(y, (100, 140, 3)), width=30)
        steps = np.abs(np.diff(fill(task)[:, 20:50], axis=1)).max()
        assert steps < 3 / 255

    def test_stripes_run_on(self):
        task = one_sided(stripes(), width=12)
        filled, truth = fill(task)[task.hole], stripes()[task.hole]
        smoothest = solve_harmonic(task.rgb, task.known, task.hole)
        assert np.corrcoef(filled.ravel(), truth.ravel())[0, 1] > 0.95
        assert np.abs(filled - truth).mean() < 0.5 * np.abs(smoothest - truth).mean()

    def test_texture_keeps_its_strength_and_its_mean(self):
        truth = noise()
        task = one_sided(truth, width=30)
        filled = fill(task)[:, 25:50]
        assert abs(filled.mean() - truth.mean()) < 0.01
        assert 0.5 < filled.std() / truth.std() < 1.3

    def test_there_is_no_foreground_colour_in_the_fill(self):
        task = one_sided(noise(), width=20)
        red, green, blue = np.moveaxis(fill(task)[task.hole], -1, 0)
        assert (green > 0.25).all()
        assert (red < 0.75).all()
        assert (blue < 0.75).all()


class TestEdges:
    def test_nothing_known_becomes_mid_grey(self):
        nowhere = np.zeros((20, 20), bool)
        filled = fill(FillTask(np.zeros((20, 20, 3), np.float32), nowhere, ~nowhere))
        assert (filled == 0.5).all()

    def test_no_hole_leaves_everything(self):
        rgb = noise(20, 20)
        nowhere = np.zeros((20, 20), bool)
        assert (fill(FillTask(rgb, ~nowhere, nowhere)) == rgb).all()

    def test_one_pixel(self):
        for known in True, False:
            state = np.full((1, 1), known)
            filled = fill(FillTask(np.full((1, 1, 3), 0.2, np.float32), state, ~state))
            assert filled == pytest.approx(np.full((1, 1, 3), 0.2 if known else 0.5))

    def test_a_known_strip_too_thin_for_a_patch_is_stretched(self):
        rgb = np.zeros((40, 60, 3), np.float32)
        rgb[:, 30:33] = [0.2, 0.4, 0.6]
        known, hole = np.zeros((2, 40, 60), bool)
        known[:, 30:33], hole[:, 33:50] = True, True
        assert fill(FillTask(rgb, known, hole))[hole] == pytest.approx(
            np.broadcast_to(np.float32([0.2, 0.4, 0.6]), (hole.sum(), 3)), abs=1e-3
        )

    def test_a_hole_far_from_anything_known_takes_the_nearest_colour(self):
        rgb = np.zeros((30, 400, 3), np.float32)
        rgb[:, :20] = 0.8
        known, hole = np.zeros((2, 30, 400), bool)
        known[:, :20], hole[10:20, 380:390] = True, True
        assert fill(FillTask(rgb, known, hole))[hole] == pytest.approx(0.8, abs=1e-3)

    @pytest.mark.parametrize("size", [(1, 50), (50, 1), (9, 9), (31, 47)])
    def test_holes_up_to_the_pictures_edge(self, size):
        rgb = noise(*size)
        known = np.arange(size[0] * size[1]).reshape(size) > size[0] * size[1] // 2
        filled = fill(FillTask(rgb, known, ~known))
        assert np.isfinite(filled).all()
        assert (filled[known] == rgb[known]).all()

    def test_refuses_bytes(self):
        task = FillTask.__new__(FillTask)  # as a caller without the suite's type checks would
        nowhere = np.zeros((4, 4), bool)
        for name, value in (("rgb", np.zeros((4, 4, 3), np.uint8)), ("known", nowhere)):
            object.__setattr__(task, name, value)
        object.__setattr__(task, "hole", nowhere)
        with pytest.raises(InputError, match=r"rgb must be \(4, 4, 3\) float32, got .* uint8"):
            fill(task)


class TestPatches:
    """The kernels against what can be said without them."""

    def image(self):
        rng = np.random.default_rng(0)
        rgb = rng.random((40, 50, 3), np.float32)
        rgb[10:17, 10:17] = rgb[20:27, 30:37]  # the patch around (13, 13) stands at (23, 33), too
        usable = np.zeros((40, 50), np.uint8)
        usable[FRAME:-FRAME, FRAME + 18 : -FRAME] = 1
        return PatchImage(rgb, np.ones((40, 50), np.float32), usable)

    def test_finds_the_copy(self):
        image = self.image()
        targets = np.array([13 * 50 + 13], np.int32)
        sources, costs = np.full(2000, -1, np.int32), np.zeros(2000, np.float32)
        sources[targets] = 23 * 50 + 30
        for sweep in range(300):
            self.sweep(image, targets, sources, costs, sweep)
        assert sources[targets] == 23 * 50 + 33
        assert costs[targets] == 0

    def test_costs_never_rise_and_are_the_stated_distance(self):
        image = self.image()
        targets = np.flatnonzero(np.pad(np.ones((20, 8)), ((8, 12), (6, 36)))).astype(np.int32)
        sources, costs = np.full(2000, -1, np.int32), np.zeros(2000, np.float32)
        sources[targets] = 20 * 50 + 30
        last = np.full(targets.size, np.inf)
        for sweep in range(5):
            self.sweep(image, targets, sources, costs, sweep, penalty=1e-4)
            assert (costs[targets] <= last * (1 + 1e-5)).all()
            last = costs[targets].copy()
        assert (image.usable.reshape(-1)[sources[targets]] == 1).all()
        for t in targets[::23]:
            assert costs[t] == pytest.approx(self.distance(image, t, sources[t], 1e-4), rel=1e-4)

    def test_a_single_patch_votes_for_its_own_colours(self):
        image = self.image()
        sources = np.full(2000, -1, np.int32)
        sources[13 * 50 + 13] = 23 * 50 + 33
        pixels = np.array([12 * 50 + 14, 30 * 50 + 10], np.int32)
        voted = vote_patches(
            image,
            pixels,
            sources,
            weights=np.ones(2000, np.float32),
            window=np.ones((7, 7), np.float32),
        )
        assert voted[0] == pytest.approx(image.rgb[22, 34])
        assert voted[1] == pytest.approx(image.rgb[30, 10])  # under no patch: unchanged

    def sweep(self, image, targets, sources, costs, sweep, penalty=0.0):
        match_patches(
            image,
            targets,
            sources,
            before=sources.copy(),
            costs=costs,
            forward=sweep % 2 == 0,
            search_px=16,
            penalty=penalty,
            seed=sweep,
        )

    def distance(self, image, target, source, penalty):
        (ty, tx), (sy, sx) = divmod(int(target), 50), divmod(int(source), 50)
        a = image.rgb[ty - 3 : ty + 4, tx - 3 : tx + 4]
        b = image.rgb[sy - 3 : sy + 4, sx - 3 : sx + 4]
        return np.square(a - b).sum() / 49 + penalty * ((ty - sy) ** 2 + (tx - sx) ** 2)
