"""Callbacks while something runs, and the bars over them."""

from __future__ import annotations

import contextvars
import gc
import io
import subprocess
import sys
import threading
import weakref
from dataclasses import dataclass

import pytest

from fusiondelta import progress as bars
from fusiondelta.account import PlanNode, PlanTree, QueryIo
from fusiondelta.account._progress import (
    QueryProgress,
    Watch,
    is_telling,
    scanned_files,
    telling,
    told,
)
from fusiondelta.errors import ConfigurationError
from fusiondelta.writes import WriteProgress

pytestmark = pytest.mark.unit

#: Seconds after which a test that waits is given up.
PATIENCE = 30

CONTEXT = contextvars.ContextVar("context", default="")


@dataclass(frozen=True)
class Progress:
    number: int
    done: bool = False


class Told:
    """A callback that remembers, and can be waited for."""

    def __init__(self, fails=None):
        self.all = []
        self.fails = fails
        self.came = threading.Event()
        self.context = None

    def __call__(self, progress):
        self.all.append(progress)
        self.context = CONTEXT.get()
        self.came.set()
        if self.fails is not None:
            raise self.fails


def watch(tell, look=None, interval=0.001):
    return Watch(tell, look or (lambda seconds, done: Progress(7, done)), interval)


def test_it_calls_back_until_the_end_and_once_then():
    tell = Told()
    with watch(tell).watching():
        assert tell.came.wait(PATIENCE)
    assert [one.done for one in tell.all] == [False] * (len(tell.all) - 1) + [True]
    assert len(tell.all) >= 2


def test_what_ends_at_once_is_told_once():
    tell = Told()
    with watch(tell, interval=3600).watching():
        pass
    assert tell.all == [Progress(7, True)]


def test_without_a_callback_there_is_no_thread():
    before = threading.active_count()
    with watch(None).watching():
        assert threading.active_count() == before


def test_an_exception_of_the_callback_ends_the_calls_and_is_raised_at_the_end():
    tell = Told(RuntimeError("of the callback"))
    reached = []

    def work():
        with watch(tell).watching():
            assert tell.came.wait(PATIENCE)
            reached.append(True)

    with pytest.raises(RuntimeError, match="of the callback"):
        work()
    assert (reached, len(tell.all)) == ([True], 1)


def test_what_fails_itself_is_what_is_raised():
    tell = Told(RuntimeError("of the callback"))

    def work():
        with watch(tell).watching():
            assert tell.came.wait(PATIENCE)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert len(tell.all) == 1


def test_an_exception_of_the_look_is_raised_too():
    def broken(seconds, done):
        raise RuntimeError("of the look")

    with pytest.raises(RuntimeError, match="of the look"), watch(Told(), broken).watching():
        pass


def test_the_callback_sees_the_context_of_whoever_made_the_watch():
    tell = Told()
    token = CONTEXT.set("mine")
    made = watch(tell)
    CONTEXT.reset(token)
    made.start()
    assert made.finish() is None
    assert tell.context == "mine"


def test_start_and_finish_may_come_in_any_number_and_order():
    tell = Told()
    made = watch(tell, interval=3600)
    made.start()
    made.start()
    made.finish()
    made.finish()
    made.start()
    assert tell.all == [Progress(7, True)]
    never = watch(tell)
    assert never.finish() is None
    never.start()
    assert tell.all == [Progress(7, True)]


def test_the_end_need_not_be_waited_for():
    entered, leave = threading.Event(), threading.Event()

    def tell(progress):
        entered.set()
        assert leave.wait(PATIENCE)
        if progress.done:
            raise RuntimeError("of the callback")

    made = watch(tell)
    made.start()
    assert entered.wait(PATIENCE)
    assert made.finish(wait=False) is None
    leave.set()
    assert isinstance(made.finish(), RuntimeError)


def test_what_is_watched_stays_for_the_last_look_at_it():
    class Query:
        pass

    query, leave = Query(), threading.Event()
    mine = weakref.ref(query)

    def look(seconds, done):
        assert leave.wait(PATIENCE)
        return None if mine() is None else Progress(7, done)

    tell = Told()
    made = watch(tell, look, interval=3600)
    made.start()
    made.finish(wait=False, keep=query)
    del query
    gc.collect()
    leave.set()
    made.finish()
    assert tell.all == [Progress(7, True)]
    gc.collect()
    assert mine() is None


def test_the_callback_may_end_what_it_watches():
    made = []
    ended = threading.Event()

    def tell(progress):
        made[0].finish()
        ended.set()

    made.append(watch(tell))
    made[0].start()
    assert ended.wait(PATIENCE)
    assert made[0].finish() is None


