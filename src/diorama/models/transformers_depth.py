"""Depth models that run through the library transformers, from a folder as the hub has them.

The photo and its mirror image are seen together, prepared as each model was trained; disparity is
the photo's own, and confidence falls where the two disagree (`diorama.models.mirrored`). What a
network says is one of three things:

- Depth Anything V2 (Yang et al., 2024), relative, and DPT (Ranftl et al., 2021): disparity up to
  scale and shift.
- Depth Anything V2, metric, and ZoeDepth (Bhat et al., 2023): depth z in metres; disparity 1 / z.
- Depth Pro (Bochkovskii et al., 2024): what disparity in 1/metre would be at a focal length of the
  photo's width, c; with a horizontal field of view a it is ``2 tan(a / 2) c``. The photo tells a,
  or else the network, which guesses it.

The user fetches the weights, each under its own licence: DPT and Depth Anything V2 small
Apache-2.0, ZoeDepth MIT, Depth Anything V2 base and large CC-BY-NC-4.0, Depth Pro Apple's for
research.
"""

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from diorama.arrays import Array, Rgb, check_rgb
from diorama.depth import DepthResult
from diorama.errors import InputError
from diorama.models.mirrored import agreement
from diorama.models.official import (
    Device,
    Precision,
    Room,
    arithmetic,
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
from diorama.models.sky import find_sky
from diorama.photo import Photo
from diorama.runtime import kept

if TYPE_CHECKING:
    from torch import Tensor, nn

KIND = "a depth model"
"""What messages ask for."""

NEAREST_M = 0.01
"""Depth nearer than this counts as this: a network may say 0, and no photo is of that."""

LARGEST = 4.0
"""Most pixels of a look, in those of a square one: a panorama's other side would have no end."""

FOVS_DEG = 1.0, 170.0
"""A guess of the field of view is kept within these."""


@dataclass(frozen=True)
class Preparation:
    """How a photo becomes what a network sees, in the terms of preprocessor_config.json."""

    height: int
    """Pixels the network is meant for."""
    width: int
    multiple: int = 1
    """Both sides are multiples of this."""
    keeps_aspect: bool = False
    """Whether one scale holds for both sides, the one that changes the photo less."""
    mode: Literal["bilinear", "bicubic"] = "bilinear"
    antialias: bool = False
    """Whether what is made smaller is smoothed."""
    align_corners: bool = False
    """Whether the centres of corner pixels stay where they are, rather than the corners."""
    pads: bool = False
    """Whether the photo is continued by its reflection, which is cut off again."""
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    deviation: tuple[float, ...] = (0.5, 0.5, 0.5)

    def padding(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns added on each side of a photo, after ZoeDepth."""
        if not self.pads:
            return 0, 0
        return int(math.sqrt(height / 2) * 3), int(math.sqrt(width / 2) * 3)

    def size_seen(self, height: int, width: int) -> tuple[int, int]:
        """Height and width as the network sees a photo, which is padded already."""
        scales = self.height / height, self.width / width
        if self.keeps_aspect:
            scales = (min(scales, key=lambda scale: abs(1 - scale)),) * 2
        sides = scales[0] * height, scales[1] * width
        excess = sides[0] * sides[1] / (LARGEST * self.height * self.width)
        shrink = 1 / math.sqrt(max(1.0, excess))
        seen = [max(1, round(shrink * s / self.multiple)) * self.multiple for s in sides]
        return seen[0], seen[1]


@dataclass(frozen=True)
class _Family:
    """What is known of models of one kind before a folder is looked at."""

    title: str
    network: str
    """The class of transformers that has the depth head."""
    preparation: Preparation
    """Where preprocessor_config.json does not tell."""


FAMILIES = {
    "depth_anything": _Family(
        "Depth Anything",
        "DepthAnythingForDepthEstimation",
        Preparation(
            518,
            518,
            multiple=14,
            keeps_aspect=True,
            mode="bicubic",
            antialias=True,
            mean=(0.485, 0.456, 0.406),
            deviation=(0.229, 0.224, 0.225),
        ),
    ),
    "depth_pro": _Family("Depth Pro", "DepthProForDepthEstimation", Preparation(1536, 1536)),
    "dpt": _Family("DPT", "DPTForDepthEstimation", Preparation(384, 384, antialias=True)),
    "zoedepth": _Family(
        "ZoeDepth",
        "ZoeDepthForDepthEstimation",
        Preparation(384, 512, multiple=32, keeps_aspect=True, align_corners=True, pads=True),
    ),
}
"""By the `model_type` of config.json."""


@dataclass(frozen=True)
class TransformersDepth:
    """A `diorama.depth.DepthEstimator`."""

    weights: Path
    """A folder with config.json and the weights, as `save_pretrained` or the hub makes it."""
    device: Device = "auto"
    """Where the network runs."""
    precision: Precision = "fp32"
    """Of its arithmetic, but for the last layers: those are in float32, without steps of depth."""

    def estimate(self, photo: Photo) -> DepthResult:
        """Return disparity, affine or metric, with confidence and sky, at the photo's size.

        Raises:
            InputError: the folder is not such a model's, lacks a file or is damaged, or the network
                cannot run so.
            MissingExtraError: transformers is not installed.
        """
        check_rgb(photo.rgb)
        model = self._open()
        ahead, mirrored, guess_deg = model.look(photo.rgb)
        if not np.isfinite([ahead.sum(), mirrored.sum(), guess_deg or 0]).all():
            raise not_a_number(self.weights, model.missing)
        fov_deg = photo.camera.fov_deg
        if guess_deg is not None and not photo.tells_fov:
            fov_deg = guess_deg
        ahead, mirrored = (model.to_disparity(found, fov_deg) for found in (ahead, mirrored))
        height, width = photo.rgb.shape[:2]
        disparity, confidence = (
            model.to_photo(found, height, width) for found in (ahead, agreement(ahead, mirrored))
        )
        return DepthResult(
            disparity,
            model.kind,
            confidence=confidence,
            sky=find_sky(photo.rgb, disparity),
            fov_deg=guess_deg,
        )

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

    title: str
    network: "nn.Module"
    preparation: Preparation
    says: Literal["affine", "depth", "canonical"]
    """What its output is: the module's three kinds."""
    place: str
    precision: Literal["fp32", "bf16", "fp16"]
    """What it computes in."""
    missing: list[str]
    """Its parameters that the weights lack; they are not numbers."""
    room: Room = field(default_factory=Room)
    """For what it is shown."""

    @property
    def kind(self) -> Literal["affine", "metric"]:
        return "affine" if self.says == "affine" else "metric"

    def look(self, rgb: Rgb) -> tuple[Array, Array, float | None]:
        """What the network says of a photo and of its mirror image, mirrored back, each (h, w).

        And, in degrees, the horizontal field of view it guesses.
        """
        import torch

        with torch.inference_mode():
            seen = prepared(rgb, self.preparation, self.place)
            looks = torch.cat([seen, seen.flip(-1)])
            found, fovs = run_in_parts(
                self._run, looks, self.room, title=self.title, device=self.place
            )
        ahead, mirrored = found
        return ahead, mirrored[:, ::-1], float(fovs[0]) if fovs.size else None

    def _run(self, looks: "Tensor") -> tuple[Array, Array]:
        """(B, h, w) float32; and (B,), the fields of view, or (0,) if it does not guess any."""
        import torch

        reduced = self.precision != "fp32"
        with torch.autocast(self.place, torch_dtype(self.precision), enabled=reduced):
            output = self.network(pixel_values=looks)
        fovs = getattr(output, "field_of_view", None)
        fovs = torch.zeros(0) if fovs is None else fovs.flatten().clamp(*FOVS_DEG)
        return output.predicted_depth.float().cpu().numpy(), fovs.float().cpu().numpy()

    def to_disparity(self, found: Array, fov_deg: float) -> Array:
        """(h, w) float32, at least 0: the module's three kinds."""
        if self.says == "affine":
            return np.maximum(found, 0)
        if self.says == "depth":
            return 1 / np.maximum(found, np.float32(NEAREST_M))
        gain = np.float32(2 * math.tan(math.radians(fov_deg) / 2))
        return np.clip(gain * found, 0, 1 / np.float32(NEAREST_M))

    def to_photo(self, found: Array, height: int, width: int) -> Array:
        """(height, width) of (h, w), without what was padded.

        Linear, so that nothing beside an edge becomes farther or nearer than both its sides.
        """
        rows, columns = self.preparation.padding(height, width)
        size = width + 2 * columns, height + 2 * rows
        way = cv2.INTER_AREA if size[0] < found.shape[1] else cv2.INTER_LINEAR
        whole = cv2.resize(np.ascontiguousarray(found), size, interpolation=way)
        return np.ascontiguousarray(whole[rows : rows + height, columns : columns + width])


def prepared(rgb: Rgb, preparation: Preparation, place: str = "cpu") -> "Tensor":
    """(1, 3, h, w) float32 on `place`: a photo as a network sees it."""
    import torch
    from torch.nn.functional import interpolate

    rows, columns = preparation.padding(*rgb.shape[:2])
    if rows or columns:
        border = cv2.BORDER_REFLECT_101
        rgb = cv2.copyMakeBorder(rgb, rows, rows, columns, columns, border)
    seen = torch.from_numpy(np.array(rgb, order="C")).to(place).permute(2, 0, 1)[None]
    seen = interpolate(
        seen,
        preparation.size_seen(*rgb.shape[:2]),
        mode=preparation.mode,
        align_corners=preparation.align_corners,
        antialias=preparation.antialias,
    ).clamp(0, 1)
    mean, deviation = (
        torch.tensor(values, device=place).view(1, 3, 1, 1)
        for values in (preparation.mean, preparation.deviation)
    )
    return (seen - mean) / deviation


def read_preparation(folder: Path, model_type: str) -> Preparation:
    """What preprocessor_config.json says, or else what is usual for such a model.

    Raises:
        InputError: if the file is damaged, or asks for what is not known here.
    """
    usual = FAMILIES[model_type].preparation
    path = folder / "preprocessor_config.json"
    if not path.is_file():
        return usual
    settings = read_json(path, KIND)
    try:
        for step in ("do_resize", "do_rescale", "do_normalize"):
            if not settings.get(step, True):
                raise ValueError(f"{step} is off")
        size = settings.get("size", {"height": usual.height, "width": usual.width})
        if isinstance(size, int):
            size = {"height": size, "width": size}
        modes: dict[int, Literal["bilinear", "bicubic"]] = {2: "bilinear", 3: "bicubic"}
        resample = settings.get("resample")
        return replace(
            usual,
            height=_positive(size["height"]),
            width=_positive(size["width"]),
            multiple=_positive(settings.get("ensure_multiple_of", usual.multiple)),
            keeps_aspect=bool(settings.get("keep_aspect_ratio", usual.keeps_aspect)),
            mode=usual.mode if resample is None else modes[resample],
            pads=usual.pads and bool(settings.get("do_pad", True)),
            mean=triple(settings.get("image_mean", usual.mean)),
            deviation=triple(settings.get("image_std", usual.deviation)),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path} asks for what is not known here: {error!r}") from error


def _positive(value: Any) -> int:
    if not isinstance(value, int) or value < 1:
        raise ValueError(f"{value!r} where a number of pixels should be")
    return value


@kept(1)
def _opened(folder: Path, files: Stamp, device: Device, precision: Precision) -> _Model:
    """The model of a folder; the last one is kept."""
    del files
    config = read_json(folder / "config.json", KIND)
    model_type = config.get("model_type")
    if model_type not in FAMILIES:
        known = ", ".join(family.title for family in FAMILIES.values())
        raise InputError(f"{folder} holds a model of type {model_type!r}, and not {known}")
    family = FAMILIES[model_type]
    heads = config.get("architectures") or [family.network]
    if family.network not in heads:
        raise InputError(f"{folder} is for another task than depth: it holds {', '.join(heads)}")
    preparation = read_preparation(folder, model_type)
    place = place_of(family.title, device)
    chosen = arithmetic(precision, place)
    network, missing = load_network(folder, family.network, family.title)
    network.to(place)
    if chosen != "fp32":
        _keep_heads_precise(network, place)
    says = "affine"
    if model_type == "depth_pro":
        says = "canonical"
    elif model_type == "zoedepth" or config.get("depth_estimation_type") == "metric":
        says = "depth"
    return _Model(family.title, network, preparation, says, place, chosen, missing)


def _keep_heads_precise(network: Any, place: str) -> None:
    """Let what turns features into depth compute in float32: bfloat16 has 128 steps an octave."""
    import torch

    def exact(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return type(value)(exact(each) for each in value)
        return value.float() if isinstance(value, torch.Tensor) else value

    def in_float32(forward: Any) -> Any:
        def run(*args: Any, **kwargs: Any) -> Any:
            with torch.autocast(place, enabled=False):
                return forward(*exact(args), **{name: exact(v) for name, v in kwargs.items()})

        return run

    for name in ("head", "relative_head", "metric_head"):
        if (head := getattr(network, name, None)) is not None:
            head.forward = in_float32(head.forward)
