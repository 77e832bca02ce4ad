"""The profile page: well formed, closed to everything outside, and the same numbers as the run."""

from __future__ import annotations

import dataclasses
import functools

import pytest

from fusiondelta.account._account import Phase
from fusiondelta.account._io import IoLine
from fusiondelta.account._nodes import PlanTree
from fusiondelta.account._page_html import Source, escape, h, render, visible
from fusiondelta.account._page_timeline import EXPENSIVE
from fusiondelta.account._profile import QueryProfile
from fusiondelta.account._units import UNKNOWN
from tests.harness import accounts, pages
from tests.harness.accounts import RUNS, account
from tests.harness.hostile_accounts import HOSTILE, hostile
from tests.harness.pages import broken, html, page, shown
from tests.harness.plans import MIB, MS, SUBMITTED, Op, io, scan

pytestmark = pytest.mark.pages


@functools.cache
def harmless(place):
    return pages.shape(page(hostile("zzz", place)))


def tiles(read):
    return {
        one.children[0].text: (one.children[1].text, one.children[2].text)
        for one in read.all(cls="tile")
    }


class TestRules:
    @pytest.mark.parametrize("name", RUNS)
    def test_every_page_keeps_the_rules(self, name):
        assert broken(html(name)) == []

    @pytest.mark.parametrize("text", HOSTILE, ids=ascii)
    def test_hostile_text_stays_text(self, text):
        found = QueryProfile(hostile(text)).to_html()
        assert broken(found) == []
        assert pages.shape(pages.read(found)) == harmless("after")

    @pytest.mark.parametrize("place", ["after", "before", "instead"])
    def test_hostile_text_stays_text_wherever_it_stands(self, place):
        found = QueryProfile(hostile(" ".join(HOSTILE), place)).to_html()
        assert broken(found) == []
        assert pages.shape(pages.read(found)) == harmless(place)

    def test_hostile_comparisons_keep_the_rules(self):
        text = " ".join(HOSTILE)
        for first, second in [
            (hostile(text), accounts.troubled()),
            (accounts.troubled(), hostile(text, "before")),
            (hostile(text), hostile(text, "instead")),
        ]:
            found = QueryProfile(first).compare(QueryProfile(second)).to_html()
            assert broken(found) == []

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("<!DOCTYPE html><html><body><b></body></b></html>", "</body> closes <b>"),
            ("<!DOCTYPE html><html><body>", "left open"),
            ("<!DOCTYPE html><html><!-- x --></html>", "a comment"),
        ],
    )
    def test_a_page_that_is_not_well_formed_is_found(self, text, says):
        with pytest.raises(AssertionError, match=says):
            pages.read(text)

    @pytest.mark.parametrize(
        ("old", "new", "says"),
        [
            ("<main>", "<main onclick=\"x()\">", "attribute onclick"),
            ("<main>", "<main><img src=\"x\"></img>", "element img"),
            ("<main>", "<main><a href=\"http://x\">x</a>", "a link to"),
            ("<main>", "<main><p class=\"a_b<\"></p>", "class"),
            ("<main>", "<main><p style=\"color:red\"></p>", "attribute style"),
            ("default-src &#39;none&#39;", "default-src *", "default-src is *"),
            ("\"use strict\";", "\"use strict\"; x();", "script-src is not the hash"),
            ("script-src ", "script-src &#39;unsafe-inline&#39; ", "script-src is not the hash"),
        ],
    )  # fmt: skip
    def test_a_planted_violation_is_found(self, old, new, says):
        text = QueryProfile(accounts.tiny()).to_html()
        assert old in text
        assert any(line.startswith(says) for line in broken(text.replace(old, new, 1)))


class TestElements:
    @pytest.mark.parametrize(
        ("tag", "attributes"),
        [
            ("script", {}),
            ("img", {}),
            ("p", {"onclick": "x"}),
            ("p", {"style": "x"}),
            ("a", {"href": "http://x"}),
            ("a", {"href": "javascript:x"}),
        ],
    )
    def test_what_pages_do_not_have_cannot_be_made(self, tag, attributes):
        with pytest.raises(ValueError, match=r"in a page|same page"):
            h(tag, **attributes)

    def test_text_and_attributes_are_escaped(self):
        made = h("p", "<b>&\"'`", None, ["x", h("b", "y")], cls='"<', title="'>", hidden=True)
        assert render(made) == (
            '<p class="&quot;&lt;" title="&#39;&gt;" hidden>&lt;b&gt;&amp;&quot;&#39;&#96;x'
            "<b>y</b></p>\n"
        )

    @pytest.mark.parametrize(
        ("text", "shown"),
        [
            ("plain Grüße 日本\n\tx", "plain Grüße 日本\n\tx"),
            ("a\r\nb\rc", "a\nb⟨U+000D⟩c"),
            ("\u202e\u2028\x00\ud800\ufeff", "⟨U+202E⟩⟨U+2028⟩⟨U+0000⟩⟨U+D800⟩⟨U+FEFF⟩"),
            ("👩\u200d💻 می\u200cری", "👩\u200d💻 می\u200cری"),
        ],
    )
    def test_what_cannot_be_seen_is_shown(self, text, shown):
        assert visible(text) == shown
        assert escape(text) == shown

    @pytest.mark.parametrize("text", ["a</script>", "a<!-- b"])
    def test_sources_cannot_end_what_they_stand_in(self, text):
        with pytest.raises(ValueError, match="must not hold"):
            Source(text)


