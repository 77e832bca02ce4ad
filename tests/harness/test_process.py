"""Servers are gone when they are stopped, and with whoever started them, however that ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from tests.harness.process import Child, StartError, answers, free_port

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name == "nt", reason="process groups of POSIX"),
]

LISTEN = """
import signal, socket, sys, time
for name in sys.argv[2:]:
    signal.signal(getattr(signal, name), signal.SIG_IGN)
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
print("listening", flush=True)
time.sleep(600)
"""


def listen(port, *ignored):
    return [sys.executable, "-I", "-S", "-c", LISTEN, str(port), *ignored]


def wait_until_gone(pid, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    pytest.fail(f"process {pid} is still there")


def test_child_is_gone_when_stopped(tmp_path):
    port = free_port()
    child = Child(listen(port), folder=tmp_path, environment={})
    child.wait_until(lambda: answers(port))
    assert child.running
    child.stop()
    child.stop()
    assert not child.running
    assert not answers(port)
    wait_until_gone(child.pid, seconds=0.1)


def test_child_that_will_not_go_is_killed(tmp_path):
    port = free_port()
    child = Child(listen(port, "SIGTERM"), folder=tmp_path, environment={})
    child.wait_until(lambda: answers(port))
    child.stop()
    wait_until_gone(child.pid, seconds=0.1)


def test_child_ends_with_a_guard_that_was_killed(tmp_path):
    port = free_port()
    child = Child(listen(port), folder=tmp_path, environment={})
    child.wait_until(lambda: answers(port))
    child._guard.kill()
    child.stop()
    wait_until_gone(child.pid)


def test_child_gets_nothing_of_our_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ours")
    child = Child(["env"], folder=tmp_path, environment={"A": "1"})
    deadline = time.monotonic() + 20
    while child.running and time.monotonic() < deadline:
        time.sleep(0.05)
    child.stop()
    names = {line.partition("=")[0] for line in child.tail().splitlines()}
    assert names >= {"A", "HOME", "PATH", "TMPDIR"}
    assert "AWS_SECRET_ACCESS_KEY" not in names


ECHO = """
import sys
for line in sys.stdin:
    print("heard", line.strip(), flush=True)
print("the end", file=sys.stderr)
"""


def test_one_that_talks_is_heard_apart_from_its_log(tmp_path):
    command = [sys.executable, "-I", "-S", "-c", ECHO]
    child = Child(command, folder=tmp_path, environment={}, talks=True)
    os.write(child.to, b"hello\n")
    assert os.read(child.back, 100) == b"heard hello\n"
    os.kill(child.pid, signal.SIGKILL)
    assert os.read(child.back, 100) == b"", "its end is seen at once"
    child.stop()
    child.stop()
    assert child.tail() == ""


def test_one_that_talks_sees_the_end_of_who_talks_to_it(tmp_path):
    command = [sys.executable, "-I", "-S", "-c", ECHO]
    child = Child(command, folder=tmp_path, environment={}, talks=True)
    os.close(child.to)
    child.to = -1
    assert os.read(child.back, 100) == b""
    child.stop()
    assert child.tail() == "the end"


def test_one_that_does_not_start_says_why(tmp_path):
    with pytest.raises(StartError, match=r"(?s)does-not-exist did not start.*No such file"):
        Child(["/does-not-exist"], folder=tmp_path, environment={})


def test_one_that_ends_says_what_it_wrote(tmp_path):
    child = Child(
        [sys.executable, "-c", "raise SystemExit('out of paper')"], folder=tmp_path, environment={}
    )
    with pytest.raises(StartError, match=r"(?s)ended; its log.*out of paper"):
        child.wait_until(lambda: False)


def test_one_that_does_not_answer_is_stopped(tmp_path):
    child = Child(listen(free_port()), folder=tmp_path, environment={})
    with pytest.raises(StartError, match=r"did not answer within 0\.3 s"):
        child.wait_until(lambda: False, seconds=0.3)
    wait_until_gone(child.pid, seconds=0.1)


@pytest.mark.parametrize("end", ["return", "raise", "SIGTERM", "SIGKILL"])
def test_child_is_gone_with_whoever_started_it(tmp_path, end):
    starter = f"""
        import os, signal, sys
        from pathlib import Path
        from tests.harness.process import Child, answers
        child = Child({listen(free_port())!r}, folder=Path({str(tmp_path)!r}), environment={{}})
        child.wait_until(lambda: "listening" in child.tail())
        print(child.pid, flush=True)
        if {end!r} == "raise":
            raise SystemExit("failed")
        if {end!r}.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, {end!r}))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(starter)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    ends = {"return": 0, "raise": 1, "SIGTERM": -signal.SIGTERM, "SIGKILL": -signal.SIGKILL}
    assert done.returncode == ends[end], done.stderr
    wait_until_gone(int(done.stdout))
