"""Funnels, waterfall and timeline of the profile page."""

from __future__ import annotations

import dataclasses

import pytest

from fusiondelta.account._account import Request
from fusiondelta.account._nodes import PlanTree
from fusiondelta.account._page_requests import BARS, LANES
from tests.harness.accounts import account
from tests.harness.pages import page, shown
from tests.harness.plans import SUBMITTED, Op, requests

pytestmark = pytest.mark.pages


class TestScans:
    def test_a_funnel_for_each_scan(self):
        cards = shown("join").one("section", place="scans").all(cls="card")
        assert [card.one("h3").parts[0] for card in cards] == [
            "lineitem",
            "customer",
            "orders",
            "nation",
        ]
        files = cards[2].all(cls="funnel")[0]
        assert [item.text for item in files.all("li")] == [
            "in all120",
            "after partition values2420 %",
            "after statistics2218 %",
            "read2218 %",
        ]
        assert cards[2].one(cls="predicate").text.startswith("Prunes by o_orderdate@2 >= 2029")
        assert "20 of 22 footers from the cache" in cards[2].text

    def test_steps_that_left_nothing_out_are_one(self):
        card = shown("join").one("section", place="scans").all(cls="card")[0]
        assert [item.text for item in card.all(cls="funnel")[0].all("li")] == ["all read480"]

    def test_bars_are_in_parts_of_the_whole(self):
        card = shown("join").one("section", place="scans").all(cls="card")[2]
        bars = [one.attributes["width"] for one in card.all(cls="funnel")[0].all("rect")]
        assert bars == ["100.00%", "20.00%", "18.33%", "18.33%"]


class TestRequests:
    def test_bars_are_drawn_by_purpose(self):
        found = shown("join").one(cls="waterfall")
        assert len(found.all("rect")) == 340
        assert [one.text for one in found.all("text", "lane")] == ["log", "footer", "data"]
        assert "left out" not in found.text

    def test_no_more_than_can_be_told_apart(self):
        found = shown("troubled").one(cls="waterfall")
        assert len(found.one("svg", "chart").all("rect")) == BARS == 400
        assert "The 400 longest requests are drawn; 39,142 more are left out." in found.text

    def test_the_longest_are_drawn(self):
        run = account(requests=(*requests(900), dataclasses.replace(requests(1)[0], seconds=60.0)))
        read = page(run).one("section", place="requests")
        said = [one.text for one in read.one(cls="waterfall").all("title")]
        assert len(said) == BARS
        assert sum("1 min 00 s" in one for one in said) == 1
        assert next(row[4] for row in read.cells() if len(row) == 8) == "1 min 00 s"

    def test_failed_and_repeated_ones_are_marked(self):
        read = shown("troubled")
        assert {"failed", "repeated"} == {one.text for one in read.one(cls="waterfall").all("li")}
        assert len(read.one(cls="waterfall").one("svg", "chart").all(cls="r-failed")) >= 10
        assert read.all("rect", "again")

    def test_bars_lie_within_the_picture_whatever_the_clocks_say(self):
        odd = [
            Request("get", "data", "a", SUBMITTED - 10**12, 0.1, 1, False, "", ""),
            Request("get", "elsewhere", "b", SUBMITTED, 0.0, 0, False, "", "9.9.9"),
            Request("get", "data", "c", 0, 1e-9, 0, False, "", "0"),
            Request("get", "log", "d", SUBMITTED + 10**15, 5.0, 0, True, "timeout", "0"),
        ]
        read = page(account(requests=tuple(odd)))
        for one in read.all("rect"):
            left = float(one.attributes.get("x", "0%").rstrip("%"))
            assert 0 <= left <= left + float(one.attributes["width"].rstrip("%")) <= 100.001

    def test_many_at_once_share_lanes(self):
        same = tuple(
            Request("get", "data", "a", SUBMITTED, 1.0, 1, False, "", "") for _ in range(300)
        )
        rects = page(account(requests=same)).one(cls="waterfall").all("rect")
        assert len({one.attributes["y"] for one in rects}) == LANES

    def test_the_table_by_kind(self):
        cells = shown("join").one("section", place="requests").cells()
        assert ["get_range", "data", "316", "2", "402 MiB", "11.7 s", "37.0 ms"] in cells

    def test_a_run_without_requests_has_no_such_section(self):
        assert shown("bare").all(place="requests") == []


class TestTimeline:
    def test_a_bar_for_each_partition(self):
        read = shown("troubled").one("section", place="timeline")
        lines = read.all(cls="op-line")[1:]
        assert len(lines) == 10
        assert [len(line.all("rect")) for line in lines] == [1] + [8] * 9
        assert "HashJoinExec: 8 partitions from +" in " ".join(
            line.one("svg").attributes["aria-label"] for line in lines
        )

    def test_what_is_left_out_is_said(self):
        many = Op("HashJoinExec", ms=5, rows=1, partitions=200)
        text = page(account(many)).one("section", place="timeline").text
        assert "168 more partitions" in text
        assert "9 are left out" in shown("join").one("section", place="timeline").text

    def test_partitions_that_never_ran_have_none(self):
        (node,) = account(Op("XExec", partitions=3)).tree.nodes
        bad = {**node.by_partition, "start_timestamp": {0: 0.0, 1: 5e9}, "end_timestamp": {1: 4e9}}
        run = account(tree=PlanTree((dataclasses.replace(node, by_partition=bad),)))
        assert page(run).all(place="timeline") == []
