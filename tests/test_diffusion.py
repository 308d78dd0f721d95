"""Inpainting through diffusers: tiny random models, from folders as real ones are.

What is expected comes from diffusers' own pipelines, called as its documentation says. Nothing here
tells how good a fill looks: random networks paint noise.
"""

import dataclasses
import functools
import json
import logging
import pickle
import shutil
import socket
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from file_server import FileServer
from safetensors.torch import load_file, save_file

from diorama import cli, registry
from diorama.arrays import Array
from diorama.errors import InputError, MissingExtraError
from diorama.inpaint import FillTask
from diorama.models import cuts, diffusion
from diorama.models.diffusion import LatentConsistency, StableDiffusion
from diorama.models.exemplar import Exemplar
from diorama.pipeline import open_scene

torch = pytest.importorskip("torch", reason="torch is not installed")
logging.getLogger("transformers").setLevel(logging.CRITICAL)  # it misses torchvision, aloud
diffusers = pytest.importorskip("diffusers", reason="diffusers is not installed")

import tiny_diffusion_models as tiny  # noqa: E402  # only where it can be used

pytestmark = pytest.mark.usefixtures("one_thread")

SIDE = tiny.SIDE_PX

DDIM, LCM = [999, 749, 499, 249], [999, 759, 499, 259]
"""Time steps; of the others, leading spacing would give 751, 501, 251, 1."""

MAGENTA = np.array([1, 0, 1], np.float32)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    there = tmp_path_factory.mktemp("models")
    return {name: tiny.save(name, there / name) for name in tiny.MODELS}


