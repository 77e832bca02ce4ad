"""Several profiles in one engine: each location is reached by that of its longest prefix."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fusiondelta import (
    AuthenticationError,
    FusionDeltaEngine,
    IoPolicy,
    ParquetSource,
    StorageProfile,
)
from tests.stores import kinds

pytestmark = pytest.mark.stores
minio = pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)

ROWS = pa.table({"id": [1, 2, 3]})


@pytest.fixture
def engine(store):
    """Wrong keys for the bucket, right ones for what is beneath ``raw``."""
    wrong = store.profile(secret_access_key="wrong-wrong-wrong", io=IoPolicy(retries=0))
    storage = {store.uri().rstrip("/"): wrong, store.uri("raw"): store.profile()}
    with FusionDeltaEngine(storage=storage) as engine:
        yield engine


@minio
def test_each_prefix_has_credentials_of_its_own(engine, store):
    assert engine.write_delta(store.uri("raw/t"), ROWS).snapshot.version == 0
    assert engine.query("SELECT * FROM t", sources={"t": store.uri("raw/t")}).to_table() == ROWS
    for name in ("t", "rawer/t", "ra"):
        with pytest.raises(AuthenticationError):
            engine.open_delta(store.uri(name))


@minio
def test_files_go_the_same_ways(engine, store):
    sink = pa.BufferOutputStream()
    pq.write_table(ROWS, sink)
    for folder in ("raw", "rawer"):
        store.raw_put(f"{folder}/f.parquet", sink.getvalue().to_pybytes())
    source = ParquetSource(store.uri("raw/f.parquet"))
    assert engine.query("SELECT * FROM f", sources={"f": source}).to_table() == ROWS
    source = ParquetSource(store.uri("rawer/f.parquet"))
    with pytest.raises(AuthenticationError):
        engine.query("SELECT * FROM f", sources={"f": source}).to_table()


@minio
def test_one_query_may_read_of_several(engine, store, tmp_path):
    engine.write_delta(store.uri("raw/t"), ROWS)
    engine.write_delta(tmp_path / "local", ROWS)
    both = engine.query(
        "SELECT count(*) AS n FROM r JOIN l USING (id)",
        sources={"r": store.uri("raw/t"), "l": tmp_path / "local"},
    )
    assert both.to_pylist() == [{"n": 3}]


def test_the_chain_is_not_asked_for_a_neighbour(monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "k")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "s")
    storage = {
        "s3://lake": StorageProfile.s3(anonymous=True),
        "s3://lake/raw": StorageProfile.s3(region="eu-west-1"),
    }
    with FusionDeltaEngine(storage=storage) as engine:
        assert engine._native.identity("s3://lake/rawer/t") is None
        assert engine._native.identity("s3://lake/t") is None
        assert engine._native.identity("s3://lake/raw/t") == "CredentialsEnvVars"
