"""`assert_io`: no more requests to storage than a query may make."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fusiondelta.account import QueryIo, Request, RunAccount
from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._sizes import parse_bytes
from fusiondelta.testing._accounts import Accounted, finished
from fusiondelta.testing._text import columns, size

#: Requests shown one by one.
_SHOWN = 20


def assert_io(
    result: Accounted | RunAccount | QueryIo,
    *,
    max_get: int | None = None,
    max_list: int | None = None,
    max_head: int | None = None,
    max_put: int | None = None,
    max_requests: int | None = None,
    max_bytes_read: int | str | None = None,
    by_purpose: Mapping[str, int] | None = None,
) -> None:
    """Hold a query or write to a number of requests to storage, retries included.

    Args:
        result: A result that was read to its end, or its account; or a reading of ``result.io``,
            which is held as it is.
        max_get: Most requests for objects or parts of them.
        max_list: Most pages of listings.
        max_head: Most requests for what is known of an object.
        max_put: Most requests that store an object or a part of one.
        max_requests: Most requests of all kinds.
        max_bytes_read: Most bytes that may come back: a number, or text such as ``"10MiB"``.
        by_purpose: Most requests by purpose: ``log``, ``checkpoint``, ``footer``, ``data``,
            ``commit``.

    Raises:
        AssertionError: There were more; names every limit that was broken, and what was asked for.
        ConfigurationError: No limit is given, or one that is none.
        QueryError: The query was not read to its end.
    """
    __tracebackhide__ = True
    requests: tuple[Request, ...] = ()
    if isinstance(result, QueryIo):
        io = result
    else:
        account = finished(result, "; or pass result.io, for what was asked so far")
        io, requests = account.io, account.requests
    by_kind = {"get": max_get, "list": max_list, "head": max_head, "put": max_put}
    limits = [
        *((kind, io.requests.get(kind, 0), most) for kind, most in by_kind.items()),
        ("requests", sum(io.requests.values()), max_requests),
        *_purposes(io, by_purpose or {}),
    ]
    broken = [
        f"{name}: {count:,}, at most {most:,}"
        for name, count, most in limits
        if most is not None and count > _whole(name, most)
    ]
    given = [most for _, _, most in limits if most is not None]
    if max_bytes_read is not None:
        most = parse_bytes("max_bytes_read", max_bytes_read)
        given.append(most)
        if io.bytes_read > most:
            said = f"{size(io.bytes_read)}, at most {size(most)}"
            broken.append(f"bytes read: {said} ({io.bytes_read:,} of {most:,} bytes)")
    if not given:
        raise ConfigurationError("assert_io needs a limit, such as max_get=10")
    if broken:
        lines = ["more was asked of storage than may be:", *(f"  {line}" for line in broken)]
        raise AssertionError("\n".join([*lines, "", *_table(io), *_one_by_one(requests)]))


def _purposes(io: QueryIo, asked: Mapping[str, int]) -> Iterator[tuple[str, int, int | None]]:
    for purpose, most in asked.items():
        if purpose not in io.by_purpose:
            known = ", ".join(io.by_purpose)
            raise ConfigurationError(f"by_purpose: {purpose!r} is no purpose; there are: {known}")
        yield f"purpose {purpose}", io.by_purpose[purpose], most


def _whole(name: str, most: object) -> int:
    if isinstance(most, bool) or not isinstance(most, int) or most < 0:
        raise ConfigurationError(f"the limit of {name} is a whole number from 0, not {most!r}")
    return most


def _table(io: QueryIo) -> list[str]:
    rows = [("operation", "purpose", "requests", "retries", "bytes", "seconds")]
    rows += [
        (
            line.operation,
            line.purpose,
            f"{line.requests:,}",
            f"{line.retries:,}",
            f"{line.bytes:,}",
            f"{line.seconds:.3f}",
        )
        for line in sorted(io.lines, key=lambda line: -line.requests)
    ]
    return columns(rows, left=2)


def _one_by_one(requests: tuple[Request, ...]) -> list[str]:
    if not requests:
        return []
    rows = [
        (
            one.operation + (" (retry)" if one.retry else ""),
            one.purpose,
            one.location,
            one.failure or f"{one.bytes:,} bytes",
        )
        for one in requests[:_SHOWN]
    ]
    more = len(requests) - _SHOWN
    return ["", "in order:", *columns(rows, left=4), *([f"  and {more} more"] if more > 0 else [])]
