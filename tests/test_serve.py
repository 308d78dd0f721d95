"""One page, to this machine only."""

import http.client
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from diorama.serve import PageServer

PAGE = "<!doctype html><title>ünï</title>".encode()


@pytest.fixture
def server() -> Iterator[PageServer]:
    with PageServer(PAGE) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_page_is_at_the_root(server: PageServer) -> None:
    assert server.url.startswith("http://127.0.0.1:")
    for suffix in ("", "?debug"):
        with urllib.request.urlopen(server.url + suffix) as answer:
            assert answer.read() == PAGE
            assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


def test_head_has_no_body(server: PageServer) -> None:
    request = urllib.request.Request(server.url, method="HEAD")
    with urllib.request.urlopen(request) as answer:
        assert answer.read() == b""
        assert answer.headers["Content-Length"] == str(len(PAGE))


@pytest.mark.parametrize("path", ["etc/passwd", "../pyproject.toml", "favicon.ico"])
def test_nothing_else_is_served(server: PageServer, path: str) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        urllib.request.urlopen(server.url + path)
    caught.value.close()


def test_other_methods_are_refused(server: PageServer) -> None:
    connection = http.client.HTTPConnection(*server.server_address[:2])  # type: ignore[arg-type]
    connection.request("POST", "/", b"x")
    assert connection.getresponse().status == 501
    connection.close()


def test_it_listens_on_this_machine_only(server: PageServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
