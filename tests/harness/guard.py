"""Runs one server and ends it when whoever asked for it is done or gone, however that happened.

Started by `process.py` as a program of its own: ``guard.py [--talk IN OUT] COMMAND...``, where IN
and OUT are descriptors that become the server's standard input and output. It holds the read end of
a pipe; a byte, or the end of the pipe that every death of the other side brings (a kill too), means
stop. Unlike PR_SET_PDEATHSIG this is no matter of Linux, of the starting thread, or of code between
fork and exec in a process full of threads.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import sys

PATIENCE_SECONDS = 5.0


def main(command: list[str]) -> int:
    """Run the command until it ends or is to end; gives its exit status."""
    talk = [int(number) for number in command[1:3]] if command[0] == "--talk" else []
    said, heard = talk or (subprocess.DEVNULL, None)
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: asked.append(number))
    # A group of its own: it gets no Ctrl-C of the terminal, and is signalled with its children.
    server = subprocess.Popen(
        command[3:] if talk else command,
        stdin=said,
        stdout=heard,
        stderr=sys.stdout,
        start_new_session=True,
    )
    for number in talk:  # else neither side would see the other's end
        os.close(number)
    print(server.pid, file=sys.stderr, flush=True)  # the one thing the starter reads there
    while server.poll() is None and not asked:
        if select.select([0], [], [], 0.2)[0]:
            break
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.wait(PATIENCE_SECONDS)
    # What is left: one that would not go, or what it started itself.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(server.pid, signal.SIGKILL)
    return server.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
