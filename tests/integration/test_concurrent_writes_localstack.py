"""Commits through DynamoDB, beside a model of Spark's log store, on MinIO and dynalite."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
import threading
import time
import uuid

import pyarrow as pa
import pytest

from fusiondelta import (
    ConfigurationError,
    FusionDeltaEngine,
    FusionDeltaError,
    IoPolicy,
    RetryPolicy,
    StorageProfile,
    ThrottledError,
)
from fusiondelta.testing import DropAnswer, FaultProxy, Rule, Status
from tests.harness.spark_log_store import STEPS, Died, SparkLogStore
from tests.harness.steps import Steps
from tests.stores import kinds

pytestmark = [
    pytest.mark.stores,
    pytest.mark.localstack,
    pytest.mark.parametrize("store", [kinds.MINIO], indirect=True),
]

ROWS = pa.table({"id": [1, 2, 3]})
QUICK = IoPolicy(retries=3, first_backoff=0.01, longest_backoff=0.05, request_timeout=2)


@pytest.fixture
def dynamodb(dynalite):
    with contextlib.closing(dynalite.dynamodb()) as client:
        yield client


@pytest.fixture
def locks():
    return f"locks-{uuid.uuid4().hex[:8]}"


def profile(store, dynalite, locks, **more):
    return StorageProfile.s3(
        **{
            "endpoint": store.server.endpoint,
            "region": "us-east-1",
            "access_key_id": store.server.access_key_id,
            "secret_access_key": store.server.secret_access_key,
            "allow_http": True,
            "write_safety": "aws_s3_locked",
            "scheme": "s3a",
            "io": QUICK,
            "dynamodb_table": locks,
            "dynamodb_endpoint": dynalite.endpoint,
            "dynamodb_access_key_id": dynalite.access_key_id,
            "dynamodb_secret_access_key": dynalite.secret_access_key,
            **more,
        }
    )


@pytest.fixture
def engine(store, dynalite, locks):
    with FusionDeltaEngine(storage=profile(store, dynalite, locks)) as engine:
        engine.lock_table(store.uri("t"), create=True)
        yield engine


@pytest.fixture
def spark(store, dynamodb, locks):
    return SparkLogStore(store._raw, dynamodb, locks, f"s3a://{store.bucket}/t", "t")


@pytest.fixture
def table(engine, store):
    uri = store.uri("t")
    engine.write_delta(uri, ROWS)
    return uri


def ids(engine, uri):
    found = engine.query("SELECT id FROM t ORDER BY id", sources={"t": uri}).to_pylist()
    return [row["id"] for row in found]


def commit_of(store, number):
    """Bytes of a commit that adds one file again, under another name."""
    first = store.raw_get(f"t/_delta_log/{0:020}.json").decode().splitlines()
    add = next(json.loads(line) for line in first if line.startswith('{"add"'))
    data = store.raw_get("t/" + add["add"]["path"])
    name = f"spark-{number}.parquet"
    store.raw_put(f"t/{name}", data)
    add["add"]["path"] = name
    info = {"commitInfo": {"operation": "WRITE", "engineInfo": "Apache-Spark"}}
    return "\n".join(json.dumps(line) for line in (info, add)).encode()


def test_a_commit_is_what_spark_would_have_made(engine, store, dynamodb, locks, table, spark):
    result = engine.write_delta(table, ROWS)
    assert result.write_safety == "aws_s3_locked"
    assert result.snapshot.uri == f"s3a://{store.bucket}/t"
    item = spark.entry(f"{1:020}.json")
    assert item["tablePath"] == {"S": f"s3a://{store.bucket}/t"}
    assert item["complete"] == {"S": "true"}
    temp = item["tempPath"]["S"]
    assert temp.startswith(f".tmp/{1:020}.json.")
    assert store.raw_get(f"t/_delta_log/{temp}") == store.raw_get(f"t/_delta_log/{1:020}.json")
    expires = int(item["expireTime"]["N"])
    assert abs(expires - time.time() - 86_400) < 60
    assert spark.list() == [f"{0:020}.json", f"{1:020}.json"]


def test_spark_and_we_exclude_each_other(engine, store, table, spark):
    with Steps(engine) as steps:
        held = steps.start(lambda: engine.write_delta(table, ROWS))
        spark.write(1, commit_of(store, 1))
        result = held.finish()
    assert result.snapshot.version == 2
    assert result.attempts[0].tried == ((1, "taken"), (2, "committed"))
    with pytest.raises(FileExistsError):
        spark.write(2, commit_of(store, 2))
    spark.write(3, commit_of(store, 3))
    assert ids(engine, table) == [1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("who", ["reader", "writer", "asked"])
def test_what_spark_has_left_is_finished(engine, store, table, spark, step, who):
    """By whoever comes next; what was not locked never happened."""
    with pytest.raises(Died):
        spark.write(1, commit_of(store, 1), die_after=step)
    made = step != "temporary"
    if who == "reader":
        assert len(ids(engine, table)) == (6 if made else 3)
    elif who == "writer":
        assert engine.write_delta(table, ROWS).snapshot.version == (2 if made else 1)
    else:
        assert engine.open_delta(table).snapshot.version == (1 if made else 0)
    if made:
        assert spark.entry(f"{1:020}.json")["complete"] == {"S": "true"}
        assert store.raw_get(f"t/_delta_log/{1:020}.json") is not None


DIES = """
    import dataclasses, os, sys
    import pyarrow as pa
    from fusiondelta import FusionDeltaEngine, StorageProfile

    options = eval(sys.stdin.read())
    engine = FusionDeltaEngine(storage=StorageProfile.s3(**options))

    def hook(name, version):
        if name == sys.argv[2]:
            os._exit(9)

    engine._committer = dataclasses.replace(engine._committer, hook=hook)
    engine.write_delta(sys.argv[1], pa.table({"id": [9]}))
