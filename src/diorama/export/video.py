"""A camera move through a scene as MP4 (H.264), WebM (VP9) or GIF.

Video is 4:2:0 in BT.709, limited range, and says so in its flags, so that players show the colours
of the photo; an odd last row or column is cut. The PyAV wheel brings FFmpeg with libx264 (GPL).
"""

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from diorama.arrays import RgbBytes
from diorama.camera import Camera
from diorama.errors import InputError, OutputError, UnknownNameError
from diorama.files import whole_file
from diorama.scene import Scene

DEFAULT_PATH = "orbit"
"""The camera move of an export that names none."""

DEFAULT_SECONDS = 4.0
"""One loop of it."""

VIDEO_SIZE = 1280
"""Longest side in pixels of a default video: sharp on a phone, rendered and encoded in seconds."""

GIF_SIZE = 480
"""Longest side in pixels of any GIF: at 256 colours more is megabytes, not detail."""

MIN_FOCUS_DISPARITY = 0.02
"""A focus fifty scene units away is as good as infinitely far."""

MAX_ZOOM = 1.25
"""How far a named path is magnified at most to keep the photo's border out of the frame."""

_PROBES, _PROBE_SIZE = 12, 320  # frames of a path that are looked at, and their pixels
_COVERED = 0.75  # alpha; where layers meet, small frames fall short of 1
_VIDEO_FPS, _GIF_FPS = 30.0, 12.5  # a GIF counts in hundredths of a second: 8 of them
_BT709, _LIMITED_RANGE = 1, 1  # FFmpeg's numbers for primaries, transfer and matrix, and range
_PALETTE_FRAMES = 8  # spread over the clip; one palette for all frames keeps still parts still


@dataclass(frozen=True)
class _Codec:
    name: str
    options: dict[str, str]
    """Of the encoder."""
    container_options: dict[str, str]


_CODECS = {
    ".mp4": _Codec(
        "libx264",
        {"preset": "faster", "crf": "18"},
        {"movflags": "+faststart"},  # the index comes first, so that a browser plays at once
    ),
    ".webm": _Codec(
        "libvpx-vp9",
        {"crf": "30", "deadline": "good", "cpu-used": "5", "row-mt": "1"},
        {},
    ),
}


def write_video(
    scene: Scene,
    path: str | os.PathLike[str],
    *,
    cameras: Sequence[Camera] | None = None,
    fps: float | None = None,
) -> None:
    """Render `scene` along `cameras` into a video file.

    Args:
        scene: what is seen.
        path: ends in ".mp4", ".webm" or ".gif".
        cameras: one a frame, all of one size; None: one loop of an orbit, four seconds long, at
            most 1280 px wide or high. A GIF is at most 480 px in any case.
        fps: frames a second; None: 30, and 12.5 in a GIF.

    Raises:
        InputError: if there is no camera, or `fps` is not positive.
        UnknownNameError: if `path` has another suffix.
        OutputError: if `path` cannot be written.
    """
    if fps is None:
        fps = default_fps(path)
    if cameras is None:
        cameras = scene_path(scene, DEFAULT_PATH, num_frames=round(DEFAULT_SECONDS * fps))
    longest = GIF_SIZE if Path(path).suffix.lower() == ".gif" else math.inf
    encode_video(_render(scene, [fitted(c, longest) for c in cameras]), path, fps=fps)


def default_fps(path: str | os.PathLike[str]) -> float:
    """Frames a second of a video that is not told: fewer in a GIF, which has no motion coding."""
    return _GIF_FPS if Path(path).suffix.lower() == ".gif" else _VIDEO_FPS


def scene_path(scene: Scene, name: str, *, num_frames: int, size: int = VIDEO_SIZE) -> list[Camera]:
    """Cameras along a path of `diorama.paths`, turning around the middle of what is seen.

    A named path is magnified by one factor, as little as keeps the photo's border out of every
    frame; key frames are taken as they are.

    Args:
        scene: what is seen.
        name: a path's name, or a JSON file with key frames.
        num_frames: cameras to return.
        size: longest side in pixels; never more than the scene's.
    """
    from diorama.paths import camera_path

    # Sky would pull the focus to infinity, where turning around it is no turning at all.
    seen = scene.disparity[scene.disparity > 0]
    focus = max(float(np.median(seen)), MIN_FOCUS_DISPARITY) if seen.size else 1.0
    cameras = camera_path(
        name,
        fitted(scene.camera, size),
        scene.view_box,
        num_frames=num_frames,
        focus_disparity=focus,
    )
    if name.lower().endswith(".json"):
        return cameras
    zoom = _covering_zoom(scene, cameras)
    return [_magnified(camera, zoom) for camera in cameras]