@pytest.fixture(scope="module")
def loras(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    there = tmp_path_factory.mktemp("loras")
    return {
        name: tiny.save_lora(folder, there / f"{name}.safetensors")
        for name, folder in folders.items()
    }


@pytest.fixture
def copied(folders: dict[str, Path], tmp_path: Path) -> Path:
    """A model that may be damaged."""
    return Path(shutil.copytree(folders["sd"], tmp_path / "sd"))


def model(folder: Path, **settings: Any) -> StableDiffusion:
    return StableDiffusion(folder, **{"precision": "fp32", "device": "cpu", **settings})


def scenery(height: int, width: int) -> Array:
    """Smooth colours with fine texture."""
    rng = np.random.default_rng(5)
    noise = rng.random((height, width, 3), np.float32)
    smooth = cv2.GaussianBlur(noise, (0, 0), 8)
    smooth = (smooth - smooth.min()) / np.ptp(smooth)
    return (0.2 + 0.5 * smooth + 0.2 * noise).astype(np.float32)


def one_sided(
    height: int = SIDE, width: int = SIDE, *, first: int = 20, hole: int = 16
) -> FillTask:
    """An occluder in the columns before the hole, the rest known; what is hidden is magenta."""
    x = np.broadcast_to(np.arange(width), (height, width))
    known = x >= first + hole
    rgb = np.where(known[..., None], scenery(height, width), MAGENTA)
    return FillTask(rgb, known, (x >= first) & ~known)


def told_by_pipeline(folder: Path, task: FillTask, **changes: Any) -> Array:
    """(h, w, 3): the library's own picture, asked as its documentation says."""
    index = json.loads((folder / "model_index.json").read_text())
    xl = "XL" in index["_class_name"]
    pipe = getattr(diffusers, index["_class_name"]).from_pretrained(
        folder,
        **({"add_watermarker": False} if xl else {"safety_checker": None}),
        **({} if xl else {"feature_extractor": None, "requires_safety_checker": False}),
    )
    if lora := changes.get("lora"):
        pipe.load_lora_weights(lora.parent, weight_name=lora.name)
    pipe.set_progress_bar_config(disable=True)
    settings = {"timestep_spacing": "trailing", "clip_sample": False, "set_alpha_to_one": False}
    pipe.scheduler = diffusers.DDIMScheduler.from_config(pipe.scheduler.config, **settings)
    image = torch.from_numpy(np.where(task.known[..., None], task.rgb, 0)).permute(2, 0, 1)[None]
    return pipe(
        prompt=changes.get("prompt", ""),
        image=image,
        mask_image=torch.from_numpy(~task.known)[None, None].float(),
        num_inference_steps=4,
        strength=1.0,
        guidance_scale=0.0,
        generator=diffusion._generator((7, 0, 0, 0)),
        output_type="np",
    ).images[0]


def painted(chosen: StableDiffusion, task: FillTask) -> Array:
    """(h, w, 3): what the network paints of a whole picture of its own size."""
    (picture,) = chosen._open().paint([diffusion._Look(task.rgb, task.known, (0, 0), (7, 0, 0, 0))])
    return picture


def steps_of(monkeypatch: pytest.MonkeyPatch, scheduler: str) -> list[int]:
    """Filled with the time steps that the sampler does."""
    found: list[int] = []
    cls = getattr(diffusers, scheduler)
    step = cls.step

    @functools.wraps(step)  # its arguments are looked at
    def spy(self: Any, output: Any, timestep: Any, *args: Any, **kwargs: Any) -> Any:
        found.append(int(timestep))
        return step(self, output, timestep, *args, **kwargs)

    monkeypatch.setattr(cls, "step", spy)
    return found


class TestTheNetwork:
    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_it_paints_what_the_library_s_own_pipeline_paints(
        self, folders: dict[str, Path], name: str
    ) -> None:
        task = one_sided()
        expected = told_by_pipeline(folders[name], task, prompt="a wall")
        found = painted(model(folders[name], prompt="a wall"), task)
        np.testing.assert_allclose(found, expected, atol=2e-4)
        assert expected[task.hole].std() > 0.05
        other = painted(model(folders[name]), task)
        assert np.abs(found - other).max() > 1e-4  # a prompt matters

    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_a_lora_is_fused(
        self, folders: dict[str, Path], loras: dict[str, Path], name: str
    ) -> None:
        task = one_sided()
        expected = told_by_pipeline(folders[name], task, lora=loras[name])
        found = painted(model(folders[name], lora=loras[name]), task)
        np.testing.assert_allclose(found, expected, atol=5e-4)
        assert np.abs(found - painted(model(folders[name]), task)).max() > 0.01

    def test_the_official_loras_names_are_understood(
        self, folders: dict[str, Path], loras: dict[str, Path], tmp_path: Path
    ) -> None:
        lora = tiny.save_lora(folders["sd"], tmp_path / "lora.safetensors", official=True)
        assert "lora_unet_down_blocks_0_downsamplers_0_conv.lora_down.weight" in load_file(lora)
        task = one_sided()
        expected = painted(model(folders["sd"], lora=loras["sd"]), task)
        np.testing.assert_allclose(
            painted(model(folders["sd"], lora=lora), task), expected, atol=2e-4
        )

    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_four_steps_from_noise_and_two_over_the_first_picture(
        self, folders: dict[str, Path], name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = steps_of(monkeypatch, "DDIMScheduler")
        model(folders[name]).inpaint([one_sided()], seed=0)
        assert steps == DDIM
        steps.clear()
        model(folders[name]).inpaint([one_sided(SIDE, SIDE + 32)], seed=0)
        assert steps == [*DDIM, *DDIM[2:]]

    def test_latent_consistency_has_its_own_sampler(
        self, folders: dict[str, Path], loras: dict[str, Path], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        steps = steps_of(monkeypatch, "LCMScheduler")
        chosen = LatentConsistency(folders["sd"], loras["sd"], precision="fp32", device="cpu")
        task = one_sided(SIDE, SIDE + 32)
        first = chosen.inpaint([task], seed=0)[0]
        assert steps == [*LCM, *LCM[2:]]
        np.testing.assert_array_equal(chosen.inpaint([task], seed=0)[0], first)

    def test_holes_thinner_than_a_cell_of_the_latent_are_seen(
        self, folders: dict[str, Path]
    ) -> None:
        known = np.ones((SIDE, SIDE), bool)
        known[:, 31] = False
        painter = model(folders["sd"])._open()
        seen: list[Any] = []
        hook = painter.pipe.unet.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        painter.paint([diffusion._Look(scenery(SIDE, SIDE), known, (0, 0), (0,))])
        hook.remove()
        mask = seen[0][0, 4].numpy()
        assert mask.shape == (SIDE // 2, SIDE // 2)
        np.testing.assert_array_equal(np.unique(np.nonzero(mask)[1]), [15])

    def test_half_precision_files_serve_as_well(
        self, folders: dict[str, Path], tmp_path: Path
    ) -> None:
        halves = tiny.save("sd", tmp_path / "sd", variant="fp16")
        assert (halves / "unet" / "diffusion_pytorch_model.fp16.safetensors").is_file()
        task = one_sided()
        found, expected = (painted(model(f), task) for f in (halves, folders["sd"]))
        assert 0 < np.abs(found - expected).max() < 0.1

    @pytest.mark.parametrize("precision", ["bf16", "fp16"])
    @pytest.mark.parametrize("name", tiny.MODELS)
    def test_reduced_precision_paints_nearly_the_same(
        self, folders: dict[str, Path], name: str, precision: str
    ) -> None:
        task = one_sided()
        chosen = model(folders[name], precision=precision)
        found, expected = painted(chosen, task), painted(model(folders[name]), task)
        assert found.dtype == np.float32
        assert 0 < np.abs(found - expected).mean() < 0.05
        assert chosen.runs_as == f"cpu {precision}"


class TestContract:
    @pytest.mark.parametrize("width", [SIDE, 2 * SIDE, 4 * SIDE])
    def test_it_gives_the_colours_of_the_hole_and_leaves_the_task_alone(
        self, folders: dict[str, Path], width: int
    ) -> None:
        task = one_sided(SIDE, width)
        before = task.rgb.copy()
        (fill,) = model(folders["sd"]).inpaint([task], seed=0)
        assert fill.shape == (np.count_nonzero(task.hole), 3)
        assert fill.dtype == np.float32
        assert fill.min() >= 0
        assert fill.max() <= 1
        assert fill.std() > 0.02
        np.testing.assert_array_equal(task.rgb, before)

    @pytest.mark.parametrize("width", [SIDE, 2 * SIDE, 4 * SIDE])
    def test_neither_the_occluder_nor_the_hole_is_looked_at(
        self, folders: dict[str, Path], width: int
    ) -> None:
        task = one_sided(SIDE, width)
        other = np.where(task.known[..., None], task.rgb, np.float32(np.nan))
        fill, blind = (
            model(folders["sd"]).inpaint([FillTask(rgb, task.known, task.hole)], seed=0)[0]
            for rgb in (task.rgb, other)
        )
        np.testing.assert_array_equal(fill, blind)

    def test_the_seed_decides(self, folders: dict[str, Path]) -> None:
        task = one_sided(SIDE, 2 * SIDE)
        chosen = model(folders["sd"])
        first, second, other = (chosen.inpaint([task], seed=s)[0] for s in (1, 1, -2))
        assert first.tobytes() == second.tobytes()
        assert np.abs(first - other).max() > 0.05

    def test_fills_do_not_depend_on_what_is_filled_beside_them(
        self, folders: dict[str, Path]
    ) -> None:
        tasks = [one_sided(), one_sided(SIDE, 2 * SIDE), one_sided(first=8, hole=30)]
        chosen = model(folders["sd"])
        alone = [chosen.inpaint([task], seed=3)[0] for task in tasks]
        together = chosen.inpaint(tasks, seed=3)
        for one, both in zip(alone, together, strict=True):
            np.testing.assert_allclose(both, one, atol=2e-4)

    def test_no_tasks_no_fills(self, folders: dict[str, Path]) -> None:
        assert model(folders["sd"]).inpaint([], seed=0) == []

    def test_where_nothing_is_known_there_is_grey(self, folders: dict[str, Path]) -> None:
        nowhere = np.zeros((20, 30), bool)
        task = FillTask(np.ones((20, 30, 3), np.float32), nowhere, ~nowhere)
        assert (model(folders["sd"]).inpaint([task], seed=0)[0] == 0.5).all()

    def test_so_is_one_beside_which_the_network_would_see_nothing(
        self, folders: dict[str, Path]
    ) -> None:
        """A line of known pixels, less than half of one as it is shown."""
        known = np.zeros((64, 600), bool)
        known[31:33] = True
        hole = np.zeros((64, 600), bool)
        hole[33:50, 100:500] = True
        task = FillTask(scenery(64, 600), known, hole)
        (expected,) = Exemplar().inpaint([task], seed=3)
        np.testing.assert_array_equal(model(folders["sd"]).inpaint([task], seed=3)[0], expected)

    def test_a_hole_far_from_all_that_is_known_is_left_to_the_exemplar_fill(
        self, folders: dict[str, Path]
    ) -> None:
        rgb, known, hole = scenery(32, 600), np.zeros((32, 600), bool), np.zeros((32, 600), bool)
        known[:, :40], hole[10:20, 560:580] = True, True
        task = FillTask(rgb, known, hole)
        (expected,) = Exemplar().inpaint([task], seed=3)
        np.testing.assert_array_equal(model(folders["sd"]).inpaint([task], seed=3)[0], expected)


def draft_of(task: FillTask, picture: Array) -> diffusion._Draft:
    (cut,) = cuts.cut_out([task])
    return diffusion._Draft(cut, cut.rgb, cut.known, cut.hole, picture)


class TestSeams:
    def test_what_the_autoencoder_loses_is_given_back(self) -> None:
        """A tint that changes evenly over the picture leaves no trace between two known sides."""
        truth = scenery(SIDE, SIDE)
        hole = np.zeros((SIDE, SIDE), bool)
        hole[:, 20:40] = True
        tint = np.linspace(-0.1, 0.1, SIDE, dtype=np.float32)[None, :, None]
        task = FillTask(np.where(hole[..., None], MAGENTA, truth), ~hole, hole)
        fill = diffusion._fill(draft_of(task, truth + tint), np.zeros((hole.sum(), 3), np.float32))
        np.testing.assert_allclose(fill, truth[hole], atol=2e-3)

    def test_the_fill_begins_where_the_known_side_ends(self, folders: dict[str, Path]) -> None:
        x = np.broadcast_to(np.arange(SIDE), (SIDE, SIDE))
        hole = (x >= 20) & (x < 44)
        task = FillTask(np.full((SIDE, SIDE, 3), 0.6, np.float32), ~hole, hole)
        raw = painted(model(folders["sd"]), task)[hole]
        (fill,) = model(folders["sd"]).inpaint([task], seed=7)
        before, after = (np.abs(a.reshape(SIDE, 24, 3).mean(0) - 0.6) for a in (raw, fill))
        assert after[[0, -1]].mean() < 0.3 * before[[0, -1]].mean()

    def test_scales_that_tiles_do_not_reach_are_the_exemplar_s(
        self, folders: dict[str, Path]
    ) -> None:
        x = np.broadcast_to(np.arange(512), (96, 512))
        known = x >= 350
        task = FillTask(scenery(96, 512), known, (x >= 100) & ~known)
        (cut,) = cuts.cut_out([task])
        assert cut.longer_side > 2 * diffusion.TILED_SIDES * SIDE
        whole, guide = task.rgb.copy(), task.rgb.copy()
        whole[task.hole] = model(folders["sd"]).inpaint([task], seed=0)[0]
        guide[task.hole] = Exemplar().inpaint([task], seed=0)[0]
        ours, theirs = (a - cv2.GaussianBlur(a, (0, 0), 0.8) for a in (whole, guide))
        inner = np.s_[10:-10, 110:330]
        assert np.corrcoef(ours[inner].ravel(), theirs[inner].ravel())[0, 1] > 0.8
        assert np.abs(cv2.GaussianBlur(whole - guide, (0, 0), 3)[inner]).mean() > 0.02


class TestScales:
    """All ways around a network, which here is one that knows the truth, but for a tint."""

    @pytest.mark.parametrize(
        ("height", "width", "bound"),
        [
            (40, 44, 0.005),  # enlarged
            (SIDE, SIDE, 0.002),
            (100, 150, 0.002),  # in tiles of full size
            (150, 420, 0.01),  # in smaller tiles, with scales that the exemplar fill has to guess
        ],
    )
    def test_a_perfect_network_gives_the_truth(
        self,
        folders: dict[str, Path],
        height: int,
        width: int,
        bound: float,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        truth = cv2.GaussianBlur(scenery(height, width), (0, 0), 6)
        first, hole = width // 4, width // 3
        task = one_sided(height, width, first=first, hole=hole)
        task = FillTask(np.where(task.known[..., None], truth, MAGENTA), task.known, task.hole)
        strengths = []

        def paint(painter: Any, looks: Any, *, strength: float = 1.0) -> list[Array]:
            strengths.extend([strength] * len(looks))
            return [told(look, painter.side_px) for look in looks]

        def told(look: diffusion._Look, side: int) -> Array:
            _, again, *corner = look.key
            parts = cuts.cut_out([task], cell_px=side // 8, least_px=side)
            (cut,) = [cut for cut in parts if cut.corner == tuple(corner[:2])]
            rows, columns = (
                slice(at, at + size) for at, size in zip(cut.corner, cut.hole.shape, strict=True)
            )
            most = diffusion.TILED_SIDES * side / cut.longer_side
            scale = min(1, most) if again else min(diffusion.ENLARGED, side / cut.longer_side)
            size = cut.size_seen(scale)
            way = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
            whole = cv2.resize(truth[rows, columns], size, interpolation=way)
            (top, left), (h, w) = look.corner, look.known.shape
            return whole[top : top + h, left : left + w] + np.float32([0.05, -0.05, 0.02])

        monkeypatch.setattr(diffusion._Painter, "paint", paint)
        (fill,) = model(folders["sd"]).inpaint([task], seed=0)
        error = np.abs(fill - truth[task.hole])
        assert error.mean() < bound
        assert (diffusion.AGAIN in strengths) == (max(height, width) > SIDE)


class TestTiles:
    def test_they_cover_a_side_evenly_with_room_to_blend(self) -> None:
        assert diffusion._starts(60, 64) == diffusion._starts(64, 64) == [0]
        for length in (65, 100, 128, 192, 1000):
            starts = diffusion._starts(length, 64)
            assert (starts[0], starts[-1]) == (0, length - 64)
            assert np.diff(starts).max() <= 48

    def test_those_of_one_picture_are_that_picture(self) -> None:
        picture = scenery(100, 150)
        tiles = [
            ((top, left), picture[top : top + 64, left : left + 64])
            for top in diffusion._starts(100, 64)
            for left in diffusion._starts(150, 64)
        ]
        found = diffusion._blended(np.zeros_like(picture), tiles, 64)
        np.testing.assert_allclose(found, picture, atol=1e-6)
        found = diffusion._blended(picture, tiles[:1], 64)
        np.testing.assert_array_equal(found[64:], picture[64:])

    def test_one_becomes_the_next_without_a_step(self) -> None:
        zeros, ones = np.zeros((64, 64, 3), np.float32), np.ones((64, 64, 3), np.float32)
        under = np.full((64, 112, 3), np.nan, np.float32)
        row = diffusion._blended(under, [((0, 0), zeros), ((0, 48), ones)], 64)[32, :, 0]
        assert (np.diff(row) >= -1e-6).all()
        assert np.diff(row).max() < 0.3
        assert row[52] < 1e-3
        assert row[59] > 1 - 1e-3

    def test_there_are_some_wherever_the_hole_is_and_nowhere_else(self) -> None:
        hole = np.zeros((128, 256), bool)
        hole[10:30, 40:200] = True
        draft = draft_of(FillTask(scenery(128, 256), ~hole, hole), scenery(128, 256))
        tiles = list(diffusion._tiles(draft, 64, 0))
        covered = np.zeros_like(hole)
        for tile in tiles:
            (top, left), (height, width) = tile.corner, tile.known.shape
            box = np.s_[top : top + height, left : left + width]
            assert hole[box].any()
            covered[box] = True
        assert covered[hole].all()
        assert not covered[64:].all()
        assert len({tile.key for tile in tiles}) == len(tiles)


class TestMemory:
    def test_where_it_is_short_one_cut_is_painted_at_a_time(
        self,
        folders: dict[str, Path],
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        network = diffusers.UNet2DConditionModel
        tasks = [one_sided(), one_sided(first=8)]
        both = model(folders["sd"]).inpaint(tasks, seed=0)
        forward, room = network.forward, 1

        def short(self: Any, sample: Any, *args: Any, **kwargs: Any) -> Any:
            if len(sample) > room:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(self, sample, *args, **kwargs)

        monkeypatch.setattr(network, "forward", short)
        with caplog.at_level(logging.WARNING):
            single = model(folders["sd"]).inpaint(tasks, seed=0)
        assert "out of memory on cpu, so 1 at a time instead of 2" in caplog.text
        for one, expected in zip(single, both, strict=True):
            np.testing.assert_allclose(one, expected, atol=2e-4)

        room = 0
        with pytest.raises(InputError, match="does not fit into the memory of cpu") as caught:
            model(folders["sd"]).inpaint(tasks, seed=0)
        assert "\n" not in str(caught.value)

    def test_the_text_encoders_are_not_kept(self, folders: dict[str, Path]) -> None:
        pipe = model(folders["sdxl"])._open().pipe
        assert pipe.text_encoder is pipe.text_encoder_2 is pipe.tokenizer is None
        assert pipe.vae.use_slicing

    def test_where_a_single_cut_is_too_much_the_autoencoder_works_in_tiles(
        self, copied: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        from diffusers.models.autoencoders.vae import Decoder

        forward = Decoder.forward
        expected = model(copied).inpaint([one_sided()], seed=0)[0]

        def short(self: Any, sample: Any, *args: Any) -> Any:
            if sample.shape[-1] > SIDE // 4:
                raise torch.OutOfMemoryError("CUDA out of memory")
            return forward(self, sample, *args)

        monkeypatch.setattr(Decoder, "forward", short)
        with caplog.at_level(logging.WARNING):
            fill = model(copied).inpaint([one_sided()], seed=0)[0]
        assert "out of memory on cpu, so its autoencoder works in tiles" in caplog.text
        assert 0 < np.abs(fill - expected).mean() < 0.1


class TestWhatCannotBeUsed:
    """Each is one line that names the file."""

    def refused(self, folder: Path, match: str, **settings: Any) -> None:
        with pytest.raises(InputError, match=match) as caught:
            model(folder, **settings).inpaint([one_sided()], seed=0)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 600
        assert str(settings.get("lora", folder)) in str(caught.value)

    def test_no_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path / "none", "is not there: pass the folder of an inpainting model")

    def test_a_file(self, copied: Path) -> None:
        self.refused(copied / "model_index.json", "is a file, not a folder")

    def test_an_empty_folder(self, tmp_path: Path) -> None:
        self.refused(tmp_path, r"model_index\.json is missing")

    @pytest.mark.parametrize("content", ["{", "[]"])
    def test_an_index_that_is_none(self, copied: Path, content: str) -> None:
        (copied / "model_index.json").write_text(content)
        self.refused(copied, r"model_index\.json (cannot be read|is no model's)")

    def test_another_pipeline(self, copied: Path) -> None:
        path = copied / "model_index.json"
        path.write_text(path.read_text().replace("InpaintPipeline", "Pipeline"))
        self.refused(copied, "holds a StableDiffusionPipeline, and not Stable Diffusion inpainting")

    def test_a_network_that_cannot_see_what_is_known(self, tmp_path: Path) -> None:
        folder = tiny.save("sd", tmp_path / "four", unet=tiny.unet(channels=4))
        self.refused(folder, "is no inpainting model: its network takes 4 channels, and not 9")

    def test_parts_of_several_models(self, copied: Path) -> None:
        torch.manual_seed(0)
        other = tiny.text_encoder("CLIPTextModel", hidden_size=16)
        other.save_pretrained(copied / "text_encoder")
        self.refused(copied, "has parts that do not fit each other: ")

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
    def test_a_missing_part(self, copied: Path, part: str) -> None:
        shutil.rmtree(copied / part)
        self.refused(copied, f"lacks its folder {part}: pass that of an inpainting model")

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
    def test_missing_weights(self, copied: Path, part: str) -> None:
        next((copied / part).glob("*.safetensors")).unlink()
        self.refused(copied, "lacks files or is damaged")

    @pytest.mark.parametrize("part", ["unet", "text_encoder"])
    def test_truncated_weights(self, copied: Path, part: str) -> None:
        path = next((copied / part).glob("*.safetensors"))
        path.write_bytes(path.read_bytes()[:-1000])
        self.refused(copied, "lacks files or is damaged")

    @pytest.mark.parametrize("part", ["vae", "text_encoder"])
    def test_corrupted_weights(self, copied: Path, part: str) -> None:
        path = next((copied / part).glob("*.safetensors"))
        path.write_bytes(b"\xff" * 64 + path.read_bytes()[64:])
        self.refused(copied, "lacks files or is damaged")

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
    def test_incomplete_weights(self, copied: Path, part: str) -> None:
        self.change(
            copied / part, lambda state: state.pop(max(state, key=lambda k: state[k].numel()))
        )
        self.refused(copied, "weights are missing|is not a number")

    @pytest.mark.parametrize("part", ["unet", "vae", "text_encoder"])
    def test_weights_that_are_not_numbers(self, copied: Path, part: str) -> None:
        self.change(copied / part, lambda state: [t.fill_(float("nan")) for t in state.values()])
        self.refused(copied, "is damaged.* is not a number")

    def change(self, part: Path, edit: Any) -> None:
        path = next(part.glob("*.safetensors"))
        state = load_file(path)
        edit(state)
        save_file(state, path, metadata={"format": "pt"})

    def test_a_program_in_place_of_weights(self, copied: Path, tmp_path: Path) -> None:
        target = tmp_path / "touched"

        class Touch:
            def __reduce__(self) -> tuple[Any, ...]:
                return target.touch, ()

        next((copied / "unet").glob("*.safetensors")).unlink()
        (copied / "unet" / "diffusion_pytorch_model.bin").write_bytes(pickle.dumps({"a": Touch()}))
        self.refused(copied, "lacks files or is damaged")
        assert not target.exists()

    def test_no_lora(self, copied: Path, tmp_path: Path) -> None:
        self.refused(copied, "is not there: pass a file of a LoRA", lora=tmp_path / "none.pt")

    def test_what_is_no_lora(self, copied: Path) -> None:
        path = copied / "vae" / "diffusion_pytorch_model.safetensors"
        self.refused(copied, "is damaged, or for another network|is no LoRA", lora=path)

    def test_a_lora_for_another_network(self, copied: Path, loras: dict[str, Path]) -> None:
        self.refused(copied, "for another network", lora=loras["sdxl"])

    def test_a_damaged_lora(self, copied: Path, loras: dict[str, Path], tmp_path: Path) -> None:
        path = tmp_path / "lora.safetensors"
        path.write_bytes(loras["sd"].read_bytes()[:-500])
        self.refused(copied, "is damaged, or for another network", lora=path)

    def test_a_device_that_is_not_there(self, folders: dict[str, Path]) -> None:
        if torch.cuda.is_available():
            pytest.skip("there is a GPU")
        with pytest.raises(InputError, match="SDXL inpainting cannot run on cuda: torch finds no"):
            model(folders["sdxl"], device="cuda").inpaint([one_sided()], seed=0)

    def test_without_the_library(self, copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "diffusers", None)
        with pytest.raises(MissingExtraError, match=r"inpainting needs .*diorama\[diffusion\]"):
            model(copied).inpaint([one_sided()], seed=0)


def test_nothing_asks_the_network_or_writes_to_the_terminal(
    copied: Path,
    loras: dict[str, Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("reached for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    model(copied, lora=loras["sd"]).inpaint([one_sided()], seed=0)
    assert capfd.readouterr() == ("", "")


def test_by_name_from_the_pull_to_the_scene(
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The files that the registry names, of a tiny model, from two repositories of a hub."""
    for name in ("HF_HUB_OFFLINE", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    official = registry.find("inpainter", "sd-inpainting")
    assert official.weights is not None
    assert official.weights.lora is not None
    halves = tiny.save("sd", tmp_path / "sd", variant="fp16")
    files = {file.name: (halves / file.name).read_bytes() for file in official.weights.files}
    (own,) = official.weights.lora.files
    files[own.name] = tiny.save_lora(tiny.save("sd", tmp_path / "b"), tmp_path / "l").read_bytes()
    lora = dataclasses.replace(
        official.weights.lora, files=(dataclasses.replace(own, sha256=None, size=None),)
    )
    weights = dataclasses.replace(official.weights, lora=lora)
    entry = dataclasses.replace(official, weights=weights)
    registry._entries["inpainter", "sd-inpainting"] = entry
    args = ["--models-dir", str(tmp_path / "models")]
    with FileServer(files) as server:
        server.repositories = {weights.source, lora.source}
        server.revisions = {str(weights.revision), str(lora.revision)}
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        assert cli.main(["models", "pull", "sd-inpainting", *args]) == 0

    args += ["--inpainter", "sd-inpainting", "--max-size", "96", "--formats", "depth"]
    assert cli.main(["photo", str(photo), "-o", str(tmp_path / "out"), *args]) == 0

    scene = open_scene(tmp_path / "out" / "cat.diorama")
    assert scene.provenance["models"]["inpainter"] == "sd-inpainting"
    assert "OpenRAIL" in scene.provenance["licences"]["inpainter sd-inpainting"]
    assert "pytorch_lora_weights" in scene.provenance["weights"]["inpainter sd-inpainting"]
    assert any(layer.hole.any() for layer in scene.layers)
    assert "error" not in capsys.readouterr().err

    args += ["--prompt", "a lawn, photo"]
    assert cli.main(["photo", str(photo), "-o", str(tmp_path / "told"), *args]) == 0
    told = open_scene(tmp_path / "told" / "cat.diorama")
    assert told.provenance["config"]["prompt"] == "a lawn, photo"
    for one, other in zip(scene.layers, told.layers, strict=True):
        np.testing.assert_array_equal(one.hole, other.hole)
        if one.hole.any():
            assert np.abs(one.rgba - other.rgba)[one.hole].max() > 0
