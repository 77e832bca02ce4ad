"""A fresh bucket of one server, as the library and as others see it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.harness.install import Unavailable
from tests.harness.layers import missing
from tests.harness.process import StartError
from tests.harness.raw import Raw
from tests.harness.servers import Server

if TYPE_CHECKING:
    from fusiondelta import StorageProfile


def start(kind: type[Server], folder: Path, config: pytest.Config) -> Server:
    """Start a server; where that is not possible, its layer is reported as missing."""
    try:
        return kind.start(folder)
    except (Unavailable, StartError) as error:
        reason = str(error)
    missing(config, kind.layer, reason)


class Store:
    """One bucket or container, and what lies in it by means other than the library's."""

    def __init__(self, kind: str, server: Server, bucket: str, raw: Raw) -> None:
        self.kind = kind
        self.server = server
        self.bucket = bucket
        self._raw = raw

    def uri(self, path: str = "") -> str:
        """Where the library finds a key of this bucket."""
        beginning = {
            "azurite": f"abfss://{self.bucket}@devstoreaccount1.dfs.core.windows.net",
            "gcs": f"gs://{self.bucket}",
        }.get(self.kind, f"s3://{self.bucket}")
        return f"{beginning}/{path}"

    def profile(self, **changes: Any) -> StorageProfile:
        """The profile that reaches it; `changes` are further arguments, or other ones."""
        from fusiondelta import StorageProfile

        server = self.server
        arguments: dict[str, Any] = {"allow_http": True}
        match self.kind:
            case "azurite":
                make = StorageProfile.azure
                arguments["account_name"] = server.account_name
                arguments["account_key"] = server.account_key
                arguments["endpoint"] = server.endpoint
            case "gcs":
                make = StorageProfile.gcs
                arguments["base_url"] = server.endpoint
                arguments["skip_signature"] = True
            case _:
                make = StorageProfile.s3
                arguments["endpoint"] = server.endpoint
                arguments["region"] = "us-east-1"
                arguments["access_key_id"] = server.access_key_id
                arguments["secret_access_key"] = server.secret_access_key
                arguments["write_safety"] = "conditional_put"
        return make(**{**arguments, **changes})

    def storage_options(self) -> dict[str, str]:
        """What deltalake and others of object_store take."""
        return self.server.env()

    def raw_put(self, path: str, data: bytes, *, only_new: bool = False) -> bool:
        """Store an object; with `only_new`, false instead when there is one already."""
        return self._raw.put(path, data, only_new=only_new)

    def raw_get(self, path: str) -> bytes | None:
        """What is stored there, or None."""
        return self._raw.get(path)

    def raw_list(self, prefix: str = "") -> list[str]:
        """Every key that starts so, sorted."""
        return self._raw.list(prefix)

    def raw_delete(self, path: str) -> None:
        """Remove an object; one that is not there is fine."""
        self._raw.delete(path)
