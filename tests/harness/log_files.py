"""What the log of a table on disk says, read without any library."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import unquote


def actions(commit: Path) -> list[dict]:
    """Those of one commit, from its file."""
    return [json.loads(line) for line in commit.read_text().splitlines()]


def newest(uri: Path) -> Path:
    """File of the last commit."""
    return max((uri / "_delta_log").glob("*.json"))


def active(uri: Path) -> dict[str, dict]:
    """Add actions of the newest version by path; of a log without checkpoints alone."""
    found: dict[str, dict] = {}
    for commit in sorted((uri / "_delta_log").glob("*.json")):
        for action in actions(commit):
            if "add" in action:
                found[action["add"]["path"]] = action["add"]
            if "remove" in action:
                found.pop(action["remove"]["path"], None)
    return found


def litter(uri: Path) -> list[str]:
    """Data files that no commit has added."""
    added = set()
    for commit in (uri / "_delta_log").glob("*.json"):
        for action in actions(commit):
            if "add" in action:
                # A URI in the log, a name on disk.
                added.add(unquote(action["add"]["path"]))
    there = {path.relative_to(uri).as_posix() for path in uri.rglob("*.parquet")}
    return sorted(there - added)
