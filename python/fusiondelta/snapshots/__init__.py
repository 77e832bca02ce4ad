"""Exact versions of Delta tables: how they are asked for, and what identifies them."""

from fusiondelta.snapshots._key import SnapshotKey
from fusiondelta.snapshots._spec import SnapshotSpec

__all__ = ["SnapshotKey", "SnapshotSpec"]
