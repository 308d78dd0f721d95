"""Depth models of transformers: tiny random ones, from folders as real ones are.

What is expected comes from transformers itself: its own pre-processing where that needs no
torchvision, its networks, and its post-processing written out.
"""

import dataclasses
import json
import logging
import math
import shutil
import socket
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from file_server import FileServer

from diorama import depth, registry
from diorama.arrays import Array
from diorama.camera import Camera
from diorama.config import SceneConfig
from diorama.errors import InputError, MissingExtraError
from diorama.models import transformers_depth
from diorama.models.official import Precision
from diorama.models.transformers_depth import Preparation, TransformersDepth, prepared
from diorama.photo import Photo, load_photo
from diorama.pipeline import photo_to_scene
from diorama.weights import pull

transformers = pytest.importorskip("transformers", reason="transformers is not installed")
torch = pytest.importorskip("torch", reason="torch is not installed")

import tiny_depth_models as tiny  # noqa: E402  # only where it can be used

pytestmark = pytest.mark.usefixtures("one_thread")

DEMO = Path(transformers_depth.__file__).parents[1] / "data" / "demo.jpg"

DISPARITIES = {"depth-anything": "affine", "dpt-large": "affine", "dpt-hybrid": "affine"}
"""The kind of each; the others are metric."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    there = tmp_path_factory.mktemp("models")
    return {name: tiny.save(name, there / name) for name in tiny.MODELS}


@pytest.fixture(scope="module")
def demo() -> Photo:
    return load_photo(DEMO, max_size=200)


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A model that may be damaged."""
    return Path(shutil.copytree(folders["dpt-large"], tmp_path / "dpt"))


def photo_of(rgb: Array, fov_deg: float | None = None) -> Photo:
    texture = np.rint(rgb * 255).astype(np.uint8)
    size = rgb.shape[1], rgb.shape[0]
    camera = Camera.from_fov(*size) if fov_deg is None else Camera.from_fov(*size, fov_deg)
    return Photo(rgb.astype(np.float32), texture, camera)