def encode_video(frames: Iterable[RgbBytes], path: str | os.PathLike[str], *, fps: float) -> None:
    """Encode frames, all of one size, in the format of the suffix of `path`.

    Raises:
        InputError: if there is no frame, or `fps` is not positive.
        UnknownNameError: if `path` has another suffix than ".mp4", ".webm" or ".gif".
        OutputError: if `path` cannot be written.
    """
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
            _encode_av(whole, partial, fps, _CODECS[suffix])
    else:
        raise UnknownNameError("video format", suffix, [*_CODECS, ".gif"])


def fitted(camera: Camera, longest: float) -> Camera:
    """The same view with a long side of at most `longest` pixels."""
    scale = min(1.0, longest / max(camera.width, camera.height))
    return camera.resized(max(2, round(camera.width * scale)), max(2, round(camera.height * scale)))


def _covering_zoom(scene: Scene, cameras: Sequence[Camera]) -> float:
    """The smallest magnification at which none of the cameras sees past the photo's border."""
    reach = 1.0  # of the frame's half size, from its centre: covered by the photo in every frame
    for camera in cameras[:: math.ceil(len(cameras) / _PROBES)]:
        probe = fitted(camera, _PROBE_SIZE)
        y, x = np.nonzero(scene.render(probe).alpha < _COVERED)
        # Half a pixel to its inner edge, and half a pixel to spare.
        from_center = np.maximum(
            (np.abs(x + 0.5 - probe.width / 2) - 1) / (probe.width / 2),
            (np.abs(y + 0.5 - probe.height / 2) - 1) / (probe.height / 2),
        )
        # What is uncovered farther in is no border.
        reach = float(from_center.min(initial=reach, where=from_center > 1 / MAX_ZOOM))
    return 1 / reach


def _magnified(camera: Camera, zoom: float) -> Camera:
    K = camera.K.copy()
    K[0, 0] *= zoom
    K[1, 1] *= zoom
    return Camera(K, camera.camera_to_world, camera.width, camera.height)


def _render(scene: Scene, cameras: Sequence[Camera]) -> Iterator[RgbBytes]:
    for camera in cameras:
        frame = scene.render(camera)
        # Where layers meet, alpha falls short of 1 in frames smaller than the photo; over black
        # that would be a dark line.
        rgb = frame.rgb / np.maximum(frame.alpha, np.float32(0.5))[..., None]
        yield np.rint(rgb.clip(0, 1) * np.float32(255)).astype(np.uint8)


def _chain(first: RgbBytes, rest: Iterator[RgbBytes]) -> Iterator[RgbBytes]:
    yield first
    yield from rest


def _encode_av(frames: Iterator[RgbBytes], path: Path, fps: float, codec: _Codec) -> None:
    import av
    from av.codec.codec import UnknownCodecError
    from av.video.reformatter import Colorspace

    rate = Fraction(fps).limit_denominator(1001)
    with av.open(str(path), "w", options=codec.container_options) as container:
        try:
            stream = container.add_stream(codec.name, rate=rate, options=codec.options)
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
        for index, rgb in enumerate(frames):
            height, width = rgb.shape[0] // 2 * 2, rgb.shape[1] // 2 * 2
            if index == 0:
                context.width, context.height = width, height
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb[:height, :width]))
            picture = picture.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709)
            picture.pts, picture.time_base = index, 1 / rate
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def _encode_gif(frames: Iterator[RgbBytes], path: Path, fps: float) -> None:
    from PIL import Image

    pictures = [Image.fromarray(rgb) for rgb in frames]
    chosen = pictures[:: math.ceil(len(pictures) / _PALETTE_FRAMES)]
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width, height * len(chosen)))
    for index, picture in enumerate(chosen):
        sheet.paste(picture, (0, index * height))
    palette = sheet.quantize(256, method=Image.Quantize.MEDIANCUT)
    indexed = [p.quantize(palette=palette, dither=Image.Dither.FLOYDSTEINBERG) for p in pictures]
    # GIF counts in hundredths of a second, and viewers slow down what asks for less than two.
    delay_ms = max(2, round(100 / fps)) * 10
    indexed[0].save(path, save_all=True, append_images=indexed[1:], duration=delay_ms, loop=0)
