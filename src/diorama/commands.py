"""The commands: one dataclass each, whose fields are the options and whose docstrings the help.

They parse, call and report, and decide nothing.
"""

import contextlib
import json
import math
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import FlagCreatePairsOff, OmitSubcommandPrefixes, Positional, arg, subcommand

from diorama.camera import ViewBox
from diorama.config import SceneConfig
from diorama.depth_files import DEPTH_SUFFIXES
from diorama.errors import InputError
from diorama.report import EXIT_USER, Display, Downloads, Report, say, scene_facts, tell

if TYPE_CHECKING:
    from diorama.registry import ModelEntry

MIN_RENDER_SIZE = 16
"""Pixels; video encoders take no less."""


@dataclass(frozen=True)
class PhotoCommand:
    """Turn photos into 3D scenes.

    Writes OUT/NAME.diorama, which the other commands open, and one result for each format.
    """

    inputs: Positional[Annotated[tuple[str, ...], arg(metavar="INPUT...")]]
    """Photos (JPEG, PNG, WebP, TIFF, BMP, GIF, AVIF, HEIC, EXR), folders of photos, patterns such
    as 'archive/**/*.jpg', and lists: @photos.txt, a path a line."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path()
    """Folder for the results; made if it is not there."""
    formats: str = "html"
    """What to write beside the scene, with commas, such as html,glb,sbs; `diorama formats` lists
    them. all: every one; zip: the scene as one file instead of a folder."""
    config: Annotated[SceneConfig, arg(name="")] = field(default_factory=SceneConfig)
    view_box: ViewBox = field(default_factory=ViewBox)
    jobs: int = 1
    """Processes to share the work; 0: one for each core. The cores are divided among them."""
    models_dir: Path | None = None
    """Folder of pulled models, in place of DIORAMA_MODELS_DIR or Hugging Face's cache."""
    accept_licence: str = ""
    """Licences of models that forbid commercial use, with commas; remembered for good."""
    skip_existing: FlagCreatePairsOff[bool] = False
    """Leave photos alone whose results are all there: go on where an earlier run ended."""
    shard: str | None = None
    """Part of the photos to make, such as 2/8: so that several machines share them."""
    manifest: Path | None = None
    """A file to which a line of JSON is added for every photo; others may add to it as well."""
    json: FlagCreatePairsOff[bool] = False
    """Print a machine-readable report to stdout."""

    def run(self) -> int:
        """Make every photo's scene; one that fails does not stop the others."""
        from diorama.batch import convert_photos
        from diorama.inputs import find_photos, parse_shard, shard

        with Report("photo", self.json) as report, _models_in(self.models_dir):
            _accept(self.accept_licence)
            if not self.inputs:
                raise InputError("pass at least one photo: diorama photo cat.jpg -o out")
            part, parts = (1, 1) if self.shard is None else parse_shard(self.shard)
            photos = find_photos(self.inputs, out=self.out)
            is_file = Path(self.config.depth).suffix.lower() in DEPTH_SUFFIXES
            if len(photos) > 1 and is_file:
                raise InputError(f"--depth {self.config.depth} fits one photo: pass only that one")
            photos = shard(photos, part, parts)
            with Display(len(photos), jobs=self.jobs) as display:
                results = convert_photos(
                    photos,
                    self.out,
                    formats=self.formats.split(","),
                    config=self.config,
                    # Left as it is, the box is fitted to each photo's lens.
                    view_box=None if self.view_box == ViewBox() else self.view_box,
                    jobs=self.jobs,
                    skip_existing=self.skip_existing,
                    manifest=self.manifest,
                    progress=display.stage,
                )
                with contextlib.closing(results):
                    for result in results:
                        display.finish(result)
                        report.add(result)
        return report.exit_code


