"""Child processes that listen on loopback: started, waited for, and ended by their id.

Each runs below a guard (`guard.py`) that ends it when this process is gone, so a server outlives
neither a failed run nor a killed one. POSIX only.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

GUARD = Path(__file__).with_name("guard.py")
START_SECONDS = 60.0
STOP_SECONDS = 15.0


class StartError(RuntimeError):
    """A server did not come up; the message ends with the last lines of its log."""


def free_port() -> int:
    """A port on loopback that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answers(port: int) -> bool:
    """Whether somebody accepts connections on this port of loopback."""
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Child:
    """One server and its guard.

    `pid` is the server's own, for tests that stop or kill it. Its output goes to `log`. The
    environment is the given one and nothing of ours: no credentials, proxies or settings of
    whoever runs the tests reach a server. One that talks has pipes for its standard input and
    output, whose other ends are the descriptors `to` and `back`; its log is what it says besides.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        folder: Path,
        environment: Mapping[str, str],
        talks: bool = False,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.log = folder / "server.log"
        self.pid: int | None = None
        self.to = self.back = -1
        self._owner = os.getpid()
        theirs: tuple[int, ...] = ()
        if talks:
            (said, self.to), (self.back, heard) = os.pipe(), os.pipe()
            theirs = (said, heard)
        talk = ["--talk", *map(str, theirs)] if talks else []
        with self.log.open("ab") as log:
            self._guard = subprocess.Popen(
                # -I -S: nothing of the tests' environment is imported, it is there in milliseconds.
                [sys.executable, "-I", "-S", str(GUARD), *talk, *map(str, command)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.PIPE,
                cwd=folder,
                env={
                    "PATH": os.environ.get("PATH", os.defpath),
                    "HOME": str(folder),
                    "TMPDIR": str(folder),
                    **environment,
                },
                start_new_session=True,
                pass_fds=theirs,
            )
        for number in theirs:
            os.close(number)
        atexit.register(self.stop)
        with self._guard.stderr as said:
            told = said.readline()
            if not told.strip().isdigit():
                told += said.read()
                self.stop()
                raise StartError(f"{command[0]} did not start: {told.decode().strip()}")
        self.pid = int(told)

    @property
    def running(self) -> bool:
        """Whether the server is there."""
        return self._guard.poll() is None

    def wait_until(self, ready: Callable[[], bool], *, seconds: float = START_SECONDS) -> None:
        """Wait until it is ready. One that ended or takes longer is stopped.

        Raises:
            StartError: It ended, or was not ready in time.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.running:
                problem = "ended"
                break
            if ready():
                return
            time.sleep(0.05)
        else:
            problem = f"did not answer within {seconds:g} s"
        self.stop()
        raise StartError(f"the server {problem}; its log ends with\n{self.tail()}")

    def tail(self, lines: int = 30) -> str:
        """The last lines it wrote."""
        return "\n".join(self.log.read_text("utf-8", "replace").splitlines()[-lines:])

    def stop(self) -> None:
        """End the server and wait until it is gone. Does nothing the second time."""
        if os.getpid() != self._owner:
            return  # a fork of the process that it belongs to
        atexit.unregister(self.stop)
        for number in {self.to, self.back} - {-1}:
            os.close(number)
        self.to = self.back = -1
        with contextlib.suppress(BrokenPipeError, ValueError):
            self._guard.stdin.write(b"\n")
            self._guard.stdin.close()
        try:
            self._guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
        if self._guard.returncode < 0 and self.pid:  # a guard that was killed has ended nothing
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
