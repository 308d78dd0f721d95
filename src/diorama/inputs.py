"""Which photos are meant: files, folders, patterns and lists; each photo once, under its own name.

The order and the names follow from what is listed and from nothing else, so that every machine that
looks at the same files comes to the same answer. A million photos are a list of small records.
"""

# A million paths: strings are many times smaller and faster than `Path`.
# ruff: noqa: PTH112, PTH117, PTH118, PTH120, PTH122, PTH123

import fnmatch
import functools
import glob
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path, PurePath

from diorama.errors import InputError
from diorama.export import FORMATS
from diorama.pictures import FORMATS_LINE, PHOTO_SUFFIXES


@dataclass(frozen=True, slots=True)
class PhotoFile:
    """One photo to be made a scene of."""

    folder: str
    """Where it was found; "" for a file that was named itself."""
    file: str
    """The rest of its path."""
    name: str
    """What its results are called, without suffix; with slashes where folders are mirrored."""
    problem: str | None = None
    """Why there is no photo at all, for an input in which none was found."""

    @property
    def path(self) -> str:
        """As it was given or found."""
        return os.path.join(self.folder, self.file)


def find_photos(
    inputs: Iterable[str | os.PathLike[str]], *, out: str | os.PathLike[str] | None = None
) -> list[PhotoFile]:
    """Expand inputs to photos.

    An input is

    - a file, whatever it is called;
    - a folder: every file in it and below that has the suffix of a photo;
    - a pattern with `*`, `?`, `[...]` or `**` (any folders), if no file has that very name: files
      with the suffix of a photo, and folders, that fit. Capitals count;
    - `@LIST`: a UTF-8 text file with a file or folder a line, relative to the list's own folder;
      empty lines and those that begin with `#` are skipped.

    Hidden files and folders are skipped, links to folders are followed once, and results that lie
    among the photos are not taken for photos. Folders are mirrored in the names: below the folder
    given, below the fixed part of a pattern, and below a list's folder. Photos that would get the
    same name get their suffix added ("cat-jpg", "cat-png"), and a number where that is the same,
    too ("cat", "cat-2"). Names that differ in capitals only count as the same.

    Args:
        inputs: files, folders, patterns and lists.
        out: where results go; what lies in there is skipped if it lies below a folder given.

    Returns:
        The photos, each once, in the order of the inputs and by name within a folder. An input in
        which nothing was found is an entry with its `problem`.
    """
    search = _Search(out)
    for item in inputs:
        search.add(os.fspath(item))
    found = search.found
    del search  # what it remembers takes as much memory as the photos
    return _named(found)


def parse_shard(text: str) -> tuple[int, int]:
    """Part and number of parts of a text such as "2/8".

    Raises:
        InputError: if that is not what it says.
    """
    first, _, second = text.partition("/")
    if not (first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second)):
        raise InputError(f"a shard is a part and a number of parts, such as 2/8, got {text!r}")
    return int(first), int(second)


def shard(photos: list[PhotoFile], part: int, parts: int) -> list[PhotoFile]:
    """Part 1..`parts` of `photos`: each photo is in one part, whose sizes differ by one at most.

    Neighbours go to different parts, so that a folder of large photos is shared out, too.
    """
    return photos[part - 1 :: parts]


