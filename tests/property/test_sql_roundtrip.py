"""What goes into a Delta table comes out of it: random tables, written and queried."""

from __future__ import annotations

import datetime as dt
import itertools
import math

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fusiondelta

pytestmark = [pytest.mark.property, pytest.mark.integration]

UTC = dt.timezone.utc
FLOATS = {"allow_nan": True, "allow_infinity": True}
instants = st.datetimes(dt.datetime(1, 1, 2), dt.datetime(9999, 12, 30))

SCALARS = {
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int16(): st.integers(-(2**15), 2**15 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float32(): st.floats(width=32, **FLOATS),
    pa.float64(): st.floats(**FLOATS),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=12),
    pa.binary(): st.binary(max_size=12),
    pa.date32(): st.dates(),
    pa.timestamp("us", "UTC"): instants.map(lambda at: at.replace(tzinfo=UTC)),
    pa.timestamp("us"): instants,
    pa.decimal128(38, 10): st.decimals(-(10**20), 10**20, places=10),
    pa.decimal128(7, 2): st.decimals(-99999, 99999, places=2),
}


def nested(inner):
    kind, values = inner
    values = st.none() | values
    return st.sampled_from(
        [
            (pa.list_(kind), st.lists(values, max_size=3)),
            (
                pa.struct([("a", kind), ("b", pa.int64())]),
                st.fixed_dictionaries({"a": values, "b": st.integers(0, 9)}),
            ),
            (
                pa.map_(pa.string(), kind),
                st.dictionaries(st.text(max_size=3), values, max_size=3).map(
                    lambda d: list(d.items())
                ),
            ),
        ]
    )


#: Times without a zone are nested in `tests/integration/test_write_schemas.py`.
simple = st.sampled_from([one for one in SCALARS.items() if one[0] != pa.timestamp("us")])
types = st.sampled_from(list(SCALARS.items())) | st.recursive(
    simple, lambda inner: inner.flatmap(nested), max_leaves=2
)


@st.composite
def tables(draw):
    rows = draw(st.integers(0, 12))
    columns = {"row": pa.array(range(rows), pa.int64())}
    for n in range(draw(st.integers(1, 4))):
        kind, values = draw(types)
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        columns[f"c{n}"] = pa.array(cells, kind)
    return pa.table(columns)


def comparable(value):
    """The value with equal NaNs, and zeros by their sign."""
    if isinstance(value, float):
        return "NaN" if math.isnan(value) else (value, math.copysign(1, value))
    if isinstance(value, list | tuple):
        return [comparable(one) for one in value]
    if isinstance(value, dict):
        return {key: comparable(one) for key, one in value.items()}
    return value


@pytest.fixture(scope="module")
def engine():
    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


#: One location per example: a failed write must not decide what the next one finds.
places = map("memory://roundtrip/{}".format, itertools.count())


@settings(max_examples=60)
@given(table=tables())
def test_rows_come_back_as_they_went(engine, table):
    place = next(places)
    written = engine.write_delta(place, table)
    assert written.rows_written == table.num_rows
    result = engine.query("SELECT * FROM t ORDER BY row", sources={"t": place})
    assert result.snapshots == (written.snapshot,)
    back = result.to_table()
    assert back.column_names == table.column_names
    assert comparable(back.to_pylist()) == comparable(table.to_pylist())


@settings(max_examples=40)
@given(table=tables(), data=st.data())
def test_appended_parts_are_the_whole(engine, table, data):
    place = next(places)
    cut = data.draw(st.integers(0, table.num_rows))
    engine.write_delta(place, table.slice(0, cut))
    first = engine.write_delta(place, table.slice(cut))
    back = engine.query("SELECT * FROM t ORDER BY row", sources={"t": place}).to_table()
    assert comparable(back.to_pylist()) == comparable(table.to_pylist())
    # Nothing to append is no commit.
    assert first.snapshot.version == (0 if cut == table.num_rows else 1)
    if cut == table.num_rows:
        return
    before = {"t": fusiondelta.DeltaSource(place, 0)}
    back = engine.query("SELECT * FROM t ORDER BY row", sources=before).to_table()
    assert comparable(back.to_pylist()) == comparable(table.slice(0, cut).to_pylist())


@settings(max_examples=40)
@given(table=tables())
def test_a_query_written_natively_is_the_same_table(engine, table):
    place, copy = next(places), next(places)
    engine.write_delta(place, table)
    engine.write_delta(copy, engine.query("SELECT * FROM t", sources={"t": place}))
    back = engine.query("SELECT * FROM t ORDER BY row", sources={"t": copy}).to_table()
    assert comparable(back.to_pylist()) == comparable(table.to_pylist())