@dataclass(frozen=True)
class RenderCommand:
    """Render a camera move through a scene to a video."""

    scene: Positional[Annotated[Path, arg(metavar="SCENE")]]
    """A scene: a .diorama folder or a .zip."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The video: .mp4, .webm or .gif; for two eyes .sbs.mp4, .half-sbs.mp4, .over-under.mp4 or
    .anaglyph.mp4, with depth .rgbd.mp4, and all of these as .webm."""
    path: str = "orbit"
    """A camera path's name, or a JSON file with key frames."""
    seconds: float | None = None
    """Length of the video; None: 4, or the key frames' own."""
    frames: int | None = None
    """Number of frames, instead of `seconds`."""
    fps: float | None = None
    """Frames a second; None: 30 (12.5 in a GIF), or the key frames' own."""
    preset: str = "web"
    """What it is made for: web (1280 px), small (720 px), high (up to 4K), square (1080x1080) or
    vertical (1080x1920)."""
    size: int | None = None
    """Longest side in pixels, of one eye's picture; never more than the photo's, unless the preset
    has a shape. None: the preset's."""
    eyes: float | None = None
    """Distance of two eyes in scene units; None: half the view box's width."""
    json: FlagCreatePairsOff[bool] = False
    """Print a machine-readable report to stdout."""

    def run(self) -> int:
        """Render and encode."""
        from diorama.export.video import find_preset, move_eyes, scene_path, write_video
        from diorama.pipeline import open_scene

        with Report("render", self.json) as report, Display(1) as display:
            if self.size is not None and self.size < MIN_RENDER_SIZE:
                raise InputError(f"--size must be at least {MIN_RENDER_SIZE} px, got {self.size}")
            find_preset(self.preset)
            num_frames, fps = self._timing()
            entry = report.begin(str(self.scene))
            stages = display.begin(self.scene.name)
            stages.begin("open")
            scene = open_scene(self.scene, progress=stages.begin)
            stages.begin("render")
            eyes = move_eyes(scene, self.out, self.eyes)
            cameras = scene_path(
                scene,
                self.path,
                num_frames=num_frames,
                size=self.size,
                preset=self.preset,
                eyes=eyes,
            )
            write_video(
                scene, self.out, cameras=cameras, fps=fps, preset=self.preset, eyes=self.eyes
            )
            entry.update(scene_facts(scene), num_frames=num_frames, fps=fps, timings_s=stages.end())
            entry["outputs"] = [str(self.out)]
        return report.exit_code

    def _timing(self) -> tuple[int, float]:
        """Number of frames, and frames a second: as asked, else as the path or format has them."""
        from diorama.export.video import DEFAULT_SECONDS, default_fps
        from diorama.paths import load_path

        seconds, fps = DEFAULT_SECONDS, default_fps(self.out)
        if self.path.lower().endswith(".json"):
            path = load_path(self.path)
            seconds, fps = path.seconds, path.fps
        seconds = seconds if self.seconds is None else self.seconds
        fps = fps if self.fps is None else self.fps
        if not (0 < seconds < math.inf and 0 < fps < math.inf):
            raise InputError(f"--seconds and --fps must be positive, got {seconds:g} and {fps:g}")
        frames = max(1, round(seconds * fps)) if self.frames is None else self.frames
        return frames, fps


@dataclass(frozen=True)
class ExportCommand:
    """Write a saved scene in other formats."""

    scene: Positional[Annotated[Path, arg(metavar="SCENE")]]
    """A scene: a .diorama folder or a .zip."""
    files: Positional[Annotated[tuple[Path, ...], arg(metavar="FILE...")]]
    """What to write; the suffix chooses the format: `diorama formats` lists them."""
    json: FlagCreatePairsOff[bool] = False
    """Print a machine-readable report to stdout."""

    def run(self) -> int:
        """Open the scene once and write every file."""
        from diorama.export import format_of, write
        from diorama.pipeline import open_scene

        with Report("export", self.json) as report, Display(1) as display:
            if not self.files:
                raise InputError(
                    "pass at least one file to write: diorama export cat.diorama a.glb"
                )
            for file in self.files:
                format_of(file)
            entry = report.begin(str(self.scene))
            stages = display.begin(self.scene.name)
            stages.begin("open")
            scene = open_scene(self.scene, progress=stages.begin)
            for file in self.files:
                stages.begin(f"export {format_of(file).name}")
                write(scene, file)
                entry["outputs"].append(str(file))
            entry.update(scene_facts(scene), timings_s=stages.end())
        return report.exit_code


@dataclass(frozen=True)
class ViewCommand:
    """Look around in a scene in the browser; Ctrl-C ends it."""

    scene: Positional[Annotated[Path, arg(metavar="SCENE")]]
    """A scene, or an exported .html page."""
    open: bool = True
    """Open the browser."""
    port: int = 0
    """Port on 127.0.0.1; 0 takes any free one."""

    def run(self) -> int:
        """Serve the page until interrupted."""
        import webbrowser

        from diorama.serve import PageServer

        page = _page(self.scene)
        try:
            server = PageServer(page, port=self.port)
        except (OSError, OverflowError) as error:
            raise InputError(f"cannot listen on port {self.port}: {error}") from error
        with server, contextlib.suppress(KeyboardInterrupt):
            say(server.url)
            tell("Ctrl-C ends it.")
            if self.open:
                webbrowser.open(server.url)
            server.serve_forever()
        return 0


