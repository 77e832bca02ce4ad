"""What the tests of changes share: small tables in any layout, and changes that are refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.harness.readers import read_back

VECTORS = {"delta.enableDeletionVectors": "true"}
FEED = {"delta.enableChangeDataFeed": "true"}


def make(
    engine: Any,
    uri: Path,
    data: pa.Table,
    *,
    files: int = 1,
    by: str | Sequence[str] | None = None,
    properties: dict[str, str] | None = None,
) -> Path:
    """A table of so many files, or of as many as there are partitions in each of so many writes."""
    step = max(1, -(-data.num_rows // files))
    parts = [data.slice(at, step) for at in range(0, data.num_rows, step)] or [data]
    for part in parts:
        engine.write_delta(uri, part, partition_by=by, properties=properties)
    return uri


def column(engine: Any, uri: Path, name: str = "id") -> list[Any]:
    """Values of one column that all readers find, in order."""
    return sorted(row[name] for row in read_back(engine, uri))


def files(uri: Path) -> list[str]:
    """Every file below a folder: data, log and deletion vectors."""
    uri = Path(uri)
    return sorted(p.relative_to(uri).as_posix() for p in uri.rglob("*") if p.is_file())


@contextlib.contextmanager
def refused(
    uri: Path,
    error: type[Exception] | tuple[type[Exception], ...],
    match: str | None = None,
) -> Iterator[pytest.ExceptionInfo]:
    """What is done within raises the error, commits nothing and leaves no file behind."""
    before = files(uri)
    with pytest.raises(error, match=match) as caught:
        yield caught
    assert "panic" not in str(caught.value)
    assert files(uri) == before


def create_by_hand(
    uri: Path,
    fields: Sequence[dict[str, Any]],
    *,
    protocol: dict[str, Any],
    by: Sequence[str] = (),
    properties: dict[str, str] | None = None,
) -> Path:
    """An empty table as another engine makes it, with what has no option here."""
    schema = {"type": "struct", "fields": [{"nullable": True, "metadata": {}, **f} for f in fields]}
    metadata = {
        "id": "5fba94ed-9794-4965-ba6e-6ee3c0d22af9",
        "format": {"provider": "parquet", "options": {}},
        "schemaString": json.dumps(schema),
        "partitionColumns": list(by),
        "configuration": properties or {},
        "createdTime": 1_700_000_000_000,
    }
    log = Path(uri) / "_delta_log"
    log.mkdir(parents=True)
    lines = [{"protocol": protocol}, {"metaData": metadata}]
    (log / f"{0:020}.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return uri
