"""What an optimize would rewrite, from the files of a table alone."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from fusiondelta.errors import ConfigurationError
from fusiondelta.profiles._sizes import parse_bytes

#: Of tables that say nothing, in bytes.
_TARGET = 100 * 2**20
_PROPERTY = "delta.targetFileSize"
_PARTITION = "partition."


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What would be rewritten.

    Attributes:
        files: Files that were looked at.
        files_removed: Those of them that would be rewritten.
        bytes_removed: Their size.
        files_added: Files that would take their place; None where that depends on the rows.
        partitions: Partitions with such files.
        target_size: Bytes of a file that it aims at.
    """

    files: int
    files_removed: int
    bytes_removed: int
    files_added: int | None
    partitions: int
    target_size: int


def check_columns(
    partition_columns: Sequence[str], where: Sequence[tuple[str, str, Any]], z_order: Sequence[str]
) -> None:
    """Refuse filters of other than partition columns, and an order by one of these.

    Args:
        partition_columns: Of the table.
        where: Filters of partitions.
        z_order: Columns; none compacts.

    Raises:
        ConfigurationError: There is one.
    """
    for name, *_ in where:
        if name not in partition_columns:
            known = ", ".join(partition_columns) or "none"
            raise ConfigurationError(f"{name} is no partition column; the table has: {known}")
    for name in z_order:
        if name in partition_columns:
            raise ConfigurationError(
                f"{name} is a partition column: all rows of a file have one value of it, and no "
                "order by it changes that"
            )


def estimate(
    files: Any,
    properties: Mapping[str, str],
    *,
    partition_columns: Sequence[str],
    where: Sequence[tuple[str, str, Any]],
    z_order: Sequence[str],
    target_size: int | None,
) -> Estimate:
    """What an optimize with these options would do to a table of these files.

    Args:
        files: As ``DeltaSource.files`` gives them, a ``pyarrow.Table``.
        properties: Of the table.
        partition_columns: Of the table.
        where: Filters of partitions, as `check_columns` passes them.
        z_order: Columns; none compacts.
        target_size: Bytes; the table's own where None.

    Raises:
        ConfigurationError: A value of a filter is not of the column's type.
    """
    target = target_size or parse_bytes(_PROPERTY, properties.get(_PROPERTY, _TARGET))
    sizes: dict[tuple[Any, ...], list[int]] = {}
    chosen = _chosen(files, where)
    keys = [chosen[f"{_PARTITION}{name}"].to_pylist() for name in partition_columns]
    for *key, size in zip(*keys, chosen["size_bytes"].to_pylist(), strict=True):
        sizes.setdefault(tuple(key), []).append(size)
    if z_order:
        bins = {key: [found] for key, found in sizes.items()}
    else:
        bins = {key: list(_bins(found, target)) for key, found in sizes.items()}
    rewritten = [one for found in bins.values() for one in found]
    return Estimate(
        files=chosen.num_rows,
        files_removed=sum(map(len, rewritten)),
        bytes_removed=sum(map(sum, rewritten)),
        files_added=None if z_order else len(rewritten),
        partitions=sum(1 for found in bins.values() if found),
        target_size=target,
    )


def _bins(sizes: Iterable[int], target: int) -> Iterator[list[int]]:
    """Neighbours that fit into one file together, as delta-rs finds them.

    Args:
        sizes: Of the files of a partition, in the order of the table.
        target: Bytes of a file.
    """
    current: list[int] = []
    for size in sizes:
        if size > target or sum(current) + size > target:
            if len(current) > 1:
                yield current
            current = []
        if size <= target:
            current.append(size)
    if len(current) > 1:
        yield current


def _chosen(files: Any, where: Sequence[tuple[str, str, Any]]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    compare: dict[str, Callable[[Any, Any], Any]] = {
        "=": pc.equal,
        "!=": pc.not_equal,
        "<": pc.less,
        "<=": pc.less_equal,
        ">": pc.greater,
        ">=": pc.greater_equal,
    }
    for name, operator, value in where:
        column = files[f"{_PARTITION}{name}"]
        try:
            if operator in compare:
                wanted = pa.scalar(value).cast(column.type)
                passed = compare[operator](column, wanted)
            else:
                among = pa.array(value, pa.string()).cast(column.type)
                passed = pc.is_in(column, value_set=among)
                if operator == "not in":
                    passed = pc.and_kleene(pc.invert(passed), pc.is_valid(column))
        except pa.ArrowException as error:
            raise ConfigurationError(f"{name} is {column.type}: {error}") from error
        files = files.filter(passed)
    return files
