"""Everything that can go wrong on a user's side.

::

    DioramaError                the base: message says what was wrong, where, and what to do
    ├── InputError              a photo, depth file, scene or argument cannot be used
    ├── OutputError             a result cannot be written
    ├── UnknownNameError        a model, format, path or effect that is not registered
    └── MissingExtraError       an optional dependency is not installed
"""

import difflib
from collections.abc import Iterable


class DioramaError(Exception):
    """An error the user can mend; its message is one line."""


class InputError(DioramaError, ValueError):
    """A photo, depth file, scene or argument cannot be used."""


class OutputError(DioramaError, OSError):
    """A result cannot be written."""


class UnknownNameError(DioramaError, LookupError):
    """A name that is not registered; the message lists the choices and suggests the nearest.

    `also` is what else may stand there, such as "or a file".
    """

    def __init__(self, what: str, name: str, choices: Iterable[str], *, also: str = "") -> None:
        names = sorted(choices)
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        listed = ", ".join([*names, also] if also else names)
        choice = f"choose from {listed}" if listed else "there is none to choose"
        super().__init__(f"unknown {what} {name!r}: {choice}{hint}")


class MissingExtraError(DioramaError, ImportError):
    """An optional dependency is not installed; the message names the extra."""

    def __init__(self, purpose: str, extra: str) -> None:
        super().__init__(f"{purpose} needs an extra: pip install 'diorama[{extra}]'")
