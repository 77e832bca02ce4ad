"""One tree of errors, as documented, with stable kinds, that pickles."""

from __future__ import annotations

import inspect
import pickle
import re
from pathlib import Path

import pytest

from fusiondelta import errors
from fusiondelta._native import error_kinds
from fusiondelta.errors import CommitConflict, ErrorKind, FusionDeltaError, SqlError, from_native

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "error_kinds.txt"
CLASSES = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, FusionDeltaError)
]
BRANCH = re.compile(
    r"^ {4}(?P<bars>(?:│   |    )*)(?:[├└]── )(?P<name>\w+).*?(?:\((?P<builtin>\w+)\))?$", re.M
)

pytestmark = pytest.mark.contracts


def drawn(text: str) -> dict[str, tuple[str, str | None]]:
    """Parent and builtin by class, of a tree in a docstring."""
    tree, above = {}, ["FusionDeltaError"]
    for found in BRANCH.finditer(text):
        depth = len(found["bars"]) // 4
        del above[depth + 1 :]
        tree[found["name"]] = (above[depth], found["builtin"])
        above.append(found["name"])
    return tree


def parents(cls: type) -> tuple[str, str | None]:
    """Parent in the tree and builtin, of a class."""
    ours, *builtins = cls.__bases__
    assert len(builtins) <= 1
    # An error of a branch is the builtin of the branch too; what is drawn is what it adds.
    return ours.__name__, builtins[0].__name__ if builtins else None


def test_the_tree_is_the_one_drawn():
    assert len(CLASSES) >= 25
    real = {cls.__name__: parents(cls) for cls in CLASSES if cls is not FusionDeltaError}
    assert real == drawn(errors.__doc__)


def test_a_wrong_drawing_is_seen():
    text = errors.__doc__.replace("│   ├── ThrottledError", "├── ThrottledError")
    assert drawn(text)["ThrottledError"] == ("FusionDeltaError", None)
    assert drawn(errors.__doc__)["ThrottledError"] == ("StorageError", None)


def test_one_root_and_builtins_first_of_their_kind():
    assert FusionDeltaError.__bases__ == (Exception,)
    for name, builtin in [
        ("ConfigurationError", ValueError),
        ("StorageError", OSError),
        ("AuthenticationError", PermissionError),
        ("StorageTimeoutError", TimeoutError),
        ("ObjectNotFoundError", FileNotFoundError),
        ("SourceError", ValueError),
        ("SqlError", ValueError),
        ("ParameterError", ValueError),
        ("ResourcesExhaustedError", MemoryError),
        ("QueryTimeoutError", TimeoutError),
        ("ResultTooLargeError", MemoryError),
        ("SchemaMismatchError", TypeError),
        ("PoolTimeoutError", TimeoutError),
    ]:
        assert issubclass(getattr(errors, name), builtin)


def test_kinds_are_the_golden_ones():
    # Members are only ever added: a removed line breaks code of users.
    assert GOLDEN.read_text("utf-8").split() == [kind.value for kind in ErrorKind]


def test_the_kinds_of_the_extension_are_known():
    kinds = error_kinds()
    assert len(kinds) >= 20
    assert len(set(kinds)) == len(kinds)
    for kind in kinds:
        made = from_native(kind, "what happened", {"key": "value"})
        assert made.kind == kind
        assert made.kind is ErrorKind(kind)
        assert type(made).default_kind is made.kind
    with pytest.raises(ValueError, match="no such kind"):
        from_native("no such kind", "", {})


def test_every_kind_has_one_class():
    assert sorted(cls.default_kind.value for cls in CLASSES) == sorted(k.value for k in ErrorKind)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_pickles_with_everything(cls):
    error = cls("what happened; what to do", kind=ErrorKind.SOURCE, details={"line": "3"})
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        copy = pickle.loads(pickle.dumps(error, protocol))
        assert type(copy) is cls
        assert (copy.kind, copy.details) == (ErrorKind.SOURCE, {"line": "3"})
        assert str(copy) == copy.message == "what happened; what to do"


def test_data_for_code():
    error = SqlError("x", details={"line": "2", "column": "7"})
    assert (error.line, error.column) == (2, 7)
    assert (SqlError("x").line, SqlError("x").column) == (None, None)
    lost = CommitConflict("x", details={"conflict": "ConcurrentAppend", "read_version": "4"})
    assert (lost.retryable, lost.read_version, lost.winning_version) == (True, 4, None)
    assert not CommitConflict("x", details={"conflict": "MetadataChanged"}).retryable


def test_an_unknown_outcome_says_how_to_ask():
    error = from_native("storage", "lost", {"outcome": "unknown", "commit_id": "abc"})
    assert isinstance(error, errors.CommitOutcomeUnknown)
    assert error.commit_id == "abc"
    assert "commit_outcome" in error.message
