"""Problems that have a name: each is found where it is, and nowhere else."""

from __future__ import annotations

import dataclasses

import pytest

from fusiondelta.account._account import Phase
from fusiondelta.account._advice import problems
from fusiondelta.account._io import IoLine
from fusiondelta.account._nodes import PlanTree
from fusiondelta.account._page_view import PROBLEM_TITLES
from fusiondelta.account._problem import SEVERITIES, severity_of
from fusiondelta.account._scans import scans
from fusiondelta.account._ways import Ways
from tests.harness import accounts
from tests.harness.accounts import account
from tests.harness.plans import MIB, MS, SUBMITTED, Op, io, requests, scan

pytestmark = pytest.mark.unit

GIB = 2**30


def names(run):
    return [one.name for one in problems(run)]


def only(run):
    (found,) = problems(run)
    return found


def joined(rows, left=2_000_000, right=500_000, operator="HashJoinExec"):
    sides = (Op("SideExec", rows=left, ms=50), Op("SideExec", rows=right, ms=50))
    return account(Op(operator, "on=[(a@0, a@0)]", sides, ms=900, rows=rows))


def filtered(given, kept, *, detail="day@2 = 2030-01-01", **what):
    what = {
        "files": (40, 40, 40),
        "row_groups": (40, 40),
        "pages": (0, 0),
        "predicate": detail,
        **what,
    }
    top = Op("FilterExec", detail, (scan("t", rows=given, **what),), ms=20, rows=kept)
    return account(top, sources=(accounts.source("t"),))


class TestQuietRuns:
    @pytest.mark.parametrize("make", [accounts.tiny, accounts.join, accounts.written])
    def test_nothing_is_wrong(self, make):
        assert names(make()) == []

    def test_large_plans_have_no_problem_by_being_large(self):
        assert names(accounts.large()) == []
        assert names(accounts.left_deep(200)) == []

    def test_a_run_that_has_just_begun(self):
        begun = account(status="running", planned=0, started=0, first_row=0, ended=0, phases=())
        assert names(begun) == []

    def test_what_was_not_measured_is_no_problem(self):
        run = accounts.troubled()
        bare = tuple(dataclasses.replace(node, totals={}, by_partition={}) for node in run.tree)
        assert names(account(tree=PlanTree(bare))) == []


class TestSeverity:
    @pytest.mark.parametrize(
        ("concerned", "whole", "severity"),
        [
            (0.09, 0.09, "low"),
            (0.1, 0.1, "medium"),  # all of the time, but nobody waits for it
            (0.5, 0.5, "high"),
            (30, 100, "high"),
            (29, 100, "medium"),
            (0.5, 0, "high"),
        ],
    )
    def test_by_time(self, concerned, whole, severity):
        assert severity_of(concerned, whole) == severity

    def test_a_scan_is_as_bad_as_its_time(self):
        found = [only(filtered(8_000_000, 4_000, ms=ms)).severity for ms in (9, 300, 900)]
        assert found == ["low", "medium", "high"]


class TestTroubledRun:
    def test_every_problem_of_plans_and_requests_is_named(self):
        assert set(names(accounts.troubled())) == {
            "row_explosion",
            "spill",
            "scan_prunes_nothing",
            "small_files",
            "skew",
            "retries",
            "memory_near_limit",
            "waited_for_context",
            "cold_cache",
        }

    def test_the_worst_come_first(self):
        ranks = [SEVERITIES.index(one.severity) for one in problems(accounts.troubled())]
        assert ranks == sorted(ranks)
        assert {0, 1, 2} == set(ranks)

    def test_each_names_its_operator_says_what_and_what_to_do(self):
        run = accounts.troubled()
        ids = {node.id for node in run.tree}
        for one in problems(run):
            assert one.node is None or one.node in ids
            assert one.what.endswith(".")
            assert one.advice.endswith((".", "]"))
            assert one.name in PROBLEM_TITLES

    def test_every_title_is_of_a_problem_that_can_be_found(self):
        runs = (accounts.troubled(), filtered(30_000_000, 100, predicate=""))
        found = {one.name for run in runs for one in problems(run)}
        assert found == set(PROBLEM_TITLES)


