"""How queries and writes are told to the tracer provider of the process, and what is not told."""

from __future__ import annotations

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import StatusCode

from fusiondelta.account._account import SourceAccount
from fusiondelta.account._logs import LogCorrelation
from fusiondelta.account._nodes import PlanTree
from fusiondelta.account._telemetry import Telemetry
from fusiondelta.errors import ConfigurationError, QueryCancelledError, SqlError
from tests.integration.telemetry import (
    MS,
    ON,
    Native,
    begin,
    node,
    query,
    request,
    tell,
    told_process,
)

pytestmark = pytest.mark.integration

PARENT = f"00-{'a' * 32}-{'b' * 16}-01"


@pytest.fixture
def told(monkeypatch):
    with told_process(monkeypatch) as made:
        yield made


# ends


def test_a_failed_query(told):
    error = {"class": "ExecutionError", "kind": "execution", "message": "row 3 does not fit"}
    tell(query(status="failed", error=error))
    root = told.one("fusiondelta.query")
    assert root.status.status_code is StatusCode.ERROR
    assert root.status.description == "row 3 does not fit"
    assert root.attributes["error.type"] == "execution"
    (event,) = root.events
    assert event.name == "exception"
    assert dict(event.attributes) == {
        "exception.type": "ExecutionError",
        "exception.message": "row 3 does not fit",
    }
    assert told.one("fusiondelta.execute").status.status_code is StatusCode.ERROR


def test_a_cancelled_query_is_no_error(told):
    error = {"class": "QueryCancelledError", "kind": "query_cancelled", "message": "stopped"}
    tell(query(status="cancelled", error=error))
    root = told.one("fusiondelta.query")
    assert root.status.status_code is StatusCode.UNSET
    assert root.attributes["fusiondelta.status"] == "cancelled"
    assert not root.events


def test_an_error_before_there_was_an_account(told):
    at = query().submitted + 5 * MS
    begin(Telemetry.of(ON, Native())).failed(SqlError("no column x at line 1"), at=at)
    (root,) = told.spans
    assert root.status.status_code is StatusCode.ERROR
    assert root.attributes["error.type"] == "sql"
    assert root.attributes["fusiondelta.status"] == "failed"
    assert root.events[0].attributes["exception.type"] == "fusiondelta.errors.SqlError"
    assert root.events[0].attributes["exception.message"] == "no column x at line 1"
    assert root.end_time == root.events[0].timestamp == at


@pytest.mark.parametrize(
    "error", [QueryCancelledError("x"), KeyboardInterrupt(), asyncio.CancelledError()], ids=repr
)
def test_a_cancelled_planning_is_no_error(told, error):
    begin(Telemetry.of(ON, Native())).failed(error)
    (root,) = told.spans
    assert root.status.status_code is StatusCode.UNSET
    assert root.attributes["fusiondelta.status"] == "cancelled"


def test_one_that_was_let_go(told):
    begin(Telemetry.of(ON, Native())).abandoned()
    (root,) = told.spans
    assert root.attributes["fusiondelta.status"] == "cancelled"


def test_other_errors_are_named_by_their_class(told):
    begin(Telemetry.of(ON, Native())).failed(ZeroDivisionError("x"))
    (root,) = told.spans
    assert root.attributes["error.type"] == "ZeroDivisionError"


def test_it_ends_once_whoever_is_first(told):
    operation = begin(Telemetry.of(ON, Native()))
    account = query()
    barrier = threading.Barrier(8)

    def end(number):
        barrier.wait()
        operation.ended(account) if number % 2 else operation.failed(SqlError("x"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(end, range(8)))
    assert len(told.named("fusiondelta.query")) == 1
    before = len(told.spans)
    operation.abandoned()
    operation.ended(account)
    assert len(told.spans) == before


def test_a_forked_process_tells_nothing_of_its_parent(told, monkeypatch):
    telemetry = Telemetry.of(ON, Native())
    operation = begin(telemetry)
    here = os.getpid()
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: here + 1)
        operation.ended(query())
        assert begin(telemetry).traceparent is None
        assert telemetry.close()
    assert told.spans == ()


# what is in them


