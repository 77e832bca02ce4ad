"""`doctor`: what an engine stands on, with the fix for what is not well."""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from fusiondelta.account._machine import machine_facts
from fusiondelta.account._versions import check_versions, component_versions
from fusiondelta.errors import FusionDeltaError
from fusiondelta.profiles import EngineProfile
from fusiondelta.storage import Checked, ProbeCheck, ProbeReport

#: Files of a scan and of a partitioned write are open at once; the usual limit is 1,024.
_LEAST_OPEN_FILES = 1024

#: A sort or join that spills writes about what it was given.
_LEAST_SPILL = 2**30

#: What the packages beside the needed ones are for.
_EXTRAS = {
    "click": "the command line (cli)",
    "opentelemetry-api": "spans and metrics (otel)",
    "pandas": "to_pandas()",
    "polars": "to_polars()",
    "tqdm": "progress bars (progress)",
}

#: Beginnings of the variables that storage, telemetry and the crates below read.
_VARIABLES = ("AWS_", "AZURE_", "GOOGLE_", "GCS_", "DELTA", "OTEL_", "RUST_", "TOKIO_", "FUSION")


@dataclass(frozen=True, slots=True)
class DoctorReport(Checked):
    """What was looked at.

    Attributes:
        checks: In the order they were made; those of a location are called by it.
    """

    checks: tuple[ProbeCheck, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.checks))


class _Unwell(Exception):
    """What is not well, and the fix."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.fix = fix


def examine(
    profile: EngineProfile,
    run: Callable[[], None],
    uris: Iterable[str],
    probe: Callable[[str], ProbeReport],
) -> DoctorReport:
    """Look at all of it.

    Args:
        profile: Of the engine.
        run: Runs a query that needs nothing but the engine.
        uris: Locations to try out.
        probe: Tries out one.
    """

    def query() -> str:
        run()
        return "a query was planned and executed"

    looks: Mapping[str, Callable[[], str]] = {
        "versions": _versions,
        "machine": _machine,
        "memory": lambda: _memory(profile),
        "spill": lambda: _spill(profile),
        "open_files": _open_files,
        "extras": _extras,
        "environment": _environment,
        "query": query,
    }
    checks = [_check(name, look) for name, look in looks.items()]
    for uri in uris:
        checks += _probed(uri, probe)
    return DoctorReport(tuple(checks))


def _check(name: str, look: Callable[[], str]) -> ProbeCheck:
    started = time.perf_counter()
    status, fix = "pass", ""
    try:
        detail = look()
    except _Unwell as found:
        status, detail, fix = "fail", found.detail, found.fix
    except FusionDeltaError as error:
        status, detail = "fail", error.message
    return ProbeCheck(name, status, time.perf_counter() - started, detail, fix)


def _probed(uri: str, probe: Callable[[str], ProbeReport]) -> list[ProbeCheck]:
    started = time.perf_counter()
    try:
        report = probe(uri)
    except FusionDeltaError as error:
        return [ProbeCheck(uri, "fail", time.perf_counter() - started, error.message)]
    return [
        ProbeCheck(f"{report.uri} {one.name}", one.status, one.seconds, one.detail, one.fix)
        for one in report.checks
    ]


def _versions() -> str:
    check_versions()
    return ", ".join(f"{name} {version}" for name, version in component_versions().items())


def _machine() -> str:
    facts = machine_facts()
    memory = facts["memory_bytes"] / 2**30
    return (
        f"{facts['system']}, Python {facts['python']}, {facts['cores']} cores and "
        f"{memory:.1f} GiB of memory to use"
    )


def _memory(profile: EngineProfile) -> str:
    limit, there = profile.native().memory_limit, machine_facts()["memory_bytes"]
    if limit is None:
        return "no limit: the memory pool is unbounded"
    said = f"queries may reserve {limit / 2**30:.1f} GiB of {there / 2**30:.1f} GiB"
    if limit > there:
        raise _Unwell(said, "lower EngineProfile.memory_limit below what there is")
    return said


def _spill(profile: EngineProfile) -> str:
    folder = os.fspath(profile.spill_dir or tempfile.gettempdir())
    try:
        with tempfile.TemporaryFile(dir=folder):
            free = shutil.disk_usage(folder).free
    except OSError as error:
        raise _Unwell(
            f"{folder} takes no files: {error.strerror}", "name another EngineProfile.spill_dir"
        ) from error
    said = f"{folder} has {free / 2**30:.1f} GiB to spill into"
    if free < _LEAST_SPILL:
        raise _Unwell(said, "free some, or name another EngineProfile.spill_dir")
    return said


def _open_files() -> str:
    if sys.platform == "win32":
        return "no limit of a process on this system"
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    said = f"{soft} files may be open at once"
    if 0 <= soft < _LEAST_OPEN_FILES:
        raise _Unwell(said, f"raise it: ulimit -n {_LEAST_OPEN_FILES} or more")
    return said


def _extras() -> str:
    return ", ".join(f"{name} {_installed(name)}" for name in _EXTRAS)


def _installed(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return f"not installed, for {_EXTRAS[name]}"


def _environment() -> str:
    # Names alone: values may be secrets.
    found = sorted(name for name in os.environ if name.upper().startswith(_VARIABLES))
    return f"variables that are set: {', '.join(found) or 'none'}"
