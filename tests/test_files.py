"""Writing whole or not at all, and clearing up behind processes that were killed."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from diorama import files
from diorama.depth_files import read_depth
from diorama.errors import InputError, OutputError
from diorama.files import append_line, refuse_url, sweep, whole_file, whole_folder, whole_set
from diorama.interrupts import raising_on_signals, stop_if_interrupted, uninterrupted
from diorama.paths import load_path
from diorama.photo import load_photo
from diorama.pipeline import open_scene


def write_file(target: Path, text: str, error: type[BaseException] | None = None) -> None:
    with whole_file(target) as partial:
        partial.write_text(text)
        if error:
            raise error


def write_folder(target: Path, name: str, error: type[BaseException] | None = None) -> None:
    with whole_folder(target) as partial:
        (partial / name).write_text(name)
        if error:
            raise error


def write_into_set(folder: Path) -> None:
    with whole_set(folder) as partial:
        (partial / "taken.html").mkdir()
        write_file(partial / "taken.html", "x")


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "new" / "scene.html"
    with whole_file(target) as partial:
        assert partial.suffix == ".html"
        partial.write_text("done")
        assert not target.exists()
    assert target.read_text() == "done"
    assert names(target.parent) == ["scene.html"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "scene.html"
    target.write_text("before")
    with pytest.raises(error):
        write_file(target, "half", error)
    assert target.read_text() == "before"
    assert names(tmp_path) == ["scene.html"]


def test_a_folder_replaces_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "x.diorama"
    write_folder(target, "old")
    write_folder(target, "new")
    assert names(target) == ["new"]
    assert names(tmp_path) == ["x.diorama"]


def test_a_failed_folder_leaves_the_one_before(tmp_path: Path) -> None:
    target = tmp_path / "x.diorama"
    write_folder(target, "old")
    with pytest.raises(ZeroDivisionError):
        write_folder(target, "new", ZeroDivisionError)
    assert names(target) == ["old"]
    assert names(tmp_path) == ["x.diorama"]


def test_a_file_where_a_folder_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file")
    with pytest.raises(OutputError, match=r"cannot write .*taken"):
        write_file(tmp_path / "taken" / "scene.html", "x")
    with pytest.raises(OutputError, match="a file of this name exists"):
        write_folder(tmp_path / "taken", "x")
    assert (tmp_path / "taken").read_text() == "a file"


def test_a_folder_where_a_file_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "scene.html").mkdir()
    with pytest.raises(OutputError, match="a folder of this name exists"):
        write_file(tmp_path / "scene.html", "x")
    assert (tmp_path / "scene.html").is_dir()


def test_an_error_inside_a_set_names_the_place_that_was_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(OutputError) as raised:
        write_into_set(out)
    assert str(out / "taken.html") in str(raised.value)
    assert ".diorama-" not in str(raised.value)
    assert not out.exists()


@contextmanager
def writer(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of writing into `folder`."""
    code = f"""
import time
from diorama.files import whole_set
with whole_set({str(folder)!r}) as partial:
    (partial / "half").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "writing\n"
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


class TestScratch:
    def test_the_next_writer_clears_up_behind_one_that_was_killed(self, tmp_path: Path) -> None:
        with writer(tmp_path) as process:
            process.kill()
        assert [name[:9] for name in names(tmp_path)] == [".diorama-"]
        write_file(tmp_path / "scene.html", "x")
        assert names(tmp_path) == ["scene.html"]

    def test_what_others_are_writing_stays(self, tmp_path: Path) -> None:
        with writer(tmp_path):
            (theirs,) = names(tmp_path)
            write_file(tmp_path / "scene.html", "x")
            assert sorted(names(tmp_path)) == [theirs, "scene.html"]
            # However long they take, and whoever has their number by now: they hold the lock.
            os.utime(tmp_path / theirs, (0, 0))
            sweep(tmp_path)
            assert (tmp_path / theirs / "results" / "half").read_text() == "half"

    def test_our_own_stays(self, tmp_path: Path) -> None:
        with whole_set(tmp_path) as partial:
            os.utime(partial.parent, (0, 0))
            sweep(tmp_path)
            assert partial.is_dir()

    def test_a_number_given_to_another_process_protects_nothing(self, tmp_path: Path) -> None:
        with writer(tmp_path) as process:
            process.kill()
        (left,) = tmp_path.iterdir()
        taken = left.with_name(left.name.replace(str(process.pid), str(os.getpid())))
        left.rename(taken)
        sweep(tmp_path)  # it may be just about to be locked
        assert names(tmp_path) == [taken.name]
        os.utime(taken, (time.time() - 120, time.time() - 120))
        sweep(tmp_path)
        assert names(tmp_path) == []

    def test_only_our_hosts_and_only_ours(self, tmp_path: Path) -> None:
        with writer(tmp_path) as process:
            process.kill()
        (left,) = tmp_path.iterdir()
        host, pid, token = left.name.removeprefix(".diorama-").split("-")
        kept = [f".diorama-x{host}-{pid}-{token}", ".diorama-", ".diorama-abc", ".diorama-a-b-c"]
        for name in kept:
            (tmp_path / name).mkdir()
        sweep(tmp_path)
        assert sorted(names(tmp_path)) == sorted(kept)
        sweep(tmp_path / "gone")

    def test_two_that_make_the_same_folder_do_not_take_it_from_each_other(
        self, tmp_path: Path
    ) -> None:
        failures: list[BaseException] = []

        def fail_and_succeed(number: int) -> None:
            for _ in range(60):
                try:
                    with pytest.raises(ZeroDivisionError):
                        write_file(tmp_path / "new" / "deep" / f"{number}", "x", ZeroDivisionError)
                except BaseException as error:  # noqa: BLE001 (for the main thread)
                    failures.append(error)

        threads = [threading.Thread(target=fail_and_succeed, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        # A folder that each found made by another may stay, but nothing in it.
        assert [path for path in tmp_path.rglob("*") if path.name not in ("new", "deep")] == []

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")
    def test_another_that_looks_whose_a_folder_is_does_not_stop_its_writer(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        import fcntl

        make = files._make
        held: list[int] = []

        def make_and_look(scratch: Path) -> None:
            make(scratch)
            held.append(os.open(scratch, os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_EX)
            threading.Timer(0.2, os.close, held).start()

        monkeypatch.setattr(files, "_make", make_and_look)
        write_file(tmp_path / "a.txt", "x")
        assert (tmp_path / "a.txt").read_text() == "x"
        assert held

    def test_a_folder_that_goes_just_after_it_was_found(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "new"
        folder.mkdir()
        mkdir = os.mkdir
        found = 0

        def goes_after(path: str | Path, *args: int) -> None:
            nonlocal found
            try:
                mkdir(path, *args)
            except FileExistsError:
                found += 1
                folder.rmdir()
                raise

        monkeypatch.setattr(os, "mkdir", goes_after)
        write_file(folder / "result", "x")
        assert found == 1
        assert (folder / "result").read_text() == "x"


class TestUninterrupted:
    def test_a_signal_waits_for_the_end_of_the_block(self) -> None:
        steps: list[str] = []

        def block() -> None:
            with uninterrupted():
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.01)
                steps.append("done")
            steps.append("not reached")

        with pytest.raises(KeyboardInterrupt):
            block()
        assert steps == ["done"]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler

    def test_results_of_a_set_appear_together(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        replace = Path.replace

        def interrupted(self: Path, target: Path) -> Path:
            os.kill(os.getpid(), signal.SIGINT)
            return replace(self, target)

        def block() -> None:
            with whole_set(tmp_path) as partial:
                for name in ("a", "b"):
                    (partial / name).touch()
                monkeypatch.setattr(Path, "replace", interrupted)

        with pytest.raises(KeyboardInterrupt):
            block()
        assert sorted(names(tmp_path)) == ["a", "b"]

    def test_other_threads_are_never_interrupted(self) -> None:
        def block() -> None:
            with uninterrupted():
                pass

        thread = threading.Thread(target=block)
        thread.start()
        thread.join()


def test_a_signal_that_compiled_code_swallows_is_kept(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)

    class Callback:
        """Exceptions in a finaliser have nobody to be raised to, either."""

        def __init__(self, work: Callable[[], object]) -> None:
            self._work = work

        def __del__(self) -> None:
            self._work()

    with raising_on_signals():
        Callback(lambda: os.kill(os.getpid(), signal.SIGTERM))
        Callback(lambda: divmod(1, 0))
        with pytest.raises(KeyboardInterrupt):
            stop_if_interrupted()
    said = capsys.readouterr().err
    assert "KeyboardInterrupt" not in said
    assert "ZeroDivisionError" in said
    assert sys.unraisablehook is sys.__unraisablehook__


class TestAppendLine:
    def test_a_torn_line_is_ended_first(self, tmp_path: Path) -> None:
        path = tmp_path / "new" / "m.jsonl"
        append_line(path, "one")
        with path.open("a") as file:
            file.write('{"torn')
        append_line(path, "two")
        append_line(path)
        assert path.read_text() == 'one\n{"torn\ntwo\n'
        with path.open("a") as file:
            file.write("torn again")
        append_line(path)
        assert path.read_text().endswith("torn again\n")

    def test_processes_do_not_mix_their_lines(self, tmp_path: Path) -> None:
        path = tmp_path / "m.jsonl"
        code = """
