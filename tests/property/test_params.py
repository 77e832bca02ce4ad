"""A bound parameter means what the literal means, whatever it holds."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusiondelta

pytestmark = [pytest.mark.property, pytest.mark.integration]

UTC = dt.timezone.utc
instants = st.datetimes(dt.datetime(1700, 1, 1), dt.datetime(2200, 1, 1))


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def literal(value) -> str:
    """The value as SQL text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        # The lowest one has no literal of its own: its digits overflow before the sign is seen.
        return f"arrow_cast('{value}', 'Int64')"
    if isinstance(value, float):
        return f"arrow_cast('{value!r}', 'Float64')"
    if isinstance(value, str):
        return quoted(value)
    if isinstance(value, bytes):
        return f"X'{value.hex()}'"
    if isinstance(value, dt.datetime):
        zone = "None" if value.tzinfo is None else 'Some("UTC")'
        text = value.isoformat()
        return f"arrow_cast('{text}', 'Timestamp(Microsecond, {zone})')"
    if isinstance(value, dt.date):
        return f"DATE '{value.isoformat()}'"
    if isinstance(value, Decimal):
        return f"CAST('{value}' AS DECIMAL(38, 6))"
    raise NotImplementedError(type(value))


scalars = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
    st.text(
        alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=30
    ),
    st.sampled_from(["'", "''", "$1", "; DROP TABLE t; --", "\\", '"', "%", "{}", "ÿ"]),
    st.binary(max_size=20),
    st.dates(),
    instants,
    instants.map(lambda at: at.replace(tzinfo=UTC)),
    st.decimals(-(10**12), 10**12, places=6),
)


@pytest.fixture(scope="module")
def engine():
    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


@given(value=scalars)
def test_a_value_bound_is_the_literal(engine, value):
    sql = f"SELECT $v = {literal(value)} AS same, $v AS bound"
    (row,) = engine.query(sql, param_values={"v": value}).to_pylist()
    assert row["same"] is True
    assert row["bound"] == value
    assert isinstance(row["bound"], type(value))


@given(value=scalars)
def test_by_position_and_by_name_are_one(engine, value):
    (named,) = engine.query("SELECT $v AS v", param_values={"v": value}).to_pylist()
    (placed,) = engine.query("SELECT $1 AS v", param_values=[value]).to_pylist()
    assert named == placed == {"v": value}


@given(values=st.lists(scalars, min_size=2, max_size=5))
def test_several_keep_their_places(engine, values):
    columns = ", ".join(f"${n} AS c{n}" for n in range(1, len(values) + 1))
    (row,) = engine.query(f"SELECT {columns}", param_values=values).to_pylist()
    assert list(row.values()) == values


@given(rows=st.lists(st.integers(-50, 50), max_size=20), bound=st.integers(-50, 50))
def test_a_filter_by_parameter_is_a_filter_by_literal(engine, rows, bound):
    import pyarrow as pa

    sources = {"t": pa.table({"n": pa.array(rows, pa.int64())})}
    found = engine.query("SELECT n FROM t WHERE n > $b", sources=sources, param_values={"b": bound})
    plain = engine.query(f"SELECT n FROM t WHERE n > {bound}", sources=sources)
    expected = sorted(n for n in rows if n > bound)
    assert sorted(r["n"] for r in found.to_pylist()) == expected
    assert sorted(r["n"] for r in plain.to_pylist()) == expected


@given(values=st.lists(st.integers(-(2**63), 2**63 - 1) | st.none(), min_size=1, max_size=5))
def test_lists_and_nulls_are_bound(engine, values):
    (row,) = engine.query(
        "SELECT $l AS l, $n AS n", param_values={"l": values, "n": None}
    ).to_pylist()
    assert row == {"l": values, "n": None}
