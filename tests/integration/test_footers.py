"""Footers and page indexes are read once, and kept."""

from __future__ import annotations

import os

import pyarrow as pa
import pytest

from fusiondelta import WriterProperties

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
