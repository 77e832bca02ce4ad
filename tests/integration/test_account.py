"""What a query or write says of itself: operators, scans, requests, times, rows."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from fusiondelta import CsvSource, EngineProfile, FusionDeltaEngine, ParquetSource

pytestmark = pytest.mark.integration


@pytest.fixture
def table(engine, uri):
    """Four partitions of a thousand ids each, in ten files each of narrow ranges."""
    for start in range(0, 1000, 100):
        parts = [part for part in "abcd" for _ in range(100)]
        ids = [*range(start, start + 100)] * 4
        engine.write_delta(uri, pa.table({"part": parts, "id": ids}), partition_by="part")
    return uri


def total(tree, name, operator=None):
    return sum(node.total(name) for node in tree if operator in (None, node.operator))


def test_operators_scans_and_requests_are_told_together(engine, table):
    engine.debug.clear_caches()
    sql = "SELECT count(*) AS n FROM t WHERE part = 'b' AND id < 250"
    result = engine.query(sql, sources={"t": table})
    assert result.account().status == "planned"
    assert result.to_pylist() == [{"n": 250}]
    account = result.account()
    assert (account.status, account.rows, account.batches) == ("finished", 1, 1)
    assert account.submitted < account.planned <= account.started < account.ended
    assert account.started < account.first_row <= account.ended
    names = [phase.name for phase in account.phases]
    assert {
        "resolve",
        "plan",
        "parse",
        "bind",
        "optimize",
        "physical_plan",
    } == {*names}
    assert all(phase.started >= account.submitted for phase in account.phases)

    (scan,) = [node for node in account.tree if node.operator == "DeltaSnapshotExec"]
    assert scan.total("files_total") == 40
    assert scan.total("files_after_partition") == 10
    assert scan.total("files_after_statistics") == 3
    assert scan.total("bytes_total") > scan.total("bytes_after_statistics") > 0
    below = [node for node in account.tree if node.id.startswith(f"{scan.id}.")]
    (reader,) = [node for node in below if node.operator == "DataSourceExec"]
    assert reader.total("metadata_cache_misses") == 3
    assert reader.total("metadata_cache_hits") == 0
    by_scan = [request for request in account.requests if request.node == reader.id]
    assert len(by_scan) == reader.total("io_requests") > 0
    assert {request.purpose for request in by_scan} <= {"footer", "data"}
    assert sum(request.bytes for request in by_scan) == reader.total("io_bytes")
    assert len(account.requests) == sum(account.io.requests.values())
    assert account.requests_dropped == 0
    assert {request.purpose for request in account.requests if not request.node} <= {
        "log",
        "checkpoint",
    }
    assert list(account.requests) == sorted(account.requests, key=lambda one: one.started)


def test_what_is_cached_is_a_hit(engine, table):
    for _ in range(2):
        result = engine.query("SELECT sum(id) FROM t", sources={"t": engine.open_delta(table)})
        result.to_table()
    tree = result.account().tree
    assert total(tree, "metadata_cache_misses") == 0
    assert total(tree, "metadata_cache_hits") >= 40


def test_two_scans_of_one_table_have_their_own_requests(engine, table):
    sql = "SELECT count(*) FROM t AS a JOIN t AS b ON a.id = b.id AND a.part = b.part"
    result = engine.query(sql, sources={"t": table})
    result.to_table()
    account = result.account()
    readers = [node for node in account.tree if node.operator == "DataSourceExec"]
    assert len(readers) == 2
    for node in readers:
        asked = [request for request in account.requests if request.node == node.id]
        assert len(asked) == node.total("io_requests") > 0


def test_files_are_told_like_tables(engine, tmp_path):
    for number in range(3):
        pq.write_table(pa.table({"id": range(10)}), tmp_path / f"{number}.parquet")
    (tmp_path / "rows.csv").write_text("id\n1\n2\n")
    result = engine.query(
        "SELECT count(*) FROM p JOIN c USING (id)",
        sources={"p": ParquetSource(tmp_path), "c": CsvSource(tmp_path / "rows.csv")},
    )
    assert result.to_pylist() == [{"count(*)": 6}]
    account = result.account()
    kinds = {source.alias: (source.kind, source.files) for source in account.sources}
    assert kinds == {"p": ("parquet", 3), "c": ("csv", 1)}
    scans = [node for node in account.tree if "io_requests" in node.totals]
    assert [node.total("files_total") for node in scans] == [3]
    assert scans[0].total("io_requests") > 0


def test_deletion_vectors_do_not_hide_the_tree(engine, table):
    engine.delete(table, "id = 7")
    result = engine.query("SELECT count(*) AS n FROM t", sources={"t": table})
    assert result.to_pylist() == [{"n": 3996}]
    assert result.account().tree.root is not None


def test_the_tree_agrees_with_the_metrics_table_and_the_plan(engine, table):
    sql = "SELECT part, max(id) AS m FROM t GROUP BY part ORDER BY m"
    result = engine.query(sql, sources={"t": table})
    result.to_table()
    account, metrics = result.account(), result.metrics()
    lines = [line.strip() for line in result.explain().splitlines()]
    assert [node.detail.split(":")[0] for node in account.tree] == [
        line.split(":")[0].split(",")[0] for line in lines
    ]
    totals = metrics.filter(pc.is_null(metrics["partition"]))
    rows = totals.filter(pc.equal(totals["metric_name"], "output_rows"))
    assert {node.id: node.rows for node in account.tree if node.rows is not None} == dict(
        zip(rows["node_id"].to_pylist(), rows["metric_value"].to_pylist(), strict=True)
    )


def test_skew_is_least_middle_and_greatest_over_partitions(uri):
    profile = EngineProfile(target_partitions=4)
    with FusionDeltaEngine(profile) as engine:
        engine.write_delta(uri, pa.table({"k": [0] * 9_000 + [1] * 10, "v": range(9_010)}))
        result = engine.query("SELECT k, sum(v) FROM t GROUP BY k", sources={"t": uri})
        result.to_table()
        exchange = next(n for n in result.account().tree if n.operator == "RepartitionExec")
        assert exchange.partitions == 4
        final = next(n for n in result.account().tree if "FinalPartitioned" in n.detail)
        skew = final.skew("output_rows")
    assert skew is not None
    assert (skew.least, skew.greatest) == (0, 1) or (skew.least, skew.greatest) == (0, 2)


def test_a_stream_that_others_read_ends_too(engine, table):
    result = engine.query("SELECT * FROM t", sources={"t": table})
    assert pa.table(result).num_rows == 4000
    account = result.account()
    assert (account.status, account.rows) == ("finished", 4000)
    assert not result.is_open


def test_a_stream_that_others_leave_is_cancelled(engine):
    result = engine.query("SELECT a.value FROM range(1000000000) AS a")
    reader = pa.RecordBatchReader.from_stream(result)
    reader.read_next_batch()
    assert result.account().status == "running"
    assert result.account().rows > 0
    reader.close()
    del reader
    result.close()
    assert result.account().status == "cancelled"


def test_a_failure_is_told_with_its_kind(engine):
    result = engine.query("SELECT 1 / (value - 5) FROM range(10)")
    with pytest.raises(Exception, match=r"[Dd]ivide"):
        result.to_table()
    account = result.account()
    assert account.status == "failed"
    assert account.error is not None
    assert account.error["kind"] == "execution"
    assert "ivide" in account.error["message"]


def test_every_partition_counts_before_a_query_is_over():
    with FusionDeltaEngine(EngineProfile(target_partitions=2)) as engine:
        halves = [pa.table({"id": range(start, start + 10)}) for start in (0, 10)]
        rows = pa.concat_tables(halves)
        result = engine.query("SELECT id + 1 FROM t", sources={"t": rows})
        first, second = result.partitions()
        first.read_all()
        assert result.account().status == "running"
        second.read_all()
        assert (result.account().status, result.account().rows) == ("finished", 20)


def test_a_write_has_operators_attempts_and_a_commit(engine, table, tmp_path):
    rows = engine.query("SELECT * FROM t WHERE part = 'a'", sources={"t": table})
    written = engine.write_delta(tmp_path / "copy", rows)
    account = written.account()
    assert (account.kind, account.operation, account.status) == ("write", "append", "finished")
    assert [phase.name for phase in account.phases] == ["attempt", "commit"]
    assert account.snapshots["target"] == written.snapshot
    assert account.snapshots["t"].uri.endswith("/table")
    assert [source.alias for source in account.sources] == ["t"]
    assert any(node.operator == "DeltaSnapshotExec" for node in account.tree)
    assert account.write["outcome"] == "COMMITTED"
    assert account.write["modes"]["mode"] == "append"
    assert account.rows == 1000
    assert account.tree.total("io_requests") > 0


def test_metrics_of_many_queries_are_one_table(engine, table):
    kept = []
    for _ in range(3):
        result = engine.query("SELECT count(*) FROM t", sources={"t": table})
        result.to_table()
        kept.append(result)
    everything = engine.debug.metrics()
    assert {result.query_id for result in kept} <= {*everything["query_id"].to_pylist()}
    some = engine.debug.metrics(runs=[kept[0], kept[2].run_id])
    assert {*some["query_id"].to_pylist()} == {kept[0].query_id, kept[2].query_id}
    assert some.schema == kept[0].metrics().schema
    with pytest.raises(ValueError, match="a run is"):
        engine.debug.metrics(runs=[3])


def test_the_requests_that_are_kept_are_bounded(engine, uri):
    for number in range(30):
        engine.write_delta(uri, pa.table({"p": range(40), "n": [number] * 40}), partition_by="p")
    engine.debug.clear_caches()
    result = engine.query("SELECT sum(n) FROM t", sources={"t": uri})
    result.to_table()
    account = result.account()
    assert len(account.requests) == 1000
    kept = len(account.requests) + account.requests_dropped
    assert kept == sum(account.io.requests.values()) > 1000


def test_the_level_of_explain_is_respected(table):
    sizes = {}
    for level in ("summary", "dev"):
        profile = EngineProfile(options={"datafusion.explain.analyze_level": level})
        with FusionDeltaEngine(profile) as engine:
            text = engine.debug.explain("SELECT sum(id) FROM t", sources={"t": table}, analyze=True)
            sizes[level] = len(text)
            assert "output_rows=" in text
            assert ("io_requests=" in text) == (level == "dev")
    assert sizes["summary"] < sizes["dev"]


def test_timestamps_lie_within_the_run(engine, table):
    sql = "SELECT a.part, count(*) FROM t AS a JOIN t AS b USING (id) GROUP BY 1 ORDER BY 2"
    result = engine.query(sql, sources={"t": table})
    result.to_table()
    account = result.account()
    seen = 0
    for node in account.tree:
        for name in ("start_timestamp", "end_timestamp"):
            for at in node.by_partition.get(name, {}).values():
                seen += 1
                assert account.submitted <= at <= account.ended, (node.id, name)
    assert seen > 10
