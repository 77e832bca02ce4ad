"""However a table is spelt, its key is one."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fusiondelta
from fusiondelta import SnapshotKey, SnapshotSpec

pytestmark = [
    pytest.mark.property,
    pytest.mark.integration,
    pytest.mark.skipif(os.name == "nt", reason="POSIX paths"),
]

NAME = "a table, 100 % ours"
noise = st.lists(st.sampled_from(["/", "/./", "/x/../", "//"]), max_size=3).map("".join)
versions = st.integers(0, 2)


@pytest.fixture(scope="module")
def engine():
    with fusiondelta.FusionDeltaEngine() as engine:
        yield engine


@pytest.fixture(scope="module")
def table(engine, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    (folder / "x").mkdir()
    (folder / NAME / "x").mkdir(parents=True)
    (folder / "link").symlink_to(folder / NAME)
    for n in range(3):
        engine.write_delta(folder / NAME, pa.table({"n": [n]}))
    return folder


@st.composite
def spellings(draw):
    """How to write the location of the table, given its folder."""
    name = draw(st.sampled_from([NAME, "link"]))
    between, after = draw(noise), draw(noise)
    kind = draw(st.sampled_from(["path", "relative", "uri", "short uri", "host", "object"]))

    def spell(folder: Path):
        path = f"{folder}{between or '/'}{name}{after}"
        encoded = quote(path)
        return {
            "path": path,
            "relative": os.path.relpath(folder) + f"/{name}{after}",
            "uri": f"file://{encoded}",
            "short uri": f"file:{encoded}",
            "host": f"FILE://localhost{encoded}",
            "object": Path(path),
        }[kind]

    return spell


@given(spell=spellings(), version=versions)
def test_many_spellings_one_key(engine, table, spell, version):
    key = engine.open_delta(spell(table), version).snapshot
    assert key == SnapshotKey(f"file://{quote(str(table / NAME))}".replace("%2C", ","), version)
    result = engine.query("SELECT n FROM t", sources={"t": spell(table)})
    with result:
        assert result.snapshots == (SnapshotKey(key.uri, 2),)


@given(spell=spellings(), version=versions)
def test_a_key_opens_what_it_names(engine, table, spell, version):
    key = engine.open_delta(spell(table), SnapshotSpec.version(version)).snapshot
    again = engine.open_delta(key.uri, key.version).snapshot
    assert again == key
    assert hash(again) == hash(key)
    assert pickle.loads(pickle.dumps(key)) == key


@given(one=versions, other=versions)
def test_versions_tell_keys_apart(engine, table, one, other):
    keys = {engine.open_delta(table / NAME, version).snapshot for version in (one, other)}
    assert len(keys) == len({one, other})


@pytest.mark.parametrize("name", ["a%20b", "a%25b", "a%2Fb", "100%", "a?b#c"])
def test_a_percent_sign_in_a_name_is_only_that(engine, tmp_path, name):
    for n in range(2):
        engine.write_delta(tmp_path / name, pa.table({"n": [n]}))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    key = engine.open_delta(tmp_path / name).snapshot
    assert key == SnapshotKey(f"file://{quote(str(tmp_path / name))}", 1)
    assert engine.open_delta(key.uri).snapshot == key
    rows = engine.query("SELECT n FROM t", sources={"t": key.uri}).to_pylist()
    assert sorted(row["n"] for row in rows) == [0, 1]


@given(
    st.sampled_from(
        ["memory://keys/t", "memory://keys/t/", "memory://keys//./t", "MEMORY://keys/t"]
    )
)
def test_memory_has_one_spelling(engine, location):
    engine.write_delta(location, pa.table({"n": [0]}), mode="ignore")
    assert engine.open_delta(location).snapshot == SnapshotKey("memory://keys/t", 0)


@pytest.mark.parametrize("version", [-1, True, "1", 1.0, None])
def test_a_version_is_a_whole_number(version):
    with pytest.raises(fusiondelta.ConfigurationError, match="version"):
        SnapshotKey("file:///t", version)
