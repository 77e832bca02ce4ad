"""`RunManifest`: a query, a write, or a run of several as one JSON document."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fusiondelta.account._account import RunAccount
from fusiondelta.account._bundle import PlanBundle
from fusiondelta.account._document import (
    account_parts,
    blank,
    plain,
    run_parts,
    run_snapshots,
    run_status,
)
from fusiondelta.account._files import write_whole
from fusiondelta.account._parameters import encode_parameters
from fusiondelta.account._schema import SCHEMA_VERSION, check_manifest
from fusiondelta.errors import ConfigurationError, ObjectNotFoundError, StorageError

if TYPE_CHECKING:
    from fusiondelta.account._diff import ManifestDiff

__all__ = ["SCHEMA_VERSION", "RunManifest", "encode_parameters"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunManifest:
    """What ran, on what, what it cost and how it ended.

    The document's layout is the JSON schema ``manifest.schema.json`` of this package.

    Attributes:
        run_id: Identifier of the run.
        query_id: Identifier of the query or write; empty of a run of several.
        session_id: Identifier of the context; empty of a write and of a run.
        kind: ``query``, ``write`` or ``run``.
        snapshots: ``{"alias", "uri", "version"}`` of each Delta table read or written.
        status: ``planned``, ``running``, ``finished``, ``failed`` or ``cancelled``.
        error: Class, kind and message of the exception, of a failed run.
        content: All other keys of the document by name.
        pinned: Whether the versions it names are to be kept.
    """

    run_id: str
    query_id: str
    session_id: str
    kind: str
    snapshots: tuple[Mapping[str, Any], ...]
    status: str
    error: Mapping[str, str] | None = None
    content: Mapping[str, Any] = field(default_factory=dict)
    pinned: bool = False

    @classmethod
    def of_account(
        cls,
        account: RunAccount,
        *,
        plan: PlanBundle | None = None,
        query: Mapping[str, Any] | None = None,
        result: Mapping[str, Any] | None = None,
        pinned: bool = False,
    ) -> RunManifest:
        """The manifest of one query or write.

        Args:
            account: What is known of it.
            plan: Its plan bundle; None of a write, or where it was not captured.
            query: What was asked of a query: ``sql``, ``parameters``, ``parameters_ipc``
                (`encode_parameters` gives it), ``readonly``, ``consistent_at``, ``memory_limit``.
                What is missing is taken from the account, or not known.
            result: What came out: ``rows``, ``batches``, ``bytes``, ``partitions``, ``columns``,
                ``digest``. Missing ones are taken from the account. None of a write, or of what
                failed before it had a plan.
            pinned: Whether the versions it names are to be kept.
        """
        return cls(
            run_id=account.run_id,
            query_id=account.query_id,
            session_id=account.session_id,
            kind=account.kind,
            snapshots=tuple(
                {"alias": alias, "uri": key.uri, "version": key.version}
                for alias, key in sorted(account.snapshots.items())
            ),
            status=account.status,
            error=account.error,
            content=account_parts(account, plan=plan, query=query, result=result),
            pinned=pinned,
        )

    @classmethod
    def of_run(
        cls,
        run_id: str,
        items: Sequence[RunManifest],
        *,
        tenant: str | None = None,
        tags: Mapping[str, str] | None = None,
        pinned: bool = False,
    ) -> RunManifest:
        """The manifest of several queries and writes.

        Args:
            run_id: Identifier of the run.
            items: Their manifests, in the order they were submitted.
            tenant: Who asked.
            tags: Free text by name.
            pinned: Whether the versions it names are to be kept.
        """
        documents = [item.to_dict() for item in items]
        failures = [item.error for item in items if item.status == "failed"]
        return cls(
            run_id=run_id,
            query_id="",
            session_id="",
            kind="run",
            snapshots=run_snapshots(documents),
            status=run_status([item.status for item in items]),
            error=next((error for error in failures if error), None),
            content=run_parts(documents, tenant=tenant, tags=tags or {}),
            pinned=pinned,
        )

    @classmethod
    def from_dict(cls, document: Mapping[str, Any]) -> RunManifest:
        """The manifest that a document holds.

        Args:
            document: As `to_dict` gives it. Keys that are not known here are kept.

        Raises:
            ConfigurationError: It is no manifest, or of another version of the layout.
        """
        check_manifest(document)
        own = {one.name for one in fields(cls)} - {"content"}
        values = {name: document[name] for name in own}
        values["snapshots"] = tuple(document["snapshots"])
        rest = {k: v for k, v in document.items() if k not in own and k != "schema_version"}
        return cls(**values, content=rest)

    @classmethod
    def from_json(cls, text: str) -> RunManifest:
        """The manifest that a JSON text holds.

        Raises:
            ConfigurationError: It is no JSON, no manifest, or of another version of the layout.
        """
        try:
            document = json.loads(text, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"a manifest is JSON, and this is not: {error}") from error
        return cls.from_dict(document)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> RunManifest:
        """The manifest in a file.

        Raises:
            ConfigurationError: The file holds no manifest, or one of another layout.
            ObjectNotFoundError: There is no such file.
            StorageError: It cannot be read.
        """
        try:
            text = Path(path).read_text("utf-8")
        except FileNotFoundError as error:
            raise ObjectNotFoundError(f"there is no manifest at {os.fspath(path)!r}") from error
        except OSError as error:
            raise StorageError(f"the manifest cannot be read: {error}") from error
        except UnicodeDecodeError as error:
            raise ConfigurationError(f"{os.fspath(path)!r} is no manifest: {error}") from error
        try:
            return cls.from_json(text)
        except ConfigurationError as error:
            raise ConfigurationError(f"{os.fspath(path)!r}: {error.message}") from error

    def to_dict(self) -> dict[str, Any]:
        """The document as plain values, ``content`` spread among the top-level keys."""
        document = {
            **blank(self.kind),
            **self.content,
            "schema_version": SCHEMA_VERSION,
            "run_id": self.run_id,
            "query_id": self.query_id,
            "session_id": self.session_id,
            "kind": self.kind,
            "status": self.status,
            "error": dict(self.error) if self.error else None,
            "snapshots": [dict(s) for s in self.snapshots],
            "pinned": self.pinned,
        }
        out: dict[str, Any] = plain(document)
        return out

    def to_json(self, *, indent: int | None = 2) -> str:
        """`to_dict` as strict JSON, keys sorted, in ASCII.

        Args:
            indent: Spaces for each level; one line where None, which is made ten times as fast.
        """
        return json.dumps(self.to_dict(), indent=indent, sort_keys=True, allow_nan=False)

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the document to a file, which has all of it or is as it was before.

        Args:
            path: The file; what is there is replaced. Its folder has to exist.

        Raises:
            StorageError: It cannot be written.
        """
        try:
            write_whole(Path(path), self.to_json() + "\n")
        except OSError as error:
            raise StorageError(f"the manifest cannot be written: {error}") from error

    def diff(self, other: RunManifest) -> ManifestDiff:
        """What changed from this run to another, what explains most first.

        Raises:
            ConfigurationError: The content of one of them is not what manifests hold.
        """
        from fusiondelta.account._diff import diff_manifests

        return diff_manifests(self.to_dict(), other.to_dict())


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no number of JSON")
