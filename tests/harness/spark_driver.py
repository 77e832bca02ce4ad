"""Runs Spark with Delta for one who talks to it; a program of its own that `spark.py` starts.

``spark_driver.py PACKAGES JARS CONF``: the folder that PySpark is in, the jars of Delta with
commas, and a JSON object of settings. Of its standard input each line is a request, a JSON list of
SQL statements. Each gets a line with the answer: ``{"results": […]}`` with one result per
statement, or ``{"error": …, "class": …, "statement": …}`` of the first that failed. A line before
them says that it is ready.

Values are exact: floats as Python's JSON writes them, and what JSON lacks as an object with its
kind (``{"decimal": "1.50"}``); `spark.py` makes Python's values of them.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import sys
from typing import Any

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc)


def main(packages: str, jars: str, conf: str) -> None:
    """Answer until the standard input ends."""
    # What Java and Spark print belongs into the log.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def answer(said: dict[str, Any]) -> None:
        answers.write(json.dumps(said) + "\n")
        answers.flush()

    sys.path.insert(0, packages)
    from pyspark.sql import SparkSession, types

    # Their own go by the local time zone and its gaps.
    types.TimestampType.fromInternal = lambda _, micros: _moment(micros, EPOCH)
    types.TimestampNTZType.fromInternal = lambda _, micros: _moment(
        micros, EPOCH.replace(tzinfo=None)
    )

    builder = SparkSession.builder.master("local[2]").config("spark.jars", jars)
    for name, value in json.loads(conf).items():
        builder = builder.config(name, value)
    spark = builder.getOrCreate()
    spark.sql("SELECT 1").collect()
    answer({"ready": spark.version})
    for line in sys.stdin:
        results: list[dict[str, Any]] = []
        try:
            for statement in json.loads(line):
                results.append(_result(spark.sql(statement)))  # noqa: PERF401 kept on a failure
            answer({"results": results})
        except Exception as error:
            kind = getattr(error, "getCondition", lambda: None)() or type(error).__name__
            answer({"error": str(error), "class": kind, "statement": len(results)})
    spark.stop()


def _moment(micros: int | None, epoch: dt.datetime) -> dt.datetime | None:
    return None if micros is None else epoch + dt.timedelta(microseconds=micros)


def _result(frame: Any) -> dict[str, Any]:
    fields = frame.schema.fields
    return {
        "names": [field.name for field in fields],
        "types": [field.dataType.simpleString() for field in fields],
        "rows": [
            [_encoded(value, field.dataType) for value, field in zip(row, fields, strict=True)]
            for row in frame.collect()
        ],
    }


def _encoded(value: Any, kind: Any) -> Any:
    if value is None:
        return None
    name = kind.typeName()
    if name == "decimal":
        return {name: f"{value:.{kind.scale}f}"}
    if name in ("date", "timestamp", "timestamp_ntz"):
        return {name: value.isoformat()}
    if name == "binary":
        return {name: value.hex()}
    if name == "struct":
        return {name: {f.name: _encoded(value[f.name], f.dataType) for f in kind.fields}}
    if name == "array":
        return [_encoded(one, kind.elementType) for one in value]
    if name == "map":
        pairs = [
            [_encoded(key, kind.keyType), _encoded(one, kind.valueType)]
            for key, one in value.items()
        ]
        return {name: pairs}
    return value


if __name__ == "__main__":
    main(*sys.argv[1:])