class TestRowExplosion:
    def test_found_at_the_join(self):
        found = only(joined(150_000_000))
        assert (found.name, found.node, found.severity) == ("row_explosion", "0", "high")
        assert "150,000,000 rows of 2,000,000 and 500,000: 75×" in found.what  # noqa: RUF001
        assert "not unique" in found.advice

    def test_sides_that_only_hand_rows_on_are_looked_through(self):
        sides = (scan("a", rows=2_000_000), scan("b", rows=500_000))
        run = account(Op("HashJoinExec", inputs=sides, ms=900, rows=150_000_000))
        assert run.tree.nodes[1].rows is None
        assert "row_explosion" in names(run)

    @pytest.mark.parametrize("operator", ["CrossJoinExec", "NestedLoopJoinExec"])
    def test_a_join_without_equality_is_told_so(self, operator):
        assert "no column for equality" in only(joined(150_000_000, operator=operator)).advice

    @pytest.mark.parametrize(
        ("rows", "left", "right"),
        [
            (19_999_999, 2_000_000, 500_000),  # under ten times the larger side
            (999_999, 10, 10),  # any factor, but few rows
            (2_000_000, 2_000_000, 0),
        ],
    )
    def test_not_below_its_thresholds(self, rows, left, right):
        assert names(joined(rows, left, right)) == []

    def test_sides_without_rows_count_as_one(self):
        assert names(joined(5_000_000, 0, 0)) == ["row_explosion"]


class TestSpill:
    @pytest.mark.parametrize(
        ("spilled", "severity"), [(16 * MIB, "low"), (3 * GIB, "high"), (16 * MIB - 1, None)]
    )
    def test_by_size(self, spilled, severity):
        sort = Op("SortExec", ms=10, metrics={"spilled_bytes": spilled, "spill_count": 3})
        rest = Op("AggregateExec", inputs=(sort,), ms=900)
        found = problems(account(rest))
        assert [(one.node, one.severity) for one in found] == (
            [("0.0", severity)] if severity else []
        )
        assert all("3 files" in one.what for one in found)


class TestScans:
    def test_a_scan_that_prunes_nothing(self):
        found = only(filtered(8_000_000, 4_000))
        assert (found.name, found.node) == ("scan_prunes_nothing", "0.0")
        assert "scan of t read all of 8,000,000 rows" in found.what
        assert "z_order" in found.advice

    @pytest.mark.parametrize(
        ("text", "column", "kind"),
        [
            ("CAST(id@0 AS Utf8View) = 5", "id", "Utf8View"),
            ("TRY_CAST(the day@12 AS Decimal128(38, 10)) > 1", "the day", "Decimal128(38, 10)"),
            ("x@1 = 1 AND CAST(ts@3 AS Date32) = 2030-01-01", "ts", "Date32"),
        ],
    )
    def test_a_type_that_does_not_match_is_named(self, text, column, kind):
        found = only(filtered(8_000_000, 4_000, detail=text))
        assert f"compares {column} as {kind}" in found.advice

    def test_a_cast_that_only_the_filter_has(self):
        run = filtered(8_000_000, 4_000, detail="CAST(id@0 AS Utf8) = 5", predicate="")
        assert "compares id as Utf8" in only(run).advice

    @pytest.mark.parametrize(
        "run",
        [
            filtered(999_999, 10),  # few rows
            filtered(8_000_000, 800_000),  # most are needed
            filtered(8_000_000, 4_000, predicate=""),  # nothing to prune by, and not much read
            filtered(8_000_000, 4_000, row_groups=(40, 20)),
            filtered(8_000_000, 4_000, files=(80, 80, 40)),
            filtered(8_000_000, 4_000, pages=(400, 300)),
        ],
    )
    def test_not_where_it_prunes_or_need_not(self, run):
        assert names(run) == []

    def test_a_dynamic_filter_is_nothing_to_prune_by(self):
        run = filtered(8_000_000, 4_000, predicate="DynamicFilter [ empty ]")
        assert names(run) == []
        assert scans(run, Ways(run.tree))[0].predicate == ""

    def test_what_is_not_known_to_prune_nothing_is_not_blamed(self):
        run = filtered(8_000_000, 4_000)
        bare = [
            dataclasses.replace(
                node, totals={n: v for n, v in node.totals.items() if n in ("output_rows",)}
            )
            for node in run.tree
        ]
        assert names(dataclasses.replace(run, tree=PlanTree(tuple(bare)))) == []

    def test_rows_dropped_within_the_scan_were_read_too(self):
        reader = scan(
            "t", rows=1_000, files=(9, 9, 9), row_groups=(9, 9), pages=(0, 0), predicate="a@0 = 1"
        )
        inner = reader.inputs[0].inputs[0]
        inner.metrics = {**inner.metrics, "pushdown_rows_pruned": 5_000_000}
        assert names(account(reader)) == ["scan_prunes_nothing"]

    def test_rows_read_in_vain_although_something_was_pruned(self):
        found = only(filtered(40_000_000, 900, row_groups=(400, 300)))
        assert found.name == "rows_read_in_vain"
        assert names(filtered(9_000_000, 900, row_groups=(400, 300))) == []
        assert names(filtered(40_000_000, 900_000, row_groups=(400, 300))) == []

    def test_a_filter_above_other_operators_is_not_the_scans(self):
        table = scan("t", rows=9_000_000, files=(9, 9, 9), row_groups=(9, 9), predicate="a@0 = 1")
        between = Op("AggregateExec", inputs=(table,), rows=9_000_000)
        assert names(account(Op("FilterExec", inputs=(between,), rows=3))) == []

    @pytest.mark.parametrize(
        ("files", "size", "found"),
        [
            (100, 100 * 8 * MIB - 1, ["small_files"]),
            (100, 100 * 8 * MIB, []),
            (99, 99_000, []),
            (40_000, 4 * GIB, ["small_files"]),
        ],
    )
    def test_small_files(self, files, size, found):
        run = account(scan("t", rows=5, files=(files,) * 3, size=size, row_groups=(1, 1)))
        assert names(run) == found

    def test_small_files_that_pruning_left_out_do_not_matter(self):
        run = account(scan("t", rows=5, files=(90_000, 9, 9), size=9 * GIB, row_groups=(1, 1)))
        assert names(run) == []

    def test_tables_in_memory_are_no_scans_of_files(self):
        run = account(Op("DataSourceExec", "partitions=1, partition_sizes=[1]", rows=9_000_000))
        assert scans(run, Ways(run.tree)) == ()

    def test_a_scan_of_files_is_known_by_its_only_source(self):
        reader = scan("t", rows=5).inputs[0].inputs[0]
        source = dataclasses.replace(accounts.source("logs"), kind="parquet", version=None)
        run = account(reader, sources=(source,))
        assert [one.name for one in scans(run, Ways(run.tree))] == ["logs"]
        more = dataclasses.replace(run, sources=(source, source))
        assert [one.aliases for one in scans(more, Ways(more.tree))] == [()]

    def test_a_table_under_two_names(self):
        run = account(
            scan("t", rows=5),
            sources=(accounts.source("t"), dataclasses.replace(accounts.source("t"), alias="u")),
        )
        assert scans(run, Ways(run.tree))[0].name == "t, u"

    def test_the_funnel_of_a_scan(self):
        run = accounts.join()
        (orders,) = (one for one in scans(run, Ways(run.tree)) if one.name == "orders")
        steps = {one.unit: [step.value for step in one.steps] for one in orders.funnels()}
        assert steps == {
            "files": [120, 24, 22, 22],
            "row groups": [180, 120, 120],
            "pages": [2400, 900],
            "rows": [15_000_000, 2_290_000, 2_275_919],
            "bytes": [900 * MIB, 165 * MIB, 160 * MIB],
        }

    def test_ranges_of_files_are_not_taken_for_files(self):
        table = scan("t", rows=5, files=(30, 30, 30))
        inner = table.inputs[0].inputs[0]
        ranges = {"files_ranges_pruned_statistics_pruned": 10,
                  "files_ranges_pruned_statistics_matched": 90}  # fmt: skip
        inner.metrics = {**inner.metrics, **ranges}
        run = account(table)
        (files, *_) = scans(run, Ways(run.tree))[0].funnels()
        assert [step.name for step in files.steps] == [
            "in all",
            "after partition values",
            "after statistics",
        ]


