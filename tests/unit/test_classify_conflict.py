"""Errors of others as the conflicts they are."""

from __future__ import annotations

import deltalake
import pyarrow as pa
import pytest
from deltalake.exceptions import CommitFailedError, DeltaError

from fusiondelta import CommitConflict, Conflict, classify_conflict

pytestmark = pytest.mark.unit

RETRYABLE = ("ConcurrentAppend", "ConcurrentDeleteRead", "ConcurrentDeleteDelete")
FATAL = ("MetadataChanged", "ProtocolChanged", "ConcurrentTransaction")


@pytest.mark.parametrize("name", RETRYABLE + FATAL)
def test_names(name):
    expected = Conflict(name, name in RETRYABLE)
    assert classify_conflict(name) == expected
    assert classify_conflict(f"{name}Exception") == expected
    assert classify_conflict(f"io.delta.exceptions.{name}Exception") == expected
    made = type(f"{name}Exception", (Exception,), {})
    assert classify_conflict(made("no words of use")) == expected
    ours = CommitConflict("lost", details={"conflict": name})
    assert classify_conflict(ours) == expected
    assert ours.retryable == expected.retryable


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (
            "Commit failed: a concurrent transactions added new data.",
            "ConcurrentAppend",
        ),
        ("a concurrent transaction deleted data this operation read.", "ConcurrentDeleteRead"),
        (
            "a concurrent transaction deleted the same data your transaction deletes.",
            "ConcurrentDeleteDelete",
        ),
        ("Failed to commit transaction: Metadata changed since last commit.", "MetadataChanged"),
        ("Concurrent transaction failed.", "ConcurrentTransaction"),
        ("Protocol changed since last commit: x", "ProtocolChanged"),
        ("Tried committing existing table version: 3", "ConcurrentWrite"),
    ],
)
def test_words_of_deltalake(words, name):
    assert classify_conflict(CommitFailedError(words)).name == name


@pytest.mark.parametrize("error", [ValueError("x"), "nothing", DeltaError("no such file"), ""])
def test_what_is_no_conflict(error):
    assert classify_conflict(error) is None


def test_a_real_conflict_of_deltalake(tmp_path):
    uri = str(tmp_path / "t")
    deltalake.write_deltalake(uri, pa.table({"id": [1, 2]}))
    late = deltalake.DeltaTable(uri)
    deltalake.DeltaTable(uri).delete("id = 1")
    with pytest.raises(DeltaError) as caught:
        late.delete("id = 2")
    found = classify_conflict(caught.value)
    assert found is not None
    assert found.retryable
