"""The account of a query or a write, rendered as the parts of a manifest."""

from __future__ import annotations

import datetime as dt
import math
import platform
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fusiondelta.account._account import Phase, RunAccount, SourceAccount
from fusiondelta.account._bundle import PlanBundle
from fusiondelta.account._nodes import PlanNode

_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)

#: Floats up to here are whole numbers without loss.
_WHOLE = 2**53

_NO_WRITE: Mapping[str, Any] = {
    "outcome": None,
    "commit_id": None,
    "read_version": None,
    "rows_written": None,
    "bytes_written": None,
    "files_added": None,
    "files_removed": None,
    "write_safety": None,
    "attempts": [],
    "replayed": False,
    "operation_metrics": {},
}
_NO_MODES: Mapping[str, Any] = {"mode": None, "schema_mode": None, "partition_by": []}


def blank(kind: str) -> dict[str, Any]:
    """The parts of a manifest of which nothing is known.

    Args:
        kind: ``query``, ``write`` or ``run``.
    """
    return {
        "operation": {"query": "SELECT", "run": "run"}.get(kind, ""),
        "sources": [],
        "timing": _timing(),
        "result": None,
        "query": None,
        "plan": None,
        "operators": [],
        "io": {
            "requests": {},
            "by_purpose": {},
            "bytes_read": 0,
            "bytes_written": 0,
            "retries": 0,
        },
        "memory": {"peak_bytes": 0, "limit_bytes": None},
        "machine": {},
        "versions": {},
        "tenant": None,
        "tags": {},
        "write": None,
        "items": [],
    }