"""


@pytest.mark.parametrize("step", ["commit", "temporary", "locked", "copied", "answered"])
def test_what_we_have_left_is_finished_by_spark(
    engine, store, dynalite, locks, table, spark, tmp_path, step
):
    script = tmp_path / "dies.py"
    script.write_text(textwrap.dedent(DIES))
    options = {
        "endpoint": store.server.endpoint,
        "region": "us-east-1",
        "access_key_id": store.server.access_key_id,
        "secret_access_key": store.server.secret_access_key,
        "allow_http": True,
        "write_safety": "aws_s3_locked",
        "scheme": "s3a",
        "dynamodb_table": locks,
        "dynamodb_endpoint": dynalite.endpoint,
        "dynamodb_access_key_id": dynalite.access_key_id,
        "dynamodb_secret_access_key": dynalite.secret_access_key,
    }
    done = subprocess.run(
        [sys.executable, str(script), table, step], input=repr(options), text=True, timeout=60
    )
    assert done.returncode == 9
    made = step in ("locked", "copied", "answered")
    assert len(spark.list()) == (2 if made else 1)
    spark.write(2 if made else 1, commit_of(store, 5))
    expected = [1, 1, 2, 2, 3, 3] + ([9] if made else [])
    assert ids(engine, table) == expected


def test_two_processes_of_ours(engine, store, dynalite, locks, table):
    """Four engines, eight commits each; every row is there once."""
    failures = []

    def work(n):
        try:
            with FusionDeltaEngine(storage=profile(store, dynalite, locks)) as mine:
                for i in range(8):
                    mine.write_delta(table, pa.table({"id": [100 * n + i]}))
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    expected = sorted([1, 2, 3, *(100 * n + i for n in range(1, 5) for i in range(8))])
    assert ids(engine, table) == expected
    assert engine.open_delta(table).snapshot.version == 32


def test_changes_through_the_lock(engine, table):
    engine.delete(table, "id = 1")
    engine.update(table, {"id": "id + 10"}, "id = 2")
    made = engine.merge(table, pa.table({"id": [3, 4]}), on=["id"])
    made.when_not_matched_insert_all().execute()
    engine.optimize(table)
    assert ids(engine, table) == [3, 4, 12]


def test_an_item_whose_answer_was_lost_is_ours(store, dynalite, locks):
    with FaultProxy(dynalite.endpoint) as proxy:
        storage = profile(store, dynalite, locks, dynamodb_endpoint=proxy.endpoint)
        with FusionDeltaEngine(storage=storage) as engine:
            uri = store.uri("t")
            engine.lock_table(uri, create=True)
            engine.write_delta(uri, ROWS)
            # The puts of a commit: its item, and its completion.
            rule = Rule(DropAnswer(), method="POST", nth=None, first=1)
            with Steps(engine) as steps:
                held = steps.start(lambda: engine.write_delta(uri, ROWS), at="temporary")
                proxy.add(rule)
                result = held.finish()
            assert result.outcome == "COMMITTED"
            assert result.snapshot.version == 1
            assert ids(engine, uri) == [1, 1, 2, 2, 3, 3]


def test_a_throttled_table(store, dynalite, locks):
    throttled = Status(
        400,
        headers=(("content-type", "application/x-amz-json-1.0"),),
        body=json.dumps(
            {
                "__type": "com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException",
                "message": "slow down",
            }
        ).encode(),
    )
    with FaultProxy(dynalite.endpoint) as proxy:
        storage = profile(store, dynalite, locks, dynamodb_endpoint=proxy.endpoint)
        with FusionDeltaEngine(storage=storage) as engine:
            uri = store.uri("t")
            engine.lock_table(uri, create=True)
            engine.write_delta(uri, ROWS)
            rule = proxy.add(Rule(throttled, method="POST", first=2))
            assert engine.write_delta(uri, ROWS).snapshot.version == 1
            proxy.remove(rule)
            rule = proxy.add(Rule(throttled, method="POST"))
            with pytest.raises(ThrottledError, match="DynamoDB table"):
                engine.write_delta(uri, ROWS)
            proxy.remove(rule)
            assert ids(engine, uri) == [1, 1, 2, 2, 3, 3]


def test_a_table_that_is_not_there(store, dynalite, locks):
    with FusionDeltaEngine(storage=profile(store, dynalite, locks)) as engine:
        with pytest.raises(ConfigurationError, match=locks):
            engine.write_delta(store.uri("t"), ROWS)
        with pytest.raises(ConfigurationError, match=locks):
            engine.lock_table(store.uri("t"))
    assert store.raw_list("t/") == []


def test_a_table_of_another_shape(store, dynalite, dynamodb, locks):
    dynamodb.create_table(
        TableName=locks,
        KeySchema=[{"AttributeName": "id", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "id", "AttributeType": "S"}],
        BillingMode="PAY_PER_REQUEST",
    )
    engine = FusionDeltaEngine(storage=profile(store, dynalite, locks))
    with engine, pytest.raises(ConfigurationError, match="tablePath"):
        engine.write_delta(store.uri("t"), ROWS)
    assert [name for name in store.raw_list("t/") if name.endswith(".json")] == []


def test_items_that_have_expired(engine, store, dynamodb, locks, table, spark):
    """DynamoDB forgets old items; the log is what it is."""
    for _ in range(3):
        engine.write_delta(table, ROWS)
    for version in range(4):
        dynamodb.delete_item(
            TableName=locks,
            Key={
                "tablePath": {"S": f"s3a://{store.bucket}/t"},
                "fileName": {"S": f"{version:020}.json"},
            },
        )
    assert engine.write_delta(table, ROWS).snapshot.version == 4
    assert len(ids(engine, table)) == 15


def test_items_of_an_earlier_table(engine, store, table):
    """Spark refuses that too: the versions are taken."""
    for name in store.raw_list("t/"):
        store.raw_delete(name)
    other = FusionDeltaEngine(storage=engine._storage)
    with other, pytest.raises(FusionDeltaError, match="items of an earlier table"):
        other.write_delta(table, ROWS)


def test_keys_and_retries_through_the_lock(engine, table):
    policy = RetryPolicy(attempts=3, first_delay=0.001, longest_delay=0.01)
    first = engine.write_delta(table, ROWS, idempotency_key=("job", 1))
    assert engine.write_delta(table, ROWS, idempotency_key=("job", 1)).snapshot == first.snapshot
    with Steps(engine) as steps:
        held = steps.start(lambda: engine.delete(table, "id = 1", retry=policy))
        engine.delete(table, "id = 2")
        assert held.finish().outcome == "COMMITTED"
    assert ids(engine, table) == [3, 3]


def test_a_profile_without_a_region(store):
    with pytest.raises(ConfigurationError, match="region"):
        FusionDeltaEngine(storage=StorageProfile.s3(write_safety="aws_s3_locked", anonymous=True))


def test_secrets_of_the_lock_are_nowhere(store, dynalite, locks, caplog):
    secret = "pLaNtEdSeCrEt-of-the-lock"
    storage = profile(
        store,
        dynalite,
        locks,
        dynamodb_endpoint="http://127.0.0.1:1",
        dynamodb_secret_access_key=secret,
        dynamodb_session_token=secret,
    )
    engine = FusionDeltaEngine(storage=storage)
    with engine, pytest.raises(FusionDeltaError) as caught:
        engine.write_delta(store.uri("t"), ROWS)
    produced = [repr(storage), repr(storage.native("")), repr(engine), repr(caught.value)]
    produced += [str(caught.value), repr(caught.value.details), caplog.text]
    assert "no connection" in str(caught.value)
    assert [text for text in produced if secret in text] == []


def test_the_command_line(store, dynalite, locks, monkeypatch):
    from click.testing import CliRunner

    from fusiondelta.cli import cli

    environment = {
        **store.server.env(),
        "AWS_S3_LOCKING_PROVIDER": "dynamodb",
        "DELTA_DYNAMO_TABLE_NAME": locks,
        "AWS_ENDPOINT_URL_DYNAMODB": dynalite.endpoint,
        "AWS_ACCESS_KEY_ID_DYNAMODB": dynalite.access_key_id,
        "AWS_SECRET_ACCESS_KEY_DYNAMODB": dynalite.secret_access_key,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    uri = store.uri("t")
    missing = CliRunner().invoke(cli, ["lock-table", "check", uri])
    assert missing.exit_code == 1
    assert locks in missing.output
    made = CliRunner().invoke(cli, ["lock-table", "create", uri])
    assert (made.exit_code, made.exception) == (0, None)
    assert CliRunner().invoke(cli, ["lock-table", "check", uri]).exit_code == 0
    with FusionDeltaEngine(storage=StorageProfile.from_env("s3")) as engine:
        assert engine.write_delta(uri, ROWS).write_safety == "aws_s3_locked"
