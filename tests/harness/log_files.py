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
    found: dict[tuple, dict] = {}
    for commit in sorted((uri / "_delta_log").glob("*.json")):
        there = actions(commit)
        for action in there:
            if "remove" in action:
                found.pop(_key(action["remove"]), None)
        for action in there:
            if "add" in action:
                found[_key(action["add"])] = action["add"]
    return {path: add for (path, *_), add in found.items()}


def _key(file: dict) -> tuple:
    """What a file goes by in the log: with another deletion vector it is another one."""
    vector = file.get("deletionVector") or {}
    return file["path"], vector.get("pathOrInlineDv"), vector.get("offset")


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
