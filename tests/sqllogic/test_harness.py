"""The yardstick itself: the parser reads the format, the comparison sees a difference."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from datafusion import DataFrame, SessionContext

from tests.sqllogic import compare, filerun, runners, slt

pytestmark = pytest.mark.sqllogic

SAMPLE = """\
# a comment
hash-threshold 100

statement ok

create table t as values (1), (2)

query IT rowsort a_label
select column1,
       'x' -- no end here
from t
----
1 x
2 x

skipif datafusion
query I
select 1
----
1

onlyif postgres
statement ok
select 2

query error No such
select nothing

statement error
select wrong
----
first line

second line


include ./more.slt.part
halt
query I
select 'never'
"""


def test_parser(tmp_path: Path) -> None:
    (tmp_path / "more.slt.part").write_text("control substitution on\n\nquery I\nselect '$A'\n")
    (tmp_path / "file.slt").write_text(SAMPLE)
    records = list(slt.read(tmp_path / "file.slt"))
    assert [(r.kind, r.expected) for r in records] == [
        ("statement", "ok"),
        ("query", "ok"),
        ("query", "error"),
        ("statement", "error"),
        ("substitution", "ok"),
        ("query", "ok"),
        ("halt", "ok"),
    ]
    query = records[1]
    assert query.sql == "select column1,\n       'x' -- no end here\nfrom t"
    assert (query.types, query.sortmode, query.label) == ("IT", "rowsort", "a_label")
    assert records[0].sql.strip() == "create table t as values (1), (2)"


def test_parser_refuses_what_it_does_not_know(tmp_path: Path) -> None:
    (tmp_path / "file.slt").write_text("frobnicate\n")
    with pytest.raises(slt.SltSyntaxError, match="frobnicate"):
        list(slt.read(tmp_path / "file.slt"))


def test_substitution() -> None:
    values = {"A": "1"}
    assert slt.substituted("$A ${A} ${B:2} $1", values) == "1 1 2 $1"


@pytest.mark.parametrize(
    ("sql", "changes"),
    [
        ("SELECT 1", False),
        ("-- insert\nselect 'drop table t'", False),
        ("select * into t from u", True),
        ("with a as (select 1) insert into t select * from a", True),
        ("with a as (select 1) select * from a", False),
        ("explain insert into t values (1)", False),
        ("EXPLAIN ANALYZE VERBOSE INSERT INTO t VALUES (1)", True),
        ("explain analyze select 1", False),
        ("COPY t TO 'x.parquet'", True),
        ("reset all;", True),
        ("show tables", False),
        ("(select 1) union all (select 2)", False),
    ],
)
def test_what_changes_something(sql: str, changes: bool) -> None:
    assert slt.changes_something(sql) is changes


def test_rows_are_a_multiset() -> None:
    a = pa.table({"x": [1, 2, 2], "y": ["a", "b", "b"]})
    assert compare.same_rows(a, a.take([2, 0, 1]))
    assert not compare.same_rows(a, a.take([0, 0, 1]))
    assert not compare.same_rows(a, a.slice(1))


def test_values_that_python_cannot_hold() -> None:
    far = pa.array([2**62, None, 1], pa.timestamp("s"))
    nested = pa.array([[2**62 // 1000], [1]], pa.list_(pa.timestamp("ms")))
    for column in (far, nested, far.cast(pa.int64()).cast(pa.duration("s"))):
        table = pa.table({"x": column})
        order = list(range(len(column)))[::-1]
        assert compare.same_rows(table, table.take(order))
        assert not compare.same_rows(table, table.take([0] * len(column)))


def test_floats() -> None:
    a, b = pa.table({"x": [0.1 + 0.2, float("nan")]}), pa.table({"x": [float("nan"), 0.3]})
    assert compare.same_rows(a, b)
    assert not compare.same_rows(a, pa.table({"x": [float("nan"), 0.3001]}))


def test_types_and_names_matter_nullability_does_not() -> None:
    def schema(name: str, kind: pa.DataType, nullable: bool = True) -> pa.Schema:
        return pa.schema([pa.field(name, kind, nullable)])

    nested = pa.list_(pa.field("element", pa.int64(), nullable=False))
    assert compare.same_columns(schema("a", pa.int64()), schema("a", pa.int64(), nullable=False))
    assert compare.same_columns(schema("a", nested), schema("a", pa.list_(pa.int64())))
    assert not compare.same_columns(schema("a", pa.int64()), schema("a", pa.int32()))
    assert not compare.same_columns(schema("a", pa.int64()), schema("b", pa.int64()))
    assert compare.same_columns(schema("a", pa.uint64()), schema("a", pa.int64()))
    assert not compare.same_columns(schema("a", pa.int64()), schema("a", pa.uint64()))
    assert not compare.same_columns(schema("a", pa.uint64()), pa.schema([]))
    assert not compare.same_columns(schema("a", pa.string()), schema("a", pa.string_view()))


@dataclasses.dataclass
class _Changed:
    """A side under test that answers something else."""

    ctx: SessionContext
    change: Callable[[pa.Table], pa.Table]

    def again(self, frame: DataFrame, sql: str) -> runners.Answer:
        return runners.Answer(self.change(runners.plain(frame).table), "refused", "for a reason")


def _fails(table: pa.Table) -> pa.Table:
    raise RuntimeError("no")


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda t: t, "same"),
        (lambda t: t.slice(1), "different"),
        (lambda t: t.rename_columns(["y"]), "different"),
        (lambda t: t.cast(pa.schema([("x", pa.int32())])), "different"),
        (_fails, "different"),
    ],
)
def test_a_difference_is_seen(
    change: Callable[[pa.Table], pa.Table], verdict: str, tmp_path: Path
) -> None:
    run = filerun.FileRun("none.slt", _Changed(SessionContext(), change), tmp_path)
    run.query("select * from (values (1), (2)) t(x)", line=1)
    assert run.counts[verdict] == 1
    assert bool(run.failures) is (verdict == "different")
    assert run.counts["of them refused"] == (verdict == "same")


def test_what_plain_itself_does_not_answer_or_pin_down_is_set_apart(tmp_path: Path) -> None:
    run = filerun.FileRun("none.slt", _Changed(SessionContext(), lambda t: t), tmp_path)
    run.query("select random()", line=1)
    run.query("select nothing from nowhere", line=2)
    run.query("explain select random()", line=3)
    assert not run.failures
    assert run.counts["unstable: plain disagrees with itself"] == 1
    assert run.counts["not compared: plain does not answer"] == 1
    assert run.counts["explain answered"] == 1
