"""Writing so that a result is whole or not there.

Everything is written beside its final name and renamed when finished; a failure, Ctrl-C or a full
disk leaves what was there before.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from diorama.errors import OutputError


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
        for result in sorted(partial.iterdir()):
            target = final / result.name
            if target.is_dir() and not target.is_symlink():
                target.replace(scratch / f"previous-{result.name}")
            result.replace(target)


@contextlib.contextmanager
def _partial(final: Path) -> Iterator[Path]:
    """Yield an unused name in a hidden scratch folder beside `final`, with its suffix."""
    with _scratch(final.parent, final) as scratch:
        yield scratch / final.name


@contextlib.contextmanager
def _scratch(parent: Path, final: Path) -> Iterator[Path]:
    """Yield a hidden folder in `parent`; it vanishes, and so do the parents made for nothing."""
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    scratch = None
    try:
        parent.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix=".diorama-", dir=parent))
        yield scratch
    except OutputError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise OutputError(f"cannot write {final}: {reason}") from error
    finally:
        if scratch is not None:
            shutil.rmtree(scratch, ignore_errors=True)
        for folder in made:
            with contextlib.suppress(OSError):
                folder.rmdir()
