"""One page on 127.0.0.1: what `diorama view` opens.

A page opened from disk already works; served, it also gets the device orientation, which browsers
grant to secure contexts and to this machine alone.
"""

import http.server
from http import HTTPStatus


class PageServer(http.server.ThreadingHTTPServer):
    """Serves one HTML page at "/" and nothing else, to this machine only."""

    daemon_threads = True

    def __init__(self, page: bytes, *, port: int = 0) -> None:
        """Listen at once; port 0 takes any free one."""
        super().__init__(("127.0.0.1", port), _PageHandler)
        self.page = page

    @property
    def url(self) -> str:
        """Where the page is."""
        return f"http://127.0.0.1:{self.server_address[1]}/"


class _PageHandler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def _answer(self, *, with_body: bool) -> None:
        assert isinstance(self.server, PageServer)
        if self.path.partition("?")[0] != "/":
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(self.server.page)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        if with_body:
            self.wfile.write(self.server.page)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: the terminal belongs to the command."""
