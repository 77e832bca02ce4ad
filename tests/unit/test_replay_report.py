"""What a manifest says has to run again, and how what ran again compares with it."""

from __future__ import annotations

import json
from dataclasses import replace

import pyarrow as pa
import pytest

from fusiondelta.account._parameters import encode_parameters
from fusiondelta.account._replay import compare_replay, replay_inputs
from fusiondelta.errors import ConfigurationError, QueryError
from tests.unit import manifests
from tests.unit.manifests import GIB, PARTITIONS, SQL, changed

pytestmark = pytest.mark.unit

QUERY = manifests.query().to_dict()


def compared(changes, document=QUERY):
    return compare_replay(document, changed(document, changes))


class TestInputs:
    def test_of_a_query(self):
        inputs = replay_inputs(QUERY)
        assert inputs.sql == SQL
        assert inputs.parameters == {}
        assert inputs.readonly is True
        assert (inputs.consistent_at, inputs.memory_limit) == (None, None)
        assert inputs.digest is True
        orders, lines = inputs.sources
        assert (orders.alias, orders.kind, orders.uri, orders.version) == (
            "orders",
            "delta",
            "s3://lake/orders",
            4,
        )
        assert lines.options == manifests.LINES.options
        assert lines.pins == manifests.LINES.pins

    def test_settings_are_those_of_the_query(self):
        settings = {
            PARTITIONS: "2",
            "datafusion.execution.time_zone": None,
            "datafusion.runtime.memory_limit": "1G",
        }
        document = changed(QUERY, {"plan.key_settings": settings})
        assert replay_inputs(document).settings == {PARTITIONS: "2"}
        assert replay_inputs(changed(QUERY, {"plan": None})).settings == {}

    def test_numbers_are_whole(self):
        text = json.dumps(changed(QUERY, {"sources.0.version": 4.0, "query.memory_limit": 64.0}))
        inputs = replay_inputs(json.loads(text))
        assert isinstance(inputs.sources[0].version, int)
        assert isinstance(inputs.memory_limit, int)

    def test_parameters_have_their_types(self):
        values = {"c": pa.scalar("Ulm"), "1": pa.scalar(7, pa.int16())}
        document = changed(
            QUERY,
            {
                "query.parameters": {"c": "Ulm", "1": "7"},
                "query.parameters_ipc": encode_parameters(values),
            },
        )
        assert replay_inputs(document).parameters == values

    def test_a_failed_query_can_be_tried_again(self):
        error = {"class": "ExecutionError", "kind": "execution"}
        assert replay_inputs(changed(QUERY, {"status": "failed", "error": error})).sql == SQL

    def test_changes_between_two_versions_are_read_again(self):
        changes = {
            "sources.1.kind": "changes",
            "sources.1.options": {"start": 1, "end": 3},
            "sources.1.pins": [],
        }
        assert replay_inputs(changed(QUERY, changes)).sources[1].options["end"] == 3

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"query.sql": None}, "made as a DataFrame and has no SQL; .* use diff"),
            ({"query.readonly": False}, r"allowed to make changes \(readonly=False\); run it"),
            ({"query.readonly": None}, "allowed to make changes"),
            ({"query.parameters": {"c": "x"}}, r"parameters \(\$c\) as text only"),
            ({"sources.1.kind": "memory"}, r"source 'lines' cannot be read again: .* write it to"),
            ({"sources.1.kind": "arrow", "sources.1.uri": ""}, "source 'lines' cannot be read"),
            ({"sources.1.kind": "provider"}, "'provider' data of the process"),
            ({"sources.1.uri": ""}, "source 'lines' cannot be read again"),
            ({"sources.0.version": None}, "source 'orders' .* up to which version of s3://lake/or"),
            (
                {"sources.1.kind": "changes", "sources.1.options": {"start": 1, "end": None}},
                "source 'lines' .* up to which version",
            ),
        ],
    )
    def test_what_cannot_be_repeated_is_refused_and_says_why(self, changes, says):
        with pytest.raises(QueryError, match=says):
            replay_inputs(changed(QUERY, changes))

    def test_other_manifests_are_refused(self):
        with pytest.raises(QueryError, match=r"write w1 cannot be replayed: it is a write"):
            replay_inputs(manifests.write().to_dict())
        with pytest.raises(
            QueryError, match=r"run r1 cannot .*: it is a run of 2; .*from_dict\(document\['"
        ):
            replay_inputs(manifests.run().to_dict())
        with pytest.raises(QueryError, match=r"it failed before it had a plan \(SqlError\); run"):
            replay_inputs(manifests.failed().to_dict())

    def test_what_is_no_manifest_is_refused(self):
        with pytest.raises(ConfigurationError, match="schema_version 1"):
            replay_inputs({"schema_version": 1})
        with pytest.raises(ConfigurationError, match=r"query\.parameters_ipc"):
            replay_inputs(changed(QUERY, {"query.parameters_ipc": "AAAA"}))


