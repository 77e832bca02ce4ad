"""A reverse proxy on loopback that does to requests what its rules say.

    with FaultProxy("http://127.0.0.1:9000") as proxy:
        proxy.add(Rule(Throttle(), method="PUT", first=2))
        ...  # with proxy.endpoint instead of the server's
        assert [r.status for r in proxy.requests if r.method == "PUT"] == [503, 503, 200]

Requests go on byte for byte, the Host header included: signatures cover it, and a server verifies
it as received. Each client connection has an upstream connection of its own, and meets the
upstream's end as it would without the proxy.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import http
import os
import socket
import struct
import threading
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fusiondelta.errors import ConfigurationError
from fusiondelta.testing._faults import (
    BodyFault,
    DropAnswer,
    Hang,
    Latency,
    Request,
    Reset,
    ResetMidBody,
    Rule,
    RuleInUse,
    SlowBody,
    Status,
    StatusAfter,
    Truncate,
    WrongContentLength,
    signing_key,
)

_BUFFER = 2**18
_AT_ONCE = struct.pack("hh" if os.name == "nt" else "ii", 1, 0)
_KEPT = (
    "range",
    "if-none-match",
    "if-match",
    "content-length",
    "expect",
    "x-ms-range",
    "x-goog-if-generation-match",
)


class FaultProxy:
    """A proxy in front of one plain HTTP server, in a thread of its own: a context manager.

    Args:
        upstream: Endpoint of the server, ``http://127.0.0.1:9000`` for one.
        port: Where to listen on 127.0.0.1; any free port where 0.

    Attributes:
        endpoint: Where it listens, for the ``endpoint`` of a storage profile; empty before the
            start.

    Raises:
        ConfigurationError: The upstream is no endpoint of plain HTTP.
    """

    def __init__(self, upstream: str, port: int = 0) -> None:
        self.upstream = upstream
        self.endpoint = ""
        self._port = port
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self._rules: list[RuleInUse] = []
        self._thread: threading.Thread | None = None
        self._stopping = False

    def __enter__(self) -> FaultProxy:  # noqa: PYI034 Self is 3.11
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def upstream(self) -> str:
        """Endpoint of the server; may be replaced while the proxy runs, for new connections."""
        return self._upstream

    @upstream.setter
    def upstream(self, endpoint: str) -> None:
        there = urlsplit(endpoint)
        if there.scheme != "http" or not there.hostname:
            raise ConfigurationError(
                "a fault proxy stands before a server of plain HTTP, such as "
                f"'http://127.0.0.1:9000', not {endpoint!r}"
            )
        self._upstream = endpoint

    def start(self) -> None:
        """Listen; ``endpoint`` says where, and is the same after a stop and another start."""
        listener = socket.create_server(("127.0.0.1", self._port), backlog=512)
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self._stopping = False
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(listener)), name="fault-proxy", daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """End all connections, also those that hang."""
        if self._thread is not None:
            self._stopping = True
            # It looks when it accepts. Cancelling that instead could lose an accepted connection.
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", self._port)).close()
            self._thread.join()
            self._thread = None

    @property
    def requests(self) -> list[Request]:
        """All requests since the start or the last ``clear()``, in order of arrival."""
        with self._lock:
            return list(self._requests)

    def clear(self) -> None:
        """Forget requests; rules and their counts stay."""
        with self._lock:
            self._requests.clear()

    @property
    def rules(self) -> tuple[Rule, ...]:
        """In the order of their precedence."""
        with self._lock:
            return tuple(used.rule for used in self._rules)

    def add(self, rule: Rule) -> Rule:
        """Heed this rule too, after those there are."""
        with self._lock:
            self._rules.append(RuleInUse(rule))
        return rule

    def remove(self, rule: Rule) -> None:
        """No longer heed this rule."""
        with self._lock:
            self._rules.remove(next(used for used in self._rules if used.rule is rule))

    async def _serve(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        tasks: set[asyncio.Task[None]] = set()
        with listener:
            while True:
                client, _ = await loop.sock_accept(listener)
                if self._stopping:
                    client.close()
                    break
                # asyncio does so only where a socket names its protocol, which these do not; each
                # answer would wait 40 ms for the client to acknowledge its head.
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                task = loop.create_task(self._talk(client))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
                # A task that is cancelled before its first step closes nothing itself.
                task.add_done_callback(functools.partial(_close, client))
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _talk(self, client: socket.socket) -> None:
        client.setblocking(False)
        streams = await asyncio.open_connection(sock=client, limit=_BUFFER)
        await _Connection(self, *streams).run()

    def _decide(self, request: Request) -> float:
        """Note the request and the fault for it; the seconds to wait."""
        latency = 0.0
        with self._lock:
            self._requests.append(request)
            for used in self._rules:
                if used.takes(request):
                    if isinstance(used.rule.fault, Latency):
                        latency += used.rule.fault.seconds
                    elif request.fault is None:
                        request.fault = used.rule.fault
        return latency


class _Connection:
    """One client's connection, and its connection to the upstream."""

    def __init__(
        self, proxy: FaultProxy, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.proxy = proxy
        self.reader = reader
        self.writer = writer
        self.upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        # drain() then means: handed to the system.
        writer.transport.set_write_buffer_limits(high=0)

    async def run(self) -> None:
        try:
            while await self._exchange():
                pass
        except asyncio.CancelledError:
            self.writer.transport.abort()
            raise
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError):
            self._reset()
        finally:
            self._leave_upstream()
            self.writer.close()
            with contextlib.suppress(OSError):
                await self.writer.wait_closed()

    async def _exchange(self) -> bool:
        """Serve one request; whether another can follow on this connection."""
        try:
            head = await _read_head(self.reader)
        except asyncio.IncompleteReadError as error:
            if error.partial:
                raise
            return False
        method, target, version = head.start.split(" ", 2)
        path, _, query = target.partition("?")
        request = Request(
            time=time.monotonic(),
            method=method,
            path=path,
            query=query,
            headers={name: head.fields[name] for name in _KEPT if name in head.fields},
            key_id=signing_key(head.fields.get("authorization"), query),
        )
        latency = self.proxy._decide(request)
        raw_head = head.raw
        if "expect" in head.fields:
            await self._send(b"HTTP/1.1 100 Continue\r\n\r\n")
            raw_head = _without(raw_head, b"expect")
        raw_body = bytearray()
        async with aclosing(_pieces(self.reader, head)) as pieces:
            async for raw, content in pieces:
                raw_body += raw
                request.received += len(content)
        if latency:
            await asyncio.sleep(latency)
        try:
            keep = await self._answer(request, raw_head + raw_body)
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            request.error = repr(error)
            raise
        return keep and version == "HTTP/1.1" and not head.said_close

    async def _answer(self, request: Request, raw: bytes) -> bool:
        match request.fault:
            case StatusAfter() as status:
                await self._through(request, raw)
                return await self._send_status(request, status)
            case Status() as status:
                return await self._send_status(request, status)
            case DropAnswer():
                await self._through(request, raw)
                return False
            case Reset():
                self._reset()
                return False
            case Hang() as hang:
                if hang.through:
                    await self._through(request, raw)
                with contextlib.suppress(asyncio.TimeoutError):
                    # Returns when the client gives up.
                    await asyncio.wait_for(self.reader.read(1), hang.seconds)
                return False
            case ResetMidBody() | Truncate() | WrongContentLength() | SlowBody() as fault:
                return await self._spoil(request, raw, fault)
            case _:
                return await self._pass_on(request, raw)

    async def _ask(self, request: Request, raw: bytes) -> tuple[_Head, asyncio.StreamReader]:
        """Send the request to the upstream and read the head of its answer."""
        if self.upstream is not None and self.upstream[0].at_eof():
            self._leave_upstream()
        if self.upstream is None:
            there = urlsplit(self.proxy.upstream)
            self.upstream = await asyncio.open_connection(
                there.hostname, there.port or 80, limit=_BUFFER
            )
        reader, writer = self.upstream
        writer.write(raw)  # not drained: the answer may come before all of it is taken
        while True:
            head = await _read_head(reader)
            status = int(head.start.split(" ", 2)[1])
            if status >= 200:
                break
        request.upstream_status = status
        if request.method == "HEAD" or status in (204, 304):
            head.bodiless = True
        return head, reader

    async def _through(self, request: Request, raw: bytes) -> tuple[_Head, bytes]:
        """Ask the upstream and take the whole answer."""
        head, reader = await self._ask(request, raw)
        body = bytearray()
        async with aclosing(_pieces(reader, head, to_end=True)) as pieces:
            async for _, content in pieces:
                body += content
        if head.closing:
            self._leave_upstream()
        return head, bytes(body)

    async def _pass_on(self, request: Request, raw: bytes) -> bool:
        head, reader = await self._ask(request, raw)
        request.status = request.upstream_status
        await self._send(head.raw)
        async with aclosing(_pieces(reader, head, to_end=True)) as pieces:
            async for piece, content in pieces:
                request.sent += len(content)
                await self._send(piece)
        return not head.closing

    async def _spoil(self, request: Request, raw: bytes, fault: BodyFault) -> bool:
        head, body = await self._through(request, raw)
        length = int(head.fields.get("content-length", 0)) if head.bodiless else len(body)
        if isinstance(fault, WrongContentLength):
            length = max(length + fault.delta, 0)
        raw_head = head.raw
        if not head.bodiless or "content-length" in head.fields:
            raw_head = _without(head.raw, b"transfer-encoding", b"content-length")[:-2]
            raw_head += b"content-length: %d\r\n\r\n" % length
        if isinstance(fault, ResetMidBody | Truncate):
            body = body[: min(fault.after_bytes, max(len(body) - 1, 0))]
        request.status = request.upstream_status
        await self._send(raw_head)
        step, pause = len(body) or 1, 0.0
        if isinstance(fault, SlowBody):
            step = max(int(fault.bytes_per_second / 50), 1)
            pause = step / fault.bytes_per_second
        for start in range(0, len(body), step):
            piece = body[start : start + step]
            request.sent += len(piece)
            await self._send(piece)
            if pause:
                await asyncio.sleep(pause)
        if isinstance(fault, ResetMidBody):
            await asyncio.sleep(0.01)  # a reset may overtake what is still on its way
            self._reset()
        return isinstance(fault, SlowBody) and not head.closing

    async def _send_status(self, request: Request, status: Status) -> bool:
        body = status.document(request.path)
        reason = http.HTTPStatus(status.code).phrase if status.code in _KNOWN else "Unknown"
        lines = [f"HTTP/1.1 {status.code} {reason}"]
        lines += [f"{name}: {value}" for name, value in status.fields()]
        if status.code in (204, 304):
            body = b""
        else:
            lines.append(f"Content-Length: {len(body)}")
        if request.method == "HEAD":
            body = b""
        request.status, request.sent = status.code, len(body)
        await self._send("\r\n".join([*lines, "", ""]).encode("latin-1") + body)
        return True

    async def _send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def _reset(self) -> None:
        connection = self.writer.get_extra_info("socket")
        if not self.writer.transport.is_closing():
            # Without lingering, closing sends RST instead of FIN.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
            self.writer.transport.abort()

    def _leave_upstream(self) -> None:
        if self.upstream is not None:
            self.upstream[1].transport.abort()
            self.upstream = None


