"""What a comparison of manifests says of plans and their operators."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fusiondelta.account import _findings as floors
from fusiondelta.account._comparison import steady
from fusiondelta.account._diff import diff_manifests
from tests.unit import manifests
from tests.unit.manifests import (
    JOIN,
    MIB,
    changed,
    only,
    operators,
    planned,
    slower,
    told,
)

pytestmark = pytest.mark.unit

QUERY = manifests.query().to_dict()
WRITE = manifests.write().to_dict()


class TestPlan:
    def test_mode_of_a_join(self):
        detail = JOIN[1][2].replace("CollectLeft", "Partitioned")
        after = planned(operators(at_0_0=("HashJoinExec", detail, 0.5, {"output_rows": 100})))
        difference = diff_manifests(QUERY, after)
        assert [(kind, effect) for kind, _, effect in told(difference)] == [
            ("join", "the mode of HashJoinExec of lines and orders is Partitioned instead of "
             "CollectLeft"),
            ("plan", "the plan differs in 2 lines"),
        ]  # fmt: skip
        lines = difference.findings[1].lines
        assert [line[0] for line in lines if "HashJoin" in line] == ["-", "+"]

    def test_sides_of_a_join(self):
        swapped = (
            JOIN[0],
            JOIN[1],
            ("0.0.0", *JOIN[4][1:]),
            ("0.0.1", *JOIN[2][1:]),
            ("0.0.1.0", *JOIN[3][1:]),
        )
        difference = diff_manifests(QUERY, planned(swapped))
        assert [kind for kind, _, _ in told(difference)] == ["join_side", "plan"]
        assert difference.findings[0].effect == (
            "the join builds on the rows of lines now, and not on those of orders"
        )
        assert difference.findings[0].before == ["orders"]

    def test_another_join(self):
        detail = "SortMergeJoinExec: join_type=Inner, on=[(id@0, id@0)]"
        after = planned(operators(at_0_0=("SortMergeJoinExec", detail, 0.5, {})))
        found = diff_manifests(QUERY, after).findings[0]
        assert (found.kind, found.before, found.after) == (
            "join",
            "HashJoinExec",
            "SortMergeJoinExec",
        )
        assert (
            found.effect == "SortMergeJoinExec of lines and orders took the place of HashJoinExec"
        )

    def test_an_operator_more_and_one_less(self):
        added = (
            JOIN[0],
            ("0.0", "RepartitionExec", "RepartitionExec: partitioning=Hash([id@0], 8)", 0.9, {}),
            *(("0.0" + path[1:], *rest) for path, *rest in JOIN[1:]),
        )
        difference = diff_manifests(QUERY, planned(added))
        found = difference.findings[0]
        assert (found.kind, found.before, found.after) == ("operator", None, "RepartitionExec")
        assert found.effect == ("RepartitionExec of lines and orders was added, which took 900 ms")
        back = diff_manifests(planned(added), QUERY).findings[0]
        assert back.effect.startswith("RepartitionExec of lines and orders is gone")

    def test_all_that_lies_below_is_told_of(self):
        for bare in (
            (("0", "SortExec", "SortExec: expr=[id@0 ASC]", 0.1, {"output_rows": 100}),),
            (JOIN[0], ("0.0", "EmptyExec", "EmptyExec", 0.0, {})),
        ):
            difference = diff_manifests(QUERY, planned(bare))
            gone = {one.subject for one in difference.findings if one.after is None}
            assert {"DataSourceExec of orders", "DataSourceExec of lines"} <= gone
            back = diff_manifests(planned(bare), QUERY)
            assert {one.subject for one in back.findings if one.before is None} == gone

    def test_partitions_of_a_scan(self):
        after = changed(QUERY, {"operators.3.partitions": 1})
        found = diff_manifests(QUERY, after).findings
        assert [one.effect for one in found] == ["the scan of orders has 1 partition instead of 8"]

    def test_order_of_joins(self):
        def three(first, second, third):
            def scan(path, name):
                detail = f"DeltaSnapshotExec: table=s3://lake/{name}, version=1"
                return (path, "DeltaSnapshotExec", detail, 0.0, {})

            join = ("HashJoinExec", "HashJoinExec: mode=CollectLeft, on=[]", 0.1, {})
            return (
                ("0", *join),
                ("0.0", *join),
                scan("0.0.0", first),
                scan("0.0.1", second),
                scan("0.1", third),
            )

        before, after = planned(three("x", "y", "z")), planned(three("x", "z", "y"))
        found = diff_manifests(before, after).findings[0]
        assert found.kind == "join_order"
        assert found.effect == "tables are joined in the order ((x, z), y) instead of ((x, y), z)"

    def test_versions_of_one_table_are_told_apart(self):
        def scan(path, uri, version):
            detail = f"DeltaSnapshotExec: table={uri}, version={version}"
            return (path, "DeltaSnapshotExec", detail, 0.0, {})

        join = ("0", "HashJoinExec", "HashJoinExec: mode=CollectLeft, on=[]", 0.1, {})
        old = replace(manifests.ORDERS, alias="old", version=3)
        other = replace(manifests.ORDERS, alias="other", uri="s3://lake/other")
        sources = (other, old, manifests.ORDERS)
        uri = manifests.ORDERS.uri
        before = planned((join, scan("0.0", uri, 4), scan("0.1", uri, 3)), sources=sources)
        after = planned((join, scan("0.0", uri, 3), scan("0.1", uri, 4)), sources=sources)
        found = diff_manifests(before, after).findings[0]
        assert found.effect == "the join builds on the rows of old now, and not on those of orders"
        far = planned((join, scan("0.0", "s3://x/far", 3), scan("0.1", uri, 3)))
        near = planned((join, scan("0.0", uri, 3), scan("0.1", "s3://x/far", 3)))
        assert "the rows of orders now, and not on those of far" in (
            diff_manifests(far, near).findings[0].effect
        )

    def test_an_operator_that_took_no_time_weighs_the_same_both_ways(self):
        def with_extra(seconds):
            extra = ("0.0", "CoalesceExec", "CoalesceExec", seconds, {})
            return planned((JOIN[0], extra, *(("0.0" + p[1:], *rest) for p, *rest in JOIN[1:])))

        def weight(before, after):
            found = diff_manifests(before, after).causes
            return next(one.weight for one in found if one.kind == "operator")

        free, heavy = with_extra(0.0), with_extra(0.9)
        # Gone while the query became slower: it explains nothing where it took time.
        late = changed(QUERY, slower(2))
        assert weight(heavy, late) < weight(free, late)
        assert weight(QUERY, changed(heavy, slower(2))) == weight(free, late)

    def test_pruning(self):
        metrics = {"files_total": 12, "files_after_statistics": 12}
        after = planned(operators(at_0_0_0=(*JOIN[2][1:4], metrics)))
        found = diff_manifests(QUERY, after).findings
        assert [one.kind for one in found] == ["pruning"]
        assert found[0].effect == "the scan of orders read 12 of 12 files instead of 3 of 12"

    @pytest.mark.parametrize(
        ("total", "before", "after"),
        [(4, 1, 2), (100, 10, 100 * floors.PRUNING_SHARE + 9)],
        ids=["a file", "a small part"],
    )
    def test_pruning_noise(self, total, before, after):
        def reading(files):
            metrics = {"files_total": total, "files_after_statistics": files}
            return planned(operators(at_0_0_0=(*JOIN[2][1:4], metrics)))

        assert diff_manifests(reading(before), reading(after)).equal
        assert not diff_manifests(reading(before), reading(total)).equal

    def test_spill(self):
        def spilling(size):
            return planned(operators(at_0=(*JOIN[0][1:4], {"spilled_bytes": size})))

        found = diff_manifests(QUERY, spilling(300 * MIB)).findings
        assert [one.kind for one in found] == ["spill"]
        assert found[0].effect == (
            "SortExec of lines and orders spilled 300 MiB to disk, which nothing did before"
        )
        gone = diff_manifests(spilling(300 * MIB), QUERY).findings[0]
        assert gone.effect.startswith("nothing spills to disk any more: SortExec")
        grown = diff_manifests(spilling(300 * MIB), spilling(900 * MIB)).findings[0]
        assert grown.effect == (
            "900 MiB were spilled to disk instead of 300 MiB, most by SortExec of lines and orders"
        )
        assert grown.weight < found[0].weight
        assert diff_manifests(spilling(300 * MIB), spilling(310 * MIB)).equal

    def test_the_operator_that_took_longer(self):
        heavy = (*JOIN[1][1:3], 9.5, {"output_rows": 90_000})
        after = changed(planned(operators(at_0_0=heavy)), slower(1.5))
        difference = diff_manifests(QUERY, after)
        assert [kind for kind, _, _ in told(difference)] == ["time", "operator_time"]
        assert difference.findings[1].effect == (
            "HashJoinExec of lines and orders worked 9.50 s instead of 500 ms, all partitions "
            "together: 100 % of the work added; it gave 90,000 rows instead of 100"
        )

    def test_operators_with_a_small_part_of_it_are_not_named(self):
        def with_seconds(sort, join):
            return operators(
                at_0=(*JOIN[0][1:3], sort, {"output_rows": 100}),
                at_0_0=(*JOIN[1][1:3], join, {"output_rows": 100}),
            )

        after = changed(planned(with_seconds(2.1, 2.5)), slower(1.5))
        found = [one.subject.split()[0] for one in diff_manifests(QUERY, after).causes]
        assert sorted(found) == ["HashJoinExec", "SortExec"]
        after = changed(planned(with_seconds(1.1, 9.5)), slower(1.5))
        found = [one.subject.split()[0] for one in diff_manifests(QUERY, after).causes]
        assert found == ["HashJoinExec"]
        faster = changed(planned(with_seconds(0.1, 0.01)), slower(-0.9))
        assert diff_manifests(QUERY, faster).causes[0].effect.endswith("100 % of the work saved")

    def test_waiting_for_storage_is_the_scans(self):
        waiting = (*JOIN[3][1:4], {"output_rows": 1000, "io_time": 5_000_000_000})
        after = changed(planned(operators(at_0_0_0_0=waiting)), slower(1.5))
        assert (
            diff_manifests(QUERY, after)
            .causes[0]
            .effect.startswith("DataSourceExec of orders worked 5.40 s instead of 600 ms")
        )

    def test_operators_are_not_blamed_where_time_is_the_same(self):
        heavy = (*JOIN[1][1:3], 9.5, {"output_rows": 100})
        assert diff_manifests(QUERY, planned(operators(at_0_0=heavy))).equal

    def test_plans_of_two_questions_are_shown_and_not_explained(self):
        detail = JOIN[1][2].replace("CollectLeft", "Partitioned")
        after = planned(operators(at_0_0=("HashJoinExec", detail, 0.5, {"output_rows": 100})))
        found = diff_manifests(QUERY, changed(after, {"query.sql": "SELECT 1"})).findings
        assert [one.kind for one in found] == ["sql", "plan"]
        assert found[1].effect == "the plan differs in 2 lines, as the SQL does"

    def test_plans_without_operators_are_compared_by_their_text(self):
        before = changed(QUERY, {"operators": []})
        after = changed(before, {"plan.physical_plan": "EmptyExec"})
        assert [one.kind for one in diff_manifests(before, after).findings] == ["plan"]

    def test_lines_are_limited(self):
        text = "\n".join(f"UnionExec: {n}" for n in range(500))
        found = only({"plan.physical_plan": text})
        assert len(found.lines) == floors.LINES_KEPT + 1
        assert found.lines[-1].endswith("more lines")

    @pytest.mark.parametrize(
        ("before", "after"),
        [
            ("DeltaSnapshotExec: table=s3a://b/t, version=4", "version=5"),
            (
                "X: predicate=DynamicFilter [ empty ], pruning_predicate=a@0 > 1, file_type=x",
                "X: predicate=DynamicFilter [ id@0 IN (1) ], pruning_predicate=b@0 > 1 AND c, "
                "required_guarantees=[a in (1)], file_type=x",
            ),
            (
                "SortExec: TopK(fetch=5), expr=[a@1 DESC], preserve_partitioning=[false]",
                "SortExec: TopK(fetch=5), expr=[a@1 DESC], preserve_partitioning=[false], "
                "filter=[a@1 IS NULL OR a@1 > 5]",
            ),
        ],
    )
    def test_what_passes_is_not_the_plan(self, before, after):
        if after.startswith("version"):
            after = before.replace("version=4", after)
        assert steady(before) == steady(after)

    def test_a_static_filter_is_the_plan(self):
        line = "X: predicate=a@0 > 1, pruning_predicate=a_max@0 > 1"
        assert steady(line) != steady(line.replace("pruning_predicate=a_max@0 > 1", ""))

    def test_operators_that_hang_nowhere_are_passed_over(self):
        node = QUERY["operators"][0]
        for loose in (
            [{**node, "id": "a", "parent": "b"}, {**node, "id": "b", "parent": "a"}],
            [node, node],
            [node, {**node, "id": "9", "parent": "8"}],
        ):
            before = changed(QUERY, {"operators": loose})
            assert diff_manifests(before, before).equal
            assert diff_manifests(QUERY, before).to_text()

    def test_deep_and_wide_plans(self):
        chain = [
            {
                "id": "0" + ".0" * n,
                "parent": "0" + ".0" * (n - 1) if n else None,
                "operator": "UnionExec",
                "detail": "UnionExec",
                "partitions": 1,
                "metrics": {},
            }
            for n in range(1500)
        ]
        sides = [{**one, "id": f"{one['id']}.1", "parent": one["id"]} for one in chain]
        nodes = [two for both in zip(chain, sides, strict=True) for two in both]
        before = changed(QUERY, {"operators": nodes})
        assert diff_manifests(before, before).equal
