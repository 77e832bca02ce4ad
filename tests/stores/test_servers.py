"""The servers themselves: what the tests of the library take for granted of them."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest

from tests.harness import servers
from tests.harness.process import answers
from tests.stores.store import start

pytestmark = [
    pytest.mark.stores,
    pytest.mark.skipif(os.name == "nt", reason="the servers run on POSIX"),
]

KINDS = [
    pytest.param(kind, marks=getattr(pytest.mark, kind.layer), id=kind.program)
    for kind in (
        servers.MinioServer,
        servers.MinistackServer,
        servers.DynaliteServer,
        servers.AzuriteServer,
        servers.FakeGcsServer,
    )
]
# 127.0.0.1 and ::1 as Linux writes them.
LOOPBACK = {"0100007F", "00000000000000000000000001000000"}


def listening(group: int) -> set[str]:
    """The addresses a process group listens on, as Linux writes them."""
    sockets = set()
    for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
        with contextlib.suppress(OSError):  # what is gone since it was listed
            if os.getpgid(int(descriptor.parts[2])) == group:
                name = os.readlink(descriptor)
                if name.startswith("socket:["):
                    sockets.add(name[len("socket:[") : -1])
    lines = [
        line.split()
        for family in ("tcp", "tcp6")
        for line in Path(f"/proc/net/{family}").read_text("ascii").splitlines()[1:]
    ]
    return {fields[1] for fields in lines if fields[3] == "0A" and fields[9] in sockets}


def test_objects_are_put_got_listed_and_deleted(store):
    assert store.raw_get("a/b c+é.txt") is None
    assert store.raw_put("a/b c+é.txt", b"one")
    assert store.raw_put("a/b c+é.txt", b"two")
    assert store.raw_put("z", b"")
    assert store.raw_get("a/b c+é.txt") == b"two"
    assert store.raw_get("z") == b""
    assert store.raw_list() == ["a/b c+é.txt", "z"]
    assert store.raw_list("a/") == ["a/b c+é.txt"]
    store.raw_delete("a/b c+é.txt")
    store.raw_delete("a/b c+é.txt")
    assert store.raw_list() == ["z"]


def test_put_if_absent_refuses_the_second(store):
    assert store.raw_put("log/0.json", b"first", only_new=True)
    assert not store.raw_put("log/0.json", b"second", only_new=True)
    assert store.raw_get("log/0.json") == b"first"


def test_put_if_absent_has_one_winner(store):
    for number in range(10):
        barrier, won = threading.Barrier(4), []

        def put(me, at=f"log/{number}.json", barrier=barrier, won=won):
            barrier.wait()
            if store.raw_put(at, b"%d" % me, only_new=True):
                won.append(me)

        racers = [threading.Thread(target=put, args=(me,)) for me in range(4)]
        for racer in racers:
            racer.start()
        for racer in racers:
            racer.join()
        assert len(won) == 1
        assert store.raw_get(f"log/{number}.json") == b"%d" % won[0]


def test_buckets_are_apart(store):
    assert store.raw_list() == []
    other = store.server.raw(f"{store.bucket}-other")
    with contextlib.closing(other):
        other.make()
        other.make()
        other.put("x", b"x")
        assert store.raw_list() == []
        other.drop()


@pytest.mark.localstack
@pytest.mark.parametrize("name", ["ministack", "dynalite"])
def test_conditional_put_of_dynamodb_refuses_the_second(name, request):
    with contextlib.closing(request.getfixturevalue(name).dynamodb()) as client:
        table = f"log-{os.getpid()}"
        client.create_table(
            TableName=table,
            KeySchema=[{"AttributeName": "path", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "path", "AttributeType": "S"}],
            BillingMode="PAY_PER_REQUEST",
        )
        client.get_waiter("table_exists").wait(TableName=table)
        item = {"path": {"S": "a"}}
        once = {"TableName": table, "ConditionExpression": "attribute_not_exists(#p)"}
        names = {"#p": "path"}
        client.put_item(**once, Item=item, ExpressionAttributeNames=names)
        with pytest.raises(client.exceptions.ConditionalCheckFailedException):
            client.put_item(**once, Item=item, ExpressionAttributeNames=names)
        client.delete_table(TableName=table)


@pytest.mark.parametrize("kind", KINDS)
def test_server_is_on_loopback_alone_and_gone_when_stopped(kind, request, tmp_path):
    if kind.given():
        pytest.skip("the environment names a server, none is started")
    server = start(kind, tmp_path, request.config)
    try:
        assert answers(server.port)
        if sys.platform == "linux":
            addresses = listening(server.child.pid)
            assert f"0100007F:{server.port:04X}" in addresses
            assert {address.partition(":")[0] for address in addresses} <= LOOPBACK
    finally:
        server.stop()
    assert not answers(server.port)
    with pytest.raises(ProcessLookupError):
        os.kill(server.child.pid, 0)
    server.stop()


def test_delta_tables_of_another_writer(store):
    at, options = store.uri("some table"), store.storage_options()
    for number in range(3):
        rows = pa.table({"n": [number], "part": [f"p{number}"]})
        deltalake.write_deltalake(
            at, rows, mode="append", partition_by=["part"], storage_options=options
        )
    table = deltalake.DeltaTable(at, storage_options=options)
    assert table.version() == 2
    assert sorted(table.to_pyarrow_table()["n"].to_pylist()) == [0, 1, 2]
    commits = store.raw_list("some table/_delta_log/")
    assert [name for name in commits if name.endswith(f"{2:020}.json")]
