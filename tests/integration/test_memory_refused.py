"""Operators that find no room: the same rows, or an error that says so."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fusiondelta import EngineProfile, FusionDeltaEngine, ResourcesExhaustedError
from tests.harness.table_forms import FORMS, table_forms

ROWS = 20_000
SOURCES = {
    "t": pa.table({"a": range(ROWS), "s": [f"{n:0100}" for n in range(ROWS)]}),
    "u": pa.table({"b": range(0, ROWS, 200), "s": [f"{n:0100}" for n in range(0, ROWS, 200)]}),
}


@pytest.mark.parametrize("left", ["t", "(SELECT DISTINCT a, s FROM t)"])
@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("kind", ["INNER", "LEFT", "RIGHT", "FULL", "LEFT SEMI", "LEFT ANTI"])
def test_a_nested_loop_join_is_not_run_on_what_it_has_used(kind, partitions, left):
    """DataFusion reads the side that is held once more, from operators that have given it."""
    sql = (
        f"SELECT count(*) n, sum(t.a) a, max(t.s) s FROM {left} t {kind} JOIN "
        "(SELECT DISTINCT b, s FROM u) u ON t.a + 3 < u.b AND u.s > t.s"
    )
    answers = {}
    for limit in ("512MiB", "16MiB", "4MiB", "2MiB"):
        profile = EngineProfile(
            memory_limit=limit,
            target_partitions=partitions,
            options={"datafusion.optimizer.join_reordering": "false"},
        )
        with FusionDeltaEngine(profile) as engine:
            answers[limit] = engine.query(sql, sources=SOURCES).to_pylist()
    assert all(answer == answers["512MiB"] for answer in answers.values())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["INNER", "LEFT", "RIGHT", "FULL", "RIGHT SEMI", "RIGHT ANTI"])
def test_a_nested_loop_join_in_steps_gives_every_row(tmp_path, kind, form):
    """DataFusion forgets what has no match where the last batch of a side is what found no room."""
    numbers = range(4000)
    columns = {"a": numbers, "s": [f"{n:0200}" for n in numbers], "f": [n / 2 for n in numbers]}
    tables = {"t": pa.table(columns), "u": pa.table({"b": [0, 5, 9, None]})}
    sources = table_forms(tmp_path, tables)[form]
    given = "*" if kind in ("INNER", "LEFT", "RIGHT", "FULL") else "b"
    sql = (
        f"SELECT {given} FROM (SELECT a, f, s || '' s FROM t) t {kind} JOIN u "
        "ON t.a < u.b - 4 AND t.s > ' '"
    )
    options = {"datafusion.optimizer.join_reordering": "false"}
    answers = {}
    for limit in range(400_000, 1_000_000, 50_000):
        profile = EngineProfile(
            memory_limit=limit, target_partitions=1, batch_size=200, options=options
        )
        with FusionDeltaEngine(profile) as engine:
            rows = engine.query(sql, sources=sources).to_pylist()
        answers[limit] = sorted(map(str, rows))
    assert len(set(map(tuple, answers.values()))) == 1
    assert answers[400_000]


GROUPED = pa.table(
    {
        "k": range(60_000),
        "g": [n % 300 for n in range(60_000)],
        "s": [f"{n:050}" for n in range(60_000)],
    }
)


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize(
    "sql",
    [
        "SELECT g, array_agg(s) a FROM t GROUP BY g",
        "SELECT g, string_agg(s, ',') a FROM t GROUP BY g",
        "SELECT string_agg(s, ',') a FROM t",
        "SELECT array_agg(s ORDER BY k DESC) a FROM t",
    ],
)
def test_what_fits_a_limit_fits_a_larger_one(sql, partitions):
    """Rows are worked on in larger steps under larger limits, which can take more than is there."""

    def fits_in(mib):
        profile = EngineProfile(memory_limit=mib * 2**20, target_partitions=partitions)
        with FusionDeltaEngine(profile) as engine:
            try:
                engine.query(sql, sources={"t": GROUPED}).to_table()
                return True
            except ResourcesExhaustedError:
                return False

    fits = []
    for mib in range(1, 33):
        # What several partitions need at once depends on which of them is first.
        tries = 4 if partitions > 1 and fits and fits[-1] else 1
        fits.append(any(fits_in(mib) for _ in range(tries)))
    assert fits == sorted(fits)
    assert fits[-1]
