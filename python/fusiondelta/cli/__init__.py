"""The `fusiondelta` command; needs click, which ``pip install 'fusiondelta[cli]'`` brings."""

from __future__ import annotations

import sys

try:
    import click as _click  # noqa: F401 - only to know that it is there
except ModuleNotFoundError as error:
    if error.name != "click":
        raise
    print(
        "error: the command line needs click; install it with: pip install 'fusiondelta[cli]'",
        file=sys.stderr,
    )
    raise SystemExit(2) from None

# Each module puts its commands on `cli`.
from fusiondelta.cli import _checks, _manifests, _queries, _tables, _upkeep  # noqa: F401
from fusiondelta.cli._app import cli, main

__all__ = ["cli", "main"]
