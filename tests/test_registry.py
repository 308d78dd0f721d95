"""Models are found by name, once each, and say what they need."""

import dataclasses
import hashlib
import importlib
import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import pytest
from file_server import FileServer

from diorama import extras, registry
from diorama.errors import InputError, MissingExtraError, UnknownNameError
from diorama.registry import ModelEntry
from diorama.runtime import Device, devices
from diorama.weights import WeightFile, Weights, pull

DEVICES, FP32 = get_args(Device), ("fp32",)


@pytest.fixture
def scratch_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    return


def entry(name: str = "mine", **changes: str) -> ModelEntry:
    fields = {"summary": "One.", "target": "fractions:Fraction", "licence": "MIT", **changes}
    return ModelEntry(name, "depth", **fields)  # type: ignore[arg-type]  # all are text


class Weighty:
    """A model that is given its weights."""

    def __init__(self, weights: Path) -> None:
        self.text = weights.read_text()


@dataclasses.dataclass(frozen=True)
class Choosy:
    """A model that can be told where and in what to compute."""

    weights: Path
    device: Device = "auto"
    precision: Literal["auto", "fp32", "bf16"] = "auto"


def weighty(server: FileServer, **changes: object) -> ModelEntry:
    weights = Weights("mine", server.url, (WeightFile("a.txt", size=5),))
    return dataclasses.replace(entry(target=f"{__name__}:Weighty"), weights=weights, **changes)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    monkeypatch.setenv("DIORAMA_MODELS_DIR", str(tmp_path / "models"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    with FileServer({"a.txt": b"hello"}) as server:
        yield server


@pytest.mark.usefixtures("scratch_registry")
class TestRegister:
    def test_a_registered_model_is_found_and_built(self) -> None:
        registry.register(entry())
        assert registry.find("depth", "mine") == entry()
        assert registry.load("depth", "mine") == 0  # Fraction()

    def test_the_same_entry_twice_is_one(self) -> None:
        registry.register(entry())
        registry.register(entry())
        assert [e.name for e in registry.entries("depth")].count("mine") == 1

    def test_another_of_the_same_name_is_refused(self) -> None:
        registry.register(entry())
        with pytest.raises(InputError, match="a depth named 'mine' is registered already"):
            registry.register(entry(summary="Two."))

    def test_names_belong_to_their_task(self) -> None:
        registry.register(entry())
        with pytest.raises(UnknownNameError, match="unknown segmenter 'mine'"):
            registry.find("segmenter", "mine")

    def test_a_missing_extra_is_named(self) -> None:
        registry.register(entry(target="no_such_module:Model", extra="torch"))
        with pytest.raises(MissingExtraError, match=r"pip install 'diorama\[torch\]'"):
            registry.load("depth", "mine")

    def test_a_broken_base_install_is_not_hidden(self) -> None:
        registry.register(entry(target="no_such_module:Model"))
        with pytest.raises(ModuleNotFoundError, match="no_such_module"):
            registry.load("depth", "mine")


@pytest.mark.usefixtures("scratch_registry")
class TestWeights:
    def test_a_model_is_given_what_was_pulled(self, server: FileServer) -> None:
        model = weighty(server)
        registry.register(model)
        assert model.weights is not None
        pull(model.weights)
        assert registry.load("depth", "mine").text == "hello"
        digest = hashlib.sha256(b"hello").hexdigest()
        assert model.fingerprint == f"a.txt sha256:{digest[:16]}"

    def test_missing_ones_name_the_command_and_the_embedded_choice(
        self, server: FileServer
    ) -> None:
        model = weighty(server)
        registry.register(model)
        assert model.fingerprint is None
        with pytest.raises(InputError) as caught:
            registry.load("depth", "mine")
        assert str(caught.value) == (
            "depth 'mine': its weights are not here; `diorama models pull mine` gets them (0.0 MB, "
            "MIT), --depth embedded works without"
        )
        assert server.requests == []

    def test_damaged_ones_do_so_as_well(self, server: FileServer) -> None:
        model = weighty(server)
        registry.register(model)
        assert model.weights is not None
        pull(model.weights).write_bytes(b"hellO!")
        with pytest.raises(InputError, match=r"is damaged or another file: .*models pull mine"):
            registry.load("depth", "mine")

    def test_an_extra_that_is_not_there_is_named(
        self, server: FileServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        model = weighty(server, extra="models")
        registry.register(model)
        assert model.weights is not None
        pull(model.weights)
        monkeypatch.setitem(extras.EXTRAS, "models", "a_module_that_nobody_has")
        with pytest.raises(MissingExtraError, match=r"depth 'mine' needs .*diorama\[models\]"):
            registry.load("depth", "mine")


@pytest.mark.usefixtures("scratch_registry")
class TestSettings:
    """`--device` and `--precision` on their way to a model."""

    @pytest.fixture(autouse=True)
    def nothing_said_yet(self) -> None:
        registry._say_once.cache_clear()

    @pytest.fixture
    def model(self, server: FileServer) -> ModelEntry:
        model = weighty(server, target=f"{__name__}:Choosy")
        registry.register(model)
        assert model.weights is not None
        pull(model.weights)
        return model

    def test_a_model_is_told_what_it_can_choose(self, model: ModelEntry) -> None:
        built = registry.load("depth", "mine", device="cuda", precision="bf16")
        assert (built.device, built.precision) == ("cuda", "bf16")
        built = registry.load("depth", "mine")
        assert (built.device, built.precision) == ("auto", "auto")

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({"device": "openvino"}, "--device cpu or cuda, but not openvino: pass one of these"),
            ({"precision": "int8"}, "--precision fp32 or bf16, but not int8: pass one of these"),
        ],
    )
    def test_what_it_cannot_do_is_one_line_with_what_it_can(
        self, model: ModelEntry, wanted: dict, message: str
    ) -> None:
        with pytest.raises(InputError, match=f"depth 'mine' takes {message}, or auto"):
            registry.load("depth", "mine", **wanted)

    def test_torch_runs_weights_that_are_not_onnx(self, model: ModelEntry) -> None:
        assert registry.choices(model) == {"device": ("cpu", "cuda"), "precision": ("fp32", "bf16")}

    def test_onnx_files_run_where_the_wheel_does(self, server: FileServer) -> None:
        target = f"{__name__}:Choosy"
        model = weighty(server, target=target, precision="fp32")
        weights = Weights("mine", server.url, (WeightFile("a.onnx", size=5),))
        found = registry.choices(dataclasses.replace(model, weights=weights))
        assert found == {"device": tuple(d for d in DEVICES if d in devices()), "precision": FP32}

    def test_one_without_a_choice_keeps_its_own_and_says_so_once(
        self, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(registry, "devices", lambda: ["cpu"])
        for _ in range(2):
            built = registry.load("depth", "embedded", device="cuda", precision="fp32")
        assert built == registry.load("depth", "embedded", device="cpu", precision="int8")
        assert [record.getMessage() for record in caplog.records] == [
            "'embedded' runs on cpu alone: --device cuda does not change it",
            "'embedded' computes in int8 alone: --precision fp32 does not change it",
        ]

    def test_one_that_takes_no_settings_says_so(
        self, server: FileServer, caplog: pytest.LogCaptureFixture
    ) -> None:
        model = weighty(server)
        registry.register(model)
        assert model.weights is not None
        pull(model.weights)
        registry.load("depth", "mine", device="cpu")
        assert caplog.messages == [
            "'mine' has no choice of device: --device cpu does not change it"
        ]

    def test_an_inpainter_that_reads_no_words_says_so_once(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        for _ in range(2):
            registry.load("inpainter", "embedded", prompt="a lawn")
            registry.load("segmenter", "embedded", prompt="a lawn")
        assert caplog.messages == ["'embedded' reads no words: --prompt does not change it"]

    @pytest.mark.parametrize("task", ["segmenter", "inpainter"])
    def test_one_without_a_network_has_nothing_to_say(
        self, task: registry.Task, caplog: pytest.LogCaptureFixture
    ) -> None:
        registry.load(task, "embedded", device="cuda", precision="bf16")
        assert caplog.records == []


@pytest.mark.usefixtures("scratch_registry", "server")
class TestLicences:
    def closed(self) -> ModelEntry:
        model = dataclasses.replace(entry(licence="CC-BY-NC-4.0"), commercial=False)
        registry.register(model)
        return model

    def refused(self) -> None:
        with pytest.raises(
            InputError, match=r"not for commercial use: .* --accept-licence CC-BY-NC"
        ):
            registry.load("depth", "mine")

    def test_one_that_forbids_commercial_use_is_accepted_once(self, tmp_path: Path) -> None:
        self.closed()
        self.refused()
        registry.accept_licences(["CC-BY-NC-4.0"])
        registry.accept_licences(["CC-BY-NC-4.0"])
        assert registry.load("depth", "mine") == 0
        written = tmp_path / "config" / "diorama" / "accepted-licences.txt"
        assert written.read_text() == "CC-BY-NC-4.0\n"

    def test_or_in_the_environment(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.closed()
        monkeypatch.setenv("DIORAMA_ACCEPT_LICENCES", "CC-BY-NC-40")
        self.refused()
        monkeypatch.setenv("DIORAMA_ACCEPT_LICENCES", "Other, CC-BY-NC-4.0")
        assert registry.load("depth", "mine") == 0

    def test_or_by_hand(self, tmp_path: Path) -> None:
        self.closed()
        written = tmp_path / "config" / "diorama" / "accepted-licences.txt"
        written.parent.mkdir(parents=True)
        written.write_text("  CC-BY-NC-4.0  \n\n")
        assert registry.load("depth", "mine") == 0
        written.write_bytes(b"\xff\xfe")
        with pytest.raises(InputError, match=r"accepted-licences\.txt cannot be read as text"):
            registry.load("depth", "mine")

    def test_a_typo_is_told(self) -> None:
        with pytest.raises(UnknownNameError, match="unknown licence to accept 'CC': choose from "):
            registry.accept_licences(["CC"])
        self.closed()
        with pytest.raises(UnknownNameError, match=r"did you mean 'CC-BY-NC-4\.0'"):
            registry.accept_licences(["CC-BY-NC-4"])
        self.refused()

    def test_what_allows_it_asks_for_nothing(self) -> None:
        registry.register(entry())
        assert registry.load("depth", "mine") == 0


def test_a_name_of_another_task_is_told() -> None:
    with pytest.raises(UnknownNameError, match=r"embedded, .*while 'lama' is for --inpainter"):
        registry.find("segmenter", "lama")


def test_weights_to_pull_are_described_in_full() -> None:
    for model in registry.entries():
        if model.weights is not None:
            assert model.attribution
            assert model.weights.size
            assert model.weights.source.startswith("https://") or model.weights.revision


def test_a_typo_gets_the_nearest_name() -> None:
    with pytest.raises(
        UnknownNameError, match=r"choose from .*embedded, .*; did you mean 'embedded'"
    ):
        registry.find("depth", "embeded")


def test_every_task_has_an_embedded_model_without_extras() -> None:
    for task in ("depth", "segmenter", "inpainter"):
        assert registry.find(task, "embedded").extra is None


@pytest.mark.parametrize("model", registry.entries(), ids=lambda e: f"{e.task}-{e.name}")
def test_every_entry_leads_somewhere(model: ModelEntry) -> None:
    assert model.summary.endswith(".")
    assert model.licence
    module, _, attribute = model.target.partition(":")
    built = getattr(importlib.import_module(module), attribute)
    method = {
        "depth": "estimate",
        "segmenter": "segment",
        "inpainter": "inpaint",
        "matte": "matte",
        "faces": "detect",
    }[model.task]
    assert callable(getattr(built, method))
    if model.weights is not None:
        assert "weights" in inspect.signature(built).parameters
    elif model.extra is None:
        registry.load(model.task, model.name)


def test_weights_are_known_by_their_hash() -> None:
    model = registry.find("depth", "embedded")
    data = (registry.DATA / "embedded.onnx").read_bytes()
    assert model.fingerprint == f"embedded.onnx sha256:{hashlib.sha256(data).hexdigest()[:16]}"
    assert registry.find("inpainter", "embedded").fingerprint is None
    with pytest.raises(InputError, match=r"none\.onnx cannot be read: install diorama again"):
        _ = dataclasses.replace(model, packaged="none.onnx").fingerprint
