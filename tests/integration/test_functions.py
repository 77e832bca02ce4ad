"""Functions of Python on Arrow arrays, called by queries and changes."""

from __future__ import annotations

import contextlib
import threading

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from datafusion import Accumulator, udaf, udf, udwf
from datafusion.user_defined import WindowEvaluator

from fusiondelta import (
    ConfigurationError,
    EngineProfile,
    ExecutionError,
    FusionDeltaEngine,
    QueryCancelledError,
    QueryTimeoutError,
)

INT = pa.int64()
TABLE = pa.table({"id": pa.array([1, 2, None], INT), "g": ["a", "b", "a"]})


@pytest.fixture
def known(engine):
    engine.register_function("twice", lambda n: pc.multiply(n, 2), [INT], INT)
    return engine


def _rows(engine, sql, **options):
    return engine.query(sql, sources={"t": TABLE}, **options).to_pylist()


def test_it_runs_natively_in_every_place(known):
    sql = (
        "SELECT g, sum(twice(id)) s FROM t WHERE twice(id) IS NOT NULL OR id IS NULL "
        "GROUP BY g HAVING max(twice(id)) > 0 ORDER BY max(twice(id)) DESC"
    )
    with known.query(sql, sources={"t": TABLE}) as result:
        assert result.to_pylist() == [{"g": "b", "s": 4}, {"g": "a", "s": 2}]
    assert _rows(
        known, "SELECT id FROM t a WHERE EXISTS (SELECT 1 FROM t b WHERE b.id = twice(a.id))"
    ) == [{"id": 1}]


def test_constants_are_given_once_and_cast(known):
    lengths = []

    def counted(n):
        lengths.append(len(n))
        return n

    known.register_function("counted", counted, [INT], INT)
    assert _rows(known, "SELECT counted(7::smallint) c, count(*) n FROM t GROUP BY 1") == [
        {"c": 7, "n": 3}
    ]
    assert lengths == [1]


def test_without_arguments_it_is_asked_for_so_many_values(known):
    known.register_function(
        "numbered", lambda n: pa.array(range(n), INT), [], INT, volatility="volatile"
    )
    assert [r["n"] for r in _rows(known, "SELECT numbered() n FROM t")] == [0, 1, 2]


def test_it_has_one_state_for_the_process(known):
    lock, held = threading.Lock(), {"rows": 0}

    def noted(n):
        with lock:
            held["rows"] += len(n)
        return n

    known.register_function("noted", noted, [INT], INT)
    for _ in range(3):
        _rows(known, "SELECT noted(id) FROM t")
    assert held["rows"] == 9


def test_a_later_one_takes_the_place_of_its_name(known):
    known.register_function("twice", lambda n: pc.multiply(n, 3), [INT], INT)
    assert _rows(known, "SELECT twice(id) n FROM t WHERE id = 1") == [{"n": 3}]


def test_changes_call_it(known, uri):
    known.write_delta(uri, TABLE)
    known.update(uri, {"id": "twice(id)"}, "id = 2")
    known.delete(uri, "twice(id) = 2")
    rows = known.query("SELECT id FROM t ORDER BY id", sources={"t": uri}).to_pylist()
    assert rows == [{"id": 4}, {"id": None}]


def test_sessions_and_functions_of_datafusion_know_it(known):
    from datafusion import udf

    known.register_udf(udf(lambda n: n, [INT], INT, "immutable", name="same"))
    assert _rows(known, "SELECT same(twice(id)) n FROM t WHERE id = 1") == [{"n": 2}]
    known.register("t", TABLE)
    with known.session() as ctx:
        frame = ctx.sql("SELECT twice(id) n FROM t WHERE id = 2")
        assert known.query(frame).to_pylist() == [{"n": 4}]


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (lambda n: 1 / 0, "function bad failed: ZeroDivisionError"),
        (lambda n: n[:-1], "2 values for 3 rows"),
        (lambda n: n.cast(pa.string()), "gave .*Utf8.* registered to give Int64"),
        (lambda n: None, "function bad failed"),
    ],
)
def test_what_it_does_wrong_is_said_of_it(known, function, says):
    known.register_function("bad", function, [INT], INT)
    with pytest.raises(ExecutionError, match=says):
        _rows(known, "SELECT bad(id) FROM t")
    assert _rows(known, "SELECT twice(id) n FROM t WHERE id = 1") == [{"n": 2}]


def test_an_engine_is_not_used_within():
    with FusionDeltaEngine(EngineProfile(target_partitions=1)) as engine:
        engine.register_function(
            "inner_one",
            lambda n: engine.query("SELECT 1 x").to_table()["x"].combine_chunks(),
            [INT],
            INT,
        )
        with pytest.raises(ExecutionError, match="cannot be used inside a function"):
            _rows(engine, "SELECT inner_one(id) FROM t", timeout=30)


