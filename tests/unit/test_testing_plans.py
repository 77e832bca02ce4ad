"""`assert_plan` over bundles made by hand: what passes, what is written, what a failure says."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from fusiondelta.account import PlanBundle
from fusiondelta.testing import _plans, assert_plan

pytestmark = pytest.mark.unit

PARTITIONS = "datafusion.execution.target_partitions"
HASH_JOIN = "datafusion.optimizer.prefer_hash_join"


@pytest.fixture(autouse=True)
def _no_updates(monkeypatch):
    monkeypatch.delenv(_plans.VARIABLE, raising=False)
    monkeypatch.setattr(_plans, "UPDATES", _plans.Updates())
    defaults = {PARTITIONS: "64", HASH_JOIN: "true"}
    monkeypatch.setattr(_plans, "_default_settings", lambda: defaults)


@pytest.fixture
def golden(tmp_path):
    return tmp_path / "golden" / "plan.txt"


def bundle(**other):
    given = {
        "sql": "SELECT id\n  FROM sale WHERE day = 2",
        "parameters": {},
        "logical_plan": "",
        "optimized_plan": "Filter: day = 2\n  TableScan: sale",
        "physical_plan": "FilterExec: day@1 = 2\n  DeltaSnapshotExec: table=file:///a/sale",
        "physical_tree": "",
        "physical_proto": None,
        "physical_proto_missing": "made by hand",
        "settings": {PARTITIONS: "2", HASH_JOIN: "true", "datafusion.runtime.memory_limit": "1G"},
        "versions": {"datafusion": "55.0.0", "fusiondelta": "0.1.0"},
        "snapshots": {"sale": ("file:///a/sale", 3)},
    }
    return PlanBundle(**given | other)


#: The join is another one.
OTHER = {"physical_plan": "SortMergeJoinExec: on=[(id, id)]"}


def failure(result, golden, **options):
    with pytest.raises(AssertionError) as caught:
        assert_plan(result, golden, **options)
    return str(caught.value)


def test_a_missing_file_fails_and_is_not_written(golden):
    said = failure(bundle(), golden)
    assert f"no golden plan {golden}" in said
    assert "FUSIONDELTA_UPDATE_GOLDEN=1 or pytest --fusiondelta-update" in said
    assert "FilterExec: day@1 = 2" in said
    assert not golden.exists()


def test_what_is_written_passes_and_is_the_same_on_another_machine(golden):
    assert_plan(bundle(), golden, update=True)
    elsewhere = {
        "physical_plan": "FilterExec: day@1 = 2\n  DeltaSnapshotExec: table=s3://other/sale",
        "snapshots": {"sale": ("s3://other/sale", 3)},
    }
    assert_plan(bundle(**elsewhere), str(golden))
    assert_plan(SimpleNamespace(plan=bundle(**elsewhere)), golden)
    assert _plans.UPDATES.written == [golden]
    assert golden.read_bytes() == (
        b"-- query: SELECT id FROM sale WHERE day = 2\n"
        b"-- logical\nFilter: day = 2\n  TableScan: sale\n"
        b"-- physical\nFilterExec: day@1 = 2\n  DeltaSnapshotExec: table=<uri>\n"
        b"-- made with\n"
        b"version datafusion = 55.0.0\nversion fusiondelta = 0.1.0\n"
        b"table sale = version 3\n"
        b"setting datafusion.execution.target_partitions = 2\n"
    )
    assert [path.name for path in golden.parent.iterdir()] == ["plan.txt"]


def test_what_is_noted_is_not_compared(golden):
    assert_plan(bundle(), golden, update=True)
    written = golden.read_text("utf-8")
    assert_plan(bundle(sql="SELECT 1", versions={}, settings={}, snapshots={}), golden)
    assert_plan(bundle(versions={}), golden, update=True)
    assert golden.read_text("utf-8") == written, "an update leaves what passes as it is"


def test_a_difference_is_shown_and_explained(golden):
    assert_plan(bundle(), golden, update=True)
    changed = bundle(
        **OTHER,
        sql="SELECT id FROM sale",
        settings={PARTITIONS: "2", HASH_JOIN: "false"},
        versions={"datafusion": "55.1.0", "fusiondelta": "0.1.0", "pyarrow": "26.0.1"},
        snapshots={"sale": ("file:///a/sale", 4)},
    )
    said = failure(changed, golden)
    assert said.startswith(f"the plan is not the one in {golden}\n")
    assert f"--- {golden}\n+++ this plan\n" in said
    assert "\n-FilterExec: day@1 = 2\n" in said
    assert "\n+SortMergeJoinExec: on=[(id, id)]\n" in said
    assert said.partition("What may explain it:\n")[2].splitlines() == [
        "  the query is another one: it was 'SELECT id FROM sale WHERE day = 2'",
        "  setting datafusion.optimizer.prefer_hash_join: default -> false",
        "  table sale: version 3 -> version 4",
        "  version datafusion: 55.0.0 -> 55.1.0",
        "  version pyarrow: not there -> 26.0.1",
        "",
        "If the change is meant, run it again with FUSIONDELTA_UPDATE_GOLDEN=1 or pytest "
        "--fusiondelta-update.",
    ]


def test_a_difference_without_a_cause_points_at_the_data(golden):
    assert_plan(bundle(), golden, update=True)
    assert "the data may be other data" in failure(bundle(**OTHER), golden)


def test_a_plan_alone_is_a_golden_file_too(golden):
    golden.parent.mkdir()
    golden.write_text(bundle().normalized(), "utf-8", newline="\r\n")
    assert_plan(bundle(), golden)
    assert "does not say what it was made with" in failure(bundle(**OTHER), golden)


def test_a_query_with_marker_lines_is_read_back(golden):
    odd = bundle(sql="SELECT 1 -- made with\n-- made with\n-- logical")
    assert_plan(odd, golden, update=True)
    assert_plan(odd, golden)
    assert "another one" not in failure(bundle(**OTHER, sql=odd.sql), golden)


@pytest.mark.parametrize("way", ["argument", "variable", "option"])
def test_the_ways_to_update(golden, monkeypatch, way):
    assert_plan(bundle(), golden, update=True)
    if way == "variable":
        monkeypatch.setenv(_plans.VARIABLE, "1")
    elif way == "option":
        _plans.UPDATES.wanted = True
    failure(bundle(**OTHER), golden, update=False)
    assert_plan(bundle(**OTHER), golden, update=True if way == "argument" else None)
    monkeypatch.delenv(_plans.VARIABLE, raising=False)
    assert_plan(bundle(**OTHER), golden, update=False)


@pytest.mark.parametrize("value", ["", "0", "no"])
def test_the_variable_can_say_no(golden, monkeypatch, value):
    monkeypatch.setenv(_plans.VARIABLE, value)
    failure(bundle(), golden)


def test_a_write_that_fails_leaves_the_file_as_it_was(golden, monkeypatch):
    assert_plan(bundle(), golden, update=True)
    before = golden.read_text("utf-8")

    def full(self, text, *_, **__):
        with self.open("w") as file:
            file.write(text[:5])
        raise OSError("no space left")

    monkeypatch.setattr(type(golden), "write_text", full)
    with pytest.raises(OSError, match="no space"):
        assert_plan(bundle(**OTHER), golden, update=True)
    assert golden.read_text("utf-8") == before
    assert [path.name for path in golden.parent.iterdir()] == ["plan.txt"]


def test_a_dataframe_has_no_text(golden):
    assert_plan(bundle(sql=None), golden, update=True)
    assert golden.read_text("utf-8").startswith("-- query: a DataFrame\n-- logical\n")
    assert_plan(bundle(sql=None), golden)


def test_settings_of_datafusion_are_known(monkeypatch):
    monkeypatch.undo()
    found = _plans._default_settings()
    assert found[HASH_JOIN] == "true"
    assert len([name for name in found if name.startswith("datafusion.optimizer.")]) >= 20
    noted = _plans._made_with(bundle(settings={**found, HASH_JOIN: "false", PARTITIONS: "8"}))
    assert {k: v for k, v in noted.items() if k.startswith("setting ")} == {
        f"setting {PARTITIONS}": "8",
        f"setting {HASH_JOIN}": "false",
    }
    assert not any(re.search("created_by|planning_concurrency", name) for name in noted)
