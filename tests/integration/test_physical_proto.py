"""A physical plan goes to protobuf and back, Delta scans included, and gives the same rows."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pytest
from datafusion import SessionContext
from datafusion.plan import LogicalPlan

from fusiondelta import EngineProfile, FusionDeltaEngine

pytestmark = pytest.mark.integration

QUERIES = {
    "scan": "select * from t",
    "filter": "select k, v from t where k >= 150 and v is not null",
    "partition filter": "select k from t where part = 'b'",
    "top": "select k from t order by k desc limit 7",
    "limit": "select count(*) from (select k from t limit 11)",
    "aggregate": "select part, count(*), sum(k) from t group by part",
    "join": "select a.k, b.v from t a join t b on a.k = b.k + 100 where b.part <> 'c'",
    "semi": "select k from t where k in (select k + 1 from t where v > 10)",
    "window": "select k, row_number() over (partition by part order by k) from t",
    "union": "select k from t where k < 5 union all select k from t where k > 290",
    "no rows": "select k from t where k > 1000000",
    "count": "select count(*) from t",
}


@pytest.fixture(scope="module")
def engine() -> Iterator[FusionDeltaEngine]:
    with FusionDeltaEngine(EngineProfile(target_partitions=3)) as made:
        yield made


@pytest.fixture(scope="module")
def table(engine: FusionDeltaEngine, tmp_path_factory: pytest.TempPathFactory) -> str:
    uri = str(tmp_path_factory.mktemp("proto") / "t")
    for part in range(3):
        rows = pa.table(
            {
                "k": pa.array(range(part * 100, (part + 1) * 100), pa.int64()),
                "v": pa.array([x % 17 if x % 5 else None for x in range(100)], pa.int32()),
                "part": ["abc"[part]] * 100,
            }
        )
        engine.write_delta(uri, rows, partition_by="part")
    return uri


def rows(table: pa.Table) -> list[tuple[object, ...]]:
    return sorted((tuple(r.values()) for r in table.to_pylist()), key=repr)


@pytest.mark.parametrize("name", QUERIES)
def test_round_trip(engine: FusionDeltaEngine, table: str, name: str) -> None:
    with engine.query(QUERIES[name], sources={"t": table}) as result:
        proto, missing = result.plan.physical_proto, result.plan.physical_proto_missing
        assert missing is None
        assert proto is not None
        expected = result.to_table()
    native = engine._native
    io = native.new_io()
    again = native.run_physical_proto(base64.b64decode(proto), engine._settings, io)
    got = pa.RecordBatchReader.from_stream(again).read_all()
    assert got.schema.names == expected.schema.names
    assert rows(got) == rows(expected)
    assert name == "no rows" or expected.num_rows


def test_the_version_travels(engine: FusionDeltaEngine, tmp_path: Path) -> None:
    uri = str(tmp_path / "v")
    engine.write_delta(uri, pa.table({"x": [1]}))
    with engine.query("select x from v", sources={"v": uri}) as result:
        proto = result.plan.physical_proto
    assert proto is not None
    engine.write_delta(uri, pa.table({"x": [2]}))
    native = engine._native
    again = native.run_physical_proto(base64.b64decode(proto), engine._settings, native.new_io())
    assert pa.RecordBatchReader.from_stream(again).read_all().to_pydict() == {"x": [1]}


def test_a_plan_without_a_form_says_why(engine: FusionDeltaEngine) -> None:
    foreign = ds.dataset(pa.table({"x": [1, 2]}))
    with engine.query("select x from f", sources={"f": foreign}) as result:
        assert result.plan.physical_proto is None
        assert "no protobuf form" in (result.plan.physical_proto_missing or "")
        assert result.to_table().num_rows == 2


def test_the_plan_names_the_snapshot(engine: FusionDeltaEngine, table: str) -> None:
    with engine.query("select k from t", sources={"t": table}) as result:
        key = result.snapshots[0]
        assert f"DeltaSnapshotExec: table={key.uri}, version={key.version}" in result.explain()


def test_the_logical_plan_has_a_protobuf_too(engine: FusionDeltaEngine, table: str) -> None:
    with engine.query("select 1 + $n as x", param_values={"n": 41}) as result:
        encoded = base64.b64decode(result.plan.logical_proto or "")
        decoded = LogicalPlan.from_bytes(SessionContext(), encoded)
        assert decoded.display_indent() == result.plan.optimized_plan
    with engine.query("select k from t", sources={"t": table}) as result:
        plan = result.manifest().to_dict()["plan"]
        assert plan["logical_proto"] == result.plan.logical_proto
        assert b"k" in base64.b64decode(plan["logical_proto"])
