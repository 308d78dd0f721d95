"""A server of files on this machine, with the faults of real ones; also as a Hugging Face hub."""

import hashlib
import ssl
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType

COMMIT = "0123456789abcdef0123456789abcdef01234567"
"""What main is."""

OLD_COMMIT = "f" * 40
"""A commit with the same files."""


class FileServer:
    """Serves `files` at /NAME, and at /OWNER/REPO/resolve/REVISION/NAME as the hub does."""

    def __init__(self, files: dict[str, bytes]) -> None:
        self.files = files
        self.requests: list[tuple[str, str, str | None]] = []
        """Method, path and range of each."""
        self.tokens: list[str | None] = []
        """Who asked, for each request."""
        self.cuts: list[int] = []
        """Bytes after which to drop the line, for each of the next downloads."""
        self.redirects: dict[str, str] = {}
        """Where other paths lead."""
        self.moved: dict[str, str] = {}
        """Where the hub keeps files, such as large ones."""
        self.refusals: list[int] = []
        """HTTP statuses of the next answers."""
        self.takes_ranges = True
        self.tag: str | None = "auto"
        """ETag; "auto": by content."""
        self.content_type = "application/octet-stream"
        self.delay_s = 0.0
        """Before each answer."""
        self.gap_s = 0.0
        """Between two parts of a file."""
        self.gated: set[str] = set()
        """Repositories for whose files one has to ask."""
        self.repositories = {"owner/model"}
        self.revisions = {"main", COMMIT, OLD_COMMIT}
        self._scheme = "http"
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None: ...

            def do_GET(self) -> None:
                server._answer(self, with_body=True)

            def do_HEAD(self) -> None:
                server._answer(self, with_body=False)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))

    @property
    def url(self) -> str:
        return f"{self._scheme}://127.0.0.1:{self._server.server_port}"

    def encrypt(self, certificate: Path, key: Path) -> None:
        """Speak TLS from now on."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._scheme = "https"

    @property
    def downloads(self) -> list[str | None]:
        """The range of each GET of a file."""
        return [w for method, p, w in self.requests if method == "GET" and p[:5] != "/api/"]

    def __enter__(self) -> "FileServer":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        wanted = request.headers.get("Range")
        self.requests.append((request.command, request.path, wanted))
        self.tokens.append(request.headers.get("Authorization"))
        time.sleep(self.delay_s)
        if to := self.redirects.get(request.path):
            return self._refuse(request, 302, headers={"Location": to})
        if self.refusals:
            return self._refuse(request, self.refusals.pop(0))
        name, headers = request.path.removeprefix("/"), {}
        if "/resolve/" in name:
            repository, _, rest = name.partition("/resolve/")
            revision, _, name = rest.partition("/")
            if repository not in self.repositories:
                return self._refuse(request, 404, "RepoNotFound")
            if repository in self.gated:
                return self._refuse(request, 403, "GatedRepo")
            if revision not in self.revisions:
                return self._refuse(request, 404, "RevisionNotFound")
            headers["X-Repo-Commit"] = COMMIT if revision == "main" else revision
            if name not in self.files:
                return self._refuse(request, 404, "EntryNotFound", headers)
        if name not in self.files:
            return self._refuse(request, 404)
        data = self.files[name]
        digest = hashlib.sha256(data).hexdigest()
        tag = f'"{digest}"' if self.tag == "auto" else self.tag
        headers |= {"Content-Type": self.content_type} | ({} if tag is None else {"ETag": tag})
        if "/resolve/" in request.path:
            headers |= {"X-Linked-Etag": f'"{digest}"', "X-Linked-Size": str(len(data))}
            if to := self.moved.get(name):
                return self._refuse(request, 302, headers=headers | {"Location": to})
        status, start = 200, 0
        if wanted is not None and self.takes_ranges:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            if start >= len(data):
                return self._refuse(request, 416)
            status, headers["Content-Range"] = 206, f"bytes {start}-{len(data) - 1}/{len(data)}"
        body = data[start:]
        request.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if not with_body:
            return None
        body = body[: self.cuts.pop(0)] if self.cuts else body
        try:
            for at in range(0, len(body), 1 << 16):
                request.wfile.write(body[at : at + (1 << 16)])
                time.sleep(self.gap_s)
        except OSError:  # whoever asked has gone
            return None
        request.close_connection = True
        return None

    @staticmethod
    def _refuse(
        request: BaseHTTPRequestHandler,
        status: int,
        code: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        request.send_response(status)
        for key, value in (headers or {}).items():
            request.send_header(key, value)
        if code is not None:
            request.send_header("X-Error-Code", code)
        request.send_header("Content-Length", "0")
        request.end_headers()
