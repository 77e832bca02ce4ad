"""Stands before Azurite, which takes bearer tokens over HTTPS only, and checks them in its place.

A request needs a token that is valid at that moment; it goes on with a shared access signature,
which Azurite takes over HTTP too. In a thread of the tests.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.client
import http.server
import threading
import urllib.parse
from collections.abc import Callable, Collection

HOST = "127.0.0.1"
_HOPS = ("connection", "content-length", "host", "transfer-encoding", "authorization")


def account_sas(account: str, key: str) -> str:
    """A signature for everything in the account, for ten years from 2026 on."""
    fields = {
        "sp": "rwdlacup",
        "ss": "b",
        "srt": "sco",
        "st": "2020-01-01T00:00:00Z",
        "se": "2036-01-01T00:00:00Z",
        "sip": "",
        "spr": "https,http",
        "sv": "2018-11-09",
    }
    text = "".join(f"{part}\n" for part in (account, *fields.values()))
    digest = hmac.new(base64.b64decode(key), text.encode(), hashlib.sha256).digest()
    given = {name: value for name, value in fields.items() if value}
    return urllib.parse.urlencode({**given, "sig": base64.b64encode(digest).decode()})


class BearerFront:
    """With `valid` the tokens that are taken now.

    ``tokens`` has the token of every request that came, None where there was none.
    """

    def __init__(self, upstream: str, sas: str, valid: Callable[[], Collection[str]]) -> None:
        self._upstream = urllib.parse.urlsplit(upstream)
        self._sas = sas
        self._valid = valid
        self.tokens: list[str | None] = []
        self.refused = 0

    def __enter__(self):
        front = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                front.handle(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.endpoint = f"http://{HOST}:{self._server.server_address[1]}{self._upstream.path}"
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers.get("Content-Length") or 0))
        scheme, _, token = (request.headers.get("Authorization") or "").partition(" ")
        known = token if scheme == "Bearer" else None
        self.tokens.append(known)
        if known not in self._valid():
            self.refused += 1
            answer(request, 401, [("x-ms-error-code", "InvalidAuthenticationInfo")], b"")
            return
        headers = {k: v for k, v in request.headers.items() if k.lower() not in _HOPS}
        joint = "&" if "?" in request.path else "?"
        connection = http.client.HTTPConnection(HOST, self._upstream.port, timeout=60)
        with contextlib.closing(connection):
            target = request.path + joint + self._sas
            connection.request(request.command, target, body, headers)
            found = connection.getresponse()
            data = found.read()
            kept = found.getheaders()
            if request.command != "HEAD":
                kept = [(k, v) for k, v in kept if k.lower() not in _HOPS]
            answer(request, found.status, kept, data)


def answer(
    request: http.server.BaseHTTPRequestHandler,
    status: int,
    headers: list[tuple[str, str]],
    data: bytes,
) -> None:
    """Send it; where the headers tell a length, it is what is not sent after a HEAD."""
    request.send_response_only(status)
    names = {name.lower() for name, _ in headers}
    for name, value in headers:
        if name.lower() not in ("connection", "transfer-encoding"):
            request.send_header(name, value)
    if "content-length" not in names:
        request.send_header("Content-Length", str(len(data)))
    request.end_headers()
    request.wfile.write(data)
