"""Check that every dependency has a wheel for every platform, and write the table of them.

Reads the names of the pinned versions' files from the package index (the simple API), for Python
3.11, and replaces the table in ``docs/platforms.md``. Exit status 1 if a wheel is missing::

    python docs/wheels.py [--index URL]
"""

import argparse
import importlib.metadata
import re
import sys
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path

from packaging.requirements import Requirement
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename
from pip._internal.models.index import PyPI

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "platforms.md"
BEGIN, END = "<!-- wheels: begin -->\n", "<!-- wheels: end -->"

PYTHON = (3, 11)
PLATFORMS = {
    "Linux x86-64": [f"manylinux_2_{minor}_x86_64" for minor in range(5, 29)],
    "Linux arm64": [f"manylinux_2_{minor}_aarch64" for minor in range(17, 29)],
    "macOS arm64": [
        f"macosx_{major}_0_{cpu}" for major in range(11, 16) for cpu in ("arm64", "universal2")
    ],
    "Windows x86-64": ["win_amd64"],
}
"""glibc 2.28 (2018), macOS 15 and older."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--index", default=PyPI.simple_url, help="simple API to ask")
    index = parser.parse_args().index.rstrip("/")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = pinned()
    groups = {"base": project["dependencies"]}
    groups |= {f"[{name}]": project["optional-dependencies"][name] for name in ("heic", "exr")}
    rows, seen, missing = [], set(), False
    for group, requirements in groups.items():
        for name in sorted(closure(requirements) - seen):
            seen.add(name)
            files = index_files(index, name, pins[name])
            marks = [mark(files, tags) for tags in PLATFORMS.values()]
            missing |= "missing" in marks
            rows.append((f"`{name}` {pins[name]}", group, *marks))
    head = ("package", "for", *PLATFORMS)
    lines = [head, ("---",) * len(head), *rows]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    before, rest = PAGE.read_text().split(BEGIN)
    PAGE.write_text(before + BEGIN + table + END + rest.split(END, 1)[1])
    print(table)
    return int(missing)


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if "==" in line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def closure(requirements: list[str]) -> set[str]:
    """Names of these distributions and of all they need, as installed here."""
    found: set[str] = set()
    left = [Requirement(text) for text in requirements]
    while left:
        wanted = left.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        left += [Requirement(text) for text in importlib.metadata.requires(name) or []]
    return found


def index_files(index: str, name: str, version: str) -> list[str]:
    """The wheels of this version, by file name."""
    with urllib.request.urlopen(f"{index}/{name}/", timeout=60) as answer:
        page = answer.read().decode()
    links = re.findall(r'href="([^"#]+\.whl)', page)
    files = {urllib.parse.unquote(link.rpartition("/")[2]) for link in links}
    return sorted(f for f in files if str(parse_wheel_filename(f)[1]) == version)


def mark(files: list[str], platforms: list[str]) -> str:
    tags = {
        *cpython_tags(PYTHON, abis=["cp311"], platforms=platforms),
        *compatible_tags(PYTHON, "cp311", platforms),
    }
    fitting = [f for f in files if parse_wheel_filename(f)[3] & tags]
    if not fitting:
        return "missing"
    return "any" if any(f.endswith("-none-any.whl") for f in fitting) else "wheel"


if __name__ == "__main__":
    sys.exit(main())
