"""Latent diffusion as an inpainter: Stable Diffusion and SDXL inpainting, in four steps.

A hole is cut out with its surroundings (`diorama.models.cuts`) and painted from noise by the
library diffusers, without guidance, by DDIM (Song et al., ICLR 2021) with the time steps 999, 749,
499, 249, or by the sampler of latent consistency models (Luo et al., 2023) where a LoRA of theirs
has taught the network to do with few steps. What is neither known nor hole, the occluder, is hidden
from the network like the hole itself.

A cut larger than the network's own size is painted twice. The first picture is of all of it, made
smaller. It is then gone over in overlapping tiles of full size, each of which begins halfway, with
the first picture under noise (Meng et al., "SDEdit", ICLR 2022), so that the tiles agree; where two
overlap they are blended. Of the largest cuts the tiles are smaller than the photo, too, and the
exemplar fill has the fine scales.

The network paints what is known as well, a little off, as its autoencoder loses something. Only the
hole is taken, plus the harmonic continuation of what is amiss at its rim: seamless cloning (Perez
et al., "Poisson image editing", 2003). The noise of a cut comes from the seed and the place of the
cut, so a fill does not depend on what is filled beside it.

diffusers is under Apache-2.0. The user fetches the weights: Stable Diffusion's are under
CreativeML Open RAIL-M, SDXL's and the LoRAs of latent consistency under Open RAIL++-M, which allow
commercial use and forbid certain ends.
"""

import contextlib
import importlib
import importlib.util
import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from diorama.arrays import Array
from diorama.errors import InputError, MissingExtraError
from diorama.inpaint import FillTask
from diorama.kernels.harmonic import solve_harmonic
from diorama.models.cuts import (
    Cut,
    batches,
    cut_out,
    exemplar_fills,
    padded,
    resized,
    with_fine_scales,
)
from diorama.models.official import (
    Device,
    Precision,
    arithmetic,
    is_out_of_memory,
    place_of,
    run_in_parts,
    torch_dtype,
)
from diorama.models.pretrained import Stamp, load_network, quietly, read_json, stamp
from diorama.runtime import kept, run_tasks

if TYPE_CHECKING:
    from torch import Generator, Tensor

logger = logging.getLogger(__name__)

Sampler = Literal[
    "ddim",  # of most
    "lcm",  # of LoRAs of latent consistency
]
"""How noise becomes a picture."""

STEPS = 4
"""What the LoRAs are made for."""

AGAIN = 0.5
"""Strength of the second painting: its steps are the last two, which leave the layout alone."""

ENLARGED = 2.0
"""A small cut is shown enlarged to the network's own size, by this at most: beyond, there is
nothing to see."""

TILED_SIDES = 3
"""A cut is tiled up to so many times the network's own size: beyond, the exemplar fill has the fine
scales, or a hole in a large photo would take minutes even on a GPU."""

OVERLAP = 0.25
"""Of neighbouring tiles, of their side: context for both."""

BLEND = 0.25
"""Part of an overlap, in its middle, in which one tile becomes the next: two textures that are
averaged have half the contrast."""

FAMILIES = {
    "StableDiffusionInpaintPipeline": "Stable Diffusion inpainting",
    "StableDiffusionXLInpaintPipeline": "SDXL inpainting",
}
"""By the pipeline that model_index.json names."""

KIND = "an inpainting model of diffusers"


