"""Profiles as values: their files, their frames, their texts, and two of them side by side."""

from __future__ import annotations

import dataclasses
import os

import pytest

from fusiondelta.account._profile import QueryProfile
from fusiondelta.account._units import UNKNOWN
from tests.harness import accounts, pages
from tests.harness.accounts import RUNS
from tests.harness.hostile_accounts import HOSTILE, hostile
from tests.harness.pages import broken
from tests.harness.plans import MIB

pytestmark = pytest.mark.pages


class TestProfile:
    def test_it_is_written_whole_or_not_at_all(self, tmp_path):
        profile = QueryProfile(accounts.tiny())
        target = tmp_path / "profile.html"
        target.write_text("before", "utf-8")
        text = profile.to_html(target)
        assert target.read_bytes() == text.encode()
        assert os.listdir(tmp_path) == ["profile.html"]
        with pytest.raises(FileNotFoundError):
            profile.to_html(tmp_path / "missing" / "profile.html")
        folder = tmp_path / "folder"
        folder.mkdir()
        with pytest.raises(OSError, match=r"Is a directory|Access|exists"):
            profile.compare(profile).to_html(folder)
        assert sorted(os.listdir(tmp_path)) == ["folder", "profile.html"]

    def test_a_link_stays_a_link(self, tmp_path):
        (tmp_path / "real.html").write_text("before", "utf-8")
        link = tmp_path / "link.html"
        link.symlink_to("real.html")
        text = QueryProfile(accounts.tiny()).to_html(str(link))
        assert link.is_symlink()
        assert (tmp_path / "real.html").read_text("utf-8") == text

    def test_in_a_notebook_the_page_is_one_attribute_of_a_frame(self):
        profile = QueryProfile(hostile(" ".join(HOSTILE)))
        for one in (profile, profile.compare(profile)):
            around = pages.read(f"<!DOCTYPE html><html>{one._repr_html_()}</html>")
            (frame,) = around.children
            assert frame.tag == "iframe"
            assert frame.attributes["srcdoc"] == one.to_html()
            assert frame.attributes["sandbox"] == "allow-scripts"
            assert frame.children == []

    def test_as_text(self):
        profile = QueryProfile(accounts.troubled())
        assert repr(profile).startswith("<QueryProfile query 0198f3a2-7c52")
        assert repr(profile).endswith("finished: 1 min 48 s, 9 problems>")
        lines = str(profile).splitlines()
        assert len(lines) == 2 + 9
        assert "41.0 GiB spilled" in lines[1]
        assert lines[2].startswith("Row explosion in a join (0.0.0): HashJoinExec made")
        assert "B 0198f3a2" in repr(profile.compare(profile))

    def test_the_same_run_gives_the_same_page(self):
        assert QueryProfile(accounts.join()).to_html() == QueryProfile(accounts.join()).to_html()
        assert QueryProfile(accounts.join()) == QueryProfile(accounts.join())


class TestComparison:
    def compared(self, first, second):
        return pages.read(QueryProfile(first).compare(QueryProfile(second)).to_html())

    @pytest.mark.parametrize("first", ["join", "written", "bare"])
    @pytest.mark.parametrize("second", ["troubled", "join", "planned"])
    def test_any_two_runs(self, first, second):
        one, other = QueryProfile(RUNS[first]()), QueryProfile(RUNS[second]())
        assert broken(one.compare(other).to_html()) == []

    def test_totals(self):
        cells = self.compared(accounts.join(), accounts.troubled()).one(place="totals").cells()
        assert ["Requests", "340", "39,542", "116×"] in cells  # noqa: RUF001
        assert ["Spilled", "0 B", "41.0 GiB", "from 0"] in cells
        assert "Rows written" not in [row[0] for row in cells]

    def test_equal_runs(self):
        read = self.compared(accounts.join(), accounts.join())
        assert {row[-1] for row in read.one(place="totals").cells()} == {"="}
        assert read.all(place="only") == read.all(place="settings") == []
        assert len(read.one(place="operators").cells()) == len(accounts.join().tree)

    def test_small_changes_are_quiet(self):
        more = dataclasses.replace(accounts.join(), peak_memory=int(1_240 * MIB * 1.04))
        cells = self.compared(accounts.join(), more).one(place="totals").cells()
        assert ["Peak memory", "1.21 GiB", "1.26 GiB", "+4.0 %"] in cells

    def test_operators_are_matched_by_path_and_name(self):
        read = self.compared(accounts.join(), accounts.troubled())
        both = read.one(place="operators").cells()
        assert both[0][:4] == ["SortExec 0.0", "200 µs", "29.0 s", "145,000×"]  # noqa: RUF001
        only = read.one(place="only").cells()
        runs = [accounts.join(), accounts.troubled()]
        assert len(only) == sum(len(run.tree) for run in runs) - 2 * len(both)
        assert {row[0] for row in only} == {"A", "B"}

    def test_what_differs(self):
        first = accounts.join()
        second = dataclasses.replace(
            first,
            settings={**first.settings, "datafusion.execution.batch_size": "8192"},
            versions={**first.versions, "datafusion": "56.0.0"},
            machine={**first.machine, "cores": 4},
            sources=(accounts.source("orders", version=42), *first.sources[2:]),
            sql="SELECT 1",
        )
        read = self.compared(first, second)
        settings = read.one(place="settings").cells()
        assert settings == [["datafusion.execution.batch_size", "16384", "8192"]]
        assert read.one(place="versions").cells() == [["datafusion", "55.0.0", "56.0.0"]]
        assert read.one(place="machine").cells() == [["cores", "8", "4"]]
        tables = {row[0]: row[2:] for row in read.one(place="snapshots").cells()}
        assert tables["orders"] == ["41", "42", "differs"]
        assert tables["customer"] == ["7", UNKNOWN, "differs"]
        assert tables["lineitem"] == ["112", "112", "="]
        assert [one.text for one in read.one(place="sql").all("pre")] == [accounts.SQL, "SELECT 1"]

    def test_problems_of_both(self):
        cells = self.compared(accounts.join(), accounts.troubled()).one(place="problems").cells()
        assert cells[0][:2] == ["Row explosion in a join", UNKNOWN]
        assert cells[0][2].startswith("HashJoinExec made")

    def test_operators_that_changed_least_are_folded(self):
        found = self.compared(accounts.large(), accounts.large()).one(place="operators")
        assert "474 more" in found.one("details").one("summary").text
        assert "open" not in found.one("details").attributes
