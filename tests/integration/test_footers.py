"""Footers and page indexes are read once, and kept."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from fusiondelta import CacheProfile, EngineProfile, FusionDeltaEngine, WriterProperties

pytestmark = pytest.mark.integration

ROWS = 100_000


def write(engine, uri, **properties):
    """A file whose first column is sorted, and whose last one is much longer than a file's end."""
    data = pa.table(
        {"id": range(ROWS), "v": [os.urandom(8).hex() for _ in range(ROWS)]},
        schema=pa.schema({"id": pa.int64(), "v": pa.string()}),
    )
    given = WriterProperties(dictionary=False, compression="uncompressed", **properties)
    engine.write_delta(uri, data, writer_properties=given)


def read(engine, uri):
    """Requests for the file by purpose, pages that the page index left out, bytes."""
    result = engine.query("SELECT id FROM t WHERE id = 70000", sources={"t": uri})
    assert result.to_pylist() == [{"id": 70_000}]
    tree = result.account().tree
    purposes = {name: n for name, n in result.io.by_purpose.items() if n and name != "log"}
    return purposes, tree.total("page_index_pages_pruned_pruned"), result.io.bytes_read


def test_a_footer_comes_with_its_page_index_in_one_request(engine, uri):
    write(engine, uri)
    (first, pruned, _), (second, still, _) = read(engine, uri), read(engine, uri)
    assert first["footer"] == 1
    assert second == {"data": first["data"]}
    assert pruned == still > 0


def test_a_page_index_longer_than_what_comes_with_a_footer_is_read_once(engine, uri):
    # Pages of so few rows that their index takes hundreds of kilobytes.
    write(engine, uri, data_page_bytes=128)
    (first, pruned, _), (second, still, bytes_read) = read(engine, uri), read(engine, uri)
    assert first["footer"] == 1
    assert second == {"data": first["data"] - 1}
    assert pruned == still > 0
    assert bytes_read < 64 * 1024


def test_a_file_without_a_page_index(engine, uri):
    write(engine, uri, statistics="none")
    (first, _, _), (second, _, _) = read(engine, uri), read(engine, uri)
    assert first["footer"] == 1
    assert second == {"data": first["data"]}


def test_a_small_file_is_read_in_one_request(engine, uri):
    engine.write_delta(uri, pa.table({"id": [1, 2, 3]}))
    for expected in ({"footer": 1}, {"data": 1}):
        result = engine.query("SELECT id FROM t WHERE id > 1", sources={"t": uri})
        assert sorted(row["id"] for row in result.to_pylist()) == [2, 3]
        purposes = {name: n for name, n in result.io.by_purpose.items() if n and name != "log"}
        assert purposes == expected


def test_a_footer_longer_than_the_end_that_is_read_first_takes_two_requests(engine, uri):
    engine.write_delta(uri, pa.table({f"column {n:04}": [n] for n in range(1_000)}))
    sql = 'SELECT "column 0001" FROM t'
    purposes = []
    for _ in range(2):
        result = engine.query(sql, sources={"t": uri})
        assert result.to_pylist() == [{"column 0001": 1}]
        purposes.append(result.io.by_purpose)
    assert [one["footer"] for one in purposes] == [2, 0]
    assert [one["data"] for one in purposes] == [1, 1]


@pytest.mark.parametrize("hint", [0, 1, 8, 10**9])
def test_any_length_of_the_end_that_is_read_first_will_do(uri, hint):
    options = {"datafusion.execution.parquet.metadata_size_hint": str(hint)}
    with FusionDeltaEngine(EngineProfile(options=options)) as engine:
        write(engine, uri)
        (first, pruned, _), (second, still, _) = read(engine, uri), read(engine, uri)
    assert first["footer"] in (1, 2)
    assert "footer" not in second
    assert pruned == still > 0


def test_page_indexes_do_not_take_the_place_of_footers(uri):
    """There is room for the footers of all files, and not for their page indexes."""
    files = 8
    with FusionDeltaEngine() as engine:
        for _ in range(files):
            write(engine, uri, data_page_bytes=256)
    with FusionDeltaEngine(EngineProfile(cache=CacheProfile(metadata=2 * 2**20))) as engine:
        purposes = []
        for _ in range(3):
            result = engine.query("SELECT id FROM t WHERE id = 70000", sources={"t": uri})
            assert result.to_pylist() == [{"id": 70_000}] * files
            purposes.append(result.io.by_purpose)
        assert [one["footer"] for one in purposes] == [files, 0, 0]
        evictions = engine.debug.caches()["metadata_cache"]["evictions"]
    assert evictions == 0
    assert purposes[1]["data"] == purposes[2]["data"]
