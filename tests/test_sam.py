"""SAM, SAM 2 and MobileSAM: tiny random ones, from files as real ones are.

What is expected comes from transformers itself: its own pre-processing where that needs no
torchvision, its networks, and its post-processing.
"""

import dataclasses
import functools
import json
import logging
import math
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from file_server import FileServer

from diorama import cli, registry
from diorama.arrays import Array
from diorama.camera import Camera
from diorama.errors import InputError, MissingExtraError
from diorama.masks import Prompt, PromptedSegmenter, Segmenter, partition_masks
from diorama.models import mobile_sam, prompted, sam
from diorama.models.everything import EverythingConfig
from diorama.models.mobile_sam import DECODER, ENCODER, MobileSam
from diorama.models.prompted import Seen
from diorama.models.region_merging import RegionMerging
from diorama.models.sam import Sam
from diorama.photo import Photo, load_photo
from diorama.pipeline import open_scene
from diorama.weights import WeightFile

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

import tiny_sam as tiny  # noqa: E402  # only where it can be used

pytestmark = pytest.mark.usefixtures("one_thread")

DEMO = Path(sam.__file__).parents[1] / "data" / "demo.jpg"

ANY = EverythingConfig(points_per_side=6, min_iou=0.05, min_stability=0.2)
"""What a random network can meet."""

