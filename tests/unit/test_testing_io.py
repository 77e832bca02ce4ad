"""`assert_io` over counts made by hand: limits, and what the message says of those broken."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from fusiondelta.account import QueryIo, Request, RunAccount
from fusiondelta.account._io import IoLine
from fusiondelta.errors import ConfigurationError, QueryError
from fusiondelta.testing import assert_io

pytestmark = pytest.mark.unit

LINES = (
    IoLine("list", "log", 1, 0, 500, 0.001),
    IoLine("get", "log", 2, 1, 3000, 0.25),
    IoLine("get_range", "data", 8, 0, 2 * 2**20, 1.5),
    IoLine("head", "footer", 3, 0, 0, 0.01),
    IoLine("put", "commit", 1, 0, 700, 0.02),
)
IO = QueryIo(
    requests={"list": 1, "head": 3, "get": 10, "put": 1, "delete": 0, "copy": 0},
    by_purpose={"log": 3, "checkpoint": 0, "footer": 3, "data": 8, "commit": 1},
    bytes_read=2 * 2**20 + 3500,
    bytes_written=700,
    retries=1,
    lines=LINES,
)


def account(**other):
    given = {"run_id": "r", "query_id": "q7", "status": "finished", "submitted": 0, "io": IO}
    return RunAccount(**given | other)


def failure(result=IO, **limits):
    with pytest.raises(AssertionError) as caught:
        assert_io(result, **limits)
    return str(caught.value)


@pytest.mark.parametrize(
    ("limit", "fits", "line"),
    [
        ("max_get", 10, "get: 10, at most 9"),
        ("max_list", 1, "list: 1, at most 0"),
        ("max_head", 3, "head: 3, at most 2"),
        ("max_put", 1, "put: 1, at most 0"),
        ("max_requests", 15, "requests: 15, at most 14"),
        ("max_bytes_read", 2 * 2**20 + 3500, "bytes read: 2.0 MiB, at most 2.0 MiB (2,100,652 of"),
    ],
)
def test_a_limit_holds_to_the_last_request(limit, fits, line):
    assert_io(IO, **{limit: fits})
    said = failure(**{limit: fits - 1})
    assert said.splitlines()[0] == "more was asked of storage than may be:"
    assert said.splitlines()[1].startswith(f"  {line}")
    assert said.splitlines()[2] == ""


def test_all_broken_limits_and_the_table_are_shown():
    said = failure(max_get=3, max_list=5, max_bytes_read="1 MiB", by_purpose={"data": 1, "log": 3})
    assert said.splitlines() == [
        "more was asked of storage than may be:",
        "  get: 10, at most 3",
        "  purpose data: 8, at most 1",
        "  bytes read: 2.0 MiB, at most 1.0 MiB (2,100,652 of 1,048,576 bytes)",
        "",
        "  operation  purpose  requests  retries      bytes  seconds",
        "  get_range  data            8        0  2,097,152    1.500",
        "  head       footer          3        0          0    0.010",
        "  get        log             2        1      3,000    0.250",
        "  list       log             1        0        500    0.001",
        "  put        commit          1        0        700    0.020",
    ]


def test_requests_are_shown_in_order():
    def request(number):
        return Request(
            operation="get",
            purpose="log",
            location=f"t/_delta_log/{number}.json",
            started=number,
            seconds=0.1,
            bytes=1000 + number,
            retry=number == 1,
            failure="status 503" if number == 0 else "",
            node="",
        )

    made = account(requests=tuple(map(request, range(25))))
    lines = failure(SimpleNamespace(account=lambda: made), max_get=1).split("in order:\n")[1]
    assert lines.splitlines()[:3] == [
        "  get          log  t/_delta_log/0.json   status 503",
        "  get (retry)  log  t/_delta_log/1.json   1,001 bytes",
        "  get          log  t/_delta_log/2.json   1,002 bytes",
    ]
    assert len(lines.splitlines()) == 21
    assert lines.splitlines()[-1] == "  and 5 more"


def test_a_result_and_its_account_are_the_same():
    for result in (account(), SimpleNamespace(account=account)):
        assert_io(result, max_get=10)
        assert "get: 10, at most 9" in failure(result, max_get=9)


@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"status": "planned"}, "query q7 has rows left to read .* read them first, with to_table"),
        ({"status": "running"}, "has rows left to read"),
        ({"status": "cancelled"}, "was closed or cancelled before its last row"),
        (
            {"status": "failed", "error": {"class": "ThrottledError", "message": "slow down"}},
            r"failed \(ThrottledError: slow down\)",
        ),
        ({"status": "failed"}, r"failed \(error: no message\)"),
        ({"status": "planned", "kind": "write"}, "write q7 has"),
    ],
)
def test_a_query_that_has_not_come_to_its_end_is_refused(other, says):
    with pytest.raises(QueryError, match=says) as caught:
        assert_io(account(**other), max_get=1)
    assert "pass result.io" in str(caught.value)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, "needs a limit"),
        ({"by_purpose": {}}, "needs a limit"),
        ({"by_purpose": {"footers": 1}}, "'footers' is no purpose; there are: log, checkpoint"),
        ({"max_get": -1}, "the limit of get is a whole number from 0, not -1"),
        ({"max_put": 1.5}, "whole number"),
        ({"max_list": True}, "whole number"),
        ({"by_purpose": {"log": "3"}}, "whole number"),
        ({"max_bytes_read": "many"}, "max_bytes_read must be a size"),
    ],
)
def test_limits_that_are_none_are_refused(limits, says):
    with pytest.raises(ConfigurationError, match=says):
        assert_io(IO, **limits)
