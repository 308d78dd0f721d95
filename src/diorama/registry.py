"""The registry: every swappable model as one entry of data.

`diorama models`, the documentation's table and the error messages read the same entries.
"""

import importlib
import inspect
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from diorama.errors import InputError, MissingExtraError, UnknownNameError
from diorama.extras import EXTRAS, check_extra, has_extra
from diorama.files import file_hash
from diorama.licences import accept, accepted
from diorama.runtime import Device, Precision, devices
from diorama.weights import WeightFile, Weights, find_problem, hashes, locate, megabytes

Task = Literal["depth", "segmenter", "inpainter", "matte", "faces"]

logger = logging.getLogger(__name__)

DATA = Path(__file__).parent / "data"
"""What comes with the package."""


@dataclass(frozen=True)
class ModelEntry:
    """One model that can be chosen by name."""

    name: str
    task: Task
    summary: str
    """One sentence."""
    target: str
    """Where it is built: "module:attribute", called without arguments, or with `weights`, the path
    of its file or folder, if it has `weights`."""
    licence: str
    """SPDX identifier, or name, of its code and weights."""
    commercial: bool = True
    """Whether the licence allows commercial use; where not, somebody has to accept it first."""
    attribution: str | None = None
    """Whom to name, and where code and licence are."""
    caveat: str | None = None
    """What else there is to know of the licence, in sentences."""
    extra: str | None = None
    """The extra that installs what it needs; None if the base install does."""
    packaged: str | None = None
    """The file of its weights in `diorama.data`; None if it has none there."""
    precision: Precision | None = None
    """What its network computes in, if its file leaves no choice."""
    weights: Weights | None = None
    """What `diorama models pull` fetches; None if there is nothing to fetch."""
    memory_mb: int | None = None
    """About what `diorama photo` holds at most with it, for a photo of 1920 pixels on the CPU."""

    @property
    def fingerprint(self) -> str | None:
        """The weights' names and hashes, such as "embedded.onnx sha256:0123456789abcdef".

        None if it has no weights, or they are not pulled.

        Raises:
            InputError: if packaged ones are missing.
        """
        if self.packaged is not None:
            path = DATA / self.packaged
            try:
                digests = {self.packaged: file_hash(path)}
            except OSError as error:
                raise InputError(f"{path} cannot be read: install diorama again") from error
        else:
            digests = {} if self.weights is None else hashes(self.weights)
        return ", ".join(f"{name} sha256:{h[:16]}" for name, h in digests.items()) or None


_entries: dict[tuple[Task, str], ModelEntry] = {}


def register(entry: ModelEntry) -> None:
    """Add a model; the same name registered twice for a task is an error."""
    key = (entry.task, entry.name)
    if key in _entries and _entries[key] != entry:
        raise InputError(f"a {entry.task} named {entry.name!r} is registered already")
    _entries[key] = entry


def entries(task: Task | None = None) -> list[ModelEntry]:
    """All models, or those of one task, in the order they were registered."""
    return [e for e in _entries.values() if task in (None, e.task)]


def find(task: Task, name: str) -> ModelEntry:
    """The entry of this name, or `UnknownNameError` with the nearest one."""
    if (task, name) not in _entries:
        elsewhere = [e.task for e in entries() if e.name == name]
        also = f"while {name!r} is for --{elsewhere[0]}" if elsewhere else ""
        raise UnknownNameError(task, name, [e.name for e in entries(task)], also=also)
    return _entries[task, name]


def find_all(name: str) -> list[ModelEntry]:
    """The entries of this name, one for each task, or `UnknownNameError` with the nearest name."""
    found = [entry for entry in entries() if entry.name == name]
    if not found:
        raise UnknownNameError("model", name, {entry.name for entry in entries()})
    return found


