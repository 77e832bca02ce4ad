"""Attributes of spans and metrics: cleaned, bounded, and without secrets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from fusiondelta.account._statement import shown, summary

if TYPE_CHECKING:
    from fusiondelta.account._account import RunAccount, SourceAccount
    from fusiondelta.account._call import Call

#: What an attribute holds here.
Plain = bool | int | float | str

SYSTEM = "fusiondelta"
#: Characters of a value, and of a name.
_LONGEST = 2048
_LONGEST_NAME = 128
#: Tags, and snapshots, that a span names; the SDK drops attributes beyond 128 in all.
_MOST = 32
#: What OTLP holds as a number.
_INT64 = range(-(2**63), 2**63)
#: Characters of an operation as an attribute of metrics.
_LONGEST_OPERATION = 64
#: Numbers of a write that its span shows.
_OF_A_WRITE = (
    "outcome",
    "commit_id",
    "read_version",
    "rows_written",
    "bytes_written",
    "files_added",
    "files_removed",
    "write_safety",
    "replayed",
)


def clean(value: object, longest: int = _LONGEST) -> Plain:
    """A value that every exporter can send: one that cannot is dropped with its whole batch."""
    if type(value) is str and len(value) <= longest and value.isascii():
        return value
    if isinstance(value, bool | float):
        return value
    if isinstance(value, int) and value in _INT64:
        return int(value)
    try:
        text = str(value)
    except Exception:
        text = f"<{type(value).__name__}>"
    if len(text) > longest:
        text = f"{text[:longest]}…"
    return text.encode("utf-8", "replace").decode()


def cleaned(values: Mapping[str, object]) -> dict[str, Plain]:
    """Those that are not None, cleaned."""
    return {
        str(clean(name, _LONGEST_NAME)): clean(value)
        for name, value in values.items()
        if value is not None
    }


def of_call(call: Call, *, statement: bool) -> dict[str, Plain]:
    """Attributes of a span that begins; samplers see these.

    Args:
        call: What begins.
        statement: Whether the text of the query is told.
    """
    found = cleaned(
        {
            "db.system.name": SYSTEM,
            "db.operation.name": call.operation,
            "db.collection.name": call.table,
            "fusiondelta.query_id": call.query_id,
            "fusiondelta.run_id": call.run_id,
            "fusiondelta.tenant": call.tenant,
            **{f"fusiondelta.tag.{k}": v for k, v in list(call.tags.items())[:_MOST]},
        }
    )
    if statement and call.sql:
        found["db.query.text"] = clean(shown(call.sql), len(call.sql) + 1)
    return found


def of_account(account: RunAccount) -> dict[str, Plain]:
    """Attributes of a span that ends."""
    io = account.io
    snapshots = list(account.snapshots.items())[:_MOST]
    names = collections(account)
    values: dict[str, object] = {
        "db.operation.name": account.operation,
        "db.query.summary": summary(account.operation, names[:_MOST]),
        "db.collection.name": names[0] if len(names) == 1 else None,
        "fusiondelta.status": account.status,
        "fusiondelta.session_id": account.session_id or None,
        "fusiondelta.memory.peak": account.peak_memory,
        "fusiondelta.spill": int(account.tree.total("spilled_bytes")),
        "fusiondelta.storage.requests": sum(io.requests.values()),
        "fusiondelta.storage.retries": io.retries,
        "fusiondelta.storage.bytes_read": io.bytes_read,
        "fusiondelta.storage.bytes_written": io.bytes_written,
        **{f"fusiondelta.snapshot.{alias}": str(key) for alias, key in snapshots},
    }
    if account.kind == "write":
        values |= {f"fusiondelta.write.{name}": account.write.get(name) for name in _OF_A_WRITE}
    else:
        values |= {
            "db.response.returned_rows": account.rows,
            "fusiondelta.batches": account.batches,
            "fusiondelta.bytes": account.result_bytes,
        }
    return cleaned(values)


def collections(account: RunAccount) -> list[str]:
    """What was read by the names the query has for it; of a write the table."""
    if account.kind == "write":
        return [key.uri for alias, key in account.snapshots.items() if alias == "target"]
    return [source.alias for source in account.sources]


def of_source(sources: Iterable[SourceAccount], uri: str, version: int) -> dict[str, Plain]:
    """Attributes of the reading of a Delta table."""
    aliases = [source.alias for source in sources]
    return cleaned(
        {
            "db.collection.name": aliases[0] if len(aliases) == 1 else None,
            "fusiondelta.alias": ", ".join(aliases) or None,
            "fusiondelta.uri": uri,
            "fusiondelta.version": version,
        }
    )


def of_metric(operation: str, tenant: str | None, error: str | None = None) -> dict[str, Plain]:
    """Attributes of a measurement: few values each, and no ids."""
    found: dict[str, Plain] = {
        "db.system.name": SYSTEM,
        "db.operation.name": clean(operation, _LONGEST_OPERATION),
    }
    if tenant is not None:
        found["fusiondelta.tenant"] = clean(tenant, _LONGEST_NAME)
    if error is not None:
        found["error.type"] = clean(error, _LONGEST_NAME)
    return found
