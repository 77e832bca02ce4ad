"""The folder of artifacts: manifests of runs, and what slow queries leave."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from fusiondelta.account._files import write_whole
from fusiondelta.errors import ConfigurationError
from fusiondelta.snapshots import SnapshotKey

#: Folder of the slow queries within the artifacts.
SLOW = "slow"

#: Only what looks pinned is parsed: a folder may hold thousands of manifests.
_PINNED = re.compile(r'"pinned":\s*true')


class Artifacts:
    """A folder that gets files which are there whole or not at all.

    Args:
        folder: Where; it is made with the first file.

    Raises:
        ConfigurationError: There is something else of that name.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise ConfigurationError(f"artifacts={os.fspath(folder)!r} is not a folder")

    def write(self, name: str, text: str) -> Path:
        """Put a file into the folder, over one of the same name.

        Args:
            name: Name, with folders beneath.
            text: Content.

        Raises:
            OSError: It cannot be written.
        """
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        write_whole(target, text)
        return target

    def pinned(self) -> Iterator[SnapshotKey]:
        """Versions that manifests marked as pinned name.

        Raises:
            ConfigurationError: One cannot be read: what it names might be lost.
        """
        for path in sorted(self.folder.glob("*.json")):
            text = path.read_text("utf-8", errors="replace")
            if _PINNED.search(text) is None:
                continue
            try:
                document = json.loads(text)
                if document["pinned"]:
                    for one in document["snapshots"]:
                        yield SnapshotKey(one["uri"], one["version"])
            except (KeyError, TypeError, ValueError) as error:
                raise ConfigurationError(
                    f"{path} looks like a manifest that is pinned and cannot be read ({error}); "
                    "repair it, or take it out of the folder"
                ) from error

    def slow(self) -> list[Path]:
        """Folders of slow queries, oldest first."""
        folder = self.folder / SLOW
        if not folder.is_dir():
            return []
        # Named by their identifiers, which sort by time.
        return sorted(
            path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")
        )

    def keep_slow(self, query_id: str, files: Callable[[Path], None], *, most: int) -> Path:
        """Add the folder of a slow query, and remove the oldest beyond a number.

        Args:
            query_id: Its name.
            files: Writes the files into the folder that it is given.
            most: Folders that stay.
        """
        root = self.folder / SLOW
        root.mkdir(parents=True, exist_ok=True)
        making = root / f".{query_id}.{uuid.uuid4().hex}.tmp"
        making.mkdir()
        target = root / query_id
        try:
            files(making)
            making.rename(target)
        except BaseException:
            shutil.rmtree(making, ignore_errors=True)
            raise
        for oldest in self.slow()[:-most] if most else ():
            with contextlib.suppress(OSError):
                shutil.rmtree(oldest)
        return target
