"""`engine.probe`: what a location allows, and that nothing is left of the trying."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fusiondelta import FusionDeltaEngine, IoPolicy
from fusiondelta.testing import FaultProxy, Latency, Permanent, Rule, Status
from tests.stores import kinds

pytestmark = pytest.mark.stores
QUICK = IoPolicy(retries=0, connect_timeout=1, request_timeout=2)
minio = pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)


def statuses(report):
    return {check.name: check.status for check in report.checks}


def test_an_empty_place(store):
    with FusionDeltaEngine(storage=store.profile()) as engine:
        report = engine.probe(store.uri("t"))
    assert report.ok, str(report)
    assert statuses(report) == {
        "identity": "pass",
        "list": "pass",
        "read_log": "skipped",
        "read_scan": "skipped",
        "write": "pass",
        "conditional_put": "pass",
        "multipart": "pass",
        "clock": "pass",
        "delete": "pass",
    }
    assert store.raw_list() == []
    assert len(str(report).splitlines()) == 10


def test_a_table(store):
    with FusionDeltaEngine(storage=store.profile()) as engine:
        engine.write_delta(store.uri("t"), pa.table({"id": [1]}))
        before = store.raw_list()
        report = engine.probe(store.uri("t"))
    assert set(statuses(report).values()) == {"pass"}, str(report)
    assert store.raw_list() == before


@minio
def test_wrong_credentials_name_the_fix(store):
    profile = store.profile(secret_access_key="wrong-secret-wrong", io=QUICK)
    with FusionDeltaEngine(storage=profile) as engine:
        report = engine.probe(store.uri("t"))
    assert not report.ok
    assert report["list"].status == "fail"
    assert "credentials" in report["list"].fix
    assert report["conditional_put"].status == "skipped"
    assert "wrong-secret" not in str(report)


@minio
def test_a_missing_bucket_names_the_fix(store):
    with FusionDeltaEngine(storage=store.profile(io=QUICK)) as engine:
        report = engine.probe("s3://no-such-bucket-here/t")
    assert "no such bucket" in report["list"].fix or "no such bucket" in report["write"].fix


@minio
@pytest.mark.parametrize(
    ("rule", "failing"),
    [
        (Rule(Permanent(403), method="PUT", target="probe"), "write"),
        (Rule(Permanent(403), target=r"list-type"), "list"),
        (Rule(Status(501, "NotImplemented"), method="POST", target="uploads"), "multipart"),
    ],
)
def test_what_is_not_permitted_fails_by_itself(store, rule, failing):
    with FaultProxy(store.server.endpoint) as proxy:
        proxy.add(rule)
        profile = store.profile(endpoint=proxy.endpoint, io=QUICK)
        with FusionDeltaEngine(storage=profile) as engine:
            report = engine.probe(store.uri("t"))
    assert report[failing].status == "fail", str(report)
    assert report[failing].fix
    assert store.raw_list() == []


@minio
def test_nothing_is_left_when_it_is_interrupted(store, monkeypatch):
    from fusiondelta.storage import _probe

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_probe._Probe, "multipart", interrupted)
    with FusionDeltaEngine(storage=store.profile()) as engine, pytest.raises(KeyboardInterrupt):
        engine.probe(store.uri("t"))
    assert store.raw_list() == []


@minio
def test_latencies_are_measured(store):
    with FaultProxy(store.server.endpoint) as proxy:
        proxy.add(Rule(Latency(0.05)))
        with FusionDeltaEngine(storage=store.profile(endpoint=proxy.endpoint)) as engine:
            report = engine.probe(store.uri("t"))
    assert report["list"].seconds >= 0.05


def test_local_folders(tmp_path):
    with FusionDeltaEngine() as engine:
        engine.write_delta(tmp_path / "t", pa.table({"id": [1]}))
        before = sorted(p.name for p in (tmp_path / "t").iterdir())
        report = engine.probe(tmp_path / "t")
        assert report.ok, str(report)
        assert sorted(p.name for p in (tmp_path / "t").iterdir()) == before
