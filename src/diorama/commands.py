"""The commands: one dataclass each, whose fields are the options and whose docstrings the help.

They parse, call and report, and decide nothing.
"""

import contextlib
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tyro.conf import FlagCreatePairsOff, OmitSubcommandPrefixes, Positional, arg, subcommand

from diorama.camera import ViewBox
from diorama.config import SceneConfig
from diorama.depth_files import DEPTH_SUFFIXES
from diorama.errors import DioramaError, InputError, UnknownNameError
from diorama.interrupts import stop_if_interrupted
from diorama.report import EXIT_USER, Display, Report, Stages, say, tell

if TYPE_CHECKING:
    from diorama.scene import Scene

MIN_RENDER_SIZE = 16
"""Pixels; video encoders take no less."""


@dataclass(frozen=True)
class PhotoCommand:
    """Turn photos into 3D scenes.

    Writes OUT/NAME.diorama, which the other commands open, and one result for each format.
    """

    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]]
    """Photos: JPEG, PNG, WebP, TIFF or BMP."""
    out: Annotated[Path, arg(aliases=["-o"])] = Path()
    """Folder for the results; made if it is not there."""
    formats: str = "html"
    """What to write beside the scene, with commas: html, glb, ply, mp4, webm, gif, depth, layers;
    zip writes the scene as one file instead of a folder."""
    config: Annotated[SceneConfig, arg(name="")] = field(default_factory=SceneConfig)
    view_box: ViewBox = field(default_factory=ViewBox)
    json: FlagCreatePairsOff[bool] = False
    """Print a machine-readable report to stdout."""

    def run(self) -> int:
        """Make every photo's scene; one that fails does not stop the others."""
        from diorama.files import whole_set

        with Report("photo", self.json) as report:
            if not self.images:
                raise InputError("pass at least one photo: diorama photo cat.jpg -o out")
            is_file = Path(self.config.depth).suffix.lower() in DEPTH_SUFFIXES
            if len(self.images) > 1 and is_file:
                raise InputError(f"--depth {self.config.depth} fits one photo: pass only that one")
            formats = _formats(self.formats)
            with whole_set(self.out):
                pass  # says now, and not after the work, that nothing can be written there
            with Display(len(self.images)) as display:
                for image, name in zip(self.images, _unique_names(self.images), strict=True):
                    entry = report.begin(image)
                    stages = display.begin(Path(image).name)
                    try:
                        self._make(image, name, formats, entry, stages)
                    except DioramaError as error:
                        entry["error"] = str(error)
                        tell(f"error: {error}")
                    entry["timings_s"] = stages.end()
        return report.exit_code

    def _make(
        self,
        image: str,
        name: str,
        formats: Sequence[str],
        entry: dict[str, Any],
        stages: Stages,
    ) -> None:
        from diorama.export import write
        from diorama.files import whole_set
        from diorama.pipeline import photo_to_scene

        # Left as it is, the box is fitted to each photo's lens.
        view_box = None if self.view_box == ViewBox() else self.view_box
        scene = photo_to_scene(image, view_box=view_box, config=self.config, progress=stages.begin)
        with whole_set(self.out) as folder:
            for suffix in formats:
                stages.begin(f"export {suffix.removeprefix('.')}")
                write(scene, folder / f"{name}{suffix}")
            stop_if_interrupted()
        entry["outputs"] = [str(self.out / f"{name}{suffix}") for suffix in formats]
        entry.update(_facts(scene))


