"""SAM and SAM 2 through the library transformers: masks of what is pointed at, and of everything.

SAM (Kirillov et al., "Segment anything", 2023) sees a photo whose long side is 1024 pixels, filled
up to a square; SAM 2 (Ravi et al., "SAM 2: Segment anything in images and videos", 2024) sees it
stretched to one. Seeing takes seconds on a CPU, an answer a fraction of one.

The user fetches the weights of either, by Meta, under Apache-2.0.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from diorama.arrays import Alpha, Array, Disparity, Rgb, check_disparity, check_rgb
from diorama.errors import InputError
from diorama.masks import Masks, Prompt
from diorama.models.everything import EverythingConfig, partition_everything
from diorama.models.official import (
    Device,
    Precision,
    Room,
    arithmetic,
    is_out_of_memory,
    place_of,
    run_in_parts,
    torch_dtype,
)
from diorama.models.pretrained import (
    Stamp,
    load_network,
    not_a_number,
    read_json,
    stamp,
    triple,
)
from diorama.models.prompted import Seen, coordinates, fitted, resized
from diorama.models.region_merging import RegionMerging
from diorama.photo import Photo
from diorama.runtime import kept

KIND = "a SAM or SAM 2 model"
"""What messages ask for."""

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of colours, if preprocessor_config.json does not tell."""

AT_ONCE = {"cpu": 16, "cuda": 64}
"""Prompts that are answered together, with about 40 MB each while they are."""


@dataclass(frozen=True)
class _Family:
    """What is known of models of one kind before a folder is looked at."""

    title: str
    network: str
    """The class of transformers."""
    stretched: bool
    """Whether the photo is stretched to a square, rather than filled up."""
    config: EverythingConfig
    """What the authors keep of everything."""


SAM = _Family("SAM", "SamModel", stretched=False, config=EverythingConfig())
SAM_2 = _Family("SAM 2", "Sam2Model", stretched=True, config=EverythingConfig(min_iou=0.8))

FAMILIES = {"sam": SAM, "sam2": SAM_2, "sam2_video": SAM_2}
"""By the `model_type` of config.json; the official SAM 2 can follow things through videos, too."""


@dataclass(frozen=True)
class Sam:
    """A `diorama.masks.Segmenter` and `diorama.masks.PromptedSegmenter`."""

    weights: Path
    """A folder with config.json and the weights, as `save_pretrained` or the hub makes it."""
    device: Device = "auto"
    """Where the network runs."""
    precision: Precision = "auto"
    """Of what sees the photo; answers are in float32, for the edge of a mask is where large sums
    cancel."""
    config: EverythingConfig | None = None
    """What is kept of everything; None: what the model's authors keep."""

    def look(self, photo: Photo) -> Seen:
        """See a photo once, to answer prompts about it.

        Raises:
            InputError: the folder is not such a model's, lacks a file or is damaged, or the network
                cannot run so.
            MissingExtraError: transformers is not installed.
        """
        check_rgb(photo.rgb)
        return self._open().look(photo.rgb)

    def segment(self, photo: Photo, disparity: Disparity, edges: Alpha | None = None) -> Masks:
        """Return a partition of the photo into everything, filled up by the embedded segmenter.

        Raises:
            InputError: as `look`, or if photo, disparity and edges differ in size.
            MissingExtraError: transformers is not installed.
        """
        check_disparity(disparity, like=photo.rgb)
        seen = self.look(photo)
        rest = RegionMerging().segment(photo, disparity, edges).labels
        return partition_everything(seen, rest, self.config or self._open().family.config)

    @property
    def runs_as(self) -> str:
        """Where and in what the network runs here."""
        model = self._open()
        return f"{model.place} {model.precision}"

    def _open(self) -> "_Model":
        return _opened(self.weights, stamp(self.weights, KIND), self.device, self.precision)


