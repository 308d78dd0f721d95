"""The command line: what it writes, says and returns, and that nothing is ever half-written."""

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from card_scene import card_scene
from PIL import Image

import diorama
from diorama import cli, commands, pipeline
from diorama.errors import InputError
from diorama.export import FORMATS
from diorama.pipeline import open_scene

COMMAND = [sys.executable, "-m", "diorama.cli"]


def run(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)


def errors(result: subprocess.CompletedProcess[str]) -> list[str]:
    """What stderr says apart from progress; a traceback would be many such lines."""
    return [line for line in result.stderr.splitlines() if not line.startswith(("cat", "["))]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def made(photo: Path) -> tuple[Path, dict[str, Any]]:
    """The results of one run, and its report."""
    out = photo.parent / "out"
    result = run("photo", photo, "-o", out, "--formats", "depth,layers", "--seed", 7, "--json")
    assert result.returncode == 0, result.stderr
    return out, json.loads(result.stdout)


class TestPhoto:
    def test_results_lie_side_by_side_under_the_photos_name(
        self, made: tuple[Path, dict[str, Any]]
    ) -> None:
        out, _ = made
        assert names(out) == ["cat.depth", "cat.diorama", "cat.layers"]
        assert open_scene(out / "cat.diorama").photo.name == "cat"

    def test_the_report_says_everything(self, made: tuple[Path, dict[str, Any]]) -> None:
        out, report = made
        assert (report["command"], report["ok"], report["error"]) == ("photo", True, None)
        assert report["version"] == diorama.__version__
        (result,) = report["results"]
        scene = open_scene(out / "cat.diorama")
        assert result["outputs"] == [
            str(out / name) for name in ("cat.diorama", "cat.depth", "cat.layers")
        ]
        assert result["models"] == {
            "depth": "embedded",
            "segmenter": "embedded",
            "inpainter": "embedded",
        }
        assert result["seed"] == 7
        assert result["size"] == [scene.camera.width, scene.camera.height]
        assert result["num_layers"] == len(scene.layers)
        assert result["num_masks"] == len(scene.masks.ids)
        stages = [*pipeline.STAGES, "export diorama", "export depth", "export layers"]
        assert list(result["timings_s"]) == stages
        assert sum(result["timings_s"].values()) <= report["seconds"]

    def test_paths_go_to_stdout_and_progress_to_stderr(
        self, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        args = ["photo", str(photo), "-o", str(tmp_path), "--formats", "zip", "--max-size", "64"]
        assert cli.main(args) == 0
        said = capsys.readouterr()
        assert said.out.splitlines() == [str(tmp_path / "cat.zip")]
        stages = (*pipeline.STAGES, "export zip")
        assert said.err.splitlines() == [f"cat.jpg: {stage}" for stage in stages]
        assert open_scene(tmp_path / "cat.zip").camera.width == 64

    def test_depth_may_be_a_file(
        self, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        np.save(tmp_path / "d.npy", np.full((12, 16), 0.5, np.float32))
        args = ["photo", str(photo), "-o", str(tmp_path), "--formats", "zip", "--max-size", "64"]
        assert cli.main([*args, "--depth", str(tmp_path / "d.npy"), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["results"][0]["models"]["depth"] == "d.npy"
        assert open_scene(tmp_path / "cat.zip").disparity_scale == 2

    def test_one_bad_photo_does_not_stop_the_others(
        self, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        text, gone, out = tmp_path / "text.jpg", tmp_path / "gone.jpg", tmp_path / "out"
        text.write_text("I am not a cat.")
        other = tmp_path / "cat.jpg"
        other.write_bytes(photo.read_bytes())
        args = ["photo", *map(str, (text, photo, other, photo, gone)), "-o", str(out)]
        assert cli.main([*args, "--formats", "zip", "--max-size", "64"]) == 2
        assert names(out) == ["cat-2.zip", "cat.zip"]
        said = capsys.readouterr().err.splitlines()
        lines = [line for line in said if not line.startswith("[")]
        assert lines[0].startswith(f"error: {text} is not a JPEG, PNG, ")
        assert lines[1:] == [
            f"error: {gone} does not exist",
            "2 made, 2 failed",
            f"failed: {text}",
            f"failed: {gone}",
        ]

    def test_results_replace_older_ones_whole(self, photo: Path, tmp_path: Path) -> None:
        args = ["photo", str(photo), "-o", str(tmp_path), "--formats", "depth", "--max-size", "64"]
        assert cli.main(args) == 0
        first = (tmp_path / "cat.diorama" / "scene.json").read_bytes()
        (tmp_path / "cat.diorama" / "stray").touch()
        assert cli.main(args) == 0
        assert names(tmp_path) == ["cat.depth", "cat.diorama"]
        assert not (tmp_path / "cat.diorama" / "stray").exists()
        assert (tmp_path / "cat.diorama" / "scene.json").read_bytes() == first

    def test_a_terminal_gets_a_live_display(self, photo: Path, tmp_path: Path) -> None:
        ours, theirs = pty.openpty()
        command = [*COMMAND, "photo", str(photo), "-o", str(tmp_path), "--formats", "zip"]
        process = subprocess.Popen(
            [*command, "--max-size", "64"], stdout=subprocess.PIPE, stderr=theirs, text=True
        )
        os.close(theirs)
        shown = b""
        try:
            while chunk := os.read(ours, 65536):
                shown += chunk
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
        stdout, _ = process.communicate()
        assert process.returncode == 0
        assert stdout.splitlines() == [str(tmp_path / "cat.zip")]
        assert b"cat.jpg" in shown
        assert b"\x1b[" in shown


class TestBadInput:
    """One clear line, exit 2, nothing written."""

    def fails(self, message: str, tmp_path: Path, *args: object, **options: Any) -> None:
        before = names(tmp_path)
        result = run("photo", *args, "-o", tmp_path / "out", "--formats", "depth", **options)
        assert result.returncode == 2
        assert len(errors(result)) == 1, result.stderr
        assert errors(result)[0].startswith("error: ")
        assert message in errors(result)[0]
        assert result.stdout == ""
        assert names(tmp_path) == before

    def test_a_missing_file(self, tmp_path: Path) -> None:
        self.fails("cat.jpg does not exist", tmp_path, tmp_path / "cat.jpg")

    def test_text_named_jpg(self, tmp_path: Path) -> None:
        (tmp_path / "cat.jpg").write_text("I am not a cat.")
        self.fails("cat.jpg is not a JPEG", tmp_path, tmp_path / "cat.jpg")

    def test_a_truncated_jpeg(self, photo: Path, tmp_path: Path) -> None:
        data = photo.read_bytes()
        (tmp_path / "cat.jpg").write_bytes(data[: len(data) // 2])
        self.fails("cat.jpg is damaged", tmp_path, tmp_path / "cat.jpg")

    def test_a_picture_of_one_pixel(self, tmp_path: Path) -> None:
        Image.new("RGB", (1, 1)).save(tmp_path / "cat.png")
        self.fails("cat.png is 1x1 px: at least 16 px", tmp_path, tmp_path / "cat.png")

    def test_an_output_that_cannot_be_made(self, photo: Path, tmp_path: Path) -> None:
        (tmp_path / "out").write_text("a file where the folder should be")
        self.fails("out: it is a file, not a folder", tmp_path, photo)

    def test_an_output_that_may_not_be_written(self, photo: Path) -> None:
        result = run("photo", photo, "-o", "/proc/diorama")
        assert result.returncode == 2
        assert errors(result) == ["error: cannot write /proc/diorama: No such file or directory"]

    def test_a_disk_that_fills_up(self, photo: Path, tmp_path: Path) -> None:
        def almost_full() -> None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

        self.fails("File too large", tmp_path, photo, preexec_fn=almost_full)


class TestInProcess:
    """What needs no process of its own."""

    def test_the_error_is_in_the_report(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        args = ["photo", str(tmp_path / "cat.jpg"), "-o", str(tmp_path), "--json"]
        assert cli.main(args) == 2
        report = json.loads(capsys.readouterr().out)
        assert report["ok"] is False
        assert "does not exist" in report["results"][0]["error"]
        assert report["results"][0]["outputs"] == []

    @pytest.mark.parametrize(
        ("args", "message"),
        [
            (["photo"], "error: pass at least one photo"),
            (["photo", "a.jpg", "--formats", "htm"], "unknown format 'htm'"),
            (["photo", "a.jpg", "b.jpg", "--depth", "d.png"], "fits one photo"),
            (["photo", "{photo}", "--jobs", "-1"], "jobs must be 0"),
            (["photo", "{photo}", "--shard", "3/2"], "a shard is a part and a number of parts"),
            (["photo", "{photo}", "--manifest", "."], "cannot write .: Is a directory"),
            (["photo", "empty"], "error: empty does not exist"),
            (["photo", "*.jpg"], "error: no photo fits *.jpg"),
            (["photo", "@list.txt"], "error: cannot read the list list.txt"),
            (["photo", "https://a.org/*.jpg"], "download the photo first"),
            (["render", "gone.diorama", "-o", "a.mp4"], "gone.diorama does not exist"),
            (["render", "gone.diorama", "-o", "a.mp4", "--size", "2"], "--size must be at least"),
            (["render", "gone.diorama", "-o", "a.mp4", "--fps", "0"], "must be positive"),
            (["export", "gone.diorama", "a.zip"], "gone.diorama does not exist"),
            (["export", "gone.diorama", "a.stl"], "unknown format '.stl'"),
            (["export", "gone.diorama"], "pass at least one file to write"),
            (["photo", "{photo}", "--depth", "embeded"], "did you mean 'embedded'"),
            (["photo", "{photo}", "--depth", "{strip}"], "their aspects differ"),
            (["view", "gone.html"], "cannot read gone.html: No such file"),
            (["view", "gone.diorama"], "gone.diorama does not exist"),
            (["models", "info", "embeded"], "did you mean 'embedded'"),
        ],
    )
    def test_mistakes_are_one_line(
        self,
        args: list[str],
        message: str,
        photo: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        monkeypatch.chdir(tmp_path)
        strip = photo.parent / "strip.npy"
        np.save(strip, np.ones((10, 20), np.float32))
        assert cli.main([arg.format(photo=photo, strip=strip) for arg in args]) == 2
        said = capsys.readouterr()
        lines = [line for line in said.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert message in lines[0]
        assert "Traceback" not in said.err
        assert said.out == ""
        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        ("args", "suggestion"),
        [(["photo", "a.jpg", "--sed", "1"], "--seed"), (["phto", "a.jpg"], "photo, render")],
    )
    def test_typos_get_suggestions(
        self, args: list[str], suggestion: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="2"):
            cli.main(args)
        assert suggestion in capsys.readouterr().err

    def test_our_own_faults_stay_loud(
        self,
        photo: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        def broken(*args: object, **options: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(pipeline, "photo_to_scene", broken)
        assert cli.main(["photo", str(photo), "-o", str(tmp_path)]) == 1
        *trace, line = capsys.readouterr().err.splitlines()
        assert trace[0] == "Traceback (most recent call last):"
        assert line == f"error: {photo}: our fault, please report it: RuntimeError: a bug"

    def test_version(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["--version"]) == 0
        assert capsys.readouterr().out == f"diorama {diorama.__version__}\n"

    def test_formats(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["formats"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines[::2]] == list(FORMATS)
        assert lines[1].split() == [".html"]

    def test_models(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["models", "list"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[:2] for line in lines][:1] == [["depth", "embedded"]]
        assert cli.main(["models", "info", "embedded"]) == 0
        assert "licence     Apache-2.0" in capsys.readouterr().out

    def test_doctor(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert cli.main(["doctor", "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert {"name": "diorama", "value": diorama.__version__, "advice": None} in found
        assert cli.main(["doctor"]) == 0

    def test_help_comes_from_the_fields(self, capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit, match="0"):
            cli.main(["photo", "--help"])
        said = capsys.readouterr().out
        for flag in ("--depth", "--segmenter", "--max-size", "--seed", "--view-box.sideways"):
            assert flag in said

    def test_export_and_render(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        card_scene(64, 48).save(tmp_path / "cards.diorama")
        scene = str(tmp_path / "cards.diorama")
        outputs = [str(tmp_path / name) for name in ("a.depth", "a.zip")]
        assert cli.main(["export", scene, *outputs]) == 0
        assert capsys.readouterr().out.splitlines() == outputs
        video = tmp_path / "a.mp4"
        args = ["render", scene, "--path", "swing", "-o", str(video), "--frames", "3"]
        assert cli.main([*args, "--fps", "12", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)["results"][0]
        assert (report["num_frames"], report["fps"]) == (3, 12)
        with av.open(str(video)) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (64, 48, 12)
            assert len(list(container.decode(stream))) == 3

    def test_key_frames_bring_their_own_timing(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        card_scene(64, 48).save(tmp_path / "cards.zip")
        keys = [{"t": 0, "position": [0, 0, 0]}, {"t": 0.5, "position": [1, 0, 0]}]
        (tmp_path / "path.json").write_text(json.dumps({"fps": 10, "keys": keys}))
        args = ["render", str(tmp_path / "cards.zip"), "--path", str(tmp_path / "path.json")]
        assert cli.main([*args, "-o", str(tmp_path / "a.gif"), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)["results"][0]
        assert (report["num_frames"], report["fps"]) == (5, 10)


class TestInterrupt:
    """130 for Ctrl-C, 143 for a polite kill; neither results nor scratch are left."""

    @pytest.mark.parametrize(
        ("stage", "signum", "code"),
        [
            ("depth", signal.SIGINT, 130),
            ("harmonise", signal.SIGTERM, 143),
            ("export diorama", signal.SIGINT, 130),
            ("export depth", signal.SIGINT, 130),
        ],
    )
    def test_nothing_is_left(
        self, photo: Path, tmp_path: Path, stage: str, signum: int, code: int
    ) -> None:
        process = subprocess.Popen(
            [*COMMAND, "photo", str(photo), "-o", str(tmp_path / "out"), "--formats", "depth"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stderr is not None
        for line in process.stderr:
            if line.rstrip().endswith(f": {stage}"):
                break
        process.send_signal(signum)
        stdout, stderr = process.communicate(timeout=60)
        assert process.returncode == code, stderr
        assert stderr.splitlines()[-1] == "interrupted"
        assert "Traceback" not in stderr
        assert stdout == ""
        assert names(tmp_path) == []

    def test_view_serves_until_interrupted(self, tmp_path: Path) -> None:
        page = tmp_path / "a.html"
        page.write_text("<!doctype html><title>hello</title>")
        process = subprocess.Popen(
            [*COMMAND, "view", str(page), "--no-open"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        with urllib.request.urlopen(url) as answer:
            assert b"hello" in answer.read()
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 0, stderr
        assert "Traceback" not in stderr


def test_help_is_quick() -> None:
    times = []
    for _ in range(3):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert run("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # Seconds of work, not of waiting; a busy machine makes it slower all the same. Loading what
    # compiles or trains would add a second or more.
    assert min(times) < 0.9


def test_public_errors_are_the_users(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="pass at least one photo"):
        commands.PhotoCommand(inputs=(), out=tmp_path).run()
