"""The examples run as they stand."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

import diorama

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"


@pytest.fixture
def photo(tmp_path: Path, demo_photo: Path) -> Path:
    small = Image.open(demo_photo).resize((256, 192), Image.Resampling.BOX)
    small.save(tmp_path / "photo.jpg")
    return tmp_path / "photo.jpg"


def run(name: str, *arguments: object) -> str:
    command = [sys.executable, EXAMPLES / name, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_first_scene_saves_exports_and_renders(tmp_path: Path, photo: Path):
    run("first_scene.py", photo, tmp_path / "first")
    moved = Image.open(tmp_path / "first" / "moved.png")
    assert moved.size == (256, 192)
    assert moved.tobytes() != Image.open(photo).tobytes()
    assert (tmp_path / "first" / "scene.html").stat().st_size > 10_000
    assert diorama.open_scene(tmp_path / "first" / "scene.diorama").layers


def test_own_depth_model_is_used_by_name(tmp_path: Path, photo: Path):
    said = run("own_depth_model.py", photo, tmp_path / "own.html")
    assert said.endswith("layers from flash depth\n")
    assert (tmp_path / "own.html").stat().st_size > 10_000


def test_every_example_is_tested():
    here = Path(__file__).read_text()
    assert all(f'"{path.name}"' in here for path in EXAMPLES.glob("*.py"))
