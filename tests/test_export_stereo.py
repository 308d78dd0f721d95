"""Pictures and videos for two eyes: each eye where it belongs, and players are told."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image
from PIL.GifImagePlugin import GifImageFile

from diorama.errors import InputError, OutputError, UnknownNameError
from diorama.export import write
from diorama.export.mp4 import with_stereo_mode
from diorama.export.stereo import write_stereo
from diorama.export.video import encode_video, move_eyes, scene_path, write_video
from diorama.framing import render_picture
from diorama.stereo import anaglyph, eye_pair, render_depth, render_stereo

WIDTH, HEIGHT = 160, 120


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "RGB"
        return np.asarray(image).astype(int)


def decode(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]


def luma(rgb: np.ndarray) -> np.ndarray:
    """(H, W): what 4:2:0 leaves at full resolution."""
    return rgb @ np.array([0.2126, 0.7152, 0.0722])


def exif(path: Path, *tags: str) -> list[str]:
    """What an independent reader says of these tags."""
    command = ["exiftool", "-s3", "-f", *(f"-{tag}" for tag in tags), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.split("\n")[:-1]


def test_a_png_holds_both_eyes_to_the_bit(tmp_path: Path) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    left, right = render_stereo(scene)
    write(scene, tmp_path / "a.sbs.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.sbs.png"), np.hstack([left, right]))
    write(scene, tmp_path / "a.over-under.png")
    np.testing.assert_array_equal(pixels(tmp_path / "a.over-under.png"), np.vstack([left, right]))


def test_the_photo_gets_its_depth_beside_it(tmp_path: Path) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    write(scene, tmp_path / "a.rgbd.png")
    picture = pixels(tmp_path / "a.rgbd.png")
    np.testing.assert_array_equal(picture, np.hstack(render_depth(scene, scene.camera)))
    assert np.abs(picture[:, :WIDTH] - scene.photo.rgb * 255).mean() < 3


@pytest.mark.parametrize(
    ("layout", "size"),
    [
        ("sbs", (2 * WIDTH, HEIGHT)),
        ("half-sbs", (WIDTH, HEIGHT)),
        ("over-under", (WIDTH, 2 * HEIGHT)),
        ("anaglyph", (WIDTH, HEIGHT)),
        ("rgbd", (2 * WIDTH, HEIGHT)),
    ],
)
def test_a_jpeg_is_srgb_with_full_colour(
    tmp_path: Path, layout: str, size: tuple[int, int]
) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    for name in (f"a.{layout}.jpg", f"b.{layout}.jpg", f"a.{layout}.png"):
        write(scene, tmp_path / name)
    jpeg = tmp_path / f"a.{layout}.jpg"
    assert exif(jpeg, "ColorSpace", "YCbCrSubSampling") == ["sRGB", "YCbCr4:4:4 (1 1)"]
    with Image.open(jpeg) as image:
        assert image.size == size
    assert np.abs(pixels(jpeg) - pixels(tmp_path / f"a.{layout}.png")).mean() < 1.5
    assert jpeg.read_bytes() == (tmp_path / f"b.{layout}.jpg").read_bytes()


def test_eyes_and_focus_can_be_chosen(tmp_path: Path) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    write_stereo(scene, tmp_path / "a.sbs.png", eyes=0.02, focus_disparity=0.9)
    left, right = render_stereo(scene, eyes=0.02, focus_disparity=0.9)
    np.testing.assert_array_equal(pixels(tmp_path / "a.sbs.png"), np.hstack([left, right]))


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
@pytest.mark.parametrize("layout", ["sbs", "half-sbs", "over-under"])
def test_a_video_shows_each_eye_what_it_sees(tmp_path: Path, layout: str, suffix: str) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    path = tmp_path / f"a.{layout}{suffix}"
    eyes = move_eyes(scene, path, None)
    assert eyes == 0.03
    cameras = scene_path(scene, "circle", num_frames=3, eyes=eyes)
    write_video(scene, path, cameras=cameras, fps=10)
    frames = decode(path)
    assert len(frames) == 3
    for camera, frame in zip(cameras, frames, strict=True):
        halves = np.split(frame, 2, axis=0 if layout == "over-under" else 1)
        focus = float(np.median(scene.disparity))
        pair = eye_pair(camera, eyes=eyes, focus_disparity=focus)
        left, right = (scene.render(eye).rgb * 255 for eye in pair)
        if layout == "half-sbs":
            squeezed = (HEIGHT, WIDTH // 2, 2, 3)
            left, right = left.reshape(squeezed).mean(2), right.reshape(squeezed).mean(2)
        for half, eye, other in ((halves[0], left, right), (halves[1], right, left)):
            assert half.shape == eye.shape
            error = np.abs(luma(half) - luma(eye)).mean()
            assert error < 2.5
            assert error < 0.7 * np.abs(luma(half) - luma(other)).mean()


@pytest.mark.parametrize("layout", ["anaglyph", "rgbd"])
def test_other_layouts_move_too(tmp_path: Path, layout: str) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    write_video(scene, tmp_path / f"a.{layout}.mp4", cameras=[scene.camera], fps=10)
    (frame,) = decode(tmp_path / f"a.{layout}.mp4")
    if layout == "rgbd":
        want = np.hstack(render_depth(scene, scene.camera))
    else:
        focus = float(np.median(scene.disparity))
        pair = eye_pair(scene.camera, eyes=0.03, focus_disparity=focus)
        want = anaglyph(*(render_picture(scene, eye) for eye in pair))
    assert frame.shape == want.shape
    assert np.abs(luma(frame) - luma(want)).mean() < 2


def test_a_moving_pair_stays_inside_the_box_and_the_photo() -> None:
    scene = card_scene(WIDTH, HEIGHT)
    focus = float(np.median(scene.disparity))
    for eyes in (0.03, 0.06):
        for camera in scene_path(scene, "circle", num_frames=8, eyes=eyes):
            for eye in eye_pair(camera, eyes=eyes, focus_disparity=focus):
                assert abs(eye.camera_to_world[0, 3]) < 0.03 + 1e-9
                assert scene.render(eye).alpha.min() > 0.75


def stereo_kinds(path: Path) -> list[bytes]:
    """What FFmpeg says of the first frame: the type of every `AVStereo3D`."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        parts = cast("Iterable[Any]", frame.side_data)  # typed as a mapping of names
        return [bytes(part)[:1] for part in parts if part.type.name == "STEREO3D"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("a.sbs.mp4", b"\1"),
        ("a.half-sbs.mp4", b"\1"),
        ("a.over-under.mp4", b"\2"),
        ("a.sbs.webm", b"\1"),
        ("a.over-under.webm", b"\2"),
    ],
)
def test_players_are_told_how_the_eyes_are_packed(tmp_path: Path, name: str, kind: bytes) -> None:
    frames = [np.full((64, 128, 3), 40 * index, np.uint8) for index in range(3)]
    encode_video(frames, tmp_path / name, fps=10)
    kinds = stereo_kinds(tmp_path / name)
    if name.endswith(".mp4"):
        assert kinds == [kind, kind]  # the stream's and the container's
        mode = {b"\1": "Stereoscopic Left-Right", b"\2": "Stereoscopic Top-Bottom"}[kind]
        assert exif(tmp_path / name, "Stereoscopic3D") == [mode]
    else:
        assert kinds == [kind]
        width, height = (64, 64) if kind == b"\1" else (128, 32)
        assert exif(tmp_path / name, "DisplayWidth", "DisplayHeight") == [str(width), str(height)]


