"""Schemas of CSV and JSON files: what comes late, and in another order, is not lost."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from fusiondelta import (
    CsvSource,
    EngineProfile,
    ExecutionError,
    FusionDeltaEngine,
    JsonSource,
    SourceError,
)


def _rows(engine: FusionDeltaEngine, source: object, sql: str = "SELECT * FROM t") -> list[dict]:
    return engine.query(sql, sources={"t": source}).to_pylist()


def _write(folder: Path, **texts: str) -> str:
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        (folder / name.replace("_", ".")).write_text(text)
    return f"{folder}/"


def test_a_column_that_is_empty_at_first_has_its_values(engine, tmp_path):
    lines = "".join(f"{i},\n" for i in range(1500))
    place = _write(tmp_path / "c", a_csv=f"id,x\n{lines}1500,hello\n")
    rows = _rows(engine, CsvSource(place), "SELECT x, count(*) n FROM t GROUP BY x ORDER BY n")
    assert rows == [{"x": "hello", "n": 1}, {"x": None, "n": 1500}]


def test_a_value_of_another_type_is_an_error_with_its_line(engine, tmp_path):
    lines = "".join(f"{i},{i}\n" for i in range(1500))
    place = _write(tmp_path / "c", a_csv=f"id,x\n{lines}1500,hello\n")
    with pytest.raises(ExecutionError, match=r"c/a\.csv: .*hello.*line 1501"):
        _rows(engine, CsvSource(place), "SELECT sum(x) FROM t")


def test_a_line_that_is_no_json_is_an_error_of_its_file(engine, tmp_path):
    lines = "".join(f'{{"id":{i}}}\n' for i in range(100))
    place = _write(tmp_path / "j", a_json=lines, b_json=lines + '{"id":"x"}\n')
    source = JsonSource(place, schema=pa.schema([("id", pa.int64())]))
    with pytest.raises(ExecutionError, match=r"j/b\.json: .*\"x\"") as failed:
        _rows(engine, source, "SELECT sum(id) FROM t")
    assert "a.json" not in str(failed.value)


def test_lines_of_a_part_are_counted_from_its_begin(tmp_path):
    lines = "".join(f"{i},{i}\n" for i in range(4000))
    place = _write(tmp_path / "c", a_csv=f"id,x\n{lines}4000,hello\n")
    options = {"datafusion.optimizer.repartition_file_min_size": 1}
    with (
        FusionDeltaEngine(EngineProfile(target_partitions=4, options=options)) as engine,
        pytest.raises(ExecutionError, match=r"a\.csv: .*hello.*line \d+.*counted from byte \d+"),
    ):
        _rows(engine, CsvSource(place), "SELECT sum(x) FROM t")


def test_headers_in_another_order_are_read_by_name(engine, tmp_path):
    place = _write(tmp_path / "c", a_csv="id,x\n1,2\n", b_csv="x,id\n20,10\n", c_csv="id\n7\n")
    rows = _rows(engine, CsvSource(place), "SELECT id, x FROM t ORDER BY id")
    assert rows == [{"id": 1, "x": 2}, {"id": 7, "x": None}, {"id": 10, "x": 20}]
    assert _rows(engine, CsvSource(place), "SELECT x FROM t WHERE id = 10") == [{"x": 20}]
    assert _rows(engine, CsvSource(place), "SELECT count(*) n FROM t") == [{"n": 3}]


def test_types_of_all_files_are_met(engine, tmp_path):
    place = _write(tmp_path / "c", a_csv="id,x\n1,2\n", b_csv="id,x\n2,2.5\n", c_csv="id,x\n3,\n")
    rows = _rows(engine, CsvSource(place), "SELECT x FROM t ORDER BY id")
    assert rows == [{"x": 2.0}, {"x": 2.5}, {"x": None}]
    place = _write(tmp_path / "d", a_csv="id\n1\n", b_csv="id\nx\n")
    assert sorted(r["id"] for r in _rows(engine, CsvSource(place))) == ["1", "x"]


def test_names_with_odd_characters_are_found(engine, tmp_path):
    folder = tmp_path / "a b%20c"
    folder.mkdir()
    (folder / "x 1%.csv").write_text("id,x\n1,2\n")
    (folder / "ü.csv").write_text("x,id\n4,3\n")
    rows = _rows(engine, CsvSource(folder), "SELECT id, x FROM t ORDER BY id")
    assert rows == [{"id": 1, "x": 2}, {"id": 3, "x": 4}]


def test_files_in_partition_folders_need_one_header(engine, tmp_path):
    _write(tmp_path / "p", a_csv="")
    for day, header in (("1", "id,x\n1,2\n"), ("2", "x,id\n2,1\n")):
        folder = tmp_path / "q" / f"day={day}"
        folder.mkdir(parents=True)
        (folder / "a.csv").write_text(header)
    source = CsvSource(f"{tmp_path}/q/", partition_columns={"day": pa.int32()})
    with pytest.raises(SourceError, match="one header"):
        _rows(engine, source)


def test_keys_of_late_lines_are_columns(engine, tmp_path):
    lines = "".join(f'{{"id":{i}}}\n' for i in range(2000))
    place = _write(tmp_path / "j", a_json=lines + '{"id":2000,"late":"x"}\n')
    rows = _rows(engine, JsonSource(place), "SELECT id, late FROM t WHERE late IS NOT NULL")
    assert rows == [{"id": 2000, "late": "x"}]
