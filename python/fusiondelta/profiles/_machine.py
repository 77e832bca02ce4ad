"""What this process may use of the machine: the limits of its cgroup, not the host's size.

The one module of the profiles that reads something.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from pathlib import Path

_ROOT = Path("/")
#: Assumed where the system does not tell.
_UNKNOWN_MEMORY = 4 * 2**30


def usable_cores(root: Path = _ROOT) -> int:
    """Cores this process may keep busy: the least of its affinity and its cgroups' quotas.

    Args:
        root: Folder that ``proc`` and ``sys`` are in.

    Returns:
        At least 1; a quota of part of a core counts as a whole one.
    """
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    quotas = [*_v2_quotas(root), *_v1_quotas(root)]
    return max(1, min([cores, *(math.ceil(quota) for quota in quotas)]))


def usable_memory(root: Path = _ROOT) -> int:
    """Bytes this process may use: the least of physical memory and its cgroups' limits.

    Args:
        root: Folder that ``proc`` and ``sys`` are in.
    """
    files = [folder / "memory.max" for folder in _folders(root, "")]
    files += [folder / "memory.limit_in_bytes" for folder in _folders(root, "memory")]
    limits = [int(text) for file in files if (text := _text(file)).isdigit()]
    return min([_physical_memory(), *(limit for limit in limits if limit > 0)])


def _v2_quotas(root: Path) -> Iterator[float]:
    for folder in _folders(root, ""):
        quota, _, period = _text(folder / "cpu.max").partition(" ")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            yield int(quota) / int(period)


def _v1_quotas(root: Path) -> Iterator[float]:
    for folder in _folders(root, "cpu"):
        quota = _text(folder / "cpu.cfs_quota_us")
        period = _text(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            yield int(quota) / int(period)


def _folders(root: Path, controller: str) -> Iterator[Path]:
    """Folders of this process's cgroup and those above it; controller "" is version 2."""
    mount = root / "sys/fs/cgroup" / controller
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if controller in names.split(","):
            inner = Path(path.lstrip("/"))
            # In a container the path may be the host's: what is not there is passed over.
            for part in (inner, *inner.parents):
                yield mount / part


def _text(file: Path) -> str:
    try:
        return file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _physical_memory() -> int:
    if sys.platform == "win32":
        import ctypes

        class Status(ctypes.Structure):
            _fields_ = (
                ("length", ctypes.c_ulong),
                ("load", ctypes.c_ulong),
                ("physical", ctypes.c_ulonglong),
                ("others", ctypes.c_ulonglong * 6),
            )

        status = Status(length=ctypes.sizeof(Status))
        if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
            return int(status.physical)
        return _UNKNOWN_MEMORY
    try:
        size = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError):
        return _UNKNOWN_MEMORY
    return size if size > 0 else _UNKNOWN_MEMORY
