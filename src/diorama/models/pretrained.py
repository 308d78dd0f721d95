"""Models of the library transformers, from a folder as `save_pretrained` or the hub makes it.

What is in such a folder is read, never fetched. transformers is under Apache-2.0.
"""

import contextlib
import importlib
import json
import logging
import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from diorama.errors import InputError, MissingExtraError

if TYPE_CHECKING:
    from torch import nn

Stamp = tuple[tuple[str, int, int], ...]


def stamp(folder: Path, kind: str) -> Stamp:
    """Names, sizes and dates of a folder's files: another model if any of them is another.

    Args:
        folder: where the model lies.
        kind: what it should be, such as "a depth model".

    Raises:
        InputError: if it is no folder.
    """
    if not folder.is_dir():
        there = "a file, not a folder" if folder.exists() else "not there"
        raise InputError(f"{folder} is {there}: pass the folder of {kind}, with its config.json")
    files = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return tuple((name, stat.st_size, stat.st_mtime_ns) for name, stat in files)


def read_json(path: Path, kind: str) -> dict[str, Any]:
    """The settings in a file of the folder of `kind`; `InputError` if it holds none."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise InputError(
            f"{path} is missing: pass the folder of {kind}, as the hub has it"
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} is no model's: it holds {type(content).__name__}")
    return content


def triple(values: Any) -> tuple[float, ...]:
    """A number for each colour channel; `ValueError` or `TypeError` if that is not what it is."""
    numbers = tuple(float(value) for value in values)
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{values!r} where three colour channels should be")
    return numbers


def load_network(
    folder: Path, network: str, title: str, *, variant: str | None = None
) -> "tuple[nn.Module, list[str]]":
    """The network, in float32 on the CPU, and its parameters that the folder lacks.

    Those are NaN: official weights lack some that are never used, such as the residual layer of
    DPT's first fusion; any other shows in what the network says.

    Args:
        folder: with config.json and the weights.
        network: the class of transformers.
        title: as messages call it.
        variant: what the weights' name has before its suffix, such as "fp16".

    Raises:
        InputError: if the folder lacks files or is damaged.
        MissingExtraError: if transformers is not installed.
    """
    try:
        import torch
        import transformers
    except ModuleNotFoundError as error:
        raise MissingExtraError(title, "models") from error
    try:
        with quietly("transformers"):
            loaded, report = getattr(transformers, network).from_pretrained(
                folder,
                dtype=torch.float32,
                variant=variant,
                local_files_only=True,
                output_loading_info=True,
            )
    except Exception as error:  # a dozen classes of three libraries without another common base
        reason = next((line for line in str(error).splitlines() if line), type(error).__name__)
        raise InputError(f"{folder} lacks files or is damaged: {reason}") from error
    missing = []
    for name, parameter in loaded.named_parameters():
        if name in report["missing_keys"]:
            parameter.detach().fill_(math.nan)
            missing.append(name)
    return loaded.eval(), missing


def not_a_number(folder: Path, missing: list[str]) -> InputError:
    """The error for a network that says NaN: its weights are damaged, or some of them missing."""
    reason = "what it sees is not a number"
    if missing:
        reason = f"{len(missing)} weights are missing, such as {missing[0]}"
    return InputError(f"{folder} is damaged or another model's: {reason}")


@contextlib.contextmanager
def quietly(library: Literal["diffusers", "transformers"]) -> Iterator[None]:
    """Without the progress bars and reports that a library writes to stderr as it loads."""
    their = importlib.import_module(f"{library}.utils.logging")
    level, bars = their.get_verbosity(), their.is_progress_bar_enabled()
    their.set_verbosity(logging.CRITICAL)
    their.disable_progress_bar()
    try:
        yield
    finally:
        their.set_verbosity(level)
        if bars:
            their.enable_progress_bar()