class TestHeader:
    def test_the_run_in_numbers(self):
        found = tiles(shown("join"))
        assert found == {
            "Time": ("1.90 s", "61.0 ms planning"),
            "Rows given": ("10", "1 batch, 480 B"),
            "Bytes read": ("404 MiB", "of 16.2 GiB there"),
            "Requests": ("340", "2 repeated"),
            "Peak memory": ("1.21 GiB", "30 % of 4.00 GiB"),
            "Spilled": ("0 B", "all in memory"),
        }

    def test_a_write_in_numbers(self):
        read = shown("written")
        found = tiles(read)
        assert found["Rows written"] == ("4,000,000", "310 MiB of files")
        assert found["Files added"] == ("8", "0 removed, 1 attempt")
        assert read.one("h1").text.startswith("append")
        commit = read.one("section", place="write").text
        assert "COMMITTED" in commit
        assert "conditional_put" in commit
        assert "num_added_rows" in commit

    def test_names_and_tags(self):
        text = shown("join").one("header").text
        for part_ in ("0198f3a2-7c52", "2030-01-02 03:04:05.678 UTC", "finance", "nightly revenue"):
            assert part_ in text

    def test_the_error_comes_before_the_plan(self):
        read = shown("failed")
        error = read.one("section", place="error")
        assert "ResourcesExhaustedError" in error.text
        assert "give it more memory" in error.text
        order = [one.attributes.get("id") for one in read.one("main").children]
        assert order.index("error") < order.index("problems") < order.index("plan")

    def test_problems_lead_to_their_operators(self):
        run = accounts.troubled()
        found = page(run).one("section", place="problems").all("li", "problem")
        assert len(found) == len(QueryProfile(run).problems) == 9
        assert found[0].one("a").attributes["href"] == "#op-2"
        assert "HashJoinExec" in found[0].text

    def test_time_while_nobody_asked_for_rows_is_said_and_not_counted(self):
        late = dataclasses.replace(
            accounts.join(), started=SUBMITTED + 5_000 * MS, ended=SUBMITTED + 6_000 * MS
        )
        text = page(late).one("section", place="time").text
        assert "Nobody asked for rows for 4.94 s" in text
        assert tiles(page(late))["Time"][0] == "1.06 s"
        assert "Nobody asked" not in shown("join").text

    def test_steps_lie_within_the_picture_whatever_the_clocks_say(self):
        odd = (
            Phase("early", SUBMITTED - 10**12, 0.5),
            Phase("late", SUBMITTED + 10**12, 0.5),
            Phase("within", SUBMITTED, 0.01),
        )
        for one in page(account(phases=odd)).one("section", place="time").all("rect"):
            left = float(one.attributes.get("x", "0%").rstrip("%"))
            assert 0 <= left <= left + float(one.attributes["width"].rstrip("%")) <= 100.001

    def test_the_statement_and_its_parameters(self):
        found = shown("join").one("section", place="sql")
        assert found.one("pre").text == accounts.SQL
        assert "2029-01-01" in found.text

    def test_a_very_long_statement_is_cut(self):
        found = page(account(sql="x" * 100_000)).one("section", place="sql").one("pre").text
        assert len(found) < 21_000
        assert "(80,000 more characters)" in found