class TestSkew:
    UNEVEN = (30.0, 1.0, 1.0, 1.0)

    def run(self, ms, weights, operator="HashJoinExec", **more):
        op = Op(operator, ms=ms, rows=1_000, partitions=len(weights), weights=weights)
        return account(Op("TopExec", inputs=(op,), ms=1, partitions=1), **more)

    def test_found_where_it_is(self):
        found = only(self.run(1_500, self.UNEVEN))
        assert (found.name, found.node, found.severity) == ("skew", "0.0", "high")
        assert "One of 4 partitions" in found.what
        assert "91 % of the rows" in found.what
        assert "values of the keys" in found.advice

    @pytest.mark.parametrize(
        ("operator", "says"),
        [("DataSourceExec", "Files or row groups"), ("FilterExec", "below it")],
    )
    def test_advice_by_operator(self, operator, says):
        assert says in only(self.run(1_500, self.UNEVEN, operator)).advice

    def test_most_had_nothing(self):
        assert "most others had nothing" in only(self.run(900, (1.0, 0.0, 0.0, 0.0))).what

    @pytest.mark.parametrize(
        ("ms", "weights"),
        [
            (500, (30.0, 1.0, 1.0, 1.0)),  # the slowest takes under half a second
            (4_000, (2.9, 1.0, 1.0, 1.0)),  # under three times the middle one
            (4_000, (1.0,)),
        ],
    )
    def test_not_below_its_thresholds(self, ms, weights):
        assert names(self.run(ms, weights)) == []

    def test_not_where_the_execution_took_much_longer(self):
        assert names(self.run(1_500, self.UNEVEN, ended=SUBMITTED + 60_000 * MS)) == []

    def test_named_where_it_begins(self):
        low = Op("RepartitionExec", ms=1_500, partitions=4, weights=self.UNEVEN)
        middle = Op("AggregateExec", inputs=(low,), ms=1_600, partitions=4, weights=self.UNEVEN)
        assert [one.node for one in problems(account(middle))] == ["0.0"]

    def test_no_more_than_three(self):
        sides = tuple(
            Op("HashJoinExec", ms=1_500 + place, partitions=4, weights=self.UNEVEN)
            for place in range(6)
        )
        assert names(account(Op("UnionExec", inputs=sides))) == ["skew"] * 3


