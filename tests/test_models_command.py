"""From a model's name to a scene: `diorama models`, and what `diorama photo` makes of it."""

import dataclasses
import io
import json
import os
import shutil
import socket
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from file_server import FileServer
from official_weights import official_weights

from diorama import cli, registry
from diorama.depth import DepthResult
from diorama.models.nets import lama
from diorama.photo import Photo
from diorama.pipeline import open_scene, remake
from diorama.registry import ModelEntry
from diorama.weights import WeightFile, Weights, locate


class Slope:
    """A depth estimator whose weights are one number."""

    def __init__(self, weights: Path) -> None:
        self.near = float(weights.read_text())

    def estimate(self, photo: Photo) -> DepthResult:
        height, width = photo.rgb.shape[:2]
        rows = np.linspace(0.2, self.near, height, dtype=np.float32)
        return DepthResult(np.repeat(rows[:, None], width, 1), kind="relative")


class Hyper:
    """What a training framework leaves in its checkpoints."""


def big_lama() -> bytes:
    """A small network of LaMa's kind, as its authors publish the large one."""
    checkpoint = io.BytesIO()
    state = official_weights(lama.build(ngf=8, n_blocks=1))
    others = {"discriminator.weight": torch.zeros(3)}
    torch.save({"state_dict": state | others, "hyper_parameters": Hyper()}, checkpoint)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("big-lama/config.yaml", "model: {}")
        archive.writestr("big-lama/models/best.ckpt", checkpoint.getvalue())
    return packed.getvalue()


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """Two more models, and where their weights come from."""
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setenv("DIORAMA_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    with FileServer({"slope.txt": b"1.5", "big-lama.zip": big_lama()}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        registry.register(
            ModelEntry(
                "slope",
                "depth",
                "Nearer below.",
                f"{__name__}:Slope",
                "CC-BY-NC-4.0",
                commercial=False,
                attribution="The slope people",
                weights=Weights("slope", server.url, (WeightFile("slope.txt", size=3),)),
            )
        )
        registry.register(
            dataclasses.replace(
                registry.find("inpainter", "lama"),
                name="small-lama",
                weights=Weights("small-lama", "owner/model", (WeightFile("big-lama.zip"),)),
            )
        )
        yield server


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str]) -> "Told":
    return Told(capsys)


