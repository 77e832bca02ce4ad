"""Changes of tables whose files call columns otherwise (column mapping), at every depth."""

from __future__ import annotations

import deltalake
import pyarrow as pa
import pytest

from fusiondelta import FusionDeltaEngine

pytestmark = pytest.mark.integration

DATA = pa.table(
    {
        "id": [1, 2, 3, 4],
        "p": ["a", "a", "b", None],
        "st": [{"x": 1, "y": "q"}, None, {"x": 3, "y": None}, {"x": 4, "y": "z"}],
        "l": [[{"k": 1}], [], None, [{"k": 2}]],
    }
)


@pytest.fixture
def engine():
    with FusionDeltaEngine() as made:
        yield made


def rows(engine, uri):
    found = engine.query("SELECT * FROM t", sources={"t": uri}).to_pylist()
    table = deltalake.QueryBuilder().register("t", deltalake.DeltaTable(str(uri)))
    others = pa.table(table.execute("SELECT * FROM t")).to_pylist()

    def bag(rows):
        return sorted(str(sorted(row.items())) for row in rows)

    assert bag(found) == bag(others)
    return sorted(found, key=lambda row: (row["id"], row["p"] or ""))


@pytest.mark.parametrize("vectors", ["false", "true"])
@pytest.mark.parametrize("mode", ["name", "id"])
def test_every_change(engine, tmp_path, mode, vectors):
    uri = tmp_path / "t"
    properties = {"delta.columnMapping.mode": mode, "delta.enableDeletionVectors": vectors}
    engine.write_delta(uri, DATA, partition_by="p", properties=properties)
    engine.write_delta(uri, DATA.slice(0, 2))
    engine.delete(uri, "st['x'] = 3")
    engine.update(uri, {"st": "named_struct('x', id * 10, 'y', p)"}, "id = 4")
    source = pa.table({"id": [2, 9], "p": ["a", "c"]})
    merge = engine.merge(uri, source, ["id", "p"]).when_matched_delete()
    merge.when_not_matched_insert_all().execute()
    first = DATA.slice(0, 1).to_pylist()[0]
    expected = [
        first,
        first,
        {"id": 4, "p": None, "st": {"x": 40, "y": None}, "l": [{"k": 2}]},
        {"id": 9, "p": "c", "st": None, "l": None},
    ]
    assert rows(engine, uri) == expected
    assert engine.capabilities(uri).allows("optimize")
    engine.optimize(uri)
    assert rows(engine, uri) == expected
    assert engine.optimize(uri, z_order=["id"]).files_removed > 0
    assert rows(engine, uri) == expected
    logical = {path.parent.name for path in uri.rglob("*.parquet")}
    assert not any(name.startswith("p=") for name in logical), "names may change, folders do not"


def test_the_feed_and_its_features_go_together(engine, tmp_path):
    """Every feature that a property switches on is in the protocol of the table."""
    uri = tmp_path / "t"
    properties = {
        "delta.columnMapping.mode": "name",
        "delta.enableDeletionVectors": "true",
        "delta.enableChangeDataFeed": "true",
    }
    engine.write_delta(uri, DATA, properties=properties)
    protocol = engine.open_delta(uri).protocol
    features = {"columnMapping", "deletionVectors"}
    assert features <= set(protocol["readerFeatures"])
    assert {*features, "changeDataFeed"} <= set(protocol["writerFeatures"])
    engine.delete(uri, "id = 1")
    assert [row["id"] for row in rows(engine, uri)] == [2, 3, 4]
