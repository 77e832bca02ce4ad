"""`max_scan_bytes` and `expect_pruning`: refused once planned, before anything is read."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import ConfigurationError, ParquetSource, QueryError, QuerySpec, ScanLimitError

pytestmark = pytest.mark.integration


@pytest.fixture
def table(engine, uri):
    for start in range(0, 1000, 100):
        engine.write_delta(uri, pa.table({"id": range(start, start + 100)}))
    return uri


def test_more_bytes_than_allowed_are_refused_before_any_is_read(engine, table):
    before = engine.debug.io().by_purpose
    with pytest.raises(ScanLimitError, match=r"10 files.*select less") as caught:
        engine.query("SELECT * FROM t", sources={"t": table}, max_scan_bytes=100)
    assert isinstance(caught.value, QueryError)
    assert caught.value.kind.value == "scan_limit"
    assert int(caught.value.details["bytes"]) > 100
    after = engine.debug.io().by_purpose
    assert (after["data"], after["footer"]) == (before["data"], before["footer"])


def test_fewer_pass(engine, table):
    size = engine.open_delta(table).detail()["size_bytes"]
    for limit in (size, "1GiB"):
        result = engine.query("SELECT id FROM t", sources={"t": table}, max_scan_bytes=limit)
        assert result.to_table().num_rows == 1000
    narrow = engine.query(
        "SELECT id FROM t WHERE id < 150", sources={"t": table}, max_scan_bytes=size // 4
    )
    assert narrow.to_table().num_rows == 150


def test_files_of_all_sources_count(engine, table, tmp_path):
    pq.write_table(pa.table({"id": range(10_000)}), tmp_path / "more.parquet")
    source = {"m": ParquetSource(tmp_path / "more.parquet")}
    size = (tmp_path / "more.parquet").stat().st_size
    engine.query("SELECT * FROM m", sources=source, max_scan_bytes=size).to_table()
    with pytest.raises(ScanLimitError):
        engine.query("SELECT * FROM m", sources=source, max_scan_bytes=size - 1)
    both = {**source, "t": table}
    with pytest.raises(ScanLimitError):
        engine.query("SELECT * FROM m JOIN t USING (id)", sources=both, max_scan_bytes=size)


def test_less_pruning_than_expected_is_refused(engine, table):
    sources = {"t": table}
    sql = "SELECT * FROM t WHERE id < 150"
    engine.query(sql, sources=sources, expect_pruning={"t": 0.8}).to_table()
    with pytest.raises(ScanLimitError, match=r"2 of 10 files of 't'.*80\.0%.*90\.0%"):
        engine.query(sql, sources=sources, expect_pruning={"t": 0.9})
    with pytest.raises(ScanLimitError, match="10 of 10 files"):
        engine.query("SELECT * FROM t", sources=sources, expect_pruning={"t": 0.1})


def test_an_empty_table_leaves_out_everything(engine, uri):
    engine.write_delta(uri, pa.table({"id": [1]}))
    engine.delete(uri)
    result = engine.query("SELECT * FROM t", sources={"t": uri}, expect_pruning={"t": 1})
    assert result.to_table().num_rows == 0


@pytest.mark.parametrize("share", [-0.1, 1.1, True])
def test_a_share_is_a_share(engine, table, share):
    with pytest.raises(ConfigurationError, match="from 0 to 1"):
        engine.query("SELECT 1 FROM t", sources={"t": table}, expect_pruning={"t": share})


def test_an_unknown_table_is_named(engine, table):
    with pytest.raises(ConfigurationError, match=r"'x'.*are: t"):
        engine.query("SELECT 1 FROM t", sources={"t": table}, expect_pruning={"x": 0.5})


def test_in_a_spec_they_are_the_same(engine, table):
    spec = QuerySpec(sql="SELECT * FROM t", sources={"t": table}, max_scan_bytes="1KiB")
    with pytest.raises(ScanLimitError):
        engine.query(spec)
