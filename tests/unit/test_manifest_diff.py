"""What a comparison of manifests says, and what it passes over."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fusiondelta.account import _findings as floors
from fusiondelta.account._diff import diff_manifests
from fusiondelta.account._wording import clean, shortened
from fusiondelta.errors import ConfigurationError
from tests.unit import manifests
from tests.unit.manifests import (
    GIB,
    KINDS,
    MIB,
    PARTITIONS,
    changed,
    diff,
    only,
    slower,
    told,
)

pytestmark = pytest.mark.unit

QUERY = manifests.query().to_dict()
WRITE = manifests.write().to_dict()


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_differs_from_itself(kind):
    document = KINDS[kind]().to_dict()
    difference = diff_manifests(document, json.loads(json.dumps(document)))
    assert difference.equal
    assert difference.findings == ()
    assert difference.to_text().count("\n") == 1


def test_identifiers_and_instants_are_no_difference():
    assert diff(
        {
            "run_id": "r2",
            "query_id": "q2",
            "session_id": "s9",
            "timing.submitted_ns": 5,
            "timing.submitted": None,
            "tenant": None,
            "tags": {"other": "x"},
            "pinned": True,
        }
    ).equal


def test_what_is_no_manifest_is_refused():
    with pytest.raises(ConfigurationError, match="schema_version 1"):
        diff_manifests(QUERY, {"schema_version": 1})
    with pytest.raises(ConfigurationError, match="status is missing"):
        diff_manifests({k: v for k, v in QUERY.items() if k != "status"}, QUERY)
    bare = replace(manifests.query(), content={"operators": 5})
    with pytest.raises(ConfigurationError, match="operators is a whole number"):
        bare.diff(bare)


class TestOutcome:
    def test_another_kind_ends_the_comparison(self):
        difference = diff_manifests(QUERY, WRITE)
        assert [one.kind for one in difference.findings] == ["kind"]
        assert difference.verdict == "a is a query and b is a write: they cannot be compared"

    def test_failed(self):
        error = {"class": "ExecutionError", "kind": "execution", "message": "no\nnumber"}
        difference = diff({"status": "failed", "error": error})
        assert difference.verdict == "a finished, and b failed with ExecutionError: no number"
        cancelled = diff({"status": "cancelled"})
        assert cancelled.verdict == "a finished, and b was cancelled"

    def test_another_error(self):
        error = {"class": "SqlError", "kind": "sql"}
        before = changed(QUERY, {"status": "failed", "error": error})
        assert diff_manifests(before, before).verdict == "no difference: both failed"
        after = changed(before, {"error": {**error, "class": "QueryTimeoutError"}})
        found = diff_manifests(before, after).findings
        assert [one.kind for one in found] == ["status"]

    def test_failed_before_its_plan_says_nothing_of_sources(self):
        kinds = {one.kind for one in manifests.query().diff(manifests.failed()).findings}
        assert kinds == {"status"}

    def test_a_failure_has_what_may_be_why(self):
        difference = diff({"status": "cancelled", "sources.0.version": 5})
        assert difference.verdict == (
            "a finished, and b was cancelled; what differs: table orders moved from version 4 to 5"
        )

    def test_rows(self):
        found = only({"result.rows": 1200})
        assert found.kind == "answer"
        assert found.effect == "b gave a different answer (1,200 rows instead of 100)"

    def test_digest(self):
        difference = diff({"result.digest.value": "zz"})
        assert told(difference) == [
            ("answer", "rows", "b gave a different answer (other rows)"),
        ]
        assert difference.verdict.endswith(": nothing that manifests hold explains it")

    def test_floats_may_be_rounded(self):
        assert diff({"result.digest.exact": "zz"}).equal

    def test_digests_of_two_algorithms_say_nothing(self):
        assert diff({"result.digest.value": "zz", "result.digest.algorithm": "rows-2"}).equal
        assert diff({"result.digest": None}).equal

    def test_columns(self):
        found = only({"result.columns.0.type": "int32"})
        assert (found.kind, found.subject) == ("answer", "columns")
        assert found.lines[-2:] == ("-id int64", "+id int32")
        assert diff({"result.columns": []}).equal  # not known

    def test_a_different_answer_is_heaviest(self):
        changes = {"result.rows": 5, "query.sql": "SELECT 1", "sources.0.version": 9}
        difference = diff({**changes, **slower(9)})
        assert [one.kind for one in difference.findings] == ["answer", "time", "sql", "snapshot"]


class TestTime:
    def test_slower(self):
        found = only(slower(2.4))
        assert found.effect == "b took 3.0 times as long (1.20 s, then 3.60 s)"
        assert (found.before, found.after) == pytest.approx((1.2, 3.6))

    def test_faster(self):
        assert only(slower(-0.9)).effect == "b was 4.0 times as fast (1.20 s, then 300 ms)"

    @pytest.mark.parametrize(
        ("before", "after", "differs"),
        [
            (0.001, 0.001 + floors.SECONDS_FLOOR * 0.9, False),
            (0.001, 0.001 + floors.SECONDS_FLOOR * 1.1, True),
            (100.0, 100.0 * (floors.TIME_RATIO - 0.01), False),
            (100.0, 100.0 * (floors.TIME_RATIO + 0.01), True),
            (0.0, 0.0, False),
            (0.0, 1.0, True),
        ],
    )
    def test_noise_says_nothing(self, before, after, differs):
        for a, b in ((before, after), (after, before)):
            first = changed(QUERY, {"timing.seconds": a})
            assert diff_manifests(first, changed(first, {"timing.seconds": b})).equal != differs

    def test_from_nothing(self):
        before = changed(QUERY, {"timing.seconds": 0})
        assert "b took many times as long" in diff_manifests(before, QUERY).verdict

    def test_time_of_what_did_not_finish_is_not_compared(self):
        before = changed(QUERY, {"status": "cancelled"})
        assert diff(slower(9), before).equal

    def test_planning_and_its_phase(self):
        difference = diff(
            {
                "timing.planning_seconds": 2.1,
                "timing.seconds": 3.2,
                "timing.phases.0.seconds": 1.96,
            }
        )
        assert [one.kind for one in difference.findings] == ["time", "planning"]
        assert difference.causes[0].effect == (
            "planning took 2.10 s instead of 100 ms, most of it finding the snapshots "
            "(60.0 ms, then 1.96 s)"
        )
        # All of the change in time, so it weighs more than a table that hardly grew.
        assert difference.causes[0].weight > floors.WEIGHTS["snapshot"]

    def test_planning_noise(self):
        assert diff({"timing.planning_seconds": 0.14}).equal

    def test_waiting(self):
        phases = [*QUERY["timing"]["phases"], {"name": "wait", "started_ns": 0, "seconds": 5.0}]
        difference = diff({"timing.planning_seconds": 5.1, "timing.phases": phases})
        assert "most of it waiting for a free context (0 s, then 5.00 s)" in difference.verdict


class TestQuestion:
    def test_sql(self):
        sql = "SELECT o.id FROM orders o JOIN lines l ON o.id = l.id ORDER BY 2"
        found = only({"query.sql": sql})
        assert (found.kind, found.before, found.after) == ("sql", manifests.SQL, sql)
        assert found.lines == ("@@ -1 +1 @@", f"-{manifests.SQL}", f"+{sql}")

    def test_spacing_weighs_little(self):
        found = only({"query.sql": manifests.SQL.replace(" ", "\n ")})
        assert found.effect == "the SQL is spaced differently"
        assert found.weight < floors.TELLING

    def test_parameters(self):
        before = changed(QUERY, {"query.parameters": {"c": "Ulm", "n": "1"}})
        difference = diff({"query.parameters": {"c": "Bonn", "k": "2"}}, before)
        assert [effect for _, _, effect in told(difference)] == [
            "parameter $c is Bonn instead of Ulm",
            "parameter $k is 2 instead of nothing",
            "parameter $n is nothing instead of 1",
        ]

    def test_memory_limit(self):
        limited = {
            "memory.limit_bytes": 64 * MIB,
            "plan.settings": {**manifests.SETTINGS, "datafusion.runtime.memory_limit": "64M"},
        }
        found = only(limited)
        assert found.effect == "the memory limit is 64.0 MiB instead of 2.00 GiB"

    def test_memory_limit_without_a_plan(self):
        before = changed(QUERY, {"plan": None})
        found = diff({"memory.limit_bytes": None}, before).findings
        assert [one.effect for one in found] == ["the memory limit is none instead of 2.00 GiB"]

    def test_memory_limit_of_what_failed_before_it_ran(self):
        failed = {"status": "failed", "operators": [], "plan": None, "memory.limit_bytes": None}
        assert "memory_limit" not in [one.kind for one in diff(failed).findings]


class TestSources:
    def test_snapshot_moved_and_grew(self):
        difference = diff(
            {
                **slower(2.6),
                "sources.0.version": 9,
                "sources.0.files": 310,
                "sources.0.bytes": 98 * GIB // 10,
                "sources.0.rows": 9_000_000,
            }
        )
        assert difference.verdict == (
            "b took 3.2 times as long (1.20 s, then 3.80 s): table orders moved from version 4 to "
            "9 and grew from 12 files (1.00 GiB, 1,000,000 rows) to 310 files (9.80 GiB, 9,000,000 "
            "rows)"
        )
        found = difference.causes[0]
        assert (found.before["version"], found.after["version"]) == (4, 9)

    def test_growth_weighs_more(self):
        moved = only({"sources.0.version": 9})
        doubled = only({"sources.0.version": 9, "sources.0.bytes": 2 * GIB})
        grown = only({"sources.0.version": 9, "sources.0.bytes": 200 * GIB})
        assert moved.effect == "table orders moved from version 4 to 9"
        assert moved.weight < doubled.weight < grown.weight

    def test_growth_that_is_noise(self):
        found = only({"sources.0.version": 9, "sources.0.rows": 1_050_000})
        assert found.effect == "table orders moved from version 4 to 9"

    def test_moved_back_and_shrank(self):
        found = only({"sources.0.version": 1, "sources.0.files": 2, "sources.0.rows": None})
        assert found.effect == (
            "table orders moved back from version 4 to 1 and shrank from 12 files (1.00 GiB, "
            "1,000,000 rows) to 2 files (1.00 GiB)"
        )

    def test_fewer_files_of_more_bytes(self):
        found = only({"sources.0.version": 5, "sources.0.files": 1, "sources.0.bytes": 2 * GIB})
        assert " and went from 12 files" in found.effect

    def test_what_shrank_explains_other_rows_all_the_same(self):
        moved = {"sources.0.version": 9, "sources.0.files": 310}
        same, other = diff({**slower(-1), **moved}), diff({**slower(-1), **moved, "result.rows": 5})
        assert other.causes[0].weight > same.causes[0].weight
        assert other.verdict.startswith(
            "b gave a different answer (5 rows instead of 100), and b was 6.0 times as fast (1.20 "
            "s, then 200 ms): table orders moved from version 4 to 9 and grew"
        )

    def test_what_grew_does_not_explain_what_is_faster(self):
        grown = {"sources.0.version": 9, "sources.0.files": 310}
        slow, fast = diff({**slower(2), **grown}), diff({**slower(-1), **grown})
        assert slow.causes[0].weight > 2 * fast.causes[0].weight
        assert fast.verdict.endswith(": nothing that manifests hold explains it")

    def test_replaced(self):
        found = only({"sources.0.uri": "s3://other/orders", "sources.0.bytes": 5 * GIB})
        assert found.kind == "source"
        assert found.effect.startswith(
            "orders is delta s3://other/orders instead of delta s3://lake/orders and grew from 12"
        )

    def test_into_memory(self):
        found = only({"sources.1.uri": "", "sources.1.kind": "memory"})
        assert found.effect == "lines is memory in memory instead of parquet s3://lake/lines/"

    def test_added_and_gone(self):
        found = diff({"sources.1.alias": "rows"})
        assert [effect for _, _, effect in told(found)] == [
            "only a has a source lines",
            "only b has a source rows",
        ]

    def test_files(self):
        pins = QUERY["sources"][1]["pins"]
        found = only(
            {
                "sources.1.pins": [{**pins[0], "etag": "e9"}, {**pins[1], "path": "lines/3"}],
                "sources.1.bytes": 30 * MIB,
            }
        )
        assert found.kind == "files"
        assert found.effect == (
            "files of lines are others: 1 added, 1 removed, 1 changed and grew from 2 files "
            "(3.00 MiB) to 2 files (30.0 MiB)"
        )

    def test_options(self):
        found = only({"sources.1.options.extension": ".pq"})
        assert found.effect == "lines is read with other options (extension)"

    def test_a_write_names_its_target(self):
        found = only({"snapshots.0.version": 8}, WRITE)
        assert found.effect == "table target moved from version 6 to 8"
        found = only({"snapshots.0.uri": "s3://lake/new"}, WRITE)
        assert found.effect == "table target is s3://lake/new instead of s3://lake/orders"
        found = only({"snapshots": []}, WRITE)
        assert found.effect == "table target is nothing instead of s3://lake/orders"


class TestSurroundings:
    def test_settings_key_ones_first(self):
        difference = diff(
            {
                "plan": {
                    **QUERY["plan"],
                    "settings": {PARTITIONS: "2", "datafusion.catalog.information_schema": "no"},
                    "key_settings": {PARTITIONS: "2"},
                }
            }
        )
        assert [effect for _, _, effect in told(difference)] == [
            f"setting {PARTITIONS} is 2 instead of 8",
            "setting datafusion.catalog.information_schema is no instead of true",
        ]
        assert difference.findings[0].weight > floors.TELLING > difference.findings[1].weight

    def test_versions_of_the_engine_first(self):
        difference = diff(
            {"versions": {"fusiondelta": "0.5.0", "native.datafusion": "56.0.0", "pyarrow": "1"}}
        )
        assert [effect for _, _, effect in told(difference)] == [
            "native.datafusion is 56.0.0 instead of 55.0.0",
            "pyarrow is 1 instead of 23.0.0",
        ]

    def test_versions_of_the_plan_serve_too(self):
        bare = {k: v for k, v in QUERY.items() if k != "versions"}
        found = only({"plan.versions": {**manifests.VERSIONS, "fusiondelta": "9"}}, bare)
        assert found.subject == "fusiondelta"

    def test_versions_that_are_not_known(self):
        assert diff({"versions": {}, "plan": None}).equal

    def test_machine(self):
        difference = diff(
            {
                **slower(2),
                "machine": {
                    "cores": 2,
                    "memory_bytes": 4 * GIB,
                    "system": "Linux x86_64",
                    "python": "3.13.0",
                },
            }
        )
        assert [effect for _, _, effect in told(difference)][1:] == [
            "the machine has 2 cores instead of 8",
            "the machine has 4.00 GiB of memory instead of 16.0 GiB",
            "the machine's python is 3.13.0 instead of 3.12.1",
        ]
        assert difference.verdict.endswith(": the machine has 2 cores instead of 8")

    def test_machine_noise(self):
        assert diff({"machine.memory_bytes": 16 * GIB + MIB, "machine.system": None}).equal


class TestRendering:
    HOSTILE = "x\x1b[31m\r\n\u202e\x9b</pre><script>"

    def difference(self):
        renamed = changed(
            QUERY,
            {
                "sources.0.alias": self.HOSTILE,
                "query.parameters": {self.HOSTILE: self.HOSTILE},
                "plan.physical_plan": f"{self.HOSTILE}\nX",
                "machine.system": self.HOSTILE,
                "versions": {self.HOSTILE: self.HOSTILE},
                "status": "failed",
                "error": {"class": self.HOSTILE, "kind": "", "message": self.HOSTILE},
            },
        )
        return diff_manifests(QUERY, renamed)

    def test_terminals_obey_nothing(self):
        text = self.difference().to_text()
        assert r"\x1b[31m" in text
        assert r"\u202e" in text
        assert all(line.isprintable() for line in text.split("\n"))
        assert str(self.difference()) == text

    def test_text_is_shortened(self):
        assert shortened("a  b\n\tc", 5) == "a b c"
        assert shortened("abcdef", 6) == "abcdef"
        assert shortened("abcdefg", 6) == "abcde…"
        assert clean("é ü\u200b\ud800\n") == r"é ü\u200b\ud800\n"

    def test_pages_run_nothing(self):
        page = self.difference()._repr_html_()
        assert page.count("<") == 2
        assert "&lt;script&gt;" in page

    def test_as_plain_values(self):
        difference = diff({**slower(2), "sources.0.version": 9})
        out = json.loads(json.dumps(difference.to_dict(), allow_nan=False))
        assert out["equal"] is False
        assert out["verdict"] == difference.verdict
        assert [one["kind"] for one in out["findings"]] == ["time", "snapshot"]
        assert set(out["findings"][0]) == {
            "kind", "subject", "before", "after", "effect", "weight", "lines", "item",
        }  # fmt: skip
        assert out["before"]["run_id"] == "r1"

    def test_the_first_line_is_the_verdict(self):
        difference = diff({**slower(2), "sources.0.version": 9})
        lines = difference.to_text().splitlines()
        assert lines[0] == difference.verdict
        assert lines[1] == ""
        assert lines[2].strip() == difference.findings[0].effect

    def test_the_only_finding_is_said_once(self):
        difference = diff({"sources.0.version": 9})
        (finding,) = difference.findings
        lines = difference.to_text().splitlines()
        assert finding.effect in lines[0]
        assert [line.strip() for line in lines[1:]] == list(finding.lines)

    def test_nothing_differs(self):
        assert manifests.query().diff(manifests.query()).to_text() == (
            "no difference: b took about as long as a (1.20 s, then 1.20 s), the same rows\n"
        )
        bare = changed(QUERY, {"result.digest": None})
        assert diff_manifests(bare, bare).verdict.endswith(", as many rows (100)")

    def test_every_kind_has_a_weight(self):
        assert set(floors.EFFECTS) <= set(floors.WEIGHTS)
        assert min(floors.WEIGHTS[kind] for kind in floors.EFFECTS) > max(
            weight + 30 for kind, weight in floors.WEIGHTS.items() if kind in ("snapshot", "files")
        )