class _Search:
    """The photos found so far."""

    def __init__(self, out: str | os.PathLike[str] | None) -> None:
        self.found: list[PhotoFile] = []
        self._out = None if out is None else os.path.realpath(out)
        self._seen: dict[str, set[str]] = {}
        self._real = functools.lru_cache(maxsize=4096)(lambda folder: os.path.realpath(folder))

    def add(self, text: str) -> None:
        if text.startswith("@"):
            self._add_list(text[1:])
        elif "://" in text or not glob.has_magic(text) or os.path.lexists(text):
            self._add_path(text)
        else:
            self._add_pattern(text)

    def _add_path(self, path: str, below: str = "") -> None:
        """A file or a folder; `below` is its path as far as it is mirrored."""
        if os.path.isdir(path):
            if not self._walk(path, _prefix(below), None):
                self._fail(path, f"{path} holds no photo ({FORMATS_LINE})")
        else:
            folder, file = os.path.split(path)
            stem = Path(file).stem or "photo"
            self._take(
                self._real(folder),
                file,
                PhotoFile("", path, _prefix(os.path.dirname(below)) + stem),
            )

    def _add_list(self, path: str) -> None:
        folder = os.path.dirname(path)
        entry = None
        try:
            for entry in _entries(path):
                below = os.path.normpath(entry)
                if os.path.isabs(entry) or below.startswith(os.pardir):
                    below = ""
                self._add_path(os.path.join(folder, entry), below)
        except InputError as error:
            self._fail(f"@{path}", str(error))
        else:
            if entry is None:
                self._fail(f"@{path}", f"the list {path} names no photo")

    def _add_pattern(self, text: str) -> None:
        parts = PurePath(text).parts
        # A folder whose own name contains the characters of a pattern is not one.
        fixed = ""
        while parts:
            longer = os.path.join(fixed, parts[0])
            if glob.has_magic(parts[0]) and not os.path.lexists(longer):
                break
            fixed, parts = longer, parts[1:]
        if not self._walk(fixed, "", _Pattern(parts, frozenset({0}))):
            self._fail(text, f"no photo fits {text} ({FORMATS_LINE})")

    def _walk(self, root: str, prefix: str, pattern: "_Pattern | None") -> bool:
        """Take what is in a folder and below, in order; whether there was anything to say of it."""
        any_photo, num_found = False, len(self.found)
        visited: set[str] = set()
        top = _Folder(root, self._real(root), prefix, pattern)
        stack = [(top, self._children(top, visited))]
        while stack:
            folder, children = stack[-1]
            child = next(children, None)
            if child is None:
                stack.pop()
            elif isinstance(child, PhotoFile):
                any_photo = True
                self._take(folder.real, child.file, child)
            else:
                stack.append((child, self._children(child, visited)))
        return any_photo or len(self.found) > num_found

    def _children(self, folder: "_Folder", visited: set[str]) -> Iterator["PhotoFile | _Folder"]:
        """The photos in a folder and the folders to look into, by name."""
        if folder.real in visited or (folder.real == self._out and visited):
            return
        visited.add(folder.real)
        path, pattern = folder.path, folder.pattern
        links: set[str] = set()
        folders: set[str] = set()
        names: list[str] = []
        try:
            with os.scandir(path or os.curdir) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.add(entry.name)
                        if entry.is_symlink():
                            links.add(entry.name)
                    elif not (_is_photo(entry.name) or _is_scene(entry.name)):
                        continue
                    elif not (entry.is_file() or entry.is_symlink()):
                        continue  # a pipe that is called like a photo would be waited for
                    names.append(entry.name)
        except OSError as error:
            # A pattern's fixed part that is not there is a pattern that nothing fits.
            if pattern is None or not isinstance(error, (FileNotFoundError, NotADirectoryError)):
                self._fail(path, f"cannot list {path}: {error.strerror or error}")
            return
        results = _results(names, folders)
        for name in sorted(names):
            if name in results:
                continue
            rest = None if pattern is None else pattern.after(name)
            if name in folders:
                if rest is None or rest.is_possible:
                    below = os.path.join(path, name)
                    real = self._real(below) if name in links else os.path.join(folder.real, name)
                    whole = rest is None or rest.is_whole
                    yield _Folder(below, real, f"{folder.prefix}{name}/", None if whole else rest)
            elif _is_photo(name) and (rest is None or rest.is_whole):
                yield PhotoFile(path, name, folder.prefix + os.path.splitext(name)[0])

    def _take(self, folder: str, file: str, photo: PhotoFile) -> None:
        """Add a photo, if no other way has led to this file of this (real) folder."""
        seen = self._seen.setdefault(folder, set())
        if file not in seen:
            seen.add(file)
            self.found.append(photo)

    def _fail(self, text: str, problem: str) -> None:
        self.found.append(PhotoFile("", text, "", problem))


@dataclass(frozen=True)
class _Folder:
    """A folder to look into."""

    path: str
    real: str
    """Without links."""
    prefix: str
    """What goes before names in it."""
    pattern: "_Pattern | None"
    """What its photos have to fit."""


