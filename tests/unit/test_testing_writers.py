"""`two_writers` over engines without an extension, whose commits are steps and nothing else."""

from __future__ import annotations

import threading
from dataclasses import fields
from types import SimpleNamespace

import pytest

from fusiondelta.errors import ConfigurationError
from fusiondelta.testing import Step, two_writers
from fusiondelta.writes import Committer

pytestmark = pytest.mark.unit

TABLE = "file:///lake/t"


class Engine:
    """Appends to lists: a commit is its table and who made it."""

    def __init__(self, log):
        self.log = log
        resolution = SimpleNamespace(canonical=lambda uri: uri.rstrip("/"))
        parts = dict.fromkeys(field.name for field in fields(Committer))
        self._committer = Committer(**parts | {"resolution": resolution})
        self.closed = False

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed = True

    def append(self, name="row", uri=TABLE):
        return self._committer.commit(uri, name, self)


def commit(committer, uri, name, engine):
    """Called as `Committer.commit`; as there, the hook is called from another thread."""

    def step(step, version):
        if committer.hook is not None:
            thread = threading.Thread(target=committer.hook, args=(step, version))
            thread.start()
            thread.join()

    if name == "nothing":
        return "unchanged"
    while True:
        read = len(engine.log)
        step("read", read)
        step("commit", read + 1)
        if name == "fails":
            raise OSError("the store is gone")
        if read == len(engine.log) or name == "careless":
            break
        if name != "again":
            raise LookupError("another was first")
    engine.log.append((name, uri))
    step("answered", read + 1)
    return len(engine.log)


@pytest.fixture(autouse=True)
def _no_threads_left():
    before = threading.active_count()
    yield
    assert threading.active_count() == before


@pytest.fixture
def log():
    return []


@pytest.fixture
def engine(monkeypatch, log):
    monkeypatch.setattr(Committer, "commit", commit)
    return lambda: Engine(log)


def test_a_change_stands_while_the_other_writer_commits(engine, log):
    with two_writers(f"{TABLE}/", engine=engine) as (first, second):
        held = first.hold(lambda own: own.append())
        assert held.step == ("commit", 1)
        assert second.engine.append("rival") == 1
        with pytest.raises(LookupError, match="another was first"):
            held.result()
        assert held.step is None
    assert log == [("rival", TABLE)]
    assert first.seen == (Step("read", 0), Step("commit", 1))
    assert [step.name for step in second.seen] == ["read", "commit", "answered"]
    assert first.uri == f"{TABLE}/"
    assert first.engine.closed
    assert second.engine.closed


@pytest.mark.parametrize(("at", "expected"), [("read", "rival"), ("answered", "row")])
def test_it_stands_where_it_is_told_to(engine, log, at, expected):
    with two_writers(TABLE, engine=engine) as (first, second):
        held = first.hold(lambda own: own.append("careless" if at == "read" else "row"), at=at)
        second.engine.append("rival")
        held.result()
    assert log[0] == (expected, TABLE)
    assert len(log) == 2


def test_it_goes_from_step_to_step_and_from_try_to_try(engine, log):
    with two_writers(TABLE, engine=engine) as (first, second):
        held = first.hold(lambda own: own.append("again"), at="read")
        assert held.advance("commit") == Step("commit", 1)
        second.engine.append("rival")
        assert held.advance("commit") == Step("commit", 2)
        second.engine.append("rival")
        assert held.advance("answered") == Step("answered", 3)
        assert len(log) == 3
        assert held.result() == 3


def test_other_tables_and_other_changes_pass(engine, log):
    with two_writers(TABLE, engine=engine) as (first, _):

        def job(own):
            own.append("before", "file:///lake/other")
            return own.append("careless")

        held = first.hold(job)
        assert log == [("before", "file:///lake/other")]
        first.engine.append("meanwhile")
        assert held.result() == 3
    assert [step.name for step in first.seen] == ["read", "commit"] * 2 + ["answered"] * 2


def test_one_change_after_another_is_held(engine):
    with two_writers(TABLE, engine=engine) as (first, _):
        for version in (1, 2):
            held = first.hold(lambda own: own.append())
            assert held.step == ("commit", version)
            held.result()


def test_the_end_of_the_block_lets_go(engine, log):
    with two_writers(TABLE, engine=engine) as (first, second):
        first.hold(lambda own: own.append())
        second.hold(lambda own: own.append("careless"))
    assert sorted(name for name, _ in log) == ["careless", "row"]


def test_what_nobody_asked_for_is_raised_at_the_end(engine):
    with (
        pytest.raises(OSError, match="the store is gone"),
        two_writers(TABLE, engine=engine) as (first, second),
    ):
        first.hold(lambda own: own.append("fails"))
    assert first.engine.closed
    assert second.engine.closed


def test_what_the_block_raises_comes_first(engine):
    def block(first):
        first.hold(lambda own: own.append("fails"))
        raise ZeroDivisionError

    with (
        pytest.raises(ZeroDivisionError),
        two_writers(TABLE, engine=engine) as (first, _),
    ):
        block(first)
    assert first.engine.closed


def test_work_that_never_comes_to_its_step(engine):
    with two_writers(TABLE, engine=engine) as (first, _):
        with pytest.raises(AssertionError, match=r"without coming to 'commit'.*'unchanged'"):
            first.hold(lambda own: own.append("nothing"))
        with pytest.raises(KeyError, match="early"):
            first.hold(lambda _: {}["early"])
        held = first.hold(lambda own: own.append())
        with pytest.raises(AssertionError, match="without coming to 'read'"):
            held.advance("read")
        assert held.result() == 1


def test_patience_ends_on_the_way(engine):
    late = threading.Event()
    with two_writers(TABLE, engine=engine, patience=0.02) as (first, _):
        with pytest.raises(AssertionError, match=r"did not come to 'commit' in 0\.02 s"):
            first.hold(lambda _: late.wait())
        late.set()


def test_patience_ends_at_the_step(engine):
    done = threading.Event()
    with two_writers(TABLE, engine=engine, patience=0.02) as (first, _):

        def job(own):
            own.append()
            done.set()

        held = first.hold(job)
        assert done.wait(30)
        with pytest.raises(AssertionError, match=r"stood still for 0\.02 s"):
            held.result()


def test_what_makes_no_sense_is_refused(engine):
    with two_writers(TABLE, engine=engine) as (first, _):
        with pytest.raises(ConfigurationError, match=r"steps read, commit, .* no 'send'"):
            first.hold(lambda own: own.append(), at="send")
        held = first.hold(lambda own: own.append())
        with pytest.raises(ConfigurationError, match="no 'sent'"):
            held.advance("sent")
        with pytest.raises(ConfigurationError, match="holds another change already"):
            first.hold(lambda own: own.append())
        assert held.result() == 1
    same = engine()
    with (
        pytest.raises(ConfigurationError, match="always the same"),
        two_writers(TABLE, engine=lambda: same),
    ):
        pass