@pytest.mark.parametrize("registered", ["arrow", "datafusion"])
@pytest.mark.parametrize("end", ["deadline", "close"])
def test_a_function_ends_with_its_query(engine, registered, end):
    begun, ended = threading.Event(), threading.Event()

    def spins(n):
        count = 0
        try:
            begun.set()
            while True:
                count += 1
        finally:
            ended.set()

    if registered == "arrow":
        engine.register_function("spins", spins, [INT], INT)
    else:
        engine.register_udf(udf(spins, [INT], INT, "volatile", "spins"))
    result = engine.query(
        "SELECT spins(id) FROM t", sources={"t": TABLE}, timeout=1 if end == "deadline" else None
    )
    if end == "deadline":
        with pytest.raises(QueryTimeoutError):
            result.to_table()
    else:

        def read():
            with contextlib.suppress(QueryCancelledError):
                result.to_table()

        reading = threading.Thread(target=read)
        reading.start()
        assert begun.wait(30)
        result.close()
        reading.join(30)
    assert ended.wait(30)
    # Nothing is left to be raised in the threads that called it.
    engine.register_function("same", lambda n: n, [INT], INT)
    for _ in range(20):
        assert len(_rows(engine, "SELECT same(id) FROM t")) == 3


@pytest.mark.parametrize("registered", ["arrow", "datafusion"])
def test_a_function_of_constants_ends_with_its_planning(engine, registered):
    """Each of them is called while the query is planned; the second one is not begun."""
    begun, ended = [], threading.Semaphore(0)

    def spins(n):
        count = 0
        begun.append(n)
        try:
            while True:
                count += 1
        finally:
            ended.release()

    if registered == "arrow":
        engine.register_function("spins", spins, [INT], INT, volatility="immutable")
    else:
        engine.register_udf(udf(spins, [INT], INT, "immutable", "spins"))
    with pytest.raises(QueryTimeoutError):
        engine.query("SELECT id, spins(1), spins(2) FROM t", sources={"t": TABLE}, timeout=1)
    assert ended.acquire(timeout=30)
    calls = len(begun)
    assert _rows(engine, "SELECT count(*) n FROM t") == [{"n": 3}]
    assert not ended.acquire(timeout=1)
    assert len(begun) == calls == 1


@pytest.mark.parametrize("volatility", ["immutable", "volatile"])
def test_a_function_ends_with_its_change(engine, uri, volatility):
    ended = threading.Semaphore(0)

    def spins(n):
        count = 0
        try:
            while True:
                count += 1
        finally:
            ended.release()

    engine.write_delta(uri, TABLE)
    engine.register_function("spins", spins, [INT], INT, volatility=volatility)
    with pytest.raises(QueryTimeoutError) as caught:
        engine.delete(uri, "spins(id) = 1", timeout=1)
    assert ended.acquire(timeout=30)
    assert caught.value.details["outcome"] == "not_committed"
    assert engine.query("SELECT count(*) n FROM t", sources={"t": uri}).to_pylist() == [{"n": 3}]


class Spins(Accumulator):
    """Computes until it is interrupted, in one of its steps."""

    step = "update"
    ended = threading.Event()

    def _spin(self, step):
        count = 0
        try:
            while step == self.step:
                count += 1
        finally:
            if step == self.step:
                self.ended.set()

    def update(self, values):
        self._spin("update")

    def merge(self, states):
        self._spin("merge")

    def state(self):
        return [pa.scalar(0, INT)]

    def evaluate(self):
        self._spin("evaluate")
        return pa.scalar(0, INT)


class Turns(WindowEvaluator):
    def evaluate_all(self, values, num_rows):
        Spins()._spin("evaluate_all")
        return pa.array([0] * num_rows, INT)


@pytest.mark.parametrize(
    ("call", "step"),
    [
        ("total(id)", "update"),
        ("total(id)", "evaluate"),
        ("total(id) OVER (ORDER BY id)", "update"),
        ("total(id) OVER (ORDER BY id)", "evaluate"),
        ("turned(id) OVER (ORDER BY id)", "evaluate_all"),
    ],
)
def test_aggregates_and_windows_end_with_their_query(engine, monkeypatch, call, step):
    monkeypatch.setattr(Spins, "step", step)
    monkeypatch.setattr(Spins, "ended", threading.Event())
    engine.register_udf(udaf(Spins, INT, INT, [INT], "volatile", "total"))
    engine.register_udf(udwf(Turns, INT, INT, "volatile", "turned"))
    with pytest.raises(QueryTimeoutError):
        engine.query(f"SELECT {call} FROM t", sources={"t": TABLE}, timeout=1).to_table()
    assert Spins.ended.wait(30)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("Shout", len, [INT], INT), "lower case"),
        (("no name", len, [INT], INT), "identifier"),
        (("f", 7, [INT], INT), "called"),
        (("f", len, ["int"], INT), "Arrow types"),
    ],
)
def test_what_is_no_function_is_refused(engine, arguments, says):
    with pytest.raises(ConfigurationError, match=says):
        engine.register_function(*arguments)
    with pytest.raises(ConfigurationError, match="volatility"):
        engine.register_function("f", len, [INT], INT, volatility="sometimes")