class Told:
    """Runs a command and returns what it said."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *args: object, code: int = 0) -> tuple[str, str]:
        self._capsys.readouterr()
        found = cli.main([str(arg) for arg in args])
        said = self._capsys.readouterr()
        assert found == code, said.err
        return said.out, said.err

    def refused(self, *args: object) -> str:
        """The only line of an error."""
        _, said = self(*args, code=2)
        (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
        return line


def test_a_models_life(server: FileServer, told: Told, tmp_path: Path) -> None:
    def state() -> str:
        (line,) = [x for x in told("models", "list")[0].splitlines() if " small-lama " in x]
        return line

    assert "to pull" in state()
    assert "its weights are not here" in told("models", "info", "small-lama")[0]
    assert told("models", "verify") == ("", "nothing was pulled\n")

    path, said = told("models", "pull", "small-lama")
    assert Path(path.strip()).read_bytes() == server.files["big-lama.zip"]
    assert "small-lama: Apache-2.0; LaMa (Suvorov et al., 2021), Samsung Research" in said
    assert "big-lama.zip: 100 % of " in said

    assert "here" in state()
    info = told("models", "info", "small-lama")[0]
    assert f"{path.strip()}, big-lama.zip sha256:" in info
    assert "owner/model" in info
    assert told("models", "verify")[0] == "inpainter small-lama: whole\n"

    Path(path.strip()).write_bytes(b"scratched")
    assert "is damaged or another file" in told("models", "verify", "small-lama", code=2)[0]
    told("models", "pull", "small-lama")
    assert told("models", "verify", "small-lama")[0] == "inpainter small-lama: whole\n"

    assert told("models", "remove", "small-lama")[0] == "inpainter small-lama: removed\n"
    assert told("models", "remove", "small-lama")[0] == "inpainter small-lama: was not here\n"
    assert "to pull" in state()
    left = [p for p in (tmp_path / "models").rglob("*") if p.is_file()]
    assert [p.name for p in left if p.name != "CACHEDIR.TAG"] == []


def test_a_scene_by_a_model_that_was_pulled(
    server: FileServer, told: Told, photo: Path, tmp_path: Path
) -> None:
    args = ("photo", photo, "-o", tmp_path / "out", "--formats", "depth")
    error = told.refused(*args, "--inpainter", "small-lama")
    assert "`diorama models pull small-lama` gets them (Apache-2.0)" in error
    assert "--inpainter embedded works without" in error
    assert server.requests == []
    assert not (tmp_path / "out").exists()

    told("models", "pull", "small-lama")
    before = len(server.requests)
    told(*args, "--inpainter", "small-lama", "--commercial-only")
    assert len(server.requests) == before
    provenance = open_scene(tmp_path / "out" / "cat.diorama").provenance
    assert provenance["models"]["inpainter"] == "small-lama"
    assert provenance["licences"]["inpainter small-lama"] == "Apache-2.0"
    assert "Samsung Research" in provenance["attributions"]["inpainter small-lama"]
    assert provenance["weights"]["inpainter small-lama"].startswith("big-lama.zip sha256:")
    assert provenance["config"]["commercial_only"] is True


def test_where_and_in_what_a_model_runs(
    server: FileServer,
    told: Told,
    photo: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(registry, "devices", lambda: ["cpu"])
    registry._say_once.cache_clear()
    told("models", "pull", "small-lama")
    info = told("models", "info", "small-lama")[0]
    assert "  device      cpu, cuda\n" in info
    assert "  precision   fp32, bf16, fp16\n" in info
    info = told("models", "info", "embedded")[0]
    assert "  device      cpu\n  precision   int8\n" in info

    args = ("photo", photo, "-o", tmp_path / "out", "--formats", "depth")
    args = (*args, "--inpainter", "small-lama")
    error = told.refused(*args, "--precision", "int8")
    assert "inpainter 'small-lama' takes --precision fp32, bf16 or fp16, but not int8" in error
    error = told.refused(*args, "--device", "openvino")
    assert "inpainter 'small-lama' takes --device cpu or cuda, but not openvino" in error
    assert not (tmp_path / "out").exists()

    caplog.clear()
    told(*args, "--precision", "bf16", "--device", "cpu", "--low-memory")
    assert caplog.messages == [
        "'embedded' computes in int8 alone: --precision bf16 does not change it"
    ]
    provenance = open_scene(tmp_path / "out" / "cat.diorama").provenance
    assert provenance["runs_as"] == {
        "depth embedded": "cpu int8",
        "inpainter small-lama": "cpu bf16",
    }
    assert provenance["config"]["low_memory"] is True


def test_a_missing_model_is_one_line_for_any_number_of_photos(
    server: FileServer, told: Told, photo: Path, tmp_path: Path
) -> None:
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in "abc":
        shutil.copy(photo, archive / f"{name}.jpg")
    for jobs in (1, 2):
        args = ("photo", archive, "-o", tmp_path / "out", "--jobs", jobs)
        _, said = told(*args, "--inpainter", "small-lama", code=2)
        assert said.splitlines() == [
            "error: inpainter 'small-lama': its weights are not here; `diorama models pull "
            "small-lama` gets them (Apache-2.0), --inpainter embedded works without"
        ]
    assert not (tmp_path / "out").exists()


def test_a_licence_that_forbids_commercial_use(
    server: FileServer, told: Told, photo: Path, tmp_path: Path
) -> None:
    args = ("photo", photo, "-o", tmp_path / "out", "--formats", "depth", "--depth", "slope")
    assert "Not for commercial use (CC-BY-NC-4.0)." in told("models", "list")[0]
    error = told.refused("models", "pull", "slope")
    assert "'slope' is not for commercial use: read its licence, CC-BY-NC-4.0 (The slope" in error
    assert "then pass --accept-licence CC-BY-NC-4.0 once" in error
    assert server.requests == []

    typo = told.refused("models", "pull", "slope", "--accept-licence", "CC-BY-NC")
    assert "did you mean 'CC-BY-NC-4.0'" in typo
    told("models", "pull", "slope", "--accept-licence", "CC-BY-NC-4.0")
    told(*args)
    scene = open_scene(tmp_path / "out" / "cat.diorama")
    licences = scene.provenance["licences"]
    assert licences["depth slope"] == "CC-BY-NC-4.0 (not for commercial use)"
    assert np.polyfit(np.arange(120), scene.raw_disparity.mean(1), 1)[0] > 0

    (tmp_path / "config" / "diorama" / "accepted-licences.txt").unlink()
    assert "pass --accept-licence CC-BY-NC-4.0 once" in told.refused(*args)
    told(*args, "--accept-licence", "CC-BY-NC-4.0")
    told(*args)
    refused = told.refused(*args, "--commercial-only")
    assert "'slope' is not for commercial use (CC-BY-NC-4.0), and --commercial-only" in refused
    assert "--depth embedded" in refused


def test_what_is_made_anew_by_another_model_says_so(
    server: FileServer, told: Told, photo: Path, tmp_path: Path
) -> None:
    told("models", "pull", "small-lama")
    told("photo", photo, "-o", tmp_path, "--formats", "depth", "--inpainter", "small-lama")
    file = tmp_path / "cat.diorama" / "scene.json"
    document = json.loads(file.read_text())
    document["provenance"]["models"]["inpainter"] = "embedded"
    file.write_text(json.dumps(document))
    scene = open_scene(tmp_path / "cat.diorama")
    made = remake(scene, ["disparity"]).provenance
    assert set(made["licences"]) == {"depth embedded", "segmenter embedded", "inpainter embedded"}
    assert "inpainter small-lama" not in made["weights"]
    assert made["attributions"] == {}
    assert "inpainter small-lama" in scene.provenance["licences"]  # it is unchanged


def test_a_file_that_is_not_this_networks(
    server: FileServer, told: Told, photo: Path, tmp_path: Path
) -> None:
    """The right name and hash, and something else inside."""
    wrong = io.BytesIO()
    torch.save({"generator.other": torch.zeros(3)}, wrong)
    server.files["big-lama.zip"] = wrong.getvalue()
    told("models", "pull", "small-lama")
    error = told.refused("photo", photo, "-o", tmp_path / "out", "--inpainter", "small-lama")
    assert "big-lama.zip is not" in error


def test_another_file_than_the_registry_knows(
    server: FileServer, told: Told, tmp_path: Path
) -> None:
    known = registry.find("inpainter", "lama").weights
    assert known is not None
    server.repositories = {known.source}
    server.revisions = {str(known.revision)}
    assert "is not the file it should be: sha256" in told.refused("models", "pull", "lama")
    assert not locate(known).exists()
    assert all(str(known.revision) in path for _, path, _ in server.requests)


def test_another_folder_of_models(server: FileServer, told: Told, tmp_path: Path) -> None:
    other = tmp_path / "other"
    path, _ = told("models", "pull", "small-lama", "--models-dir", other)
    assert Path(path.strip()).is_relative_to(other / "hub")
    assert "its weights are not here" in told("models", "verify", "small-lama", code=2)[0]
    assert "whole" in told("models", "verify", "small-lama", "--models-dir", other)[0]
    assert os.environ["DIORAMA_MODELS_DIR"] == str(tmp_path / "models")


def test_other_processes_find_what_was_pulled(
    server: FileServer, told: Told, tmp_path: Path
) -> None:
    told("models", "pull", "small-lama")
    code = (
        "from diorama.weights import *\n"
        "print(find_problem(Weights('small-lama', 'owner/model', (WeightFile('big-lama.zip'),))))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "None\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["pull"], "name at least one model: diorama models list"),
        (["pull", "lamma"], "unknown model 'lamma': choose from "),
        (["pull", "lamma"], "did you mean 'lama'"),
        (["verify", "lamma"], "did you mean 'lama'"),
        (["remove", "lamma"], "did you mean 'lama'"),
        (["remove"], "name at least one model"),
        (["pull", "lama", "--accept-licence", "GPL"], "unknown licence to accept 'GPL'"),
    ],
)
@pytest.mark.usefixtures("server")
def test_mistakes_are_one_line(args: list[str], message: str, told: Told) -> None:
    assert message in told.refused("models", *args)


def test_names_that_depth_takes_are_all_listed(server: FileServer, told: Told, photo: Path) -> None:
    error = told.refused("photo", photo, "--depth", "midas-smal")
    names = {"auto", "own", *(entry.name for entry in registry.entries("depth"))}
    assert f"choose from {', '.join(sorted(names))}, or a file with depth (.exr," in error
    assert "did you mean 'midas-small'" in error


@pytest.mark.parametrize("name", ["lama", "midas-small"])
def test_no_network(name: str, tmp_path: Path) -> None:
    """All of it, the start of the program included."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
    environment = {**os.environ, "DIORAMA_MODELS_DIR": str(tmp_path / "models")}
    environment |= {"HF_ENDPOINT": nobody, "https_proxy": nobody, "no_proxy": ""}
    command = [sys.executable, "-m", "diorama.cli", "models", "pull", name]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=20)
    assert done.returncode == 2
    assert (
        done.stderr == "error: no network: 127.0.0.1 does not answer; try again when there is one\n"
    )
    assert not (tmp_path / "models").exists()


def test_a_pull_that_is_interrupted_leaves_nothing(server: FileServer, tmp_path: Path) -> None:
    """Ctrl-C while the hub's client downloads."""
    server.files["big-lama.zip"] = bytes(3_000_000)
    server.gap_s = 0.1
    code = (
        "from diorama.interrupts import raising_on_signals\n"
        "from diorama.weights import *\n"
        "with raising_on_signals():\n"
        "    pull(Weights('small-lama', 'owner/model', (WeightFile('big-lama.zip'),)))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    blobs = tmp_path / "models" / "hub" / "models--owner--model" / "blobs"
    while not list(blobs.glob("*")):
        assert process.poll() is None
    process.send_signal(2)
    _, errors = process.communicate(timeout=60)
    assert "KeyboardInterrupt" in errors
    left = [p.name for p in (tmp_path / "models").rglob("*") if p.is_file()]
    assert [name for name in left if name != "CACHEDIR.TAG"] == []
