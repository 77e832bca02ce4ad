"""Telemetry that an engine sends itself, to receivers of OTLP that are really there."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from opentelemetry import metrics, trace

from fusiondelta import FusionDeltaEngine
from fusiondelta.account import _delta_tracing
from fusiondelta.account._delta_tracing import init_delta_tracing
from fusiondelta.account._telemetry import Telemetry
from fusiondelta.errors import ConfigurationError, SqlError
from fusiondelta.profiles import TelemetryConfig
from tests.harness.otlp import PATIENCE, HttpReceiver
from tests.integration.telemetry import Native, begin, query

pytestmark = pytest.mark.integration

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def receiver():
    with HttpReceiver() as made:
        yield made


def start(script, **environ):
    """A script in a process of its own."""
    paths = [str(ROOT), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths)), **environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(script, **environ):
    """What a script prints until it ends."""
    process = start(script, **environ)
    try:
        printed, errors = process.communicate(timeout=2 * PATIENCE)
    finally:
        process.kill()
    assert process.returncode == 0, errors
    return printed


def test_close_sends_spans_and_metrics(receiver):
    config = TelemetryConfig.otlp(
        receiver.endpoint, headers={"Authorization": "Bearer s3cret"}, service_name="shop"
    )
    before = trace.get_tracer_provider(), metrics.get_meter_provider()
    native = Native(requests=5)
    telemetry = Telemetry.of(config, native)
    operation = begin(telemetry, tenant="acme")
    operation.ended(query(tenant="acme"))
    assert telemetry.close(PATIENCE)
    assert set(receiver.paths) == {"/v1/traces", "/v1/metrics"}
    assert {one["authorization"] for one in receiver.headers} == {"Bearer s3cret"}
    spans = {span.name: span for span in receiver.spans}
    root = spans["fusiondelta.query"]
    assert operation.traceparent == f"00-{root.trace_id}-{root.span_id}-01"
    assert {span.trace_id for span in receiver.spans} == {root.trace_id}
    assert spans["fusiondelta.execute"].parent_id == root.span_id
    assert {span.resource["service.name"] for span in receiver.spans} == {"shop"}
    assert {span.scope for span in receiver.spans} == {"fusiondelta"}
    assert root.attributes["db.system.name"] == "fusiondelta"
    shown = repr([receiver.spans, receiver.points, config])
    assert "s3cret" not in shown
    ((attributes, count),) = receiver.points["db.client.operation.duration"]
    assert (count, attributes["fusiondelta.tenant"]) == (1, "acme")
    assert [value for _, value in receiver.points["fusiondelta.storage.requests"]] == [5]
    assert (trace.get_tracer_provider(), metrics.get_meter_provider()) == before


def test_nothing_comes_after_the_end(receiver, caplog):
    telemetry = Telemetry.of(TelemetryConfig.otlp(receiver.endpoint), Native())
    late = begin(telemetry)
    assert telemetry.close(PATIENCE)
    sent = list(receiver.paths)
    late.ended(query())
    after = begin(telemetry)
    after.ended(query())
    assert after.traceparent is None
    assert telemetry.close(PATIENCE)
    assert receiver.paths == sent
    assert "fusiondelta.query" not in {span.name for span in receiver.spans}
    assert [one for one in caplog.records if "shut" in one.getMessage().lower()] == []


def test_an_engine_that_is_forgotten_sends_what_it_has(receiver, monkeypatch):
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "3600000")  # not by itself
    telemetry = Telemetry.of(TelemetryConfig.otlp(receiver.endpoint), Native())
    begin(telemetry).ended(query())
    del telemetry
    gc.collect()
    assert receiver.span("fusiondelta.query")


def test_a_receiver_that_does_not_answer_holds_nobody_up(receiver, monkeypatch):
    # Each query is sent at once, so that the exporter hangs while others end.
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")
    receiver.answering.clear()
    telemetry = Telemetry.of(TelemetryConfig.otlp(receiver.endpoint), Native())
    begin(telemetry).ended(query())
    receiver.wait_for(lambda: receiver.paths)
    for _ in range(3):
        begin(telemetry).ended(query())
    assert not telemetry.close(0.05)
    receiver.answering.set()
    # What had to wait is sent all the same.
    receiver.wait_for(lambda: [s.name for s in receiver.spans].count("fusiondelta.query") == 4)


def test_a_receiver_that_is_not_there_is_no_matter(monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    config = TelemetryConfig.otlp(NOWHERE, headers={"Authorization": "Bearer s3cret"})
    telemetry = Telemetry.of(config, Native())
    begin(telemetry).ended(query())
    telemetry.close(0.05)
    assert "s3cret" not in caplog.text


@pytest.mark.parametrize("config", [TelemetryConfig(enabled=True), TelemetryConfig(), None])
def test_nothing_is_sent_unless_asked(receiver, monkeypatch, config):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
    before = set(threading.enumerate())
    telemetry = Telemetry.of(config, Native())
    operation = begin(telemetry)
    operation.ended(query())
    assert telemetry.close(PATIENCE)
    assert operation.traceparent is None
    assert receiver.paths == []
    assert set(threading.enumerate()) <= before


def test_telemetry_that_is_off_is_one_object_and_imports_nothing():
    script = """
        import sys
        from fusiondelta.account import Call
        from fusiondelta.account._telemetry import Telemetry
        from fusiondelta.profiles import TelemetryConfig

        found = [Telemetry.of(c, None) for c in (None, TelemetryConfig(), TelemetryConfig())]
        assert len(set(map(id, found))) == 1 and not found[0].enabled
        given = dict(query_id="q", run_id="r", operation="SELECT", sql="SELECT 1")
        made = [found[0].begin(Call(kind=kind, **given)) for kind in ("query", "write", "query")]
        assert len(set(map(id, made))) == 1
        with made[0].context():
            made[0].failed(ValueError())
        made[0].ended(None)
        made[0].abandoned()
        assert made[0].traceparent is None
        assert found[0].close()
        assert len(set(map(id, (made[0].context(), made[1].context())))) == 1
        print([name for name in sys.modules if name.startswith("opentelemetry")])
    """
    assert run(script).strip() == "[]"


def test_what_a_process_leaves_is_sent_at_its_end(receiver):
    script = """
        from fusiondelta.account._telemetry import Telemetry
        from fusiondelta.profiles import TelemetryConfig
        from tests.integration.telemetry import Native, begin, query

        native = Native()
        telemetry = Telemetry.of(TelemetryConfig.from_env(), native)
        begin(telemetry).ended(query())
    """
    run(
        script,
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.endpoint,
        OTEL_EXPORTER_OTLP_HEADERS="x-key=a%20b",
        OTEL_SERVICE_NAME="job",
    )
    assert receiver.span("fusiondelta.query").resource["service.name"] == "job"
    assert receiver.headers[0]["x-key"] == "a b"
    assert "fusiondelta.queries" in receiver.points


def test_a_forked_process_tells_nothing_of_its_parent(receiver):
    script = """
        import os, sys, warnings
        from fusiondelta.account._telemetry import Telemetry
        from fusiondelta.profiles import TelemetryConfig
        from tests.integration.telemetry import Native, begin, query

        warnings.simplefilter("ignore")  # threads are what this is about
        config = TelemetryConfig.otlp(os.environ["AT"])
        native = Native()
        telemetry = Telemetry.of(config, native)
        begin(telemetry, query_id="first").ended(query())
        open_ = begin(telemetry, query_id="parents")
        child = os.fork()
        if child == 0:
            try:
                open_.ended(query())
                begin(telemetry, query_id="childs").ended(query())
                assert telemetry.close(5)
                # As the threads do that the SDK starts again after a fork.
                telemetry._providers.meter_provider.force_flush()
                again = Telemetry.of(config, native)  # as respawn() makes it
                begin(again, query_id="respawned").ended(query())
                assert again.close(30)
            except BaseException as error:
                print(error, file=sys.stderr)
                os._exit(1)
            sys.exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        open_.ended(query())
        assert telemetry.close(30)
    """
    run(script, AT=receiver.endpoint)
    roots = [s for s in receiver.spans if s.name == "fusiondelta.query"]
    assert sorted(s.attributes["fusiondelta.query_id"] for s in roots) == [
        "first",
        "parents",
        "respawned",
    ]
    # One of the parent and one of the respawned, each at its end.
    assert receiver.paths.count("/v1/metrics") == 2


def test_grpc():
    # gRPC stays out of this process: its handlers of forks would be in the way of others.
    script = """
        from fusiondelta.account._telemetry import Telemetry
        from fusiondelta.profiles import TelemetryConfig
        from tests.harness.otlp import GrpcReceiver
        from tests.integration.telemetry import Native, begin, query

        with GrpcReceiver() as receiver:
            config = TelemetryConfig.otlp(
                receiver.endpoint, protocol="grpc", headers={"X-Key": "s3cret"}
            )
            native = Native()
            telemetry = Telemetry.of(config, native)
            begin(telemetry).ended(query())
            assert telemetry.close(30)
            assert receiver.span("fusiondelta.query").scope == "fusiondelta"
            assert "fusiondelta.queries" in receiver.points
            assert {one["x-key"] for one in receiver.headers} == {"s3cret"}
        print("sent")
    """
    assert run(script).strip() == "sent"


def test_a_real_engine_tells_of_its_queries_and_writes(receiver, tmp_path):
    parent = f"00-{'a' * 32}-{'b' * 16}-01"
    sources = {"t": tmp_path / "t"}
    with FusionDeltaEngine(telemetry=TelemetryConfig.otlp(receiver.endpoint)) as engine:
        engine.write_delta(tmp_path / "t", pa.table({"id": [1, 2, 3]}))
        with engine.run(traceparent=parent):
            result = engine.query("SELECT id FROM t WHERE id > 1", sources=sources)
            handed_on = result.traceparent
            assert result.to_table().num_rows == 2
        with pytest.raises(SqlError):
            engine.query("SELECT nothing FROM t", sources=sources)
    by_id = {span.span_id: span for span in receiver.spans}
    queries = [span for span in receiver.spans if span.name == "fusiondelta.query"]
    (failed,) = (span for span in queries if span.attributes["fusiondelta.status"] == "failed")
    (root,) = (span for span in queries if span is not failed)
    assert failed.attributes["error.type"] == "sql"
    assert handed_on == f"00-{'a' * 32}-{root.span_id}-01"
    assert root.parent_id == "b" * 16
    assert root.attributes["db.query.text"] == "SELECT id FROM t WHERE id > ?"
    assert root.attributes["db.response.returned_rows"] == 2
    assert root.attributes["fusiondelta.snapshot.t"].endswith("@0")
    beneath = [span for span in receiver.spans if span.trace_id == root.trace_id]
    assert {span.name for span in beneath} >= {
        "fusiondelta.plan",
        "fusiondelta.plan.resolve",
        "fusiondelta.execute",
        "fusiondelta.operator",
        "fusiondelta.read_delta",
    }
    (scan,) = (span for span in beneath if span.name == "fusiondelta.read_delta")
    assert by_id[scan.parent_id].name in {"fusiondelta.operator", "fusiondelta.execute"}
    (write,) = (span for span in receiver.spans if span.name == "fusiondelta.write_delta")
    (commit,) = (span for span in receiver.spans if span.name == "fusiondelta.commit")
    assert commit.parent_id == write.span_id
    assert write.attributes["fusiondelta.write.outcome"] == "COMMITTED"
    for span in receiver.spans:
        if outer := by_id.get(span.parent_id):
            assert outer.start <= span.start <= span.end <= outer.end, (span.name, outer.name)


# what is missing


@pytest.mark.parametrize(
    ("config", "hidden", "says"),
    [
        (TelemetryConfig(enabled=True), "opentelemetry.metrics", r"fusiondelta\[otel\]"),
        (
            TelemetryConfig.otlp(NOWHERE),
            "opentelemetry.exporter.otlp.proto.http.trace_exporter",
            "opentelemetry-exporter-otlp-proto-http",
        ),
        (
            TelemetryConfig.otlp(NOWHERE, protocol="grpc"),
            "opentelemetry.exporter.otlp.proto.grpc.trace_exporter",
            "opentelemetry-exporter-otlp-proto-grpc",
        ),
    ],
)
def test_a_missing_package_is_named(monkeypatch, config, hidden, says):
    monkeypatch.setitem(sys.modules, hidden, None)
    with pytest.raises(ConfigurationError, match=says):
        Telemetry.of(config, Native())


def test_a_header_that_was_lost_in_a_pickle_is_named():
    config = TelemetryConfig.otlp(NOWHERE, headers={"Authorization": "s3cret"})
    data = pickle.dumps(config)
    assert b"s3cret" not in data
    with pytest.raises(ConfigurationError, match=r"header.*config\.replace\(headers="):
        Telemetry.of(pickle.loads(data), Native())


# delta-rs


@pytest.fixture
def calls(monkeypatch):
    """Endpoints that delta-rs' tracing was switched on with."""
    found = []
    monkeypatch.setattr(_delta_tracing, "_done", False)
    monkeypatch.setattr(deltalake, "init_tracing", found.append)
    return found


