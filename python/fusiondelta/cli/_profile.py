"""What a query cost, as text and as plain values."""

from __future__ import annotations

import textwrap
from typing import Any

from fusiondelta.account._account import RunAccount
from fusiondelta.account._advice import problems
from fusiondelta.account._nodes import PlanNode
from fusiondelta.account._units import count, counted, part, seconds, size
from fusiondelta.account._ways import Ways, memory_bytes
from fusiondelta.cli._table import render_table
from fusiondelta.cli._text import plain

#: Operators that the summary names, and characters of their lines.
_NAMED = 10
_DETAIL = 60


def facts(account: RunAccount) -> dict[str, Any]:
    """What ``--json`` prints: totals, operators with the most expensive first, problems."""
    ways = Ways(account.tree)
    return {
        "query_id": account.query_id,
        "status": account.status,
        "seconds": account.seconds,
        "planning_seconds": account.planning_seconds,
        "execution_seconds": account.execution_seconds,
        "rows": account.rows,
        "result_bytes": account.result_bytes,
        "peak_memory": account.peak_memory,
        "io": account.io.to_dict(),
        "operators": [
            {**node.to_dict(), "share": ways.share(node), "seconds": node.seconds}
            for node in _by_cost(account)
        ],
        "problems": [
            {
                "name": one.name,
                "node": one.node,
                "severity": one.severity,
                "what": one.what,
                "advice": one.advice,
            }
            for one in problems(account)
        ],
    }


def summary(account: RunAccount) -> str:
    """The totals, the most expensive operators, and the problems with advice."""
    return "\n".join([*_totals(account), "", _operators(account), *_problems(account)])


def _totals(account: RunAccount) -> list[str]:
    io = account.io
    requests = sum(io.requests.values())
    return [
        f"{counted(account.rows, 'row')} in {seconds(account.seconds)}: "
        f"planning {seconds(account.planning_seconds)}, "
        f"execution {seconds(account.execution_seconds)}",
        f"{size(io.bytes_read)} read in {counted(requests, 'request')}; "
        f"{size(account.peak_memory)} of memory at most",
    ]


def _operators(account: RunAccount) -> str:
    ways = Ways(account.tree)
    rows = [
        [
            part(ways.share(node)),
            seconds(node.seconds),
            count(node.rows),
            size(memory_bytes(node)),
            node.id,
            textwrap.shorten(plain(node.detail or node.operator), _DETAIL, placeholder=" …"),
        ]
        for node in _by_cost(account)[:_NAMED]
    ]
    names = ("share", "time", "rows", "memory", "node", "operator")
    return render_table(names, rows, [True, True, True, True, False, False])


def _problems(account: RunAccount) -> list[str]:
    lines = []
    for one in problems(account):
        at = f" ({one.node})" if one.node else ""
        lines += [f"{one.severity}: {one.name}{at}", f"  {one.what}", f"  {one.advice}"]
    return lines or ["no problems found"]


def _by_cost(account: RunAccount) -> list[PlanNode]:
    return sorted(account.tree, key=lambda node: node.seconds, reverse=True)
