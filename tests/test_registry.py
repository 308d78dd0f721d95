"""Models are found by name, once each, and say what they need."""

import dataclasses
import hashlib
import importlib
from collections.abc import Iterator

import pytest

from diorama import registry
from diorama.errors import InputError, MissingExtraError, UnknownNameError
from diorama.registry import ModelEntry


@pytest.fixture
def scratch_registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(registry, "_entries", dict(registry._entries))
    return


def entry(name: str = "mine", **changes: str) -> ModelEntry:
    fields = {"summary": "One.", "target": "fractions:Fraction", "licence": "MIT", **changes}
    return ModelEntry(name, "depth", **fields)  # type: ignore[arg-type]  # all are text


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


def test_a_typo_gets_the_nearest_name() -> None:
    with pytest.raises(
        UnknownNameError, match=r"choose from embedded, .*; did you mean 'embedded'"
    ):
        registry.find("depth", "embeded")


def test_every_task_has_an_embedded_model_without_extras() -> None:
    for task in ("depth", "segmenter", "inpainter"):
        assert registry.find(task, "embedded").extra is None


@pytest.mark.parametrize("model", registry.entries(), ids=lambda e: f"{e.task}-{e.name}")
def test_every_entry_of_the_base_install_can_be_built(model: ModelEntry) -> None:
    assert model.summary.endswith(".")
    assert model.licence
    if model.extra is None:
        module, _, attribute = model.target.partition(":")
        assert hasattr(importlib.import_module(module), attribute)
        registry.load(model.task, model.name)


def test_weights_are_known_by_their_hash() -> None:
    model = registry.find("depth", "embedded")
    data = (registry.DATA / "embedded.onnx").read_bytes()
    assert model.fingerprint == f"embedded.onnx sha256:{hashlib.sha256(data).hexdigest()[:16]}"
    assert registry.find("inpainter", "embedded").fingerprint is None
    with pytest.raises(InputError, match=r"none\.onnx cannot be read: install diorama again"):
        _ = dataclasses.replace(model, packaged="none.onnx").fingerprint
