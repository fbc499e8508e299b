"""A hub of our own on 127.0.0.1: the routes `huggingface_hub` asks for, and the faults of a real one.

It serves files from memory. A commit asked for is the commit answered; a branch is at `COMMIT`.
"""

import hashlib
import json
import re
import threading
import time
import urllib.parse
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "c0ffee" * 6 + "c0ff"
_ROUTE = re.compile(
    r"(?P<api>/api)?/datasets/(?P<repository>[^/]+/[^/]+)/(revision|resolve)/(?P<revision>[^/]+)/?(?P<file>.*)"
)


@dataclass
class Hub:
    """What the server holds (repository -> file -> bytes), how it misbehaves, and what it was asked."""

    repositories: Mapping[str, Mapping[str, bytes]]
    failures: int = 0  # so many of the next requests for a path with `failing` in it are answered 503
    failing: str = ""
    delay: float = 0.0  # seconds before each answer
    cuts: int = 0  # so many of the next files stop half-way
    honest: bool = True  # whether a file that stops half-way was announced with its full length
    flips: int = 0  # so many of the next files have one bit changed on the way
    gated: bool = False
    url: str = ""
    requests: Counter[str] = field(default_factory=Counter)


@contextmanager
def serving(repositories: Mapping[str, Mapping[str, bytes]]) -> Iterator[Hub]:
    """A running hub, whose faults may be switched on and off while it runs."""
    hub = Hub(repositories)
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *arguments: object) -> None:
        """Keep quiet: tests read `Hub.requests`."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = urllib.parse.urlsplit(self.path).path
        self.hub.requests[f"{self.command} {path}"] += 1
        time.sleep(self.hub.delay)
        route = _ROUTE.fullmatch(path)
        if self.hub.failures > 0 and self.hub.failing in path:
            self.hub.failures -= 1
            self._send(503)
        elif route is None or route["repository"] not in self.hub.repositories:
            self._send(404, {"X-Error-Code": "RepoNotFound"})
        elif self.hub.gated:
            self._send(403, {"X-Error-Code": "GatedRepo"})
        else:
            self._repository(route)

    def _repository(self, route: re.Match[str]) -> None:
        revision = urllib.parse.unquote(route["revision"])
        commit = revision if re.fullmatch(r"[0-9a-f]{40}", revision) else COMMIT
        files = self.hub.repositories[route["repository"]]
        if route["api"]:
            body = json.dumps({"id": route["repository"], "sha": commit, "private": False, "gated": False})
            self._send(200, {"Content-Type": "application/json"}, body.encode())
        elif route["file"] not in files:
            self._send(404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            self._file(files[route["file"]], commit)

    def _file(self, content: bytes, commit: str) -> None:
        headers = {"ETag": f'"{hashlib.sha256(content).hexdigest()}"', "X-Repo-Commit": commit}
        if self.command == "GET" and self.hub.flips > 0:
            self.hub.flips -= 1
            middle = len(content) // 2
            content = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        cut = self.command == "GET" and self.hub.cuts > 0
        self.hub.cuts -= cut
        half = content[: len(content) // 2]
        if cut and not self.hub.honest:
            self._send(200, headers, half)
        else:
            self._send(200, headers, content, half if cut else content)

    def _send(
        self,
        status: int,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        sent: bytes | None = None,
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        sent = body if sent is None else sent
        if self.command == "GET":
            with suppress(ConnectionError):  # the client may have lost patience
                self.wfile.write(sent)
        self.close_connection = len(sent) < len(body)