_KNOWN = {status.value for status in http.HTTPStatus}


def _close(client: socket.socket, _: object) -> None:
    client.close()


@dataclass
class _Head:
    """Start line and headers, as received and as read."""

    raw: bytes
    start: str
    fields: dict[str, str] = field(default_factory=dict)
    bodiless: bool = False

    @property
    def chunked(self) -> bool:
        return "chunked" in self.fields.get("transfer-encoding", "").lower()

    @property
    def said_close(self) -> bool:
        return self.fields.get("connection", "").lower() == "close"

    @property
    def closing(self) -> bool:
        """Whether the connection of this answer ends with it."""
        return (
            self.said_close
            or self.start.startswith("HTTP/1.0")
            or not (self.bodiless or self.chunked or "content-length" in self.fields)
        )


async def _read_head(reader: asyncio.StreamReader) -> _Head:
    raw = await reader.readuntil(b"\r\n\r\n")
    start, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    head = _Head(raw, start)
    for line in lines:
        name, _, value = line.partition(":")
        head.fields[name.lower()] = value.strip()
    return head


def _without(raw_head: bytes, *names: bytes) -> bytes:
    lines = raw_head.split(b"\r\n")
    return b"\r\n".join(line for line in lines if line.partition(b":")[0].lower() not in names)


async def _pieces(
    reader: asyncio.StreamReader, head: _Head, to_end: bool = False
) -> AsyncGenerator[tuple[bytes, bytes], None]:
    """Pieces of a body, as received and their content.

    When no header tells its length there is none, or with ``to_end`` it ends with the connection.
    """
    if head.bodiless:
        return
    if head.chunked:
        size = 1
        while size:
            line = await reader.readuntil(b"\r\n")
            size = int(line.partition(b";")[0], 16)
            if size:
                data = await reader.readexactly(size + 2)
                yield line + data, data[:-2]
        while line != b"\r\n":  # trailers, up to an empty line
            yield line, b""
            line = await reader.readuntil(b"\r\n")
        yield line, b""
        return
    to_end = to_end and "content-length" not in head.fields
    left = int(head.fields.get("content-length", 0))
    while left or to_end:
        data = await reader.read(65536 if to_end else min(65536, left))
        if not data:
            if to_end:
                return
            raise EOFError(f"the body ends {left} bytes early")
        left = max(left - len(data), 0)
        yield data, data
