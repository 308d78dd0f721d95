"""The documentation builds without a warning, and what it says of the project is so."""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from PIL import Image

import diorama

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]


def required(*groups: list[str]) -> set[str]:
    return {re.split(r"[<>=\[ ]", line)[0] for group in groups for line in group}


def test_documentation_builds_without_warnings(tmp_path: Path):
    command = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "html"]
    done = subprocess.run(
        [*command, "-d", tmp_path / "doctrees", ROOT / "docs", tmp_path / "html"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "embedded" in (tmp_path / "html" / "models.html").read_text()


def test_public_names_are_in_the_reference():
    reference = (ROOT / "docs" / "api.md").read_text()
    for module in diorama._HOMES:
        assert f".. automodule:: diorama.{module}\n" in reference, module


def test_every_dependency_is_pinned_and_explained():
    extras = PROJECT["optional-dependencies"]
    names = required(PROJECT["dependencies"], *extras.values())
    pins = (ROOT / "constraints.txt").read_text().lower()
    reasons = (ROOT / "docs" / "dependencies.md").read_text()
    for name in names | {"torch"}:
        assert re.search(rf"^{re.escape(name.lower())}==[\d.]+$", pins, re.MULTILINE), name
        assert name in reasons, name


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page: Path):
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    for link in re.findall(r"\]\(([^)#\s]+)", text):
        assert link.startswith("https://") or (page.parent / link).exists(), link


def test_readme_example_runs(tmp_path: Path, demo_photo: Path):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code) == 1
    Image.open(demo_photo).resize((256, 192), Image.Resampling.BOX).save(tmp_path / "cat.jpg")
    done = subprocess.run(
        [sys.executable, "-c", code[0]], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "cat.html").is_file()


def test_readme_command_runs(tmp_path: Path, demo_photo: Path):
    line = next(
        line
        for line in (ROOT / "README.md").read_text().splitlines()
        if line.startswith("diorama photo")
    )
    Image.open(demo_photo).resize((256, 192), Image.Resampling.BOX).save(tmp_path / "cat.jpg")
    command = Path(sys.executable).with_name("diorama")
    done = subprocess.run(
        [command, *line.split()[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "TERM": "dumb"},
    )
    assert done.returncode == 0, done.stderr
    assert {path.suffix for path in (tmp_path / "out").iterdir()} >= {".html", ".glb", ".mp4"}