class TestReport:
    def test_the_same_again(self):
        report = compared({"run_id": "r2", "timing.seconds": 2.4})
        assert report.equal
        assert (report.plan_diff, report.settings_diff, report.versions_diff) == ((), {}, {})
        assert report.digest == {
            "recorded": manifests.DIGEST,
            "replayed": manifests.DIGEST,
            "equal": True,
        }
        assert report.rows == {"recorded": 100, "replayed": 100}
        assert report.snapshots["equal"]
        assert report.status == {"recorded": "finished", "replayed": "finished"}
        assert report.seconds == {"recorded": QUERY["timing"]["seconds"], "replayed": 2.4}
        assert report.to_text() == "the replay is equal\n  the 100 rows have the same digest\n"
        assert str(report) == report.to_text()

    def test_other_rows(self):
        report = compared({"result.digest.value": "zz", "result.rows": 101})
        assert not report.equal
        assert report.digest["equal"] is False
        assert report.notes == ("the rows are others: 100, then 101",)

    @pytest.mark.parametrize("word", ["now()", "RANDOM ( )", "current_date"])
    def test_other_rows_of_sql_that_gives_others_each_time(self, word):
        before = changed(QUERY, {"query.sql": f"SELECT {word}"})
        notes = compared({"result.digest.value": "zz"}, before).notes
        assert notes[-1].endswith("which is something else each time")
        assert len(compared({}, before).notes) == 1

    def test_columns_of_such_names_are_none(self):
        before = changed(QUERY, {"query.sql": "SELECT uuid, now FROM today"})
        assert len(compared({"result.digest.value": "zz"}, before).notes) == 1

    def test_rounding(self):
        report = compared({"result.digest.exact": "zz"})
        assert report.equal
        assert report.digest["equal"] is True
        assert report.notes == ("the rows are equal up to the rounding of floats",)

    def test_digests_of_different_numbers_of_rows_are_not_equal(self):
        assert compared({"result.digest.rows": 3}).digest["equal"] is False

    @pytest.mark.parametrize(
        ("before", "after", "why"),
        [
            ({"result.digest": None}, {}, "there is no digest to compare"),
            ({}, {"result.digest": None}, "there is no digest to compare"),
            ({}, {"result.digest.algorithm": "rows-9"}, "the digests are of two algorithms"),
        ],
    )
    def test_without_digests_rows_are_counted(self, before, after, why):
        document = changed(QUERY, before)
        report = compared(after, document)
        assert report.equal
        assert report.digest["equal"] is None
        assert report.notes == (f"{why}, only the number of rows: 100, then 100",)
        assert not compared({**after, "result.rows": 99}, document).equal

    def test_without_results(self):
        report = compared({}, changed(QUERY, {"result": None}))
        assert not report.equal
        assert report.rows == {"recorded": None, "replayed": None}
        assert report.notes == ("there is no result to compare",)

    @pytest.mark.parametrize(
        "changes",
        [
            {"snapshots.0.version": 5},
            {"snapshots.0.uri": "s3://other/orders"},
            {"snapshots": []},
            {"sources.1.pins.0.etag": "e9"},
            {"sources.1.pins.1.modified_ms": 9},
            {"sources.1.pins.1.bytes": 9},
            {"sources.1.pins": []},
        ],
    )
    def test_other_snapshots_and_files(self, changes):
        report = compared(changes)
        assert not report.equal
        assert not report.snapshots["equal"]
        assert report.digest["equal"] is True
        assert report.notes[0] == "it read other snapshots or files than were recorded"

    def test_the_order_of_files_and_what_an_etag_says_better_do_not_matter(self):
        pins = QUERY["sources"][1]["pins"]
        assert compared({"sources.1.pins": pins[::-1]}).equal
        assert compared({"sources.1.pins.0.modified_ms": 5}).equal

    def test_plan_settings_versions_machine(self):
        report = compared(
            {
                "plan.physical_plan": QUERY["plan"]["physical_plan"].replace("Collect", "Find"),
                "plan.settings": {**QUERY["plan"]["settings"], PARTITIONS: "2", "a.b": "x"},
                "versions": {**QUERY["versions"], "pyarrow": "24.0.0"},
                "machine": {**QUERY["machine"], "cores": 2},
            }
        )
        assert report.equal
        assert [line[:14] for line in report.plan_diff if line[0] in "+-"] == [
            "-  HashJoinExe",
            "+  HashJoinExe",
        ]
        assert report.settings_diff == {PARTITIONS: ["8", "2"], "a.b": [None, "x"]}
        assert report.versions_diff == {"pyarrow": ["23.0.0", "24.0.0"]}
        assert report.machine_diff == {"cores": [8, 2]}
        assert report.to_text().splitlines()[2:8] == [
            "  settings:",
            "    a.b: nothing, then x",
            f"    {PARTITIONS}: 8, then 2",
            "  versions:",
            "    pyarrow: 23.0.0, then 24.0.0",
            "  machine:",
        ]

    def test_what_lies_on_another_machine_is_the_same_plan(self):
        plan = QUERY["plan"]["physical_plan"]
        assert "8 groups" in plan
        other = plan.replace("8 groups: [[a.parquet], [b.parquet]]", "1 group: [[x/a.parquet]]")
        assert compared({"plan.physical_plan": other}).plan_diff == ()

    def test_no_plan_was_recorded(self):
        report = compare_replay(changed(QUERY, {"plan": None}), QUERY)
        assert report.equal
        assert (report.plan_diff, report.settings_diff) == ((), {})
        assert "the plan was not recorded, so plans and settings are not compared" in report.notes

    def test_failures(self):
        error = {"class": "ExecutionError", "kind": "execution", "message": "no number"}
        recorded = changed(QUERY, {"status": "failed", "error": error, "result.digest": None})
        again = compared({"error.message": "no number there"}, recorded)
        assert again.equal
        assert again.notes == (
            "the recorded query failed with ExecutionError: no number",
            "the replayed query failed with ExecutionError: no number there",
        )
        assert not compared({"error.class": "StorageError"}, recorded).equal
        assert not compare_replay(recorded, QUERY).equal
        assert not compare_replay(QUERY, recorded).equal

    def test_a_query_that_was_not_read_to_its_end_says_nothing(self):
        report = compare_replay(changed(QUERY, {"status": "cancelled"}), QUERY)
        assert not report.equal
        assert report.notes[0].startswith("the recorded query was not read to its end (it is canc")

    def test_as_plain_values(self):
        out = json.loads(json.dumps(compared({"snapshots.0.version": 5}).to_dict()))
        assert out["equal"] is False
        assert set(out) == {
            "equal", "plan_diff", "settings_diff", "versions_diff", "machine_diff", "digest",
            "rows", "snapshots", "status", "seconds", "notes",
        }  # fmt: skip

    def test_terminals_obey_nothing(self):
        hostile = "x\x1b[31m\r\n\u202e"
        text = compared(
            {
                "plan.physical_plan": hostile,
                "plan.settings": {hostile: hostile},
                "versions": {hostile: hostile},
                "machine.system": hostile,
                "status": "failed",
                "error": {"class": hostile, "kind": "", "message": hostile},
            }
        ).to_text()
        assert r"\x1b[31m" in text
        assert all(line.isprintable() for line in text.split("\n"))

    def test_what_is_no_manifest_is_refused(self):
        with pytest.raises(ConfigurationError, match="no schema_version"):
            compare_replay({}, QUERY)
        with pytest.raises(ConfigurationError, match="no schema_version"):
            compare_replay(QUERY, {})

    def test_inputs_and_reports_are_values(self):
        report = compared({})
        assert replace(report, equal=False) != report
        assert replay_inputs(QUERY) == replay_inputs(QUERY)
        assert QUERY["machine"]["memory_bytes"] == 16 * GIB