def test_delta_tracing_is_switched_on_once_and_on_request(calls, monkeypatch):
    Telemetry.of(TelemetryConfig.otlp(NOWHERE), Native()).close(0)
    assert calls == []
    config = TelemetryConfig.otlp(NOWHERE, delta_tracing=True)
    for _ in range(3):
        Telemetry.of(config, Native()).close(0)
    assert calls == [f"{NOWHERE}/v1/traces"]


def test_threads_switch_it_on_once(calls):
    barrier = threading.Barrier(8)
    done = []

    def switch():
        barrier.wait()
        done.append(init_delta_tracing())

    threads = [threading.Thread(target=switch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert calls == [None]
    assert sorted(done) == [False] * 7 + [True]


def test_a_failed_switch_is_tried_again(calls, monkeypatch):
    def fails(endpoint):
        raise RuntimeError("no runtime")

    with monkeypatch.context() as patch:
        patch.setattr(deltalake, "init_tracing", fails)
        with pytest.raises(RuntimeError, match="no runtime"):
            init_delta_tracing()
    assert init_delta_tracing(NOWHERE)
    assert calls == [f"{NOWHERE}/v1/traces"]


def test_delta_rs_sends_its_spans(receiver, tmp_path):
    # It sends from time to time, and nothing at its end: it stays until they have come.
    script = """
        import os, sys
        import deltalake
        import pyarrow as pa
        from fusiondelta.account._delta_tracing import init_delta_tracing

        assert init_delta_tracing(os.environ["AT"])
        assert not init_delta_tracing(os.environ["AT"])
        deltalake.write_deltalake(os.environ["TABLE"], pa.table({"id": [1]}))
        sys.stdin.read()
    """
    process = start(
        script,
        AT=receiver.endpoint,
        TABLE=str(tmp_path / "t"),
        RUST_LOG="deltalake=debug",
        OTEL_BSP_SCHEDULE_DELAY="50",
    )
    try:
        assert receiver.wait_for(lambda: receiver.spans)
    finally:
        _, errors = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, errors
    assert set(receiver.paths) == {"/v1/traces"}
