"""Servers for the session, and a fresh bucket for each test.

A plugin, for every folder of tests.

A server that the environment names (see docs/testing.md) is used as it is, else one is started.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.harness.servers import (
    AzuriteServer,
    DynaliteServer,
    FakeGcsServer,
    MinioServer,
    MinistackServer,
    Server,
)
from tests.stores import kinds
from tests.stores.store import Store, start


def _served(kind: type[Server]) -> Any:
    """A fixture that gives one server of a kind to all tests."""

    @pytest.fixture(scope="session")
    def server(
        request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
    ) -> Iterator[Server]:
        found = kind.given() or start(kind, tmp_path_factory.mktemp(kind.program), request.config)
        yield found
        found.stop()

    return server


minio = _served(MinioServer)
ministack = _served(MinistackServer)
dynalite = _served(DynaliteServer)
azurite = _served(AzuriteServer)
gcs = _served(FakeGcsServer)


@pytest.fixture(params=kinds.ALL)
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    """A fresh bucket of each kind of store; `tests.stores.kinds` has fewer kinds to choose from."""
    kind = request.param
    server = request.getfixturevalue("ministack" if kind == "localstack" else kind)
    bucket = f"fusiondelta-{uuid.uuid4().hex[:12]}"
    with contextlib.closing(server.raw(bucket)) as raw:
        raw.make()
        yield Store(kind, server, bucket, raw)
        if server.child is None:  # ours end with everything in them
            raw.drop()
