"""The embedded estimator: what its network sees becomes depth, edges, normals and confidence."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from diorama import testing
from diorama.camera import Camera
from diorama.errors import InputError
from diorama.models import embedded
from diorama.models.embedded import EmbeddedDepth
from diorama.photo import Photo, load_photo

DEMO = Path(embedded.__file__).parents[1] / "data" / "demo.jpg"


def photo_of(rgb: np.ndarray) -> Photo:
    texture = np.rint(rgb * 255).astype(np.uint8)
    return Photo(rgb.astype(np.float32), texture, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


@pytest.fixture(scope="module")
def demo() -> Photo:
    return load_photo(DEMO, max_size=320)


class TestWhatItGives:
    def test_everything_has_the_photos_size(self, demo: Photo) -> None:
        kept = demo.rgb.copy()

        depth = EmbeddedDepth().estimate(demo)

        assert depth.kind == "affine"
        shape = demo.rgb.shape[:2]
        for plane in (depth.disparity, depth.confidence, depth.edges, depth.matte):
            assert plane is not None
            assert (plane.shape, plane.dtype) == (shape, np.float32)
            assert np.isfinite(plane).all()
            assert plane.min() >= 0
            assert plane is depth.disparity or plane.max() <= 1
        np.testing.assert_array_equal(demo.rgb, kept)

    def test_a_street_comes_nearer_and_its_sky_is_far(self, demo: Photo) -> None:
        depth = EmbeddedDepth().estimate(demo)

        height = demo.rgb.shape[0]
        rows = depth.disparity[:, 140:180].mean(1)
        assert rows[-height // 8 :].mean() > 1.5 * rows[height // 2 : height * 5 // 8].mean()
        assert depth.sky is not None
        assert depth.sky[:10, 150:190].mean() > 0.9
        assert depth.disparity[depth.sky > 0].mean() < 0.5 * depth.disparity.mean()

    def test_a_mirrored_photo_gives_a_mirrored_result(self) -> None:
        demo = load_photo(DEMO, max_size=288)
        mirrored = photo_of(np.ascontiguousarray(demo.rgb[:, ::-1]))

        ours, theirs = EmbeddedDepth().estimate(demo), EmbeddedDepth().estimate(mirrored)

        # Not to the last bit: in 8 bits a pixel's last bit may be a step, and steps add up.
        span = np.ptp(ours.disparity)
        assert np.abs(theirs.disparity[:, ::-1] - ours.disparity).mean() < 2e-3 * span
        assert ours.edges is not None
        assert theirs.edges is not None
        assert np.abs(theirs.edges[:, ::-1] - ours.edges).mean() < 5e-3

    def test_no_edge_of_its_claims_to_be_exact(self) -> None:
        depth = EmbeddedDepth().estimate(testing.two_cards().photo())
        across = np.abs(np.diff(depth.disparity, axis=1))
        around = np.lib.stride_tricks.sliding_window_view(depth.disparity, 6, axis=1)
        spans = np.ptp(around, axis=-1)
        steep = across[:, 2:-2] > np.percentile(across, 99)
        assert (across[:, 2:-2] <= 0.36 * spans)[steep].mean() > 0.99

    @pytest.mark.parametrize("threads", ["1", "2", "3"])
    def test_any_number_of_threads_gives_the_same_bytes(
        self, demo: Photo, threads: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        expected = EmbeddedDepth().estimate(demo)
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        found = EmbeddedDepth().estimate(demo)
        for name in ("disparity", "confidence", "edges", "matte"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name), name)

    @pytest.mark.parametrize("shape", [(1, 1), (1, 9), (7, 1), (2, 2), (5, 3), (3, 900), (900, 3)])
    def test_the_smallest_photos(self, shape: tuple[int, int]) -> None:
        rgb = np.linspace(0, 1, shape[0] * shape[1] * 3, dtype=np.float32).reshape(*shape, 3)
        depth = EmbeddedDepth().estimate(photo_of(rgb))
        assert depth.disparity.shape == shape
        assert np.isfinite(depth.disparity).all()

    def test_a_large_photo_is_seen_once_more(self, monkeypatch: pytest.MonkeyPatch) -> None:
        seen: list[tuple[int, ...]] = []
        run = embedded._run

        def noting(session: object, photo: np.ndarray, **how: bool) -> np.ndarray:
            seen.append(photo.shape)
            return run(session, photo, **how)  # type: ignore[arg-type]  # as it came

        monkeypatch.setattr(embedded, "_run", noting)
        EmbeddedDepth().estimate(load_photo(DEMO, max_size=720))
        sizes = sorted(seen, reverse=True)
        assert sizes[1::2] == sizes[2::2]  # with their mirror images, but the fine one
        wanted = embedded.FINE_PIXELS, *embedded.COARSE_PIXELS[::-1]
        for (height, width, _), pixels in zip([sizes[0], *sizes[1::2]], wanted, strict=True):
            assert height * width == pytest.approx(pixels, rel=0.1)
            assert height % embedded.GRID == width % embedded.GRID == 0


class TestTwoScales:
    """`_joined`: the coarse look's order, the fine one's edges."""

    @staticmethod
    def planes(disparity: np.ndarray) -> np.ndarray:
        return np.stack([disparity.astype(np.float32), *np.zeros((3, *disparity.shape), "f4")])

    def test_what_the_fine_look_scales_and_shifts_does_not_matter(self) -> None:
        y, x = np.mgrid[:96, :128] / np.float32(32)
        coarse = np.sin(x) + y
        joined = embedded._joined(self.planes(coarse), self.planes(3 * coarse - 5))
        np.testing.assert_allclose(joined[0], coarse, atol=0.06 * np.ptp(coarse))

    def test_a_blurred_edge_becomes_sharp_and_stays_where_it_is(self) -> None:
        step = np.zeros((96, 128), np.float32)
        step[:, 64:] = 1
        blurred = cv2.GaussianBlur(step, (0, 0), 5)
        fine = 0.4 * step + np.linspace(0, 0.2, 128, dtype=np.float32)  # tilted beside it
        joined = embedded._joined(self.planes(blurred), self.planes(fine))[0]
        climbs = np.diff(joined[48])
        assert climbs.argmax() == 63
        assert climbs[63] > 8 * np.diff(blurred[48])[63] / 2
        np.testing.assert_allclose(joined[48, [8, 120]], [0, 1], atol=0.1)

    def test_other_outputs_are_averaged(self) -> None:
        coarse, fine = np.zeros((2, 4, 64, 96), np.float32)
        coarse[1:], fine[1:] = 1, 3
        np.testing.assert_array_equal(embedded._joined(coarse, fine)[1:], 2)


class TestConfidence:
    def test_it_falls_with_the_expected_error(self) -> None:
        error = np.full((64, 128), 0.0, np.float32)
        error[:, 64:] = embedded.TYPICAL_ERROR
        confidence = embedded._confidence(error)
        np.testing.assert_allclose(confidence[:, :60], 1)
        np.testing.assert_allclose(confidence[:, 68:], 0.5)

    def test_uncertain_edges_are_not_held_against_their_surroundings(self) -> None:
        error = np.zeros((100, 200), np.float32)
        error[:, 100:102] = 9
        assert embedded._confidence(error).min() == 1


class TestLooks:
    def test_disparity_is_that_of_all_whatever_their_scales_and_sizes(self) -> None:
        ramp = np.zeros((4, 64, 96), np.float32)
        ramp[0] = np.linspace(0, 1, 96)
        small = cv2.resize(ramp.transpose(1, 2, 0), (48, 32)).transpose(2, 0, 1).copy()
        small[0] = 7 * small[0] - 3
        mean = embedded._agreed([ramp, ramp, small, small])[0]
        np.testing.assert_allclose(mean, embedded._evened(ramp[0]), atol=0.05)

    def test_all_else_is_that_of_the_largest(self) -> None:
        looks = [np.full((4, 64, 96), value, np.float32) for value in (1, 3)]
        seen = embedded._agreed([*looks, np.full((4, 32, 48), 9, np.float32)])
        np.testing.assert_array_equal(seen[1:], 2)

    def test_a_mirror_image_is_turned_back(self, demo: Photo) -> None:
        look = embedded._fitted(demo.rgb, 96 * 128)
        session = embedded._session(embedded.WEIGHTS, "cpu")
        seen = embedded._run(session, look, mirrored=True)
        expected = embedded._run(session, look[:, ::-1])[:, :, ::-1]
        np.testing.assert_array_equal(seen, expected)


class TestTheFile:
    def test_it_is_loaded_once(self, demo: Photo) -> None:
        EmbeddedDepth().estimate(demo)
        loaded = embedded._session.cache_info().misses
        EmbeddedDepth().estimate(demo)
        assert embedded._session.cache_info().misses == loaded

    def test_a_missing_file_is_named(self, demo: Photo, tmp_path: Path) -> None:
        path = tmp_path / "none.onnx"
        with pytest.raises(InputError, match=r"none\.onnx is missing: install diorama again"):
            EmbeddedDepth(path).estimate(demo)

    @pytest.mark.parametrize("keep", [0, 100, 100_000, 1_000_000])
    def test_a_cut_off_file_is_damaged(self, demo: Photo, tmp_path: Path, keep: int) -> None:
        path = tmp_path / "cut.onnx"
        path.write_bytes(embedded.WEIGHTS.read_bytes()[:keep])
        with pytest.raises(InputError, match=r"cut\.onnx is damaged") as found:
            EmbeddedDepth(path).estimate(demo)
        assert "\n" not in str(found.value)

    def test_another_network_is_refused(self, demo: Photo, tmp_path: Path) -> None:
        path = tmp_path / "other.onnx"
        path.write_bytes(identity_network("x", "y"))
        with pytest.raises(InputError, match=r"other\.onnx is another network: .*'x'.*'y'"):
            EmbeddedDepth(path).estimate(demo)


def identity_network(first: str, last: str) -> bytes:
    """An ONNX file (protocol buffers by hand) whose one node hands (1, 3, 8, 8) floats on."""

    def field(number: int, value: bytes | int) -> bytes:
        if isinstance(value, int):
            return bytes([number << 3, value])
        return bytes([number << 3 | 2, len(value)]) + value

    sides = b"".join(field(1, field(1, side)) for side in (1, 3, 8, 8))
    kind = field(1, field(1, 1) + field(2, sides))
    values = [field(1, name.encode()) + field(2, kind) for name in (first, last)]
    node = field(1, first.encode()) + field(2, last.encode()) + field(4, b"Identity")
    graph = field(1, node) + field(2, b"g") + field(11, values[0]) + field(12, values[1])
    return field(1, 8) + field(7, graph) + field(8, field(1, b"") + field(2, 13))
