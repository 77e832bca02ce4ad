"""Rows are found by their place in a file, however the file is cut up to read it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fusiondelta import EngineProfile, FusionDeltaEngine, WriterProperties

pytestmark = pytest.mark.integration

ROWS = 20_000
GROUP = 500
CUT_UP = {
    "datafusion.optimizer.repartition_file_min_size": "0",
    "datafusion.execution.target_partitions": "7",
    "datafusion.execution.batch_size": "333",
}


@pytest.fixture(params=[{}, CUT_UP], ids=["whole", "cut up"])
def engine(request):
    with FusionDeltaEngine(EngineProfile(options=request.param)) as made:
        yield made


@pytest.fixture(params=["false", "true"], ids=["files", "vectors"])
def uri(request, engine, tmp_path):
    ids = pa.array(range(ROWS), pa.int64())
    data = pa.table({"id": ids, "half": pa.array([n // 2 for n in range(ROWS)]), "s": ["x"] * ROWS})
    engine.write_delta(
        tmp_path / "t",
        data,
        writer_properties=WriterProperties(max_row_group_rows=GROUP),
        properties={"delta.enableDeletionVectors": request.param},
    )
    return tmp_path / "t"


def ids(engine, uri):
    found = engine.query("SELECT id FROM t ORDER BY id", sources={"t": uri}).to_table()
    return found["id"].to_pylist()


@pytest.mark.parametrize(
    ("predicate", "is_gone"),
    [
        ("id = 19999", lambda n: n == 19_999),
        ("id >= 7777 AND id < 7780", lambda n: 7777 <= n < 7780),
        ("id % 1000 = 7", lambda n: n % 1000 == 7),
        ("half IN (0, 250, 9999)", lambda n: n // 2 in (0, 250, 9999)),
        ("id < 600 OR id > 19500", lambda n: n < 600 or n > 19_500),
    ],
)
def test_the_rows_meant_go(engine, uri, predicate, is_gone):
    """Row groups that are left out and parts that are read apart change no position."""
    engine.delete(uri, predicate)
    left = [n for n in range(ROWS) if not is_gone(n)]
    assert ids(engine, uri) == left
    again = "id BETWEEN 12000 AND 12010"
    engine.delete(uri, again)
    assert ids(engine, uri) == [n for n in left if not 12_000 <= n <= 12_010]
    engine.update(uri, {"s": "'new'"}, "id IN (1, 12011, 19998)")
    changed = engine.query(
        "SELECT id FROM t WHERE s = 'new' ORDER BY id", sources={"t": uri}
    ).to_pylist()
    assert [row["id"] for row in changed] == [n for n in (1, 12_011, 19_998) if n in set(left)]
    assert ids(engine, uri) == [n for n in left if not 12_000 <= n <= 12_010]