def account_parts(
    account: RunAccount,
    *,
    plan: PlanBundle | None,
    query: Mapping[str, Any] | None,
    result: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """All parts of the manifest of a query or a write, but what identifies it.

    Args:
        account: What is known of it.
        plan: Its plan bundle, where there is one.
        query: What was asked of a query; what it leaves out is taken from the account.
        result: What came out; what it leaves out is taken from the account.
    """
    return {
        "operation": account.operation,
        "sources": [_source(one) for one in account.sources],
        "timing": _timing(
            submitted=account.submitted,
            ended=account.ended,
            planning=account.planning_seconds,
            execution=account.execution_seconds,
            seconds=account.seconds,
            phases=account.phases,
        ),
        "result": None if result is None else _result(account, result),
        "query": None if account.kind == "write" else _query(account, query or {}),
        "plan": None if plan is None else plan.to_dict(),
        "operators": [_operator(node) for node in account.tree],
        "io": account.io.to_dict(),
        "memory": {"peak_bytes": account.peak_memory, "limit_bytes": account.memory_limit},
        "machine": _machine(account.machine),
        "versions": dict(account.versions),
        "tenant": account.tenant,
        "tags": dict(account.tags),
        "write": _write(account.write) if account.kind == "write" else None,
        "items": [],
    }


def run_parts(
    items: Sequence[Mapping[str, Any]], *, tenant: str | None, tags: Mapping[str, str]
) -> dict[str, Any]:
    """All parts of the manifest of a run, but what identifies it.

    Args:
        items: Manifests of its queries and writes as documents.
        tenant: Who asked.
        tags: Free text by name.
    """
    first = items[0] if items else {}
    return {
        **blank("run"),
        "timing": _run_timing([item["timing"] for item in items]),
        "io": _run_io([item["io"] for item in items]),
        "memory": {
            "peak_bytes": max((item["memory"]["peak_bytes"] for item in items), default=0),
            # Of the run as such there is none: its items may run one after the other.
            "limit_bytes": None,
        },
        "machine": dict(first.get("machine", {})),
        "versions": dict(first.get("versions", {})),
        "tenant": tenant,
        "tags": dict(tags),
        "items": list(items),
    }


def run_snapshots(items: Iterable[Mapping[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Snapshots of the items, in their order, each once."""
    found = {
        (one["alias"], one["uri"], one["version"]): dict(one)
        for item in items
        for one in item["snapshots"]
    }
    return tuple(found.values())


def run_status(statuses: Sequence[str]) -> str:
    """How far a run came.

    ``failed`` and ``cancelled`` where one item did, ``running`` while one does, ``planned`` where
    nothing of it has begun, else ``finished``; also of a run without items.
    """
    for status in ("failed", "cancelled", "running"):
        if status in statuses:
            return status
    begun = not statuses or any(status != "planned" for status in statuses)
    return "finished" if begun else "planned"


def plain(value: Any) -> Any:
    """A value as strict JSON has it: keys are text, what is no finite number is null."""
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): plain(inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(inner) for inner in value]
    if isinstance(value, dt.date | dt.time):
        return value.isoformat()
    return str(value)


def _source(source: SourceAccount) -> dict[str, Any]:
    return {
        "alias": source.alias,
        "kind": source.kind,
        "uri": source.uri,
        "version": source.version,
        "files": source.files,
        "bytes": source.bytes,
        "rows": source.rows,
        "pins": [
            {"path": path, "bytes": size, "modified_ms": modified, "etag": etag}
            for path, size, modified, etag in source.pins
        ],
        "options": dict(source.options),
        "properties": dict(source.properties),
    }


def _timing(
    *,
    submitted: int = 0,
    ended: int = 0,
    planning: float = 0.0,
    execution: float = 0.0,
    seconds: float = 0.0,
    phases: Iterable[Phase] = (),
) -> dict[str, Any]:
    return {
        "submitted": _instant(submitted),
        "submitted_ns": submitted,
        "ended_ns": ended,
        "planning_seconds": planning,
        "execution_seconds": execution,
        "seconds": seconds,
        "phases": [
            {"name": one.name, "started_ns": one.started, "seconds": one.seconds} for one in phases
        ],
    }


def _instant(nanoseconds: int) -> str | None:
    if not nanoseconds:
        return None
    instant = _EPOCH + dt.timedelta(microseconds=nanoseconds // 1000)
    return instant.isoformat(timespec="microseconds")


def _result(account: RunAccount, given: Mapping[str, Any]) -> dict[str, Any]:
    root = account.tree.root
    return {
        "rows": account.rows,
        "batches": account.batches,
        "bytes": account.result_bytes,
        "partitions": root.partitions if root else 1,
        "columns": [],
        "digest": None,
        **given,
    }


def _query(account: RunAccount, given: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "sql": account.sql,
        "parameters": dict(account.parameters),
        "parameters_ipc": None,
        "readonly": None,
        "consistent_at": None,
        "memory_limit": None,
        **given,
    }


def _operator(node: PlanNode) -> dict[str, Any]:
    out = node.to_dict()
    out["metrics"] = {name: _whole(value) for name, value in node.totals.items()}
    return out


def _whole(value: float) -> float:
    """Counts without a decimal point; they are kept as floats."""
    whole = float(value).is_integer() and abs(value) <= _WHOLE
    return int(value) if whole else value


def _machine(given: Mapping[str, Any]) -> dict[str, Any]:
    known = {
        "cores": None,
        "memory_bytes": None,
        "system": None,
        "python": platform.python_version(),
    }
    return {**known, **given}


def _write(given: Mapping[str, Any]) -> dict[str, Any]:
    return {**_NO_WRITE, **given, "modes": {**_NO_MODES, **given.get("modes", {})}}


def _run_timing(timings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    known = [one for one in timings if one["submitted_ns"]]
    begin = min((one["submitted_ns"] for one in known), default=0)
    end = max((_end(one) for one in known), default=0)
    return _timing(
        submitted=begin,
        ended=end,
        planning=sum(one["planning_seconds"] for one in timings),
        execution=sum(one["execution_seconds"] for one in timings),
        seconds=max(end - begin, 0) / 1e9,
    )


def _end(timing: Mapping[str, Any]) -> int:
    """When it ended; of what has not, or does not say, when it had done what it has done."""
    worked: int = timing["submitted_ns"] + round(timing["seconds"] * 1e9)
    return timing.get("ended_ns") or worked


def _run_io(ios: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = blank("run")["io"]
    for io in ios:
        for name in ("requests", "by_purpose"):
            for key, count in io[name].items():
                out[name][key] = out[name].get(key, 0) + count
        for name in ("bytes_read", "bytes_written", "retries"):
            out[name] += io[name]
    return out
