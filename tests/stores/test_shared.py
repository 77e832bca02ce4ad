"""What has to be so on every store: one suite, each kind of store in turn."""

from __future__ import annotations

import threading

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

import fusiondelta
from fusiondelta import (
    CsvSource,
    DeltaSource,
    FusionDeltaEngine,
    JsonSource,
    ParquetSource,
    SnapshotKey,
    SnapshotNotFoundError,
    SourceError,
)

pytestmark = pytest.mark.stores

ORDERS = pa.table({"id": [1, 2, 3], "client": ["ada", "bo", "ada"], "price": [9.5, 20.0, 4.0]})


@pytest.fixture
def engine(store):
    with FusionDeltaEngine(storage=store.profile()) as engine:
        yield engine


def ids(engine, uri, as_of=None):
    source = DeltaSource(uri, as_of)
    rows = engine.query("SELECT id FROM t ORDER BY id", sources={"t": source}).to_pylist()
    return [row["id"] for row in rows]


def test_a_table_is_written_read_and_travelled_through(engine, store):
    uri = store.uri("shop/orders")
    first = engine.write_delta(uri, ORDERS)
    second = engine.write_delta(uri, ORDERS.slice(0, 1))
    assert (first.snapshot.version, second.snapshot.version) == (0, 1)
    assert first.snapshot == SnapshotKey(uri, 0)
    assert (first.rows_written, first.files_added) == (3, 1)
    assert ids(engine, uri) == [1, 1, 2, 3]
    assert ids(engine, uri, 0) == [1, 2, 3]
    logs = store.raw_list("shop/orders/_delta_log/")
    assert [key.rsplit("/", 1)[1] for key in logs] == [f"{v:020}.json" for v in (0, 1)]


def test_another_engine_sees_it_and_the_first_sees_what_that_one_adds(engine, store):
    uri = store.uri("orders")
    engine.write_delta(uri, ORDERS)
    assert ids(engine, uri) == [1, 2, 3]
    with FusionDeltaEngine(storage=store.profile()) as other:
        assert ids(other, uri) == [1, 2, 3]
        other.write_delta(uri, ORDERS.slice(2))
    assert ids(engine, uri) == [1, 2, 3, 3]


def test_aggregates_joins_and_filters(engine, store):
    orders, clients = store.uri("orders"), store.uri("clients")
    engine.write_delta(orders, ORDERS)
    engine.write_delta(clients, pa.table({"client": ["ada", "bo"], "town": ["Bath", "Bonn"]}))
    rows = engine.query(
        "SELECT town, sum(price) AS total FROM o JOIN c USING (client) WHERE price > $least "
        "GROUP BY town ORDER BY town",
        sources={"o": orders, "c": clients},
        param_values={"least": 5},
    ).to_pylist()
    assert rows == [{"town": "Bath", "total": 9.5}, {"town": "Bonn", "total": 20.0}]


def test_partitions_with_odd_values_are_written_pruned_and_replaced(engine, store):
    uri = store.uri("parted")
    values = ["plain", "with space", "a/b", "50%", "ü=ß", None]
    data = pa.table({"id": list(range(6)), "part": values})
    engine.write_delta(uri, data, partition_by="part")
    for number, value in enumerate(values[:-1]):
        result = engine.query(
            "SELECT id FROM t WHERE part = $v", sources={"t": uri}, param_values={"v": value}
        )
        assert result.to_pylist() == [{"id": number}]
    one = engine.query("SELECT id FROM t WHERE part = 'plain'", sources={"t": uri})
    one.to_table()
    whole = engine.query("SELECT id FROM t", sources={"t": uri})
    whole.to_table()
    assert one.io.by_purpose["data"] + one.io.by_purpose["footer"] < (
        whole.io.by_purpose["data"] + whole.io.by_purpose["footer"] + 1
    )
    engine.write_delta(
        uri,
        pa.table({"id": [60], "part": ["50%"]}),
        mode="overwrite",
        replace_where="part = '50%'",
    )
    assert ids(engine, uri) == [0, 1, 2, 4, 5, 60]


@pytest.mark.parametrize("name", ["with space/ünï", "per%25cent", "a+b&c=d", "dot.dot"])
def test_odd_paths(engine, store, name):
    uri = store.uri(name)
    written = engine.write_delta(uri, ORDERS)
    engine.write_delta(uri, ORDERS)
    assert ids(engine, uri) == [1, 1, 2, 2, 3, 3]
    assert ids(engine, written.snapshot.uri, 0) == [1, 2, 3]


def test_what_a_table_says_of_itself(engine, store):
    uri = store.uri("orders")
    engine.write_delta(uri, ORDERS, properties={"delta.logRetentionDuration": "interval 9 days"})
    engine.write_delta(uri, ORDERS, metadata={"who": "me"})
    table = engine.open_delta(uri)
    assert table.snapshot == SnapshotKey(uri, 1)
    assert table.detail()["num_rows"] == 6
    assert table.properties["delta.logRetentionDuration"] == "interval 9 days"
    assert table.files().num_rows == 2
    assert [entry["version"] for entry in table.history()] == [1, 0]
    assert engine.reachable_versions(uri) == range(2)
    instant = table.history()[1]["timestamp"]
    assert isinstance(instant, int)