@dataclass(frozen=True)
class RenderCommand:
    """Render a camera move through a scene to a video."""

    scene: Positional[Annotated[Path, arg(metavar="SCENE")]]
    """A scene: a .diorama folder or a .zip."""
    out: Annotated[Path, arg(aliases=["-o"])]
    """The video: .mp4, .webm or .gif."""
    path: str = "orbit"
    """A camera path's name, or a JSON file with key frames."""
    seconds: float | None = None
    """Length of the video; None: 4, or the key frames' own."""
    frames: int | None = None
    """Number of frames, instead of `seconds`."""
    fps: float | None = None
    """Frames a second; None: 30 (12.5 in a GIF), or the key frames' own."""
    size: int = 1280
    """Longest side in pixels; never more than the scene's."""
    json: FlagCreatePairsOff[bool] = False
    """Print a machine-readable report to stdout."""

    def run(self) -> int:
        """Render and encode."""
        from diorama.export.video import scene_path, write_video
        from diorama.pipeline import open_scene

        with Report("render", self.json) as report, Display(1) as display:
            if self.size < MIN_RENDER_SIZE:
                raise InputError(f"--size must be at least {MIN_RENDER_SIZE} px, got {self.size}")
            num_frames, fps = self._timing()
            entry = report.begin(str(self.scene))
            stages = display.begin(self.scene.name)
            stages.begin("open")
            scene = open_scene(self.scene, progress=stages.begin)
            stages.begin("render")
            cameras = scene_path(scene, self.path, num_frames=num_frames, size=self.size)
            write_video(scene, self.out, cameras=cameras, fps=fps)
            entry.update(_facts(scene), num_frames=num_frames, fps=fps, timings_s=stages.end())
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
    """What to write; the suffix chooses the format: .html, .glb, .ply, .mp4, .webm, .gif, .depth,
    .layers, .diorama, .zip."""
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
            entry.update(_facts(scene), timings_s=stages.end())
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

    def run(self) -> int:
        """Print a line a model."""
        from diorama import registry

        for entry in registry.entries():
            say(f"{entry.task:<10} {entry.name:<14} {entry.summary}")
        return 0


@dataclass(frozen=True)
class ModelInfo:
    """Say all that is known about a model."""

    name: Positional[str]
    """As `diorama models list` has it."""

    def run(self) -> int:
        """Print every entry of this name."""
        from diorama import registry

        found = [entry for entry in registry.entries() if entry.name == self.name]
        if not found:
            names = {entry.name for entry in registry.entries()}
            raise UnknownNameError("model", self.name, names)
        for entry in found:
            say(f"{entry.task} {entry.name}: {entry.summary}")
            say(f"  licence  {entry.licence}")
            say(f"  needs    {f'diorama[{entry.extra}]' if entry.extra else 'nothing more'}")
            say(f"  code     {entry.target}")
        return 0


@dataclass(frozen=True)
class ModelsCommand:
    """List the models that can be chosen by name, or describe one."""

    do: OmitSubcommandPrefixes[
        Annotated[ListModels, subcommand("list")] | Annotated[ModelInfo, subcommand("info")]
    ]

    def run(self) -> int:
        """List or describe."""
        return self.do.run()


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
    | Annotated[ModelsCommand, subcommand("models")]
    | Annotated[DoctorCommand, subcommand("doctor")]
)
"""Whichever was asked for."""


def _formats(text: str) -> list[str]:
    """Suffixes of the formats asked for, checked, without repeats; the scene itself comes first.

    "all" is every format whose extra is installed.
    """
    from diorama.export import FORMATS, find_format
    from diorama.extras import check_extra, has_extra

    names = [name.strip().lower().removeprefix(".") for name in text.split(",") if name.strip()]
    if "all" in names:
        present = [f for f in FORMATS.values() if f.extra is None or has_extra(f.extra)]
        names += [f.name for f in present if f.name != "zip"]
        names.remove("all")
    chosen = [find_format(name) for name in dict.fromkeys(names)]
    for entry in chosen:
        if entry.extra is not None:
            check_extra(entry.extra, f"format {entry.name!r}")
    scene = "zip" if "zip" in names else "diorama"
    return [f".{scene}", *(f.suffixes[0] for f in chosen if f.name != scene)]


def _unique_names(images: Sequence[str]) -> list[str]:
    """Each image's stem; "cat-2" for a second cat."""
    names: list[str] = []
    for image in images:
        stem = Path(image).stem or "photo"
        name, count = stem, 1
        while name in names:
            count += 1
            name = f"{stem}-{count}"
        names.append(name)
    return names


def _facts(scene: "Scene") -> dict[str, Any]:
    texture = scene.photo.texture
    return {
        "models": scene.provenance.get("models", {}),
        "seed": scene.provenance.get("config", {}).get("seed"),
        "size": [scene.camera.width, scene.camera.height],
        "texture_size": [texture.shape[1], texture.shape[0]],
        "fov_deg": round(scene.camera.fov_deg, 3),
        "metric": scene.metric,
        "num_masks": len(scene.masks.ids),
        "num_layers": len(scene.layers),
    }


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
