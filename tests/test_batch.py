"""Many photos, in real processes: what is made, what is left when something dies, what goes on."""

import contextlib
import gc
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import diorama
from diorama.batch import PhotoResult, convert_photos, result_suffixes
from diorama.config import SceneConfig
from diorama.errors import InputError, MissingExtraError, OutputError, UnknownNameError
from diorama.export import FORMATS, Format
from diorama.inputs import find_photos
from diorama.pipeline import open_scene

COMMAND = [sys.executable, "-m", "diorama.cli", "photo"]
SMALL = SceneConfig(max_size=64, texture_size=64)
OPTIONS = ["--max-size", "64", "--texture-size", "64", "--formats", "depth"]
SECONDS = 60.0
"""For what should take a few, on a machine that is busy with other things."""


@pytest.fixture(scope="module")
def pixels(demo_photo: Path) -> Image.Image:
    with Image.open(demo_photo) as image:
        return image.resize((96, 72), Image.Resampling.BOX)


@pytest.fixture
def archive(tmp_path: Path, pixels: Image.Image) -> Path:
    """Six small photos, two to a folder."""
    folder = tmp_path / "archive"
    fill(folder, pixels, [f"{year}/{name}.jpg" for year in (2019, 2020, 2021) for name in "ab"])
    return folder


def fill(folder: Path, pixels: Image.Image, names: list[str]) -> None:
    for index, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels.crop((0, 0, 80 + index % 16, 64)).save(path)


def command(*args: object) -> list[str]:
    return [*COMMAND, *OPTIONS, *map(str, args)]


def run(*args: object, **options: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), capture_output=True, text=True, timeout=120, check=False, **options
    )


