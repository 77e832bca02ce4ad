"""Queries over our tables are parsed and planned in the extension, in a catalog of their own."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import textwrap

import pyarrow as pa
import pytest
from datafusion import SessionContext

import fusiondelta
from fusiondelta import ErrorKind, FusionDeltaEngine, SqlError

pytestmark = pytest.mark.integration

ROWS = pa.table({"id": [1, 2, 3], "s": ["a", "b", None]})
FOREIGN = SessionContext().from_arrow(ROWS).into_view()


@pytest.fixture
def engine():
    with FusionDeltaEngine() as made:
        yield made


def steps(result):
    return {phase.name for phase in result.account().phases}


def test_no_context_is_made_for_tables_of_ours(engine, tmp_path):
    engine.write_delta(tmp_path / "t", ROWS)
    sources = {"d": tmp_path / "t", "m": ROWS, "q": engine.query("SELECT 1 AS id")}
    result = engine.query(
        "SELECT count(*) AS n FROM d JOIN m USING (id) JOIN q USING (id)", sources=sources
    )
    assert result.to_pylist() == [{"n": 1}]
    assert engine.debug.pool()["leases"] == 0
    assert steps(result) == {"resolve", "plan", "parse", "bind", "optimize", "physical_plan"}


def test_what_is_imported_for_it(tmp_path):
    """Neither `datafusion` nor `deltalake`."""
    body = """
        import sys
        import pyarrow as pa
        import fusiondelta
        with fusiondelta.FusionDeltaEngine() as engine:
            engine.write_delta(sys.argv[1], pa.table({"id": [1, 2, 3]}))
            assert engine.query("SELECT 1", sources={"t": sys.argv[1]}).to_table().num_rows == 1
        print({"datafusion", "deltalake"} & set(sys.modules))
    """
    command = [sys.executable, "-c", textwrap.dedent(body), str(tmp_path / "t")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_foreign_table_needs_a_context(engine):
    found = engine.query("SELECT count(*) AS n FROM f", sources={"f": FOREIGN})
    assert found.to_pylist() == [{"n": 3}]
    assert engine.debug.pool()["leases"] == 1
    assert engine.debug.pool()["in_use"] == 0


@pytest.mark.parametrize("foreign", [False, True], ids=["native", "context"])
@pytest.mark.parametrize(
    ("sql", "kind", "message"),
    [
        (
            "SELECT ix FROM m",
            ErrorKind.SQL,
            "no column 'ix' at line 1, column 8; did you mean 'id'",
        ),
        (
            "SELECT id FROM mm",
            ErrorKind.SQL,
            "no table 'mm' at line 1, column 16; did you mean 'm'",
        ),
        ("SELECT uper(s) FROM m", ErrorKind.SQL, "no function 'uper' at line 1, column 8"),
        ("SELECT id FROM m WHERE", ErrorKind.SQL, "Expected"),
        ("SELECT s FROM m GROUP BY id", ErrorKind.SQL, "group by"),
        ("SELECT id FROM m WHERE id / 0 = 1", ErrorKind.EXECUTION, "Divide by zero"),
        ("SELECT CAST(s AS INT) FROM m", ErrorKind.EXECUTION, "Cannot cast"),
        ("SELECT $1", ErrorKind.PARAMETER, "no value"),
        ("DROP TABLE m", ErrorKind.READ_ONLY_VIOLATION, "read-only"),
    ],
)
def test_errors_are_those_of_the_other_way(engine, foreign, sql, kind, message):
    sources = {"m": ROWS, **({"f": FOREIGN} if foreign else {})}
    with pytest.raises(fusiondelta.FusionDeltaError, match=f"(?i){message}") as caught:
        engine.query(sql, sources=sources).to_table()
    assert caught.value.kind is kind


def test_names_are_found_as_written_and_in_lower_case(engine):
    one, two = pa.table({"n": [1]}), pa.table({"n": [2]})
    for sql, expected in (("SELECT n FROM Orders", 2), ('SELECT n FROM "Orders"', 1)):
        found = engine.query(sql, sources={"Orders": one, "orders": two}).to_pylist()
        assert found == [{"n": expected}]
    assert engine.query("SELECT n FROM ORDERS", sources={"Orders": one}).to_pylist() == [{"n": 1}]
    with pytest.raises(SqlError, match="no table 'ab'"):
        engine.query("SELECT n FROM ab", sources={"AB": one, "Ab": two})


def test_the_time_is_one_in_all_of_a_query(engine):
    sql = "SELECT now() AS a, (SELECT now()) AS b, current_date AS d"
    [row] = engine.query(sql).to_pylist()
    assert row["a"] == row["b"]
    assert row["d"] == dt.datetime.now(dt.timezone.utc).date()


def test_one_query_sees_nothing_of_another(engine):
    engine.query("SELECT * FROM m", sources={"m": ROWS}).to_table()
    with pytest.raises(SqlError, match="no table"):
        engine.query("SELECT * FROM m")
    tables = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    found = engine.query(tables, sources={"x": ROWS}).to_pylist()
    assert found == [{"table_name": "x"}]


@pytest.mark.parametrize("foreign", [False, True], ids=["native", "context"])
@pytest.mark.parametrize(
    "sql",
    [
        " UNION ALL ".join(["SELECT 1"] * 20_000),
        "SELECT id FROM m WHERE " + " OR ".join(f"id = {n}" for n in range(20_000)),
        "SELECT " + " || ".join(["'a'"] * 20_000),
        "SELECT 1" + "::int" * 20_000,
        "SELECT " + "(" * 20_000 + "1" + ")" * 20_000,
        "SELECT " + "-" * 20_000 + "1",
    ],
    ids=["unions", "alternatives", "texts", "casts", "parentheses", "signs"],
)
def test_texts_of_any_depth_end_in_an_error(tmp_path, foreign, sql):
    """In a process of its own, which would die of it."""
    (tmp_path / "text.sql").write_text(sql)
    body = """
        import sys
        from pathlib import Path
        import pyarrow as pa
        import pyarrow.dataset as ds
        import fusiondelta
        folder, rows = Path(sys.argv[1]), pa.table({"id": [1]})
        sql = (folder / "text.sql").read_text()
        sources = {"m": rows} | ({"f": ds.dataset(rows)} if sys.argv[2] == "True" else {})
        with fusiondelta.FusionDeltaEngine() as engine:
            engine.write_delta(folder / "t", rows)
            for call in (
                lambda: engine.query(sql, sources=sources, timeout=20).to_table(),
                lambda: engine.execute(f"INSERT INTO t {sql}", tables={"t": folder / "t"}),
                lambda: engine.delete(folder / "t", f"id IN ({sql})"),
                lambda: engine.delete(folder / "t", sql.split("WHERE ")[-1]),
            ):
                try:
                    call()
                except fusiondelta.FusionDeltaError as error:
                    print(type(error).__name__)
    """
    command = [sys.executable, "-c", textwrap.dedent(body), str(tmp_path), str(foreign)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stdout.split()) == (0, ["SqlError"] * 4), done.stderr[-500:]


def test_a_query_as_long_as_it_may_be(engine):
    values = " OR ".join(f"id = {n}" for n in range(1_900))
    found = engine.query(f"SELECT id FROM m WHERE {values}", sources={"m": ROWS}).to_pylist()
    assert found == [{"id": 1}, {"id": 2}, {"id": 3}]
    union = " UNION ALL ".join(["SELECT 1 AS n"] * 500)
    assert engine.query(f"SELECT sum(n) AS n FROM ({union})").to_pylist() == [{"n": 500}]