@dataclass(frozen=True)
class _Pattern:
    """What is left to fit after some folders: the parts, and which of them may come next."""

    parts: tuple[str, ...]
    states: frozenset[int]

    def after(self, name: str) -> "_Pattern":
        """With one more folder or file behind it."""
        states: set[int] = set()
        for state in self._open():
            if state == len(self.parts):
                continue
            if self.parts[state] == "**":
                states.add(state)
            elif fnmatch.fnmatchcase(name, self.parts[state]):
                states.add(state + 1)
        return _Pattern(self.parts, frozenset(states))

    @property
    def is_whole(self) -> bool:
        """Whether all parts have been fitted."""
        return len(self.parts) in self._open()

    @property
    def is_possible(self) -> bool:
        """Whether anything below can fit."""
        return bool(self.states)

    def _open(self) -> set[int]:
        """The states, and those behind a "**" that stands for no folder at all."""
        states = set(self.states)
        for state in sorted(states):
            while state < len(self.parts) and self.parts[state] == "**":
                state += 1
                states.add(state)
        return states


def _named(photos: list[PhotoFile]) -> list[PhotoFile]:
    """The photos with names made distinct; one that is alone with its name keeps it."""
    taken: set[str] = set()
    suffixes: dict[str, set[str]] = {}
    for photo in photos:
        key = _key(photo.name)
        if key in taken:
            suffixes[key] = set()
        elif photo.problem is None:
            taken.add(key)
    if not suffixes:
        return photos
    for photo in photos:
        suffixes.get(_key(photo.name), set()).add(_suffix(photo))
    claimed: set[str] = set()
    numbers: dict[str, int] = {}
    for index, photo in enumerate(photos):
        key = _key(photo.name)
        if photo.problem is not None or key not in suffixes:
            continue
        name = photo.name
        if len(suffixes[key]) > 1 and _suffix(photo):
            name = f"{name}-{_suffix(photo)}"
        elif key not in claimed:
            claimed.add(key)
            continue
        base = name
        while _key(name) in taken:
            numbers[_key(base)] = numbers.get(_key(base), 1) + 1
            name = f"{base}-{numbers[_key(base)]}"
        taken.add(_key(name))
        photos[index] = replace(photo, name=name)
    return photos


def _results(names: list[str], folders: set[str]) -> set[str]:
    """Which of a folder's names are results: scenes, and what lies beside a scene of that name.

    A picture among them ("cat.gif", "cat.sbs.jpg") needs a photo that the scene can be of.
    """
    scenes = {os.path.splitext(name)[0] for name in names if _is_scene(name)}
    if not scenes:
        return set()
    stems: dict[str, int] = {}
    for name in names:
        if name not in folders and _is_photo(name):
            stem = os.path.splitext(name)[0]
            stems[stem] = stems.get(stem, 0) + 1
    results = {name for name in names if _is_scene(name)}
    for name in names:
        for suffix in _format_suffixes():
            base = name[: -len(suffix)]
            if not name.lower().endswith(suffix) or base not in scenes:
                continue
            itself = os.path.splitext(name)[0] == base
            if name in folders or stems.get(base, 0) > itself:
                results.add(name)
    return results


@functools.cache
def _format_suffixes() -> tuple[str, ...]:
    return tuple(suffix for entry in FORMATS.values() for suffix in entry.suffixes)


def _key(name: str) -> str:
    """What two names must not share, on disks that know no capitals either."""
    folded = name.casefold()
    return name if folded == name else folded


def _is_photo(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES)


def _is_scene(name: str) -> bool:
    return name.lower().endswith((".diorama", ".zip"))


def _suffix(photo: PhotoFile) -> str:
    return os.path.splitext(photo.file)[1].lower().removeprefix(".")


def _prefix(folder: str) -> str:
    """A relative folder as it stands before a name."""
    return "" if folder in ("", os.curdir) else f"{PurePath(folder).as_posix()}/"


def _entries(path: str) -> Iterator[str]:
    """The entries of a list."""
    try:
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                try:
                    entry = line.decode("utf-8-sig" if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError:
                    raise InputError(f"line {number} of the list {path} is not UTF-8") from None
                if "\0" in entry:
                    raise InputError(f"line {number} of the list {path} is not text")
                if entry.strip() and not entry.lstrip().startswith("#"):
                    yield entry
    except OSError as error:
        raise InputError(f"cannot read the list {path}: {error.strerror or error}") from error
