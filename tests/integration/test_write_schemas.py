"""Schemas that a write makes or changes."""

from __future__ import annotations

import datetime as dt

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import UnsupportedTableFeatureError

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
    ],
    ids=str,
)
def test_a_timestamp_without_zone_may_be_anywhere_but_in_a_map(engine, tmp_path, kind, value):
    engine.write_delta(tmp_path / "t", pa.table({"c": pa.array([value], kind)}))
    rows = engine.query("SELECT c FROM t", sources={"t": tmp_path / "t"}).to_pylist()
    assert rows == [{"c": value}]
    assert "timestampNtz" in str(engine.open_delta(tmp_path / "t").protocol)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (pa.map_(pa.string(), BARE), [("a", AT)]),
        (pa.map_(BARE, pa.int64()), [(AT, 1)]),
        (pa.map_(pa.string(), pa.struct([("a", BARE)])), [("a", {"a": AT})]),
    ],
    ids=str,
)
def test_a_timestamp_without_zone_in_a_map_is_refused(engine, tmp_path, kind, value):
    with pytest.raises(UnsupportedTableFeatureError, match="timestampNtz"):
        engine.write_delta(tmp_path / "t", pa.table({"c": pa.array([value], kind)}))
    assert not (tmp_path / "t" / "_delta_log" / f"{0:020}.json").exists()


def test_merged_columns_are_all_there_and_the_new_ones_last(engine, tmp_path):
    first = pa.table({"id": [1], "day": ["mon"], "price": [1.0]})
    engine.write_delta(tmp_path / "t", first, partition_by="day")
    more = pa.table({"id": [2], "day": ["tue"], "price": [2.0], "note": ["new"]})
    engine.write_delta(tmp_path / "t", more, schema_mode="merge")
    names = engine.open_delta(tmp_path / "t").schema.names
    # The crate puts partition columns behind the others when it merges; readers go by name.
    assert sorted(names) == ["day", "id", "note", "price"]
    assert names[-1] == "note"
