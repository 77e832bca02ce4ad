"""The Parquet files that writes make: dictionaries, row groups, the order of rows."""

from __future__ import annotations

import itertools
import random
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import EngineProfile, FusionDeltaEngine, WriterProperties

pytestmark = pytest.mark.integration

ROWS = 50_000


@pytest.fixture
def four():
    """An engine that encodes four columns of one stream at once."""
    with FusionDeltaEngine(EngineProfile(target_partitions=4)) as made:
        yield made


def files(folder):
    return [pq.ParquetFile(path) for path in sorted(folder.rglob("*.parquet"))]


def with_dictionary(file):
    """Columns that have a dictionary in any row group."""
    metadata = file.metadata
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    columns = [group.column(i) for group in groups for i in range(group.num_columns)]
    return {
        column.path_in_schema
        for column in columns
        if any("DICTIONARY" in name for name in column.encodings)
    }


def rows(count=ROWS):
    """Columns whose values repeat, and others whose values hardly do."""
    chance = random.Random(0)
    ids = list(range(count))
    chance.shuffle(ids)
    return pa.table(
        {
            "unique": pa.array(ids, pa.int64()),
            "unique text": pa.array([f"row {i}" for i in ids], pa.string()),
            "real": pa.array([chance.random() for _ in ids], pa.float64()),
            "mostly null": pa.array([i if i % 10 == 0 else None for i in ids], pa.int64()),
            "few": pa.array([i % 97 for i in ids], pa.int64()),
            "few texts": pa.array([f"{i % 1000:04}" for i in ids], pa.string()),
            # In turn: the first thousands of rows say nothing of it.
            "in turn": pa.array([n % 12_000 for n in range(count)], pa.int64()),
            "many, drawn": pa.array([chance.randrange(40_000) for _ in ids], pa.int64()),
            "decimal": pa.array([Decimal(i % 50) for i in ids], pa.decimal128(10, 2)),
            "null": pa.array([None] * count, pa.int32()),
        }
    )


REPEATS = {"few", "few texts", "in turn", "many, drawn", "decimal", "null"}


def test_columns_that_hardly_repeat_have_no_dictionary(four, tmp_path):
    data = rows()
    four.write_delta(tmp_path / "t", data)
    [file] = files(tmp_path / "t")
    assert with_dictionary(file) & REPEATS == REPEATS
    assert not with_dictionary(file) - REPEATS
    assert file.read().equals(data)


@pytest.mark.parametrize(
    ("properties", "expected"),
    [
        (WriterProperties(dictionary=True), {"unique", "few"}),
        (WriterProperties(dictionary=False), set()),
        (WriterProperties(column_dictionary={"unique": True}), {"unique", "few"}),
        (WriterProperties(column_dictionary={"few": False}), set()),
    ],
    ids=["all", "none", "one", "not one"],
)
def test_what_the_caller_says_of_dictionaries(four, tmp_path, properties, expected):
    data = rows().select(["unique", "few"])
    four.write_delta(tmp_path / "t", data, writer_properties=properties)
    [file] = files(tmp_path / "t")
    assert with_dictionary(file) == expected
    assert file.read().equals(data)


@pytest.mark.parametrize("count", [0, 1, 2, 100, 32_768, 32_769])
def test_files_of_any_size(four, tmp_path, count):
    data = rows(count)
    four.write_delta(tmp_path / "t", data)
    assert sum(file.metadata.num_rows for file in files(tmp_path / "t")) == count
    parts = [file.read() for file in files(tmp_path / "t")]
    assert pa.concat_tables(parts or [data.schema.empty_table()]).equals(data)


def test_rows_of_a_frame_keep_their_order(four, tmp_path):
    """One batch of all rows, or many: files of sorted rows have ranges apart from each other."""
    whole = pa.table({"id": pa.array(range(400_000), pa.int64()), "s": ["x" * 20] * 400_000})
    cut = pa.Table.from_batches(whole.to_batches(max_chunksize=1_000))
    for name, data in (("whole", whole.combine_chunks()), ("cut", cut)):
        four.write_delta(tmp_path / name, data, target_file_size="512KiB")
        found = files(tmp_path / name)
        assert len(found) > 2
        ranges = []
        for file in found:
            ids = file.read().column("id").to_pylist()
            assert ids == list(range(ids[0], ids[0] + len(ids)))
            ranges.append((ids[0], ids[-1]))
        ranges.sort()
        assert ranges[0][0] == 0
        assert all(a[1] + 1 == b[0] for a, b in itertools.pairwise(ranges))
        assert ranges[-1][1] == 399_999


def test_row_groups_have_as_many_rows_as_asked_for(four, tmp_path):
    data = rows(10_050)
    properties = WriterProperties(max_row_group_rows=1_000)
    four.write_delta(tmp_path / "t", data, writer_properties=properties)
    [file] = files(tmp_path / "t")
    groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
    assert groups == [1_000] * 10 + [50]
    assert file.read().equals(data)


def test_rows_of_many_bytes_make_row_groups_of_few(four, tmp_path):
    """8 MiB encoded, of values that do not shrink."""
    texts = [random.Random(i).randbytes(64 * 1024) for i in range(400)]
    data = pa.table({"id": pa.array(range(400), pa.int64()), "b": pa.array(texts, pa.binary())})
    four.write_delta(tmp_path / "t", data)
    [file] = files(tmp_path / "t")
    groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
    assert max(group.total_byte_size for group in groups) < 16 * 2**20
    assert len(groups) > 2
    assert file.read().equals(data)


def test_nested_columns_side_by_side(four, tmp_path):
    chance = random.Random(1)

    def some(make):
        return [None if chance.random() < 0.2 else make() for _ in range(20_000)]

    def number():
        return chance.randrange(1000)

    data = pa.table(
        {
            "s": pa.array(
                some(lambda: {"a": number(), "b": {"c": str(number()), "d": chance.random()}}),
                pa.struct(
                    [("a", pa.int64()), ("b", pa.struct([("c", pa.string()), ("d", pa.float64())]))]
                ),
            ),
            "l": pa.array(some(lambda: [number() for _ in range(chance.randrange(4))])),
            "m": pa.array(
                some(lambda: {str(number()): number() for _ in range(chance.randrange(3))}),
                pa.map_(pa.string(), pa.int64()),
            ),
            "i": pa.array(range(20_000), pa.int32()),
        }
    )
    four.write_delta(tmp_path / "t", data)
    answer = four.query("SELECT * FROM t ORDER BY i", sources={"t": tmp_path / "t"}).to_table()
    assert answer.to_pylist() == data.to_pylist()
