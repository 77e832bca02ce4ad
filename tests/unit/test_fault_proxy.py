"""The fault proxy before a toy upstream: what goes on, and what a client sees of each fault."""

import contextlib
import http.client
import http.server
import socket
import socketserver
import sys
import threading
import time

import pytest

from fusiondelta.errors import ConfigurationError
from fusiondelta.testing import (
    DropAnswer,
    ExpiredCredentials,
    FaultProxy,
    Hang,
    Latency,
    Permanent,
    Reset,
    ResetMidBody,
    Rule,
    SlowBody,
    Status,
    StatusAfter,
    Throttle,
    Truncate,
    WrongContentLength,
)
from fusiondelta.testing._faults import signing_key

pytestmark = pytest.mark.unit

AWS = "AWS4-HMAC-SHA256 Credential={}/20260101/us-east-1/s3/aws4_request, Signature=0"


class Store(http.server.BaseHTTPRequestHandler):
    """Objects by raw path; ``/chunked/…`` and ``/closing/…`` are told in other ways."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1
    objects: dict
    seen: list

    def do_GET(self):
        self.seen.append((self.command, self.path, self.headers))
        body = self.objects.get(self.path)
        self.send_response(404 if body is None else 200)
        body = body or b""
        if self.path.startswith("/chunked/"):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for start in range(0, len(body), 1000):
                piece = body[start : start + 1000]
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
            self.wfile.write(b"0\r\nx-trailer: 1\r\n\r\n")
        elif self.path.startswith("/closing/"):
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = True
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    do_HEAD = do_GET

    def do_PUT(self):
        self.seen.append((self.command, self.path, self.headers))
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size + 2)[:-2]
            self.rfile.readline()
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.objects[self.path] = body
        self.send_response(200)
        self.send_header("ETag", '"x"')
        self.send_header("Content-Length", "0")
        self.end_headers()

    def handle_expect_100(self):
        raise AssertionError("the proxy answers this itself")

    def log_message(self, *args):
        pass


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    request_queue_size = 128

    def handle_error(self, *args):
        if not isinstance(sys.exc_info()[1], ConnectionError):  # clients leave as they like
            super().handle_error(*args)


@pytest.fixture
def store():
    class Handler(Store):
        objects = {}  # noqa: RUF012 - of this test
        seen = []  # noqa: RUF012

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def proxy(store):
    before = threading.active_count()
    with FaultProxy(f"http://127.0.0.1:{store.server_address[1]}") as proxy:
        yield proxy
        began = time.monotonic()
    assert time.monotonic() - began < 1
    # Stopped before the store, whose threads end with the connections that the proxy had.
    until = time.monotonic() + 2
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.002)
    assert threading.active_count() <= before


@pytest.fixture
def objects(store):
    return store.RequestHandlerClass.objects


@contextlib.contextmanager
def connection(proxy, timeout=5):
    port = int(proxy.endpoint.rpartition(":")[2])
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout)) as opened:
        yield opened


def ask(proxy, method, target, body=None, headers=None, **options):
    with connection(proxy) as client:
        client.request(method, target, body, headers or {}, **options)
        with contextlib.closing(client.getresponse()) as answer:
            return answer.status, answer.read()


class TestPassedOn:
    def test_requests_and_answers(self, proxy, store, objects):
        target = "/b/a%20b%2Fc=%C3%A9?list-type=2&prefix=x%2Fy"
        headers = {
            "Range": "bytes=0-3",
            "Authorization": AWS.format("KEY1"),
            "X-Other": " two  words ",
        }
        assert ask(proxy, "PUT", target, b"hello", headers) == (200, b"")
        assert objects == {target: b"hello"}
        method, path, seen = store.RequestHandlerClass.seen[0]
        assert (method, path) == ("PUT", target)
        assert seen["Host"] == proxy.endpoint.removeprefix("http://")
        assert seen["X-Other"] == "two  words "
        (record,) = proxy.requests
        assert (record.method, record.path) == ("PUT", "/b/a%20b%2Fc=%C3%A9")
        assert record.query == "list-type=2&prefix=x%2Fy"
        assert record.headers == {"range": "bytes=0-3", "content-length": "5"}
        assert (record.key_id, record.received, record.sent) == ("KEY1", 5, 0)
        assert (record.status, record.upstream_status, record.fault) == (200, 200, None)
        proxy.clear()
        assert proxy.requests == []

    def test_head(self, proxy, objects):
        objects["/o"] = b"12345"
        with connection(proxy) as client:
            for _ in range(2):
                client.request("HEAD", "/o")
                answer = client.getresponse()
                assert (answer.status, answer.headers["Content-Length"]) == (200, "5")
                assert answer.read() == b""
            client.request("GET", "/none")
            assert client.getresponse().status == 404

    @pytest.mark.parametrize("path", ["/plain/o", "/chunked/o", "/closing/o"])
    def test_large_bodies(self, proxy, objects, path):
        objects[path] = bytes(range(256)) * 2**13
        assert ask(proxy, "GET", path) == (200, objects[path])
        assert proxy.requests[0].sent == 2**21

    def test_chunked_request(self, proxy, objects):
        pieces = [b"abc", b"d" * 100_000, b"e"]
        assert ask(proxy, "PUT", "/o", iter(pieces), encode_chunked=True)[0] == 200
        assert objects["/o"] == b"".join(pieces)
        assert proxy.requests[0].received == 100_004

    def test_expected_continue(self, proxy, store, objects):
        with socket.create_connection(("127.0.0.1", proxy._port), 5) as client:
            client.sendall(
                b"PUT /o HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
            )
            assert client.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            client.sendall(b"abc")
            assert client.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert objects["/o"] == b"abc"
        assert "Expect" not in store.RequestHandlerClass.seen[0][2]

    def test_many_small_requests_on_few_connections(self, proxy, objects):
        def work(number):
            with connection(proxy) as client:
                for turn in range(50):
                    client.request("PUT", f"/o/{number}/{turn}", b"%d" % turn)
                    assert client.getresponse().read() == b""

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(objects) == len(proxy.requests) == 400
        assert {record.status for record in proxy.requests} == {200}

    def test_no_upstream(self):
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            with FaultProxy(f"http://127.0.0.1:{unused.getsockname()[1]}") as proxy:
                with pytest.raises(ConnectionResetError):
                    ask(proxy, "GET", "/o")
                assert "Connect" in proxy.requests[0].error
                assert proxy.requests[0].status is None

    def test_an_upstream_that_left_is_connected_again(self, proxy, objects):
        objects["/closing/o"] = objects["/o"] = b"1"
        with connection(proxy) as client:
            for path in ["/o", "/closing/o", "/o"]:  # http.client connects anew after the second
                client.request("GET", path)
                assert client.getresponse().read() == b"1"

    def test_port_is_taken(self, proxy):
        other = FaultProxy(proxy.upstream, proxy._port)
        with pytest.raises(OSError, match="attempting to bind"):
            other.start()
        other.stop()


class TestFaults:
    @pytest.fixture(autouse=True)
    def _object(self, objects):
        objects["/o"] = b"0123456789" * 10

    @pytest.mark.parametrize(
        ("action", "status", "error", "after"),
        [
            (Status(500), 500, "InternalError", None),
            (Status(418, "Teapot"), 418, "Teapot", None),
            (Permanent(), 500, "InternalError", None),
            (Permanent(403), 403, "AccessDenied", None),
            (Throttle(), 503, "SlowDown", "1"),
            (Throttle(429, retry_after=7), 429, "TooManyRequests", "7"),
            (Status(503, headers=(("Retry-After", "2"),)), 503, "ServiceUnavailable", "2"),
        ],
    )
    def test_status(self, proxy, objects, action, status, error, after):
        proxy.add(Rule(action))
        with connection(proxy) as client:
            for _ in range(2):  # the connection lives on
                client.request("PUT", "/p", b"body")
                answer = client.getresponse()
                assert (answer.status, answer.headers["Retry-After"]) == (status, after)
                assert f"<Code>{error}</Code>".encode() in answer.read()
            client.request("HEAD", "/o")
            assert client.getresponse().read() == b""
        assert "/p" not in objects
        assert {record.upstream_status for record in proxy.requests} == {None}
        assert {record.fault for record in proxy.requests} == {action}

    def test_status_with_a_body_of_its_own(self, proxy):
        proxy.add(Rule(Status(304)))
        assert ask(proxy, "GET", "/o") == (304, b"")
        proxy.remove(proxy.rules[0])
        proxy.add(Rule(Status(400, body=b"{}")))
        assert ask(proxy, "GET", "/o") == (400, b"{}")

    def test_latency_adds_up_and_goes_with_others(self, proxy):
        proxy.add(Rule(Latency(0.03)))
        proxy.add(Rule(Status(500)))
        proxy.add(Rule(Latency(0.03)))
        began = time.monotonic()
        assert ask(proxy, "GET", "/o")[0] == 500
        assert time.monotonic() - began >= 0.06

    def test_reset(self, proxy, objects):
        proxy.add(Rule(Reset()))
        with pytest.raises(ConnectionResetError) as raised:
            ask(proxy, "PUT", "/p", b"x" * 10_000)
        assert not isinstance(raised.value, http.client.RemoteDisconnected)
        assert "/p" not in objects

    def test_dropped_answer(self, proxy, objects):
        proxy.add(Rule(DropAnswer()))
        with pytest.raises(http.client.RemoteDisconnected):
            ask(proxy, "PUT", "/p", b"kept")
        assert objects["/p"] == b"kept"
        assert (proxy.requests[0].upstream_status, proxy.requests[0].status) == (200, None)

    def test_status_after(self, proxy, objects):
        proxy.add(Rule(StatusAfter(409), method="PUT"))
        status, body = ask(proxy, "PUT", "/p", b"kept")
        assert status == 409
        assert b"ConditionalRequestConflict" in body
        assert objects["/p"] == b"kept"
        assert (proxy.requests[0].upstream_status, proxy.requests[0].status) == (200, 409)

    @pytest.mark.parametrize("path", ["/o", "/chunked/o", "/closing/o"])
    def test_truncated(self, proxy, objects, path):
        objects[path] = objects["/o"]
        proxy.add(Rule(Truncate(30)))
        with pytest.raises(http.client.IncompleteRead) as raised:
            ask(proxy, "GET", path)
        assert (raised.value.partial, raised.value.expected) == (objects["/o"][:30], 70)
        assert (proxy.requests[0].status, proxy.requests[0].sent) == (200, 30)

    def test_truncation_always_lacks_something(self, proxy):
        proxy.add(Rule(Truncate(10**6)))
        with pytest.raises(http.client.IncompleteRead) as raised:
            ask(proxy, "GET", "/o")
        assert raised.value.expected == 1

    def test_reset_within_the_body(self, proxy, objects):
        proxy.add(Rule(ResetMidBody(30)))
        with connection(proxy) as client:
            client.request("GET", "/o")
            with contextlib.closing(client.getresponse()) as answer:
                assert answer.headers["Content-Length"] == "100"
                assert answer.read(30) == objects["/o"][:30]
                with pytest.raises(ConnectionResetError):
                    answer.read(1)

    def test_wrong_length(self, proxy, objects):
        more = proxy.add(Rule(WrongContentLength(5)))
        with pytest.raises(http.client.IncompleteRead) as raised:
            ask(proxy, "GET", "/o")
        assert (raised.value.partial, raised.value.expected) == (objects["/o"], 5)
        with connection(proxy) as client:
            client.request("HEAD", "/o")
            assert client.getresponse().headers["Content-Length"] == "105"
        proxy.remove(more)
        proxy.add(Rule(WrongContentLength(-5)))
        assert ask(proxy, "GET", "/o") == (200, objects["/o"][:-5])

    def test_hang_for_a_time(self, proxy, objects):
        proxy.add(Rule(Hang(0.05)))
        began = time.monotonic()
        with pytest.raises(http.client.RemoteDisconnected):
            ask(proxy, "PUT", "/p", b"x")
        assert time.monotonic() - began >= 0.05
        assert "/p" not in objects

    def test_hang_after_the_effect_until_the_client_leaves(self, proxy, objects):
        proxy.add(Rule(Hang(through=True)))
        with connection(proxy, 0.05) as client:
            client.request("PUT", "/p", b"kept")
            with pytest.raises(TimeoutError):
                client.getresponse()
        # On a busy machine the client has left before the effect.
        deadline = time.monotonic() + 30
        while "/p" not in objects and time.monotonic() < deadline:
            time.sleep(0.001)
        assert objects["/p"] == b"kept"

    def test_stopping_ends_what_hangs(self, proxy):
        proxy.add(Rule(Hang()))
        proxy.add(Rule(SlowBody(1)))
        with connection(proxy) as client:
            client.request("GET", "/o")
            with socket.create_connection(("127.0.0.1", proxy._port), 5) as idle:
                while not proxy.requests:
                    time.sleep(0.001)
                proxy.stop()
                with pytest.raises(ConnectionError):
                    client.getresponse()
                with contextlib.suppress(ConnectionError):
                    assert idle.recv(1) == b""

    def test_stopping_does_not_wait_for_a_client_that_does_not_read(self, proxy, objects):
        objects["/big"] = bytes(2**24)
        with connection(proxy) as client:
            client.request("GET", "/big")
            while not (proxy.requests and proxy.requests[0].sent):
                time.sleep(0.001)
            proxy.stop()

    def test_slow_body(self, proxy, objects):
        proxy.add(Rule(SlowBody(2000)))
        began = time.monotonic()
        assert ask(proxy, "GET", "/o") == (200, objects["/o"])
        assert 0.04 <= time.monotonic() - began < 1

    def test_expired_credentials(self, proxy):
        expired = set()
        proxy.add(Rule(ExpiredCredentials(expired=expired)))
        proxy.add(Rule(ExpiredCredentials(401, valid=lambda: {"A", "B"}), method="GET"))

        def status(key):
            return ask(proxy, "GET", "/o", headers=key and {"Authorization": key})[0]

        assert [status(AWS.format("A")), status("Bearer C"), status("")] == [200, 401, 200]
        expired.add("A")
        assert [status(AWS.format("A")), status("Bearer B")] == [403, 200]
        _, body = ask(proxy, "PUT", "/p", b"", {"Authorization": AWS.format("A")})
        assert b"<Code>ExpiredToken</Code>" in body


class TestRules:
    @pytest.mark.parametrize(
        ("matcher", "expected"),
        [
            ({}, [1, 2, 3, 4, 5, 6]),
            ({"nth": 2}, [2]),
            ({"first": 2}, [1, 2]),
            ({"after": 4}, [5, 6]),
            ({"every": 3}, [3, 6]),
            ({"every": 2, "first": 4}, [2, 4]),
            ({"method": "GET|HEAD"}, []),
            ({"method": "P"}, []),
            ({"method": "PUT|GET"}, [1, 2, 3, 4, 5, 6]),
            ({"target": r"/[13]\?a=%20$"}, [1, 3]),
            ({"target": r"/[135]\?", "nth": 2}, [3]),
            ({"probability": 1}, [1, 2, 3, 4, 5, 6]),
            ({"probability": 0}, []),
        ],
    )
    def test_which_requests(self, proxy, matcher, expected):
        proxy.add(Rule(Status(500), **matcher))
        with connection(proxy) as client:
            for number in range(1, 7):
                client.request("PUT", f"/{number}?a=%20", b"")
                client.getresponse().read()
        assert [int(r.path[1:]) for r in proxy.requests if r.status == 500] == expected

    def test_chance_repeats(self, proxy):
        def chosen(seed):
            proxy.clear()
            rule = proxy.add(Rule(Status(500), probability=0.5, seed=seed))
            with connection(proxy) as client:
                for _ in range(40):
                    client.request("GET", "/o")
                    client.getresponse().read()
            proxy.remove(rule)
            return [record.status for record in proxy.requests]

        assert chosen(1) == chosen(1) != chosen(2)

    def test_the_first_fitting_rule_acts_and_all_count(self, proxy):
        first = proxy.add(Rule(Status(500), first=2))
        second = proxy.add(Rule(Status(503), first=3))
        assert proxy.rules == (first, second)
        assert [ask(proxy, "GET", "/o")[0] for _ in range(4)] == [500, 500, 503, 404]


@pytest.mark.parametrize(
    ("authorization", "query", "key"),
    [
        (AWS.format("AKIA1"), "", "AKIA1"),
        (None, "a=b&X-Amz-Credential=AKIA2%2F20260101&c", "AKIA2"),
        ("Bearer a.b:c", "", "a.b:c"),
        ("SharedKey account:c2ln", "", "account"),
        (None, "sig=1", None),
    ],
)
def test_signing_key(authorization, query, key):
    assert signing_key(authorization, query) == key


@pytest.mark.parametrize("upstream", ["https://127.0.0.1:9000", "127.0.0.1:9000", ""])
def test_only_plain_http_can_be_stood_before(upstream):
    with pytest.raises(ConfigurationError, match="plain HTTP"):
        FaultProxy(upstream)
    proxy = FaultProxy("http://127.0.0.1:1")
    with pytest.raises(ConfigurationError, match="plain HTTP"):
        proxy.upstream = upstream
    assert proxy.upstream == "http://127.0.0.1:1"


def test_stopping_twice_and_never_started():
    never = FaultProxy("http://127.0.0.1:1")
    never.stop()
    for _ in range(2):
        with never:
            port = never.endpoint
        never.stop()
    assert port == never.endpoint
