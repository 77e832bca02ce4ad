"""The spans beneath that of a query or write, made of its account once it has ended."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from fusiondelta.account._attributes import Plain, clean, cleaned, of_source

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.trace import Tracer

    from fusiondelta.account._account import Phase, Request, RunAccount
    from fusiondelta.account._nodes import PlanNode

#: Operator of a pinned Delta table; its detail names table and version.
_DELTA_SCAN = "DeltaSnapshotExec"
#: Delta tables with a span of their own.
_MOST_SOURCES = 32
#: Attempts of a write that are told.
_MOST_ATTEMPTS = 32
#: Phases that are told otherwise: a commit in a span of its own, attempts as events.
_OF_COMMITS = frozenset({"attempt", "commit"})
#: Metrics of operators that their spans show, by the name of the attribute.
_OF_OPERATORS = {
    "fusiondelta.rows": "output_rows",
    "fusiondelta.bytes": "output_bytes",
    "fusiondelta.spill": "spilled_bytes",
    "fusiondelta.bytes_scanned": "bytes_scanned",
}
_OF_DELTA_SCANS = {
    "fusiondelta.rows": "output_rows",
    "fusiondelta.files": "files_total",
    "fusiondelta.files_read": "files_after_statistics",
}


class Window(NamedTuple):
    """A time with a beginning and an end, nanoseconds since 1970."""

    start: int
    end: int

    @classmethod
    def of(cls, start: int, seconds: float) -> Window:
        """From a moment on for a while."""
        return cls(start, start + max(int(seconds * 1e9), 0))

    def within(self, other: Window) -> Window:
        """The part of it in another; where there is none, the nearest moment of the other."""
        start = min(max(self.start, other.start), other.end)
        return Window(start, min(max(self.end, start), other.end))

    def holds(self, other: Window) -> bool:
        """Whether another lies in it."""
        return self.start <= other.start and other.end <= self.end


@dataclass(frozen=True, slots=True)
class Emitted:
    """A span that was told.

    Attributes:
        context: Context in which it is the current one.
        window: From when to when it was.
    """

    context: Context
    window: Window


class SpanTree:
    """Tells the spans of one query or write.

    Args:
        tracer: What makes spans.
        root: The span of the query or write.
        account: Its account.
        operators: Most operators that are told.
        requests: Most requests that are.
    """

    def __init__(
        self,
        tracer: Tracer,
        root: Emitted,
        account: RunAccount,
        *,
        operators: int,
        requests: int,
    ) -> None:
        from opentelemetry import trace

        self._api = trace
        self._tracer = tracer
        self._root = root
        self._account = account
        self._operators = operators
        self._requests = requests
        #: Where requests without an operator may belong, outer spans before inner ones.
        self._steps: list[Emitted] = []
        self._by_node: dict[str, Emitted] = {}
        #: Tables whose scans were told, as `_table` has them.
        self._scanned: set[str] = set()

    def emit(self) -> None:
        """Tell them all."""
        account, root = self._account, self._root
        ended = account.ended or root.window.end
        plan = root
        if account.planned or account.kind == "query":
            window = Window(account.submitted, account.planned or ended)
            failed = account.status == "failed" and not account.started
            plan = self._step("fusiondelta.plan", root, window, failed=failed)
        resolved = self._phases(plan)
        if account.started:
            window = Window(account.started, ended)
            failed = account.status == "failed"
            self._nodes(self._step("fusiondelta.execute", root, window, failed=failed))
        commits = [phase for phase in account.phases if phase.name == "commit"]
        for phase in commits[-_MOST_ATTEMPTS:]:
            self._step("fusiondelta.commit", root, Window.of(phase.started, phase.seconds))
        self._unscanned(resolved or plan)
        self._storage()

    def _span(
        self,
        name: str,
        parent: Emitted,
        window: Window,
        attributes: Mapping[str, Plain] | None = None,
        *,
        failed: bool = False,
        client: bool = False,
    ) -> Emitted:
        api = self._api
        window = window.within(parent.window)
        span = self._tracer.start_span(
            name,
            parent.context,
            api.SpanKind.CLIENT if client else api.SpanKind.INTERNAL,
            attributes,
            start_time=window.start,
        )
        if failed:
            span.set_status(api.Status(api.StatusCode.ERROR))
        span.end(window.end)
        return Emitted(api.set_span_in_context(span, parent.context), window)

    def _step(self, name: str, parent: Emitted, window: Window, *, failed: bool = False) -> Emitted:
        made = self._span(name, parent, window, failed=failed)
        self._steps.append(made)
        return made

    # planning

    def _phases(self, plan: Emitted) -> Emitted | None:
        """Phases of planning, those within others beneath them; gives the one that resolves."""
        resolved = None
        above = [plan]
        for phase in sorted(self._account.phases, key=_outer_first):
            if phase.name in _OF_COMMITS:
                continue
            window = Window.of(phase.started, phase.seconds)
            while len(above) > 1 and not above[-1].window.holds(window):
                above.pop()
            above.append(self._step(f"fusiondelta.plan.{phase.name}", above[-1], window))
            if phase.name == "resolve" and resolved is None:
                resolved = above[-1]
        return resolved

    def _unscanned(self, parent: Emitted) -> None:
        """Delta tables that no operator has read: what was read of them is their log."""
        account = self._account
        for source in account.sources[:_MOST_SOURCES]:
            if source.kind != "delta" or source.version is None:
                continue
            if _table(source.uri, source.version) not in self._scanned:
                attributes = of_source([source], source.uri, source.version)
                self._span("fusiondelta.read_delta", parent, parent.window, attributes)

    # execution

    def _nodes(self, execute: Emitted) -> None:
        """Scans of Delta tables and the most expensive operators, as they lie in the plan."""
        windows = self._windows()
        chosen = self._most_expensive(windows)
        scans = 0
        for node in self._account.tree:
            is_scan = node.operator == _DELTA_SCAN and node.id in windows and scans < _MOST_SOURCES
            if not is_scan and node.id not in chosen:
                continue
            parent = self._above(node.parent, execute)
            if is_scan:
                scans += 1
                self._scanned.add(_scanned(node))
                name, attributes = "fusiondelta.read_delta", self._of_scan(node)
            else:
                name, attributes = "fusiondelta.operator", _of_operator(node)
            self._by_node[node.id] = self._span(name, parent, windows[node.id], attributes)

    def _windows(self) -> dict[str, Window]:
        """When operators worked; of a Delta scan, when those beneath it did."""
        nodes = self._account.tree.nodes
        found = {node.id: window for node in nodes if (window := _measured_window(node))}
        for scan in nodes:
            if scan.operator == _DELTA_SCAN:
                beneath = f"{scan.id}."
                inner = [w for n, w in found.items() if n == scan.id or n.startswith(beneath)]
                if inner:
                    found[scan.id] = Window(min(w.start for w in inner), max(w.end for w in inner))
        return found

    def _most_expensive(self, windows: Mapping[str, Window]) -> set[str]:
        def cost(node: PlanNode) -> tuple[float, int]:
            window = windows[node.id]
            return node.seconds, window.end - window.start

        nodes = [
            node
            for node in self._account.tree
            if node.id in windows and node.operator != _DELTA_SCAN
        ]
        return {node.id for node in heapq.nlargest(self._operators, nodes, cost)}

    def _of_scan(self, node: PlanNode) -> dict[str, Plain]:
        table = _scanned(node)
        named = [
            source
            for source in self._account.sources
            if source.version is not None and _table(source.uri, source.version) == table
        ]
        attributes: dict[str, Plain] = {}
        if named and named[0].version is not None:
            attributes = of_source(named, named[0].uri, named[0].version)
        return {**attributes, **_measured(node, _OF_DELTA_SCANS), "fusiondelta.node": node.id}

    def _above(self, node_id: str | None, otherwise: Emitted) -> Emitted:
        """The nearest operator upwards that was told."""
        while node_id:
            if node_id in self._by_node:
                return self._by_node[node_id]
            node_id = node_id.rpartition(".")[0]
        return otherwise

    # storage

    def _storage(self) -> None:
        """Requests: those that failed, then the slowest, in the order they began."""
        chosen = heapq.nlargest(
            self._requests, self._account.requests, lambda one: (bool(one.failure), one.seconds)
        )
        for request in sorted(chosen, key=lambda one: one.started):
            window = Window.of(request.started, request.seconds)
            self._span(
                f"fusiondelta.storage.{clean(request.operation)}",
                self._asker(request, window),
                window,
                _of_request(request),
                failed=bool(request.failure),
                client=True,
            )

    def _asker(self, request: Request, window: Window) -> Emitted:
        """The innermost span that a request lies in: its operator, or a step."""
        node_id = request.node
        while node_id:
            found = self._by_node.get(node_id)
            if found is not None and found.window.holds(window):
                return found
            node_id = node_id.rpartition(".")[0]
        for step in reversed(self._steps):
            if step.window.holds(window):
                return step
        return self._root


def attempts(account: RunAccount) -> Iterator[tuple[int, dict[str, Plain]]]:
    """Attempts of a write as events: when each began, and what came of it."""
    began = [phase.started for phase in account.phases if phase.name == "attempt"]
    told: Iterable[Mapping[str, object]] = account.write.get("attempts", ())
    for number, attempt in enumerate(list(told)[:_MOST_ATTEMPTS]):
        at = began[number] if number < len(began) else account.submitted
        tried = attempt.get("tried")
        versions = [" ".join(map(str, one)) for one in tried] if isinstance(tried, list) else []
        values = {name: attempt.get(name) for name in ("number", "conflict", "winning_version")}
        named = {f"fusiondelta.attempt.{name}": value for name, value in values.items()}
        yield (
            at,
            cleaned(
                {
                    **named,
                    "fusiondelta.attempt.tried": ", ".join(versions) or None,
                    "fusiondelta.attempt.waited": attempt.get("waited"),
                }
            ),
        )


def _outer_first(phase: Phase) -> tuple[int, float]:
    return phase.started, -phase.seconds


def _table(uri: str, version: int) -> str:
    return f"{_DELTA_SCAN}: table={uri}, version={version}"


def _scanned(node: PlanNode) -> str:
    """Table and version of a scan, as `_table` has them."""
    head, comma, rest = node.detail.rpartition(", version=")
    digits = rest.partition(",")[0].strip()
    return f"{head}{comma}{digits}"


def _measured_window(node: PlanNode) -> Window | None:
    """When an operator worked; None where that is not measured."""
    start, end = node.total("start_timestamp"), node.total("end_timestamp")
    return Window(int(start), int(end)) if 0 < start <= end else None


def _measured(node: PlanNode, names: Mapping[str, str]) -> dict[str, Plain]:
    """Metrics that an operator has, by the names of attributes."""
    return {
        attribute: int(node.totals[metric])
        for attribute, metric in names.items()
        if metric in node.totals and (node.totals[metric] or metric != "spilled_bytes")
    }


def _of_operator(node: PlanNode) -> dict[str, Plain]:
    return {
        # Not its detail, which has literals of the query and names of files.
        "fusiondelta.operator": clean(node.operator),
        "fusiondelta.node": node.id,
        "fusiondelta.partitions": node.partitions,
        "fusiondelta.compute": node.seconds,
        **_measured(node, _OF_OPERATORS),
    }


def _of_request(request: Request) -> dict[str, Plain]:
    attributes: dict[str, Plain] = {
        "fusiondelta.storage.operation": clean(request.operation),
        "fusiondelta.storage.purpose": clean(request.purpose),
        "fusiondelta.storage.location": clean(request.location),
        "fusiondelta.storage.bytes": request.bytes,
    }
    if request.retry:
        attributes["fusiondelta.storage.retry"] = True
    if request.failure:
        attributes["error.type"] = clean(request.failure)
    return attributes
