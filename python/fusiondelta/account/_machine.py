"""The machine that something ran on."""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

from fusiondelta.profiles._machine import usable_cores, usable_memory


@cache
def machine_facts() -> dict[str, Any]:
    """Cores and memory in bytes that this process may use, operating system, Python."""
    return {
        "cores": usable_cores(),
        "memory_bytes": usable_memory(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
