"""`scene.json` as an object whose fields are asked for with the type they must have.

Whatever else stands there is one `InputError`, of one line, that names the file and the field.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from diorama.arrays import Array
from diorama.errors import InputError

LARGEST = 1e12
"""Of any number; what is computed from it must fit 32-bit floats."""

MAX_COUNT = 300_000_000
"""Of a whole number: pixels of a picture."""

MAX_ID = (1 << 24) - 1
"""Of masks: as many as there are colours."""

MAX_IDS = 65536
"""Of masks in one list."""

MAX_NESTING = 64
"""Levels of objects and lists; ours has five."""


def parse_json(data: bytes, path: Path) -> Any:
    """The document in `scene.json`; `InputError` if it is not JSON or could not be saved again."""

    def refuse(constant: str) -> NoReturn:
        raise ValueError(f"{constant} is not a number")

    try:
        document = json.loads(data, parse_constant=refuse)
    except RecursionError as error:
        raise InputError(f"{path}: scene.json is nested too deep") from error
    except ValueError as error:
        raise InputError(f"{path}: scene.json is not JSON ({error})") from error
    _check_plain(document, path)
    return document


def _check_plain(document: object, path: Path) -> None:
    """Raise `InputError` for what could not be saved again, though Python's JSON parser takes it.

    Numbers beyond 64-bit floats, halves of surrogate pairs, nesting that would exhaust the stack.
    """
    level = [document]
    for _ in range(MAX_NESTING):
        for value in level:
            if isinstance(value, float) and not math.isfinite(value):
                raise InputError(f"{path}: scene.json holds a number too large to be one")
            if isinstance(value, str) and not _encodes(value):
                raise InputError(f"{path}: scene.json holds text that is not Unicode")
        inner = [v for value in level if isinstance(value, list) for v in value]
        inner += [
            v for value in level if isinstance(value, dict) for kv in value.items() for v in kv
        ]
        level = inner
        if not level:
            return
    raise InputError(f"{path}: scene.json is nested too deep")


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class Fields:
    """A JSON object whose fields are asked for with the type they must have."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self.values, self.where = values, where

    def fail(self, name: str, wanted: str) -> NoReturn:
        """Raise `InputError`: what was wanted, and what is there."""
        seen = "missing" if name not in self.values else shown(self.values[name])
        raise InputError(f"{self.where}: field {name!r} must be {wanted}, but is {seen}")

    def text(self, name: str) -> str:
        """Text."""
        value = self.values.get(name)
        return value if isinstance(value, str) else self.fail(name, "text")

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.values.get(name)
        return value if isinstance(value, bool) else self.fail(name, "true or false")

    def number(self, name: str, *, low: float = -LARGEST, high: float = LARGEST) -> float:
        """A number in this range."""
        value: Any = self.values.get(name)
        if _is_number(value) and low <= value <= high:
            return float(value)  # pyright: ignore
        at_least = f" of at least {low:g}" if low > -LARGEST else ""
        at_most = f" and at most {high:g}" if high < LARGEST else ""
        self.fail(name, f"a number{at_least}{at_most}")

    def count(self, name: str) -> int:
        """A whole number of at least 1."""
        value = self.values.get(name)
        if type(value) is int and 1 <= value <= MAX_COUNT:
            return value
        self.fail(name, "a whole number of at least 1")

    def numbers(self, name: str, count: int) -> Array:
        """(count,) float64."""
        value = self.values.get(name)
        if isinstance(value, list) and len(value) == count and all(map(_is_number, value)):
            return np.array(value, np.float64)
        self.fail(name, f"{count} numbers")

    def ids(self, name: str) -> list[int]:
        """Mask ids, in any order."""
        value = self.values.get(name)
        if isinstance(value, list) and len(value) <= MAX_IDS and all(map(_is_id, value)):
            return value
        self.fail(name, f"n numbers, whole and in 0..{MAX_ID}")

    def matrix(self, name: str, size: int) -> Array:
        """(size, size) float64, row by row."""
        rows = self.values.get(name)
        if isinstance(rows, list) and len(rows) == size:
            flat = [v for row in rows if isinstance(row, list) and len(row) == size for v in row]
            if len(flat) == size * size and all(map(_is_number, flat)):
                return np.array(rows, np.float64)
        self.fail(name, f"{size}x{size} numbers")

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        value = self.values.get(name)
        if isinstance(value, list) and all(isinstance(v, str) for v in value):
            return value
        self.fail(name, "a list of texts")

    def inner(self, name: str) -> "Fields":
        """An object."""
        value = self.values.get(name)
        if isinstance(value, dict):
            return Fields(value, f"{self.where}: {name}")
        self.fail(name, "an object")

    def inner_or_none(self, name: str) -> "Fields | None":
        """An object, or None where it is null or missing."""
        return None if self.values.get(name) is None else self.inner(name)

    def each(self, name: str) -> list["Fields"]:
        """A list of objects."""
        value = self.values.get(name)
        if isinstance(value, list) and all(isinstance(v, dict) for v in value):
            return [Fields(v, f"{self.where}: {name} {i}") for i, v in enumerate(value)]
        self.fail(name, "a list of objects")


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and -LARGEST <= value <= LARGEST


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value <= MAX_ID


def shown(value: object) -> str:
    """A value for a message, without spelling out what may be megabytes."""
    if isinstance(value, (list, dict)) and len(value) > 8:
        return f"{len(value)} values"
    if isinstance(value, int) and abs(value) > LARGEST:
        return "a huge number"
    return repr(value)[:60]
