"""Spark with Delta, the reference of the format: one for a session, asked by lines of JSON.

It runs as a child with an interpreter that sees PySpark alone (`spark_driver.py`); nothing of it is
imported here.
"""

from __future__ import annotations

import datetime as dt
import decimal
import json
import os
import re
import select
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from tests.harness import install
from tests.harness.process import Child, StartError

DRIVER = Path(__file__).with_name("spark_driver.py")
START_SECONDS = 180.0
ANSWER_SECONDS = 180.0


class SparkError(RuntimeError):
    """Spark refused or failed; `condition` is its name for why."""

    def __init__(self, message: str, condition: str = "") -> None:
        super().__init__(message)
        self.condition = condition


@dataclass(frozen=True)
class Answer:
    """What a statement gave: rows with values as pyarrow's `to_pylist` has them."""

    names: list[str]
    types: list[str]
    rows: list[dict[str, Any]]

    def column(self, name: str) -> list[Any]:
        """The values of one column."""
        return [row[name] for row in self.rows]


class Spark:
    """A running Spark."""

    layer: ClassVar[str] = "spark"
    """The marker of the tests that need it."""
    program: ClassVar[str] = "spark"
    """Its name in `install`."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self._heard = bytearray()

    @classmethod
    def start(cls, folder: Path) -> Spark:
        """Start one, and wait until it is ready.

        Raises:
            Unavailable: It is not installed.
            StartError: It does not come up.
        """
        (submit,) = install.find(cls.program)
        home = Path(submit).parents[1]
        jars = sorted((install.PACKAGES[cls.program].folder / "jars").glob("*.jar"))
        data = folder / "data"
        (data / "conf").mkdir(parents=True)
        environment = {
            "SPARK_HOME": str(home),
            "SPARK_CONF_DIR": str(data / "conf"),
            "SPARK_LOCAL_DIRS": str(data),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",  # else Java writes names of files in ASCII
        }
        if "JAVA_HOME" in os.environ:
            environment["JAVA_HOME"] = os.environ["JAVA_HOME"]
        child = Child(
            [
                *(sys.executable, "-I", "-S", DRIVER, home.parent),
                *(",".join(map(str, jars)), json.dumps(settings(data))),
            ],
            folder=folder,
            environment=environment,
            talks=True,
        )
        spark = cls(child)
        try:
            spark._answer(START_SECONDS)
        except SparkError as error:
            raise StartError(f"Spark did not start: {error}") from error
        return spark

    def ask(self, *statements: str, seconds: float = ANSWER_SECONDS) -> list[Answer]:
        """Run SQL statements one after the other; an answer for each.

        Raises:
            SparkError: One failed, those before it are done. Or the time was up: Spark is stopped.
        """
        if self.child.to == -1:
            raise SparkError("Spark was stopped")
        before = self.child.log.stat().st_size
        with os.fdopen(os.dup(self.child.to), "wb") as to:
            to.write(json.dumps(statements).encode() + b"\n")
        said = self._answer(seconds)
        if "error" in said:
            statement = statements[said["statement"]]
            log = self.child.log.read_bytes()[before:].decode("utf-8", "replace")
            text = [_brief(said["error"]), f"in: {statement}", "its log says", _brief(log)[-2000:]]
            # Of errors that came up in Java later, the name is in the text alone.
            named = re.search(r"\[([A-Z_]+(?:\.[A-Z_]+)*)\]", said["error"])
            raise SparkError("\n".join(text), named[1] if named else said["class"])
        return [
            Answer(one["names"], one["types"], list(_rows(one["names"], one["rows"])))
            for one in said["results"]
        ]

    def rows(self, sql: str) -> list[dict[str, Any]]:
        """The rows of one query."""
        (answer,) = self.ask(sql)
        return answer.rows

    def stop(self) -> None:
        """End it."""
        self.child.stop()

    def _answer(self, seconds: float) -> dict[str, Any]:
        """The next line, parsed. Where none comes, Spark is stopped."""
        deadline = time.monotonic() + seconds
        poll = select.poll()
        poll.register(self.child.back, select.POLLIN)
        while b"\n" not in self._heard:
            problem = ""
            if poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
                told = os.read(self.child.back, 1 << 20)
                self._heard += told
                if not told:
                    problem = "it ended"
            else:
                problem = f"no answer within {seconds:g} s"
            if problem:
                self.stop()
                raise SparkError(f"{problem}; its log ends with\n{self.child.tail()}")
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard = bytearray(rest)
        return json.loads(line)


def settings(folder: Path) -> dict[str, str]:
    """Of a small Spark that reaches nothing but this machine and this folder."""
    java = [
        *(f"-Djava.io.tmpdir={folder}", f"-Dderby.system.home={folder}", "-Duser.timezone=UTC"),
        # Up sooner, and nothing here runs long enough for better code to pay.
        *("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=256m"),
        "-XX:-UsePerfData",
    ]
    return {
        "spark.app.name": "fusiondelta",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.memory": "1536m",
        "spark.driver.extraJavaOptions": " ".join(java),
        "spark.ui.enabled": "false",
        "spark.ui.showConsoleProgress": "false",
        "spark.log.level": "WARN",
        "spark.default.parallelism": "2",
        "spark.sql.shuffle.partitions": "2",
        # No query here has rows enough for code of its own to pay.
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.databricks.delta.snapshotPartitions": "1",
    }


def _brief(said: str) -> str:
    """Without the places in Java, which go on for pages."""
    return re.sub(r"^\s+(?:at |\.\.\. \d+ more).*\n?", "", said, flags=re.M).strip()


def _rows(names: list[str], rows: list[list[Any]]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {name: _decoded(value) for name, value in zip(names, row, strict=True)}


def _decoded(value: Any) -> Any:
    if isinstance(value, list):
        return [_decoded(one) for one in value]
    if not isinstance(value, dict):
        return value
    ((kind, inner),) = value.items()
    match kind:
        case "decimal":
            return decimal.Decimal(inner)
        case "date":
            return dt.date.fromisoformat(inner)
        case "timestamp" | "timestamp_ntz":
            return dt.datetime.fromisoformat(inner)
        case "binary":
            return bytes.fromhex(inner)
        case "struct":
            return {name: _decoded(one) for name, one in inner.items()}
        case "map":
            return [(_decoded(key), _decoded(one)) for key, one in inner]
    raise AssertionError(f"no kind of value: {kind}")