def test_neither_literals_nor_parameters_are_told(told):
    sql = "SELECT 'tok-1' /* tok-2 */ FROM t WHERE \"a b\" = 123.5 AND c = $$tok-3$$ -- tok-4"
    tell(query(parameters={"p": "tok-5"}), sql=sql)
    text = told.one("fusiondelta.query").attributes["db.query.text"]
    assert " ".join(text.split()) == 'SELECT ? FROM t WHERE "a b" = ? AND c = ?'
    assert "tok-" not in "".join(span.to_json() for span in told.spans)


def test_a_query_with_placeholders_is_told_as_it_is(told):
    sql = "SELECT * FROM t WHERE day = $day AND kind = 'a'"
    tell(query(parameters={"day": "tok-5"}), sql=sql)
    assert told.one("fusiondelta.query").attributes["db.query.text"] == sql
    assert "tok-" not in "".join(span.to_json() for span in told.spans)


def test_neither_statement_nor_message_where_statement_is_off(told):
    config = ON.replace(statement=False)
    failure = {"class": "ExecutionError", "kind": "execution", "message": "tok-1"}
    sql = "SELECT tok-2 FROM t"
    tell(query(status="failed", error=failure, sql=sql), config, sql=sql)
    begin(Telemetry.of(config, Native()), sql=sql).failed(SqlError("tok-3"))
    assert len(told.named("fusiondelta.query")) == 2
    assert "tok-" not in "".join(span.to_json() for span in told.spans)


def test_details_of_operators_are_not_told(told):
    account = query()
    detail = "FilterExec: name = 'tok-1'"
    at = account.submitted
    tell(query(at, tree=PlanTree((node("0", "FilterExec", at, at + MS, detail=detail),))))
    assert "tok-" not in "".join(span.to_json() for span in told.spans)


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


HOSTILE = [
    "\ud800",
    "\x00\n\r",
    "x" * 100_000,
    2**80,
    -(2**63) - 1,
    float("nan"),
    b"\xff",
    {},
    None,
]


@pytest.mark.parametrize("value", [*HOSTILE, Unprintable()], ids=lambda v: type(v).__name__)
def test_hostile_values_do_not_spoil_the_batch(told, value):
    tell(
        query(
            tenant=value,
            operation=value,
            sources=(SourceAccount(alias="\ud800" * 1000, kind="delta", uri="u\ud800", version=1),),
            requests=(request(1, 1, location=value, operation="\ud800", failure="\udfff"),),
            error={"class": "\ud800", "kind": "\ud800", "message": "\ud800" * 10_000},
            status="failed",
        ),
        sql=f"SELECT {value!r}" if value is not HOSTILE[0] else 'SELECT "\ud800" AS \'',
        tenant=value,
        tags={"\ud800": value, "": "x", "k" * 1000: value},
        table=value,
    )
    found = told.one("fusiondelta.query")
    assert found.attributes["db.system.name"] == "fusiondelta"
    assert all(len(str(one)) < 3000 for one in found.attributes.values())
    kinds = {type(one) for one in found.attributes.values()}
    assert kinds <= {str, bool, int, float}
    assert all(-(2**63) <= one < 2**63 for one in found.attributes.values() if type(one) is int)
    assert encode_spans(told.spans).SerializeToString()


def test_any_number_of_tags_leaves_room_for_the_rest(told):
    many = {f"t{n}": "x" for n in range(1000)}
    sources = tuple(SourceAccount(alias=name, kind="arrow") for name in many)
    tell(query(sources=sources), tags=many)
    root = told.one("fusiondelta.query")
    assert root.attributes["fusiondelta.query_id"] == "query-1"
    assert root.attributes["fusiondelta.tag.t0"] == "x"
    assert root.dropped_attributes == 0
    assert len(root.attributes["db.query.summary"]) <= 255


def test_a_very_long_statement_is_cut(told):
    tell(query(), sql="SELECT $1, " + "a, " * 100_000)
    text = told.one("fusiondelta.query").attributes["db.query.text"]
    assert len(text) < 20_000
    assert text.endswith("…")


# contexts


def test_the_trace_context_of_others_is_taken_over(told):
    with told.provider.get_tracer("service").start_as_current_span("request"):
        operation = tell(query(), traceparent=PARENT)
    root = told.one("fusiondelta.query")
    assert (root.parent.trace_id, root.parent.span_id) == (int("a" * 32, 16), int("b" * 16, 16))
    assert root.parent.is_remote
    assert operation.traceparent == f"00-{'a' * 32}-{root.context.span_id:016x}-01"


