"""Writing so that a result is whole or not there.

Everything is written in a hidden scratch folder beside its final name and renamed when finished; a
failure, Ctrl-C or a full disk leaves what was there before. A process that is killed outright
leaves its scratch folder behind, and the next one that writes to the same place removes it.
"""

import contextlib
import errno
import functools
import hashlib
import os
import re
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from diorama.errors import InputError, OutputError
from diorama.interrupts import uninterrupted

SCRATCH = ".diorama-"
"""How scratch folders begin; the host, the process and a random part follow, with dashes."""

LOCK_SECONDS = 60.0
"""Age from which a scratch folder that nobody has locked is abandoned, even where some process has
its maker's number: makers lock theirs at once."""

_ATTEMPTS = 50  # at making a folder that others keep removing because it is empty
_live: set[Path] = set()  # scratch folders of this process


def refuse_url(source: str | os.PathLike[str], what: str) -> None:
    """Raise `InputError` for a URL; `what` is what it ought to be, such as "photo"."""
    # A path makes one slash of two; a single letter before the colon is a drive.
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+:/", str(source)):
        raise InputError(f"{source} is a URL: download the {what} first and pass the file")


@contextlib.contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield a name to write to; it becomes `path` if the block succeeds and vanishes if it fails.

    The name keeps the suffix of `path`, for encoders that choose the format by it.

    Raises:
        OutputError: if `path` cannot be written.
    """
    final = Path(path)
    with _partial(final) as partial:
        yield partial
        if final.is_dir():
            raise OutputError(f"cannot write {final}: a folder of this name exists; remove it")
        partial.replace(final)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder to fill; it replaces `path` if the block succeeds.

    Raises:
        OutputError: if `path` cannot be written, or is a file.
    """
    final = Path(path)
    with _partial(final) as partial:
        partial.mkdir()
        yield partial
        if final.exists() and not final.is_dir():
            raise OutputError(f"cannot write {final}: a file of this name exists; remove it")
        with uninterrupted():
            if final.is_dir():
                previous = partial.parent / "previous"
                final.replace(previous)
            partial.replace(final)


@contextlib.contextmanager
def whole_set(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Yield an empty folder; what is in it moves into `folder` if the block succeeds.

    Files and folders of the same names are replaced; if the block fails nothing is.

    Raises:
        OutputError: if `folder` cannot be written.
    """
    final = Path(folder)
    if final.exists() and not final.is_dir():
        raise OutputError(f"cannot write to {final}: it is a file, not a folder")
    with _scratch(final, final) as scratch:
        partial = scratch / "results"
        partial.mkdir()
        try:
            yield partial
        except OutputError as error:
            # Whoever reads this asked for the folder, and never hears of the scratch one.
            raise OutputError(str(error).replace(str(partial), str(final))) from error
        with uninterrupted():
            for result in sorted(partial.iterdir()):
                target = final / result.name
                if target.is_dir() and not target.is_symlink():
                    target.replace(scratch / f"previous-{result.name}")
                result.replace(target)


def append_line(path: str | os.PathLike[str], line: str | None = None) -> None:
    """Add a line to a file that other processes and machines add to as well.

    It is written in one piece. A torn line before it, of a process that was killed, is ended first;
    without a `line` that is all that happens.

    Raises:
        OutputError: if `path` cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b", buffering=0) as file, _locked(file.fileno()):
            data = b"" if line is None else f"{line}\n".encode()
            if size := file.seek(0, os.SEEK_END):
                file.seek(size - 1)
                data = data if file.read(1) == b"\n" else b"\n" + data
            if data and os.write(file.fileno(), data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error


def file_hash(path: Path) -> str:
    """The SHA-256 of a file, in hexadecimal.

    Raises:
        OSError: if it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep(folder: str | os.PathLike[str]) -> None:
    """Remove from `folder` the scratch folders of processes that were killed.

    One goes only if its maker is certainly dead: it was made on this host, nobody holds its lock,
    and no process has its maker's number (or has got the number since).
    """
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(SCRATCH) and _is_abandoned(Path(entry.path)):
                shutil.rmtree(entry.path, ignore_errors=True)


def remove_scratch() -> None:
    """Remove this process's scratch folders: for one that has to end whatever it is doing."""
    for folder in list(_live):
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _partial(final: Path) -> Iterator[Path]:
    """Yield an unused name in a hidden scratch folder beside `final`, with its suffix."""
    with _scratch(final.parent, final) as scratch:
        yield scratch / final.name


@contextlib.contextmanager
def _scratch(parent: Path, final: Path) -> Iterator[Path]:
    """Yield a hidden folder in `parent`; it vanishes, and so do the parents made for nothing."""
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    # Known before it is there, so that no interruption can lose it.
    scratch = parent / f"{SCRATCH}{_host()}-{os.getpid()}-{os.urandom(6).hex()}"
    _live.add(scratch)
    lock = None
    try:
        _make(scratch)
        # Another that sweeps may hold it for a moment, to see whose it is.
        lock = _lock(scratch, wait=True)
        _sweep_once(parent)
        yield scratch
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {final}: {reason}") from error
    finally:
        with uninterrupted():
            shutil.rmtree(scratch, ignore_errors=True)
            _live.discard(scratch)
            if lock is not None:
                os.close(lock)
            for folder in made:
                with contextlib.suppress(OSError):
                    folder.rmdir()


def _make(scratch: Path) -> None:
    for attempt in range(_ATTEMPTS):
        try:
            scratch.parent.mkdir(parents=True, exist_ok=True)
            scratch.mkdir(mode=0o700)
        except (FileNotFoundError, FileExistsError):
            # The second too: `mkdir` says so of a folder that went just after it found it there.
            if attempt == _ATTEMPTS - 1:
                raise
        else:
            return


def _lock(folder: Path, *, wait: bool = False) -> int | None:
    """A descriptor that locks `folder` while this process lives; None where that is impossible.

    Raises:
        BlockingIOError: if another holds the lock, and this one is not to wait.
    """
    if sys.platform == "win32":
        return None
    import fcntl

    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        os.close(descriptor)
        raise
    except OSError:  # a network file system without locks
        os.close(descriptor)
        return None
    return descriptor


@contextlib.contextmanager
def _locked(descriptor: int) -> Iterator[None]:
    """Keep other writers out, where there are locks; a line in one piece is right without, too."""
    if sys.platform == "win32":
        yield
        return
    import fcntl

    with contextlib.suppress(OSError):
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    yield  # closing the file releases it


def _is_abandoned(scratch: Path) -> bool:
    host, pid, _ = [*scratch.name.removeprefix(SCRATCH).split("-"), "", "", ""][:3]
    if host != _host() or not pid.isdigit() or sys.platform == "win32":
        return False
    try:
        age = time.time() - scratch.stat().st_mtime
        lock = _lock(scratch)
    except OSError:
        return False
    if lock is not None:
        os.close(lock)
        return not _is_alive(int(pid)) or age > LOCK_SECONDS
    return not _is_alive(int(pid))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # it is another user's
        return True
    return True


@functools.cache
def _host() -> str:
    import socket

    return re.sub(r"[^A-Za-z0-9.]", "_", socket.gethostname())[:64]


# A folder of a million results is not to be listed for each of them. The bound is for the names
# inside scratch folders, which never come again.
_sweep_once = functools.lru_cache(maxsize=256)(sweep)