class TestPlan:
    def test_every_operator_is_there_once_in_the_order_of_the_plan(self):
        run = accounts.large()
        found = shown("large").one("section", place="plan").all("li", "op")
        assert [one.one("b").text for one in found] == [node.operator for node in run.tree]
        assert [one.attributes["id"] for one in found] == [f"op-{n}" for n in range(len(run.tree))]

    def test_the_numbers_of_an_operator(self):
        read = shown("troubled")
        row = read.one("li", place="op-2").one("summary")
        numbers = [one.text for one in row.children if "n" in one.classes]
        assert numbers == [
            "in 5,204,000",
            "out 811,400,120",
            "bytes 18.1 GiB",
            "memory 610 MiB",
            f"spill {UNKNOWN}",
        ]
        assert [one.text for one in row.one(cls="time").all(cls="n")] == ["35 %", "38.0 s"]
        assert [one.text for one in row.all(cls="mark")] == [
            "Row explosion in a join",
            "Skewed partitions",
        ]
        spilled = read.one("li", place="op-1").one("summary")
        assert "spill 41.0 GiB" in [one.text for one in spilled.children]

    def test_what_only_hands_rows_on_has_their_number_and_no_time(self):
        row = shown("join").one("section", place="plan").all("li", "op")[6].one("summary")
        assert row.one("b").text == "DeltaSnapshotExec"
        assert [one.text for one in row.one(cls="time").all(cls="n")] == [UNKNOWN, UNKNOWN]
        assert [one.text for one in row.children if "n" in one.classes][:2] == ["in 25", "out 25"]

    def test_the_line_of_an_operator_in_short(self):
        top = dataclasses.replace(
            account(Op("XExec")).tree.nodes[0],
            operator="SortExec(TopK)",
            detail="SortExec: TopK(fetch=10), file_groups={2 groups: [[a], [b]]}, "
            "expr=[a@0], statistics=[Rows=Exact(3)]",
        )
        row = page(account(tree=PlanTree((top,)))).one("li", "op").one("summary")
        assert row.one(cls="short").text == "TopK(fetch=10), expr=[a@0]"

    def test_its_panel_has_the_line_the_metrics_and_the_partitions(self):
        panel = shown("troubled").one("li", place="op-2").one(cls="panel")
        assert panel.one("pre").text.startswith("HashJoinExec: mode=Partitioned")
        metrics = {one.children[0].text: one.children[1].text for one in panel.all("div")}
        assert metrics["build_mem_used"] == "610 MiB"
        assert metrics["elapsed_compute"] == "38.0 s"
        assert metrics["start_timestamp"].startswith("+3.")
        spread = {row[0]: row[1:] for row in panel.cells()}
        assert spread["elapsed_compute"] == ["921 ms", "1.15 s", "29.9 s"]

    def test_sides_of_a_join_are_named_with_their_tables(self):
        found = shown("join").one("section", place="plan").all("details", "input")
        assert [one.children[0].one("b").text for one in found] == [
            "Build side: nation",
            "Probe side: customer, orders, lineitem",
            "Build side: customer, orders",
            "Build side: customer",
            "Probe side: orders",
            "Probe side: lineitem",
        ]  # fmt: skip
        assert "16 operators, 91 % of the time, 9,103,367 rows" in found[1].children[0].text

    def test_a_large_plan_begins_with_cheap_branches_folded(self):
        found = shown("large").one("section", place="plan").all("details", "input")
        opened = [place for place, one in enumerate(found) if "open" in one.attributes]
        assert opened == [11]  # the branch that costs most
        small = shown("join").one("section", place="plan").all("details", "input")
        assert all("open" in one.attributes for one in small)

    def test_the_page_of_500_operators_is_of_a_bearable_size(self):
        assert 480 <= len(accounts.large().tree) <= 520
        assert len(html("large").encode()) < 1.5 * MIB

    def test_size_does_not_depend_on_long_texts(self):
        nodes = tuple(
            dataclasses.replace(node, detail="x" * 1_000_000) for node in accounts.join().tree
        )
        assert len(QueryProfile(account(tree=PlanTree(nodes))).to_html()) < MIB

    def test_what_needs_a_script_is_not_shown_without_one(self):
        read = shown("join")
        tools = read.one(place="tools")
        assert "hidden" in tools.attributes
        controls = [*read.all("button"), *read.all("input")]
        assert len(controls) == 3
        assert controls == [*tools.all("button"), *tools.all("input")]

    def test_without_operators_it_says_so(self):
        assert "no plan to show" in page(account()).one("section", place="plan").text

    def test_operators_that_hang_on_nothing_are_shown(self):
        nodes = accounts.join().tree.nodes[3:]
        read = page(account(tree=PlanTree(nodes)))
        assert len(read.all("li", "op")) == len(nodes)

    def test_the_most_expensive_operators(self):
        cells = shown("troubled").one("section", place="expensive").cells()
        assert len(cells) == EXPENSIVE
        assert cells[0] == [
            "HashJoinExec 0.0.0",
            "35 %",
            "38.0 s",
            "811,400,120",
            "18.1 GiB",
            "610 MiB",
            UNKNOWN,
            "26×",  # noqa: RUF001
        ]


class TestFacts:
    def test_tables(self):
        cells = shown("join").one("section", place="sources").cells()
        assert [
            "orders",
            "delta",
            "s3://lake/orders",
            "41",
            "120",
            "900 MiB",
            "15,000,000",
        ] in cells

    def test_snapshots_without_a_source(self):
        cells = shown("written").one("section", place="sources").cells()
        assert cells[1][:4] == ["target", "delta", "s3://lake/sales", "42"]

    def test_key_settings_versions_and_machine_are_folded(self):
        found = shown("join").one("section", place="environment")
        assert all("open" not in one.attributes for one in found.all("details"))
        assert "datafusion.execution.batch_size" in found.text
        assert "datafusion.catalog.information_schema" not in found.text
        assert "native.deltalake" in found.text
        assert "32.0 GiB" in found.text


def test_odd_plans_keep_the_rules():
    run = account(
        Op("UnionExec", inputs=(scan("a", rows=1), Op("OddExec", metrics={"odd": 1.5}))),
        io=io(IoLine("get", "data", 0, 0, 0, 0.0)),
    )
    assert broken(QueryProfile(run).to_html()) == []
