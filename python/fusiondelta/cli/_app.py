"""The command itself: how it starts, and how it ends."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any

import click

from fusiondelta.cli import _interrupt
from fusiondelta.cli._text import one_line
from fusiondelta.errors import FusionDeltaError

_FAILURE = "fusiondelta.failure"


class _Commands(click.Group):
    """Says what went wrong in one line, and with the exit code: 1 failed, 130 interrupted."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except FusionDeltaError as error:
            _fail(ctx, f"error[{error.kind}]: {error}")
        except KeyboardInterrupt:
            ctx.exit(130)
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(_failure(ctx))
        except (OSError, ImportError) as error:
            _fail(ctx, f"error: {error}")


def fails_with(code: int) -> None:
    """Of the command that runs: its exit code where it fails, 1 being an answer of it."""
    click.get_current_context().meta[_FAILURE] = code


def _failure(ctx: click.Context) -> int:
    code: int = ctx.meta.get(_FAILURE, 1)
    return code


def _fail(ctx: click.Context, message: str) -> None:
    # The reader of our standard error may be gone too.
    with contextlib.suppress(BrokenPipeError):
        click.echo(one_line(message), err=True)
    ctx.exit(_failure(ctx))


def _forget_stdout() -> None:
    # What is still buffered for a closed pipe would raise again when Python exits.
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


def main() -> None:
    """Run the command line of this process and exit."""
    _interrupt.install()
    # Text that the terminal's encoding lacks is shown as escapes rather than not at all.
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")
    cli(prog_name="fusiondelta")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """SQL over Delta Lake."""