@dataclass(frozen=True)
class ListModels:
    """List every model that can be chosen by name."""

    models_dir: Path | None = None
    """Folder of pulled models, in place of DIORAMA_MODELS_DIR or Hugging Face's cache."""

    def run(self) -> int:
        """Print a line a model."""
        from diorama import registry

        with _models_in(self.models_dir):
            lines = [(entry, _state(entry)) for entry in registry.entries()]
        name = max(len(entry.name) for entry, _ in lines)
        there = max(len(state) for _, state in lines)
        for entry, state in lines:
            use = "" if entry.commercial else f" Not for commercial use ({entry.licence})."
            say(f"{entry.task:<9} {entry.name:<{name}} {state:<{there}} {entry.summary}{use}")
        return 0


@dataclass(frozen=True)
class ModelInfo:
    """Say all that is known about a model."""

    name: Positional[str]
    """As `diorama models list` has it."""
    models_dir: Path | None = None
    """Folder of pulled models, in place of DIORAMA_MODELS_DIR or Hugging Face's cache."""

    def run(self) -> int:
        """Print every entry of this name."""
        from diorama import registry

        with _models_in(self.models_dir):
            for entry in registry.find_all(self.name):
                say(f"{entry.task} {entry.name}: {entry.summary}")
                for what, said in _facts(entry):
                    say(f"  {what:<11} {said}")
        return 0


@dataclass(frozen=True)
class PullModels:
    """Fetch models' weights; what is here and whole is not fetched again."""

    names: Positional[Annotated[tuple[str, ...], arg(metavar="NAME...")]]
    """As `diorama models list` has them."""
    accept_licence: str = ""
    """Licences of models that forbid commercial use, with commas; remembered for good."""
    models_dir: Path | None = None
    """Where to put them, in place of DIORAMA_MODELS_DIR or Hugging Face's cache."""

    def run(self) -> int:
        """Fetch one after another, and print where each is."""
        from diorama import registry, weights
        from diorama.extras import EXTRAS, has_extra

        _accept(self.accept_licence)
        chosen = _chosen(self.names)
        for entry in chosen:
            registry.check_accepted(entry)
        with _models_in(self.models_dir), Downloads() as downloads:
            for entry in chosen:
                if entry.weights is None:
                    tell(f"{entry.task} {entry.name}: comes with the package, nothing to pull")
                    continue
                say(str(weights.pull(entry.weights, progress=downloads.show)))
                credit = f"; {entry.attribution}" if entry.attribution else ""
                tell(f"{entry.task} {entry.name}: {entry.licence}{credit}")
                if entry.extra in EXTRAS and not has_extra(entry.extra):
                    tell(f"it needs an extra: pip install 'diorama[{entry.extra}]'")
        return 0


@dataclass(frozen=True)
class VerifyModels:
    """Hold pulled weights to their recorded hashes; exit 2 if one does not fit."""

    names: Positional[Annotated[tuple[str, ...], arg(metavar="NAME...")]] = ()
    """As `diorama models list` has them; none: all that were pulled."""
    models_dir: Path | None = None
    """Folder of pulled models, in place of DIORAMA_MODELS_DIR or Hugging Face's cache."""

    def run(self) -> int:
        """Print a line a model."""
        from diorama import registry, weights

        failed = False
        with _models_in(self.models_dir):
            chosen = _chosen(self.names) if self.names else registry.entries()
            pulled = [e for e in chosen if e.weights is not None]
            if not self.names:
                pulled = [e for e in pulled if e.weights and weights.is_pulled(e.weights)]
            for entry in pulled:
                problem = entry.weights and weights.find_problem(entry.weights)
                say(f"{entry.task} {entry.name}: {problem or 'whole'}")
                failed = failed or problem is not None
            if not pulled:
                tell("nothing was pulled")
        return EXIT_USER if failed else 0


@dataclass(frozen=True)
class RemoveModels:
    """Delete pulled weights, from Hugging Face's cache as well if they are there."""

    names: Positional[Annotated[tuple[str, ...], arg(metavar="NAME...")]]
    """As `diorama models list` has them."""
    models_dir: Path | None = None
    """Folder of pulled models, in place of DIORAMA_MODELS_DIR or Hugging Face's cache."""

    def run(self) -> int:
        """Print a line a model."""
        from diorama import weights

        with _models_in(self.models_dir):
            for entry in _chosen(self.names):
                removed = entry.weights is not None and weights.remove(entry.weights)
                say(f"{entry.task} {entry.name}: {'removed' if removed else 'was not here'}")
        return 0


