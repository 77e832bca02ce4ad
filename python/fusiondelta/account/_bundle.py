"""`PlanBundle`: everything that explains how a query was planned."""

from __future__ import annotations

import difflib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

_KEY_SETTINGS = re.compile(r"^datafusion\.(execution|runtime|optimizer|explain|sql_parser)\.")

# What differs from machine to machine and run to run, and what stands for it in a normalised plan.
_NORMAL = (
    (re.compile(r"file_groups=\{\d+ groups?: \[.*?\]\]\}"), "file_groups=<files>"),
    (re.compile(r"file_groups=\{\d+ groups?: \[\[.*?\]\]\.?\.?\.?\}"), "file_groups=<files>"),
    (re.compile(r"[a-z][a-z0-9+.-]*://[^\s,\]})]+"), "<uri>"),
    (re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b"), "<id>"),
    (re.compile(r"RoundRobinBatch\(\d+\)"), "RoundRobinBatch(<n>)"),
    (re.compile(r"(Hash\(\[.*?\]), \d+\)"), r"\1, <n>)"),
    (re.compile(r"input_partitions=\d+"), "input_partitions=<n>"),
    (re.compile(r"partition_sizes=\[[^\]]*\]"), "partition_sizes=<sizes>"),
    (re.compile(r"statistics=\[[^\n]*\]"), "statistics=<statistics>"),
    (re.compile(r"metrics=\[[^\n]*\]"), "metrics=<metrics>"),
    # A snapshot is said beside the plan: each commit to a table would be another plan.
    (re.compile(r"(DeltaSnapshotExec: [^\n]*version=)\d+"), r"\1<n>"),
)


def normalize(text: str) -> str:
    """Plan text without paths, identifiers, versions, sizes and counts of partitions."""
    for pattern, replacement in _NORMAL:
        text = pattern.sub(replacement, text)
    return "\n".join(line.rstrip() for line in text.splitlines())


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanBundle:
    """A plan and all that it depends on.

    Attributes:
        sql: Text of the query, None for a DataFrame.
        parameters: Bound parameters as text, by name.
        logical_plan: Parsed and bound; of a query that went through a context as it crossed into
            the extension, with subqueries decorrelated.
        optimized_plan: After the extension's optimizer.
        physical_plan: One line for each operator, with statistics.
        physical_tree: The same as boxes (``datafusion.explain.format=tree``).
        logical_proto: Base64 of the protobuf of `optimized_plan`, of a query that runs natively and
            has one.
            Tables are numbers in it, which no other engine knows.
        physical_proto: Base64 of the physical plan's protobuf, where it has one.
        physical_proto_missing: Why it has none.
        settings: Every setting of the session.
        versions: Versions by component.
        snapshots: Canonical URI and version by alias.
    """

    sql: str | None
    parameters: Mapping[str, str]
    logical_plan: str
    optimized_plan: str
    physical_plan: str
    physical_tree: str
    physical_proto: str | None
    physical_proto_missing: str | None
    settings: Mapping[str, str | None]
    versions: Mapping[str, str]
    snapshots: Mapping[str, tuple[str, int]]
    logical_proto: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def key_settings(self) -> dict[str, str | None]:
        """Settings that plans and their speed depend on."""
        return {k: v for k, v in self.settings.items() if _KEY_SETTINGS.match(k)}

    @property
    def fingerprint(self) -> str:
        """Hash of the normalised plan, the snapshots, the key settings and the versions."""
        parts = [
            self.normalized(),
            sorted((a, *s) for a, s in self.snapshots.items()),
            sorted(self.key_settings.items()),
            sorted(self.versions.items()),
        ]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, with ``key_settings`` and ``fingerprint``."""
        out = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("parameters", "settings", "versions", "extra"):
            out[name] = dict(out[name])
        out["snapshots"] = [
            {"alias": alias, "uri": uri, "version": version}
            for alias, (uri, version) in self.snapshots.items()
        ]
        out["key_settings"] = self.key_settings
        out["fingerprint"] = self.fingerprint
        return out

    def to_json(self) -> str:
        """`to_dict` as JSON, keys sorted."""
        return json.dumps(self.to_dict(), indent=2, sort_keys=True, default=str)

    def normalized(self) -> str:
        """Plans as text that is the same on every machine: what golden files hold.

        Paths, identifiers, versions of tables, sizes, statistics and counts of partitions are
        replaced by names. The shape still depends on ``target_partitions`` being one or more.
        """
        return (
            f"-- logical\n{normalize(self.optimized_plan)}\n"
            f"-- physical\n{normalize(self.physical_plan)}\n"
        )

    def diff(self, other: PlanBundle) -> dict[str, Any]:
        """What differs from this bundle to another: snapshots, settings, versions, plan shape."""

        def changed(a: Mapping[str, Any], b: Mapping[str, Any]) -> dict[str, list[Any]]:
            return {k: [a.get(k), b.get(k)] for k in sorted({*a, *b}) if a.get(k) != b.get(k)}

        plan = difflib.unified_diff(
            self.normalized().splitlines(), other.normalized().splitlines(), lineterm="", n=1
        )
        return {
            "snapshots": changed(self.snapshots, other.snapshots),
            "settings": changed(self.settings, other.settings),
            "versions": changed(self.versions, other.versions),
            "plan": list(plan),
        }
