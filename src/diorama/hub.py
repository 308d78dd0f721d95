"""Fetching files of a Hugging Face repository into the cache of the hub's own client.

The client says where a file is, who may have it, and how the cache is laid out. The bytes are
fetched by ourselves (`diorama.downloads`): of a download that stays cut, the client keeps nothing.
"""

import contextlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from diorama.downloads import check_network, check_space, download, is_offline
from diorama.errors import InputError, OutputError
from diorama.extras import check_extra
from diorama.files import file_hash

if TYPE_CHECKING:
    from huggingface_hub import HfFileMetadata

HUB = "https://huggingface.co"
"""Unless HF_ENDPOINT names a mirror."""

SHA256_DIGITS = 64
"""In hexadecimal."""

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
        from huggingface_hub import hf_hub_url

        try:
            if not is_offline():
                commit, there = _ask(repository, files, commit, endpoint)
                missing = [n for n in files if not _pointer(folder, commit, n).exists()]
                check_space(cache, sum(there[name].size or 0 for name in missing))
                for name, expected in files.items():
                    pointer = _pointer(folder, commit, name)
                    if expected is not None and pointer.exists() and file_hash(pointer) != expected:
                        discard(pointer)  # damaged
                    if not pointer.exists():
                        url = hf_hub_url(repository, name, revision=commit, endpoint=endpoint)
                        _fetch_blob(name, url, expected, there[name], folder, progress)
            for name in files:
                path = _link(repository, name, commit, cache, endpoint)
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
    repository: str, names: Iterable[str], revision: str, endpoint: str
) -> "tuple[str, dict[str, HfFileMetadata]]":
    """The commit that a revision is now, and where each file is.

    Each file is asked for once: the client alone would try for 20 seconds.
    """
    from huggingface_hub import get_hf_file_metadata, hf_hub_url

    there = {}
    for name in names:
        url = hf_hub_url(repository, name, revision=revision, endpoint=endpoint)
        there[name] = get_hf_file_metadata(url, endpoint=endpoint)
        commit, etag = there[name].commit_hash, there[name].etag
        if commit is None or etag is None:
            raise InputError(f"{endpoint} does not answer as the Hugging Face hub does")
        revision = commit
    return revision, there


def _pointer(folder: Path, commit: str, name: str) -> Path:
    """Where a file of a commit is, which is a link to its blob."""
    return folder / "snapshots" / commit / name


def _fetch_blob(
    name: str,
    url: str,
    expected: str | None,
    there: "HfFileMetadata",
    folder: Path,
    progress: Progress,
) -> None:
    """Have a file's content in the cache, under the name that the client looks for."""
    from huggingface_hub.utils import build_hf_headers

    assert there.etag is not None
    blob = folder / "blobs" / there.etag
    if expected is None and len(there.etag) == SHA256_DIGITS:
        expected = there.etag  # so the hub names large files
    if blob.exists() and (expected is None or file_hash(blob) == expected):
        return
    # Asked for where large files lie, a server signs the answer for an hour: so each new attempt
    # begins at the hub, and the token goes no further.
    download(
        url,
        blob,
        size=there.size,
        sha256=expected,
        headers=build_hf_headers(library_name="diorama"),
        progress=partial(progress, name),
    )


def _link(repository: str, name: str, commit: str, cache: Path, endpoint: str) -> Path:
    """Let the client put a file whose blob is there into its commit's folder."""
    from huggingface_hub import hf_hub_download

    return Path(
        hf_hub_download(
            *(repository, name),
            revision=commit,
            cache_dir=cache,
            endpoint=endpoint,
            local_files_only=is_offline(),
            library_name="diorama",
        )
    )


def discard_parts(repository: Path) -> None:
    """Delete what was kept of downloads that stayed cut."""
    for part in repository.glob("blobs/*.part"):
        part.unlink(missing_ok=True)
    _remove_empty(repository)


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