@dataclass(frozen=True)
class StableDiffusion:
    """An `Inpainter`."""

    weights: Path
    """A folder with model_index.json and a folder for each part, as `save_pretrained` or the hub
    makes it."""
    lora: Path | None = None
    """A file of weights that teach the network to do with few steps; without, four of them leave
    fills blurred."""
    sampler: Sampler = "ddim"
    """How noise becomes a picture: what the LoRA's makers say it is for."""
    prompt: str = ""
    """What the holes of all layers should show, such as "a brick wall, photo"."""
    device: Device = "auto"
    """Where the network runs."""
    precision: Precision = "auto"
    """Of its arithmetic."""

    def inpaint(self, tasks: Sequence[FillTask], *, seed: int) -> list[Array]:
        """Fill all tasks' holes; see `Inpainter`.

        What has nothing known around it is left to the exemplar fill.

        Raises:
            InputError: a task's arrays do not agree in size, or have other dtypes; the folder is
                not such a model's, lacks a file or is damaged, or the network cannot run so.
            MissingExtraError: diffusers is not installed.
        """
        painter = self._open()
        # A look costs much the same whatever is in it, so there should be few.
        cuts = cut_out(tasks, cell_px=painter.side_px // 8, least_px=painter.side_px)
        looks = run_tasks([partial(_whole, cut, painter.side_px, seed) for cut in cuts])
        seen = [(cut, look) for cut, look in zip(cuts, looks, strict=True) if look.known.any()]
        most = TILED_SIDES * painter.side_px
        guided = [
            cut
            for cut, look in zip(cuts, looks, strict=True)
            if cut.longer_side > most or not look.known.any()
        ]
        fills = exemplar_fills(tasks, guided, seed)
        pictures = painter.paint([look for _, look in seen])
        drafts = run_tasks(
            [
                partial(_draft, cut, picture, painter.side_px)
                for (cut, _), picture in zip(seen, pictures, strict=True)
            ]
        )
        self._refine(painter, drafts, seed)
        for draft in drafts:
            fill = fills[draft.cut.number]
            fill[draft.cut.place] = _fill(draft, fill[draft.cut.place])
        return fills

    @property
    def runs_as(self) -> str:
        """Where and in what the network runs here."""
        painter = self._open()
        return f"{painter.place} {painter.precision}"

    @staticmethod
    def _refine(painter: "_Painter", drafts: "Sequence[_Draft]", seed: int) -> None:
        """Go over the drafts of large cuts in tiles."""
        tiles = [
            (draft, tile)
            for draft in drafts
            if draft.cut.longer_side > painter.side_px
            for tile in _tiles(draft, painter.side_px, seed)
        ]
        found = painter.paint([tile for _, tile in tiles], strength=AGAIN)
        for draft in drafts:
            own = [
                (tile.corner, picture)
                for (owner, tile), picture in zip(tiles, found, strict=True)
                if owner is draft
            ]
            if own:
                draft.picture[...] = _blended(draft.picture, own, painter.side_px)

    def _open(self) -> "_Painter":
        lora = None if self.lora is None else _stamp_of_lora(self.lora)
        return _opened(self, _stamp_of_folder(self.weights), lora)


@dataclass(frozen=True)
class LatentConsistency(StableDiffusion):
    """With a LoRA of latent consistency models, which has a sampler of its own. An `Inpainter`."""

    sampler: Sampler = "lcm"


@dataclass(frozen=True, eq=False)
class _Look:
    """A picture as the network is shown it."""

    rgb: Array
    """(h, w, 3) float32: where not known, what the painting begins with."""
    known: Array
    """(h, w) bool."""
    corner: tuple[int, int]
    """Where it lies, in a picture of its size."""
    key: tuple[int, ...]
    """From which its noise comes."""


@dataclass(frozen=True, eq=False)
class _Draft:
    """What is painted of a cut, at the size it is painted at last."""

    cut: Cut
    rgb: Array
    """(h, w, 3): the cut, right where known."""
    known: Array
    """(h, w) bool."""
    hole: Array
    """(h, w) bool: where the cut's hole is, disjoint from `known`."""
    picture: Array
    """(h, w, 3): the network's."""


def _whole(cut: Cut, side_px: int, seed: int) -> _Look:
    """All of a cut, at the network's own size; a pixel is known by majority."""
    scale = min(ENLARGED, side_px / cut.longer_side)
    rgb, known = _scaled(cut, scale)
    return _Look(rgb, known, (0, 0), (seed, 0, *cut.corner))


def _scaled(cut: Cut, scale: float) -> tuple[Array, Array]:
    """Colours, 0 where not known, and what is known."""
    if scale == 1:
        return np.where(cut.known[..., None], cut.rgb, np.float32(0)), cut.known
    rgb, share = resized(cut.rgb, cut.known, cut.size_seen(scale))
    known = share > 0.5
    return rgb * known[..., None], known


def _draft(cut: Cut, picture: Array, side_px: int) -> _Draft:
    """The network's picture of all of a cut, at the size at which it is painted at last."""
    scale = min(1.0, TILED_SIDES * side_px / cut.longer_side)
    rgb, known = _scaled(cut, scale)
    hole = cut.hole
    if scale < 1:
        share = cv2.resize(hole.astype(np.float32), rgb.shape[1::-1], interpolation=cv2.INTER_AREA)
        hole = (share > 0) & ~known
    if picture.shape != rgb.shape:
        way = cv2.INTER_AREA if picture.size > rgb.size else cv2.INTER_CUBIC
        picture = np.clip(cv2.resize(picture, rgb.shape[1::-1], interpolation=way), 0, 1)
    return _Draft(cut, rgb, known, hole, np.ascontiguousarray(picture))


def _tiles(draft: _Draft, side_px: int, seed: int) -> Iterator[_Look]:
    """The tiles in which there is something of the hole."""
    whole = np.where(draft.known[..., None], draft.rgb, draft.picture)
    height, width = draft.known.shape
    for top in _starts(height, side_px):
        for left in _starts(width, side_px):
            box = np.s_[top : top + side_px, left : left + side_px]
            if draft.hole[box].any():
                key = (seed, 1, *draft.cut.corner, top, left)
                yield _Look(whole[box], draft.known[box], (top, left), key)


def _starts(length: int, side_px: int) -> list[int]:
    """Where tiles begin along a side, evenly, with at least `OVERLAP` between neighbours."""
    if length <= side_px:
        return [0]
    overlap = round(OVERLAP * side_px)
    count = -(-(length - overlap) // (side_px - overlap))
    return [round(at) for at in np.linspace(0, length - side_px, count)]


def _blended(under: Array, tiles: Sequence[tuple[tuple[int, int], Array]], side_px: int) -> Array:
    """(h, w, 3): tiles at their corners; `under` where there is none."""
    total = np.zeros((*under.shape[:2], 1), np.float32)
    colors = np.zeros_like(under)
    for (top, left), picture in tiles:
        height, width = picture.shape[:2]
        box = np.s_[top : top + height, left : left + width]
        weight = _ramp(height, side_px)[:, None, None] * _ramp(width, side_px)[None, :, None]
        total[box] += weight
        colors[box] += weight * picture
    return np.where(total > 0, colors / np.maximum(total, np.float32(1e-12)), under)


def _ramp(length: int, side_px: int) -> Array:
    """(n,) float32: what a tile counts for along a side, next to nothing in its outer parts."""
    overlap = OVERLAP * side_px
    at = np.arange(length) + 0.5
    inside = np.minimum(at, length - at) - overlap / 2
    return np.clip(inside / (BLEND * overlap) + 0.5, 1e-4, 1).astype(np.float32)


def _fill(draft: _Draft, guide: Array) -> Array:
    """(n, 3): the cut's hole, without a seam.

    Args:
        draft: the network's picture.
        guide: (n, 3) the exemplar fill, for cuts that are larger than their draft.
    """
    cut, picture, hole = draft.cut, draft.picture, draft.hole
    amiss = draft.rgb - picture
    picture[hole] += solve_harmonic(amiss, draft.known, hole, tolerance=1e-3)
    np.clip(picture, 0, 1, out=picture)
    if hole.shape == cut.hole.shape:
        return picture[hole]
    picture = np.where(draft.known[..., None], draft.rgb, picture)
    return with_fine_scales(cut, picture, guide)


@dataclass(frozen=True)
class _Painter:
    """An opened model."""

    title: str
    folder: Path
    pipe: Any
    conditions: "dict[str, Tensor]"
    """What the network knows of the prompt, by the pipeline's arguments, (1, ...) each."""
    place: Literal["cpu", "cuda"]
    precision: str

    @property
    def side_px(self) -> int:
        """Of the square pictures that the network has learnt from."""
        return self.pipe.unet.config.sample_size * self.pipe.vae_scale_factor

    def paint(self, looks: Sequence[_Look], *, strength: float = 1.0) -> list[Array]:
        """Repaint what is not known of each look, (h, w, 3) float32 in 0..1; see `STEPS`.

        Args:
            looks: any number, in batches.
            strength: share of the steps that are done, the last ones; below 1 the painting begins
                with the look's colours under noise.
        """
        pictures: list[Array] = [np.empty(0)] * len(looks)
        for batch in batches([look.known.shape for look in looks]):
            (found,) = run_in_parts(
                lambda part: (self._paint(part, strength),),
                [looks[index] for index in batch],
                title=self.title,
                device=self.place,
            )
            if not np.isfinite(found).all():
                raise InputError(
                    f"{self.folder} is damaged, or cannot be run in {self.precision}: what it "
                    "paints is not a number"
                )
            for index, picture in zip(batch, found, strict=True):
                height, width = looks[index].known.shape
                pictures[index] = picture[:height, :width]
        return pictures

    def _paint(self, looks: Sequence[_Look], strength: float) -> Array:
        """(B, H, W, 3) of looks of one shape."""
        vae = self.pipe.vae
        try:
            return self._run(looks, strength)
        except Exception as error:
            if not is_out_of_memory(error):
                reason = _first_line(error)
                raise InputError(
                    f"{self.folder} has parts that do not fit each other: {reason}"
                ) from error
            if len(looks) > 1 or vae.use_tiling:
                raise
        # Here, where the error's frames hold no tensors any more.
        logger.warning(
            "%s: out of memory on %s, so its autoencoder works in tiles", self.title, self.place
        )
        vae.enable_tiling()
        vae.tile_sample_min_size = self.side_px // 2
        vae.tile_latent_min_size = self.side_px // 2 // self.pipe.vae_scale_factor
        return self._run(looks, strength)

    def _run(self, looks: Sequence[_Look], strength: float) -> Array:
        """See `_paint`."""
        import torch
        from torch.nn.functional import interpolate, max_pool2d

        both = np.stack([padded(np.dstack([look.rgb, ~look.known])) for look in looks])
        rgb, unknown = torch.from_numpy(both).permute(0, 3, 1, 2).split([3, 1], dim=1)
        # The mask is taken at the corners of the latent's cells, which a thin hole may miss.
        factor = self.pipe.vae_scale_factor
        touched = interpolate(max_pool2d(unknown, factor), scale_factor=factor)
        with torch.inference_mode(), _quietly():
            return self.pipe(
                image=rgb,
                mask_image=touched,
                masked_image_latents=(2 * rgb - 1) * (1 - unknown),
                height=rgb.shape[2],
                width=rgb.shape[3],
                strength=strength,
                num_inference_steps=STEPS,
                guidance_scale=1.0,  # none, that is
                generator=[_generator(look.key) for look in looks],
                output_type="np",
                **{
                    name: each.repeat_interleave(len(looks), 0)
                    for name, each in self.conditions.items()
                },
            ).images


def _generator(key: tuple[int, ...]) -> "Generator":
    """On the CPU, where a seed means the same noise for every device."""
    import torch

    entropy = [part % (1 << 64) for part in key]
    state = np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0]
    return torch.Generator("cpu").manual_seed(int(state >> np.uint64(1)))


def _stamp_of_folder(folder: Path) -> tuple[Stamp, ...]:
    """Of a model and its parts; `InputError` if it is no folder."""
    own = stamp(folder, KIND)
    return own, *(stamp(part, KIND) for part in sorted(folder.iterdir()) if part.is_dir())


def _stamp_of_lora(path: Path) -> tuple[int, int]:
    if not path.is_file():
        raise InputError(f"{path} is not there: pass a file of a LoRA's weights, or none")
    stat = path.stat()
    return stat.st_size, stat.st_mtime_ns


@kept(1)
def _opened(model: StableDiffusion, stamps: object, stamp_of_lora: object) -> _Painter:
    """The model, which is another one if any of its files is; the last one is kept."""
    del stamps, stamp_of_lora
    folder = model.weights
    name = read_json(folder / "model_index.json", KIND).get("_class_name")
    if name not in FAMILIES:
        known = " or ".join(FAMILIES.values())
        raise InputError(f"{folder} holds a {name}, and not {known}")
    title = FAMILIES[name]
    try:
        import torch

        with quietly("transformers"):
            diffusers: Any = importlib.import_module("diffusers")
            pipeline: Any = getattr(diffusers, name)  # which imports it
    except ModuleNotFoundError as error:
        raise MissingExtraError(title, "diffusion") from error
    words = [f"{part}{n}" for part in ("tokenizer", "text_encoder") for n in _words(name)]
    for part in ("unet", "vae", "scheduler", *words):
        if not (folder / part).is_dir():
            raise InputError(f"{folder} lacks its folder {part}: pass that of {KIND}")
    place = place_of(title, model.device)
    precision = arithmetic(model.precision, place)
    conditions = _conditions(pipeline, folder, model.prompt, title)
    dtype = torch_dtype(precision)
    variant = _variant(folder / "unet")
    pipe = _load(pipeline, folder, dtype, variant=variant, **dict.fromkeys(words))
    if pipe.unet.config.in_channels != 9:
        raise InputError(
            f"{folder} is no inpainting model: its network takes {pipe.unet.config.in_channels} "
            "channels, and not 9, so it cannot be shown what is known"
        )
    _check_whole(folder / "unet", pipe.unet)
    _check_whole(folder / "vae", pipe.vae)
    if model.lora is not None:
        _fuse(pipe, model.lora)
    with _quietly():
        pipe.scheduler = _scheduler(diffusers, pipe.scheduler.config, model.sampler)
    pipe.unet.to(place, memory_format=torch.channels_last)
    pipe.vae.to(place, memory_format=torch.channels_last)
    pipe.vae.enable_slicing()  # one picture at a time: it takes more memory than the network
    conditions = {name: each.to(place, dtype) for name, each in conditions.items()}
    return _Painter(title, folder, pipe, conditions, place, precision)


def _conditions(pipeline: Any, folder: Path, prompt: str, title: str) -> "dict[str, Tensor]":
    """What the network knows of the prompt; the text encoders are not kept."""
    import torch

    encoders = {}
    for number in _words(pipeline.__name__):
        part = folder / f"text_encoder{number}"
        name = "CLIPTextModelWithProjection" if number else "CLIPTextModel"
        encoders[part.name], _ = load_network(part, name, title, variant=_variant(part))
    pipe = _load(pipeline, folder, torch.float32, unet=None, vae=None, **encoders)
    with torch.inference_mode(), _one_line_errors(folder), _quietly():
        found = pipe.encode_prompt(
            prompt, device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=False
        )
    names = "prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds"
    known = {name: each for name, each in zip(names, found, strict=False) if each is not None}
    if not all(bool(each.isfinite().all()) for each in known.values()):
        raise InputError(f"{folder} is damaged: what it makes of the prompt is not a number")
    return known


def _words(pipeline: str) -> list[str]:
    """What the names of the text encoders end in."""
    return ["", "_2"] if "XL" in pipeline else [""]


def _variant(part: Path) -> str | None:
    """The half-precision files, which are half the download, where there are no others."""
    halves = [path.name for path in part.glob("*.fp16.*")]
    files = (*part.glob("*.bin"), *part.glob("*.safetensors"))
    whole = [path for path in files if path.name not in halves]
    return "fp16" if halves and not whole else None


def _load(pipeline: Any, folder: Path, dtype: Any, **parts: Any) -> Any:
    """The pipeline, made of a folder's files but for the parts given."""
    without = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    if "XL" in pipeline.__name__:
        without = {"add_watermarker": False}
    with _one_line_errors(folder), _quietly():
        pipe = pipeline.from_pretrained(
            folder, dtype=dtype, local_files_only=True, **without, image_encoder=None, **parts
        )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def _check_whole(folder: Path, network: Any) -> None:
    """Raise `InputError` if a network lacks weights."""
    missing = [name for name, parameter in network.named_parameters() if parameter.is_meta]
    if missing:
        raise InputError(
            f"{folder} is damaged or another model's: {len(missing)} weights are missing, such as "
            f"{missing[0]}"
        )


def _fuse(pipe: Any, lora: Path) -> None:
    """Add a LoRA to the network's weights."""
    if importlib.util.find_spec("peft") is None:
        raise MissingExtraError("a LoRA", "diffusion")
    with _one_line_errors(lora, "is damaged, or for another network"), _quietly():
        pipe.load_lora_weights(lora.parent, weight_name=lora.name, local_files_only=True)
        fits = bool(pipe.get_list_adapters())
        pipe.fuse_lora(safe_fusing=True)
        pipe.unload_lora_weights()
    if not fits:
        raise InputError(f"{lora} is no LoRA for this network: it has no weights of its layers")


def _scheduler(diffusers: Any, config: Any, sampler: Sampler) -> Any:
    """The sampler, with the network's own noise."""
    if sampler == "lcm":
        return diffusers.LCMScheduler.from_config(config)
    # The defaults are others: SDXL's files, which are for another sampler, do not say these.
    return diffusers.DDIMScheduler.from_config(
        config, timestep_spacing="trailing", clip_sample=False, set_alpha_to_one=False
    )


@contextlib.contextmanager
def _one_line_errors(path: Path, fault: str = "lacks files or is damaged") -> Iterator[None]:
    """Say in one line what the libraries raise, in a dozen classes without another common base."""
    try:
        yield
    except Exception as error:
        raise InputError(f"{path} {fault}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line), type(error).__name__)


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the libraries' remarks; what goes wrong is raised."""
    with quietly("diffusers"), quietly("transformers"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