@dataclass(frozen=True)
class ConvertModel:
    """Convert a network to ONNX, in floats, half precision or 8 bits; needs diorama[convert].

    The result is checked against what it was made from on photos, and refused if it differs.
    """

    source: Positional[Annotated[str, arg(metavar="SOURCE")]]
    """embedded, with --weights; or an .onnx file in floats, or a .tflite file."""
    to: Literal["onnx", "onnx-fp16", "onnx-int8"]
    """The precision."""
    out: Annotated[Path | None, arg(aliases=["-o"])] = None
    """The file; None: SOURCE.onnx, SOURCE-fp16.onnx or SOURCE-int8.onnx in the working folder."""
    weights: Path | None = None
    """The checkpoint of a network that is named, as training writes it."""
    photos: tuple[str, ...] = ()
    """Photos, folders, patterns and lists to calibrate and check on; 48 of them are used. None:
    parts of the bundled photo, which is enough to try."""
    ranges: Literal["best", "minmax", "percentile", "entropy"] = "best"
    """How to choose the ranges that 8 bits cover; best: the way with the least error."""
    json: FlagCreatePairsOff[bool] = False
    """Print what came out as JSON."""

    def run(self) -> int:
        """Convert, check, write and say how far the result is from its source."""
        from diorama.models.conversion import ALL_RULES, convert

        made = convert(
            self.source,
            self.to,
            self.out,
            weights=self.weights,
            photos=_found(self.photos),
            rules=ALL_RULES if self.ranges == "best" else (self.ranges,),
        )
        if self.json:
            say(json.dumps({**asdict(made), "path": str(made.path)}, indent=1))
            return 0
        say(str(made.path))
        tell(f"{made.size_mb:.1f} MB, {made.error:.2%} of a deviation away from {self.source}")
        for rule, error in made.tried.items():
            tell(f"  ranges by {rule}: {error:.2%}{', taken' if rule == made.rule else ''}")
        if made.floats:
            tell(f"  left in floats throughout: {', '.join(made.floats)}")
        return 0


@dataclass(frozen=True)
class BenchModel:
    """Measure a model's precisions on every execution provider that ONNX Runtime has here.

    Time of a photo of 384x512 pixels (or the model's own size) and peak memory, each in a process
    of its own; the error against fp32; and with --data the accuracy of its depth.
    """

    name: Positional[Annotated[str, arg(metavar="NAME")]]
    """One of the model's .onnx files, or what their names share: NAME.onnx, NAME-fp16.onnx and
    NAME-int8.onnx in the working folder, else the packaged one."""
    photos: tuple[str, ...] = ()
    """Photos, folders, patterns and lists to compare outputs on. None: the bundled photo."""
    data: Path | None = None
    """Folder with photos and true depth, and an index.json of them."""
    threads: int | None = None
    """Of the CPU; None: one for each core, or DIORAMA_THREADS."""
    json: FlagCreatePairsOff[bool] = False
    """Print the rows as JSON instead of a Markdown table."""

    def run(self) -> int:
        """Measure and print."""
        from diorama.models.bench import bench, find_files, read_truths, table
        from diorama.pictures import read_picture
        from diorama.registry import DATA

        files = find_files(self.name)
        paths = _found(self.photos) or [DATA / "demo.jpg"]
        photos = [read_picture(path).rgb for path in paths]
        truths = [] if self.data is None else list(read_truths(self.data))
        rows = []
        for row in bench(files, photos, truths, threads=self.threads):
            tell(f"{row.precision} on {row.provider}: {row.problem or 'measured'}")
            rows.append(row)
        say(json.dumps([asdict(row) for row in rows], indent=1) if self.json else table(rows))
        return EXIT_USER if all(row.problem for row in rows) else 0


@dataclass(frozen=True)
class ModelsCommand:
    """List the models that can be chosen by name; fetch, describe, convert or measure one."""

    do: OmitSubcommandPrefixes[
        Annotated[ListModels, subcommand("list")]
        | Annotated[ModelInfo, subcommand("info")]
        | Annotated[PullModels, subcommand("pull")]
        | Annotated[VerifyModels, subcommand("verify")]
        | Annotated[RemoveModels, subcommand("remove")]
        | Annotated[ConvertModel, subcommand("convert")]
        | Annotated[BenchModel, subcommand("bench")]
    ]

    def run(self) -> int:
        """Do what was asked for."""
        return self.do.run()


@dataclass(frozen=True)
class FormatsCommand:
    """List every format that a scene can be written in."""

    def run(self) -> int:
        """Print a line a format."""
        from diorama.export import FORMATS

        for entry in FORMATS.values():
            needs = f" (needs diorama[{entry.extra}])" if entry.extra else ""
            say(f"{entry.name:<11} {entry.summary}{needs}")
            say(f"{'':<11} {' '.join(entry.suffixes)}")
        return 0


