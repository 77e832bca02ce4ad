"""For your own tests: hold plans, requests and pruning, and play rivals and failing stores."""

from fusiondelta.testing._faults import (
    DropAnswer,
    ExpiredCredentials,
    Fault,
    Hang,
    Latency,
    Permanent,
    Request,
    Reset,
    ResetMidBody,
    Rule,
    SlowBody,
    Status,
    StatusAfter,
    Throttle,
    Truncate,
    WrongContentLength,
)
from fusiondelta.testing._io import assert_io
from fusiondelta.testing._plans import assert_plan
from fusiondelta.testing._proxy import FaultProxy
from fusiondelta.testing._pruning import assert_pruned
from fusiondelta.testing._rows import assert_same_rows
from fusiondelta.testing._writers import STEPS, Held, Step, Writer, two_writers

__all__ = [
    "STEPS",
    "DropAnswer",
    "ExpiredCredentials",
    "Fault",
    "FaultProxy",
    "Hang",
    "Held",
    "Latency",
    "Permanent",
    "Request",
    "Reset",
    "ResetMidBody",
    "Rule",
    "SlowBody",
    "Status",
    "StatusAfter",
    "Step",
    "Throttle",
    "Truncate",
    "Writer",
    "WrongContentLength",
    "assert_io",
    "assert_plan",
    "assert_pruned",
    "assert_same_rows",
    "two_writers",
]
