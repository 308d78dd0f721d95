"""The registry: every swappable model as one entry of data.

`diorama models`, the documentation's table and the error messages read the same entries.
"""

import importlib
from dataclasses import dataclass
from typing import Any, Literal

from diorama.errors import InputError, MissingExtraError, UnknownNameError

Task = Literal["depth", "segmenter", "inpainter"]


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
        "A prior from image cues: no weights, knows ground, sky and height, blind to objects.",
        "diorama.models.cue_depth:CueDepth",
        "Apache-2.0",
    ),
    ModelEntry(
        "embedded",
        "segmenter",
        "Over-segmentation and region merging on colour, texture and disparity: no weights.",
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