@pytest.mark.parametrize(
    "given",
    [
        "",
        "x",
        PARENT.upper(),
        PARENT + "-extra",
        "ff" + PARENT[2:],
        f"00-{'0' * 32}-{'b' * 16}-01",
        f"00-{'a' * 32}-{'0' * 16}-01",
        f" {PARENT}",
        PARENT + "\n",
        PARENT.replace("a", "\N{ARABIC-INDIC DIGIT ONE}"),
        5,
    ],
)
@pytest.mark.parametrize("config", [ON, None], ids=["on", "off"])
def test_what_is_no_trace_context_is_refused(told, config, given):
    with pytest.raises(ConfigurationError, match="traceparent"):
        begin(Telemetry.of(config, Native()), traceparent=given)
    assert told.spans == ()


def test_a_later_version_of_trace_context_is_taken(told):
    tell(query(), traceparent=f"01{PARENT[2:]}-more")
    assert told.one("fusiondelta.query").parent.span_id == int("b" * 16, 16)


def test_what_users_do_inside_is_beneath_the_query(told):
    operation = begin(Telemetry.of(ON, Native()))
    tracer = told.provider.get_tracer("service")
    with operation.context(), tracer.start_as_current_span("inner"):
        pass
    with tracer.start_as_current_span("after"):
        pass
    operation.ended(query())
    assert told.parent(told.one("inner")) == "fusiondelta.query"
    assert told.one("after").parent is None


def test_the_context_ends_with_an_exception(told):
    operation = begin(Telemetry.of(ON, Native()))
    with pytest.raises(ZeroDivisionError), operation.context():
        raise ZeroDivisionError
    assert not trace.get_current_span().get_span_context().is_valid


# logs


@pytest.fixture
def logger():
    logger = logging.getLogger("fusiondelta")
    before = list(logger.filters)
    yield logger
    logger.filters[:] = before


def test_log_records_know_their_query(told, logger, caplog):
    config = ON.replace(logs=True)
    operation = begin(Telemetry.of(config, Native()))
    Telemetry.of(config, Native())
    assert [type(one) for one in logger.filters].count(LogCorrelation) == 1
    with operation.context():
        logger.warning("inside")
    logger.warning("outside")
    operation.ended(query())
    root = told.one("fusiondelta.query").context
    inside, outside = caplog.records
    assert (inside.run_id, inside.query_id) == ("run-1", "query-1")
    assert inside.trace_id == f"{root.trace_id:032x}"
    assert inside.span_id == f"{root.span_id:016x}"
    assert (outside.trace_id, outside.span_id, outside.run_id, outside.query_id) == ("",) * 4


def test_log_records_are_left_alone_unless_asked(told, logger):
    before = list(logger.filters)
    Telemetry.of(ON, Native())
    assert logger.filters == before


# what goes wrong


class Broken(SpanProcessor):
    """Raises where it is told to."""

    def __init__(self, where):
        self._where = where

    def on_start(self, span, parent_context=None):
        if self._where == "start":
            raise RuntimeError("token s3cret")

    def on_end(self, span):
        if self._where == "end" or (self._where == "child" and span.name != "fusiondelta.query"):
            raise RuntimeError("token s3cret")


@pytest.mark.parametrize("where", ["start", "end", "child"])
def test_an_sdk_that_raises_fails_no_query(told, caplog, where):
    told.provider.add_span_processor(Broken(where))
    telemetry = Telemetry.of(ON, Native())
    for _ in range(3):
        operation = begin(telemetry)
        with operation.context():
            pass
        operation.ended(query())
        operation.failed(SqlError("x"))
    ours = [record for record in caplog.records if record.name == "fusiondelta"]
    assert len(ours) == 1
    assert "RuntimeError" in ours[0].getMessage()
    assert "s3cret" not in caplog.text
    if where == "child":
        assert len(told.named("fusiondelta.query")) == 3


def test_an_account_that_is_nonsense_still_ends_the_span(told, caplog):
    begin(Telemetry.of(ON, Native())).ended(query(phases=None))
    assert told.one("fusiondelta.query").end_time
    assert len(caplog.records) == 1
