"""What we write, read by others: rows, and the statistics of every file."""

from __future__ import annotations

import datetime as dt
import decimal
import json

import deltalake
import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import FusionDeltaEngine
from tests.harness.log_files import active

pytestmark = pytest.mark.integration

N = 500
DATA = pa.table(
    {
        "id": pa.array(range(N), pa.int64()),
        "part": [f"p{i % 3}" for i in range(N)],
        "small": pa.array([i % 100 for i in range(N)], pa.int8()),
        "real": [i / 7 if i % 11 else None for i in range(N)],
        "text": [f"row {i:04}" if i % 5 else None for i in range(N)],
        "flag": [i % 2 == 0 for i in range(N)],
        "day": [dt.date(2024, 1, 1) + dt.timedelta(days=i) for i in range(N)],
        "at": pa.array(
            [
                dt.datetime(2024, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(hours=i)
                for i in range(N)
            ],
            pa.timestamp("us", "UTC"),
        ),
        "money": pa.array([decimal.Decimal(i) / 4 for i in range(N)], pa.decimal128(12, 2)),
        "nested": [{"a": i, "b": [i, i + 1]} for i in range(N)],
    }
)


@pytest.fixture
def uri(tmp_path):
    """A table through a write, an update, a delete, a merge and a compaction."""
    uri = tmp_path / "t"
    with FusionDeltaEngine() as engine:
        engine.write_delta(uri, DATA.slice(0, 300), partition_by="part")
        engine.write_delta(uri, DATA.slice(300))
        engine.update(uri, {"real": "-1.0"}, "id % 50 = 0")
        engine.delete(uri, "id >= 490")
        source = DATA.slice(485, 10)
        merge = engine.merge(uri, source, on=["id", "part"])
        merge.when_matched_delete().when_not_matched_insert_all().execute()
        engine.optimize(uri, partition_filters=[("part", "=", "p1")])
    return uri


def expected():
    rows = []
    for row in DATA.to_pylist():
        if row["id"] >= 495 or 485 <= row["id"] < 490:
            continue
        if row["id"] % 50 == 0:
            row["real"] = -1.0
        rows.append(row)
    return rows


def in_order(rows):
    return sorted(rows, key=lambda row: row["id"])


def test_deltalake(uri):
    found = deltalake.DeltaTable(str(uri)).to_pyarrow_table().to_pylist()
    assert in_order(found) == expected()


def test_polars(uri):
    assert in_order(pl.read_delta(str(uri)).to_dicts()) == expected()


def test_duckdb_reads_the_files(uri):
    """Its own reader of Parquet, over the files that the log names."""
    files = deltalake.DeltaTable(str(uri)).file_uris()
    found = duckdb.connect().execute(
        "SELECT count(*), sum(id), min(text), max(day), sum(money), sum(nested.a)"
        " FROM read_parquet(?, hive_partitioning = true)",
        [files],
    )
    rows = expected()
    assert found.fetchone() == (
        len(rows),
        sum(row["id"] for row in rows),
        min(row["text"] for row in rows if row["text"]),
        max(row["day"] for row in rows),
        sum(row["money"] for row in rows),
        sum(row["nested"]["a"] for row in rows),
    )


def test_statistics_are_those_of_the_files(uri):
    """Row counts, nulls, smallest and largest values of the log against the files themselves."""
    adds = active(uri)
    assert len(adds) >= 3
    for path, add in adds.items():
        table = pq.read_table(uri / path, partitioning=None)
        stats = json.loads(add["stats"])
        assert stats["numRecords"] == table.num_rows
        assert add["size"] == (uri / path).stat().st_size
        for name in ("id", "small", "real", "text", "day"):
            column = table.column(name)
            assert stats["nullCount"][name] == column.null_count
            values = [value for value in column.to_pylist() if value is not None]
            if not values:
                assert name not in stats["minValues"]
                continue
            least, most = min(values), max(values)
            if name == "day":
                least, most = least.isoformat(), most.isoformat()
            assert stats["minValues"][name] == least
            assert stats["maxValues"][name] == most
