"""What a table allows, and what a write means for its schema."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from fusiondelta.snapshots import SnapshotKey

if TYPE_CHECKING:
    import pyarrow as pa

#: What can be done to a table; the others change rows or files that are there.
APPENDS = ("append", "set_properties", "add_constraint", "drop_constraint", "vacuum")
CHANGES = ("overwrite", "merge", "update", "delete", "optimize", "restore")


@dataclass(frozen=True, slots=True)
class TableCapabilities:
    """What can be done to a table here.

    Attributes:
        snapshot: The version that was looked at.
        obstacles: Why an operation is not possible, by its name; None where it is.
    """

    snapshot: SnapshotKey
    obstacles: Mapping[str, str | None]

    def allows(self, operation: str) -> bool:
        """Whether an operation is possible."""
        return self.obstacles[operation] is None


@dataclass(frozen=True, slots=True)
class SchemaPlan:
    """What writing data would mean for the schema of a table.

    Attributes:
        added: Columns that only the data has, with their types.
        missing: Columns that only the table has, with their types.
        changed: Columns of different types: the table's, the data's.
    """

    added: Mapping[str, pa.DataType]
    missing: Mapping[str, pa.DataType]
    changed: Mapping[str, tuple[pa.DataType, pa.DataType]]

    @property
    def schema_mode(self) -> str | None:
        """``schema_mode`` that a write needs: None, ``merge`` or ``overwrite``."""
        if self.changed:
            return "overwrite"
        return "merge" if self.added or self.missing else None


def schema_plan(table: pa.Schema, data: pa.Schema) -> SchemaPlan:
    """Compare the two, column by column; encodings of one type (views, dictionaries) are alike."""
    ours = {field.name: field.type for field in table}
    theirs = {field.name: field.type for field in data}
    return SchemaPlan(
        added={name: kind for name, kind in theirs.items() if name not in ours},
        missing={name: kind for name, kind in ours.items() if name not in theirs},
        changed={
            name: (ours[name], kind)
            for name, kind in theirs.items()
            if name in ours and _plain(ours[name]) != _plain(kind)
        },
    )


def _plain(kind: pa.DataType) -> pa.DataType:
    """One of the encodings of a type, as the log of a table knows no other."""
    import pyarrow as pa
    import pyarrow.types as is_

    if is_.is_dictionary(kind):
        return _plain(kind.value_type)
    if is_.is_large_string(kind) or is_.is_string_view(kind):
        return pa.string()
    if is_.is_large_binary(kind) or is_.is_binary_view(kind) or is_.is_fixed_size_binary(kind):
        return pa.binary()
    if is_.is_timestamp(kind):
        return pa.timestamp("us", None if kind.tz is None else "UTC")
    if is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind):
        return pa.list_(_plain(kind.value_type))
    if is_.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        return pa.struct([(field.name, _plain(field.type)) for field in fields])
    if is_.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    return kind