@pytest.mark.parametrize("name", ["a.mp4", "a.webm", "a.anaglyph.mp4", "a.rgbd.webm"])
def test_pictures_that_are_one_say_nothing_of_two(tmp_path: Path, name: str) -> None:
    encode_video([np.zeros((64, 128, 3), np.uint8)], tmp_path / name, fps=10)
    assert stereo_kinds(tmp_path / name) == []


def test_the_stereo_box_alone_is_read_and_leaves_the_frames_where_they_are(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [rng.integers(0, 256, (64, 128, 3)).astype(np.uint8) for _ in range(40)]
    encode_video(frames, tmp_path / "plain.mp4", fps=30)
    marked = with_stereo_mode((tmp_path / "plain.mp4").read_bytes(), 2)
    (tmp_path / "marked.mp4").write_bytes(marked)
    assert stereo_kinds(tmp_path / "marked.mp4") == [b"\1"]
    for got, want in zip(
        decode(tmp_path / "marked.mp4"), decode(tmp_path / "plain.mp4"), strict=True
    ):
        np.testing.assert_array_equal(got, want)


def test_odd_sizes_keep_the_eyes_apart(tmp_path: Path) -> None:
    """Colour has half the pixels: an odd width would mix the eyes' colours where they meet."""
    scene = card_scene(103, 77)
    for layout, size in (("sbs", (200, 76)), ("half-sbs", (100, 76)), ("over-under", (100, 152))):
        write_video(scene, tmp_path / f"a.{layout}.mp4", cameras=[scene.camera], fps=10)
        with av.open(str(tmp_path / f"a.{layout}.mp4")) as container:
            assert (container.streams.video[0].width, container.streams.video[0].height) == size


def test_a_wiggle_swings_there_and_back(tmp_path: Path) -> None:
    scene = card_scene(WIDTH, HEIGHT)
    write(scene, tmp_path / "a.wiggle.gif")
    write(scene, tmp_path / "b.wiggle.gif")
    assert (tmp_path / "a.wiggle.gif").read_bytes() == (tmp_path / "b.wiggle.gif").read_bytes()
    with Image.open(tmp_path / "a.wiggle.gif") as gif:
        assert isinstance(gif, GifImageFile)
        assert (gif.n_frames, gif.size, gif.info["loop"]) == (12, (WIDTH, HEIGHT), 0)
        frames = []
        for index in range(12):
            gif.seek(index)
            frames.append(np.asarray(gif.convert("RGB")).astype(int))
    left, right = render_stereo(scene)
    assert np.abs(frames[0] - left).mean() < 6
    assert np.abs(frames[6] - right).mean() < 6
    for index in range(1, 6):
        np.testing.assert_array_equal(frames[index], frames[12 - index])
    where = [float(np.nonzero(frame[..., 0] > 150)[1].mean()) for frame in frames]
    steps = np.diff([*where, where[0]])
    assert (steps[:6] < 0).all(), "the near disc goes left as the eye goes right"
    assert (steps[6:] > 0).all()
    ends, middle = np.abs(steps[[0, 5, 6, 11]]), np.abs(steps[[2, 3, 8, 9]])
    assert ends.max() < 0.5 * middle.min(), "slowest where it turns"


def test_a_large_scene_wiggles_small(tmp_path: Path) -> None:
    write(card_scene(640, 400), tmp_path / "a.wiggle.gif")
    with Image.open(tmp_path / "a.wiggle.gif") as gif:
        assert gif.size == (480, 300)


def test_errors_are_one_line(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    with pytest.raises(UnknownNameError, match=r"unknown layout 'sbz'.*did you mean 'sbs'"):
        write_stereo(scene, tmp_path / "a.sbz.jpg")
    with pytest.raises(InputError, match=r"eyes must be .* at most 0\.06"):
        write_stereo(scene, tmp_path / "a.sbs.jpg", eyes=1.0)
    with pytest.raises(InputError, match=r"eyes must be .* at most 0\.06"):
        write_video(scene, tmp_path / "a.sbs.mp4", eyes=1.0)
    with pytest.raises(InputError, match=r"a\.mp4 shows what one eye sees.*a\.sbs\.mp4"):
        write_video(scene, tmp_path / "a.mp4", eyes=0.01)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        write_stereo(scene, tmp_path / "file" / "a.sbs.png")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