PROMPTS = [
    Prompt(inside=((60.5, 40.5),)),
    Prompt(inside=((150.5, 110.5),)),
    Prompt(inside=((60.5, 40.5), (80.5, 60.5)), outside=((10.5, 120.5),)),
    Prompt(box=(20.5, 30.5, 120.5, 130.5)),
    Prompt(inside=((60.5, 60.5),), box=(20.5, 30.5, 120.5, 130.5)),
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    there = tmp_path_factory.mktemp("models")
    return {name: tiny.save(name, there / name) for name in tiny.MODELS}


@pytest.fixture(scope="module")
def mobile(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """The folder of a MobileSAM, and the network it was made of."""
    folder = tmp_path_factory.mktemp("mobile")
    return folder, tiny.save_mobile(folder)


@pytest.fixture(scope="module")
def demo() -> Photo:
    return load_photo(DEMO, max_size=200)


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A model that may be damaged."""
    return Path(shutil.copytree(folders["sam2"], tmp_path / "sam2"))


def photo_of(rgb: Array) -> Photo:
    texture = np.rint(rgb * 255).astype(np.uint8)
    return Photo(rgb.astype(np.float32), texture, Camera.from_fov(rgb.shape[1], rgb.shape[0]))


def official_input(name: str, photo: Photo) -> Any:
    """(1, 3, side, side): what transformers would show the network."""
    pixels = np.rint(photo.rgb * 255).astype(np.uint8)
    if name == "sam":
        processor = transformers.SamImageProcessorPil(
            size={"longest_edge": tiny.SIDE}, pad_size={"height": tiny.SIDE, "width": tiny.SIDE}
        )
        return processor(pixels, return_tensors="pt")["pixel_values"]
    # SAM 2's processor needs torchvision: this is what it does.
    seen = torch.from_numpy(pixels).permute(2, 0, 1)[None].float()
    seen = torch.nn.functional.interpolate(
        seen, (tiny.SIDE, tiny.SIDE), mode="bilinear", antialias=True
    )
    mean, deviation = (torch.tensor(v).view(1, 3, 1, 1) for v in (sam.MEAN, sam.DEVIATION))
    return (seen / 255 - mean) / deviation


def official_answer(network: Any, pixels: Any, prompt: Prompt, scales: tuple[float, float]) -> Any:
    """Logits (m, h, w) and scores (m,) by transformers; `scales` are of y and x."""
    scale = np.array(scales[::-1])
    inputs: dict[str, Any] = {}
    if prompt.inside:
        points = np.array([*prompt.inside, *prompt.outside]) * scale - 0.5
        labels = [1] * len(prompt.inside) + [0] * len(prompt.outside)
        inputs["input_points"] = torch.tensor(points)[None, None].float()
        inputs["input_labels"] = torch.tensor(labels)[None, None]
    if prompt.box is not None:
        corners = np.array(prompt.box).reshape(2, 2) * scale - 0.5
        inputs["input_boxes"] = torch.tensor(corners.reshape(1, 1, 4)).float()
    with torch.inference_mode():
        output = network(pixel_values=pixels, multimask_output=is_open(prompt), **inputs)
    return output.pred_masks[0, 0].numpy(), output.iou_scores[0, 0].numpy()


def is_open(prompt: Prompt) -> bool:
    """Whether a prompt may mean several things."""
    return (len(prompt.inside), len(prompt.outside), prompt.box) == (1, 0, None)


class TestPreprocessing:
    @pytest.mark.parametrize("size", [(150, 200), (200, 120), (64, 64), (128, 128)])
    @pytest.mark.parametrize("name", ["sam", "sam2"])
    def test_the_network_sees_what_transformers_would_show_it(
        self, folders: dict[str, Path], name: str, size: tuple[int, int]
    ) -> None:
        rgb = load_photo(DEMO, max_size=400).rgb[: size[0], : size[1]]
        photo = photo_of(np.ascontiguousarray(rgb))
        expected = official_input(name, photo).numpy()
        model = Sam(folders[name])._open()
        fitted = sam.fitted(*size, tiny.SIDE) if name == "sam" else (tiny.SIDE, tiny.SIDE)

        found = model.prepared(photo.rgb, fitted)

        assert found.dtype == np.float32
        assert found.shape == expected.shape == (1, 3, tiny.SIDE, tiny.SIDE)
        step = 1 / 255 / min(sam.DEVIATION)  # of a byte, to which theirs or ours is rounded
        assert np.abs(found - expected).max() < 1.5 * step

    def test_prompts_are_scaled_as_by_transformers(self) -> None:
        """It counts pixels; theirs at (9, 4) has its middle at our (9.5, 4.5) of its own grid."""
        processor = transformers.SamProcessor(transformers.SamImageProcessorPil())
        image = np.zeros((683, 1000, 3), np.uint8)
        prompt = Prompt(
            inside=((333.0, 12.5),), outside=((999.0, 682.0),), box=(1.0, 2.0, 30.0, 40.0)
        )
        rows, columns = prompted.fitted(683, 1000, 1024)
        scales = rows / 683, columns / 1000
        half = 0.5 / np.array(scales[::-1])
        theirs = processor(
            image,
            input_points=[
                [(np.array(p) - half).tolist() for p in (*prompt.inside, *prompt.outside)]
            ],
            input_labels=[[1, 0]],
            input_boxes=[[(np.array(prompt.box) - np.tile(half, 2)).tolist()]],
            return_tensors="pt",
        )
        points, labels, boxes = prompted.coordinates([prompt], scales)
        np.testing.assert_allclose(points[0], theirs["input_points"][0, 0], atol=1e-3)
        np.testing.assert_array_equal(labels[0], theirs["input_labels"][0, 0])
        assert boxes is not None
        np.testing.assert_allclose(boxes, theirs["input_boxes"][0], atol=1e-3)

    def test_colours_may_be_others(self, copied: Path, demo: Photo) -> None:
        path = copied / "preprocessor_config.json"
        path.write_text(json.dumps({"image_mean": [0.5] * 3, "image_std": [0.25] * 3, "size": {}}))
        found = Sam(copied)._open().prepared(demo.rgb, (tiny.SIDE, tiny.SIDE))
        usual = Sam(copied)._open()
        raw = found * 0.25 + 0.5
        assert (raw.min(), raw.max()) == pytest.approx((0, 1), abs=0.1)
        assert usual.mean == (0.5, 0.5, 0.5)


class TestPostprocessing:
    """Of logits that are smooth, as a trained network's are."""

    def logits(self, side: int) -> Array:
        noise = np.random.default_rng(3).normal(size=(side, side)).astype(np.float32)
        return cv2.GaussianBlur(noise, (0, 0), side / 24)

    @pytest.mark.parametrize("size", [(480, 640), (853, 640), (300, 300), (90, 160)])
    def test_masks_of_sam_are_made_as_large_as_transformers_makes_them(
        self, size: tuple[int, int]
    ) -> None:
        rows, columns = prompted.fitted(*size, 1024)
        logits = self.logits(256)
        seen = Seen(*size, (rows / 4, columns / 4), lambda prompts, several: (logits, logits))
        expected = transformers.SamImageProcessorPil().post_process_masks(
            torch.from_numpy(logits)[None, None, None], [size], [(rows, columns)]
        )[0][0, 0]
        cut = logits[: math.ceil(rows / 4), : math.ceil(columns / 4)]
        assert (seen.enlarged(cut) == np.asarray(expected)).mean() > 0.998

    @pytest.mark.parametrize("size", [(480, 640), (853, 640), (300, 300)])
    def test_masks_of_sam_2_are_those_of_torch(self, size: tuple[int, int]) -> None:
        logits = self.logits(256)
        seen = Seen(*size, (256.0, 256.0), lambda prompts, several: (logits, logits))
        expected = torch.nn.functional.interpolate(
            torch.from_numpy(logits)[None, None], size, mode="bilinear", align_corners=False
        )
        assert (seen.enlarged(logits) == (expected[0, 0].numpy() > 0)).mean() > 0.9999


class TestPrompts:
    @pytest.mark.parametrize("name", ["sam", "sam2", "sam2-video"])
    def test_answers_are_those_of_transformers(
        self, folders: dict[str, Path], demo: Photo, name: str
    ) -> None:
        height, width = demo.rgb.shape[:2]
        size = (96, tiny.SIDE) if name == "sam" else (tiny.SIDE, tiny.SIDE)
        scales = size[0] / height, size[1] / width
        network = getattr(transformers, "SamModel" if name == "sam" else "Sam2Model")
        network = network.from_pretrained(folders[name])
        model = Sam(folders[name], precision="fp32")
        same = torch.from_numpy(model._open().prepared(demo.rgb, size))
        theirs = official_input(name, demo)
        seen = model.look(demo)
        assert seen.span == (size[0] / 4, size[1] / 4)
        for prompt in PROMPTS:
            logits, scores = (found[0] for found in seen.ask([prompt], several=is_open(prompt)))
            expected, told = official_answer(network, same, prompt, scales)
            expected = expected[:, : size[0] // 4]
            spread = expected.std()
            np.testing.assert_allclose(logits, expected, atol=1e-3 * spread)
            np.testing.assert_allclose(scores, told, atol=1e-3)
            # Bytes that are rounded otherwise on the way become more than that.
            close = official_answer(network, theirs, prompt, scales)[0][:, : size[0] // 4]
            assert np.abs(logits - close).mean() < 0.25 * spread

            (found,) = seen.masks([prompt])

            best = scores.argmax()
            assert found.score == pytest.approx(float(scores[best]), abs=1e-4)
            np.testing.assert_array_equal(found.mask, seen.enlarged(logits[best]))

    def test_masks_depend_on_photo_and_prompt(self, folders: dict[str, Path], demo: Photo) -> None:
        """Else all of these tests would show little."""
        other = photo_of(demo.rgb[:, ::-1])
        for name in tiny.MODELS:
            ours, theirs = (
                [found.mask for found in Sam(folders[name]).look(photo).masks(PROMPTS)]
                for photo in (demo, other)
            )
            assert max((mask != ours[0]).mean() for mask in ours) > 0.1
            assert max((a != b).mean() for a, b in zip(ours, theirs, strict=True)) > 0.1

    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_many_prompts_are_answered_as_each_alone(
        self, folders: dict[str, Path], demo: Photo, name: str
    ) -> None:
        seen = Sam(folders[name]).look(demo)
        grid = [Prompt(inside=((x + 0.5, y + 0.5),)) for y in (30, 90) for x in range(5, 195, 10)]
        prompts = [*PROMPTS, *grid, *reversed(PROMPTS)]

        found = seen.masks(prompts)

        assert len(found) == len(prompts)
        for prompt, one in zip(prompts, found, strict=True):
            (alone,) = seen.masks([prompt])
            assert one.score == pytest.approx(alone.score, abs=1e-4)
            assert (one.mask != alone.mask).mean() < 1e-3

    def test_a_photo_is_seen_once_for_all_its_prompts(
        self, folders: dict[str, Path], demo: Photo
    ) -> None:
        model = Sam(folders["sam2"])
        looks: list[int] = []
        handle = model._open().network.vision_encoder.register_forward_hook(
            lambda *given: looks.append(1)
        )
        try:
            seen = model.look(demo)
            for prompt in PROMPTS:
                seen.masks([prompt])
        finally:
            handle.remove()
        assert looks == [1]

    def test_two_photos_can_be_held_at_once(self, folders: dict[str, Path], demo: Photo) -> None:
        other = photo_of(demo.rgb[::-1, ::-1])
        model = Sam(folders["sam"])
        alone = [model.look(photo).masks(PROMPTS[:1])[0].mask for photo in (demo, other)]
        both = [model.look(photo) for photo in (demo, other)]
        for seen, expected in zip(both, alone, strict=True):
            np.testing.assert_array_equal(seen.masks(PROMPTS[:1])[0].mask, expected)

    def test_a_mirrored_box_is_no_box(self) -> None:
        with pytest.raises(InputError, match="left, top, right, bottom"):
            Prompt(box=(100.0, 10.0, 20.0, 50.0))

    def test_a_point_outside_the_photo(self, folders: dict[str, Path], demo: Photo) -> None:
        with pytest.raises(
            InputError, match=r"the point \(201, 5\) lies outside the photo of 200x"
        ):
            Sam(folders["sam"]).look(demo).masks([Prompt(inside=((201.0, 5.0),))])


class TestSegmenter:
    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_everything_is_a_partition(
        self, folders: dict[str, Path], demo: Photo, name: str
    ) -> None:
        disparity = np.linspace(0, 1, demo.rgb.size // 3, dtype=np.float32)
        disparity = disparity.reshape(demo.rgb.shape[:2])
        kept = demo.rgb.copy(), disparity.copy()
        model = Sam(folders[name], config=ANY)

        masks = model.segment(demo, disparity)

        assert (masks.labels.shape, masks.labels.dtype) == (demo.rgb.shape[:2], np.int32)
        np.testing.assert_array_equal(masks.ids, np.unique(masks.labels))
        embedded = RegionMerging().segment(demo, disparity)
        assert masks.labels.tobytes() != embedded.labels.tobytes()
        assert model.segment(demo, disparity).labels.tobytes() == masks.labels.tobytes()
        np.testing.assert_array_equal(demo.rgb, kept[0])
        np.testing.assert_array_equal(disparity, kept[1])

    def test_what_nothing_is_sure_of_is_the_embedded_segmenters(
        self, folders: dict[str, Path], demo: Photo
    ) -> None:
        disparity = np.ones(demo.rgb.shape[:2], np.float32)
        config = EverythingConfig(points_per_side=2, min_iou=99, min_area=1e-9)
        masks = Sam(folders["sam"], config=config).segment(demo, disparity)
        expected = partition_masks([], RegionMerging().segment(demo, disparity).labels)
        np.testing.assert_array_equal(masks.labels, expected.labels)

    def test_thresholds_are_the_authors(self, folders: dict[str, Path]) -> None:
        assert Sam(folders["sam"])._open().family.config.min_iou == 0.88
        assert Sam(folders["sam2"])._open().family.config.min_iou == 0.8

    def test_they_are_what_the_protocols_ask_for(
        self, folders: dict[str, Path], mobile: tuple[Path, Any]
    ) -> None:
        for model in (Sam(folders["sam"]), MobileSam(mobile[0])):
            assert isinstance(model, Segmenter)
            assert isinstance(model, PromptedSegmenter)

    def test_a_disparity_of_another_size(self, folders: dict[str, Path], demo: Photo) -> None:
        with pytest.raises(InputError, match="disparity must be"):
            Sam(folders["sam"]).segment(demo, np.ones((5, 5), np.float32))


class TestPrecision:
    def test_bfloat16_sees_almost_the_same(self, folders: dict[str, Path], demo: Photo) -> None:
        for name in ("sam", "sam2"):
            exact, reduced = (
                Sam(folders[name], precision=precision).look(demo) for precision in ("fp32", "bf16")
            )
            logits, told = (seen.ask(PROMPTS[:1], several=True)[0] for seen in (exact, reduced))
            assert logits.dtype == told.dtype == np.float32
            error = np.sqrt(np.square(logits - told).mean()) / np.ptp(logits)
            assert 0 < error < 0.05

    def test_where_and_in_what_it_runs(
        self, folders: dict[str, Path], mobile: tuple[Path, Any]
    ) -> None:
        assert Sam(folders["sam"], device="cpu", precision="fp32").runs_as == "cpu fp32"
        assert Sam(folders["sam"], device="cpu", precision="bf16").runs_as == "cpu bf16"
        assert MobileSam(mobile[0], device="cpu").runs_as == "cpu fp32"

    def test_a_device_that_is_not_there(self, folders: dict[str, Path], demo: Photo) -> None:
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(InputError, match="SAM 2 cannot run on cuda: torch finds no GPU"):
            Sam(folders["sam2"], device="cuda").look(demo)


class TestMemory:
    """What happens where memory is too small: torch's own error at the place where it would be."""

    @pytest.fixture
    def model(self, folders: dict[str, Path]) -> Iterator[Any]:
        sam._opened.cache_clear()
        yield Sam(folders["sam"])._open()
        sam._opened.cache_clear()

    def limit(self, model: Any, most: int) -> list[int]:
        """Let the network answer no more than so many prompts; what it was asked is noted."""
        asked: list[int] = []

        def refuse(network: Any, args: Any, kwargs: Any) -> None:
            asked.append(kwargs["input_points"].shape[1])
            if asked[-1] > most:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

        model.network.register_forward_pre_hook(refuse, with_kwargs=True)
        return asked

    def test_fewer_prompts_at_a_time(
        self, model: Any, folders: dict[str, Path], demo: Photo, caplog: pytest.LogCaptureFixture
    ) -> None:
        prompts = [Prompt(inside=((float(x), 75.0),)) for x in range(2, 200, 9)]
        expected = [found.mask for found in Sam(folders["sam"]).look(demo).masks(prompts)]
        asked = self.limit(model, 5)

        with caplog.at_level(logging.WARNING):
            found = Sam(folders["sam"]).look(demo).masks(prompts)

        assert asked == [16, 8, 4, 4, 4, 4, 4, 2]
        assert caplog.messages == ["SAM: out of memory on cpu, so 4 at a time instead of 16"]
        for one, mask in zip(found, expected, strict=True):
            assert (one.mask != mask).mean() < 1e-3
        asked.clear()
        Sam(folders["sam"]).look(demo).masks(prompts[:8])
        assert asked == [4, 4]  # it is remembered

    def test_not_even_one(self, model: Any, folders: dict[str, Path], demo: Photo) -> None:
        self.limit(model, 0)
        with pytest.raises(InputError, match="SAM does not fit into the memory of cpu: choose a"):
            Sam(folders["sam"]).look(demo).masks(PROMPTS[:1])

    def test_not_even_the_photo(self, model: Any, folders: dict[str, Path], demo: Photo) -> None:
        def refuse(*given: Any) -> None:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB")

        model.network.vision_encoder.register_forward_pre_hook(refuse)
        with pytest.raises(InputError, match="SAM does not fit into the memory of cpu"):
            Sam(folders["sam"]).look(demo)

    def test_other_errors_are_not_hidden(
        self, model: Any, folders: dict[str, Path], demo: Photo
    ) -> None:
        def refuse(*given: Any) -> None:
            raise RuntimeError("something else")

        model.network.vision_encoder.register_forward_pre_hook(refuse)
        with pytest.raises(RuntimeError, match="something else"):
            Sam(folders["sam"]).look(demo)


class TestBadFiles:
    def refused(self, weights: Path, message: str) -> None:
        photo = load_photo(DEMO, max_size=64)
        with pytest.raises(InputError, match=message) as raised:
            Sam(weights).look(photo).masks([Prompt(inside=((10.0, 10.0),))])
        assert "\n" not in str(raised.value)

    def test_no_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "none", "is not there: pass the folder of a SAM or SAM 2 model")

    def test_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "sam.pth").touch()
        self.refused(tmp_path / "sam.pth", "is a file, not a folder: pass the folder of a SAM")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path, r"config\.json is missing: pass the folder of a SAM or SAM 2 model")

    def test_another_model(self, tmp_path: Path) -> None:
        transformers.DPTConfig().save_pretrained(tmp_path)
        self.refused(tmp_path, "holds a model of type 'dpt', and not SAM or SAM 2")

    def test_no_weights(self, copied: Path) -> None:
        (copied / "model.safetensors").unlink()
        self.refused(copied, r"lacks files or is damaged: .*model\.safetensors")

    @pytest.mark.parametrize("keep", [0, 5, 1000, 100_000])
    def test_weights_that_are_cut_off(self, copied: Path, keep: int) -> None:
        path = copied / "model.safetensors"
        path.write_bytes(path.read_bytes()[:keep])
        self.refused(copied, "lacks files or is damaged")

    def test_weights_of_another_model(self, copied: Path, folders: dict[str, Path]) -> None:
        shutil.copy(folders["sam"] / "model.safetensors", copied / "model.safetensors")
        self.refused(copied, "is damaged or another model's: |lacks files or is damaged")

    def test_weights_without_a_decoder(self, copied: Path) -> None:
        self.change(copied, lambda state: {k: v for k, v in state.items() if "decoder" not in k})
        self.refused(copied, r"another model's: \d+ weights are missing, such as mask_decoder\.")

    def test_weights_that_are_not_numbers(self, copied: Path) -> None:
        for name in ("vision_encoder.neck.convs.3.bias", "mask_decoder.upscale_conv2.bias"):
            self.change(
                copied,
                lambda state, name=name: state | {name: torch.full_like(state[name], float("nan"))},
            )
            self.refused(copied, "is damaged or another model's: what it sees is not a number")

    @pytest.mark.parametrize("content", ["[]", "{", '{"image_mean": 3}', '{"image_std": ["a"]}'])
    def test_settings_that_make_no_sense(self, copied: Path, content: str) -> None:
        (copied / "preprocessor_config.json").write_text(content)
        self.refused(copied, r"preprocessor_config\.json (is no model's|cannot be read|asks for)")

    def test_without_the_library(
        self, copied: Path, demo: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "transformers", None)
        with pytest.raises(MissingExtraError, match=r"SAM 2 needs an extra: .*diorama\[models\]"):
            Sam(copied).look(demo)

    def change(self, folder: Path, change: Any) -> None:
        from safetensors.torch import load_file, save_file

        path = folder / "model.safetensors"
        save_file(change(load_file(path)), path, metadata={"format": "pt"})


class TestMobileSam:
    def test_answers_are_those_of_the_network_it_was_made_of(
        self, mobile: tuple[Path, Any], demo: Photo
    ) -> None:
        folder, network = mobile
        height, width = demo.rgb.shape[:2]
        pixels = transformers.SamImageProcessorPil()(
            np.rint(demo.rgb * 255).astype(np.uint8), return_tensors="pt"
        )["pixel_values"]
        seen = MobileSam(folder, device="cpu").look(demo)
        assert seen.span == (192, 256)
        for prompt in PROMPTS[1:]:
            logits, scores = (found[0] for found in seen.ask([prompt], several=is_open(prompt)))
            scales = 768 / height, 1024 / width
            expected, told = official_answer(network, pixels, prompt, scales)
            spread = expected.std()
            assert np.abs(logits - expected[:, :192]).mean() < 0.02 * spread
            np.testing.assert_allclose(scores, told, atol=5e-3)

            (found,) = seen.masks([prompt])

            best = scores.argmax()
            assert found.score == pytest.approx(float(scores[best]), abs=1e-4)
            np.testing.assert_array_equal(found.mask, seen.enlarged(logits[best]))

    def test_any_number_of_threads_gives_the_same_bytes(
        self, mobile: tuple[Path, Any], demo: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        config = EverythingConfig(points_per_side=2, min_iou=-99, min_stability=0)
        model = MobileSam(mobile[0], device="cpu", config=config)
        disparity = np.ones(demo.rgb.shape[:2], np.float32)
        found = []
        for threads in ("1", "2"):
            monkeypatch.setenv("DIORAMA_THREADS", threads)
            mobile_sam._opened.cache_clear()
            seen = model.look(demo)
            logits, scores = seen.ask(PROMPTS[:1], several=True)
            labels = model.segment(demo, disparity).labels
            found.append((logits.tobytes(), scores.tobytes(), labels.tobytes()))
        assert found[0] == found[1]
        assert len(np.unique(labels)) > 1

    def test_a_missing_file(self, tmp_path: Path, demo: Photo) -> None:
        with pytest.raises(InputError, match=f"{ENCODER} is not there: pass the folder of MobileS"):
            MobileSam(tmp_path).look(demo)

    def test_files_in_each_others_place(
        self, mobile: tuple[Path, Any], tmp_path: Path, demo: Photo
    ) -> None:
        shutil.copy(mobile[0] / ENCODER, tmp_path / DECODER)
        shutil.copy(mobile[0] / DECODER, tmp_path / ENCODER)
        with pytest.raises(
            InputError, match=f"{ENCODER} is another network: its inputs are .*point"
        ):
            MobileSam(tmp_path).look(demo)

    def test_a_damaged_file(self, mobile: tuple[Path, Any], tmp_path: Path, demo: Photo) -> None:
        shutil.copy(mobile[0] / ENCODER, tmp_path)
        (tmp_path / DECODER).write_bytes((mobile[0] / DECODER).read_bytes()[:100_000])
        with pytest.raises(InputError, match=f"ONNX Runtime cannot run {DECODER}") as raised:
            MobileSam(tmp_path).look(demo)
        assert "\n" not in str(raised.value)

    def test_the_decoder_for_one_mask(
        self, mobile: tuple[Path, Any], tmp_path: Path, demo: Photo
    ) -> None:
        """It lies beside the other one on the hub, and takes the same."""
        onnx = pytest.importorskip("onnx")
        shutil.copy(mobile[0] / ENCODER, tmp_path)
        model = onnx.load(mobile[0] / DECODER)
        first = onnx.numpy_helper.from_array(np.array([0]), "first")
        model.graph.initializer.append(first)
        for output in model.graph.output:
            for node in model.graph.node:
                names = [f"all {n}" if n == output.name else n for n in node.output]
                node.output[:] = names
            one = onnx.helper.make_node(
                "Gather", [f"all {output.name}", "first"], [output.name], axis=1
            )
            model.graph.node.append(one)
            output.type.tensor_type.ClearField("shape")
        onnx.save(model, tmp_path / DECODER)
        with pytest.raises(
            InputError, match=r"another network: it gives \(1, 256, 256\) for a pro"
        ):
            MobileSam(tmp_path).look(demo).masks(PROMPTS[:1])

    @pytest.mark.parametrize("name", [ENCODER, DECODER])
    def test_weights_that_are_not_numbers(
        self, mobile: tuple[Path, Any], tmp_path: Path, demo: Photo, name: str
    ) -> None:
        onnx = pytest.importorskip("onnx")
        for file in (ENCODER, DECODER):
            shutil.copy(mobile[0] / file, tmp_path)
        model = onnx.load(tmp_path / name)
        for tensor in model.graph.initializer:
            if tensor.data_type == onnx.TensorProto.FLOAT and len(tensor.dims) > 1:
                values = np.full(tuple(tensor.dims), np.nan, np.float32)
                tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
        onnx.save(model, tmp_path / name)
        with pytest.raises(InputError, match=f"{name} is damaged: "):
            MobileSam(tmp_path).look(demo).masks(PROMPTS[:1])


@pytest.mark.parametrize("name", ["sam2-tiny", "mobile-sam"])
def test_from_the_pull_to_the_scene(
    name: str,
    folders: dict[str, Path],
    mobile: tuple[Path, Any],
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`diorama photo X --segmenter NAME` with a tiny model where the official one would lie."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    official = registry.find("segmenter", name)
    assert official.weights is not None
    folder = mobile[0] if name == "mobile-sam" else folders["sam2-video"]
    files = {f.name: b"{}" for f in official.weights.files}
    files |= {path.name: path.read_bytes() for path in folder.iterdir() if path.name in files}
    models = tmp_path / "models"
    args = ["photo", str(photo), "-o", str(tmp_path / "out"), "--formats", "depth"]
    args += ["--segmenter", name, "--models-dir", str(models), "--device", "cpu"]
    assert cli.main(args) == 2
    error = capsys.readouterr().err
    assert f"`diorama models pull {name}` gets them" in error
    assert "--segmenter embedded works without" in error
    with FileServer(files) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        weights = official.weights
        source = {"source": weights.source, "revision": weights.revision}
        if weights.is_on_hub:
            server.repositories = {weights.source}
            server.revisions = {str(weights.revision)}
        else:
            source["source"] = server.url
        unpinned = tuple(WeightFile(file.name) for file in weights.files)
        entry = dataclasses.replace(
            official, weights=dataclasses.replace(weights, files=unpinned, **source)
        )
        registry._entries["segmenter", name] = entry
        assert cli.main(["models", "pull", name, "--models-dir", str(models)]) == 0

    capsys.readouterr()
    target = MobileSam if name == "mobile-sam" else Sam
    looks = []
    look = target.look
    monkeypatch.setattr(target, "look", lambda self, photo: looks.append(1) or look(self, photo))
    # 1024 answers take their time.
    fewer = functools.partial(EverythingConfig, points_per_side=2)
    monkeypatch.setattr(mobile_sam, "EverythingConfig", fewer)
    family = dataclasses.replace(sam.SAM_2, config=fewer(min_iou=0.01, min_stability=0.01))
    monkeypatch.setitem(sam.FAMILIES, "sam2_video", family)
    assert cli.main(args) == 0, capsys.readouterr().err

    assert looks == [1]
    provenance = open_scene(tmp_path / "out" / "cat.diorama").provenance
    assert provenance["models"]["segmenter"] == name
    assert provenance["licences"][f"segmenter {name}"].startswith("Apache-2.0")
    assert provenance["runs_as"][f"segmenter {name}"].startswith("cpu ")


def test_the_example_of_the_documentation_runs(
    mobile: tuple[Path, Any],
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = Path(__file__).parents[1] / "docs" / "models.md"
    section = page.read_text().partition("### Masks")[2].partition("\n### ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    shutil.copy(photo, tmp_path / "cat.jpg")
    shutil.copytree(mobile[0], tmp_path / "mobile-sam")
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(page), "exec"), {})
    assert capsys.readouterr().out.startswith("(120, 160) ")
