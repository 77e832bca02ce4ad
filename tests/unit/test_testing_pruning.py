"""`assert_pruned` over plans made by hand: what counts as read, and what the message shows."""

from __future__ import annotations

import re
from types import SimpleNamespace

import pytest

from fusiondelta.account import PlanNode, PlanTree, QueryIo, RunAccount, SourceAccount
from fusiondelta.errors import ConfigurationError, QueryError
from fusiondelta.snapshots import SnapshotKey
from fusiondelta.testing import assert_pruned

pytestmark = pytest.mark.unit

SALE = SnapshotKey("file:///lake/sale", 3)
CLIENT = SnapshotKey("file:///lake/client, version=3", 0)
IO = QueryIo({}, {}, 0, 0, 0)
GROUPS = "row_groups_pruned_statistics"
RANGES = "files_ranges_pruned_statistics"

TABLE = {
    "files_total": 100,
    "files_after_partition": 50,
    "files_after_statistics": 20,
    "bytes_total": 1000 * 2**20,
    "bytes_after_statistics": 100 * 2**20,
}
SCAN = {
    "files_opened": 20,
    f"{RANGES}_pruned": 5,
    f"{RANGES}_matched": 15,
    f"{GROUPS}_pruned": 30,
    f"{GROUPS}_matched": 10,
    "row_groups_pruned_bloom_filter_pruned": 3,
    "row_groups_pruned_bloom_filter_matched": 7,
    "row_groups_pruned_dynamic_filter": 1,
}
FILTER = (
    "DataSourceExec: file_groups={1 group: [[a.parquet]]}, file_type=parquet, predicate=id@0 >= 10 "
    "AND kind@1 = 7, pruning_predicate=id_max@0 >= 10, required_guarantees=[kind in (7)]"
)


def scan(at, key, table, files=None, detail=FILTER):
    """A scan of a table, with the nodes between it and its files."""
    about = f"DeltaSnapshotExec: table={key.uri}, version={key.version}"
    above = at.rpartition(".")[0]
    nodes = [
        PlanNode(id=at, parent=above, operator="DeltaSnapshotExec", detail=about, totals=table),
        PlanNode(id=f"{at}.0", parent=at, operator="DeltaScanExec"),
    ]
    if files is not None:
        at = f"{at}.0.0"
        nodes.append(
            PlanNode(id=at, parent=at[:-2], operator="DataSourceExec", detail=detail, totals=files)
        )
    return nodes


def account(*scans, **other):
    root = PlanNode(id="0", parent=None, operator="UnionExec")
    nodes = [root, *(node for nodes in scans for node in nodes)]
    given = {
        "run_id": "r",
        "query_id": "q7",
        "status": "finished",
        "submitted": 0,
        "io": IO,
        "snapshots": {"sale": SALE, "client": CLIENT},
        "sources": (
            SourceAccount(alias="sale", kind="delta", uri=SALE.uri, version=3),
            SourceAccount(alias="client", kind="delta", uri=CLIENT.uri, version=0),
            SourceAccount(alias="raw", kind="csv"),
        ),
        "tree": PlanTree(tuple(nodes)),
    }
    return RunAccount(**given | other)


def usual(table=None, files=None):
    return account(scan("0.0", SALE, TABLE | (table or {}), SCAN | (files or {})))


def failure(result, *, table="sale", **limits):
    with pytest.raises(AssertionError) as caught:
        assert_pruned(result, table=table, **limits)
    return str(caught.value)


def test_limits_hold_to_the_last_file():
    result = usual()
    assert_pruned(result, table="sale", at_least=0.85, files_read=15, row_groups=6)
    assert_pruned(SimpleNamespace(account=lambda: result), table="sale", at_least=0.85)
    assert "85.0% of its files were not read, at least 86.0% should" in failure(
        result, at_least=0.86
    )
    assert "files read: 15, at most 14" in failure(result, files_read=14)
    assert "row groups read: 6, at most 5" in failure(result, row_groups=5)


def test_all_broken_limits_and_the_funnel_are_shown():
    said = failure(usual(), at_least=0.99, files_read=1, row_groups=1)
    assert said.splitlines() == [
        "more was read of 'sale' than may be:",
        "  85.0% of its files were not read, at least 99.0% should not be",
        "  files read: 15, at most 1",
        "  row groups read: 6, at most 1",
        "",
        "'sale' is file:///lake/sale@3",
        "                                 files       bytes  row groups",
        "  there                            100  1000.0 MiB",
        "  after partition values            50",
        "  after statistics of the log       20   100.0 MiB",
        "  opened                            15                      40",
        "  after statistics of the file                              10",
        "  after Bloom filters and joins                              6",
        "  predicate: id@0 >= 10 AND kind@1 = 7",
    ]


def test_a_share_of_bytes():
    assert_pruned(usual(), table="sale", at_least=0.9, of="bytes")
    said = failure(usual(), at_least=0.91, of="bytes")
    assert "90.0% of its bytes were not read, at least 91.0% should not be" in said
    none = usual({"files_after_statistics": 0, "bytes_after_statistics": 0})
    assert_pruned(none, table="sale", at_least=1, of="bytes")


@pytest.mark.parametrize(
    ("table", "files", "read"),
    [
        # A limit was reached before all files were opened.
        ({}, {"files_opened": 4, f"{RANGES}_pruned": 0, f"{RANGES}_matched": 4}, 4),
        ({}, {"files_opened": 4, f"{RANGES}_pruned": 3, f"{RANGES}_matched": 1}, 1),
        # Files were read in parts, of which it cannot be said which belong together.
        ({}, {"files_opened": 80, f"{RANGES}_pruned": 60, f"{RANGES}_matched": 20}, 20),
        ({"files_after_statistics": 0}, {"files_opened": 0, f"{RANGES}_matched": 0}, 0),
    ],
)
def test_what_counts_as_read(table, files, read):
    result = usual(table, files)
    assert_pruned(result, table="sale", files_read=read)
    if read:
        assert f"files read: {read}, at most {read - 1}" in failure(result, files_read=read - 1)


