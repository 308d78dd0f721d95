"""A camera move through a scene as MP4 (H.264), WebM (VP9) or GIF, for one eye or for two.

Video is 4:2:0 in BT.709, limited range, and says so in its flags, so that players show the colours
of the photo; an odd last row or column is cut. Video for two eyes says how they share the picture,
as far as its container can. The PyAV wheel brings FFmpeg with libx264 (GPL).
"""

import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path

import numpy as np

from diorama.arrays import Array
from diorama.camera import Camera
from diorama.errors import InputError, OutputError, UnknownNameError
from diorama.export.mp4 import with_stereo_mode
from diorama.files import whole_file
from diorama.framing import (
    covering_zoom,
    cropped,
    fitted,
    focus_disparity,
    magnified,
    photo_camera,
    render_picture,
)
from diorama.scene import Scene
from diorama.stereo import Layout, eye_pair, eyes_in_box, layout_of, render_layout

DEFAULT_PATH = "orbit"
"""The camera move of an export that names none."""

DEFAULT_SECONDS = 4.0
"""One loop of it."""

DEFAULT_PRESET = "web"

GIF_SIZE = 480
"""Longest side in pixels of any GIF: at 256 colours more is megabytes, not detail."""

_VIDEO_FPS, _GIF_FPS = 30.0, 12.5  # a GIF counts in hundredths of a second: 8 of them
_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's numbers for primaries, transfer and matrix, and range
_PALETTE_FRAMES = 8  # spread over the clip; one palette for all frames keeps still parts still


@dataclass(frozen=True)
class Preset:
    """What a video is made for."""

    size: int
    """Longest side in pixels; without a `shape` at most, and never more than the photo's."""
    shape: tuple[int, int] | None = None
    """Width to height of a crop around the middle; None: the photo's, whole."""
    mp4: Mapping[str, str] = field(default_factory=lambda: {"preset": "faster", "crf": "18"})
    """Options of x264."""
    webm: Mapping[str, str] = field(default_factory=lambda: {"crf": "30", "cpu-used": "5"})
    """Options of libvpx."""


PRESETS = {
    "web": Preset(1280),  # sharp on a phone, rendered and encoded in seconds
    "small": Preset(
        720,  # for messages
        mp4={"preset": "medium", "crf": "26"},
        webm={"crf": "40", "cpu-used": "3"},
    ),
    "high": Preset(
        3840,  # 4K
        mp4={"preset": "slow", "crf": "14"},
        webm={"crf": "20", "cpu-used": "2"},
    ),
    "square": Preset(1080, (1, 1)),  # for social media
    "vertical": Preset(1920, (9, 16)),
}
"""By the name that `--preset` takes."""


@dataclass(frozen=True)
class _Codec:
    name: str
    options: Mapping[str, str]
    """Of the encoder, for every preset."""
    container_options: dict[str, str]


_CODECS = {
    ".mp4": _Codec(
        "libx264",
        {},
        {"movflags": "+faststart"},  # the index comes first, so that a browser plays at once
    ),
    ".webm": _Codec("libvpx-vp9", {"deadline": "good", "row-mt": "1"}, {}),
}


@dataclass(frozen=True)
class _Packing:
    """How files say that a frame holds two."""

    h264: int
    """Frame packing arrangement type (H.264, D.2.26)."""
    st3d: int
    """Stereo mode of MP4's box (`diorama.export.mp4`)."""
    matroska: str
    """FFmpeg's name of the StereoMode of Matroska."""


_PACKINGS = {
    "side-by-side": _Packing(3, 2, "left_right"),
    "top-bottom": _Packing(4, 1, "top_bottom"),
}