@dataclass(frozen=True)
class _Model:
    """An opened network."""

    folder: Path
    family: _Family
    network: Any
    side: int
    """Of the square that it sees."""
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    place: str
    precision: str
    missing: list[str]
    """Its parameters that the weights lack; they are not numbers."""
    room: Room
    """For prompts that are answered together; less once memory has run out."""

    def look(self, rgb: Rgb) -> Seen:
        import torch

        height, width = rgb.shape[:2]
        size = (self.side, self.side) if self.family.stretched else fitted(height, width, self.side)
        pixels = torch.from_numpy(self.prepared(rgb, size)).to(self.place)
        reduced = self.precision != "fp32"
        try:
            with (
                torch.inference_mode(),
                torch.autocast(self.place, torch_dtype(self.precision), enabled=reduced),
            ):
                embedding: Any = self.network.get_image_embeddings(pixels)
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            rather = "" if self.place == "cpu" else ", or pass --device cpu"
            raise InputError(
                f"{self.family.title} does not fit into the memory of {self.place}: choose a "
                f"smaller model{rather}"
            ) from error
        if isinstance(embedding, list):  # SAM 2's are of three sizes, the smallest last
            embedding = [features.float() for features in embedding]
            smallest = embedding[-1]
        else:
            smallest = embedding = embedding.float()
        if not torch.isfinite(smallest).all():
            raise not_a_number(self.folder, self.missing)
        # Logits are four times as fine as these.
        rows, columns = (4 * smallest.shape[-1] * seen / self.side for seen in size)
        scales = size[0] / height, size[1] / width
        return Seen(height, width, (rows, columns), partial(self.predict, embedding, scales))

    def prepared(self, rgb: Rgb, size: tuple[int, int]) -> Array:
        """(1, 3, side, side) float32: a photo as the network sees it, at `size` within."""
        seen = np.zeros((self.side, self.side, 3), np.float32)
        colors = resized(rgb, *size) / np.float32(255)
        seen[: size[0], : size[1]] = (colors - self.mean) / self.deviation
        return np.ascontiguousarray(seen.transpose(2, 0, 1)[None])

    def predict(
        self, embedding: Any, scales: tuple[float, float], prompts: Sequence[Prompt], several: bool
    ) -> tuple[Array, Array]:
        """A `diorama.models.prompted.Predict`."""
        logits, scores = run_in_parts(
            lambda rows: self._answer(embedding, scales, [prompts[i] for i in rows], several),
            np.arange(len(prompts)),
            self.room,
            title=self.family.title,
            device=self.place,
        )
        if not (np.isfinite(logits.sum()) and np.isfinite(scores.sum())):
            raise not_a_number(self.folder, self.missing)
        return logits, scores

    def _answer(
        self, embedding: Any, scales: tuple[float, float], prompts: Sequence[Prompt], several: bool
    ) -> tuple[Array, Array]:
        import torch

        points, labels, boxes = coordinates(prompts, scales)
        inputs = {}
        if points.shape[1]:
            inputs |= {"input_points": points, "input_labels": labels}
        if boxes is not None:
            inputs["input_boxes"] = boxes
        with torch.inference_mode():
            output = self.network(
                image_embeddings=embedding,
                multimask_output=several,
                **{k: torch.from_numpy(v)[None].to(self.place) for k, v in inputs.items()},
            )
        return output.pred_masks[0].cpu().numpy(), output.iou_scores[0].cpu().numpy()


@kept(1)
def _opened(folder: Path, files: Stamp, device: Device, precision: Precision) -> _Model:
    """The model of a folder; the last one is kept."""
    del files
    config = read_json(folder / "config.json", KIND)
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        raise InputError(f"{folder} holds a model of type {model_type!r}, and not SAM or SAM 2")
    family = FAMILIES[model_type]
    mean, deviation = _read_colors(folder)
    loaded, missing = load_network(folder, family.network, family.title)
    place = place_of(family.title, device)
    network: Any = loaded.to(place)
    side = network.config.prompt_encoder_config.image_size
    if not isinstance(side, int):
        raise InputError(f"{folder} sees photos of {side} pixels, and not of one size")
    return _Model(
        folder,
        family,
        network,
        side,
        mean,
        deviation,
        place,
        arithmetic(precision, place),
        missing,
        Room(AT_ONCE[place]),
    )


def _read_colors(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation of colours, by preprocessor_config.json if there is one."""
    path = folder / "preprocessor_config.json"
    settings = read_json(path, KIND) if path.is_file() else {}
    try:
        return (
            triple(settings.get("image_mean", MEAN)),
            triple(settings.get("image_std", DEVIATION)),
        )
    except (TypeError, ValueError) as error:
        raise InputError(f"{path} asks for what is not known here: {error!r}") from error
