"""Values of table properties, looked at before they are in the log of a table.

Names and forms are those of the protocol and of delta-spark ("Table properties reference");
properties that are not listed here are anybody's own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from fusiondelta.errors import ConfigurationError

_INTERVAL = re.compile(
    r"(interval\s+)?(\d+\s+(nanosecond|microsecond|millisecond|second|minute|hour|day|week)s?\s*)+",
    re.IGNORECASE,
)
_SIZE = re.compile(r"\d+\s*(b|[kmgt]i?b?)?", re.IGNORECASE)


def _whole(least: int) -> Callable[[str], bool]:
    return lambda value: re.fullmatch(r"-?\d{1,18}", value) is not None and int(value) >= least


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value.lower() in {one.lower() for one in values}


_BOOLEAN = ("true or false", _one_of("true", "false"))
_SPAN = ("an interval like 'interval 7 days'", lambda v: _INTERVAL.fullmatch(v) is not None)
_BYTES = ("a number of bytes", lambda v: _SIZE.fullmatch(v) is not None)

_FORMS: Mapping[str, tuple[str, Callable[[str], bool]]] = {
    "delta.appendOnly": _BOOLEAN,
    "delta.autoOptimize.autoCompact": _BOOLEAN,
    "delta.autoOptimize.optimizeWrite": _BOOLEAN,
    "delta.checkpoint.writeStatsAsJson": _BOOLEAN,
    "delta.checkpoint.writeStatsAsStruct": _BOOLEAN,
    "delta.checkpointInterval": ("a whole number of at least 1", _whole(1)),
    "delta.checkpointPolicy": ("classic or v2", _one_of("classic", "v2")),
    "delta.columnMapping.mode": ("none, name or id", _one_of("none", "name", "id")),
    "delta.dataSkippingNumIndexedCols": ("a whole number of at least -1", _whole(-1)),
    "delta.deletedFileRetentionDuration": _SPAN,
    "delta.enableChangeDataFeed": _BOOLEAN,
    "delta.enableDeletionVectors": _BOOLEAN,
    "delta.enableExpiredLogCleanup": _BOOLEAN,
    "delta.enableInCommitTimestamps": _BOOLEAN,
    "delta.enableRowTracking": _BOOLEAN,
    "delta.enableTypeWidening": _BOOLEAN,
    "delta.isolationLevel": (
        "Serializable, WriteSerializable or SnapshotIsolation",
        _one_of("Serializable", "WriteSerializable", "SnapshotIsolation"),
    ),
    "delta.logRetentionDuration": _SPAN,
    "delta.minReaderVersion": ("a whole number of at least 1", _whole(1)),
    "delta.minWriterVersion": ("a whole number of at least 1", _whole(1)),
    "delta.randomizeFilePrefixes": _BOOLEAN,
    "delta.setTransactionRetentionDuration": _SPAN,
    "delta.targetFileSize": _BYTES,
    "delta.tuneFileSizesForRewrites": _BOOLEAN,
}


def check_properties(properties: Mapping[str, str]) -> None:
    """Refuse values that readers and writers of the table could not read.

    Raises:
        ConfigurationError: Names the property, its value and what it takes.
    """
    for name, value in properties.items():
        if not isinstance(value, str):
            raise ConfigurationError(
                f"the property {name} is text, not {type(value).__name__}: {value!r}"
            )
        form = _FORMS.get(name)
        if form is not None and not form[1](value.strip()):
            raise ConfigurationError(f"the property {name} is {form[0]}, not {value!r}")