def write_video(
    scene: Scene,
    path: str | os.PathLike[str],
    *,
    cameras: Sequence[Camera] | None = None,
    fps: float | None = None,
    preset: str = DEFAULT_PRESET,
    eyes: float | None = None,
) -> None:
    """Render `scene` along `cameras` into a video file.

    Args:
        scene: what is seen.
        path: ends in ".mp4", ".webm" or ".gif"; before that may stand a layout for two eyes or
            with depth, as in "cat.sbs.mp4" (`diorama.stereo.LAYOUTS`).
        cameras: one a frame, all of one size; midway between the eyes, where there are two. None:
            one loop of an orbit, four seconds long, as large as the preset has it. A GIF is at
            most 480 px in any case.
        fps: frames a second; None: 30, and 12.5 in a GIF.
        preset: a name of `PRESETS`.
        eyes: distance of the eyes in scene units; None: half the view box's width.

    Raises:
        InputError: if there is no camera, `fps` is not positive, or `eyes` do not fit into the
            view box, or are given for a video that shows one picture.
        UnknownNameError: if `path` has another suffix, or there is no such preset.
        OutputError: if `path` cannot be written.
    """
    if fps is None:
        fps = default_fps(path)
    eyes = move_eyes(scene, path, eyes)
    if cameras is None:
        num_frames = round(DEFAULT_SECONDS * fps)
        cameras = scene_path(scene, DEFAULT_PATH, num_frames=num_frames, preset=preset, eyes=eyes)
    longest = GIF_SIZE if Path(path).suffix.lower() == ".gif" else math.inf
    frames = _render(scene, [fitted(c, longest) for c in cameras], layout_of(path), eyes)
    encode_video(frames, path, fps=fps, preset=preset)


def default_fps(path: str | os.PathLike[str]) -> float:
    """Frames a second of a video that is not told: fewer in a GIF, which has no motion coding."""
    return _GIF_FPS if Path(path).suffix.lower() == ".gif" else _VIDEO_FPS


def find_preset(name: str) -> Preset:
    """The preset of this name, or `UnknownNameError` with the nearest one."""
    if name not in PRESETS:
        raise UnknownNameError("video preset", name, PRESETS)
    return PRESETS[name]


def move_eyes(scene: Scene, path: str | os.PathLike[str], eyes: float | None) -> float:
    """Distance of the eyes in a video of this name; 0 where it shows only what one camera sees.

    Raises:
        InputError: if `eyes` do not fit into the view box, or the video has no use for them.
    """
    layout = layout_of(path)
    if layout is None or layout.depth:
        if eyes is not None:
            raise InputError(
                f"{Path(path).name} shows what one eye sees: leave out the distance of the eyes, "
                f"or name it {Path(path).stem}.sbs.mp4 for two"
            )
        return 0.0
    # The other half of the box is left to the move.
    return eyes_in_box(scene, scene.view_box.sideways if eyes is None else eyes)


def scene_path(
    scene: Scene,
    name: str,
    *,
    num_frames: int,
    size: int | None = None,
    preset: str = DEFAULT_PRESET,
    eyes: float = 0.0,
) -> list[Camera]:
    """Cameras along a path of `diorama.paths`, turning around the middle of what is seen.

    A named path is magnified by one factor, as little as keeps the photo's border out of every
    frame; key frames are taken as they are.

    Args:
        scene: what is seen.
        name: a path's name, or a JSON file with key frames.
        num_frames: cameras to return.
        size: longest side in pixels; None: the preset's. Never more than the photo's, unless the
            preset has a shape.
        preset: a name of `PRESETS`, which may crop the view.
        eyes: distance of two eyes about each camera in scene units. The path keeps to the part of
            the view box where both stay inside; both are kept off the photo's border.
    """
    from diorama.paths import camera_path

    chosen = find_preset(preset)
    size = chosen.size if size is None else size
    box = scene.view_box
    focus = focus_disparity(scene)
    cameras = camera_path(
        name,
        fitted(photo_camera(scene), size),
        replace(box, sideways=max(0.0, box.sideways - eyes / 2)),
        num_frames=num_frames,
        focus_disparity=focus,
    )
    if chosen.shape is not None:
        width, height = (round(size * side / max(chosen.shape)) for side in chosen.shape)
        cameras = [cropped(camera, width, height) for camera in cameras]
    if name.lower().endswith(".json"):
        return cameras
    pairs = [eye_pair(camera, eyes=eyes, focus_disparity=focus) for camera in cameras]
    seen = [left for left, _ in pairs] + [right for _, right in pairs] if eyes else cameras
    zoom = covering_zoom(scene, seen)
    return [magnified(camera, zoom) for camera in cameras]


