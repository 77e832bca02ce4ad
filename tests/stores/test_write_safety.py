"""No commit to S3 goes ahead before something makes it safe."""

from __future__ import annotations

import pyarrow as pa
import pytest

from fusiondelta import (
    FusionDeltaEngine,
    StorageProfile,
    UnsafeWritersWarning,
    WriteSafetyError,
)
from fusiondelta.testing import FaultProxy, Rule, StatusAfter
from tests.stores import kinds

pytestmark = [pytest.mark.stores]
ROW = pa.table({"id": [1]})
s3 = pytest.mark.parametrize("store", kinds.S3, indirect=True)
minio = pytest.mark.parametrize("store", [kinds.MINIO], indirect=True)


@s3
def test_undeclared_is_refused_before_a_byte_is_written(store):
    with FusionDeltaEngine(storage=store.profile(write_safety=None)) as engine:
        with pytest.raises(WriteSafetyError, match="conditional_put"):
            engine.write_delta(store.uri("t"), ROW)
        assert engine.debug.io().requests["put"] == 0
    assert store.raw_list() == []


@s3
def test_conditional_put_is_verified_once_for_a_bucket(store):
    with FusionDeltaEngine(storage=store.profile()) as engine:
        first = engine.write_delta(store.uri("a"), ROW)
        second = engine.write_delta(store.uri("b"), ROW)
    assert first.write_safety == second.write_safety == "conditional_put"
    assert first.io.requests["put"] - second.io.requests["put"] == 2, "two puts of one name"
    assert first.io.requests["delete"] == 1
    assert second.io.requests["delete"] == 0
    assert not [key for key in store.raw_list() if "probe" in key]


@s3
def test_what_the_caller_vouches_for_is_not_tried(store):
    with FusionDeltaEngine(storage=store.profile(conditional_put_verified=True)) as engine:
        written = engine.write_delta(store.uri("a"), ROW)
    assert written.io.requests["delete"] == 0


@s3
def test_a_single_writer_is_recorded(store):
    with FusionDeltaEngine(storage=store.profile(write_safety="single_writer_unsafe")) as engine:
        written = engine.write_delta(store.uri("a"), ROW)
    assert written.manifest().to_dict()["write"]["write_safety"] == "single_writer_unsafe"


@minio
def test_a_store_that_ignores_the_condition_is_found_out(store):
    with _ForgetfulProxy(store.server.endpoint) as proxy:
        profile = store.profile(endpoint=proxy.endpoint)
        with FusionDeltaEngine(storage=profile) as engine:
            with pytest.raises(WriteSafetyError, match="does not honour"):
                engine.write_delta(store.uri("t"), ROW)
            assert engine.probe(store.uri("t"))["conditional_put"].status == "fail"
    assert store.raw_list() == []


class _ForgetfulProxy(FaultProxy):
    """Answers 200 to a conditional put that the store refuses."""

    def __enter__(self):
        made = super().__enter__()
        self.add(
            Rule(
                StatusAfter(200, body=b"", headers=(("ETag", '"x"'),)),
                method="PUT",
                target="_fusiondelta_probe_",
            )
        )
        return made


def test_local_files_need_no_declaration(tmp_path):
    with FusionDeltaEngine(storage=StorageProfile.local()) as engine:
        assert engine.write_delta(tmp_path / "t", ROW).write_safety == "atomic_create"


@s3
def test_a_table_with_commits_of_a_lock_is_warned_of(store):
    with FusionDeltaEngine(storage=store.profile()) as engine:
        engine.write_delta(store.uri("t"), ROW)
        store.raw_put("t/_delta_log/.tmp/00000000000000000000.json.x", b"{}")
        other = FusionDeltaEngine(storage=store.profile())
        with other, pytest.warns(UnsafeWritersWarning, match="S3DynamoDBLogStore"):
            other.write_delta(store.uri("t"), ROW)
        # The first has looked before, and does not ask again.
        before = engine.debug.io().requests["list"]
        engine.write_delta(store.uri("t"), ROW)
        assert engine.debug.io().requests["list"] - before <= 3
