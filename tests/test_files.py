"""Writing whole or not at all."""

from pathlib import Path

import pytest

from diorama.errors import OutputError
from diorama.files import whole_file, whole_folder, whole_set


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
