"""Manifests of any account, and documents that are nearly manifests."""

from __future__ import annotations

import math

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from fusiondelta.account._account import Phase, RunAccount, SourceAccount
from fusiondelta.account._bundle import PlanBundle
from fusiondelta.account._diff import diff_manifests
from fusiondelta.account._io import QueryIo
from fusiondelta.account._manifest import RunManifest
from fusiondelta.account._nodes import PlanNode, PlanTree
from fusiondelta.account._replay import compare_replay, replay_inputs
from fusiondelta.account._schema import SCHEMA_VERSION, check_manifest, manifest_schema
from fusiondelta.errors import ConfigurationError, QueryError
from fusiondelta.snapshots import SnapshotKey
from tests.unit import manifests

VALIDATOR = jsonschema.Draft202012Validator(manifest_schema())


def valid(document):
    VALIDATOR.validate(document)
    check_manifest(document)
    return True


VALUES = st.sampled_from(
    [None, True, False, 0, 1, -1, 2.0, 0.5, 2**70, -(10**40), "", "query", "failed", [], [5], {}]
) | st.dictionaries(st.sampled_from(["a", "class", "kind", "name"]), st.sampled_from([1, "x"]))


def paths(value, path=()):
    """Ways to everything in a document."""
    if path:
        yield path
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(one, (*path, key))


def spoil(document, path, value, *, remove):
    """Replace or remove what is at a path, where it is still there."""
    *steps, last = path
    for step in steps:
        try:
            document = document[step]
        except (KeyError, IndexError, TypeError):
            return
    if isinstance(document, dict):
        if remove:
            document.pop(last, None)
        else:
            document[last] = value
    elif isinstance(document, list) and isinstance(last, int) and last < len(document):
        document[last] = value


def spoilt(data):
    """A manifest with some of its values replaced or gone."""
    document = data.draw(st.sampled_from(sorted(manifests.KINDS)).map(manifests.KINDS.get))()
    document = document.to_dict()
    places = list(paths(document))
    for place in data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)):
        spoil(document, place, data.draw(VALUES), remove=data.draw(st.booleans()))
    return document


@given(data=st.data())
def test_the_check_agrees_with_a_validator_of_json_schema(data):
    document = spoilt(data)
    if document.get("schema_version") != SCHEMA_VERSION:
        return
    assert accepted(document) == VALIDATOR.is_valid(document)


def accepted(document):
    try:
        check_manifest(document)
    except ConfigurationError:
        return False
    return True


@given(data=st.data())
def test_what_passes_the_check_can_be_compared_and_replayed(data):
    document, other = spoilt(data), spoilt(data)
    if not (accepted(document) and accepted(other)):
        return
    diff = diff_manifests(document, other)
    assert diff.to_text() == diff_manifests(document, other).to_text()
    assert diff_manifests(document, document).equal
    assert compare_replay(document, other).to_text()
    try:
        assert replay_inputs(document).sql == document["query"]["sql"]
    except (ConfigurationError, QueryError):
        return


