"""What a comparison of manifests says of requests and memory, of writes, and of runs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusiondelta.account import _findings as floors
from fusiondelta.account._diff import diff_manifests
from fusiondelta.account._manifest import RunManifest
from tests.unit import manifests
from tests.unit.manifests import (
    MIB,
    ORDERS,
    changed,
    diff,
    only,
    slower,
    told,
)

pytestmark = pytest.mark.unit

QUERY = manifests.query().to_dict()
WRITE = manifests.write().to_dict()


class TestCost:
    def test_cold_cache(self):
        before = changed(QUERY, {"io.by_purpose": {"data": 8}})
        difference = diff({"io.by_purpose": {"data": 8, "footer": 300, "log": 10}}, before)
        assert told(difference) == [
            (
                "cache",
                "logs, checkpoints and footers",
                "logs, checkpoints and footers took 310 requests instead of 0: the cache was warm "
                "in a and cold in b",
            )
        ]
        warm = diff_manifests(changed(before, {"io.by_purpose": {"data": 8, "log": 40}}), before)
        assert "cold in a and warm in b" in warm.verdict

    @pytest.mark.parametrize(
        ("path", "noise", "tells", "kind"),
        [
            ("io.by_purpose.footer", 2 + floors.REQUESTS_FLOOR - 1, 11, "cache"),
            ("io.by_purpose.data", 8 + floors.REQUESTS_FLOOR - 1, 100, "requests"),
            ("io.retries", floors.RETRIES_FLOOR - 1, floors.RETRIES_FLOOR, "retries"),
            ("io.bytes_read", 41 * MIB, 60 * MIB, "bytes_read"),
            ("io.bytes_written", MIB - 1, MIB, "bytes_written"),
            ("memory.peak_bytes", 149 * MIB, 200 * MIB, "memory"),
        ],
    )
    def test_floors(self, path, noise, tells, kind):
        assert diff({path: noise}).equal
        assert only({path: tells}).kind == kind

    def test_many_requests_have_to_differ_by_much(self):
        before = changed(QUERY, {"io.by_purpose.data": 1000})
        assert diff({"io.by_purpose.data": 1100}, before).equal
        assert not diff({"io.by_purpose.data": 1300}, before).equal


class TestWrite:
    def test_outcome_and_modes(self):
        difference = diff(
            {
                "operation": "overwrite",
                "write.modes.mode": "overwrite",
                "write.rows_written": 7,
                "write.files_removed": 12,
                "write.write_safety": "single_writer_unsafe",
            },
            WRITE,
        )
        assert sorted(effect for _, _, effect in told(difference)) == [
            "files removed is 12 instead of 0",
            "mode is overwrite instead of append",
            "operation is overwrite instead of append",
            "rows written is 7 instead of 1000",
            "write safety is single_writer_unsafe instead of conditional_put",
        ]

    def test_conflicts(self):
        once = changed(WRITE, {"write.attempts": WRITE["write"]["attempts"][:1]})
        found = diff_manifests(once, WRITE).findings
        assert [one.kind for one in found] == ["conflicts"]
        assert found[0].effect == ("the commit took 2 attempts instead of 1 (ConcurrentAppend)")

    def test_phases(self):
        difference = diff({"timing.phases.1.seconds": 3.3, "timing.seconds": 5.0}, WRITE)
        assert difference.verdict == (
            "b took 2.5 times as long (2.00 s, then 5.00 s): commit took 3.30 s instead of 300 ms"
        )

    def test_noise(self):
        assert diff({"write.bytes_written": 4 * MIB + 100, "write.commit_id": "c2"}, WRITE).equal


class TestRun:
    RUN = manifests.run().to_dict()

    def test_items_are_matched_and_named(self):
        difference = diff(
            {"items.0.result.rows": 7, "items.0.result.digest.rows": 7, "items.1.operation": "x"},
            self.RUN,
        )
        assert (
            "answer",
            "rows",
            "in item 1, b gave a different answer (7 rows instead of 100)",
        ) in (told(difference))
        assert difference.findings[0].item == 1
        assert difference.findings[0].is_effect

    def test_an_item_more(self):
        more = RunManifest.of_run(
            "r2",
            [manifests.query(sql="SELECT 7", query_id="q0"), manifests.query(), manifests.write()],
        )
        found = diff_manifests(self.RUN, more.to_dict()).findings
        assert [one.effect for one in found if one.kind == "item"] == [
            "item 1 (SELECT 7) is in b and not in a"
        ]
        assert not any(one.kind in ("sql", "answer") for one in found)

    def test_an_item_less(self):
        fewer = RunManifest.of_run("r2", [manifests.write()]).to_dict()
        found = diff_manifests(self.RUN, fewer).findings
        shown = manifests.SQL
        assert [one.effect for one in found if one.kind == "item"] == [
            f"item 1 ({shown}) is in a and not in b"
        ]

    def test_the_same_step_in_other_words(self):
        difference = diff({"items.0.query.sql": "SELECT 1"}, self.RUN)
        assert [(one.kind, one.item) for one in difference.findings] == [("sql", 1)]

    def test_what_all_have_together_is_told_once(self):
        def both(version):
            orders = (replace(ORDERS, version=version), manifests.LINES)
            return [
                manifests.query(sources=orders, query_id=name, sql=name, machine={"cores": version})
                for name in ("q1", "q2")
            ]

        before, after = (RunManifest.of_run("r", both(n)) for n in (4, 5))
        assert [(one.kind, one.item) for one in before.diff(after).findings] == [
            ("machine", None),
            ("snapshot", None),
        ]

    def test_the_slow_item_is_the_cause(self):
        items = [manifests.query(), manifests.query(query_id="q2", sql="SELECT 2")]
        late = changed(items[1].to_dict(), {**slower(9), "io.retries": 40})
        cold = changed(items[0].to_dict(), {"io.by_purpose.footer": 100})
        after = RunManifest.of_run("r", [RunManifest.from_dict(one) for one in (cold, late)])
        run = changed(after.to_dict(), {"timing.seconds": 12.0})
        difference = diff_manifests(RunManifest.of_run("r", items).to_dict(), run)
        assert difference.causes[0].effect == (
            "in item 2, b took 8.5 times as long (1.20 s, then 10.2 s)"
        )
        weights = {one.kind: one.weight for one in difference.findings}
        assert weights["retries"] > weights["cache"]
        assert len([one for one in difference.findings if one.kind == "retries"]) == 1
