"""PLY: what an independent reader finds in the file is what was to be shown."""

import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from card_scene import card_scene

from diorama.errors import OutputError
from diorama.export.ply import write_ply, write_splats
from diorama.splats import Splats, layer_splats

WEB = Path(__file__).resolve().parents[1] / "web"

ORDER = [
    *["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity"],
    *["scale_0", "scale_1", "scale_2", "rot_0", "rot_1", "rot_2", "rot_3"],
]


def read(path: Path) -> np.ndarray:
    """Follow the header, whatever it says."""
    content = path.read_bytes()
    header, _, body = content.partition(b"end_header\n")
    lines = header.decode("ascii").splitlines()
    assert lines[:2] == ["ply", "format binary_little_endian 1.0"]
    element, name, count = lines[2].split()
    assert (element, name) == ("element", "vertex")
    properties = [line.split() for line in lines[3:]]
    assert {(kind, of) for kind, of, _ in properties} == {("property", "float")}
    dtype = np.dtype([(field, "<f4") for _, _, field in properties])
    table = np.frombuffer(body, dtype)
    assert len(table) == int(count)
    return table


def some_splats(n: int = 5) -> Splats:
    random = np.random.default_rng(0)
    quats = random.normal(size=(n, 4))
    quats /= np.linalg.norm(quats, axis=1, keepdims=True)
    return Splats(
        random.normal(size=(n, 3)).astype(np.float32),
        quats.astype(np.float32),
        random.uniform(1e-4, 2, (n, 3)).astype(np.float32),
        np.linspace(0, 1, n, dtype=np.float32),
        random.random((n, 3)).astype(np.float32),
    )


def test_the_fields_are_those_of_3dgs_and_mean_what_they_should(tmp_path: Path):
    splats = some_splats()
    write_splats(splats, tmp_path / "a.ply")
    table = read(tmp_path / "a.ply")
    assert list(table.dtype.names or ()) == ORDER

    def columns(*names: str) -> np.ndarray:
        return np.stack([table[name] for name in names], 1)

    assert np.array_equal(columns("x", "y", "z"), splats.means)
    assert not columns("nx", "ny", "nz").any()
    color = 0.5 + columns("f_dc_0", "f_dc_1", "f_dc_2") / (2 * math.sqrt(math.pi))
    assert color == pytest.approx(splats.colors, abs=1e-6)
    assert 1 / (1 + np.exp(-table["opacity"])) == pytest.approx(splats.opacities, abs=1 / 500)
    assert np.isfinite(table["opacity"]).all()
    assert np.exp(columns("scale_0", "scale_1", "scale_2")) == pytest.approx(splats.scales, 1e-5)
    assert np.array_equal(columns("rot_0", "rot_1", "rot_2", "rot_3"), splats.quats)


def test_a_scene_is_its_layers_splats(tmp_path: Path):
    scene = card_scene(64, 48)
    write_ply(scene, tmp_path / "scene.ply")
    splats = layer_splats(scene.layers, scene.camera, view_box=scene.view_box)
    write_splats(splats, tmp_path / "splats.ply")
    assert (tmp_path / "scene.ply").read_bytes() == (tmp_path / "splats.ply").read_bytes()
    table = read(tmp_path / "scene.ply")
    assert len(table) == len(splats.means)
    assert table["z"].min() > 0.9, "z points forward, the nearest card lies at 1"
    red = table[(table["z"] < 1.1) & (table["f_dc_0"] > 0)]
    assert red["y"].mean() == pytest.approx(0.05, abs=0.02), "y points down, the disc is below"


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, threads in (("a", "1"), ("b", "2"), ("c", "2")):
        monkeypatch.setenv("DIORAMA_THREADS", threads)
        write_ply(card_scene(64, 48), tmp_path / f"{name}.ply")
    contents = {path.read_bytes() for path in tmp_path.iterdir()}
    assert len(contents) == 1


def test_no_splats_make_a_valid_file(tmp_path: Path):
    write_splats(some_splats(0), tmp_path / "empty.ply")
    assert len(read(tmp_path / "empty.ply")) == 0


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "folder.ply").mkdir()
    with pytest.raises(OutputError, match=r"cannot write .*folder.ply"):
        write_splats(some_splats(), tmp_path / "folder.ply")
    assert [path.name for path in tmp_path.iterdir()] == ["folder.ply"]


def test_another_program_reads_it(tmp_path: Path):
    """The splat-transform tool reads the file and writes it again with the same values."""
    tool = WEB / "node_modules" / ".bin" / "splat-transform"
    node = shutil.which("node")
    assert node, "node is missing: make setup installs it"
    assert tool.exists(), "splat-transform is missing: make setup installs it"
    write_splats(some_splats(), tmp_path / "a.ply")
    command = [node, tool, tmp_path / "a.ply", tmp_path / "b.csv"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    rows = (tmp_path / "b.csv").read_text().splitlines()
    names = [name.strip() for name in rows[0].split(",")]
    values = np.array([[float(v) for v in row.split(",")] for row in rows[1:]])
    table = read(tmp_path / "a.ply")
    for name in ("x", "y", "z", "opacity", "scale_0", "rot_0", "f_dc_0"):
        assert values[:, names.index(name)] == pytest.approx(table[name], abs=1e-4)
