r"""What a fault proxy can do to requests: a rule is a fault and the requests it is meant for.

    Rule(Throttle(429), method="PUT", target=r"_delta_log/\d+\.json", first=2)
    Rule(DropAnswer(), method="PUT", target="00000000000000000003.json", nth=1)
    Rule(Latency(0.05), probability=0.2, seed=7)

A rule counts the requests that its method and target fit (with ``ExpiredCredentials``: of those,
the ones whose key is not valid), whether or not the fault is then for them.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

_ERRORS = {
    400: "InvalidRequest",
    401: "InvalidAuthenticationInfo",
    403: "AccessDenied",
    404: "NoSuchKey",
    409: "ConditionalRequestConflict",
    412: "PreconditionFailed",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
}


@dataclass(frozen=True)
class Latency:
    """Wait before the request goes on. Comes on top of what other rules do.

    Attributes:
        seconds: How long.
    """

    seconds: float


@dataclass(frozen=True)
class Status:
    """Answer so, without asking the upstream.

    Attributes:
        code: HTTP status.
        error: Code in S3's error document; what S3 says with that status where None.
        headers: Names and values of further headers.
        body: Replaces the whole document.
    """

    code: int
    error: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None

    def document(self, path: str) -> bytes:
        """The body of the answer."""
        if self.body is not None:
            return self.body
        error = self.error or _ERRORS.get(self.code, f"Status{self.code}")
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            f"<Error><Code>{error}</Code><Message>by the fault proxy</Message>"
            f"<Resource>{escape(path)}</Resource><RequestId>FAULT</RequestId></Error>"
        ).encode()

    def fields(self) -> tuple[tuple[str, str], ...]:
        """The headers of the answer, but for its length."""
        return (("Content-Type", "application/xml"), *self.headers)


@dataclass(frozen=True)
class Permanent(Status):
    """A failure that does not go away: for a rule without a count."""

    code: int = 500


@dataclass(frozen=True)
class Throttle(Status):
    """503 SlowDown or 429, asking to come back later.

    Attributes:
        retry_after: Seconds in the header Retry-After; none is sent where None.
    """

    code: int = 503
    retry_after: int | None = 1

    def __post_init__(self) -> None:
        if self.error is None and self.code == 503:
            object.__setattr__(self, "error", "SlowDown")

    def fields(self) -> tuple[tuple[str, str], ...]:
        """With Retry-After."""
        after = () if self.retry_after is None else (("Retry-After", str(self.retry_after)),)
        return (*super().fields(), *after)


@dataclass(frozen=True)
class ExpiredCredentials(Status):
    """Turn away requests signed with a key that is in ``expired``, or not in ``valid()``.

    The key is the access key id of AWS signatures, the account of Azure's, or the whole bearer
    token; a request without one is let through. For Azure and Google: ``code=401``.

    Attributes:
        expired: Keys that are turned away.
        valid: Gives the keys that are taken, at each request; all that are not expired where None.
    """

    code: int = 403
    error: str | None = "ExpiredToken"
    expired: Collection[str] = ()
    valid: Callable[[], Collection[str]] | None = None

    def concerns(self, key: str | None) -> bool:
        """Whether a request signed with this key is turned away."""
        if key is None:
            return False
        return key in self.expired or (self.valid is not None and key not in self.valid())


@dataclass(frozen=True)
class StatusAfter(Status):
    """Let the request through and take effect, then answer so."""

    code: int = 500


@dataclass(frozen=True)
class DropAnswer:
    """Let the request through and take effect, then close the connection without an answer."""


@dataclass(frozen=True)
class Reset:
    """Reset the connection instead of answering; the upstream is not asked."""


@dataclass(frozen=True)
class Hang:
    """Give no answer, and in the end close the connection.

    It ends earlier when the client leaves or the proxy stops.

    Attributes:
        seconds: How long it hangs; for ever where None.
        through: Whether the request takes effect first.
    """

    seconds: float | None = None
    through: bool = False


@dataclass(frozen=True)
class ResetMidBody:
    """Reset the connection in the middle of the answer's body.

    Attributes:
        after_bytes: Bytes of the body that are sent before, at most all but one.
    """

    after_bytes: int


@dataclass(frozen=True)
class Truncate:
    """Close the connection orderly in the middle of a body whose Content-Length is the whole's.

    Attributes:
        after_bytes: Bytes of the body that are sent before, at most all but one.
    """

    after_bytes: int


@dataclass(frozen=True)
class WrongContentLength:
    """Send the whole body with a wrong Content-Length, then close.

    Attributes:
        delta: Bytes that the header is off by.
    """

    delta: int


@dataclass(frozen=True)
class SlowBody:
    """Send the answer's body slowly.

    Attributes:
        bytes_per_second: The pace.
    """

    bytes_per_second: float


BodyFault = ResetMidBody | Truncate | WrongContentLength | SlowBody

#: Anything that can be done to a request.
Fault = Latency | Status | DropAnswer | Reset | Hang | BodyFault


@dataclass(frozen=True)
class Rule:
    """A fault, and which requests it is for: all that is given must hold.

    Args:
        fault: What is done to the request.
        method: Regular expression for the whole method, such as ``"PUT|DELETE"``.
        target: Regular expression to be found in path and query, still percent-encoded.
        nth: Only the n-th fitting request, counted from 1.
        first: Only the first n.
        after: Only those after the first n.
        every: Only every n-th.
        probability: Only a share, chosen with ``seed``.
        seed: Start of the random choice.
    """

    fault: Fault
    method: str | None = None
    target: str | None = None
    nth: int | None = None
    first: int | None = None
    after: int | None = None
    every: int | None = None
    probability: float | None = None
    seed: int = 0


@dataclass
class Request:
    """What is known of a request; of one that still runs, so far.

    Attributes:
        time: Arrival, on ``time.monotonic()``'s clock.
        method: HTTP method.
        path: Still percent-encoded.
        query: Without the question mark, still percent-encoded.
        headers: Those of interest, names in lower case.
        key_id: Access key id, account or bearer token that signed it.
        received: Bytes of the request's body.
        upstream_status: Answer of the upstream, if it was asked.
        status: Status given to the client, if it was given one.
        sent: Bytes of the body given to the client.
        fault: What was done to this request, other than a latency.
        error: Why there was no orderly answer though no fault says so.
    """

    time: float
    method: str
    path: str
    query: str
    headers: dict[str, str]
    key_id: str | None
    received: int = 0
    upstream_status: int | None = None
    status: int | None = None
    sent: int = 0
    fault: Fault | None = None
    error: str = ""

    @property
    def target(self) -> str:
        """Path and query."""
        return f"{self.path}?{self.query}" if self.query else self.path


@dataclass
class RuleInUse:
    """A rule with the state of one proxy. Not safe for threads."""

    rule: Rule
    count: int = 0
    chance: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.chance = random.Random(self.rule.seed)  # noqa: S311 - no secret

    def takes(self, request: Request) -> bool:
        """Count the request if it fits, and say whether the fault is for it."""
        rule = self.rule
        if rule.method is not None and not re.fullmatch(rule.method, request.method):
            return False
        if rule.target is not None and not re.search(rule.target, request.target):
            return False
        fault = rule.fault
        if isinstance(fault, ExpiredCredentials) and not fault.concerns(request.key_id):
            return False
        self.count += 1
        return (
            (rule.nth is None or self.count == rule.nth)
            and (rule.first is None or self.count <= rule.first)
            and (rule.after is None or self.count > rule.after)
            and (rule.every is None or self.count % rule.every == 0)
            # Last: what is chosen depends on the requests that the conditions above leave.
            and (rule.probability is None or self.chance.random() < rule.probability)
        )


def signing_key(authorization: str | None, query: str) -> str | None:
    """Who signed: access key id, account or bearer token."""
    if authorization is None:
        found = re.search(r"X-Amz-Credential=([^&%/]+)", query)
        return found[1] if found else None
    if found := re.search(r"Credential=([^/,\s]+)", authorization):
        return found[1]
    scheme, _, rest = authorization.partition(" ")
    return rest if scheme.lower() == "bearer" else rest.partition(":")[0]
