"""Talking to Spark: what is said, what is not, and what becomes of one that hangs or dies."""

from __future__ import annotations

import json
import os
import sys
import time

import pytest

from tests.harness import install
from tests.harness.process import Child, StartError
from tests.harness.spark import Spark, SparkError

pytestmark = [
    pytest.mark.integration,
    pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX"),
]

ANSWERS = """
import json, sys, time
for line in sys.stdin:
    (said,) = json.loads(line)
    print("asked for", said, file=sys.stderr, flush=True)
    if said == "hang":
        time.sleep(600)
    if said == "die":
        raise SystemExit("out of memory")
    sys.stdout.write(said)
    sys.stdout.flush()
"""


@pytest.fixture
def spark(tmp_path):
    command = [sys.executable, "-I", "-S", "-c", ANSWERS]
    child = Child(command, folder=tmp_path, environment={}, talks=True)
    yield Spark(child)
    child.stop()


def said(**answer):
    return json.dumps(answer) + "\n"


def test_rows_have_values_of_python(spark):
    row = [
        1,
        None,
        {"decimal": "1.50"},
        {"map": [[{"date": "0001-01-01"}, [{"struct": {"x": 1}}]]]},
    ]
    result = {"names": list("abcd"), "types": [], "rows": [row]}
    (answer,) = spark.ask(said(results=[result]))
    assert repr(answer.rows) == (
        "[{'a': 1, 'b': None, 'c': Decimal('1.50'), 'd': [(datetime.date(1, 1, 1), [{'x': 1}])]}]"
    )
    assert answer.column("a") == [1]


def test_an_answer_may_be_long(spark):
    result = {"names": ["a"], "types": ["string"], "rows": [["ü" * 3_000_000]]}
    assert spark.rows(said(results=[result])) == [{"a": "ü" * 3_000_000}]


def test_a_refusal_has_its_name_the_statement_and_the_log(spark):
    with pytest.raises(
        SparkError, match=r"(?s)^no such table\nin: \{.*log says\nasked for .*"
    ) as no:
        spark.ask(said(error="no such table", **{"class": "TABLE_NOT_FOUND"}, statement=0))
    assert no.value.condition == "TABLE_NOT_FOUND"
    assert spark.ask(said(results=[])) == []


def test_one_that_hangs_is_stopped(spark):
    began = time.monotonic()
    with pytest.raises(SparkError, match=r"(?s)no answer within 0\.3 s.*asked for hang"):
        spark.ask("hang", seconds=0.3)
    assert time.monotonic() - began < 20
    assert not spark.child.running
    with pytest.raises(SparkError, match="Spark was stopped"):
        spark.ask("more")


def test_one_that_dies_says_so_at_once(spark):
    with pytest.raises(SparkError, match=r"(?s)it ended.*out of memory"):
        spark.ask("die")
    assert not spark.child.running


def test_one_that_does_not_come_up_says_why(tmp_path, monkeypatch):
    submit = tmp_path / "no" / "pyspark" / "bin" / "spark-submit"
    monkeypatch.setattr(install, "find", lambda name: [str(submit)])
    with pytest.raises(StartError, match=r"(?s)did not start: it ended.*No module named 'pyspark'"):
        Spark.start(tmp_path / "spark")
