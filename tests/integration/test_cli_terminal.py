"""The command line on a terminal: bars, and what stays of them."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys

import pytest

pytestmark = pytest.mark.integration

fcntl, pty, termios = (
    pytest.importorskip(name, reason="pseudo terminals are POSIX")
    for name in ("fcntl", "pty", "termios")
)

#: Takes seconds before its only row.
SLOW = "SELECT sum(sin(value)) AS total FROM generate_series(1, 100000000)"
#: Takes hours before its only row.
ENDLESS = SLOW.replace("100000000", "100000000000000")

#: The command with bars that appear with their first call.
AT_ONCE = (
    "import fusiondelta.progress as p; p._SHORTEST = 0; from fusiondelta.cli import main; main()"
)


class Terminal:
    """A pseudo terminal that a process writes to."""

    def __init__(self, columns=100):
        self.mine, self.theirs = pty.openpty()
        size = struct.pack("HHHH", 30, columns, 0, 0)
        fcntl.ioctl(self.theirs, termios.TIOCSWINSZ, size)
        self.text = ""

    def read(self, until=None):
        """What came, until something did or to the end."""
        if self.theirs is not None:
            os.close(self.theirs)
            self.theirs = None
        # Linux ends a terminal whose other side is closed with an error, others with nothing.
        with contextlib.suppress(OSError):
            while until is None or until not in self.text:
                found = os.read(self.mine, 65536)
                if not found:
                    break
                self.text += found.decode()
        return self.text

    @property
    def screen(self):
        """What is seen in the end, line by line."""
        lines = []
        for line in self.text.replace("\r\n", "\n").split("\n"):
            shown = ""
            for part in line.split("\r"):
                shown = part + shown[len(part) :]
            lines.append(shown.rstrip())
        return lines

    def close(self):
        os.close(self.mine)
        if self.theirs is not None:
            os.close(self.theirs)


@pytest.fixture
def terminal():
    made = Terminal()
    yield made
    made.close()


@contextlib.contextmanager
def started(*args, **streams):
    given = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(
        [sys.executable, "-c", AT_ONCE, *map(str, args)],
        **{**given, **streams},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("format_", ["table", "csv", "json"])
def test_a_bar_is_gone_when_the_rows_are_shown(terminal, format_):
    both = {"stdout": terminal.theirs, "stderr": terminal.theirs}
    with started("query", SLOW, "--format", format_, **both) as process:
        terminal.read()
        assert process.wait(60) == 0
    assert "query [" in terminal.text
    assert terminal.text.rindex("query [") < terminal.text.index("total")
    shown = [line for line in terminal.screen if line]
    assert "total" in shown[0]
    assert "1.71364" in shown[-1]
    assert len(shown) == {"table": 3, "csv": 2, "json": 1}[format_]
    assert "query" not in "".join(shown)


def test_a_terminal_that_does_not_know_its_width_shows_a_bar():
    terminal = Terminal(columns=0)
    with started("explain", SLOW, "--analyze", stderr=terminal.theirs) as process:
        terminal.read()
        process.communicate(timeout=60)
    terminal.close()
    assert "query [" in terminal.text


def test_a_bar_is_on_standard_error_alone(terminal):
    with started("query", SLOW, "--format", "csv", stderr=terminal.theirs) as process:
        terminal.read()
        out, _ = process.communicate(timeout=60)
        assert process.returncode == 0
    assert "query [" in terminal.text
    assert terminal.screen == [""]
    assert out.startswith(b'"total"\n')


def test_a_bar_leaves_room_for_the_error(terminal):
    with started("query", ENDLESS, "--timeout", "2", stderr=terminal.theirs) as process:
        terminal.read()
        assert process.wait(60) == 1
    assert "query [" in terminal.text
    assert terminal.screen[0].startswith("error[query_timeout]: ")
    assert terminal.screen[1:] == [""]


def test_ctrl_c_takes_the_bar_away(terminal):
    with started("query", ENDLESS, stderr=terminal.theirs) as process:
        terminal.read(until="rows")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
        terminal.read()
    assert "".join(terminal.screen) in ("", "^C")


@pytest.mark.parametrize("option", ["--no-progress", "--progress"])
def test_what_is_asked_for_decides(terminal, option):
    is_shown = option == "--progress"
    # A bar on a pipe where it was asked for, none on a terminal where it was not.
    stream = {} if is_shown else {"stderr": terminal.theirs}
    with started("explain", SLOW, "--analyze", option, **stream) as process:
        told = b"" if is_shown else terminal.read().encode()
        _, piped = process.communicate(timeout=60)
        assert process.returncode == 0
    assert (b"query [" in (piped or told)) is is_shown


def test_nothing_is_drawn_where_there_is_no_terminal():
    with started("query", SLOW) as process:
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, b"")
    assert b"query [" not in out


@pytest.mark.parametrize(
    "command", ["query", "explain", "explain --json", "profile", "profile --json"]
)
def test_names_that_would_steer_the_terminal_do_not(terminal, command):
    sql = "SELECT 1 AS \"a\x1b[31mred\x1b]0;title\x07\", 'b\x9b1m\u202e' AS b"
    both = {"stdout": terminal.theirs, "stderr": terminal.theirs}
    with started(*command.split(), sql, "--no-progress", **both) as process:
        terminal.read()
        assert process.wait(60) == 0
    shown = terminal.text.replace("\r\n", "")
    assert "red" in shown or "profile" in command
    assert [char for char in shown if not char.isprintable()] == []


def test_errors_do_not_steer_the_terminal(terminal):
    with started("query", 'SELECT "\x1b[31mred"', stderr=terminal.theirs) as process:
        terminal.read()
        assert process.wait(60) == 1
    assert "red" in terminal.text
    assert terminal.text.count("\n") == 1
    assert terminal.text.rstrip("\r\n").isprintable()
