"""The account of a query: plan bundle, metrics, requests, manifest, profile, telemetry."""

import typing as _typing

from fusiondelta._lazy import lazily as _lazily

if _typing.TYPE_CHECKING:
    from fusiondelta.account._account import Phase, Request, RunAccount, SourceAccount
    from fusiondelta.account._books import Accountable, Books, Entry, error_facts
    from fusiondelta.account._bundle import PlanBundle
    from fusiondelta.account._call import Call
    from fusiondelta.account._diff import ManifestDiff, diff_manifests
    from fusiondelta.account._io import QueryIo
    from fusiondelta.account._logs import LogCorrelation
    from fusiondelta.account._manifest import RunManifest
    from fusiondelta.account._nodes import PlanNode, PlanTree, Skew
    from fusiondelta.account._problem import Problem
    from fusiondelta.account._profile import ProfileComparison, QueryProfile
    from fusiondelta.account._progress import QueryProgress
    from fusiondelta.account._replay import ReplayReport
    from fusiondelta.account._run import Run
    from fusiondelta.account._slow import SlowQuery

__getattr__, __dir__ = _lazily(
    __name__,
    {
        "fusiondelta.account._account": ["Phase", "Request", "RunAccount", "SourceAccount"],
        "fusiondelta.account._books": ["Accountable", "Books", "Entry", "error_facts"],
        "fusiondelta.account._bundle": ["PlanBundle"],
        "fusiondelta.account._call": ["Call"],
        "fusiondelta.account._diff": ["ManifestDiff", "diff_manifests"],
        "fusiondelta.account._io": ["QueryIo"],
        "fusiondelta.account._logs": ["LogCorrelation"],
        "fusiondelta.account._manifest": ["RunManifest"],
        "fusiondelta.account._nodes": ["PlanNode", "PlanTree", "Skew"],
        "fusiondelta.account._problem": ["Problem"],
        "fusiondelta.account._profile": ["ProfileComparison", "QueryProfile"],
        "fusiondelta.account._progress": ["QueryProgress"],
        "fusiondelta.account._replay": ["ReplayReport"],
        "fusiondelta.account._run": ["Run"],
        "fusiondelta.account._slow": ["SlowQuery"],
    },
)

__all__ = [
    "Accountable",
    "Books",
    "Call",
    "Entry",
    "LogCorrelation",
    "ManifestDiff",
    "Phase",
    "PlanBundle",
    "PlanNode",
    "PlanTree",
    "Problem",
    "ProfileComparison",
    "QueryIo",
    "QueryProfile",
    "QueryProgress",
    "ReplayReport",
    "Request",
    "Run",
    "RunAccount",
    "RunManifest",
    "Skew",
    "SlowQuery",
    "SourceAccount",
    "diff_manifests",
    "error_facts",
]
