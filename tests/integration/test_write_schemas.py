"""Schemas that a write makes or changes."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

import fusiondelta

pytestmark = pytest.mark.integration

BARE = pa.timestamp("us")
AT = dt.datetime(2024, 5, 1, 12)


@pytest.fixture
def engine():
    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (BARE, AT),
        (pa.list_(BARE), [AT]),
        (pa.struct([("a", BARE)]), {"a": AT}),
        (pa.list_(pa.struct([("a", BARE)])), [{"a": AT}]),
        (pa.map_(pa.string(), BARE), [("a", AT)]),
        (pa.map_(BARE, pa.int64()), [(AT, 1)]),
        (pa.map_(pa.string(), pa.struct([("a", BARE)])), [("a", {"a": AT})]),
    ],
    ids=str,
)
def test_a_timestamp_without_zone_may_be_anywhere(engine, tmp_path, kind, value):
    engine.write_delta(tmp_path / "t", pa.table({"c": pa.array([value], kind)}))
    rows = engine.query("SELECT c FROM t", sources={"t": tmp_path / "t"}).to_pylist()
    assert rows == [{"c": value}]
    assert "timestampNtz" in str(engine.open_delta(tmp_path / "t").protocol)


def test_merged_columns_come_last_and_no_other_moves(engine, tmp_path):
    first = pa.table({"id": [1], "day": ["mon"], "price": [1.0]})
    engine.write_delta(tmp_path / "t", first, partition_by="day")
    more = pa.table({"id": [2], "day": ["tue"], "price": [2.0], "note": ["new"]})
    engine.write_delta(tmp_path / "t", more, schema_mode="merge")
    assert engine.open_delta(tmp_path / "t").schema.names == ["id", "day", "price", "note"]