def load(
    task: Task,
    name: str,
    *,
    device: Device = "auto",
    precision: Precision = "auto",
    prompt: str = "",
) -> Any:
    """Build the model of this name; nothing is downloaded.

    Args:
        task: what it is for.
        name: as it is registered.
        device: where its network is to run; "auto" leaves that to the model.
        precision: of its network's arithmetic; "auto" leaves that to the model. One that has no
            choice keeps its own, which is logged; one without a network has none.
        prompt: what an inpainter is to paint, in words; one that reads none is logged.

    Raises:
        UnknownNameError: if there is none.
        InputError: if its weights are not here or damaged, its licence was not accepted, or it
            cannot run as it is asked to.
        MissingExtraError: if the extra it needs is not installed.
    """
    entry = find(task, name)
    arguments: dict[str, Any] = {}
    if entry.weights is not None:
        if (problem := find_problem(entry.weights)) is not None:
            raise InputError(f"{task} {name!r}: {problem}; {_way_out(entry)}")
        arguments["weights"] = locate(entry.weights)
        if entry.weights.lora is not None:
            arguments["lora"] = locate(entry.weights.lora)
    check_accepted(entry)
    if entry.extra in EXTRAS:
        check_extra(entry.extra, f"{task} {name!r}")
    try:
        arguments |= _settings(entry, {"device": device, "precision": precision})
        target = _target(entry)
        if prompt and "prompt" in inspect.signature(target).parameters:
            arguments["prompt"] = prompt
        elif prompt and task == "inpainter":
            _say_once(f"{name!r} reads no words: --prompt does not change it")
        return target(**arguments)
    except ModuleNotFoundError as error:
        if entry.extra is None:
            raise
        raise MissingExtraError(f"{task} {name!r}", entry.extra) from error


def is_at_hand(entry: ModelEntry) -> bool:
    """Whether `load` would find its weights and the extra it needs."""
    if entry.extra in EXTRAS and not has_extra(entry.extra):
        return False
    return entry.weights is None or find_problem(entry.weights) is None


def choices(entry: ModelEntry) -> dict[str, tuple[str, ...]]:
    """What "device" and "precision" may be for a model here; one that it does not take is left out.

    Of devices those that ONNX Runtime or torch knows; whether there is such a GPU shows when the
    model runs.
    """
    parameters = inspect.signature(_target(entry)).parameters
    found = {}
    for setting in ("device", "precision"):
        if setting in parameters:
            allowed = get_args(parameters[setting].annotation)
            found[setting] = tuple(choice for choice in allowed if choice != "auto")
    if "device" in found:
        files = () if entry.weights is None else entry.weights.files
        by_onnx = entry.packaged is not None or any(file.name.endswith(".onnx") for file in files)
        able = devices() if by_onnx else ("cpu", "cuda")
        found["device"] = tuple(device for device in found["device"] if device in able)
    return found if entry.precision is None else {**found, "precision": (entry.precision,)}


def check_accepted(entry: ModelEntry) -> None:
    """Raise `InputError` if the model forbids commercial use and nobody has accepted that yet."""
    if not entry.commercial and entry.licence not in accepted():
        where = f" ({entry.attribution})" if entry.attribution else ""
        raise InputError(
            f"{entry.task} {entry.name!r} is not for commercial use: read its licence, "
            f"{entry.licence}{where}, then pass --accept-licence {entry.licence} once"
        )


def accept_licences(names: Iterable[str]) -> None:
    """Accept licences of models that forbid commercial use, for good.

    Raises:
        UnknownNameError: if no model asks for one of this name.
        OutputError: if that cannot be written down.
    """
    asked = {entry.licence for entry in entries() if not entry.commercial}
    chosen = list(names)
    for name in chosen:
        if name not in asked:
            raise UnknownNameError("licence to accept", name, asked)
    accept(chosen)


def _target(entry: ModelEntry) -> Callable[..., Any]:
    module, _, attribute = entry.target.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _settings(entry: ModelEntry, wanted: dict[str, str]) -> dict[str, str]:
    """The arguments among `wanted` that a model takes.

    Raises:
        InputError: if it has another choice than what is wanted.
    """
    asked = {setting: value for setting, value in wanted.items() if value != "auto"}
    if not asked:
        return {}
    known = choices(entry)
    has_network = entry.weights is not None or entry.packaged is not None
    taken = {}
    for setting, value in asked.items():
        allowed = known.get(setting, ())
        if len(allowed) > 1 and value not in allowed:
            raise InputError(
                f"{entry.task} {entry.name!r} takes --{setting} {', '.join(allowed[:-1])} or "
                f"{allowed[-1]}, but not {value}: pass one of these, or auto"
            )
        if len(allowed) > 1:
            taken[setting] = value
        elif has_network and value not in allowed:
            way = {"device": "runs on", "precision": "computes in"}[setting]
            own = f"{way} {allowed[0]} alone" if allowed else f"has no choice of {setting}"
            _say_once(f"{entry.name!r} {own}: --{setting} {value} does not change it")
    return taken


@cache
def _say_once(line: str) -> None:
    logger.warning("%s", line)