TEXT = st.text(max_size=8)
COUNT = st.integers(0, 2**55)
SECONDS = st.floats(0, 1e9)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
SOURCES = st.builds(
    SourceAccount,
    alias=TEXT,
    kind=TEXT,
    uri=TEXT,
    version=st.none() | COUNT,
    files=st.none() | COUNT,
    bytes=st.none() | COUNT,
    rows=st.none() | COUNT,
    pins=st.lists(
        st.tuples(TEXT, COUNT, st.integers(-(2**62), 2**62), st.none() | TEXT), max_size=2
    ).map(tuple),
    options=st.dictionaries(TEXT, PLAIN, max_size=2),
    properties=st.dictionaries(TEXT, TEXT, max_size=2),
)
NODES = st.builds(
    PlanNode,
    id=TEXT,
    parent=st.none() | TEXT,
    operator=TEXT,
    detail=TEXT,
    partitions=COUNT,
    totals=st.dictionaries(
        TEXT, st.floats(-1e29, 1e29) | st.sampled_from([math.nan, math.inf, -math.inf]), max_size=3
    ),
)
COUNTS = st.dictionaries(TEXT, COUNT, max_size=2)
ACCOUNTS = st.builds(
    RunAccount,
    run_id=TEXT,
    query_id=TEXT,
    session_id=TEXT,
    kind=st.sampled_from(["query", "write"]),
    operation=TEXT,
    status=st.sampled_from(["planned", "running", "finished", "failed", "cancelled"]),
    error=st.none() | st.fixed_dictionaries({"class": TEXT, "kind": TEXT}),
    sql=st.none() | TEXT,
    parameters=st.dictionaries(TEXT, TEXT, max_size=2),
    tenant=st.none() | TEXT,
    tags=st.dictionaries(TEXT, TEXT, max_size=2),
    sources=st.lists(SOURCES, max_size=2).map(tuple),
    snapshots=st.dictionaries(TEXT, st.builds(SnapshotKey, TEXT, COUNT), max_size=2),
    submitted=COUNT,
    planned=COUNT,
    started=COUNT,
    first_row=COUNT,
    ended=COUNT,
    phases=st.lists(st.builds(Phase, TEXT, COUNT, SECONDS), max_size=2).map(tuple),
    rows=COUNT,
    batches=COUNT,
    result_bytes=COUNT,
    tree=st.builds(PlanTree, st.lists(NODES, max_size=3).map(tuple)),
    io=st.builds(
        QueryIo,
        requests=COUNTS,
        by_purpose=COUNTS,
        bytes_read=COUNT,
        bytes_written=COUNT,
        retries=COUNT,
    ),
    peak_memory=COUNT,
    memory_limit=st.none() | COUNT,
    settings=st.dictionaries(TEXT, st.none() | TEXT, max_size=2),
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
    machine=st.fixed_dictionaries(
        {}, optional={"cores": COUNT, "memory_bytes": COUNT, "system": TEXT}
    ),
    write=st.fixed_dictionaries({}, optional={"outcome": TEXT, "rows_written": COUNT}),
)
PLANS = st.builds(
    PlanBundle,
    sql=st.none() | TEXT,
    parameters=st.dictionaries(TEXT, TEXT, max_size=2),
    logical_plan=TEXT,
    optimized_plan=TEXT,
    physical_plan=TEXT,
    physical_tree=TEXT,
    logical_proto=st.none() | TEXT,
    physical_proto=st.none() | TEXT,
    physical_proto_missing=st.none() | TEXT,
    settings=st.dictionaries(TEXT, st.none() | TEXT, max_size=2),
    versions=st.dictionaries(TEXT, TEXT, max_size=2),
    snapshots=st.dictionaries(TEXT, st.tuples(TEXT, COUNT), max_size=2),
    extra=st.dictionaries(TEXT, PLAIN, max_size=2),
)
MANIFESTS = st.builds(
    RunManifest.of_account,
    ACCOUNTS,
    plan=st.none() | PLANS,
    result=st.none() | st.just({}),
    pinned=st.booleans(),
)


@given(manifest=MANIFESTS)
def test_any_account_gives_a_valid_document(manifest):
    document = manifest.to_dict()
    assert valid(document)
    again = RunManifest.from_json(manifest.to_json())
    assert again.to_dict() == document
    assert manifest.diff(again).equal


@given(items=st.lists(MANIFESTS, max_size=3))
def test_any_run_gives_a_valid_document(items):
    run = RunManifest.of_run("r", items)
    assert valid(run.to_dict())
    assert RunManifest.from_json(run.to_json()).to_dict() == run.to_dict()
    assert run.diff(run).equal


@given(before=MANIFESTS, after=MANIFESTS)
def test_any_two_can_be_compared_and_told_of_in_a_terminal(before, after):
    diff = before.diff(after)
    assert all(line.isprintable() for line in diff.to_text().split("\n"))
    assert [one.weight for one in diff.findings] == sorted(
        (one.weight for one in diff.findings), reverse=True
    )
    report = compare_replay(before.to_dict(), after.to_dict())
    assert all(line.isprintable() for line in report.to_text().split("\n"))
