"""The real Blender, headless, for the tests of what it is meant to read."""

import shutil
import subprocess
from pathlib import Path

import pytest


def run_blender(*arguments: str | Path) -> str:
    """Run Blender with factory settings; what it printed. A Python error in it fails the test."""
    blender = shutil.which("blender")
    if blender is None:
        pytest.fail("blender is not installed: run `make setup` or `apt-get install blender`")
    command = [blender, "-b", "--factory-startup", "--python-exit-code", "1", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout
