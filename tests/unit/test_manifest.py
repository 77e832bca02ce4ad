"""Manifests: their layout, their schema, the way to a file and back."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace

import jsonschema
import pyarrow as pa
import pytest

from fusiondelta.account._manifest import RunManifest
from fusiondelta.account._nodes import PlanNode, PlanTree
from fusiondelta.account._parameters import decode_parameters, encode_parameters
from fusiondelta.account._schema import (
    KEYWORDS,
    SCHEMA_VERSION,
    check_manifest,
    manifest_schema,
)
from fusiondelta.errors import (
    ConfigurationError,
    ObjectNotFoundError,
    QueryError,
    StorageError,
)
from tests.unit import manifests
from tests.unit.manifests import KINDS, SECOND, SUBMITTED, changed

pytestmark = pytest.mark.unit

VALIDATOR = jsonschema.Draft202012Validator(manifest_schema())


def valid(document):
    VALIDATOR.validate(document)
    check_manifest(document)
    return True


def inner_schemas(schema):
    """A schema and all those within it, but the values of constants."""
    yield schema
    for keyword in ("properties", "$defs"):
        for one in schema.get(keyword, {}).values():
            yield from inner_schemas(one)
    for keyword in ("items", "additionalProperties"):
        if keyword in schema:
            yield from inner_schemas(schema[keyword])
    for one in schema.get("anyOf", ()):
        yield from inner_schemas(one)


class TestSchema:
    def test_it_is_a_schema(self):
        jsonschema.Draft202012Validator.check_schema(manifest_schema())

    def test_it_uses_what_the_check_knows(self):
        used = {keyword for one in inner_schemas(manifest_schema()) for keyword in one}
        assert used <= KEYWORDS
        assert len(used) >= 12

    def test_every_key_is_described(self):
        schema = manifest_schema()
        named = [
            (name, one)
            for inner in inner_schemas(schema)
            for name, one in inner.get("properties", {}).items()
        ]
        assert len(named) >= 100
        text = json.dumps(schema["$defs"])
        bare = [
            name
            for name, one in named
            if "description" not in one and "#/$defs/" not in json.dumps(one)
        ]
        assert bare == []
        assert text.count('"description"') >= 80

    def test_changing_it_changes_nothing(self):
        manifest_schema()["required"].append("nothing")
        assert "nothing" not in manifest_schema()["required"]

    def test_its_version_is_the_one_that_is_written(self):
        assert manifest_schema()["properties"]["schema_version"]["const"] == SCHEMA_VERSION == 2
        assert manifest_schema()["$id"].endswith("/2")


class TestDocument:
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_valid(self, kind):
        assert valid(KINDS[kind]().to_dict())

    @pytest.mark.parametrize("kind", KINDS)
    def test_goes_to_json_and_back(self, kind):
        manifest = KINDS[kind]()
        again = RunManifest.from_json(manifest.to_json())
        assert again.to_dict() == manifest.to_dict()
        assert again.to_json() == manifest.to_json()
        assert (again.kind, again.status, again.run_id) == (
            manifest.kind,
            manifest.status,
            manifest.run_id,
        )

    def test_holds_the_account(self):
        document = manifests.query().to_dict()
        assert document["snapshots"] == [
            {"alias": "orders", "uri": "s3://lake/orders", "version": 4}
        ]
        assert [one["alias"] for one in document["sources"]] == ["orders", "lines"]
        assert document["sources"][1]["pins"][0] == {
            "path": "lines/1.parquet",
            "bytes": 2**20,
            "modified_ms": 1000,
            "etag": "e1",
        }
        assert document["timing"]["submitted"] == "2030-03-17T17:46:40.000000+00:00"
        assert document["timing"]["planning_seconds"] == 0.1
        assert document["timing"]["seconds"] == pytest.approx(1.2)
        assert document["result"]["rows"] == 100
        assert document["result"]["partitions"] == 8
        assert document["query"]["sql"] == manifests.SQL
        assert document["plan"]["key_settings"] == {manifests.PARTITIONS: "8"}
        assert [one["id"] for one in document["operators"]][:3] == ["0", "0.0", "0.0.0"]
        assert document["operators"][0]["metrics"]["output_rows"] == 100
        assert document["memory"] == {"peak_bytes": 100 * 2**20, "limit_bytes": 2 * 2**30}
        assert document["write"] is None
        assert document["items"] == []

    def test_a_write_has_its_outcome_and_no_query(self):
        document = manifests.write().to_dict()
        assert document["query"] is document["result"] is document["plan"] is None
        assert document["write"]["outcome"] == "COMMITTED"
        assert document["write"]["modes"] == {
            "mode": "append",
            "schema_mode": None,
            "partition_by": [],
        }

    def test_a_write_that_failed_has_no_outcome(self):
        document = manifests.write(status="failed", write={}).to_dict()
        assert valid(document)
        assert document["write"]["outcome"] is None

    def test_what_failed_before_its_plan_has_its_text_and_versions(self):
        document = manifests.failed().to_dict()
        assert document["plan"] is None
        assert document["query"]["sql"] == manifests.SQL
        assert document["query"]["readonly"] is None
        assert document["versions"] == manifests.VERSIONS

    def test_made_by_hand_it_is_whole(self):
        bare = RunManifest(
            run_id="r",
            query_id="q",
            session_id="",
            kind="query",
            snapshots=(),
            status="planned",
            content={"tags": {"a": "b"}, "own": 1},
        )
        document = bare.to_dict()
        assert valid(document)
        assert (document["own"], document["tags"]) == (1, {"a": "b"})

    def test_content_cannot_say_who_it_is(self):
        manifest = replace(manifests.query(), content={"run_id": "other", "schema_version": 9})
        assert manifest.to_dict()["run_id"] == "r1"
        assert manifest.to_dict()["schema_version"] == SCHEMA_VERSION

    def test_unknown_keys_are_kept(self):
        document = {**manifests.query().to_dict(), "later": [1]}
        assert valid(document)
        assert RunManifest.from_dict(document).to_dict()["later"] == [1]

    def test_json_is_strict(self):
        node = PlanNode(
            id="0",
            parent=None,
            operator="X",
            totals={"nan": math.nan, "inf": math.inf, "whole": 3.0, "half": 0.5, "far": 2.0**60},
        )
        manifest = manifests.query(tree=PlanTree((node,)), tags={"a": "\ud800\x1b"})
        text = manifest.to_json()
        document = json.loads(text, parse_constant=pytest.fail)
        assert valid(document)
        metrics = document["operators"][0]["metrics"]
        assert metrics == {"nan": None, "inf": None, "whole": 3, "half": 0.5, "far": 2.0**60}
        assert isinstance(metrics["whole"], int)
        assert isinstance(metrics["far"], float)
        assert list(document) == sorted(document)
        assert text.isascii()

    def test_other_values_are_text(self):
        import datetime as dt
        from decimal import Decimal

        source = replace(
            manifests.ORDERS,
            options={"d": Decimal("1.5"), 7: dt.date(2030, 1, 2), "s": {"x"}, "t": (1, None)},
        )
        document = manifests.query(sources=(source,)).to_dict()
        assert valid(document)
        assert document["sources"][0]["options"] == {
            "d": "1.5",
            "7": "2030-01-02",
            "s": ["x"],
            "t": [1, None],
        }


class TestRun:
    def test_takes_all_of_its_items(self):
        document = manifests.run().to_dict()
        assert [one["kind"] for one in document["items"]] == ["query", "write"]
        assert document["snapshots"] == [
            {"alias": "orders", "uri": "s3://lake/orders", "version": 4},
            {"alias": "target", "uri": "s3://lake/orders", "version": 6},
        ]
        timing = document["timing"]
        assert timing["submitted_ns"] == SUBMITTED
        assert timing["seconds"] == 7.0
        assert timing["planning_seconds"] == 0.1
        assert document["io"]["requests"]["get"] == 24
        assert document["io"]["by_purpose"]["data"] == 16
        assert document["io"]["bytes_read"] == 80 * 2**20
        assert document["memory"]["peak_bytes"] == 100 * 2**20
        assert (document["tenant"], document["tags"]) == ("north", {"job": "nightly"})

    def test_names_each_snapshot_once(self):
        both = [manifests.query(), manifests.query(query_id="q2")]
        assert len(RunManifest.of_run("r", both).snapshots) == 1

    def test_ends_with_the_last_item_even_where_that_does_not_say_when(self):
        early = manifests.query().to_dict()
        late = manifests.query(submitted=SUBMITTED + 50 * SECOND, planned=SUBMITTED + 53 * SECOND)
        late = changed(late.to_dict(), {"timing.ended_ns": 0, "timing.seconds": 4.0})
        run = RunManifest.of_run("r", [RunManifest.from_dict(one) for one in (late, early)])
        assert run.to_dict()["timing"]["seconds"] == 54.0

    @pytest.mark.parametrize(
        ("statuses", "status"),
        [
            ([], "finished"),
            (["finished", "finished"], "finished"),
            (["finished", "planned"], "finished"),
            (["planned", "planned"], "planned"),
            (["finished", "running"], "running"),
            (["running", "cancelled"], "cancelled"),
            (["cancelled", "failed", "finished"], "failed"),
        ],
    )
    def test_status_is_of_all(self, statuses, status):
        items = [manifests.query(status=one) for one in statuses]
        run = RunManifest.of_run("r", items)
        assert run.status == status
        assert valid(run.to_dict())

    def test_error_is_the_first(self):
        items = [
            manifests.query(),
            manifests.failed(),
            manifests.query(status="failed", error={"class": "Other", "kind": "", "message": ""}),
        ]
        assert RunManifest.of_run("r", items).error["class"] == "SqlError"

    def test_pins(self):
        assert RunManifest.of_run("r", [], pinned=True).to_dict()["pinned"] is True
        assert RunManifest.of_run("r", []).to_dict()["pinned"] is False


class TestCheck:
    @pytest.mark.parametrize(
        ("document", "says"),
        [
            ([], "a manifest is a JSON object, not a list"),
            ("x", "not text"),
            ({}, "no schema_version"),
            ({"schema_version": "2"}, "a whole number, not text"),
            ({"schema_version": True}, "not true or false"),
            ({"schema_version": 1}, "schema_version 1, which holds too little.* reads 2"),
            ({"schema_version": 3}, "schema_version 3, .* reads 2; use a newer fusiondelta"),
            ({"schema_version": 2}, r"run_id is missing; query_id is missing; .*; and more"),
        ],
    )
    def test_what_is_none_is_refused(self, document, says):
        with pytest.raises(ConfigurationError, match=says):
            check_manifest(document)
        with pytest.raises(ConfigurationError, match=says):
            RunManifest.from_json(json.dumps(document))

    @pytest.mark.parametrize(
        ("path", "value", "says"),
        [
            ("kind", "stream", r"kind is 'stream', not one of 'query', 'write', 'run'"),
            ("status", 5, r"status is 5, not one of"),
            ("error", "x", r"error is text, not an object or null"),
            ("sources.0.version", "4", r"sources\[0\]\.version is text, not a whole number or nul"),
            ("sources.0.version", -1, r"sources\[0\]\.version is -1, less than 0"),
            ("sources.1.pins.0.bytes", 2**63, r"sources\[1\]\.pins\[0\]\.bytes is .*, more than"),
            ("timing.seconds", float("inf"), r"timing\.seconds is inf, not a number"),
            ("timing.seconds", None, r"timing\.seconds is null, not a number"),
            ("result.digest", {}, r"result\.digest\.algorithm is missing"),
            ("plan", 5, r"plan is a whole number, not an object"),
            ("operators.0", {"id": "0"}, r"operators\[0\]\.parent is missing"),
            ("tags", {"a\x1b b": 1}, r"tags\.'a\\x1b b' is a whole number, not text"),
            ("pinned", 1, r"pinned is a whole number, not true or false"),
        ],
    )
    def test_the_place_is_named(self, path, value, says):
        document = changed(manifests.query().to_dict(), {path: value})
        with pytest.raises(ConfigurationError, match=says):
            check_manifest(document)

    def test_items_are_checked(self):
        document = changed(manifests.run().to_dict(), {"items.1.write.attempts": [5]})
        with pytest.raises(ConfigurationError, match=r"items\[1\]\.write\.attempts\[0\] is a"):
            check_manifest(document)

    def test_depth_is_limited(self):
        document = manifests.run().to_dict()
        for _ in range(1000):
            document = {**document, "items": [document]}
        with pytest.raises(ConfigurationError, match="nested too deeply"):
            check_manifest(document)


class TestFile:
    def test_to_a_file_and_back(self, tmp_path):
        path = tmp_path / "runs" / "r1.json"
        path.parent.mkdir()
        manifests.run().write(path)
        assert RunManifest.from_file(path).to_dict() == manifests.run().to_dict()
        assert RunManifest.from_file(str(path)).run_id == "r1"
        assert os.listdir(path.parent) == ["r1.json"]

    def test_a_file_is_replaced_as_a_whole(self, tmp_path):
        path = tmp_path / "r.json"
        manifests.run().write(path)
        inode = path.stat().st_ino
        manifests.failed().write(path)
        assert RunManifest.from_file(path).status == "failed"
        assert path.stat().st_ino != inode

    def test_a_write_that_breaks_off_leaves_what_was_there(self, tmp_path, monkeypatch):
        path = tmp_path / "r.json"
        manifests.run().write(path)
        before = path.read_bytes()

        def full(_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(StorageError, match=r"cannot be written: .*No space left"):
            manifests.failed().write(path)
        assert path.read_bytes() == before
        assert os.listdir(tmp_path) == ["r.json"]

    def test_no_folder(self, tmp_path):
        with pytest.raises(StorageError, match=r"cannot be written: .*nowhere"):
            manifests.run().write(tmp_path / "nowhere" / "r.json")

    def test_no_file(self, tmp_path):
        with pytest.raises(ObjectNotFoundError, match=r"no manifest at '.*r\.json'"):
            RunManifest.from_file(tmp_path / "r.json")
        with pytest.raises(StorageError, match="cannot be read"):
            RunManifest.from_file(tmp_path)

    @pytest.mark.parametrize(
        ("content", "says"),
        [
            (b"", r"r\.json'?: a manifest is JSON"),
            (b"{", "a manifest is JSON"),
            (b"\xff\xfe", "is no manifest"),
            (b'{"schema_version": NaN}', "NaN is no number of JSON"),
            (b"[" * 100_000, "a manifest is JSON"),
            (b'{"schema_version": ' + b"9" * 5000 + b"}", r"r\.json"),
            (b'{"schema_version": 1}', r"r\.json'?: the manifest has schema_version 1"),
        ],
    )
    def test_no_manifest(self, tmp_path, content, says):
        path = tmp_path / "r.json"
        path.write_bytes(content)
        with pytest.raises(ConfigurationError, match=says):
            RunManifest.from_file(path)


class TestParameters:
    def test_there_and_back_with_their_types(self):
        import datetime as dt
        from decimal import Decimal

        values = {
            "i": pa.scalar(1),
            "small": pa.scalar(1, pa.int8()),
            "text": pa.scalar("Köln\x00"),
            "view": pa.scalar("a", pa.string_view()),
            "bytes": pa.scalar(b"\xff"),
            "null": pa.scalar(None),
            "typed_null": pa.scalar(None, pa.int64()),
            "flag": pa.scalar(True),
            "money": pa.scalar(Decimal("1.50")),
            "time": pa.scalar(dt.time(1, 2, 3), pa.time64("ns")),
            "zoned": pa.scalar(dt.datetime(2030, 1, 2, tzinfo=dt.timezone.utc)),
            "list": pa.scalar([1, None, 3]),
            "nan": pa.scalar(math.nan),
            "1": pa.scalar({"a": 1}),
        }
        encoded = encode_parameters(values)
        query = {"parameters": dict.fromkeys(values, ""), "parameters_ipc": encoded}
        again = decode_parameters(query)
        assert {name: one.type for name, one in again.items()} == {
            name: one.type for name, one in values.items()
        }
        assert math.isnan(again.pop("nan").as_py())
        assert {name: one.as_py() for name, one in again.items()} == {
            name: one.as_py() for name, one in values.items() if name != "nan"
        }

    def test_none(self):
        assert encode_parameters({}) is None
        assert decode_parameters({"parameters": {}, "parameters_ipc": None}) == {}

    def test_text_alone_is_not_enough(self):
        with pytest.raises(QueryError, match=r"parameters \(\$a, \$b\) as text only"):
            decode_parameters({"parameters": {"b": "1", "a": "2"}, "parameters_ipc": None})

    @pytest.mark.parametrize("encoded", ["?", "", "AAAA", "QVJST1cx" * 9])
    def test_broken_ones_are_named(self, encoded):
        with pytest.raises(ConfigurationError, match=r"query\.parameters_ipc of the manifest"):
            decode_parameters({"parameters": {"a": "1"}, "parameters_ipc": encoded})

    def test_others_are_named(self):
        encoded = encode_parameters({"b": pa.scalar(1)})
        with pytest.raises(ConfigurationError, match=r"one|1 rows of \['b'\], not one row of"):
            decode_parameters({"parameters": {"a": "1"}, "parameters_ipc": encoded})