def test_what_is_not_there_is_said_so(engine, store):
    with pytest.raises(SourceError, match="no table"):
        engine.open_delta(store.uri("nothing"))
    engine.write_delta(store.uri("orders"), ORDERS)
    with pytest.raises(SnapshotNotFoundError, match="versions 0 to 0"):
        engine.open_delta(store.uri("orders"), as_of=7)


def test_a_query_goes_into_a_table_natively(engine, store):
    engine.write_delta(store.uri("orders"), ORDERS)
    dear = engine.query("SELECT * FROM o WHERE price >= 5", sources={"o": store.uri("orders")})
    written = engine.write_delta(store.uri("dear"), dear, partition_by="client")
    assert written.rows_written == 2
    assert ids(engine, store.uri("dear")) == [1, 2]
    assert written.io.by_purpose["commit"] >= 1
    assert written.io.bytes_written > 0


def test_files_of_every_format(engine, store):
    sink = pa.BufferOutputStream()
    pq.write_table(ORDERS, sink)
    parquet = sink.getvalue().to_pybytes()
    store.raw_put("files/p/a.parquet", parquet)
    store.raw_put("files/p/b.parquet", parquet)
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(ORDERS, sink)
    store.raw_put("files/c.csv", sink.getvalue().to_pybytes())
    store.raw_put("files/j.json", b'{"id": 1}\n{"id": 2}\n')
    for source, rows in (
        (ParquetSource(store.uri("files/p/")), 6),
        (ParquetSource(store.uri("files/p")), 6),
        (ParquetSource(store.uri("files/p/a.parquet")), 3),
        (store.uri("files/p/a.parquet"), 3),
        (CsvSource(store.uri("files/c.csv")), 3),
        (JsonSource(store.uri("files/j.json")), 2),
    ):
        counted = engine.query("SELECT count(*) AS n FROM f", sources={"f": source})
        assert counted.to_pylist() == [{"n": rows}]


def test_two_writers_at_once_lose_nothing(engine, store):
    uri = store.uri("busy")
    engine.write_delta(uri, ORDERS)
    errors = []

    def write(number):
        try:
            with FusionDeltaEngine(storage=store.profile()) as own:
                for i in range(3):
                    row = {"id": [number * 10 + i], "client": ["x"], "price": [0.0]}
                    own.write_delta(uri, pa.table(row))
        except BaseException as error:  # shown by the assertion below
            errors.append(error)

    threads = [threading.Thread(target=write, args=(n,)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert ids(engine, uri) == [1, 2, 3, 10, 11, 12, 20, 21, 22, 30, 31, 32]
    assert engine.open_delta(uri).snapshot.version == 9


def test_requests_are_counted_for_the_query_that_made_them(engine, store):
    uri = store.uri("orders")
    engine.write_delta(uri, ORDERS)
    results = [engine.query("SELECT * FROM t", sources={"t": uri}) for _ in range(2)]
    for result in results:
        result.to_table()
    first, second = (result.io for result in results)
    assert second.by_purpose["log"] == 1, "the newest version was looked for"
    assert first.by_purpose["data"] == 0, "a small file comes with its footer"
    assert first.by_purpose["footer"] == second.by_purpose["data"] > 0
    assert second.by_purpose["footer"] == 0, "footers are kept"
    table = first.to_table()
    assert sum(table.column("requests").to_pylist()) == sum(first.requests.values())
    assert min(table.column("seconds").to_pylist()) > 0


def test_a_large_upload_goes_in_parts(engine, store):
    """More than one part of a multipart upload, so that its own requests are made."""
    rows = 400_000
    data = pa.table(
        {"id": pa.array(range(rows)), "text": pa.array([f"{i * 7919:040}" for i in range(rows)])}
    )
    properties = fusiondelta.WriterProperties(compression="uncompressed", dictionary=False)
    written = engine.write_delta(store.uri("large"), data, writer_properties=properties)
    assert written.bytes_written > 12 * 2**20
    kinds = {line.operation for line in written.io.lines}
    assert "multipart" in kinds
    counted = engine.query(
        "SELECT count(*) AS n, count(DISTINCT text) AS d FROM t", sources={"t": store.uri("large")}
    )
    assert counted.to_pylist() == [{"n": rows, "d": rows}]


def test_a_damaged_file_is_named(engine, store):
    uri = store.uri("damaged")
    engine.write_delta(uri, ORDERS)
    (path,) = (one for one in store.raw_list("damaged/") if one.endswith(".parquet"))
    size = len(store.raw_get(path))
    store.raw_put(path, b"x" * size)
    with pytest.raises(fusiondelta.FusionDeltaError, match=path.rpartition("/")[2]):
        engine.query("SELECT * FROM t", sources={"t": uri}).to_table()