def test_what_is_gone_is_told_to_have_ended():
    class Thing:
        pass

    thing = Thing()
    mine = weakref.ref(thing)
    ended = threading.Event()
    seen = []

    def tell(progress):
        seen.append(progress)
        if progress.done:
            ended.set()
        else:
            came.set()

    came = threading.Event()
    made = watch(tell, lambda seconds, done: mine() and Progress(1, done))
    made.start()
    assert came.wait(PATIENCE)
    del thing
    gc.collect()
    assert ended.wait(PATIENCE)
    assert seen[-1] == Progress(1, True)
    assert made.finish() is None


def test_a_callback_is_made_where_none_was_given():
    made = []

    def maker(title):
        made.append(title)
        return lambda progress: None

    assert told(None, "query") is None
    given = Told()
    with telling(maker):
        assert is_telling()
        assert told(given, "query") is given
        assert told(None, "append") is not None
        with telling(None):
            assert told(None, "query") is None
    assert made == ["append"]
    assert not is_telling()


def node(id_, **totals):
    parent = id_.rpartition(".")[0] or None
    return PlanNode(id=id_, parent=parent, operator="X", totals=totals)


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ([], (None, None)),
        ([node("0", output_rows=3)], (None, None)),
        ([node("0.0", files_processed=2)], (2, None)),
        ([node("0.0", file_parts=4)], (0, 4)),
        ([node("0.0", files_processed=2, file_parts=4)], (2, 4)),
        ([node("0.0", file_parts=4), node("0.0.0", files_processed=1)], (1, 4)),
        ([node("0.1", file_parts=4), node("0.10", files_processed=1)], (1, None)),
        (
            [node("0.0", file_parts=4, files_processed=4), node("0.1", files_processed=1)],
            (5, None),
        ),
    ],
)
def test_files_of_scans(nodes, found):
    assert scanned_files(PlanTree(tuple(nodes))) == found


IO = QueryIo({"list": 1, "get": 2}, {"data": 3}, 10, 0, 0)


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ((None, None), (None, None, None)),
        ((2, None), (2, None, None)),
        ((1, 4), (1, 4, 0.25)),
        ((5, 4), (4, 4, 1.0)),
        ((0, 0), (0, 0, None)),
    ],
)
def test_how_far_a_query_is(files, found):
    made = QueryProgress.of(seconds=1.5, rows=7, io=IO, files=files)
    assert (made.files_done, made.files_total, made.share) == found
    assert (made.seconds, made.rows, made.bytes_read, made.requests) == (1.5, 7, 10, 3)
    assert not made.done


def query(seconds, *, done=False, **values):
    given = {"rows": 1234, "bytes_read": 2048, "requests": 3, **values}
    return QueryProgress(seconds=seconds, done=done, **given)


def shown_by(*calls, **options):
    file = io.StringIO()
    made = bars.bar(file=file, **options)
    for one in calls:
        made(one)
    return file.getvalue()


def test_what_is_short_shows_nothing():
    assert shown_by(query(0.25), query(0.49), query(0.6, done=True)) == ""


def test_a_bar_shows_what_is_known():
    text = shown_by(query(1.0))
    assert text.split("\r")[-1] == "query [00:01, 1,234 rows, 2.00 KiB read]"
    text = shown_by(query(1.0, files_done=1, files_total=4, share=0.25), title="mine")
    assert text.split("\r")[-1].startswith("mine  25% |")
    assert text.endswith("[00:01<00:03, 1/4 files, 1,234 rows, 2.00 KiB read]")
    text = shown_by(WriteProgress(2.0, 2, 1024, 2048, 3))
    assert text.endswith("write [00:02, attempt 2, 1.00 KiB read, 2.00 KiB written]")


def test_a_share_that_becomes_known_is_shown():
    text = shown_by(query(1.0), query(2.0, files_done=1, files_total=2, share=0.5))
    assert "query  50% |" in text.split("\r")[-1]


def test_the_end_closes_the_bar_and_stays_or_goes():
    calls = [query(1.0, share=0.3, files_done=3, files_total=10), query(3.0, done=True)]
    text = shown_by(*calls, query(4.0))
    assert text.endswith("1,234 rows, 2.00 KiB read]\n")
    assert text.count("\n") == 1
    assert "30%" not in text.split("\r")[-1]
    assert shown_by(*calls, leave=False).endswith(" \r")


def test_a_bar_that_is_closed_shows_nothing_more():
    file = io.StringIO()
    made = bars.bar(file=file, leave=False)
    made(query(1.0))
    made.close()
    made.close()
    before = file.getvalue()
    made(query(2.0))
    made(query(3.0, done=True))
    assert before.endswith("\r")
    assert file.getvalue() == before


def test_a_bar_starts_no_thread():
    before = threading.active_count()
    shown_by(query(1.0), query(2.0, done=True))
    assert threading.active_count() == before