def encode_video(
    frames: Iterable[Array],
    path: str | os.PathLike[str],
    *,
    fps: float,
    preset: str = DEFAULT_PRESET,
) -> None:
    """Encode frames, all of one size, in the format of the suffix of `path`.

    A layout for two eyes in the name is passed on to players; the frames are taken as they are.

    Args:
        frames: (H, W, 3) uint8 sRGB, all of one size.
        path: ends in ".mp4", ".webm" or ".gif".
        fps: frames a second.
        preset: a name of `PRESETS`: how much is spent on quality.

    Raises:
        InputError: if there is no frame, or `fps` is not positive.
        UnknownNameError: if `path` has another suffix, or there is no such preset.
        OutputError: if `path` cannot be written.
    """
    chosen = find_preset(preset)
    path = Path(path)
    suffix = path.suffix.lower()
    if not (math.isfinite(fps) and fps > 0):
        raise InputError(f"fps must be positive, got {fps}")
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise InputError(f"{path.name} needs at least one frame")
    whole = _chain(first, frames)
    if suffix == ".gif":
        with whole_file(path) as partial:
            _encode_gif(whole, partial, fps)
    elif suffix in _CODECS:
        with whole_file(path) as partial:
            _encode_av(whole, partial, fps, chosen)
    else:
        raise UnknownNameError("video format", suffix, [*_CODECS, ".gif"])


def _render(
    scene: Scene, cameras: Sequence[Camera], layout: Layout | None, eyes: float
) -> Iterator[Array]:
    focus = focus_disparity(scene)
    for camera in cameras:
        if layout is None:
            yield render_picture(scene, camera)
        else:
            # Each part of a frame gets colour samples of its own, which cover two pixels, or four
            # once squeezed.
            width, height = (max(4, side // 4 * 4) for side in (camera.width, camera.height))
            whole = replace(camera, width=width, height=height)
            yield render_layout(scene, whole, layout, eyes=eyes, focus_disparity=focus)


def _chain(first: Array, rest: Iterator[Array]) -> Iterator[Array]:
    yield first
    yield from rest


def _encode_av(frames: Iterator[Array], path: Path, fps: float, preset: Preset) -> None:
    import av
    from av.codec.codec import UnknownCodecError
    from av.video.reformatter import Colorspace

    rate = Fraction(fps).limit_denominator(1001)
    suffix = path.suffix.lower()
    codec = _CODECS[suffix]
    options = {**codec.options, **(preset.mp4 if suffix == ".mp4" else preset.webm)}
    layout = layout_of(path)
    packing = None if layout is None or layout.packing is None else _PACKINGS[layout.packing]
    if packing is not None and suffix == ".mp4":
        options["x264-params"] = f"frame-packing={packing.h264}"
    with av.open(str(path), "w", options=codec.container_options) as container:
        try:
            stream = container.add_stream(codec.name, rate=rate, options=options)
        except UnknownCodecError as error:
            raise OutputError(
                f"cannot write {path.name}: this PyAV has no {codec.name} encoder; "
                "install its wheel from PyPI"
            ) from error
        assert isinstance(stream, av.VideoStream)
        context = stream.codec_context
        context.pix_fmt = "yuv420p"
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = _LIMITED_RANGE
        # Matroska's display size is that of one eye, which FFmpeg takes for half the frame's.
        if packing and suffix == ".webm" and layout and not layout.squeezed:
            stream.metadata["stereo_mode"] = packing.matroska
        for index, rgb in enumerate(frames):
            height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
            if index == 0:
                context.width, context.height = width, height
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]))
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    if packing is not None and suffix == ".mp4":
        path.write_bytes(with_stereo_mode(path.read_bytes(), packing.st3d))


def _encode_gif(frames: Iterator[Array], path: Path, fps: float) -> None:
    from PIL import Image

    pictures = [Image.fromarray(rgb) for rgb in frames]
    chosen = pictures[:: math.ceil(len(pictures) / _PALETTE_FRAMES)]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for index, picture in enumerate(chosen):
        sheet.paste(picture, (0, index * height))
    # Median cut would leave rare colours out: red roofs in a blue sky turn grey.
    palette = sheet.quantize(256, method=Image.Quantize.FASTOCTREE)
    indexed = [p.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for p in pictures]
    # GIF counts in hundredths of a second, and viewers slow down what asks for less than two.
    delay_ms = max(2, round(100 / fps)) * 10
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=delay_ms, loop=0)
