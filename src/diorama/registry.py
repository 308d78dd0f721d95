"""The registry: every swappable model as one entry of data.

`diorama models`, the documentation's table and the error messages read the same entries.
"""

import hashlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from diorama.errors import InputError, MissingExtraError, UnknownNameError

Task = Literal["depth", "segmenter", "inpainter"]

DATA = Path(__file__).parent / "data"
"""What comes with the package."""


@dataclass(frozen=True)
class ModelEntry:
    """One model that can be chosen by name."""

    name: str
    task: Task
    summary: str
    """One sentence."""
    target: str
    """Where it is built: "module:attribute", called without arguments."""
    licence: str
    """SPDX identifier of its code and weights."""
    extra: str | None = None
    """The extra that installs what it needs; None if the base install does."""
    weights: str | None = None
    """The file of its weights in `diorama.data`; None if it has none there."""

    @property
    def fingerprint(self) -> str | None:
        """The weights' name and hash, such as "embedded.onnx sha256:0123456789abcdef"; or None.

        Raises:
            InputError: if they are missing.
        """
        if self.weights is None:
            return None
        path = DATA / self.weights
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise InputError(f"{path} cannot be read: install diorama again") from error
        return f"{self.weights} sha256:{digest[:16]}"


_entries: dict[tuple[Task, str], ModelEntry] = {}


def register(entry: ModelEntry) -> None:
    """Add a model; the same name registered twice for a task is an error."""
    key = (entry.task, entry.name)
    if key in _entries and _entries[key] != entry:
        raise InputError(f"a {entry.task} named {entry.name!r} is registered already")
    _entries[key] = entry


def entries(task: Task | None = None) -> list[ModelEntry]:
    """All models, or those of one task, in the order they were registered."""
    return [e for e in _entries.values() if task in (None, e.task)]


def find(task: Task, name: str) -> ModelEntry:
    """The entry of this name, or `UnknownNameError` with the nearest one."""
    if (task, name) not in _entries:
        raise UnknownNameError(task, name, [e.name for e in entries(task)])
    return _entries[task, name]


def load(task: Task, name: str) -> Any:
    """Build the model of this name."""
    entry = find(task, name)
    module, _, attribute = entry.target.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)()
    except ModuleNotFoundError as error:
        if entry.extra is None:
            raise
        raise MissingExtraError(f"{entry.task} {entry.name!r}", entry.extra) from error


for _entry in (
    ModelEntry(
        "embedded",
        "depth",
        "Our own small network: depth, its edges, people and confidence, on any CPU.",
        "diorama.models.embedded:EmbeddedDepth",
        "Apache-2.0",
        weights="embedded.onnx",
    ),
    ModelEntry(
        "embedded",
        "segmenter",
        "Over-segmentation and region merging on colour, texture, depth and its edges: no weights.",
        "diorama.models.region_merging:RegionMerging",
        "Apache-2.0",
    ),
    ModelEntry(
        "embedded",
        "inpainter",
        "Multi-scale exemplar fill (PatchMatch): no weights.",
        "diorama.models.exemplar:Exemplar",
        "Apache-2.0",
    ),
):
    register(_entry)
