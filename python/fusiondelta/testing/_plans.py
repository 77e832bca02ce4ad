"""`assert_plan`: a plan as a golden file has it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from fusiondelta._ids import new_id
from fusiondelta.account import PlanBundle
from fusiondelta.testing._accounts import Planned

#: Set to 1, it has golden plans written anew.
VARIABLE = "FUSIONDELTA_UPDATE_GOLDEN"

_QUERY = "-- query: "
_MADE_WITH = "-- made with"
_PLANNING = ("datafusion.optimizer.", "datafusion.execution.", "datafusion.sql_parser.")
#: Settings that are the machine's or the build's.
_NOT_NOTED = frozenset(
    {
        "datafusion.execution.parquet.created_by",
        "datafusion.execution.planning_concurrency",
    }
)
#: Always noted: its default is the machine's number of cores.
_PARTITIONS = "datafusion.execution.target_partitions"
_DEFAULT = "default"


@dataclass
class Updates:
    """Whether golden plans are written anew, and which were.

    Attributes:
        wanted: What the test run asks for.
        written: Files that were written.
    """

    wanted: bool = False
    written: list[Path] = field(default_factory=list)


#: Of this process; the pytest plugin sets it.
UPDATES = Updates()


@dataclass(frozen=True, slots=True)
class _Golden:
    """A golden file: the query, its plan, and what it was made with."""

    query: str
    plan: str
    made_with: Mapping[str, str]

    @classmethod
    def of(cls, bundle: PlanBundle) -> _Golden:
        query = "a DataFrame" if bundle.sql is None else " ".join(bundle.sql.split())
        return cls(query, bundle.normalized().strip(), _made_with(bundle))

    @classmethod
    def read(cls, path: Path) -> _Golden:
        """A file of a plan alone will do: the rest explains differences."""
        text = path.read_text("utf-8")
        query = ""
        if text.startswith(_QUERY):
            line, _, text = text.partition("\n")
            query = line.removeprefix(_QUERY)
        plan, _, notes = f"\n{text}".rpartition(f"\n{_MADE_WITH}\n")
        if not plan:
            plan, notes = text, ""
        made_with = dict(line.split(" = ", 1) for line in notes.splitlines() if " = " in line)
        return cls(query, plan.strip(), made_with)

    def text(self) -> str:
        notes = [f"{name} = {value}" for name, value in self.made_with.items()]
        return "\n".join([f"{_QUERY}{self.query}", self.plan, _MADE_WITH, *notes, ""])


def assert_plan(
    result: Planned | PlanBundle, golden: str | os.PathLike[str], *, update: bool | None = None
) -> None:
    """Hold a query to the plan in a golden file.

    Compared is `PlanBundle.normalized`: logical and physical plan without paths, identifiers, sizes
    and counts of partitions. The file also notes the query, versions, settings and table versions;
    they are not compared, but explain a difference.

    Args:
        result: A result or its plan; its rows need not be read.
        golden: Path of the file.
        update: Whether the file is written where the plan is another or there is none. Where None:
            ``FUSIONDELTA_UPDATE_GOLDEN=1`` or ``pytest --fusiondelta-update`` asks for it.

    Raises:
        AssertionError: The plan is another one, with what may explain it; or there is no file.
    """
    __tracebackhide__ = True
    bundle = result if isinstance(result, PlanBundle) else result.plan
    path = Path(golden)
    before = _Golden.read(path) if path.exists() else None
    if before is not None and before.plan == bundle.normalized().strip():
        return
    now = _Golden.of(bundle)
    if _wanted() if update is None else update:
        _write(path, now.text())
        UPDATES.written.append(path)
        return
    how = f"run it again with {VARIABLE}=1 or pytest --fusiondelta-update"
    if before is None:
        raise AssertionError(
            f"there is no golden plan {path}; to write this one, {how}\n\n{now.plan}"
        )
    difference = difflib.unified_diff(
        before.plan.splitlines(), now.plan.splitlines(), str(path), "this plan", lineterm=""
    )
    lines = [
        f"the plan is not the one in {path}",
        "",
        *difference,
        "",
        "What may explain it:",
        *(f"  {line}" for line in _explained(before, now, bundle)),
        "",
        f"If the change is meant, {how}.",
    ]
    raise AssertionError("\n".join(lines))


def _wanted() -> bool:
    return UPDATES.wanted or os.environ.get(VARIABLE, "").lower() in {"1", "true", "yes"}


def _made_with(bundle: PlanBundle) -> dict[str, str]:
    """What the plan depends on, without what differs between machines."""
    versions = {f"version {name}": value for name, value in sorted(bundle.versions.items())}
    tables = {
        f"table {alias}": f"version {version}"
        for alias, (_, version) in sorted(bundle.snapshots.items())
    }
    defaults = _default_settings()
    settings = {
        f"setting {name}": str(value)
        for name, value in sorted(bundle.settings.items())
        if name == _PARTITIONS
        or (
            name.startswith(_PLANNING)
            and name not in _NOT_NOTED
            and value is not None
            and value != defaults.get(name)
        )
    }
    return {**versions, **tables, **settings}


@cache
def _default_settings() -> dict[str, str | None]:
    """DataFusion's own settings by name."""
    from datafusion import SessionConfig, SessionContext

    context = SessionContext(SessionConfig().with_information_schema(True))
    rows = context.sql("SELECT name, value FROM information_schema.df_settings").to_pylist()
    return {row["name"]: row["value"] for row in rows}


def _explained(before: _Golden, now: _Golden, bundle: PlanBundle) -> list[str]:
    if not before.made_with:
        return ["the golden plan does not say what it was made with"]
    lines = []
    if before.query and before.query != now.query:
        lines.append(f"the query is another one: it was {before.query!r}")
    for name in sorted({*before.made_with, *now.made_with}):
        absent = _DEFAULT if name.startswith("setting ") else "not there"
        was, is_now = (one.made_with.get(name, absent) for one in (before, now))
        if was != is_now:
            lines.append(f"{name}: {was} -> {is_now}")
    return lines or [
        "the query, settings, versions and table versions are those of the golden plan; the data "
        "may be other data: its statistics have a say in the order of joins, for one"
    ]


def _write(path: Path, text: str) -> None:
    """All of it or nothing: tests that run at once may write the same file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f".{path.name}.{new_id()}")
    try:
        new.write_text(text, "utf-8", newline="\n")
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
