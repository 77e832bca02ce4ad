"""The few tables that the official runner registers by hand and pyarrow can make."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
from datafusion import SessionContext


def register(ctx: SessionContext, file: str, scratch: Path) -> None:
    """What `file` expects to find, where it is simple."""
    for name, table in _TABLES.get(file, dict)().items():
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        ctx.register_record_batches(name, [batches])
    if file == "joins.slt":
        folder = scratch / "partitions"
        folder.mkdir()
        rows = "".join(f"0,{i},{str(i % 2 == 0).lower()}\n" for i in range(11))
        (folder / "partition-0.csv").write_text(rows)
        schema = pa.schema([("c1", pa.uint32()), ("c2", pa.uint64()), ("c3", pa.bool_())])
        ctx.register_csv("test_partition_table", str(folder), schema=schema, has_header=True)


def _field(name: str, kind: pa.DataType, nullable: bool = True) -> pa.Field:
    said = "ts non-nullable field" if name == "ts" else f"the {name} field"
    return pa.field(name, kind, nullable, {"metadata_key": said})


def _metadata() -> dict[str, pa.Table]:
    schema = pa.schema(
        [
            _field("id", pa.int32()),
            _field("name", pa.string()),
            _field("l_name", pa.string()),
            _field("ts", pa.timestamp("ns"), nullable=False),
            _field("nonnull_name", pa.string(), nullable=False),
        ],
        {"metadata_key": "the entire schema"},
    )
    columns = [
        [1, None, 3],
        [None, "bar", "baz"],
        [None, "l_bar", "l_baz"],
        [1599572549190855123] * 3,
        ["no_foo", "no_bar", "no_baz"],
    ]
    number = pa.field("a", pa.int32(), nullable=False)
    left = pa.schema([number], {"metadata_key": "left"})
    right = pa.schema([number.with_name("b")], {"metadata_key": "right"})
    return {
        "table_with_metadata": pa.table(columns, schema=schema),
        "larger_table": pa.table([list(range(1, 11))], schema=left),
        "smaller_table": pa.table([[1]], schema=right),
    }


def _map() -> dict[str, pa.Table]:
    kind = pa.map_(pa.int64(), pa.int64())
    schema = pa.schema([("int_field", pa.int64()), ("map_field", kind)])
    return {"table_with_map": schema.empty_table()}


def _union() -> dict[str, pa.Table]:
    union = pa.UnionArray.from_sparse(
        pa.array([3, 1, 3, 3, 1, 3], pa.int8()),
        [
            pa.array([1, 2, 3, 1, 5, 3], pa.int32()),
            pa.array(["foo", "bar", "baz", "qux", "bar", "quux"]),
        ],
        ["int", "string"],
        [3, 1],
    )
    return {"union_table": pa.table({"union_column": union})}


def _dictionary_struct() -> dict[str, pa.Table]:
    people = pa.array(
        [{"name": "Alice", "id": 1}, {"name": "Bob", "id": 2}, {"name": "Carol", "id": 3}],
        pa.struct([("name", pa.string()), ("id", pa.int32())]),
    )
    keys = pa.array([0, 1, 2, 0, 1], pa.uint32())
    some = pa.DictionaryArray.from_arrays(pa.array([0, None, 1, None], pa.uint32()), people[:2])
    coded = pa.DictionaryArray.from_arrays(keys, people)
    return {
        "dict_struct_table": pa.table({"dict_struct": coded, "plain_struct": people.take(keys)}),
        "dict_struct_nullable": pa.table({"ds": some}),
    }


_TABLES = {
    "arrow_field.slt": _metadata,
    "dictionary_struct.slt": _dictionary_struct,
    "map.slt": _map,
    "metadata.slt": _metadata,
    "union_function.slt": _union,
}