import json, sys
from diorama.files import append_line
for number in range(300):
    line = json.dumps({"writer": sys.argv[2], "number": number, "text": "x" * number * 20})
    append_line(sys.argv[1], line)
"""
        command = [sys.executable, "-c", code, str(path)]
        writers = [subprocess.Popen([*command, str(n)]) for n in range(3)]
        assert [process.wait(60) for process in writers] == [0, 0, 0]
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert sorted((line["writer"], line["number"]) for line in lines) == [
            (str(writer), number) for writer in range(3) for number in range(300)
        ]

    def test_a_file_that_cannot_be_written_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(OutputError, match=r"cannot write /dev/full: No space left"):
            append_line("/dev/full", "x")
        with pytest.raises(OutputError, match=r"cannot write .*: Is a directory"):
            append_line(tmp_path, "x")


@pytest.mark.parametrize("url", ["https://example.org/a.jpg", "file:/a.jpg", "s3://b/a.npz"])
def test_urls_are_refused_everywhere(url: str) -> None:
    for read in (load_photo, read_depth, open_scene, load_path):
        with pytest.raises(InputError, match=r"is a URL: download the .* first and pass the file"):
            read(url)
        with pytest.raises(InputError, match="is a URL"):
            read(Path(url))


def test_drives_and_colons_are_no_urls() -> None:
    for path in ("C:/photos/a.jpg", "a:b/c.jpg", "photos/12:30.jpg"):
        refuse_url(path, "photo")