class TestRun:
    @pytest.mark.parametrize(("peak", "found"), [(3_481 * MIB, 0), (3_482 * MIB, 1)])
    def test_memory_near_its_limit(self, peak, found):
        assert names(account(peak_memory=peak)) == ["memory_near_limit"] * found
        assert names(account(peak_memory=peak, memory_limit=None)) == []

    @pytest.mark.parametrize(
        ("failure", "says"),
        [("status 503", "concurrency"), ("timeout", "request_timeout"), ("connect", "network")],
    )
    def test_failed_requests(self, failure, says):
        failed = tuple(dataclasses.replace(one, failure=failure) for one in requests(5))
        found = only(account(requests=failed))
        assert found.name == "retries"
        assert f"{failure} 5×" in found.what  # noqa: RUF001
        assert says in found.advice

    @pytest.mark.parametrize(
        ("retries", "severity"), [(2, None), (3, "medium"), (34, "high"), (33, "medium")]
    )
    def test_repeated_requests(self, retries, severity):
        run = account(io=io(IoLine("get", "data", 340, retries, 9, 0.1)))
        assert [one.severity for one in problems(run)] == ([severity] if severity else [])

    @pytest.mark.parametrize(
        ("waited", "severity"), [(0.2, None), (0.3, None), (0.5, "medium"), (1.4, "high")]
    )
    def test_waiting_for_a_context(self, waited, severity):
        run = account(phases=(Phase("wait", SUBMITTED, waited), Phase("parse", SUBMITTED, 9.0)))
        assert [one.severity for one in problems(run)] == ([severity] if severity else [])

    @pytest.mark.parametrize(
        ("footers", "seconds", "found"),
        [(50, 0.5, 1), (49, 0.5, 0), (50, 0.4, 0), (2_000, 90.0, 1)],
    )
    def test_cold_caches(self, footers, seconds, found):
        lines = (
            IoLine("get_range", "footer", footers, 0, 1, seconds),
            IoLine("get_range", "data", 50, 0, 1, 9.0),
        )
        assert names(account(io=io(*lines))) == ["cold_cache"] * found

    def test_a_long_log_wants_a_checkpoint(self):
        run = account(io=io(IoLine("get", "log", 60, 0, 1, 3.0)))
        assert "checkpoint" in only(run).advice
        run = account(io=io(IoLine("get_range", "footer", 60, 0, 1, 3.0)))
        assert "checkpoint" not in only(run).advice

    def test_footers_that_were_not_kept(self):
        op = scan("t", rows=9, cache=(10, 50), files=(60, 60, 60))
        lines = (
            IoLine("get_range", "footer", 50, 0, 1, 2.0),
            IoLine("get", "data", 900, 0, 1, 2.0),
        )
        assert names(account(op, io=io(*lines))) == ["cold_cache"]

    @pytest.mark.parametrize(
        ("files", "size", "found"), [(100, MIB, 1), (99, MIB, 0), (100, 64 * MIB, 0)]
    )
    def test_a_write_of_small_files(self, files, size, found):
        run = account(kind="write", write={"files_added": files, "bytes_written": files * size})
        assert names(run) == ["small_files"] * found


class TestWays:
    def test_decoding_is_work_of_a_scan(self):
        table = scan("t", rows=9, ms=400)
        run = account(table)
        reader = run.tree.nodes[-1]
        assert reader.seconds == pytest.approx(0.4)
        assert Ways(run.tree).share(reader) > 0.9

    def test_a_tree_that_is_not_whole_loses_nothing(self):
        nodes = accounts.join().tree.nodes
        broken = dataclasses.replace(accounts.join().tree, nodes=(*nodes[5:], *nodes[:2]))
        ways = Ways(broken)
        seen = [one.id for top in ways.tops for one in (top, *ways.below(top))]
        assert sorted(seen) == sorted(node.id for node in broken)

    def test_below_is_in_the_order_of_the_plan(self):
        run = accounts.join()
        ways = Ways(run.tree)
        (top,) = ways.tops
        assert [top, *ways.below(top)] == list(run.tree.nodes)
