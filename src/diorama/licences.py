"""Licences that somebody has accepted: of models that forbid commercial use.

An acceptance counts for one person, on one machine, for good: it is a line in
``~/.config/diorama/accepted-licences.txt``, which may as well be written by hand.
`DIORAMA_ACCEPT_LICENCES` names some for one run, with commas.
"""

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from diorama.errors import InputError
from diorama.files import append_line

VARIABLE = "DIORAMA_ACCEPT_LICENCES"
"""Of the environment: licences, with commas."""


def accepted() -> set[str]:
    """The licences accepted so far.

    Raises:
        InputError: if the file of them cannot be read.
    """
    names = os.environ.get(VARIABLE, "").split(",")
    path = _file()
    try:
        names += path.read_text("utf-8").splitlines()
    except FileNotFoundError:
        pass
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as text: mend or delete it") from error
    return {name.strip() for name in names} - {""}


def accept(names: Iterable[str]) -> None:
    """Remember that these licences were accepted.

    Raises:
        OutputError: if that cannot be written down.
    """
    for name in sorted(set(names) - accepted()):
        append_line(_file(), name)


def _file() -> Path:
    if sys.platform == "win32":
        home = os.environ.get("APPDATA") or "~/AppData/Roaming"
    else:
        home = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(home).expanduser() / "diorama" / "accepted-licences.txt"
