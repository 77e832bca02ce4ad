"""The thread that keeps books."""

from __future__ import annotations

import logging
import threading

import pytest

from fusiondelta.account import _recorder
from fusiondelta.account._recorder import Recorder

pytestmark = pytest.mark.unit

#: Seconds after which a test that waits is given up.
PATIENCE = 30


@pytest.fixture
def recorder():
    made = Recorder()
    made.start()
    yield made
    made.close()


def test_work_is_done_in_its_order_and_may_fail(recorder, caplog):
    done = []
    with caplog.at_level(logging.WARNING, "fusiondelta"):
        recorder.submit(lambda: done.append(1))
        recorder.submit(lambda: done.append(1 / 0))
        recorder.submit(lambda: done.append(2))
        assert recorder.flush(PATIENCE)
    assert done == [1, 2]
    assert "could not be recorded" in caplog.text


def test_work_stands_back_while_queries_are_planned(recorder, monkeypatch):
    monkeypatch.setattr(_recorder, "STANDS_BACK", 3600)
    done = threading.Event()
    with recorder.aside():
        with recorder.aside():
            recorder.submit(done.set)
        assert not done.wait(0.05)
    assert done.wait(PATIENCE)


def test_work_does_not_stand_back_for_long(recorder, monkeypatch):
    monkeypatch.setattr(_recorder, "STANDS_BACK", 0.01)
    done = threading.Event()
    with recorder.aside():
        recorder.submit(done.set)
        assert done.wait(PATIENCE)


def test_a_flush_and_the_end_do_not_wait_for_planning(recorder, monkeypatch):
    monkeypatch.setattr(_recorder, "STANDS_BACK", 3600)
    done = []
    with recorder.aside():
        recorder.submit(lambda: done.append(1))
        assert recorder.flush(PATIENCE)
        recorder.submit(lambda: done.append(2))
        recorder.close(PATIENCE)
    assert done == [1, 2]


def test_too_much_work_is_let_go(recorder, monkeypatch):
    monkeypatch.setattr(_recorder, "WAITING", 2)
    hold = threading.Event()
    begun = threading.Event()

    def wait():
        begun.set()
        assert hold.wait(PATIENCE)

    recorder.submit(wait)
    assert begun.wait(PATIENCE)
    done = []
    for number in range(5):
        recorder.submit(lambda number=number: done.append(number))
    hold.set()
    assert recorder.flush(PATIENCE)
    assert (done, recorder.dropped) == ([0, 1], 3)
    recorder.close()
    recorder.submit(lambda: done.append(9))
    assert (done, recorder.dropped) == ([0, 1], 4)
