"""Fetching files of a Hugging Face repository through the hub's own client, into its cache."""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from diorama.downloads import check_network, check_space, is_offline
from diorama.errors import InputError, OutputError
from diorama.extras import check_extra
from diorama.files import file_hash

HUB = "https://huggingface.co"
"""Unless HF_ENDPOINT names a mirror."""

Progress = Callable[[str, int, int | None], None]
"""Called with a file's name, the bytes that are here, and those there will be (None: unknown)."""


def fetch(
    repository: str,
    files: Mapping[str, str | None],
    *,
    revision: str | None,
    folder: Path,
    progress: Progress,
) -> str:
    """Have files of one commit in the cache; those that are there are not fetched again.

    Args:
        repository: "owner/name".
        files: each file's SHA-256 in hexadecimal, or None if it is not known.
        revision: the commit; None: what main is now.
        folder: the repository's in the hub's cache.
        progress: called as bytes come in.

    Returns:
        The commit.

    Raises:
        InputError: if a file cannot be had, or is not what it should be.
        OutputError: if the cache cannot be written.
        MissingExtraError: if the client is not installed.
    """
    check_extra("models", f"pulling {repository}")
    endpoint = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    commit = revision or "main"
    cache, existed = folder.parent, folder.exists()
    if not is_offline():
        check_network(endpoint)  # before the client, which takes a while to load
    with _one_line_errors(repository, cache), _quiet():
        try:
            if not is_offline():
                commit, size = _ask(repository, files, commit, endpoint, folder)
                check_space(cache, size)
            for name, expected in files.items():
                options = {"revision": commit, "cache_dir": cache, "endpoint": endpoint}
                path = _fetch_file(repository, name, expected, options, progress)
                commit = path.parents[name.count("/")].name
        except BaseException:
            if not existed:
                _remove_empty(folder)
            raise
    return commit


def discard(path: Path) -> None:
    """Delete a file; one in the hub's cache is a link to it, and its folder may be empty then."""
    path.resolve().unlink(missing_ok=True)
    path.unlink(missing_ok=True)
    for folder in path.parents:
        if folder.name == "snapshots":
            _remove_empty(folder.parent)


def _ask(
    repository: str, names: Iterable[str], revision: str, endpoint: str, folder: Path
) -> tuple[str, int]:
    """The commit that a revision is now, and the bytes that are missing of it.

    Each file is asked for once: the client alone would try for 20 seconds.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    missing = 0
    for name in names:
        url = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
        answer = get_hf_file_metadata(url, endpoint=endpoint)
        if answer.commit_hash is None:
            raise InputError(f"{endpoint} does not answer as the Hugging Face hub does")
        revision = answer.commit_hash
        if not (folder / "snapshots" / revision / name).exists():
            missing += answer.size or 0
    return revision, missing


def _fetch_file(
    repository: str,
    name: str,
    expected: str | None,
    options: dict[str, Any],
    progress: Progress,
) -> Path:
    from huggingface_hub import hf_hub_download

    bar = progress_bar(name, progress)

    def download(*, anew: bool = False) -> Path:
        offline = is_offline()
        return Path(
            hf_hub_download(
                *(repository, name),
                **options,
                local_files_only=offline,
                force_download=anew,
                tqdm_class=bar,
                library_name="diorama",
            )
        )

    path = download()
    if expected is not None and file_hash(path) != expected and not is_offline():
        path = download(anew=True)  # what was there is damaged
    if expected is not None and (found := file_hash(path)) != expected:
        discard(path)
        raise InputError(
            f"{name} of {repository} is not the file it should be: sha256 {found}, not {expected}"
        )
    return path


def progress_bar(name: str, progress: Progress) -> type:
    """A bar for the client, which shows nothing and passes on how far a file is."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __init__(self, *args: Any, **shown: Any) -> None:
            self._done, self._all = shown.get("initial") or 0, shown.get("total")
            super().__init__(*args, **{**shown, "disable": True})

        def update(self, n: float | None = 1) -> None:
            self._done += int(n or 0)
            progress(name, self._done, self._all)

        def update_transfer(self, n: float) -> None:
            """What came over the line but is not written yet."""

        def set_transfer_postfix_str(self, *args: Any, **shown: Any) -> None:
            """Its speed."""

    return Bar


def _remove_empty(repository: Path) -> None:
    """Remove a repository from the cache in which no file is left, and its locks."""
    # Where the system knows no links, files lie in the snapshots themselves.
    files = (*repository.glob("blobs/*"), *repository.glob("snapshots/**/*"))
    if not any(file.is_file() for file in files):
        shutil.rmtree(repository, ignore_errors=True)
        shutil.rmtree(repository.parent / ".locks" / repository.name, ignore_errors=True)


@contextlib.contextmanager
def _one_line_errors(repository: str, cache: Path) -> Iterator[None]:
    """Say in one line what the client raises."""
    from huggingface_hub import errors

    where = f"{repository} on the Hugging Face hub"
    try:
        yield
    except (InputError, OutputError):
        raise
    except errors.GatedRepoError as error:
        raise InputError(
            f"{where} asks for an account that has accepted its terms: do so on its page, and set "
            "HF_TOKEN"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError) as error:
        raise InputError(f"there is no {where}, or not at this revision any more") from error
    except errors.LocalEntryNotFoundError as error:
        raise InputError(
            f"HF_HUB_OFFLINE is set and the cache has no {repository}: unset it to pull"
            if is_offline()
            else f"{where} cannot be reached: {_last_line(error)}"
        ) from error
    except errors.EntryNotFoundError as error:
        raise InputError(f"{where} lacks a file: {_last_line(error)}") from error
    except Exception as error:  # the client has changed its HTTP library, and errors, before
        if isinstance(error, OSError) and error.errno is not None:
            reason = error.strerror or str(error)
            raise OutputError(f"cannot write to {cache}: {reason}") from error
        raise InputError(f"{where} cannot be fetched: {_last_line(error)}") from error


def _last_line(error: BaseException) -> str:
    return next(reversed(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep the client's own remarks from the terminal: what matters comes as an error."""
    from huggingface_hub.utils import logging as remarks

    before = remarks.get_verbosity()
    remarks.set_verbosity(logging.CRITICAL)
    try:
        yield
    finally:
        remarks.set_verbosity(before)
