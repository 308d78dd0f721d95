"""Videos play: size, rate, length, colour and flags as asked; whole or not there."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image

from diorama.cli import main
from diorama.errors import InputError, OutputError, UnknownNameError
from diorama.export.video import PRESETS, encode_video, scene_path, write_video
from diorama.framing import MAX_ZOOM
from diorama.paths import camera_path
from diorama.scene import Scene


def sliding_card(num_frames: int = 10, width: int = 96, height: int = 64) -> list[np.ndarray]:
    """A saturated card that moves 4 px a frame over a grey ground."""
    frames = []
    for index in range(num_frames):
        frame = np.full((height, width, 3), 120, np.uint8)
        frame[16:48, 8 + 4 * index : 40 + 4 * index] = (200, 40, 60)
        frames.append(frame)
    return frames


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", "h264"), (".webm", "vp9")])
def test_a_video_has_the_frames_it_was_given(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"a{suffix}"
    frames = sliding_card()
    encode_video(frames, path, fps=25)
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name.removeprefix("lib") in (codec, f"vpx-{codec}")
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert stream.average_rate == 25
        assert (stream.width, stream.height) == (96, 64)
        assert stream.codec_context.colorspace == 1
        assert stream.codec_context.color_range == 1
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(stream)]
    assert len(decoded) == len(frames)
    for got, want in zip(decoded, frames, strict=True):
        # 4:2:0 blurs colour at the card's edges; away from them the colours come back. A wrong
        # matrix (BT.601) would be 8 to 20 off.
        assert np.abs(got[:8].astype(int) - want[:8]).max() <= 3
        inside = np.flatnonzero(want[32, :, 1] == 40)[6:-6]
        color = np.median(got[20:44, inside], axis=(0, 1))
        assert np.abs(color - (200, 40, 60)).max() <= 4


def test_an_odd_size_loses_its_last_row_and_column(tmp_path: Path) -> None:
    encode_video(sliding_card(3, 97, 65), tmp_path / "a.mp4", fps=30)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (96, 64)


def test_an_mp4_starts_with_its_index(tmp_path: Path) -> None:
    encode_video(sliding_card(), tmp_path / "a.mp4", fps=30)
    data = (tmp_path / "a.mp4").read_bytes()
    assert 0 < data.index(b"moov") < data.index(b"mdat")


def test_a_gif_loops_at_the_given_rate(tmp_path: Path) -> None:
    frames = sliding_card()
    encode_video(frames, tmp_path / "a.gif", fps=20)
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 1) == len(frames)
        assert gif.info["duration"] == 50
        assert gif.info["loop"] == 0
        for index, want in enumerate(frames):
            gif.seek(index)
            assert np.abs(np.asarray(gif.convert("RGB")).astype(int) - want).mean() < 2


def test_a_failing_frame_leaves_nothing(tmp_path: Path) -> None:
    def frames() -> Iterator[np.ndarray]:
        yield from sliding_card(3)
        raise KeyboardInterrupt

    for suffix in (".mp4", ".webm", ".gif"):
        with pytest.raises(KeyboardInterrupt):
            encode_video(frames(), tmp_path / f"a{suffix}", fps=30)
    assert list(tmp_path.iterdir()) == []


def test_errors_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="needs at least one frame"):
        encode_video([], tmp_path / "a.mp4", fps=30)
    with pytest.raises(InputError, match="fps must be positive, got 0"):
        encode_video(sliding_card(1), tmp_path / "a.mp4", fps=0)
    with pytest.raises(UnknownNameError, match=r"unknown video format '\.mp3'.*did you mean"):
        encode_video(sliding_card(1), tmp_path / "a.mp3", fps=30)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        encode_video(sliding_card(1), tmp_path / "file" / "a.mp4", fps=30)


@pytest.mark.parametrize("name", ["orbit", "circle"])
def test_a_named_path_keeps_the_photos_border_out_of_the_frame(name: str) -> None:
    scene = card_scene(160, 120)
    cameras = scene_path(scene, name, num_frames=12)
    assert len(cameras) == 12
    for camera in cameras:
        assert scene.render(camera).alpha.min() > 0.75
    plain = camera_path(
        name,
        scene.camera,
        scene.view_box,
        num_frames=12,
        focus_disparity=float(np.median(scene.disparity)),
    )
    zooms = [c.K[0, 0] / p.K[0, 0] for c, p in zip(cameras, plain, strict=True)]
    assert 1 < zooms[0] <= MAX_ZOOM
    assert zooms == pytest.approx([zooms[0]] * 12)


def test_the_photos_own_view_is_not_magnified() -> None:
    scene = card_scene(160, 120)
    (camera,) = scene_path(scene, "static", num_frames=1)
    assert np.array_equal(camera.K, scene.camera.K)


def test_key_frames_are_taken_as_they_are(tmp_path: Path) -> None:
    scene = card_scene(160, 120)
    keys = [{"t": 0, "position": [-1, 0, 0]}, {"t": 1, "position": [1, 0, 0]}]
    (tmp_path / "path.json").write_text(json.dumps({"keys": keys}))
    first, last = scene_path(scene, str(tmp_path / "path.json"), num_frames=2)
    assert np.array_equal(first.K, scene.camera.K)
    assert last.camera_to_world[0, 3] == pytest.approx(scene.view_box.sideways)


def test_a_scene_becomes_a_video(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    cameras = [scene.camera, scene.camera.at(x=0.02)]
    write_video(scene, tmp_path / "a.mp4", cameras=cameras, fps=10)
    with av.open(str(tmp_path / "a.mp4")) as container:
        first, _ = (f.to_ndarray(format="rgb24") for f in container.decode(video=0))
    assert np.abs(first / 255 - scene.photo.rgb).mean() < 0.03


def test_a_default_gif_is_one_loop_of_four_seconds(tmp_path: Path) -> None:
    write_video(card_scene(64, 48), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert getattr(gif, "n_frames", 1) * gif.info["duration"] == 4000


def size_of(path: Path) -> tuple[int, int]:
    with av.open(str(path)) as container:
        return container.streams.video[0].width, container.streams.video[0].height


def large_scene() -> Scene:
    """Computed at 320x240, from a photo of 1600x1200."""
    scene = card_scene(320, 240)
    fine = Image.fromarray(scene.photo.texture).resize((1600, 1200), Image.Resampling.BICUBIC)
    return replace(scene, photo=replace(scene.photo, texture=np.asarray(fine)))


@pytest.mark.parametrize(
    ("preset", "size"),
    [
        ("web", (1280, 960)),
        ("small", (720, 540)),
        ("high", (1600, 1200)),
        ("square", (1080, 1080)),
        ("vertical", (1080, 1920)),
    ],
)
def test_a_preset_says_how_large(preset: str, size: tuple[int, int]) -> None:
    (camera,) = scene_path(large_scene(), "static", num_frames=1, preset=preset)
    assert (camera.width, camera.height) == size


@pytest.mark.parametrize(
    ("preset", "size"),
    [("high", (100, 75)), ("square", (100, 100)), ("vertical", (56, 100))],
)
def test_a_given_size_wins_over_the_presets(preset: str, size: tuple[int, int]) -> None:
    (camera,) = scene_path(large_scene(), "static", num_frames=1, preset=preset, size=100)
    assert (camera.width, camera.height) == size


@pytest.mark.parametrize(("preset", "shape"), [("square", (1, 1)), ("vertical", (9, 16))])
def test_a_crop_shows_the_middle_and_no_border(preset: str, shape: tuple[int, int]) -> None:
    scene = card_scene(320, 240)
    height = 160
    width = height * shape[0] // shape[1]
    (still,) = scene_path(scene, "static", num_frames=1, preset=preset, size=height)
    picture = Image.fromarray(scene.photo.texture).resize((213, 160), Image.Resampling.BOX)
    left = (213 - width) / 2
    part = picture.crop((round(left), 0, round(left) + width, height))
    assert np.abs(scene.render(still).rgb * 255 - np.asarray(part)).mean() < 6
    for camera in scene_path(scene, "orbit", num_frames=6, preset=preset, size=height):
        assert scene.render(camera).alpha.min() > 0.75


def test_a_crop_of_key_frames_keeps_their_lens(tmp_path: Path) -> None:
    scene = card_scene(160, 120)
    fov = scene.camera.fov_deg
    keys = [{"t": t, "position": [0, 0, 0], "fov_deg": fov} for t in (0, 1)]
    (tmp_path / "path.json").write_text(json.dumps({"keys": keys}))
    for name in (str(tmp_path / "path.json"), "static"):
        (camera,) = scene_path(scene, name, num_frames=1, preset="square", size=120)
        np.testing.assert_allclose(
            camera.K, [[scene.camera.K[0, 0], 0, 60], [0, scene.camera.K[1, 1], 60], [0, 0, 1]]
        )


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_better_presets_are_larger_and_truer(tmp_path: Path, suffix: str) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    large = np.asarray(Image.fromarray(picture).resize((256, 256), Image.Resampling.BICUBIC))
    noise = np.roll(large, 1, 1) // 2 + rng.integers(0, 128, large.shape).astype(np.uint8) // 2
    frames = [np.roll(noise, 3 * shift, 1) for shift in range(6)]
    sizes, errors = [], []
    for preset in ("small", "web", "high"):
        path = tmp_path / f"{preset}{suffix}"
        encode_video(frames, path, fps=30, preset=preset)
        with av.open(str(path)) as container:
            assert container.streams.video[0].codec_context.pix_fmt == "yuv420p"
            first = next(container.decode(video=0)).to_ndarray(format="gray")
        want = np.asarray(Image.fromarray(frames[0]).convert("L")).astype(float)
        sizes.append(path.stat().st_size)
        errors.append(np.abs(first / 1.0 - want).mean())
    assert sizes[0] < 0.8 * sizes[1] < 0.64 * sizes[2]
    assert errors[0] > errors[1] > errors[2]


def test_a_preset_goes_all_the_way(tmp_path: Path) -> None:
    scene = card_scene(64, 48)
    write_video(scene, tmp_path / "a.gif", preset="square", fps=10)
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.size == (480, 480)
    cameras = scene_path(scene, "static", num_frames=1, preset="vertical", size=256)
    write_video(scene, tmp_path / "a.webm", cameras=cameras, preset="vertical")
    assert size_of(tmp_path / "a.webm") == (144, 256)
    with pytest.raises(UnknownNameError, match=r"unknown video preset 'hihg'.*did you mean 'high'"):
        write_video(scene, tmp_path / "b.mp4", preset="hihg")
    with pytest.raises(UnknownNameError, match="unknown video preset"):
        encode_video(sliding_card(1), tmp_path / "b.mp4", fps=30, preset="")


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (["-o", "a.mp4", "--preset", "square", "--size", "96"], (96, 96)),
        (["-o", "a.sbs.mp4", "--size", "64"], (128, 48)),
        (["-o", "a.over-under.webm", "--eyes", "0.05"], (160, 240)),
    ],
)
def test_the_command_takes_presets_and_eyes(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    size: tuple[int, int],
) -> None:
    monkeypatch.chdir(tmp_path)
    card_scene(160, 120).save("a.zip")
    assert main(["render", "a.zip", "--frames", "2", *options]) == 0
    assert size_of(tmp_path / options[1]) == size


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "a.mp4", "--eyes", "0.05"], "a.mp4 shows what one eye sees"),
        (["-o", "a.sbs.mp4", "--eyes", "0.5"], "eyes must be more than 0 and at most 0.06"),
        (["-o", "a.mp4", "--preset", "hugh"], "unknown video preset 'hugh'"),
    ],
)
def test_the_command_says_what_does_not_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    card_scene(64, 48).save("a.zip")
    assert main(["render", "a.zip", *options]) == 2
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["a.zip"]


def test_a_gif_keeps_rare_colours(tmp_path: Path, demo_photo: Path) -> None:
    """Red roofs in a blue street: hardly any place is off in hue once dithering is blurred away."""
    with Image.open(demo_photo) as photo:
        frame = np.asarray(photo.resize((480, 360), Image.Resampling.BOX))
    encode_video([frame], tmp_path / "a.gif", fps=10)
    with Image.open(tmp_path / "a.gif") as gif:
        got = cv2.GaussianBlur(np.asarray(gif.convert("RGB"), np.float32), (0, 0), 1.5)
    error = np.abs(got - cv2.GaussianBlur(frame.astype(np.float32), (0, 0), 1.5)).max(-1)
    assert np.percentile(error, 99) < 5


def test_presets_are_listed_where_people_look(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["render", "--help"])
    shown = capsys.readouterr().out
    page = (Path(__file__).parents[1] / "docs" / "formats-video.md").read_text()
    for name, preset in PRESETS.items():
        assert re.search(rf"\b{name}\b", shown)
        row = re.search(rf"^\| `{name}`.*$", page, re.MULTILINE)
        assert row is not None
        assert str(preset.size) in row[0]
        if preset.shape is None:
            assert f"CRF {preset.mp4['crf']} | CRF {preset.webm['crf']}" in row[0]
