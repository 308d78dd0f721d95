"""Weights are pulled once, held to their hashes ever after, and read without trust."""

import hashlib
import json
import os
import pickle
import socket
import subprocess
import sys
import time
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from file_server import COMMIT, OLD_COMMIT, FileServer
from safetensors.torch import save_file

from diorama import downloads, weights
from diorama.errors import InputError, MissingExtraError, OutputError
from diorama.weights import (
    WeightFile,
    Weights,
    find_problem,
    hashes,
    is_pulled,
    locate,
    pull,
    read_state_dict,
    remove,
)

DATA = {"model.pt": b"numbers" * 50_000, "sub/config.json": b"{}"}


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder of models, and no waiting."""
    for name in ("HF_HUB_OFFLINE", "HF_HUB_CACHE", "HF_ASSETS_CACHE", "HF_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "models"))
    monkeypatch.setattr(downloads, "PAUSES_S", (0.01,))
    return tmp_path / "models"


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    with FileServer(dict(DATA)) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


def from_web(server: FileServer, **known: Any) -> Weights:
    return Weights("web", server.url, (WeightFile("model.pt", **known),))


def from_hub(*names: str, revision: str | None = None, **known: Any) -> Weights:
    files = tuple(WeightFile(name, **known) for name in names or ("model.pt",))
    return Weights("hub", "owner/model", files, revision)


def make(kind: str, server: FileServer, **known: Any) -> Weights:
    return from_web(server, **known) if kind == "web" else from_hub(**known)


def contents(folder: Path) -> list[Path]:
    """Every file, but for what says to backup programs that this is a cache."""
    return [p for p in folder.rglob("*") if p.is_file() and p.name != "CACHEDIR.TAG"]


@pytest.mark.parametrize("kind", ["web", "hub"])
class TestPull:
    def test_files_are_there_and_recorded(self, kind: str, server: FileServer) -> None:
        made = make(kind, server)
        assert not is_pulled(made)
        assert find_problem(made) == "its weights are not here"
        told: list[tuple[str, int, int | None]] = []
        path = pull(made, progress=lambda *args: told.append(args))
        assert path == locate(made)
        assert path.read_bytes() == DATA["model.pt"]
        assert is_pulled(made)
        assert find_problem(made) is None
        assert hashes(made) == {"model.pt": sha256(DATA["model.pt"])}
        size = len(DATA["model.pt"])
        assert told[-1] == ("model.pt", size, size)

    def test_nothing_is_asked_of_the_network_a_second_time(
        self, kind: str, server: FileServer
    ) -> None:
        made = make(kind, server)
        pull(made)
        before = len(server.requests)
        pull(made)
        assert len(server.requests) == before

    def test_a_damaged_file_is_noticed_and_mended(self, kind: str, server: FileServer) -> None:
        made = make(kind, server)
        path = pull(made)
        assert find_problem(made) is None
        data = bytearray(path.read_bytes())
        data[1000] ^= 1
        path.write_bytes(data)
        problem = find_problem(made)
        assert problem is not None
        assert "is damaged or another file" in problem
        pull(made)
        assert find_problem(made) is None
        assert path.read_bytes() == DATA["model.pt"]

    def test_a_missing_file_is_noticed(self, kind: str, server: FileServer) -> None:
        made = make(kind, server)
        path = pull(made)
        path.unlink()
        assert find_problem(made) == f"{path} is missing"

    def test_another_file_than_at_the_first_pull_is_refused(
        self, kind: str, server: FileServer
    ) -> None:
        made = make(kind, server)
        path = pull(made)
        path.resolve().unlink()
        server.files["model.pt"] = b"others"
        with pytest.raises(InputError, match="is not the file it should be: sha256"):
            pull(made)
        assert not path.exists()

    def test_a_file_of_another_hash_than_is_known_is_refused_and_not_kept(
        self, kind: str, server: FileServer, folder: Path
    ) -> None:
        with pytest.raises(InputError, match="is not the file it should be: sha256"):
            pull(make(kind, server, sha256="0" * 64))
        assert contents(folder) == []

    def test_no_network_is_told_within_two_seconds(
        self, kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            nobody = f"http://127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", nobody)
        made = Weights("web", nobody, from_hub().files) if kind == "web" else from_hub()
        began = time.perf_counter()
        with pytest.raises(InputError, match="no network"):
            pull(made)
        assert time.perf_counter() - began < 2
        assert contents(folder) == []

    def test_a_line_that_is_cut_goes_on(
        self, kind: str, server: FileServer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        made = make(kind, server)
        server.cuts = [100_000]
        assert pull(made).read_bytes() == DATA["model.pt"]
        assert server.downloads[-1] == "bytes=100000-"
        assert capfd.readouterr() == ("", "")

    def test_one_that_stays_cut_goes_on_in_the_next_run(
        self, kind: str, server: FileServer, folder: Path
    ) -> None:
        made = make(kind, server)
        server.cuts = [100_000, 0]
        with pytest.raises(InputError, match=r"could not be fetched: .* are kept, try again"):
            pull(made)
        assert not is_pulled(made)
        (part,) = contents(folder)
        assert (part.suffix, part.stat().st_size) == (".part", 100_000)

        before = len(server.downloads)
        code = (
            "from diorama.weights import *\n"
            f"pull(Weights({made.name!r}, {made.source!r}, (WeightFile('model.pt'),)))"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        assert server.downloads[before:] == ["bytes=100000-"]
        assert locate(made).read_bytes() == DATA["model.pt"]
        assert not list(folder.rglob("*.part"))

    def test_what_is_kept_of_a_cut_one_is_removed_as_well(
        self, kind: str, server: FileServer, folder: Path
    ) -> None:
        made = make(kind, server)
        server.cuts = [100_000, 0]
        with pytest.raises(InputError, match="try again to go on"):
            pull(made)
        remove(made)
        assert contents(folder) == []

    def test_a_missing_file_at_the_source(
        self, kind: str, server: FileServer, folder: Path
    ) -> None:
        del server.files["model.pt"]
        with pytest.raises(InputError, match=r"cannot be had: HTTP 404|lacks a file"):
            pull(make(kind, server))
        assert contents(folder) == []

    def test_two_at_once_both_end_well(self, kind: str, server: FileServer) -> None:
        server.gap_s = 0.02
        made = make(kind, server)
        code = (
            "from diorama.weights import *\n"
            f"print(pull(Weights({made.name!r}, {made.source!r}, (WeightFile('model.pt'),))))"
        )
        command = [sys.executable, "-c", code]
        both = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
        for process in both:
            _, errors = process.communicate(timeout=60)
            assert process.returncode == 0, errors
        assert find_problem(made) is None

    @pytest.mark.skipif(sys.platform == "win32", reason="Windows knows no such limit")
    def test_a_full_disk_leaves_nothing(self, kind: str, server: FileServer, folder: Path) -> None:
        made = make(kind, server)
        code = (
            "import resource\n"
            "from diorama.errors import DioramaError\n"
            "from diorama.weights import *\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
            "try:\n"
            f"    pull(Weights({made.name!r}, {made.source!r}, (WeightFile('model.pt'),)))\n"
            "except DioramaError as error:\n"
            "    print(type(error).__name__, error)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.stdout.startswith("OutputError cannot write"), done.stderr
        assert "File too large" in done.stdout
        assert contents(folder) == []

    def test_too_small_a_disk_is_told_before(
        self, kind: str, server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Usage:
            free = 100_000

        monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: Usage)
        with pytest.raises(OutputError, match=r"0 MB free, and 0 MB are needed: make room, or"):
            pull(make(kind, server))
        assert contents(folder) == []

    def test_removing_leaves_nothing(self, kind: str, server: FileServer, folder: Path) -> None:
        made = make(kind, server)
        assert not remove(made)
        pull(made)
        assert remove(made)
        assert not is_pulled(made)
        assert contents(folder) == []
        assert not remove(made)

    def test_a_record_that_was_scribbled_on_counts_as_none(
        self, kind: str, server: FileServer
    ) -> None:
        made = make(kind, server)
        pull(made)
        record = weights.own_folder() / made.name / "record.json"
        for text in ("", "[]", "{", json.dumps({"source": made.source, "files": {"model.pt": 7}})):
            record.write_text(text)
            assert not is_pulled(made)
        pull(made)
        assert find_problem(made) is None


class TestTheHub:
    def test_the_commit_of_the_first_pull_is_kept(self, server: FileServer) -> None:
        made = from_hub()
        path = pull(made)
        assert path.parent.name == COMMIT
        path.resolve().unlink()
        pull(made)
        asked = [path for _, path, _ in server.requests]
        assert f"/owner/model/resolve/{COMMIT}/model.pt" in asked
        assert all("/main/" not in path for m, path, _ in server.requests if m == "GET")
        assert sum("/main/" in path for path in asked) == 1

    def test_a_pinned_commit_is_the_only_one_asked_for(self, server: FileServer) -> None:
        path = pull(from_hub(revision=OLD_COMMIT))
        assert path.parent.name == OLD_COMMIT
        assert all(OLD_COMMIT in asked for _, asked, _ in server.requests)

    def test_a_model_of_several_files_is_given_their_folder(self, server: FileServer) -> None:
        made = from_hub("model.pt", "sub/config.json")
        path = pull(made)
        assert {name: (path / name).read_bytes() for name in DATA} == DATA
        assert from_hub("sub/config.json", "model.pt").files
        assert locate(from_hub("sub/config.json", "model.pt", revision=COMMIT)) == path

    def test_a_new_pin_asks_for_a_new_pull(self, server: FileServer) -> None:
        pull(from_hub())
        assert is_pulled(from_hub(revision=COMMIT))
        assert not is_pulled(from_hub(revision=OLD_COMMIT))
        assert not is_pulled(from_hub(sha256="0" * 64))
        assert not is_pulled(from_hub("model.pt", "sub/config.json"))

    def test_what_another_tool_has_pulled_is_taken_over_offline(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """In a process of its own: the hub's client reads its settings when it is imported."""
        from huggingface_hub import hf_hub_download

        hf_hub_download(
            "owner/model", "model.pt", cache_dir=weights.hub_folder(), endpoint=server.url
        )
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        before = len(server.requests)
        made = from_hub()
        assert pull(made).read_bytes() == DATA["model.pt"]
        assert find_problem(made) is None
        assert len(server.requests) == before

    def test_offline_and_not_there(
        self, server: FileServer, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(InputError, match="HF_HUB_OFFLINE is set and the cache has no owner/m"):
            pull(from_hub())
        assert server.requests == []
        assert contents(folder) == []

    def test_who_asks_is_told_to_the_hub_and_to_nobody_else(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        code = (
            "from diorama.weights import *\n"
            "pull(Weights('hub', 'owner/model', (WeightFile('model.pt'),)))"
        )
        with FileServer({"a": DATA["model.pt"]}) as elsewhere:
            server.moved = {"model.pt": f"{elsewhere.url}/a"}
            subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
        told = zip(server.requests, server.tokens, strict=True)
        assert {who for (_, path, _), who in told if "/resolve/" in path} == {"Bearer hf_secret"}
        assert elsewhere.tokens == [None]
        assert find_problem(from_hub()) is None

    def test_a_repository_one_has_to_ask_for(self, server: FileServer, folder: Path) -> None:
        server.gated = {"owner/model"}
        with pytest.raises(InputError, match="has accepted its terms: do so on its page, and set"):
            pull(from_hub())
        assert contents(folder) == []

    def test_a_repository_that_is_gone(self, server: FileServer, folder: Path) -> None:
        server.repositories = set()
        with pytest.raises(InputError, match="there is no owner/model on the Hugging Face hub"):
            pull(from_hub())
        with pytest.raises(InputError, match="not at this revision any more"):
            pull(from_hub(revision="a" * 40))
        assert contents(folder) == []

    def test_a_server_that_is_no_hub(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        server.files["owner/model/resolve/main/model.pt"] = b""
        monkeypatch.setattr(
            server, "_answer", lambda request, with_body: server._refuse(request, 200)
        )
        with pytest.raises(InputError, match="does not answer as the Hugging Face hub does"):
            pull(from_hub())

    def test_without_its_client_the_extra_is_named(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("diorama.extras.has_extra", lambda extra: False)
        with pytest.raises(MissingExtraError, match=r"pulling owner/model .*diorama\[models\]"):
            pull(from_hub())

    def test_only_the_files_named_are_removed(self, server: FileServer) -> None:
        config = from_hub("sub/config.json")
        kept = pull(Weights("other", "owner/model", config.files))
        pull(from_hub())
        assert remove(from_hub())
        assert kept.read_bytes() == b"{}"

    def test_where_there_are_no_links_others_files_stay_as_well(self, folder: Path) -> None:
        snapshot = folder / "hub" / "models--owner--model" / "snapshots" / COMMIT
        snapshot.mkdir(parents=True)
        (snapshot.parent.parent / "blobs").mkdir()
        for name in ("model.pt", "other.pt"):
            (snapshot / name).write_bytes(b"x")
        assert remove(from_hub(revision=COMMIT))
        assert [path.name for path in snapshot.iterdir()] == ["other.pt"]


class TestALora:
    """Weights of two sources that are pulled as one."""

    def made(self, kind: str, server: FileServer) -> Weights:
        lora = Weights("lora", "owner/model", (WeightFile("sub/config.json", size=2),))
        if kind == "web":
            lora = Weights("lora", f"{server.url}/sub", (WeightFile("config.json", size=2),))
        return Weights("base", "owner/model", (WeightFile("model.pt", size=5),), lora=lora)

    @pytest.mark.parametrize("kind", ["web", "hub"])
    def test_it_comes_and_goes_with_them(self, kind: str, server: FileServer, folder: Path) -> None:
        both = self.made(kind, server)
        assert both.lora is not None
        assert both.size == 7
        assert not is_pulled(both)
        assert pull(both) == locate(both)
        assert locate(both).read_bytes() == DATA["model.pt"]
        assert locate(both.lora).read_bytes() == b"{}"
        assert is_pulled(both)
        assert find_problem(both) is None
        name = both.lora.files[0].name
        assert hashes(both) == {"model.pt": sha256(DATA["model.pt"]), name: sha256(b"{}")}
        assert remove(both)
        assert contents(folder) == []
        assert not remove(both)

    @pytest.mark.parametrize("kind", ["web", "hub"])
    def test_the_one_that_is_damaged_is_fetched_alone(self, kind: str, server: FileServer) -> None:
        both = self.made(kind, server)
        assert both.lora is not None
        pull(both)
        locate(both.lora).write_bytes(b"[]")
        problem = find_problem(both)
        assert problem is not None
        assert "config.json is damaged" in problem
        assert find_problem(Weights(both.name, both.source, both.files)) is None
        server.requests.clear()
        pull(both)
        assert find_problem(both) is None
        assert server.requests
        assert all("config.json" in path for _, path, _ in server.requests)

    def test_without_it_they_are_not_pulled(self, server: FileServer) -> None:
        both = self.made("hub", server)
        pull(Weights(both.name, both.source, both.files))
        assert not is_pulled(both)
        assert find_problem(both) == "its weights are not here"


class TestFolders:
    def test_a_chosen_folder_stands_for_all(self, folder: Path) -> None:
        assert weights.hub_folder() == folder / "hub"
        assert weights.own_folder() == folder / "assets" / "diorama"

    def test_else_they_are_where_the_hub_has_them(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The hub's client is asked in a process of its own, which reads the same environment."""
        monkeypatch.delenv(weights.FOLDER_VARIABLE)
        code = "from huggingface_hub.constants import *; print(HF_HUB_CACHE, HF_ASSETS_CACHE)"
        settings = (
            {},
            {"HF_HOME": str(tmp_path / "home")},
            {"XDG_CACHE_HOME": str(tmp_path / "cache")},
            {"HF_HUB_CACHE": str(tmp_path / "h"), "HF_ASSETS_CACHE": str(tmp_path / "a")},
            {"HUGGINGFACE_HUB_CACHE": "~/old"},
        )
        for setting in settings:
            with monkeypatch.context() as patch:
                for name, value in setting.items():
                    patch.setenv(name, value)
                told = subprocess.check_output([sys.executable, "-c", code], text=True).split()
                hub, assets = (Path(path).expanduser() for path in told)
                assert (weights.hub_folder(), weights.own_folder()) == (hub, assets / "diorama")

    def test_a_folder_that_cannot_be_written(
        self, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "file").write_text("in the way")
        monkeypatch.setenv(weights.FOLDER_VARIABLE, str(tmp_path / "file"))
        for made in (from_web(server), from_hub()):
            with pytest.raises(OutputError, match="cannot write"):
                pull(made)


class Runs:
    """Unpickling it makes a file."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.proof}",)


class Settings:
    """What training frameworks put beside the weights."""

    def __init__(self) -> None:
        self.rate, self.names = 0.1, {"a"}


TENSORS = {
    "generator.weight": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4),
    "generator.count": torch.tensor(7),
    "generator.half": torch.arange(6, dtype=torch.bfloat16),
    "generator.flags": torch.tensor([True, False]),
}


def check(read: dict[str, torch.Tensor], expected: dict[str, torch.Tensor] = TENSORS) -> None:
    assert read.keys() == expected.keys()
    for name, tensor in expected.items():
        assert read[name].dtype == tensor.dtype
        assert torch.equal(read[name], tensor)


class TestReadStateDict:
    def test_safetensors(self, tmp_path: Path) -> None:
        save_file(TENSORS, tmp_path / "a.safetensors")
        check(read_state_dict(tmp_path / "a.safetensors"))

    @pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
    @pytest.mark.parametrize("wrap", [None, "state_dict", "model"])
    def test_what_torch_saves(self, zipped: bool, wrap: str | None, tmp_path: Path) -> None:
        saved = TENSORS if wrap is None else {wrap: TENSORS, "optimizer": {"step": torch.ones(1)}}
        torch.save(saved, tmp_path / "a.pt", _use_new_zipfile_serialization=zipped)
        check(read_state_dict(tmp_path / "a.pt"))

    def test_a_training_runs_checkpoint(self, tmp_path: Path) -> None:
        """As Lightning's: objects of classes that are not installed here, optimizers, views."""
        whole = torch.arange(64, dtype=torch.float32).reshape(8, 8)
        tensors = OrderedDict(
            TENSORS, view=whole[1:6:2, ::3], again=whole.T, parameter=torch.nn.Parameter(whole)
        )
        tensors._metadata = {"": {"version": 1}}  # pyright: ignore[reportAttributeAccessIssue]
        net = torch.nn.Linear(2, 3)
        checkpoint = {
            "state_dict": tensors,
            "hyper_parameters": Settings(),
            "callbacks": {Settings: {"best": Path("x"), "seen": {1, 2}}},
            "optimizer_states": [torch.optim.Adam(net.parameters()).state_dict()],
            "epoch": 39,
        }
        torch.save(checkpoint, tmp_path / "best.ckpt")
        read = read_state_dict(tmp_path / "best.ckpt")
        check(read, {name: tensor.detach() for name, tensor in tensors.items()})

    def test_a_zip_with_a_checkpoint_in_it(self, tmp_path: Path) -> None:
        torch.save({"state_dict": TENSORS, "settings": Settings()}, tmp_path / "best.ckpt")
        with zipfile.ZipFile(tmp_path / "big.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("big/config.yaml", "a: 1")
            archive.write(tmp_path / "best.ckpt", "big/models/best.ckpt")
        check(read_state_dict(tmp_path / "big.zip"))
        with zipfile.ZipFile(tmp_path / "big.zip", "a") as archive:
            archive.write(tmp_path / "best.ckpt", "big/models/last.ckpt")
        with pytest.raises(InputError, match="must hold one checkpoint, but holds 2"):
            read_state_dict(tmp_path / "big.zip")

    @pytest.mark.parametrize("suffix", ["ckpt", "pt", "safetensors"])
    def test_a_pickle_that_runs_code_does_not(self, suffix: str, tmp_path: Path) -> None:
        proof = tmp_path / "proof"
        path = tmp_path / f"a.{suffix}"
        torch.save({"state_dict": TENSORS, "bomb": Runs(proof)}, path)
        check(read_state_dict(path))
        torch.save({"state_dict": Runs(proof)}, path)
        with pytest.raises(InputError, match="holds no tensors by name"):
            read_state_dict(path)
        torch.save({"bomb": Runs(proof)}, path, _use_new_zipfile_serialization=False)
        with pytest.raises(InputError, match="a pickle that is not safe to read"):
            read_state_dict(path)
        path.write_bytes(pickle.dumps(Runs(proof), protocol=2))
        with pytest.raises(InputError, match="a pickle that is not safe to read"):
            read_state_dict(path)
        assert not proof.exists()

    @pytest.mark.parametrize(
        "program",
        [
            b"cos\nsystem\n(S'touch PROOF'\ntR.",
            b'cbuiltins\neval\n(S\'open("PROOF","w")\'\ntR.',
            b"cbuiltins\ngetattr\n(cos\nsystem\nS'__call__'\ntR(S'touch PROOF'\ntR.",
            b"\x80\x02cbuiltins\nexec\nq\x00X\x11\x00\x00\x00open('PROOF','w')\x85R.",
            b"(S'touch PROOF'\nios\nsystem\n.",
            b"\x80\x02csubprocess\nPopen\n)\x81}S'args'\nS'touch PROOF'\nsb.",
            b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x0btouch PROOF\x85R.",
        ],
    )
    def test_programs_by_hand_do_nothing(
        self, program: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with zipfile.ZipFile("a.ckpt", "w") as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/version", "3")
        with pytest.raises(InputError):
            read_state_dict("a.ckpt")
        with zipfile.ZipFile("a.ckpt") as archive:
            weights._read_tensors(archive)  # even where torch would not have stopped it before
        assert not Path("PROOF").exists()

    def test_such_a_program_would_have_run(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else the tests above prove nothing."""
        monkeypatch.chdir(tmp_path)
        pickle.loads(b"cos\nsystem\n(S'touch PROOF'\ntR.")
        assert Path("PROOF").exists()

    def test_a_file_cannot_change_how_the_next_is_read(self, tmp_path: Path) -> None:
        """It gives attributes to the functions that stand for torch's."""
        torch.save({"state_dict": TENSORS, "settings": Settings()}, tmp_path / "good.ckpt")
        program = (
            b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(N}X\x0c\x00\x00\x00__defaults__Nstb."
        )
        with zipfile.ZipFile(tmp_path / "bad.ckpt", "w") as archive:
            archive.writestr("archive/data.pkl", program)
        with zipfile.ZipFile(tmp_path / "bad.ckpt") as archive:
            weights._read_tensors(archive)
        check(read_state_dict(tmp_path / "good.ckpt"))

    def test_a_tensor_beyond_its_numbers_is_refused(self, tmp_path: Path) -> None:
        torch.save({"state_dict": {"a": torch.zeros(4)}, "s": Settings()}, tmp_path / "a.ckpt")
        with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        with zipfile.ZipFile(tmp_path / "b.ckpt", "w") as archive:
            for name, data in files.items():
                short = data[:8] if name.endswith("/data/0") else data
                archive.writestr(name, short)
        with pytest.raises(InputError, match=r"b\.ckpt is no checkpoint, or damaged"):
            read_state_dict(tmp_path / "b.ckpt")

    def test_damage_is_one_line(self, tmp_path: Path) -> None:
        torch.save({"state_dict": TENSORS, "settings": Settings()}, tmp_path / "a.ckpt")
        save_file(TENSORS, tmp_path / "a.safetensors")
        path = tmp_path / "b"
        for source in (tmp_path / "a.ckpt", tmp_path / "a.safetensors"):
            data = source.read_bytes()
            for end in (0, 1, 9, 60, len(data) // 2, len(data) - 1):
                path.write_bytes(data[:end])
                with pytest.raises(InputError, match="is no checkpoint, or") as caught:
                    read_state_dict(path)
                assert "\n" not in str(caught.value)
        path.write_text("<html>log in</html>")
        with pytest.raises(InputError, match="is no checkpoint, or"):
            read_state_dict(path)

    def test_a_damaged_pickle_never_escapes(self, tmp_path: Path) -> None:
        """Any byte of it changed: tensors or an error of ours, and nothing else."""
        torch.save({"state_dict": TENSORS, "settings": Settings()}, tmp_path / "a.ckpt")
        with zipfile.ZipFile(tmp_path / "a.ckpt") as archive:
            files = {name: archive.read(name) for name in archive.namelist()}
        pickled = files["a/data.pkl"]
        for at in range(0, len(pickled), 7):
            changed = bytearray(pickled)
            changed[at] ^= 0x55
            with zipfile.ZipFile(tmp_path / "b.ckpt", "w") as archive:
                for name, data in files.items():
                    archive.writestr(name, changed if name == "a/data.pkl" else data)
            try:
                read_state_dict(tmp_path / "b.ckpt")
            except InputError:
                continue

    def test_files_that_are_something_else(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="No such file"):
            read_state_dict(tmp_path / "none.pt")
        with pytest.raises(InputError, match="Is a directory"):
            read_state_dict(tmp_path)
        torch.save([1, 2], tmp_path / "list.pt")
        with pytest.raises(InputError, match="holds no tensors by name"):
            read_state_dict(tmp_path / "list.pt")
        with zipfile.ZipFile(tmp_path / "script.pt", "w") as archive:
            archive.writestr("script/data.pkl", b"N.")
            archive.writestr("script/constants.pkl", b"N.")
        with pytest.raises(InputError, match="is TorchScript, a program"):
            read_state_dict(tmp_path / "script.pt")

    def test_without_torch_the_extra_is_named(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "torch", None)
        with pytest.raises(MissingExtraError, match=r"reading weights needs .*diorama\[models\]"):
            read_state_dict(tmp_path / "a.pt")