def _way_out(entry: ModelEntry) -> str:
    assert entry.weights is not None
    size = f"{megabytes(entry.weights.size)}, " if entry.weights.size else ""
    rather = ""
    if (entry.task, "embedded") in _entries:
        rather = f", --{entry.task} embedded works without"
    return f"`diorama models pull {entry.name}` gets them ({size}{entry.licence}){rather}"


def _transformers_depth(
    name: str,
    summary: str,
    source: str,
    revision: str,
    weights: WeightFile,
    *,
    licence: str,
    attribution: str,
    commercial: bool = True,
    caveat: str | None = None,
) -> ModelEntry:
    """A depth model on the hub that runs through transformers."""
    settings = (WeightFile("config.json", 2_000), WeightFile("preprocessor_config.json", 500))
    return ModelEntry(
        name,
        "depth",
        summary,
        "diorama.models.transformers_depth:TransformersDepth",
        licence,
        commercial=commercial,
        attribution=attribution,
        caveat=caveat,
        extra="models",
        weights=Weights(name, source, (weights, *settings), revision),
    )


DEPTH_ANYTHING = {
    ("", "small"): "32d03942121d29edb49de4e2cc15831558af3f36",
    ("", "base"): "b1958afc87fb45a9e3746cb387596094de553ed8",
    ("", "large"): "a09be6a977d1542c44e3f832884165db49426be1",
    ("indoor", "small"): "4d5187ef4957085a714f15b6ae43230a8b813c03",
    ("indoor", "base"): "c6d9784685727bfc6d0a7b5452ce94afaee1e7f5",
    ("indoor", "large"): "1a3e39936c6c794bb2dfb531f0ff9f5eafc3a283",
    ("outdoor", "small"): "fd2c22027eaf20374204f14099b8341e1925ad39",
    ("outdoor", "base"): "5b575fded0346068343a6d96d0ce3ab6dbc9fb49",
    ("outdoor", "large"): "f79cc1bbf3f54d8d5737789127a6e88f49c13bd7",
}
"""Revisions of Depth Anything V2: relative, or metric for where photos are from; and sizes."""


def _depth_anything(place: str, size: str) -> ModelEntry:
    megabytes = {"small": 99, "base": 390, "large": 1340}[size]
    free = size == "small"
    metric = f"Metric-{place.title()}-" if place else ""
    return _transformers_depth(
        "-".join(["depth-anything-v2", *([place] if place else []), size]),
        f"Depth Anything V2, {size}: "
        + (f"depth in metres, {place}s." if place else "relative depth of any photo."),
        f"depth-anything/Depth-Anything-V2-{metric}{size.title()}-hf",
        DEPTH_ANYTHING[place, size],
        WeightFile("model.safetensors", megabytes * 1_000_000),
        licence="Apache-2.0" if free else "CC-BY-NC-4.0",
        commercial=free,
        attribution=(
            "Depth Anything V2 (Yang et al., 2024), "
            "https://github.com/DepthAnything/Depth-Anything-V2"
        ),
        caveat=(
            "Its repository names licences by size; the cards of metric models say Apache-2.0, or "
            "nothing."
            if place
            else None
        ),
    )


OPEN_RAIL = (
    "Open RAIL licences allow commercial use. They forbid the ends that their attachment lists, "
    "and whoever passes the weights on has to pass these terms on."
)


def _diffusion(
    name: str,
    summary: str,
    source: str,
    revision: str,
    sizes: dict[str, int],
    lora: Weights,
    *,
    licence: str,
    attribution: str,
    memory_mb: int | None = None,
) -> ModelEntry:
    """An inpainting model on the hub that runs through diffusers, with its half-precision files.

    `sizes` has the bytes of its networks, by the names of their folders.
    """
    files = [
        WeightFile("model_index.json", 600),
        WeightFile("scheduler/scheduler_config.json", 400),
    ]
    for part, size in sizes.items():
        kind = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model"
        files.append(WeightFile(f"{part}/config.json", 1_000))
        files.append(WeightFile(f"{part}/{kind}.fp16.safetensors", size))
        if part.startswith("text_encoder"):
            words = part.replace("text_encoder", "tokenizer")
            files.append(WeightFile(f"{words}/merges.txt", 525_000))
            files.append(WeightFile(f"{words}/special_tokens_map.json", 472))
            files.append(WeightFile(f"{words}/tokenizer_config.json", 800))
            files.append(WeightFile(f"{words}/vocab.json", 1_060_000))
    return ModelEntry(
        name,
        "inpainter",
        summary,
        "diorama.models.diffusion:LatentConsistency",
        licence,
        attribution=(
            f"{attribution}; LCM-LoRA (Luo et al., 2023), https://huggingface.co/{lora.source}"
        ),
        caveat=OPEN_RAIL,
        extra="diffusion",
        weights=Weights(name, source, tuple(files), revision, lora),
        memory_mb=memory_mb,
    )


