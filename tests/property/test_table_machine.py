"""A table through many changes, beside a model of plain Python: rows at every version."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path

import deltalake
import pyarrow as pa
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fusiondelta import DeltaSource, FusionDeltaEngine, RetentionPolicy, SnapshotExpiredError

pytestmark = [pytest.mark.property, pytest.mark.integration]

#: Few keys, so that changes meet.
KEYS = st.integers(0, 9)
VALUES = st.integers(-3, 3)
ROWS = st.dictionaries(KEYS, VALUES, max_size=5)
#: Nothing is promised by age, so that vacuum takes all that the policy lets it.
PROPERTIES = {
    "delta.deletedFileRetentionDuration": "interval 0 seconds",
    "delta.logRetentionDuration": "interval 0 seconds",
    "delta.checkpointInterval": "4",
}
SCHEMA = pa.schema([("k", pa.int64()), ("p", pa.string()), ("v", pa.int64())])

Bag = tuple[tuple[int, str, int], ...]


def table(rows: list[tuple[int, str, int]]) -> pa.Table:
    columns = list(zip(*rows, strict=True)) if rows else [[], [], []]
    arrays = [pa.array(list(c), f.type) for c, f in zip(columns, SCHEMA, strict=True)]
    return pa.table(arrays, schema=SCHEMA)


def part(key: int) -> str:
    return "odd" if key % 2 else "even"


def of(rows: dict[int, int]) -> list[tuple[int, str, int]]:
    return [(k, part(k), v) for k, v in rows.items()]


class Table(RuleBasedStateMachine):
    """What each rule does to the table it does to the model."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="fusiondelta-machine-"))
        self.uri = self.folder / "t"
        self.engine = FusionDeltaEngine(retention=RetentionPolicy(min_retention=0))
        first = self.engine.write_delta(
            self.uri, table([]), partition_by="p", properties=PROPERTIES
        )
        self.rows: list[tuple[int, str, int]] = []
        self.versions: dict[int, Bag] = {}
        self.keys = 0
        self.took(first)

    def teardown(self) -> None:
        self.engine.close()
        shutil.rmtree(self.folder)

    def took(self, result) -> None:
        """The version that a change made, or left."""
        version = result.snapshot.version
        if result.outcome == "COMMITTED":
            assert version not in self.versions or result.replayed
        self.versions[version] = tuple(sorted(self.rows))

    # changes

    @rule(rows=ROWS)
    def append(self, rows):
        self.rows += of(rows)
        self.took(self.engine.write_delta(self.uri, table(of(rows))))

    @rule(rows=ROWS)
    def append_once(self, rows):
        self.keys += 1
        key = ("machine", self.keys)
        self.rows += of(rows)
        first = self.engine.write_delta(self.uri, table(of(rows)), idempotency_key=key)
        self.took(first)
        again = self.engine.write_delta(self.uri, table(of(rows)), idempotency_key=key)
        assert again.replayed
        assert again.snapshot == first.snapshot

    @rule(rows=ROWS)
    def overwrite(self, rows):
        self.rows = of(rows)
        self.took(self.engine.write_delta(self.uri, table(of(rows)), mode="overwrite"))

    @rule(rows=ROWS)
    def replace_odd(self, rows):
        odd = [row for row in of(rows) if row[1] == "odd"]
        self.rows = [row for row in self.rows if row[1] != "odd"] + odd
        self.took(
            self.engine.write_delta(
                self.uri, table(odd), mode="overwrite", replace_where="p = 'odd'"
            )
        )

    @rule(least=VALUES)
    def delete(self, least):
        self.rows = [row for row in self.rows if not row[2] > least]
        self.took(self.engine.delete(self.uri, f"v > {least}"))

    @rule(key=KEYS, value=VALUES)
    def update(self, key, value):
        self.rows = [(k, p, value if k <= key else v) for k, p, v in self.rows]
        self.took(self.engine.update(self.uri, {"v": str(value)}, f"k <= {key}"))

    @rule(rows=ROWS, deleted=VALUES)
    def merge(self, rows, deleted):
        """Matched rows are set or deleted, others inserted."""
        made = (
            self.engine.merge(self.uri, table(of(rows)), on=["k"])
            .when_matched_delete(f"source.v = {deleted}")
            .when_matched_update_all()
            .when_not_matched_insert_all()
        )
        kept = []
        for k, p, v in self.rows:
            if k not in rows:
                kept.append((k, p, v))
            elif rows[k] != deleted:
                kept.append((k, p, rows[k]))
        there = {k for k, _, _ in self.rows}
        self.rows = kept + [row for row in of(rows) if row[0] not in there]
        self.took(made.execute())

    @rule(order=st.sampled_from([(), ("k", "v")]))
    def optimize(self, order):
        self.took(self.engine.optimize(self.uri, z_order=order))

    @rule(data=st.data())
    def restore(self, data):
        readable = list(self.engine.reachable_versions(self.uri))
        version = data.draw(st.sampled_from(readable))
        self.rows = list(self.versions[version])
        self.took(self.engine.restore(self.uri, version))

    @rule()
    def checkpoint(self):
        self.engine.checkpoint(self.uri)

    @rule()
    def clean_log(self):
        self.engine.cleanup_metadata(self.uri)

    @rule(full=st.booleans())
    def vacuum(self, full):
        result = self.engine.vacuum(self.uri, dry_run=False, full=full)
        self.took(result)
        # Its two commits, where there was something to remove, left the rows alone.
        newest = self.engine.open_delta(self.uri).snapshot.version
        for version in range(max(self.versions) + 1, newest + 1):
            self.versions[version] = tuple(sorted(self.rows))
        for version in range(newest):
            self.versions.setdefault(version, tuple(sorted(self.rows)))

    @rule()
    def another_engine(self):
        """Nothing is remembered that is not in the table."""
        self.engine.close()
        self.engine = FusionDeltaEngine(retention=RetentionPolicy(min_retention=0))

    @rule(rows=ROWS)
    def another_writer(self, rows):
        self.rows += of(rows)
        deltalake.write_deltalake(str(self.uri), table(of(rows)), mode="append")
        version = deltalake.DeltaTable(str(self.uri)).version()
        self.versions[version] = tuple(sorted(self.rows))

    # what has to hold

    def read(self, version=None) -> Bag:
        source = DeltaSource(self.uri, version)
        found = self.engine.query("SELECT k, p, v FROM t", sources={"t": source}).to_pylist()
        return tuple(sorted((row["k"], row["p"], row["v"]) for row in found))

    @invariant()
    def the_newest_rows_are_there(self):
        assert self.read() == tuple(sorted(self.rows))

    @precondition(lambda self: len(self.versions) > 1)
    @rule(data=st.data())
    def an_older_version_is_what_it_was(self, data):
        version = data.draw(st.sampled_from(sorted(self.versions)))
        readable = set(self.engine.reachable_versions(self.uri))
        with contextlib.suppress(SnapshotExpiredError):
            assert self.read(version) == self.versions[version]
            return
        assert version not in readable, "a version that is called readable can be read"

    @rule()
    def deltalake_reads_the_same(self):
        found = deltalake.DeltaTable(str(self.uri)).to_pyarrow_table().to_pylist()
        rows = tuple(sorted((row["k"], row["p"], row["v"]) for row in found))
        assert rows == tuple(sorted(self.rows))


def test_a_table_through_many_changes():
    # Without shrinking: a failing run is short enough to be read, and each step takes its time.
    phases = (Phase.explicit, Phase.generate)
    run_state_machine_as_test(
        Table, settings=settings(max_examples=20, stateful_step_count=20, phases=phases)
    )
