"""The spans of queries and writes: how they lie in each other, and which there are."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

from fusiondelta.account._account import Phase, SourceAccount
from fusiondelta.account._nodes import PlanTree
from fusiondelta.account._telemetry import Telemetry
from fusiondelta.profiles import TelemetryConfig
from tests.integration.telemetry import (
    MS,
    ON,
    URI,
    Native,
    Told,
    begin,
    node,
    query,
    request,
    tell,
    told_process,
    write,
)

pytestmark = pytest.mark.integration


@pytest.fixture
def told(monkeypatch):
    with told_process(monkeypatch) as made:
        yield made


# the tree


def test_a_query_is_one_trace_beneath_its_caller(told):
    telemetry = Telemetry.of(ON, Native())
    with told.provider.get_tracer("service").start_as_current_span("request") as caller:
        operation = begin(telemetry, tenant="acme", tags={"team": "blue"})
    operation.ended(query())
    parents = {span.name: told.parent(span) for span in told.spans}
    assert parents == {
        "request": None,
        "fusiondelta.query": "request",
        "fusiondelta.plan": "fusiondelta.query",
        "fusiondelta.plan.wait": "fusiondelta.plan",
        "fusiondelta.plan.resolve": "fusiondelta.plan",
        "fusiondelta.plan.parse": "fusiondelta.plan.resolve",  # it lies within the other
        "fusiondelta.plan.optimize": "fusiondelta.plan",
        "fusiondelta.execute": "fusiondelta.query",
        "fusiondelta.operator": "fusiondelta.read_delta",  # the last of three
        "fusiondelta.read_delta": "fusiondelta.operator",
        "fusiondelta.storage.list": "fusiondelta.plan.parse",
        "fusiondelta.storage.get_range": "fusiondelta.operator",
    }
    assert {span.context.trace_id for span in told.spans} == {caller.get_span_context().trace_id}
    assert operation.traceparent is not None
    root = told.one("fusiondelta.query")
    assert root.kind is SpanKind.CLIENT
    assert root.status.status_code is StatusCode.UNSET
    assert root.attributes["fusiondelta.tenant"] == "acme"
    assert root.attributes["fusiondelta.tag.team"] == "blue"


def test_operators_lie_in_each_other_as_in_the_plan(told):
    tell(query())
    operators = {
        s.attributes["fusiondelta.operator"]: s for s in told.named("fusiondelta.operator")
    }
    assert list(operators) == ["CoalescePartitionsExec", "AggregateExec", "DataSourceExec"]
    above = operators["CoalescePartitionsExec"].context.span_id
    assert operators["AggregateExec"].parent.span_id == above
    scan = told.one("fusiondelta.read_delta")
    assert scan.parent.span_id == operators["AggregateExec"].context.span_id
    assert dict(scan.attributes) == {
        "db.collection.name": "orders",
        "fusiondelta.alias": "orders",
        "fusiondelta.uri": URI,
        "fusiondelta.version": 7,
        "fusiondelta.files": 9,
        "fusiondelta.files_read": 2,
        "fusiondelta.node": "0.0.0",
    }
    # It has no times of its own: it is when what lies beneath it was.
    assert (scan.start_time, scan.end_time) == (
        operators["DataSourceExec"].start_time,
        operators["DataSourceExec"].end_time,
    )
    assert operators["AggregateExec"].attributes["fusiondelta.spill"] == 4096
    assert operators["AggregateExec"].attributes["fusiondelta.compute"] == 0.009


def test_the_root_has_the_conventions_attributes_and_the_account(told):
    tell(query())
    attributes = dict(told.one("fusiondelta.query").attributes)
    assert attributes["db.system.name"] == "fusiondelta"
    assert attributes["db.operation.name"] == "SELECT"
    assert attributes["db.query.summary"] == "SELECT orders"
    assert attributes["db.collection.name"] == "orders"
    assert attributes["db.query.text"] == "SELECT ?"
    assert attributes["db.response.returned_rows"] == 3
    assert attributes["fusiondelta.snapshot.orders"] == f"{URI}@7"
    assert attributes["fusiondelta.status"] == "finished"
    ids = [attributes[f"fusiondelta.{name}_id"] for name in ("run", "query", "session")]
    assert ids == ["run-1", "query-1", "session-1"]
    assert attributes["fusiondelta.storage.requests"] == 4
    assert attributes["fusiondelta.spill"] == 4096
    assert "error.type" not in attributes


def test_several_tables_have_no_common_name(told):
    sources = tuple(SourceAccount(alias=name, kind="arrow") for name in ("a", "b"))
    tell(query(sources=sources))
    attributes = told.one("fusiondelta.query").attributes
    assert attributes["db.query.summary"] == "SELECT a b"
    assert "db.collection.name" not in attributes


@pytest.mark.parametrize(
    "changes", [{"tree": PlanTree(())}, {"started": 0}], ids=["pruned", "idle"]
)
def test_a_table_that_no_operator_read_was_read_while_it_was_resolved(told, changes):
    tell(query(**changes))
    span = told.one("fusiondelta.read_delta")
    resolve = told.one("fusiondelta.plan.resolve")
    assert span.parent.span_id == resolve.context.span_id
    assert span.attributes["fusiondelta.version"] == 7
    assert (span.start_time, span.end_time) == (resolve.start_time, resolve.end_time)


def test_a_query_that_never_ran_has_no_execution(told):
    tell(query(started=0, ended=0, status="cancelled", tree=PlanTree(())))
    names = {span.name for span in told.spans}
    assert "fusiondelta.execute" not in names
    assert "fusiondelta.plan" in names


def test_one_that_failed_while_it_was_planned(told):
    error = {"class": "SqlError", "kind": "sql", "message": "no"}
    account = query(planned=0, started=0, status="failed", error=error, tree=PlanTree(()))
    tell(account)
    plan = told.one("fusiondelta.plan")
    assert plan.end_time == account.ended
    assert plan.status.status_code is StatusCode.ERROR
    assert "fusiondelta.execute" not in {span.name for span in told.spans}


def test_one_that_still_runs_is_told_until_now(told):
    tell(query(query().submitted - 10**9, ended=0, status="running"))
    root, execute = told.one("fusiondelta.query"), told.one("fusiondelta.execute")
    assert execute.end_time == root.end_time
    assert_inside(told.spans)


def test_a_write_that_planned_nothing_has_no_planning(told):
    tell(write(planned=0))
    assert {span.name for span in told.spans} == {
        "fusiondelta.write_delta",
        "fusiondelta.commit",
        "fusiondelta.storage.put",
    }


def test_a_write_has_its_commit_and_its_attempts(told):
    operation = begin(Telemetry.of(ON, Native()), "write")
    account = write()
    at = account.submitted
    operation.ended(account)
    root = told.one("fusiondelta.write_delta")
    commit = told.one("fusiondelta.commit")
    assert commit.parent.span_id == root.context.span_id
    assert (commit.start_time, commit.end_time) == (at + 80 * MS, at + 90 * MS)
    put = told.one("fusiondelta.storage.put")
    assert put.parent.span_id == commit.context.span_id
    assert put.kind is SpanKind.CLIENT
    events = [(event.timestamp, dict(event.attributes)) for event in root.events]
    assert events == [
        (
            at + 10 * MS,
            {
                "fusiondelta.attempt.number": 1,
                "fusiondelta.attempt.conflict": "ConcurrentAppend",
                "fusiondelta.attempt.winning_version": 8,
                "fusiondelta.attempt.waited": 0.0,
            },
        ),
        (
            at + 50 * MS,
            {
                "fusiondelta.attempt.number": 2,
                "fusiondelta.attempt.tried": "9 committed",
                "fusiondelta.attempt.waited": 0.1,
            },
        ),
    ]
    attributes = root.attributes
    assert attributes["db.operation.name"] == "append"
    assert attributes["db.collection.name"] == URI
    assert attributes["fusiondelta.write.rows_written"] == 5
    assert attributes["fusiondelta.write.commit_id"] == "commit-1"
    assert "db.response.returned_rows" not in attributes


# times


def assert_inside(spans):
    """Every span begins before it ends, and lies in its parent."""
    by_id = {span.context.span_id: span for span in spans}
    for span in spans:
        assert span.start_time <= span.end_time, span.name
        if span.parent is not None:
            outer = by_id[span.parent.span_id]
            assert outer.start_time <= span.start_time, (span.name, outer.name)
            assert span.end_time <= outer.end_time, (span.name, outer.name)


def test_spans_lie_in_their_parents(told):
    tell(query())
    assert_inside(told.spans)


moments = st.integers(-200, 400).map(lambda n: n * MS)


@given(
    st.lists(moments, min_size=5, max_size=5),
    st.lists(st.tuples(moments, st.floats(0, 0.5)), max_size=8),
    st.lists(st.tuples(moments, moments), min_size=1, max_size=8),
    st.randoms(use_true_random=False),
)
def test_clocks_that_jump_do_no_harm(steps, phases, operators, chance):
    told = Told()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trace, "get_tracer", told.provider.get_tracer)
        telemetry = Telemetry.of(TelemetryConfig(enabled=True, metrics=False), Native())
        operation = begin(telemetry)
        at = query().submitted
        ids = ["0"]
        for _ in operators[1:]:
            ids.append(f"{chance.choice(ids)}.{len(ids)}")
        nodes = [
            node(one, chance.choice(["FilterExec", "DeltaSnapshotExec"]), at + start, at + end)
            for one, (start, end) in zip(sorted(ids), operators, strict=True)
        ]
        names = ["submitted", "planned", "started", "first_row", "ended"]
        changes = {name: at + moment for name, moment in zip(names, steps, strict=True)}
        requests = [request(at + start, seconds * 1e3) for start, seconds in phases]
        account = query(
            at,
            **changes,
            tree=PlanTree(tuple(nodes)),
            phases=tuple(Phase(f"p{n}", at + s, d) for n, (s, d) in enumerate(phases)),
            requests=tuple(requests),
        )
        operation.ended(account)
    assert len(told.named("fusiondelta.query")) == 1
    assert len(told.named("fusiondelta.storage.get_range")) == len(requests)
    assert_inside(told.spans)


def test_a_request_outside_of_its_operator_belongs_to_the_execution(told):
    # Where the operator ended at 90 ms, what it had asked for may still be answered.
    account = query()
    at = account.submitted
    tell(query(at, requests=(request(at + 89 * MS, 5, node="0.0.0.0"),)))
    span = told.one("fusiondelta.storage.get_range")
    assert told.parent(span) == "fusiondelta.operator"
    above = {s.context.span_id: s for s in told.spans}[span.parent.span_id]
    assert above.attributes["fusiondelta.operator"] == "AggregateExec"
    assert span.end_time - span.start_time == 5 * MS


# how many


def test_the_most_expensive_operators_and_the_worst_requests_are_told(told):
    config = ON.replace(operators=7, requests=5)
    operation = begin(Telemetry.of(config, Native()))
    at = query().submitted
    costs = list(range(1, 501))
    random.Random(1).shuffle(costs)
    nodes = [
        node("0" + ".0" * depth, "FilterExec", at + 31 * MS, at + 99 * MS, cost * 1e6)
        for depth, cost in enumerate(costs)
    ]
    requests = [request(at + 40 * MS, n % 50) for n in range(1000)]
    requests[3] = request(at + 40 * MS, 0, failure="status 503")
    requests[5] = request(at + 40 * MS, 0.1, failure="timeout", retry=True)
    operation.ended(query(at, tree=PlanTree(tuple(nodes)), requests=tuple(requests)))
    told_costs = [s.attributes["fusiondelta.compute"] for s in told.named("fusiondelta.operator")]
    assert sorted(told_costs) == [cost / 1e3 for cost in range(494, 501)]
    assert_inside(told.spans)
    found = told.named("fusiondelta.storage.get_range")
    assert len(found) == 5
    failed = [span for span in found if span.status.status_code is StatusCode.ERROR]
    assert {span.attributes["error.type"] for span in failed} == {"status 503", "timeout"}
    rest = [span.end_time - span.start_time for span in found if span not in failed]
    assert rest == [49 * MS] * 3


def test_none_are_told_where_none_are_asked_for(told):
    tell(query(), ON.replace(operators=0, requests=0))
    names = {span.name for span in told.spans}
    assert not names & {"fusiondelta.operator", "fusiondelta.storage.list"}
    assert "fusiondelta.read_delta" in names


def test_what_is_not_sampled_is_not_told(told):
    untraced = f"00-{'a' * 32}-{'b' * 16}-00"
    operation = tell(query(), traceparent=untraced)
    assert told.spans == ()
    assert operation.traceparent.startswith(untraced[:35])
    assert operation.traceparent.endswith("-00")


def test_no_spans_where_only_metrics_are_asked_for(told):
    operation = tell(query(), ON.replace(traces=False))
    assert told.spans == ()
    assert operation.traceparent is None