def _sam(
    name: str,
    summary: str,
    source: str,
    revision: str,
    size: int,
    sha256: str | None = None,
    *,
    memory_mb: int | None = None,
) -> ModelEntry:
    """A SAM or SAM 2 on the hub that runs through transformers."""
    paper, code = (
        ("SAM 2 (Ravi et al., 2024)", "sam2")
        if name.startswith("sam2")
        else ("SAM (Kirillov et al., 2023)", "segment-anything")
    )
    files = (
        WeightFile("model.safetensors", size, sha256),
        WeightFile("config.json", 6_000),
        WeightFile("preprocessor_config.json", 700),
    )
    return ModelEntry(
        name,
        "segmenter",
        summary,
        "diorama.models.sam:Sam",
        "Apache-2.0",
        attribution=f"{paper}, Meta, https://github.com/facebookresearch/{code}",
        extra="models",
        weights=Weights(name, source, files, revision),
        memory_mb=memory_mb,
    )


for _entry in (
    ModelEntry(
        "embedded",
        "depth",
        "Our own small network: depth, its edges, people and confidence, on any CPU.",
        "diorama.models.embedded:EmbeddedDepth",
        "Apache-2.0",
        packaged="embedded.onnx",
        precision="int8",
    ),
    ModelEntry(
        "embedded",
        "segmenter",
        "Over-segmentation and region merging on colour, texture, depth and its edges: no weights.",
        "diorama.models.region_merging:RegionMerging",
        "Apache-2.0",
    ),
    ModelEntry(
        "embedded",
        "inpainter",
        "Multi-scale exemplar fill (PatchMatch): no weights.",
        "diorama.models.exemplar:Exemplar",
        "Apache-2.0",
    ),
    ModelEntry(
        "embedded",
        "matte",
        "People, by the network that estimates depth.",
        "diorama.models.embedded:EmbeddedMatte",
        "Apache-2.0",
        packaged="embedded.onnx",
        precision="int8",
    ),
    ModelEntry(
        "u2net-human",
        "matte",
        "U2-Net trained on people: sharper mattes, in a second.",
        "diorama.models.u2net:U2NetHuman",
        "Apache-2.0",
        attribution="U2-Net (Qin et al., 2020), https://github.com/xuebinqin/U-2-Net, by rembg",
        weights=Weights(
            "u2net-human",
            "https://github.com/danielgatis/rembg/releases/download/v0.0.0",
            (
                WeightFile(
                    "u2net_human_seg.onnx",
                    size=176_000_000,
                    sha256="01eb6a29a5c4d8edb30b56adad9bb3a2a0535338e480724a213e0acfd2d1c73c",
                ),
            ),
        ),
        precision="fp32",
    ),
    ModelEntry(
        "cascade",
        "faces",
        "A cascade of local binary patterns that comes with scikit-image: upright, frontal faces.",
        "diorama.models.faces:Cascade",
        "BSD-3-Clause",
        extra="portrait",
    ),
    ModelEntry(
        "yunet",
        "faces",
        "YuNet: faces from any side, with eyes, nose and mouth, in milliseconds.",
        "diorama.models.faces:YuNet",
        "MIT",
        attribution="YuNet (Wu et al., 2023), https://github.com/opencv/opencv_zoo",
        weights=Weights(
            "yunet",
            "https://github.com/opencv/opencv_zoo/raw/main/models/face_detection_yunet",
            (
                WeightFile(
                    "face_detection_yunet_2023mar.onnx",
                    size=232_589,
                    sha256="8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
                ),
            ),
        ),
    ),
    ModelEntry(
        "midas-small",
        "depth",
        "MiDaS v2.1 small: relative depth of any photo, fast.",
        "diorama.models.midas:Midas",
        "MIT",
        attribution="MiDaS (Ranftl et al., 2020), Intel ISL, https://github.com/isl-org/MiDaS",
        caveat="The weights are release files of the repository, without a licence of their own.",
        extra="models",
        weights=Weights(
            "midas-small",
            "https://github.com/isl-org/MiDaS/releases/download/v2_1",
            (WeightFile("midas_v21_small_256.pt", size=85_761_505),),
        ),
        memory_mb=1200,
    ),
    *(_depth_anything(place, size) for place, size in DEPTH_ANYTHING),
    _transformers_depth(
        "depth-pro",
        "Depth Pro: depth in metres, with sharp edges; slow without a GPU.",
        "apple/DepthPro-hf",
        "3a8b51229207764e5215b31f47fac0d1a049d563",
        WeightFile("model.safetensors", 1_900_000_000),
        licence="Apple-AMLR",
        commercial=False,
        attribution=(
            "Depth Pro (Bochkovskii et al., 2024), Apple, https://huggingface.co/apple/DepthPro"
        ),
        caveat=(
            "The hub's page names Apple's licence for research models; the code's repository, "
            "Apple's sample code licence, which has no such limit."
        ),
    ),
    _transformers_depth(
        "dpt-large",
        "DPT-Large (MiDaS 3.0): relative depth of any photo.",
        "Intel/dpt-large",
        "bc15f29aa3a80d532f2ed650b5e16ac48d8958f9",
        WeightFile("model.safetensors", 1_370_000_000),
        licence="Apache-2.0",
        attribution="DPT (Ranftl et al., 2021), Intel ISL, https://github.com/isl-org/DPT",
    ),
    _transformers_depth(
        "dpt-hybrid",
        "DPT-Hybrid (MiDaS 3.0): relative depth of any photo, in a third of the weights.",
        "Intel/dpt-hybrid-midas",
        "11eaf7a1cf4bd70740697dbc216f98980c0aeb03",
        WeightFile("pytorch_model.bin", 490_000_000),
        licence="Apache-2.0",
        attribution="DPT (Ranftl et al., 2021), Intel ISL, https://github.com/isl-org/DPT",
    ),
    _transformers_depth(
        "zoedepth",
        "ZoeDepth: depth in metres, indoors and outdoors.",
        "Intel/zoedepth-nyu-kitti",
        "f364d4c7936e91f465abba182208dd68142bf0ca",
        WeightFile("model.safetensors", 1_380_000_000),
        licence="MIT",
        attribution="ZoeDepth (Bhat et al., 2023), Intel ISL, https://github.com/isl-org/ZoeDepth",
    ),
    ModelEntry(
        "mobile-sam",
        "segmenter",
        "MobileSAM: everything in a photo, and what is pointed at, by a small network.",
        "diorama.models.mobile_sam:MobileSam",
        "Apache-2.0",
        attribution=(
            "MobileSAM (Zhang et al., 2023), https://github.com/ChaoningZhang/MobileSAM, after "
            "SAM by Meta, as ONNX by Acly"
        ),
        caveat="The weights are under Apache-2.0; their export to ONNX is under MIT.",
        weights=Weights(
            "mobile-sam",
            # Not by the hub's client, which the base install lacks.
            "https://huggingface.co/Acly/MobileSAM/resolve/"
            "0d3b403339b4674a82493d5e97964dd78089ddc8",
            (
                WeightFile(
                    "mobile_sam_image_encoder.onnx",
                    size=28_157_093,
                    sha256="580f5fb648ea1062c0aabc26217aed56921985f03f0cbbd852bba81d760cc749",
                ),
                WeightFile(
                    "sam_mask_decoder_multi.onnx",
                    size=16_496_559,
                    sha256="8976b90a87ba50a6a72217a5ff994f7d25ce16f2229fcc1ed259e1294c622ffe",
                ),
            ),
        ),
        precision="fp32",
    ),
    _sam(
        "sam2-tiny",
        "SAM 2.1, tiny: everything in a photo, and what is pointed at.",
        "facebook/sam2.1-hiera-tiny",
        "de431c4043854a71d8101e17995dfe596bf101a5",
        155_908_064,
        "48c14467e5cf9e51870511feb72c89688e82dd74523142c0538b663e193ac2a7",
        memory_mb=1900,
    ),
    _sam(
        "sam2-small",
        "SAM 2.1, small.",
        "facebook/sam2.1-hiera-small",
        "ee5bba1d82bb8749febdf90f45e84b687142ba03",
        184_305_280,
        "0a4067b11ce1e23d5229203f11c718a823060d15a4b23fa2372a7d4b77cbbc60",
    ),
    _sam(
        "sam2-base-plus",
        "SAM 2.1, base plus.",
        "facebook/sam2.1-hiera-base-plus",
        "b7320756a13354e7530a63935656d35b2f91a290",
        323_476_296,
        "2012733a0de5d03efd1bba550a2847c4551be9ef2e0d497c83074df66189f780",
    ),
    _sam(
        "sam2-large",
        "SAM 2.1, large: the best masks; slow without a GPU.",
        "facebook/sam2.1-hiera-large",
        "665f8e2ad61cf5f53d65644ff27c8ee525124610",
        898_000_000,
        "dc407dce21301fd94abb395c5099b4f2c455fdc8a8f261ac3d0ea6d4cd197230",
    ),
    _sam(
        "sam-base",
        "SAM, base: the first of its kind, and slower than SAM 2.",
        "facebook/sam-vit-base",
        "70c1a07f894ebb5b307fd9eaaee97b9dfc16068f",
        375_000_000,
        memory_mb=2800,
    ),
    _sam(
        "sam-large",
        "SAM, large.",
        "facebook/sam-vit-large",
        "6851e0441005b0fb96f2cc4dfac472f3d1b14af1",
        1_250_000_000,
    ),
    _sam(
        "sam-huge",
        "SAM, huge; slow without a GPU.",
        "facebook/sam-vit-huge",
        "87aecf0df4ce6b30cd7de76e87673c49644bdf67",
        2_564_000_000,
        "edfb0462392541fca9af44ff039bfb32dbd0c939997f3abb77a26e23af7afd7c",
    ),
    ModelEntry(
        "lama",
        "inpainter",
        "LaMa (big-lama): fills large holes, and goes on with what repeats.",
        "diorama.models.lama:Lama",
        "Apache-2.0",
        attribution=(
            "LaMa (Suvorov et al., 2021), Samsung Research, https://github.com/advimman/lama"
        ),
        caveat=(
            "The weights have no licence file; their authors say that the code's covers them. They "
            "learned from Places, whose photos are for research."
        ),
        extra="models",
        weights=Weights(
            "lama",
            "smartywu/big-lama",
            (
                WeightFile(
                    "big-lama.zip",
                    size=381_428_720,
                    sha256="f1b358ca24093b93a106183b98a3dea6e8ed09f3b43ea7251eb2c81e7b4575f6",
                ),
            ),
            revision="05cb2be7f8dbe6ca7c6e78f4fc827a4b2baaa4a9",
        ),
        memory_mb=1600,
    ),
    _diffusion(
        "sd-inpainting",
        "Stable Diffusion 1.5 inpainting in four steps: invents what may have been there.",
        "stable-diffusion-v1-5/stable-diffusion-inpainting",
        "8a4288a76071f7280aedbdb3253bdb9e9d5d84bb",
        {"text_encoder": 246_000_000, "unet": 1_720_000_000, "vae": 167_000_000},
        Weights(
            "lcm-lora-sd",
            "latent-consistency/lcm-lora-sdv1-5",
            (
                WeightFile(
                    "pytorch_lora_weights.safetensors",
                    size=134_621_556,
                    sha256="8f90d840e075ff588a58e22c6586e2ae9a6f7922996ee6649a7f01072333afe4",
                ),
            ),
            "cf2fced511dbe7e26c8d1d397e728fbab875db4b",
        ),
        licence="CreativeML-OpenRAIL-M AND CreativeML-OpenRAIL++-M",
        attribution=(
            "Stable Diffusion (Rombach et al., 2022), CompVis and Runway, "
            "https://huggingface.co/stable-diffusion-v1-5/stable-diffusion-inpainting"
        ),
        memory_mb=5700,
    ),
    _diffusion(
        "sdxl-inpainting",
        "SDXL inpainting in four steps: finer, for large holes; slow without a GPU.",
        "diffusers/stable-diffusion-xl-1.0-inpainting-0.1",
        "115134f363124c53c7d878647567d04daf26e41e",
        {
            "text_encoder": 246_000_000,
            "text_encoder_2": 1_390_000_000,
            "unet": 5_140_000_000,
            "vae": 167_000_000,
        },
        Weights(
            "lcm-lora-sdxl",
            "latent-consistency/lcm-lora-sdxl",
            (
                WeightFile(
                    "pytorch_lora_weights.safetensors",
                    size=393_855_224,
                    sha256="a764e6859b6e04047cd761c08ff0cee96413a8e004c9f07707530cd776b19141",
                ),
            ),
            "a18548dd4956b174ec5b0d78d340c8dae0a129cd",
        ),
        licence="CreativeML-OpenRAIL++-M",
        attribution=(
            "SDXL (Podell et al., 2023), Stability AI, and the authors of diffusers, "
            "https://huggingface.co/diffusers/stable-diffusion-xl-1.0-inpainting-0.1"
        ),
    ),
):
    register(_entry)
