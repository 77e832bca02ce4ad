"""Tables of other writers with deletion vectors, read from a store as they are from disk."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from fusiondelta import FusionDeltaEngine
from tests.stores import kinds

pytestmark = [pytest.mark.stores, pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)]

CONFORMANCE = os.environ.get("FUSIONDELTA_CONFORMANCE")
TABLES = (
    "kernel_data/table-with-dv-small",
    "kernel_data/with-short-dv",
    "deltars/cdf-table-with-cdc-and-dvs",
    "kernel_data/table-without-dv-small",
)


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    if CONFORMANCE is None:
        pytest.skip("FUSIONDELTA_CONFORMANCE names no folder")
    folder = tmp_path_factory.mktemp("tables")
    with tarfile.open(Path(CONFORMANCE) / "tables.tar.xz") as archive:
        wanted = [m for m in archive if any(table in m.name for table in TABLES)]
        archive.extractall(folder, wanted, filter="data")
    return folder


@pytest.mark.parametrize("name", TABLES)
def test_rows_are_those_on_disk(store, tables, name):
    folder = tables / "tables" / name
    for path in folder.rglob("*"):
        if path.is_file():
            store.raw_put(f"t/{path.relative_to(folder).as_posix()}", path.read_bytes())

    def rows(engine, uri):
        result = engine.query("SELECT * FROM t", sources={"t": uri})
        found = sorted(map(str, result.to_pylist()))
        return found

    with FusionDeltaEngine(storage=store.profile()) as engine:
        there = rows(engine, store.uri("t"))
        assert there == rows(engine, folder)
        assert there