@contextlib.contextmanager
def running(*args: object) -> Iterator["subprocess.Popen[str]"]:
    """The command, at work in a process group of its own as under a terminal."""
    process = subprocess.Popen(
        command(*args),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_until(there: Callable[[], Any], *, poll: float = 0.001) -> Any:
    deadline = time.monotonic() + SECONDS
    while not (what := there()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(poll)
    return what


def was_let_go(thing: "weakref.ref[Any]") -> bool:
    """Whether it is gone; a pool's thread may need a moment to forget what it has finished."""
    deadline = time.monotonic() + 0.5
    while thing() is not None and time.monotonic() < deadline:
        time.sleep(0.001)
    return thing() is None


def workers_of(pid: int) -> list[int]:
    """Process numbers of the workers of a command."""
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        lines = {int(c): Path(f"/proc/{c}/cmdline").read_text() for c in children}
    except OSError:
        return []
    return [child for child, line in lines.items() if "spawn_main" in line]


def has_ended(pid: int) -> bool:
    """Gone, or only waiting to be buried by whoever is in charge of that."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_models_are_looked_at_before_any_photo(archive: Path, tmp_path: Path) -> None:
    photos = find_photos([str(archive)])
    for config, error in [
        (SceneConfig(segmenter="embeded"), UnknownNameError),
        (SceneConfig(depth="own", inpainter="nobody"), UnknownNameError),
    ]:
        with pytest.raises(error):
            convert_photos(photos, tmp_path / "out", config=config)
    assert not (tmp_path / "out").exists()


def scratch(folder: Path) -> list[Path]:
    walk = os.walk(folder)  # which minds no folder that vanishes meanwhile
    return [Path(top) / n for top, names, _ in walk for n in names if n.startswith(".diorama-")]


def outputs(folder: Path) -> set[str]:
    """Results, as paths without the folder."""
    found = {path.relative_to(folder) for path in folder.rglob("[!.]*.*")}
    return {str(path) for path in found if not any("." in part for part in path.parts[:-1])}


def complete(folder: Path) -> set[str]:
    """Names of the photos that are made; whatever is there is whole."""
    assert scratch(folder) == []
    made = outputs(folder)
    names = {name.removesuffix(".diorama") for name in made if name.endswith(".diorama")}
    assert made == {name + suffix for name in names for suffix in (".diorama", ".depth")}
    for name in names:
        assert open_scene(folder / f"{name}.diorama").photo.rgb.shape[1] == 64
        assert len(list((folder / f"{name}.depth").iterdir())) >= 3
    return names


def names_of(archive: Path) -> set[str]:
    return {str(path.relative_to(archive).with_suffix("")) for path in archive.rglob("*.*")}


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


class TestBatch:
    def test_folders_are_mirrored_and_everything_is_recorded(
        self, archive: Path, tmp_path: Path
    ) -> None:
        out, manifest = tmp_path / "out", tmp_path / "made" / "m.jsonl"
        (archive / "2020" / "broken.jpg").write_text("I am not a cat.")
        done = run(archive, "-o", out, "--jobs", 2, "--manifest", manifest)
        assert done.returncode == 2
        assert complete(out) == names_of(archive) - {"2020/broken"}
        assert set(done.stdout.splitlines()) == {str(out / name) for name in outputs(out)}
        lines = done.stderr.splitlines()
        assert lines[-2:] == ["6 made, 1 failed", f"failed: {archive / '2020' / 'broken.jpg'}"]
        assert sum("error: " in line for line in lines) == 1
        assert len([line for line in lines if line.startswith("[")]) == 6

        found = {record["input"]: record for record in records(manifest)}
        assert set(found) == {str(path) for path in archive.rglob("*.jpg")}
        broken = found.pop(str(archive / "2020" / "broken.jpg"))
        assert (broken["status"], broken["outputs"]) == ("failed", [])
        assert "is not a JPEG" in broken["error"]
        for record in found.values():
            assert (record["status"], record["error"]) == ("ok", None)
            assert all(Path(output).is_dir() for output in record["outputs"])
            assert len(record["outputs"]) == 2
            assert 0 < sum(record["timings_s"].values()) <= record["seconds"] + 0.01
            assert list(record["timings_s"])[-1] == "export depth"
            assert record["size"][0] == 64
            assert record["models"]["depth"] == "embedded"
            assert record["version"] == diorama.__version__
            assert 20 < record["memory_mb"] <= record["peak_mb"] < 2000
            assert record["time"].endswith("+00:00")
        assert len({record["pid"] for record in found.values()}) == 2

    def test_a_later_run_goes_on(self, archive: Path, tmp_path: Path) -> None:
        out, manifest = tmp_path / "out", tmp_path / "m.jsonl"
        assert run(archive, "-o", out, "--shard", "1/2").returncode == 0
        assert len(complete(out)) == 3
        shutil.rmtree(out / "2019" / "a.depth")  # half a photo is none
        before = (out / "2020" / "a.diorama").stat().st_ino
        done = run(archive, "-o", out, "--skip-existing", "--manifest", manifest)
        assert done.returncode == 0
        assert complete(out) == names_of(archive)
        assert (out / "2020" / "a.diorama").stat().st_ino == before
        assert done.stderr.splitlines()[-1] == "4 made, 2 skipped"
        assert len(done.stdout.splitlines()) == 8
        assert [r["status"] for r in records(manifest)].count("skipped") == 2
        again = run(archive, "-o", out, "--skip-existing", "--json", "--jobs", 0)
        report = json.loads(again.stdout)
        assert report["ok"] is True
        assert [result["status"] for result in report["results"]] == ["skipped"] * 6

    def test_two_machines_share_the_work_and_the_manifest(
        self, archive: Path, tmp_path: Path
    ) -> None:
        out, manifest = tmp_path / "out", tmp_path / "m.jsonl"
        manifest.write_text('{"input": "torn')
        args = [archive, "-o", out, "--manifest", manifest]
        with running(*args, "--shard", "1/2") as one, running(*args, "--shard", "2/2") as two:
            assert (one.wait(SECONDS), two.wait(SECONDS)) == (0, 0)
        assert complete(out) == names_of(archive)
        torn, *lines = manifest.read_text().splitlines()
        assert torn == '{"input": "torn'
        made = [json.loads(line)["input"] for line in lines]
        assert sorted(made) == sorted(map(str, archive.rglob("*.jpg")))

    def test_names_of_every_kind(self, tmp_path: Path, pixels: Image.Image) -> None:
        names = [
            "a b",
            "it's",
            'say "hi"',
            "🐈",
            "new\nline",
            "-o",
            "a[1]",
            "*",
        ]
        fill(tmp_path / "in", pixels, [f"{name}.jpg" for name in names])
        (tmp_path / "in" / "bad\n\x1b[31m.jpg").write_text("I am not a cat.")
        out, manifest = tmp_path / "out", tmp_path / "m.jsonl"
        args = command("in", "-o", out, "--jobs", 2, "--manifest", manifest)
        done = subprocess.run(args, capture_output=True, timeout=120, cwd=tmp_path, check=False)
        assert done.returncode == 2
        assert complete(out) == set(names)
        assert {os.fsdecode(line) for line in done.stdout.split(b".depth\n")[:-1]} >= {
            str(out / "new\nline.diorama\n") + str(out / "new\nline")
        }
        errors = [line for line in done.stderr.splitlines() if b"error: " in line]
        assert len(errors) == 1
        assert errors[0].startswith(rb"error: in/bad\x0a\x1b[31m.jpg is not a JPEG")
        inputs = {record["input"] for record in records(manifest)}
        assert inputs == {f"in/{name}.jpg" for name in [*names, "bad\n\x1b[31m"]}

    def test_a_terminal_gets_a_bar(self, archive: Path, tmp_path: Path) -> None:
        ours, theirs = os.openpty()
        process = subprocess.Popen(
            command(archive, "-o", tmp_path / "out"), stdout=subprocess.DEVNULL, stderr=theirs
        )
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while chunk := os.read(ours, 65536):
                shown += chunk
        os.close(ours)
        assert process.wait(SECONDS) == 0
        assert b"6/6" in shown
        assert b"6 made" in shown
        assert b"a.jpg" in shown

    def test_memory_stays_level(self, tmp_path: Path, pixels: Image.Image) -> None:
        fill(tmp_path / "in", pixels, [f"{n:02}.jpg" for n in range(40)])
        results = list(
            convert_photos(find_photos([tmp_path / "in"]), tmp_path / "out", config=SMALL, jobs=2)
        )
        for pid in {result.pid for result in results}:
            sizes = [r.memory_mb for r in results if r.pid == pid and r.memory_mb is not None]
            assert len(sizes) > 10
            assert sizes[-1] < sizes[8] + 8

    def test_no_format_keeps_a_scene_in_memory(
        self, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Not even until the garbage collector comes by, which may be many photos later."""
        make = diorama.pipeline.photo_to_scene
        scenes: list[weakref.ref[Any]] = []

        def watched(*args: Any, **options: Any) -> object:
            scene = make(*args, **options)
            scenes.append(weakref.ref(scene))
            return scene

        monkeypatch.setattr(diorama.pipeline, "photo_to_scene", watched)
        photos = find_photos([archive / "2019" / "a.jpg"])
        gc.collect()
        gc.disable()
        try:
            for suffix in result_suffixes(["all"]):
                name = next(f.name for f in FORMATS.values() if suffix in f.suffixes)
                for _ in range(2):
                    (result,) = convert_photos(
                        photos, tmp_path / "out", formats=[name], config=SMALL
                    )
                    assert (result.status, result.error) == ("ok", None)
                    scene = scenes.pop()
                    if was_let_go(scene):
                        break
                    gc.collect()  # a kernel was compiled, which leaves cycles behind: once more
                else:
                    pytest.fail(f"{name} keeps the scene")
        finally:
            gc.enable()


class TestPython:
    def test_results_come_as_they_finish(self, archive: Path, tmp_path: Path) -> None:
        stages: list[tuple[str, str]] = []
        results = convert_photos(
            find_photos([archive]),
            tmp_path / "out",
            formats=["zip"],
            config=SMALL,
            progress=lambda photo, stage: stages.append((photo.name, stage)),
        )
        first = next(results)
        assert isinstance(first, PhotoResult)
        assert first.outputs == (str(tmp_path / "out" / "2019" / "a.zip"),)
        assert {name for name, _ in stages} == {"2019/a"}
        assert stages[0][1] == "photo"
        assert stages[-1][1] == "export zip"
        results.close()
        assert outputs(tmp_path / "out") == {"2019/a.zip"}

    def test_closing_stops_the_workers(self, archive: Path, tmp_path: Path) -> None:
        results = convert_photos(
            find_photos([archive] * 2), tmp_path / "out", formats=["depth"], config=SMALL, jobs=2
        )
        pid = next(results).pid
        assert pid in workers_of(os.getpid())
        results.close()
        assert workers_of(os.getpid()) == []
        assert len(complete(tmp_path / "out")) < 6

    def test_what_was_not_found_is_a_failure_like_others(
        self, archive: Path, tmp_path: Path
    ) -> None:
        photos = find_photos([tmp_path / "gone", archive / "2019" / "a.jpg", "none/*.jpg"])
        results = list(convert_photos(photos, tmp_path / "out", config=SMALL, formats=["zip"]))
        assert [result.status for result in results] == ["failed", "ok", "failed"]
        assert results[2].error is not None
        assert results[2].error.startswith("no photo fits none/*.jpg")

    def test_a_photo_is_never_replaced_by_its_result(
        self, tmp_path: Path, pixels: Image.Image
    ) -> None:
        fill(tmp_path, pixels, ["cat.gif"])
        before = (tmp_path / "cat.gif").read_bytes()
        (tmp_path / "link").symlink_to(tmp_path)
        photos = find_photos([tmp_path / "link" / "cat.gif"])
        (result,) = convert_photos(photos, tmp_path, formats=["gif"], config=SMALL)
        assert result.error is not None
        assert "would replace the photo itself" in result.error
        assert (tmp_path / "cat.gif").read_bytes() == before
        assert not (tmp_path / "cat.diorama").exists()

    def test_our_own_fault_is_one_photos(
        self, archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make = diorama.pipeline.photo_to_scene
        errors: list[Exception] = [MemoryError(), ZeroDivisionError("a bug\nin two lines")]

        def sometimes(*args: Any, **options: Any) -> object:
            if errors:
                raise errors.pop(0)
            return make(*args, **options)

        monkeypatch.setattr(diorama.pipeline, "photo_to_scene", sometimes)
        photos = find_photos([archive])[:3]
        memory, fault, good = convert_photos(photos, tmp_path, formats=["zip"], config=SMALL)
        assert (memory.error or "").startswith(f"no memory for {photos[0].path}: ")
        assert memory.fault is None
        assert "our fault, please report it" in (fault.error or "")
        assert "\n" not in (fault.error or "")
        assert "ZeroDivisionError" in (fault.fault or "")
        assert good.status == "ok"

    def test_settings_are_checked_at_once(self, archive: Path, tmp_path: Path) -> None:
        photos = find_photos([archive])
        with pytest.raises(InputError, match="jobs must be 0"):
            convert_photos(photos, tmp_path, jobs=-1)
        with pytest.raises(UnknownNameError, match="unknown format"):
            convert_photos(photos, tmp_path, formats=["htm"])
        with pytest.raises(OutputError, match="it is a file, not a folder"):
            convert_photos(photos, archive / "2019" / "a.jpg")

    def test_formats_become_suffixes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert result_suffixes(["html", " .GLB ", "", "html"]) == (".diorama", ".html", ".glb")
        assert result_suffixes(["diorama"]) == (".diorama",)
        assert result_suffixes(["zip", "html"]) == (".zip", ".html")
        everything = result_suffixes(["all"])
        assert everything[0] == ".diorama"
        assert ".zip" not in everything
        assert len(everything) == len(set(everything)) > 8
        needy = Format("x", (".x",), "a:b", "An x.", extra="exr")
        monkeypatch.setitem(FORMATS, "x", needy)
        monkeypatch.setitem(diorama.extras.EXTRAS, "exr", "not_installed")
        with pytest.raises(MissingExtraError, match="format 'x' needs an extra"):
            result_suffixes(["x"])
        assert ".x" not in result_suffixes(["all"])

    def test_a_script_without_a_guard_is_told(self, archive: Path, tmp_path: Path) -> None:
        script = tmp_path / "script.py"
        script.write_text(f"""
from diorama.batch import convert_photos
from diorama.inputs import find_photos
print(list(convert_photos(find_photos([{str(archive)!r}]), "out", jobs=2)))
""")
        args = [sys.executable, str(script)]
        done = subprocess.run(args, capture_output=True, text=True, cwd=tmp_path, timeout=SECONDS)
        assert done.returncode == 1
        assert "worker processes cannot start: a script that asks for several" in done.stderr


class TestDeath:
    def test_a_worker_that_is_killed_takes_only_its_photo(
        self, archive: Path, tmp_path: Path
    ) -> None:
        """A named pipe is a photo that never ends, so it is known where the worker is."""
        os.mkfifo(tmp_path / "pipe.jpg")
        out, manifest = tmp_path / "out", tmp_path / "m.jsonl"
        manifest.touch()
        args = [tmp_path / "pipe.jpg", archive, "-o", out, "--jobs", 2, "--manifest", manifest]
        with running(*args) as process:
            wait_until(lambda: len(manifest.read_bytes().splitlines()) == 6, poll=0.05)
            at_work = {record["pid"] for record in records(manifest)}
            (stuck,) = set(workers_of(process.pid)) - at_work
            os.kill(stuck, signal.SIGKILL)
            _, stderr = process.communicate(timeout=SECONDS)
            assert process.returncode == 2
        assert complete(out) == names_of(archive)
        error = f"a worker was killed by signal 9 (out of memory?) while making {args[0]}"
        assert stderr.splitlines()[-3:] == [
            f"error: {error}",
            "6 made, 1 failed",
            f"failed: {args[0]}",
        ]
        assert records(manifest)[-1]["error"] == error

    def test_what_it_was_writing_goes_and_others_take_its_place(
        self, archive: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        with running(archive, "-o", out, "--jobs", 2) as process:
            for _ in range(2):  # both of the first workers, so that the last photos need new ones
                left = wait_until(lambda: stopped_amid_writing(out, workers_of(process.pid)))
                os.kill(pid_of(left), signal.SIGKILL)
                wait_until(lambda left=left: not left.exists())
            _, stderr = process.communicate(timeout=SECONDS)
            assert process.returncode == 2
        assert stderr.splitlines()[-3] == "4 made, 2 failed", stderr
        assert stderr.count("killed by signal 9 (out of memory?) while making") == 2
        assert len(complete(out)) == 4
        again = run(archive, "-o", out, "--jobs", 2, "--skip-existing")
        assert again.returncode == 0
        assert again.stderr.splitlines()[-1] == "2 made, 4 skipped"
        assert complete(out) == names_of(archive)

    def test_workers_end_with_the_command_that_is_killed(
        self, archive: Path, tmp_path: Path
    ) -> None:
        out, manifest = tmp_path / "out", tmp_path / "m.jsonl"
        with running(archive, "-o", out, "--jobs", 2, "--manifest", manifest) as process:
            left = wait_until(lambda: stopped_amid_writing(out, workers_of(process.pid)))
            pids = workers_of(process.pid)
            process.kill()
            os.kill(pid_of(left), signal.SIGCONT)
        assert len(pids) == 2
        wait_until(lambda: all(has_ended(pid) for pid in pids))
        made = complete(out)
        assert len(made) < 6
        done = run(archive, "-o", out, "--skip-existing", "--manifest", manifest)
        assert done.returncode == 0
        assert done.stderr.splitlines()[-1].startswith(f"{6 - len(made)} made")
        assert complete(out) == names_of(archive)
        recorded = {record["input"] for record in records(manifest)}
        assert recorded == {str(path) for path in archive.rglob("*.jpg")}

    def test_a_later_run_clears_up_behind_one_that_was_killed(
        self, archive: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        with running(archive, "-o", out) as process:
            wait_until(lambda: (out / "2020").exists())
            wait_until(lambda: stopped_amid_writing(out, [process.pid]))
            process.kill()
        assert scratch(out) != []
        made = len(outputs(out)) // 2
        done = run(archive, "-o", out, "--skip-existing")
        assert done.returncode == 0
        assert done.stderr.splitlines()[-1] == f"{6 - made} made, {made} skipped"
        assert complete(out) == names_of(archive)


def pid_of(folder: Path) -> int:
    return int(folder.name.split("-")[2])


def stopped_amid_writing(out: Path, pids: list[int]) -> Path | None:
    """The scratch folder of one of these processes, which is stopped: it was writing results."""
    for left in scratch(out):
        if left.parent.parent != out or pid_of(left) not in pids:
            continue
        os.kill(pid_of(left), signal.SIGSTOP)
        with contextlib.suppress(OSError):
            names = {path.stem for path in (left / "results").iterdir()}
            if names and not any(path.stem in names for path in left.parent.iterdir()):
                return left
        os.kill(pid_of(left), signal.SIGCONT)
    return None


class TestInterrupt:
    """130 for Ctrl-C, 143 for a polite kill, at any moment; nothing is half-written."""

    @pytest.mark.parametrize("jobs", [1, 2])
    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    @pytest.mark.parametrize("moment", range(3))
    def test_nothing_is_left(
        self, tmp_path: Path, pixels: Image.Image, jobs: int, signum: int, moment: int
    ) -> None:
        archive, out = tmp_path / "archive", tmp_path / "out"
        fill(archive, pixels, [f"{n % 7}/{n:03}.jpg" for n in range(400)])
        manifest = tmp_path / "m.jsonl"
        rng = random.Random(100 * jobs + 10 * signum + moment)
        with running(archive, "-o", out, "--jobs", jobs, "--manifest", manifest) as process:
            if jobs > 1:
                wait_until(lambda: workers_of(process.pid))
            else:
                wait_until(manifest.exists)
            time.sleep(rng.uniform(0, 4))
            pids = workers_of(process.pid)
            if signum == signal.SIGINT:  # a terminal tells every process in the foreground
                os.killpg(process.pid, signum)
            else:
                process.send_signal(signum)
            began = time.monotonic()
            stdout, stderr = process.communicate(timeout=SECONDS)
            seconds = time.monotonic() - began
        assert process.returncode == 128 + signum, stderr
        assert stderr.splitlines()[-1] == "interrupted"
        assert "Traceback" not in stderr
        assert seconds < 9  # it did not have to be killed
        assert all(has_ended(pid) for pid in pids)
        made = complete(out) if out.exists() else set()
        recorded = records(manifest) if manifest.exists() else []
        assert {Path(record["input"]).stem for record in recorded} <= {
            Path(name).stem for name in made
        }
        assert 2 * len(recorded) - len(stdout.splitlines()) in (0, 2)

    def test_a_worker_that_is_asked_to_end_does(self, archive: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        with running(archive, "-o", out, "--jobs", 2) as process:
            left = wait_until(lambda: stopped_amid_writing(out, workers_of(process.pid)))
            os.kill(pid_of(left), signal.SIGTERM)
            os.kill(pid_of(left), signal.SIGCONT)
            _, stderr = process.communicate(timeout=SECONDS)
        assert process.returncode == 2
        assert stderr.count("a worker was killed by signal 15 while making") == 1
        assert "Traceback" not in stderr
        assert len(complete(out)) == 5


class TestPlaces:
    """Places that cannot be written to; the real thing, mounted where only this test sees it."""

    def mounted(self, archive: Path, out: Path, options: str, *args: object) -> Any:
        """Run with `out` on a file system of its own."""
        out.mkdir()
        script = 'mount -t tmpfs -o "$0" none "$1" || exit 99; shift; "$@"; code=$?; ls -RA '
        script = f"{script} {out}; exit $code"
        line = ["unshare", "--map-root-user", "--mount", "sh", "-c", script, options, str(out)]
        done = subprocess.run(
            [*line, *command(archive, "-o", out, *args)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode != 99, f"mounting is not permitted here: {done.stderr}"
        return done

    @pytest.mark.parametrize("jobs", [1, 2])
    def test_a_disk_that_fills_up(self, tmp_path: Path, pixels: Image.Image, jobs: int) -> None:
        archive, out = tmp_path / "archive", tmp_path / "out"
        fill(archive, pixels, [f"{n:03}.jpg" for n in range(60)])
        done = self.mounted(archive, out, "size=400k", "--jobs", jobs)
        assert done.returncode == 2
        lines = done.stderr.splitlines()
        failed = [line for line in lines if line.startswith("error: ") and "stopped" not in line]
        assert all(f"cannot write {out}" in line for line in failed)
        assert all("No space left on device" in line for line in failed)
        made = done.stdout.count("/photo.png") or done.stdout.count(".diorama:")
        assert made >= 1
        assert 3 <= len(failed) <= 6
        assert ".diorama-" not in done.stdout
        assert lines[-1].startswith(
            f"error: stopped, because nothing can be written any more: {out}: No space left"
        )
        assert lines[-1].endswith(
            f"; {60 - made - len(failed)} photos are left; mend that and run again with "
            f"--skip-existing"
        )

    def test_a_place_that_is_read_only(self, archive: Path, tmp_path: Path) -> None:
        done = self.mounted(archive, tmp_path / "out", "ro", "--jobs", 2)
        assert done.returncode == 2
        out = tmp_path / "out"
        assert done.stderr.splitlines() == [f"error: cannot write {out}: Read-only file system"]

    def test_a_place_that_goes_away(self, archive: Path, tmp_path: Path) -> None:
        out = tmp_path / "out"
        results = convert_photos(find_photos([archive]), out, formats=["zip"], config=SMALL)
        assert next(results).status == "ok"
        shutil.rmtree(out)
        out.write_text("a file where the folder was")
        assert next(results).status == "failed"
        with pytest.raises(OutputError, match=r"stopped, .*not a folder; 4 photos are left"):
            next(results)

    def test_one_photo_that_cannot_be_written_does_not_stop_the_others(
        self, archive: Path, tmp_path: Path
    ) -> None:
        out = tmp_path / "out"
        (out / "2019").mkdir(parents=True)
        (out / "2020").touch()
        results = list(convert_photos(find_photos([archive]), out, formats=["depth"], config=SMALL))
        assert [result.status for result in results] == ["ok"] * 2 + ["failed"] * 2 + ["ok"] * 2
        assert results[2].error == f"cannot write to {out / '2020'}: it is a file, not a folder"