def official_input(name: str, folder: Path, photo: Photo) -> Any:
    """(1, 3, h, w): what transformers would show the network."""
    settings = json.loads((folder / tiny.PREPROCESSOR).read_text())
    bytes_ = np.rint(photo.rgb * 255).astype(np.uint8)
    if name == "depth-pro":  # its processor needs torchvision
        values = (photo.rgb - 0.5) / np.float32(0.5)
        small = cv2.resize(values, (128, 128), interpolation=cv2.INTER_LINEAR)
        return torch.from_numpy(small.transpose(2, 0, 1)[None].copy())
    if name == "zoedepth":
        # Its class would take Imagenet's mean and deviation, its official files do not.
        settings |= {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
        processor = transformers.ZoeDepthImageProcessorPil(**settings)
    else:
        usual = transformers_depth.FAMILIES[
            "dpt" if name.startswith("dpt") else "depth_anything"
        ].preparation
        modes = {"bilinear": 2, "bicubic": 3}
        settings = {
            "image_mean": usual.mean,
            "image_std": usual.deviation,
            "resample": modes[usual.mode],
        } | settings
        if isinstance(settings["size"], int):
            settings["size"] = {"height": settings["size"], "width": settings["size"]}
        processor = transformers.DPTImageProcessorPil(**settings)
    return processor(bytes_, return_tensors="pt")["pixel_values"]


def official_disparity(name: str, folder: Path, photo: Photo) -> Array:
    """(h, w): what transformers' network says, by its documentation, before it is made larger."""
    network = transformers.AutoModelForDepthEstimation.from_pretrained(folder).eval()
    with torch.inference_mode():
        output = network(pixel_values=official_input(name, folder, photo))
    found = output.predicted_depth[0].numpy()
    if name == "depth-pro":
        # Of the library's own post-processing: depth = 1 / (c width / focal length).
        width = photo.rgb.shape[1]
        focal_px = 0.5 * width / math.tan(0.5 * math.radians(float(output.field_of_view[0])))
        return found * width / focal_px
    return found if name in DISPARITIES else 1 / found


class TestPreprocessing:
    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_the_network_sees_what_transformers_would_show_it(
        self, folders: dict[str, Path], demo: Photo, name: str
    ) -> None:
        config = json.loads((folders[name] / "config.json").read_text())
        preparation = transformers_depth.read_preparation(folders[name], config["model_type"])
        expected = official_input(name, folders[name], demo).numpy()

        found = prepared(demo.rgb, preparation).numpy()

        assert found.shape == expected.shape
        error = np.abs(found - expected)
        if name in ("depth-pro", "zoedepth"):
            assert error.max() < 2e-5
        else:  # the official one is rounded to bytes, and cut off at 0 and 255, on the way
            step = 1 / 255 / min(preparation.deviation)
            assert error.mean() < 0.3 * step
            assert np.quantile(error, 0.999) < step
            assert error.max() < 4 * step

    @pytest.mark.parametrize(
        ("model_type", "size", "expected"),
        [
            # From the official code, for full HD both ways and a small square.
            ("depth_anything", (1080, 1920), (518, 924)),
            ("depth_anything", (1920, 1080), (924, 518)),
            ("depth_anything", (200, 200), (518, 518)),
            ("dpt", (1080, 1920), (384, 384)),
            ("depth_pro", (1080, 1920), (1536, 1536)),
            ("zoedepth", (480, 640), (384, 512)),
            ("zoedepth", (1080, 1920), (384, 672)),
        ],
    )
    def test_without_a_file_sizes_are_the_usual_ones(
        self, tmp_path: Path, model_type: str, size: tuple[int, int], expected: tuple[int, int]
    ) -> None:
        preparation = transformers_depth.read_preparation(tmp_path, model_type)
        assert preparation.size_seen(*size) == expected

    def test_a_panorama_does_not_grow_without_end(self) -> None:
        preparation = transformers_depth.FAMILIES["depth_anything"].preparation
        height, width = preparation.size_seen(100, 5000)
        assert height * width <= 1.1 * transformers_depth.LARGEST * 518 * 518
        assert width > 20 * height
        assert height % 14 == width % 14 == 0

    def test_official_files_are_understood(self, tmp_path: Path) -> None:
        """Those of Intel/dpt-large and depth-anything/Depth-Anything-V2-Small-hf."""
        path = tmp_path / tiny.PREPROCESSOR
        path.write_text(
            '{"do_normalize": true, "do_resize": true, "ensure_multiple_of": 1, "size": 384,'
            '"feature_extractor_type": "DPTFeatureExtractor", "image_mean": [0.5, 0.5, 0.5],'
            '"image_std": [0.5, 0.5, 0.5], "keep_aspect_ratio": false, "resample": 2}'
        )
        usual = transformers_depth.FAMILIES["dpt"].preparation
        assert transformers_depth.read_preparation(tmp_path, "dpt") == usual
        path.write_text(
            '{"do_normalize": true, "do_pad": false, "do_rescale": true, "do_resize": true,'
            '"ensure_multiple_of": 14, "image_mean": [0.485, 0.456, 0.406],'
            '"image_processor_type": "DPTImageProcessor", "image_std": [0.229, 0.224, 0.225],'
            '"keep_aspect_ratio": true, "resample": 3, "rescale_factor": 0.00392156862745098,'
            '"size": {"height": 518, "width": 518}, "size_divisor": null}'
        )
        usual = transformers_depth.FAMILIES["depth_anything"].preparation
        assert transformers_depth.read_preparation(tmp_path, "depth_anything") == usual

    @pytest.mark.parametrize(
        "content",
        [
            '{"do_resize": false}',
            '{"resample": 0}',
            '{"size": {"shortest_edge": 384}}',
            '{"size": "large"}',
            '{"size": 0}',
            '{"image_mean": [0.5]}',
            '{"image_std": ["a", "b", "c"]}',
        ],
    )
    def test_other_pre_processing_is_refused(self, tmp_path: Path, content: str) -> None:
        (tmp_path / tiny.PREPROCESSOR).write_text(content)
        with pytest.raises(InputError, match="asks for what is not known here") as caught:
            transformers_depth.read_preparation(tmp_path, "dpt")
        assert "\n" not in str(caught.value)


class TestEstimate:
    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_disparity_is_what_the_network_says(
        self, folders: dict[str, Path], demo: Photo, name: str
    ) -> None:
        photo = photo_of(demo.rgb)
        kept = demo.rgb.copy()
        expected = official_disparity(name, folders[name], photo)
        height, width = demo.rgb.shape[:2]
        if name == "zoedepth":
            rows, columns = int(math.sqrt(height / 2) * 3), int(math.sqrt(width / 2) * 3)
            expected = cv2.resize(expected, (width + 2 * columns, height + 2 * rows))
            expected = expected[rows:-rows, columns:-columns]
        else:
            larger = expected.shape[1] > width  # a mean, that no pixel be lost
            way = cv2.INTER_AREA if larger else cv2.INTER_LINEAR
            expected = cv2.resize(expected, (width, height), interpolation=way)

        found = TransformersDepth(folders[name]).estimate(photo)

        assert found.kind == DISPARITIES.get(name, "metric")
        assert found.confidence is not None
        for plane in (found.disparity, found.confidence):
            assert (plane.shape, plane.dtype) == ((height, width), np.float32)
        assert found.disparity.min() >= 0
        assert 0 <= found.confidence.min() < found.confidence.max() <= 1
        # The input is rounded to bytes there, and a random network makes much of little.
        spread = np.ptp(expected)
        assert spread > 0
        assert np.abs(found.disparity - expected).mean() < 0.01 * spread
        assert np.corrcoef(found.disparity.ravel(), expected.ravel())[0, 1] > 0.999
        np.testing.assert_array_equal(demo.rgb, kept)

    def test_metres_stay_metres(self, folders: dict[str, Path], demo: Photo) -> None:
        found = TransformersDepth(folders["depth-anything-metric"]).estimate(demo)
        # A sigmoid times 20 metres: nothing is farther.
        assert found.disparity.min() > 1 / 20
        assert found.sky is not None
        canonical = depth.canonical_disparity(found, demo)
        assert canonical.metric
        assert canonical.scale == 1
        near = found.sky < 0.5
        np.testing.assert_array_equal(canonical.disparity[near], found.disparity[near])
        assert not canonical.disparity[~near].any()

    def test_the_network_guesses_the_field_of_view_only_if_the_photo_does_not_tell(
        self, folders: dict[str, Path], demo: Photo
    ) -> None:
        estimator = TransformersDepth(folders["depth-pro"])
        guessed = estimator.estimate(photo_of(demo.rgb))
        told = estimator.estimate(photo_of(demo.rgb, 80.0))
        assert guessed.fov_deg == told.fov_deg == pytest.approx(tiny.FOV_DEG, abs=5)
        assert guessed.fov_deg is not None
        ratio = math.tan(math.radians(40)) / math.tan(math.radians(guessed.fov_deg / 2))
        np.testing.assert_allclose(told.disparity, ratio * guessed.disparity, rtol=1e-5)

    @pytest.mark.parametrize("name", ["depth-anything", "depth-pro", "zoedepth"])
    def test_a_mirrored_photo_is_trusted_the_same(
        self, folders: dict[str, Path], demo: Photo, name: str
    ) -> None:
        estimator = TransformersDepth(folders[name])
        ahead = estimator.estimate(demo)
        mirrored = estimator.estimate(photo_of(np.ascontiguousarray(demo.rgb[:, ::-1])))
        assert ahead.confidence is not None
        assert mirrored.confidence is not None
        # The same two looks, the other way round: only the unit is another look's.
        order = np.corrcoef(ahead.confidence.ravel(), mirrored.confidence[:, ::-1].ravel())
        assert order[0, 1] > 0.9
        assert ahead.confidence.std() > 0.01

    def test_what_is_its_own_mirror_image_is_certain_in_the_middle(
        self, folders: dict[str, Path], demo: Photo
    ) -> None:
        half = demo.rgb[:140, :98]
        photo = photo_of(np.hstack([half, half[:, ::-1]]))
        confidence = TransformersDepth(folders["depth-anything"]).estimate(photo).confidence
        assert confidence is not None
        np.testing.assert_allclose(confidence, confidence[:, ::-1], atol=1e-3)
        assert confidence[:, 98].mean() > confidence.mean()

    def test_any_view_of_an_array_is_a_photo(self, folders: dict[str, Path], demo: Photo) -> None:
        """Mirrored, and read-only."""
        estimator = TransformersDepth(folders["dpt-large"])
        view = demo.rgb[::-1, ::-1]
        view.flags.writeable = False
        photo = dataclasses.replace(photo_of(demo.rgb), rgb=view)
        expected = estimator.estimate(photo_of(view.copy()))
        np.testing.assert_array_equal(estimator.estimate(photo).disparity, expected.disparity)

    def test_the_same_photo_gives_the_same_bytes(
        self, folders: dict[str, Path], demo: Photo
    ) -> None:
        first, second = (TransformersDepth(folders["dpt-large"]).estimate(demo) for _ in range(2))
        assert first.disparity.tobytes() == second.disparity.tobytes()

    @pytest.mark.parametrize("shape", [(2, 90), (150, 7)])
    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_odd_photos_are_seen_too(
        self, folders: dict[str, Path], name: str, shape: tuple[int, int]
    ) -> None:
        rgb = np.random.default_rng(0).random((*shape, 3), np.float32)
        assert TransformersDepth(folders[name]).estimate(photo_of(rgb)).disparity.shape == shape

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_reduced_precision_says_nearly_the_same(
        self, folders: dict[str, Path], demo: Photo, name: str, precision: Precision
    ) -> None:
        exact = TransformersDepth(folders[name], device="cpu", precision="fp32").estimate(demo)
        model = TransformersDepth(folders[name], device="cpu", precision=precision)
        reduced = model.estimate(demo)
        assert model.runs_as == f"cpu {precision}"
        assert reduced.disparity.dtype == np.float32
        spread = np.ptp(exact.disparity)
        error = np.sqrt(np.square(reduced.disparity - exact.disparity).mean()) / spread
        assert 0 < error < 0.06  # of random weights
        # The last layers are exact: no steps of 1/128.
        assert len(np.unique(reduced.disparity)) > 0.2 * reduced.disparity.size

    def test_nothing_asks_the_network_or_writes_to_the_terminal(
        self,
        folders: dict[str, Path],
        demo: Photo,
        monkeypatch: pytest.MonkeyPatch,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        def refuse(*args: Any, **kwargs: Any) -> None:
            raise AssertionError("reached for the network")

        monkeypatch.setattr(socket.socket, "connect", refuse)
        monkeypatch.setattr(socket, "getaddrinfo", refuse)
        transformers_depth._opened.cache_clear()
        TransformersDepth(folders["zoedepth"]).estimate(demo)
        assert capfd.readouterr() == ("", "")

    def test_where_memory_is_short_it_looks_once_at_a_time(
        self,
        folders: dict[str, Path],
        demo: Photo,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        network = transformers.DPTForDepthEstimation
        both = TransformersDepth(folders["dpt-large"]).estimate(demo)
        forward, room = network.forward, 1

        def short(self: Any, pixel_values: Any) -> Any:
            if len(pixel_values) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(self, pixel_values=pixel_values)

        monkeypatch.setattr(network, "forward", short)
        with caplog.at_level(logging.WARNING):
            single = TransformersDepth(folders["dpt-large"]).estimate(demo)
        assert "DPT: out of memory on cpu, so 1 at a time instead of 2" in caplog.text
        np.testing.assert_allclose(single.disparity, both.disparity, atol=1e-5)

        room = 0
        with pytest.raises(InputError, match="does not fit into the memory of cpu"):
            TransformersDepth(folders["dpt-large"]).estimate(demo)


class TestWhatCannotBeUsed:
    """Each is one line that names the file."""

    def refused(self, folder: Path, match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            TransformersDepth(folder).estimate(photo_of(np.full((32, 48, 3), 0.5, np.float32)))
        assert "\n" not in str(caught.value)
        assert str(folder) in str(caught.value)

    def test_no_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "none", "is not there: pass the folder of a depth model")

    def test_a_file(self, copied: Path) -> None:
        self.refused(copied / "model.safetensors", "is a file, not a folder")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path, r"config\.json is missing")

    def test_no_weights(self, copied: Path) -> None:
        (copied / "model.safetensors").unlink()
        self.refused(copied, r"lacks files or is damaged: .*model\.safetensors")

    @pytest.mark.parametrize("content", ["{", "[]", "\udcff"])
    def test_a_config_that_is_none(self, copied: Path, content: str) -> None:
        (copied / "config.json").write_bytes(content.encode(errors="surrogateescape"))
        self.refused(copied, r"config\.json (cannot be read|is no model's)")

    def test_a_config_of_other_numbers(self, copied: Path) -> None:
        path = copied / "config.json"
        config = json.loads(path.read_text()) | {"hidden_size": 24}
        path.write_text(json.dumps(config))
        self.refused(copied, "lacks files or is damaged")

    def test_a_config_without_sense(self, copied: Path) -> None:
        path = copied / "config.json"
        config = json.loads(path.read_text()) | {"hidden_size": "many"}
        path.write_text(json.dumps(config))
        self.refused(copied, "lacks files or is damaged")

    def test_truncated_weights(self, copied: Path) -> None:
        path = copied / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
        self.refused(copied, "lacks files or is damaged")

    def test_corrupted_weights(self, copied: Path) -> None:
        path = copied / "model.safetensors"
        path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])
        self.refused(copied, "lacks files or is damaged")

    def test_incomplete_weights(self, copied: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = copied / "model.safetensors"
        state = load_file(path)
        kept = {name: tensor for name, tensor in state.items() if "encoder.layer.2" not in name}
        assert len(kept) < len(state)
        save_file(kept, path, metadata={"format": "pt"})
        self.refused(copied, r"\d+ weights are missing, such as dpt\.encoder\.layer\.2")

    def test_weights_that_are_not_numbers(self, copied: Path) -> None:
        from safetensors.torch import load_file, save_file

        path = copied / "model.safetensors"
        state = load_file(path)
        state["head.head.4.bias"].fill_(float("nan"))
        save_file(state, path, metadata={"format": "pt"})
        self.refused(copied, "is damaged or another model's: what it sees is not a number")

    def test_another_model(self, tmp_path: Path) -> None:
        transformers.BeitConfig().save_pretrained(tmp_path)
        self.refused(tmp_path, "a model of type 'beit', and not Depth Anything, Depth Pro, DPT")

    def test_another_task(self, copied: Path) -> None:
        path = copied / "config.json"
        config = json.loads(path.read_text()) | {"architectures": ["DPTForSemanticSegmentation"]}
        path.write_text(json.dumps(config))
        self.refused(copied, "is for another task than depth: it holds DPTForSemanticSegmentation")

    def test_a_program_in_place_of_weights(self, copied: Path, tmp_path: Path) -> None:
        import pickle

        target = tmp_path / "touched"

        class Touch:
            def __reduce__(self) -> tuple[Any, ...]:
                return target.touch, ()

        (copied / "model.safetensors").unlink()
        (copied / "pytorch_model.bin").write_bytes(pickle.dumps({"head": Touch()}))
        self.refused(copied, "lacks files or is damaged")
        assert not target.exists()

    def test_weights_may_be_a_pickle_of_plain_numbers(self, copied: Path, demo: Photo) -> None:
        """Those of Intel/dpt-hybrid-midas are."""
        from safetensors.torch import load_file

        expected = TransformersDepth(copied).estimate(demo)
        state = load_file(copied / "model.safetensors")
        (copied / "model.safetensors").unlink()
        torch.save(state, copied / "pytorch_model.bin")
        found = TransformersDepth(copied).estimate(demo)
        np.testing.assert_array_equal(found.disparity, expected.disparity)

    def test_weights_may_be_in_half_precision(self, copied: Path, demo: Photo) -> None:
        """Depth Pro's are; what is computed is not."""
        expected = TransformersDepth(copied).estimate(demo)
        network = transformers.DPTForDepthEstimation.from_pretrained(copied)
        network.half().save_pretrained(copied)
        assert json.loads((copied / "config.json").read_text())["dtype"] == "float16"
        found = TransformersDepth(copied).estimate(demo)
        spread = np.ptp(expected.disparity)
        assert 0 < np.abs(found.disparity - expected.disparity).max() < 0.02 * spread

    def test_what_official_weights_lack_may_be_missing(self, copied: Path, demo: Photo) -> None:
        """Those of DPT have no residual layer where none is used."""
        from safetensors.torch import load_file, save_file

        expected = TransformersDepth(copied).estimate(demo)
        path = copied / "model.safetensors"
        state = load_file(path)
        layer = "neck.fusion_stage.layers.0.residual_layer1."
        unused = [name for name in state if name.startswith(layer)]
        assert len(unused) == 4
        for name in unused:
            del state[name]
        save_file(state, path, metadata={"format": "pt"})
        found = TransformersDepth(copied).estimate(demo)
        np.testing.assert_array_equal(found.disparity, expected.disparity)

    def test_a_device_that_is_not_there(self, folders: dict[str, Path], demo: Photo) -> None:
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(InputError, match="DPT cannot run on cuda: torch finds no GPU"):
            TransformersDepth(folders["dpt-large"], device="cuda").estimate(demo)

    def test_without_the_library(
        self, folders: dict[str, Path], demo: Photo, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(__import__("sys").modules, "transformers", None)
        transformers_depth._opened.cache_clear()
        with pytest.raises(MissingExtraError, match=r"DPT needs an extra: .*diorama\[models\]"):
            TransformersDepth(folders["dpt-large"]).estimate(demo)


def test_by_name_from_the_pull_to_the_scene(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIORAMA_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    official = registry.find("depth", "zoedepth")
    assert official.weights is not None
    files = {f.name: (folders["zoedepth"] / f.name).read_bytes() for f in official.weights.files}
    with FileServer(files) as server:
        weights = dataclasses.replace(official.weights, source=server.url, revision=None, name="z")
        sizes = tuple(dataclasses.replace(file, size=None) for file in weights.files)
        entry = dataclasses.replace(
            official, name="mine", weights=dataclasses.replace(weights, files=sizes)
        )
        registry.register(entry)
        assert entry.weights is not None
        pull(entry.weights)

        scene = photo_to_scene(
            load_photo(DEMO, max_size=96).texture, config=SceneConfig(depth="mine", max_size=96)
        )

    assert scene.metric
    assert scene.provenance["models"]["depth"] == "mine"
    assert scene.provenance["licences"]["depth mine"] == "MIT"


def test_padding_is_zoedepths() -> None:
    pads = Preparation(384, 512, pads=True)
    assert pads.padding(480, 640) == (46, 53)
    assert Preparation(384, 512).padding(480, 640) == (0, 0)