def test_a_title_does_not_steer_the_terminal():
    text = shown_by(query(1.0), title="\x1b[31mred\r\n{bar}" + "x" * 100)
    assert "\x1b" not in text.replace("\x1b[A", "")
    assert "\n" not in text
    assert " [31mred  {bar}" in text
    assert "x" * 40 not in text


class Gone(io.StringIO):
    def write(self, text):
        raise BrokenPipeError(32, "Broken pipe")

    def flush(self):
        raise ValueError("I/O operation on closed file")


def test_a_bar_that_cannot_be_drawn_hinders_nobody():
    made = bars.bar(file=Gone())
    made(query(1.0))
    made(query(2.0))
    made(query(3.0, done=True))
    closed = io.StringIO()
    made = bars.bar(file=closed)
    made(query(1.0))
    closed.close()
    made(query(2.0))
    made.close()
    others = []
    thread = threading.Thread(target=lambda: others.append(shown_by(query(1.0))), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert len(others) == 1


def test_a_refresh_that_fails_hinders_nobody(monkeypatch):
    from tqdm.std import tqdm

    shown = []

    def broken(self, *args, **options):
        shown.append(self)
        if len(shown) > 1:
            raise RuntimeError("of the front end")

    with monkeypatch.context() as patched:
        patched.setattr(tqdm, "display", broken)
        with pytest.raises(RuntimeError, match="of the front end"):
            shown_by(query(1.0))
    assert len(shown) == 2
    others = []
    thread = threading.Thread(target=lambda: others.append(shown_by(query(1.0))), daemon=True)
    thread.start()
    thread.join(PATIENCE)
    assert len(others) == 1


def test_a_bar_does_not_settle_how_processes_are_started():
    code = (
        "import io, multiprocessing as m, fusiondelta.progress as p\n"
        "p.bar(file=io.StringIO())(p.QueryProgress(1.0, 0, 0, 0))\n"
        "m.set_start_method('spawn')"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE)


class Stream(io.StringIO):
    def __init__(self, is_terminal):
        super().__init__()
        self.is_terminal = is_terminal

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize("is_terminal", [True, False])
def test_standard_error_gets_a_bar_where_it_is_a_terminal(monkeypatch, is_terminal):
    stream = Stream(is_terminal)
    monkeypatch.setattr(sys, "stderr", stream)
    made = bars.bar()
    made(query(1.0))
    made(query(2.0, done=True))
    assert ("1,234 rows" in stream.getvalue()) is is_terminal


def test_without_a_standard_error_nothing_is_drawn(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    made = bars.bar()
    made(query(1.0))
    made.close()


def test_in_a_notebook_a_bar_is_drawn_though_there_is_no_terminal(monkeypatch):
    class Module:
        @staticmethod
        def get_ipython():
            return Shell

    class Shell:
        kernel = object()

    stream = Stream(False)
    monkeypatch.setitem(sys.modules, "IPython", Module)
    monkeypatch.setattr(sys, "stderr", stream)
    bars.bar()(query(1.0))
    assert "1,234 rows" in stream.getvalue()
    Shell.kernel = None
    before = stream.getvalue()
    bars.bar()(query(1.0))
    assert stream.getvalue() == before


def test_a_block_shows_a_bar_for_each_of_its_queries():
    file = io.StringIO()
    assert not bars.enabled()
    with bars.shown(file):
        assert bars.enabled()
        first, second = told(None, "query"), told(None, "append")
        assert first is not second
        first(query(1.0))
        first(query(1.5, done=True))
        second(WriteProgress(1.0, 1, 0, 2048, 3))
        inherited = contextvars.copy_context().run(bars.enabled)
    assert inherited
    assert not bars.enabled()
    assert told(None, "query") is None
    assert "query [00:01" in file.getvalue()
    assert "append [00:01, 0 B read, 2.00 KiB written]" in file.getvalue()


@pytest.mark.parametrize("file", [None, io.StringIO()])
def test_without_tqdm_it_says_what_to_install(monkeypatch, file):
    for name in ("tqdm", "tqdm.auto", "tqdm.std"):
        monkeypatch.setitem(sys.modules, name, None)
    message = r"pip install 'fusiondelta\[progress\]'"
    with pytest.raises(ConfigurationError, match=message):
        bars.bar(file=file)
    with pytest.raises(ConfigurationError, match=message), bars.shown(file):
        raise AssertionError("not reached")


def test_many_threads_may_call_one_bar():
    file = io.StringIO()
    made = bars.bar(file=file)
    failed = []

    def call():
        try:
            for n in range(50):
                made(query(1.0 + n))
            made(query(60.0, done=True))
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=call, daemon=True) for _ in range(8)]
    for one in threads:
        one.start()
    for one in threads:
        one.join(PATIENCE)
    assert failed == []
    assert file.getvalue().count("\n") == 1
