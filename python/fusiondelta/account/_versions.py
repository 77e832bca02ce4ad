"""Versions of what answers a query, and the check that they go together."""

from __future__ import annotations

from functools import cache

from fusiondelta.errors import ConfigurationError


def _installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


@cache
def component_versions() -> dict[str, str]:
    """Versions by component; ``native.*`` are those the extension was built with."""
    from fusiondelta._native import versions

    native = dict(versions())
    return {
        "fusiondelta": native["fusiondelta"],
        "datafusion": _installed("datafusion"),
        "deltalake": _installed("deltalake"),
        "pyarrow": _installed("pyarrow"),
        "native.datafusion": native["datafusion"],
        "native.deltalake": native["deltalake"],
    }


@cache
def check_versions() -> None:
    """Refuse a `datafusion` package of another major version than the extension's.

    Raises:
        ConfigurationError: They differ, or the package is missing; the message names both.
    """
    found = component_versions()
    ours, theirs = found["native.datafusion"], found["datafusion"]
    if ours.split(".")[0] != theirs.split(".")[0]:
        major = int(ours.split(".")[0])
        raise ConfigurationError(
            f"the package datafusion is {theirs}, and this build of fusiondelta works with major "
            f"version {major} (it has {ours} inside); install 'datafusion>={major},<{major + 1}'"
        )
