"""One table of formats; the suffix chooses."""

import importlib
import operator
from pathlib import Path

import pytest
from card_scene import card_scene

from diorama.errors import UnknownNameError
from diorama.export import FORMATS, Format, find_format, format_of, write
from diorama.pipeline import open_scene


@pytest.mark.parametrize("entry", FORMATS.values(), ids=FORMATS)
def test_every_format_has_its_writer(entry: Format) -> None:
    module, _, names = entry.writer.partition(":")
    assert callable(operator.attrgetter(names)(importlib.import_module(module)))
    assert all(suffix.startswith(".") and suffix == suffix.lower() for suffix in entry.suffixes)
    assert entry.summary.endswith(".")


@pytest.mark.parametrize("name", ["a.depth", "a.LAYERS", "a.zip", "a.diorama"])
def test_the_suffix_chooses(tmp_path: Path, name: str) -> None:
    write(card_scene(64, 48), tmp_path / name)
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_scene_exports_itself(tmp_path: Path) -> None:
    card_scene(64, 48).export(tmp_path / "a.zip")
    assert open_scene(tmp_path / "a.zip").camera.width == 64


def test_no_two_formats_share_a_suffix() -> None:
    suffixes = [suffix for entry in FORMATS.values() for suffix in entry.suffixes]
    assert len(suffixes) == len(set(suffixes))


def test_the_longest_suffix_wins() -> None:
    for entry in FORMATS.values():
        for suffix in entry.suffixes:
            assert format_of(f"a.b{suffix.upper()}") is entry


@pytest.mark.parametrize("suffix", [".htm", ".hml", ""])
def test_an_unknown_suffix_lists_the_choices(tmp_path: Path, suffix: str) -> None:
    shown = suffix or r"\(no suffix\)"
    with pytest.raises(UnknownNameError, match=rf"unknown format '{shown}': choose from \."):
        write(card_scene(64, 48), tmp_path / f"a{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_a_typo_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'html'"):
        find_format("hmtl")
