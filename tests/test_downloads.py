"""A download is whole or not there, from servers that fail in all the usual ways."""

import hashlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from file_server import FileServer

from diorama import downloads
from diorama.downloads import download
from diorama.errors import InputError, OutputError

DATA = bytes(range(256)) * 4096 * 3
"""3 MiB."""

SHA256 = hashlib.sha256(DATA).hexdigest()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(downloads, "PAUSES_S", (0.01, 0.01))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.fixture
def server() -> Iterator[FileServer]:
    with FileServer({"a.bin": DATA}) as server:
        yield server


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_arrives_whole_and_its_progress_is_told(server: FileServer, tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    path = tmp_path / "new" / "a.bin"
    download(
        f"{server.url}/a.bin",
        path,
        size=len(DATA),
        sha256=SHA256,
        progress=lambda done, total: told.append((done, total)),
    )
    assert path.read_bytes() == DATA
    assert names(path.parent) == ["a.bin"]
    assert told[0] == (0, len(DATA))
    assert told[-1] == (len(DATA), len(DATA))
    assert [done for done, _ in told] == sorted(done for done, _ in told)


class TestALineThatIsCut:
    def test_goes_on_where_it_broke(self, server: FileServer, tmp_path: Path) -> None:
        server.cuts = [1_000_000, 500_000]
        download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == DATA
        assert server.downloads == [None, "bytes=1000000-", "bytes=1500000-"]

    def test_begins_anew_where_the_server_takes_no_ranges(
        self, server: FileServer, tmp_path: Path
    ) -> None:
        server.takes_ranges = False
        server.cuts = [1_000_000]
        download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == DATA

    def test_begins_anew_where_the_file_changed(self, server: FileServer, tmp_path: Path) -> None:
        server.cuts = [1_000_000]
        other = DATA[::-1]

        def change(done: int, total: int | None) -> None:
            if done >= 1_000_000:
                server.files["a.bin"] = other

        download(f"{server.url}/a.bin", tmp_path / "a.bin", progress=change)
        assert (tmp_path / "a.bin").read_bytes() == other

    def test_begins_anew_where_nothing_tells_versions_apart(
        self, server: FileServer, tmp_path: Path
    ) -> None:
        server.tag, server.cuts = None, [1_000_000]
        download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == DATA

    def test_is_kept_for_the_next_call_if_it_stays_cut(
        self, server: FileServer, tmp_path: Path
    ) -> None:
        server.cuts = [1_000_000, 0, 0]
        with pytest.raises(InputError, match=r"the line was cut; 1 MB are kept, try again to go"):
            download(f"{server.url}/a.bin", tmp_path / "a.bin")
        (part,) = names(tmp_path)
        assert part.endswith(".part")
        assert not (tmp_path / "a.bin").exists()
        before = len(server.requests)
        download(f"{server.url}/a.bin", tmp_path / "a.bin", sha256=SHA256)
        assert server.downloads[before:] == ["bytes=1000000-"]
        assert (tmp_path / "a.bin").read_bytes() == DATA
        assert names(tmp_path) == ["a.bin"]

    def test_what_is_kept_of_another_version_is_not_used(
        self, server: FileServer, tmp_path: Path
    ) -> None:
        server.cuts = [1_000_000, 0, 0]
        with pytest.raises(InputError):
            download(f"{server.url}/a.bin", tmp_path / "a.bin")
        server.files["a.bin"] = DATA[:5000]
        download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert (tmp_path / "a.bin").read_bytes() == DATA[:5000]
        assert names(tmp_path) == ["a.bin"]

    def test_a_server_that_is_silent_counts_as_cut(
        self, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(downloads, "TIMEOUT_S", 0.1)
        server.delay_s = 0.5
        with pytest.raises(InputError, match=r"no byte for 0\.1 seconds"):
            download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert names(tmp_path) == []

    def test_a_slow_server_is_waited_for(self, server: FileServer, tmp_path: Path) -> None:
        server.delay_s, server.gap_s = 0.3, 0.005
        download(f"{server.url}/a.bin", tmp_path / "a.bin", sha256=SHA256)

    def test_an_overloaded_server_is_asked_again(self, server: FileServer, tmp_path: Path) -> None:
        server.refusals = [503, 429]
        download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert len(server.requests) == 3


class TestRefusals:
    def fails(self, message: str, server: FileServer, folder: Path, **known: object) -> None:
        (folder / "a.bin").write_bytes(b"before")
        with pytest.raises(InputError, match=message):
            download(f"{server.url}/a.bin", folder / "a.bin", **known)  # pyright: ignore
        assert names(folder) == ["a.bin"]
        assert (folder / "a.bin").read_bytes() == b"before"

    def test_a_file_of_another_hash(self, server: FileServer, tmp_path: Path) -> None:
        wrong = "0" * 64
        self.fails(f"sha256 {SHA256}, not {wrong}", server, tmp_path, sha256=wrong)

    def test_a_file_of_another_size_is_not_even_fetched(
        self, server: FileServer, tmp_path: Path
    ) -> None:
        self.fails("3145728 bytes, not 7", server, tmp_path, size=7)

    def test_a_page_that_asks_for_a_log_in(self, server: FileServer, tmp_path: Path) -> None:
        server.content_type = "text/html; charset=utf-8"
        self.fails("a web page instead of the file", server, tmp_path)

    def test_a_file_that_is_gone(self, server: FileServer, tmp_path: Path) -> None:
        del server.files["a.bin"]
        self.fails("HTTP 404 Not Found", server, tmp_path)
        assert len(server.requests) == 1

    def test_a_server_that_fails_for_good(self, server: FileServer, tmp_path: Path) -> None:
        server.refusals = [500] * 9
        self.fails("HTTP 500 Internal Server Error", server, tmp_path)


class TestNoNetwork:
    def test_a_closed_port_is_told_at_once(self, tmp_path: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        began = time.perf_counter()
        with pytest.raises(InputError, match=r"no network: 127\.0\.0\.1 does not answer"):
            download(f"http://127.0.0.1:{port}/a.bin", tmp_path / "a.bin")
        assert time.perf_counter() - began < 2
        assert names(tmp_path) == []

    def test_a_name_server_that_never_answers_is_not_waited_for(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        over = threading.Event()

        def resolve(*args: object, **options: object) -> None:
            over.wait()
            raise socket.gaierror

        monkeypatch.setattr(socket, "getaddrinfo", resolve)
        began = time.perf_counter()
        with pytest.raises(InputError, match="no network: nowhere does not answer"):
            download("https://nowhere/a.bin", tmp_path / "a.bin")
        assert time.perf_counter() - began < 2
        over.set()

    @pytest.mark.parametrize("name", ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"])
    def test_offline_by_choice(
        self, name: str, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv(name, "1")
        with pytest.raises(InputError, match="HF_HUB_OFFLINE is set"):
            download(f"{server.url}/a.bin", tmp_path / "a.bin")
        assert server.requests == []

    def test_a_proxy_is_what_has_to_answer(
        self, server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("http_proxy", server.url)
        monkeypatch.setenv("no_proxy", "")
        server.files["http://models.invalid/a.bin"] = DATA  # as a proxy is asked
        download("http://models.invalid/a.bin", tmp_path / "a.bin", sha256=SHA256)


def test_two_at_once_both_end_well(server: FileServer, tmp_path: Path) -> None:
    server.gap_s = 0.002
    path = tmp_path / "a.bin"
    with ThreadPoolExecutor(3) as pool:
        pulls = [pool.submit(download, f"{server.url}/a.bin", path) for _ in range(3)]
    for pull in pulls:
        pull.result()
    assert path.read_bytes() == DATA
    assert names(tmp_path) == ["a.bin"]


def start(server: FileServer, path: Path, before: str = "") -> subprocess.Popen[str]:
    """Download in a process of its own, as the command line does."""
    code = (
        f"import resource, signal, sys\n{before}\n"
        "from pathlib import Path\n"
        "from diorama.interrupts import raising_on_signals\n"
        "from diorama.downloads import download\n"
        "with raising_on_signals():\n"
        f"    print('begun', flush=True); download({server.url!r} + '/a.bin', Path({str(path)!r}))"
    )
    return subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has neither limits nor SIGTERM")
class TestNothingIsLeft:
    def test_by_a_full_disk(self, server: FileServer, tmp_path: Path) -> None:
        limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
        process = start(server, tmp_path / "a.bin", limit)
        _, errors = process.communicate(timeout=60)
        assert f"cannot write {tmp_path / 'a.bin'}: File too large" in errors.splitlines()[-1]
        assert names(tmp_path) == []

    @pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
    def test_by_an_interruption(self, signum: int, server: FileServer, tmp_path: Path) -> None:
        server.gap_s = 0.1
        process = start(server, tmp_path / "a.bin")
        deadline = time.monotonic() + 30
        while not any(path.stat().st_size for path in tmp_path.glob(".diorama-*/*")):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signum)
        _, errors = process.communicate(timeout=60)
        assert "KeyboardInterrupt" in errors
        assert names(tmp_path) == []


def test_a_redirected_file_is_resumed_as_well(server: FileServer, tmp_path: Path) -> None:
    """As releases on GitHub are."""
    server.redirects = {"/v1/a.bin": f"{server.url}/a.bin"}
    server.cuts = [1_000_000]
    download(f"{server.url}/v1/a.bin", tmp_path / "a.bin", sha256=SHA256)
    assert "bytes=1000000-" in server.downloads


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificate")
def test_an_encrypted_line_must_stay_encrypted(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -out c -keyout k"
    )
    names_it = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run([*command.split(), *names_it], cwd=tmp_path, check=True, capture_output=True)
    with FileServer({"a.bin": DATA}) as encrypted:
        encrypted.encrypt(tmp_path / "c", tmp_path / "k")
        with pytest.raises(InputError, match="a certificate that is not trusted here"):
            download(f"{encrypted.url}/a.bin", tmp_path / "a.bin")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "c"))
        download(f"{encrypted.url}/a.bin", tmp_path / "a.bin", sha256=SHA256)
        encrypted.redirects = {"/b.bin": f"{server.url}/a.bin"}
        with pytest.raises(InputError, match="which is not encrypted"):
            download(f"{encrypted.url}/b.bin", tmp_path / "b.bin")
    assert not (tmp_path / "b.bin").exists()


def test_too_small_a_disk_is_told_before(
    server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Usage:
        free = 1_000_000

    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda folder: Usage)
    with pytest.raises(OutputError, match=r"1 MB free, and 3 MB are needed"):
        download(f"{server.url}/a.bin", tmp_path / "a.bin")
    assert names(tmp_path) == []
