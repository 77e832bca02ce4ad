"""`fusiondelta.testing` over an engine: what it holds of queries, writes and rivals."""

from __future__ import annotations

import pyarrow as pa
import pytest

import fusiondelta
from fusiondelta import EngineProfile, FusionDeltaEngine
from fusiondelta.errors import CommitConflict, ConfigurationError, QueryError
from fusiondelta.testing import (
    Step,
    assert_io,
    assert_plan,
    assert_pruned,
    assert_same_rows,
    two_writers,
)

FILES = 4
ROWS = 4000
GROUP = 100
PROFILE = EngineProfile(target_partitions=2)

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tables")
    places = {name: str(folder / name) for name in ("fact", "daily", "dim")}
    groups = fusiondelta.WriterProperties(max_row_group_rows=GROUP)
    step = ROWS // FILES
    with FusionDeltaEngine(PROFILE) as engine:
        for day in range(FILES):
            ids = range(day * step, (day + 1) * step)
            rows = pa.table({"id": ids, "day": [day] * step, "note": ["x" * 20] * step})
            engine.write_delta(places["fact"], rows, writer_properties=groups)
            engine.write_delta(places["daily"], rows, partition_by="day")
        dim = pa.table({"id": range(0, ROWS, 10), "name": ["few", *["many"] * (ROWS // 10 - 1)]})
        engine.write_delta(places["dim"], dim)
    return places


@pytest.fixture
def engine():
    with FusionDeltaEngine(PROFILE) as engine:
        yield engine


@pytest.fixture
def run(engine, sources):
    """A query that was read to its end."""

    def run(sql, **options):
        result = engine.query(sql, sources=sources, **options)
        result.to_table()
        return result

    return run


def failure(assertion, result, **limits):
    with pytest.raises(AssertionError) as caught:
        assertion(result, **limits)
    return str(caught.value)


@pytest.mark.parametrize(
    ("sql", "alias", "files"),
    [
        ("SELECT id FROM fact", "fact", 4),
        ("SELECT id FROM fact WHERE abs(id) >= 3000", "fact", 4),
        ("SELECT id FROM fact WHERE id >= 3000", "fact", 1),
        ("SELECT id FROM fact WHERE id < 0", "fact", 0),
        ("SELECT id FROM daily WHERE day = 2", "daily", 1),
        ("SELECT id FROM daily WHERE day = 2 AND id < 0", "daily", 0),
        ("SELECT id FROM daily WHERE day = 99", "daily", 0),
        ("SELECT id FROM fact WHERE false", "fact", 0),
        ("SELECT a.id FROM fact AS a JOIN fact AS b ON a.id = b.id WHERE a.day = 1", "fact", None),
    ],
)
def test_files_read_are_those_that_were_opened(run, sql, alias, files):
    result = run(sql)
    if files is None:  # the table twice: how much a join spares is its own affair
        assert_pruned(result, table=alias, files_read=2 * FILES)
        return
    assert_pruned(result, table=alias, files_read=files, at_least=1 - files / FILES)
    assert_pruned(result, table=alias, at_least=0.99 * (1 - files / FILES), of="bytes")
    assert result.io.by_purpose["footer"] == files
    if files:
        said = failure(assert_pruned, result, table=alias, files_read=files - 1)
        assert f"files read: {files}, at most {files - 1}" in said
        assert f"{alias!r} is {result.snapshots_by_alias[alias]}" in said


def test_a_limit_spares_files(run):
    assert_pruned(run("SELECT id FROM fact LIMIT 5"), table="fact", files_read=2)


def test_row_groups_are_held_too(run):
    result = run("SELECT id FROM fact WHERE id BETWEEN 3010 AND 3020")
    assert_pruned(result, table="fact", row_groups=1)
    said = failure(assert_pruned, result, table="fact", row_groups=0)
    assert "row groups read: 1, at most 0" in said
    assert "predicate: id@0 >= 3010 AND id@0 <= 3020" in said


def test_a_join_spares_row_groups(run):
    sql = "SELECT count(*) FROM fact JOIN dim USING (id) WHERE name = 'few'"
    assert_pruned(run(sql), table="fact", row_groups=ROWS // GROUP // FILES)
    assert_pruned(run(sql), table="dim", files_read=1)


def test_a_query_that_is_not_read_to_its_end_is_refused(engine, sources):
    with engine.query("SELECT id FROM fact", sources=sources) as result:
        with pytest.raises(QueryError, match="rows left to read"):
            assert_pruned(result, table="fact", files_read=4)
        with pytest.raises(QueryError, match=r"or pass result\.io"):
            assert_io(result, max_get=100)
        assert_io(result.io, by_purpose={"data": 0})
    with pytest.raises(QueryError, match="closed or cancelled before its last row"):
        assert_pruned(result, table="fact", files_read=4)


def test_a_table_that_is_not_read_is_named(run):
    with pytest.raises(ConfigurationError, match=r"no Delta table 'facts'; it reads: .*fact"):
        assert_pruned(run("SELECT id FROM fact"), table="facts", files_read=4)


def test_requests_of_a_query(run):
    result = run("SELECT id FROM fact")
    assert_io(result, max_put=0, by_purpose={"footer": FILES}, max_bytes_read="10MiB")
    said = failure(assert_io, result, max_requests=1, by_purpose={"footer": 1})
    assert "purpose footer: 4, at most 1" in said
    assert "_delta_log/00000000000000000000.json" in said.split("in order:")[1]
    assert str(sum(result.io.requests.values())) in said


def test_requests_of_a_write(engine, tmp_path):
    written = engine.write_delta(tmp_path / "t", pa.table({"id": [1]}))
    assert_io(written, max_put=2)
    assert "put: 2, at most 1" in failure(assert_io, written, max_put=1)


def test_a_plan_is_the_same_in_another_folder_and_another_with_another_setting(
    engine, sources, tmp_path
):
    sql = "SELECT fact.id FROM fact JOIN dim USING (id)"
    golden = tmp_path / "golden.txt"
    with engine.query(sql, sources=sources) as result:
        assert "there is no golden plan" in failure(assert_plan, result, golden=golden)
        assert_plan(result, golden, update=True)
        assert_plan(result, golden)
    text = golden.read_text("utf-8")
    assert str(tmp_path.parent) not in text
    assert "table dim = version 0\n" in text
    assert "setting datafusion.execution.target_partitions = 2\n" in text

    other = str(tmp_path / "elsewhere")
    engine.write_delta(other, engine.query("SELECT * FROM dim", sources=sources))
    with engine.query(sql, sources={**sources, "dim": other}) as result:
        assert_plan(result, golden)

    prefer = "datafusion.optimizer.prefer_hash_join"
    changed = PROFILE.replace(options={prefer: "false"})
    with FusionDeltaEngine(changed) as merging, merging.query(sql, sources=sources) as result:
        said = failure(assert_plan, result, golden=golden)
    explained = said.partition("What may explain it:\n")[2]
    assert explained.splitlines()[0] == f"  setting {prefer}: default -> false"
    assert explained.splitlines()[1] == ""
    assert "SortMergeJoinExec" in said


def test_rows_of_a_query(engine, sources):
    def query():
        return engine.query(
            "SELECT day, count(*) AS n, max(note) AS note FROM daily GROUP BY day", sources=sources
        )

    note = "x" * 20
    expected = [{"day": day, "n": ROWS // FILES, "note": note} for day in reversed(range(FILES))]
    assert_same_rows(query(), expected)
    assert_same_rows(query(), query())
    assert_same_rows(query(), pa.Table.from_pylist(expected))
    said = failure(assert_same_rows, query(), expected=expected[1:])
    assert f"too many:\n  day=3, n=1000, note={note}" in said
    narrow = pa.Table.from_pylist(expected).cast(
        pa.schema([("day", pa.int64()), ("n", pa.int32()), ("note", pa.string())])
    )
    assert "n: int64, expected int32" in failure(assert_same_rows, query(), expected=narrow)


@pytest.fixture
def uri(engine, tmp_path):
    uri = str(tmp_path / "table")
    engine.write_delta(uri, pa.table({"id": [1, 2], "v": ["a", "b"]}))
    return uri


def test_a_rival_wins(uri):
    once = fusiondelta.RetryPolicy(attempts=1)
    with two_writers(uri) as (first, second):
        held = first.hold(lambda engine: engine.update(uri, {"v": "'x'"}, "id = 1", retry=once))
        assert held.step == Step("commit", 1)
        second.engine.update(uri, {"v": "'y'"}, "id = 1")
        with pytest.raises(CommitConflict):
            held.result()
    assert first.seen == (Step("read", 0), Step("commit", 1), Step("answered", 1))


def test_a_change_is_made_again(uri, engine):
    with two_writers(f"file://{uri}/") as (first, second):
        held = first.hold(lambda engine: engine.update(uri, {"v": "v || '!'"}, "id = 1"), at="read")
        assert held.advance("commit") == Step("commit", 1)
        second.engine.update(uri, {"v": "'y'"}, "id = 1")
        assert held.advance("read") == Step("read", 1)
        assert held.advance("answered").version == 2
        result = held.result()
    assert [one.conflict is None for one in result.attempts] == [False, True]
    rows = engine.query("SELECT * FROM t", sources={"t": uri})
    assert_same_rows(rows, [{"id": 1, "v": "y!"}, {"id": 2, "v": "b"}])


def test_another_table_passes(uri, tmp_path):
    other = str(tmp_path / "other")
    with two_writers(uri, engine=lambda: FusionDeltaEngine(PROFILE)) as (first, second):

        def job(engine):
            engine.write_delta(other, pa.table({"id": [1]}))
            return engine.write_delta(uri, pa.table({"id": [3], "v": ["c"]}))

        held = first.hold(job)
        assert second.engine.open_delta(other).snapshot.version == 0
        assert second.engine.open_delta(uri).snapshot.version == 0
        assert held.result().snapshot.version == 1
