"""A model of Spark's `S3DynamoDBLogStore`, after delta-storage's `BaseExternalLogStore`.

What it writes is what Spark writes; where it stops half-way is what a Spark that died has left.
"""

from __future__ import annotations

import time
import uuid
from typing import Any

from tests.harness.raw import RawS3

STEPS = ("temporary", "locked", "copied", "completed")


class Died(Exception):
    """The writer went away after a step."""


class SparkLogStore:
    """One writer.

    Args:
        raw: The bucket.
        dynamodb: A client of botocore.
        table: Name of the table of locks.
        table_path: Path of the Delta table as Spark has it, ``s3a://bucket/t``.
        key: Key of the Delta table in the bucket.
    """

    def __init__(self, raw: RawS3, dynamodb: Any, table: str, table_path: str, key: str) -> None:
        self._raw = raw
        self._dynamodb = dynamodb
        self._table = table
        self._table_path = table_path
        self._log = f"{key}/_delta_log"

    def entry(self, file: str) -> dict[str, Any] | None:
        """The item of a file."""
        found = self._dynamodb.get_item(
            TableName=self._table,
            Key={"tablePath": {"S": self._table_path}, "fileName": {"S": file}},
            ConsistentRead=True,
        )
        item: dict[str, Any] | None = found.get("Item")
        return item

    def write(self, version: int, content: bytes, die_after: str | None = None) -> None:
        """Commit a version.

        Raises:
            FileExistsError: Another writer has it.
            Died: After the step, as asked.
        """
        file = f"{version:020}.json"
        if self._raw.get(f"{self._log}/{file}") is not None:
            raise FileExistsError(file)
        if version > 0:
            before = f"{version - 1:020}.json"
            entry = self.entry(before)
            if entry is not None and entry["complete"]["S"] == "false":
                self.fix(entry)
            elif self._raw.get(f"{self._log}/{before}") is None:
                raise FileNotFoundError(before)
        temp = f".tmp/{file}.{uuid.uuid4()}"
        self._raw.put(f"{self._log}/{temp}", content)
        self._die("temporary", die_after)
        item = {
            "tablePath": {"S": self._table_path},
            "fileName": {"S": file},
            "tempPath": {"S": temp},
            "complete": {"S": "false"},
        }
        try:
            self._dynamodb.put_item(
                TableName=self._table,
                Item=item,
                Expected={"fileName": {"Exists": False}},
            )
        except self._dynamodb.exceptions.ConditionalCheckFailedException:
            raise FileExistsError(file) from None
        self._die("locked", die_after)
        self._raw.put(f"{self._log}/{file}", content)
        self._die("copied", die_after)
        self._complete(item)
        self._die("completed", die_after)

    def list(self) -> list[str]:
        """Names of commits, after the newest was finished."""
        found = self._dynamodb.query(
            TableName=self._table,
            KeyConditionExpression="tablePath = :p",
            ExpressionAttributeValues={":p": {"S": self._table_path}},
            ScanIndexForward=False,
            Limit=1,
            ConsistentRead=True,
        )["Items"]
        if found and found[0]["complete"]["S"] == "false":
            self.fix(found[0])
        keys = self._raw.list(f"{self._log}/")
        names = [key.removeprefix(f"{self._log}/") for key in keys]
        return [name for name in names if name.endswith(".json") and "/" not in name]

    def fix(self, item: dict[str, Any]) -> None:
        """Finish another's commit."""
        target = f"{self._log}/{item['fileName']['S']}"
        if self._raw.get(target) is None:
            content = self._raw.get(f"{self._log}/{item['tempPath']['S']}")
            assert content is not None
            self._raw.put(target, content)
        self._complete(item)

    def _complete(self, item: dict[str, Any]) -> None:
        expires = {"N": str(int(time.time()) + 86_400)}
        whole = {**item, "complete": {"S": "true"}, "expireTime": expires}
        self._dynamodb.put_item(TableName=self._table, Item=whole)

    def _die(self, step: str, die_after: str | None) -> None:
        if step == die_after:
            raise Died(step)
