"""The embedded segmenter: connected masks, edges on image edges and on depth steps."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from diorama import testing
from diorama.camera import Camera
from diorama.depth_files import fill_missing
from diorama.errors import InputError
from diorama.kernels import flood as flood_module
from diorama.kernels.flood import STRIP_PIXELS, WALL, flood, link_weights, region_histograms
from diorama.masks import Masks
from diorama.models import region_merging
from diorama.models.region_merging import RegionMerging, RegionMergingConfig
from diorama.photo import Photo

CASES = [testing.two_cards, testing.floor_and_people, testing.sphere_before_wall, testing.fence]


def photo_of(rgb: np.ndarray) -> Photo:
    texture = np.rint(rgb * 255).astype(np.uint8)
    return Photo(rgb.astype(np.float32), texture, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


def even(rgb: np.ndarray) -> np.ndarray:
    return np.full(rgb.shape[:2], 0.5, np.float32)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    rgb = np.random.default_rng(seed).random((height, width, 3)).astype(np.float32)
    return np.clip(cv2.GaussianBlur(rgb, (0, 0), 3) * 4 - 1.5, 0, 1)


def depth_steps(disparity: np.ndarray, axis: int) -> np.ndarray:
    """Links across a tenth of the range and more: no slope of the synthetic scenes is as steep."""
    return np.abs(np.diff(disparity, axis=axis)) > 0.1 * np.ptp(disparity)


def check_partition(masks: Masks) -> None:
    assert masks.labels.dtype == masks.ids.dtype == np.int32
    np.testing.assert_array_equal(np.unique(masks.labels), masks.ids)
    np.testing.assert_array_equal(masks.ids, np.arange(len(masks.ids)))
    for i in masks.ids:
        parts, _ = cv2.connectedComponents((masks.labels == i).astype(np.uint8), connectivity=4)
        assert parts == 2, f"mask {i} is in {parts - 1} parts"


@pytest.mark.parametrize("scene", CASES)
def test_masks_are_connected_and_numbered_without_gaps(scene) -> None:
    photo, disparity = scene().photo(), scene().disparity()
    kept = photo.rgb.copy(), disparity.copy()

    masks = RegionMerging().segment(photo, disparity)

    check_partition(masks)
    np.testing.assert_array_equal(photo.rgb, kept[0])
    np.testing.assert_array_equal(disparity, kept[1])


@pytest.mark.parametrize("scene", CASES)
def test_no_mask_spans_a_depth_step(scene) -> None:
    disparity = scene().disparity()

    labels = RegionMerging().segment(scene().photo(), disparity).labels

    for axis in (0, 1):
        parted = np.diff(labels, axis=axis) != 0
        assert parted[depth_steps(disparity, axis)].all()


def test_a_depth_step_parts_what_looks_alike_also_where_it_ends_in_the_open() -> None:
    rgb = np.full((80, 120, 3), 0.5, np.float32)
    disparity = even(rgb)
    # A flap: nearer by 1 at its left end, joining the wall at its right end.
    disparity[20:60, 20:100] += np.linspace(1, 0, 80, dtype=np.float32)

    labels = RegionMerging().segment(photo_of(rgb), disparity).labels

    for axis in (0, 1):
        wall = np.abs(np.diff(disparity, axis=axis)) > 0.05
        assert wall.sum() > 30
        assert (np.diff(labels, axis=axis) != 0)[wall].all()


def test_a_slanted_surface_of_one_colour_is_one_mask() -> None:
    rgb = np.full((90, 120, 3), 0.4, np.float32)
    slant = np.linspace(0.2, 1, 90, dtype=np.float32)[:, None].repeat(120, 1)

    assert RegionMerging().segment(photo_of(rgb), slant).ids.tolist() == [0]


def test_a_slanted_surface_in_a_file_of_few_levels_is_one_mask() -> None:
    rgb = np.full((90, 160, 3), 0.4, np.float32)
    slant = np.linspace(0.2, 1, 160, dtype=np.float32)[None].repeat(90, 0)

    masks = RegionMerging().segment(photo_of(rgb), np.rint(slant * 40) / np.float32(40))

    assert masks.ids.tolist() == [0]


def test_a_blurred_depth_edge_leaves_the_edge_to_the_image() -> None:
    rgb = np.full((80, 120, 3), 0.3, np.float32)
    rgb[:, 60:] = 0.7
    disparity = np.where(np.arange(120) < 63, 0.2, 1.0).astype(np.float32)[None].repeat(80, 0)
    disparity = cv2.GaussianBlur(disparity, (0, 0), 4)

    labels = RegionMerging().segment(photo_of(rgb), disparity).labels

    assert (np.diff(labels, axis=1) != 0).nonzero()[1].tolist() == [59] * 80


def test_edges_lie_on_image_edges_to_the_pixel() -> None:
    y, x = np.mgrid[:150, :200]
    inside = (x - 101.3) ** 2 + (y - 70.7) ** 2 < 50**2
    rgb = np.where(inside[..., None], (0.8, 0.3, 0.2), (0.2, 0.5, 0.3)).astype(np.float32)

    labels = RegionMerging().segment(photo_of(rgb), even(rgb)).labels

    assert not set(labels[inside]) & set(labels[~inside])


def test_a_plain_photo_is_one_mask() -> None:
    rgb = np.full((64, 96, 3), 0.6, np.float32)

    assert RegionMerging().segment(photo_of(rgb), even(rgb)).ids.tolist() == [0]


def test_thin_posts_survive() -> None:
    photo, truth = testing.fence().photo(), testing.fence().masks().labels

    labels = RegionMerging().segment(photo, even(photo.rgb)).labels

    posts, wall = set(labels[truth == 1].tolist()), set(labels[truth == 0].tolist())
    # Their outermost pixels are half wall, so a few may go either way.
    only_posts = np.isin(labels, list(posts - wall))
    assert only_posts[truth == 1].mean() > 0.9


def test_busy_photos_stay_below_the_limit() -> None:
    rgb = noise(160, 240)

    many = RegionMerging().segment(photo_of(rgb), even(rgb))
    few = RegionMerging(RegionMergingConfig(max_masks=20)).segment(photo_of(rgb), even(rgb))

    assert 20 < len(many.ids) <= 150
    assert len(few.ids) <= 20


def test_noisy_depth_does_not_shatter_the_photo() -> None:
    rgb = noise(160, 240)
    disparity = np.random.default_rng(1).random((160, 240)).astype(np.float32)

    masks = RegionMerging().segment(photo_of(rgb), disparity)

    check_partition(masks)
    assert len(masks.ids) <= 450


def test_the_number_of_threads_changes_nothing(monkeypatch) -> None:
    rgb = cv2.resize(noise(200, 300), (1100, 740))
    disparity = cv2.resize(noise(30, 40, 1), (1100, 740))[..., 0] + np.float32(0.1)
    assert disparity.size > STRIP_PIXELS
    results = []
    for threads in ("1", "2"):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        results.append(RegionMerging().segment(photo_of(rgb), disparity).labels)

    np.testing.assert_array_equal(*results)


def test_strips_leave_no_seam() -> None:
    rgb = np.full((740, 1100, 3), 0.5, np.float32)
    rgb[:, 500:] = 0.9
    assert rgb.shape[0] * rgb.shape[1] > STRIP_PIXELS

    assert len(RegionMerging().segment(photo_of(rgb), even(rgb)).ids) == 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2), (5, 3)])
def test_the_smallest_photos(shape) -> None:
    rgb = np.linspace(0, 1, shape[0] * shape[1] * 3, dtype=np.float32).reshape(*shape, 3)

    check_partition(RegionMerging().segment(photo_of(rgb), even(rgb)))


def test_disparity_must_fit_and_be_finite() -> None:
    rgb = noise(20, 30)
    with pytest.raises(InputError, match=r"disparity must be \(20, 30\) float32, got \(20, 29\)"):
        RegionMerging().segment(photo_of(rgb), even(rgb)[:, :-1])
    broken = even(rgb)
    broken[3, 4] = np.nan
    with pytest.raises(InputError, match="finite"):
        RegionMerging().segment(photo_of(rgb), broken)


def test_links_tell_steps_from_ramps() -> None:
    lab = np.zeros((1, 12, 3), np.uint8)
    lab[:, 9:] = 2
    step = np.array([[0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1]], np.float32)
    ramp = np.arange(12, dtype=np.float32)[None]

    right, down = link_weights(lab, step, 0.5)

    weight = int(2 * (64**2 + 128**2 + 128**2) ** 0.5 / 8)
    assert right.tolist() == [[0, 0, WALL, 0, 0, 0, 0, 0, weight, 0, 0, WALL]]
    assert (down == WALL).all()
    assert link_weights(lab, ramp, 0.5)[0].tolist() == [[0] * 8 + [weight, 0, 0, WALL]]


def test_bands_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    rgb = noise(150, 90)
    lab = region_merging._lab(rgb)
    disparity = rgb[..., 0] * np.linspace(0, 1, 150, dtype=np.float32)[:, None]

    def found() -> list[np.ndarray]:
        right, down = link_weights(lab, disparity, 0.3, noise_sigma_px=0.9)
        seeds = region_merging._seeds(right, down)
        return [right, down, seeds, region_merging._channels(lab)]

    whole = found()
    monkeypatch.setattr(region_merging, "DETAIL_ROWS", 7)
    run = region_merging.run_bands
    monkeypatch.setattr(flood_module, "run_bands", lambda *args: run(*args, band_rows=5))
    assert all((a == b).all() for a, b in zip(whole, found(), strict=True))


def test_flooding_meets_at_the_strongest_link() -> None:
    right = np.array([[1, 2, 9, 2, 3, WALL]], np.uint8)
    seeds = np.array([[1, 0, 0, 0, 0, 1]], np.uint8)

    labels, count = flood(right, np.full_like(right, WALL), seeds, barrier=20, min_area=1)

    assert labels.tolist() == [[0, 0, 0, 1, 1, 1]]
    assert count == 2


def test_what_strong_edges_enclose_needs_no_seed() -> None:
    right = np.array([[1, 30, 1, 1, 30, 1, WALL]], np.uint8)
    seeds = np.array([[1, 0, 0, 0, 0, 0, 0]], np.uint8)
    down = np.full_like(right, WALL)

    labels, _ = flood(right, down, seeds, barrier=20, min_area=3)

    assert labels.tolist() == [[0, 0, 1, 1, 1, 1, 1]]


def test_histograms_count_eighths_of_pixels() -> None:
    channels = np.array([[[0], [8], [12]], [[255], [4], [8]]], np.uint8)
    labels = np.array([[0, 0, 0], [1, 1, 1]], np.int32)

    histograms = region_histograms(labels, channels, 2)

    assert histograms[0, 0, :3].tolist() == [8, 12, 4]
    assert histograms[1, 0, :2].tolist() == [4, 12]
    assert histograms[1, 0, 31:].tolist() == [1, 7]
    assert histograms.sum() == 6 * 8


@pytest.mark.shared
@pytest.mark.parametrize("name", ["mb06_baby2", "mb06_cloth2", "mb03_cones", "mb01_tsukuba"])
def test_true_depth_edges_of_real_photos_lie_between_masks(shared_data: Path, name: str) -> None:
    items = json.loads((shared_data / "index.json").read_text())["items"]
    files = next(item["files"] for item in items if item["id"] == name)
    rgb = np.asarray(Image.open(shared_data / files["image"]).convert("RGB"), np.float32) / 255
    truth = np.load(shared_data / files["gt"])["disparity"]

    labels = RegionMerging().segment(photo_of(rgb), fill_missing(truth, truth > 0)).labels

    hits = total = 0
    span = np.nanpercentile(truth, 98) - np.nanpercentile(truth, 2)
    for axis in (0, 1):
        # A tenth of the range between neighbours is no slope in these scenes.
        step = np.abs(np.diff(truth, axis=axis)) > 0.1 * span
        hits += (np.diff(labels, axis=axis) != 0)[step].sum()
        total += step.sum()
    assert hits / total > 0.95


class TestEdgesOfTheEstimator:
    """Two halves that differ a little, and what the estimator says of the line between them."""

    @staticmethod
    def halves(apart: float) -> np.ndarray:
        rgb = np.full((120, 160, 3), 0.5, np.float32)
        rgb[:, 80:] += np.float32(apart)
        return rgb

    @staticmethod
    def line(probability: float) -> np.ndarray:
        edges = np.zeros((120, 160), np.float32)
        edges[:, 79:81] = probability
        return edges

    def count(self, apart: float, edges: np.ndarray | None) -> int:
        rgb = self.halves(apart)
        return len(RegionMerging().segment(photo_of(rgb), even(rgb), edges).ids)

    def test_a_certain_one_parts_what_looks_alike(self) -> None:
        assert self.count(0.02, None) == 1
        assert self.count(0.02, self.line(0.95)) == 2

    def test_an_unlikely_one_counts_for_nothing(self) -> None:
        assert self.count(0.02, self.line(0.5)) == 1

    def test_elsewhere_they_change_nothing(self) -> None:
        edges = np.zeros((120, 160), np.float32)
        edges[60, 10:30] = 1
        assert self.count(0.02, edges) == 1
