"""Servers for the session, and a fresh bucket for each test.

A server that the environment names (see docs/testing.md) is used as it is, else one is started.
"""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator

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


def _serve(
    kind: type[Server], request: pytest.FixtureRequest, folders: pytest.TempPathFactory
) -> Iterator[Server]:
    server = kind.given() or start(kind, folders.mktemp(kind.program), request.config)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def minio(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MinioServer]:
    yield from _serve(MinioServer, request, tmp_path_factory)


@pytest.fixture(scope="session")
def ministack(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MinistackServer]:
    yield from _serve(MinistackServer, request, tmp_path_factory)


@pytest.fixture(scope="session")
def dynalite(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DynaliteServer]:
    yield from _serve(DynaliteServer, request, tmp_path_factory)


@pytest.fixture(scope="session")
def azurite(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[AzuriteServer]:
    yield from _serve(AzuriteServer, request, tmp_path_factory)


@pytest.fixture(scope="session")
def gcs(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakeGcsServer]:
    yield from _serve(FakeGcsServer, request, tmp_path_factory)


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