def test_scans_that_count_less_say_less():
    result = account(scan("0.0", SALE, TABLE, {f"{GROUPS}_matched": 4}))
    assert_pruned(result, table="sale", files_read=20, row_groups=4)
    failure(result, files_read=19)
    nothing_below = account(scan("0.0", SALE, TABLE))
    assert_pruned(nothing_below, table="sale", files_read=20, row_groups=0)
    failure(nothing_below, files_read=19)


def test_scans_of_a_table_are_added_up_and_others_left_out():
    result = account(
        scan("0.0", SALE, TABLE, SCAN),
        scan("0.1", CLIENT, TABLE | {"files_total": 1000}, SCAN | {"files_opened": 9}),
        scan("0.10", SALE, TABLE | {"files_after_statistics": 100}, {"files_opened": 100}),
    )
    assert_pruned(result, table="sale", files_read=115)
    said = failure(result, files_read=114, at_least=0.43)
    assert "files read: 115, at most 114" in said
    assert "42.5% of its files were not read" in said
    assert re.search(r"^  there +200 ", said, re.M)
    assert_pruned(result, table="client", files_read=9, at_least=0.99)


def test_a_table_that_the_plan_does_without_was_not_read():
    result = account(scan("0.0", SALE, TABLE, SCAN))
    assert_pruned(result, table="client", at_least=1, files_read=0, row_groups=0)
    assert_pruned(result, table="client", at_least=1, of="bytes")


def test_a_scan_of_what_is_not_known_is_refused():
    """Or else a table whose location is spelled in another way would pass as not read."""
    other = SnapshotKey("file:///lake/other", 3)
    with pytest.raises(QueryError, match=r"none of the query's tables.*file:///lake/other"):
        assert_pruned(account(scan("0.0", other, TABLE, SCAN)), table="sale", files_read=0)
    longer = SnapshotKey(SALE.uri, 33)
    with pytest.raises(QueryError, match="version=33"):
        assert_pruned(account(scan("0.0", longer, TABLE, SCAN)), table="sale", files_read=0)


def test_what_stands_behind_the_version_does_no_harm():
    node, *rest = scan("0.0", SALE, TABLE, SCAN)
    with_more = PlanNode(
        id=node.id,
        parent=node.parent,
        operator=node.operator,
        detail=f"{node.detail}, statistics=[Rows=Exact(5)]",
        totals=node.totals,
    )
    assert_pruned(account([with_more, *rest]), table="sale", files_read=15)


def test_a_scan_without_a_filter_says_so():
    plain = "DataSourceExec: file_groups={1 group: [[a.parquet]]}, file_type=parquet"
    said = failure(account(scan("0.0", SALE, TABLE, SCAN, plain)), files_read=0)
    assert said.endswith("  predicate: none that the scan could use; partition columns apart")
    dynamic = f"{plain}, predicate=DynamicFilter [ empty ], dynamic_rg_pruning=eligible"
    said = failure(account(scan("0.0", SALE, TABLE, SCAN, dynamic)), files_read=0)
    assert said.endswith("  predicate: DynamicFilter [ empty ]")


def test_what_was_not_measured_cannot_be_held_to():
    table = {"files_total": 100, "files_after_statistics": 20}
    result = account(scan("0.0", SALE, table, {"files_opened": 20}))
    assert_pruned(result, table="sale", at_least=0.8)
    with pytest.raises(QueryError, match="did not measure its row groups read"):
        assert_pruned(result, table="sale", row_groups=1)
    with pytest.raises(QueryError, match="did not measure its bytes"):
        assert_pruned(result, table="sale", at_least=0.1, of="bytes")
    assert re.search(r"^  after partition values +\?$", failure(result, at_least=0.9), re.M)
    with pytest.raises(QueryError, match="did not measure its files read"):
        assert_pruned(account(scan("0.0", SALE, {})), table="sale", files_read=1)


def test_a_query_that_was_not_measured_is_refused():
    with pytest.raises(QueryError, match="q7 was not measured: it has no plan of its own"):
        assert_pruned(account(tree=PlanTree(())), table="sale", files_read=1)


@pytest.mark.parametrize("status", ["planned", "running", "cancelled", "failed"])
def test_rows_that_were_not_read_are_asked_for(status):
    with pytest.raises(QueryError, match="what it needed is not known yet"):
        assert_pruned(account(status=status), table="sale", files_read=1)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({}, "needs a limit, such as at_least=0.9"),
        ({"at_least": 90}, "a share from 0 to 1, such as 0.9, not 90"),
        ({"at_least": -0.1}, "a share"),
        ({"files_read": -1}, "files_read is a whole number from 0, not -1"),
        ({"row_groups": True}, "row_groups is a whole number"),
        ({"at_least": 0.5, "of": "rows"}, "of is one of files, bytes, not 'rows'"),
        ({"files_read": 1, "table": "sales"}, "no Delta table 'sales'; it reads: client, sale"),
        ({"files_read": 1, "table": "raw"}, "'raw' is a source of kind csv, .* assert_io"),
    ],
)
def test_limits_that_are_none_are_refused(limits, says):
    with pytest.raises(ConfigurationError, match=says):
        assert_pruned(usual(), **{"table": "sale", **limits})
