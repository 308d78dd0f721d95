"""Fetching one large file over HTTPS: resumed where the line was cut, whole or not there at all."""

import contextlib
import hashlib
import http.client
import os
import shutil
import socket
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Generator, Mapping
from pathlib import Path

from diorama.errors import InputError, OutputError
from diorama.files import file_hash, whole_file

PROBE_S = 1.25
"""Seconds within which a server has to take a connection, else there is no network."""

TIMEOUT_S = 30.0
"""Seconds without a byte after which a line counts as cut."""

PAUSES_S = (0.5, 1.0, 2.0, 4.0)
"""Seconds to wait before each new attempt; one that brings bytes begins anew."""

CHUNK = 1 << 20
"""Bytes between two reports."""

PASSING = (408, 429, 500, 502, 503, 504)
"""HTTP statuses of servers that may answer later."""

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and those there will be, None if unknown."""


class _CutError(Exception):
    """The line was cut; says how."""


def check_network(url: str) -> None:
    """Raise `InputError` within some `PROBE_S` seconds if the server of `url` is out of reach.

    The libraries' own time limits begin only when a name is resolved, which alone may take longer.
    """
    if is_offline():
        raise InputError("HF_HUB_OFFLINE is set, so nothing is downloaded: unset it to pull")
    host, port = _first_hop(url)
    reached = threading.Event()

    def connect() -> None:
        with contextlib.suppress(OSError), socket.create_connection((host, port), PROBE_S):
            reached.set()

    thread = threading.Thread(target=connect, daemon=True)
    thread.start()
    thread.join(PROBE_S)
    if not reached.is_set():
        raise InputError(f"no network: {host} does not answer; try again when there is one")


def check_space(folder: Path, size: int) -> None:
    """Raise `OutputError` if the disk of `folder`, which need not be there yet, is too full."""
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if size > (free := shutil.disk_usage(there).free):
        raise OutputError(
            f"{folder} has {free / 1e6:.0f} MB free, and {size / 1e6:.0f} MB are needed: make "
            "room, or choose another --models-dir"
        )


def is_offline() -> bool:
    """Whether HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids downloads."""
    wanted = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return wanted.upper() in {"1", "ON", "YES", "TRUE"}


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    headers: Mapping[str, str] | None = None,
    progress: Progress = lambda done, total: None,
) -> None:
    """Fetch a file.

    A line that is cut is resumed where it broke (Range, RFC 9110 section 14), if the server says by
    an entity tag or a date that the file is the same. If it stays cut, what came so far is kept
    beside `path` as ``NAME.TAG.part`` for the next call; after any other failure nothing is.

    Args:
        url: http or https.
        path: where to put it; replaced only by a whole file.
        size: its bytes, if known.
        sha256: its hash, if known.
        headers: to send to the server of `url`, and to no other that it leads to.
        progress: called about once a mebibyte.

    Raises:
        InputError: if it cannot be had, or is not what it should be.
        OutputError: if it cannot be written.
    """
    check_network(url)
    with whole_file(path) as scratch:
        transfer = _Transfer(url, scratch, size, progress, headers or {})
        transfer.claim(path)
        try:
            transfer.run()
        except _CutError as error:
            kept = transfer.keep(path)
            again = f"; {kept / 1e6:.0f} MB are kept, try again to go on" if kept else ""
            raise InputError(f"{url} could not be fetched: {error}{again}") from error
        if sha256 is not None and (found := file_hash(scratch)) != sha256:
            raise InputError(f"{url} is not the file it should be: sha256 {found}, not {sha256}")


class _Transfer:
    """A file that grows, over as many connections as it takes."""

    def __init__(
        self,
        url: str,
        scratch: Path,
        size: int | None,
        progress: Progress,
        headers: Mapping[str, str],
    ) -> None:
        self._url, self._scratch, self._headers = url, scratch, headers
        self._size, self._progress = size, progress
        self._tag: str | None = None  # of the version that is being fetched
        self._done = 0

    def claim(self, path: Path) -> None:
        """Take what an earlier call left; of several calls at once, one gets it."""
        for part in sorted(path.parent.glob(f"{path.name}.*.part")):
            with contextlib.suppress(FileNotFoundError):
                part.replace(self._scratch)
                self._tag = part.name.removeprefix(f"{path.name}.").removesuffix(".part")
                self._done = self._scratch.stat().st_size

    def keep(self, path: Path) -> int:
        """Leave what is here for the next call; returns its bytes."""
        if self._tag is None or self._done == 0:
            return 0
        self._scratch.replace(path.with_name(f"{path.name}.{self._tag}.part"))
        return self._done

    def run(self) -> None:
        """Fetch the rest."""
        pauses = iter(PAUSES_S)
        while True:
            before = self._done
            try:
                if self._attempt():
                    return
                reason = "the line was cut"
            except _CutError as error:
                reason = str(error)
            if self._done > before:
                pauses = iter(PAUSES_S)
            pause = next(pauses, None)
            if pause is None:
                raise _CutError(reason)
            time.sleep(pause)

    def _attempt(self) -> bool:
        """Fetch over one connection; whether the file is complete."""
        with self._connect() as response:
            total = self._begin(response)
            total = self._size if total is None else total
            if self._size is not None and total != self._size:
                raise InputError(
                    f"{self._url} is not the file it should be: {total} bytes, not {self._size}"
                )
            if total is not None:
                check_space(self._scratch.parent.parent, total - self._done)
            if response.headers.get_content_type() == "text/html":
                raise InputError(
                    f"{self._url} gave a web page instead of the file: does this network ask for a "
                    "log-in?"
                )
            self._progress(self._done, total)
            with self._scratch.open("ab" if self._done else "wb") as file:
                for chunk in _chunks(response):
                    file.write(chunk)
                    self._done += len(chunk)
                    self._progress(self._done, total)
        return total is None or self._done == total

    def _connect(self) -> http.client.HTTPResponse:
        request = urllib.request.Request(self._url, headers={"User-Agent": "diorama"})
        for name, value in self._headers.items():
            request.add_unredirected_header(name, value)
        if self._done:
            request.add_header("Range", f"bytes={self._done}-")
        try:
            # A new opener reads the proxies that are set now.
            response = urllib.request.build_opener().open(request, timeout=TIMEOUT_S)
        except urllib.error.HTTPError as error:
            if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE and self._done:
                self._restart()
                raise _CutError("the server has nothing to go on with") from error
            if error.code in PASSING:
                raise _CutError(f"HTTP {error.code} {error.reason}") from error
            reason = f"HTTP {error.code} {error.reason}"
            raise InputError(f"{self._url} cannot be had: {reason}") from error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
                raise InputError(
                    f"{self._url} has a certificate that is not trusted here: {_reason(error)}"
                ) from error
            raise _CutError(_reason(error)) from error
        if self._url.startswith("https:") and not response.url.startswith("https:"):
            raise InputError(f"{self._url} leads to {response.url}, which is not encrypted")
        return response

    def _begin(self, response: http.client.HTTPResponse) -> int | None:
        """Take note of the version that is sent; returns its bytes, if the server says."""
        headers = response.headers
        mark = headers.get("ETag") or headers.get("Last-Modified")
        tag = None if mark is None else hashlib.sha256(mark.encode()).hexdigest()[:16]
        if response.status == http.HTTPStatus.PARTIAL_CONTENT:
            begin, _, total = headers.get("Content-Range", "").rpartition("/")
            if tag is not None and tag == self._tag and begin.startswith(f"bytes {self._done}-"):
                return int(total) if total.isdigit() else None
            self._restart()
            raise _CutError("the file changed meanwhile")
        self._restart()
        self._tag = tag
        length = headers.get("Content-Length", "")
        return int(length) if length.isdigit() else None

    def _restart(self) -> None:
        self._tag, self._done = None, 0


def _chunks(response: http.client.HTTPResponse) -> Generator[bytes, None, None]:
    while True:
        try:
            chunk = response.read(CHUNK)
        except (OSError, http.client.HTTPException) as error:
            raise _CutError(_reason(error)) from error
        if not chunk:
            return
        yield chunk


def _first_hop(url: str) -> tuple[str, int]:
    """Host and port that a request connects to: the proxy's, if there is one."""
    parts = urllib.parse.urlsplit(url)
    host = parts.hostname or ""
    proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy is not None and not urllib.request.proxy_bypass(host):
        parts = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
        host = parts.hostname or ""
    return host, parts.port or (443 if parts.scheme == "https" else 80)


def _reason(error: Exception) -> str:
    inner = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(inner, TimeoutError):
        return f"no byte for {TIMEOUT_S:g} seconds"
    return (getattr(inner, "strerror", None) or str(inner) or type(inner).__name__).lower()