@dataclass(frozen=True)
class DoctorCommand:
    """Check the installation; exit 2 if something needs doing."""

    json: FlagCreatePairsOff[bool] = False
    """Print what was found as JSON."""

    def run(self) -> int:
        """Print what was found, and what to do about it."""
        from diorama.doctor import examine

        findings = examine()
        if self.json:
            say(json.dumps([asdict(finding) for finding in findings], indent=1))
        else:
            for finding in findings:
                say(f"{finding.name:<14} {finding.value}")
                if finding.advice:
                    say(f"{'':<14} -> {finding.advice}")
        return EXIT_USER if any(finding.advice for finding in findings) else 0


Command = (
    Annotated[PhotoCommand, subcommand("photo")]
    | Annotated[RenderCommand, subcommand("render")]
    | Annotated[ExportCommand, subcommand("export")]
    | Annotated[ViewCommand, subcommand("view")]
    | Annotated[FormatsCommand, subcommand("formats")]
    | Annotated[ModelsCommand, subcommand("models")]
    | Annotated[DoctorCommand, subcommand("doctor")]
)
"""Whichever was asked for."""


def _found(inputs: tuple[str, ...]) -> list[Path]:
    """The photos that inputs such as those of `diorama photo` mean.

    Raises:
        InputError: if one of them has none.
    """
    from diorama.inputs import find_photos

    photos = find_photos(inputs)
    for photo in photos:
        if photo.problem is not None:
            raise InputError(photo.problem)
    return [Path(photo.path) for photo in photos]


def _page(path: Path) -> bytes:
    if path.suffix.lower() not in (".html", ".htm"):
        import tempfile

        from diorama.export import write
        from diorama.pipeline import open_scene

        scene = open_scene(path, progress=lambda stage: tell(f"{path.name}: {stage}"))
        with tempfile.TemporaryDirectory(prefix="diorama-") as folder:
            write(scene, Path(folder) / "scene.html")
            return (Path(folder) / "scene.html").read_bytes()
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error


def _chosen(names: tuple[str, ...]) -> "list[ModelEntry]":
    """The entries of these names."""
    from diorama import registry

    if not names:
        raise InputError("name at least one model: diorama models list")
    return [entry for name in dict.fromkeys(names) for entry in registry.find_all(name)]


def _accept(licences: str) -> None:
    from diorama import registry

    registry.accept_licences(name for name in map(str.strip, licences.split(",")) if name)


@contextlib.contextmanager
def _models_in(folder: Path | None) -> Iterator[None]:
    """Use another folder of models, in this process and those it starts."""
    from diorama.weights import FOLDER_VARIABLE

    if folder is None:
        yield
        return
    before = os.environ.get(FOLDER_VARIABLE)
    os.environ[FOLDER_VARIABLE] = str(folder.absolute())
    try:
        yield
    finally:
        if before is None:
            del os.environ[FOLDER_VARIABLE]
        else:
            os.environ[FOLDER_VARIABLE] = before


def _state(entry: "ModelEntry") -> str:
    from diorama import weights

    if entry.weights is None or weights.is_pulled(entry.weights):
        return "here"
    size = entry.weights.size
    return f"{weights.megabytes(size)} to pull" if size else "to pull"


def _facts(entry: "ModelEntry") -> Iterator[tuple[str, str]]:
    """What there is to know of a model, in lines."""
    from diorama import registry, weights

    yield "licence", entry.licence + ("" if entry.commercial else ", not for commercial use")
    if entry.attribution is not None:
        yield "attribution", entry.attribution
    if entry.caveat is not None:
        yield "", entry.caveat
    if entry.weights is None:
        yield "weights", entry.fingerprint or "none in the package"
    else:
        size = f", {weights.megabytes(entry.weights.size)}" if entry.weights.size else ""
        revision = f" at {entry.weights.revision[:12]}" if entry.weights.revision else ""
        yield "source", f"{entry.weights.source}{revision}{size}"
        problem = weights.find_problem(entry.weights)
        yield "weights", problem or f"{weights.locate(entry.weights)}, {entry.fingerprint}"
    for setting, choices in registry.choices(entry).items():
        yield setting, ", ".join(choices)
    if entry.memory_mb is not None:
        yield "memory", f"about {entry.memory_mb} MB"
    yield "needs", f"diorama[{entry.extra}]" if entry.extra else "nothing more"
    yield "code", entry.target
