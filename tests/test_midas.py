"""MiDaS as a depth estimator: the official pre-processing, and what becomes of its answer."""

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from official_weights import official_weights

from diorama import testing
from diorama.camera import Camera
from diorama.depth import canonical_disparity
from diorama.errors import InputError
from diorama.models import midas
from diorama.models.conversion import convert
from diorama.models.midas import Midas
from diorama.models.nets import midas_small
from diorama.models.official import Precision
from diorama.photo import Photo, load_photo

GOLDEN = Path(__file__).parent / "golden"
DEMO = Path(midas.__file__).parents[1] / "data" / "demo.jpg"


@pytest.fixture(scope="module", autouse=True)
def small_network() -> Iterator[None]:
    """Half the channels and fewer blocks: a tenth of the time, the same way through."""
    small = partial(midas_small.build, width=0.5, depth=1.0, features=16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(midas_small, "build", small)
        yield


@pytest.fixture(scope="module")
def state(small_network: None) -> dict[str, torch.Tensor]:
    return official_weights(midas_small.build(), 1.3)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, state: dict) -> Path:
    path = tmp_path_factory.mktemp("weights") / "midas.pt"
    torch.save(state, path)
    return path


@pytest.fixture(scope="module")
def demo() -> Photo:
    return load_photo(DEMO, max_size=320)


def photo_of(rgb: np.ndarray) -> Photo:
    texture = np.rint(rgb * 255).astype(np.uint8)
    return Photo(rgb.astype(np.float32), texture, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


class TestPreprocessing:
    def test_sizes_are_the_official_ones(self) -> None:
        golden = np.load(GOLDEN / "midas_preprocess.npz")
        found = [midas.size_seen(*size) for size in golden["sizes_wh"].tolist()]
        assert found == [tuple(size) for size in golden["small_wh"].tolist()]

    @pytest.mark.parametrize("size", [(5000, 100), (1, 3000), (1, 1), (33, 32)])
    def test_any_photo_has_a_size(self, size: tuple[int, int]) -> None:
        seen = midas.size_seen(*size)
        assert all(side % 32 == 0 and 32 <= side <= 256 for side in seen)

    def test_pixels_are_the_official_ones(self) -> None:
        golden = np.load(GOLDEN / "midas_preprocess.npz")
        seen = midas.as_seen((golden["image"] / 255).astype(np.float32))
        assert seen.shape == (192, 256, 3)
        ours = ((seen - midas_small.MEAN) / midas_small.DEVIATION).transpose(2, 0, 1)
        np.testing.assert_allclose(ours[:, :64, :64], golden["corner"], atol=2e-5)

    def test_so_is_what_is_made_of_the_answer(self) -> None:
        golden = np.load(GOLDEN / "midas_preprocess.npz")
        ours = midas.resized(golden["post_in"], *golden["post_out"].shape)
        np.testing.assert_allclose(ours, golden["post_out"], atol=1e-4)


class TestEstimate:
    def test_disparity_is_what_the_network_says(
        self, weights: Path, state: dict, demo: Photo
    ) -> None:
        network = midas_small.load_official(midas_small.build(), state)
        seen = (midas.as_seen(demo.rgb) - midas_small.MEAN) / midas_small.DEVIATION
        with torch.inference_mode():
            told = network(torch.from_numpy(seen.transpose(2, 0, 1)[None].astype(np.float32)))
        expected = np.maximum(midas.resized(told[0].numpy(), *demo.rgb.shape[:2]), 0)

        found = Midas(weights).estimate(demo).disparity

        np.testing.assert_allclose(found, expected, atol=2e-4 * expected.max())

    def test_it_is_affine_finite_and_as_large_as_the_photo(
        self, weights: Path, demo: Photo
    ) -> None:
        kept = demo.rgb.copy()

        depth = Midas(weights).estimate(demo)

        assert depth.kind == "affine"
        assert depth.confidence is not None
        for plane in (depth.disparity, depth.confidence):
            assert (plane.shape, plane.dtype) == (demo.rgb.shape[:2], np.float32)
            assert np.isfinite(plane).all()
            assert plane.min() >= 0
        assert depth.confidence.max() <= 1
        assert np.ptp(canonical_disparity(depth, demo).disparity) > 0.5
        np.testing.assert_array_equal(demo.rgb, kept)

    def test_what_is_its_own_mirror_image_is_certain(self, weights: Path) -> None:
        half = load_photo(DEMO, max_size=128).rgb[:96]
        photo = photo_of(np.hstack([half, half[:, ::-1]]))

        confidence = Midas(weights).estimate(photo).confidence

        assert confidence is not None
        # A random network looks at left and right differently: at the axis alone both agree.
        middle = confidence.shape[1] // 2
        np.testing.assert_allclose(confidence, confidence[:, ::-1], atol=1e-3)
        assert confidence[:, middle].mean() > confidence.mean()

    def test_the_same_photo_gives_the_same_bytes(self, weights: Path, demo: Photo) -> None:
        first, second = (Midas(weights).estimate(demo) for _ in range(2))
        assert first.disparity.tobytes() == second.disparity.tobytes()

    @pytest.mark.parametrize("shape", [(1, 1), (3, 300), (700, 20)])
    def test_odd_photos_are_seen_too(self, weights: Path, shape: tuple[int, int]) -> None:
        rgb = np.random.default_rng(0).random((*shape, 3), np.float32)
        assert Midas(weights).estimate(photo_of(rgb)).disparity.shape == shape

    def test_where_memory_is_short_it_looks_once_at_a_time(
        self,
        weights: Path,
        demo: Photo,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        prepare, both = midas_small.prepare, Midas(weights).estimate(demo)

        def check(module: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            if len(args[0]) > 1:
                raise torch.OutOfMemoryError("CUDA out of memory")

        def cramped(net: midas_small.MidasSmall, dtype: torch.dtype) -> torch.nn.Module:
            module = prepare(net, dtype)
            module.register_forward_pre_hook(check)
            return module

        monkeypatch.setattr(midas_small, "prepare", cramped)
        single = Midas(shutil.copy(weights, tmp_path / "short.pt")).estimate(demo)
        tolerance = 2e-4 * both.disparity.max()
        np.testing.assert_allclose(single.disparity, both.disparity, atol=tolerance)
        assert [r.getMessage().partition(" on ")[0] for r in caplog.records] == [
            "MiDaS v2.1 small: out of memory"
        ]

    @pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
    def test_it_says_how_it_runs(self, weights: Path, precision: Precision) -> None:
        place = "cuda" if torch.cuda.is_available() else "cpu"
        exactly = "fp32" if precision == "auto" else precision
        assert Midas(weights, precision=precision).runs_as == f"{place} {exactly}"

    def test_weights_that_are_not_numbers_are_refused(self, tmp_path: Path, state: dict) -> None:
        path = tmp_path / "nan.pt"
        name = "scratch.output_conv.4.bias"
        torch.save(state | {name: torch.full((1,), float("nan"))}, path)
        with pytest.raises(InputError, match=r"nan\.pt is damaged"):
            Midas(path).estimate(testing.two_cards().photo())

    @pytest.mark.slow  # exporting is
    def test_its_onnx_file_says_the_same(self, weights: Path, tmp_path: Path, demo: Photo) -> None:
        path = tmp_path / "midas.onnx"
        convert("midas-small", "onnx", path, weights=weights)
        ours, expected = (Midas(w).estimate(demo).disparity for w in (path, weights))
        np.testing.assert_allclose(ours, expected, atol=2e-4 * expected.max())
