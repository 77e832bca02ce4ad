"""The digest of a result: the same rows, the same digest."""

from __future__ import annotations

import datetime as dt
import decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusiondelta import EngineProfile, FusionDeltaEngine, QueryError

pytestmark = pytest.mark.integration

ONE = EngineProfile(target_partitions=1, batch_size=8192)
MANY = EngineProfile(target_partitions=4, batch_size=7)


@pytest.fixture(scope="module")
def engines():
    with FusionDeltaEngine(ONE) as one, FusionDeltaEngine(MANY) as many:
        yield one, many


def digest(engine, table, sql="SELECT * FROM t"):
    with engine.query(sql, sources={"t": table}, digest=True) as result:
        for _ in result:
            pass
        return result.digest


VALUES = pa.table(
    {
        "i": pa.array([1, None, 3], pa.int32()),
        "u": pa.array([1, 2, None], pa.uint64()),
        "f": pa.array([1.5, float("nan"), None]),
        "b": [True, None, False],
        "s": ["a", "", None],
        "x": pa.array([b"a", b"", None]),
        "d": pa.array([dt.date(2024, 1, 1), None, dt.date(1, 1, 1)]),
        "t": pa.array([1, None, 2], pa.timestamp("ns", "UTC")),
        "c": pa.array([decimal.Decimal("1.20"), None, decimal.Decimal("0")]),
        "l": pa.array([[1, None], [], None], pa.list_(pa.int64())),
        "r": pa.array([{"a": 1.0, "b": ["x"]}, None, {"a": None, "b": None}]),
        "m": pa.array([[("k", 1)], None, []], pa.map_(pa.string(), pa.int32())),
        "q": pa.array([1, None, 3], pa.duration("ms")),
        "w": pa.array([1, None, 3], pa.time64("ns")),
    }
)


def test_order_batches_and_partitions_make_no_difference(engines):
    rows = pa.concat_tables([VALUES] * 50)
    turned = rows.take(list(reversed(range(len(rows)))))
    found = {str(digest(engine, table)) for engine in engines for table in (rows, turned)}
    assert len(found) == 1
    assert digest(engines[0], rows)["rows"] == 150


def test_rows_names_and_types_do(engines):
    engine = engines[0]
    first = digest(engine, VALUES)["exact"]
    others = [
        VALUES.slice(1),
        pa.concat_tables([VALUES, VALUES.slice(0, 1)]),
        VALUES.rename_columns(["other", *VALUES.column_names[1:]]),
        VALUES.set_column(0, "i", VALUES["i"].cast(pa.int64())),
        VALUES.select([*reversed(VALUES.column_names)]),
        *(
            VALUES.set_column(n, name, VALUES[name].take([1, 0, 2]))
            for n, name in enumerate(VALUES.column_names)
        ),
    ]
    found = [digest(engine, table)["exact"] for table in others]
    assert first not in found
    assert len({*found}) == len(found)


def test_how_a_value_is_stored_makes_no_difference(engines):
    texts = pa.array(["a", None, "b", "a"])
    plain = digest(engines[0], pa.table({"s": texts}))
    for stored in (
        texts.cast(pa.large_string()),
        texts.cast(pa.string_view()),
        texts.dictionary_encode(),
    ):
        assert digest(engines[0], pa.table({"s": stored})) == plain


def test_a_null_is_not_an_empty_value(engines):
    for one, other in (([""], [None]), ([[]], [None]), ([[None]], [[]])):
        kind = pa.string() if one == [""] else pa.list_(pa.int64())
        tables = [pa.table({"v": pa.array(values, kind)}) for values in (one, other)]
        first, second = (digest(engines[0], table)["exact"] for table in tables)
        assert first != second


def test_values_do_not_run_into_each_other(engines):
    one = pa.table({"a": ["ab"], "b": ["c"]})
    other = pa.table({"a": ["a"], "b": ["bc"]})
    assert digest(engines[0], one)["exact"] != digest(engines[0], other)["exact"]


def test_sums_of_floats_differ_exactly_and_not_in_value(engines):
    forwards, backwards = 0.1 + 0.2 + 0.3, 0.3 + 0.2 + 0.1
    assert forwards != backwards
    first, second = (
        digest(engines[0], pa.table({"f": [value]})) for value in (forwards, backwards)
    )
    assert first["value"] == second["value"]
    assert first["exact"] != second["exact"]
    more = digest(engines[0], pa.table({"f": [forwards * (1 + 1e-8)]}))
    assert more["value"] != first["value"]


def test_zeros_and_nans_are_one(engines):
    tables = [pa.table({"f": [a, b]}) for a, b in ((0.0, float("nan")), (-0.0, -float("nan")))]
    first, second = (digest(engines[0], table) for table in tables)
    assert first == second


def test_no_rows_have_a_digest(engines):
    empty = digest(engines[0], VALUES.slice(0, 0))
    assert empty["rows"] == 0
    assert empty != digest(engines[0], pa.table({"a": pa.array([], pa.int64())}))


def test_without_asking_there_is_none(engines):
    result = engines[0].query("SELECT 1")
    result.to_table()
    assert result.digest is None


def test_a_stream_that_others_read_is_digested(engines):
    result = engines[0].query("SELECT * FROM t", sources={"t": VALUES}, digest=True)
    pa.table(result)
    assert result.digest == digest(engines[0], VALUES)


def test_what_has_none_is_refused_before_it_runs(engines):
    union = pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([1])])
    with pytest.raises(QueryError, match="no digest"):
        engines[0].query("SELECT * FROM t", sources={"t": pa.table({"u": union})}, digest=True)


@given(st.lists(st.tuples(st.integers(-9, 9), st.text(max_size=2) | st.none()), max_size=30))
def test_equal_multisets_and_no_others(engines, rows):
    def table(values):
        return pa.table(
            {
                "n": pa.array([n for n, _ in values], pa.int64()),
                "s": pa.array([s for _, s in values], pa.string()),
            }
        )

    turned = digest(engines[1], table(sorted(rows, key=str)))
    assert digest(engines[0], table(rows)) == turned
    if rows:
        assert digest(engines[0], table([*rows[1:], (99, None)])) != turned
