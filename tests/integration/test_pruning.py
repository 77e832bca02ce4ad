"""What a query does not need is not read: its metrics, against those of one that reads it all."""

from __future__ import annotations

import pyarrow as pa
import pytest

import fusiondelta

ROWS = 40_000
FILES = 4
GROUP = 1_000
DYNAMIC = "datafusion.optimizer.enable_dynamic_filter_pushdown"
JOIN = "datafusion.optimizer.enable_join_dynamic_filter_pushdown"
TOP_K = "datafusion.optimizer.enable_topk_dynamic_filter_pushdown"
HINT = "datafusion.execution.parquet.metadata_size_hint"
STATISTICS = "datafusion.execution.parquet.pruning"
PAGES = "datafusion.execution.parquet.enable_page_index"

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pruning")
    places = {name: str(folder / name) for name in ("fact", "daily", "dim")}
    fact = pa.table(
        {
            "id": pa.array(range(ROWS), pa.int64()),
            "key": pa.array([i // 100 for i in range(ROWS)], pa.int64()),
            "day": pa.array([i * FILES // ROWS for i in range(ROWS)], pa.int32()),
        }
    )
    dim = pa.table(
        {
            "key": pa.array(range(ROWS // 100), pa.int64()),
            "name": ["wanted" if 100 <= i < 105 else "other" for i in range(ROWS // 100)],
        }
    )
    groups = fusiondelta.WriterProperties(max_row_group_rows=GROUP)
    step = ROWS // FILES
    with fusiondelta.FusionDeltaEngine() as engine:
        for start in range(0, ROWS, step):
            part = fact.slice(start, step)
            engine.write_delta(places["fact"], part, writer_properties=groups)
            engine.write_delta(places["daily"], part, partition_by="day", writer_properties=groups)
        engine.write_delta(places["dim"], dim)
    return places


@pytest.fixture(scope="module")
def read(sources):
    """Runs a query; gives its rows and the totals of the scans by table, in order of the plan."""

    def run(sql, partitions=4, **options):
        # Little of a file comes with its footer, so that what is read of it shows.
        given = {HINT: 8 * 1024, **options.pop("options", {})}
        settings = {key: str(value).lower() for key, value in given.items()}
        profile = fusiondelta.EngineProfile(target_partitions=partitions, options=settings)
        with fusiondelta.FusionDeltaEngine(profile) as engine:
            result = engine.query(sql, sources=sources, **options)
            rows = result.to_pylist()
            found = result.metrics().to_pylist()
            requests = result.io
        totals = {}
        for row in found:
            if row["operator"] in ("DataSourceExec", "DeltaScanExec") and row["partition"] is None:
                scan = totals.setdefault(row["operator"], {}).setdefault(row["node_id"], {})
                scan[row["metric_name"]] = row["metric_value"]
        scans = {name: list(nodes.values()) for name, nodes in totals.items()}
        return rows, scans.get("DataSourceExec"), scans["DeltaScanExec"], requests

    return run


def test_a_join_filters_the_scan_of_its_other_side(read):
    sql = "SELECT count(*) AS n, sum(id) AS s FROM fact JOIN dim USING (key) WHERE name = 'wanted'"
    rows, scans, _, io = read(sql)
    assert rows == [{"n": 500, "s": sum(range(10_000, 10_500))}]
    plain_rows, plain, _, plain_io = read(sql, options={DYNAMIC: False, JOIN: False})
    assert plain_rows == rows

    fact = max(scans, key=lambda s: s["row_groups_pruned_statistics_matched"] + s["files_opened"])
    assert max(scan["output_rows"] for scan in plain) == ROWS
    assert fact["output_rows"] <= GROUP
    assert fact["row_groups_pruned_statistics_pruned"] == ROWS / GROUP - 1
    assert io.bytes_read < plain_io.bytes_read
    assert io.by_purpose["data"] < plain_io.by_purpose["data"]


def test_a_top_k_filters_the_scan(read):
    # In one partition, with the wanted rows in front: the first file's rows rule out the rest.
    sql = "SELECT id FROM fact ORDER BY key, id LIMIT 5"
    rows, (scan,), _, io = read(sql, partitions=1)
    assert [row["id"] for row in rows] == [0, 1, 2, 3, 4]
    plain_rows, (plain,), _, plain_io = read(
        sql, partitions=1, options={DYNAMIC: False, TOP_K: False}
    )
    assert plain_rows == rows
    assert plain["output_rows"] == ROWS
    assert scan["output_rows"] < plain["output_rows"]
    groups = scan["row_groups_pruned_dynamic_filter"] + scan["row_groups_pruned_statistics_pruned"]
    files = scan["files_ranges_pruned_statistics_pruned"]
    assert groups + files > 0
    assert io.bytes_read < plain_io.bytes_read


def test_a_limit_stops_the_scan(read):
    rows, (scan,), _, io = read("SELECT id FROM fact LIMIT 5")
    all_rows, (plain,), _, plain_io = read("SELECT id FROM fact")
    assert (len(rows), len(all_rows)) == (5, ROWS)
    assert scan["output_rows"] <= 5 * FILES
    assert plain["output_rows"] == ROWS
    assert scan["files_opened"] < plain["files_opened"] == FILES
    assert io.by_purpose["data"] < plain_io.by_purpose["data"]


def test_partitions_are_pruned_before_a_file_is_opened(read):
    rows, (scan,), (delta,), io = read("SELECT id FROM daily WHERE day = 2")
    assert sorted(row["id"] for row in rows) == list(range(20_000, 30_000))
    assert delta["count_files_scanned"] == 1
    assert scan["files_opened"] == 1
    assert scan["output_rows"] == ROWS / FILES
    assert io.by_purpose["footer"] == 1
    none, scans, (delta,), io = read("SELECT id FROM daily WHERE day = 99")
    assert (none, scans) == ([], None)
    assert delta["count_files_scanned"] == 0
    assert io.by_purpose["footer"] == io.by_purpose["data"] == 0


def test_statistics_of_the_log_prune_files(read):
    _, (scan,), (delta,), _ = read("SELECT id FROM fact WHERE id >= 30000")
    assert delta["count_files_scanned"] == 1
    assert scan["files_opened"] == 1


def test_statistics_of_the_footers_prune_row_groups(read):
    sql = "SELECT id FROM fact WHERE id BETWEEN 100 AND 200"
    rows, (scan,), (delta,), io = read(sql)
    assert len(rows) == 101
    assert delta["count_files_scanned"] == 1
    assert scan["row_groups_pruned_statistics_pruned"] == ROWS / FILES / GROUP - 1
    assert scan["row_groups_pruned_statistics_matched"] == 1
    assert scan["output_rows"] == GROUP
    plain_rows, (plain,), _, plain_io = read(sql, options={STATISTICS: False, PAGES: False})
    assert sorted(map(str, plain_rows)) == sorted(map(str, rows))
    assert plain["row_groups_pruned_statistics_pruned"] == 0
    assert plain["output_rows"] == ROWS / FILES
    assert io.bytes_read < plain_io.bytes_read
