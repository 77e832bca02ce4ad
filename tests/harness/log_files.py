"""What the log of a table on disk says, read without any library."""

from __future__ import annotations

import json
from pathlib import Path


def active(uri: Path) -> dict[str, dict]:
    """Add actions of the newest version by path; of a log without checkpoints alone."""
    found: dict[str, dict] = {}
    for commit in sorted((uri / "_delta_log").glob("*.json")):
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                found[action["add"]["path"]] = action["add"]
            if "remove" in action:
                found.pop(action["remove"]["path"], None)
    return found


def litter(uri: Path) -> list[str]:
    """Data files that no commit has added."""
    added = set()
    for commit in (uri / "_delta_log").glob("*.json"):
        for line in commit.read_text().splitlines():
            action = json.loads(line)
            if "add" in action:
                added.add(action["add"]["path"])
    there = {path.relative_to(uri).as_posix() for path in uri.rglob("*.parquet")}
    return sorted(there - added)
